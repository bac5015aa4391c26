//! What a message of the feed looks like in the group.
//!
//! ```text
//!   number u64 | sent u64 | 1 | the message          number counts from 0: what is there by then
//!   number u64 | sent u64 | 0                        that many were all
//! ```

/// A frame as it is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) number: u64,
    pub(super) sent_ns: u64,
    /// The end when absent.
    pub(super) message: Option<&'a [u8]>,
}

impl<'a> Frame<'a> {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.sent_ns.to_le_bytes());
        out.push(u8::from(self.message.is_some()));
        out.extend_from_slice(self.message.unwrap_or_default());
    }

    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (number, rest) = bytes.split_first_chunk()?;
        let (sent, rest) = rest.split_first_chunk()?;
        let message = match rest.split_first()? {
            (1, message) => Some(message),
            (0, []) => None,
            _ => return None,
        };
        Some(Self { number: u64::from_le_bytes(*number), sent_ns: u64::from_le_bytes(*sent), message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        for message in [Some(&b"abc"[..]), Some(b""), None] {
            let frame = Frame { number: 7, sent_ns: 9, message };
            frame.write(&mut out);
            assert_eq!(Frame::read(&out), Some(frame));
        }
        assert_eq!(Frame::read(&[0; 16]), None);
        assert_eq!(Frame::read(&[0; 18]), None);
    }
}
