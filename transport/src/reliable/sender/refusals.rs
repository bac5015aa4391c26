//! How long casts were refused because of whom.

use super::Sender;
use crate::id::Rank;
use crate::reliable::layer::Outbound;
use crate::time::Instant;
use std::time::Duration;

/// A cast that was refused because a member held the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The member that was named.
    pub by: Rank,
    /// When.
    pub at: Instant,
    /// Casts that were refused so far, whoever was named.
    pub count: u64,
}

impl<O: Outbound> Sender<O> {
    /// The last of them.
    #[inline]
    #[must_use]
    pub fn last_refusal(&self) -> Option<Refusal> {
        self.flow.blame().last()
    }

    /// How long casts were refused because of `rank`: from each first refusal to the next cast that found room, or to the last refusal.
    #[must_use]
    pub fn refused_for(&self, rank: Rank) -> Duration {
        self.flow.blame().refused_for(rank)
    }
}

/// Whom refusals are put down to.
#[derive(Debug)]
pub(in crate::reliable) struct Blame {
    last: Option<Refusal>,
    /// The last cast was refused.
    is_refusing: bool,
    /// By rank.
    refused_ns: Vec<u64>,
}

impl Blame {
    pub(in crate::reliable) fn new(members: usize) -> Self {
        Self { last: None, is_refusing: false, refused_ns: vec![0; members] }
    }

    /// A cast is refused because of `by`.
    pub(in crate::reliable) fn refuse(&mut self, now: Instant, by: Rank) {
        self.count_time(now);
        let count = self.last.map_or(0, |last| last.count) + 1;
        (self.last, self.is_refusing) = (Some(Refusal { by, at: now, count }), true);
    }

    /// A cast has found room in a block that was not open yet.
    #[inline]
    pub(in crate::reliable) fn accept(&mut self, now: Instant) {
        if self.is_refusing {
            self.count_time(now);
            self.is_refusing = false;
        }
    }

    fn count_time(&mut self, now: Instant) {
        if let Some(last) = self.last.filter(|_| self.is_refusing) {
            self.refused_ns[usize::from(last.by.0)] += now.since_ns(last.at);
        }
    }

    fn last(&self) -> Option<Refusal> {
        self.last
    }

    fn refused_for(&self, rank: Rank) -> Duration {
        Duration::from_nanos(self.refused_ns[usize::from(rank.0)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_to_whoever_was_named_until_there_is_room() {
        let mut blame = Blame::new(3);
        blame.accept(Instant(5));
        for (now, by) in [(10, 1), (10, 1), (25, 1), (40, 2)] {
            blame.refuse(Instant(now), Rank(by));
        }
        blame.accept(Instant(47));
        blame.accept(Instant(90));
        blame.refuse(Instant(100), Rank(1));
        let of = |rank| blame.refused_for(Rank(rank)).as_nanos();
        assert_eq!([of(0), of(1), of(2)], [0, 30, 7]);
        assert_eq!(blame.last(), Some(Refusal { by: Rank(1), at: Instant(100), count: 5 }));
    }
}
