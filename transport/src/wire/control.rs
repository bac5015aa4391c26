//! Control frames: unsequenced, exempt from every window, in a block's trailer or in a block of their own.
//!
//! ```text
//! +---------------+---------------+---------------+---------------
//! |     type      |           length              | body ...
//! +---------------+---------------+---------------+---------------
//! heartbeat  next u64 | stable u64 | delivered u64
//! status     (rank u16 | received u64 | delivered u64)*
//! goodbye    end u64
//! nak        origin u16 | attempt u8 | (from u64 | count u32)*
//! fetch      as a nak, to one member that holds the blocks
//! chunk      id u32 | index u16 | count u16 | bytes
//! unavailable origin u16 | to u64
//! firm       to u64
//! order      (types 64 to 79) bytes of an ordering layer
//! setup      boot u64 | seen u64 | start u64 | receive buffer u32 | window u32 | block u16 | members u16 | list u32 | flags u8
//! ```

use super::{Malformed, u16_at, u32_at, u64_at};
use crate::id::{BootId, Rank, Seq};

/// The most ranges that one NAK carries: what fits in the smallest block that we allow.
pub const MAX_NAK_RANGES: usize = 32;
/// The most entries that one status frame carries, likewise.
pub const MAX_STATUS_ENTRIES: usize = 20;

const TYPE_HEARTBEAT: u8 = 1;
const TYPE_STATUS: u8 = 2;
const TYPE_NAK: u8 = 3;
const TYPE_SETUP: u8 = 4;
const TYPE_GOODBYE: u8 = 5;
const TYPE_FETCH: u8 = 6;
const TYPE_CHUNK: u8 = 7;
const TYPE_UNAVAILABLE: u8 = 8;
const TYPE_FIRM: u8 = 9;
/// The first and the last type that ordering layers share out among themselves.
const TYPE_ORDER: u8 = 0x40;
const TYPE_ORDER_LAST: u8 = 0x4f;
/// Bytes in front of the body of a frame.
pub const CONTROL_HEAD: usize = HEAD;
const HEAD: usize = 3;
const HEARTBEAT_LEN: usize = 24;
/// Bytes that a heartbeat takes in a trailer.
pub const HEARTBEAT_FRAME_LEN: usize = HEAD + HEARTBEAT_LEN;
/// Bytes that the largest status takes.
pub const MAX_STATUS_FRAME_LEN: usize = HEAD + MAX_STATUS_ENTRIES * STATUS_ENTRY_LEN;
/// Bytes that the largest NAK takes.
pub const MAX_NAK_FRAME_LEN: usize = HEAD + NAK_HEAD + MAX_NAK_RANGES * NAK_RANGE_LEN;
const STATUS_ENTRY_LEN: usize = 18;
const NAK_HEAD: usize = 3;
const NAK_RANGE_LEN: usize = 12;
const SETUP_LEN: usize = 41;
const GOODBYE_LEN: usize = 8;
const UNAVAILABLE_LEN: usize = 10;
const FIRM_LEN: usize = 8;
/// Bytes that it takes to say what is firm.
pub const FIRM_FRAME_LEN: usize = HEAD + FIRM_LEN;
const CHUNK_HEAD: usize = 8;
/// Bytes in front of what a chunk holds.
pub const CHUNK_OVERHEAD: usize = HEAD + CHUNK_HEAD;
const SETUP_COMPLETE: u8 = 1;
const SETUP_COALESCES: u8 = 2;
const SETUP_ROTATING: u8 = 4;

/// How far a sender has come: found by it, the loss of the last blocks is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// The sequence after the last block sent; in the trailer of a data block, that of the block itself.
    pub next: Seq,
    /// Everything before it is held by all members, and may be freed by those who have delivered it.
    pub stable: Seq,
    /// Everything before it has been delivered by all members, as far as the sender knows.
    pub delivered: Seq,
}

/// How far I have come in the stream of one sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusEntry {
    /// The sender.
    pub rank: Rank,
    /// I have received and hold everything before it.
    pub received: Seq,
    /// My application has been handed everything before it.
    pub delivered: Seq,
}

/// What is missing from one sender's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nak<'a> {
    /// Whose stream.
    pub origin: Rank,
    /// How often this was asked for before.
    pub attempt: u8,
    /// Which blocks.
    pub ranges: NakRanges<'a>,
}

/// Introduces a member to the others of its list before there is a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// My incarnation.
    pub boot: BootId,
    /// The incarnation that I know of the one whom I send this to; 0 when none.
    pub seen: BootId,
    /// The first sequence of my stream.
    pub start: Seq,
    /// My receive buffer in true-size bytes.
    pub receive_buffer: u32,
    /// Blocks of my send window.
    pub window: u32,
    /// Bytes of my blocks.
    pub block: u16,
    /// Length of my member list.
    pub members: u16,
    /// CRC32C of my member list.
    pub list: u32,
    /// What else is to be known.
    pub flags: SetupFlags,
}

/// The yes-or-no part of a [`Setup`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetupFlags {
    /// I have heard every member of my list.
    pub complete: bool,
    /// I receive coalesced runs in one buffer.
    pub coalesces: bool,
    /// Total order is found by turns, not by a token.
    pub rotating: bool,
}

/// The entries of a status frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusEntries<'a>(&'a [u8]);

/// The ranges of a NAK: (first sequence, count).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NakRanges<'a>(&'a [u8]);

/// How far its sender has come in the others' streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status<'a> {
    /// One for each stream of which there is news.
    pub entries: StatusEntries<'a>,
}

/// Says that its sender leaves: it gates nobody any more, and its stream has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goodbye {
    /// The sequence after the last block of the stream.
    pub end: Seq,
}

/// The answer to a reader who asks for what its sender has forgotten: nobody has it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable {
    /// Whose stream: the sender's own.
    pub origin: Rank,
    /// Blocks before it are gone.
    pub to: Seq,
}

/// How much of its sender's stream is held by enough members: no end of the view leaves it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Firm {
    /// Blocks before it are.
    pub to: Seq,
}

/// A piece of a message of agreement. All its pieces but the last are of one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The checksum of the whole message: what is said again completes what was lost of it.
    pub id: u32,
    /// Which piece, from 0.
    pub index: u16,
    /// Pieces of the message; more than `index`.
    pub count: u16,
    /// Never empty.
    pub bytes: &'a [u8],
}

/// Any control frame, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control<'a> {
    /// See [`Heartbeat`].
    Heartbeat(Heartbeat),
    /// See [`Status`].
    Status(Status<'a>),
    /// See [`Nak`].
    Nak(Nak<'a>),
    /// The same, asked of whoever is told of it: from all that it holds, it sends what is missing to the asker alone.
    Fetch(Nak<'a>),
    /// See [`Setup`].
    Setup(Setup),
    /// See [`Goodbye`].
    Goodbye(Goodbye),
    /// See [`Chunk`].
    Chunk(Chunk<'a>),
    /// See [`Unavailable`].
    Unavailable(Unavailable),
    /// See [`Firm`].
    Firm(Firm),
    /// A frame of an ordering layer. It counts in the order of its block's stream, and only there.
    Order {
        /// Which of its frames, 0 to 15.
        kind: u8,
        /// What the layer wrote.
        body: &'a [u8],
    },
}

/// Walks control frames.
#[derive(Debug, Clone, Copy)]
pub struct ControlFrames<'a> {
    rest: &'a [u8],
}

impl<'a> ControlFrames<'a> {
    /// Over the trailer of a block.
    #[must_use]
    pub fn new(trailer: &'a [u8]) -> Self {
        Self { rest: trailer }
    }

    /// The next frame, if there is one.
    ///
    /// # Errors
    /// When it does not fit, or is of an unknown type or length.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<Control<'a>>, Malformed> {
        if self.rest.is_empty() { Ok(None) } else { self.frame().map(Some) }
    }

    /// Out of line, so that the look for a next one, which mostly finds none, is in line.
    #[inline(never)]
    fn frame(&mut self) -> Result<Control<'a>, Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<HEAD>().ok_or(Malformed::Frame)?;
        let (body, rest) = rest.split_at_checked(u16_at(head, 1) as usize).ok_or(Malformed::Frame)?;
        self.rest = rest;
        decode(head[0], body)
    }
}

fn decode(kind: u8, body: &[u8]) -> Result<Control<'_>, Malformed> {
    match kind {
        TYPE_HEARTBEAT if body.len() == HEARTBEAT_LEN => {
            let (next, stable, delivered) =
                (Seq(u64_at(body, 0)), Seq(u64_at(body, 8)), Seq(u64_at(body, 16)));
            if next > Seq::LIMIT || stable > next || delivered > stable {
                return Err(Malformed::Frame);
            }
            Ok(Control::Heartbeat(Heartbeat { next, stable, delivered }))
        }
        TYPE_GOODBYE if body.len() == GOODBYE_LEN && u64_at(body, 0) <= Seq::LIMIT.0 => {
            Ok(Control::Goodbye(Goodbye { end: Seq(u64_at(body, 0)) }))
        }
        TYPE_STATUS if body.len().is_multiple_of(STATUS_ENTRY_LEN) => {
            let entries = StatusEntries(body);
            let is_sound =
                |entry: StatusEntry| entry.delivered <= entry.received && entry.received <= Seq::LIMIT;
            if !entries.iter().all(is_sound) {
                return Err(Malformed::Frame);
            }
            Ok(Control::Status(Status { entries }))
        }
        TYPE_NAK | TYPE_FETCH
            if body.len() >= NAK_HEAD && (body.len() - NAK_HEAD).is_multiple_of(NAK_RANGE_LEN) =>
        {
            let ranges = NakRanges(&body[NAK_HEAD..]);
            if ranges.iter().any(|(from, _)| from > Seq::LIMIT) {
                return Err(Malformed::Frame);
            }
            let nak = Nak { origin: Rank(u16_at(body, 0)), attempt: body[2], ranges };
            Ok(if kind == TYPE_NAK { Control::Nak(nak) } else { Control::Fetch(nak) })
        }
        TYPE_SETUP if body.len() == SETUP_LEN && u64_at(body, 16) <= Seq::LIMIT.0 => {
            Ok(Control::Setup(Setup {
                boot: BootId(u64_at(body, 0)),
                seen: BootId(u64_at(body, 8)),
                start: Seq(u64_at(body, 16)),
                receive_buffer: u32_at(body, 24),
                window: u32_at(body, 28),
                block: u16_at(body, 32),
                members: u16_at(body, 34),
                list: u32_at(body, 36),
                flags: SetupFlags {
                    complete: body[40] & SETUP_COMPLETE != 0,
                    coalesces: body[40] & SETUP_COALESCES != 0,
                    rotating: body[40] & SETUP_ROTATING != 0,
                },
            }))
        }
        TYPE_CHUNK if body.len() > CHUNK_HEAD && u16_at(body, 4) < u16_at(body, 6) => {
            let (id, index, count) = (u32_at(body, 0), u16_at(body, 4), u16_at(body, 6));
            Ok(Control::Chunk(Chunk { id, index, count, bytes: &body[CHUNK_HEAD..] }))
        }
        TYPE_UNAVAILABLE if body.len() == UNAVAILABLE_LEN && u64_at(body, 2) <= Seq::LIMIT.0 => {
            Ok(Control::Unavailable(Unavailable { origin: Rank(u16_at(body, 0)), to: Seq(u64_at(body, 2)) }))
        }
        TYPE_FIRM if body.len() == FIRM_LEN && u64_at(body, 0) <= Seq::LIMIT.0 => {
            Ok(Control::Firm(Firm { to: Seq(u64_at(body, 0)) }))
        }
        TYPE_ORDER..=TYPE_ORDER_LAST => Ok(Control::Order { kind: kind - TYPE_ORDER, body }),
        _ => Err(Malformed::Frame),
    }
}

impl StatusEntries<'_> {
    /// The entries, in the order of the wire.
    pub fn iter(&self) -> impl Iterator<Item = StatusEntry> + '_ {
        self.0.chunks_exact(STATUS_ENTRY_LEN).map(|entry| StatusEntry {
            rank: Rank(u16_at(entry, 0)),
            received: Seq(u64_at(entry, 2)),
            delivered: Seq(u64_at(entry, 10)),
        })
    }
}

impl NakRanges<'_> {
    /// The ranges, in the order of the wire; none of them overflows.
    pub fn iter(&self) -> impl Iterator<Item = (Seq, u32)> + '_ {
        self.0.chunks_exact(NAK_RANGE_LEN).map(|range| (Seq(u64_at(range, 0)), u32_at(range, 8)))
    }
}

/// Writes control frames one after the other, as far as they fit.
#[derive(Debug)]
pub struct ControlWriter<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> ControlWriter<'a> {
    /// Into the room for a trailer.
    #[must_use]
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { out, at: 0 }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn written(&self) -> usize {
        self.at
    }

    /// Writes a heartbeat; `false` when it does not fit.
    pub fn heartbeat(&mut self, heartbeat: Heartbeat) -> bool {
        let Some(body) = self.begin(TYPE_HEARTBEAT, HEARTBEAT_LEN) else { return false };
        body[..8].copy_from_slice(&heartbeat.next.0.to_le_bytes());
        body[8..16].copy_from_slice(&heartbeat.stable.0.to_le_bytes());
        body[16..].copy_from_slice(&heartbeat.delivered.0.to_le_bytes());
        true
    }

    /// Writes as many entries as fit (at most [`MAX_STATUS_ENTRIES`]) and returns how many.
    pub fn status(&mut self, entries: impl Iterator<Item = StatusEntry>) -> usize {
        let start = self.at;
        let room = (self.out.len() - start).saturating_sub(HEAD) / STATUS_ENTRY_LEN;
        let mut written = 0;
        for entry in entries.take(room.min(MAX_STATUS_ENTRIES)) {
            let at = start + HEAD + written * STATUS_ENTRY_LEN;
            let out = &mut self.out[at..at + STATUS_ENTRY_LEN];
            out[..2].copy_from_slice(&entry.rank.0.to_le_bytes());
            out[2..10].copy_from_slice(&entry.received.0.to_le_bytes());
            out[10..].copy_from_slice(&entry.delivered.0.to_le_bytes());
            written += 1;
        }
        if written > 0 {
            self.begin(TYPE_STATUS, written * STATUS_ENTRY_LEN).expect("the room was counted");
        }
        written
    }

    /// Writes a NAK with as many ranges as fit (at most [`MAX_NAK_RANGES`]) and returns how many.
    pub fn nak(&mut self, origin: Rank, attempt: u8, ranges: impl Iterator<Item = (Seq, u32)>) -> usize {
        self.ranges(TYPE_NAK, origin, attempt, ranges)
    }

    /// Writes a fetch, as [`nak`](Self::nak) does a NAK.
    pub fn fetch(&mut self, origin: Rank, attempt: u8, ranges: impl Iterator<Item = (Seq, u32)>) -> usize {
        self.ranges(TYPE_FETCH, origin, attempt, ranges)
    }

    fn ranges(
        &mut self,
        kind: u8,
        origin: Rank,
        attempt: u8,
        ranges: impl Iterator<Item = (Seq, u32)>,
    ) -> usize {
        let start = self.at;
        let room = (self.out.len() - start).saturating_sub(HEAD + NAK_HEAD) / NAK_RANGE_LEN;
        let mut written = 0;
        for (from, count) in ranges.take(room.min(MAX_NAK_RANGES)) {
            let at = start + HEAD + NAK_HEAD + written * NAK_RANGE_LEN;
            self.out[at..at + 8].copy_from_slice(&from.0.to_le_bytes());
            self.out[at + 8..at + 12].copy_from_slice(&count.to_le_bytes());
            written += 1;
        }
        if written > 0 {
            let body = self.begin(kind, NAK_HEAD + written * NAK_RANGE_LEN).expect("the room was counted");
            body[..2].copy_from_slice(&origin.0.to_le_bytes());
            body[2] = attempt;
        }
        written
    }

    /// Writes a goodbye; `false` when it does not fit.
    pub fn goodbye(&mut self, goodbye: Goodbye) -> bool {
        let Some(body) = self.begin(TYPE_GOODBYE, GOODBYE_LEN) else { return false };
        body.copy_from_slice(&goodbye.end.0.to_le_bytes());
        true
    }

    /// Writes a chunk; `false` when it does not fit.
    pub fn chunk(&mut self, chunk: &Chunk<'_>) -> bool {
        debug_assert!(chunk.index < chunk.count && !chunk.bytes.is_empty());
        let Some(body) = self.begin(TYPE_CHUNK, CHUNK_HEAD + chunk.bytes.len()) else { return false };
        body[..4].copy_from_slice(&chunk.id.to_le_bytes());
        body[4..6].copy_from_slice(&chunk.index.to_le_bytes());
        body[6..8].copy_from_slice(&chunk.count.to_le_bytes());
        body[CHUNK_HEAD..].copy_from_slice(chunk.bytes);
        true
    }

    /// Writes that blocks are gone; `false` when it does not fit.
    pub fn unavailable(&mut self, unavailable: Unavailable) -> bool {
        let Some(body) = self.begin(TYPE_UNAVAILABLE, UNAVAILABLE_LEN) else { return false };
        body[..2].copy_from_slice(&unavailable.origin.0.to_le_bytes());
        body[2..].copy_from_slice(&unavailable.to.0.to_le_bytes());
        true
    }

    /// Writes what is firm; `false` when it does not fit.
    pub fn firm(&mut self, firm: Firm) -> bool {
        let Some(body) = self.begin(TYPE_FIRM, FIRM_LEN) else { return false };
        body.copy_from_slice(&firm.to.0.to_le_bytes());
        true
    }

    /// Writes a frame of an ordering layer, `kind` 0 to 15: `body` fills what is left and returns how much of it counts.
    /// Nothing is written when that is nothing.
    pub fn order(&mut self, kind: u8, body: impl FnOnce(&mut [u8]) -> usize) {
        debug_assert!(kind <= TYPE_ORDER_LAST - TYPE_ORDER);
        let Some(room) = self.out.get_mut(self.at + HEAD..) else { return };
        let len = body(room);
        if len > 0 {
            self.begin(TYPE_ORDER + kind, len).expect("it was written into the room");
        }
    }

    /// Writes a setup; `false` when it does not fit.
    pub fn setup(&mut self, setup: &Setup) -> bool {
        let Some(body) = self.begin(TYPE_SETUP, SETUP_LEN) else { return false };
        body[..8].copy_from_slice(&setup.boot.0.to_le_bytes());
        body[8..16].copy_from_slice(&setup.seen.0.to_le_bytes());
        body[16..24].copy_from_slice(&setup.start.0.to_le_bytes());
        body[24..28].copy_from_slice(&setup.receive_buffer.to_le_bytes());
        body[28..32].copy_from_slice(&setup.window.to_le_bytes());
        body[32..34].copy_from_slice(&setup.block.to_le_bytes());
        body[34..36].copy_from_slice(&setup.members.to_le_bytes());
        body[36..40].copy_from_slice(&setup.list.to_le_bytes());
        let complete = if setup.flags.complete { SETUP_COMPLETE } else { 0 };
        let coalesces = if setup.flags.coalesces { SETUP_COALESCES } else { 0 };
        let rotating = if setup.flags.rotating { SETUP_ROTATING } else { 0 };
        body[40] = complete | coalesces | rotating;
        true
    }

    fn begin(&mut self, kind: u8, len: usize) -> Option<&mut [u8]> {
        let frame = self.out.get_mut(self.at..self.at + HEAD + len)?;
        self.at += HEAD + len;
        frame[0] = kind;
        frame[1..HEAD].copy_from_slice(&(len as u16).to_le_bytes());
        Some(&mut frame[HEAD..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_vectors() {
        let mut out = [0; 64];
        let mut writer = ControlWriter::new(&mut out);
        assert!(writer.heartbeat(Heartbeat { next: Seq(0x0102), stable: Seq(3), delivered: Seq(2) }));
        assert_eq!(writer.written(), HEARTBEAT_FRAME_LEN);
        assert_eq!(&out[..19], b"\x01\x18\0\x02\x01\0\0\0\0\0\0\x03\0\0\0\0\0\0\0");
        assert_eq!(&out[19..27], b"\x02\0\0\0\0\0\0\0");
        let mut writer = ControlWriter::new(&mut out);
        assert_eq!(writer.nak(Rank(7), 2, [(Seq(9), 4)].into_iter()), 1);
        assert_eq!(&out[..18], b"\x03\x0f\0\x07\0\x02\x09\0\0\0\0\0\0\0\x04\0\0\0");
        let mut writer = ControlWriter::new(&mut out);
        assert!(writer.chunk(&Chunk { id: 0x0a0b_0c0d, index: 1, count: 0x0203, bytes: b"xyz" }));
        assert_eq!(&out[..14], b"\x07\x0b\0\x0d\x0c\x0b\x0a\x01\0\x03\x02xyz");
        let mut writer = ControlWriter::new(&mut out);
        assert!(writer.unavailable(Unavailable { origin: Rank(0x0102), to: Seq(0x0a0b) }));
        assert_eq!(&out[..13], b"\x08\x0a\0\x02\x01\x0b\x0a\0\0\0\0\0\0");
        let mut writer = ControlWriter::new(&mut out);
        assert!(writer.firm(Firm { to: Seq(0x0a0b) }));
        assert_eq!(&out[..FIRM_FRAME_LEN], b"\x09\x08\0\x0b\x0a\0\0\0\0\0\0");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = [0; 400];
        let heartbeat = Heartbeat { next: Seq::LIMIT, stable: Seq(5), delivered: Seq(4) };
        let entries = [1, 2].map(|at| StatusEntry {
            rank: Rank(at),
            received: Seq(90),
            delivered: Seq(80 + u64::from(at)),
        });
        let setup = Setup {
            boot: BootId(1),
            seen: BootId(2),
            start: Seq(3),
            receive_buffer: 4,
            window: 5,
            block: 6,
            members: 7,
            list: 8,
            flags: SetupFlags { complete: true, coalesces: false, rotating: true },
        };
        let mut writer = ControlWriter::new(&mut out);
        assert!(writer.heartbeat(heartbeat));
        assert_eq!(writer.status(entries.into_iter()), 2);
        assert_eq!(writer.nak(Rank(3), 1, [(Seq(4), 5), (Seq(40), 50)].into_iter()), 2);
        assert_eq!(writer.fetch(Rank(4), 9, [(Seq(6), 7)].into_iter()), 1);
        assert!(writer.setup(&setup));
        assert!(writer.goodbye(Goodbye { end: Seq(77) }));
        let chunk = Chunk { id: 5, index: 6, count: 7, bytes: b"eight" };
        assert!(writer.chunk(&chunk));
        let unavailable = Unavailable { origin: Rank(9), to: Seq::LIMIT };
        assert!(writer.unavailable(unavailable));
        assert!(writer.firm(Firm { to: Seq(66) }));
        let written = writer.written();
        let mut frames = ControlFrames::new(&out[..written]);
        assert_eq!(frames.next_frame(), Ok(Some(Control::Heartbeat(heartbeat))));
        let Ok(Some(Control::Status(status))) = frames.next_frame() else { panic!("a status") };
        assert!(status.entries.iter().eq(entries));
        let Ok(Some(Control::Nak(nak))) = frames.next_frame() else { panic!("a nak") };
        assert_eq!((nak.origin, nak.attempt), (Rank(3), 1));
        assert!(nak.ranges.iter().eq([(Seq(4), 5), (Seq(40), 50)]));
        let Ok(Some(Control::Fetch(fetch))) = frames.next_frame() else { panic!("a fetch") };
        assert_eq!((fetch.origin, fetch.attempt), (Rank(4), 9));
        assert!(fetch.ranges.iter().eq([(Seq(6), 7)]));
        assert_eq!(frames.next_frame(), Ok(Some(Control::Setup(setup))));
        assert_eq!(frames.next_frame(), Ok(Some(Control::Goodbye(Goodbye { end: Seq(77) }))));
        assert_eq!(frames.next_frame(), Ok(Some(Control::Chunk(chunk))));
        assert_eq!(frames.next_frame(), Ok(Some(Control::Unavailable(unavailable))));
        assert_eq!(frames.next_frame(), Ok(Some(Control::Firm(Firm { to: Seq(66) }))));
        assert_eq!(frames.next_frame(), Ok(None));
    }

    #[test]
    fn frames_that_do_not_fit_are_not_begun() {
        let entry = StatusEntry { rank: Rank(1), received: Seq(1), delivered: Seq(1) };
        for room in 0..80 {
            let mut out = vec![0; room];
            let mut writer = ControlWriter::new(&mut out);
            let fitted = writer.status(std::iter::repeat_n(entry, 9));
            assert_eq!(fitted, room.saturating_sub(HEAD) / STATUS_ENTRY_LEN);
            writer.heartbeat(Heartbeat { next: Seq(1), stable: Seq(1), delivered: Seq(1) });
            writer.nak(Rank(1), 0, [(Seq(1), 1)].into_iter());
            let written = writer.written();
            let mut frames = ControlFrames::new(&out[..written]);
            while frames.next_frame().expect("only whole frames").is_some() {}
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let mut out = [0; 64];
        let mut writer = ControlWriter::new(&mut out);
        assert!(writer.heartbeat(Heartbeat { next: Seq(3), stable: Seq(4), delivered: Seq(4) }));
        assert_eq!(writer.nak(Rank(1), 0, [(Seq(u64::MAX), 2)].into_iter()), 1);
        let written = writer.written();
        let mut frames = ControlFrames::new(&out[..written]);
        assert_eq!(frames.next_frame(), Err(Malformed::Frame));
        assert_eq!(frames.next_frame(), Err(Malformed::Frame));
    }

    #[test]
    fn a_chunk_is_one_of_its_message_and_not_empty() {
        let read = |body: &[u8]| {
            let frame = [&[TYPE_CHUNK, body.len() as u8, 0], body].concat();
            ControlFrames::new(&frame).next_frame().is_ok()
        };
        assert!(read(b"\0\0\0\0\0\0\x01\0x"));
        assert!(!read(b"\0\0\0\0\0\0\x01\0"), "empty");
        assert!(!read(b"\0\0\0\0\x01\0\x01\0x"), "the second of one");
        assert!(!read(b"\0\0\0\0\0\0\0\0x"), "one of none");
        assert!(!read(b"\0\0\0"), "no head");
    }

    #[test]
    fn sequences_beyond_the_limit_are_refused() {
        let (high, mut out) = (Seq::LIMIT.plus(1), [0; 64]);
        let mut refuses = |write: &dyn Fn(&mut ControlWriter<'_>)| {
            let mut writer = ControlWriter::new(&mut out);
            write(&mut writer);
            let written = writer.written();
            ControlFrames::new(&out[..written]).next_frame() == Err(Malformed::Frame)
        };
        assert!(refuses(&|writer| {
            writer.heartbeat(Heartbeat { next: high, stable: Seq(0), delivered: Seq(0) });
        }));
        assert!(refuses(&|writer| {
            writer.status(std::iter::once(StatusEntry { rank: Rank(1), received: high, delivered: Seq(0) }));
        }));
        assert!(refuses(&|writer| {
            writer.nak(Rank(1), 0, std::iter::once((high, 1)));
        }));
        assert!(refuses(&|writer| {
            writer.goodbye(Goodbye { end: high });
        }));
        assert!(refuses(&|writer| {
            writer.unavailable(Unavailable { origin: Rank(1), to: high });
        }));
        assert!(refuses(&|writer| {
            writer.firm(Firm { to: high });
        }));
    }
}
