//! Named steps: what ran, how long it took, what was skipped and why.
//!
//! A skip is never silent: it is said when it happens and again at the end, and where `CI=true` it is a failure.

use anyhow::{Context as _, Result, bail, ensure};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How many tests did what.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

/// What has run so far.
#[derive(Debug)]
pub(crate) struct Report {
    started: Instant,
    done: Vec<(String, Duration, bool)>,
    skipped: Vec<String>,
    strict: bool,
    pub(crate) tests: Tally,
}

impl Report {
    pub(crate) fn start() -> Self {
        let strict = std::env::var_os("CI").is_some_and(|value| value == "true");
        Self {
            started: Instant::now(),
            done: Vec::new(),
            skipped: Vec::new(),
            strict,
            tests: Tally::default(),
        }
    }

    /// Runs one step. Its failure ends the run: the caller passes it on.
    pub(crate) fn step(&mut self, name: &str, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        println!("==> {name}");
        let started = Instant::now();
        let skips = self.skipped.len();
        let outcome = work(self);
        let elapsed = started.elapsed();
        match &outcome {
            Ok(()) if self.skipped.len() > skips => {}
            Ok(()) => println!("    ok: {name}, {}", seconds(elapsed)),
            Err(_) => println!("    FAILED: {name}, after {}", seconds(elapsed)),
        }
        if outcome.is_err() || self.skipped.len() == skips {
            self.done.push((name.to_owned(), elapsed, outcome.is_ok()));
        }
        outcome.map_err(|error| error.context(format!("step `{name}` failed")))
    }

    /// Says aloud that an optional part was left out.
    ///
    /// # Errors
    /// Where `CI=true`: a machine that judges must have everything.
    pub(crate) fn optional(&mut self, name: &str, reason: &str) -> Result<()> {
        let line = format!("SKIP {name}: {reason}");
        if self.strict {
            bail!("{line}; with CI=true nothing may be skipped");
        }
        println!("{line}");
        self.skipped.push(line);
        Ok(())
    }

    /// Says aloud that a part says nothing here. No error even where `CI=true`: nothing that could be installed is missing.
    pub(crate) fn inapplicable(&mut self, name: &str, reason: &str) {
        let line = format!("SKIP {name}: {reason}");
        println!("{line}");
        self.skipped.push(line);
    }

    /// The last screen: each step with its time, the tests, and once more every skip.
    pub(crate) fn finish(&self) {
        println!();
        for (name, elapsed, ok) in &self.done {
            println!("{:6} {name:28} {:>9}", if *ok { "ok" } else { "FAILED" }, seconds(*elapsed));
        }
        for line in &self.skipped {
            println!("{line}");
        }
        if self.tests != Tally::default() {
            let Tally { passed, failed, ignored } = self.tests;
            println!("tests: {passed} passed, {failed} failed, {ignored} ignored");
        }
        println!("total: {}", seconds(self.started.elapsed()));
    }
}

/// The cargo that started us.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a command to its end with our own output.
///
/// # Errors
/// When it does not start, or ends with any status but 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = crate::shown(command);
    let set = command.get_envs().filter_map(|(name, value)| Some((name.display(), value?.display())));
    let set: String = set.map(|(name, value)| format!("{name}=\"{value}\" ")).collect();
    println!("    $ {set}{line}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("`{line}` ended with {status}"),
        Err(error) => bail!("`{line}` does not start: {error}"),
    }
}

/// Builds the program of a package in release, and says where it lies.
///
/// # Errors
/// When it does not compile.
pub(crate) fn built(package: &str) -> Result<PathBuf> {
    built_binary(package, package)
}

/// Builds one of the programs of a package in release, and says where it lies.
///
/// # Errors
/// When it does not compile.
pub(crate) fn built_binary(package: &str, binary: &str) -> Result<PathBuf> {
    built_as(package, binary, &["--release"])
}

/// Builds one of the programs of a package as `how` tells cargo, and says where it lies.
///
/// # Errors
/// When it does not compile.
pub(crate) fn built_as(package: &str, binary: &str, how: &[&str]) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--locked", "--quiet", "--package", package, "--bin", binary]).args(how);
    command.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
    println!("    $ {}", crate::shown(&command));
    let output = command.output().context("cargo does not start")?;
    ensure!(output.status.success(), "{package} does not compile");
    let text = String::from_utf8(output.stdout).context("cargo does not speak UTF-8")?;
    executable(&text).with_context(|| format!("cargo does not say where {package} lies"))
}

/// The last executable that cargo's messages name.
fn executable(messages: &str) -> Option<PathBuf> {
    let messages =
        messages.lines().rev().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    messages.filter_map(|message| Some(message.get("executable")?.as_str()?.into())).next()
}

fn seconds(elapsed: Duration) -> String {
    format!("{:.1} s", elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(strict: bool) -> Report {
        Report { strict, ..Report::start() }
    }

    #[test]
    fn a_skip_is_kept_for_the_end_and_is_no_success() {
        let mut report = report(false);
        report.step("lint", |report| report.optional("lint", "not installed")).unwrap();
        assert_eq!(report.skipped, ["SKIP lint: not installed"]);
        assert!(report.done.is_empty());
    }

    #[test]
    fn a_judging_machine_may_not_skip() {
        let mut report = report(true);
        let error = report.step("lint", |report| report.optional("lint", "not installed")).unwrap_err();
        assert!(format!("{error:#}").contains("not installed"));
        assert!(matches!(report.done[..], [(_, _, false)]));
    }

    #[test]
    fn a_failing_step_names_itself() {
        let error = report(false).step("docs", |_| bail!("broken link")).unwrap_err();
        assert_eq!(format!("{error:#}"), "step `docs` failed: broken link");
    }

    #[test]
    fn a_command_that_fails_or_does_not_start_is_an_error() {
        assert!(run(&mut Command::new("true")).is_ok());
        assert!(run(&mut Command::new("false")).is_err());
        assert!(run(&mut Command::new("/nonexistent/program")).is_err());
    }

    #[test]
    fn the_executable_is_found_among_the_messages() {
        let messages = r#"{"reason":"compiler-artifact","executable":null}
{"reason":"compiler-artifact","executable":"/a/target/release/sistrum-ci"}
{"reason":"build-finished","success":true}
not json
"#;
        assert_eq!(executable(messages), Some("/a/target/release/sistrum-ci".into()));
        assert_eq!(executable("{}"), None);
    }
}
