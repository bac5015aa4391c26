//! The bytes of a message of agreement.
//!
//! ```text
//! message  := tag u8 | fields, in the order of their declaration
//! list     := count u16 | items                    at most MAX_MEMBERS items, and no more than there are bytes for
//! option   := 0 u8 | nothing, or 1 u8 | value
//! ballot   := attempt u32 | rank u16
//! endpoint := family u8 (4, 6) | address (4 or 16 bytes, as written) | port u16
//! member   := endpoint | boot u64
//! op       := 1 u8 | introduction, 2 u8 | member, 3 u8 | sync cast
//! sync     := member | number u32 | length u32 | bytes
//! letter   := length u32 | bytes
//! ```
//! All integers are little-endian. There is one way to write a message, and whatever is read was written so: each bit counts.
//! A decoder never panics, and takes no memory for what is not there.

use super::message::{Letter, Message};
use super::value::{Ballot, Introduction, MAX_MEMBERS, Op, Proposal, Reason, Roster, SyncCast, Value};
use sistrum_ordering::{BootId, Endpoint, GroupInstance, Rank, Seq, ViewMember, ViewNumber};
use sistrum_transport::wire::Malformed;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of a message at most: that of a view of [`MAX_MEMBERS`], all of whom are replaced by others, with its sync casts twice.
pub const MAX_MESSAGE_LEN: usize = 384 * 1024;

const FAMILY_V4: u8 = 4;
const FAMILY_V6: u8 = 6;

/// What can be written and read back.
trait Wire: Sized {
    /// Bytes that it takes at least.
    const LEAST: usize;
    fn write(&self, out: &mut Vec<u8>);
    fn read(from: &mut Reader<'_>) -> Option<Self>;
}

/// Bytes that were not read yet.
struct Reader<'a> {
    bytes: &'a [u8],
    /// Who reads: endpoints are told without the number of a link, which means something on one host only.
    local: Endpoint,
}

impl Message {
    /// Appends its bytes to `out`: at most [`MAX_MESSAGE_LEN`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.write(out);
    }

    /// Reads a message that came to `local`.
    ///
    /// # Errors
    /// When the bytes are not exactly one.
    pub fn decode(bytes: &[u8], local: Endpoint) -> Result<Self, Malformed> {
        let mut reader = Reader { bytes, local };
        let message = Self::read(&mut reader).filter(|_| reader.bytes.is_empty());
        message.ok_or(Malformed::Frame)
    }
}

/// Appends a member as messages name it.
pub(crate) fn write_member(member: ViewMember, out: &mut Vec<u8>) {
    member.write(out);
}

/// Reads a member that is named to `local`, and returns what follows.
pub(crate) fn read_member(bytes: &[u8], local: Endpoint) -> Option<(ViewMember, &[u8])> {
    let mut reader = Reader { bytes, local };
    Some((reader.read()?, reader.bytes))
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*taken)
    }

    fn read<T: Wire>(&mut self) -> Option<T> {
        T::read(self)
    }
}

macro_rules! integers {
    ($($int:ty),*) => {$(
        impl Wire for $int {
            const LEAST: usize = size_of::<Self>();
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn read(from: &mut Reader<'_>) -> Option<Self> {
                from.array().map(Self::from_le_bytes)
            }
        }
    )*};
}
integers!(u16, u32, u64);

/// Types that wrap one value.
macro_rules! wrappers {
    ($($name:ident($inner:ty)),*) => {$(
        impl Wire for $name {
            const LEAST: usize = <$inner>::LEAST;
            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }
            fn read(from: &mut Reader<'_>) -> Option<Self> {
                from.read().map(Self)
            }
        }
    )*};
}
wrappers!(Rank(u16), ViewNumber(u32), GroupInstance(u32), BootId(u64));

/// Types whose fields follow each other.
macro_rules! structs {
    ($($name:ident { $($field:ident: $type:ty),* })*) => {$(
        impl Wire for $name {
            const LEAST: usize = 0 $(+ <$type as Wire>::LEAST)*;
            fn write(&self, out: &mut Vec<u8>) {
                $(self.$field.write(out);)*
            }
            fn read(from: &mut Reader<'_>) -> Option<Self> {
                Some(Self { $($field: from.read()?),* })
            }
        }
    )*};
}
structs! {
    Ballot { attempt: u32, rank: Rank }
    ViewMember { endpoint: Endpoint, boot: BootId }
    Introduction {
        member: ViewMember, start: Seq, window: u32, receive_buffer: u32, coalesces: bool, block: u32, rotating: bool,
        keeps_state: bool
    }
    Value {
        removed: Vec<(Rank, Reason)>, joined: Vec<Introduction>, cut: Vec<Seq>, syncs: Vec<SyncCast>, ready: Vec<Rank>,
        formed: bool
    }
    Proposal { ballot: Ballot, value: Value, holders: Vec<Rank> }
    Roster { number: ViewNumber, members: Vec<Introduction>, joining: Vec<Rank> }
}

impl Wire for Seq {
    const LEAST: usize = u64::LEAST;
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
    fn read(from: &mut Reader<'_>) -> Option<Self> {
        from.read().map(Self).filter(|seq| *seq <= Self::LIMIT)
    }
}

impl Wire for bool {
    const LEAST: usize = 1;
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn read(from: &mut Reader<'_>) -> Option<Self> {
        match from.array()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
}

impl<T: Wire> Wire for Option<T> {
    const LEAST: usize = bool::LEAST;
    fn write(&self, out: &mut Vec<u8>) {
        self.is_some().write(out);
        if let Some(value) = self {
            value.write(out);
        }
    }
    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(if from.read()? { Some(from.read()?) } else { None })
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    const LEAST: usize = A::LEAST + B::LEAST;
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }
    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some((from.read()?, from.read()?))
    }
}

impl<T: Wire> Wire for Vec<T> {
    const LEAST: usize = u16::LEAST;
    fn write(&self, out: &mut Vec<u8>) {
        debug_assert!(self.len() <= MAX_MEMBERS, "a list of {}", self.len());
        (self.len() as u16).write(out);
        self.iter().for_each(|item| item.write(out));
    }
    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let count = usize::from(from.read::<u16>()?);
        // Checked before any memory is taken.
        if count > MAX_MEMBERS || count * T::LEAST > from.bytes.len() {
            return None;
        }
        let mut items = Self::with_capacity(count);
        for _ in 0..count {
            items.push(from.read()?);
        }
        Some(items)
    }
}

impl Wire for Endpoint {
    const LEAST: usize = 1 + 4 + u16::LEAST;
    fn write(&self, out: &mut Vec<u8>) {
        match self.0.ip() {
            IpAddr::V4(ip) => {
                out.push(FAMILY_V4);
                out.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                out.push(FAMILY_V6);
                out.extend_from_slice(&ip.octets());
            }
        }
        self.0.port().write(out);
    }
    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let ip = match from.array()? {
            [FAMILY_V4] => Ipv4Addr::from(from.array::<4>()?).into(),
            [FAMILY_V6] => Ipv6Addr::from(from.array::<16>()?).into(),
            _ => return None,
        };
        Some(Self(SocketAddr::new(ip, from.read()?)).seen_from(from.local))
    }
}

impl Wire for Reason {
    const LEAST: usize = 1;
    fn write(&self, out: &mut Vec<u8>) {
        out.push(match self {
            Self::Suspected => 1,
            Self::Left => 2,
        });
    }
    fn read(from: &mut Reader<'_>) -> Option<Self> {
        match from.array()? {
            [1] => Some(Self::Suspected),
            [2] => Some(Self::Left),
            _ => None,
        }
    }
}

impl Wire for SyncCast {
    const LEAST: usize = ViewMember::LEAST + 2 * u32::LEAST;
    fn write(&self, out: &mut Vec<u8>) {
        self.by.write(out);
        self.number.write(out);
        (self.bytes.len() as u32).write(out);
        out.extend_from_slice(&self.bytes);
    }
    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (by, number, len) = (from.read()?, from.read()?, from.read::<u32>()?);
        Some(Self { by, number, bytes: from.take(len as usize)?.to_vec() })
    }
}

impl Wire for Letter {
    const LEAST: usize = u32::LEAST;
    fn write(&self, out: &mut Vec<u8>) {
        (self.0.len() as u32).write(out);
        out.extend_from_slice(&self.0);
    }
    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let len = from.read::<u32>()?;
        Some(Self(from.take(len as usize)?.to_vec()))
    }
}

/// An enum as the tag of its variant, then the variant's fields.
macro_rules! enums {
    ($name:ident { $($tag:literal => $variant:ident $fields:tt)* }) => {
        impl Wire for $name {
            const LEAST: usize = 1;
            fn write(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant { .. } => enums!(@write $tag $variant $fields self out),)*
                }
            }
            fn read(from: &mut Reader<'_>) -> Option<Self> {
                let [tag] = from.array()?;
                match tag {
                    $($tag => enums!(@read $variant $fields from),)*
                    _ => None,
                }
            }
        }
    };
    (@write $tag:literal $variant:ident { $($field:ident),* } $self:ident $out:ident) => {
        if let Self::$variant { $($field),* } = $self {
            $out.push($tag);
            $($field.write($out);)*
        }
    };
    (@write $tag:literal $variant:ident ($field:ident) $self:ident $out:ident) => {
        if let Self::$variant($field) = $self {
            $out.push($tag);
            $field.write($out);
        }
    };
    (@read $variant:ident { $($field:ident),* } $from:ident) => {
        Some(Self::$variant { $($field: $from.read()?),* })
    };
    (@read $variant:ident ($field:ident) $from:ident) => {
        $from.read().map(Self::$variant)
    };
}
enums!(Op {
    1 => Join(introduction)
    2 => Leave(member)
    3 => Sync(cast)
    4 => Ready(member)
});
enums!(Message {
    1 => Invite { next, ballot, suspects, wedged }
    2 => Ok { next, ballot, closed, acked, suspects, ops }
    3 => Refuse { next, promised, suspected }
    4 => Propose { next, proposal }
    5 => Ack { next, ballot }
    6 => Commit { next, value, holders, then }
    7 => Welcome { instance, roster, gone, formed }
    8 => Excluded { number }
    9 => Behind { number }
    10 => Waiting { next, promised, suspects }
    11 => Request { number, op }
    12 => Lookup {}
    13 => Found { instance, roster, wedged }
    14 => Follow { number }
    15 => Borrow { number, stream, mine }
    16 => Letter(letter)
});

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;

    const LOCAL: Endpoint = Endpoint(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1));

    fn member(rng: &mut Rng) -> ViewMember {
        let ip: IpAddr =
            if rng.bool() { Ipv4Addr::from(rng.u32(..)).into() } else { Ipv6Addr::from(rng.u128(..)).into() };
        ViewMember { endpoint: Endpoint(SocketAddr::new(ip, rng.u16(..))), boot: BootId(rng.u64(..)) }
    }

    fn introduction(rng: &mut Rng) -> Introduction {
        let (member, start) = (member(rng), Seq(rng.u64(..1 << 62)));
        Introduction {
            member,
            start,
            window: rng.u32(..),
            receive_buffer: rng.u32(..),
            coalesces: rng.bool(),
            block: rng.u32(..),
            rotating: rng.bool(),
            keeps_state: rng.bool(),
        }
    }

    fn list<T>(rng: &mut Rng, of: fn(&mut Rng) -> T) -> Vec<T> {
        (0..rng.usize(..5)).map(|_| of(rng)).collect()
    }

    fn rank(rng: &mut Rng) -> Rank {
        Rank(rng.u16(..))
    }

    fn ballot(rng: &mut Rng) -> Ballot {
        Ballot { attempt: rng.u32(..), rank: rank(rng) }
    }

    fn sync(rng: &mut Rng) -> SyncCast {
        SyncCast { by: member(rng), number: rng.u32(..), bytes: list(rng, |rng| rng.u8(..)) }
    }

    fn roster(rng: &mut Rng, number: ViewNumber) -> Roster {
        Roster { number, members: list(rng, introduction), joining: list(rng, rank) }
    }

    fn value(rng: &mut Rng) -> Value {
        let reason = |rng: &mut Rng| (rank(rng), if rng.bool() { Reason::Left } else { Reason::Suspected });
        let (removed, joined) = (list(rng, reason), list(rng, introduction));
        let cut = list(rng, |rng| Seq(rng.u64(..1 << 62)));
        Value { removed, joined, cut, syncs: list(rng, sync), ready: list(rng, rank), formed: rng.bool() }
    }

    fn proposal(rng: &mut Rng) -> Proposal {
        Proposal { ballot: ballot(rng), value: value(rng), holders: list(rng, rank) }
    }

    fn op(rng: &mut Rng) -> Op {
        match rng.u8(..3) {
            0 => Op::Join(introduction(rng)),
            1 => Op::Leave(member(rng)),
            _ => Op::Sync(sync(rng)),
        }
    }

    fn message(rng: &mut Rng) -> Message {
        let (next, number) = (ViewNumber(rng.u32(..)), ViewNumber(rng.u32(..)));
        match rng.u8(..16) {
            0 => Message::Invite { next, ballot: ballot(rng), suspects: list(rng, rank), wedged: rng.bool() },
            1 => Message::Ok {
                next,
                ballot: ballot(rng),
                closed: list(rng, |rng| Seq(rng.u64(..1 << 62))),
                acked: rng.bool().then(|| proposal(rng)),
                suspects: list(rng, rank),
                ops: list(rng, op),
            },
            2 => Message::Refuse { next, promised: Some(ballot(rng)), suspected: rng.bool() },
            3 => Message::Propose { next, proposal: proposal(rng) },
            4 => Message::Ack { next, ballot: ballot(rng) },
            5 => Message::Commit { next, value: value(rng), holders: list(rng, rank), then: None },
            6 => {
                let roster = roster(rng, number);
                let (instance, formed) = (GroupInstance(rng.u32(..)), rng.bool());
                Message::Welcome { instance, roster, gone: list(rng, member), formed }
            }
            7 => Message::Excluded { number },
            8 => Message::Behind { number },
            9 => Message::Waiting { next, promised: None, suspects: list(rng, rank) },
            10 => Message::Lookup,
            12 => Message::Follow { number },
            13 => {
                let stream = GroupInstance(rng.u32(..));
                Message::Borrow { number, stream, mine: introduction(rng) }
            }
            14 => Message::Letter(Letter(list(rng, |rng| rng.u8(..)))),
            11 => {
                let roster = roster(rng, number);
                Message::Found { instance: GroupInstance(rng.u32(..)), roster, wedged: rng.bool() }
            }
            _ => Message::Request { number, op: op(rng) },
        }
    }

    #[test]
    fn every_message_is_read_back_and_none_that_was_cut_or_lengthened() {
        let rng = &mut Rng::with_seed(5);
        for _ in 0..2_000 {
            let (message, mut bytes) = (message(rng), Vec::new());
            message.encode(&mut bytes);
            assert_eq!(Message::decode(&bytes, LOCAL), Ok(message));
            for len in 0..bytes.len() {
                assert_eq!(Message::decode(&bytes[..len], LOCAL), Err(Malformed::Frame), "{len} bytes");
            }
            bytes.push(0);
            assert_eq!(Message::decode(&bytes, LOCAL), Err(Malformed::Frame));
        }
    }

    #[test]
    fn hostile_bytes_are_refused_or_a_message_that_is_written_so() {
        let rng = &mut Rng::with_seed(6);
        let mut read = 0;
        for _ in 0..20_000 {
            let mut bytes = Vec::new();
            message(rng).encode(&mut bytes);
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            if let Ok(message) = Message::decode(&bytes, LOCAL) {
                let mut again = Vec::new();
                message.encode(&mut again);
                assert_eq!(again, bytes);
                read += 1;
            }
        }
        assert!(read > 0, "some bits may be anything");
    }
}
