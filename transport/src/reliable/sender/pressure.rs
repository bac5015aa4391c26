//! Who holds my stream back, and how far everybody is behind it.

use super::Sender;
use crate::id::{Rank, Seq};
use crate::reliable::layer::Outbound;
use crate::time::Instant;
use std::time::Duration;

/// Who holds everybody back at present: it has delivered least of my stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldBack {
    /// The member; I myself where my own casts have not come back to me.
    pub by: Rank,
    /// How long it has moved nothing.
    pub age: Duration,
    /// Blocks that it has not delivered, of the [window](Sender::window).
    pub behind: u64,
}

impl<O: Outbound> Sender<O> {
    /// Who holds the oldest block of my log; nobody while all that was sent is delivered.
    #[must_use]
    pub fn held_back(&self, now: Instant) -> Option<HeldBack> {
        let (slowest, moved_at) = self.flow.slowest();
        let (end, delivered) = (self.log.open(), self.flow.delivered());
        let (by, from) = if self.kept < delivered { (self.me, self.kept) } else { (slowest, delivered) };
        let held = HeldBack { by, age: now.since(moved_at), behind: end.since(from) };
        (from < self.sent).then_some(held)
    }

    /// What one member has delivered; everything before it.
    #[must_use]
    pub fn delivered_by(&self, rank: Rank) -> Seq {
        self.flow.delivered_by(rank)
    }

    /// Casts that were refused because `rank` held the window.
    #[must_use]
    pub fn refusals(&self, rank: Rank) -> u64 {
        self.flow.refusals(rank)
    }

    /// Casts that were refused because the pace held them back.
    #[must_use]
    pub fn refusals_of_pace(&self) -> u64 {
        self.paced
    }

    /// My blocks before it were handed to the medium at least once.
    #[must_use]
    pub fn sent(&self) -> Seq {
        self.sent
    }
}
