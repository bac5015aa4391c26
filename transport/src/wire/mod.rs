//! The bytes on the wire: for each message a checked view over bytes and a value that can only be valid.
//!
//! ```text
//! block  := header (32 bytes) | data frames | trailer | padding up to the segment size of its run
//! trailer:= control frames: acks and heartbeats ride in data blocks; a control block is all trailer
//! ```
//! All integers are little-endian, but the 15-bit length of a long frame. A decoder never panics, and allocates nothing.

mod control;
mod data;
mod header;
#[cfg(test)]
mod hostile;

pub use control::{
    CHUNK_OVERHEAD, CONTROL_HEAD, Chunk, Control, ControlFrames, ControlWriter, FIRM_FRAME_LEN, Firm,
    Goodbye, HEARTBEAT_FRAME_LEN, Heartbeat, MAX_NAK_FRAME_LEN, MAX_NAK_RANGES, MAX_STATUS_ENTRIES,
    MAX_STATUS_FRAME_LEN, Nak, NakRanges, Setup, SetupFlags, Status, StatusEntries, StatusEntry, Unavailable,
};
pub use data::{DataFrame, DataFrames, MAX_FRAME_OVERHEAD, Part, frame_len, write_frame};
pub use header::{Header, Kind, NO_FIRST, ORDER_FLAGS};

/// The checksum of a message that travels in chunks.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    checksum_behind(0, bytes)
}

/// The checksum of what had the checksum `crc` so far, with these bytes behind it.
#[must_use]
pub fn checksum_behind(crc: u32, bytes: &[u8]) -> u32 {
    crate::crc::append(crc, bytes)
}

/// Bytes of a block header.
pub const HEADER_LEN: usize = 32;

/// Why bytes are no block of ours. Each is counted by name, and the block is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Fewer bytes than a header.
    #[error("shorter than a header")]
    TooShort,
    /// Another protocol, or another version of this one.
    #[error("unknown version")]
    Version,
    /// A kind that this version does not know.
    #[error("unknown kind")]
    Kind,
    /// A cipher that this version does not know.
    #[error("unknown cipher")]
    Cipher,
    /// Lengths and offsets that contradict each other.
    #[error("inconsistent lengths")]
    Lengths,
    /// The checksum does not match.
    #[error("wrong checksum")]
    Checksum,
    /// A frame that does not fit in its block, or of an unknown type.
    #[error("bad frame")]
    Frame,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
