//! Who asks by the root of a hierarchy: which leaf groups there are, and what the one of a key says.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use sistrum::{
    Config, Dest, JoinOptions, Node, Outcome, RouteId, Router, RouterEvent, Status, ViewMember, Want,
};

use super::options::{Change, Place};
use super::seat::line;
use crate::print;
use crate::refusal::Refusal;
use crate::signals::Signals;

/// A client of the root.
struct Asker {
    node: Node,
    router: Router,
    signals: Signals,
    until: Instant,
}

impl Asker {
    fn open(root: &str, place: &Place, within: Duration) -> Result<Self, Refusal> {
        let mut node = Node::open(Config::loopback("route")).map_err(Refusal::new)?;
        let root = node.join(root, place.apply(JoinOptions::client())).map_err(Refusal::new)?;
        let router = Router::new(root, JoinOptions::client().cluster(place.cluster.clone()));
        Ok(Self { node, router, signals: Signals::listen()?, until: Instant::now() + within })
    }

    /// The next event; none when it was stopped, or waited for too long.
    fn next(&mut self) -> Result<Option<RouterEvent>, Refusal> {
        let Self { node, router, signals, until } = self;
        while Instant::now() < *until && signals.take().is_none() {
            if let Some(event) = router.poll(node).map_err(Refusal::new)? {
                return Ok(Some(event));
            }
            node.poll_for(Duration::from_millis(20), |cx, event| {
                router.handle(cx, &event);
                Ok(())
            })
            .map_err(Refusal::new)?;
        }
        Ok(None)
    }

    /// What the root says to a change.
    fn told(&mut self, route: RouteId) -> Result<Option<Result<(), String>>, Refusal> {
        while let Some(event) = self.next()? {
            if let RouterEvent::Told(told, what) = event
                && told == route
            {
                return Ok(Some(what));
            }
        }
        Ok(None)
    }
}

/// Changes which leaf groups there are, and shows them. Exits with 1 when the root refuses, and with 3 when it was not over in time.
pub(super) fn leaves(
    root: &str,
    place: &Place,
    within: Duration,
    changes: &[Change],
) -> Result<ExitCode, Refusal> {
    let mut asker = Asker::open(root, place, within)?;
    for change in changes {
        let route = match change {
            Change::Add(leaf, seeds) => asker.router.add(leaf, seeds.clone()),
            Change::Remove(leaf) => asker.router.remove(leaf),
        };
        match asker.told(route.map_err(Refusal::new)?)? {
            Some(Ok(())) => {}
            Some(Err(why)) => {
                eprintln!("{why}");
                return Ok(ExitCode::FAILURE);
            }
            None => return Ok(late()),
        }
    }
    let look = asker.router.look().map_err(Refusal::new)?;
    if asker.told(look)?.is_none() {
        return Ok(late());
    }
    for (name, leaf) in asker.router.map().leaves() {
        let state = if leaf.is_up { "up" } else { "down" };
        print(&format!(
            "{name}: {state}{}",
            leaf.seeds.iter().map(|seed| format!(" {seed}")).collect::<String>()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks the leaf of a key, and prints each reply. Exits as a call does.
pub(super) fn ask(
    root: &str,
    place: &Place,
    within: Duration,
    (key, message): (&str, &str),
    want: Want,
) -> Result<ExitCode, Refusal> {
    let mut asker = Asker::open(root, place, within)?;
    let asked = asker.router.ask(key.as_bytes(), Dest::All, want, message.as_bytes());
    asked.map_err(Refusal::new)?;
    while let Some(event) = asker.next()? {
        match event {
            RouterEvent::Done { leaf, outcome, replies, .. } => return Ok(ended(&leaf, outcome, &replies)),
            RouterEvent::Refused(_, why) => return Err(Refusal::new(why)),
            _ => {}
        }
    }
    Ok(late())
}

fn ended(leaf: &str, outcome: Outcome, replies: &[(ViewMember, Status)]) -> ExitCode {
    for (who, status) in replies {
        match status {
            Status::Replied(reply) => print(&line(*who, reply)),
            Status::Aborted(why) => eprintln!("{} has ended it: {why}", who.endpoint),
            Status::Null => eprintln!("{} does not reply", who.endpoint),
            Status::Dead => eprintln!("{} is gone", who.endpoint),
            Status::Waiting | Status::Forwarded(_) => {}
        }
    }
    match outcome {
        Outcome::Enough => {
            eprintln!("enough of {leaf} have replied");
            ExitCode::SUCCESS
        }
        Outcome::NotEnough => {
            eprintln!("not enough of {leaf} have replied");
            ExitCode::FAILURE
        }
        Outcome::Unknown => {
            eprintln!("{leaf} went down: it may have done it or not");
            ExitCode::from(3)
        }
    }
}

fn late() -> ExitCode {
    eprintln!("it is not over");
    ExitCode::from(3)
}
