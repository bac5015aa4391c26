//! A reader: not in the view, it gates nobody and acknowledges nothing. It enters streams in mid-flow, asks for what it
//! misses, and goes on behind what it cannot get any more.

mod order;
mod source;
mod view;

pub use order::{Admission, OwnOrder, ReaderOrder};
pub use view::ReaderView;

use self::source::{Means, Source};
use super::control::ControlQueue;
use super::message::Message;
use super::{Cause, Gap, PeerLosses, SessionCounters, Tuning};
use crate::id::{Endpoint, GroupId, GroupInstance, Rank, Seq, ViewNumber};
use crate::log::{RxBlock, RxPool};
use crate::protocol::{Payload, Protocol, Target, Transmit};
use crate::time::Instant;
use crate::wire::{Control, ControlFrames, Firm, Header, Heartbeat, Kind, Unavailable};
use std::ops::ControlFlow;
use view::End;

/// Ranks that are believed: memory is taken for each sender that is heard.
const MAX_SENDERS: usize = 64;
/// Requests that remain without any answer before what they ask for is given up.
const MAX_ATTEMPTS: u8 = 5;
/// A life of the group of which nothing was heard for so long is over: the next one is entered.
const LIFE_OVER_NS: u64 = 2_000_000_000;

/// What a reader is built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReaderConfig {
    /// The group.
    pub group: GroupId,
    /// Index of the group among those of its node.
    pub index: u16,
    /// Bytes of a block.
    pub block: usize,
    /// Sizes and times; the window is that of each stream.
    pub tuning: Tuning,
    /// Seed of the random delays.
    pub seed: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Reader<O: ReaderOrder = OwnOrder> {
    order: O,
    config: ReaderConfig,
    /// The life and view that is read, and when it was last heard.
    life: Option<(GroupInstance, ViewNumber)>,
    heard_at: Instant,
    /// The present cycle.
    now: Instant,
    senders: Vec<Option<Source>>,
    /// The only view that is read, and its end once that is known.
    view: Option<ReaderView>,
    end: Option<End>,
    control: ControlQueue,
    nak_timer: Option<Instant>,
    rng: fastrand::Rng,
    counters: SessionCounters,
}

/// What a reader hands to the application.
#[derive(Debug)]
pub enum ReaderEvent<'a> {
    /// I enter a member's stream at this block, with the next message that begins.
    Reading(Rank, Seq),
    /// A message, in the order of its sender.
    Deliver(Message<'a>),
    /// I have lost so many blocks of a member's stream for good, and go on behind them.
    Gap(Rank, u64),
    /// A member has said goodbye, and everything that it cast has been delivered.
    Left(Rank),
}

impl Reader {
    /// Listens, and hands over each stream in its own order; nothing is sent before something is missing.
    #[must_use]
    pub fn new(config: ReaderConfig) -> Self {
        Self::ordered(config, OwnOrder)
    }
}

impl<O: ReaderOrder> Reader<O> {
    /// The same, in this order.
    #[must_use]
    pub fn ordered(config: ReaderConfig, order: O) -> Self {
        Self {
            order,
            control: ControlQueue::new(
                template(&config, GroupInstance::default(), ViewNumber(0)),
                config.block,
            ),
            config,
            life: None,
            heard_at: Instant::default(),
            now: Instant::default(),
            senders: Vec::new(),
            view: None,
            end: None,
            nak_timer: None,
            rng: fastrand::Rng::with_seed(config.seed),
            counters: SessionCounters::default(),
        }
    }

    /// In which order.
    pub fn order_mut(&mut self) -> &mut O {
        &mut self.order
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> SessionCounters {
        self.counters
    }

    /// The open and the recent gaps of all streams.
    pub fn gaps(&self) -> impl Iterator<Item = Gap> + '_ {
        self.sources().flat_map(|(_, source)| source.stream.gaps(Rank::READER))
    }

    /// What I have lost of each member's stream.
    pub fn losses(&self) -> impl Iterator<Item = (Rank, PeerLosses)> + '_ {
        self.sources().map(|(rank, source)| (rank, source.stream.losses()))
    }

    /// Whether a gap was noticed whose cause [`explain`](Self::explain) should say: one look while nothing is missing.
    #[inline]
    #[must_use]
    pub fn is_unexplained(&self) -> bool {
        self.nak_timer.is_some() && self.sources().any(|(_, source)| source.stream.is_unexplained())
    }

    /// What was noticed to be missing was most likely lost by `cause`: the driver knows what its medium has lost.
    pub fn explain(&mut self, cause: Cause) {
        self.senders.iter_mut().flatten().for_each(|source| source.stream.explain(cause));
    }

    fn sources(&self) -> impl Iterator<Item = (Rank, &Source)> {
        (0..).map(Rank).zip(&self.senders).filter_map(|(rank, source)| Some((rank, source.as_ref()?)))
    }

    /// Takes a block whose header was decoded already.
    pub fn handle_block(
        &mut self,
        now: Instant,
        from: Endpoint,
        header: &Header,
        block: RxBlock,
        pool: &mut RxPool,
    ) {
        let is_from_member = header.group == self.config.group
            && matches!(header.kind, Kind::Data | Kind::Control)
            && (header.rank.0 as usize) < self.view.as_ref().map_or(MAX_SENDERS, |view| view.members.len())
            && self.enter(now, header, pool);
        if !is_from_member {
            self.counters.foreign += 1;
            return pool.release(block);
        }
        self.heard_at = now;
        if self.source(header.rank, from).endpoint == from {
            self.handle_control(now, header, pool.bytes(&block));
        } else if header.kind == Kind::Control {
            self.counters.strangers += 1;
        }
        if header.kind != Kind::Data {
            return pool.release(block);
        }
        let Some(Some(source)) = self.senders.get_mut(header.rank.0 as usize) else {
            return pool.release(block);
        };
        let Some(seq) = header.seq_near(source.stream.near()) else { return pool.release(block) };
        if let Some(view) = &self.view {
            // A sender has no more under way than its window: what is before that was handed over by all.
            let all = Seq((seq.0 + 1).saturating_sub(view.members[header.rank.0 as usize].window as u64));
            self.order.announced(header.rank, all, all);
        }
        let (rng, counters) = (&mut self.rng, &mut self.counters);
        source.take(seq, block, &mut Means { now, pool, rng, counters });
        self.arm(header.rank);
    }

    /// Whether the block belongs to the life that is read; the first one that is heard is entered.
    fn enter(&mut self, now: Instant, header: &Header, pool: &mut RxPool) -> bool {
        let life = (header.instance, header.view);
        if self.life == Some(life) {
            return true;
        }
        if self.view.is_some() {
            return false;
        }
        if self.life.is_some() && now.since_ns(self.heard_at) < LIFE_OVER_NS {
            return false;
        }
        self.senders.drain(..).flatten().for_each(|mut source| source.clear(pool));
        self.order.restart();
        self.control.set_template(template(&self.config, header.instance, header.view));
        self.life = Some(life);
        true
    }

    fn source(&mut self, rank: Rank, from: Endpoint) -> &mut Source {
        let at = rank.0 as usize;
        if self.senders.len() <= at {
            self.senders.resize_with(at + 1, || None);
        }
        let config = &self.config;
        self.senders[at].get_or_insert_with(|| Source::new(rank, from, config))
    }

    fn handle_control(&mut self, now: Instant, header: &Header, block: &[u8]) {
        let mut frames = ControlFrames::new(header.control(block));
        while let Ok(Some(frame)) = frames.next_frame() {
            match frame {
                Control::Heartbeat(heartbeat) => self.handle_heartbeat(now, header.rank, heartbeat),
                Control::Goodbye(goodbye) => {
                    if let Some(Some(source)) = self.senders.get_mut(header.rank.0 as usize) {
                        source.end_at(goodbye.end);
                    }
                }
                Control::Nak(nak) => {
                    if let Some(Some(source)) = self.senders.get_mut(nak.origin.0 as usize) {
                        source.stream.on_nak_heard(now, nak.ranges, &mut self.rng);
                    }
                }
                Control::Unavailable(Unavailable { origin, to }) if origin == header.rank => {
                    if let Some(Some(source)) = self.senders.get_mut(origin.0 as usize) {
                        source.gone_before(to);
                    }
                }
                // It is told in the sender's own blocks only: nobody else counts for it.
                Control::Firm(Firm { to }) => self.order.announced(header.rank, to, Seq(0)),
                Control::Unavailable(_) | Control::Status(_) | Control::Fetch(_) | Control::Setup(_) => {}
                Control::Chunk(_) | Control::Order { .. } => {}
            }
        }
    }

    fn handle_heartbeat(&mut self, now: Instant, rank: Rank, heartbeat: Heartbeat) {
        let Some(Some(source)) = self.senders.get_mut(rank.0 as usize) else { return };
        if source.stream.is_waiting() {
            source.enter(heartbeat.next);
        }
        source.stream.on_heartbeat(now, heartbeat, &mut self.rng);
        self.order.announced(rank, heartbeat.stable, heartbeat.delivered);
        self.arm(rank);
    }

    /// Asks each sender for what is missing of its stream, and gives up what was asked for in vain.
    fn send_naks(&mut self, now: Instant, pool: &mut RxPool) {
        self.nak_timer = None;
        for at in 0..self.senders.len() {
            let Some(source) = &mut self.senders[at] else { continue };
            if let Some(ask) = source.stream.nak_due(now) {
                let (rng, counters) = (&mut self.rng, &mut self.counters);
                let in_vain = ask.attempt >= MAX_ATTEMPTS && source.stream.is_missing(ask);
                if !(in_vain && source.give_up(&mut Means { now, pool, rng, counters })) {
                    let (to, is_fetched) = match (&self.view, &mut self.end) {
                        (Some(view), Some(end)) => end.ask(view, Rank(at as u16), ask.attempt),
                        _ => (source.endpoint, false),
                    };
                    source.stream.fetches(is_fetched);
                    let to = Target::One(to);
                    let asked = source.stream.ask(now, ask, to, &mut self.control, &mut self.rng);
                    self.counters.naks_sent += u64::from(asked);
                }
            }
            self.arm(Rank(at as u16));
        }
    }

    fn arm(&mut self, rank: Rank) {
        let Some(Some(source)) = self.senders.get(rank.0 as usize) else { return };
        if let Some(at) = source.stream.nak_timeout() {
            self.nak_timer = Some(self.nak_timer.map_or(at, |before| before.min(at)));
        }
    }
}

impl<O: ReaderOrder> Protocol for Reader<O> {
    type Event<'a> = ReaderEvent<'a>;
    type Caster<'a> = ();

    fn handle_datagram(&mut self, now: Instant, from: Endpoint, block: RxBlock, pool: &mut RxPool) {
        match Header::decode(pool.bytes(&block)) {
            Ok(header) => self.handle_block(now, from, &header, block, pool),
            Err(_) => {
                self.counters.malformed_blocks += 1;
                pool.release(block);
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant, pool: &mut RxPool) {
        self.now = now;
        if self.nak_timer.is_some_and(|due| due <= now) {
            self.send_naks(now, pool);
        }
    }

    fn poll_event<H>(&mut self, pool: &mut RxPool, handler: &mut H) -> usize
    where
        H: FnMut(&mut (), ReaderEvent<'_>) -> ControlFlow<()>,
    {
        let mut events = 0;
        loop {
            self.reach_for_end();
            let mut again = false;
            for at in 0..self.senders.len() {
                let (rank, now) = (Rank(at as u16), self.now);
                let Some(source) = &mut self.senders[at] else { continue };
                let means = &mut Means { now, pool, rng: &mut self.rng, counters: &mut self.counters };
                let mut tell = |event: ReaderEvent<'_>| handler(&mut (), event);
                let flow = source.poll(rank, means, &mut self.order, &mut again, &mut events, &mut tell);
                // What was parked may have left a gap behind.
                self.arm(rank);
                if flow.is_break() {
                    return events;
                }
            }
            // What was handed over of one may be what another waits for.
            if !(O::ORDERS && again) {
                return events;
            }
        }
    }

    fn seal(&mut self, _now: Instant) {}

    fn poll_transmit(&mut self, _now: Instant) -> Option<Transmit> {
        let (to, slot) = self.control.take()?;
        Some(Transmit {
            to,
            group: self.config.index,
            view: ViewNumber(0),
            lane: 0,
            payload: Payload::Control { slot },
        })
    }

    fn transmit_bytes<'a>(&'a self, transmit: &Transmit, _pool: &'a RxPool) -> (&'a [u8], usize) {
        match transmit.payload {
            Payload::Control { slot } => {
                let bytes = self.control.bytes(slot);
                (bytes, bytes.len())
            }
            // A reader has neither a log nor a handshake.
            Payload::Log { .. } | Payload::Held { .. } | Payload::Setup { .. } => (&[], 1),
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.nak_timer
    }

    fn awaits_control(&self) -> bool {
        false
    }
}

fn template(config: &ReaderConfig, instance: GroupInstance, view: ViewNumber) -> Header {
    Header::new(Kind::Control, config.group, instance, view, Rank::READER)
}
