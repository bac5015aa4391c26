//! The sending half of a session: messages are claimed in place, blocks sealed, runs cut, repairs answered.
//!
//! It is disjoint from the receiving half, so that a handler may cast while it borrows a delivery.

mod cast;
mod flush;
mod gate;
mod pressure;
mod refusals;

pub use cast::max_message;
pub use pressure::HeldBack;
pub(super) use refusals::Blame;
pub use refusals::Refusal;

use self::gate::Gate;
use super::config::{RunLimits, SessionConfig};
use super::congestion::Congestion;
use super::firm::Firm;
use super::flow::{Flow, Refused};
use super::gaps::{Gap, PeerLosses, SentGaps};
use super::layer::{Fifo, Outbound};
use super::pace::Bucket;
use super::retransmit::Retransmit;
use crate::id::{Rank, Seq};
use crate::log::{LogMemory, SendLog};
use crate::medium::true_size;
use crate::mutated;
use crate::time::Instant;
use crate::wire::{
    self, HEARTBEAT_FRAME_LEN, Header, Heartbeat, Kind, MAX_FRAME_OVERHEAD, NakRanges, Part, StatusEntry,
    frame_len,
};

/// A block that carries less of messages than this has no room for what their order needs.
const MIN_CARRIED: usize = 32;

/// One member's own stream: log, window and repairs. `O` writes what the order of its blocks needs.
#[derive(Debug)]
pub struct Sender<O: Outbound = Fifo> {
    log: SendLog,
    out: O,
    me: Rank,
    /// Everything before it may be forgotten as far as this process is concerned: all of it, unless my own casts come back to me.
    kept: Seq,
    /// Blocks that casts leave free for frames of order.
    reserved: u64,
    /// Bytes that the open block keeps free for them.
    order_room: usize,
    flow: Flow,
    /// The most blocks that are stable without the receivers being told in a block, which frees their buffers.
    max_unannounced: u64,
    firm: Firm,
    retransmit: Retransmit,
    gaps: SentGaps,
    pace: Option<Bucket>,
    congestion: Option<Congestion>,
    window: u64,
    max_message: usize,
    limits: RunLimits,
    /// Everything before it has been handed to the medium at least once.
    sent: Seq,
    /// Blocks from here on wait for something outside the stream.
    held_from: Seq,
    last_sent_at: Instant,
    /// The stability that the receivers were last told of.
    announced: Heartbeat,
    /// Senders that share the receivers' buffers, this one included.
    senders: usize,
    now: Instant,
    /// Casts that the pace alone refused.
    paced: u64,
    gate: Gate,
    held: flush::Held<O::Class>,
}

impl<O: Outbound> Sender<O> {
    pub(super) fn new(config: &SessionConfig, out: O, memory: Option<LogMemory>) -> std::io::Result<Self> {
        let me = &config.members[config.me.0 as usize];
        let template = Header::new(Kind::Data, config.group, config.instance, config.view, config.me);
        let tuning = &config.tuning;
        let log =
            SendLog::in_memory(memory, me.window, config.block, me.start, template, tuning.check_payload)?;
        let others = || config.members.iter().enumerate().filter(|(rank, _)| *rank != config.me.0 as usize);
        let receive_buffer =
            others().map(|(_, member)| member.receive_buffer).min().unwrap_or(usize::MAX / 4);
        let coalesced = others().all(|(_, member)| member.coalesces);
        let flow = Flow::new(config.me, config.members.len(), me.window, me.start, receive_buffer, coalesced);
        // A run never takes more than a quarter of the smallest receive buffer.
        let quarter = (receive_buffer / 4).max(config.block);
        let limits = RunLimits { blocks: config.limits.blocks, bytes: config.limits.bytes.min(quarter) };
        // More than the log takes is never under way.
        let most = flow.limit().min(me.window as u64 * true_size(config.block) as u64);
        let run = flow.run_size(limits.blocks_of(config.block) as u32, config.block, config.block);
        let congestion = Congestion::new(most, run, config.members.len());
        Ok(Self {
            congestion: tuning.congestion.then_some(congestion),
            max_message: max_message(me.window, config.block),
            flow,
            max_unannounced: (me.window as u64 / 32).clamp(1, 64),
            firm: Firm::default(),
            retransmit: Retransmit::new(me.window, tuning.repair_holdoff_ns),
            gaps: SentGaps::new(config.members.len()),
            pace: tuning.pace.map(Bucket::new),
            window: me.window as u64,
            limits,
            sent: me.start,
            held_from: Seq(u64::MAX),
            last_sent_at: Instant::default(),
            announced: Heartbeat { next: me.start, stable: me.start, delivered: me.start },
            senders: 1,
            now: Instant::default(),
            paced: 0,
            gate: Gate::Open,
            held: Default::default(),
            me: config.me,
            kept: Seq(u64::MAX),
            reserved: O::RESERVED_BLOCKS.min(me.window as u64 / 4),
            order_room: 0,
            out,
            log,
        })
    }

    /// Casts one message: copies it into the log, where it waits for the end of the duty cycle at the latest.
    ///
    /// # Errors
    /// [`Refused::Full`] when the window is full, [`Refused::TooLarge`] beyond half of it. Nothing of it is sent then.
    #[inline]
    pub fn cast(&mut self, message: &[u8]) -> Result<(), Refused> {
        self.cast_as(O::Class::default(), message)
    }

    /// Casts one message of this class, as [`cast`](Self::cast) does.
    ///
    /// # Errors
    /// Likewise.
    #[inline]
    pub fn cast_as(&mut self, class: O::Class, message: &[u8]) -> Result<(), Refused> {
        if frame_len(Part::Whole, message.len()) > self.log.room() || !self.out.joins(class) {
            return self.cast_beyond(class, message);
        }
        self.log.claim(Part::Whole, message.len()).copy_from_slice(message);
        Ok(())
    }

    /// Claims a message of `len` bytes and this class, to be written in place; `len` is at most
    /// [`max_claim`](Self::max_claim).
    ///
    /// # Errors
    /// As [`cast`](Self::cast).
    #[inline]
    pub fn claim(&mut self, class: O::Class, len: usize) -> Result<&mut [u8], Refused> {
        let limit = self.carried(class)?;
        if len > limit {
            return Err(Refused::TooLarge { len, limit });
        }
        let frame = frame_len(Part::Whole, len);
        if frame > self.log.room() || !self.out.joins(class) {
            self.make_room(class, frame)?;
        }
        Ok(self.log.claim(Part::Whole, len))
    }

    /// The most bytes that can be claimed in place: what fits in one block, or 0 where no message of this class can be cast.
    #[must_use]
    pub fn max_claim(&self, class: O::Class) -> usize {
        self.carried(class).unwrap_or(0)
    }

    /// What a block carries of messages of this class, whatever its order needs.
    fn carried(&self, class: O::Class) -> Result<usize, Refused> {
        let (needed, most) =
            (self.out.max_reserve(class), self.log.block_room() - HEARTBEAT_FRAME_LEN - MAX_FRAME_OVERHEAD);
        let limit = most.saturating_sub(MIN_CARRIED);
        if needed > limit {
            return Err(Refused::Unordered { needed, limit });
        }
        Ok(most - needed)
    }

    /// The block that is being written: everything before it is sealed.
    #[must_use]
    pub fn open(&self) -> Seq {
        self.log.open()
    }

    /// What is written for the order of my blocks.
    #[must_use]
    pub fn outbound(&self) -> &O {
        &self.out
    }

    /// The blocks of mine that are sealed, and what is written for their order.
    pub(super) fn split(&mut self) -> (&SendLog, &mut O) {
        (&self.log, &mut self.out)
    }

    /// Blocks of mine from `seq` on are still wanted by this process itself.
    pub(super) fn keep(&mut self, seq: Seq) {
        self.kept = seq;
        self.release();
    }

    /// Blocks of `rank` before `to` are about to be delivered: what is cast from now on may depend on them, and says so.
    pub(super) fn depend(&mut self, rank: Rank, to: Seq) {
        if self.has_open() && !self.out.fits(rank, to) {
            self.seal(true, |_| ());
        }
        self.out.depend(rank, to);
    }

    /// Whether a block is to be sealed for its frames of order, and there is room for one.
    pub(super) fn wants_block(&self) -> bool {
        self.out.wants_block() && self.log.is_writable() && self.gate.is_writable()
    }

    /// Blocks of the window: as many may not be delivered by all.
    #[must_use]
    pub fn window(&self) -> usize {
        self.log.capacity() as usize
    }

    /// The most bytes that a message may have.
    #[must_use]
    pub fn max_message(&self) -> usize {
        self.max_message
    }

    /// Whether every other member has delivered everything that was cast, and nothing waits for the next view.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.held() == 0 && self.log.is_open_empty() && self.flow.delivered() == self.log.open()
    }

    /// Everything before it has been delivered by every other member, as far as is known here.
    #[must_use]
    pub fn delivered(&self) -> Seq {
        self.flow.delivered()
    }

    /// Blocks of the log that are not released, the open one among them when something has been written into it.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.cast_up_to().since(self.log.oldest())
    }

    /// Every message that was cast so far ends before this block: one that is still open counts.
    #[must_use]
    pub fn cast_up_to(&self) -> Seq {
        self.log.open().plus(u64::from(self.has_open()))
    }

    /// Seals what is open: whatever is cast from now on is in a later block. Returns the first of those.
    pub fn seal_now(&mut self) -> Seq {
        if self.has_open() {
            self.seal(true, |_| ());
        }
        self.log.open()
    }

    /// Blocks from `seq` on are not sent before this is said again: something must come first that is not in this stream.
    pub fn hold_from(&mut self, seq: Seq) {
        self.held_from = seq;
    }

    /// Blocks that were sent again.
    #[must_use]
    pub fn repairs(&self) -> u64 {
        self.retransmit.repairs()
    }

    /// The most bytes that may be under way at present, as receive buffers count them, before they are shared with other senders;
    /// and how often that was halved because losses repeated, and how often a halving did not help and was taken back.
    #[must_use]
    pub fn congestion(&self) -> (u64, u64, u64) {
        let (reductions, undone) = self.congestion.as_ref().map(Congestion::reductions).unwrap_or_default();
        (self.flow.limit(), reductions, undone)
    }

    /// What one member has received contiguously.
    #[must_use]
    pub fn received_by(&self, rank: Rank) -> Seq {
        self.flow.received_by(rank)
    }

    /// Everything before it is held by every member.
    #[must_use]
    pub fn stable(&self) -> Seq {
        self.flow.stable()
    }

    /// Nothing is cast from now on.
    pub(super) fn close(&mut self) {
        self.gate = self.gate.left();
        self.log.shut();
    }

    /// I say goodbye.
    pub(super) fn retire(&mut self) {
        self.out.retire();
    }

    /// The other members that have not said goodbye: each must deliver what I cast before it is forgotten.
    pub fn gating(&self) -> impl Iterator<Item = Rank> + '_ {
        self.flow.gating()
    }

    /// A member has said goodbye.
    pub(super) fn excuse(&mut self, rank: Rank) {
        self.gaps.received(self.now, rank, Seq(u64::MAX));
        if self.flow.excuse(self.now, rank, self.sent) {
            self.release();
        }
    }

    pub(super) fn begin_cycle(&mut self, now: Instant) {
        self.now = now;
        if let Some(pace) = &mut self.pace {
            pace.fill(now);
        }
    }

    /// When what the pace alone holds back may go.
    pub(super) fn pace_timeout(&self) -> Option<Instant> {
        self.held_by_pace().filter(|due| *due > self.now)
    }

    fn held_by_pace(&self) -> Option<Instant> {
        self.pace.as_ref()?.held_until()
    }

    /// As many senders share the receivers' buffers, this one included.
    pub(super) fn set_senders(&mut self, senders: usize) {
        self.senders = senders;
    }

    /// At least so many others do.
    pub(super) fn share_with(&mut self, others: usize) {
        self.senders = self.senders.max(1 + others);
    }

    pub(super) fn set_votes(&mut self, votes: Vec<u8>) {
        // Often enough that a reader's window takes what is not told yet, and where nobody is slow, seldom.
        self.firm = Firm::new(votes, self.window / 4);
    }

    pub(super) fn on_status(&mut self, rank: Rank, entry: StatusEntry) {
        self.gaps.received(self.now, rank, entry.received);
        let before = self.flow.received_by(rank);
        if self.flow.on_ack(self.now, rank, entry.received, entry.delivered, self.sent) {
            self.release();
            if let Some(congestion) = &mut self.congestion {
                congestion.progress(self.flow.stable());
                self.flow.set_limit(congestion.window());
            }
        }
        let received = self.flow.received_by(rank);
        if received > before {
            self.firm.note(received, self.flow.stable());
        }
    }

    /// Takes what `rank` asks for, for the `attempt`th time again.
    pub(super) fn on_nak(&mut self, rank: Rank, attempt: u8, ranges: NakRanges<'_>) {
        let (now, oldest, sent) = (self.now, self.log.retained(), self.sent);
        let mut granted = 0;
        for (first, count) in ranges.iter() {
            granted += self.retransmit.request(now, first, count, oldest, sent);
            let end = Seq(first.0.saturating_add(u64::from(count))).min(sent);
            self.gaps.asked(now, rank, first, end, attempt);
        }
        self.gaps.heard(rank, granted);
        if let Some(congestion) = &mut self.congestion {
            congestion.asked(rank, granted);
        }
    }

    /// What others have lost of my stream lately.
    pub(super) fn gaps(&self) -> impl Iterator<Item = Gap> + '_ {
        self.gaps.report(self.me, self.log.retained())
    }

    /// Adds what `rank` has told of its losses.
    pub(super) fn losses(&self, rank: Rank, losses: PeerLosses) -> PeerLosses {
        self.gaps.losses(rank, losses)
    }

    /// Whether a message has been written into a block that is not sealed.
    pub(super) fn has_open(&self) -> bool {
        !self.log.is_open_empty()
    }

    /// Whether the open block, once sealed, could be sent in this cycle: else it stays open, and fills up.
    pub(super) fn may_send_open(&mut self) -> bool {
        let unsent = self.log.open().since(self.sent) as u32;
        let (stride, used) = (self.log.stride(), self.log.stride() - self.log.room());
        if self.log.open() >= self.held_from {
            return false;
        }
        let fits = self.flow.run_size(unsent + 1, stride, used) <= self.flow.allowance(self.senders);
        fits && self.pace.as_mut().is_none_or(|pace| pace.admits(unsent as usize * stride + used))
    }

    /// Seals the open block with my acks in its trailer, and returns how many of them fitted.
    pub(super) fn seal_open(&mut self, acks: impl Iterator<Item = StatusEntry>) -> usize {
        let mut written = 0;
        self.seal(false, |writer| written = writer.status(acks));
        written
    }

    /// Where my stream stands, for a heartbeat.
    pub(super) fn position(&self) -> Heartbeat {
        self.position_before(if mutated!(HeartbeatWithoutTail) { self.flow.stable() } else { self.sent })
    }

    /// Whether some member may not have received or delivered everything that was sent.
    pub(super) fn is_waiting_for_acks(&self) -> bool {
        self.flow.delivered() < self.sent
    }

    /// Whether the receivers do not know yet how far my stream is stable, or readers how far it is firm.
    pub(super) fn has_news(&self) -> bool {
        self.announced.stable < self.flow.stable()
            || self.announced.delivered < self.flow.delivered()
            || self.firm.is_moved()
    }

    /// When the last new block or heartbeat was sent.
    pub(super) fn last_sent_at(&self) -> Instant {
        self.last_sent_at
    }

    /// What is firm of my stream beyond what is stable.
    #[cold]
    pub(super) fn look_what_is_firm(&mut self) -> Option<wire::Firm> {
        let to = self.firm.look(&self.flow, self.me, self.sent)?;
        Some(wire::Firm { to })
    }

    pub(super) fn heartbeat_sent(&mut self, now: Instant, heartbeat: Heartbeat, firm: Option<wire::Firm>) {
        (self.last_sent_at, self.announced) = (now, heartbeat);
        firm.into_iter().for_each(|firm| self.firm.tell(firm.to));
    }

    /// Whether an ack would let me go on at once.
    pub(super) fn is_blocked(&self) -> bool {
        if self.held_by_pace().is_some() {
            return false;
        }
        self.log.open() > self.sent || !self.log.is_writable()
    }

    /// The next run of repairs, if there is one.
    pub(super) fn next_repair(&mut self) -> Option<(Seq, u32)> {
        let Self { log, limits, sent, pace, retransmit, now, .. } = self;
        let run = retransmit.next(*now, log.retained(), |first, end| {
            let count = log.run_len(first, end.min(*sent), limits.blocks, limits.bytes);
            paced(pace, log, first, count)
        });
        let (first, count) = run?;
        self.gaps.answered(self.now, first, first.plus(u64::from(count)));
        self.note_sent((first, count));
        run
    }

    /// The next run of new blocks, if there is one and the receivers' buffers have room for it.
    pub(super) fn next_new(&mut self) -> Option<(Seq, u32)> {
        let end = self.log.open().min(self.held_from);
        if self.sent >= end {
            return None;
        }
        let first = self.sent;
        let stride = self.log.stride();
        let mut count = self.log.run_len(first, end, self.limits.blocks, self.limits.bytes);
        let allowance = self.flow.allowance(self.senders);
        while self.flow.run_size(count, stride, self.log.used(first.plus(u64::from(count) - 1))) > allowance {
            if count == 1 {
                self.pace.iter_mut().for_each(Bucket::forget);
                return None;
            }
            count /= 2;
        }
        count = paced(&mut self.pace, &self.log, first, count);
        if count == 0 {
            return None;
        }
        self.flow.charge(first, count, stride, self.log.used(first.plus(u64::from(count) - 1)));
        if !self.is_waiting_for_acks() {
            self.flow.begin(self.now);
        }
        self.sent = first.plus(u64::from(count));
        self.last_sent_at = self.now;
        if self.flow.settle_alone(self.now, self.sent) {
            self.release();
        }
        self.note_sent((first, count));
        Some((first, count))
    }

    fn note_sent(&mut self, (_, count): (Seq, u32)) {
        if let Some(congestion) = &mut self.congestion {
            congestion.sent(count, self.sent);
        }
    }

    pub(super) fn run(&self, first: Seq, count: u32) -> (&[u8], usize) {
        (self.log.run(first, count), self.log.stride())
    }

    fn release(&mut self) {
        let freed = if mutated!(LogFreedOnStable) { self.flow.stable() } else { self.flow.delivered() };
        self.log.release(freed.min(self.kept));
    }

    /// The refusal of a cast for which the log has no room.
    fn full(&mut self) -> Refused {
        if let Some(due) = self.held_by_pace() {
            self.paced += 1;
            return Refused::Paced { wait: due.since(self.now) };
        }
        let (delivered, end) = (self.flow.delivered(), self.log.open());
        let myself = (self.kept < delivered).then_some(self.me);
        self.flow.full(self.now, myself, end.since(delivered.min(self.kept)))
    }

    fn position_before(&self, next: Seq) -> Heartbeat {
        Heartbeat { next, stable: self.flow.stable(), delivered: self.flow.delivered() }
    }
}

/// How many of the `count` blocks from `first` on, which are one run, the pace lets go now; they are charged.
fn paced(pace: &mut Option<Bucket>, log: &SendLog, first: Seq, count: u32) -> u32 {
    let Some(pace) = pace else { return count };
    pace.take(count, log.stride(), |at| log.used(first.plus(u64::from(at))))
}
