//! Reads a group from outside: nobody is held up by whoever only reads.

use std::process::ExitCode;
use std::time::Duration;

use sistrum::{Config, Event, JoinOptions, Node, Rank, View};

use super::options::Place;
use super::seat::{self, Hears};
use crate::refusal::Refusal;
use crate::signals::Signals;

/// Prints what is cast, and what becomes of the group, until it is stopped.
pub(super) fn run(name: &str, place: &Place, is_eager: bool) -> Result<ExitCode, Refusal> {
    if !place.seeds.is_empty() {
        return Err(Refusal::new(
            "--seeds: whoever is in no view is sent nothing by unicast; join the group, by `sistrum group watch`",
        ));
    }
    let mut node = Node::open(Config::loopback("read")).map_err(Refusal::new)?;
    let reader = JoinOptions::reader().of_peers();
    let options = place.apply(if is_eager { reader.eager() } else { reader });
    node.join(name, options).map_err(Refusal::new)?;
    eprintln!("I look for {name}");
    let (mut signals, mut told): (_, Option<View>) = (Signals::listen()?, None);
    while signals.take().is_none() {
        let heard = node.poll_for(Duration::from_millis(20), |_, event| {
            if let Event::View(view) = event {
                told = Some(view.clone());
            }
            seat::tell(told.as_ref(), &event, &Hears::Raw);
            tell(told.as_ref(), &event);
            Ok(())
        });
        heard.map_err(Refusal::new)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what only a reader is told.
fn tell(view: Option<&View>, event: &Event<'_>) {
    let of = |rank: &Rank, blocks: &u64| {
        let member = view.and_then(|view| view.member(*rank));
        let place = member.map_or_else(|| rank.to_string(), |member| member.endpoint.to_string());
        format!("{blocks} blocks of {place}")
    };
    match event {
        Event::Gap(rank, blocks) => eprintln!("lost: {}", of(rank, blocks)),
        Event::Retracted(rank, blocks) => eprintln!("nobody else was told: the last {}", of(rank, blocks)),
        Event::Missed(view) => eprintln!("lost: how {} ended, and what came behind it", view.number),
        _ => {}
    }
}
