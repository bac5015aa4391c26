//! What the demo casts: a capture's message behind its scheduled send time, and the end of the stream.
//!
//! ```text
//!  0       1                               9
//! +-------+-------------------------------+----------------------- - -
//! | kind  | kind 1: scheduled send time   | the capture's message
//! |       | kind 2: messages before it    | nothing
//! +-------+-------------------------------+----------------------- - -
//! ```
//! Little-endian; the time is CLOCK_MONOTONIC in nanoseconds, which all processes of a host share.

/// A message of the demo's group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A message of the capture.
    Data { scheduled_ns: u64, message: &'a [u8] },
    /// The stream is over; so many messages came before.
    End { messages: u64 },
}

impl<'a> Frame<'a> {
    /// Writes the frame into `buffer`, which is cleared first.
    pub(super) fn write(self, buffer: &mut Vec<u8>) {
        let (kind, word, message) = match self {
            Self::Data { scheduled_ns, message } => (DATA, scheduled_ns, message),
            Self::End { messages } => (END, messages, &[][..]),
        };
        buffer.clear();
        buffer.push(kind);
        buffer.extend_from_slice(&word.to_le_bytes());
        buffer.extend_from_slice(message);
    }

    /// Reads a frame; `None` when nobody of this demo wrote it.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        let (word, message) = rest.split_first_chunk::<8>()?;
        let word = u64::from_le_bytes(*word);
        match kind {
            DATA => Some(Self::Data { scheduled_ns: word, message }),
            END if message.is_empty() => Some(Self::End { messages: word }),
            _ => None,
        }
    }
}

/// Bytes in front of a message.
#[cfg(test)]
const HEADER: usize = 9;
const DATA: u8 = 1;
const END: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let mut buffer = b"old".to_vec();
        let frames = [
            Frame::Data { scheduled_ns: u64::MAX, message: b"x" },
            Frame::Data { scheduled_ns: 0, message: b"" },
        ];
        for frame in frames.into_iter().chain([Frame::End { messages: 7 }]) {
            frame.write(&mut buffer);
            assert_eq!(Frame::read(&buffer), Some(frame));
        }
        assert_eq!(buffer.len(), HEADER);
    }

    #[test]
    fn foreign_bytes_are_no_frame() {
        for foreign in
            [&b""[..], b"\x01", b"\x01\0\0\0\0\0\0\0", &[0; HEADER], &[3; HEADER], &[END; HEADER + 1]]
        {
            assert_eq!(Frame::read(foreign), None);
        }
    }
}
