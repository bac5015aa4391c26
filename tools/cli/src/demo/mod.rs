//! `sistrum demo`: a real capture, published by one process and received, complete and in order, by several others.
//!
//! ```text
//! parent --stdin/stdout--> publisher ==multicast==> s1 .. sN     (processes of this host)
//!   |  hashes the file          casts it                hash what `poll` hands them
//!   `---------------------- compares: equal, or exit status 1
//! ```
//! The parent reads the capture by itself and never hears a message: what it compares are the digests.

mod fault;
mod frame;
mod json_file;
mod lines;
mod member;
mod options;
mod parent;
mod process;
mod publisher;
mod report;
mod sample;
mod setup;
mod show;
mod subscriber;
mod verdict;

// What the demo has of the library, under a name that says so: the command is called `sistrum`, too.
use sistrum as api;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

pub(crate) use options::{Medium, Options, Pace, pace, percent};

use crate::capture::Feed;
use crate::digest::Digest;
use crate::refusal::Refusal;
use json_file::JsonFile;
use parent::{Parent, Trouble};
use report::Report;
use setup::Setup;

/// Runs the demo; true when every subscriber came to the digest of the file.
///
/// # Errors
/// When it cannot start: then nothing was left behind.
pub(crate) fn run(options: &Options) -> Result<bool, Refusal> {
    let setup = Setup::check(options)?;
    let truth = Digest::of(&load(options.file.as_deref())?);
    let json = options.json.as_deref().map(JsonFile::prepare).transpose()?;
    let mut parent = Parent::start(options, &setup, truth.messages)?;
    let opened = parent.open();
    if let Err(Trouble::Refused(why)) = opened {
        return Err(refusal(options, &why));
    }
    print(&setup.first_line());
    let outcome = parent.conduct(opened);
    let report = Report::judge(options, &truth, &outcome);
    print(&report.to_text(options));
    if let Some(json) = json {
        json.commit(&report.to_json())?;
    }
    Ok(report.ok)
}

/// What a member refused, in the words of the command line: there, a block's size is asked for by the packet's.
fn refusal(options: &Options, why: &str) -> Refusal {
    match options.mtu {
        Some(mtu) if why.starts_with("block_size") => Refusal::new(format_args!("MTU {mtu}: {why}")),
        _ => Refusal::new(why),
    }
}

/// Plays one process of a running demo.
pub(crate) fn member() -> ExitCode {
    member::run()
}

/// Prints to standard output. That nobody reads it (a closed pipe) does not change how the run went.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// The capture at `path`, or the embedded sample.
fn load(path: Option<&Path>) -> Result<Feed, Refusal> {
    match path {
        None => sample::feed().map_err(|error| Refusal::new(format_args!("the embedded sample: {error}"))),
        Some(path) => {
            Feed::open(path).map_err(|error| Refusal::new(format_args!("{}: {error}", path.display())))
        }
    }
}
