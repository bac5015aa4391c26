//! The header of every block.
//!
//! ```text
//!  0               1               2               3
//! +---------------+---------------+---------------+---------------+
//! |    version    |     kind      |     flags     |    cipher     |   0
//! +---------------+---------------+---------------+---------------+
//! |                            group id                           |   4
//! +---------------------------------------------------------------+
//! |                         group instance                        |   8
//! +---------------------------------------------------------------+
//! |                          view number                          |  12
//! +---------------------------------------------------------------+
//! |             low half of the block sequence                    |  16
//! +-------------------------------+-------------------------------+
//! |          sender rank          |      used (bytes that count)  |  20
//! +-------------------------------+-------------------------------+
//! |  first (message begins here)  |     trailer (begins here)     |  24
//! +-------------------------------+-------------------------------+
//! |        CRC32C of header, trailer and, by flag, payload        |  28
//! +---------------------------------------------------------------+
//! ```
//! What lies beyond `used` is padding: blocks in the middle of a segmentation-offload run are all of one size.

use super::{HEADER_LEN, Malformed};
use crate::crc;
use crate::id::{GroupId, GroupInstance, Rank, Seq, ViewNumber};
use crate::mutated;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The only version there is. Its high nibble tells our blocks from other protocols' datagrams.
const VERSION: u8 = 0x51;
/// No payload protection; other values come with the security layer.
const CIPHER_NONE: u8 = 0;
/// The checksum covers the data frames too.
const FLAG_PAYLOAD_CHECKED: u8 = 1;
/// The flags that ordering layers use among themselves: this layer carries them, and gives them no meaning.
pub const ORDER_FLAGS: u8 = 0xf8;

/// `first` of a block in which no message begins.
pub const NO_FIRST: u16 = 0;

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Raw {
    version: u8,
    kind: u8,
    flags: u8,
    cipher: u8,
    group: U32,
    instance: U32,
    view: U32,
    seq: U32,
    rank: U16,
    used: U16,
    first: U16,
    trailer: U16,
    crc: U32,
}

const _: () = assert!(size_of::<Raw>() == HEADER_LEN);
const _: () = assert!(align_of::<Raw>() == 1);
/// Bytes of the header that the checksum covers: all before the checksum itself.
const CRC_AT: usize = HEADER_LEN - 4;

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A sequenced block of messages, with control in its trailer.
    Data = 1,
    /// Control only: unsequenced, exempt from every window.
    Control = 2,
    /// The handshake between members that do not share a view yet.
    Setup = 3,
    /// Chunks of a message of agreement on views: its sender need not be in the view of whoever reads it, nor in any.
    Agreement = 4,
}

/// A block's header as a value: [`Header::decode`] only returns it when the block is sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the block is.
    pub kind: Kind,
    /// The group it belongs to.
    pub group: GroupId,
    /// The life of that group; 0 in a handshake whose sender does not know it yet.
    pub instance: GroupInstance,
    /// The view it was sent in.
    pub view: ViewNumber,
    /// The low half of its sequence; control blocks have none.
    pub seq: u32,
    /// Its sender.
    pub rank: Rank,
    /// Where the first message that begins in this block begins, or [`NO_FIRST`].
    pub first: u16,
    /// Where the trailer begins, and the data frames end.
    pub trailer: u16,
    /// Bytes that count; the rest is padding.
    pub used: u16,
    /// What ordering layers say of the block, within [`ORDER_FLAGS`].
    pub order: u8,
}

impl Header {
    /// The header of a block that is opened: everything but the sequence and the lengths is known for a whole view.
    #[must_use]
    pub fn new(kind: Kind, group: GroupId, instance: GroupInstance, view: ViewNumber, rank: Rank) -> Self {
        let len = HEADER_LEN as u16;
        Self { kind, group, instance, view, seq: 0, rank, first: NO_FIRST, trailer: len, used: len, order: 0 }
    }

    /// The full sequence of this block, given one that is less than 2^31 blocks away.
    #[must_use]
    pub fn seq_near(&self, near: Seq) -> Option<Seq> {
        if mutated!(WrongWrap) {
            return Some(Seq((near.0 & !u64::from(u32::MAX)) | u64::from(self.seq)));
        }
        near.nearest(self.seq)
    }

    /// Writes the header with its checksum over a block whose data and trailer are in place.
    ///
    /// # Panics
    /// When the lengths contradict each other or the block: our own fault.
    pub fn encode(&self, block: &mut [u8], check_payload: bool) {
        let used = self.used as usize;
        assert!(used <= block.len());
        assert!((HEADER_LEN..=used).contains(&(self.trailer as usize)));
        assert!(
            self.first == NO_FIRST || (HEADER_LEN..self.trailer as usize).contains(&(self.first as usize))
        );
        let raw = Raw {
            version: VERSION,
            kind: self.kind as u8,
            flags: self.order & ORDER_FLAGS | if check_payload { FLAG_PAYLOAD_CHECKED } else { 0 },
            cipher: CIPHER_NONE,
            group: U32::new(self.group.0),
            instance: U32::new(self.instance.0),
            view: U32::new(self.view.0),
            seq: U32::new(self.seq),
            rank: U16::new(self.rank.0),
            used: U16::new(self.used),
            first: U16::new(self.first),
            trailer: U16::new(self.trailer),
            crc: U32::ZERO,
        };
        block[..HEADER_LEN].copy_from_slice(raw.as_bytes());
        let crc = checksum(block, self.trailer as usize, used, check_payload);
        block[CRC_AT..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads and checks the header of a received block.
    ///
    /// # Errors
    /// Names what is wrong; nothing of the block may be used then.
    #[inline]
    pub fn decode(block: &[u8]) -> Result<Self, Malformed> {
        let (raw, _) = Raw::ref_from_prefix(block).map_err(|_| Malformed::TooShort)?;
        if raw.version != VERSION {
            return Err(Malformed::Version);
        }
        let kind = match raw.kind {
            1 => Kind::Data,
            2 => Kind::Control,
            3 => Kind::Setup,
            4 => Kind::Agreement,
            _ => return Err(Malformed::Kind),
        };
        if raw.cipher != CIPHER_NONE {
            return Err(Malformed::Cipher);
        }
        let (used, trailer, first) = (raw.used.get(), raw.trailer.get(), raw.first.get());
        let sound = used as usize <= block.len()
            && trailer <= used
            && trailer as usize >= HEADER_LEN
            && (first == NO_FIRST || (first as usize >= HEADER_LEN && first < trailer));
        if !sound {
            return Err(Malformed::Lengths);
        }
        if checksum(block, trailer as usize, used as usize, raw.flags & FLAG_PAYLOAD_CHECKED != 0)
            != raw.crc.get()
            && !mutated!(SkipChecksum)
        {
            return Err(Malformed::Checksum);
        }
        Ok(Self {
            kind,
            group: GroupId(raw.group.get()),
            instance: GroupInstance(raw.instance.get()),
            view: ViewNumber(raw.view.get()),
            seq: raw.seq.get(),
            rank: Rank(raw.rank.get()),
            first,
            trailer,
            used,
            order: raw.flags & ORDER_FLAGS,
        })
    }

    /// The data frames of a block that this header was decoded from.
    #[must_use]
    pub fn data<'a>(&self, block: &'a [u8]) -> &'a [u8] {
        &block[HEADER_LEN..self.trailer as usize]
    }

    /// The data frames of a block that was decoded before, without a second check; of any other bytes, nothing harmful.
    #[must_use]
    #[inline]
    pub fn data_of_checked(block: &[u8]) -> &[u8] {
        let Ok((raw, _)) = Raw::ref_from_prefix(block) else { return &[] };
        block.get(HEADER_LEN..raw.trailer.get() as usize).unwrap_or(&[])
    }

    /// The order flags and the control frames of a block that was decoded before.
    #[must_use]
    #[inline]
    pub fn order_of_checked(block: &[u8]) -> (u8, &[u8]) {
        let Ok((raw, _)) = Raw::ref_from_prefix(block) else { return (0, &[]) };
        let trailer = block.get(raw.trailer.get() as usize..raw.used.get() as usize).unwrap_or(&[]);
        (raw.flags & ORDER_FLAGS, trailer)
    }

    /// Where the first message begins in a block that was decoded before, or [`NO_FIRST`].
    #[must_use]
    pub fn first_of_checked(block: &[u8]) -> u16 {
        Raw::ref_from_prefix(block).map_or(NO_FIRST, |(raw, _)| raw.first.get())
    }

    /// The control frames of a block that this header was decoded from.
    #[must_use]
    pub fn control<'a>(&self, block: &'a [u8]) -> &'a [u8] {
        &block[self.trailer as usize..self.used as usize]
    }
}

/// CRC32C over header and trailer, and over what lies between them when `payload` says so.
fn checksum(block: &[u8], trailer: usize, used: usize, payload: bool) -> u32 {
    let head = crc::append(0, &block[..CRC_AT]);
    let from = if payload { HEADER_LEN } else { trailer };
    crc::append(head, &block[from..used])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Header, Vec<u8>) {
        let mut block = vec![0; 64];
        block[32..48].copy_from_slice(b"sixteen bytes ok");
        block[48..56].copy_from_slice(b"trailer.");
        let mut header = Header::new(
            Kind::Data,
            GroupId(0x1122_3344),
            GroupInstance(0x5566_7788),
            ViewNumber(3),
            Rank(0x0201),
        );
        header.seq = 0xaabb_ccdd;
        (header.first, header.trailer, header.used) = (32, 48, 56);
        header.encode(&mut block, true);
        (header, block)
    }

    #[test]
    fn golden_vector() {
        let (header, block) = sample();
        let hex: String = block[..HEADER_LEN].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "51010100443322118877665503000000ddccbbaa0102380020003000b9dad7aa");
        assert_eq!(Header::decode(&block), Ok(header));
        assert_eq!(header.data(&block), b"sixteen bytes ok");
        assert_eq!(header.control(&block), b"trailer.");
    }

    #[test]
    fn each_kind_is_read_back_and_no_other() {
        let (header, mut block) = sample();
        for kind in [Kind::Data, Kind::Control, Kind::Setup, Kind::Agreement] {
            Header { kind, ..header }.encode(&mut block, true);
            assert_eq!(Header::decode(&block), Ok(Header { kind, ..header }));
        }
        for kind in (0..=u8::MAX).filter(|kind| !(1..=4).contains(kind)) {
            block[1] = kind;
            assert_eq!(Header::decode(&block), Err(Malformed::Kind));
        }
    }

    #[test]
    fn every_single_bit_flip_is_noticed() {
        let (header, block) = sample();
        for bit in 0..header.used as usize * 8 {
            let mut flipped = block.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&flipped).is_err(), "bit {bit}");
        }
        let mut padding = block;
        padding[60] ^= 1;
        assert_eq!(Header::decode(&padding), Ok(header), "padding does not count");
    }

    #[test]
    fn every_truncation_is_noticed() {
        let (header, block) = sample();
        assert!((0..header.used as usize).all(|len| Header::decode(&block[..len]).is_err()));
    }

    #[test]
    fn without_the_flag_the_payload_is_not_covered() {
        let (header, mut block) = sample();
        header.encode(&mut block, false);
        block[40] ^= 1;
        assert_eq!(Header::decode(&block), Ok(header));
        block[50] ^= 1;
        assert_eq!(Header::decode(&block), Err(Malformed::Checksum));
    }
}
