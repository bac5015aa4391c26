//! The sender's log: a ring of blocks of one stride, claimed and written in place.
//!
//! It is batch buffer, send buffer and retransmission buffer at once. Blocks are numbered from the start of the view:
//!
//! ```text
//!   retained ......... oldest ............ open
//!   | may be repaired  | sealed, window | being written |
//! ```
//! Consecutive full blocks lie next to each other, so that one segmentation-offload send carries a run of them.

use crate::id::Seq;
use crate::wire::{ControlWriter, HEADER_LEN, Header, NO_FIRST, Part, frame_len, write_frame};
use memmap2::{Advice, MmapMut};

/// A ring of blocks. It knows nothing of windows: its owner asks [`is_writable`](Self::is_writable) first.
#[derive(Debug)]
pub struct SendLog {
    memory: MmapMut,
    stride: usize,
    mask: u64,
    sealed: Vec<Sealed>,
    template: Header,
    check_payload: bool,
    start: Seq,
    oldest: Seq,
    open: Seq,
    /// Where the open block begins in the mapping.
    base: usize,
    /// Write position in the open block, and where its data must end: what follows is reserved for the trailer. Before
    /// the block is [begun](Self::begin) there is no room in it.
    at: usize,
    limit: usize,
    first: u16,
}

/// The memory of a log that is not used any more, for another one: mapping it costs more than a view change may take.
#[derive(Debug)]
pub struct LogMemory {
    memory: MmapMut,
    sealed: Vec<Sealed>,
}

/// What is remembered of a sealed block.
#[derive(Debug, Clone, Copy, Default)]
struct Sealed {
    /// Bytes that count.
    used: u16,
    /// Its padding is zeroed, so that it may stand in the middle of a run.
    full: bool,
    /// What ordering layers say of it.
    order: u8,
}

impl SendLog {
    /// An empty log of `blocks` blocks (a power of two) of `stride` bytes, numbered from `start` on, whose headers follow
    /// `template`.
    ///
    /// # Errors
    /// When the system has not that much memory.
    pub fn new(
        blocks: usize,
        stride: usize,
        start: Seq,
        template: Header,
        check_payload: bool,
    ) -> std::io::Result<Self> {
        Self::in_memory(None, blocks, stride, start, template, check_payload)
    }

    /// As [`new`](Self::new), in the memory of another log where that has the same size.
    ///
    /// # Errors
    /// Likewise.
    pub fn in_memory(
        memory: Option<LogMemory>,
        blocks: usize,
        stride: usize,
        start: Seq,
        template: Header,
        check_payload: bool,
    ) -> std::io::Result<Self> {
        assert!(blocks.is_power_of_two() && stride > HEADER_LEN && u16::try_from(stride).is_ok());
        let fits = |old: &LogMemory| old.memory.len() == blocks * stride && old.sealed.len() == blocks;
        let LogMemory { memory, sealed } = match memory.filter(fits) {
            Some(memory) => memory,
            None => LogMemory::new(blocks, stride)?,
        };
        Ok(Self {
            memory,
            stride,
            mask: blocks as u64 - 1,
            sealed,
            template,
            check_payload,
            start,
            oldest: start,
            open: start,
            base: (start.0 & (blocks as u64 - 1)) as usize * stride,
            at: HEADER_LEN,
            limit: HEADER_LEN,
            first: NO_FIRST,
        })
    }

    /// Its memory, for another log.
    #[must_use]
    pub fn into_memory(self) -> LogMemory {
        LogMemory { memory: self.memory, sealed: self.sealed }
    }

    /// The oldest block that its owner has not released; equal to [`open`](Self::open) when there is none.
    #[must_use]
    pub fn oldest(&self) -> Seq {
        self.oldest
    }

    /// The oldest block that can still be sent again: a released one stays until its place is needed.
    #[must_use]
    pub fn retained(&self) -> Seq {
        // The open block takes the place of the one a whole ring before it, once that is released.
        Seq((self.open.0 + 1).saturating_sub(self.capacity())).max(self.start).min(self.oldest)
    }

    /// The block that is being written: everything before it is sealed.
    #[must_use]
    pub fn open(&self) -> Seq {
        self.open
    }

    /// Blocks that the ring has.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.mask + 1
    }

    /// Whether a message has been written into the open block.
    #[must_use]
    pub fn is_open_empty(&self) -> bool {
        self.at == HEADER_LEN
    }

    /// Whether the open block has its place in the ring, or still waits for the oldest one to be released.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.open.since(self.oldest) <= self.mask
    }

    /// Bytes that frames may still take in the open block.
    #[must_use]
    #[inline]
    pub fn room(&self) -> usize {
        self.limit - self.at
    }

    /// The most bytes that frames can take in one block.
    #[must_use]
    pub fn block_room(&self) -> usize {
        self.stride - HEADER_LEN
    }

    /// Bytes of a block.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Makes the open block ready to be written, with `reserve` bytes kept free for its trailer.
    pub fn begin(&mut self, reserve: usize) {
        debug_assert!(self.is_open_empty() && self.is_writable());
        self.limit = self.stride - reserve;
    }

    /// Leaves no more room in the open block, whatever is free in it.
    pub fn shut(&mut self) {
        self.limit = self.at;
    }

    /// Claims a frame in the open block and returns the place for its payload.
    ///
    /// # Panics
    /// When it does not fit: the owner looks at [`room`](Self::room) first.
    #[inline]
    pub fn claim(&mut self, part: Part, len: usize) -> &mut [u8] {
        debug_assert!(self.is_writable());
        if self.first == NO_FIRST && matches!(part, Part::Whole | Part::First { .. }) {
            self.first = self.at as u16;
        }
        let start = self.base + self.at;
        let frame = frame_len(part, len);
        assert!(frame <= self.room(), "a frame was claimed that does not fit");
        self.at += frame;
        write_frame(&mut self.memory[start..start + frame], part, len)
    }

    /// Closes the open block with the control frames that `trailer` writes into the room that is left; it returns the block's
    /// order flags.
    ///
    /// A `full` block may be followed by others in one run: its padding is zeroed, nothing old leaves the process in it.
    pub fn seal(&mut self, full: bool, trailer: impl FnOnce(&mut ControlWriter<'_>) -> u8) {
        debug_assert!(self.is_writable());
        let slot = self.slot(self.open);
        let block = &mut self.memory[self.base..self.base + self.stride];
        let mut writer = ControlWriter::new(&mut block[self.at..]);
        let order = trailer(&mut writer);
        let used = self.at + writer.written();
        if full {
            block[used..].fill(0);
        }
        let header = Header {
            seq: self.open.0 as u32,
            first: self.first,
            trailer: self.at as u16,
            used: used as u16,
            order,
            ..self.template
        };
        header.encode(block, self.check_payload);
        self.sealed[slot] = Sealed { used: used as u16, full, order };
        self.open = self.open.plus(1);
        self.base = self.slot(self.open) * self.stride;
        (self.at, self.limit, self.first) = (HEADER_LEN, HEADER_LEN, NO_FIRST);
    }

    /// How many blocks from `first` on, before `end`, one send can carry: contiguous in the ring, all but the last full.
    #[must_use]
    pub fn run_len(&self, first: Seq, end: Seq, max_blocks: usize, max_bytes: usize) -> u32 {
        debug_assert!(self.retained() <= first && first < end && end <= self.open);
        let slot = self.slot(first);
        let contiguous = self.sealed.len() - slot;
        let limit =
            contiguous.min(max_blocks).min(max_bytes / self.stride).min(end.since(first) as usize).max(1);
        let full = self.sealed[slot..slot + limit - 1].iter().take_while(|block| block.full).count();
        full as u32 + 1
    }

    /// The bytes of a run as measured by [`run_len`](Self::run_len), or nothing when it has been written over meanwhile.
    #[must_use]
    pub fn run(&self, first: Seq, count: u32) -> &[u8] {
        if first < self.retained() {
            return &[];
        }
        let slot = self.slot(first);
        let last = slot + count as usize - 1;
        &self.memory[slot * self.stride..last * self.stride + self.sealed[last].used as usize]
    }

    /// The bytes of one block that was sealed and has not been written over.
    #[must_use]
    pub fn sealed(&self, seq: Seq) -> Option<&[u8]> {
        (self.retained() <= seq && seq < self.open).then(|| self.run(seq, 1))
    }

    /// Bytes of one block that count.
    #[must_use]
    pub fn used(&self, seq: Seq) -> usize {
        self.sealed[self.slot(seq)].used as usize
    }

    /// What ordering layers say of one block.
    #[must_use]
    pub fn order(&self, seq: Seq) -> u8 {
        self.sealed[self.slot(seq)].order
    }

    /// Frees every block before `to`.
    pub fn release(&mut self, to: Seq) {
        debug_assert!(to <= self.open);
        self.oldest = self.oldest.max(to);
    }

    fn slot(&self, seq: Seq) -> usize {
        (seq.0 & self.mask) as usize
    }
}

impl LogMemory {
    fn new(blocks: usize, stride: usize) -> std::io::Result<Self> {
        let memory = MmapMut::map_anon(blocks * stride)?;
        // Advice only: without huge pages everything works, slower.
        let _ = memory.advise(Advice::HugePage);
        Ok(Self { memory, sealed: vec![Sealed::default(); blocks] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{GroupId, GroupInstance, Rank, ViewNumber};
    use crate::wire::{DataFrames, HEARTBEAT_FRAME_LEN, Kind};

    fn log(blocks: usize, stride: usize) -> SendLog {
        let template = Header::new(Kind::Data, GroupId(1), GroupInstance(2), ViewNumber(3), Rank(4));
        SendLog::new(blocks, stride, Seq(0), template, false).unwrap()
    }

    fn put(log: &mut SendLog, bytes: &[u8]) {
        if log.is_open_empty() {
            log.begin(0);
        }
        log.claim(Part::Whole, bytes.len()).copy_from_slice(bytes);
    }

    #[test]
    fn messages_are_read_back_from_the_run_they_were_written_into() {
        let mut log = log(8, 128);
        for block in 0..3u8 {
            put(&mut log, &[block; 40]);
            put(&mut log, &[block; 40]);
            log.seal(block < 2, |_| 0);
        }
        assert_eq!(log.run_len(Seq(0), log.open(), 64, 65_000), 3);
        let run = log.run(Seq(0), 3);
        assert_eq!(run.len(), 2 * 128 + 32 + 2 * 42);
        for (at, block) in run.chunks(128).enumerate() {
            let header = Header::decode(block).unwrap();
            assert_eq!((header.seq, header.first), (at as u32, 32));
            let mut frames = DataFrames::new(header.data(block));
            for _ in 0..2 {
                assert_eq!(frames.next_frame().unwrap().unwrap().bytes, [at as u8; 40]);
            }
            assert!(frames.is_empty());
        }
    }

    #[test]
    fn a_log_in_the_memory_of_another_begins_empty_and_leaks_nothing_of_it() {
        let mut old = log(8, 128);
        (0..8).for_each(|_| {
            put(&mut old, &[7; 90]);
            old.seal(true, |_| 0);
        });
        let place = old.memory.as_ptr();
        let template = Header::new(Kind::Data, GroupId(1), GroupInstance(2), ViewNumber(4), Rank(0));
        let mut new = SendLog::in_memory(Some(old.into_memory()), 8, 128, Seq(50), template, false).unwrap();
        assert_eq!(new.memory.as_ptr(), place, "nothing was mapped");
        assert_eq!((new.oldest(), new.open(), new.sealed(Seq(49))), (Seq(50), Seq(50), None));
        put(&mut new, &[1; 10]);
        new.seal(true, |_| 0);
        put(&mut new, &[1; 10]);
        new.seal(false, |_| 0);
        assert!(!new.run(Seq(50), 2).contains(&7), "bytes of the old log leave the process");
        let other = SendLog::in_memory(Some(new.into_memory()), 16, 128, Seq(0), template, false).unwrap();
        assert_eq!(other.capacity(), 16, "another size has memory of its own");
    }

    #[test]
    fn a_run_ends_at_a_short_block_at_the_end_of_the_ring_and_at_every_limit() {
        let mut log = log(4, 128);
        for block in 0..4 {
            put(&mut log, &[1; 80]);
            log.seal(block != 1, |_| 0);
        }
        assert!(!log.is_writable());
        assert_eq!(log.run_len(Seq(0), Seq(4), 64, 65_000), 2, "block 1 is short");
        assert_eq!(log.run_len(Seq(0), Seq(4), 1, 65_000), 1);
        assert_eq!(log.run_len(Seq(2), Seq(4), 64, 128), 1);
        log.release(Seq(3));
        for _ in 0..2 {
            put(&mut log, &[1; 80]);
            log.seal(true, |_| 0);
        }
        assert_eq!(log.run_len(Seq(3), Seq(6), 64, 65_000), 1, "the ring ends after block 3");
        assert_eq!(log.run_len(Seq(4), Seq(6), 64, 65_000), 2);
        assert!(log.run(Seq(2), 1).is_empty(), "written over");
        log.release(Seq(6));
        assert_eq!(log.retained(), Seq(3));
        assert_eq!(log.run_len(Seq(3), Seq(4), 64, 65_000), 1, "released, and still there");
    }

    #[test]
    fn padding_carries_nothing_of_an_earlier_lap() {
        let mut log = log(1, 256);
        put(&mut log, &[0xee; 200]);
        log.seal(true, |_| 0);
        log.release(Seq(1));
        put(&mut log, &[1; 10]);
        log.seal(true, |_| 0);
        assert!(!log.memory.contains(&0xee));
    }

    #[test]
    fn a_reserve_is_kept_for_the_trailer() {
        let mut log = log(2, 128);
        assert_eq!(log.room(), 0, "not begun");
        log.begin(HEARTBEAT_FRAME_LEN);
        assert_eq!(log.room(), 128 - 32 - HEARTBEAT_FRAME_LEN);
        let len = log.room() - 2;
        log.claim(Part::Whole, len).fill(5);
        log.seal(true, |writer| {
            let heartbeat = crate::wire::Heartbeat { next: Seq(1), stable: Seq(0), delivered: Seq(0) };
            assert!(writer.heartbeat(heartbeat));
            0
        });
        assert_eq!(log.used(Seq(0)), 128);
    }
}
