//! `cargo ci fuzz`: every decoder, and a whole session, under libFuzzer.
//!
//! The targets are a crate of their own, `transport/fuzz`. It needs no cargo-fuzz and no other toolchain: the compiler
//! instruments for coverage when it is told to, and RUSTC_BOOTSTRAP lets a stable one use AddressSanitizer. Corpora stay in
//! `target/fuzz/corpus`, so that the next run goes on where this one ended; an input that fails is left beside them, and the
//! target's program runs it again when it is given its path.

use crate::bounded;
use crate::step::{self, Report};
use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// What to fuzz, and for how long.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seconds for each target.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Only this target.
    #[arg(long, value_name = "NAME", value_parser = TARGETS)]
    target: Option<String>,
}

/// The programs of `transport/fuzz`.
const TARGETS: [&str; 5] = ["header", "data", "control", "session", "counters"];

/// What the compiler must do for libFuzzer, and for us to see a bad access.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Zsanitizer=address --cfg fuzzing";

/// Where everything of it is built and kept.
const HOME: &str = "target/fuzz";
/// The largest input, bytes: several blocks.
const MAX_INPUT: u64 = 4096;
/// What a target may take beyond its time.
const GRACE: Duration = Duration::from_secs(60);

/// Builds all targets, then runs those that are asked for.
pub(crate) fn run(report: &mut Report, options: &Options) -> Result<()> {
    let mut programs = None;
    report.step("fuzz build", |report| match build() {
        Ok(built) => {
            programs = Some(built);
            Ok(())
        }
        Err(reason) => report.optional("fuzz", &format!("{reason:#}")),
    })?;
    let Some(programs) = programs else { return Ok(()) };
    for target in TARGETS {
        if options.target.as_deref().is_none_or(|asked| asked == target) {
            report.step(&format!("fuzz {target}"), |_| fuzz(&programs, target, options.seconds))?;
        }
    }
    Ok(())
}

/// Builds the targets, and says in which folder they lie.
fn build() -> Result<PathBuf> {
    let triple = host()?;
    let mut command = step::cargo();
    command.args(["build", "--release", "--locked", "--manifest-path", "transport/fuzz/Cargo.toml"]);
    // A named target keeps the flags from build scripts, which would not link.
    command.args(["--target", &triple, "--target-dir", HOME]);
    command.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", FLAGS);
    step::run(&mut command)?;
    Ok(Path::new(HOME).join(triple).join("release"))
}

/// The triple of this machine.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc does not start")?;
    let text = String::from_utf8(output.stdout).context("rustc does not speak UTF-8")?;
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("rustc does not say its host")?.to_owned())
}

fn fuzz(programs: &Path, target: &str, seconds: u64) -> Result<()> {
    let corpus = Path::new(HOME).join("corpus").join(target);
    fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
    let known = entries(&corpus)?;
    let log = Path::new(HOME).join(format!("{target}.log"));
    let mut command = Command::new(programs.join(target));
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={MAX_INPUT}"));
    // A single input that takes this many seconds is a failure too.
    command.args(["-timeout=10", "-print_final_stats=1"]);
    command.arg(format!("-artifact_prefix={HOME}/{target}-")).arg(&corpus);
    command.stderr(fs::File::create(&log).with_context(|| format!("cannot make {}", log.display()))?);
    let limit = Duration::from_secs(seconds) + GRACE;
    let outcome = bounded::run(&mut command, limit, &AtomicBool::new(false));
    let text = fs::read_to_string(&log).unwrap_or_default();
    if let Err(error) = outcome {
        let tail: Vec<_> = text.lines().rev().take(40).collect();
        tail.iter().rev().for_each(|line| println!("    {line}"));
        bail!("{target}: {error:#}; all of it is in {}", log.display());
    }
    let inputs = executed(&text).with_context(|| format!("{} has no statistics", log.display()))?;
    ensure!(inputs > 0, "{target} ran no input");
    println!("    {target}: {inputs} inputs, {} new in the corpus", entries(&corpus)?.saturating_sub(known));
    Ok(())
}

/// How many inputs ran, by libFuzzer's final statistics.
fn executed(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    line.trim().parse().ok()
}

fn entries(folder: &Path) -> Result<usize> {
    Ok(fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_are_those_of_the_crate() {
        let manifest = include_str!("../../transport/fuzz/Cargo.toml");
        let named: Vec<_> =
            manifest.lines().filter_map(|line| line.strip_prefix("path = \"targets/")).collect();
        assert_eq!(named, TARGETS.map(|target| format!("{target}.rs\"")));
    }

    #[test]
    fn statistics_are_read() {
        let text =
            "Done 812 runs in 11 second(s)\nstat::number_of_executed_units: 812\nstat::peak_rss_mb: 60\n";
        assert_eq!(executed(text), Some(812));
        assert_eq!(executed("Done"), None);
    }
}
