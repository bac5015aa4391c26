//! Pacing by the clock: a token bucket holds back what is sent faster than a rate, beyond a burst.
//!
//! It is filled by the cycle's own reading of the clock. Repairs are charged and go first, new data follows, control is
//! exempt. What is held back waits in its log, and messages fill the open block meanwhile. Over any interval the bytes
//! that leave are at most `burst + rate * interval`: a block goes only when the bucket holds all of it.

use crate::time::Instant;

/// How fast a sender may send, in bytes of blocks with their headers. UDP and IP add 28 bytes to a datagram (48 on IPv6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Bytes a second.
    pub rate: u64,
    /// Bytes that may go at once after a pause; at least a block.
    pub burst: u64,
}

impl Pace {
    /// Whether blocks of `block` bytes can be sent at this pace: which field says no, and why, when they cannot.
    ///
    /// # Errors
    /// The name of the field, and what is wrong with it.
    pub const fn check(&self, block: usize) -> Result<(), (&'static str, &'static str)> {
        if self.rate == 0 {
            return Err(("rate", "it is 0: nothing would ever be sent"));
        }
        if self.burst < block as u64 {
            return Err(("burst", "it is less than a block: none could ever be sent"));
        }
        Ok(())
    }

    /// The pace of each of `copies` of everything, which together keep to this one.
    #[must_use]
    pub fn of_each(self, copies: usize) -> Self {
        let copies = copies.max(1) as u64;
        Self { rate: self.rate / copies, burst: self.burst / copies }
    }
}

/// The token bucket. Credit is counted in billionths of a byte, so that no nanosecond is rounded away.
#[derive(Debug)]
pub(super) struct Bucket {
    pace: Pace,
    credit: u128,
    filled_at: Instant,
    /// When what was held back last may go.
    held_until: Option<Instant>,
}

const NS: u128 = 1_000_000_000;

impl Bucket {
    /// A full one.
    pub(super) fn new(pace: Pace) -> Self {
        let credit = u128::from(pace.burst) * NS;
        Self { pace, credit, filled_at: Instant::default(), held_until: None }
    }

    /// It is `now`.
    pub(super) fn fill(&mut self, now: Instant) {
        let elapsed_ns = now.since_ns(self.filled_at);
        if elapsed_ns > 0 {
            let earned = u128::from(self.pace.rate) * u128::from(elapsed_ns);
            self.credit = (self.credit + earned).min(u128::from(self.pace.burst) * NS);
            self.filled_at = now;
        }
    }

    /// Whether `bytes` may go now; they are not charged. Otherwise it is noted when they may.
    pub(super) fn admits(&mut self, bytes: usize) -> bool {
        let wanted = bytes as u128 * NS;
        self.held_until = wanted.checked_sub(self.credit).filter(|lacking| *lacking > 0).map(|lacking| {
            let wait_ns = lacking.div_ceil(u128::from(self.pace.rate));
            self.filled_at.plus_ns(u64::try_from(wait_ns).unwrap_or(u64::MAX))
        });
        self.held_until.is_none()
    }

    /// Charges a run of up to `count` blocks, all but the last of `stride` bytes; returns how many of them may go now.
    pub(super) fn take(&mut self, count: u32, stride: usize, used: impl Fn(u32) -> usize) -> u32 {
        let size = |count: u32| (count as usize - 1) * stride + used(count - 1);
        let full = (self.credit / NS) as usize / stride;
        // A run that must be cut goes as far as full blocks do; a single block counts its own bytes.
        let may_go = if self.admits(size(count)) { count } else { count.min(full as u32).max(1) };
        if may_go == 1 && !self.admits(size(1)) {
            return 0;
        }
        self.credit -= size(may_go) as u128 * NS;
        self.held_until = None;
        may_go
    }

    /// What was held back is not held back by the pace any more.
    pub(super) fn forget(&mut self) {
        self.held_until = None;
    }

    /// When what is held back may go; `None` when nothing is.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.held_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kilobyte a millisecond, three at once.
    fn bucket() -> Bucket {
        Bucket::new(Pace { rate: 1_000_000, burst: 3_000 })
    }

    #[test]
    fn a_run_is_cut_to_what_the_bucket_has() {
        let mut bucket = bucket();
        bucket.fill(Instant(5));
        assert_eq!(bucket.take(8, 1_000, |_| 1_000), 3);
        assert_eq!(bucket.take(5, 1_000, |_| 1_000), 0);
        assert_eq!(bucket.held_until(), Some(Instant(1_000_005)));
        bucket.fill(Instant(1_500_005));
        assert_eq!(bucket.take(2, 1_000, |at| if at == 1 { 500 } else { 1_000 }), 2, "to the byte");
        assert_eq!(bucket.held_until(), None);
    }

    #[test]
    fn a_pause_earns_no_more_than_a_burst() {
        let mut bucket = bucket();
        bucket.fill(Instant(1_000_000_000_000));
        assert_eq!(bucket.take(8, 1_000, |_| 1_000), 3);
    }

    #[test]
    fn fractions_of_bytes_are_not_lost() {
        let mut bucket = Bucket::new(Pace { rate: 1, burst: 1 });
        bucket.fill(Instant(1));
        assert_eq!(bucket.take(1, 1, |_| 1), 1);
        (1..=1_000_001).for_each(|step| bucket.fill(Instant(step * 1_000)));
        assert!(bucket.admits(1), "a billion nanoseconds, in steps of a thousand");
    }

    #[test]
    fn what_could_never_send_is_refused_by_name() {
        assert_eq!(Pace { rate: 0, burst: 9_000 }.check(1408).unwrap_err().0, "rate");
        assert_eq!(Pace { rate: 1, burst: 1407 }.check(1408).unwrap_err().0, "burst");
        assert_eq!(Pace { rate: 1, burst: 1408 }.check(1408), Ok(()));
        assert_eq!(Pace { rate: 900, burst: 3_000 }.of_each(3), Pace { rate: 300, burst: 1_000 });
    }
}
