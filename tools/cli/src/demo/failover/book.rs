//! The state of the group: the last message of each instrument, and what all messages so far amount to.
//!
//! Whoever joins late takes it over, and goes on from there: the chain of hashes shows whether every message since the first came,
//! once, and in order, whoever received it.

use std::collections::BTreeMap;

use crate::capture::instrument;
use crate::demo::api::{Snapshot, StateBlock};

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Book {
    messages: u64,
    bytes: u64,
    /// Of no message it is all zeros; of one more, BLAKE3 over the chain before it, the message's length and the message.
    chain: [u8; 32],
    last: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Its domains: they are transferred one after the other.
const CHAIN: &str = "chain";
const LAST: &str = "last values";

impl Book {
    /// Takes the next message.
    pub(super) fn add(&mut self, message: &[u8]) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.chain).update(&(message.len() as u32).to_le_bytes()).update(message);
        self.chain = hasher.finalize().into();
        self.messages += 1;
        self.bytes += message.len() as u64;
        let key = instrument(message);
        match self.last.get_mut(key) {
            Some(last) => {
                last.clear();
                last.extend_from_slice(message);
            }
            None => _ = self.last.insert(key.to_vec(), message.to_vec()),
        }
    }

    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What all messages amount to, in hex.
    pub(super) fn chain(&self) -> String {
        blake3::Hash::from_bytes(self.chain).to_hex().to_string()
    }

    /// What the whole state amounts to, in hex.
    pub(super) fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut bytes = Vec::new();
        self.write_chain(&mut bytes);
        self.write_last(&mut bytes);
        hasher.update(&bytes);
        hasher.finalize().to_hex().to_string()
    }

    /// Writes it down for those who join.
    pub(super) fn write(&self, snapshot: &mut Snapshot) {
        self.write_chain(snapshot.domain(CHAIN));
        self.write_last(snapshot.domain(LAST));
    }

    fn write_chain(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.messages.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&self.chain);
    }

    fn write_last(&self, out: &mut Vec<u8>) {
        for (key, message) in &self.last {
            for part in [key, message] {
                out.extend_from_slice(&(part.len() as u32).to_le_bytes());
                out.extend_from_slice(part);
            }
        }
    }

    fn read_chain(&mut self, bytes: &[u8]) -> Option<()> {
        let (messages, rest) = bytes.split_first_chunk()?;
        let (sum, chain) = rest.split_first_chunk()?;
        self.messages = u64::from_le_bytes(*messages);
        self.bytes = u64::from_le_bytes(*sum);
        self.chain = chain.try_into().ok()?;
        Some(())
    }

    fn read_last(&mut self, mut bytes: &[u8]) -> Option<()> {
        self.last.clear();
        let mut part = || {
            let (len, rest) = bytes.split_first_chunk()?;
            let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            bytes = rest;
            Some((part.to_vec(), rest.is_empty()))
        };
        while let Some((key, _)) = part() {
            self.last.insert(key, part()?.0);
        }
        Some(())
    }
}

/// A state that is being taken over.
#[derive(Debug, Default)]
pub(super) struct Coming {
    bytes: Vec<u8>,
}

impl Coming {
    /// Takes a block of it; a domain that is whole goes into `book`.
    ///
    /// # Errors
    /// When it is no such state.
    pub(super) fn take(&mut self, block: &StateBlock<'_>, book: &mut Book) -> Result<(), String> {
        if block.is_first() {
            self.bytes.clear();
        }
        self.bytes.extend_from_slice(block.bytes);
        if !block.is_last() {
            return Ok(());
        }
        let read = match block.domain {
            CHAIN => book.read_chain(&self.bytes),
            LAST => book.read_last(&self.bytes),
            other => return Err(format!("nobody here has a domain {other}")),
        };
        read.ok_or_else(|| format!("{} bytes of {} are no such state", self.bytes.len(), block.domain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> Book {
        let mut book = Book::default();
        for message in [
            &b"1 {\"stream\":\"a@trade\"} x"[..],
            b"2 {\"stream\":\"b@trade\"}",
            b"3 {\"stream\":\"a@trade\"}",
        ] {
            book.add(message);
        }
        book
    }

    #[test]
    fn what_is_taken_over_is_what_was_written_down() {
        let (book, mut other, mut coming) = (book(), Book::default(), Coming::default());
        let (mut chain, mut last) = (Vec::new(), Vec::new());
        book.write_chain(&mut chain);
        book.write_last(&mut last);
        assert_eq!(book.last.len(), 2);
        for (domain, bytes) in [(CHAIN, chain), (LAST, last)] {
            for (at, byte) in bytes.iter().enumerate() {
                let block =
                    StateBlock { domain, offset: at as u64, len: bytes.len() as u64, bytes: &[*byte] };
                coming.take(&block, &mut other).expect("a state");
            }
        }
        assert_eq!((&other, other.digest()), (&book, book.digest()));
    }

    #[test]
    fn a_message_more_twice_or_elsewhere_is_another_chain() {
        let of = |messages: &[&[u8]]| {
            let mut book = Book::default();
            messages.iter().for_each(|message| book.add(message));
            book.chain()
        };
        let truth = of(&[b"1 a", b"2 b"]);
        for other in
            [of(&[b"1 a"]), of(&[b"1 a", b"2 b", b"2 b"]), of(&[b"2 b", b"1 a"]), of(&[b"1 a2", b" b"])]
        {
            assert_ne!(truth, other);
        }
    }

    #[test]
    fn a_state_that_is_cut_off_is_refused() {
        let mut last = Vec::new();
        book().write_last(&mut last);
        let refused = |domain, bytes: &[u8]| {
            let block = StateBlock { domain, offset: 0, len: bytes.len() as u64, bytes };
            Coming::default().take(&block, &mut Book::default()).is_err()
        };
        assert!(refused(CHAIN, &[0; 47]) && refused("no", &[1]));
        assert!(refused(LAST, &last[..20]), "a key without a message");
    }
}
