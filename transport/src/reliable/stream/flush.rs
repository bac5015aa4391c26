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

    /// Whether this block is held.
    pub(in crate::reliable) fn holds(&self, seq: Seq) -> bool {
        self.window.get(seq).is_some()
    }
}
