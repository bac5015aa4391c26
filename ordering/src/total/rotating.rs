//! Total order without a sequencer: in each round every member has its turn, by rank, with one block of total casts or none.
//!
//! The rounds of a member are counted along its stream: each block of totals takes the next one, and a null frame leaves some out.
//! Null frames are sent only in answer to a round in which somebody has said something, up to the highest one seen.

use crate::wire::{NULL, ORDERS, TOTAL, frames, numbers};
use sistrum_transport::id::{Rank, Seq};
use sistrum_transport::mutated;
use sistrum_transport::reliable::Blocks;
use sistrum_transport::wire::{ControlWriter, Header};
use std::collections::VecDeque;

/// What is known of everybody's rounds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Rotating {
    members: Vec<Seat>,
    /// The turn that is next.
    round: u64,
    rank: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Seat {
    /// Blocks before it have been read.
    read: Seq,
    /// Rounds before it are known: a block, or left out.
    known: u64,
    /// The blocks that take turns, and in which round.
    blocks: VecDeque<(u64, Seq)>,
    is_gone: bool,
}

/// My own rounds, where blocks are sealed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Rounds {
    next: u64,
    /// Rounds before it have something of somebody.
    seen: u64,
    /// I have said goodbye: nobody waits for my rounds any more.
    is_retired: bool,
}

impl Rotating {
    pub(super) fn new(starts: &[Seq], unstable: usize) -> Self {
        let share = unstable / starts.len();
        let seat = |&read| Seat { read, known: 0, blocks: VecDeque::with_capacity(share), is_gone: false };
        Self { members: starts.iter().map(seat).collect(), round: 0, rank: 0 }
    }

    pub(super) fn queued(&self) -> usize {
        self.members.iter().map(|seat| seat.blocks.len()).sum()
    }

    /// A block without any order flag is read, if it is the next one.
    #[inline]
    pub(super) fn passes(&mut self, rank: Rank, seq: Seq) -> bool {
        let read = &mut self.members[rank.0 as usize].read;
        let is_next = *read == seq;
        if is_next {
            *read = seq.plus(1);
        }
        is_next
    }

    /// Reads what has come of the stream of `rank`.
    pub(super) fn held(&mut self, rank: Rank, blocks: &impl Blocks, out: &mut Rounds) {
        let seat = &mut self.members[rank.0 as usize];
        while seat.read < blocks.next(rank) {
            let (order, trailer) =
                blocks.block(rank, seat.read).map_or((0, &[][..]), Header::order_of_checked);
            if order & TOTAL != 0 {
                seat.blocks.push_back((seat.known, seat.read));
                seat.known = seat.known.saturating_add(1);
                out.seen = out.seen.max(seat.known);
            }
            if order & ORDERS != 0 {
                let nulls = frames(trailer).filter(|(kind, _)| *kind == NULL);
                let left_out =
                    nulls.filter_map(|(_, body)| numbers(body).next()).fold(0, u64::saturating_add);
                // Nobody who keeps to the protocol comes near: more would only make counters overflow.
                if seat.known < LAST_ROUND {
                    seat.known += left_out.min(LAST_ROUND);
                }
            }
            seat.read = seat.read.plus(1);
        }
        self.pass_nulls();
    }

    /// The block whose turn it is, if that is known.
    pub(super) fn head(&self) -> Option<(Rank, Seq)> {
        let (round, seq) = *self.members[self.rank].blocks.front()?;
        (round == self.round).then_some((Rank(self.rank as u16), seq))
    }

    /// Every block that takes a turn and is not delivered, by turns: those that are not known are left out.
    pub(super) fn turns(&self) -> Vec<(Rank, Seq)> {
        let seats = self.members.iter().zip(0..);
        let blocks =
            seats.flat_map(|(seat, rank)| seat.blocks.iter().map(move |(round, seq)| (*round, rank, *seq)));
        let mut turns: Vec<_> = blocks.collect();
        turns.sort_unstable();
        turns.into_iter().map(|(_, rank, seq)| (Rank(rank), seq)).collect()
    }

    /// How far each stream has been read.
    pub(super) fn read_up_to(&self) -> impl Iterator<Item = Seq> {
        self.members.iter().map(|seat| seat.read)
    }

    pub(super) fn delivered(&mut self, rank: Rank, to: Seq) {
        while self.head().is_some_and(|(whose, seq)| whose == rank && seq < to) {
            self.members[self.rank].blocks.pop_front();
            self.step();
            self.pass_nulls();
        }
    }

    /// A member that is gone takes no turn after its last block.
    pub(super) fn departed(&mut self, rank: Rank) {
        self.members[rank.0 as usize].is_gone = true;
        self.pass_nulls();
    }

    /// Passes over the turns that are left out. It ends, at the latest at my own next one.
    fn pass_nulls(&mut self) {
        while self.head().is_none() {
            let seat = &self.members[self.rank];
            let ahead = if mutated!(PassTooEarly) { 1 } else { 0 };
            let is_over = seat.known + ahead > self.round || seat.is_gone;
            if !is_over {
                return;
            }
            // Rounds that nobody has used are not stepped through one by one.
            let next = self.members.iter().filter(|seat| !seat.is_gone || !seat.blocks.is_empty());
            let least = next.map(|seat| seat.blocks.front().map_or(seat.known, |(round, _)| *round)).min();
            match least {
                Some(least) if least > self.round + 1 => (self.round, self.rank) = (least, 0),
                _ => self.step(),
            }
        }
    }

    fn step(&mut self) {
        self.rank += 1;
        if self.rank == self.members.len() {
            (self.round, self.rank) = (self.round + 1, 0);
        }
    }
}

impl Rounds {
    /// A block is sealed: it takes my next round when it has totals, and leaves out those that others have used before.
    pub(super) fn seal(&mut self, is_total: bool, writer: &mut ControlWriter<'_>) -> u8 {
        if !is_total && self.next == self.seen {
            return 0;
        }
        self.next += u64::from(is_total);
        self.seen = self.seen.max(self.next);
        let left_out = self.seen - self.next;
        if left_out == 0 {
            return 0;
        }
        let before = writer.written();
        writer.order(NULL, |out| crate::varint::write(out, left_out).unwrap_or(0));
        if writer.written() == before {
            // There was no room: the next block says it.
            return 0;
        }
        self.next = self.seen;
        ORDERS
    }

    pub(super) fn wants_block(&self) -> bool {
        self.next < self.seen && !self.is_retired
    }

    /// I say goodbye. A block after that would be kept by all, and nobody would say when it is stable.
    pub(super) fn retire(&mut self) {
        self.is_retired = true;
    }
}

/// Rounds beyond are not left out.
const LAST_ROUND: u64 = Seq::LIMIT.0;
