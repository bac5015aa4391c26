//! Everything that must pass, as one command: `cargo ci test`.
//!
//! Each subcommand is one file. They share [`step`] (named steps, elapsed time, loud skips) and [`bounded`] (a command that
//! cannot run for ever and leaves no process behind).

mod bounded;
mod demo;
mod failover;
mod fresh;
mod fuzz;
mod instructions;
mod judge;
mod lab;
mod member;
mod mutants;
mod sim;
mod step;
mod syscalls;
mod test;
mod tidy;

use anyhow::{Context as _, Result};
use clap::Parser;
use std::ffi::OsString;
use std::process::{Command, ExitCode};

/// Everything that must pass.
#[derive(Parser)]
#[command(name = "cargo ci", bin_name = "cargo ci")]
enum Ci {
    /// Formatting, lints, all tests, documentation, tidy, the short demo matrix, syscalls and instructions: what every change
    /// must pass.
    Test,
    /// The promises of the documents that can be checked by reading the source.
    Tidy,
    /// The README's commands in a clean clone, as an ordinary user, with io_uring forbidden.
    Fresh(fresh::Options),
    /// The demo, as users run it, through a matrix of members, losses and captures.
    Demo(demo::Options),
    /// The demo whose publisher dies, over each medium, with little and much loss, again and again.
    Failover(failover::Options),
    /// A member under strace: nothing but IO and the idle strategy's own calls.
    Syscalls,
    /// Instructions that a message costs, against the table that is checked in.
    Instructions(instructions::Options),
    /// Every decoder and a whole session under libFuzzer, each for a while.
    Fuzz(fuzz::Options),
    /// Groups on a network in virtual time, drawn from seeds and judged by the properties of the model.
    Sim(sim::Options),
    /// Histories that real processes have written down, judged by the properties of the model.
    Judge(judge::Options),
    /// Members as real processes, killed, stopped and restarted; what they write down is judged likewise.
    Lab(lab::Options),
    /// Breaks our own code on purpose: the simulator must see each mutation.
    Mutants(mutants::Options),
    /// Runs a command with io_uring forbidden.
    #[command(hide = true)]
    Forbidden {
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// One process of the lab.
    #[command(hide = true)]
    LabMember(lab::member::Options),
    /// Two members in one thread, for strace to look at.
    #[command(hide = true)]
    Member(member::Options),
}

fn main() -> ExitCode {
    match run(Ci::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo ci: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(ci: Ci) -> Result<()> {
    match ci {
        Ci::Forbidden { command } => return fresh::forbidden::exec(&command),
        Ci::Member(options) => return member::run(&options),
        Ci::Judge(options) => return judge::run(&options),
        Ci::LabMember(options) => return lab::member::run(&options),
        _ => go_to_the_root()?,
    }
    let mut report = step::Report::start();
    let outcome = match ci {
        Ci::Test => test::run(&mut report),
        Ci::Tidy => report.step("tidy", |_| tidy::check(".".as_ref())),
        Ci::Fresh(options) => fresh::run(&mut report, &options),
        Ci::Demo(options) => demo::run(&mut report, &options),
        Ci::Failover(options) => failover::run(&mut report, &options),
        Ci::Syscalls => syscalls::run(&mut report),
        Ci::Instructions(options) => instructions::run(&mut report, &options),
        Ci::Fuzz(options) => fuzz::run(&mut report, &options),
        Ci::Sim(options) => sim::run(&mut report, &options),
        Ci::Mutants(options) => mutants::run(&mut report, &options),
        Ci::Lab(options) => lab::run(&mut report, &options),
        Ci::Member(_) | Ci::Judge(_) | Ci::LabMember(_) => unreachable!("handled above"),
        Ci::Forbidden { .. } => unreachable!("handled above"),
    };
    report.finish();
    outcome
}

/// All paths of this crate are relative to the root of the workspace, wherever in it the command was given.
fn go_to_the_root() -> Result<()> {
    let output = step::cargo()
        .args(["locate-project", "--workspace", "--message-format", "plain"])
        .output()
        .context("cargo does not start")?;
    let manifest = String::from_utf8(output.stdout).context("the path of the workspace is not UTF-8")?;
    let root = std::path::Path::new(manifest.trim()).parent().context("no workspace here")?;
    std::env::set_current_dir(root).with_context(|| format!("cannot enter {}", root.display()))
}

/// A command as a person would type it.
fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
