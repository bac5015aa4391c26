//! The buffers that multishot receives choose from: lent for one call, and withdrawn before it returns.

use super::MAX_BURST;
use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use memmap2::MmapMut;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicU16, Ordering};

/// The ring of buffers that multishot receives choose from: descriptors in memory that the kernel reads.
pub(super) struct Buffers {
    /// One page; the kernel holds it for as long as it needs it.
    descriptors: MmapMut,
    /// How many buffers were ever used: where the kernel takes the next one.
    head: u16,
    /// Address and length of each buffer that is lent now.
    lent: Vec<(*mut u8, usize)>,
}

impl Buffers {
    pub(super) fn register(ring: &IoUring) -> io::Result<Self> {
        let mut descriptors = MmapMut::map_anon(DESCRIPTORS * mem::size_of::<BufRingEntry>())?;
        let at = descriptors.as_mut_ptr() as u64;
        // SAFETY: the memory is as large as said, aligned to a page, and zero: the kernel finds no buffer in it. It pins the
        // page, so that the mapping may go before the ring does.
        unsafe { ring.submitter().register_buf_ring_with_flags(at, DESCRIPTORS as u16, BUFFER_GROUP, 0) }?;
        Ok(Self { descriptors, head: 0, lent: Vec::with_capacity(MAX_BURST) })
    }

    /// Puts `buffers` into the ring.
    pub(super) fn lend<'a>(&mut self, buffers: impl Iterator<Item = &'a mut [u8]>) {
        self.lent.clear();
        for (position, buffer) in (0..).zip(buffers) {
            self.describe(position, (buffer.as_mut_ptr(), buffer.len()));
            self.lent.push((buffer.as_mut_ptr(), buffer.len()));
        }
        self.publish(self.lent.len() as u16);
    }

    /// Takes what was lent out of the ring again, of which the first `used` have been used: no descriptor outlives a loan.
    pub(super) fn withdraw(&mut self, used: usize) {
        for position in 0..self.lent.len() as u16 {
            self.describe(position, (std::ptr::null_mut(), 0));
        }
        self.lent.clear();
        self.head = self.head.wrapping_add(used as u16);
        self.publish(0);
    }

    /// The first `len` bytes of the buffer at `position`.
    pub(super) fn filled(&self, position: usize, len: usize) -> Option<&[u8]> {
        let (at, capacity) = *self.lent.get(position)?;
        // SAFETY: the buffer is lent, so it is borrowed exclusively by the caller of `receive_many` until after `withdraw`;
        // the kernel has ended writing to it, since it has posted its completion.
        (len <= capacity).then(|| unsafe { std::slice::from_raw_parts(at, len) })
    }

    fn describe(&mut self, position: u16, (at, len): (*mut u8, usize)) {
        let index = usize::from(self.head.wrapping_add(position)) % DESCRIPTORS;
        // SAFETY: the mapping has DESCRIPTORS entries, and the index is smaller.
        let entry = unsafe { self.descriptors.as_mut_ptr().cast::<BufRingEntry>().add(index) };
        // SAFETY: the mapping is aligned for its entries, all of whose bits may be anything. No request is running, so the
        // kernel does not read it.
        let entry = unsafe { &mut *entry };
        entry.set_addr(at as u64);
        entry.set_len(u32::try_from(len).unwrap_or(u32::MAX));
        entry.set_bid(position);
    }

    /// Lets the kernel see `count` buffers from the head on.
    fn publish(&mut self, count: u16) {
        // SAFETY: the base of the mapping is that of the ring.
        let tail = unsafe { BufRingEntry::tail(self.descriptors.as_ptr().cast()) };
        // SAFETY: the tail is a u16 within the mapping, aligned, and shared with nobody but the kernel.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: pairs with the kernel's acquire of the tail, before which it reads no descriptor.
        tail.store(self.head.wrapping_add(count), Ordering::Release);
    }
}

/// The group of buffers that multishot receives name.
pub(super) const BUFFER_GROUP: u16 = 0;
/// A power of two that is larger than a burst, so that an empty ring and a full one differ.
const DESCRIPTORS: usize = 64;
const _: () = assert!(DESCRIPTORS > MAX_BURST && DESCRIPTORS.is_power_of_two());
