//! All groups of a node as one protocol, and the caster that a handler replies with.

use crate::joined::Joined;
use crate::lagging;
use crate::{
    Behind, CaughtUp, Cause, ClientEvent, Conflict, Departure, Endpoint, Eviction, FlushId, GroupId, Holdup,
    Lag, Promise, Rank, Refused, Result, Seq, Sighting, Snapshot, StateBlock, TransferError, View, ViewId,
    ViewMember, ViewNumber,
};
use sistrum_membership as membership;
use sistrum_membership::lag::Backlog;
use sistrum_transport::log::{RxBlock, RxPool};
use sistrum_transport::protocol::{Protocol, Route, Transmit};
use sistrum_transport::reliable::Message;
use sistrum_transport::time::Instant;
use sistrum_transport::wire::Header;
use std::ops::ControlFlow;
use std::time::Duration;

/// A group that this node has joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Group {
    pub(crate) index: u16,
    pub(crate) id: GroupId,
}

impl Group {
    /// The id of its name.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.id
    }
}

/// What a node hands to its application.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A view was installed: casts are possible from here on. To a reader of peers, it is read from here on.
    View(&'a View),
    /// A message, borrowed: copy what is to stay.
    Deliver(Message<'a>),
    /// A message that was sent to me alone, borrowed likewise: see [`Node::send`](crate::Node::send).
    Direct(Message<'a>),
    /// A cast that is ordered against everything else: see [`Node::cast_sync`](crate::Node::cast_sync). Borrowed likewise.
    Sync {
        /// Who cast it.
        from: ViewMember,
        /// The view that begins behind it, told where its members are others.
        next: ViewNumber,
        /// What it says.
        bytes: &'a [u8],
    },
    /// The state is wanted, for those who join in the view that is told next, or [for a reader](Snapshot::is_for_reader): write down what
    /// there is of it now. Only those are asked who
    /// [keep it](crate::JoinOptions::keep_state). A cast of mine that goes into the next view ([`Caster::is_ahead`]) is not in it.
    Snapshot(&'a mut Snapshot),
    /// I join a group that has a state, and this is some of it. Behind the last of it comes [`View`](Self::View).
    State(StateBlock<'a>),
    /// I could not take the state over, for this reason: I leave the group. A reader reads on without it.
    TransferFailed(&'a TransferError),
    /// Only these of the view are heard, and they are too few to go on, or none of them has what is lacking here of the view that was
    /// decided: casts are refused until [`Resumed`](Self::Resumed).
    Wedged(&'a [Rank]),
    /// It goes on again.
    Resumed,
    /// I look for the group to join it, and these are its members: they cannot go on, since most are gone, and take nobody in. I wait. Told again
    /// where that has changed; where it goes on, and I am not in it yet, [`is_wedged`](Sighting::is_wedged) is false.
    Stuck(&'a Sighting),
    /// My casts are refused because of this member, and were for as long as [`Config::tuning`](crate::Config::tuning)`.held_back_ns` says, a
    /// second by default: told again each time that it has lasted twice as long.
    HeldBack(Holdup),
    /// They are not refused because of it any more, after so long: told once of who was told to hold back. A new view ends it without a word.
    Released(Rank, Duration),
    /// The others have gone on without me, to this view. There is no view here until the next one, to which I come as somebody new, unless
    /// I [stay out](crate::JoinOptions::stay_out).
    Excluded(ViewNumber),
    /// A member of the list cannot be in one group with me, for this reason. Said once for each.
    Conflict(Endpoint, Conflict),
    /// A member is gone, and all that it cast has been delivered: it gates nobody any more.
    Left(Rank, Departure),
    /// Every member holds what this [flush](crate::Node::flush) covers.
    Flushed(FlushId),
    /// As an observer I see who is in the group: at first, and whenever that has changed.
    Seen(&'a Sighting),
    /// As a client I am told this: see [`Node::ask`](crate::Node::ask).
    Client(&'a ClientEvent),
    /// Somebody who is no member says this: a [`Service`](crate::Service) takes it.
    Letter {
        /// Where it comes from.
        from: Endpoint,
        /// What it says.
        bytes: &'a [u8],
    },
    /// As an observer I have had no answer for a while: nobody of this view is in sight any more.
    Unseen(ViewId),
    /// As a reader I enter a member's stream at this block, with the next message that begins.
    Reading(Rank, Seq),
    /// As a reader I have lost so many blocks of a member's stream for good, and go on behind them.
    Gap(Rank, u64),
    /// As an [eager](crate::JoinOptions::eager) reader I was handed so many blocks of a member's stream, the last ones of the view, that its
    /// members are not: forget what came of them.
    Retracted(Rank, u64),
    /// As a reader of peers I do not know how this view has ended, or what was cast behind it: the next one that I am told of is read in
    /// mid-flow.
    Missed(ViewId),
    /// My handler has refused what came, and is behind by so much: what comes is kept, as the [lag contract](crate::JoinOptions::lag) says.
    /// Told once, until [`CaughtUp`](Self::CaughtUp).
    Lagging(Behind),
    /// My handler takes what was kept, and so much is left. Told once, likewise.
    Replaying(Behind),
    /// Nothing is kept any more: what comes is handed over at once.
    CaughtUp(CaughtUp),
    /// So many messages of this member were dropped at this place, since my handler was too slow.
    Lost(Rank, u64),
    /// My handler was too slow by this number: nothing more is handed over, until [`Node::readmit`](crate::Node::readmit).
    Evicted(Eviction),
}

/// Casts from inside a handler, into the group of the event or any other of the node.
#[derive(Debug)]
pub struct Caster<'a> {
    group: Group,
    now: Instant,
    own: membership::Caster<'a>,
    before: &'a mut [Joined],
    after: &'a mut [Joined],
}

impl Caster<'_> {
    /// The group whose event is being handled.
    #[must_use]
    pub fn group(&self) -> Group {
        self.group
    }

    /// The clock as this cycle has read it.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The view that casts into the group of the event go into; none before the first one.
    #[must_use]
    pub fn view(&self) -> Option<ViewNumber> {
        self.own.view()
    }

    /// Whether that is a view that was not told yet: the one before it is decided, and is being handed over to its end. Ranks are still those
    /// of that one, and nothing can be sent to one member alone.
    #[must_use]
    pub fn is_ahead(&self) -> bool {
        self.own.is_ahead()
    }

    /// Casts one message, as [`Node::cast`](crate::Node::cast).
    ///
    /// # Errors
    /// Likewise. When the handler passes the refusal on, its event is offered again: see [`Node::poll`](crate::Node::poll).
    #[inline]
    pub fn cast(
        &mut self,
        group: &Group,
        promise: impl Into<Promise>,
        message: &[u8],
    ) -> Result<(), Refused> {
        if *group == self.group {
            return self.own.cast(promise, message);
        }
        self.other(group)?.sender()?.cast_as(promise.into(), message)
    }

    /// Sends one message to one other member alone, as [`Node::send`](crate::Node::send).
    ///
    /// # Errors
    /// Likewise.
    pub fn send(&mut self, group: &Group, to: Rank, message: &[u8]) -> Result<(), Refused> {
        if *group == self.group {
            return self.own.send(to, message);
        }
        self.other(group)?.send(to, message)
    }

    #[cold]
    fn other(&mut self, group: &Group) -> Result<&mut Joined, Refused> {
        let here = self.before.len();
        let other = match (group.index as usize).checked_sub(here + 1) {
            Some(after) => self.after.get_mut(after),
            None => self.before.get_mut(group.index as usize),
        };
        other.filter(|other| other.id() == group.id).ok_or(Refused::NoView)
    }
}

/// The groups, by index.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: Vec<Joined>,
    /// For each: what its application has not taken, where that has a lag contract.
    backlogs: Vec<Option<Box<Backlog>>>,
    /// For each: when its application wants to be woken.
    alarms: Vec<Option<Instant>>,
    /// When the cycle began.
    now: Instant,
    /// Blocks of groups that this node is not in.
    pub(crate) unclaimed: u64,
    /// Blocks that cannot be read.
    pub(crate) malformed: u64,
    /// The group that is asked first for the next transmit: each gets its turn.
    turn: usize,
    /// The group that is asked first for events: the one after that whose event was refused.
    first: usize,
}

impl Groups {
    pub(crate) fn add(&mut self, group: Joined, lag: Option<Lag>) -> Group {
        let handle = Group { index: self.next_index(), id: group.id() };
        let (at, backlog) = (handle.index as usize, lag.map(|lag| Box::new(Backlog::new(lag))));
        if at == self.groups.len() {
            self.groups.push(group);
            self.alarms.push(None);
            self.backlogs.push(backlog);
        } else {
            (self.groups[at], self.alarms[at], self.backlogs[at]) = (group, None, backlog);
        }
        handle
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.groups.iter().filter(|group| !group.is_closed()).count()
    }

    /// That of the next group: one that is closed leaves its own to it.
    pub(crate) fn next_index(&self) -> u16 {
        self.groups.iter().position(Joined::is_closed).unwrap_or(self.groups.len()) as u16
    }

    pub(crate) fn contains(&self, id: GroupId) -> bool {
        self.groups.iter().any(|group| group.id() == id && !group.is_closed())
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, group: &Group) -> Option<&mut Joined> {
        self.groups.get_mut(group.index as usize).filter(|found| found.id() == group.id)
    }

    pub(crate) fn get(&self, group: &Group) -> Option<&Joined> {
        self.groups.get(group.index as usize).filter(|found| found.id() == group.id)
    }

    pub(crate) fn backlog(&self, group: &Group) -> Option<&Backlog> {
        self.get(group)?;
        self.backlogs[group.index as usize].as_deref()
    }

    pub(crate) fn backlog_mut(&mut self, group: &Group) -> Option<&mut Backlog> {
        self.get(group)?;
        self.backlogs[group.index as usize].as_deref_mut()
    }

    /// The node wakes at this time, whatever it waits for.
    pub(crate) fn wake_at(&mut self, group: &Group, at: Option<Instant>) {
        if self.get(group).is_some() {
            self.alarms[group.index as usize] = at;
        }
    }

    /// Whether a gap of any waits for its cause to be told.
    #[inline]
    pub(crate) fn is_unexplained(&self) -> bool {
        self.groups.iter().any(Joined::is_unexplained)
    }

    pub(crate) fn explain(&mut self, cause: Cause) {
        self.groups.iter_mut().for_each(|group| group.explain(cause));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Joined> {
        self.groups.iter()
    }
}

impl Protocol for Groups {
    type Event<'a> = Event<'a>;
    type Caster<'a> = Caster<'a>;

    fn handle_datagram(&mut self, now: Instant, from: Endpoint, block: RxBlock, pool: &mut RxPool) {
        let Ok(header) = Header::decode(pool.bytes(&block)) else {
            self.malformed += 1;
            return pool.release(block);
        };
        match self.groups.iter_mut().find(|group| group.owns(header.group)) {
            Some(group) => group.handle_block(now, from, &header, block, pool),
            None => {
                self.unclaimed += 1;
                pool.release(block);
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant, pool: &mut RxPool) {
        self.now = now;
        self.groups.iter_mut().for_each(|group| group.handle_timeout(now, pool));
        self.backlogs.iter_mut().flatten().for_each(|backlog| backlog.begin_cycle(now));
    }

    fn poll_event<H>(&mut self, pool: &mut RxPool, handler: &mut H) -> usize
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let mut events = 0;
        let (count, now) = (self.groups.len(), self.now);
        for step in 0..count {
            let index = (self.first + step) % count;
            let (before, rest) = self.groups.split_at_mut(index);
            let (own, after) = rest.split_first_mut().expect("the index is in the vector");
            let group = Group { index: index as u16, id: own.id() };
            let mut broke = false;
            let mut hand = |caster: &mut membership::Caster<'_>, event: Event<'_>| {
                let mut caster = Caster { group, now, own: caster.reborrow(), before, after };
                let flow = handler(&mut caster, event);
                broke = flow.is_break();
                flow
            };
            events += match self.backlogs[index].as_deref_mut() {
                None => own.poll_event(pool, &mut hand),
                Some(backlog) => lagging::poll_event(own, backlog, pool, &mut hand),
            };
            if broke {
                self.first = index + 1;
                break;
            }
        }
        events
    }

    fn seal(&mut self, now: Instant) {
        self.groups.iter_mut().for_each(|group| group.seal(now));
    }

    fn poll_route(&mut self) -> Option<Route<'_>> {
        self.groups.iter_mut().find_map(Protocol::poll_route)
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        let count = self.groups.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            if let Some(transmit) = self.groups[index].poll_transmit(now) {
                self.turn = index + 1;
                return Some(transmit);
            }
        }
        None
    }

    fn transmit_bytes<'a>(&'a self, transmit: &Transmit, pool: &'a RxPool) -> (&'a [u8], usize) {
        self.groups[transmit.group as usize].transmit_bytes(transmit, pool)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let alarms = self.alarms.iter().copied().flatten();
        let backlogs = self.backlogs.iter().flatten().filter_map(|backlog| backlog.poll_timeout());
        self.groups.iter().filter_map(Protocol::poll_timeout).chain(backlogs).chain(alarms).min()
    }

    fn awaits_control(&self) -> bool {
        self.groups.iter().any(Protocol::awaits_control)
    }
}
