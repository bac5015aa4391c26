//! A counters file as another process reads it: everything of one moment. Nothing that stands in it is trusted.

use super::NONE;
use super::label::{self, Kind, Record, Unit};
use super::layout::{self, HEADER_WORDS, LABELS, MAGIC, MAX_FILE, VERSION, WORD};
use super::origin::Origin;
use crate::id::BootId;
use crate::time::Instant;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

/// Looks at a file that is being written, and how long to wait between two.
const LOOKS: usize = 100;
const BETWEEN: Duration = Duration::from_micros(200);

/// What a node counted, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Whose it is.
    pub origin: Origin,
    /// The incarnation of the node.
    pub boot: BootId,
    /// When the node was opened.
    pub opened: Instant,
    /// When this was written: an engine that stands still stops to write.
    pub written: Instant,
    /// How often the names have changed.
    pub generation: u64,
    /// Counters that the file had no room for.
    pub left_out: u64,
    /// All that it names, in its order.
    pub scopes: Vec<Scope>,
}

/// What belongs together: of the engine, of one group, of one member of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Which kind: `engine`, `group`, `peer`, `stream`, or one that is not known here.
    pub name: String,
    /// What tells it from others of its kind.
    pub labels: Vec<(String, String)>,
    /// Its counters.
    pub values: Vec<Value>,
}

/// One counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// What it is called.
    pub name: String,
    /// What it is in.
    pub unit: Unit,
    /// How it stands.
    pub reading: Reading,
}

/// How a counter stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// So much was counted.
    Counter(u64),
    /// So much there is; `None` where there is nothing to say.
    Gauge(Option<u64>),
    /// Many, by size.
    Histogram {
        /// What the buckets are.
        shape: super::Shape,
        /// The sum of all.
        sum: u64,
        /// How many are in each.
        counts: Vec<u64>,
    },
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// The system says no.
    #[error("{0}")]
    System(#[from] io::Error),
    /// It is something else.
    #[error("it is no counters file")]
    NoCounters,
    /// It was written by another version.
    #[error(
        "it has layout version {written}, and this reads version {read}: use the `sistrum` of the same version"
    )]
    Version {
        /// That of the file.
        written: u32,
        /// That of this code.
        read: u32,
    },
    /// It is shorter or longer than it says, or than any may be.
    #[error("it has {is} bytes, where {says} are wanted")]
    Length {
        /// Bytes of the file.
        is: u64,
        /// Bytes that it should have.
        says: u64,
    },
    /// Its header contradicts itself, or a label cannot be read.
    #[error("what stands at byte {at} of it cannot be")]
    Broken {
        /// Where.
        at: usize,
    },
    /// It was written whenever it was looked at, or its writer stopped in the middle.
    #[error("its node never finishes to write it")]
    Unfinished,
}

impl Snapshot {
    /// Reads a file, all of it as of one moment.
    ///
    /// # Errors
    /// When it is none, or of another version, or broken.
    pub fn read(path: &Path) -> Result<Self, Unreadable> {
        let file = open(path)?;
        let len = file.metadata()?.len();
        if len > MAX_FILE as u64 {
            return Err(Unreadable::Length { is: len, says: MAX_FILE as u64 });
        }
        let mut bytes = vec![0; len as usize];
        for _ in 0..LOOKS {
            file.read_exact_at(&mut bytes, 0)?;
            let before = Header::decode(&bytes)?.word(layout::AT_SEQUENCE);
            // Acquire: pairs with the last store of `Publisher::publish`; what was read above was read before what is read below.
            fence(Ordering::Acquire);
            let mut again = [0; WORD];
            file.read_exact_at(&mut again, (layout::AT_SEQUENCE * WORD) as u64)?;
            if before.is_multiple_of(2) && before == u64::from_le_bytes(again) {
                return Self::decode(&bytes);
            }
            std::thread::sleep(BETWEEN);
        }
        Err(Unreadable::Unfinished)
    }

    /// Only whose it is.
    ///
    /// # Errors
    /// Likewise.
    pub fn origin(path: &Path) -> Result<Origin, Unreadable> {
        let mut bytes = [0; HEADER_WORDS * WORD];
        open(path)?.read_exact_at(&mut bytes, 0)?;
        Ok(Header::decode(&bytes)?.origin())
    }

    /// Reads the bytes of a file, whatever they are.
    ///
    /// # Errors
    /// Likewise.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let header = Header::decode(bytes)?;
        if header.word(layout::AT_LENGTH) != bytes.len() as u64 {
            return Err(Unreadable::Length { is: bytes.len() as u64, says: header.word(layout::AT_LENGTH) });
        }
        let (labels, values) = header.areas(bytes)?;
        let (mut rest, mut words) = (labels, values.chunks_exact(WORD).map(|word| word_of(word, 0)));
        let mut scopes: Vec<Scope> = Vec::new();
        while !rest.is_empty() {
            let broken = Unreadable::Broken { at: LABELS + labels.len() - rest.len() };
            match label::take(&mut rest) {
                Ok(Some(Record::Scope { name, labels })) => {
                    scopes.push(Scope { name, labels, values: Vec::new() });
                }
                Ok(Some(Record::Value { name, unit, kind })) => {
                    let value = reading(kind, &mut words).map(|reading| Value { name, unit, reading });
                    let (Some(scope), Some(value)) = (scopes.last_mut(), value) else { return Err(broken) };
                    scope.values.push(value);
                }
                Ok(None) => {}
                Err(()) => return Err(broken),
            }
        }
        Ok(Self {
            origin: header.origin(),
            boot: BootId(header.word(layout::AT_BOOT)),
            opened: Instant(header.word(layout::AT_OPENED)),
            written: Instant(header.word(layout::AT_WRITTEN)),
            generation: header.word(layout::AT_GENERATION),
            left_out: header.word(layout::AT_LEFT_OUT),
            scopes,
        })
    }

    /// The first scope of this kind.
    #[must_use]
    pub fn scope(&self, name: &str) -> Option<&Scope> {
        self.scopes.iter().find(|scope| scope.name == name)
    }

    /// All scopes of this kind.
    pub fn scopes<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Scope> {
        self.scopes.iter().filter(move |scope| scope.name == name)
    }
}

impl Scope {
    /// What stands by a label; nothing where it is not there.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }

    /// How a counter stands.
    #[must_use]
    pub fn reading(&self, name: &str) -> Option<&Reading> {
        Some(&self.values.iter().find(|value| value.name == name)?.reading)
    }

    /// A counter or a gauge that has something to say.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.reading(name)? {
            Reading::Counter(value) => Some(*value),
            Reading::Gauge(value) => *value,
            Reading::Histogram { .. } => None,
        }
    }
}

/// Not a pipe that never answers, nor what a link leads to.
fn open(path: &Path) -> Result<File, Unreadable> {
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(Unreadable::NoCounters) }
}

fn reading(kind: Kind, words: &mut impl ExactSizeIterator<Item = u64>) -> Option<Reading> {
    if words.len() < kind.words() {
        return None;
    }
    let first = words.next()?;
    Some(match kind {
        Kind::Counter => Reading::Counter(first),
        Kind::Gauge => Reading::Gauge((first != NONE).then_some(first)),
        Kind::Histogram(shape) => {
            let counts = words.by_ref().take(shape.buckets()).collect();
            Reading::Histogram { shape, sum: first, counts }
        }
    })
}

struct Header<'a>(&'a [u8]);

impl<'a> Header<'a> {
    /// The header of this version.
    fn decode(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        // Of any version the first two words are there.
        if bytes.len() < 2 * WORD || word_of(bytes, layout::AT_MAGIC) != MAGIC {
            return Err(Unreadable::NoCounters);
        }
        let written = word_of(bytes, layout::AT_VERSION) as u32;
        if written != VERSION {
            return Err(Unreadable::Version { written, read: VERSION });
        }
        let wanted = HEADER_WORDS * WORD;
        let own = bytes.get(..wanted);
        let short = Unreadable::Length { is: bytes.len() as u64, says: wanted as u64 };
        Ok(Self(own.ok_or(short)?))
    }

    fn word(&self, at: usize) -> u64 {
        word_of(self.0, at)
    }

    fn origin(&self) -> Origin {
        Origin {
            process: self.word(layout::AT_PROCESS) as u32,
            began: self.word(layout::AT_BEGAN),
            host: self.word(layout::AT_HOST),
            namespace: self.word(layout::AT_NAMESPACE),
        }
    }

    /// The labels and the values that are in use.
    fn areas<'b>(&self, bytes: &'b [u8]) -> Result<(&'b [u8], &'b [u8]), Unreadable> {
        let size = |at| usize::try_from(self.word(at)).map_err(|_| Unreadable::Broken { at: at * WORD });
        let end = size(layout::AT_LABEL_BYTES)?.checked_add(LABELS);
        let values_at = size(layout::AT_VALUES)?;
        let broken = |at: usize| Unreadable::Broken { at: at * WORD };
        let labels = end.filter(|end| *end <= values_at).and_then(|end| bytes.get(LABELS..end));
        let labels = labels.ok_or(broken(layout::AT_LABEL_BYTES))?;
        let len = size(layout::AT_VALUE_WORDS)?.checked_mul(WORD);
        let end = len.and_then(|len| values_at.checked_add(len));
        let values = end.and_then(|end| bytes.get(values_at..end)).ok_or(broken(layout::AT_VALUE_WORDS))?;
        Ok((labels, values))
    }
}

fn word_of(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; WORD];
    word.copy_from_slice(&bytes[at * WORD..(at + 1) * WORD]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
