//! What the demo casts: a capture's message behind its scheduled send time, and the end of the stream.
//!
//! ```text
//!  0       1                               9
//! +-------+-------------------------------+- - - - - - - - - - - - -+----------------------- - -
//! | kind  | kind 1: scheduled send time   | messages handed, 4 each | the capture's message
//! |       | kind 2: messages before it    | nothing                 | nothing
//! +-------+-------------------------------+- - - - - - - - - - - - -+----------------------- - -
//! ```
//! Little-endian; the time is CLOCK_MONOTONIC in nanoseconds, which all processes of a host share. Where there are several
//! publishers, each says how many messages of each of them it had been handed, or had cast, before this one.

/// A message of the demo's group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A message of the capture.
    Data { scheduled_ns: u64, handed: Handed<'a>, message: &'a [u8] },
    /// The stream is over; so many messages came before.
    End { messages: u64 },
}

/// How many messages of each publisher came before; empty where there is only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Handed<'a>(pub(super) &'a [u8]);

impl Handed<'_> {
    /// The numbers, by rank of the publisher.
    pub(super) fn counts(self) -> impl Iterator<Item = u32> {
        self.0.as_chunks::<4>().0.iter().map(|count| u32::from_le_bytes(*count))
    }
}

/// Writes a message of the capture into `buffer`, which is cleared first; `handed` is empty where there is only one publisher.
pub(super) fn write_data(buffer: &mut Vec<u8>, scheduled_ns: u64, handed: &[u32], message: &[u8]) {
    write_head(buffer, DATA, scheduled_ns);
    if handed.len() > 1 {
        handed.iter().for_each(|count| buffer.extend_from_slice(&count.to_le_bytes()));
    }
    buffer.extend_from_slice(message);
}

/// Writes the end of a stream of so many messages into `buffer`, which is cleared first.
pub(super) fn write_end(buffer: &mut Vec<u8>, messages: u64) {
    write_head(buffer, END, messages);
}

fn write_head(buffer: &mut Vec<u8>, kind: u8, word: u64) {
    buffer.clear();
    buffer.push(kind);
    buffer.extend_from_slice(&word.to_le_bytes());
}

impl<'a> Frame<'a> {
    /// Reads a frame of one of so many publishers; `None` when nobody of this demo wrote it.
    pub(super) fn read(bytes: &'a [u8], publishers: usize) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        let (word, rest) = rest.split_first_chunk::<8>()?;
        let word = u64::from_le_bytes(*word);
        match kind {
            DATA => {
                let counts = if publishers > 1 { 4 * publishers } else { 0 };
                let (handed, message) = rest.split_at_checked(counts)?;
                Some(Self::Data { scheduled_ns: word, handed: Handed(handed), message })
            }
            END if rest.is_empty() => Some(Self::End { messages: word }),
            _ => None,
        }
    }
}

/// Bytes in front of a message of a single publisher.
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
        for (scheduled_ns, message) in [(u64::MAX, &b"x"[..]), (0, b"")] {
            write_data(&mut buffer, scheduled_ns, &[9], message);
            let alone = Frame::Data { scheduled_ns, handed: Handed(&[]), message };
            assert_eq!(Frame::read(&buffer, 1), Some(alone));
            write_data(&mut buffer, scheduled_ns, &[1, 2], message);
            let Some(Frame::Data { handed, message: read, .. }) = Frame::read(&buffer, 2) else { panic!() };
            assert_eq!((handed.counts().collect::<Vec<_>>(), read), (vec![1, 2], message));
        }
        write_end(&mut buffer, 7);
        assert_eq!((Frame::read(&buffer, 2), buffer.len()), (Some(Frame::End { messages: 7 }), HEADER));
    }

    #[test]
    fn foreign_bytes_are_no_frame() {
        for foreign in
            [&b""[..], b"\x01", b"\x01\0\0\0\0\0\0\0", &[0; HEADER], &[3; HEADER], &[END; HEADER + 1]]
        {
            assert_eq!(Frame::read(foreign, 1), None);
        }
        assert_eq!(Frame::read(&[DATA; HEADER + 7], 2), None, "two counts have 8 bytes");
    }
}
