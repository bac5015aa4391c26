//! Bytes of letters, of casts and of the table: little-endian, read without trust.

use crate::agreement::{read_member, write_member};
use crate::call::{Status, Want};
use sistrum_ordering::{Endpoint, ViewMember};

/// Bytes that were not read yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// Who reads.
    local: Endpoint,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], local: Endpoint) -> Self {
        Self { bytes, local }
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn member(&mut self) -> Option<ViewMember> {
        let (member, rest) = read_member(self.bytes, self.local)?;
        self.bytes = rest;
        Some(member)
    }

    /// Bytes behind their length.
    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()? as usize;
        let (taken, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(taken)
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.bytes.is_empty()
    }

    /// So many as a number says that stands before them; nothing is reserved for it.
    pub(super) fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let (count, mut all) = (self.u32()?, Vec::new());
        for _ in 0..count {
            all.push(one(self)?);
        }
        Some(all)
    }

    pub(super) fn want(&mut self) -> Option<Want> {
        match (self.u8()?, self.u32()?) {
            (0, 0) => Some(Want::None),
            (1, count) => Some(Want::N(count as usize)),
            (2, 0) => Some(Want::All),
            (3, 0) => Some(Want::Majority),
            _ => None,
        }
    }

    pub(super) fn status(&mut self) -> Option<Status> {
        match self.u8()? {
            0 => Some(Status::Waiting),
            1 => Some(Status::Replied(self.bytes()?.to_vec())),
            2 => Some(Status::Null),
            3 => Some(Status::Aborted(String::from_utf8_lossy(self.bytes()?).into_owned())),
            4 => Some(Status::Forwarded(self.member()?)),
            5 => Some(Status::Dead),
            6 => Some(Status::Unsent(self.u32()? as usize)),
            _ => None,
        }
    }
}

pub(super) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

pub(super) fn put_want(want: Want, out: &mut Vec<u8>) {
    let (tag, count) = match want {
        Want::None => (0, 0),
        Want::N(count) => (1, u32::try_from(count).unwrap_or(u32::MAX)),
        Want::All => (2, 0),
        Want::Majority => (3, 0),
    };
    out.push(tag);
    out.extend_from_slice(&count.to_le_bytes());
}

pub(super) fn put_status(status: &Status, out: &mut Vec<u8>) {
    match status {
        Status::Waiting => out.push(0),
        Status::Replied(reply) => {
            out.push(1);
            put_bytes(reply, out);
        }
        Status::Null => out.push(2),
        Status::Aborted(why) => {
            out.push(3);
            put_bytes(why.as_bytes(), out);
        }
        Status::Forwarded(to) => {
            out.push(4);
            write_member(*to, out);
        }
        Status::Dead => out.push(5),
        Status::Unsent(len) => {
            out.push(6);
            out.extend_from_slice(&(*len as u32).to_le_bytes());
        }
    }
}
