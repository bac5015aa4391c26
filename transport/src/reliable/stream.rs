//! The receiving side of one member's stream: what is held, what is missing, what has been delivered.

mod flush;
mod passive;

use super::config::{Entry, Member};
use super::control::ControlQueue;
use super::gaps::{Gap, Holder, PeerLosses, ReceiveGaps};
use super::message::{Extent, Message, Parts, extent};
use super::nak::{Ask, NakTiming};
use super::{Cause, SessionCounters, Tuning};
use crate::id::{Rank, Seq};
use crate::log::{Insert, ReceiveWindow, RxBlock, RxPool};
use crate::mutated;
use crate::protocol::Target;
use crate::time::Instant;
use crate::wire::{DataFrames, HEADER_LEN, Header, Heartbeat, NO_FIRST, NakRanges, Part, StatusEntry};
use std::ops::ControlFlow;

/// One sender's stream as this process receives it.
#[derive(Debug)]
pub(super) struct Stream {
    origin: Rank,
    window: ReceiveWindow,
    /// Blocks before it are known to exist.
    highest: Seq,
    cursor: Cursor,
    /// A stream that starts in mid-flow has not begun.
    waiting: bool,
    /// A reader's stream: it is never acknowledged, and nothing is kept once it is delivered.
    is_passive: bool,
    /// Order flags of the blocks that are delivered; 0 for all. The others hold their places.
    only: u8,
    /// Blocks from here on may not be delivered yet, whatever is held: an ordering layer says so.
    gate: Seq,
    /// A reader's blocks from here on are kept, delivered or not, as far as there is room.
    keep: Seq,
    /// Nothing from here on is read or delivered, whatever the layer says: the view is about to change.
    ceiling: Seq,
    /// Blocks from here on are not wanted: the view ends before them.
    end: Seq,
    /// What is missing is asked of a member that holds it, not of the sender.
    is_fetched: bool,
    /// Everything before it is held by all.
    stable: Seq,
    reported: StatusEntry,
    ack_due: Option<Instant>,
    ack_every: u64,
    ack_delay_ns: u64,
    nak: NakTiming,
    gaps: ReceiveGaps,
    scratch: Vec<u8>,
}

/// The next frame to be delivered.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    seq: Seq,
    /// Offset in the block's data.
    at: usize,
    /// Looking for the first message that begins, in a stream that starts in mid-flow.
    seeking: bool,
    /// The message at the cursor cannot be whole before blocks up to here have come.
    wait_until: Seq,
}

impl Stream {
    /// The stream of `member`, which has `receivers` receivers; an ack is sent at least every `ack_every` blocks.
    pub(super) fn new(
        origin: Rank,
        member: &Member,
        receivers: usize,
        ack_every: u64,
        tuning: &Tuning,
    ) -> Self {
        let (seq, waiting) = (member.start, member.entry == Entry::Live);
        Self {
            origin,
            window: ReceiveWindow::new(member.window, seq),
            highest: seq,
            cursor: Cursor { seq, at: 0, seeking: waiting, wait_until: seq },
            waiting,
            is_passive: false,
            only: 0,
            gate: Seq(u64::MAX),
            keep: Seq(u64::MAX),
            ceiling: Seq(u64::MAX),
            end: Seq(u64::MAX),
            is_fetched: false,
            stable: seq,
            reported: StatusEntry { rank: origin, received: seq, delivered: seq },
            ack_due: None,
            ack_every,
            ack_delay_ns: tuning.ack_delay_ns,
            nak: NakTiming::new(tuning, receivers, seq),
            gaps: ReceiveGaps::new(),
            scratch: Vec::new(),
        }
    }

    /// A reader's stream of `member`.
    pub(super) fn passive(origin: Rank, member: &Member, tuning: &Tuning) -> Self {
        // Others are sure to read as well: each waits for another to ask.
        Self { is_passive: true, ..Self::new(origin, member, 2, u64::MAX, tuning) }
    }

    /// My own stream, as it comes back to me: nothing is delivered before it is admitted, or kept once it is delivered.
    pub(super) fn own(origin: Rank, member: &Member, only: u8, tuning: &Tuning) -> Self {
        // The longest message fits in half of it.
        let member = &Member { window: member.window / 2, ..*member };
        Self { is_passive: true, only, gate: member.start, ..Self::new(origin, member, 1, u64::MAX, tuning) }
    }

    /// Takes the next block of my own stream; `false` when there is no place for it.
    pub(super) fn echo(&mut self, bytes: &[u8], pool: &mut RxPool) -> bool {
        let seq = self.window.next();
        if !self.window.wants(seq) || pool.is_spent() {
            return false;
        }
        let Some(block) = pool.insert(bytes) else { return false };
        self.window.insert(seq, block);
        self.highest = self.window.next();
        true
    }

    /// Passes over the next block of my own stream, which nobody waits for; `false` when something before it is not delivered.
    pub(super) fn pass(&mut self) -> bool {
        let (seq, is_idle) = (self.window.next().plus(1), self.cursor.seq == self.window.next());
        if is_idle && self.window.base() == self.window.next() {
            self.window.pass();
            (self.highest, self.cursor.seq) = (seq, seq);
            return true;
        }
        false
    }

    /// A held block.
    pub(super) fn block<'a>(&self, seq: Seq, pool: &'a RxPool) -> Option<&'a [u8]> {
        self.window.get(seq).map(|block| pool.bytes(block))
    }

    /// Blocks before `gate` may be delivered, and none from there on.
    pub(super) fn admit(&mut self, gate: Seq) {
        self.gate = gate.min(self.ceiling);
    }

    /// Every message that ends before it has been delivered.
    pub(super) fn passed(&self) -> Seq {
        let limit = self.limit();
        let waits = self.cursor.seq < limit && self.cursor.wait_until >= limit;
        if waits { limit } else { self.cursor.seq }
    }

    /// Whether something is held that may not be delivered yet.
    pub(super) fn has_gate(&self) -> bool {
        self.gate < self.window.next()
    }

    /// The end of what is held and may be delivered.
    pub(super) fn limit(&self) -> Seq {
        self.window.next().min(self.gate)
    }

    /// Whether it is not known yet where the stream stands.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// Whether the window takes a block at `seq`, as far as its place goes.
    pub(super) fn reaches(&self, seq: Seq) -> bool {
        self.waiting || seq < self.window.base().plus(self.window.capacity())
    }

    /// The sequence that low halves on the wire are completed with.
    pub(super) fn near(&self) -> Seq {
        self.highest
    }

    /// Takes a data block; one that is not wanted goes back to the pool.
    pub(super) fn on_block(
        &mut self,
        now: Instant,
        seq: Seq,
        block: RxBlock,
        pool: &mut RxPool,
        rng: &mut fastrand::Rng,
        counters: &mut SessionCounters,
    ) {
        if self.waiting || seq >= self.end {
            return pool.release(block);
        }
        self.release_implied(seq, pool);
        let is_next = seq == self.window.next();
        let is_refused = if is_next { pool.is_spent() } else { pool.is_low() };
        if seq > self.highest && self.reaches(seq) {
            self.gaps.note(now, self.highest, seq);
        }
        if is_refused && self.window.wants(seq) {
            if seq >= self.highest {
                self.gaps.refuse(now, seq);
            }
            counters.refused_low += 1;
            pool.release(block);
        } else {
            match self.window.insert(seq, block) {
                Insert::InOrder | Insert::OutOfOrder if seq < self.highest => {
                    counters.repaired += 1;
                    self.gaps.fill(now, seq);
                }
                Insert::InOrder | Insert::OutOfOrder => {}
                Insert::Duplicate(block) => {
                    counters.duplicates += 1;
                    pool.release(block);
                }
                Insert::Beyond(block) => {
                    counters.beyond += 1;
                    return pool.release(block);
                }
            }
        }
        self.highest = self.highest.max(seq.plus(1)).min(self.window.base().plus(self.window.capacity()));
        self.nak.update(now, self.window.next(), self.highest, rng);
    }

    /// Takes a heartbeat of the sender: it tells of lost tails, of stability, and asks for an ack when it does not know mine.
    pub(super) fn on_heartbeat(&mut self, now: Instant, heartbeat: Heartbeat, rng: &mut fastrand::Rng) {
        if self.waiting {
            self.begin_at(heartbeat.next);
        }
        self.stable = self.stable.max(heartbeat.stable);
        let reach = self.window.base().plus(self.window.capacity());
        let next = heartbeat.next.min(reach).min(self.end);
        if next > self.highest {
            self.gaps.note(now, self.highest, next);
            self.highest = next;
        }
        self.nak.update(now, self.window.next(), self.highest, rng);
        let sender_is_behind = heartbeat.stable < self.window.next() || heartbeat.delivered < self.cursor.seq;
        if sender_is_behind && self.ack_due.is_none() {
            // A heartbeat reaches all at once: their answers are spread, or they overflow its sender for ever alike.
            self.ack_due = Some(now.plus_ns(rng.u64(0..=self.ack_delay_ns)));
        }
    }

    /// Another receiver was heard asking: if that covers all that I would ask for, the answer will serve me too.
    pub(super) fn on_nak_heard(&mut self, now: Instant, ranges: NakRanges<'_>, rng: &mut fastrand::Rng) {
        let Some(fresh) = self.nak.fresh_from(self.window.next()) else { return };
        let covered = self.window.missing(fresh, self.highest).all(|(first, count)| {
            let end = first.plus(u64::from(count));
            ranges.iter().any(|(from, asked)| from <= first && end <= from.plus(u64::from(asked)))
        });
        if covered {
            self.nak.asked(now, self.window.next(), self.highest, rng);
        }
    }

    /// What is to be asked for now.
    pub(super) fn nak_due(&mut self, now: Instant) -> Option<Ask> {
        self.nak.due(now, self.window.next(), self.highest)
    }

    /// The ranges that are missing in what is to be asked for.
    fn missing(&self, ask: Ask) -> impl Iterator<Item = (Seq, u32)> {
        self.window.missing(ask.from, ask.to)
    }

    /// Asks at `to` for what is missing in `ask`; returns whether a NAK was sent.
    ///
    /// What came behind an older gap may all be here: then there is nothing to ask for. Where `control` has no room, the NAK
    /// is still due.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        ask: Ask,
        to: Target,
        control: &mut ControlQueue,
        rng: &mut fastrand::Rng,
    ) -> bool {
        let mut asked_to = ask.to;
        let is_missing = self.is_missing(ask);
        let queued = is_missing
            && control.push(to, |writer| {
                let forgotten = usize::from(mutated!(ForgetNakRange));
                let missing = self.missing(ask).skip(forgotten);
                let written = match self.is_fetched {
                    false => writer.nak(self.origin, ask.attempt, missing),
                    true => writer.fetch(self.origin, ask.attempt, missing),
                };
                if let Some((first, _)) = self.missing(ask).nth(written + forgotten) {
                    asked_to = first;
                }
            });
        if queued {
            self.gaps.asked(now, ask.from, asked_to, ask.attempt);
        }
        if queued || !is_missing {
            self.nak.asked(now, self.window.next(), asked_to, rng);
        }
        queued
    }

    /// Whether anything is missing in what is to be asked for.
    pub(super) fn is_missing(&self, ask: Ask) -> bool {
        self.missing(ask).next().is_some()
    }

    /// Whether a gap was noticed whose cause nobody has said yet.
    pub(super) fn is_unexplained(&self) -> bool {
        self.gaps.is_unexplained()
    }

    /// What was noticed to be missing was lost by `cause`.
    pub(super) fn explain(&mut self, cause: Cause) {
        self.gaps.explain(cause);
    }

    /// What `me` has lost of this stream lately.
    pub(super) fn gaps(&self, me: Rank) -> impl Iterator<Item = Gap> + '_ {
        // Who gates the sender finds everything in its log.
        let keeper = if self.is_passive { Holder::Unknown } else { Holder::Sender };
        self.gaps.report(self.origin, me, keeper)
    }

    /// What I have lost of this stream altogether.
    pub(super) fn losses(&self) -> PeerLosses {
        let missing = self.window.missing(self.window.next(), self.highest);
        self.gaps.losses(missing.map(|(_, count)| u64::from(count)).sum())
    }

    /// When [`nak_due`](Self::nak_due) wants to be asked.
    pub(super) fn nak_timeout(&self) -> Option<Instant> {
        self.nak.timeout()
    }

    /// Whether there is something that was not acknowledged yet, or whose ack was asked for again; starts its timer.
    pub(super) fn update_ack(&mut self, now: Instant) -> Option<Instant> {
        let status = self.status();
        if status != self.reported {
            let due = if status.received.since(self.reported.received) >= self.ack_every {
                now
            } else {
                now.plus_ns(self.ack_delay_ns)
            };
            self.ack_due = Some(self.ack_due.map_or(due, |before| before.min(due)));
        }
        self.ack_due
    }

    /// How far I have come. Where the view is about to end, no further than I have reported for that: what comes later may be dropped, and its
    /// sender must not call it stable.
    pub(super) fn status(&self) -> StatusEntry {
        let received = match () {
            () if mutated!(AckBeyondHeld) => self.highest,
            () if mutated!(AckBeyondAnswer) => self.held(),
            () => self.shown(),
        };
        StatusEntry { rank: self.origin, received, delivered: self.cursor.seq }
    }

    /// Blocks that are kept.
    pub(super) fn kept(&self) -> usize {
        self.window.held()
    }

    /// Everything before it is held, or was, and may be read.
    pub(super) fn shown(&self) -> Seq {
        self.window.next().min(self.ceiling)
    }

    /// Everything before it is held, or was.
    pub(super) fn held(&self) -> Seq {
        self.window.next()
    }

    /// The present [`status`](Self::status) was sent.
    pub(super) fn reported(&mut self) {
        self.reported = self.status();
        self.ack_due = None;
    }

    /// Whether anything may be delivered.
    pub(super) fn is_ready(&self) -> bool {
        self.cursor.seq < self.limit() && self.cursor.wait_until < self.limit()
    }

    /// Hands every message that is whole to `handler`, in order, until it breaks; adds to `delivered` what it consumed.
    pub(super) fn deliver<H>(
        &mut self,
        pool: &RxPool,
        counters: &mut SessionCounters,
        delivered: &mut usize,
        handler: &mut H,
    ) -> ControlFlow<()>
    where
        H: FnMut(Message<'_>) -> ControlFlow<()>,
    {
        while self.is_ready() {
            match self.deliver_block(pool, delivered, handler) {
                Step::Done => self.next_block(),
                Step::Malformed => {
                    counters.malformed_frames += 1;
                    self.next_block();
                }
                Step::Fragmented { last, at } => (self.cursor.seq, self.cursor.at) = (last, at),
                Step::Waits => break,
                Step::Broke => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }

    /// Delivers what is whole in the block at the cursor.
    fn deliver_block<H>(&mut self, pool: &RxPool, delivered: &mut usize, handler: &mut H) -> Step
    where
        H: FnMut(Message<'_>) -> ControlFlow<()>,
    {
        let bytes = pool.bytes(self.window.get(self.cursor.seq).expect("everything before `next` is held"));
        if self.only != 0 && Header::order_of_checked(bytes).0 & self.only == 0 {
            return Step::Done;
        }
        if self.cursor.seeking {
            match Header::first_of_checked(bytes) {
                NO_FIRST => return Step::Done,
                first => (self.cursor.at, self.cursor.seeking) = (first as usize - HEADER_LEN, false),
            }
        }
        let data = Header::data_of_checked(bytes);
        let mut frames = DataFrames::new(data.get(self.cursor.at..).unwrap_or(&[]));
        loop {
            let frame = match frames.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => return Step::Done,
                Err(_) => return Step::Malformed,
            };
            match frame.part {
                Part::Whole => {
                    if handler(Message::whole(self.origin, frame.bytes)).is_break() {
                        if mutated!(BreakConsumes) {
                            self.cursor.at = data.len() - frames.remaining();
                        }
                        if mutated!(BreakReplays) {
                            self.cursor.at = 0;
                        }
                        return Step::Broke;
                    }
                    *delivered += 1;
                    if mutated!(OneMessagePerBlock) {
                        return Step::Done;
                    }
                }
                Part::First { total } => {
                    return self.deliver_fragmented(pool, frame.bytes, total, delivered, handler);
                }
                // Its beginning was not received, or was malformed.
                Part::Middle | Part::Last => {}
            }
            self.cursor.at = data.len() - frames.remaining();
        }
    }

    /// Delivers the message of `total` bytes that begins with `first` at the cursor, when all of it is there.
    fn deliver_fragmented<H>(
        &mut self,
        pool: &RxPool,
        first: &[u8],
        total: u32,
        delivered: &mut usize,
        handler: &mut H,
    ) -> Step
    where
        H: FnMut(Message<'_>) -> ControlFlow<()>,
    {
        match extent(&self.window, self.limit(), pool, self.cursor.seq, total as usize, first.len()) {
            Extent::Incomplete { .. } if mutated!(DeliverFragmentEarly) => {
                if handler(Message::whole(self.origin, first)).is_break() {
                    return Step::Broke;
                }
                *delivered += 1;
                Step::Done
            }
            Extent::Incomplete { wait_until } => {
                self.cursor.wait_until = wait_until;
                Step::Waits
            }
            Extent::Malformed => Step::Malformed,
            Extent::Whole { last, at } => {
                let parts = Parts::over(first, &self.window, pool, self.cursor.seq.plus(1), last);
                let message = Message::fragmented(self.origin, total as usize, parts, &mut self.scratch);
                if handler(message).is_break() {
                    return Step::Broke;
                }
                *delivered += 1;
                Step::Fragmented { last, at }
            }
        }
    }

    /// Frees what is delivered here and held by all.
    pub(super) fn release(&mut self, pool: &mut RxPool) {
        let to = if mutated!(FreeOnStableOnly) {
            self.stable.min(self.window.next())
        } else if self.is_passive {
            let is_tight = self.window.next().since(self.window.base()) > self.window.capacity() / 2;
            if is_tight { self.cursor.seq } else { self.cursor.seq.min(self.keep) }
        } else {
            self.stable.min(self.cursor.seq)
        };
        if to > self.window.base() {
            self.window.release(to, pool);
        }
    }

    /// Gives everything back to the pool.
    pub(super) fn clear(&mut self, pool: &mut RxPool) {
        self.window.clear(pool);
    }

    /// A sender has at most `capacity` blocks that not all have delivered: block `seq` tells that those a whole window
    /// before it are stable.
    fn release_implied(&mut self, seq: Seq, pool: &mut RxPool) {
        if seq.since(self.window.base()) >= self.window.capacity() {
            let implied = Seq(seq.0 + 1 - self.window.capacity());
            self.stable = self.stable.max(implied);
            self.release(pool);
        }
    }

    fn begin_at(&mut self, seq: Seq) {
        self.window = ReceiveWindow::new(self.window.capacity() as usize, seq);
        (self.highest, self.stable, self.waiting) = (seq, seq, false);
        self.cursor = Cursor { seq, at: 0, seeking: true, wait_until: seq };
        self.reported = StatusEntry { rank: self.origin, received: seq, delivered: seq };
        self.nak.restart(seq);
    }

    fn next_block(&mut self) {
        (self.cursor.seq, self.cursor.at) = (self.cursor.seq.plus(1), 0);
    }
}

/// What became of the block at the cursor.
enum Step {
    /// All its messages are delivered.
    Done,
    /// What is left of it cannot be read: its sender is at fault.
    Malformed,
    /// A message was delivered that ends in block `last`, at offset `at` of its data.
    Fragmented { last: Seq, at: usize },
    /// The message at the cursor is not whole yet.
    Waits,
    /// The handler broke: the message at the cursor is not consumed.
    Broke,
}
