//! The delay queue: which block of each stream is next, and which delivery it waits for.
//!
//= birman91 §5.1: deliver m from i when VT(m)[k] <= VT[k] for every other k, and all earlier ones of i are delivered.
//!
//! Streams are in order, so only the first block of each can be looked at, and its stamp is read no earlier: nothing is kept for
//! those behind it. Entries that a stamp does not name were satisfied by the block before. A block that waits is asked again
//! when the one delivery that it waits for has happened.

use crate::timestamp::{self, BadStamp};
use crate::truth;
use crate::wire::{FULL_STAMP, STAMP, STAMPED, frames};
use sistrum_transport::id::{Rank, Seq};
use sistrum_transport::mutated;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DelayQueue {
    /// The first block of each stream that has not been let through.
    next: Vec<Seq>,
    /// The vector of the last stamp of each stream that was read, `members` entries each.
    base: Vec<Seq>,
    /// Whether the stamp of `next` is in `base`.
    is_read: Vec<bool>,
    /// The stream that each waits for.
    waits_for: Vec<Option<(Rank, Seq)>>,
    /// How many wait for each.
    waiters: Vec<u16>,
}

/// How far the stamps of a stream have been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamped<'a> {
    /// Blocks before it have their causes, where this was read.
    pub next: Seq,
    /// Whether its own stamp is in `vector`.
    pub is_read: bool,
    /// The full vector of the last stamp that was read.
    pub vector: &'a [Seq],
}

impl DelayQueue {
    /// For streams that begin at `starts`.
    #[must_use]
    pub fn new(starts: &[Seq]) -> Self {
        let members = starts.len();
        Self {
            next: starts.to_vec(),
            base: starts.iter().cycle().take(members * members).copied().collect(),
            is_read: vec![false; members],
            waits_for: vec![None; members],
            waiters: vec![0; members],
        }
    }

    /// How many streams there are.
    #[must_use]
    pub(crate) fn members(&self) -> usize {
        self.next.len()
    }

    /// The first block of the stream that has not been let through.
    #[must_use]
    pub fn next(&self, rank: Rank) -> Seq {
        self.next[rank.0 as usize]
    }

    /// The full vector of the stream's last stamp that was read.
    #[must_use]
    pub fn vector(&self, rank: Rank) -> &[Seq] {
        let members = self.next.len();
        &self.base[rank.0 as usize * members..][..members]
    }

    /// What has been read of the stamps of this stream.
    #[must_use]
    pub(crate) fn stamps(&self, rank: Rank) -> Stamped<'_> {
        let is_read = self.is_read[rank.0 as usize];
        Stamped { next: self.next(rank), is_read, vector: self.vector(rank) }
    }

    /// Lets block `seq` of `rank` through, which waits for nothing, if it is the next one.
    #[inline]
    pub fn pass(&mut self, rank: Rank, seq: Seq) -> bool {
        let next = &mut self.next[rank.0 as usize];
        let is_next = *next == seq;
        if is_next {
            *next = seq.plus(1);
            truth::read(rank, seq, self.vector(rank));
        }
        is_next
    }

    /// Whether somebody waits for `rank`.
    #[inline]
    #[must_use]
    pub fn is_awaited(&self, rank: Rank) -> bool {
        self.waiters[rank.0 as usize] > 0
    }

    /// Whether the next block of `rank` may go when what was let through here counts as reached; otherwise as
    /// [`may_go`](Self::may_go).
    ///
    /// # Errors
    /// Likewise.
    pub fn may_follow(&mut self, rank: Rank, block: (u8, &[u8])) -> Result<bool, BadStamp> {
        let next = std::mem::take(&mut self.next);
        let asked = self.may_go(rank, block, &next);
        self.next = next;
        asked
    }

    /// Whether the next block of `rank`, with these order flags and this trailer, may go: every stream has been `reached` as far
    /// as its stamp says. If not, the stream waits.
    ///
    /// # Errors
    /// When its stamp cannot be; the block waits for nothing then.
    pub fn may_go(
        &mut self,
        rank: Rank,
        (order, trailer): (u8, &[u8]),
        reached: &[Seq],
    ) -> Result<bool, BadStamp> {
        self.wait(rank, None);
        if order & STAMPED == 0 {
            return Ok(true);
        }
        let Some(frame) = frames(trailer).find(|(kind, _)| matches!(*kind, STAMP | FULL_STAMP)) else {
            return Ok(true);
        };
        let (at, members) = (rank.0 as usize, reached.len());
        let mut first = None;
        let mut check = |k: Rank, value: Seq| {
            let is_skipped = mutated!(SkipVectorTest) && k.0 == 0;
            if first.is_none() && reached[k.0 as usize] < value && !is_skipped {
                first = Some((k, value));
            }
        };
        if self.is_read[at] {
            // Read before: what its stamp did not name was satisfied then, and is still.
            let vector = &self.base[at * members..][..members];
            (0..members).filter(|&k| k != at).for_each(|k| check(Rank(k as u16), vector[k]));
        } else {
            self.is_read[at] = true;
            timestamp::read(rank, frame, &mut self.base[at * members..][..members], check)?;
        }
        self.wait(rank, first);
        Ok(first.is_none())
    }

    /// Reads the stamp of the next block of `rank`, which waits for nothing.
    pub fn read_only(&mut self, rank: Rank, (order, trailer): (u8, &[u8])) {
        let (at, members) = (rank.0 as usize, self.next.len());
        let frame = frames(trailer).find(|(kind, _)| matches!(*kind, STAMP | FULL_STAMP));
        if let Some(frame) = frame.filter(|_| order & STAMPED != 0 && !self.is_read[at]) {
            self.is_read[at] = true;
            // My own stamp: what it says is what I wrote.
            let _ = timestamp::read(rank, frame, &mut self.base[at * members..][..members], |_, _| ());
        }
    }

    /// The next block of `rank` has been let through.
    pub fn go(&mut self, rank: Rank) {
        let at = rank.0 as usize;
        debug_assert!(self.waits_for[at].is_none());
        truth::read(rank, self.next[at], self.vector(rank));
        self.next[at] = self.next[at].plus(1);
        self.is_read[at] = false;
    }

    /// The stream of `rank` has been reached up to `to`: gives those that waited for that to `woken`.
    pub fn reached(&mut self, rank: Rank, to: Seq, mut woken: impl FnMut(Rank)) {
        if !self.is_awaited(rank) {
            return;
        }
        for at in 0..self.next.len() {
            let is_over = self.waits_for[at].is_some_and(|(whom, until)| whom == rank && until <= to);
            if is_over {
                self.wait(Rank(at as u16), None);
                woken(Rank(at as u16));
            }
        }
    }

    fn wait(&mut self, rank: Rank, until: Option<(Rank, Seq)>) {
        let at = rank.0 as usize;
        if let Some((whom, _)) = self.waits_for[at] {
            self.waiters[whom.0 as usize] -= 1;
        }
        if let Some((whom, _)) = until {
            self.waiters[whom.0 as usize] += 1;
        }
        self.waits_for[at] = until;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sistrum_transport::wire::ControlWriter;

    const STARTS: [Seq; 3] = [Seq(10), Seq(20), Seq(30)];

    /// A trailer with a stamp of these (rank distance, value distance).
    fn stamp(entries: &[u8]) -> Vec<u8> {
        let mut out = [0; 64];
        let mut writer = ControlWriter::new(&mut out);
        writer.order(STAMP, |out| {
            out[..entries.len()].copy_from_slice(entries);
            entries.len()
        });
        let written = writer.written();
        out[..written].to_vec()
    }

    fn woken(queue: &mut DelayQueue, rank: u16, to: Seq) -> Vec<Rank> {
        let mut woken = Vec::new();
        queue.reached(Rank(rank), to, |rank| woken.push(rank));
        woken
    }

    #[test]
    fn a_block_waits_for_one_delivery_at_a_time_and_is_woken_by_it_alone() {
        let (mut queue, mut reached) = (DelayQueue::new(&STARTS), STARTS);
        let trailer = stamp(&[0, 2, 1, 1]);
        assert_eq!(queue.may_go(Rank(1), (STAMPED, &trailer), &reached), Ok(false));
        assert_eq!(woken(&mut queue, 0, Seq(11)), [], "one of two");
        assert_eq!(woken(&mut queue, 2, Seq(31)), [], "it does not wait for this one yet");
        assert_eq!(woken(&mut queue, 0, Seq(12)), [Rank(1)]);
        assert_eq!(woken(&mut queue, 0, Seq(12)), [], "once");
        reached[0] = Seq(12);
        assert_eq!(queue.may_go(Rank(1), (STAMPED, &trailer), &reached), Ok(false));
        assert_eq!(woken(&mut queue, 2, Seq(31)), [Rank(1)]);
        reached[2] = Seq(31);
        assert_eq!(queue.may_go(Rank(1), (STAMPED, &trailer), &reached), Ok(true));
        queue.go(Rank(1));
        assert_eq!((queue.next(Rank(1)), queue.vector(Rank(1))), (Seq(21), &[Seq(12), Seq(20), Seq(31)][..]));
    }

    #[test]
    fn a_stamp_is_read_once_however_often_it_is_asked_for() {
        let mut queue = DelayQueue::new(&STARTS);
        for _ in 0..3 {
            assert_eq!(queue.may_go(Rank(2), (STAMPED, &stamp(&[0, 1])), &STARTS), Ok(false));
        }
        assert_eq!(queue.vector(Rank(2))[0], Seq(11));
    }

    #[test]
    fn what_has_no_stamp_goes_and_a_stamp_that_cannot_be_waits_for_nothing() {
        let mut queue = DelayQueue::new(&STARTS);
        assert_eq!(queue.may_go(Rank(0), (0, &stamp(&[1, 9])), &STARTS), Ok(true), "no flag");
        assert_eq!(queue.may_go(Rank(0), (STAMPED, &[]), &STARTS), Ok(true), "nothing new");
        assert_eq!(queue.may_go(Rank(0), (STAMPED, &stamp(&[1, 9])), &STARTS), Ok(false));
        queue.wait(Rank(0), None);
        queue.go(Rank(0));
        assert_eq!(queue.may_go(Rank(0), (STAMPED, &stamp(&[1, 9, 7, 1])), &STARTS), Err(BadStamp));
        assert_eq!(woken(&mut queue, 1, Seq(90)), [], "it waits for nothing");
    }

    #[test]
    fn a_queue_may_follow_itself() {
        let mut queue = DelayQueue::new(&STARTS);
        let trailer = stamp(&[1, 1]);
        assert_eq!(queue.may_follow(Rank(0), (STAMPED, &trailer)), Ok(false));
        queue.go(Rank(1));
        assert_eq!(woken(&mut queue, 1, Seq(21)), [Rank(0)]);
        assert_eq!(queue.may_follow(Rank(0), (STAMPED, &trailer)), Ok(true));
    }
}
