//! Who is in groups, seen from outside: nobody is held up by whoever only looks.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use sistrum::{Config, Event, JoinOptions, Node, Sighting, ViewId};

use super::options::Place;
use super::sight::Sight;
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
    if within.is_none() {
        eprintln!("I look for {}", names.join(", "));
    }
    let (began, mut last, mut sight) = (Instant::now(), Instant::now(), Sight::default());
    while signals.take().is_none() {
        let is_whole = groups.iter().all(|group| sight.has(group.id())) && last.elapsed() >= ANOTHER;
        if within.is_some_and(|within| began.elapsed() >= within || is_whole) {
            break;
        }
        let heard = node.poll_for(Duration::from_millis(20), |_, event| {
            if sight.note(&event) {
                last = Instant::now();
            }
            match event {
                Event::Seen(sighting) => print(&shown(name_of(sighting.view), sighting)),
                Event::Unseen(view) => {
                    print(&format!("{}: nobody of {} answers", name_of(view), view.number));
                }
                _ => {}
            }
            Ok(())
        });
        heard.map_err(Refusal::new)?;
    }
    let mut code = ExitCode::SUCCESS;
    for (name, _) in names.iter().zip(&groups).filter(|(_, group)| !sight.has(group.id())) {
        print(&format!("{name}: nobody answers"));
        code = ExitCode::FAILURE;
    }
    Ok(code)
}

/// A group as one line: its life, its view, and its members by age.
fn shown(name: &str, sighting: &Sighting) -> String {
    let members: Vec<String> = sighting.members.iter().map(|member| member.endpoint.to_string()).collect();
    let state = if sighting.is_wedged { ", cannot go on" } else { "" };
    let ViewId { instance, number, .. } = sighting.view;
    format!("{name}: life {instance}, {number} of {}: {}{state}", members.len(), members.join(" "))
}
