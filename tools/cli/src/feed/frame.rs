//! What the feed casts: each message behind its number, and at last the end with the digest of all.
//!
//! ```text
//!  0       1                               9
//! +-------+-------------------------------+----------------------- - -
//! | kind  | kind 1: the message's number  | the message
//! |       | others: messages before it    | 64 hex digits: the digest of all messages
//! +-------+-------------------------------+----------------------- - -
//! ```
//! Little-endian. By its number a late subscriber knows where it came in, and everybody that nothing is missing.

/// A message of the feed's group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A message of the input; numbers count from 0.
    Data { number: u64, message: &'a [u8] },
    /// The stream is over; so many messages came before.
    End { ending: Ending, messages: u64, hash: &'a str },
}

/// Why a stream is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The input is at its end.
    Complete,
    /// Whoever started the publisher has interrupted it.
    Interrupted,
    /// The publisher cannot go on: its input is bad, or a subscriber is silent.
    BrokenOff,
}

impl<'a> Frame<'a> {
    /// Writes the frame into `buffer`, which is cleared first.
    pub(super) fn write(self, buffer: &mut Vec<u8>) {
        let (kind, word, rest) = match self {
            Self::Data { number, message } => (DATA, number, message),
            Self::End { ending: Ending::Complete, messages, hash } => (COMPLETE, messages, hash.as_bytes()),
            Self::End { ending: Ending::Interrupted, messages, hash } => {
                (INTERRUPTED, messages, hash.as_bytes())
            }
            Self::End { ending: Ending::BrokenOff, messages, hash } => {
                (BROKEN_OFF, messages, hash.as_bytes())
            }
        };
        buffer.clear();
        buffer.push(kind);
        buffer.extend_from_slice(&word.to_le_bytes());
        buffer.extend_from_slice(rest);
    }

    /// Reads a frame; `None` when no publisher of a feed wrote it.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        let (word, rest) = rest.split_first_chunk::<8>()?;
        let word = u64::from_le_bytes(*word);
        let ending = match kind {
            DATA => return Some(Self::Data { number: word, message: rest }),
            COMPLETE => Ending::Complete,
            INTERRUPTED => Ending::Interrupted,
            BROKEN_OFF => Ending::BrokenOff,
            _ => return None,
        };
        let hash = std::str::from_utf8(rest).ok().filter(|hash| hash.len() == HASH_DIGITS)?;
        Some(Self::End { ending, messages: word, hash })
    }
}

const HASH_DIGITS: usize = 64;
const DATA: u8 = 1;
const COMPLETE: u8 = 2;
const INTERRUPTED: u8 = 3;
const BROKEN_OFF: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let hash = &"a".repeat(HASH_DIGITS);
        let ends = [Ending::Complete, Ending::Interrupted, Ending::BrokenOff].map(|ending| Frame::End {
            ending,
            messages: 7,
            hash,
        });
        let data = [Frame::Data { number: u64::MAX, message: b"x" }, Frame::Data { number: 0, message: b"" }];
        let mut buffer = b"old".to_vec();
        for frame in data.into_iter().chain(ends) {
            frame.write(&mut buffer);
            assert_eq!(Frame::read(&buffer), Some(frame));
        }
    }

    #[test]
    fn foreign_bytes_are_no_frame() {
        for foreign in [&b""[..], b"\x01", b"\x01\0\0\0\0\0\0\0", &[0; 9], &[COMPLETE; 9], &[0xff; 73]] {
            assert_eq!(Frame::read(foreign), None);
        }
    }
}
