//! A stream as a reader has it: it goes on behind what it cannot get any more, and comes to the end of a view without being in it.

use super::{Cursor, Stream};
use crate::id::Seq;
use crate::log::RxPool;
use crate::time::Instant;

impl Stream {
    /// The next frame to be delivered: its block, and its offset in the data of that.
    pub(in crate::reliable) fn cursor(&self) -> (Seq, u32) {
        (self.cursor.seq, self.cursor.at as u32)
    }

    /// It goes on here, whatever was held or delivered of it.
    pub(in crate::reliable) fn place_at(&mut self, seq: Seq, at: u32, pool: &mut RxPool) {
        self.window.clear(pool);
        self.begin_at(seq);
        self.cursor = Cursor { seq, at: at as usize, seeking: false, wait_until: seq };
    }

    /// A block at `seq` shows that the sender has gone on by more than my window: gives up the oldest gap where something is
    /// held behind it, otherwise everything before `seq`. Returns the blocks that are lost by it.
    pub(in crate::reliable) fn make_way(
        &mut self,
        now: Instant,
        seq: Seq,
        pool: &mut RxPool,
        rng: &mut fastrand::Rng,
    ) -> u64 {
        let behind = self.behind_gap();
        self.give_up_to(now, if behind < self.highest { behind } else { seq }, pool, rng)
    }

    /// Gives up the oldest gap. Returns the blocks that are lost by it.
    pub(in crate::reliable) fn give_up(
        &mut self,
        now: Instant,
        pool: &mut RxPool,
        rng: &mut fastrand::Rng,
    ) -> u64 {
        self.give_up_to(now, self.behind_gap(), pool, rng)
    }

    /// Gives up what of the oldest gap lies before `to`. Returns the blocks that are lost by it.
    pub(in crate::reliable) fn give_up_before(
        &mut self,
        now: Instant,
        to: Seq,
        pool: &mut RxPool,
        rng: &mut fastrand::Rng,
    ) -> u64 {
        self.give_up_to(now, self.behind_gap().min(to), pool, rng)
    }

    /// The end of the oldest gap.
    fn behind_gap(&self) -> Seq {
        let gap = self.window.missing(self.window.next(), self.highest).next();
        gap.map_or(self.highest, |(first, count)| first.plus(u64::from(count)))
    }

    /// Goes on at `to`, whatever is missing before it. Returns the blocks that are lost by it.
    pub(in crate::reliable) fn give_up_to(
        &mut self,
        now: Instant,
        to: Seq,
        pool: &mut RxPool,
        rng: &mut fastrand::Rng,
    ) -> u64 {
        let lost = self.skip(to, pool);
        self.gaps.give_up(now, to);
        self.nak.update(now, self.window.next(), self.highest, rng);
        lost
    }

    fn skip(&mut self, to: Seq, pool: &mut RxPool) -> u64 {
        let lost = to.since(self.cursor.seq);
        self.window.skip(to, pool);
        self.highest = self.highest.max(to);
        self.cursor = Cursor { seq: to, at: 0, seeking: true, wait_until: to };
        self.nak.restart(to);
        lost
    }

    /// A reader's view ends at `cut`: what is held of later blocks is dropped, and what is missing before it is asked for at once.
    pub(in crate::reliable) fn end_at(&mut self, now: Instant, cut: Seq, pool: &mut RxPool) {
        if self.waiting {
            self.begin_at(cut);
        }
        self.window.truncate(cut.max(self.window.base()), pool);
        (self.end, self.highest) = (cut, self.highest.min(cut).max(self.window.next()));
        self.nak.urge(now, self.window.next());
    }

    /// As far as there is room, what is missing before the end is asked for.
    pub(in crate::reliable) fn reach_for_end(&mut self, now: Instant, rng: &mut fastrand::Rng) {
        let next = self.end.min(self.reach());
        if next > self.highest {
            self.gaps.note(now, self.highest, next);
            self.highest = next;
        }
        self.nak.update(now, self.window.next(), self.highest, rng);
    }

    /// What is missing is asked of a member that holds it, or of the sender.
    pub(in crate::reliable) fn fetches(&mut self, is_fetched: bool) {
        self.is_fetched = is_fetched;
    }

    /// A reader's blocks from here on are kept, as far as there is room.
    pub(in crate::reliable) fn keep(&mut self, from: Seq) {
        self.keep = from;
    }

    /// Blocks that are known to exist, and of which not all was delivered.
    pub(in crate::reliable) fn undelivered(&self) -> u64 {
        self.highest.max(self.window.next()).since(self.passed())
    }

    /// Where that ends of which something was delivered, or passed over.
    pub(in crate::reliable) fn begun_up_to(&self) -> Seq {
        self.cursor.seq.plus(u64::from(self.cursor.at > 0 && !self.cursor.seeking))
    }

    /// Blocks from here on are not wanted.
    pub(in crate::reliable) fn end(&self) -> Seq {
        self.end
    }
}
