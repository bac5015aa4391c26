//! The clock of one process: it has an origin of its own, drifts, and jumps ahead, as a host does that slept.

use sistrum_transport::time::{Clock, Instant, ManualClock};
use std::cell::Cell;
use std::rc::Rc;

/// A million: rates are millionths.
const MILLION: u128 = 1_000_000;

/// Clones are handles to the same clock.
#[derive(Debug, Clone)]
pub(super) struct LocalClock {
    /// The time of the simulation, which no process sees.
    time: ManualClock,
    /// Nanoseconds that this clock is ahead of its own rate.
    ahead_ns: Rc<Cell<u64>>,
    /// Its own nanoseconds in a million of the simulation's.
    rate: u64,
}

impl LocalClock {
    pub(super) fn new(time: ManualClock, ahead_ns: u64, rate: u64) -> Self {
        Self { time, ahead_ns: Rc::new(Cell::new(ahead_ns)), rate }
    }

    /// Goes on as if `ns` had passed at once.
    pub(super) fn jump(&self, ns: u64) {
        self.ahead_ns.set(self.ahead_ns.get() + ns);
    }

    /// What it shows, without counting as a read.
    pub(super) fn peek(&self) -> Instant {
        let passed = u128::from(self.time.peek().0) * u128::from(self.rate) / MILLION;
        Instant(self.ahead_ns.get() + passed as u64)
    }

    /// The time of the simulation at which it will show `due`.
    pub(super) fn when(&self, due: Instant) -> Instant {
        let passed = u128::from(due.0.saturating_sub(self.ahead_ns.get()));
        let time = (passed * MILLION).div_ceil(u128::from(self.rate));
        Instant(u64::try_from(time).unwrap_or(u64::MAX))
    }
}

impl Clock for LocalClock {
    fn now(&mut self) -> Instant {
        // Its reads are counted: once in a cycle.
        let _ = self.time.now();
        self.peek()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_time_that_it_names_it_shows_what_is_due() {
        for (ahead, rate) in [(0, 1_000_000), (7_000, 1_100_000), (123_456, 900_001)] {
            let time = ManualClock::default();
            let clock = LocalClock::new(time.clone(), ahead, rate);
            for due in [200_000, 999_999, 123_456_789] {
                let when = clock.when(Instant(due));
                time.advance_ns(when.0 - time.peek().0);
                assert!(
                    clock.peek() >= Instant(due) && clock.peek() <= Instant(due + 2),
                    "{ahead} {rate} {due}"
                );
            }
        }
    }

    #[test]
    fn a_jump_brings_what_is_due_nearer() {
        let clock = LocalClock::new(ManualClock::default(), 5, 1_000_000);
        clock.jump(100);
        assert_eq!(clock.peek(), Instant(105));
        assert_eq!((clock.when(Instant(110)), clock.when(Instant(90))), (Instant(5), Instant(0)));
    }
}
