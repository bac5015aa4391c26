//! The engine's receive buffers: coalesced ones are kept whole and walked in place, small ones are copied out.
//!
//! A datagram lands in a slab of 64 KiB. When a coalesced buffer fills at least half of it, the slab itself is kept until
//! the last of its blocks is released; otherwise its blocks are copied to strides, so that one small block never pins
//! 64 KiB. The memory is taken once, at the start.

use memmap2::{Advice, MmapMut};
use std::num::NonZeroU32;

/// Bytes of a slab: more than any UDP payload with what a medium may put before it.
pub const SLAB_BYTES: usize = (1 << 16) + HEADROOM;
/// Bytes that a medium may use for itself at the beginning of a landing: a multiple of the cache line.
pub const HEADROOM: usize = 128;

/// Strides that no data block may keep: control lands in them, and it frees all others. The engine takes them beside
/// those that the windows need.
pub const RESERVED_STRIDES: usize = 2;

/// How much memory a pool takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolConfig {
    /// Bytes of a stride: the largest block.
    pub stride: usize,
    /// How many single blocks it can hold.
    pub strides: usize,
    /// How many coalesced buffers it can hold, apart from the one that is landing.
    pub slabs: usize,
}

/// One received block in the pool. Whoever holds it owes a [`RxPool::release`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a block that is dropped is never given back to the pool"]
pub struct RxBlock {
    at: u32,
    /// Never 0, so that an empty slot of a window costs no extra word.
    len: NonZeroU32,
}

/// A slab that a datagram is being received into.
#[derive(Debug)]
#[must_use = "a landing that is dropped is never given back to the pool"]
pub struct Landing {
    slab: u32,
}

/// The pool: slabs first, then strides, in one mapping.
#[derive(Debug)]
pub struct RxPool {
    memory: MmapMut,
    stride: usize,
    slab_count: usize,
    held: Vec<u16>,
    free_slabs: Vec<u32>,
    free_strides: Vec<u32>,
    low_strides: usize,
    exhausted: u64,
}

impl RxPool {
    /// Takes the memory for `config`, on huge pages where the kernel gives them.
    ///
    /// # Errors
    /// When the system has not that much memory.
    pub fn new(config: PoolConfig) -> std::io::Result<Self> {
        // One slab more than asked for: there is always one to land in.
        let slab_count = config.slabs + 1;
        let bytes = slab_count * SLAB_BYTES + config.strides * config.stride;
        assert!(u32::try_from(bytes).is_ok(), "a pool is addressed by 32 bits");
        assert!(config.stride <= SLAB_BYTES && config.stride > 0 && config.strides > 0);
        let memory = MmapMut::map_anon(bytes)?;
        // Advice only: without huge pages everything works, slower.
        let _ = memory.advise(Advice::HugePage);
        Ok(Self {
            memory,
            stride: config.stride,
            slab_count,
            held: vec![0; slab_count],
            free_slabs: (0..index(slab_count)).rev().collect(),
            free_strides: (0..index(config.strides)).rev().collect(),
            low_strides: (config.strides / 8).max(2 * RESERVED_STRIDES),
            exhausted: 0,
        })
    }

    /// A slab to receive into, or `None` while the medium already has the last one.
    pub fn land(&mut self) -> Option<Landing> {
        self.free_slabs.pop().map(|slab| Landing { slab })
    }

    /// The memory of a landing.
    pub fn landing_mut(&mut self, landing: &Landing) -> &mut [u8] {
        let at = landing.slab as usize * SLAB_BYTES;
        &mut self.memory[at..at + SLAB_BYTES]
    }

    /// Up to `count` slabs to receive into at once, appended to `landings` and ordered as they lie in memory.
    pub fn land_many(&mut self, count: usize, landings: &mut Vec<Landing>) {
        landings.extend((0..count).map_while(|_| self.land()));
        landings.sort_unstable_by_key(|landing| landing.slab);
    }

    /// The memory of several landings at once, which must be ordered as [`land_many`](Self::land_many) orders them.
    pub fn landings_mut<'a>(&'a mut self, landings: &'a [Landing]) -> impl Iterator<Item = &'a mut [u8]> {
        let mut rest = &mut self.memory[..self.slab_count * SLAB_BYTES];
        let mut next = 0;
        landings.iter().map(move |landing| {
            let skip = (landing.slab as usize).checked_sub(next).expect("landings are ordered") * SLAB_BYTES;
            let (slab, after) = std::mem::take(&mut rest)[skip..].split_at_mut(SLAB_BYTES);
            (rest, next) = (after, landing.slab as usize + 1);
            slab
        })
    }

    /// Turns the first `len` bytes of a landing into blocks of `segment` bytes, the last possibly shorter, and gives
    /// each to `each` in order. Returns how many there were.
    ///
    /// A block for which the pool has no place, or that is longer than a stride, is dropped and counted.
    pub fn split(
        &mut self,
        landing: Landing,
        len: usize,
        segment: usize,
        each: impl FnMut(RxBlock),
    ) -> usize {
        self.split_behind(0, landing, len, segment, each)
    }

    /// The same for the `len` bytes behind the first `head` of a landing, which the medium used for itself.
    #[inline]
    pub fn split_behind(
        &mut self,
        head: usize,
        landing: Landing,
        len: usize,
        segment: usize,
        mut each: impl FnMut(RxBlock),
    ) -> usize {
        assert!(head <= HEADROOM && head + len <= SLAB_BYTES && segment > 0);
        let base = landing.slab as usize * SLAB_BYTES + head;
        let blocks = len.div_ceil(segment);
        if len >= SLAB_BYTES / 2 && blocks > 1 && !self.free_slabs.is_empty() {
            self.held[landing.slab as usize] = pin(base, len, segment, &mut each);
        } else {
            self.copy_out(base, len, segment, &mut each);
            self.abandon(landing);
        }
        blocks
    }

    /// Gives a landing back unused.
    pub fn abandon(&mut self, landing: Landing) {
        self.free_slabs.push(landing.slab);
    }

    /// A block with a copy of `bytes`, or `None` when there is no place for it, or nothing to copy.
    pub fn insert(&mut self, bytes: &[u8]) -> Option<RxBlock> {
        let len = NonZeroU32::new(index(bytes.len()))?;
        let place = if bytes.len() <= self.stride { self.free_strides.pop() } else { None };
        let Some(stride) = place else {
            self.exhausted += 1;
            return None;
        };
        let at = self.stride_at(stride);
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
        Some(RxBlock { at: index(at), len })
    }

    /// The bytes of a block.
    #[must_use]
    #[inline]
    pub fn bytes(&self, block: &RxBlock) -> &[u8] {
        let at = block.at as usize;
        &self.memory[at..at + block.len.get() as usize]
    }

    /// The bytes of a block, to be altered (a fault medium does).
    pub fn bytes_mut(&mut self, block: &RxBlock) -> &mut [u8] {
        let at = block.at as usize;
        &mut self.memory[at..at + block.len.get() as usize]
    }

    /// Shortens a block to its first `len` bytes, at least one (a fault medium does).
    pub fn truncate(&mut self, block: &mut RxBlock, len: usize) {
        block.len = block.len.min(nonzero(len.max(1)));
    }

    /// Gives a block back.
    #[inline]
    pub fn release(&mut self, block: RxBlock) {
        let at = block.at as usize;
        let slabs_end = self.slab_count * SLAB_BYTES;
        if at >= slabs_end {
            self.free_strides.push(index((at - slabs_end) / self.stride));
            debug_assert!(self.free_strides.len() <= self.stride_count(), "a block was released twice");
            return;
        }
        let slab = at / SLAB_BYTES;
        self.held[slab] -= 1;
        if self.held[slab] == 0 {
            self.free_slabs.push(index(slab));
        }
    }

    /// Whether memory runs short: out-of-order data is then refused, since it will be repaired.
    #[must_use]
    pub fn is_low(&self) -> bool {
        self.free_strides.len() < self.low_strides
    }

    /// Whether what is left is for control alone: even the next expected block is refused then.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.free_strides.len() < RESERVED_STRIDES
    }

    /// Blocks that were dropped for want of a place.
    #[must_use]
    pub fn exhausted(&self) -> u64 {
        self.exhausted
    }

    /// Bytes of the largest block that the pool takes.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Slabs and strides that are not free.
    #[must_use]
    pub fn in_use(&self) -> (usize, usize) {
        (self.slab_count - self.free_slabs.len(), self.stride_count() - self.free_strides.len())
    }

    /// Whether nobody owes it anything: every slab and every stride is free, but `landed` that media hold to land in.
    #[must_use]
    pub fn is_idle(&self, landed: usize) -> bool {
        self.free_slabs.len() + landed == self.slab_count && self.free_strides.len() == self.stride_count()
    }

    fn copy_out(&mut self, base: usize, len: usize, segment: usize, each: &mut impl FnMut(RxBlock)) {
        for start in (0..len).step_by(segment) {
            let size = segment.min(len - start);
            let place = if size <= self.stride { self.free_strides.pop() } else { None };
            let Some(stride) = place else {
                self.exhausted += 1;
                continue;
            };
            let at = self.stride_at(stride);
            self.memory.copy_within(base + start..base + start + size, at);
            each(RxBlock { at: index(at), len: nonzero(size) });
        }
    }

    fn stride_at(&self, stride: u32) -> usize {
        self.slab_count * SLAB_BYTES + stride as usize * self.stride
    }

    fn stride_count(&self) -> usize {
        (self.memory.len() - self.slab_count * SLAB_BYTES) / self.stride
    }
}

/// Blocks that stay where they are; returns how many.
fn pin(base: usize, len: usize, segment: usize, each: &mut impl FnMut(RxBlock)) -> u16 {
    let mut kept = 0;
    for start in (0..len).step_by(segment) {
        kept += 1;
        each(RxBlock { at: index(base + start), len: nonzero(segment.min(len - start)) });
    }
    kept
}

/// Every offset in a pool fits in 32 bits: its constructor checked the largest.
#[expect(clippy::cast_possible_truncation, reason = "checked by the constructor")]
const fn index(at: usize) -> u32 {
    at as u32
}

/// The length of a block that is walked: never empty.
const fn nonzero(len: usize) -> NonZeroU32 {
    NonZeroU32::new(index(len)).expect("a block has at least one byte")
}

const _: () = assert!(size_of::<Option<RxBlock>>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> RxPool {
        RxPool::new(PoolConfig { stride: 1408, strides: 64, slabs: 2 }).unwrap()
    }

    fn land(pool: &mut RxPool, len: usize, segment: usize) -> Vec<RxBlock> {
        let landing = pool.land().unwrap();
        for (at, byte) in pool.landing_mut(&landing)[..len].iter_mut().enumerate() {
            *byte = (at / segment) as u8;
        }
        let mut blocks = Vec::new();
        pool.split(landing, len, segment, |block| blocks.push(block));
        blocks
    }

    #[test]
    fn a_large_buffer_is_kept_whole_until_its_last_block_is_released() {
        let mut pool = pool();
        let mut blocks = land(&mut pool, 46 * 1408, 1408);
        assert_eq!(blocks.len(), 46);
        assert!(
            blocks.iter().enumerate().all(|(at, block)| pool.bytes(block).iter().all(|&b| b == at as u8))
        );
        let last = blocks.pop().unwrap();
        blocks.into_iter().for_each(|block| pool.release(block));
        assert!(!pool.is_idle(0));
        pool.release(last);
        assert!(pool.is_idle(0));
    }

    #[test]
    fn small_buffers_are_copied_out_and_never_pin_a_slab() {
        let mut pool = pool();
        let blocks: Vec<_> = (0..64).flat_map(|_| land(&mut pool, 100, 1408)).collect();
        assert_eq!(blocks.len(), 64);
        assert_eq!(land(&mut pool, 100, 1408).len(), 0, "a full pool drops");
        assert_eq!(pool.exhausted(), 1);
        assert!(pool.is_low());
        blocks.into_iter().for_each(|block| pool.release(block));
        assert!(pool.is_idle(0));
    }

    #[test]
    fn many_land_at_once_behind_their_heads() {
        let mut pool = pool();
        let mut landings = Vec::new();
        pool.land_many(9, &mut landings);
        assert_eq!(landings.len(), 3, "as many as there are");
        for (fill, slab) in (1..).zip(pool.landings_mut(&landings)) {
            slab.fill(fill);
            slab[..HEADROOM].fill(0);
        }
        let mut blocks = Vec::new();
        for landing in landings {
            pool.split_behind(HEADROOM, landing, 46 * 1408, 1408, |block| blocks.push(block));
        }
        let expected = [[1; 46], [2; 46], [3; 46]];
        assert!(
            blocks
                .iter()
                .zip(expected.as_flattened())
                .all(|(block, &fill)| { pool.bytes(block).iter().all(|&byte| byte == fill) })
        );
        blocks.into_iter().for_each(|block| pool.release(block));
        assert!(pool.is_idle(0));
    }

    #[test]
    fn the_last_slab_is_never_pinned() {
        let mut pool = pool();
        let mut blocks: Vec<_> = (0..2).flat_map(|_| land(&mut pool, 46 * 1408, 1408)).collect();
        blocks.extend(land(&mut pool, 46 * 1408, 1408));
        assert!(pool.land().is_some(), "there is always one to land in");
        assert_eq!(blocks.len(), 3 * 46);
    }

    #[test]
    fn a_block_longer_than_a_stride_is_dropped() {
        let mut pool = pool();
        assert_eq!(land(&mut pool, 1409, 1409).len(), 0);
        assert_eq!(pool.exhausted(), 1);
    }
}
