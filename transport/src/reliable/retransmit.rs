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

const NEVER: Instant = Instant(0);
const QUEUED: Instant = Instant(u64::MAX);

/// Repairs of one log.
#[derive(Debug)]
pub(super) struct Retransmit {
    queue: VecDeque<(Seq, u32)>,
    /// When each block was last repaired, by ring slot; [`QUEUED`] while its repair waits, [`NEVER`] before.
    repaired_at: Vec<Instant>,
    holdoff_ns: u64,
    /// Blocks sent again so far.
    repairs: u64,
}

impl Retransmit {
    /// For a log of `capacity` blocks (a power of two).
    pub(super) fn new(capacity: usize, holdoff_ns: u64) -> Self {
        let queue = VecDeque::with_capacity(MAX_RANGES);
        Self { queue, repaired_at: vec![NEVER; capacity], holdoff_ns, repairs: 0 }
    }

    /// Blocks that were sent again.
    pub(super) fn repairs(&self) -> u64 {
        self.repairs
    }

    /// Takes a request for `count` blocks from `first` on; what is outside `oldest..sent` cannot be answered, where `oldest` is
    /// the oldest block that is retained. Returns how many are going to be sent again for it.
    pub(super) fn request(&mut self, now: Instant, first: Seq, count: u32, oldest: Seq, sent: Seq) -> u64 {
        let end = Seq(first.0.saturating_add(u64::from(count))).min(sent);
        let (mut at, mut granted) = (first.max(oldest), 0);
        while at < end {
            let held_off = self.is_held_off(now, at);
            let from = at;
            while at < end && self.is_held_off(now, at) == held_off {
                at = at.plus(1);
            }
            if !held_off && self.queue.len() < MAX_RANGES {
                self.mark(QUEUED, from, at);
                self.queue.push_back((from, at.since(from) as u32));
                granted += at.since(from);
            }
        }
        granted
    }

    /// The next range to send: the caller takes as many of its blocks as one run carries, as `run` measures it; with none, the
    /// range waits on.
    pub(super) fn next(
        &mut self,
        now: Instant,
        oldest: Seq,
        run: impl FnOnce(Seq, Seq) -> u32,
    ) -> Option<(Seq, u32)> {
        while let Some((first, count)) = self.queue.pop_front() {
            let end = first.plus(u64::from(count));
            let first = first.max(oldest);
            if first >= end {
                continue;
            }
            let taken = run(first, end);
            let rest_from = first.plus(u64::from(taken));
            if rest_from < end {
                self.queue.push_front((rest_from, end.since(rest_from) as u32));
            }
            self.mark(now, first, rest_from);
            self.repairs += u64::from(taken);
            return (taken > 0).then_some((first, taken));
        }
        None
    }

    fn is_held_off(&self, now: Instant, seq: Seq) -> bool {
        let last = self.repaired_at[self.slot(seq)];
        last != NEVER && (now.since_ns(last) < self.holdoff_ns || mutated!(RepairOnce))
    }

    fn mark(&mut self, at: Instant, from: Seq, to: Seq) {
        for seq in from.0..to.0 {
            let slot = self.slot(Seq(seq));
            self.repaired_at[slot] = at;
        }
    }

    /// The slot of this block was given to a new one: its hold-off does not count for that.
    pub(super) fn forget(&mut self, seq: Seq) {
        let slot = self.slot(seq);
        self.repaired_at[slot] = NEVER;
    }

    fn slot(&self, seq: Seq) -> usize {
        (seq.0 & (self.repaired_at.len() as u64 - 1)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant(1_060);

    fn drain(retransmit: &mut Retransmit, oldest: Seq) -> Vec<(u64, u32)> {
        std::iter::from_fn(|| retransmit.next(NOW, oldest, |first, end| end.since(first).min(3) as u32))
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

    #[test]
    fn what_waits_to_be_repaired_is_not_queued_again() {
        let mut retransmit = Retransmit::new(64, 100);
        retransmit.request(Instant(1_000), Seq(5), 2, Seq(0), Seq(50));
        assert_eq!(retransmit.next(Instant(1_000), Seq(0), |_, _| 0), None, "held back");
        retransmit.request(Instant(9_000), Seq(5), 2, Seq(0), Seq(50));
        assert_eq!(drain(&mut retransmit, Seq(0)), [(5, 2)]);
        assert_eq!(retransmit.repairs(), 2);
    }
}
