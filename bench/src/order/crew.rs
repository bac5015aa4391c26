//! Several members in two threads: each thread polls its own in turn, and yields when none of them had anything to do.
//!
//! More members than cores must not all spin: a member's time between polls is then part of every figure, for all orders alike.

use crate::floor::group_address;
use crate::pins::Pins;
use crate::{Failure, Span};
use sistrum::{Caster, Config, Endpoint, Event, Group, JoinOptions, MediumChoice, Node, Order, TotalMode};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// What a crew is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    pub(super) members: usize,
    /// The ranks below it live in the first thread, the others in the second.
    pub(super) split: usize,
    pub(super) order: Order,
    pub(super) mode: TotalMode,
    pub(super) medium: MediumChoice,
    /// Bytes of a message.
    pub(super) size: usize,
    pub(super) span: Span,
}

/// One member.
pub(super) struct Member {
    pub(super) rank: usize,
    pub(super) node: Node,
    pub(super) group: Group,
}

/// Runs both threads to their end: each is handed its own members, all of whom have their view.
pub(super) fn run<L: Send, R: Send>(
    setup: &Setup,
    pins: &Pins,
    left: impl FnOnce(Vec<Member>, &AtomicBool) -> Result<L, Failure> + Send,
    right: impl FnOnce(Vec<Member>, &AtomicBool) -> Result<R, Failure> + Send,
) -> Result<(L, R), Failure> {
    let (to_right, from_left) = channel();
    let (to_left, from_right) = channel();
    pins.pair(
        move |stop| left(join(setup, 0..setup.split, &to_right, &from_right)?, stop),
        move |stop| right(join(setup, setup.split..setup.members, &to_left, &from_left)?, stop),
    )
}

/// Opens the members of `ranks` and joins them with those of the other thread.
fn join(
    setup: &Setup,
    ranks: Range<usize>,
    to: &Sender<Vec<Endpoint>>,
    from: &Receiver<Vec<Endpoint>>,
) -> Result<Vec<Member>, Failure> {
    let nodes = ranks.clone().map(|_| Node::open(config(setup))).collect::<sistrum::Result<Vec<_>>>()?;
    let mine: Vec<_> = nodes.iter().map(Node::endpoint).collect();
    to.send(mine.clone())?;
    let theirs = from.recv().map_err(|_| "the other thread did not open")?;
    let list = if ranks.start == 0 { [mine, theirs].concat() } else { [theirs, mine].concat() };
    let address = SocketAddr::from(group_address(GROUP));
    let mut members = Vec::new();
    for (mut node, rank) in nodes.into_iter().zip(ranks) {
        let options = JoinOptions::members(list.clone()).multicast(address).total(setup.mode);
        let group = node.join("bench order", options)?;
        members.push(Member { rank, node, group });
    }
    let (started, is_first) = (Instant::now(), list[0] == members[0].node.endpoint());
    // What comes while members wait is handed to nobody. So the first thread, where the ring begins, waits for the other one; that
    // one has the listener, and does not wait.
    let mut waits_for_other = is_first;
    while waits_for_other || members.iter().any(|member| member.node.view(&member.group).is_none()) {
        turn(&mut members, |_, _, _, _| Ok(()))?;
        waits_for_other = waits_for_other && from.try_recv().is_err();
        if started.elapsed() > STUCK {
            return Err("order: no view".into());
        }
    }
    if !is_first {
        to.send(Vec::new())?;
    }
    Ok(members)
}

fn config(setup: &Setup) -> Config {
    let mut config = Config::loopback("bench");
    config.medium = setup.medium;
    config
}

/// One cycle of every member of a thread; the handler is told whose event it is.
pub(super) fn turn<H>(members: &mut [Member], mut handler: H) -> Result<(), Failure>
where
    H: FnMut(usize, &Group, &mut Caster<'_>, &Event<'_>) -> sistrum::Result<()>,
{
    let mut work = 0;
    for Member { rank, node, group } in members {
        work += node.poll(|caster, event| handler(*rank, group, caster, &event))?;
    }
    if work == 0 {
        std::thread::yield_now();
    }
    Ok(())
}

/// Without progress for so long, a bench gives up.
pub(super) const STUCK: Duration = Duration::from_secs(5);
/// Which of the bench's groups this is.
const GROUP: u8 = 140;
