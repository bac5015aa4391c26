//! What was lost, by whom, and what became of it: one table for each stream, of a fixed size, the newest kept.
//!
//! A receiver opens a gap when it notices one, a sender when it is asked for one. Nothing here decides anything: NAKs and
//! repairs go their way without it. While nothing is lost, nothing here is touched.

use super::cause::{Cause, LostBlocks};
use crate::id::{Rank, Seq};
use crate::time::Instant;

/// Gaps of one stream that are remembered.
const GAPS: usize = 16;

/// Blocks that somebody lost, as one process knows of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Whose stream: mine, when others lost it.
    pub stream: Rank,
    /// Who lost it: I, or the member that asked me; [`Rank::READER`] for any reader.
    pub lost_by: Rank,
    /// The first block.
    pub first: Seq,
    /// How many blocks it had at first, and how many of them are still missing, as far as is known here.
    pub blocks: u64,
    /// See `blocks`.
    pub missing: u64,
    /// Who can still send it.
    pub held_by: Holder,
    /// When it was noticed here, or first asked for.
    pub noticed: Instant,
    /// The last NAK, sent or heard: when, and how often it had been asked for before in vain.
    pub asked: Option<(Instant, u8)>,
    /// When a repair last came, or was sent.
    pub answered: Option<Instant>,
    /// When the last of it had come, or was given up; `None` while it is open.
    pub closed: Option<Instant>,
    /// Why it was lost, as far as can be told here; `None` where only who lost it can tell, or nobody has looked yet.
    pub cause: Option<Cause>,
}

/// Who can still send what is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Its sender keeps it.
    Sender,
    /// Its sender may have released it: I am a reader, whom nobody waits for.
    Unknown,
    /// Nobody any more: it is lost for good.
    Nobody,
}

impl Gap {
    /// The sequence after its last block.
    #[must_use]
    pub fn end(&self) -> Seq {
        self.first.plus(self.blocks)
    }

    /// Whether something of it is still waited for.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    fn new(now: Instant, lost_by: Rank, first: Seq, end: Seq, cause: Option<Cause>) -> Self {
        let blocks = end.since(first);
        Self {
            stream: Rank(0),
            lost_by,
            first,
            blocks,
            missing: blocks,
            held_by: Holder::Sender,
            noticed: now,
            asked: None,
            answered: None,
            closed: None,
            cause,
        }
    }

    fn overlaps(&self, from: Seq, to: Seq) -> bool {
        self.first < to && from < self.end()
    }
}

/// The newest gaps of one stream. Beyond its size closed ones make way first, then the oldest.
#[derive(Debug)]
struct Table {
    gaps: Vec<Gap>,
    evicted: u64,
}

impl Table {
    fn new() -> Self {
        Self { gaps: Vec::with_capacity(GAPS), evicted: 0 }
    }

    fn push(&mut self, gap: Gap) {
        if self.gaps.len() == GAPS {
            let closed = self.gaps.iter().position(|gap| !gap.is_open());
            self.gaps.remove(closed.unwrap_or(0));
            self.evicted += 1;
        }
        self.gaps.push(gap);
    }

    fn open(&mut self) -> impl Iterator<Item = &mut Gap> {
        self.gaps.iter_mut().filter(|gap| gap.is_open())
    }
}

/// What I have lost of one stream.
#[derive(Debug)]
pub(super) struct ReceiveGaps {
    table: Table,
    /// Blocks that nobody has said the cause of yet.
    unexplained: u64,
    lost: LostBlocks,
    repaired: u64,
}

impl ReceiveGaps {
    pub(super) fn new() -> Self {
        Self { table: Table::new(), unexplained: 0, lost: LostBlocks::default(), repaired: 0 }
    }

    /// The blocks of `from..to` have not come, and later ones have.
    #[cold]
    pub(super) fn note(&mut self, now: Instant, from: Seq, to: Seq) {
        self.unexplained += to.since(from);
        self.table.push(Gap::new(now, Rank(0), from, to, None));
    }

    /// The block came, and there was no memory for it.
    #[cold]
    pub(super) fn refuse(&mut self, now: Instant, seq: Seq) {
        self.lost.add(Cause::Pool, 1);
        if let Some(last) = self.table.gaps.last_mut()
            && (last.is_open(), last.cause, last.end()) == (true, Some(Cause::Pool), seq)
        {
            last.blocks += 1;
            last.missing += 1;
            return;
        }
        self.table.push(Gap::new(now, Rank(0), seq, seq.plus(1), Some(Cause::Pool)));
    }

    /// A block came that was missing.
    #[cold]
    pub(super) fn fill(&mut self, now: Instant, seq: Seq) {
        self.repaired += 1;
        let Some(at) = self.table.gaps.iter().position(|gap| gap.is_open() && gap.overlaps(seq, seq.plus(1)))
        else {
            return;
        };
        let gap = &mut self.table.gaps[at];
        gap.missing = gap.missing.saturating_sub(1);
        gap.answered = Some(now);
        gap.closed = (gap.missing == 0).then_some(now);
        if gap.cause.is_some() {
            return;
        }
        // Nobody has looked at it yet: it was late, not lost.
        self.unexplained = self.unexplained.saturating_sub(1);
        if gap.missing == 0 {
            self.table.gaps.remove(at);
        }
    }

    /// I have asked for what is missing in `from..to`.
    pub(super) fn asked(&mut self, now: Instant, from: Seq, to: Seq, attempt: u8) {
        self.table
            .open()
            .filter(|gap| gap.overlaps(from, to))
            .for_each(|gap| gap.asked = Some((now, attempt)));
    }

    /// What is missing before `to` is not waited for any more.
    pub(super) fn give_up(&mut self, now: Instant, to: Seq) {
        for gap in self.table.open().filter(|gap| gap.first < to) {
            (gap.closed, gap.held_by) = (Some(now), Holder::Nobody);
        }
    }

    /// Whether a gap waits for somebody to say why.
    pub(super) fn is_unexplained(&self) -> bool {
        self.unexplained > 0
    }

    /// Everything unexplained was lost by `cause`.
    pub(super) fn explain(&mut self, cause: Cause) {
        self.lost.add(cause, self.unexplained);
        self.unexplained = 0;
        self.table.gaps.iter_mut().for_each(|gap| gap.cause = gap.cause.or(Some(cause)));
    }

    /// The gaps of the stream of `stream`, lost by `me`, who it is that keeps what is open.
    pub(super) fn report(&self, stream: Rank, me: Rank, keeper: Holder) -> impl Iterator<Item = Gap> + '_ {
        self.table.gaps.iter().map(move |gap| {
            let held_by = if gap.is_open() { keeper } else { gap.held_by };
            Gap { stream, lost_by: me, held_by, ..*gap }
        })
    }

    /// What is known of it; `missing` blocks are.
    pub(super) fn losses(&self, missing: u64) -> PeerLosses {
        PeerLosses {
            lost: self.lost,
            unexplained: self.unexplained,
            repaired: self.repaired,
            missing,
            evicted: self.table.evicted,
            ..PeerLosses::default()
        }
    }
}

/// What others have lost of my stream.
#[derive(Debug)]
pub(super) struct SentGaps {
    table: Table,
    /// NAKs heard from each member, and blocks sent again for it.
    asked: Vec<(u64, u64)>,
}

impl SentGaps {
    pub(super) fn new(members: usize) -> Self {
        Self { table: Table::new(), asked: vec![(0, 0); members] }
    }

    /// `rank` has sent a NAK, for which so many blocks are sent again.
    pub(super) fn heard(&mut self, rank: Rank, granted: u64) {
        if let Some((naks, blocks)) = self.asked.get_mut(rank.0 as usize) {
            *naks += 1;
            *blocks += granted;
        }
    }

    /// `rank` has asked for `from..to`, for the `attempt`th time again.
    pub(super) fn asked(&mut self, now: Instant, rank: Rank, from: Seq, to: Seq, attempt: u8) {
        if from >= to {
            return;
        }
        let mut known = false;
        for gap in self.table.open().filter(|gap| gap.lost_by == rank && gap.overlaps(from, to)) {
            gap.asked = Some((now, attempt));
            known = true;
        }
        if !known {
            let asked = Some((now, attempt));
            self.table.push(Gap { asked, ..Gap::new(now, rank, from, to, None) });
        }
    }

    /// Blocks `from..to` were sent again. A reader does not say whether they came.
    pub(super) fn answered(&mut self, now: Instant, from: Seq, to: Seq) {
        for gap in self.table.open().filter(|gap| gap.overlaps(from, to)) {
            gap.answered = Some(now);
            gap.closed = (gap.lost_by == Rank::READER).then_some(now);
        }
    }

    /// `rank` holds everything before `received`, or waits for nothing any more.
    pub(super) fn received(&mut self, now: Instant, rank: Rank, received: Seq) {
        for gap in self.table.open().filter(|gap| gap.lost_by == rank && gap.first < received) {
            gap.missing = gap.end().since(received);
            gap.closed = (gap.missing == 0).then_some(now);
        }
    }

    /// The gaps of my stream, of which I keep what is from `retained` on.
    pub(super) fn report(&self, me: Rank, retained: Seq) -> impl Iterator<Item = Gap> + '_ {
        self.table.gaps.iter().map(move |gap| {
            let held_by = if gap.first < retained { Holder::Nobody } else { Holder::Sender };
            Gap { stream: me, held_by: if gap.is_open() { held_by } else { gap.held_by }, ..*gap }
        })
    }

    /// Adds what `rank` has told of its losses.
    pub(super) fn losses(&self, rank: Rank, losses: PeerLosses) -> PeerLosses {
        let (naks, sent_again) = self.asked.get(rank.0 as usize).copied().unwrap_or_default();
        PeerLosses { naks, sent_again, ..losses }
    }
}

/// What one process knows of the losses between itself and another member. Counts of blocks, unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerLosses {
    /// Of its stream, lost here, by suspected cause.
    pub lost: LostBlocks,
    /// Of its stream, noticed to be missing, and not looked at yet.
    pub unexplained: u64,
    /// Of its stream, come after others that were sent later: as repairs, or late.
    pub repaired: u64,
    /// Of its stream, missing at present.
    pub missing: u64,
    /// Of my stream, sent again because it asked.
    pub sent_again: u64,
    /// NAKs for my stream heard from it.
    pub naks: u64,
    /// Gaps of its stream that are not listed any more, because newer ones took their place.
    pub evicted: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(gaps: &ReceiveGaps) -> Gap {
        let all: Vec<Gap> = gaps.report(Rank(3), Rank(1), Holder::Sender).collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0]
    }

    #[test]
    fn a_gap_is_followed_from_its_loss_to_its_repair() {
        let mut gaps = ReceiveGaps::new();
        gaps.note(Instant(10), Seq(5), Seq(8));
        assert!(gaps.is_unexplained());
        gaps.explain(Cause::Overflow);
        gaps.asked(Instant(20), Seq(4), Seq(9), 2);
        gaps.fill(Instant(30), Seq(6));
        let gap = only(&gaps);
        assert_eq!(
            (gap.stream, gap.lost_by, gap.first, gap.blocks, gap.missing),
            (Rank(3), Rank(1), Seq(5), 3, 2)
        );
        assert_eq!((gap.asked, gap.answered, gap.closed), (Some((Instant(20), 2)), Some(Instant(30)), None));
        gaps.fill(Instant(40), Seq(5));
        gaps.fill(Instant(50), Seq(7));
        assert_eq!(only(&gaps).closed, Some(Instant(50)));
        let losses = gaps.losses(0);
        assert_eq!((losses.lost.overflow, losses.lost.network, losses.repaired), (3, 0, 3));
    }

    #[test]
    fn what_was_only_late_was_not_lost() {
        let mut gaps = ReceiveGaps::new();
        gaps.note(Instant(10), Seq(5), Seq(6));
        gaps.fill(Instant(10), Seq(5));
        assert!(!gaps.is_unexplained());
        assert_eq!(gaps.report(Rank(0), Rank(1), Holder::Sender).count(), 0);
        assert_eq!(gaps.losses(0).lost, LostBlocks::default());
    }

    #[test]
    fn what_memory_refused_is_one_gap() {
        let mut gaps = ReceiveGaps::new();
        (5..9).for_each(|seq| gaps.refuse(Instant(1), Seq(seq)));
        let gap = only(&gaps);
        assert_eq!((gap.first, gap.blocks, gap.cause), (Seq(5), 4, Some(Cause::Pool)));
        assert_eq!(gaps.losses(4).lost.pool, 4);
    }

    #[test]
    fn the_newest_gaps_are_kept_and_open_ones_longest() {
        let mut gaps = ReceiveGaps::new();
        let seq = |at: u64| Seq(10 * at);
        gaps.note(Instant(0), seq(0), seq(0).plus(2));
        gaps.explain(Cause::Network);
        for at in 1..100 {
            gaps.note(Instant(at), seq(at), seq(at).plus(1));
            gaps.explain(Cause::Network);
            gaps.fill(Instant(at), seq(at));
        }
        let first: Vec<u64> = gaps.report(Rank(0), Rank(1), Holder::Sender).map(|gap| gap.first.0).collect();
        assert_eq!((first.len(), first[0], first[GAPS - 1]), (GAPS, 0, 990));
        assert_eq!(gaps.losses(2).evicted, 100 - GAPS as u64);
    }

    #[test]
    fn a_sender_knows_who_asks_and_until_when() {
        let mut gaps = SentGaps::new(3);
        gaps.heard(Rank(2), 4);
        gaps.asked(Instant(10), Rank(2), Seq(5), Seq(9), 0);
        gaps.asked(Instant(10), Rank(1), Seq(5), Seq(9), 0);
        gaps.answered(Instant(20), Seq(5), Seq(7));
        gaps.asked(Instant(30), Rank(2), Seq(7), Seq(9), 1);
        gaps.received(Instant(40), Rank(1), Seq(9));
        gaps.received(Instant(40), Rank(2), Seq(7));
        let of = |rank, retained| gaps.report(Rank(0), retained).find(|gap| gap.lost_by == rank).unwrap();
        let open = of(Rank(2), Seq(5));
        assert_eq!((open.asked, open.answered, open.missing), (Some((Instant(30), 1)), Some(Instant(20)), 2));
        assert_eq!((open.held_by, of(Rank(2), Seq(6)).held_by), (Holder::Sender, Holder::Nobody));
        assert_eq!(of(Rank(1), Seq(5)).closed, Some(Instant(40)));
        assert_eq!(gaps.losses(Rank(2), PeerLosses::default()).sent_again, 4);
    }
}
