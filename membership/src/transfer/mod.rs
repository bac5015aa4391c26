//! State transfer: who joins takes over the group's state, exactly as it is where its first view begins.
//!
//! ```text
//!   view J, which it joins in            the two youngest who have the state take a snapshot when J-1 has been handed over to its end
//!   giver   == domain, place, block =>   taker: blocks go to the application, what is told in J is kept
//!   the giver dies: the other one goes on where it stopped, from its own snapshot of the same cut
//!   taker   -- ready ---------------->   a change of view that says so: from there on it counts
//! ```
//! The taker enters J as *joining*: it gets everything and takes part in each flush, but does not vote. The first event that its
//! application sees behind the state is the view J; no message is in the state and handed over as well, and none in neither.
//= birman87 §5.4: the state is transferred as of the view change that adds the member, and to it this looks instantaneous
//!
//! **Two snapshots of one cut need not have the same bytes**: a taker that changes givers names what it has begun, and a giver that knows it
//! otherwise begins again. Where both are gone, the taker joins again, and begins at the cut of that view.
//!
//! Readers are given the state too, as it is between two events of one member (`lending`, `borrowed`): they are in no view, and wait for none.
//!
//! `ready` is ordered against everything, by a change of view, and not by a total cast as in Isis: who votes must be the same for all
//! who are in a view (`who_is_joining_does_not_vote`), and so cannot change in the middle of one.

mod borrowed;
mod giver;
mod kept;
mod lending;
mod message;
mod spool;
mod stream;
mod taker;

pub(crate) use borrowed::Borrowed;
pub(crate) use lending::Begin;
pub(crate) use spool::{Spool, Weigh};
pub(crate) use stream::id_of;

use crate::agreement::{Introduction, Roster};
use crate::config::GroupConfig;
use crate::event::{Caster, Event};
use giver::Giving;
use lending::{Lending, MAX_LENDINGS};
use message::Place;
use sistrum_ordering::{Endpoint, GroupInstance, Rank, View, ViewMember, ViewNumber};
use sistrum_transport::log::{RxBlock, RxPool};
use sistrum_transport::mutated;
use sistrum_transport::protocol::{Protocol as _, Transmit};
use sistrum_transport::reliable::Pace;
use sistrum_transport::time::Instant;
use sistrum_transport::wire::{Header, checksum};
use std::ops::ControlFlow;
use std::time::Duration;
use stream::Stream;
pub(crate) use taker::Taking;

/// How state is taken over and given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateTuning {
    /// Bytes at most of what comes while the state is taken over: beyond, the transfer fails.
    pub spool: usize,
    /// How fast it is given to each who joins; otherwise as fast as casts are.
    pub pace: Option<Pace>,
}

impl Default for StateTuning {
    fn default() -> Self {
        Self { spool: 64 << 20, pace: None }
    }
}

/// A block of the state, for one who joins: bytes of a domain, in their order.
///
/// **Where `offset` is 0 the domain begins, perhaps anew**: forget what came of it. The next domain begins when one is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateBlock<'a> {
    /// The domain: parts of the application have their state under different names.
    pub domain: &'a str,
    /// Bytes of the domain before these.
    pub offset: u64,
    /// Bytes of the whole domain.
    pub len: u64,
    /// Some of them.
    pub bytes: &'a [u8],
}

impl StateBlock<'_> {
    /// Whether a domain begins.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.offset == 0
    }

    /// Whether the domain is whole.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.offset + self.bytes.len() as u64 == self.len
    }
}

/// The state of a member, as it is asked for with [`Event::Snapshot`]: by domain, what others need to be as it is.
#[derive(Debug)]
pub struct Snapshot {
    view: ViewNumber,
    domains: Vec<(String, Vec<u8>)>,
    refusal: Option<String>,
    is_put_off: bool,
    is_for_reader: bool,
}

impl Snapshot {
    const fn new(view: ViewNumber, is_for_reader: bool) -> Self {
        Self { view, domains: Vec::new(), refusal: None, is_put_off: false, is_for_reader }
    }

    /// Whether it is for one who reads the present view, and not for those who join in the next one: all that I have cast belongs to it.
    #[must_use]
    pub const fn is_for_reader(&self) -> bool {
        self.is_for_reader
    }

    /// The view whose joiners it is for: it begins behind what has been handed over by now. For a reader, the present one.
    #[must_use]
    pub const fn view(&self) -> ViewNumber {
        self.view
    }

    /// What a domain holds, to be written behind what was.
    pub fn domain(&mut self, name: &str) -> &mut Vec<u8> {
        let at = self.domains.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.domains.push((name.to_owned(), Vec::new()));
            self.domains.len() - 1
        });
        &mut self.domains[at].1
    }

    /// Gives nothing: those who join are told why, and leave.
    pub fn refuse(&mut self, why: impl Into<String>) {
        self.refusal = Some(why.into());
    }

    fn domains(&self) -> &[(String, Vec<u8>)] {
        &self.domains
    }

    fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    fn put_off(&mut self) {
        self.is_put_off = true;
    }

    const fn is_put_off(&self) -> bool {
        self.is_put_off
    }
}

/// Why a transfer failed. Who joins leaves the group then; who only reads it goes on without its state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// More came meanwhile than may be kept.
    #[error(
        "more came while the state was taken over than the spool of {limit} bytes holds: raise it, or let the state be given faster"
    )]
    SpoolFull {
        /// The bound.
        limit: usize,
    },
    /// Who has it does not give it.
    #[error("{} gives no state: {why}", by.endpoint)]
    Refused {
        /// Who was asked.
        by: ViewMember,
        /// What it says.
        why: String,
    },
    /// A reader wants a state, and nobody keeps one.
    #[error("no member of the view keeps a state for a reader to begin with: it reads on without")]
    NobodyKeepsState,
    /// Members keep a state, and none of them gives it to a reader.
    #[error("no member that keeps a state has given any of it for {waited:?}: the reader reads on without")]
    NoAnswer {
        /// How long the reader has waited.
        waited: Duration,
    },
    /// What came is not what was announced.
    #[error("what {} gave of {domain} has another checksum than it said", by.endpoint)]
    Corrupt {
        /// Who gave it.
        by: ViewMember,
        /// Of what.
        domain: String,
    },
}

impl Place {
    const fn next_domain(self) -> Self {
        Self { domain: self.domain.saturating_add(1), offset: 0 }
    }
}

/// The checksum of the names of all domains.
fn shape_of(domains: &[(String, Vec<u8>)]) -> u32 {
    let names: Vec<&str> = domains.iter().map(|(name, _)| name.as_str()).collect();
    checksum(names.join("\n").as_bytes())
}

/// The group as transfers see it: the view that was decided last, and who I am in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Here<'a> {
    pub(crate) config: &'a GroupConfig,
    pub(crate) instance: GroupInstance,
    pub(crate) roster: &'a Roster,
    pub(crate) me: Rank,
}

impl Here<'_> {
    fn mine(&self) -> &Introduction {
        &self.roster.members[self.me.0 as usize]
    }
}

/// What a member gives and takes of the state, in all views.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    givings: Vec<Giving>,
    taking: Option<Taking>,
    /// To readers.
    lendings: Vec<Lending>,
    /// There was more to be given than one cycle gives.
    goes_on: bool,
    lanes: Lanes,
}

/// Which lane the next stream has: those of pairs are below.
#[derive(Debug, Default)]
struct Lanes(u16);

impl Lanes {
    const FIRST: u16 = 1 << 15;

    fn next(&mut self) -> u16 {
        self.0 = self.0.wrapping_add(1) % Self::FIRST;
        Self::FIRST | self.0
    }
}

/// The lane of what a reader takes.
pub(crate) const READER_LANE: u16 = Lanes::FIRST;

/// Whether a transmit of this lane is that of a transfer.
pub(crate) const fn is_of_transfer(lane: u16) -> bool {
    lane >= Lanes::FIRST
}

impl Transfers {
    /// I have joined in this view.
    pub(crate) fn enter(&mut self, here: Here<'_>) {
        if let Some(state) = here.config.state().filter(|_| here.roster.is_joining(here.me)) {
            let givers = giver::givers(here.roster).copied().collect();
            self.taking = Some(Taking::new(here.roster.number, *here.mine(), givers, state.spool));
        }
    }

    /// This view is decided, in which these are new. Whether I can go on: I cannot where I have not the state, and nobody is left who gives it.
    #[must_use]
    pub(crate) fn install(&mut self, here: Here<'_>, came: &[Rank], pool: &mut RxPool) -> bool {
        self.givings.retain_mut(|giving| giving.keep_for(here.roster, pool));
        let takers: Vec<Introduction> = came
            .iter()
            .filter(|rank| here.roster.is_joining(**rank))
            .map(|rank| here.roster.members[rank.0 as usize])
            .collect();
        let i_give = giver::givers(here.roster).any(|giver| giver == here.mine());
        if i_give && !takers.is_empty() {
            self.givings.push(Giving::new(here.roster.number, takers));
        }
        let goes_on = |member: ViewMember| here.roster.rank_of_member(member).is_some();
        self.taking.as_mut().is_none_or(|taking| taking.keep_givers(goes_on, pool))
    }

    /// I am in no view any more. Where I was taking the state over: whether the application was handed any of it, or the view.
    pub(crate) fn part(&mut self, pool: &mut RxPool) -> Option<bool> {
        self.givings.drain(..).for_each(|giving| giving.retire(pool));
        self.lendings.drain(..).for_each(|lending| lending.retire(pool));
        let taking = self.taking.take();
        let handed = taking.as_ref().map(Taking::has_handed);
        taking.and_then(|taking| taking.stream).into_iter().for_each(|stream| stream.retire(pool));
        handed
    }

    /// Who takes the state over, or hands over what came meanwhile.
    pub(crate) fn is_taking(&self) -> bool {
        self.taking.is_some()
    }

    /// Whether the application was handed no view yet, since the state comes first.
    pub(crate) fn is_before_view(&self) -> bool {
        self.taking.as_ref().is_some_and(|taking| !taking.knows_view())
    }

    /// The number of the view that the application was handed last, where it is behind.
    pub(crate) fn told(&self) -> Option<ViewNumber> {
        self.taking.as_ref()?.told
    }

    /// That view; one of a later number may have the same members.
    pub(crate) fn told_view(&self) -> Option<&View> {
        self.taking.as_ref()?.told_view.as_deref()
    }

    /// Whether the state is here, and the group is to be told so.
    pub(crate) fn is_ready(&self) -> bool {
        self.taking.as_ref().is_some_and(Taking::is_loaded)
    }

    /// Whether it failed: the group is to be left.
    pub(crate) fn has_failed(&self) -> bool {
        self.taking.as_ref().is_some_and(Taking::has_failed)
    }

    /// Takes a block of a transfer.
    pub(crate) fn handle_block(
        &mut self,
        here: Here<'_>,
        (now, from): (Instant, Endpoint),
        header: &Header,
        block: RxBlock,
        pool: &mut RxPool,
    ) {
        let Self { givings, taking, lanes, lendings, .. } = self;
        let is_lent = |lending: &&mut Lending| (lending.reader, lending.stream_id) == (from, header.instance);
        if let Some(lending) = lendings.iter_mut().find(is_lent) {
            return lending.flow.stream.session.handle_block(now, from, header, block, pool);
        }
        let is_its = |stream: &&mut Stream| stream.peer.endpoint == from && stream.cut == header.view;
        let taken = taking.as_mut().and_then(|taking| taking.stream.as_mut()).filter(is_its);
        let giving = givings.iter_mut().find(|giving| giving.cut == header.view);
        let stream = taken
            .or_else(|| giving?.stream_to(here.config, (here.instance, here.mine()), from, || lanes.next()));
        match stream.filter(|_| header.instance == here.instance) {
            Some(stream) => stream.session.handle_block(now, from, header, block, pool),
            None => pool.release(block),
        }
    }

    /// A reader asks for the state, in the view of this number and by a stream that it names.
    pub(crate) fn lend(
        &mut self,
        (here, now): (Here<'_>, Instant),
        (number, stream_id): (ViewNumber, GroupInstance),
        taker: Introduction,
        pool: &mut RxPool,
    ) {
        let is_its = |lending: &Lending| lending.reader == taker.member.endpoint;
        let is_known = self.lendings.iter().any(|lending| is_its(lending) && lending.stream_id == stream_id);
        if is_known || number != here.roster.number || here.roster.is_joining(here.me) {
            return;
        }
        for over in self.lendings.extract_if(.., |lending| is_its(lending)) {
            over.retire(pool);
        }
        if self.lendings.len() < MAX_LENDINGS && here.config.state().is_some() {
            let lane = self.lanes.next();
            let ends = (*here.mine(), taker);
            self.lendings.push(Lending::new(now, here.config, (number, stream_id), ends, lane));
        }
    }

    /// Whether a reader waits for the state as it is in this view.
    pub(crate) fn owes_readers(&self, number: ViewNumber) -> bool {
        self.lendings.iter().any(|lending| lending.waits_in(number))
    }

    /// Asks the application for its state, for readers: streams go on at `begins` behind it.
    pub(crate) fn tell_readers<H>(
        &mut self,
        number: ViewNumber,
        begins: &[Begin],
        handler: &mut H,
    ) -> ControlFlow<()>
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let mut waiting = self.lendings.iter_mut().filter(|lending| lending.waits_in(number));
        waiting.try_for_each(|lending| lending.ask(begins, handler))
    }

    pub(crate) fn handle_timeout(&mut self, here: Here<'_>, now: Instant, pool: &mut RxPool) {
        if let Some(taking) = &mut self.taking {
            if taking.wants_stream()
                && let Some(ends) = taking.ends(here.instance, self.lanes.next())
            {
                taking.stream = Some(Stream::new(here.config, &ends));
            }
            taking.ask(now, pool);
        }
        for over in self.lendings.extract_if(.., |lending| !lending.is_alive(now, here.roster.number)) {
            over.retire(pool);
        }
        self.streams_mut().for_each(|stream| stream.session.handle_timeout(now, pool));
    }

    /// Takes what those who join ask for.
    pub(crate) fn poll(&mut self, pool: &mut RxPool) -> usize {
        self.givings.iter_mut().map(|giving| giving.poll(pool)).sum()
    }

    /// Asks the application for its state, for those who have joined in the view of this number, which is told next, or in one before it that
    /// was not told.
    pub(crate) fn tell_snapshots<H>(&mut self, number: ViewNumber, handler: &mut H) -> ControlFlow<()>
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let is_due = |giving: &&mut Giving| match mutated!(SnapshotLate) {
            true => giving.cut < number,
            false => giving.cut <= number,
        };
        self.givings.iter_mut().filter(is_due).try_for_each(|giving| giving.ask(handler))
    }

    /// The taking, out of here for a while.
    pub(crate) fn take_taking(&mut self) -> Option<Taking> {
        self.taking.take()
    }

    /// Back again, unless all was handed over that came meanwhile.
    pub(crate) fn put_taking(&mut self, taking: Taking) {
        self.taking = Some(taking).filter(|taking| !taking.has_caught_up());
    }

    /// Asks the application for its state as it is where it sees the view of this number.
    pub(crate) fn tell_snapshot<H>(&mut self, cut: ViewNumber, handler: &mut H) -> ControlFlow<()>
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let mut its = self.givings.iter_mut().filter(|giving| giving.cut == cut);
        its.try_for_each(|giving| giving.ask(handler))
    }

    pub(crate) fn seal(&mut self, now: Instant) {
        let mut left = giver::MESSAGES_A_CYCLE;
        self.givings.iter_mut().for_each(|giving| giving.give(&mut left));
        self.lendings.iter_mut().for_each(|lending| lending.give(now, &mut left));
        self.goes_on = left == 0;
        self.streams_mut().for_each(|stream| stream.session.seal(now));
    }

    pub(crate) fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        self.streams_mut().find_map(|stream| stream.session.poll_transmit(now))
    }

    pub(crate) fn transmit_bytes<'a>(&'a self, transmit: &Transmit, pool: &'a RxPool) -> (&'a [u8], usize) {
        let stream = self.streams().find(|stream| stream.session.config().lane == transmit.lane);
        stream.map_or((&[], 1), |stream| stream.session.transmit_bytes(transmit, pool))
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let is_urgent = self.goes_on
            || self.taking.as_ref().is_some_and(|taking| taking.wants_stream() || taking.has_pending());
        let streams = self.streams().filter_map(|stream| stream.session.poll_timeout());
        is_urgent.then(Instant::default).into_iter().chain(streams).min()
    }

    pub(crate) fn awaits_control(&self) -> bool {
        self.streams().any(|stream| stream.session.awaits_control())
    }

    /// Blocks that are kept of the streams.
    pub(crate) fn kept(&self) -> usize {
        self.streams().map(|stream| stream.session.kept()).sum()
    }

    fn streams(&self) -> impl Iterator<Item = &Stream> {
        let taken = self.taking.iter().filter_map(|taking| taking.stream.as_ref());
        let lent = self.lendings.iter().map(|lending| &lending.flow.stream);
        taken.chain(lent).chain(self.givings.iter().flat_map(Giving::streams))
    }

    fn streams_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        let taken = self.taking.iter_mut().filter_map(|taking| taking.stream.as_mut());
        let lent = self.lendings.iter_mut().map(|lending| &mut lending.flow.stream);
        taken.chain(lent).chain(self.givings.iter_mut().flat_map(Giving::streams_mut))
    }
}
