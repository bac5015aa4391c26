//! What comes while the state is taken over: it is kept, within a bound, and handed over behind the state.

use sistrum_transport::mutated;
use std::collections::VecDeque;

/// See the module. What is kept is `K`.
#[derive(Debug)]
pub(crate) struct Spool<K> {
    limit: usize,
    bytes: usize,
    kept: VecDeque<K>,
}

/// What takes memory.
pub(crate) trait Weigh: Sized {
    /// Bytes beside its own.
    fn more(&self) -> usize;

    /// What it takes.
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.more()
    }
}

impl<K: Weigh> Spool<K> {
    /// For `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, bytes: 0, kept: VecDeque::new() }
    }

    /// Whether more was kept than may be.
    pub(crate) fn is_over_full(&self) -> bool {
        self.bytes > self.limit
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps no more from now on than it does now, less so many bytes.
    pub(crate) fn narrow(&mut self, by: usize) {
        self.limit = self.limit.min(self.bytes).saturating_sub(by);
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    pub(crate) fn push(&mut self, kept: K) {
        self.bytes += kept.bytes();
        self.kept.push_back(kept);
        if mutated!(SpoolForgets) && self.kept.len() > 8 {
            self.pop();
        }
    }

    pub(crate) fn front(&self) -> Option<&K> {
        self.kept.front()
    }

    pub(crate) fn pop(&mut self) {
        if let Some(kept) = self.kept.pop_front() {
            self.bytes -= kept.bytes();
        }
    }

    pub(crate) fn clear(&mut self) {
        (self.bytes, self.kept) = (0, VecDeque::new());
    }
}
