//! The lag contract of a subscriber: what becomes of an application that takes too slowly what was delivered to it.
//!
//! ```text
//!   streams == delivered ==> backlog == handed over ==> application
//!                            bounded; empty, and without a copy, while the application keeps up
//! ```
//! It stands behind the protocol: what the application refuses is kept here, and counts as delivered. So nobody waits for it, and what is
//! kept has a bound, at which the [contract](Lag) says what happens. Every message that was delivered is handed over, or conflated and
//! counted, or told as lost with its number.
//!
//! **What is handed over is what was delivered, in its order, with some left out**: conflation does not reorder either. So an effect never
//! comes before a cause that is handed over at all, and what has no key keeps its place among what has one.

mod backlog;
mod store;
#[cfg(test)]
mod tests;

pub use backlog::Backlog;
pub use store::PER_MESSAGE;

use sistrum_ordering::{Rank, Seq};
use sistrum_transport::reliable::Message;
use std::fmt;
use std::time::Duration;

/// What becomes of what an application does not take. Bytes are those of messages, and [`PER_MESSAGE`] for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lag {
    /// Over either bound it is cut off, and told by which number. What was kept is dropped: who comes back begins with what is true then, not
    /// with what is old.
    Evict {
        /// Bytes that are kept at most.
        bytes: usize,
        /// How long the oldest of them may wait; no bound when it is zero.
        age: Duration,
    },
    /// Of each sender's messages of one key, only the latest is kept. It stands where it was delivered, not in the place of those that it
    /// replaces: nothing is reordered. A key that is replaced again and again still has its turn: once so many messages were handed over as
    /// wait, its latest stays, and those that follow come behind it. What has no key is never left out before the bytes run out; then
    /// the oldest is dropped, and told as lost.
    Conflate {
        /// What a message is about.
        key: KeyOf,
        /// Bytes that are kept at most.
        bytes: usize,
    },
    /// All of it is kept and handed over later. Beyond the bytes the oldest is dropped, and told as lost.
    Replay {
        /// Bytes that are kept at most.
        bytes: usize,
    },
}

impl Lag {
    /// Cuts off who is so many bytes behind, or whose oldest message waits so long.
    #[must_use]
    pub const fn evict(bytes: usize, age: Duration) -> Self {
        Self::Evict { bytes, age }
    }

    /// Leaves out what is superseded, and keeps so many bytes.
    #[must_use]
    pub const fn conflate(bytes: usize, key: fn(&[u8]) -> Option<Key>) -> Self {
        Self::Conflate { key: KeyOf(key), bytes }
    }

    /// Keeps so many bytes.
    #[must_use]
    pub const fn replay(bytes: usize) -> Self {
        Self::Replay { bytes }
    }

    /// Bytes that are kept at most.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        match self {
            Self::Evict { bytes, .. } | Self::Conflate { bytes, .. } | Self::Replay { bytes } => *bytes,
        }
    }

    /// Whether it can be kept to; why not, where not.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let bytes = self.bytes();
        if (LEAST_BYTES..=MOST_BYTES).contains(&bytes) {
            return Ok(());
        }
        Err(format!("{bytes} bytes to be kept at most are not between {LEAST_BYTES} and {MOST_BYTES}"))
    }
}

/// What a message is about: of one key, a later message supersedes an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 16]);

impl Key {
    /// A key of these bytes, 15 at most: a longer one is none, rather than the same as another.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let mut key = [0; 16];
        key.get_mut(..bytes.len()).filter(|_| bytes.len() < 16)?.copy_from_slice(bytes);
        key[15] = bytes.len() as u8;
        Some(Self(key))
    }

    const fn number(self) -> u128 {
        u128::from_le_bytes(self.0)
    }
}

impl From<u64> for Key {
    fn from(number: u64) -> Self {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&number.to_le_bytes());
        Self(key)
    }
}

/// Says what a message is about; nothing where it supersedes none.
#[derive(Clone, Copy)]
pub struct KeyOf(pub fn(&[u8]) -> Option<Key>);

impl PartialEq for KeyOf {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::fn_addr_eq(self.0, other.0)
    }
}

impl Eq for KeyOf {}

impl fmt::Debug for KeyOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyOf(..)")
    }
}

/// What else a reader is told of a stream, in its place among the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// It begins for me at this block.
    Reading(Seq),
    /// So many blocks of it are lost for good.
    Gap(u64),
    /// Its sender has said goodbye.
    Left,
}

/// What a [`Backlog`] hands to the application.
#[derive(Debug)]
pub enum Told<'a> {
    /// A message.
    Message(Message<'a>),
    /// Something else of this member's stream.
    Note(Rank, Note),
    /// So many of this member's messages were dropped at this place, and come no more.
    Lost(Rank, u64),
    /// The application is behind by so much. Told once, until it has caught up.
    Lagging(Behind),
    /// It takes what was kept, and so much is left. Told once, likewise.
    Replaying(Behind),
    /// Nothing is left, or waits: what comes is handed over at once again.
    CaughtUp(CaughtUp),
    /// It is cut off: nothing more is handed over before it asks to be let in again.
    Evicted(Eviction),
}

/// How far an application is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Behind {
    /// Messages that wait.
    pub messages: u64,
    /// Bytes of all that is kept: those of messages, and [`PER_MESSAGE`] for each.
    pub bytes: usize,
    /// How long the oldest has waited.
    pub age: Duration,
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} messages, {} bytes, {:?}", self.messages, self.bytes, self.age)
    }
}

/// What became of what was kept, from the first refusal to the last message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CaughtUp {
    /// How long it took.
    pub took: Duration,
    /// Messages that were handed over late.
    pub handed: u64,
    /// Messages that were left out since a later one had the same key.
    pub conflated: u64,
    /// Messages that were dropped, and told as lost.
    pub lost: u64,
}

/// Why a subscriber was cut off, and what that cost it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eviction {
    /// The number that was over its bound.
    pub tripped: Tripped,
    /// Messages that were kept, and are dropped.
    pub messages: u64,
}

impl fmt::Display for Eviction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "too slow: {}; {} messages are dropped", self.tripped, self.messages)
    }
}

/// A bound that was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tripped {
    /// That of bytes.
    Bytes {
        /// So many would have been kept.
        bytes: usize,
        /// The bound.
        bound: usize,
    },
    /// That of age.
    Age {
        /// The oldest message had waited so long.
        age: Duration,
        /// The bound.
        bound: Duration,
    },
}

impl fmt::Display for Tripped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes { bytes, bound } => write!(f, "{bytes} bytes behind, the bound is {bound}"),
            Self::Age { age, bound } => {
                write!(f, "the oldest message has waited for {age:?}, the bound is {bound:?}")
            }
        }
    }
}

/// Where an application stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether it keeps up.
    pub state: LagState,
    /// How far it is behind.
    pub behind: Behind,
    /// What happened so far.
    pub counters: LagCounters,
}

/// Whether an application keeps up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LagState {
    /// It does: nothing is kept.
    #[default]
    Live,
    /// Something is kept, and it refused the last thing that it was offered.
    Lagging,
    /// It takes what was kept.
    Replaying,
    /// It is cut off.
    Evicted,
}

/// What happened so far. Counts of messages, unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LagCounters {
    /// Handed over as they came.
    pub live: u64,
    /// Handed over late.
    pub late: u64,
    /// Left out since a later one had the same key.
    pub conflated: u64,
    /// Dropped, or passed while the application was cut off.
    pub lost: u64,
    /// How often the application fell behind.
    pub lags: u64,
    /// How often it was cut off.
    pub evictions: u64,
    /// The most bytes that were kept at any time.
    pub most_bytes: usize,
    /// The most messages that were kept at any time.
    pub most_messages: u64,
}

/// Less than this holds no message worth its place.
const LEAST_BYTES: usize = 1024;
/// More than this was mistyped; as much is taken only where somebody is as far behind.
const MOST_BYTES: usize = 1 << 40;
