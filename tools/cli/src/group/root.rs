//! A member of the root of a hierarchy: it says which leaf groups there are.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use sistrum::{Config, Event, JoinOptions, Node, Root, RootEvent, StateTuning, View};

use super::LEAVES_WITHIN;
use super::options::Common;
use super::seat::{self, Hears};
use crate::refusal::Refusal;
use crate::signals::Signals;

/// Serves until it is stopped, and says what becomes of the leaves.
pub(super) fn run(common: &Common) -> Result<ExitCode, Refusal> {
    if common.state {
        return Err(Refusal::new("--state: a root keeps a state of its own, and no other"));
    }
    let config = Config { port: common.port, ..Config::loopback("root") };
    let mut node = Node::open(config).map_err(Refusal::new)?;
    let options = JoinOptions::peer().expected_members(common.expected).suspect_after(common.suspect_after);
    let options = common.place.apply(options).keep_state(StateTuning::default());
    let group = node.join(&common.name, options).map_err(Refusal::new)?;
    let leaves = JoinOptions::observer().cluster(common.place.cluster.clone());
    let mut root = Root::new(&node, group, leaves);
    eprintln!("I am {}, and look for {}", node.endpoint(), common.name);
    let (mut signals, mut told) = (Signals::listen()?, None);
    let mut lived = Ok(());
    while lived.is_ok() && signals.take().is_none() {
        lived = turn(&mut node, &mut root, &mut told);
    }
    node.leave(&group);
    let began = Instant::now();
    while !node.has_left(&group) && began.elapsed() < LEAVES_WITHIN && signals.take().is_none() {
        lived = lived.and(turn(&mut node, &mut root, &mut told));
    }
    lived?;
    Ok(ExitCode::SUCCESS)
}

fn turn(node: &mut Node, root: &mut Root, told: &mut Option<View>) -> Result<(), Refusal> {
    node.poll_for(Duration::from_millis(20), |cx, mut event| {
        let is_its = root.handle(cx, &mut event)?;
        if let Event::View(view) = &event {
            *told = Some((*view).clone());
        }
        if !is_its {
            seat::tell(told.as_ref(), &event, &Hears::Replies);
        }
        Ok(())
    })
    .map_err(Refusal::new)?;
    while let Some(event) = root.poll(node).map_err(Refusal::new)? {
        match event {
            RootEvent::Added(leaf) => eprintln!("{leaf} is a leaf"),
            RootEvent::Removed(leaf) => eprintln!("{leaf} is no leaf any more"),
            RootEvent::Up(leaf) => eprintln!("{leaf} is up"),
            RootEvent::Down(leaf) => eprintln!("{leaf} is down"),
            RootEvent::Unwatched(leaf, why) => eprintln!("{leaf} cannot be looked at: {why}"),
            RootEvent::Joined(client) => eprintln!("{} is a client", client.endpoint),
            RootEvent::Gone(client) => eprintln!("{} is no client any more", client.endpoint),
            _ => {}
        }
    }
    Ok(())
}
