//! Who holds everybody back for long: a member because of which casts are refused, again and again.
//!
//! What counts is refusals: a member that is slow, and of which nobody wants more, holds nobody back.

use sistrum_ordering::Rank;
use sistrum_transport::reliable::{Outbound, Refusal, Sender};
use sistrum_transport::time::Instant;
use std::time::Duration;

/// A member because of which casts are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holdup {
    /// The member.
    pub by: Rank,
    /// From the first refusal to the last one, none of them long after the one before.
    pub lasts: Duration,
    /// Blocks of mine that it has not delivered.
    pub behind: u64,
    /// How long it has moved nothing.
    pub still: Duration,
    /// Casts that were refused because of it in this view.
    pub refusals: u64,
}

/// What is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Telling {
    /// It holds everybody back.
    HeldBack(Holdup),
    /// It does not any more; it did for so long.
    Released(Rank, Duration),
}

/// Watches the refusals of one view's casts.
#[derive(Debug)]
pub(crate) struct Holdups {
    /// A holdup of this length is told, and again each time that it has lasted twice as long; without refusals for this time, it is over.
    after_ns: u64,
    /// Refusals that were looked at.
    seen: u64,
    /// By rank.
    open: Vec<Option<Open>>,
    due: Option<Telling>,
}

/// A holdup that is not over.
#[derive(Debug, Clone, Copy)]
struct Open {
    since: Instant,
    until: Instant,
    /// It is told when it has lasted so long.
    tell_at_ns: u64,
    is_told: bool,
}

impl Holdups {
    /// Of a view of so many members; nothing is told where the time is 0.
    pub(crate) fn new(after_ns: u64, members: usize) -> Self {
        Self { after_ns, seen: 0, open: vec![None; members], due: None }
    }

    /// A cycle begins.
    #[inline]
    pub(crate) fn look<O: Outbound>(&mut self, now: Instant, sender: &Sender<O>) {
        if self.after_ns > 0
            && let Some(last) = sender.last_refusal()
        {
            self.look_closely(now, last, sender);
        }
    }

    fn look_closely<O: Outbound>(&mut self, now: Instant, last: Refusal, sender: &Sender<O>) {
        if last.count != self.seen {
            self.seen = last.count;
            if let Some(lasts_ns) = self.note(last) {
                let held = sender.held_back(now).filter(|held| held.by == last.by);
                let (behind, still) = held.map(|held| (held.behind, held.age)).unwrap_or_default();
                let (lasts, refusals) = (Duration::from_nanos(lasts_ns), sender.refusals(last.by));
                self.due = Some(Telling::HeldBack(Holdup { by: last.by, lasts, behind, still, refusals }));
            }
        }
        self.end_quiet(now);
    }

    /// A refusal; how long the holdup has lasted, where that is to be told.
    fn note(&mut self, last: Refusal) -> Option<u64> {
        self.end_quiet(last.at);
        let fresh = Open { since: last.at, until: last.at, tell_at_ns: self.after_ns, is_told: false };
        let open = self.open[usize::from(last.by.0)].get_or_insert(fresh);
        open.until = last.at;
        let lasts_ns = open.until.since_ns(open.since);
        if lasts_ns < open.tell_at_ns || self.due.is_some() {
            return None;
        }
        (open.tell_at_ns, open.is_told) = (lasts_ns.saturating_mul(2), true);
        Some(lasts_ns)
    }

    /// What has had no refusal for a while is over.
    fn end_quiet(&mut self, now: Instant) {
        for (rank, slot) in (0..).map(Rank).zip(&mut self.open) {
            let Some(open) = slot else { continue };
            if now.since_ns(open.until) <= self.after_ns || (open.is_told && self.due.is_some()) {
                continue;
            }
            if open.is_told {
                self.due = Some(Telling::Released(rank, open.until.since(open.since)));
            }
            *slot = None;
        }
    }

    /// What is to be told; it stays so until it [was](Self::told).
    #[inline]
    pub(crate) fn due(&self) -> Option<Telling> {
        self.due
    }

    pub(crate) fn told(&mut self) {
        self.due = None;
    }

    /// When the end of one that was told can be told.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let told = self.open.iter().flatten().filter(|open| open.is_told);
        told.map(|open| open.until.plus_ns(self.after_ns + 1)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: u64 = 100;

    /// Refusals as (time, rank), each looked at in its cycle, with a quiet cycle 60 later; what is told, and when.
    fn told(refusals: &[(u64, u16)], quiet: u64) -> Vec<(u64, Telling)> {
        let (mut holdups, mut told) = (Holdups::new(AFTER, 4), Vec::new());
        let mut take = |now: u64, holdups: &mut Holdups| {
            told.extend(holdups.due().map(|telling| (now, telling)));
            holdups.told();
        };
        for (count, (at, by)) in (1..).zip(refusals) {
            let refusal = Refusal { by: Rank(*by), at: Instant(*at), count };
            if let Some(lasts) = holdups.note(refusal) {
                let (lasts, still) = (Duration::from_nanos(lasts), Duration::ZERO);
                let holdup = Holdup { by: Rank(*by), lasts, behind: 0, still, refusals: count };
                holdups.due = Some(Telling::HeldBack(holdup));
            }
            holdups.end_quiet(Instant(*at));
            take(*at, &mut holdups);
        }
        let last = refusals.last().map_or(0, |(at, _)| *at);
        for now in (last..=last + quiet).step_by(10) {
            holdups.end_quiet(Instant(now));
            take(now, &mut holdups);
        }
        told
    }

    /// The times of what is told of a holdup, and at last of its end.
    fn times(told: &[(u64, Telling)]) -> Vec<(u64, u16, u64, bool)> {
        let brief = told.iter().map(|(at, telling)| match telling {
            Telling::HeldBack(holdup) => (*at, holdup.by.0, holdup.lasts.as_nanos() as u64, true),
            Telling::Released(by, lasted) => (*at, by.0, lasted.as_nanos() as u64, false),
        });
        brief.collect()
    }

    #[test]
    fn a_holdup_is_told_when_it_has_lasted_then_each_time_twice_as_long_and_once_when_it_is_over() {
        let refusals: Vec<_> = (0..=100).map(|at| (1_000 + at * 10, 2)).collect();
        let told = times(&told(&refusals, 300));
        let expected = [
            (1_100, 2, 100, true),
            (1_200, 2, 200, true),
            (1_400, 2, 400, true),
            (1_800, 2, 800, true),
            (2_110, 2, 1_000, false),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_short_or_far_between_is_not_told() {
        assert_eq!(told(&[(1_000, 1), (1_050, 1), (1_099, 1)], 300), []);
        let far_between: Vec<_> = (0..20).map(|at| (1_000 + at * 101, 1)).collect();
        assert_eq!(told(&far_between, 300), []);
    }

    #[test]
    fn two_who_take_turns_are_told_each() {
        let refusals: Vec<_> = (0..=20).map(|at| (1_000 + at * 10, 1 + at as u16 % 2)).collect();
        let told = times(&told(&refusals, 300));
        assert_eq!(told.iter().filter(|(_, by, ..)| *by == 1).count(), 3, "{told:?}");
        assert_eq!(told.iter().filter(|(.., is_held)| !is_held).count(), 2, "{told:?}");
    }

    #[test]
    fn its_end_wakes_who_waits() {
        let mut holdups = Holdups::new(AFTER, 2);
        assert_eq!(holdups.poll_timeout(), None);
        for (count, at) in [(1, 1_000), (2, 1_100)] {
            holdups.note(Refusal { by: Rank(1), at: Instant(at), count });
        }
        assert_eq!(holdups.poll_timeout(), Some(Instant(1_201)));
        holdups.end_quiet(Instant(1_201));
        assert_eq!(holdups.due(), Some(Telling::Released(Rank(1), Duration::from_nanos(100))));
        assert_eq!(holdups.poll_timeout(), None);
    }
}
