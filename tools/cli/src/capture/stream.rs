//! Reads messages one after another from a file or a pipe that is never held whole in memory.
//!
//! ```text
//! file or stdin --thread: unpack, cut--> batches of messages --channel of a few batches--> whoever polls a node
//! ```
//! The thread may wait for its input for ever; who takes the messages never does. What has been read is handed over before
//! the thread waits for more, so that a message typed into a pipe is on its way at once.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use flate2::read::MultiGzDecoder;

use super::{FeedError, GZIP_MAGIC, Message, receive_time, timed_itch};

/// How messages lie one behind the other in a stream of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A line each, without its line break; decimal ns and a space in front of it say when it came.
    Lines,
    /// 2 bytes of length, big-endian, in front of each; messages of ITCH 5.0 say when they came.
    Itch,
    /// 4 bytes of length, little-endian, in front of each; nothing says when it came.
    Binary,
}

/// The messages of an input, as they come.
#[derive(Debug)]
pub(crate) struct Stream {
    handed: Receiver<Handed>,
    batch: Batch,
    at: usize,
    end: Option<Handed>,
    size: Option<u64>,
    read: Arc<AtomicU64>,
}

/// What there is at the head of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Head {
    /// A message, which [`Stream::message`] gives.
    Message,
    /// Nothing yet.
    Waiting,
    /// The input ended between two messages.
    End,
    /// The input is bad from here on, for this reason.
    Bad(String),
}

#[derive(Debug)]
enum Handed {
    Batch(Batch),
    End,
    Bad(FeedError),
}

/// Messages that are handed over together.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    /// The time of each message, and where it ends.
    entries: Vec<(u64, usize)>,
}

impl Stream {
    /// Opens the file at `path`, or standard input for `-`.
    pub(crate) fn open(path: &Path, format: Format) -> Result<Self, FeedError> {
        if path == Path::new("-") {
            return Ok(Self::start(std::io::stdin(), format, None));
        }
        let file = File::open(path).map_err(FeedError::Io)?;
        let metadata = file.metadata().map_err(FeedError::Io)?;
        if metadata.is_dir() {
            return Err(FeedError::Io(ErrorKind::IsADirectory.into()));
        }
        // A pipe or a device has no size.
        let size = metadata.is_file().then_some(metadata.len());
        Ok(Self::start(file, format, size))
    }

    fn start(input: impl Read + Send + 'static, format: Format, size: Option<u64>) -> Self {
        let (hand, handed) = sync_channel(BATCHES);
        let read = Arc::new(AtomicU64::new(0));
        let counted = Counted { input, read: Arc::clone(&read) };
        std::thread::spawn(move || {
            let mut batcher = Batcher { hand, batch: Batch::default(), deaf: false };
            let last = match batcher.read_all(counted, format) {
                Ok(()) => Handed::End,
                Err(error) => Handed::Bad(error),
            };
            batcher.hand_over();
            // Nobody takes it any more: then nobody wants to know.
            let _ = batcher.hand.send(last);
        });
        Self { handed, batch: Batch::default(), at: 0, end: None, size, read }
    }

    /// Waits until something is known of the input: its first message, its end, or that it is bad.
    pub(crate) fn wait_for_head(&mut self) -> Head {
        if self.at == self.batch.entries.len() && self.end.is_none() {
            let handed = self.handed.recv().unwrap_or(Handed::End);
            self.take(handed);
        }
        self.head()
    }

    /// What comes next; never waits.
    pub(crate) fn head(&mut self) -> Head {
        while self.at == self.batch.entries.len() {
            match &self.end {
                Some(Handed::Bad(error)) => return Head::Bad(error.to_string()),
                Some(_) => return Head::End,
                None => {}
            }
            match self.handed.try_recv() {
                Ok(handed) => self.take(handed),
                Err(TryRecvError::Empty) => return Head::Waiting,
                Err(TryRecvError::Disconnected) => self.end = Some(Handed::End),
            }
        }
        Head::Message
    }

    fn take(&mut self, handed: Handed) {
        match handed {
            Handed::Batch(batch) => (self.batch, self.at) = (batch, 0),
            end => self.end = Some(end),
        }
    }

    /// The message at the head, when there is one.
    pub(crate) fn message(&self) -> Option<Message<'_>> {
        let &(at_ns, end) = self.batch.entries.get(self.at)?;
        let start = self.at.checked_sub(1).map_or(0, |before| self.batch.entries[before].1);
        Some(Message { at_ns, bytes: &self.batch.bytes[start..end] })
    }

    /// Goes on to the next message.
    pub(crate) fn advance(&mut self) {
        debug_assert!(self.at < self.batch.entries.len());
        self.at += 1;
    }

    /// Bytes of the input file, packed as it is; `None` for what has no size.
    pub(crate) fn size(&self) -> Option<u64> {
        self.size
    }

    /// Bytes of them that were read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

/// The reading end.
struct Batcher {
    hand: SyncSender<Handed>,
    batch: Batch,
    /// Nobody listens any more.
    deaf: bool,
}

impl Batcher {
    fn read_all(&mut self, mut input: impl Read + Send + 'static, format: Format) -> Result<(), FeedError> {
        let mut head = Vec::new();
        input.by_ref().take(2).read_to_end(&mut head).map_err(FeedError::Io)?;
        let packed = head == GZIP_MAGIC;
        let whole = Cursor::new(head).chain(input);
        let unpacked: Box<dyn Read> =
            if packed { Box::new(MultiGzDecoder::new(BufReader::new(whole))) } else { Box::new(whole) };
        let mut cutter = Cutter { input: BufReader::with_capacity(BATCH_BYTES, unpacked), packed, offset: 0 };
        let mut times = Times::default();
        let mut message = Vec::new();
        let mut count = 0;
        while !self.deaf && cutter.cut(format, &mut message, count, &mut || self.hand_over())? {
            let at_ns = times.place(format, &message);
            self.batch.bytes.extend_from_slice(&message);
            self.batch.entries.push((at_ns, self.batch.bytes.len()));
            count += 1;
            if self.batch.bytes.len() >= BATCH_BYTES || self.batch.entries.len() >= BATCH_MESSAGES {
                self.hand_over();
            }
        }
        Ok(())
    }

    fn hand_over(&mut self) {
        if !self.batch.entries.is_empty() {
            self.deaf |= self.hand.send(Handed::Batch(std::mem::take(&mut self.batch))).is_err();
        }
    }
}

/// Cuts bytes into messages.
struct Cutter<R> {
    input: BufReader<R>,
    packed: bool,
    /// Bytes taken so far, unpacked.
    offset: usize,
}

impl<R: Read> Cutter<R> {
    /// Puts the next message into `message`; false at the end. `count` messages came before; `before_wait` is called when
    /// the input must be asked for more, which may take for ever.
    fn cut(
        &mut self,
        format: Format,
        message: &mut Vec<u8>,
        count: usize,
        before_wait: &mut dyn FnMut(),
    ) -> Result<bool, FeedError> {
        message.clear();
        let offset = self.offset;
        let bad = |why| FeedError::Offset { offset, why };
        let width = match format {
            Format::Lines => return self.line(message, count, before_wait),
            Format::Itch => 2,
            Format::Binary => 4,
        };
        let mut length = [0; 4];
        match self.take(&mut length[..width], before_wait)? {
            0 => return Ok(false),
            taken if taken < width => return Err(bad("the input ends within a length")),
            _ => {}
        }
        let length = match format {
            Format::Itch => usize::from(u16::from_be_bytes([length[0], length[1]])),
            Format::Lines | Format::Binary => u32::from_le_bytes(length) as usize,
        };
        if length > LONGEST {
            return Err(bad("a length beyond 16 MiB: is this the format?"));
        }
        message.resize(length, 0);
        match self.take(message, before_wait)? {
            taken if taken < length => Err(bad("the input ends within a message")),
            _ => Ok(true),
        }
    }

    fn line(
        &mut self,
        message: &mut Vec<u8>,
        count: usize,
        before_wait: &mut dyn FnMut(),
    ) -> Result<bool, FeedError> {
        loop {
            let there = self.fill(before_wait)?;
            let found = there.iter().position(|&byte| byte == b'\n');
            let taken = found.unwrap_or(there.len());
            message.extend_from_slice(&there[..taken]);
            let is_end = there.is_empty();
            self.consume(taken + usize::from(found.is_some()));
            if message.len() > LONGEST {
                return Err(FeedError::Line {
                    line: count + 1,
                    why: "longer than 16 MiB: is this the format?",
                });
            }
            if found.is_some() || is_end {
                return Ok(found.is_some() || !message.is_empty());
            }
        }
    }

    /// Fills `to`, and says how much of it before the end.
    fn take(&mut self, to: &mut [u8], before_wait: &mut dyn FnMut()) -> Result<usize, FeedError> {
        let mut filled = 0;
        while filled < to.len() {
            let there = self.fill(before_wait)?;
            if there.is_empty() {
                break;
            }
            let taken = there.len().min(to.len() - filled);
            to[filled..filled + taken].copy_from_slice(&there[..taken]);
            filled += taken;
            self.consume(taken);
        }
        Ok(filled)
    }

    fn fill(&mut self, before_wait: &mut dyn FnMut()) -> Result<&[u8], FeedError> {
        if self.input.buffer().is_empty() {
            before_wait();
        }
        let packed = self.packed;
        self.input.fill_buf().map_err(|error| match packed {
            true => FeedError::Gzip(error),
            false => FeedError::Io(error),
        })
    }

    fn consume(&mut self, bytes: usize) {
        self.input.consume(bytes);
        self.offset += bytes;
    }
}

/// Gives each message its time relative to the first that has one.
#[derive(Debug, Default)]
struct Times {
    first: Option<u64>,
    last_ns: u64,
}

impl Times {
    /// One without a time of its own comes together with the one before it.
    fn place(&mut self, format: Format, message: &[u8]) -> u64 {
        let stamped = match format {
            Format::Lines => receive_time(message).ok(),
            Format::Itch => timed_itch(message),
            Format::Binary => None,
        };
        if let Some(stamped) = stamped {
            self.last_ns = stamped.saturating_sub(*self.first.get_or_insert(stamped));
        }
        self.last_ns
    }
}

/// Counts what is read of the file itself.
struct Counted<R> {
    input: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Bytes after which a batch is handed over, and how much is read at once.
const BATCH_BYTES: usize = 128 * 1024;
const BATCH_MESSAGES: usize = 4_096;
/// Batches that are read ahead.
const BATCHES: usize = 4;
/// Bytes that no message has: what claims more is not of this format.
const LONGEST: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out one byte at a time, as a slow pipe does.
    struct Dripping(Cursor<Vec<u8>>);

    impl Read for Dripping {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(&mut buffer[..1])
        }
    }

    fn all(raw: &[u8], format: Format) -> Result<Vec<(u64, Vec<u8>)>, String> {
        let whole = drain(Stream::start(Cursor::new(raw.to_vec()), format, None));
        let dripped = drain(Stream::start(Dripping(Cursor::new(raw.to_vec())), format, None));
        assert_eq!(whole, dripped);
        whole
    }

    fn drain(mut stream: Stream) -> Result<Vec<(u64, Vec<u8>)>, String> {
        let mut messages = Vec::new();
        loop {
            match stream.wait_for_head() {
                Head::Message => {
                    let message = stream.message().expect("at the head");
                    messages.push((message.at_ns, message.bytes.to_vec()));
                    stream.advance();
                }
                Head::Waiting => {}
                Head::End => return Ok(messages),
                Head::Bad(why) => return Err(why),
            }
        }
    }

    fn expect(messages: &[(u64, &[u8])]) -> Result<Vec<(u64, Vec<u8>)>, String> {
        Ok(messages.iter().map(|(at_ns, bytes)| (*at_ns, bytes.to_vec())).collect())
    }

    #[test]
    fn lines_keep_their_time_and_need_none() {
        let messages = all(b"1000 a\nno time\n1500 b\n\n1700 c", Format::Lines);
        assert_eq!(
            messages,
            expect(&[(0, b"1000 a"), (0, b"no time"), (500, b"1500 b"), (500, b""), (700, b"1700 c")])
        );
        assert_eq!(all(b"", Format::Lines), expect(&[]));
        assert_eq!(all(b"\n", Format::Lines), expect(&[(0, b"")]));
    }

    #[test]
    fn lengths_frame_itch_and_binary() {
        assert_eq!(all(b"\0\x02ab\0\0\0\x01c", Format::Itch), expect(&[(0, b"ab"), (0, b""), (0, b"c")]));
        assert_eq!(all(b"\x02\0\0\0ab\0\0\0\0", Format::Binary), expect(&[(0, b"ab"), (0, b"")]));
    }

    #[test]
    fn itch_messages_that_are_itch_have_their_times() {
        let raw = include_bytes!("../../data/nasdaq-open-20191230.itch50");
        let feed = super::super::Feed::parse(raw.to_vec()).expect("embedded");
        let same: Vec<_> = feed.iter().map(|message| (message.at_ns, message.bytes.to_vec())).collect();
        assert_eq!(drain(Stream::start(Cursor::new(raw.to_vec()), Format::Itch, None)), Ok(same));
    }

    #[test]
    fn gzip_is_read_as_it_is_and_longer_than_a_batch() {
        let raw = include_bytes!("../../data/spot-btcusdt-20000.gz");
        let feed = super::super::Feed::parse(raw.to_vec()).expect("embedded");
        let same: Vec<_> = feed.iter().map(|message| (message.at_ns, message.bytes.to_vec())).collect();
        assert_eq!(drain(Stream::start(Cursor::new(raw.to_vec()), Format::Lines, None)), Ok(same));
        let cut = Stream::start(Cursor::new(raw[..raw.len() / 2].to_vec()), Format::Lines, None);
        assert!(drain(cut).expect_err("cut off").starts_with("damaged gzip"));
    }

    #[test]
    fn what_is_not_of_the_format_names_the_place() {
        let error = |raw: &[u8], format| all(raw, format).expect_err("malformed");
        assert_eq!(error(b"\0\x02ab\0", Format::Itch), "offset 4: the input ends within a length");
        assert_eq!(error(b"\0\x02ab\0\x05abc", Format::Itch), "offset 4: the input ends within a message");
        assert!(error(b"hello", Format::Binary).starts_with("offset 0: a length beyond 16 MiB"));
    }

    #[test]
    fn what_was_read_is_handed_over_before_the_input_is_waited_for() {
        let (mut write, read) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let mut stream = Stream::start(read, Format::Lines, None);
        std::io::Write::write_all(&mut write, b"one\ntw").expect("to write");
        assert_eq!(stream.wait_for_head(), Head::Message);
        assert_eq!(stream.message().map(|message| message.bytes), Some(&b"one"[..]));
        stream.advance();
        assert_eq!(stream.head(), Head::Waiting);
        std::io::Write::write_all(&mut write, b"o\n").expect("to write");
        assert_eq!(stream.wait_for_head(), Head::Message);
        assert_eq!(stream.message().map(|message| message.bytes), Some(&b"two"[..]));
    }
}
