//! Who is silent for too long is suspected.
//!
//! A detector looks now and then at when each member was last heard. How long a silence may be is its *patience*; it is stretched
//!
//! - by my own health: who was not scheduled itself cannot call others silent. A look that comes late excuses all others for the time
//!   by which it is late, leaves each of them half of the patience, and makes me more patient for a while.
//!   This is the local health of Lifeguard (Dadgar, Phillips and Currey 2018, arXiv:1707.00788).
//! - for those who were suspected wrongly before: twice as long each time, for a while.
//!
//! No single lost packet suspects: within the least patience, two heartbeats at least are missed. What is not a silence at all, a verdict of
//! the application or of the others, is noted by [`suspect`](Detector::suspect).

mod phi;

use phi::Intervals;
use sistrum_ordering::Rank;
use sistrum_transport::mutated;
use sistrum_transport::time::Instant;
use std::collections::VecDeque;

/// Heartbeats that fit in a silence before it is suspected, about.
const HEARTBEATS: u64 = 5;
/// Looks in that time.
const LOOKS: u64 = 8;
/// Local health and flaps stretch the patience up to so many times, each.
const MOST_STRETCH: u64 = 8;
/// A flap is forgotten after so many times the patience; local health recovers a step with each.
const FORGET_AFTER: u64 = 20;
/// Two looks are so far apart at least.
const LEAST_STEP_NS: u64 = 100_000;
/// The shortest and the longest silence that can be asked for.
const SILENCES_NS: std::ops::RangeInclusive<u64> = 5_000_000..=3_600_000_000_000;

/// How silence is judged.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Suspicion {
    /// By a fixed time.
    #[default]
    Heartbeat,
    /// By how unlikely it is, given the times between signs of life so far: suspected from this φ on, with the fixed time as the longest.
    /// A φ of 8 is wrong once in 10⁸ times, if those times are normally distributed. Hayashibara et al. (2004).
    PhiAccrual {
        /// The φ: positive.
        threshold: f64,
    },
}

/// When a member is suspected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DetectorTuning {
    /// How silence is judged.
    pub suspicion: Suspicion,
    /// Nanoseconds of silence after which a member is suspected, while all is well here: at least 5 ms, at most an hour.
    pub suspect_after_ns: u64,
}

impl Default for DetectorTuning {
    fn default() -> Self {
        Self { suspicion: Suspicion::Heartbeat, suspect_after_ns: 500_000_000 }
    }
}

/// A tuning that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum BadTuning {
    /// The silence is too short or too long.
    #[error("a silence of {0} ns is not between 5 ms and an hour")]
    Silence(u64),
    /// The threshold is no positive number.
    #[error("{0} is no threshold: a positive number is, 8 for example")]
    Threshold(f64),
}

impl DetectorTuning {
    /// Whether it can be.
    ///
    /// # Errors
    /// What stands against it.
    pub fn check(&self) -> Result<(), BadTuning> {
        if !SILENCES_NS.contains(&self.suspect_after_ns) {
            return Err(BadTuning::Silence(self.suspect_after_ns));
        }
        match self.suspicion {
            Suspicion::PhiAccrual { threshold } if !(threshold.is_finite() && threshold > 0.0) => {
                Err(BadTuning::Threshold(threshold))
            }
            _ => Ok(()),
        }
    }

    /// Nanoseconds between two signs of life, at most: who has nothing to say says so that often.
    #[must_use]
    pub fn heartbeat_ns(&self) -> u64 {
        (self.suspect_after_ns / HEARTBEATS).max(1)
    }
}

/// What a detector has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// This member is silent.
    Suspect {
        /// Which.
        rank: Rank,
        /// For how long, excuses not counted.
        silence_ns: u64,
    },
    /// A member that is suspected was heard since.
    HeardAgain {
        /// Which.
        rank: Rank,
    },
}

/// See the module. Of one view.
#[derive(Debug, Clone)]
pub struct Detector {
    me: Rank,
    tuning: DetectorTuning,
    /// By rank.
    members: Vec<Member>,
    looks_at: Instant,
    /// How often I was late lately.
    late: u64,
    late_at: Instant,
    verdicts: VecDeque<Verdict>,
}

#[derive(Debug, Clone)]
struct Member {
    heard_at: Instant,
    /// Its silence counts from here.
    silent_since: Instant,
    is_suspected: bool,
    /// How often it was suspected wrongly lately.
    flaps: u64,
    flapped_at: Instant,
    intervals: Intervals,
}

impl Detector {
    /// Of a view of so many members, of whom I am `me`, from `now` on.
    #[must_use]
    pub fn new(now: Instant, members: usize, me: Rank, tuning: DetectorTuning) -> Self {
        let member = Member {
            heard_at: Instant::default(),
            silent_since: now,
            is_suspected: false,
            flaps: 0,
            flapped_at: now,
            intervals: Intervals::default(),
        };
        Self {
            me,
            tuning,
            members: vec![member; members],
            looks_at: now.plus_ns(tuning.suspect_after_ns / LOOKS),
            late: 0,
            late_at: now,
            verdicts: VecDeque::new(),
        }
    }

    /// Member `rank` was `was` in the view `before`: what is known of it goes on, and so does its silence.
    pub fn carry(&mut self, rank: Rank, before: &Self, was: Rank) {
        (self.late, self.late_at) = (before.late, before.late_at);
        self.looks_at = self.looks_at.min(before.looks_at);
        if let (Some(member), Some(known)) =
            (self.members.get_mut(rank.0 as usize), before.members.get(was.0 as usize))
        {
            *member = Member { is_suspected: false, ..known.clone() };
        }
    }

    /// Looks at when a frame of each member was last heard, by rank.
    pub fn look(&mut self, now: Instant, heard_at: &[Instant]) {
        self.watch_myself(now);
        let mut looks_at = now.plus_ns(self.tuning.suspect_after_ns / LOOKS);
        for (rank, &heard) in (0..).map(Rank).zip(heard_at) {
            if rank != self.me {
                self.look_at(now, rank, heard);
                // Just when the first patience ends, if nothing comes.
                looks_at = self
                    .members
                    .get(rank.0 as usize)
                    .map_or(looks_at, |member| looks_at.min(self.ends_at(member)));
            }
        }
        self.looks_at = looks_at.max(now.plus_ns(LEAST_STEP_NS));
    }

    /// When the silence of this member is too long.
    fn ends_at(&self, member: &Member) -> Instant {
        match member.is_suspected {
            true => Instant(u64::MAX),
            false => member.silent_since.plus_ns(self.patience_ns(member) + 1),
        }
    }

    fn patience_ns(&self, member: &Member) -> u64 {
        self.tuning.suspect_after_ns * (1 + self.late) * member.stretch()
    }

    /// A look that is late is my own pause.
    fn watch_myself(&mut self, now: Instant) {
        let (step, after) = (self.tuning.suspect_after_ns / LOOKS, self.tuning.suspect_after_ns);
        let late_ns = now.since_ns(self.looks_at);
        if self.looks_at > now || late_ns <= step {
            if self.late > 0 && now.since_ns(self.late_at) >= after * FORGET_AFTER {
                (self.late, self.late_at) = (self.late - 1, now);
            }
            return;
        }
        (self.late, self.late_at) = ((self.late + 1).min(MOST_STRETCH - 1), now);
        if mutated!(BlameOwnPause) {
            return;
        }
        let half = Instant::default().plus_ns(now.since_ns(Instant::default()).saturating_sub(after / 2));
        for member in &mut self.members {
            member.silent_since = member.silent_since.plus_ns(late_ns).max(half).min(now);
        }
    }

    fn look_at(&mut self, now: Instant, rank: Rank, heard: Instant) {
        let late = self.late;
        let Some(member) = self.members.get_mut(rank.0 as usize) else { return };
        if heard > member.heard_at {
            if member.heard_at > Instant::default() {
                member.intervals.note(heard.since_ns(member.heard_at), self.tuning.heartbeat_ns());
            }
            member.heard_at = heard;
            member.silent_since = member.silent_since.max(heard);
            if member.is_suspected {
                self.verdicts.push_back(Verdict::HeardAgain { rank });
            }
        }
        if member.is_suspected {
            return;
        }
        let after = self.tuning.suspect_after_ns;
        if member.flaps > 0 && now.since_ns(member.flapped_at) >= after * FORGET_AFTER {
            (member.flaps, member.flapped_at) = (member.flaps - 1, now);
        }
        let stretch = (1 + late) * member.stretch();
        let silence_ns = now.since_ns(member.silent_since);
        let is_long = if mutated!(SuspectOnOneLoss) {
            silence_ns > self.tuning.heartbeat_ns() * 3 / 2
        } else {
            silence_ns > after * stretch
        };
        if is_long || member.is_unlikely(silence_ns / stretch, &self.tuning) {
            member.is_suspected = true;
            self.verdicts.push_back(Verdict::Suspect { rank, silence_ns });
        }
    }

    /// When [`look`](Self::look) should be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        (self.members.len() > 1).then_some(self.looks_at)
    }

    /// The next thing that was found.
    pub fn poll_verdict(&mut self) -> Option<Verdict> {
        self.verdicts.pop_front()
    }

    /// The application says that this member has failed, or the others do: it is suspected, and no verdict says so again.
    pub fn suspect(&mut self, now: Instant, rank: Rank) {
        if let Some(member) = self.members.get_mut(rank.0 as usize) {
            member.is_suspected = true;
            // What comes later is heard again.
            member.heard_at = member.heard_at.max(now);
        }
    }

    /// It is not suspected any more: its silence begins anew, and may be longer.
    pub fn trust(&mut self, now: Instant, rank: Rank) {
        if let Some(member) = self.members.get_mut(rank.0 as usize)
            && std::mem::take(&mut member.is_suspected)
        {
            member.silent_since = now;
            if !mutated!(NoFlapDamping) {
                (member.flaps, member.flapped_at) = (member.flaps + 1, now);
            }
        }
    }

    /// Whether it is suspected.
    #[must_use]
    pub fn is_suspected(&self, rank: Rank) -> bool {
        self.members.get(rank.0 as usize).is_some_and(|member| member.is_suspected)
    }
}

impl Member {
    /// How many times as long its silence may be, for its flaps.
    fn stretch(&self) -> u64 {
        1 << self.flaps.min(u64::from(MOST_STRETCH.ilog2()))
    }

    fn is_unlikely(&self, silence_ns: u64, tuning: &DetectorTuning) -> bool {
        let Suspicion::PhiAccrual { threshold } = tuning.suspicion else { return false };
        silence_ns > 2 * tuning.heartbeat_ns()
            && self.intervals.phi(silence_ns).is_some_and(|phi| phi > threshold)
    }
}

#[cfg(test)]
mod tests;
