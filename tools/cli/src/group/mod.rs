//! `sistrum group`: a group by hand, between terminals.
//!
//! ```text
//! lines of standard input --> join ==casts==> all members --> lines of standard output
//! ```
//! What is said of the group, views above all, goes to standard error; messages go to standard output.

mod ask;
mod call;
mod list;
mod member;
mod options;
mod outcome;
mod read;
mod root;
mod route;
mod seat;
mod sight;
mod table;
mod wait;

pub(crate) use options::Command;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use sistrum::{Error, Node};

use crate::refusal::Refusal;
use member::{Member, Voice};
use seat::Answer;

/// Who cannot leave for so long, or is not heard to, just goes: the others find out.
const LEAVES_WITHIN: Duration = Duration::from_secs(2);

/// Lets a node that leaves go on until it has left, or for long enough.
fn see_off(node: &mut Node, has_left: impl Fn(&Node) -> bool) -> Result<(), Error> {
    let began = Instant::now();
    while !has_left(node) && began.elapsed() < LEAVES_WITHIN {
        node.poll_for(Duration::from_millis(20), |_, _| Ok(()))?;
    }
    Ok(())
}

/// Does it; the process's exit status.
///
/// # Errors
/// When it cannot start, or its input is bad.
pub(crate) fn run(command: &Command) -> Result<ExitCode, Refusal> {
    let (common, voice, hears) = match command {
        Command::List { names, place, within, watch } => {
            return list::run(names, place, (!watch).then_some(*within));
        }
        Command::Read { name, eager, place } => return read::run(name, place, *eager),
        Command::Wait { name, what, place, within } => return wait::run(name, place, what, *within),
        Command::Ask { name, place, inquiry } => return ask::run(name, place, inquiry),
        Command::Root { common } => return root::run(common),
        Command::Leaves { root, add, remove, place, within } => {
            let changes: Vec<_> = remove.iter().chain(add).cloned().collect();
            return route::leaves(root, place, *within, &changes);
        }
        Command::Route { root, key, place, inquiry } => return route::ask(root, place, key, inquiry),
        Command::Call { common, question } => return call::run(common, question),
        Command::Join { common, order, answers, reads } => {
            (common, Voice::Lines(*order), reads.hears(answers.chosen()))
        }
        Command::Watch { common, reads } => (common, Voice::Silent, reads.hears(Answer::Null)),
        Command::Cast { common, order, message, reads } => {
            (common, Voice::Once(*order, message.clone()), reads.hears(Answer::Null))
        }
    };
    match Member::open(common, voice, hears)?.live() {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::FAILURE),
        Err(why) => {
            eprintln!("sistrum: {}", Refusal::new(why));
            Ok(ExitCode::FAILURE)
        }
    }
}
