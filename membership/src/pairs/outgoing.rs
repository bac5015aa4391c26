//! What I send to others alone.

use super::{config_of, vector};
use crate::group::Sender;
use sistrum_ordering::{Rank, Seq};
use sistrum_transport::id::Endpoint;
use sistrum_transport::log::{RxBlock, RxPool};
use sistrum_transport::mutated;
use sistrum_transport::protocol::{Protocol, Transmit};
use sistrum_transport::reliable::{Refused, Session, SessionConfig};
use sistrum_transport::time::Instant;
use sistrum_transport::wire::Header;
use std::ops::ControlFlow;

/// See the module.
#[derive(Debug)]
pub(crate) struct Outgoing {
    view: SessionConfig,
    window: usize,
    /// By rank.
    streams: Vec<Option<Box<Stream>>>,
    /// My casts that wait for what I sent before them.
    holds: Holds,
    gone: Vec<bool>,
    /// Messages and bytes that each was sent.
    counts: Vec<(u64, u64)>,
    /// Who may never say that it holds anything: what is sent to others does not wait for those.
    suspected: Vec<bool>,
    /// The view is about to be left: what is sent now may come to nobody.
    is_stopped: bool,
    /// I am leaving a list.
    is_closed: bool,
    /// Where I stand in each stream of the view, and the message that is being composed.
    vector: Vec<Seq>,
    scratch: Vec<u8>,
}

/// What I send to one other.
#[derive(Debug)]
struct Stream {
    session: Session,
    /// What I have told it last.
    told: Vec<Seq>,
    /// What I send it waits for what I sent to others before.
    holds: Holds,
}

/// Blocks of one stream that wait until others hold what was sent to them before.
#[derive(Debug, Default)]
struct Holds(Vec<Hold>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hold {
    /// Blocks from here on wait,
    from: Seq,
    /// until this one
    whom: Rank,
    /// holds what I have sent it before this block.
    until: Seq,
}

impl Outgoing {
    /// Nothing yet, in the view of this session; each stream takes `window` blocks when it begins.
    pub(crate) fn new(view: &SessionConfig, window: usize) -> Self {
        let members = view.members.len();
        Self {
            view: view.clone(),
            window,
            streams: (0..members).map(|_| None).collect(),
            holds: Holds::default(),
            gone: vec![false; members],
            counts: vec![(0, 0); members],
            suspected: vec![false; members],
            is_stopped: false,
            is_closed: false,
            vector: Vec::with_capacity(members),
            scratch: Vec::new(),
        }
    }

    /// Sends `message` to `to` alone, behind everything that I have been handed and have cast: `casts` is my stream to all.
    pub(crate) fn send(&mut self, casts: &mut Sender, to: Rank, message: &[u8]) -> Result<(), Refused> {
        let is_gone = self.gone.get(to.0 as usize).copied().unwrap_or(true);
        if to == self.view.me || is_gone {
            return Err(Refused::NoMember(to));
        }
        if self.is_closed {
            return Err(Refused::Left);
        }
        if self.is_stopped && !mutated!(SendDuringFlush) {
            return Err(Refused::ViewChanging);
        }
        // Two blocks that name each other would wait for ever.
        let mine = if mutated!(SendWithoutSealing) { casts.open() } else { casts.seal_now() };
        self.seal_others(to);
        self.vector.clear();
        self.vector.extend_from_slice(casts.outbound().seen());
        self.vector[self.view.me.0 as usize] = mine;
        let before: Vec<Hold> = self.unheld(to).collect();
        let (view, window) = (&self.view, self.window);
        let stream = self.streams[to.0 as usize].get_or_insert_with(|| Stream::new(view, to, window));
        self.scratch.clear();
        vector::write(&mut self.scratch, &stream.told, &self.vector);
        self.scratch.extend_from_slice(message);
        let sender = stream.session.sender();
        // What has to wait for others is in no block with what has not.
        let from = if before.is_empty() { sender.open() } else { sender.seal_now() };
        sender.cast(&self.scratch)?;
        let (messages, bytes) = &mut self.counts[to.0 as usize];
        (*messages, *bytes) = (*messages + 1, *bytes + message.len() as u64);
        let until = sender.cast_up_to();
        stream.told.copy_from_slice(&self.vector);
        before.into_iter().for_each(|hold| stream.holds.add(Hold { from, ..hold }));
        stream.apply_holds();
        if !mutated!(NeverHold) {
            self.holds.add(Hold { from: mine, whom: to, until });
            casts.hold_from(self.holds.from());
        }
        Ok(())
    }

    /// Seals what is open to others than `to`: it goes before what is sent now.
    fn seal_others(&mut self, to: Rank) {
        for (rank, stream) in self.streams.iter_mut().enumerate() {
            if let Some(stream) = stream.as_mut().filter(|_| rank != usize::from(to.0)) {
                stream.session.sender().seal_now();
            }
        }
    }

    /// What others than `to` have to hold before it is sent anything more.
    fn unheld(&self, to: Rank) -> impl Iterator<Item = Hold> + '_ {
        self.streams.iter().enumerate().filter_map(move |(at, stream)| {
            let (whom, sender) = (vector::rank_of(at), stream.as_ref()?.session.stream());
            let is_waited = whom != to && !self.suspected[at];
            let until = sender.cast_up_to();
            let waits = is_waited && sender.stable() < until && !mutated!(NeverHold);
            waits.then_some(Hold { from: Seq(0), whom, until })
        })
    }

    /// Lets go what waited for acknowledgements that have come.
    pub(crate) fn release(&mut self, casts: &mut Sender) {
        let has_holds = |stream: &Stream| !stream.holds.0.is_empty();
        if self.holds.0.is_empty() && !self.streams.iter().flatten().any(|stream| has_holds(stream)) {
            return;
        }
        let held_by = |stream: &Option<Box<Stream>>| {
            stream.as_ref().map_or(Seq(u64::MAX), |stream| stream.session.stream().stable())
        };
        self.vector.clear();
        self.vector.extend(self.streams.iter().map(held_by));
        let (held, suspected) = (&self.vector, &self.suspected);
        let waits = |hold: &Hold| held[hold.whom.0 as usize] < hold.until;
        // Casts need not be let go for one who is suspected: the view ends, and then all get them.
        self.holds.0.retain(waits);
        casts.hold_from(self.holds.from());
        // What was sent to others has to come there before it ends.
        for stream in self.streams.iter_mut().flatten() {
            stream.holds.0.retain(|hold| waits(hold) && !suspected[hold.whom.0 as usize]);
            stream.apply_holds();
        }
    }

    /// Takes a block of the stream to `rank`: what it says of it.
    pub(crate) fn handle_block(
        &mut self,
        now: Instant,
        (rank, from): (Rank, Endpoint),
        header: &Header,
        block: RxBlock,
        pool: &mut RxPool,
    ) {
        match self.streams.get_mut(rank.0 as usize).and_then(Option::as_mut) {
            Some(stream) => stream.session.handle_block(now, from, header, block, pool),
            None => pool.release(block),
        }
    }

    /// This member is gone: nothing waits for it any more.
    pub(crate) fn depart(&mut self, rank: Rank, pool: &mut RxPool) {
        self.gone[rank.0 as usize] = true;
        if let Some(mut stream) = self.streams[rank.0 as usize].take() {
            stream.session.clear(pool);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, pool: &mut RxPool) {
        self.sessions().for_each(|session| session.handle_timeout(now, pool));
    }

    /// Nobody sends anything in these sessions but I: there is nothing to hand over.
    pub(crate) fn poll(&mut self, pool: &mut RxPool) {
        for session in self.sessions() {
            session.poll_event(pool, &mut |_: &mut _, _| ControlFlow::Continue(()));
        }
    }

    pub(crate) fn seal(&mut self, now: Instant) {
        self.sessions().for_each(|session| session.seal(now));
    }

    pub(crate) fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        self.sessions().find_map(|session| session.poll_transmit(now))
    }

    pub(crate) fn session(&self, rank: Rank) -> Option<&Session> {
        self.streams.get(rank.0 as usize)?.as_ref().map(|stream| &stream.session)
    }

    /// Messages and bytes that `rank` was sent, and blocks that it was sent again.
    pub(crate) fn counted(&self, rank: Rank) -> (u64, u64, u64) {
        let (messages, bytes) = self.counts.get(rank.0 as usize).copied().unwrap_or_default();
        (messages, bytes, self.session(rank).map_or(0, |session| session.stream().repairs()))
    }

    /// Blocks that are kept of what came.
    pub(crate) fn kept(&self) -> usize {
        self.streams.iter().flatten().map(|stream| stream.session.kept()).sum()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.streams.iter().flatten().filter_map(|stream| stream.session.poll_timeout()).min()
    }

    pub(crate) fn awaits_control(&self) -> bool {
        self.streams.iter().flatten().any(|stream| stream.session.awaits_control())
    }

    /// Whether everything that I sent has been handed over, or its receiver is gone.
    pub(crate) fn is_settled(&self) -> bool {
        self.streams.iter().flatten().all(|stream| stream.session.stream().is_settled())
    }

    /// Takes nothing more, or again.
    pub(crate) fn stop(&mut self, is_stopped: bool) {
        self.is_stopped = is_stopped;
    }

    /// Takes nothing more.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
    }

    /// What is sent to others does not wait for this member any more, or does again.
    pub(crate) fn suspect(&mut self, rank: Rank, is_suspected: bool) {
        self.suspected.iter_mut().skip(rank.0 as usize).take(1).for_each(|known| *known = is_suspected);
    }

    /// Whether everything that I sent has come, but to those who are suspected.
    pub(crate) fn is_held(&self) -> bool {
        let waited = self.streams.iter().zip(&self.suspected).filter(|(_, suspected)| !**suspected);
        let mut streams = waited.filter_map(|(stream, _)| Some(stream.as_ref()?.session.stream()));
        streams.all(|stream| stream.stable() >= stream.cast_up_to())
    }

    fn sessions(&mut self) -> impl Iterator<Item = &mut Session> {
        self.streams.iter_mut().flatten().map(|stream| &mut stream.session)
    }
}

impl Stream {
    fn new(view: &SessionConfig, to: Rank, window: usize) -> Box<Self> {
        let told = view.members.iter().map(|member| member.start).collect();
        let session =
            Session::new(config_of(view, to, true, window)).expect("the memory of a small log is there");
        Box::new(Self { session, told, holds: Holds::default() })
    }

    fn apply_holds(&mut self) {
        self.session.sender().hold_from(self.holds.from());
    }
}

impl Holds {
    /// The first block that waits.
    fn from(&self) -> Seq {
        self.0.iter().map(|hold| hold.from).min().unwrap_or(Seq(u64::MAX))
    }

    fn add(&mut self, new: Hold) {
        match self.0.iter_mut().find(|hold| hold.from == new.from && hold.whom == new.whom) {
            Some(known) => known.until = new.until,
            None => self.0.push(new),
        }
    }
}
