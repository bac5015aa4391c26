//! What a stream of messages was: how many, how long, and one hash over their lengths and bytes in order.

use crate::capture::Feed;

/// Hashes messages one after another. Two streams with one digest have the same messages in the same order.
#[derive(Debug, Default)]
pub(crate) struct Digester {
    messages: u64,
    bytes: u64,
    hasher: blake3::Hasher,
}

/// A hashed stream of messages.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Digest {
    /// How many messages.
    pub(crate) messages: u64,
    /// Their bytes, without lengths and headers.
    pub(crate) bytes: u64,
    /// BLAKE3, in hex, over (length as 32 bits little-endian, bytes) of every message.
    pub(crate) hash: String,
}

impl Digester {
    /// Adds the next message.
    pub(crate) fn add(&mut self, message: &[u8]) {
        let length = u32::try_from(message.len()).expect("no message reaches 4 GiB");
        self.hasher.update(&length.to_le_bytes());
        self.hasher.update(message);
        self.messages += 1;
        self.bytes += u64::from(length);
    }

    /// Adds the next message of a sequence in which it counts whose message it is.
    pub(crate) fn add_of(&mut self, sender: u16, message: &[u8]) {
        self.hasher.update(&sender.to_le_bytes());
        self.add(message);
    }

    /// The digest of what was added so far.
    pub(crate) fn digest(&self) -> Digest {
        let hash = self.hasher.finalize().to_hex().to_string();
        Digest { messages: self.messages, bytes: self.bytes, hash }
    }
}

impl Digest {
    /// What every subscriber must come to: the digest of the capture itself.
    pub(crate) fn of(feed: &Feed) -> Self {
        let mut digester = Digester::default();
        feed.iter().for_each(|message| digester.add(message.bytes));
        digester.digest()
    }

    /// One digest of several streams, by their digests in this order; that of a single stream is its own.
    pub(crate) fn of_all(streams: &[Self]) -> Self {
        if let [only] = streams {
            return only.clone();
        }
        let mut hashes = Digester::default();
        streams.iter().for_each(|stream| hashes.add(stream.hash.as_bytes()));
        let sum = |count: fn(&Self) -> u64| streams.iter().map(count).sum();
        Self { messages: sum(|stream| stream.messages), bytes: sum(|stream| stream.bytes), ..hashes.digest() }
    }

    /// The first 16 hex digits, for people.
    pub(crate) fn short(&self) -> &str {
        self.hash.get(..16).unwrap_or(&self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(messages: &[&[u8]]) -> Digest {
        let mut digester = Digester::default();
        messages.iter().for_each(|message| digester.add(message));
        digester.digest()
    }

    #[test]
    fn the_hash_is_blake3_over_lengths_and_bytes() {
        let plain = blake3::hash(b"\x02\x00\x00\x00ab\x00\x00\x00\x00");
        assert_eq!(of(&[b"ab", b""]), Digest { messages: 2, bytes: 2, hash: plain.to_hex().to_string() });
    }

    #[test]
    fn of_several_streams_each_counts_and_so_does_their_order() {
        let (one, other) = (of(&[b"a"]), of(&[b"b", b"cd"]));
        assert_eq!(Digest::of_all(std::slice::from_ref(&one)), one);
        let both = Digest::of_all(&[one.clone(), other.clone()]);
        assert_eq!((both.messages, both.bytes), (3, 4));
        assert_ne!(both.hash, Digest::of_all(&[other, one]).hash);
    }

    #[test]
    fn in_a_sequence_it_counts_whose_message_it_is() {
        let of = |senders: [u16; 2]| {
            let mut digester = Digester::default();
            senders.iter().for_each(|&sender| digester.add_of(sender, b"a"));
            digester.digest()
        };
        assert_ne!(of([0, 1]), of([1, 0]));
    }

    #[test]
    fn borders_order_and_every_bit_matter() {
        let truth = of(&[b"ab", b"c"]);
        for other in [of(&[b"a", b"bc"]), of(&[b"c", b"ab"]), of(&[b"ab", b"b"]), of(&[b"ab"])] {
            assert_ne!(truth.hash, other.hash);
        }
    }
}
