//! What to do when a duty cycle found no work.

use crate::medium::Medium;
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

/// Empty cycles that [`Idle::Auto`] yields before it parks: about 100 microseconds of an otherwise idle core.
const YIELDS_BEFORE_PARKING: u32 = 256;

/// The strategy's memory: it sees nothing but the work that each cycle did.
#[derive(Debug)]
pub(super) struct IdleState {
    strategy: Idle,
    empty: u32,
}

impl IdleState {
    pub(super) fn new(strategy: Idle) -> Self {
        Self { strategy, empty: 0 }
    }

    /// Called after a cycle that did `work`; waits at most for `limit`.
    pub(super) fn idle(&mut self, work: usize, medium: &mut impl Medium, limit: Duration) {
        if work > 0 {
            self.empty = 0;
            return;
        }
        self.empty = self.empty.saturating_add(1);
        match self.strategy {
            Idle::Spin => std::hint::spin_loop(),
            Idle::SpinYield => std::thread::yield_now(),
            Idle::Park => medium.wait(limit),
            Idle::Auto if self.empty < YIELDS_BEFORE_PARKING => std::thread::yield_now(),
            Idle::Auto => medium.wait(limit),
        }
    }
}
