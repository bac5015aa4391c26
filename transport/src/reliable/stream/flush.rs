//! A stream at the end of its view: what is still wanted of it, and how far it is delivered.

use super::Stream;
use crate::id::Seq;
use crate::log::RxPool;
use crate::time::Instant;

impl Stream {
    /// Nothing from `to` on is read or delivered; everything before it is `free` where no layer has a say.
    pub(in crate::reliable) fn cap(&mut self, to: Seq, free: bool) {
        self.ceiling = to;
        self.gate = if free { to } else { self.gate.min(to) };
    }

    /// The view ends at `cut`: what is missing before it is asked for at once, of whoever holds it; nothing else is wanted.
    pub(in crate::reliable) fn fetch(&mut self, now: Instant, cut: Seq, pool: &mut RxPool) {
        if let Some(last) = cut.0.checked_sub(1) {
            // That it was sent tells what is stable, as if it had come.
            self.release_implied(Seq(last), pool);
        }
        if cut > self.highest {
            self.gaps.note(now, self.highest, cut);
        }
        (self.end, self.is_fetched) = (cut, true);
        self.highest = cut.max(self.window.next());
        if self.window.next() < self.highest {
            self.nak.urge(now, self.window.next());
        } else {
            self.nak.restart(self.window.next());
        }
    }

    /// The view has ended at `cut`: what is held of later blocks is dropped, and nothing is asked for any more.
    pub(in crate::reliable) fn finish(&mut self, cut: Seq, pool: &mut RxPool) {
        let cut = cut.max(self.cursor.seq);
        self.window.truncate(cut, pool);
        (self.end, self.ceiling) = (cut, cut);
        self.highest = self.window.next();
        self.nak.restart(self.highest);
        self.ack_due = None;
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

    /// Blocks from `to` on of which something was delivered.
    pub(in crate::reliable) fn delivered_beyond(&self, to: Seq) -> u64 {
        self.cursor.seq.plus(u64::from(self.cursor.at > 0 && !self.cursor.seeking)).since(to)
    }

    /// Whether all that may be delivered of it, and was not dropped, has been handed over.
    pub(in crate::reliable) fn is_drained(&self) -> bool {
        self.passed() >= self.ceiling
    }

    /// The first block that may be held here.
    pub(in crate::reliable) fn base(&self) -> Seq {
        self.window.base()
    }

    /// Blocks from here on cannot be held here.
    pub(in crate::reliable) fn reach(&self) -> Seq {
        self.window.base().plus(self.window.capacity())
    }

    /// Blocks from here on are not wanted.
    pub(in crate::reliable) fn end(&self) -> Seq {
        self.end
    }

    /// Whether this block is held.
    pub(in crate::reliable) fn holds(&self, seq: Seq) -> bool {
        self.window.get(seq).is_some()
    }
}
