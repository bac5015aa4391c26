//! Which streams have something to do, so that no cycle looks at all of them.

use crate::id::Rank;

/// A set of ranks that is walked in the order of insertion.
#[derive(Debug)]
pub(super) struct RankSet {
    order: Vec<Rank>,
    contains: Vec<bool>,
}

impl RankSet {
    pub(super) fn new(members: usize) -> Self {
        Self { order: Vec::with_capacity(members), contains: vec![false; members] }
    }

    /// Whether it was not in the set before.
    pub(super) fn insert(&mut self, rank: Rank) -> bool {
        let contained = std::mem::replace(&mut self.contains[rank.0 as usize], true);
        if !contained {
            self.order.push(rank);
        }
        !contained
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(Rank) -> bool) {
        let contains = &mut self.contains;
        self.order.retain(|&rank| {
            let kept = keep(rank);
            contains[rank.0 as usize] = kept;
            kept
        });
    }

    pub(super) fn move_to_end(&mut self, rank: Rank) {
        self.order.retain(|&other| other != rank);
        self.order.push(rank);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Rank> + '_ {
        self.order.iter().copied()
    }

    pub(super) fn clear(&mut self) {
        self.order.clear();
        self.contains.fill(false);
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}
