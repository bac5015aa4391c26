//! What giver and taker tell each other on their stream. Little-endian; one message of the stream each.
//!
//! ```text
//!   Want    1 | domain u16 | offset u64 | length u64 | digest u32 | shape u32     taker -> giver
//!   Begin   2 | domain u16 | offset u64 | length u64 | digest u32 | shape u32 | name
//!   Block   3 | domain u16 | offset u64 | bytes
//!   End     4 | domains u16
//!   Refuse  5 | why
//!   From    6 | rank u16 | sequence u64 | offset u32 | next u64 | read u8 | (value u64)*    to a reader, one for each stream, before all else
//! ```

use sistrum_ordering::Seq;

/// Where a block lies: the *locator* of Isis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    /// Index of the domain.
    pub(super) domain: u16,
    /// Bytes of it before the block.
    pub(super) offset: u64,
}

/// What a domain is recognised by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Print {
    /// Its bytes.
    pub(super) len: u64,
    /// Their checksum.
    pub(super) digest: u32,
    /// The checksum of the names of all domains.
    pub(super) shape: u32,
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// Go on here, if your domain is the one that I have begun; otherwise at its beginning, or with another list of domains at theirs.
    Want { place: Place, begun: Print },
    /// Blocks of this domain follow, from here on.
    Begin { place: Place, print: Print, name: &'a str },
    /// Some of it.
    Block { place: Place, bytes: &'a [u8] },
    /// That was all: so many domains.
    End { domains: u16 },
    /// There is nothing for you.
    Refuse { why: &'a str },
    /// What was handed over of this stream by the state ends here.
    From { rank: u16, seq: u64, at: u32, next: u64, is_read: bool, vector: Vector<'a> },
}

/// The vector of a stamp, to be written or as it was read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Vector<'a> {
    Values(&'a [Seq]),
    Bytes(&'a [u8]),
}

impl Vector<'_> {
    pub(super) fn to_vec(self) -> Vec<Seq> {
        let value = |bytes: &[u8]| bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
        match self {
            Self::Values(values) => values.to_vec(),
            Self::Bytes(bytes) => bytes.chunks_exact(8).map(|bytes| Seq(value(bytes))).collect(),
        }
    }
}

impl PartialEq for Vector<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.to_vec() == other.to_vec()
    }
}

impl Eq for Vector<'_> {}

impl<'a> Message<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        let place_to = |out: &mut Vec<u8>, place: &Place| {
            out.extend_from_slice(&place.domain.to_le_bytes());
            out.extend_from_slice(&place.offset.to_le_bytes());
        };
        let print_to = |out: &mut Vec<u8>, print: &Print| {
            out.extend_from_slice(&print.len.to_le_bytes());
            out.extend_from_slice(&print.digest.to_le_bytes());
            out.extend_from_slice(&print.shape.to_le_bytes());
        };
        match self {
            Self::Want { place, begun } => {
                out.push(WANT);
                place_to(out, place);
                print_to(out, begun);
            }
            Self::Begin { place, print, name } => {
                out.push(BEGIN);
                place_to(out, place);
                print_to(out, print);
                out.extend_from_slice(name.as_bytes());
            }
            Self::Block { place, bytes } => {
                out.push(BLOCK);
                place_to(out, place);
                out.extend_from_slice(bytes);
            }
            Self::End { domains } => {
                out.push(END);
                out.extend_from_slice(&domains.to_le_bytes());
            }
            Self::Refuse { why } => {
                out.push(REFUSE);
                out.extend_from_slice(why.as_bytes());
            }
            Self::From { rank, seq, at, next, is_read, vector } => {
                out.push(FROM);
                out.extend_from_slice(&rank.to_le_bytes());
                out.extend_from_slice(&seq.to_le_bytes());
                out.extend_from_slice(&at.to_le_bytes());
                out.extend_from_slice(&next.to_le_bytes());
                out.push(u8::from(*is_read));
                match vector {
                    Vector::Values(values) => {
                        values.iter().for_each(|value| out.extend_from_slice(&value.0.to_le_bytes()));
                    }
                    Vector::Bytes(bytes) => out.extend_from_slice(bytes),
                }
            }
        }
    }

    /// `None` for what no member that keeps to the protocol sends.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (&tag, rest) = bytes.split_first()?;
        match tag {
            WANT => {
                let (place, rest) = place_of(rest)?;
                let (begun, rest) = print_of(rest)?;
                rest.is_empty().then_some(Self::Want { place, begun })
            }
            BEGIN => {
                let (place, rest) = place_of(rest)?;
                let (print, name) = print_of(rest)?;
                let name = std::str::from_utf8(name).ok()?;
                // There is something left of it, unless it is empty.
                let is_sound = place.offset < print.len || print.len == 0 && place.offset == 0;
                is_sound.then_some(Self::Begin { place, print, name })
            }
            BLOCK => {
                let (place, bytes) = place_of(rest)?;
                (!bytes.is_empty()).then_some(Self::Block { place, bytes })
            }
            END => {
                let (domains, rest) = rest.split_first_chunk()?;
                rest.is_empty().then_some(Self::End { domains: u16::from_le_bytes(*domains) })
            }
            REFUSE => Some(Self::Refuse { why: std::str::from_utf8(rest).ok()? }),
            FROM => {
                let (rank, rest) = rest.split_first_chunk()?;
                let (seq, rest) = rest.split_first_chunk()?;
                let (at, rest) = rest.split_first_chunk()?;
                let (next, rest) = rest.split_first_chunk()?;
                let (&read, vector) = rest.split_first()?;
                let (rank, seq) = (u16::from_le_bytes(*rank), u64::from_le_bytes(*seq));
                let (at, next) = (u32::from_le_bytes(*at), u64::from_le_bytes(*next));
                let is_sound = seq <= Seq::LIMIT.0 && next <= Seq::LIMIT.0 && vector.len().is_multiple_of(8);
                let (is_read, vector) = (read == 1, Vector::Bytes(vector));
                (is_sound && read <= 1).then_some(Self::From { rank, seq, at, next, is_read, vector })
            }
            _ => None,
        }
    }
}

/// Bytes of a block before those of the state.
pub(super) const BLOCK_HEAD: usize = 1 + 2 + 8;

const WANT: u8 = 1;
const BEGIN: u8 = 2;
const BLOCK: u8 = 3;
const END: u8 = 4;
const REFUSE: u8 = 5;
const FROM: u8 = 6;

fn place_of(bytes: &[u8]) -> Option<(Place, &[u8])> {
    let (domain, rest) = bytes.split_first_chunk()?;
    let (offset, rest) = rest.split_first_chunk()?;
    Some((Place { domain: u16::from_le_bytes(*domain), offset: u64::from_le_bytes(*offset) }, rest))
}

fn print_of(bytes: &[u8]) -> Option<(Print, &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    let (digest, rest) = rest.split_first_chunk()?;
    let (shape, rest) = rest.split_first_chunk()?;
    let (digest, shape) = (u32::from_le_bytes(*digest), u32::from_le_bytes(*shape));
    Some((Print { len: u64::from_le_bytes(*len), digest, shape }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let (place, print) = (Place { domain: 3, offset: 7 }, Print { len: 9, digest: 1, shape: 2 });
        let mut out = Vec::new();
        for message in [
            Message::Want { place, begun: print },
            Message::Begin { place, print, name: "prices" },
            Message::Block { place, bytes: b"abc" },
            Message::End { domains: 3 },
            Message::Refuse { why: "no" },
            Message::From {
                rank: 3,
                seq: Seq::LIMIT.0,
                at: 9,
                next: 7,
                is_read: true,
                vector: Vector::Values(&[Seq(5), Seq(1 << 40)]),
            },
        ] {
            message.encode(&mut out);
            assert_eq!(Message::decode(&out), Some(message));
            // Cut short, it is another message at most, and never read beyond.
            for len in 0..out.len() {
                let cut = Message::decode(&out[..len]);
                assert_ne!(cut, Some(message));
            }
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let beyond = Message::Begin {
            place: Place { domain: 0, offset: 9 },
            print: Print { len: 9, ..Print::default() },
            name: "",
        };
        let mut out = Vec::new();
        beyond.encode(&mut out);
        assert_eq!(Message::decode(&out), None);
        for bytes in [
            &[][..],
            &[0],
            &[9, 1],
            &[END, 0],
            &[END, 0, 0, 0],
            &[BLOCK; BLOCK_HEAD],
            &[REFUSE, 0xff],
            &[FROM; 23],
            &[FROM; 25],
        ] {
            assert_eq!(Message::decode(bytes), None, "{bytes:?}");
        }
    }
}
