//! `cargo ci failover`: the feed that survives its publisher, as users run it, over each medium and with little and much loss.
//!
//! Each run is judged twice: by the demo itself, and here, by what its report must say. A run that is slow is printed as it was; only one
//! that does not end is held against it.

use crate::demo::{URING, report_of, without_uring};
use crate::step::{self, Report};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::path::Path;

const MEDIA: [&str; 2] = ["udp", URING];
/// Percent.
const LOSSES: [&str; 2] = ["1", "5"];

/// What is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How often each is run.
    #[arg(long, value_name = "TIMES", default_value_t = 20)]
    repeat: u32,
}

pub(crate) fn run(report: &mut Report, options: &Options) -> Result<()> {
    report.step("failover", |report| all(report, options.repeat))
}

/// Each once, as every change must pass.
pub(crate) fn short(report: &mut Report) -> Result<()> {
    run(report, &Options { repeat: 1 })
}

fn all(report: &mut Report, repeat: u32) -> Result<()> {
    let program = step::built_binary("sistrum-cli", "sistrum")?;
    let mut media = MEDIA.to_vec();
    if let Some(reason) = without_uring(&program)? {
        media.retain(|medium| *medium != URING);
        report.optional("failover over uring", &reason)?;
    }
    println!(
        "{:6} {:>4} {:>4}  {:>8} {:>10}  pause of each view behind a death, ms",
        "medium", "loss", "run", "seconds", "messages"
    );
    let (mut count, mut red) = (0, 0);
    for run in 1..=repeat {
        for (medium, loss) in media.iter().flat_map(|medium| LOSSES.map(|loss| (*medium, loss))) {
            let line = format!("{medium:6} {loss:>4} {run:>4}");
            count += 1;
            match one(&program, medium, loss) {
                Ok(seen) => println!("{line}  {seen} ok"),
                Err(error) => {
                    println!("{line}  RED: {error:#}");
                    red += 1;
                }
            }
        }
    }
    ensure!(red == 0, "{red} of {count} failovers are red");
    Ok(())
}

/// One run; a line of what its report says.
fn one(program: &Path, medium: &str, loss: &str) -> Result<String> {
    judge(&report_of(program, &["--failover", "--medium", medium, "--loss", loss])?)
}

/// Whether a report says what it must.
fn judge(report: &Value) -> Result<String> {
    ensure!(report["ok"] == true, "its own verdict is not ok");
    let members = report["members"].as_array().context("no members")?;
    let is = |key: &'static str| members.iter().filter(move |member| member[key] == true);
    ensure!(is("killed").count() == 2 && is("joined_late").count() == 1, "not all happened: {members:?}");
    for member in members.iter().filter(|member| member["killed"] == false) {
        for key in ["digest", "state_digest"] {
            ensure!(
                member[key].is_string() && member[key] == report[key],
                "{} has another {key}",
                member["name"]
            );
        }
        ensure!(member["delivered"] == report["messages"], "{} has not all messages", member["name"]);
    }
    let views = report["views"].as_array().context("no views")?;
    let behind_deaths: Vec<_> = views
        .iter()
        .filter(|view| view["cause"].as_str().is_some_and(|cause| cause.contains("failed")))
        .collect();
    ensure!(behind_deaths.len() == 2, "two die, and {} views say so", behind_deaths.len());
    let pauses: Option<Vec<f64>> = behind_deaths.iter().map(|view| view["pause_ns"].as_f64()).collect();
    let pauses = pauses.context("a death that cost nothing")?;
    let (seconds, messages) = (report["seconds"].as_f64(), report["messages"].as_u64());
    let pauses: Vec<String> = pauses.iter().map(|ns| format!("{:.0}", ns / 1e6)).collect();
    Ok(format!(
        "{:>8.2} {:>10}  {}",
        seconds.context("no seconds")?,
        messages.context("no messages")?,
        pauses.join(" ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report() -> Value {
        let member = |name, killed: bool, late: bool| {
            let digest = if killed { Value::Null } else { "ab".into() };
            json!({"name": name, "delivered": 9, "digest": digest, "state_digest": digest, "joined_late": late, "killed": killed})
        };
        json!({
            "ok": true, "messages": 9, "seconds": 1.0, "digest": "ab", "state_digest": "ab",
            "views": [
                {"id": 2, "cause": "all began", "pause_ns": null},
                {"id": 3, "cause": "s2 failed", "pause_ns": 5},
                {"id": 4, "cause": "p1 failed", "pause_ns": 5},
            ],
            "members": [member("p1", true, false), member("s1", false, false), member("s2", true, false), member("late", false, true)],
        })
    }

    #[test]
    fn a_report_must_say_all_that_happened() {
        assert!(judge(&report()).is_ok());
        let without = |change: fn(&mut Value)| {
            let mut report = report();
            change(&mut report);
            judge(&report).is_err()
        };
        assert!(without(|report| report["ok"] = false.into()));
        assert!(without(|report| report["members"][3]["state_digest"] = "cd".into()));
        assert!(without(|report| report["members"][1]["delivered"] = 8.into()));
        assert!(without(|report| report["members"][3]["joined_late"] = false.into()));
        assert!(without(|report| report["views"][1]["cause"] = "s2 left".into()));
    }
}
