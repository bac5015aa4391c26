//! What others send to me alone.
//!
//! Whoever has sent to me waits until I hold it before it says more to anybody. So of all that may be handed over, what came first
//! is never the effect of what came later: it goes in the order of arrival, and before the casts that may be handed over.

use super::{config_of, vector};
use sistrum_ordering::{Rank, Seq};
use sistrum_transport::id::Endpoint;
use sistrum_transport::log::{RxBlock, RxPool};
use sistrum_transport::mutated;
use sistrum_transport::protocol::{Protocol, Transmit};
use sistrum_transport::reliable::{Event, Message, Session, SessionConfig};
use sistrum_transport::time::Instant;
use sistrum_transport::wire::Header;
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// See the module.
#[derive(Debug)]
pub(crate) struct Incoming {
    view: SessionConfig,
    window: usize,
    /// By rank.
    streams: Vec<Option<Box<Stream>>>,
    gone: Vec<bool>,
    /// Messages and bytes that were handed over of each.
    counts: Vec<(u64, u64)>,
    /// Blocks that have come.
    arrived: u64,
    /// Messages whose beginning cannot be read.
    malformed: u64,
}

/// What one other sends me.
#[derive(Debug)]
struct Stream {
    session: Session,
    /// How far it has told me that it had come: what its next message waits for, once that has been read.
    heard: Vec<Seq>,
    /// So many bytes of the next message are not the application's.
    head: Option<usize>,
    /// Up to which block it came when, where that was not handed over yet.
    arrivals: VecDeque<(Seq, u64)>,
}

impl Incoming {
    /// Nothing yet, in the view of this session; others have windows of `window` blocks.
    pub(crate) fn new(view: &SessionConfig, window: usize) -> Self {
        let members = view.members.len();
        let streams = (0..members).map(|_| None).collect();
        let (gone, counts) = (vec![false; members], vec![(0, 0); members]);
        Self { view: view.clone(), window, streams, gone, counts, arrived: 0, malformed: 0 }
    }

    /// Takes a block of the stream from `rank`.
    pub(crate) fn handle_block(
        &mut self,
        now: Instant,
        (rank, from): (Rank, Endpoint),
        header: &Header,
        block: RxBlock,
        pool: &mut RxPool,
    ) {
        if self.gone[rank.0 as usize]
            || header.view != self.view.view
            || header.instance != self.view.instance
        {
            return pool.release(block);
        }
        let (view, window) = (&self.view, self.window);
        let stream = self.streams[rank.0 as usize].get_or_insert_with(|| Stream::new(view, rank, window));
        stream.session.handle_block(now, from, header, block, pool);
        self.arrived += 1;
        stream.note_arrival(self.arrived);
    }

    /// Whether something has come that was not handed over.
    #[inline]
    pub(crate) fn has_pending(&self) -> bool {
        self.streams.iter().flatten().any(|stream| !stream.arrivals.is_empty())
    }

    /// This member is gone, with all that it has sent me delivered.
    pub(crate) fn depart(&mut self, rank: Rank, pool: &mut RxPool) {
        self.gone[rank.0 as usize] = true;
        if let Some(mut stream) = self.streams[rank.0 as usize].take() {
            stream.session.clear(pool);
        }
    }

    /// Hands over what has come, where its causes have been handed over too: by rank, what I have `delivered`. What the handler refuses
    /// is offered again by the next call, and gives its place away.
    pub(crate) fn poll_event<H>(&mut self, delivered: &[Seq], pool: &mut RxPool, handler: &mut H) -> usize
    where
        H: FnMut(Message<'_>) -> ControlFlow<()>,
    {
        let mut events = 0;
        let mut least = 0;
        // Each round hands over one message, of the stream whose next came first; who has none that may go is passed over.
        while events < MAX_HANDED
            && let Some((at, came)) = self.first_arrived(least)
        {
            let taken = self.hand_over(at, delivered, pool, handler);
            events += taken;
            if taken == 0 {
                least = came + 1;
            }
        }
        events
    }

    /// The stream whose next message came first, not before `least`.
    fn first_arrived(&self, least: u64) -> Option<(usize, u64)> {
        let came = |(at, stream): (usize, &Option<Box<Stream>>)| {
            let (_, came) = stream.as_ref()?.arrivals.front()?;
            (*came >= least).then_some((at, *came))
        };
        self.streams.iter().enumerate().filter_map(came).min_by_key(|(_, came)| *came)
    }

    /// Hands over the next message of a stream, if it may go and the handler takes it.
    fn hand_over<H>(&mut self, at: usize, delivered: &[Seq], pool: &mut RxPool, handler: &mut H) -> usize
    where
        H: FnMut(Message<'_>) -> ControlFlow<()>,
    {
        let Some(stream) = self.streams[at].as_deref_mut() else { return 0 };
        let Stream { session, heard, head, .. } = stream;
        let (malformed, mut taken) = (&mut self.malformed, 0);
        let (messages, bytes) = &mut self.counts[at];
        session.poll_event(pool, &mut |_: &mut _, event: Event<'_>| {
            let Event::Deliver(message) = event else { return ControlFlow::Continue(()) };
            if taken > 0 {
                return ControlFlow::Break(());
            }
            if head.is_none() {
                *head = vector::read(message.bytes(), heard);
            }
            let Some(begin) = *head else {
                *malformed += 1;
                return ControlFlow::Continue(());
            };
            let may_go = heard.iter().zip(delivered).all(|(heard, delivered)| heard <= delivered);
            if !may_go && !mutated!(SendAtOnce) {
                return ControlFlow::Break(());
            }
            let message = &message.bytes()[begin..];
            handler(Message::whole(vector::rank_of(at), message))?;
            (*messages, *bytes) = (*messages + 1, *bytes + message.len() as u64);
            (*head, taken) = (None, 1);
            ControlFlow::Continue(())
        });
        stream.forget_arrivals();
        taken
    }

    /// Frees what all hold: there is nothing to hand over.
    pub(crate) fn release(&mut self, pool: &mut RxPool) {
        for stream in self.streams.iter_mut().flatten().filter(|stream| stream.arrivals.is_empty()) {
            stream.session.poll_event(pool, &mut |_: &mut _, _| ControlFlow::Break(()));
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, pool: &mut RxPool) {
        self.sessions().for_each(|session| session.handle_timeout(now, pool));
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

    /// Messages and bytes that were handed over of `rank`, and blocks of it that filled a gap.
    pub(crate) fn counted(&self, rank: Rank) -> (u64, u64, u64) {
        let (messages, bytes) = self.counts.get(rank.0 as usize).copied().unwrap_or_default();
        (messages, bytes, self.session(rank).map_or(0, |session| session.counters().repaired))
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

    /// Messages that no member that keeps to the protocol sends.
    pub(crate) fn malformed(&self) -> u64 {
        self.malformed
    }

    fn sessions(&mut self) -> impl Iterator<Item = &mut Session> {
        self.streams.iter_mut().flatten().map(|stream| &mut stream.session)
    }
}

impl Stream {
    fn new(view: &SessionConfig, from: Rank, window: usize) -> Box<Self> {
        let heard = view.members.iter().map(|member| member.start).collect();
        let session =
            Session::new(config_of(view, from, false, window)).expect("the memory of a small log is there");
        Box::new(Self { session, heard, head: None, arrivals: VecDeque::new() })
    }

    /// The rank of the sender in a session of two.
    fn sender(&self) -> Rank {
        Rank(1 - self.session.config().me.0)
    }

    fn note_arrival(&mut self, number: u64) {
        let held = self.session.held_of(self.sender()).unwrap_or_default();
        let known = self.arrivals.back().map_or_else(|| self.passed(), |(to, _)| *to);
        if held > known {
            self.arrivals.push_back((held, number));
        }
    }

    fn forget_arrivals(&mut self) {
        let passed = self.passed();
        while self.arrivals.front().is_some_and(|(to, _)| *to <= passed) {
            self.arrivals.pop_front();
        }
    }

    fn passed(&self) -> Seq {
        self.session.passed_of(self.sender()).unwrap_or_default()
    }
}

/// Messages that are handed over in one look: the casts have their turn.
const MAX_HANDED: usize = 64;
