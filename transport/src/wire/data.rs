//! Data frames: messages and parts of messages, one after the other in a block.
//!
//! ```text
//!  0               1               2
//! +---+---+-------+---------------+---------------+
//! |beg|end| type  |0|   length    |                       length < 128
//! +---+---+-------+---------------+---------------+
//! |beg|end| type  |1|    length (15 bits, high first)     otherwise
//! +---+---+-------+-+-----------------------------+
//! ```
//! A whole message has both `begin` and `end`. The first part of a longer one is followed by its total length (u32), and
//! continues as the first frame of the next block.

use super::Malformed;

/// The most bytes that a frame adds to its payload.
pub const MAX_FRAME_OVERHEAD: usize = 3 + TOTAL_LEN;

const TYPE_MESSAGE: u8 = 1;
const TYPE_MASK: u8 = 0x0f;
const BEGIN: u8 = 0x80;
const END: u8 = 0x40;
const LONG: u8 = 0x80;
const SHORT_MAX: usize = 0x7f;
const LONG_MAX: usize = 0x7fff;
const TOTAL_LEN: usize = 4;

/// Which part of a message a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first part of a message of `total` bytes.
    First {
        /// Bytes of the whole message.
        total: u32,
    },
    /// One in the middle.
    Middle,
    /// The last one.
    Last,
}

/// One frame and its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataFrame<'a> {
    /// Which part of a message it is.
    pub part: Part,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// Bytes that a frame takes for `len` bytes of payload.
#[must_use]
#[inline]
pub const fn frame_len(part: Part, len: usize) -> usize {
    let length_bytes = if len <= SHORT_MAX { 1 } else { 2 };
    let total_bytes = if matches!(part, Part::First { .. }) { TOTAL_LEN } else { 0 };
    1 + length_bytes + total_bytes + len
}

/// Writes the head of a frame for `len` bytes at the beginning of `out` and returns the place for its payload.
///
/// # Panics
/// When `out` is shorter than [`frame_len`] or `len` beyond 32 767: our own fault.
#[inline]
pub fn write_frame(out: &mut [u8], part: Part, len: usize) -> &mut [u8] {
    debug_assert!(len <= LONG_MAX);
    let flags = match part {
        Part::Whole => BEGIN | END,
        Part::First { .. } => BEGIN,
        Part::Middle => 0,
        Part::Last => END,
    };
    out[0] = TYPE_MESSAGE | flags;
    let mut at = 2;
    if len <= SHORT_MAX {
        out[1] = len as u8;
    } else {
        out[1] = LONG | (len >> 8) as u8;
        out[2] = len as u8;
        at = 3;
    }
    if let Part::First { total } = part {
        out[at..at + TOTAL_LEN].copy_from_slice(&total.to_le_bytes());
        at += TOTAL_LEN;
    }
    &mut out[at..at + len]
}

/// Walks the data frames of a block.
#[derive(Debug, Clone, Copy)]
pub struct DataFrames<'a> {
    rest: &'a [u8],
}

impl<'a> DataFrames<'a> {
    /// Over the data part of a block, or what is left of it from a frame's beginning on.
    #[must_use]
    pub fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    /// Bytes that are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next frame, if there is one.
    ///
    /// # Errors
    /// When it does not fit in the block, or is of an unknown type.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<DataFrame<'a>>, Malformed> {
        let &[tag, length, ref rest @ ..] = self.rest else {
            return if self.rest.is_empty() { Ok(None) } else { Err(Malformed::Frame) };
        };
        if tag & !(BEGIN | END) != TYPE_MESSAGE {
            return Err(Malformed::Frame);
        }
        let (len, rest) = if length & LONG == 0 {
            (length as usize, rest)
        } else {
            let (&low, rest) = rest.split_first().ok_or(Malformed::Frame)?;
            (((length & !LONG) as usize) << 8 | low as usize, rest)
        };
        let (part, rest) = match tag & (BEGIN | END) {
            0 => (Part::Middle, rest),
            END => (Part::Last, rest),
            BEGIN => {
                let (total, rest) = rest.split_first_chunk::<TOTAL_LEN>().ok_or(Malformed::Frame)?;
                (Part::First { total: u32::from_le_bytes(*total) }, rest)
            }
            _ => (Part::Whole, rest),
        };
        let (bytes, rest) = rest.split_at_checked(len).ok_or(Malformed::Frame)?;
        self.rest = rest;
        Ok(Some(DataFrame { part, bytes }))
    }
}

const _: () = assert!(TYPE_MESSAGE & !TYPE_MASK == 0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_vectors() {
        let mut out = [0; 300];
        write_frame(&mut out, Part::Whole, 3).copy_from_slice(b"abc");
        assert_eq!(&out[..5], b"\xc1\x03abc");
        write_frame(&mut out, Part::First { total: 0x0102_0304 }, 2).copy_from_slice(b"xy");
        assert_eq!(&out[..8], b"\x81\x02\x04\x03\x02\x01xy");
        write_frame(&mut out, Part::Last, 200).fill(7);
        assert_eq!(&out[..4], b"\x41\x80\xc8\x07");
    }

    #[test]
    fn what_is_written_is_read_back_at_every_length_boundary() {
        let mut out = vec![0; 33_000];
        for part in [Part::Whole, Part::First { total: 99 }, Part::Middle, Part::Last] {
            for len in [0, 1, 126, 127, 128, 129, 255, 256, 1375, 32_766, 32_767] {
                write_frame(&mut out, part, len).fill(len as u8);
                let end = frame_len(part, len);
                let mut frames = DataFrames::new(&out[..end]);
                let frame = frames.next_frame().unwrap().unwrap();
                assert_eq!((frame.part, frame.bytes.len()), (part, len));
                assert!(frame.bytes.iter().all(|&byte| byte == len as u8));
                assert_eq!(frames.next_frame(), Ok(None));
                let mut cut = DataFrames::new(&out[..end - 1]);
                assert!(end == 1 || cut.next_frame() == Err(Malformed::Frame));
            }
        }
    }
}
