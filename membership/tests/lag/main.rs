//! A reader whose application is slow, under each contract, on a network that loses and reorders: judged from outside, by what the
//! streams delivered and what the application was told.

mod app;
#[path = "../feed/mod.rs"]
mod feed;
mod world;

use std::collections::BTreeMap;
use world::{Outcome, run};

fn seeds() -> u64 {
    std::env::var("SISTRUM_SEEDS").map_or(60, |n| n.parse().expect("a number"))
}

#[test]
fn every_contract_is_kept_whatever_the_application_does() {
    let (mut lags, mut seen) = (0, BTreeMap::<&str, u64>::new());
    for seed in 0..seeds() {
        let Outcome { wrong, counters, .. } = run(seed, true);
        assert_eq!(wrong, None, "seed {seed}");
        lags += counters.lags;
        for (what, count) in [
            ("conflated", counters.conflated),
            ("lost", counters.lost),
            ("evictions", counters.evictions),
            ("late", counters.late),
        ] {
            *seen.entry(what).or_default() += count;
        }
    }
    println!("{lags} lags; {seen:?}");
    assert!(lags > seeds() && seen.values().all(|count| *count > 0), "{lags} {seen:?}");
}

#[test]
fn members_do_not_notice_whether_the_application_of_a_reader_is_slow() {
    for seed in 0..seeds() / 2 {
        let (slow, fast) = (run(seed, true), run(seed, false));
        assert_eq!((slow.refused, fast.refused), (0, 0), "seed {seed}: no cast was refused");
        assert_eq!(slow.members, fast.members, "seed {seed}");
        assert_eq!((fast.counters.lags, slow.delivered), (0, fast.delivered), "seed {seed}");
    }
}

/// Each way in which the contract can be broken is seen within a few seeds.
#[cfg(feature = "mutants")]
#[test]
fn every_mutation_is_caught() {
    use sistrum_transport::mutation::{Mutation, set};
    for (mutation, name, what) in Mutation::LAG {
        set(Some(*mutation));
        let caught = (0..1_000).find_map(|seed| Some((seed, run(seed, true).wrong?)));
        set(None);
        let (seed, wrong) = caught.unwrap_or_else(|| panic!("{name} is not caught"));
        println!("{name:26} {:>5}  {what}\n{:34}{wrong}", seed + 1, "");
    }
}
