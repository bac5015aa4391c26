//! `sistrum demo --failover`: a feed that survives its publisher.
//!
//! ```text
//! p1 publishes, p2 stands by ==multicast==> s1 .. sN      each keeps the last message of every instrument
//!   sN is killed                        the others go on without it
//!   late joins                          it takes the state over, and is handed exactly what comes behind it
//!   p1 is killed at full speed          p2 goes on behind what was delivered: to all who are left, the same
//! ```
//! The parent reads the capture by itself, and hears nothing but what the members say they have: no message may be missing, doubled or
//! out of its order at any of them, and the state of all is that which the capture gives.

mod book;
mod frame;
mod lines;
mod member;
mod report;
mod stage;

pub(crate) use member::run as member;

use super::json_file::JsonFile;
use super::options::Options;
use super::setup::Setup;
use super::source::Source;
use crate::print;
use crate::refusal::Refusal;
use report::Report;
use stage::{Stage, Trouble};

/// Runs it; true when nobody lost anything.
///
/// # Errors
/// When it cannot start: then nothing was left behind.
pub(super) fn run(options: &Options) -> Result<bool, Refusal> {
    let setup = Setup::check(options)?;
    if options.members < 2 {
        return Err(Refusal::new("--failover wants two subscribers at least: one is killed"));
    }
    let (source, _) = Source::all(options)?.swap_remove(0);
    let json = options.json.as_deref().map(JsonFile::prepare).transpose()?;
    let mut stage = Stage::set(options, &setup, &source)?;
    let opened = stage.open();
    if let Err(Trouble::Refused(why)) = opened {
        return Err(super::refusal(options, &why));
    }
    print(&setup.first_line());
    let outcome = stage.conduct(opened);
    let report = Report::judge(options, &source, &outcome)?;
    print(&report.to_text());
    if let Some(json) = json {
        json.commit(&report.to_json())?;
    }
    Ok(report.ok)
}
