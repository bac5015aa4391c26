//! How much of my stream no end of the view can leave out: what so many hold that they have more than half of the votes.
//!
//! A view ends, in each stream, with the most that any of those holds who decide on its end; and those have more than half of the votes, too.
//! So one of them holds it, and says so: an ack never says more than its sender reports when the view ends. Who has no vote counts for
//! nothing here: it may be asked, and need not be. One who is slow does not hold this back, as it does what is stable.

use super::flow::Flow;
use crate::id::{Rank, Seq};
use crate::mutated;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Firm {
    /// By rank; none where nobody is to be told.
    votes: Vec<u8>,
    /// What each of those holds who vote, and its votes.
    held: Vec<(Seq, u8)>,
    /// What was told last.
    told: Seq,
    /// A member holds more than was told: there may be more to tell.
    is_moved: bool,
    /// So much more that the next block should tell it.
    is_due: bool,
    step: u64,
}

impl Firm {
    /// Where `votes` decide, by rank; so many blocks more are told at once.
    pub(super) fn new(votes: Vec<u8>, step: u64) -> Self {
        Self { held: Vec::with_capacity(votes.len()), votes, step: step.max(1), ..Self::default() }
    }

    /// An ack says that a member has come to hold all before `received`; `stable` is told anyway.
    #[inline]
    pub(super) fn note(&mut self, received: Seq, stable: Seq) {
        let known = self.told.max(stable);
        if received > known && !self.votes.is_empty() {
            self.is_moved = true;
            self.is_due |= received.since(known) >= self.step;
        }
    }

    /// Whether there may be more to tell.
    pub(super) fn is_moved(&self) -> bool {
        self.is_moved
    }

    /// Whether the next block should tell it.
    pub(super) fn is_due(&self) -> bool {
        self.is_due
    }

    /// What is to be told beside what is stable; `sent` is what I hold, of rank `me`.
    pub(super) fn look(&mut self, flow: &Flow, me: Rank, sent: Seq) -> Option<Seq> {
        if sent == flow.stable() || self.votes.is_empty() {
            (self.is_moved, self.is_due) = (false, false);
            return None;
        }
        self.held.clear();
        for (rank, votes) in (0..).map(Rank).zip(&self.votes).filter(|(_, votes)| **votes > 0) {
            let held = if rank == me { sent } else { flow.received_by(rank) };
            self.held.push((held, *votes));
        }
        self.held.sort_unstable_by(|one, two| two.cmp(one));
        let all: u32 = self.votes.iter().map(|votes| u32::from(*votes)).sum();
        let mut sum = 0;
        let firm = self.held.iter().find(|(_, votes)| {
            sum += u32::from(*votes);
            2 * sum > all || mutated!(FirmByOne)
        });
        let firm = firm.map(|(held, _)| *held).filter(|firm| *firm > flow.stable());
        if firm.is_none() {
            (self.is_moved, self.is_due) = (false, false);
        }
        firm
    }

    /// It was told.
    pub(super) fn tell(&mut self, firm: Seq) {
        self.told = self.told.max(firm);
        (self.is_moved, self.is_due) = (false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;

    /// What is firm of the stream of rank 0, which has sent 20 blocks, where the others hold so many.
    fn firm(votes: &[u8], held: &[u64]) -> Option<u64> {
        let mut flow = Flow::new(Rank(0), votes.len(), 32, Seq(0), 1 << 20, false);
        for (rank, held) in (1..).map(Rank).zip(held) {
            flow.on_ack(Instant::default(), rank, Seq(*held), Seq(0), Seq(20));
        }
        Firm::new(votes.to_vec(), 4).look(&flow, Rank(0), Seq(20)).map(|firm| firm.0)
    }

    #[test]
    fn what_more_than_half_of_the_votes_hold_is_firm() {
        assert_eq!(firm(&[3, 2, 2], &[9, 5]), Some(9), "two of three");
        assert_eq!(firm(&[2, 3, 2], &[5, 9]), Some(9), "likewise");
        assert_eq!(firm(&[3, 2, 2, 2], &[9, 7, 5]), Some(9), "two of four, with the oldest");
        assert_eq!(firm(&[2, 3, 2, 2], &[5, 9, 7]), Some(7), "three of four, without");
        assert_eq!(firm(&[2, 3, 2, 2], &[9, 7, 5]), Some(9), "two of four, with the oldest");
        assert_eq!(firm(&[3, 2], &[5]), Some(20), "nobody goes on without the oldest");
        assert_eq!(firm(&[2, 3], &[5]), None, "that is stable");
    }

    #[test]
    fn who_has_no_vote_counts_for_nothing() {
        assert_eq!(firm(&[3, 2, 2, 0, 0], &[9, 5, 20, 20]), Some(9));
        assert_eq!(firm(&[0, 3, 2, 2], &[9, 8, 5]), Some(8), "neither do I");
        assert_eq!(firm(&[0, 0], &[9]), None, "nobody decides");
        assert_eq!(firm(&[], &[]), None);
    }

    #[test]
    fn it_is_to_be_told_when_an_ack_says_more_than_was_told() {
        let mut firm = Firm::new(vec![3, 2, 2], 4);
        firm.note(Seq(3), Seq(3));
        assert!(!firm.is_moved(), "it is stable");
        firm.note(Seq(5), Seq(3));
        assert!(firm.is_moved() && !firm.is_due());
        firm.note(Seq(7), Seq(3));
        assert!(firm.is_due());
        firm.tell(Seq(7));
        firm.note(Seq(7), Seq(3));
        assert!(!firm.is_moved() && !firm.is_due());
        let mut untold = Firm::default();
        untold.note(Seq(9), Seq(0));
        assert!(!untold.is_moved(), "nobody is to be told");
    }
}
