//! `cargo ci fresh`: what a stranger meets. The README's commands, in a clean clone, on a poor machine.
//!
//! Poor means: an ordinary user (`nobody` when we are root), an empty home, only the active toolchain and the packages
//! that `Cargo.lock` names, no network for cargo, no io_uring, and nothing of ours next to the clone. Everything lies
//! in one temporary directory, which is removed at the end, whatever the end is.

mod environment;
pub(crate) mod forbidden;
mod place;
mod readme;

use crate::bounded;
use crate::step::{Report, cargo, run as run_command};
use anyhow::{Context as _, Result, ensure};
use place::{Place, User};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// How to try.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Keep the temporary directory.
    #[arg(long)]
    keep: bool,
    /// Minutes after which a command of the README is killed.
    #[arg(long, default_value_t = 20, value_name = "MINUTES")]
    limit: u64,
}

/// The whole try.
pub(crate) fn run(report: &mut Report, options: &Options) -> Result<()> {
    let interrupt = bounded::interruptible()?;
    let user = User::ordinary()?;
    let place = Place::take(options.keep)?;
    println!("    in {}, as {user}", place.root().display());
    report.step("packages", |_| fetch())?;
    report.step("clone", |_| clone(&place))?;
    report.step("toolchain", |_| place.furnish())?;
    report.step("hand over", |_| place.give_to(&user))?;
    let text =
        std::fs::read_to_string(place.clone().join("README.md")).context("the clone has no README.md")?;
    let limit = Duration::from_secs(options.limit * 60);
    for line in readme::commands(&text)? {
        report.step(&line, |_| try_command(&place, &user, &line, limit, &interrupt))?;
    }
    Ok(())
}

/// Completes our own package cache, so that the copy needs no network.
fn fetch() -> Result<()> {
    let host = environment::host()?;
    run_command(cargo().args(["fetch", "--locked", "--target", &host]))
}

/// A clone of what is committed, of nothing else.
fn clone(place: &Place) -> Result<()> {
    let dirty = git(Path::new("."), &["status", "--porcelain"])?;
    if !dirty.is_empty() {
        println!("WARNING: the work tree is dirty; what is not committed is not tried:");
        println!("{dirty}");
    }
    // Hard links would hand our own objects to the other user.
    let mut command = Command::new("git");
    command.args(["clone", "--quiet", "--no-hardlinks", "."]).arg(place.clone());
    run_command(&mut command)?;
    let head = git(Path::new("."), &["rev-parse", "HEAD"])?;
    let cloned = git(&place.clone(), &["rev-parse", "HEAD"])?;
    ensure!(head == cloned, "the clone is at {cloned}, and we are at {head}");
    println!("    at {head}");
    Ok(())
}

fn git(folder: &Path, args: &[&str]) -> Result<String> {
    let output = Command::new("git").current_dir(folder).args(args).output().context("git does not start")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git {}: {}", args.join(" "), error.trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// One line of the README, as the shell of that user would take it.
fn try_command(
    place: &Place,
    user: &User,
    line: &str,
    limit: Duration,
    interrupt: &AtomicBool,
) -> Result<()> {
    println!("    $ {line}    (at most {} min)", limit.as_secs() / 60);
    let mut command = Command::new(place.forbidding_program());
    command.args(["forbidden", "--", "sh", "-c", line]).current_dir(place.clone());
    command.env_clear().envs(environment::of(place, std::env::vars_os()));
    if let Some((uid, gid)) = user.ids() {
        command.uid(uid).gid(gid);
    }
    bounded::run(&mut command, limit, interrupt)
}
