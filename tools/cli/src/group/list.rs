//! Who is in groups, seen from outside: nobody is held up by whoever only looks.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use sistrum::{Config, Event, JoinOptions, Node, Sighting, ViewId};

use super::options::Place;
use crate::print;
use crate::refusal::Refusal;
use crate::signals::Signals;

/// Who has not answered so long after another did, is not there: there may be several lives of one group.
const ANOTHER: Duration = Duration::from_millis(150);

/// Looks for groups, for a while or until it is stopped.
pub(super) fn run(names: &[String], place: &Place, within: Option<Duration>) -> Result<ExitCode, Refusal> {
    let config = Config { groups: names.len(), ..Config::loopback("list") };
    let mut node = Node::open(config).map_err(Refusal::new)?;
    let mut groups = Vec::new();
    for name in names {
        groups.push(node.join(name, place.apply(JoinOptions::observer())).map_err(Refusal::new)?);
    }
    let name_of = |view: ViewId| {
        let at = groups.iter().position(|group| group.id() == view.group);
        at.map_or("?", |at| names[at].as_str())
    };
    let mut signals = Signals::listen()?;
    let (began, mut last, mut seen) = (Instant::now(), Instant::now(), vec![false; names.len()]);
    while signals.take().is_none() {
        let is_whole = !seen.contains(&false) && last.elapsed() >= ANOTHER;
        let is_over = |within: Duration| began.elapsed() >= within || is_whole;
        if within.is_some_and(is_over) {
            break;
        }
        let mut note = |view: ViewId, is_there| {
            last = Instant::now();
            seen.iter_mut()
                .zip(&groups)
                .filter(|(_, group)| group.id() == view.group)
                .for_each(|(seen, _)| *seen = is_there);
        };
        let heard = node.poll_for(Duration::from_millis(20), |_, event| {
            match event {
                Event::Seen(sighting) => {
                    note(sighting.view, true);
                    print(&shown(name_of(sighting.view), sighting));
                }
                Event::Unseen(view) => {
                    print(&format!("{}: nobody of {} answers", name_of(view), view.number))
                }
                _ => {}
            }
            Ok(())
        });
        heard.map_err(Refusal::new)?;
    }
    for (name, _) in names.iter().zip(&seen).filter(|(_, seen)| !**seen) {
        print(&format!("{name}: nobody answers"));
    }
    Ok(if seen.contains(&false) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A group as one line: its life, its view, and its members by age.
fn shown(name: &str, sighting: &Sighting) -> String {
    let members: Vec<String> = sighting.members.iter().map(|member| member.endpoint.to_string()).collect();
    let state = if sighting.is_wedged { ", cannot go on" } else { "" };
    let ViewId { instance, number, .. } = sighting.view;
    format!("{name}: life {instance}, {number} of {}: {}{state}", members.len(), members.join(" "))
}
