//! Time as plain nanoseconds, and the clock that the engine reads once a cycle and hands down.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// A point in time: nanoseconds since an origin that only the clock knows.
///
/// [`MonotonicClock`] counts from the host's boot, so two processes of one host share its origin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// This point, `ns` nanoseconds later (saturating).
    #[must_use]
    pub const fn plus_ns(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// Nanoseconds from `earlier` to here; 0 when `earlier` is not earlier.
    #[must_use]
    pub const fn since_ns(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Time from `earlier` to here; zero when `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.since_ns(earlier))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// Source of [`Instant`]s. Only the engine holds one; protocols are handed `now`.
pub trait Clock {
    /// The present moment; never earlier than what it said before.
    fn now(&mut self) -> Instant;
}

/// The host's monotonic clock (`CLOCK_MONOTONIC`, read through the vDSO).
#[derive(Debug, Default, Clone, Copy)]
pub struct MonotonicClock;

impl Clock for MonotonicClock {
    fn now(&mut self) -> Instant {
        crate::sys::clock::monotonic()
    }
}

/// A clock that stands still until it is told to move, and counts how often it was read.
///
/// Clones share one time: a simulator keeps one and gives the others to its engines.
#[derive(Debug, Default, Clone)]
pub struct ManualClock {
    inner: Rc<ManualTime>,
}

#[derive(Debug, Default)]
struct ManualTime {
    now: Cell<u64>,
    reads: Cell<u64>,
}

impl ManualClock {
    /// Moves time on by `ns` nanoseconds.
    pub fn advance_ns(&self, ns: u64) {
        self.inner.now.set(self.inner.now.get() + ns);
    }

    /// How often any clone of this clock was read.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.inner.reads.get()
    }

    /// The present moment, without counting as a read.
    #[must_use]
    pub fn peek(&self) -> Instant {
        Instant(self.inner.now.get())
    }
}

impl Clock for ManualClock {
    fn now(&mut self) -> Instant {
        self.inner.reads.set(self.inner.reads.get() + 1);
        self.peek()
    }
}
