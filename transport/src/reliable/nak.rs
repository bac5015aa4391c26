//! When to ask for what is missing from one stream.
//!
//! A gap that nobody has asked for yet is *fresh*: it is asked for after a random delay (none with a single receiver),
//! unless another receiver is heard asking before. What was asked for and has not come is asked for again after a retry
//! time, doubled each time nothing at all came.

use super::Tuning;
use crate::id::Seq;
use crate::mutated;
use crate::time::Instant;

/// The timing of one stream's NAKs. Sequences are exclusive ends.
#[derive(Debug)]
pub(super) struct NakTiming {
    delay_ns: u64,
    retry_ns: u64,
    retry_max_ns: u64,
    asked_to: Seq,
    fresh_due: Option<Instant>,
    retry_due: Option<Instant>,
    attempt: u8,
    /// Where `next` stood when the last NAK was sent: progress since then ends the doubling.
    next_when_asked: Seq,
}

/// What to ask for now: everything missing in `from..to`.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) struct Ask {
    pub(super) from: Seq,
    pub(super) to: Seq,
    pub(super) attempt: u8,
}

impl NakTiming {
    /// For a stream from `start` on that has `receivers` receivers.
    pub(super) fn new(tuning: &Tuning, receivers: usize, start: Seq) -> Self {
        Self {
            delay_ns: if receivers > 1 { tuning.nak_delay_ns } else { 0 },
            retry_ns: tuning.nak_retry_ns,
            retry_max_ns: tuning.nak_retry_max_ns,
            asked_to: start,
            fresh_due: None,
            retry_due: None,
            attempt: 0,
            next_when_asked: start,
        }
    }

    /// The stream is contiguous up to `next` and known to reach to `highest`: starts, keeps or ends the timers.
    pub(super) fn update(&mut self, now: Instant, next: Seq, highest: Seq, rng: &mut fastrand::Rng) {
        if next >= highest {
            (self.fresh_due, self.retry_due, self.attempt) = (None, None, 0);
            self.asked_to = next;
            return;
        }
        if highest > self.asked_to && self.fresh_due.is_none() {
            let delay = if self.delay_ns == 0 { 0 } else { rng.u64(0..self.delay_ns) };
            self.fresh_due = Some(now.plus_ns(delay));
        }
    }

    /// When [`due`](Self::due) wants to be called.
    pub(super) fn timeout(&self) -> Option<Instant> {
        match (self.fresh_due, self.retry_due) {
            (Some(fresh), Some(retry)) => Some(fresh.min(retry)),
            (fresh, retry) => fresh.or(retry),
        }
    }

    /// From where on there may be gaps that wait to be asked for, if any do.
    pub(super) fn fresh_from(&self, next: Seq) -> Option<Seq> {
        self.fresh_due.map(|_| next.max(self.asked_to))
    }

    /// Everything from `next` on is asked for anew, and at once.
    pub(super) fn urge(&mut self, now: Instant, next: Seq) {
        self.restart(next);
        self.fresh_due = Some(now);
    }

    /// The stream begins anew at `start`.
    pub(super) fn restart(&mut self, start: Seq) {
        (self.asked_to, self.next_when_asked) = (start, start);
        (self.fresh_due, self.retry_due, self.attempt) = (None, None, 0);
    }

    /// What is due at `now`. The caller sends it and reports with [`asked`](Self::asked) how far it got.
    pub(super) fn due(&mut self, now: Instant, next: Seq, highest: Seq) -> Option<Ask> {
        let is_due = |timer: Option<Instant>| timer.is_some_and(|due| due <= now);
        if is_due(self.retry_due) {
            self.attempt = if next > self.next_when_asked { 0 } else { self.attempt.saturating_add(1) };
            return Some(Ask { from: next, to: highest, attempt: self.attempt });
        }
        if is_due(self.fresh_due) {
            return Some(Ask { from: next.max(self.asked_to), to: highest, attempt: 0 });
        }
        None
    }

    /// A NAK was sent, by me or by another receiver, that covers everything missing before `to`.
    pub(super) fn asked(&mut self, now: Instant, next: Seq, to: Seq, rng: &mut fastrand::Rng) {
        self.fresh_due = None;
        self.asked_to = self.asked_to.max(to);
        if mutated!(NakOnce) {
            return;
        }
        // A fresh gap does not put off the repetition for an older one.
        if self.retry_due.is_some_and(|due| due > now) {
            return;
        }
        self.next_when_asked = next;
        let doubled = self.retry_ns.checked_shl(u32::from(self.attempt.min(32))).unwrap_or(u64::MAX);
        let wait_ns = doubled.min(self.retry_max_ns);
        // Several receivers that miss the same do not ask again all at once.
        let spread_ns = if self.delay_ns == 0 { 0 } else { rng.u64(0..=wait_ns / 2) };
        self.retry_due = Some(now.plus_ns(wait_ns + spread_ns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(receivers: usize) -> (NakTiming, fastrand::Rng) {
        (NakTiming::new(&Tuning::loopback(), receivers, Seq(0)), fastrand::Rng::with_seed(1))
    }

    #[test]
    fn a_single_receiver_asks_at_once_and_several_wait_a_random_time() {
        let now = Instant(1_000);
        let (mut single, mut rng) = timing(1);
        single.update(now, Seq(2), Seq(5), &mut rng);
        assert_eq!(single.due(now, Seq(2), Seq(5)), Some(Ask { from: Seq(2), to: Seq(5), attempt: 0 }));
        let delays: Vec<u64> = (0..100)
            .map(|seed| {
                let mut several = timing(2).0;
                several.update(now, Seq(2), Seq(5), &mut fastrand::Rng::with_seed(seed));
                several.timeout().unwrap().since_ns(now)
            })
            .collect();
        assert!(delays.iter().all(|&delay| delay < Tuning::loopback().nak_delay_ns));
        assert!(
            delays.iter().max().unwrap() - delays.iter().min().unwrap() > 50_000,
            "spread over the delay"
        );
    }

    #[test]
    fn only_fresh_gaps_are_asked_for_until_the_retry() {
        let (mut timing, mut rng) = timing(1);
        let now = Instant(0);
        timing.update(now, Seq(2), Seq(5), &mut rng);
        timing.asked(now, Seq(2), Seq(5), &mut rng);
        timing.update(now, Seq(2), Seq(5), &mut rng);
        assert_eq!(timing.due(now, Seq(2), Seq(5)), None, "asked already");
        timing.update(now, Seq(2), Seq(9), &mut rng);
        assert_eq!(timing.due(now, Seq(2), Seq(9)), Some(Ask { from: Seq(5), to: Seq(9), attempt: 0 }));
    }

    #[test]
    fn fresh_gaps_do_not_put_off_the_repetition() {
        let (mut timing, mut rng) = timing(1);
        timing.update(Instant(0), Seq(2), Seq(5), &mut rng);
        timing.asked(Instant(0), Seq(2), Seq(5), &mut rng);
        for at in 1..4 {
            let now = Instant(at * 500_000);
            timing.update(now, Seq(2), Seq(5 + at), &mut rng);
            assert_eq!(timing.due(now, Seq(2), Seq(5 + at)).unwrap().from, Seq(4 + at));
            timing.asked(now, Seq(2), Seq(5 + at), &mut rng);
        }
        assert_eq!(timing.timeout(), Some(Instant(2_000_000)));
    }

    #[test]
    fn repetitions_double_until_something_comes_and_end_with_the_gap() {
        let (mut timing, mut rng) = timing(1);
        let mut now = Instant(0);
        timing.update(now, Seq(2), Seq(5), &mut rng);
        timing.asked(now, Seq(2), Seq(5), &mut rng);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let due = timing.timeout().unwrap();
            waits.push(due.since_ns(now) / 1_000_000);
            now = due;
            assert!(timing.due(now, Seq(2), Seq(5)).is_some());
            timing.asked(now, Seq(2), Seq(5), &mut rng);
        }
        assert_eq!(waits, [2, 4, 8, 8, 8, 8, 8, 8]);
        now = timing.timeout().unwrap();
        assert_eq!(timing.due(now, Seq(3), Seq(5)).unwrap().attempt, 0, "progress ends the doubling");
        timing.update(now, Seq(5), Seq(5), &mut rng);
        assert_eq!(timing.timeout(), None);
    }
}
