//! `cargo ci sim --views`: groups whose members come and go, on a network that falls apart, judged by the same checkers.
//!
//! A seed gives a [`Plan`]; [`world`] runs it, ends a process exactly at a named step where the plan says so, and writes a history.

mod app;
mod calls;
mod node;
mod plan;
mod world;

use super::campaign::{Ends, Failure, each_seed};
use super::checker::Violation;
use anyhow::{Result, bail, ensure};
use plan::Plan;
use sistrum_membership::step::Step;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use world::{Counts, Outcome};

/// Seeds after which every blow must have been struck, and a process must have ended at every step.
const ENOUGH: u64 = 2_000;

/// What all runs came to.
#[derive(Default)]
pub(crate) struct Summary {
    seeds: u64,
    virtual_ns: u64,
    casts: u64,
    events: u64,
    counts: Counts,
    /// How often a process ended at each step.
    ended_at: BTreeMap<Step, u64>,
    pub(crate) failures: Vec<Failure>,
}

/// Runs seeds from `first` on; `begin` is called first in each thread.
pub(crate) fn campaign(first: u64, ends: &Ends, shows: bool, begin: impl Fn() + Sync) -> Summary {
    let mut summary = Summary::default();
    let one = |seed| {
        let plan = Plan::draw(seed);
        let outcome = world::run(&plan);
        if shows {
            println!("seed {seed} drew {plan:?}\n{}", outcome.history);
        }
        outcome
    };
    each_seed(first, ends, shows, begin, one, |seed, outcome| {
        summary.add(seed, outcome);
        summary.failures.len()
    });
    summary.failures.sort_by_key(|failure| failure.seed);
    summary
}

/// Runs them, prints what they came to, and fails with the first that failed.
pub(crate) fn judge(
    first: u64,
    ends: &Ends,
    shows: bool,
    mutation: &str,
    begin: impl Fn() + Sync,
) -> Result<()> {
    let started = Instant::now();
    let summary = campaign(first, ends, shows, begin);
    summary.print(started.elapsed());
    if let Some(Failure { seed, violations }) = summary.failures.first() {
        for Failure { seed, violations } in &summary.failures[1..] {
            println!("seed {seed} failed too: {}: {}", violations[0].property, violations[0].how);
        }
        println!("\nseed {seed} drew {:?}", Plan::draw(*seed));
        violations.iter().for_each(|Violation { property, how }| println!("  {property}: {how}"));
        println!("run it again:  cargo ci sim --views --seed {seed}{mutation}");
        bail!("{} of {} seeds failed", summary.failures.len(), summary.seeds);
    }
    if summary.seeds >= ENOUGH {
        let missed: Vec<Step> =
            Step::ALL.into_iter().filter(|step| !summary.ended_at.contains_key(step)).collect();
        ensure!(missed.is_empty(), "no process ever ended at these steps: {missed:?}");
    }
    Ok(())
}

impl Summary {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.seeds += 1;
        self.virtual_ns += outcome.took_ns;
        self.casts += outcome.history.casts.len() as u64;
        self.events += outcome.history.events.len() as u64;
        outcome.counts.into_iter().for_each(|(what, count)| *self.counts.entry(what).or_default() += count);
        outcome.ended_at.into_iter().for_each(|step| *self.ended_at.entry(step).or_default() += 1);
        if !outcome.violations.is_empty() {
            self.failures.push(Failure { seed, violations: outcome.violations });
        }
    }

    fn print(&self, took: Duration) {
        println!(
            "{} seeds of changing views in {:.1} s: {} casts, {} events, {:.0} s of virtual time",
            self.seeds,
            took.as_secs_f64(),
            self.casts,
            self.events,
            self.virtual_ns as f64 / 1e9
        );
        let counts: Vec<String> = self.counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
        println!("what happened: {}", counts.join(", "));
        let steps: Vec<String> =
            self.ended_at.iter().map(|(step, count)| format!("{step:?} {count}")).collect();
        println!("processes ended exactly at: {}", steps.join(", "));
    }
}
