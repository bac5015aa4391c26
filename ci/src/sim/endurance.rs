//! A long run under loss, for tests: what members keep does not grow with what they have cast.

use super::driver;
use super::history::Sample;
use super::options::{Bounds, Scenario};
use sistrum_ordering::Order;

/// Three members that cast all the time, for as long as `storm_us` says, while the network loses 5 %.
fn long(seed: u64) -> Scenario {
    let mut bounds = Bounds { loss: Some(5.0), ..Bounds::of((3, 3), Order::ALL) };
    let edits = ["senders=3", "messages=6000", "longest=64", "storm_us=2000000"];
    let calm = ["cuts", "partitions", "pauses", "jumps", "stagger", "refusals", "stalls", "tail"];
    bounds.edits.extend(edits.into_iter().map(str::to_owned));
    bounds.edits.extend(calm.into_iter().map(|switch| format!("{switch}=off")));
    Scenario::of(seed, &bounds).expect("what is edited was drawn")
}

/// What is kept in a quarter of the storm: the most, and how much on average.
fn kept_in(quarter: u64, scenario: &Scenario, samples: &[Sample]) -> (u64, f64) {
    let begin = samples[0].at_ns;
    let is_in = |sample: &&Sample| (sample.at_ns - begin) / (scenario.storm_ns / 4) == quarter;
    let kept: Vec<u64> = samples.iter().filter(is_in).map(|sample| sample.kept.most()).collect();
    let most = kept.iter().max().expect("all of the storm is sampled");
    (*most, kept.iter().sum::<u64>() as f64 / kept.len() as f64)
}

/// What grew with what was cast would be twice as much at the end of the storm as in its middle.
#[test]
fn what_is_kept_does_not_grow_over_a_long_run() {
    let (mut most, mut mean) = ([0, 0], [0.0, 0.0]);
    for seed in 0..4 {
        let scenario = long(seed);
        let outcome = driver::run(&scenario);
        assert_eq!(outcome.violations, []);
        for (at, quarter) in [1, 3].into_iter().enumerate() {
            let (peak, average) = kept_in(quarter, &scenario, &outcome.history.samples);
            (most[at], mean[at]) = (most[at] + peak, mean[at] + average);
        }
    }
    assert!(most[1] < 2 * most[0], "peaks of the second and the last quarter: {most:?}");
    assert!(mean[1] <= 1.2 * mean[0], "means of the second and the last quarter: {mean:?}");
}
