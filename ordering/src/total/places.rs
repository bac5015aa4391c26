//! Total blocks that have their place in the order and are not delivered.

use sistrum_transport::id::{Rank, Seq};
use std::collections::VecDeque;

/// In the order of their places, as runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Places(VecDeque<Run>);

/// Total blocks of one stream that follow each other in the order and in their stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Run {
    pub(super) rank: Rank,
    pub(super) first: Seq,
    pub(super) count: u64,
}

impl Places {
    /// None yet; so many runs have room.
    pub(super) fn with_capacity(runs: usize) -> Self {
        Self(VecDeque::with_capacity(runs))
    }

    /// Those of `blocks` that lie before `end`, by rank.
    pub(super) fn within(end: &[Seq], blocks: Vec<(Rank, Seq)>) -> Self {
        let mut places = Self(VecDeque::new());
        for (rank, first) in blocks.into_iter().filter(|(rank, seq)| *seq < end[rank.0 as usize]) {
            push(&mut places.0, Run { rank, first, count: 1 });
        }
        places
    }

    /// How many runs there are.
    pub(super) fn runs(&self) -> usize {
        self.0.len()
    }

    /// Every block that has a place.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (Rank, Seq)> {
        self.0.iter().flat_map(|run| (0..run.count).map(|at| (run.rank, run.first.plus(at))))
    }

    /// The next places.
    pub(super) fn push(&mut self, run: Run) {
        push(&mut self.0, run);
    }

    /// The first block.
    pub(super) fn head(&self) -> Option<(Rank, Seq)> {
        self.0.front().map(|run| (run.rank, run.first))
    }

    /// Whether everything before this block is delivered, or let through before it in its own stream.
    pub(super) fn is_turn(&self, rank: Rank, seq: Seq) -> bool {
        self.0.front().is_some_and(|run| run.rank == rank && seq < run.end())
    }

    /// Every message of `rank` that ends before block `to` has been delivered.
    pub(super) fn delivered(&mut self, rank: Rank, to: Seq) {
        while let Some(run) = self.0.front_mut()
            && run.rank == rank
            && run.first < to
        {
            let taken = to.since(run.first).min(run.count);
            (run.first, run.count) = (run.first.plus(taken), run.count - taken);
            if run.count == 0 {
                self.0.pop_front();
            }
        }
    }
}

impl Run {
    pub(super) fn end(&self) -> Seq {
        self.first.plus(self.count)
    }
}

/// Adds a run, to the last one where it continues it.
pub(super) fn push(runs: &mut VecDeque<Run>, run: Run) {
    match runs.back_mut() {
        Some(last) if last.rank == run.rank && last.end() == run.first => last.count += run.count,
        _ => runs.push_back(run),
    }
}
