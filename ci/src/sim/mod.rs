//! `cargo ci sim`: groups of the production protocols on a network in virtual time, everything drawn from one seed, judged by
//! the properties of the model.
//!
//! A seed gives a `Scenario`; [`driver`] runs it and writes a `History`; the
//! [`checker`]s judge that. The same seed gives the same history, in whatever thread. What judges is built with
//! optimisation and with debug assertions: the command builds it, and starts it with the same arguments and `--here`.

pub(crate) mod app;
pub(crate) mod campaign;
pub(crate) mod checker;
mod clock;
pub(crate) mod driver;
#[cfg(test)]
mod endurance;
pub(crate) mod faults;
pub(crate) mod history;
mod names;
mod node;
mod onlooker;
pub(crate) mod options;
#[cfg(test)]
mod oracle;
mod report;
mod shrink;
pub(crate) mod state;
#[cfg(test)]
mod twins;
pub(crate) mod views;
mod weather;
mod whim;

use crate::step::{self, Report};
use anyhow::{Context as _, Result, bail, ensure};
use campaign::{Campaign, Ends, Failure, Summary};
use options::{Bounds, Scenario};
use sistrum_ordering::Order;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// What to run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// The first seed; alone, it is the only one.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// How many seeds.
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// Sizes of the groups.
    #[arg(long, value_name = "A..B", default_value = "2..64", value_parser = range)]
    members: (u16, u16),
    /// The network loses this many percent of all datagrams until everything has been delivered, and nobody dies: then every
    /// seed must come to its end.
    #[arg(long, value_name = "PCT", value_parser = percent)]
    loss: Option<f64>,
    /// Minutes to run, when that comes before the last seed [default: 1 where no seed is given].
    #[arg(long, value_name = "M", value_parser = minutes)]
    minutes: Option<f64>,
    /// The orders that casts may ask for.
    #[arg(long, value_name = "ORDER,..", value_delimiter = ',', default_values_t = Order::ALL)]
    orders: Vec<Order>,
    /// Groups whose members come and go, instead of lists that stay.
    #[arg(long)]
    views: bool,
    /// Prints what was drawn and everything that happened.
    #[arg(long)]
    trace: bool,
    /// Breaks this of our own code: `cargo ci mutants` lists what can be broken.
    #[arg(long, value_name = "NAME")]
    mutate: Option<String>,
    /// Changes what was drawn, as a shrunk scenario says.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    edits: Vec<String>,
    /// Writes the summary to PATH as JSON, too.
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// This program is the one that judges.
    #[arg(long, hide = true)]
    here: bool,
}

/// Small groups find as much as large ones, and sooner: they are what every change must pass.
const SHORT: [&str; 6] = ["sim", "--here", "--members", "2..8", "--minutes", "1"];
/// Groups whose members come and go.
const VIEWS: [&str; 5] = ["sim", "--here", "--views", "--seeds", "2000"];
/// Nor may a large group on a bad network stand still.
const LARGE: [&str; 8] = ["sim", "--here", "--members", "64", "--loss", "5", "--seeds", "6"];

/// Builds what judges, and lets it judge.
pub(crate) fn run(report: &mut Report, options: &Options) -> Result<()> {
    if options.here {
        return judge(options);
    }
    let features: &[&str] = if options.mutate.is_some() { &["--features", "mutants"] } else { &[] };
    report.step("sim", |_| {
        let arguments = std::env::args_os().skip(1);
        step::run(Command::new(worker(features)?).args(arguments).arg("--here"))
    })
}

/// A minute of it, and some large groups.
pub(crate) fn short(report: &mut Report) -> Result<()> {
    report.step("sim", |_| {
        let worker = worker(&[])?;
        step::run(Command::new(&worker).args(SHORT))?;
        step::run(Command::new(&worker).args(VIEWS))?;
        step::run(Command::new(&worker).args(LARGE))
    })
}

/// This program, built as what judges must be.
pub(crate) fn worker(features: &[&str]) -> Result<PathBuf> {
    step::built_as("sistrum-ci", "sistrum-ci", &[&["--profile", "sim"], features].concat())
}

fn judge(options: &Options) -> Result<()> {
    let bounds = Bounds {
        loss: options.loss,
        edits: options.edits.clone(),
        ..Bounds::of(options.members, options.orders.clone())
    };
    Scenario::of(0, &bounds).map_err(anyhow::Error::msg)?;
    let campaign = Campaign {
        bounds,
        first: options.seed.unwrap_or(0),
        ends: ends(options),
        mutation: options.mutate.clone(),
        shows: options.trace,
    };
    if options.views {
        campaign.check_mutation()?;
        let mutation = options.mutate.as_ref().map(|name| format!(" --mutate {name}")).unwrap_or_default();
        let (first, ends) = (campaign.first, &campaign.ends);
        return views::judge(first, ends, options.trace, &mutation, || campaign.break_own_code());
    }
    let summary = campaign.run()?;
    summary.print();
    if let Some(path) = &options.json {
        std::fs::write(path, summary.json(&campaign)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    explain(&campaign, &summary)?;
    // A few seeds cannot show everything, and a shrunk scenario does not want to.
    let idle = if summary.seeds >= ENOUGH && campaign.bounds.edits.is_empty() {
        summary.histogram.idle()
    } else {
        vec![]
    };
    ensure!(idle.is_empty(), "drawn, but never effective: {idle:?}");
    ensure!(
        !campaign.asks_for_loss() || summary.least_lost > 0,
        "a seed lost nothing, though loss was asked for"
    );
    Ok(())
}

/// Fails with the first seed that failed, and how to run it again.
fn explain(campaign: &Campaign, summary: &Summary) -> Result<()> {
    let Some(failure) = summary.failures.first() else { return Ok(()) };
    for Failure { seed, violations } in &summary.failures[1..] {
        println!("seed {seed} failed too: {}: {}", violations[0].property, violations[0].how);
    }
    println!("\nseed {} drew {:?}", failure.seed, campaign.scenario(failure.seed));
    failure.violations.iter().for_each(|violation| println!("  {}: {}", violation.property, violation.how));
    println!("run it again:  {}", campaign.line(failure.seed, &[]));
    let edits = shrink::shrink(campaign, failure);
    if !edits.is_empty() {
        println!("and smaller:   {}", campaign.line(failure.seed, &edits));
    }
    bail!("{} of {} seeds failed", summary.failures.len(), summary.seeds)
}

/// Seeds after which every fault that is drawn must have been seen.
const ENOUGH: u64 = 400;

fn ends(options: &Options) -> Ends {
    let seeds = options.seeds.or(options.seed.map(|_| 1));
    let minutes = options.minutes.or(if seeds.is_none() { Some(1.0) } else { None });
    Ends {
        seeds: seeds.unwrap_or(u64::MAX),
        after: minutes.map(|minutes| Duration::from_secs_f64(60.0 * minutes)),
        failures: 5,
    }
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    match (least.parse(), most.parse()) {
        (Ok(least), Ok(most)) if (2..=most).contains(&least) && most <= 256 => Ok((least, most)),
        _ => Err("two sizes from 2 to 256, as in 2..64".to_owned()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let percent: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=50.0).contains(&percent) { Ok(percent) } else { Err("from 0 to 50 percent".to_owned()) }
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.001..=10_000.0).contains(&minutes) {
        Ok(minutes)
    } else {
        Err("from 0.001 to 10000 minutes".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(seed: u64) -> String {
        let bounds = Bounds::of((2, 8), Order::ALL);
        let outcome = driver::run(&Scenario::draw(seed, &bounds));
        assert_eq!(outcome.violations, []);
        format!("{}{:?}{}", outcome.history, outcome.effective, outcome.took_ns)
    }

    #[test]
    fn the_same_seed_gives_the_same_trace_in_any_thread() {
        let here: Vec<String> = (0..8).map(trace).collect();
        let threads: Vec<_> = (0..8).map(|seed| std::thread::spawn(move || trace(seed))).collect();
        let there: Vec<String> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(here == there, "a run depends on something else than its seed");
        assert_ne!(here[0], here[1]);
    }

    #[test]
    fn sizes_are_a_range() {
        assert_eq!(range("2..64"), Ok((2, 64)));
        assert_eq!(range("5"), Ok((5, 5)));
        for bad in ["1..4", "9..4", "2..257", "a..b", ""] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }
}
