//! The streams of a view as agreement sees them.

use crate::agreement::Streams;
use crate::detector::Detector;
use crate::running::Running;
use sistrum_ordering::{Rank, Seq};
use sistrum_transport::log::RxPool;
use sistrum_transport::mutated;
use sistrum_transport::time::Instant;
use std::cell::Cell;

/// A change waits so long for what was sent to one alone, at most. What is not held then may be lost, and what came behind it is not.
const WAIT_FOR_SENDS_NS: u64 = 50_000_000;

/// See the module.
pub(crate) struct Flow<'a> {
    now: Instant,
    running: &'a mut Running,
    detector: &'a mut Detector,
    /// Since when the change waits for what I sent to one alone.
    stopping_since: Cell<Option<Instant>>,
    pool: &'a mut RxPool,
}

impl<'a> Flow<'a> {
    pub(crate) fn new(
        now: Instant,
        running: &'a mut Running,
        detector: &'a mut Detector,
        stopping_since: Option<Instant>,
        pool: &'a mut RxPool,
    ) -> Self {
        Self { now, running, detector, stopping_since: Cell::new(stopping_since), pool }
    }

    pub(crate) fn stopping_since(&self) -> Option<Instant> {
        self.stopping_since.get()
    }
}

impl Streams for Flow<'_> {
    fn may_change(&self) -> bool {
        // Before anything may be cast in it, a view may go untold.
        if !self.running.told && self.running.is_open {
            return false;
        }
        if self.running.outgoing.is_held(|rank| self.detector.is_suspected(rank)) {
            return true;
        }
        let since = self.stopping_since.get().unwrap_or(self.now);
        self.stopping_since.set(Some(since));
        self.now.since_ns(since) >= WAIT_FOR_SENDS_NS
    }

    fn freeze(&mut self) -> Vec<Seq> {
        self.running.session.freeze(self.now)
    }

    fn fetch(&mut self, cut: &[Seq], holders: &[Rank]) {
        self.running.session.fetch(self.now, cut, holders, self.pool);
    }

    fn holds(&self, cut: &[Seq]) -> bool {
        self.running.session.holds(cut)
    }

    fn suspect(&mut self, rank: Rank) {
        self.running.session.suspect(rank);
        self.detector.suspect(self.now, rank);
    }

    fn trust(&mut self, rank: Rank) {
        if !mutated!(TrustWithoutData) {
            self.running.session.trust(self.now, rank);
        }
        self.detector.trust(self.now, rank);
    }
}

/// The streams of a view that may not be left: what is asked for waits.
pub(crate) struct Closed;

impl Streams for Closed {
    fn may_change(&self) -> bool {
        false
    }

    fn freeze(&mut self) -> Vec<Seq> {
        unreachable!("it may not change")
    }

    fn fetch(&mut self, _: &[Seq], _: &[Rank]) {}

    fn holds(&self, _: &[Seq]) -> bool {
        false
    }

    fn suspect(&mut self, _: Rank) {}

    fn trust(&mut self, _: Rank) {}
}
