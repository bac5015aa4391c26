//! Many seeds on all cores. What comes out does not depend on which core ran which seed.

use super::checker::Violation;
use super::driver::{self, Outcome};
use super::faults::{Fault, Histogram};
use super::options::{Bounds, Scenario};
#[cfg(feature = "mutants")]
use anyhow::Context as _;
use anyhow::{Result, ensure};
use std::cell::RefCell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What to run.
#[derive(Debug, Clone)]
pub(crate) struct Campaign {
    pub(crate) bounds: Bounds,
    pub(crate) first: u64,
    pub(crate) ends: Ends,
    /// What of our own code is broken.
    pub(crate) mutation: Option<String>,
    /// Whether each run is printed, from its draw to its last event.
    pub(crate) shows: bool,
}

/// When it is over: whatever comes first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) seeds: u64,
    pub(crate) after: Option<Duration>,
    pub(crate) failures: usize,
}

/// One seed that failed.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) violations: Vec<Violation>,
}

/// What all runs came to.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) seeds: u64,
    pub(crate) took: Duration,
    pub(crate) virtual_ns: u64,
    pub(crate) casts: u64,
    pub(crate) events: u64,
    /// Sizes of the groups.
    pub(crate) smallest: u16,
    pub(crate) largest: u16,
    /// Datagrams that the network lost in the seed that lost least.
    pub(crate) least_lost: u64,
    pub(crate) histogram: Histogram,
    /// By seed.
    pub(crate) failures: Vec<Failure>,
}

impl Campaign {
    /// Runs all seeds.
    ///
    /// # Errors
    /// When there is no such mutation.
    pub(crate) fn run(&self) -> Result<Summary> {
        self.check_mutation()?;
        let begin = Instant::now();
        let mut summary = Summary::default();
        let add = |seed, outcome| {
            summary.add(seed, &self.scenario(seed), outcome);
            summary.failures.len()
        };
        each_seed(self.first, &self.ends, self.shows, || self.break_own_code(), |seed| self.one(seed), add);
        summary.took = begin.elapsed();
        summary.failures.sort_by_key(|failure| failure.seed);
        Ok(summary)
    }

    /// Whether every seed must lose something.
    pub(crate) fn asks_for_loss(&self) -> bool {
        self.bounds.loss.is_some_and(|loss| loss > 0.0) && self.bounds.edits.is_empty()
    }

    /// What this seed draws.
    pub(crate) fn scenario(&self, seed: u64) -> Scenario {
        Scenario::of(seed, &self.bounds).unwrap_or_else(|_| Scenario::draw(seed, &self.bounds))
    }

    fn one(&self, seed: u64) -> Outcome {
        let scenario = self.scenario(seed);
        let outcome = driver::run(&scenario);
        if self.shows {
            println!("seed {seed} drew {scenario:?}\n{}", outcome.history);
        }
        outcome
    }

    /// The line that runs a seed again.
    pub(crate) fn line(&self, seed: u64, edits: &[String]) -> String {
        let (least, most) = self.bounds.members;
        let orders: Vec<&str> = self.bounds.orders.iter().map(|order| order.name()).collect();
        let mut line =
            format!("cargo ci sim --seed {seed} --members {least}..{most} --orders {}", orders.join(","));
        if let Some(loss) = self.bounds.loss {
            line += &format!(" --loss {loss}");
        }
        if let Some(mutation) = &self.mutation {
            line += &format!(" --mutate {mutation}");
        }
        self.bounds.edits.iter().chain(edits).for_each(|edit| line += &format!(" --set {edit}"));
        line
    }

    #[cfg(feature = "mutants")]
    pub(crate) fn check_mutation(&self) -> Result<()> {
        ensure!(
            self.mutation.is_none() || self.mutation().is_some(),
            "there is no such mutation: `cargo ci mutants` lists them"
        );
        Ok(())
    }

    #[cfg(not(feature = "mutants"))]
    pub(crate) fn check_mutation(&self) -> Result<()> {
        ensure!(self.mutation.is_none(), "mutations are not compiled into this program");
        Ok(())
    }

    #[cfg(feature = "mutants")]
    fn mutation(&self) -> Option<sistrum_transport::mutation::Mutation> {
        named(self.mutation.as_deref()?)
    }

    /// In this thread, from now on.
    pub(crate) fn break_own_code(&self) {
        #[cfg(feature = "mutants")]
        sistrum_transport::mutation::set(self.mutation());
    }
}

/// The mutation of this name.
#[cfg(feature = "mutants")]
fn named(name: &str) -> Option<sistrum_transport::mutation::Mutation> {
    use sistrum_transport::mutation::Mutation;
    let lists = [
        Mutation::ALL,
        Mutation::VIEWS,
        Mutation::TRANSFER,
        Mutation::AGREEMENT,
        Mutation::FLUSH,
        Mutation::CALLS,
    ];
    lists.into_iter().flatten().find(|(_, other, _)| *other == name).map(|(mutation, ..)| *mutation)
}

/// Breaks our own code in this way, in this thread, from now on.
///
/// # Errors
/// When there is no such mutation.
#[cfg(feature = "mutants")]
pub(crate) fn break_by_name(name: &str) -> Result<()> {
    sistrum_transport::mutation::set(Some(named(name).context("there is no such mutation")?));
    Ok(())
}

/// It cannot.
///
/// # Errors
/// Always.
#[cfg(not(feature = "mutants"))]
pub(crate) fn break_by_name(_: &str) -> Result<()> {
    anyhow::bail!("mutations are not compiled into this program")
}

/// Runs `one` for each seed from `first` on, on all cores, or where runs are shown on one; `begin` is called first in each thread.
/// `add` takes what came out, and tells how many seeds have failed by then.
pub(crate) fn each_seed<T: Send>(
    first: u64,
    ends: &Ends,
    shows: bool,
    begin: impl Fn() + Sync,
    one: impl Fn(u64) -> T + Sync,
    add: impl FnMut(u64, T) -> usize + Send,
) {
    remember_panics();
    let started = Instant::now();
    let (next, is_over, add) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(add));
    let cores = if shows { 1 } else { std::thread::available_parallelism().map_or(1, Into::into) };
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                begin();
                let goes_on = || ends.after.is_none_or(|after| started.elapsed() < after);
                while !is_over.load(Ordering::Relaxed) && goes_on() {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= ends.seeds {
                        break;
                    }
                    let outcome = one(first + at);
                    let failed = add.lock().expect("runs are caught when they panic")(first + at, outcome);
                    is_over.fetch_or(failed >= ends.failures, Ordering::Relaxed);
                }
            });
        }
    });
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            seeds: 0,
            took: Duration::ZERO,
            virtual_ns: 0,
            casts: 0,
            events: 0,
            smallest: u16::MAX,
            largest: 0,
            least_lost: u64::MAX,
            histogram: Histogram::default(),
            failures: Vec::new(),
        }
    }
}

impl Summary {
    fn add(&mut self, seed: u64, scenario: &Scenario, outcome: Outcome) {
        self.seeds += 1;
        self.virtual_ns += outcome.took_ns;
        self.casts += outcome.history.casts.len() as u64;
        self.events += outcome.history.events.len() as u64;
        self.smallest = self.smallest.min(scenario.members);
        self.largest = self.largest.max(scenario.members);
        self.least_lost = self.least_lost.min(outcome.effective.of(Fault::Loss));
        self.histogram.add(&scenario.drawn(), &outcome.effective);
        if !outcome.violations.is_empty() {
            self.failures.push(Failure { seed, violations: outcome.violations });
        }
    }
}

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Panics of runs are results: they are kept, with their place, instead of printed.
fn remember_panics() {
    std::panic::set_hook(Box::new(|panic| PANIC.set(panic.to_string())));
}

/// What the last panic of this thread said, if it was remembered.
pub(crate) fn last_panic() -> Option<String> {
    Some(PANIC.take()).filter(|text| !text.is_empty())
}
