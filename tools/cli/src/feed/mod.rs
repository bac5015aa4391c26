//! `sistrum feed`: publish and subscribe by hand, between terminals or hosts.
//!
//! ```text
//! file or pipe --> publish ==multicast or unicast==> subscribe --> digest, and a file or a pipe on request
//! ```
//! Everybody is given the list of all. The end of the stream carries the publisher's digest, so that each subscriber can
//! tell by itself that nothing is missing. What is said to people goes to standard error; the summary goes to standard
//! output, unless the messages go there.

mod api;
mod frame;
mod lag;
mod losses;
mod members;
mod named;
mod options;
mod place;
mod publish;
mod rate;
mod seat;
mod sink;
mod subscribe;
mod summary;

use std::process::ExitCode;

pub(crate) use options::Command;

use crate::refusal::Refusal;

/// Publishes or subscribes; the process's exit status.
///
/// # Errors
/// When it cannot start, or its input is bad.
pub(crate) fn run(command: &Command) -> Result<ExitCode, Refusal> {
    match command {
        Command::Publish(options) => publish::run(options),
        Command::Subscribe(options) => subscribe::run(options),
    }
}

/// Why a process of the feed stops before the end of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stop {
    /// This signal asked for it.
    Signal(u8),
    /// Something went wrong that is not the input's fault.
    Wrong(String),
    /// The input is bad.
    BadInput(String),
}

impl Stop {
    /// The exit status of a process that stopped so.
    fn status(&self) -> u8 {
        match self {
            Self::Signal(number) => 128 + number,
            Self::Wrong(_) => 1,
            Self::BadInput(_) => 2,
        }
    }

    fn wrong(error: impl std::fmt::Display) -> Self {
        Self::Wrong(error.to_string())
    }
}

/// Says how it went, and in one line why it went wrong; the process's exit status.
fn end(summary: &summary::Summary, stop: Option<Stop>, json: bool, stdout_is_taken: bool) -> ExitCode {
    summary.print(json, stdout_is_taken);
    match &stop {
        Some(Stop::Wrong(why) | Stop::BadInput(why)) => eprintln!("sistrum: {}", Refusal::new(why)),
        Some(Stop::Signal(_)) | None => {}
    }
    stop.map_or(ExitCode::SUCCESS, |stop| ExitCode::from(stop.status()))
}
