//! What a node has joined: a group as its member or its client, a group's streams as their reader, or nothing but the sight of it.

use crate::{
    AskError, AskId, CausalContext, Cause, ClientEvent, ContextError, Dest, Endpoint, Event, FlushId, Gap,
    GroupId, Instant, LostBlocks, PeerLosses, Rank, Refused, SessionCounters, View, ViewMember, ViewNumber,
    Want,
};
use sistrum_membership as membership;
use sistrum_membership::{ObserverEvent, ViewReaderEvent};
use sistrum_ordering::Reading;
use sistrum_transport::log::{RxBlock, RxPool};
use sistrum_transport::medium::Channel;
use sistrum_transport::protocol::{Protocol, Route, Transmit};
use sistrum_transport::reliable::{Reader, ReaderEvent};
use sistrum_transport::wire::Header;
use std::ops::ControlFlow;
use std::time::Duration;

/// One of a node's groups.
#[derive(Debug)]
pub(crate) enum Joined {
    /// As a member.
    Member(Box<membership::Group>),
    /// As a reader, who is in no view.
    Reader(GroupId, Box<Reader<Reading>>),
    /// As a reader that follows the views.
    ViewReader(Box<membership::ViewReader>),
    /// As an observer, who sees who is in it.
    Observer(Box<membership::Observer>),
    /// As a client, who asks it.
    Client(Box<membership::Client>),
}

impl Joined {
    pub(crate) fn id(&self) -> GroupId {
        match self {
            Self::Member(group) => group.id(),
            Self::Reader(id, _) => *id,
            Self::ViewReader(reader) => reader.id(),
            Self::Observer(observer) => observer.id(),
            Self::Client(client) => client.id(),
        }
    }

    #[inline]
    pub(crate) fn sender(&mut self) -> Result<&mut membership::Sender, Refused> {
        self.member_mut().ok_or(Refused::NoView)?.sender()
    }

    pub(crate) fn send(&mut self, to: Rank, message: &[u8]) -> Result<(), Refused> {
        self.member_mut().ok_or(Refused::NoView)?.send(to, message)
    }

    /// Asks the group, as its client.
    pub(crate) fn ask(
        &mut self,
        now: Instant,
        dest: Dest,
        want: Want,
        request: &[u8],
    ) -> Result<AskId, AskError> {
        match self {
            Self::Client(client) => client.ask(now, dest, want, request),
            _ => Err(AskError::Left),
        }
    }

    /// As a client, waits for the end of a request no more.
    pub(crate) fn give_up(&mut self, ask: AskId) -> Option<bool> {
        match self {
            Self::Client(client) => client.give_up(ask),
            _ => None,
        }
    }

    /// Writes to somebody outside the group; whether there was room for it.
    pub(crate) fn send_letter(&mut self, to: Endpoint, letter: &[u8]) -> bool {
        self.member_mut().is_some_and(|group| group.send_letter(to, letter))
    }

    pub(crate) fn dropped_letters(&self) -> u64 {
        self.member().map_or(0, membership::Group::dropped_letters)
    }

    pub(crate) fn admit(&mut self, from: Endpoint) {
        self.member_mut().into_iter().for_each(|group| group.admit(from));
    }

    pub(crate) fn dismiss(&mut self, from: Endpoint) {
        self.member_mut().into_iter().for_each(|group| group.dismiss(from));
    }

    /// Whether blocks of this group id are for it.
    #[inline]
    pub(crate) fn owns(&self, id: GroupId) -> bool {
        match self {
            Self::Member(group) => group.owns(id),
            Self::Reader(own, _) => *own == id,
            Self::ViewReader(reader) => reader.owns(id),
            Self::Observer(observer) => observer.id() == id && !observer.has_left(),
            Self::Client(client) => client.id() == id,
        }
    }

    pub(crate) fn view(&self) -> Option<&View> {
        match self {
            Self::ViewReader(reader) => reader.view(),
            _ => self.member()?.view(),
        }
    }

    pub(crate) fn me(&self) -> Option<ViewMember> {
        match self {
            Self::Client(client) => Some(client.me()),
            _ => Some(self.member()?.me()),
        }
    }

    pub(crate) fn reached(&self) -> Option<ViewNumber> {
        self.member()?.reached()
    }

    /// Whether casts go into the view that was told, at once.
    pub(crate) fn is_steady(&self) -> bool {
        self.member().is_some_and(|group| {
            let is_changing = group.agreement().is_some_and(|agreement| agreement.is_changing());
            group.reached() == group.view().map(|view| view.id().number) && !is_changing
        })
    }

    pub(crate) fn window(&self) -> Option<usize> {
        Some(self.member()?.session()?.stream().window())
    }

    pub(crate) fn max_message(&self) -> Option<usize> {
        self.member()?.max_message()
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.member().is_none_or(membership::Group::is_settled)
    }

    pub(crate) fn causal_context(&self) -> Result<CausalContext, ContextError> {
        self.member().ok_or(ContextError::NoView)?.causal_context()
    }

    pub(crate) fn is_stable(&self, context: &CausalContext) -> Result<bool, ContextError> {
        self.member().ok_or(ContextError::NoView)?.is_stable(context)
    }

    pub(crate) fn has_reached(&self, context: &CausalContext) -> Result<bool, ContextError> {
        self.member().ok_or(ContextError::NoView)?.has_reached(context)
    }

    pub(crate) fn flush(&mut self) -> Result<FlushId, Refused> {
        self.member_mut().ok_or(Refused::NoView)?.flush()
    }

    pub(crate) fn leave(&mut self, now: Instant) {
        match self {
            Self::Member(group) => group.leave(now),
            Self::Client(client) => client.leave(now),
            Self::Reader(..) | Self::ViewReader(_) | Self::Observer(_) => {}
        }
    }

    /// As an observer, looks no more: from then on another group may take its place. Returns the channel that is to be closed.
    pub(crate) fn close(&mut self) -> Option<Channel> {
        if let Self::Observer(observer) = self { observer.leave() } else { None }
    }

    /// Whether another group may take its place.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self, Self::Observer(observer) if observer.has_left())
    }

    pub(crate) fn suspect(&mut self, rank: Rank) {
        if let Some(group) = self.member_mut() {
            group.suspect(rank);
        }
    }

    pub(crate) fn cast_sync(&mut self, message: &[u8]) -> Result<(), Refused> {
        self.member_mut().ok_or(Refused::NoView)?.cast_sync(message)
    }

    pub(crate) fn set_seeds(&mut self, seeds: Vec<Endpoint>) {
        match self {
            Self::Member(group) => group.set_seeds(seeds),
            Self::Observer(observer) => observer.set_seeds(seeds),
            Self::Client(client) => client.set_seeds(seeds),
            Self::Reader(..) | Self::ViewReader(_) => {}
        }
    }

    pub(crate) fn spent_on_views(&self) -> (u64, u64) {
        self.member().map_or((0, 0), membership::Group::spent_on_views)
    }

    pub(crate) fn has_left(&self) -> bool {
        match self {
            Self::ViewReader(reader) => reader.has_ended(),
            Self::Client(client) => client.has_left(),
            _ => self.member().is_none_or(membership::Group::has_left),
        }
    }

    pub(crate) fn read_until(&mut self, member: Endpoint) {
        if let Self::ViewReader(reader) = self {
            reader.read_until(member);
        }
    }

    pub(crate) fn most_silent(&self) -> Option<(Rank, Instant)> {
        self.member()?.most_silent()
    }

    pub(crate) fn counters(&self) -> SessionCounters {
        match self {
            Self::Member(group) => group.counters(),
            Self::Reader(_, reader) => reader.counters(),
            Self::ViewReader(reader) => reader.counters(),
            Self::Observer(_) | Self::Client(_) => SessionCounters::default(),
        }
    }

    /// Whether a gap waits for its cause to be told.
    #[inline]
    pub(crate) fn is_unexplained(&self) -> bool {
        match self {
            Self::Member(group) => group.session().is_some_and(membership::Session::is_unexplained),
            Self::Reader(_, reader) => reader.is_unexplained(),
            Self::ViewReader(reader) => reader.is_unexplained(),
            Self::Observer(_) | Self::Client(_) => false,
        }
    }

    pub(crate) fn explain(&mut self, cause: Cause) {
        match self {
            Self::Member(group) => group.explain(cause),
            Self::Reader(_, reader) => reader.explain(cause),
            Self::ViewReader(reader) => reader.explain(cause),
            Self::Observer(_) | Self::Client(_) => {}
        }
    }

    pub(crate) fn gaps(&self) -> Vec<Gap> {
        match self {
            Self::Member(group) => {
                group.session().map(|session| session.gaps().collect()).unwrap_or_default()
            }
            Self::Reader(_, reader) => reader.gaps().collect(),
            Self::ViewReader(reader) => reader.gaps().collect(),
            Self::Observer(_) | Self::Client(_) => Vec::new(),
        }
    }

    pub(crate) fn losses(&self) -> Vec<(Rank, PeerLosses)> {
        match self {
            Self::Member(group) => {
                group.session().map(|session| session.losses().collect()).unwrap_or_default()
            }
            Self::Reader(_, reader) => reader.losses().collect(),
            Self::ViewReader(reader) => reader.losses().collect(),
            Self::Observer(_) | Self::Client(_) => Vec::new(),
        }
    }

    /// What is known of the losses of all streams together.
    pub(crate) fn all_losses(&self) -> PeerLosses {
        match self {
            Self::Member(group) => group.session().map(|session| sum(session.losses())).unwrap_or_default(),
            Self::Reader(_, reader) => sum(reader.losses()),
            Self::ViewReader(reader) => sum(reader.losses()),
            Self::Observer(_) | Self::Client(_) => PeerLosses::default(),
        }
    }

    /// What my casts have met with at each other member.
    pub(crate) fn pressure(&self) -> Vec<(Rank, Pressure)> {
        let Some(session) = self.member().and_then(membership::Group::session) else { return Vec::new() };
        let own = session.stream();
        let of = |rank| {
            let (refusals, refused) = (own.refusals(rank), own.refused_for(rank));
            (rank, Pressure { behind: own.open().since(own.delivered_by(rank)), refusals, refused })
        };
        own.gating().map(of).collect()
    }

    /// The most true-size bytes under way at present.
    pub(crate) fn limit(&self) -> Option<u64> {
        let (limit, ..) = self.member()?.session()?.stream().congestion();
        Some(limit)
    }

    pub(crate) fn handle_block(
        &mut self,
        now: Instant,
        from: Endpoint,
        header: &Header,
        block: RxBlock,
        pool: &mut RxPool,
    ) {
        match self {
            Self::Member(group) => group.handle_block(now, from, header, block, pool),
            Self::Reader(_, reader) => reader.handle_block(now, from, header, block, pool),
            Self::ViewReader(reader) => reader.handle_block(now, from, header, block, pool),
            Self::Observer(observer) => observer.handle_block(from, header, block, pool),
            Self::Client(client) => client.handle_block(now, from, header, block, pool),
        }
    }

    fn member(&self) -> Option<&membership::Group> {
        match self {
            Self::Member(group) => Some(group),
            Self::Reader(..) | Self::ViewReader(_) | Self::Observer(_) | Self::Client(_) => None,
        }
    }

    #[inline]
    fn member_mut(&mut self) -> Option<&mut membership::Group> {
        match self {
            Self::Member(group) => Some(group),
            Self::Reader(..) | Self::ViewReader(_) | Self::Observer(_) | Self::Client(_) => None,
        }
    }
}

/// Calls the same method of whichever it is.
macro_rules! whichever {
    ($joined:expr, $protocol:ident => $call:expr) => {
        match $joined {
            Joined::Member($protocol) => $call,
            Joined::Reader(_, $protocol) => $call,
            Joined::ViewReader($protocol) => $call,
            Joined::Observer($protocol) => $call,
            Joined::Client($protocol) => $call,
        }
    };
}

impl Protocol for Joined {
    type Event<'a> = Event<'a>;
    type Caster<'a> = membership::Caster<'a>;

    fn handle_datagram(&mut self, now: Instant, from: Endpoint, block: RxBlock, pool: &mut RxPool) {
        whichever!(self, protocol => protocol.handle_datagram(now, from, block, pool));
    }

    fn handle_timeout(&mut self, now: Instant, pool: &mut RxPool) {
        whichever!(self, protocol => protocol.handle_timeout(now, pool));
    }

    fn poll_event<H>(&mut self, pool: &mut RxPool, handler: &mut H) -> usize
    where
        H: FnMut(&mut membership::Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        match self {
            Self::Member(group) => group.poll_event(
                pool,
                &mut |caster: &mut membership::Caster<'_>, event: membership::Event<'_>| {
                    handler(caster, of_member(event))
                },
            ),
            Self::Reader(_, reader) => reader.poll_event(pool, &mut |(): &mut (), event: ReaderEvent<'_>| {
                handler(&mut membership::Caster::default(), of_reader(event))
            }),
            Self::ViewReader(reader) => reader.poll_event(
                pool,
                &mut |caster: &mut membership::Caster<'_>, event: ViewReaderEvent<'_>| {
                    of_view_reader(event).map_or(ControlFlow::Continue(()), |event| handler(caster, event))
                },
            ),
            Self::Observer(observer) => observer.poll_event(
                pool,
                &mut |caster: &mut membership::Caster<'_>, event: ObserverEvent<'_>| match event {
                    ObserverEvent::Seen(sighting) => handler(caster, Event::Seen(sighting)),
                    ObserverEvent::Unseen(view) => handler(caster, Event::Unseen(view)),
                    _ => ControlFlow::Continue(()),
                },
            ),
            Self::Client(client) => {
                client.poll_event(pool, &mut |caster: &mut membership::Caster<'_>, event: &ClientEvent| {
                    handler(caster, Event::Client(event))
                })
            }
        }
    }

    fn seal(&mut self, now: Instant) {
        whichever!(self, protocol => protocol.seal(now));
    }

    fn poll_route(&mut self) -> Option<Route<'_>> {
        self.member_mut()?.poll_route()
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        whichever!(self, protocol => protocol.poll_transmit(now))
    }

    fn transmit_bytes<'a>(&'a self, transmit: &Transmit, pool: &'a RxPool) -> (&'a [u8], usize) {
        whichever!(self, protocol => protocol.transmit_bytes(transmit, pool))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        whichever!(self, protocol => protocol.poll_timeout())
    }

    fn awaits_control(&self) -> bool {
        whichever!(self, protocol => protocol.awaits_control())
    }
}

fn sum(losses: impl Iterator<Item = (Rank, PeerLosses)>) -> PeerLosses {
    losses.fold(PeerLosses::default(), |sum, (_, one)| PeerLosses {
        lost: LostBlocks {
            network: sum.lost.network + one.lost.network,
            overflow: sum.lost.overflow + one.lost.overflow,
            injected: sum.lost.injected + one.lost.injected,
            pool: sum.lost.pool + one.lost.pool,
        },
        unexplained: sum.unexplained + one.unexplained,
        repaired: sum.repaired + one.repaired,
        missing: sum.missing + one.missing,
        sent_again: sum.sent_again + one.sent_again,
        naks: sum.naks + one.naks,
        evicted: sum.evicted + one.evicted,
    })
}

#[inline]
fn of_member(event: membership::Event<'_>) -> Event<'_> {
    match event {
        membership::Event::Deliver(message) => Event::Deliver(message),
        membership::Event::Direct(message) => Event::Direct(message),
        membership::Event::View(view) => Event::View(view),
        membership::Event::Conflict(endpoint, conflict) => Event::Conflict(endpoint, conflict),
        membership::Event::Flushed(flush) => Event::Flushed(flush),
        membership::Event::Sync { from, next, bytes } => Event::Sync { from, next, bytes },
        membership::Event::Wedged(heard) => Event::Wedged(heard),
        membership::Event::Resumed => Event::Resumed,
        membership::Event::Stuck(group) => Event::Stuck(group),
        membership::Event::Snapshot(snapshot) => Event::Snapshot(snapshot),
        membership::Event::State(block) => Event::State(block),
        membership::Event::TransferFailed(why) => Event::TransferFailed(why),
        membership::Event::HeldBack(holdup) => Event::HeldBack(holdup),
        membership::Event::Released(rank, lasted) => Event::Released(rank, lasted),
        membership::Event::Excluded(number) => Event::Excluded(number),
        membership::Event::Letter { from, bytes } => Event::Letter { from, bytes },
        membership::Event::Left(rank) => Event::Left(rank, Departure::Goodbye),
    }
}

fn of_reader(event: ReaderEvent<'_>) -> Event<'_> {
    match event {
        ReaderEvent::Deliver(message) => Event::Deliver(message),
        ReaderEvent::Left(rank) => Event::Left(rank, Departure::Goodbye),
        ReaderEvent::Reading(rank, seq) => Event::Reading(rank, seq),
        ReaderEvent::Gap(rank, blocks) => Event::Gap(rank, blocks),
    }
}

fn of_view_reader(event: ViewReaderEvent<'_>) -> Option<Event<'_>> {
    Some(match event {
        ViewReaderEvent::View(view) => Event::View(view),
        ViewReaderEvent::Deliver(message) => Event::Deliver(message),
        ViewReaderEvent::Sync { from, next, bytes } => Event::Sync { from, next, bytes },
        ViewReaderEvent::Reading(rank, seq) => Event::Reading(rank, seq),
        ViewReaderEvent::Gap(rank, blocks) => Event::Gap(rank, blocks),
        ViewReaderEvent::Retracted(rank, blocks) => Event::Retracted(rank, blocks),
        ViewReaderEvent::Missed(view) => Event::Missed(view),
        ViewReaderEvent::State(block) => Event::State(block),
        ViewReaderEvent::TransferFailed(why) => Event::TransferFailed(why),
        _ => return None,
    })
}

/// What my casts have met with at one member, in the present view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pressure {
    /// Blocks of mine that it has not delivered.
    pub behind: u64,
    /// Casts that were refused because of it.
    pub refusals: u64,
    /// How long casts were refused because of it, all times together.
    pub refused: Duration,
}

/// Why a member is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Departure {
    /// It said goodbye.
    Goodbye,
}
