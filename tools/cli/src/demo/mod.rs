//! `sistrum demo`: real captures, published by one process or several, and received by others, complete and in the order that
//! was promised.
//!
//! ```text
//! parent --stdin/stdout--> publishers ==multicast==> s1 .. sN     (processes of this host)
//!   |  hashes the files         cast them                hash what `poll` hands them, as publishers do with each other's
//!   `---------------------- compares: equal, or exit status 1
//! ```
//! The parent reads the captures by itself and never hears a message: what it compares are the digests.

mod failover;
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
mod source;
mod subscriber;
mod tally;
mod verdict;

// What the demo has of the library, under a name that says so: the command is called `sistrum`, too.
use sistrum as api;

use std::process::ExitCode;

pub(crate) use failover::member as failover_member;
pub(crate) use options::{Medium, Options, Pace, pace, percent};

use crate::print;
use crate::refusal::Refusal;
use json_file::JsonFile;
use parent::{Parent, Trouble};
use report::Report;
use setup::Setup;
use source::Source;
use verdict::Promise;

/// Runs the demo; true when every member came to the digests of the files, in the order that was promised.
///
/// # Errors
/// When it cannot start: then nothing was left behind.
pub(crate) fn run(options: &Options) -> Result<bool, Refusal> {
    if options.failover {
        return failover::run(options);
    }
    let setup = Setup::check(options)?;
    if options.kill.is_some() && options.members < 2 {
        return Err(Refusal::new("--kill wants two subscribers at least: who is left has to be a majority"));
    }
    let (sources, truth): (Vec<_>, Vec<_>) = Source::all(options)?.into_iter().unzip();
    let promise = Promise { order: options.order, truth };
    let json = options.json.as_deref().map(JsonFile::prepare).transpose()?;
    let mut parent = Parent::start(options, &setup, &promise, sources)?;
    let opened = parent.open();
    if let Err(Trouble::Refused(why)) = opened {
        return Err(refusal(options, &why));
    }
    print(&setup.first_line());
    let outcome = parent.conduct(opened);
    let report = Report::judge(options, &promise, &outcome);
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
