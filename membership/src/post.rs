//! Messages of agreement on their way: in as many blocks of their own as they need, since a view may be larger than a block.
//!
//! What was lost of a message is not asked for: whoever waits for an answer says it again, and the same message has the same id, so that
//! what was said again completes what was lost. Nothing here is on the path of casts.

use crate::agreement::{MAX_MESSAGE_LEN, Message};
use sistrum_ordering::{Endpoint, GroupId, GroupInstance, Rank, ViewNumber};
use sistrum_transport::protocol::Target;
use sistrum_transport::wire::{
    CHUNK_OVERHEAD, Chunk, Control, ControlFrames, ControlWriter, HEADER_LEN, Header, Kind, checksum,
};
use std::collections::VecDeque;

/// Messages that wait to be sent; what is beyond will be said again.
const MAX_WAITING: usize = 2048;
/// Messages that are put together at the same time, and those of one sender; what is beyond takes the place of the oldest, of the same sender first.
const MAX_PARTIAL: usize = 64;
const MAX_PARTIAL_OF_ONE: usize = 2;
/// Chunks of one message, at most: blocks are not smaller than some 200 bytes.
const MAX_CHUNKS: usize = MAX_MESSAGE_LEN / 128;
/// Bytes of them, at most.
const MAX_PARTIAL_BYTES: usize = 2 * MAX_MESSAGE_LEN;

/// See the module.
#[derive(Debug)]
pub(crate) struct Post {
    local: Endpoint,
    /// Bytes of a block at most.
    block: usize,
    outbox: VecDeque<Letter>,
    /// Bytes of what is in it.
    waiting: usize,
    /// The block that was taken last.
    taken: Vec<u8>,
    partial: VecDeque<Partial>,
    /// Frames and bytes that were sent, each copy once.
    frames: u64,
    bytes: u64,
}

/// A message that is to be sent.
#[derive(Debug)]
struct Letter {
    to: Target,
    header: Header,
    bytes: Vec<u8>,
    id: u32,
    /// Chunks of it that were taken.
    sent: usize,
}

/// A message of which something has come.
#[derive(Debug)]
struct Partial {
    from: Endpoint,
    id: u32,
    chunks: Vec<Option<Box<[u8]>>>,
    len: usize,
}

impl Post {
    pub(crate) fn new(local: Endpoint, block: usize) -> Self {
        let (outbox, partial) = (VecDeque::new(), VecDeque::new());
        Self { local, block, outbox, waiting: 0, taken: Vec::new(), partial, frames: 0, bytes: 0 }
    }

    /// Frames and bytes that were sent so far.
    pub(crate) fn spent(&self) -> (u64, u64) {
        (self.frames, self.bytes)
    }

    /// Sends `message` to `to`, as `rank` of this view.
    pub(crate) fn send(
        &mut self,
        to: Target,
        (group, instance, view, rank): (GroupId, GroupInstance, ViewNumber, Rank),
        message: &Message,
    ) {
        if self.outbox.len() >= MAX_WAITING {
            return;
        }
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.put(to, (group, instance, view, rank), bytes);
    }

    /// Likewise, where the same does not wait already, of which nothing was sent.
    pub(crate) fn send_anew(
        &mut self,
        to: Target,
        names: (GroupId, GroupInstance, ViewNumber, Rank),
        message: &Message,
    ) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let is_same = |letter: &Letter| letter.to == to && letter.sent == 0 && letter.bytes == bytes;
        if self.outbox.len() < MAX_WAITING && !self.outbox.iter().any(is_same) {
            self.put(to, names, bytes);
        }
    }

    fn put(
        &mut self,
        to: Target,
        (group, instance, view, rank): (GroupId, GroupInstance, ViewNumber, Rank),
        bytes: Vec<u8>,
    ) {
        let (header, id) = (Header::new(Kind::Agreement, group, instance, view, rank), checksum(&bytes));
        self.waiting += bytes.len();
        self.outbox.push_back(Letter { to, header, bytes, id, sent: 0 });
    }

    /// Whether something waits to be sent.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Bytes of messages of which something waits to be sent.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Forgets what waits, and what has come of messages that are not whole.
    pub(crate) fn clear(&mut self) {
        self.outbox.clear();
        self.partial.clear();
        self.waiting = 0;
    }

    /// Takes the next block to be sent.
    pub(crate) fn take(&mut self) -> Option<Target> {
        let room = self.block - HEADER_LEN - CHUNK_OVERHEAD;
        let letter = self.outbox.front_mut()?;
        let count = letter.bytes.len().div_ceil(room);
        let at = letter.sent * room;
        let bytes = &letter.bytes[at..letter.bytes.len().min(at + room)];
        let chunk = Chunk { id: letter.id, index: letter.sent as u16, count: count as u16, bytes };
        self.taken.clear();
        self.taken.resize(HEADER_LEN + CHUNK_OVERHEAD + bytes.len(), 0);
        let fits = ControlWriter::new(&mut self.taken[HEADER_LEN..]).chunk(&chunk);
        debug_assert!(fits, "the room was counted");
        Header { used: self.taken.len() as u16, ..letter.header }.encode(&mut self.taken, true);
        letter.sent += 1;
        let to = letter.to;
        if letter.sent == count {
            self.waiting -= letter.bytes.len();
            self.outbox.pop_front();
        }
        self.frames += 1;
        self.bytes += self.taken.len() as u64;
        Some(to)
    }

    /// The block that was taken last.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.taken
    }

    /// Takes a block that came from `from`; whom nobody knows yet has to say what it says in one. Returns the message that it completes.
    pub(crate) fn receive(
        &mut self,
        from: Endpoint,
        is_known: bool,
        header: &Header,
        block: &[u8],
    ) -> Option<Message> {
        let Ok(Some(Control::Chunk(chunk))) = ControlFrames::new(header.control(block)).next_frame() else {
            return None;
        };
        if chunk.count == 1 {
            return self.read(chunk.id, chunk.bytes);
        }
        // All chunks but the last are as long as a block lets them be: their number is bounded too.
        let count = usize::from(chunk.count);
        let is_bounded = count * chunk.bytes.len() < 2 * MAX_MESSAGE_LEN && count <= MAX_CHUNKS;
        if !is_known || !is_bounded {
            return None;
        }
        self.keep(from, &chunk)
    }

    fn read(&self, id: u32, bytes: &[u8]) -> Option<Message> {
        if checksum(bytes) != id {
            return None;
        }
        Message::decode(bytes, self.local).ok()
    }

    fn keep(&mut self, from: Endpoint, chunk: &Chunk<'_>) -> Option<Message> {
        let (id, count) = (chunk.id, usize::from(chunk.count));
        let is_it = |known: &Partial| known.from == from && known.id == id && known.chunks.len() == count;
        let at = self.partial.iter().position(is_it).unwrap_or_else(|| {
            self.partial.push_back(Partial { from, id, chunks: vec![None; count], len: 0 });
            self.partial.len() - 1
        });
        let partial = &mut self.partial[at];
        let place = &mut partial.chunks[usize::from(chunk.index)];
        if place.is_none() {
            *place = Some(chunk.bytes.into());
            partial.len += chunk.bytes.len();
        }
        if partial.chunks.iter().all(Option::is_some) {
            let whole = self.partial.remove(at)?.chunks.into_iter().flatten().collect::<Vec<_>>().concat();
            return self.read(id, &whole);
        }
        self.bound(from);
        None
    }

    /// Something has come from there: what is too much goes.
    fn bound(&mut self, from: Endpoint) {
        loop {
            let of_sender = self.partial.iter().filter(|partial| partial.from == from).count();
            let kept: usize = self.partial.iter().map(|partial| partial.len).sum();
            let is_too_much = self.partial.len() > MAX_PARTIAL || kept > MAX_PARTIAL_BYTES;
            if of_sender <= MAX_PARTIAL_OF_ONE && !is_too_much {
                return;
            }
            let oldest = self.partial.iter().position(|partial| of_sender > 1 && partial.from == from);
            self.partial.remove(oldest.unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agreement::{Introduction, Roster};
    use sistrum_ordering::{BootId, ViewMember};

    fn endpoint(port: u16) -> Endpoint {
        Endpoint(([127, 0, 0, 1], port).into())
    }

    fn welcome(members: u16) -> Message {
        let introduction = |at| {
            let member = ViewMember { endpoint: endpoint(1 + at), boot: BootId(u64::from(at)) };
            Introduction::of(member)
        };
        let members = (0..members).map(introduction).collect();
        let roster = Roster { number: ViewNumber(3), members, joining: Vec::new() };
        Message::Welcome { instance: GroupInstance(7), roster, gone: Vec::new(), formed: true }
    }

    const NAMES: (GroupId, GroupInstance, ViewNumber, Rank) =
        (GroupId(1), GroupInstance(2), ViewNumber(3), Rank(4));

    fn blocks_of(message: &Message) -> Vec<Vec<u8>> {
        let mut post = Post::new(endpoint(9), 256);
        post.send(Target::One(endpoint(1)), NAMES, message);
        std::iter::from_fn(|| post.take().map(|_| post.bytes().to_vec())).collect()
    }

    fn receive(post: &mut Post, from: u16, is_known: bool, block: &[u8]) -> Option<Message> {
        let header = Header::decode(block).expect("a sound block");
        assert_eq!((header.kind, header.view, header.rank), (Kind::Agreement, NAMES.2, NAMES.3));
        post.receive(endpoint(from), is_known, &header, block)
    }

    #[test]
    fn a_long_message_comes_whole_whatever_the_order_of_its_blocks() {
        let (message, mut post) = (welcome(100), Post::new(endpoint(1), 256));
        let mut blocks = blocks_of(&message);
        assert!(blocks.len() > 10);
        fastrand::Rng::with_seed(1).shuffle(&mut blocks);
        let lost = blocks.pop().unwrap();
        for block in blocks.iter().chain(&blocks) {
            assert_eq!(receive(&mut post, 5, true, block), None);
        }
        assert_eq!(receive(&mut post, 5, true, &lost), Some(message.clone()), "said again, it is complete");
        assert!(post.partial.is_empty());
        assert!(blocks.iter().all(|block| receive(&mut post, 6, false, block).is_none()));
        assert!(post.partial.is_empty(), "nothing is kept for who is not known");
        assert_eq!(receive(&mut post, 6, false, &blocks_of(&welcome(1))[0]), Some(welcome(1)));
    }

    #[test]
    fn what_is_never_completed_fills_no_memory() {
        let mut post = Post::new(endpoint(1), 256);
        for sender in 0..1_000 {
            receive(&mut post, sender, true, &blocks_of(&welcome(60 + sender % 7))[0]);
        }
        assert_eq!(post.partial.len(), MAX_PARTIAL);
    }

    #[test]
    fn who_completes_nothing_takes_no_room_of_others() {
        let (message, mut post) = (welcome(100), Post::new(endpoint(1), 256));
        let blocks = blocks_of(&message);
        let (last, first) = blocks.split_last().unwrap();
        first.iter().for_each(|block| assert_eq!(receive(&mut post, 5, true, block), None));
        for members in 0..200 {
            receive(&mut post, 6, true, &blocks_of(&welcome(200 + members))[0]);
        }
        assert_eq!(post.partial.len(), 1 + MAX_PARTIAL_OF_ONE);
        assert_eq!(receive(&mut post, 5, true, last), Some(message));
    }
}
