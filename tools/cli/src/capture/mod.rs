//! Reads a capture: lines of a market feed or ITCH 5.0, packed by gzip or not, told apart by their content.
//!
//! A market line is `<receive time, decimal ns since 1970> <text>`, and the whole line without its line break is the
//! message. An ITCH message is a 2-byte big-endian length, then the message, whose bytes 5 to 10 are big-endian ns since
//! midnight. Both give each message its place in time relative to the first.
//!
//! [`Feed`] is a capture that is held whole; [`stream`] reads one as it comes.

mod instrument;
pub(crate) mod stream;

pub(crate) use instrument::instrument;

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use flate2::read::MultiGzDecoder;

/// A capture in memory: its messages and when each one came.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    began_ns: Option<u64>,
}

/// One message of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// Nanoseconds after the first message of the capture; 0 for one that was stamped earlier than the first.
    pub(crate) at_ns: u64,
    /// The message as it is published.
    pub(crate) bytes: &'a [u8],
}

/// Why a file is not a capture that can be published.
#[derive(Debug)]
pub(crate) enum FeedError {
    /// The file cannot be read.
    Io(std::io::Error),
    /// A folder, a pipe or a device: it cannot be read twice, by the publisher and by the judge.
    NotAFile,
    /// The gzip stream is damaged or cut off.
    Gzip(std::io::Error),
    /// There is not one message in it.
    Empty,
    /// The first byte is neither a digit nor the high byte of an ITCH length.
    UnknownFormat,
    /// A market line without a receive time, a space and a text; lines count from 1.
    Line { line: usize, why: &'static str },
    /// An ITCH message that is not one; the offset is that of its length, in the unpacked file.
    Itch { offset: usize, why: &'static str },
    /// A framed message that is cut off or too long; the offset is that of its length, in the unpacked input.
    Offset { offset: usize, why: &'static str },
}

#[derive(Debug, Clone)]
struct Entry {
    at_ns: u64,
    bytes: Range<usize>,
}

impl Feed {
    /// Reads the capture at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, FeedError> {
        if !std::fs::metadata(path).map_err(FeedError::Io)?.is_file() {
            return Err(FeedError::NotAFile);
        }
        Self::parse(std::fs::read(path).map_err(FeedError::Io)?)
    }

    /// Reads a capture from its bytes.
    pub(crate) fn parse(raw: Vec<u8>) -> Result<Self, FeedError> {
        let bytes = if raw.starts_with(&GZIP_MAGIC) { unpack(&raw)? } else { raw };
        let (entries, began_ns) = match bytes.first() {
            None => return Err(FeedError::Empty),
            Some(b'0'..=b'9') => market_lines(&bytes)?,
            Some(0) => (itch_messages(&bytes)?, None),
            Some(_) => return Err(FeedError::UnknownFormat),
        };
        assert!(!entries.is_empty(), "a capture of at least one byte has a message or an error");
        Ok(Self { bytes, entries, began_ns })
    }

    /// Puts `other` behind this capture, its first message `gap_ns` after the last one here.
    pub(crate) fn append(&mut self, other: &Self, gap_ns: u64) {
        let (from, to) = (self.bytes.len(), self.entries.last().map_or(0, |last| last.at_ns) + gap_ns);
        self.bytes.extend_from_slice(&other.bytes);
        self.entries.extend(other.entries.iter().map(|entry| Entry {
            at_ns: to + entry.at_ns,
            bytes: from + entry.bytes.start..from + entry.bytes.end,
        }));
    }

    /// Deals the messages out to `of` hands, by turn, and keeps those of hand `turn`.
    pub(crate) fn deal(&mut self, turn: usize, of: usize) {
        let mut at = 0;
        self.entries.retain(|_| {
            at += 1;
            (at - 1) % of == turn
        });
    }

    /// When the first message of the file came, in nanoseconds since 1970; ITCH does not say the day.
    pub(crate) fn began_ns(&self) -> Option<u64> {
        self.began_ns
    }

    /// How many messages there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The message at `index`, counted from 0.
    pub(crate) fn get(&self, index: usize) -> Option<Message<'_>> {
        let entry = self.entries.get(index)?;
        Some(Message { at_ns: entry.at_ns, bytes: &self.bytes[entry.bytes.clone()] })
    }

    /// All messages in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Message<'_>> {
        self.entries
            .iter()
            .map(|entry| Message { at_ns: entry.at_ns, bytes: &self.bytes[entry.bytes.clone()] })
    }
}

impl std::fmt::Display for FeedError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::NotAFile => f.write_str("not a regular file"),
            Self::Gzip(error) => write!(f, "damaged gzip stream: {error}"),
            Self::Empty => f.write_str("empty: there is no message to publish"),
            Self::UnknownFormat => f.write_str(
                "offset 0: neither a market line (decimal nanoseconds first) nor ITCH 5.0 (2-byte length first)",
            ),
            Self::Line { line, why } => write!(f, "line {line}: {why}"),
            Self::Itch { offset, why } | Self::Offset { offset, why } => write!(f, "offset {offset}: {why}"),
        }
    }
}

fn unpack(raw: &[u8]) -> Result<Vec<u8>, FeedError> {
    let mut bytes = Vec::new();
    MultiGzDecoder::new(raw).read_to_end(&mut bytes).map_err(FeedError::Gzip)?;
    Ok(bytes)
}

/// The lines, and when the first one came.
fn market_lines(bytes: &[u8]) -> Result<(Vec<Entry>, Option<u64>), FeedError> {
    let mut entries = Vec::new();
    let (mut start, mut first) = (0, None);
    while start < bytes.len() {
        let rest = &bytes[start..];
        let len = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
        let received =
            receive_time(&rest[..len]).map_err(|why| FeedError::Line { line: entries.len() + 1, why })?;
        let first = *first.get_or_insert(received);
        entries.push(Entry { at_ns: received.saturating_sub(first), bytes: start..start + len });
        start += len + 1;
    }
    Ok((entries, first))
}

fn receive_time(line: &[u8]) -> Result<u64, &'static str> {
    let missing = "no receive time (decimal nanoseconds, then a space) in front of the message";
    let space = line.iter().position(|&byte| byte == b' ').ok_or(missing)?;
    let (digits, text) = (&line[..space], &line[space + 1..]);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(missing);
    }
    if text.is_empty() {
        return Err("a receive time without a message");
    }
    let digits = std::str::from_utf8(digits).map_err(|_| missing)?;
    digits.parse().map_err(|_| "the receive time does not fit 64 bits")
}

fn itch_messages(bytes: &[u8]) -> Result<Vec<Entry>, FeedError> {
    let mut entries = Vec::new();
    let (mut offset, mut first) = (0, None);
    while offset < bytes.len() {
        let message = itch_message(&bytes[offset..]).map_err(|why| FeedError::Itch { offset, why })?;
        let since_midnight = itch_time(message).map_err(|why| FeedError::Itch { offset, why })?;
        let first = *first.get_or_insert(since_midnight);
        let start = offset + 2;
        offset = start + message.len();
        entries.push(Entry { at_ns: since_midnight.saturating_sub(first), bytes: start..offset });
    }
    Ok(entries)
}

/// The message at the head of `rest`, of a type and length that ITCH 5.0 has.
fn itch_message(rest: &[u8]) -> Result<&[u8], &'static str> {
    let Some((length, rest)) = rest.split_first_chunk::<2>() else {
        return Err("the file ends within an ITCH length");
    };
    let message =
        rest.get(..usize::from(u16::from_be_bytes(*length))).ok_or("the file ends within an ITCH message")?;
    let kind = *message.first().ok_or("an ITCH message of no bytes")?;
    match ITCH_LENGTHS.iter().find(|(known, _)| *known == kind) {
        None => Err("not a message type of ITCH 5.0"),
        Some((_, length)) if *length != message.len() => {
            Err("not the length that ITCH 5.0 gives this message type")
        }
        Some(_) => Ok(message),
    }
}

/// When a message came, if it is one of ITCH 5.0: nanoseconds since midnight.
fn timed_itch(message: &[u8]) -> Option<u64> {
    let is_known = message.first().is_some_and(|&kind| ITCH_LENGTHS.contains(&(kind, message.len())));
    if is_known { itch_time(message).ok() } else { None }
}

/// Nanoseconds since midnight; the caller has checked the length.
fn itch_time(message: &[u8]) -> Result<u64, &'static str> {
    let ns = message[5..11].iter().fold(0, |ns, &byte| ns << 8 | u64::from(byte));
    if ns < NS_PER_DAY { Ok(ns) } else { Err("an ITCH time later than midnight") }
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const NS_PER_DAY: u64 = 24 * 60 * 60 * 1_000_000_000;

/// Every message type of Nasdaq TotalView-ITCH 5.0 and its length in bytes.
const ITCH_LENGTHS: [(u8, usize); 23] = [
    (b'S', 12),
    (b'R', 39),
    (b'H', 25),
    (b'Y', 20),
    (b'L', 26),
    (b'V', 35),
    (b'W', 12),
    (b'K', 28),
    (b'J', 35),
    (b'h', 21),
    (b'A', 36),
    (b'F', 40),
    (b'E', 31),
    (b'C', 36),
    (b'X', 23),
    (b'D', 19),
    (b'U', 35),
    (b'P', 44),
    (b'Q', 40),
    (b'B', 19),
    (b'I', 50),
    (b'N', 20),
    (b'O', 48),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(raw: &[u8]) -> String {
        Feed::parse(raw.to_vec()).expect_err("malformed").to_string()
    }

    fn times(feed: &Feed) -> Vec<u64> {
        feed.iter().map(|message| message.at_ns).collect()
    }

    /// An ITCH "order delete" of order 7, with its length in front.
    fn delete_at(ns: u64) -> Vec<u8> {
        let mut message = vec![0, 19, b'D', 0, 1, 0, 2];
        message.extend_from_slice(&ns.to_be_bytes()[2..]);
        message.extend_from_slice(&7u64.to_be_bytes());
        message
    }

    #[test]
    fn a_market_line_is_a_message_at_its_receive_time() {
        let feed = Feed::parse(b"1000 {\"a\":1}\n1500 x y\n900 late".to_vec()).expect("well formed");
        assert_eq!(feed.get(0), Some(Message { at_ns: 0, bytes: b"1000 {\"a\":1}" }));
        assert_eq!(feed.get(1), Some(Message { at_ns: 500, bytes: b"1500 x y" }));
        assert_eq!(feed.get(2), Some(Message { at_ns: 0, bytes: b"900 late" }));
        assert_eq!(feed.get(3), None);
    }

    #[test]
    fn an_itch_message_is_published_without_its_length() {
        let raw = [delete_at(34_200_000_000_123), delete_at(34_200_000_000_200)].concat();
        let feed = Feed::parse(raw.clone()).expect("well formed");
        assert_eq!(times(&feed), [0, 77]);
        assert_eq!(feed.get(1).map(|message| message.bytes), Some(&raw[23..]));
    }

    #[test]
    fn a_second_capture_follows_the_first_in_time() {
        let mut feed = Feed::parse(b"10 a\n30 b".to_vec()).expect("well formed");
        feed.append(&Feed::parse([delete_at(5), delete_at(9)].concat()).expect("well formed"), 100);
        assert_eq!(times(&feed), [0, 20, 120, 124]);
        assert_eq!(feed.get(3).map(|message| message.bytes), Some(&delete_at(9)[2..]));
    }

    #[test]
    fn malformed_captures_name_the_place() {
        assert!(error_of(b"").starts_with("empty"));
        assert!(error_of(b"hello").starts_with("offset 0: neither"));
        assert!(error_of(b"10 a\nb\n").starts_with("line 2: no receive time"));
        assert!(error_of(b"10 a\n\n12 b\n").starts_with("line 2: no receive time"));
        assert!(error_of(b"10 a\n11 ").starts_with("line 2: a receive time without"));
        assert!(error_of(b"99999999999999999999 a").starts_with("line 1: the receive time does not fit"));
        assert!(error_of(&delete_at(1)[..20]).starts_with("offset 0: the file ends within an ITCH message"));
        assert!(error_of(&[delete_at(1), vec![0]].concat()).starts_with("offset 21: the file ends within"));
        assert!(
            error_of(&[delete_at(1), vec![0, 0]].concat()).starts_with("offset 21: an ITCH message of no")
        );
        assert!(error_of(&[0, 1, b'D']).starts_with("offset 0: not the length"));
        assert!(error_of(&[0, 1, b'z']).starts_with("offset 0: not a message type"));
        assert!(error_of(&delete_at(NS_PER_DAY)).starts_with("offset 0: an ITCH time later"));
    }

    #[test]
    fn gzip_is_unpacked_and_a_cut_stream_is_refused() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut packed, b"10 a\n12 b\n").expect("to memory");
        let packed = packed.finish().expect("to memory");
        assert_eq!(times(&Feed::parse(packed.clone()).expect("well formed")), [0, 2]);
        assert!(error_of(&packed[..packed.len() - 4]).starts_with("damaged gzip"));
    }

    #[test]
    fn what_is_not_a_file_is_refused() {
        assert!(matches!(Feed::open(Path::new("/nonexistent")), Err(FeedError::Io(_))));
        assert!(matches!(Feed::open(Path::new("/")), Err(FeedError::NotAFile)));
    }
}
