//! Who asks by the root of a hierarchy: which leaf groups there are, and what the one of a key says.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use sistrum::{Config, Dest, JoinOptions, Node, RouteId, Router, RouterEvent, Status, ViewMember};

use super::options::{Change, Inquiry, Place};
use super::outcome::{Outcome, Report};
use super::seat::say;
use super::see_off;
use crate::print;
use crate::refusal::Refusal;
use crate::signals::Signals;

/// The leaf that was asked, how that has ended, and what has become of it there.
type Ended = (Option<String>, Outcome, Vec<(ViewMember, Status)>);

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
            if let Some(event) = router.poll(node) {
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

    /// The next request that is over, and the leaf that it went to.
    fn ended(&mut self) -> Result<Ended, Refusal> {
        while let Some(event) = self.next()? {
            match event {
                RouterEvent::Done { leaf, outcome, replies, .. } => {
                    return Ok((Some(leaf), Outcome::from(outcome), replies));
                }
                RouterEvent::Refused(_, why) => return Err(Refusal::new(why)),
                _ => {}
            }
        }
        // The first map that says anything has another epoch.
        let is_found = self.router.map().epoch() > 0;
        Ok((None, if is_found { Outcome::NotOver } else { Outcome::Nobody }, Vec::new()))
    }

    /// Has the root make these changes, and tell its map.
    fn change(&mut self, changes: &[Change]) -> Result<Outcome, Refusal> {
        for change in changes {
            let route = match change {
                Change::Add(leaf, seeds) => self.router.add(leaf, seeds.clone()),
                Change::Remove(leaf) => self.router.remove(leaf),
            };
            match self.told(route.map_err(Refusal::new)?)? {
                Some(Ok(())) => {}
                Some(Err(why)) => {
                    eprintln!("{why}");
                    return Ok(Outcome::NotEnough);
                }
                None => return Ok(Outcome::NotOver),
            }
        }
        let look = self.router.look().map_err(Refusal::new)?;
        Ok(if self.told(look)?.is_some() { Outcome::Enough } else { Outcome::NotOver })
    }

    /// Asks everything of the leaf of this key; how the first ended that did not go well.
    fn ask_all(&mut self, root: &str, key: &str, inquiry: &Inquiry) -> Result<Outcome, Refusal> {
        let Inquiry { messages, want, any, json, .. } = inquiry;
        let dest = if *any { Dest::Any } else { Dest::All };
        for message in messages {
            let asked = self.router.ask(key.as_bytes(), dest, *want, message.as_bytes());
            asked.map_err(Refusal::new)?;
        }
        let mut worst = Outcome::Enough;
        for _ in messages {
            let (leaf, outcome, replies) = self.ended()?;
            for (who, status) in &replies {
                if let (Status::Replied(reply), false) = (status, json) {
                    say(&who.endpoint.to_string(), reply);
                }
            }
            if let Some(leaf) = &leaf {
                eprintln!("asked {leaf}");
            }
            let asked = leaf.unwrap_or_else(|| format!("{root}, or it has no leaf group"));
            Report::new(&asked, outcome, &replies).show(*json);
            if worst == Outcome::Enough {
                worst = outcome;
            }
        }
        Ok(worst)
    }

    /// Says goodbye, so that nobody has to find out.
    fn leave(self) -> Result<(), Refusal> {
        let Self { mut node, mut router, .. } = self;
        router.leave(&mut node);
        see_off(&mut node, |node| router.has_left(node)).map_err(Refusal::new)
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

/// Changes which leaf groups there are, removes before it adds, and shows them. Exits with 1 when the root refuses, and with 3 when it was not over
/// in time.
pub(super) fn leaves(
    root: &str,
    place: &Place,
    within: Duration,
    changes: &[Change],
) -> Result<ExitCode, Refusal> {
    let mut asker = Asker::open(root, place, within)?;
    let changed = asker.change(changes);
    if let Ok(Outcome::Enough) = changed {
        if asker.router.map().leaves().next().is_none() {
            eprintln!("{root} has no leaf groups: --add LEAF adds one");
        }
        for (name, leaf) in asker.router.map().leaves() {
            let state = if leaf.is_up { "up" } else { "down" };
            let seeds: String = leaf.seeds.iter().map(|seed| format!(" {seed}")).collect();
            print(&format!("{name}: {state}{seeds}"));
        }
    }
    if let Ok(Outcome::NotOver) = changed {
        eprintln!("{root} does not answer");
    }
    let left = asker.leave();
    let outcome = changed?;
    left?;
    Ok(outcome.code())
}

/// Asks the leaf of a key, and prints each reply. Exits as `ask` does.
pub(super) fn ask(root: &str, place: &Place, key: &str, inquiry: &Inquiry) -> Result<ExitCode, Refusal> {
    let mut asker = Asker::open(root, place, inquiry.timeout.unwrap_or(FOR_EVER))?;
    let asked = asker.ask_all(root, key, inquiry);
    let left = asker.leave();
    let outcome = asked?;
    left?;
    Ok(outcome.code())
}

/// Who waits for so long waits until it is stopped.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);
