//! Where what stands in a counters file. All integers are little-endian.
//!
//! ```text
//!  word  0  magic "SISTRUMC"
//!        1  version (low half), words of this header (high half)
//!        2  bytes of the file
//!        3  process id               \
//!        4  when that process began   |  ticks since the host's boot: a process id is used again
//!        5  boot of the host          |  the first half of its boot id
//!        6  process id namespace     /   of another one nothing is known here
//!        7  incarnation of the node
//!        8  when it was opened, ns        \  CLOCK_MONOTONIC, which all processes of the host share
//!        9  when it was last written, ns  /
//!       10  sequence: odd while words change, even before and after
//!       11  generation of the labels: views come and go
//!       12  where the values begin, bytes
//!       13  bytes of labels in use
//!       14  words of values in use
//!       15  counters that there was no room for
//!  128      labels, as records:
//!
//!            0        1        2                 4
//!           +--------+--------+--------+--------+---------------
//!           | record | kind   | length of the rest| the rest
//!           +--------+--------+--------+--------+---------------
//!            1 scope   0        its name, u8 labels, for each its name and value
//!            2 value   0 counter, 1 gauge, 2 histogram: u8 unit, of a histogram u8 low, u8 octaves, u8 sub; the name
//!            others are passed over, and have no words
//!
//!           A name or a value of a label is a u16 length and so many bytes of UTF-8.
//!  values   words in the order of the records: one for each counter and gauge; of a histogram the sum, then its buckets
//! ```
//! A scope's values follow it. A reader takes sequence, all of it, and sequence again, until it finds the same even number
//! twice. The first two words stay what they are in every version.

/// `SISTRUMC`.
pub const MAGIC: u64 = u64::from_le_bytes(*b"SISTRUMC");
/// What this code writes, and all that it reads.
pub const VERSION: u32 = 1;

pub(super) const AT_MAGIC: usize = 0;
pub(super) const AT_VERSION: usize = 1;
pub(super) const AT_LENGTH: usize = 2;
pub(super) const AT_PROCESS: usize = 3;
pub(super) const AT_BEGAN: usize = 4;
pub(super) const AT_HOST: usize = 5;
pub(super) const AT_NAMESPACE: usize = 6;
pub(super) const AT_BOOT: usize = 7;
pub(super) const AT_OPENED: usize = 8;
pub(super) const AT_WRITTEN: usize = 9;
pub(super) const AT_SEQUENCE: usize = 10;
pub(super) const AT_GENERATION: usize = 11;
pub(super) const AT_VALUES: usize = 12;
pub(super) const AT_LABEL_BYTES: usize = 13;
pub(super) const AT_VALUE_WORDS: usize = 14;
pub(super) const AT_LEFT_OUT: usize = 15;
/// Words of the header.
pub(super) const HEADER_WORDS: usize = 16;

/// Bytes of a word.
pub(super) const WORD: usize = 8;
/// Where the labels begin.
pub(super) const LABELS: usize = HEADER_WORDS * WORD;
/// Bytes before the rest of a record.
pub(super) const RECORD_HEAD: usize = 4;
/// Kinds of records.
pub(super) const SCOPE: u8 = 1;
pub(super) const VALUE: u8 = 2;

/// No file is longer, whatever it says.
pub(super) const MAX_FILE: usize = 8 << 20;

/// How large a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Bytes for labels.
    pub label_bytes: usize,
    /// Words for values.
    pub value_words: usize,
}

impl Size {
    /// For a node of so many groups: a few dozen members in each. Beyond that counters are left out, and counted.
    #[must_use]
    pub fn of_groups(groups: usize) -> Self {
        let groups = groups.clamp(1, MAX_GROUPS);
        Self { label_bytes: (32 + 96 * groups) << 10, value_words: 512 + 3_072 * groups }
    }

    pub(super) fn values_at(self) -> usize {
        LABELS + self.label_bytes
    }

    pub(super) fn bytes(self) -> usize {
        self.values_at() + self.value_words * WORD
    }
}

/// Groups for which there is room, whatever a node may join.
const MAX_GROUPS: usize = 64;

const _: () = assert!(LABELS.is_multiple_of(WORD));
const _: () =
    assert!(LABELS + ((32 + 96 * MAX_GROUPS) << 10) + (512 + 3_072 * MAX_GROUPS) * WORD <= MAX_FILE);
