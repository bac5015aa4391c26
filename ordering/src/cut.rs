//! What is left at the end of a view: how far it can be delivered, and in which order what nobody has ordered.
//!
//! All members come here with the same blocks, though some have delivered more of them than others. What is found depends on the blocks
//! alone: it is looked for by a delay queue that runs ahead, for which what is let through is delivered.

use crate::delay::DelayQueue;
use crate::wire::TOTAL;
use sistrum_transport::id::{Rank, Seq};
use sistrum_transport::mutated;
use sistrum_transport::reliable::Blocks;
use sistrum_transport::wire::Header;

/// Lowers `end`, where the blocks end, to where those end whose causes are there too. `queue` has let through what is delivered.
pub(crate) fn close(queue: DelayQueue, me: Rank, end: &mut [Seq], blocks: &impl Blocks) {
    let mut ahead = Ahead::new(queue, me, blocks);
    ahead.go_on(end, |_, _| false);
    end.iter_mut().zip(0..).for_each(|(end, rank)| *end = ahead.queue.next(Rank(rank)));
}

/// The total blocks that have no place, in the order of what comes next: always the one of the lowest rank of which all causes
/// are there. Those of each stream before `placed` have a place, and come before them; what is to be delivered ends at `end`.
pub(crate) fn rest(
    queue: DelayQueue,
    me: Rank,
    (placed, end): (&[Seq], &[Seq]),
    blocks: &impl Blocks,
) -> Vec<(Rank, Seq)> {
    let mut rest = Vec::new();
    if mutated!(TotalsLeftUnordered) {
        return rest;
    }
    let mut ahead = Ahead::new(queue, me, blocks);
    let waits = |rank: Rank, seq: Seq| seq >= placed[rank.0 as usize];
    let first = if mutated!(TotalsByArrivalAtCut) { me.0 } else { 0 };
    let members = end.len() as u16;
    loop {
        ahead.go_on(end, |rank, seq| waits(rank, seq) && is_total(blocks, rank, seq));
        let mut ranks = (first..first + members).map(|rank| Rank(rank % members));
        let next = ranks.find(|&rank| ahead.queue.next(rank) < end[rank.0 as usize] && ahead.may_go(rank));
        let Some(rank) = next else { return rest };
        rest.push((rank, ahead.queue.next(rank)));
        ahead.go(rank);
    }
}

fn is_total(blocks: &impl Blocks, rank: Rank, seq: Seq) -> bool {
    order_of(blocks, rank, seq).0 & TOTAL != 0
}

fn order_of<B: Blocks>(blocks: &B, rank: Rank, seq: Seq) -> (u8, &[u8]) {
    blocks.block(rank, seq).map_or((0, &[][..]), Header::order_of_checked)
}

/// A delay queue for which what it lets through is delivered.
struct Ahead<'a, B> {
    queue: DelayQueue,
    me: Rank,
    blocks: &'a B,
    look_at: Vec<Rank>,
}

impl<'a, B: Blocks> Ahead<'a, B> {
    fn new(queue: DelayQueue, me: Rank, blocks: &'a B) -> Self {
        let look_at = (0..queue.members() as u16).map(Rank).collect();
        Self { queue, me, blocks, look_at }
    }

    /// Lets through what can be, before `end` and before what `stops` its stream.
    fn go_on(&mut self, end: &[Seq], stops: impl Fn(Rank, Seq) -> bool) {
        while let Some(rank) = self.look_at.pop() {
            while self.queue.next(rank) < end[rank.0 as usize]
                && !stops(rank, self.queue.next(rank))
                && self.may_go(rank)
            {
                self.queue.go(rank);
            }
            self.look_at_waiters(rank);
        }
    }

    /// Lets the next block of `rank` through.
    fn go(&mut self, rank: Rank) {
        self.queue.go(rank);
        self.look_at.push(rank);
    }

    fn may_go(&mut self, rank: Rank) -> bool {
        let block = order_of(self.blocks, rank, self.queue.next(rank));
        if rank == self.me {
            // What I have cast waits for nothing that I had not been handed.
            self.queue.read_only(rank, block);
            return true;
        }
        // A stamp that cannot be waits for nothing, as where it is let through.
        self.queue.may_follow(rank, block).unwrap_or(true)
    }

    fn look_at_waiters(&mut self, rank: Rank) {
        let (reached, look_at) = (self.queue.next(rank), &mut self.look_at);
        self.queue.reached(rank, reached, |other| look_at.push(other));
    }
}
