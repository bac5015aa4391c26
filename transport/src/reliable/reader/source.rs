//! One member as a reader knows it: its stream, what waits for room in it, and what the application is to be told.
//!
//! A batch may bring more than the window takes, and is delivered only when all of it was taken. What comes beyond the
//! window while something before it can still be delivered is *parked*, and let in behind the delivery: so a reader
//! never skips what it holds and could deliver. The park is bounded; beyond it a block is lost like any other.

use super::super::config::{Entry, Member};
use super::super::message::Message;
use super::super::stream::Stream;
use super::super::{SessionCounters, Tuning};
use super::{Admission, ReaderConfig, ReaderEvent, ReaderOrder};
use crate::id::{Endpoint, Rank, Seq};
use crate::log::{RxBlock, RxPool};
use crate::time::Instant;
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// Blocks that wait for room: more than one batch of a cycle brings.
const MAX_PARKED: usize = 512;

/// See the module.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) endpoint: Endpoint,
    pub(super) stream: Stream,
    /// What the application is to be told before the next message: that it enters here, and has lost so many blocks.
    entered: Option<Seq>,
    lost: u64,
    /// A message of it was handed over, or would have been: its beginning is known.
    has_begun: bool,
    /// Blocks were lost that the order of the reader has not been told of.
    is_broken: bool,
    /// What is held and may not be delivered yet is worth waiting for: the view ends at a cut.
    has_cut: bool,
    /// Blocks before it are firm, as the order says, where some are handed over that are not.
    firm: Seq,
    /// The end of the blocks of which something was handed over.
    handed: Seq,
    /// Blocks before it cannot be had any more.
    gone: Seq,
    end: Option<Seq>,
    parked: VecDeque<(Seq, RxBlock)>,
}

/// What every block needs.
pub(super) struct Means<'a> {
    pub(super) now: Instant,
    pub(super) pool: &'a mut RxPool,
    pub(super) rng: &'a mut fastrand::Rng,
    pub(super) counters: &'a mut SessionCounters,
}

impl Source {
    /// The member of this rank, that sends from `endpoint`.
    pub(super) fn new(rank: Rank, endpoint: Endpoint, config: &ReaderConfig) -> Self {
        let member = Member {
            endpoint,
            start: Seq(0),
            entry: Entry::Live,
            window: config.tuning.window,
            receive_buffer: 0,
            coalesces: true,
        };
        let stream = Stream::passive(rank, &member, &config.tuning);
        let parked = VecDeque::with_capacity(MAX_PARKED);
        Self {
            endpoint,
            stream,
            entered: None,
            lost: 0,
            has_begun: false,
            is_broken: false,
            has_cut: false,
            firm: Seq(u64::MAX),
            handed: Seq(0),
            gone: Seq(0),
            end: None,
            parked,
        }
    }

    /// Of a view that ends at a cut.
    pub(super) fn of_view(rank: Rank, known: &Member, tuning: &Tuning) -> Self {
        let stream = Stream::passive(rank, known, tuning);
        let endpoint = known.endpoint;
        let parked = VecDeque::with_capacity(MAX_PARKED);
        Self {
            endpoint,
            stream,
            entered: None,
            lost: 0,
            has_begun: known.entry == Entry::Start,
            is_broken: false,
            has_cut: true,
            firm: Seq(u64::MAX),
            handed: Seq(0),
            gone: Seq(0),
            end: None,
            parked,
        }
    }

    /// The stream begins here, for me.
    pub(super) fn enter(&mut self, seq: Seq) {
        self.entered = Some(seq);
    }

    /// The member has said goodbye: its stream ends here.
    pub(super) fn end_at(&mut self, end: Seq) {
        self.end.get_or_insert(end);
    }

    /// Takes a block. One for which there is no room before a delivery is parked.
    pub(super) fn take(&mut self, seq: Seq, block: RxBlock, means: &mut Means<'_>) {
        // What is parked was sent before it, or was lost before.
        if self.parked.is_empty() && self.is_in_reach(seq, means) {
            return self.insert(seq, block, means);
        }
        if self.parked.len() == MAX_PARKED || means.pool.is_low() {
            means.counters.refused_low += 1;
            return means.pool.release(block);
        }
        self.parked.push_back((seq, block));
    }

    /// Gives up the oldest gap, unless something before it can still be delivered; returns whether it did.
    pub(super) fn give_up(&mut self, means: &mut Means<'_>) -> bool {
        if self.is_worth_waiting() {
            return false;
        }
        let lost = self.stream.give_up(means.now, means.pool, means.rng);
        self.note_lost(lost);
        true
    }

    /// Blocks before `to` cannot be had any more.
    pub(super) fn gone_before(&mut self, to: Seq) {
        self.gone = self.gone.max(to);
    }

    /// Gives up what cannot be had any more, and behind which nothing waits.
    fn give_up_gone(&mut self, means: &mut Means<'_>) {
        while !self.stream.is_waiting() && self.stream.held() < self.gone && !self.is_worth_waiting() {
            let lost = self.stream.give_up_before(means.now, self.gone, means.pool, means.rng);
            if lost == 0 {
                break;
            }
            self.note_lost(lost);
        }
    }

    /// Whether something before the oldest gap will be delivered.
    fn is_worth_waiting(&self) -> bool {
        self.stream.is_ready() || (self.has_cut && self.stream.has_gate())
    }

    fn note_lost(&mut self, blocks: u64) {
        self.lost += blocks;
        self.is_broken |= blocks > 0;
    }

    /// Asks how far the stream may be handed over, and enters it where it may be.
    fn let_through(&mut self, rank: Rank, order: &mut impl ReaderOrder, means: &mut Means<'_>) {
        if std::mem::take(&mut self.is_broken) {
            order.lost(rank);
        }
        if self.stream.is_waiting() {
            return;
        }
        let (pool, stream) = (&*means.pool, &self.stream);
        let Admission { enter, gate, keep, is_last } =
            order.admit(rank, stream.passed(), stream.held(), |seq| stream.block(seq, pool));
        if let Some(seq) = enter.filter(|seq| *seq > self.stream.passed()) {
            let skipped = self.stream.give_up_to(means.now, seq, means.pool, means.rng);
            // Before the first message, nothing is lost: the stream is entered a little later.
            match self.has_begun {
                true => self.lost += skipped,
                false => self.entered = Some(seq),
            }
            // What is before is gone: the order is to know.
            return self.let_through(rank, order, means);
        }
        self.stream.admit(gate);
        self.stream.keep(keep);
        self.firm = keep;
        if is_last {
            self.stream.end_at(means.now, gate.max(self.stream.passed()), means.pool);
        }
    }

    /// The view ends at `cut`: nothing is taken or handed over from there on.
    pub(super) fn end_view_at(&mut self, cut: Seq, means: &mut Means<'_>) {
        while let Some((seq, block)) = self.parked.pop_front() {
            match seq < cut {
                true if self.is_in_reach(seq, means) => self.insert(seq, block, means),
                _ => means.pool.release(block),
            }
        }
        self.stream.end_at(means.now, cut, means.pool);
    }

    /// It goes on here, behind what it was told in another way.
    pub(super) fn place_at(&mut self, seq: Seq, at: u32, pool: &mut RxPool) {
        self.parked.drain(..).for_each(|(_, block)| pool.release(block));
        self.stream.place_at(seq, at, pool);
        (self.entered, self.lost, self.has_begun) = (None, 0, true);
        (self.gone, self.handed) = (Seq(0), Seq(0));
    }

    /// Whether something was handed over that lies behind this place: in this block, from this offset of its data on.
    pub(super) fn has_passed(&self, seq: Seq, at: u32) -> bool {
        self.handed > Seq(0) && self.stream.cursor() > (seq, at)
    }

    /// Whether all that there is before `cut` was handed over, or given up.
    pub(super) fn has_come_to(&self, cut: Seq) -> bool {
        self.stream.held() >= self.stream.end().min(cut) && !self.stream.is_ready() && self.lost == 0
    }

    /// Blocks that were handed over and should not have been, once all of the view is there.
    pub(super) fn retracted(&self, cut: Seq) -> u64 {
        self.handed.since(self.firm.min(cut))
    }

    /// Gives everything back to the pool.
    pub(super) fn clear(&mut self, pool: &mut RxPool) {
        self.parked.drain(..).for_each(|(_, block)| pool.release(block));
        self.stream.clear(pool);
    }

    /// Tells the application what there is of this sender: first where it enters or goes on, then messages, then the end.
    pub(super) fn poll<O: ReaderOrder>(
        &mut self,
        rank: Rank,
        means: &mut Means<'_>,
        order: &mut O,
        again: &mut bool,
        events: &mut usize,
        tell: &mut impl FnMut(ReaderEvent<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        loop {
            self.give_up_gone(means);
            if O::ORDERS {
                self.let_through(rank, order, means);
            }
            self.notify(rank, events, tell)?;
            let flow = self.deliver(means, events, tell);
            *again |= O::ORDERS && order.delivered(rank, self.stream.passed());
            flow?;
            if !self.admit(means) {
                break;
            }
        }
        if self.end.is_some_and(|end| !self.stream.is_waiting() && self.stream.status().delivered >= end) {
            tell(ReaderEvent::Left(rank))?;
            // Said once: a stream that has ended has no second end.
            self.end = Some(Seq(u64::MAX));
            *events += 1;
        }
        ControlFlow::Continue(())
    }

    fn notify(
        &mut self,
        rank: Rank,
        events: &mut usize,
        tell: &mut impl FnMut(ReaderEvent<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if let Some(seq) = self.entered {
            tell(ReaderEvent::Reading(rank, seq))?;
            self.entered = None;
            *events += 1;
        }
        if self.lost > 0 {
            tell(ReaderEvent::Gap(rank, self.lost))?;
            self.lost = 0;
            *events += 1;
        }
        ControlFlow::Continue(())
    }

    fn deliver(
        &mut self,
        means: &mut Means<'_>,
        events: &mut usize,
        tell: &mut impl FnMut(ReaderEvent<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if !self.stream.is_ready() {
            return ControlFlow::Continue(());
        }
        let before = *events;
        let flow = self.stream.deliver(means.pool, means.counters, events, &mut |message: Message<'_>| {
            tell(ReaderEvent::Deliver(message))
        });
        means.counters.delivered += (*events - before) as u64;
        if *events > before {
            (self.has_begun, self.handed) = (true, self.stream.begun_up_to());
        }
        self.stream.release(means.pool);
        flow
    }

    /// Lets in what is parked, as far as there is room; returns whether there may be more to tell by that.
    fn admit(&mut self, means: &mut Means<'_>) -> bool {
        let parked = self.parked.len();
        while let Some(&(seq, _)) = self.parked.front() {
            if !self.is_in_reach(seq, means) {
                break;
            }
            let (seq, block) = self.parked.pop_front().expect("it was looked at");
            self.insert(seq, block, means);
        }
        self.lost > 0 || parked > self.parked.len()
    }

    fn insert(&mut self, seq: Seq, block: RxBlock, means: &mut Means<'_>) {
        self.stream.on_block(means.now, seq, block, means.pool, means.rng, means.counters);
    }

    /// Whether the window takes a block at `seq`, once what nobody waits for has made way.
    fn is_in_reach(&mut self, seq: Seq, means: &mut Means<'_>) -> bool {
        while !self.stream.reaches(seq) && !self.is_worth_waiting() {
            let lost = self.stream.make_way(means.now, seq, means.pool, means.rng);
            self.note_lost(lost);
        }
        self.stream.reaches(seq)
    }
}
