//! Total order by the holder of a token.
//!
//= birman91 §5.2 (ABCAST above CBCAST): the holder casts directly; others mark theirs, and the holder tells their order.
//!
//! The holder numbers a marked block as soon as its causes are numbered or let through, and writes runs of them into the next
//! block that it seals: first the runs, then that block itself if it holds totals of the holder (*direct*), then perhaps the
//! name of the next holder. Everybody reads these frames in the order of the holder's stream. What comes from a member that
//! does not hold the token yet waits, with its stream, for the hand-over, so that no generation has to be compared.
//! The token goes to whoever casts most.

use super::places::{Places, Run, push};
use crate::delay::DelayQueue;
use crate::varint;
use crate::wire::{DIRECT, HAND_OVER, ORDERS, SET_ORDER, TOTAL, frames, numbers};
use sistrum_transport::id::{Rank, Seq};
use sistrum_transport::mutated;
use sistrum_transport::reliable::Blocks;
use sistrum_transport::wire::{ControlWriter, Header};
use std::collections::VecDeque;

/// The order as it is known here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Token {
    me: Rank,
    holder: Rank,
    generation: u64,
    /// Blocks of each stream before it have been read.
    read: Vec<Seq>,
    /// Total blocks of each stream before it have their place in the order.
    placed: Vec<Seq>,
    /// Places that have been given and are not delivered, the first one first.
    places: Places,
    /// The position after the last one that was given.
    next_position: u64,
    /// What the holder has let through: those it has numbered count.
    numbered: DelayQueue,
    /// Streams in which something may be numbered.
    look_at: Vec<Rank>,
    unstable: usize,
    /// Who has said goodbye, and was read to the end.
    is_gone: Vec<bool>,
    misbehaved: u64,
}

/// What the token obliges to, where blocks are sealed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Duty {
    me: Rank,
    is_mine: bool,
    generation: u64,
    next_position: u64,
    /// Numbered, and not told yet.
    pending: VecDeque<Run>,
    /// Total blocks of mine that were sealed without a place, and that no order names yet.
    marked: u64,
    /// I have said goodbye: nothing is mine any more.
    is_retired: bool,
    /// Total blocks of each member among the last ones.
    traffic: Vec<u32>,
    /// As many of them are looked at.
    hand_over_after: u32,
}

impl Token {
    pub(super) fn new(me: Rank, starts: &[Seq], unstable: usize) -> Self {
        Self {
            me,
            holder: Rank(0),
            generation: 0,
            read: starts.to_vec(),
            placed: starts.to_vec(),
            places: Places::with_capacity(unstable),
            next_position: 0,
            numbered: DelayQueue::new(starts),
            look_at: Vec::with_capacity(starts.len()),
            unstable,
            is_gone: vec![false; starts.len()],
            misbehaved: 0,
        }
    }

    pub(super) fn me(&self) -> Rank {
        self.me
    }

    pub(super) fn misbehaved(&self) -> u64 {
        self.misbehaved
    }

    pub(super) fn queued(&self) -> usize {
        self.places.runs()
    }

    /// The first block of the order that is not delivered, if it is known.
    pub(super) fn head(&self) -> Option<(Rank, Seq)> {
        self.places.head()
    }

    /// What has a place and is not delivered, the first one first.
    pub(super) fn places(&self) -> impl Iterator<Item = (Rank, Seq)> {
        self.places.blocks()
    }

    /// Total blocks of each stream before it have their place.
    pub(super) fn placed(&self) -> &[Seq] {
        &self.placed
    }

    /// Whether everything before this block in the order is delivered, or let through before it in its own stream.
    pub(super) fn is_turn(&self, rank: Rank, seq: Seq) -> bool {
        let is_placed = mutated!(IgnoreTurn) && seq < self.placed[rank.0 as usize];
        is_placed || self.places.is_turn(rank, seq)
    }

    /// How far each stream has been read.
    pub(super) fn read_up_to(&self) -> impl Iterator<Item = Seq> {
        self.read.iter().copied()
    }

    pub(super) fn delivered(&mut self, rank: Rank, to: Seq) {
        self.places.delivered(rank, to);
    }

    /// A block without any order flag is read, if it is the next one; where the holder has others waiting for it, that says no.
    #[inline]
    pub(super) fn passes(&mut self, rank: Rank, seq: Seq) -> bool {
        if self.read[rank.0 as usize] != seq || (self.holder == self.me && !self.may_pass(rank, seq)) {
            return false;
        }
        self.read[rank.0 as usize] = seq.plus(1);
        true
    }

    fn may_pass(&mut self, rank: Rank, seq: Seq) -> bool {
        !self.numbered.is_awaited(rank) && self.numbered.pass(rank, seq)
    }

    /// Whether everything before this block, and it itself, has been read in its stream: what it says of the order counts.
    pub(super) fn has_read(&self, rank: Rank, seq: Seq) -> bool {
        seq < self.read[rank.0 as usize]
    }

    /// Reads what has come of the stream of `rank`, and of others that it frees; the holder numbers what can be. Returns whether
    /// it may have freed others.
    pub(super) fn held(
        &mut self,
        rank: Rank,
        blocks: &impl Blocks,
        let_through: &DelayQueue,
        duty: &mut Duty,
    ) -> bool {
        let generation = self.generation;
        self.read_on(rank, blocks, let_through, duty);
        self.go_on(generation, blocks, let_through, duty);
        if duty.is_mine && self.generation == generation {
            self.number(rank, blocks, duty);
        }
        self.generation != generation
    }

    /// `rank` is gone, and its stream was read to the end. Returns whether that may have freed others.
    pub(super) fn departed(
        &mut self,
        rank: Rank,
        blocks: &impl Blocks,
        let_through: &DelayQueue,
        duty: &mut Duty,
    ) -> bool {
        let generation = self.generation;
        self.is_gone[rank.0 as usize] = true;
        duty.traffic[rank.0 as usize] = 0;
        self.pass_on(let_through, duty);
        self.go_on(generation, blocks, let_through, duty);
        self.generation != generation
    }

    /// If the token has moved since `generation`, reads what that frees, and numbers everything if it is mine now.
    fn go_on(&mut self, generation: u64, blocks: &impl Blocks, let_through: &DelayQueue, duty: &mut Duty) {
        let mut before = generation;
        while self.generation != before {
            before = self.generation;
            for other in 0..self.read.len() {
                self.read_on(Rank(other as u16), blocks, let_through, duty);
            }
        }
        if duty.is_mine && self.generation != generation {
            (0..self.read.len()).for_each(|other| self.number(Rank(other as u16), blocks, duty));
        }
    }

    /// The token is that of `heir` from here on.
    fn give(&mut self, heir: Rank, let_through: &DelayQueue, duty: &mut Duty) {
        (self.holder, self.generation) = (heir, self.generation + 1);
        if heir == self.me {
            self.numbered.clone_from(let_through);
            duty.take(self.generation, self.next_position);
        }
    }

    /// Whoever is gone leaves the token to the next rank. All come to the same, whenever they hear of it: nothing follows in the
    /// stream of who is gone, and what the next one says waits until it is known that the token is his.
    fn pass_on(&mut self, let_through: &DelayQueue, duty: &mut Duty) {
        while self.is_gone[self.holder.0 as usize] {
            self.give(Rank((self.holder.0 + 1) % self.read.len() as u16), let_through, duty);
        }
    }

    fn read_on(&mut self, rank: Rank, blocks: &impl Blocks, let_through: &DelayQueue, duty: &mut Duty) {
        let at = rank.0 as usize;
        while self.read[at] < blocks.next(rank) {
            let seq = self.read[at];
            let (order, trailer) = blocks.block(rank, seq).map_or((0, &[][..]), Header::order_of_checked);
            if order & (ORDERS | DIRECT) != 0 {
                if rank != self.holder {
                    return;
                }
                let heir = self.obey(trailer, rank, seq, order, duty);
                if let Some(heir) = heir {
                    self.give(heir, let_through, duty);
                    self.pass_on(let_through, duty);
                }
            }
            self.read[at] = seq.plus(1);
        }
    }

    /// Places what a block of the holder says, and the block itself; returns whom the token goes to.
    fn obey(&mut self, trailer: &[u8], rank: Rank, seq: Seq, order: u8, duty: &mut Duty) -> Option<Rank> {
        let mut heir = None;
        for (kind, body) in frames(trailer) {
            match kind {
                SET_ORDER => self.set_order(body, duty),
                HAND_OVER => heir = numbers(body).next().filter(|rank| *rank < self.read.len() as u64),
                _ => {}
            }
        }
        if order & DIRECT != 0 {
            self.place(Run { rank, first: seq, count: 1 });
        }
        heir.map(|rank| Rank(rank as u16))
    }

    fn set_order(&mut self, body: &[u8], duty: &mut Duty) {
        let mut numbers = numbers(body);
        let is_next = numbers.next() == Some(self.generation) && numbers.next() == Some(self.next_position);
        if !is_next {
            self.misbehaved += 1;
            return;
        }
        while let Some(rank) = numbers.next() {
            let (Some(first), Some(count)) = (numbers.next(), numbers.next()) else { break };
            let is_sound = rank < self.read.len() as u64
                && (1..=self.unstable as u64).contains(&count)
                && first <= Seq::LIMIT.0
                && Seq(first) >= self.placed[rank as usize]
                && self.places.runs() < self.unstable;
            if !is_sound {
                self.misbehaved += 1;
                return;
            }
            let run = Run { rank: Rank(rank as u16), first: Seq(first), count };
            if run.rank == self.me {
                duty.marked = duty.marked.saturating_sub(count);
            }
            self.place(run);
        }
    }

    fn place(&mut self, run: Run) {
        self.next_position += run.count;
        self.placed[run.rank.0 as usize] = run.end();
        self.places.push(run);
    }

    /// Numbers the marked blocks of `rank` whose causes are numbered or let through, and those of others that waited for them.
    fn number(&mut self, rank: Rank, blocks: &impl Blocks, duty: &mut Duty) {
        self.look_at.push(rank);
        while let Some(rank) = self.look_at.pop() {
            self.number_of(rank, blocks, duty);
            let (reached, look_at) = (self.numbered.next(rank), &mut self.look_at);
            self.numbered.reached(rank, reached, |other| look_at.push(other));
        }
    }

    fn number_of(&mut self, rank: Rank, blocks: &impl Blocks, duty: &mut Duty) {
        while self.numbered.next(rank) < self.read[rank.0 as usize] {
            let seq = self.numbered.next(rank);
            let block = blocks.block(rank, seq).map_or((0, &[][..]), Header::order_of_checked);
            // What cannot be was counted where it is let through.
            if rank != self.me && !self.numbered.may_follow(rank, block).unwrap_or(true) {
                return;
            }
            self.numbered.go(rank);
            let is_placed = seq < self.placed[rank.0 as usize];
            if block.0 & (TOTAL | DIRECT) == TOTAL && !is_placed {
                push(&mut duty.pending, Run { rank, first: seq, count: 1 });
            }
        }
    }
}

impl Duty {
    pub(super) fn new(me: Rank, members: usize, unstable: usize, hand_over_after: u32) -> Self {
        Self {
            me,
            is_mine: me == Rank(0),
            generation: 0,
            next_position: 0,
            pending: VecDeque::with_capacity(unstable),
            marked: 0,
            is_retired: false,
            traffic: vec![0; members],
            hand_over_after: hand_over_after.max(1),
        }
    }

    pub(super) fn is_mine(&self) -> bool {
        self.is_mine
    }

    fn take(&mut self, generation: u64, next_position: u64) {
        (self.is_mine, self.generation, self.next_position) = (!self.is_retired, generation, next_position);
        self.traffic.fill(0);
    }

    /// A block is sealed: tells the order of what was numbered, then of the block itself, then who has the token next.
    pub(super) fn seal(&mut self, is_total: bool, writer: &mut ControlWriter<'_>) -> u8 {
        if !self.is_mine {
            self.marked += u64::from(is_total);
            return 0;
        }
        if !is_total && self.pending.is_empty() {
            return 0;
        }
        let before = writer.written();
        if !self.pending.is_empty() {
            self.next_position += u64::from(mutated!(SkipPosition));
            self.write_order(writer);
        }
        // A full block may have no room for the order: nothing overtakes what waits for it, least of all my own casts.
        let is_direct = is_total && self.pending.is_empty() && self.marked == 0;
        self.marked += u64::from(is_total && !is_direct);
        if is_direct {
            self.next_position += 1;
            self.traffic[self.me.0 as usize] += 1;
        }
        if self.pending.is_empty() {
            self.hand_over(writer);
        }
        let told = if writer.written() > before { ORDERS } else { 0 };
        told | if is_direct { DIRECT } else { 0 }
    }

    /// Writes as many runs as fit; the rest goes into the next block.
    fn write_order(&mut self, writer: &mut ControlWriter<'_>) {
        let mut written = 0;
        writer.order(SET_ORDER, |out| {
            let mut at = write_all(out, &[self.generation, self.next_position]).unwrap_or(0);
            for run in &self.pending {
                let numbers = [u64::from(run.rank.0), run.first.0, run.count];
                let Some(len) = out.get_mut(at..).and_then(|out| write_all(out, &numbers)) else { break };
                (at, written) = (at + len, written + 1);
            }
            if written == 0 { 0 } else { at }
        });
        for run in self.pending.drain(..written) {
            self.next_position += run.count;
            self.traffic[run.rank.0 as usize] += run.count as u32;
        }
    }

    fn hand_over(&mut self, writer: &mut ControlWriter<'_>) {
        let Some(to) = self.busiest() else { return };
        let before = writer.written();
        writer.order(HAND_OVER, |out| varint::write(out, u64::from(to.0)).unwrap_or(0));
        self.is_mine = writer.written() == before || mutated!(TwoHolders);
    }

    /// The other member that makes most of the traffic, looked at once in a while.
    fn busiest(&mut self) -> Option<Rank> {
        let sum: u32 = self.traffic.iter().sum();
        if sum < self.hand_over_after {
            return None;
        }
        let (rank, most) = (0..).zip(&self.traffic).max_by_key(|(_, blocks)| **blocks)?;
        let is_clear = most * 4 >= sum * 3;
        self.traffic.fill(0);
        (is_clear && Rank(rank) != self.me).then_some(Rank(rank))
    }

    pub(super) fn wants_block(&self) -> bool {
        self.is_mine && !self.pending.is_empty()
    }

    pub(super) fn retire(&mut self) {
        (self.is_retired, self.is_mine) = (true, false);
    }
}

fn write_all(out: &mut [u8], numbers: &[u64]) -> Option<usize> {
    numbers.iter().try_fold(0, |at, number| Some(at + varint::write(out.get_mut(at..)?, *number)?))
}
