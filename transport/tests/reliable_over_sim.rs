//! Random faults against the reliable layer: everything is delivered, once, in order and unaltered, whatever happens.

mod common;

use common::{Options, Outcome, World};
use std::time::{Duration, Instant};

/// Runs one seed; when it fails, its options are printed on the way out.
fn run(options: Options) -> Outcome {
    struct Report(Options);
    impl Drop for Report {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("failed with {:#?}", self.0);
            }
        }
    }
    let report = Report(options.clone());
    let outcome = World::new(options).run();
    std::mem::forget(report);
    outcome
}

/// `SISTRUM_SEED=n` runs that seed alone.
fn seeds() -> Box<dyn Iterator<Item = u64>> {
    match std::env::var("SISTRUM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => Box::new(std::iter::once(seed)),
        None => Box::new(0..SEEDS),
    }
}

#[test]
fn everything_is_delivered_once_in_order_and_unaltered() {
    let begin = Instant::now();
    let mut all = Vec::new();
    for seed in seeds().take_while(|_| begin.elapsed() < BUDGET) {
        all.push(run(Options::draw(seed)));
    }
    eprintln!("{} seeds in {:?}", all.len(), begin.elapsed());
}

const SEEDS: u64 = 10_000;
const BUDGET: Duration = Duration::from_secs(20);
