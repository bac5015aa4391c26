//! What to do when a duty cycle found no work.

use crate::medium::Medium;
use crate::time::Instant;
use std::time::Duration;

/// How an engine waits. The choice trades processor time for latency; each has its measured cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Idle {
    /// Never: the lowest latency, for an engine that has a core to itself.
    Spin,
    /// Offers the core to others after every empty cycle: nearly as fast, and several engines can share a core.
    SpinYield,
    /// Sleeps in the kernel until something arrives or a timer is due: idle costs nothing, waking costs tens of microseconds.
    Park,
    /// Yields while the last work is recent, then parks.
    #[default]
    Auto,
}

/// Without work for so long, [`Idle::Auto`] parks.
const PARK_AFTER_NS: u64 = 200_000;

/// The strategy's memory.
#[derive(Debug)]
pub(super) struct IdleState {
    strategy: Idle,
    /// When the first empty cycle since the last work began.
    empty_since: Option<Instant>,
}

impl IdleState {
    pub(super) fn new(strategy: Idle) -> Self {
        Self { strategy, empty_since: None }
    }

    /// Called after a cycle that began at `now` and did `work`; waits at most for `limit`.
    pub(super) fn idle(&mut self, now: Instant, work: usize, medium: &mut impl Medium, limit: Duration) {
        if work > 0 {
            self.empty_since = None;
            return;
        }
        let empty_since = *self.empty_since.get_or_insert(now);
        match self.strategy {
            Idle::Spin => std::hint::spin_loop(),
            Idle::SpinYield => std::thread::yield_now(),
            Idle::Park => medium.wait(limit),
            Idle::Auto if now.since_ns(empty_since) < PARK_AFTER_NS => std::thread::yield_now(),
            Idle::Auto => medium.wait(limit),
        }
    }
}
