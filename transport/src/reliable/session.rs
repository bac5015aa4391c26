//! One member's part in a group of fixed members: its own stream, the others' streams, and the control between them.

mod control;
mod flush;
mod losses;
mod order;

use super::SessionCounters;
use super::config::SessionConfig;
use super::control::ControlQueue;
use super::departures::Departures;
use super::layer::{Fifo, Layer};
use super::message::Message;
use super::rank_set::RankSet;
use super::sender::Sender;
use super::stream::Stream;
use crate::id::{Endpoint, Rank, Seq};
use crate::log::{LogMemory, RxBlock, RxPool};
use crate::medium::true_size;
use crate::mutated;
use crate::protocol::{Payload, Protocol, Target, Transmit};
use crate::time::Instant;
use crate::wire::{Control, ControlFrames, Header, Heartbeat, Kind, Malformed, Nak, Unavailable};
use flush::Flush;
use std::ops::ControlFlow;

/// What a session hands to the application.
#[derive(Debug)]
pub enum Event<'a> {
    /// A message, in the order of its sender.
    Deliver(Message<'a>),
    /// A member has said goodbye, and everything that it cast has been delivered: it gates nobody any more.
    Left(Rank),
}

/// See the module. What `L` is decides in which order messages are delivered.
#[derive(Debug)]
pub struct Session<L: Layer = Fifo> {
    config: SessionConfig,
    sender: Sender<L::Outbound>,
    layer: L,
    streams: Vec<Option<Stream>>,
    /// Ranks whose streams may have something to deliver, and those of which there is something to acknowledge.
    ready: RankSet,
    news: RankSet,
    heard: RankSet,
    /// When each member was last heard, and which of them have said goodbye.
    heard_at: Vec<Instant>,
    departures: Departures,
    /// My next block cannot come back to me yet: one before it is not delivered, or there is no place for it.
    own_waits: bool,
    /// Blocks of mine before it have been read by the layer.
    shown: Seq,
    control: ControlQueue,
    flush: Flush,
    timers: [Option<Instant>; TIMERS],
    heartbeat_wait_ns: u64,
    /// When the senders were last counted.
    counted_at: Instant,
    rng: fastrand::Rng,
    counters: SessionCounters,
}

/// The session's timers: each is an index into a fixed table.
#[derive(Debug, Clone, Copy)]
enum Timer {
    Nak,
    Ack,
    Heartbeat,
}
const TIMERS: usize = 3;

impl Session {
    /// Starts the view that `config` describes, with no order across senders.
    ///
    /// # Errors
    /// When the system has not the memory for the log.
    ///
    /// # Panics
    /// When `me` is no rank of `members`.
    pub fn new(config: SessionConfig) -> std::io::Result<Self> {
        Self::ordered(config, &())
    }
}

impl<L: Layer> Session<L> {
    /// Starts the view that `config` describes, in the order that `options` describe.
    ///
    /// # Errors
    /// When the system has not the memory for the log.
    ///
    /// # Panics
    /// When `me` is no rank of `members`.
    pub fn ordered(config: SessionConfig, options: &L::Options) -> std::io::Result<Self> {
        Self::ordered_in(None, config, options)
    }

    /// As [`ordered`](Self::ordered), with its log in the `memory` of an earlier view's, as [`retire`](Self::retire) gave it back.
    ///
    /// # Errors
    /// Likewise.
    ///
    /// # Panics
    /// Likewise.
    pub fn ordered_in(
        memory: Option<LogMemory>,
        config: SessionConfig,
        options: &L::Options,
    ) -> std::io::Result<Self> {
        let (layer, out) = L::new(&config, options);
        let mut sender = Sender::new(&config, out, memory)?;
        if L::ORDERS {
            sender.keep(config.members[config.me.0 as usize].start);
        }
        let members = config.members.len();
        let streams = (0..members).map(|rank| Self::stream_of(&config, Rank(rank as u16))).collect();
        let template = Header::new(Kind::Control, config.group, config.instance, config.view, config.me);
        Ok(Self {
            sender,
            layer,
            streams,
            ready: RankSet::new(members),
            news: RankSet::new(members),
            heard: RankSet::new(members),
            heard_at: vec![Instant::default(); members],
            departures: Departures::default(),
            own_waits: false,
            shown: config.members[config.me.0 as usize].start,
            control: ControlQueue::new(template, config.block),
            flush: Flush::new(members),
            timers: [None, None, Some(Instant::default())],
            heartbeat_wait_ns: config.tuning.heartbeat_ns,
            counted_at: Instant::default(),
            rng: fastrand::Rng::with_seed(config.seed),
            counters: SessionCounters::default(),
            config,
        })
    }

    /// My own stream, to cast into.
    pub fn sender(&mut self) -> &mut Sender<L::Outbound> {
        &mut self.sender
    }

    /// My own stream.
    #[must_use]
    pub fn stream(&self) -> &Sender<L::Outbound> {
        &self.sender
    }

    /// Those who read are told how much of my stream no end of the view can leave out: by rank, `votes` decide on that.
    pub fn set_votes(&mut self, votes: Vec<u8>) {
        self.sender.set_votes(votes);
    }

    /// My own stream to cast into, and what decides the order of deliveries.
    pub fn split(&mut self) -> (&mut Sender<L::Outbound>, &L) {
        (&mut self.sender, &self.layer)
    }

    /// What decides the order of deliveries.
    #[must_use]
    pub fn layer(&self) -> &L {
        &self.layer
    }

    /// Everything before it in the stream of `rank` is held here; `None` for my own stream, and for no member.
    #[must_use]
    pub fn held_of(&self, rank: Rank) -> Option<Seq> {
        if rank == self.config.me {
            return None;
        }
        self.streams.get(rank.0 as usize)?.as_ref().map(Stream::held)
    }

    /// Every message that ends before it in the stream of `rank` was handed over here; `None` as in [`held_of`](Self::held_of).
    #[must_use]
    pub fn passed_of(&self, rank: Rank) -> Option<Seq> {
        if rank == self.config.me {
            return None;
        }
        self.streams.get(rank.0 as usize)?.as_ref().map(Stream::passed)
    }

    /// Every block before it in the stream of `rank` has been delivered here to its last byte; `None` for no member.
    #[must_use]
    pub fn delivered_of(&self, rank: Rank) -> Option<Seq> {
        self.streams.get(rank.0 as usize)?.as_ref().map(|stream| stream.status().delivered)
    }

    /// Where the stream of `rank` goes on behind what was handed over here: the offset in the data of a block. Of my own, behind what I have
    /// cast; `None` while some of that is still to be handed over to me.
    #[must_use]
    pub fn cursor_of(&self, rank: Rank) -> Option<(Seq, u32)> {
        let stream = self.streams.get(rank.0 as usize)?.as_ref();
        if rank != self.config.me {
            return stream.map(Stream::cursor);
        }
        let cast = self.sender.cast_up_to();
        let has_come = stream.is_none_or(|stream| stream.status().delivered == cast);
        has_come.then_some((cast, 0))
    }

    /// Blocks that are kept of all streams, my own log not counted.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.streams.iter().flatten().map(Stream::kept).sum()
    }

    /// Nothing can be cast from now on.
    pub fn close(&mut self) {
        self.sender.close();
    }

    /// Says goodbye once everything that I cast has been delivered by all: then I gate nobody any more. Nothing can be cast
    /// from now on.
    pub fn leave(&mut self, now: Instant) {
        self.close();
        self.departures.leave();
        self.arm(Timer::Heartbeat, Some(now));
    }

    /// Whether the goodbye has been said as often as it is.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.departures.has_left()
    }

    /// The member that gates me and was heard least recently, and when; from the start of the view on.
    #[must_use]
    pub fn most_silent(&self) -> Option<(Rank, Instant)> {
        self.sender.gating().map(|rank| (rank, self.heard_at[rank.0 as usize])).min_by_key(|(_, at)| *at)
    }

    /// When a frame of each member's own was heard last, by rank; the beginning of time for who was not heard, and for me.
    #[must_use]
    pub fn heard_at(&self) -> &[Instant] {
        &self.heard_at
    }

    /// A frame of this member's own came outside of these streams.
    pub fn heard(&mut self, rank: Rank, now: Instant) {
        if let Some(at) = self.heard_at.get_mut(rank.0 as usize) {
            *at = now;
        }
    }

    /// What this session was built from.
    #[must_use]
    pub fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// Gives every held block back to the pool.
    pub fn clear(&mut self, pool: &mut RxPool) {
        self.streams.iter_mut().flatten().for_each(|stream| stream.clear(pool));
    }

    /// Gives every held block back to the pool, and the memory of the log to whoever needs one of its size.
    pub fn retire(mut self, pool: &mut RxPool) -> LogMemory {
        self.clear(pool);
        self.sender.into_memory()
    }

    /// Takes a block whose header was decoded already; otherwise as [`Protocol::handle_datagram`].
    pub fn handle_block(
        &mut self,
        now: Instant,
        from: Endpoint,
        header: &Header,
        block: RxBlock,
        pool: &mut RxPool,
    ) {
        self.sender.begin_cycle(now);
        let ours = header.group == self.config.group
            && (header.instance == self.config.instance || mutated!(IgnoreInstance))
            && header.view == self.config.view;
        if !ours {
            self.counters.foreign += 1;
            return pool.release(block);
        }
        if header.rank == Rank::READER && header.kind == Kind::Control {
            self.handle_reader(now, from, header, pool.bytes(&block));
            return pool.release(block);
        }
        let known = self.config.members.get(header.rank.0 as usize);
        let is_sender = known.is_some_and(|member| member.endpoint == from) && header.rank != self.config.me;
        // Any holder may repair: data counts by its header, whichever member it comes from.
        let is_repair = || {
            header.kind == Kind::Data
                && header.rank != self.config.me
                && known.is_some()
                && self.is_member(from)
        };
        if !is_sender && !is_repair() {
            self.counters.strangers += 1;
            return pool.release(block);
        }
        if self.flush.is_on() && !self.admits(now, from, header, header.control(pool.bytes(&block))) {
            return pool.release(block);
        }
        // What a holder forwards is the sender's old block: its control is old too.
        if is_sender {
            self.heard_at[header.rank.0 as usize] = now;
            let trailer = header.control(pool.bytes(&block));
            if !trailer.is_empty() {
                self.handle_control(now, header, trailer);
            }
        }
        match header.kind {
            Kind::Data => self.handle_data(now, header, block, pool),
            Kind::Control | Kind::Setup | Kind::Agreement => pool.release(block),
        }
    }

    /// A reader may ask for repairs, and nothing else. What it asks for is bounded like the members' requests.
    fn handle_reader(&mut self, now: Instant, from: Endpoint, header: &Header, block: &[u8]) {
        let mut frames = ControlFrames::new(header.control(block));
        let before = self.counters.naks_received;
        while let Ok(Some(frame)) = frames.next_frame() {
            match frame {
                Control::Nak(nak) if nak.origin == self.config.me => {
                    self.counters.naks_received += 1;
                    self.sender.on_nak(Rank::READER, nak.attempt, nak.ranges);
                    let (origin, to) = (self.config.me, self.sender.retained());
                    if nak.ranges.iter().any(|(first, _)| first < to) {
                        self.control.push(Target::One(from), |writer| {
                            writer.unavailable(Unavailable { origin, to });
                        });
                    }
                }
                Control::Fetch(nak) => self.handle_fetch(now, Rank::READER, nak),
                _ => {}
            }
        }
        self.counters.strangers += u64::from(self.counters.naks_received == before);
    }

    fn handle_data(&mut self, now: Instant, header: &Header, block: RxBlock, pool: &mut RxPool) {
        let Some(stream) = &mut self.streams[header.rank.0 as usize] else { return pool.release(block) };
        let Some(seq) = header.seq_near(stream.near()) else {
            self.counters.foreign += 1;
            return pool.release(block);
        };
        let held = stream.held();
        stream.on_block(now, seq, block, pool, &mut self.rng, &mut self.counters);
        if !L::ORDERS && stream.is_ready() {
            self.ready.insert(header.rank);
        }
        let (nak, next) = (stream.nak_timeout(), stream.held());
        if L::ORDERS && next > held {
            // A block that filled a gap brings others along; and not all that is held may be read where the view is about to end.
            let is_one = seq == held && next == held.plus(1) && !self.flush.is_on();
            if is_one && self.layer.passes(header.rank, seq, header.order) {
                stream.admit(held.plus(1));
                self.ready.insert(header.rank);
            } else {
                self.show(header.rank, pool);
            }
        }
        self.news.insert(header.rank);
        self.arm(Timer::Nak, nak);
        if self.heard.insert(header.rank) {
            self.sender.share_with(self.heard.len());
        }
    }

    #[inline]
    fn handle_control(&mut self, now: Instant, header: &Header, trailer: &[u8]) {
        let mut frames = ControlFrames::new(trailer);
        loop {
            match frames.next_frame() {
                Ok(None) => return,
                Ok(Some(Control::Heartbeat(heartbeat))) => self.handle_heartbeat(now, header.rank, heartbeat),
                Ok(Some(Control::Status(status))) => {
                    let mine = status.entries.iter().filter(|entry| entry.rank == self.config.me);
                    mine.for_each(|entry| self.sender.on_status(header.rank, entry));
                    if self.sender.has_news() {
                        self.arm(Timer::Heartbeat, Some(now.plus_ns(self.config.tuning.heartbeat_ns)));
                    }
                }
                Ok(Some(Control::Nak(nak))) => self.handle_nak(now, header.rank, nak),
                Ok(Some(Control::Fetch(nak))) => self.handle_fetch(now, header.rank, nak),
                Ok(Some(Control::Goodbye(goodbye))) => {
                    self.departures.note(header.rank, goodbye, &mut self.sender)
                }
                // The handshake is over, agreement has blocks of its own, and the layer reads its frames in the order of the stream.
                Ok(Some(Control::Setup(_) | Control::Chunk(_) | Control::Order { .. })) => {}
                // A member finds in the log whatever it lacks; and what is firm is for readers.
                Ok(Some(Control::Unavailable(_) | Control::Firm(_))) => {}
                Err(_) => {
                    self.counters.malformed_frames += 1;
                    return;
                }
            }
        }
    }

    fn handle_heartbeat(&mut self, now: Instant, rank: Rank, heartbeat: Heartbeat) {
        let Some(stream) = &mut self.streams[rank.0 as usize] else { return };
        stream.on_heartbeat(now, heartbeat, &mut self.rng);
        self.layer.stable(rank, heartbeat.stable);
        let nak = stream.nak_timeout();
        // Also frees what has become stable, once it is delivered.
        self.ready.insert(rank);
        self.news.insert(rank);
        self.arm(Timer::Nak, nak);
    }

    fn handle_nak(&mut self, now: Instant, rank: Rank, nak: Nak<'_>) {
        self.counters.naks_received += 1;
        if nak.origin == self.config.me {
            self.sender.on_nak(rank, nak.attempt, nak.ranges);
        } else if let Some(Some(stream)) = self.streams.get_mut(nak.origin.0 as usize) {
            stream.on_nak_heard(now, nak.ranges, &mut self.rng);
        }
    }

    /// Seals the open block, with my acks.
    fn seal_open(&mut self) {
        let streams = &self.streams;
        let news = self.news.iter().filter_map(|rank| streams[rank.0 as usize].as_ref()).map(Stream::status);
        let written = self.sender.seal_open(news);
        self.reported(written, None);
    }

    /// What goes to `to` in the name of this session.
    #[inline]
    fn transmit(&self, to: Target, payload: Payload) -> Transmit {
        let SessionConfig { index: group, view, lane, .. } = self.config;
        Transmit { to, group, view, lane, payload }
    }

    fn arm(&mut self, timer: Timer, at: Option<Instant>) {
        let entry = &mut self.timers[timer as usize];
        if let Some(at) = at {
            *entry = Some(entry.map_or(at, |before| before.min(at)));
        }
    }

    fn is_due(&self, timer: Timer, now: Instant) -> bool {
        self.timers[timer as usize].is_some_and(|due| due <= now)
    }

    fn is_member(&self, endpoint: Endpoint) -> bool {
        self.config.members.iter().any(|member| member.endpoint == endpoint)
    }

    fn stream_of(config: &SessionConfig, rank: Rank) -> Option<Stream> {
        let member = &config.members[rank.0 as usize];
        if rank == config.me {
            return L::ORDERS.then(|| Stream::own(rank, member, L::COMES_BACK, &config.tuning));
        }
        let mine = &config.members[config.me.0 as usize];
        // Often enough that neither the sender's window nor my receive buffer runs full between two acks.
        let buffered = mine.receive_buffer / 4 / true_size(config.block);
        let ack_every = (member.window / 8).min(buffered).max(1) as u64;
        let receivers = config.members.len() - 1;
        let mut stream = Stream::new(rank, member, receivers, ack_every, &config.tuning);
        if L::ORDERS {
            stream.admit(member.start);
        }
        Some(stream)
    }
}

impl<L: Layer> Protocol for Session<L> {
    type Event<'a> = Event<'a>;
    type Caster<'a> = Sender<L::Outbound>;

    fn handle_datagram(&mut self, now: Instant, from: Endpoint, block: RxBlock, pool: &mut RxPool) {
        match Header::decode(pool.bytes(&block)) {
            Ok(header) => self.handle_block(now, from, &header, block, pool),
            Err(error) => {
                self.counters.malformed(error);
                pool.release(block);
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant, _pool: &mut RxPool) {
        self.sender.begin_cycle(now);
        if self.is_due(Timer::Nak, now) {
            self.send_naks(now);
        }
        if self.is_due(Timer::Heartbeat, now) {
            self.count_senders(now);
            self.send_heartbeat(now);
        }
    }

    fn poll_event<H>(&mut self, pool: &mut RxPool, handler: &mut H) -> usize
    where
        H: FnMut(&mut Sender<L::Outbound>, Event<'_>) -> ControlFlow<()>,
    {
        let mut delivered = 0;
        loop {
            if L::ORDERS {
                self.layer.stable(self.config.me, self.sender.stable());
                self.take_own(pool);
            }
            if self.deliver_ready(pool, &mut delivered, handler).is_break() {
                break;
            }
            delivered += self.tell_departures(pool, handler);
            // What the others wait for to go on is not kept until the end of the cycle.
            if L::ORDERS && self.sender.wants_block() {
                self.seal_open();
            } else if !L::ORDERS || !self.layer.has_woken() {
                break;
            }
        }
        // Each delivery may be what my own blocks wait for. Without one, nobody need look again before something comes.
        self.own_waits &= delivered == 0;
        self.counters.delivered += delivered as u64;
        delivered
    }

    fn seal(&mut self, now: Instant) {
        if self.sender.has_open() && self.sender.may_send_open() {
            self.seal_open();
        }
        let waits = mutated!(AckInsideWindow) && self.sender.is_blocked();
        if !self.news.is_empty() && !waits {
            self.send_acks(now);
        }
        // What another ack took along, ahead of its time, must not wake anybody.
        if self.news.is_empty() {
            self.timers[Timer::Ack as usize] = None;
        }
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if let Some((to, slot)) = self.control.take() {
            return Some(self.transmit(to, Payload::Control { slot }));
        }
        if self.flush.is_on()
            && let Some(fetched) = self.next_fetched()
        {
            return Some(fetched);
        }
        let run = self.sender.next_repair().or_else(|| {
            let run = self.sender.next_new()?;
            self.heartbeat_wait_ns = self.config.tuning.heartbeat_ns;
            self.arm(Timer::Heartbeat, Some(now.plus_ns(self.config.tuning.heartbeat_ns)));
            Some(run)
        });
        let (first, count) = run?;
        Some(self.transmit(self.config.to, Payload::Log { first, count }))
    }

    fn transmit_bytes<'a>(&'a self, transmit: &Transmit, pool: &'a RxPool) -> (&'a [u8], usize) {
        match transmit.payload {
            Payload::Log { first, count } => self.sender.run(first, count),
            Payload::Held { origin, seq } => {
                let bytes = self.held_bytes(origin, seq, pool);
                (bytes, bytes.len())
            }
            // A session has no handshake.
            Payload::Setup { .. } => (&[], 1),
            Payload::Control { slot } => {
                let bytes = self.control.bytes(slot);
                (bytes, bytes.len())
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.has_own_left() {
            return Some(Instant::default());
        }
        self.timers.iter().copied().chain([self.sender.pace_timeout()]).flatten().min()
    }

    fn awaits_control(&self) -> bool {
        let is_waiting = self.timers[Timer::Nak as usize].is_some() || self.sender.is_blocked();
        is_waiting && !self.flush.is_finished()
    }
}

impl SessionCounters {
    fn malformed(&mut self, error: Malformed) {
        self.malformed_blocks += 1;
        self.wrong_checksums += u64::from(error == Malformed::Checksum);
    }
}
