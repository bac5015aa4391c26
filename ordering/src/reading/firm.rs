//! How much of each stream no cut can leave out: what enough members hold whose causes enough hold, and what all were handed.
//! Enough are those who have one in each set that may decide on a cut: see `firm` of the senders, who tell it.
//!
//! The first is seen from stamps, whatever the order that is read in; of a stream whose stamps cannot be read, the second is left. A stamp
//! names all that its sender had been handed, so what is named need not be followed further. Once the cut is known it takes the place of
//! what is announced: what it has with all its causes is handed over by all members, and nothing else.

use crate::delay::Stamped;
use crate::timestamp;
use crate::wire::{FULL_STAMP, STAMP, STAMPED, frames, numbers};
use sistrum_transport::id::{Rank, Seq};
use sistrum_transport::mutated;
use sistrum_transport::wire::Header;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Firm {
    streams: Vec<One>,
    is_over: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct One {
    /// The vector of its last stamp, where that was read.
    base: Option<Vec<Seq>>,
    /// Everything before it is firm.
    next: Seq,
    /// It is known where the stream stands, and nothing was lost of it since.
    is_placed: bool,
    /// The stamp of the next block is in `base`, or was looked for in vain.
    is_read: bool,
    /// No cause of what is before `next` is missing anywhere.
    is_closed: bool,
    /// Blocks before it have their causes, and their stamps are in `base`; and whether its own is.
    vouched: (Seq, bool),
    /// What enough hold, and all were handed.
    held: Seq,
    handed: Seq,
}

/// Where a walk has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Walk {
    /// Everything before it is firm.
    pub(super) end: Seq,
    /// Some of it was passed over, since nobody can say whether it is: it ends here.
    pub(super) unsure: Option<Seq>,
    /// Nothing from `end` on is handed over by anybody.
    pub(super) is_last: bool,
}

impl Firm {
    /// Of a view whose streams begin at `starts`, from there on or from wherever they stand.
    pub(super) fn begin(starts: &[Seq], is_from_start: bool) -> Self {
        let one = |start: &Seq| One {
            base: is_from_start.then(|| starts.to_vec()),
            next: *start,
            is_placed: is_from_start,
            is_closed: is_from_start,
            held: *start,
            handed: *start,
            is_read: false,
            vouched: (*start, false),
        };
        Self { streams: starts.iter().map(one).collect(), is_over: false }
    }

    /// Blocks of `rank` before `held` are held by enough, and before `handed` were handed over by all.
    pub(super) fn announced(&mut self, rank: Rank, held: Seq, handed: Seq) {
        if let Some(one) = self.streams.get_mut(usize::from(rank.0)).filter(|_| !self.is_over) {
            (one.held, one.handed) = (one.held.max(held), one.handed.max(handed));
        }
    }

    /// The stream of `rank` goes on at `seq`, and all before is firm.
    pub(super) fn place(&mut self, rank: Rank, seq: Seq) {
        if let Some(one) = self.streams.get_mut(usize::from(rank.0)) {
            (one.base, one.next, one.is_placed, one.is_closed) = (None, seq, true, true);
            (one.is_read, one.vouched) = (false, (seq, false));
        }
    }

    /// This has been read of the stamps of `rank` where it was placed from.
    pub(super) fn vouch(&mut self, rank: Rank, stamped: Stamped<'_>) {
        let members = self.streams.len();
        if let Some(one) =
            self.streams.get_mut(usize::from(rank.0)).filter(|_| stamped.vector.len() == members)
        {
            one.base = Some(stamped.vector.to_vec());
            one.vouched = (stamped.next, stamped.is_read);
            one.is_read = one.next == stamped.next && stamped.is_read;
        }
    }

    /// Whether enough hold the blocks of `rank` before `seq`.
    pub(super) fn is_held(&self, rank: Rank, seq: Seq) -> bool {
        self.streams.get(usize::from(rank.0)).is_some_and(|one| one.held >= seq)
    }

    /// The view ends here.
    pub(super) fn ended(&mut self, cut: &[Seq]) {
        self.is_over = true;
        self.streams.iter_mut().zip(cut).for_each(|(one, cut)| one.held = *cut);
    }

    /// Blocks of `rank` are lost: it goes on behind them.
    pub(super) fn lost(&mut self, rank: Rank) {
        if let Some(one) = self.streams.get_mut(usize::from(rank.0)) {
            (one.base, one.is_placed, one.is_read, one.is_closed) = (None, false, false, false);
        }
    }

    /// Goes on in the stream of `rank`, which stands at block `at`, and of which everything before `to` is there.
    pub(super) fn go_on<'a>(
        &mut self,
        rank: Rank,
        at: Seq,
        to: Seq,
        block: impl Fn(Seq) -> Option<&'a [u8]>,
    ) -> Walk {
        let this = usize::from(rank.0);
        let Some(one) = self.streams.get_mut(this) else {
            return Walk { end: at, unsure: None, is_last: false };
        };
        let is_passed = one.next < at && block(one.next).is_none();
        if is_passed {
            (one.base, one.is_read, one.is_closed) = (None, false, false);
        }
        if !std::mem::replace(&mut one.is_placed, true) || is_passed {
            one.next = at;
        }
        let (mut unsure, mut is_last) = (None, false);
        while self.streams[this].next < to
            && let Some(bytes) = block(self.streams[this].next)
        {
            let members = self.streams.len();
            let is_vouched = self.streams[this].next < self.streams[this].vouched.0;
            let is_stamped = !is_vouched && self.streams[this].read(rank, bytes, members);
            let one = &self.streams[this];
            let is_known = one.base.is_some() || (one.is_closed && !is_stamped);
            let is_firm = one.next < one.handed
                || (one.next < one.held && is_known && (is_vouched || self.has_causes(this)))
                || (mutated!(ReadAboveAnnounced) && !self.is_over);
            let is_unsure = !is_firm && !is_known && self.is_over && one.next < one.held;
            if !is_firm && !is_unsure {
                is_last = self.is_over;
                break;
            }
            let one = &mut self.streams[this];
            (one.next, one.is_closed) = (one.next.plus(1), is_firm);
            one.is_read = (one.next, true) == one.vouched;
            if is_unsure {
                unsure = Some(one.next);
            }
        }
        Walk { end: self.streams[this].next, unsure, is_last }
    }

    /// Whether enough hold what the stamp of the next block names; where it has none, what that before it does.
    fn has_causes(&self, this: usize) -> bool {
        let base = self.streams[this].base.iter().flatten();
        let mut others = base.zip(&self.streams).enumerate().filter(|(k, _)| *k != this);
        others.all(|(_, (named, other))| *named <= other.held)
    }
}

impl One {
    /// Reads the stamp of its next block, if it can; whether there is one.
    fn read(&mut self, rank: Rank, block: &[u8], members: usize) -> bool {
        let (order, trailer) = Header::order_of_checked(block);
        if order & STAMPED == 0 {
            return false;
        }
        if std::mem::replace(&mut self.is_read, true) {
            return true;
        }
        let Some(frame) = frames(trailer).find(|(kind, _)| matches!(*kind, STAMP | FULL_STAMP)) else {
            return false;
        };
        if frame.0 == FULL_STAMP && numbers(frame.1).count() + 1 == members {
            self.base.get_or_insert_with(|| vec![Seq(0); members]);
        }
        let is_read =
            self.base.as_mut().is_some_and(|base| timestamp::read(rank, frame, base, |_, _| ()).is_ok());
        if !is_read {
            self.base = None;
        }
        true
    }
}
