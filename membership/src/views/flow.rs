//! The streams of a view as agreement sees them.

use crate::agreement::Streams;
use crate::detector::Detector;
use crate::running::Running;
use sistrum_ordering::{Rank, Seq};
use sistrum_transport::log::RxPool;
use sistrum_transport::mutated;
use sistrum_transport::time::Instant;
use std::cell::Cell;

/// See the module.
pub(crate) struct Flow<'a> {
    now: Instant,
    running: &'a mut Running,
    detector: &'a mut Detector,
    /// A change waits until what I sent to one alone has come there.
    waits: Cell<bool>,
    pool: &'a mut RxPool,
}

impl<'a> Flow<'a> {
    pub(crate) fn new(
        now: Instant,
        running: &'a mut Running,
        detector: &'a mut Detector,
        pool: &'a mut RxPool,
    ) -> Self {
        Self { now, running, detector, waits: Cell::new(false), pool }
    }

    /// Whether a change was wanted, and has to wait until what I sent to one alone has come there, or its receiver is suspected.
    pub(crate) fn waits(&self) -> bool {
        self.waits.get()
    }
}

impl Streams for Flow<'_> {
    fn may_change(&self) -> bool {
        // Before anything may be cast in it, a view may go untold.
        if !self.running.told && self.running.is_open {
            return false;
        }
        // What I cast behind it is delivered by all: by its receiver too, who must have it by then.
        let is_held = self.running.outgoing.is_held();
        self.waits.set(!is_held);
        is_held || mutated!(ChangeBeforeSends)
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
        self.running.suspect(rank);
        self.detector.suspect(self.now, rank);
    }

    fn trust(&mut self, rank: Rank) {
        if !mutated!(TrustWithoutData) {
            self.running.trust(self.now, rank);
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
