//! The receiver's window on one stream: blocks wait here, in their buffers, until they are delivered *and* stable.
//!
//! ```text
//!   base ........... next ................ base + capacity
//!   | held, in order | missing and held    |
//! ```
//! Inserting is idempotent: an occupied slot, or a block from before `base`, changes nothing.

use super::{RxBlock, RxPool};
use crate::id::Seq;
use crate::mutated;

/// A ring of slots, one for each sequence from `base` on.
#[derive(Debug)]
pub struct ReceiveWindow {
    slots: Vec<Option<RxBlock>>,
    mask: u64,
    base: Seq,
    next: Seq,
}

/// What became of a block that was inserted.
#[derive(Debug, PartialEq, Eq)]
pub enum Insert {
    /// It is held, and everything before it too: `next` has moved past it.
    InOrder,
    /// It is held; something before it is missing.
    OutOfOrder,
    /// It was here before, or is not wanted any more: here it is again.
    Duplicate(RxBlock),
    /// It lies beyond the window: here it is again.
    Beyond(RxBlock),
}

impl ReceiveWindow {
    /// An empty window of `capacity` blocks (a power of two) from `start` on.
    #[must_use]
    pub fn new(capacity: usize, start: Seq) -> Self {
        assert!(capacity.is_power_of_two());
        let slots = std::iter::repeat_with(|| None).take(capacity).collect();
        Self { slots, mask: capacity as u64 - 1, base: start, next: start }
    }

    /// The oldest sequence that may be held.
    #[must_use]
    pub fn base(&self) -> Seq {
        self.base
    }

    /// Everything before it has been received.
    #[must_use]
    pub fn next(&self) -> Seq {
        self.next
    }

    /// Blocks that the window takes.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.mask + 1
    }

    /// Blocks that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// Whether this sequence can be held, and is not.
    #[must_use]
    pub fn wants(&self, seq: Seq) -> bool {
        self.next <= seq && seq.since(self.base) <= self.mask && self.slots[self.slot(seq)].is_none()
    }

    /// Takes a block.
    pub fn insert(&mut self, seq: Seq, block: RxBlock) -> Insert {
        if seq < self.next && !mutated!(SkipDuplicateCheck) {
            return Insert::Duplicate(block);
        }
        if seq.since(self.base) > self.mask {
            return Insert::Beyond(block);
        }
        let slot = self.slot(seq);
        if self.slots[slot].is_some() {
            return Insert::Duplicate(block);
        }
        self.slots[slot] = Some(block);
        if seq != self.next {
            return Insert::OutOfOrder;
        }
        self.advance();
        Insert::InOrder
    }

    /// A held block.
    #[must_use]
    pub fn get(&self, seq: Seq) -> Option<&RxBlock> {
        if seq < self.base || seq.since(self.base) > self.mask {
            return None;
        }
        self.slots[self.slot(seq)].as_ref()
    }

    /// Gives every block before `to` back to the pool; `to` is at most `next`.
    pub fn release(&mut self, to: Seq, pool: &mut RxPool) {
        debug_assert!(to <= self.next);
        if mutated!(FreeWhenQuiet) && to < self.next && self.next.since(self.base) <= self.mask / 2 {
            return;
        }
        while self.base < to {
            let slot = self.slot(self.base);
            let block = self.slots[slot].take().expect("everything before `next` is held");
            pool.release(block);
            self.base = self.base.plus(1);
        }
    }

    /// Goes on at `to`, whatever is missing before it; what is held before it goes back to the pool.
    pub fn skip(&mut self, to: Seq, pool: &mut RxPool) {
        while self.base < to && self.slots.iter().any(Option::is_some) {
            let slot = self.slot(self.base);
            if let Some(block) = self.slots[slot].take() {
                pool.release(block);
            }
            self.base = self.base.plus(1);
        }
        self.base = self.base.max(to);
        self.next = self.next.max(to);
        self.advance();
    }

    /// Gives every block from `to` on back to the pool; `to` is at least `base`.
    pub fn truncate(&mut self, to: Seq, pool: &mut RxPool) {
        debug_assert!(self.base <= to);
        let end = self.base.plus(self.capacity());
        for seq in to.0..end.0 {
            let slot = self.slot(Seq(seq));
            if let Some(block) = self.slots[slot].take() {
                pool.release(block);
            }
        }
        self.next = self.next.min(to);
    }

    /// Passes over the next block without holding it; nothing may be held.
    pub fn pass(&mut self) {
        debug_assert!(self.base == self.next);
        self.next = self.next.plus(1);
        self.base = self.next;
    }

    /// Gives everything back to the pool, in whatever order it came.
    pub fn clear(&mut self, pool: &mut RxPool) {
        self.slots.iter_mut().filter_map(Option::take).for_each(|block| pool.release(block));
        self.base = self.next;
    }

    /// What is missing from `from` on (at least `next`) and before `end`, as ranges of (first, count).
    #[must_use]
    pub fn missing(&self, from: Seq, end: Seq) -> MissingRanges<'_> {
        let end = end.min(self.base.plus(self.capacity()));
        MissingRanges { window: self, at: from.max(self.next), end }
    }

    fn advance(&mut self) {
        while self.next.since(self.base) <= self.mask && self.slots[self.slot(self.next)].is_some() {
            self.next = self.next.plus(1);
        }
    }

    fn slot(&self, seq: Seq) -> usize {
        (seq.0 & self.mask) as usize
    }
}

/// Walks the gaps of a window.
#[derive(Debug, Clone)]
pub struct MissingRanges<'a> {
    window: &'a ReceiveWindow,
    at: Seq,
    end: Seq,
}

impl Iterator for MissingRanges<'_> {
    type Item = (Seq, u32);

    fn next(&mut self) -> Option<(Seq, u32)> {
        let held = |seq: Seq| self.window.slots[self.window.slot(seq)].is_some();
        while self.at < self.end && held(self.at) {
            self.at = self.at.plus(1);
        }
        let first = self.at;
        while self.at < self.end && !held(self.at) {
            self.at = self.at.plus(1);
        }
        let count = self.at.since(first);
        (count > 0).then(|| (first, u32::try_from(count).expect("a window is shorter than 2^32")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::PoolConfig;
    use std::collections::BTreeSet;

    fn pool() -> RxPool {
        RxPool::new(PoolConfig { stride: 16, strides: 512, slabs: 0 }).unwrap()
    }

    #[test]
    fn out_of_order_blocks_wait_and_gaps_are_ranges() {
        let (mut pool, mut window) = (pool(), ReceiveWindow::new(16, Seq(100)));
        let mut put =
            |window: &mut ReceiveWindow, seq| window.insert(Seq(seq), pool.insert(&[seq as u8]).unwrap());
        assert_eq!(put(&mut window, 100), Insert::InOrder);
        assert_eq!(put(&mut window, 103), Insert::OutOfOrder);
        assert_eq!(put(&mut window, 106), Insert::OutOfOrder);
        assert!(matches!(put(&mut window, 103), Insert::Duplicate(_)));
        assert!(matches!(put(&mut window, 99), Insert::Duplicate(_)));
        assert!(matches!(put(&mut window, 116), Insert::Beyond(_)));
        assert!(window.missing(Seq(0), Seq(109)).eq([(Seq(101), 2), (Seq(104), 2), (Seq(107), 2)]));
        assert!(window.missing(Seq(105), Seq(105)).eq([]));
        assert_eq!(put(&mut window, 101), Insert::InOrder);
        assert_eq!(put(&mut window, 102), Insert::InOrder);
        assert_eq!(window.next(), Seq(104));
    }

    #[test]
    fn what_is_skipped_goes_back_and_what_follows_is_kept() {
        let (mut pool, mut window) = (pool(), ReceiveWindow::new(16, Seq(100)));
        for seq in [100, 103, 104, 107] {
            window.insert(Seq(seq), pool.insert(&[seq as u8]).unwrap());
        }
        window.skip(Seq(103), &mut pool);
        assert_eq!((window.base(), window.next()), (Seq(103), Seq(105)));
        assert!(window.get(Seq(107)).is_some());
        window.skip(Seq(1_000), &mut pool);
        assert_eq!((window.base(), window.next()), (Seq(1_000), Seq(1_000)));
        assert!(pool.is_idle(0));
    }

    #[test]
    fn what_is_cut_off_goes_back_and_what_is_before_it_is_kept() {
        let (mut pool, mut window) = (pool(), ReceiveWindow::new(16, Seq(100)));
        for seq in [100, 101, 102, 104, 106] {
            window.insert(Seq(seq), pool.insert(&[seq as u8]).unwrap());
        }
        window.truncate(Seq(105), &mut pool);
        assert_eq!((window.next(), window.held()), (Seq(103), 4));
        window.truncate(Seq(101), &mut pool);
        assert_eq!((window.next(), window.held()), (Seq(101), 1));
        window.release(Seq(101), &mut pool);
        window.truncate(Seq(200), &mut pool);
        assert_eq!((window.base(), window.next()), (Seq(101), Seq(101)));
        assert!(pool.is_idle(0));
    }

    /// Random inserts and releases against the obvious model.
    #[test]
    fn it_agrees_with_a_set() {
        let (mut pool, mut window) = (pool(), ReceiveWindow::new(64, Seq(0)));
        let mut rng = fastrand::Rng::with_seed(7);
        let (mut held, mut base) = (BTreeSet::new(), 0u64);
        for _ in 0..20_000 {
            let seq = base + rng.u64(0..80);
            let block = pool.insert(&seq.to_le_bytes()).unwrap();
            let wanted = seq < base + 64 && !held.contains(&seq);
            assert_eq!(window.wants(Seq(seq)), wanted);
            match window.insert(Seq(seq), block) {
                Insert::InOrder | Insert::OutOfOrder => assert!(held.insert(seq) && wanted),
                Insert::Duplicate(block) | Insert::Beyond(block) => {
                    assert!(!wanted);
                    pool.release(block);
                }
            }
            let next = (base..).find(|seq| !held.contains(seq)).unwrap();
            assert_eq!(window.next(), Seq(next));
            let missing: Vec<u64> = (next..base + 64).filter(|seq| !held.contains(seq)).collect();
            let ranges = window.missing(Seq(0), Seq(u64::MAX));
            assert!(ranges.flat_map(|(from, count)| from.0..from.0 + u64::from(count)).eq(missing));
            if rng.u32(0..4) == 0 {
                base = rng.u64(base..=next);
                held = held.split_off(&base);
                window.release(Seq(base), &mut pool);
            }
            assert!(held.iter().all(|&seq| pool.bytes(window.get(Seq(seq)).unwrap()) == seq.to_le_bytes()));
        }
        window.clear(&mut pool);
        assert!(pool.is_idle(0));
    }
}
