//! What is kept of a stream of events: bytes in one buffer, one record for each event, and where the latest of each key is.

use super::{Key, Note};
use hashbrown::HashTable;
use sistrum_ordering::Rank;
use sistrum_transport::reliable::Message;
use sistrum_transport::time::Instant;
use std::collections::VecDeque;

/// Bytes that each message counts beside its own, for its record.
pub const PER_MESSAGE: usize = 64;
const _: () = assert!(size_of::<Record>() <= PER_MESSAGE);

/// Buffers of less than this are not worth putting in order.
const LEAST_TIDIED: usize = 16 * 1024;

/// See the module.
///
/// The buffer is put in order when more than half of it is garbage, so that it is never longer than twice what is kept, and a little.
#[derive(Debug, Default)]
pub(super) struct Store {
    buffer: Vec<u8>,
    records: VecDeque<Record>,
    /// Number of the first record; they are numbered as they come.
    first: u64,
    messages: u64,
    notes: u64,
    /// Bytes of messages that are kept.
    bytes: usize,
    /// Numbers of the latest records of all keys that are kept.
    latest: HashTable<u64>,
}

/// One event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) at: Instant,
    /// For a key: how many messages had been handed over when it began to wait.
    pub(super) since: u64,
    pub(super) body: Body,
    pub(super) from: Rank,
    key: Option<Key>,
}

/// What is kept of it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body {
    /// A message, whose bytes stand here in the buffer.
    Message { start: usize, len: u32 },
    /// Something else.
    Note(Note),
    /// Nothing any more.
    Nothing,
}

impl Store {
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// Bytes that are kept, as they are counted.
    pub(super) fn cost(&self) -> usize {
        self.bytes + (self.messages + self.notes) as usize * PER_MESSAGE
    }

    /// Writes a message behind all others. It is not kept before [`keep`](Self::keep) says so.
    pub(super) fn write(&mut self, message: &Message<'_>) -> Body {
        if self.records.is_empty() {
            self.buffer.clear();
        } else if self.buffer.len() > LEAST_TIDIED.max(2 * self.bytes)
            || self.records.len() as u64 > LEAST_RECORDS.max(2 * (self.messages + self.notes))
        {
            self.tidy();
        }
        let start = self.buffer.len();
        message.parts().for_each(|part| self.buffer.extend_from_slice(part));
        Body::Message { start, len: message.len() as u32 }
    }

    /// Takes back what was written last.
    pub(super) fn unwrite(&mut self, body: Body) {
        if let Body::Message { start, .. } = body {
            self.buffer.truncate(start);
        }
    }

    /// The bytes of a message.
    pub(super) fn bytes_of(&self, body: Body) -> &[u8] {
        match body {
            Body::Message { start, len } => &self.buffer[start..][..len as usize],
            Body::Note(_) | Body::Nothing => &[],
        }
    }

    pub(super) fn keep(&mut self, at: Instant, from: Rank, body: Body, (key, since): (Option<Key>, u64)) {
        let number = self.first + self.records.len() as u64;
        self.records.push_back(Record { at, since, body, from, key });
        match body {
            Body::Message { len, .. } => {
                (self.messages, self.bytes) = (self.messages + 1, self.bytes + len as usize)
            }
            Body::Note(_) => self.notes += 1,
            Body::Nothing => {}
        }
        if let Some(key) = key {
            self.note_latest(number, from, key);
        }
    }

    fn note_latest(&mut self, number: u64, from: Rank, key: Key) {
        let Self { latest, records, first, .. } = self;
        match latest.find_mut(hash(from, key), |other| is_of(records, *first, *other, from, key)) {
            Some(before) => *before = number,
            None => {
                latest.insert_unique(hash(from, key), number, |other| rehash(records, *first, *other));
            }
        }
    }

    /// The latest record of this sender and key.
    pub(super) fn latest(&self, from: Rank, key: Key) -> Option<(u64, &Record)> {
        let number = *self
            .latest
            .find(hash(from, key), |other| is_of(&self.records, self.first, *other, from, key))?;
        Some((number, &self.records[(number - self.first) as usize]))
    }

    /// Forgets what stands here; another record of its key is the latest from now on, or is about to be.
    pub(super) fn strike(&mut self, number: u64) {
        let record = &mut self.records[(number - self.first) as usize];
        let body = std::mem::replace(&mut record.body, Body::Nothing);
        self.uncount(body);
        self.skip();
    }

    /// The oldest.
    pub(super) fn front(&self) -> Option<&Record> {
        self.records.front()
    }

    /// The newest.
    pub(super) fn back(&self) -> Option<&Record> {
        self.records.back()
    }

    /// Forgets the oldest, and whatever behind it is nothing any more.
    pub(super) fn pop(&mut self) -> Option<Record> {
        let popped = self.pop_one();
        self.skip();
        popped
    }

    fn skip(&mut self) {
        while self.front().is_some_and(|record| matches!(record.body, Body::Nothing)) {
            self.pop_one();
        }
    }

    fn pop_one(&mut self) -> Option<Record> {
        let record = *self.records.front()?;
        if let Some(key) = record.key {
            // It is removed while its record can still be looked at.
            let (records, first, number) = (&self.records, self.first, self.first);
            if let Ok(entry) = self.latest.find_entry(hash(record.from, key), |other| {
                *other == number && is_of(records, first, *other, record.from, key)
            }) {
                entry.remove();
            }
        }
        self.records.pop_front();
        self.first += 1;
        self.uncount(record.body);
        Some(record)
    }

    fn uncount(&mut self, body: Body) {
        match body {
            Body::Message { len, .. } => {
                (self.messages, self.bytes) = (self.messages - 1, self.bytes - len as usize)
            }
            Body::Note(_) => self.notes -= 1,
            Body::Nothing => {}
        }
    }

    /// Moves all that is kept to the front of the buffer, in its order, and numbers it anew.
    fn tidy(&mut self) {
        let Self { buffer, records, .. } = self;
        let mut end = 0;
        records.retain_mut(|record| {
            if let Body::Message { start, len } = &mut record.body {
                let len = *len as usize;
                buffer.copy_within(*start..*start + len, end);
                (*start, end) = (end, end + len);
            }
            !matches!(record.body, Body::Nothing)
        });
        buffer.truncate(end);
        self.latest.clear();
        for at in 0..self.records.len() {
            let record = self.records[at];
            if let Some(key) = record.key {
                self.note_latest(self.first + at as u64, record.from, key);
            }
        }
    }
}

fn is_of(records: &VecDeque<Record>, first: u64, number: u64, from: Rank, key: Key) -> bool {
    let record = &records[(number - first) as usize];
    record.from == from && record.key == Some(key)
}

fn rehash(records: &VecDeque<Record>, first: u64, number: u64) -> u64 {
    let record = &records[(number - first) as usize];
    record.key.map_or(0, |key| hash(record.from, key))
}

/// The same in every run: the order of the table is never looked at.
fn hash(from: Rank, key: Key) -> u64 {
    let (low, high) = (key.number() as u64, (key.number() >> 64) as u64);
    let mixed = (low ^ u64::from(from.0)).wrapping_mul(ODD) ^ high.rotate_left(32);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(ODD);
    mixed ^ (mixed >> 29)
}

/// The golden ratio, as hashing by multiplication takes it.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
const LEAST_RECORDS: u64 = 256;
