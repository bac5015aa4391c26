//! Repairs that wait to be sent, from my own log.
//!
//! Several receivers may ask for the same block, and one may ask again before the answer has reached it: a block that was
//! repaired within the hold-off is not sent again.

use crate::id::Seq;
use crate::mutated;
use crate::time::Instant;
use std::collections::VecDeque;

/// The most ranges that wait; what is beyond will be asked for again.
const MAX_RANGES: usize = 1024;

/// Repairs of one log.
#[derive(Debug)]
pub(super) struct Retransmit {
    queue: VecDeque<(Seq, u32)>,
    repaired_at: Vec<Instant>,
    holdoff_ns: u64,
    /// Blocks sent again so far.
    repairs: u64,
}

impl Retransmit {
    /// For a log of `capacity` blocks (a power of two).
    pub(super) fn new(capacity: usize, holdoff_ns: u64) -> Self {
        let queue = VecDeque::with_capacity(MAX_RANGES);
        Self { queue, repaired_at: vec![Instant::default(); capacity], holdoff_ns, repairs: 0 }
    }

    /// Blocks that were sent again.
    pub(super) fn repairs(&self) -> u64 {
        self.repairs
    }

    /// Takes a request for `count` blocks from `first` on; what is outside `oldest..sent` cannot be answered, where `oldest` is
    /// the oldest block that is retained.
    pub(super) fn request(&mut self, now: Instant, first: Seq, count: u32, oldest: Seq, sent: Seq) {
        let end = Seq(first.0.saturating_add(u64::from(count))).min(sent);
        let mut at = first.max(oldest);
        while at < end {
            let held_off = self.is_held_off(now, at);
            let from = at;
            while at < end && self.is_held_off(now, at) == held_off {
                at = at.plus(1);
            }
            if !held_off && self.queue.len() < MAX_RANGES {
                self.mark(now, from, at);
                self.queue.push_back((from, at.since(from) as u32));
            }
        }
    }

    /// The next range to send: the caller takes as many of its blocks as one run carries, as `run` measures it.
    pub(super) fn next(&mut self, oldest: Seq, run: impl FnOnce(Seq, Seq) -> u32) -> Option<(Seq, u32)> {
        while let Some((first, count)) = self.queue.pop_front() {
            let end = first.plus(u64::from(count));
            let first = first.max(oldest);
            if first >= end {
                continue;
            }
            let taken = run(first, end);
            let rest = end.since(first.plus(u64::from(taken))) as u32;
            if rest > 0 {
                self.queue.push_front((first.plus(u64::from(taken)), rest));
            }
            self.repairs += u64::from(taken);
            return Some((first, taken));
        }
        None
    }

    fn is_held_off(&self, now: Instant, seq: Seq) -> bool {
        let last = self.repaired_at[self.slot(seq)];
        last != Instant::default() && (now.since_ns(last) < self.holdoff_ns || mutated!(RepairOnce))
    }

    fn mark(&mut self, now: Instant, from: Seq, to: Seq) {
        for seq in from.0..to.0 {
            let slot = self.slot(Seq(seq));
            self.repaired_at[slot] = now;
        }
    }

    /// The slot of this block was given to a new one: its hold-off does not count for that.
    pub(super) fn forget(&mut self, seq: Seq) {
        let slot = self.slot(seq);
        self.repaired_at[slot] = Instant::default();
    }

    fn slot(&self, seq: Seq) -> usize {
        (seq.0 & (self.repaired_at.len() as u64 - 1)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(retransmit: &mut Retransmit, oldest: Seq) -> Vec<(u64, u32)> {
        std::iter::from_fn(|| retransmit.next(oldest, |first, end| end.since(first).min(3) as u32))
            .map(|(first, count)| (first.0, count))
            .collect()
    }

    #[test]
    fn requests_are_clipped_to_the_log_and_cut_into_runs() {
        let mut retransmit = Retransmit::new(64, 100);
        retransmit.request(Instant(1_000), Seq(0), 9, Seq(4), Seq(50));
        retransmit.request(Instant(1_000), Seq(48), 9, Seq(4), Seq(50));
        retransmit.request(Instant(1_000), Seq(u64::MAX - 1), u32::MAX, Seq(4), Seq(50));
        assert_eq!(drain(&mut retransmit, Seq(4)), [(4, 3), (7, 2), (48, 2)]);
        assert_eq!(retransmit.repairs(), 7);
    }

    #[test]
    fn a_block_is_not_repaired_twice_within_the_holdoff() {
        let mut retransmit = Retransmit::new(64, 100);
        retransmit.request(Instant(1_000), Seq(5), 2, Seq(0), Seq(50));
        retransmit.request(Instant(1_050), Seq(4), 4, Seq(0), Seq(50));
        assert_eq!(drain(&mut retransmit, Seq(0)), [(5, 2), (4, 1), (7, 1)]);
        retransmit.request(Instant(1_200), Seq(5), 2, Seq(0), Seq(50));
        assert_eq!(drain(&mut retransmit, Seq(0)), [(5, 2)]);
    }

    #[test]
    fn what_has_been_released_meanwhile_is_skipped() {
        let mut retransmit = Retransmit::new(64, 100);
        retransmit.request(Instant(1_000), Seq(5), 4, Seq(0), Seq(50));
        retransmit.request(Instant(1_000), Seq(20), 1, Seq(0), Seq(50));
        assert_eq!(drain(&mut retransmit, Seq(7)), [(7, 2), (20, 1)]);
    }
}
