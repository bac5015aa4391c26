//! Less under way when losses repeat, and when that helps.
//!
//! The window, in true-size bytes, is halved when losses repeat and grows by one run a round otherwise: additive increase,
//! multiplicative decrease. The receiver that asks for most counts, as the worst one does in PGMCC (Rizzo, SIGCOMM 2000)
//! and TFMCC (RFC 4654 §1: the current limiting receiver).
//!
//= rfc5681 §3.1: on loss halve what is in flight, never below one segment; otherwise one segment more for each round trip
//!
//! Deviations. A segment is a run. A loss by itself is no congestion, so a round must have lost more than usual, and three
//! rounds in a row. And loss may have nothing to do with what is under way: so an eighth of the window is *tried* first. When
//! the losses do not fall by half, all is as before, and what was lost counts as usual from then on; otherwise the window is
//! halved. Who loses half of everything needs no trial.

use crate::id::{Rank, Seq};

/// See the module.
#[derive(Debug)]
pub(super) struct Congestion {
    /// The most that may be under way, and the least: one run.
    most: u64,
    run: u64,
    window: u64,
    round: Round,
    /// Share of blocks that is asked for again whatever is under way, in 1024ths.
    usual: u64,
    /// Rounds in a row that lost more, and the sum of their shares.
    lossy: u64,
    lossy_shares: u64,
    trial: Option<Trial>,
    reductions: u64,
    undone: u64,
}

/// What was sent and asked for since the last look.
#[derive(Debug)]
struct Round {
    /// Where the stream stood when enough had been sent: the round ends when all before it is held by all, so that all that was
    /// lost of it has been asked for.
    end: Option<Seq>,
    runs: u64,
    blocks: u64,
    /// Blocks that each receiver asked for and that are sent again.
    asked: Vec<u64>,
}

/// A smaller window that has to prove itself.
#[derive(Debug, Clone, Copy)]
struct Trial {
    window_before: u64,
    share_before: u64,
    share: u64,
    rounds: u64,
}

/// Runs that a round has at least: fewer say nothing about a share.
const MIN_RUNS: u64 = 64;
/// Rounds in a row that lose more than usual before that is congestion, and rounds that a trial takes.
const REPEATED: u64 = 3;
const TRIAL_ROUNDS: u64 = 4;
/// What is tried, in halvings.
const TRIED: u32 = 3;
const WHOLE: u64 = 1024;
/// What chance may add to the usual share, beside half of it, and what a trial must save: 5 per cent.
const TOLERANCE: u64 = WHOLE * 5 / 100;

impl Congestion {
    /// For a stream to `members` members, of which `most` true-size bytes may be under way and a run has `run`.
    pub(super) fn new(most: u64, run: u64, members: usize) -> Self {
        let round = Round { end: None, runs: 0, blocks: 0, asked: vec![0; members] };
        let (usual, lossy, lossy_shares, reductions, undone) = Default::default();
        Self {
            most,
            run: run.min(most),
            window: most,
            round,
            usual,
            lossy,
            lossy_shares,
            trial: None,
            reductions,
            undone,
        }
    }

    /// True-size bytes that may be under way at present.
    pub(super) fn window(&self) -> u64 {
        self.window
    }

    /// How often the window was halved, and how often that was taken back.
    pub(super) fn reductions(&self) -> (u64, u64) {
        (self.reductions, self.undone)
    }

    /// A run of so many blocks was sent, new ones or repairs; blocks before `sent` have been by now.
    pub(super) fn sent(&mut self, blocks: u32, sent: Seq) {
        self.round.runs += 1;
        self.round.blocks += u64::from(blocks);
        if self.round.runs == MIN_RUNS {
            self.round.end = Some(sent);
        }
    }

    /// A member asked for so many blocks that are sent again.
    pub(super) fn asked(&mut self, rank: Rank, blocks: u64) {
        if let Some(asked) = self.round.asked.get_mut(rank.0 as usize) {
            *asked += blocks;
        }
    }

    /// All hold what is before `stable`.
    pub(super) fn progress(&mut self, stable: Seq) {
        if self.round.end.is_none_or(|end| stable < end) {
            return;
        }
        let asked = self.round.asked.iter().max().copied().unwrap_or(0);
        let share = (asked * WHOLE / self.round.blocks.max(1)).min(WHOLE);
        self.round.asked.fill(0);
        (self.round.end, self.round.runs, self.round.blocks) = (None, 0, 0);
        self.end_round(share);
    }

    fn end_round(&mut self, share: u64) {
        if let Some(trial) = self.trial.take() {
            return self.try_on(trial, share);
        }
        if share > self.usual + self.usual / 2 + TOLERANCE {
            self.lossy += 1;
            self.lossy_shares += share;
            if self.lossy == REPEATED {
                self.reduce();
            }
            return;
        }
        (self.lossy, self.lossy_shares) = (0, 0);
        self.usual = (self.usual * 7 + share) / 8;
        self.window = (self.window + self.run).min(self.most);
    }

    /// Halves the window when most is lost, and tries first whether less helps otherwise.
    fn reduce(&mut self) {
        let share_before = self.lossy_shares / self.lossy;
        (self.lossy, self.lossy_shares) = (0, 0);
        let needs_trial = share_before < WHOLE / 2;
        let window = (self.window >> if needs_trial { TRIED } else { 1 }).max(self.run);
        if window == self.window {
            return;
        }
        let trial = Trial { window_before: self.window, share_before, share: 0, rounds: 0 };
        self.trial = needs_trial.then_some(trial);
        self.window = window;
        self.reductions += 1;
    }

    /// One more round of the trial.
    fn try_on(&mut self, mut trial: Trial, share: u64) {
        // What is lost in the first round was sent before it.
        trial.share += if trial.rounds == 0 { 0 } else { share };
        trial.rounds += 1;
        if trial.rounds < TRIAL_ROUNDS {
            self.trial = Some(trial);
            return;
        }
        let (before, share) = (trial.share_before, trial.share / (TRIAL_ROUNDS - 1));
        if share * 2 <= before && before - share >= TOLERANCE {
            self.window = (trial.window_before / 2).max(self.run);
            return;
        }
        self.window = trial.window_before;
        self.usual = (before + share) / 2;
        self.undone += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u64 = 64_000;
    const RUN: u64 = 1_000;

    /// A receiver that loses so much of each round, in per cent, as `loss` says for a window.
    fn after(rounds: u64, mut loss: impl FnMut(u64) -> u64) -> Congestion {
        let mut congestion = Congestion::new(MOST, RUN, 3);
        for round in 1..=rounds {
            (0..MIN_RUNS).for_each(|_| congestion.sent(100, Seq(round)));
            congestion.asked(Rank(1), MIN_RUNS * loss(congestion.window()));
            congestion.asked(Rank(2), 1);
            congestion.progress(Seq(round));
        }
        congestion
    }

    #[test]
    fn a_loss_by_itself_is_no_congestion() {
        let mut rounds = [30, 30, 0].into_iter().cycle();
        let congestion = after(60, |_| rounds.next().unwrap());
        assert_eq!((congestion.window(), congestion.reductions()), (MOST, (0, 0)));
    }

    #[test]
    fn loss_that_does_not_depend_on_the_window_leaves_it_alone() {
        for loss in [1, 5, 20, 45] {
            let congestion = after(40, |_| loss);
            let (reductions, undone) = congestion.reductions();
            assert_eq!((congestion.window(), reductions), (MOST, undone), "{loss}");
            assert!(reductions <= 1, "{loss}: {reductions}");
        }
    }

    #[test]
    fn chance_rarely_looks_like_congestion() {
        for loss in [0.01, 0.05, 0.1, 0.2, 0.4] {
            let (mut mistaken, mut windows) = (0, 0);
            for seed in 0..300 {
                let mut rng = fastrand::Rng::with_seed(seed);
                // Single blocks, and the least of them that make a round.
                let draw =
                    |_: u64| (0..MIN_RUNS).filter(|_| rng.f64() < loss).count() as u64 * 100 / MIN_RUNS;
                let congestion = after(100, draw);
                let (reductions, undone) = congestion.reductions();
                mistaken += u64::from(reductions > undone);
                windows += congestion.window();
            }
            eprintln!("loss {loss}: {mistaken} of 300 mistaken, mean window {}", windows / 300);
            assert!(mistaken <= 15 && windows / 300 > MOST * 97 / 100, "loss {loss}");
        }
    }

    #[test]
    fn what_is_under_way_settles_around_what_a_queue_takes() {
        for queue in [3_000, 10_000, 40_000] {
            let overflow = |window: u64| window.saturating_sub(queue) * 100 / window;
            // A trial is a short dip.
            let windows: Vec<u64> = (60..140).map(|rounds| after(rounds, overflow).window()).collect();
            let mean = windows.iter().sum::<u64>() / windows.len() as u64;
            assert!((queue / 2..=queue + queue / 4 + 2 * RUN).contains(&mean), "{queue}: {mean}");
            assert!(windows.iter().all(|window| *window <= queue * 3 / 2 + 4 * RUN), "{queue}: {windows:?}");
            assert_eq!(after(140, overflow).reductions().1, 0, "every decrease helped");
        }
    }

    #[test]
    fn never_below_a_run_and_back_to_all_when_it_is_over() {
        let mut rounds = 0;
        let congestion = after(400, |_| {
            rounds += 1;
            if rounds < 100 { 90 } else { 0 }
        });
        assert_eq!(congestion.window(), MOST);
        assert_eq!(after(99, |_| 90).window(), RUN);
    }

    #[test]
    fn a_round_is_not_over_before_all_hold_it() {
        let mut congestion = Congestion::new(MOST, RUN, 2);
        for sent in 1..=1_000 {
            congestion.sent(10, Seq(10 * sent));
            congestion.asked(Rank(1), 10);
            congestion.progress(Seq(10 * MIN_RUNS - 1));
        }
        assert_eq!((congestion.lossy, congestion.reductions()), (0, (0, 0)));
        congestion.progress(Seq(10 * MIN_RUNS));
        assert_eq!(congestion.lossy, 1);
    }
}
