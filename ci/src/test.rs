//! `cargo ci test`: what every change must pass, up to the first failure.

use crate::step::{Report, Tally, cargo, run as run_command};
use crate::{demo, failover, instructions, lab, mutants, shown, sim, syscalls, tidy};
use anyhow::{Context as _, Result, ensure};
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

/// All steps, in order.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    report.step("format", |report| component(report, "fmt", "rustfmt", &["fmt", "--all", "--check"]))?;
    report.step("clippy", |report| {
        let lint = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
        component(report, "clippy", "clippy", &lint)
    })?;
    report.step("tests", |report| {
        tests(report, &["--lib", "--bins", "--tests", "--examples"])?;
        ensure!(report.tests.passed > 0, "not a single test ran");
        Ok(())
    })?;
    report.step("doc tests", |report| tests(report, &["--doc"]))?;
    report.step("docs", |_| {
        let args = ["doc", "--workspace", "--no-deps", "--locked"];
        run_command(cargo().args(args).env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    report.step("tidy", |_| tidy::check(".".as_ref()))?;
    sim::short(report)?;
    mutants::short(report)?;
    demo::short(report)?;
    failover::short(report)?;
    lab::short(report)?;
    syscalls::run(report)?;
    instructions::run(report, &instructions::Options::default())
}

/// Runs a cargo subcommand that is a component of the toolchain, which a machine may lack.
fn component(report: &mut Report, subcommand: &str, name: &str, args: &[&str]) -> Result<()> {
    let version = cargo().args([subcommand, "--version"]).output().context("cargo does not start")?;
    if !version.status.success() {
        let reason = format!("component not installed (rustup component add {name})");
        return report.optional(name, &reason);
    }
    run_command(cargo().args(args))
}

/// Runs one kind of tests of the whole workspace. Cargo's own lines pass through and are counted on their way.
fn tests(report: &mut Report, kind: &[&str]) -> Result<()> {
    let mut command = cargo();
    command.args(["test", "--workspace", "--locked", "--no-fail-fast"]).args(kind);
    let line = shown(&command);
    println!("    $ {line}");
    let mut child = command.stdout(Stdio::piped()).spawn().context("cargo does not start")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let counted = pass_through(BufReader::new(output), std::io::stdout(), &mut report.tests);
    let status = child.wait()?;
    counted?;
    ensure!(status.success(), "`{line}` ended with {status}");
    Ok(())
}

/// Copies `output`, line by line, and adds up the results that it reports.
fn pass_through(mut output: impl BufRead, mut to: impl Write, tests: &mut Tally) -> Result<()> {
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        if let Some(tally) = result(&String::from_utf8_lossy(&line)) {
            tests.passed += tally.passed;
            tests.failed += tally.failed;
            tests.ignored += tally.ignored;
        }
        line.clear();
    }
    Ok(())
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; ..`, or `None` for any other line.
fn result(line: &str) -> Option<Tally> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let mut tally = Tally::default();
    for part in counts.split("; ") {
        match part.split_once(' ') {
            Some((count, "passed")) => tally.passed = count.parse().ok()?,
            Some((count, "failed")) => tally.failed = count.parse().ok()?,
            Some((count, "ignored")) => tally.ignored = count.parse().ok()?,
            _ => {}
        }
    }
    Some(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_up() {
        let output = "running 3 tests\n\
            test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s\n\
            test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\n";
        let mut tests = Tally::default();
        let mut copy = Vec::new();
        pass_through(output.as_bytes(), &mut copy, &mut tests).unwrap();
        assert_eq!(copy, output.as_bytes());
        assert_eq!(tests, Tally { passed: 8, failed: 2, ignored: 1 });
    }

    #[test]
    fn other_lines_count_for_nothing() {
        assert_eq!(result("test wire::golden ... ok"), None);
        assert_eq!(result("test result: ok"), None);
    }
}
