//! Letters between members and who is in no view: a post of their own, so that they take nothing from agreement. It is paced: a letter may be of
//! many blocks, and who it goes to may have a small buffer. What is lost of it is said again.

use crate::agreement::{Letter, MAX_MESSAGE_LEN, Message};
use crate::post::Post;
use sistrum_ordering::{Endpoint, GroupId, GroupInstance, Rank, ViewNumber};
use sistrum_transport::protocol::Target;
use sistrum_transport::time::Instant;
use sistrum_transport::wire::Header;

/// Bytes of a letter at most: a message of agreement has room for what stands around it.
pub const MAX_LETTER_LEN: usize = MAX_MESSAGE_LEN - 1024;

/// Bytes that wait to be sent; what is beyond will be said again.
const MAX_WAITING_BYTES: usize = 8 * 1024 * 1024;
/// So many blocks go out in so much time.
const BURST: usize = 32;
const BURST_NS: u64 = 1_000_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Mail {
    post: Post,
    /// Blocks that may still go out since then.
    left: usize,
    since: Instant,
}

impl Mail {
    pub(crate) fn new(local: Endpoint, block: usize) -> Self {
        Self { post: Post::new(local, block), left: BURST, since: Instant::default() }
    }

    /// Sends a letter, unless the same waits, or tells that too much waits, or that it is too long.
    pub(crate) fn send(
        &mut self,
        to: Endpoint,
        names: (GroupId, GroupInstance, ViewNumber, Rank),
        letter: Vec<u8>,
    ) -> bool {
        let len = letter.len();
        let may_go = len <= MAX_LETTER_LEN && self.post.waiting() + len <= MAX_WAITING_BYTES;
        if may_go {
            self.post.send_anew(Target::One(to), names, &Message::Letter(Letter(letter)));
        }
        may_go
    }

    /// Takes a block from somebody who may write letters of many. Returns the message that it completes.
    pub(crate) fn receive(&mut self, from: Endpoint, header: &Header, block: &[u8]) -> Option<Message> {
        self.post.receive(from, true, header, block)
    }

    /// Takes the next block to be sent.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Target> {
        if !self.post.is_waiting() {
            return None;
        }
        if now.since_ns(self.since) >= BURST_NS {
            (self.left, self.since) = (BURST, now);
        }
        self.left = self.left.checked_sub(1)?;
        self.post.take()
    }

    /// Nothing waits any more.
    pub(crate) fn clear(&mut self) {
        self.post.clear();
    }

    /// The block that was taken last.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.post.bytes()
    }

    /// When the next block may go out, where one waits.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let next = if self.left > 0 { Instant::default() } else { self.since.plus_ns(BURST_NS) };
        self.post.is_waiting().then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: (GroupId, GroupInstance, ViewNumber, Rank) =
        (GroupId(1), GroupInstance(2), ViewNumber(3), Rank(4));

    fn endpoint(port: u16) -> Endpoint {
        Endpoint(([127, 0, 0, 1], port).into())
    }

    fn letter(len: usize) -> Vec<u8> {
        (0..len).map(|at| at as u8).collect()
    }

    #[test]
    fn a_long_letter_goes_out_in_bursts_and_comes_whole() {
        let (mut mine, mut theirs) = (Mail::new(endpoint(1), 1408), Mail::new(endpoint(2), 1408));
        assert!(mine.send(endpoint(2), NAMES, letter(MAX_LETTER_LEN)));
        let (mut now, mut bursts, mut come) = (Instant::default().plus_ns(BURST_NS), 0, None);
        while let Some(due) = mine.poll_timeout() {
            now = now.max(due);
            let mut blocks = 0;
            while let Some(to) = mine.take(now) {
                assert_eq!(to, Target::One(endpoint(2)));
                let header = Header::decode(mine.bytes()).expect("a sound block");
                come = come.or(theirs.receive(endpoint(1), &header, mine.bytes()));
                blocks += 1;
            }
            assert!((1..=BURST).contains(&blocks), "{blocks}");
            bursts += 1;
        }
        assert!(bursts > 5, "{bursts}");
        assert_eq!(come, Some(Message::Letter(Letter(letter(MAX_LETTER_LEN)))));
    }

    #[test]
    fn what_is_too_long_or_too_much_does_not_wait() {
        let mut mail = Mail::new(endpoint(1), 1408);
        assert!(!mail.send(endpoint(2), NAMES, letter(MAX_LETTER_LEN + 1)));
        assert_eq!(mail.poll_timeout(), None);
        let mut send = |port| mail.send(endpoint(port), NAMES, letter(MAX_LETTER_LEN));
        assert!((0..100).all(|_| send(2)), "it waits once");
        let taken = 1 + (3..100).filter(|port| send(*port)).count();
        assert_eq!(taken, MAX_WAITING_BYTES / (MAX_LETTER_LEN + 1));
    }
}
