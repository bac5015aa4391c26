//! Clients of groups whose members die, join and are excluded, over a network that loses, repeats, delays and overtakes letters; clients fall
//! silent, are struck and come back, start anew, and say goodbye. What they are told, and what is executed where, is compared with what is known
//! from outside: the law of clients.
//!
//! `SISTRUM_SEEDS=N` runs so many seeds, `SISTRUM_SEED=S` that one.

mod agent;
mod book;
mod world;

use std::collections::BTreeMap;
use world::World;

/// What has to come about in a thousand seeds.
const DEEDS: [&str; 29] = [
    "aborts",
    "any",
    "asks",
    "attached",
    "clients full",
    "deaths",
    "detached",
    "dropped",
    "enough",
    "excluded",
    "executed",
    "forwards",
    "given up",
    "goodbyes",
    "joined",
    "joins",
    "lost casts",
    "no replies",
    "nonsense",
    "not enough",
    "null replies",
    "refused for a while",
    "replies",
    "restarts",
    "silences",
    "unknown",
    "waits for a later one",
    "wedged",
    "window full",
];

#[test]
fn a_request_is_executed_once_and_what_its_client_is_told_is_so() {
    let number_of = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    if let Some(seed) = number_of("SISTRUM_SEED") {
        World::new(seed).run();
        return;
    }
    let mut counts = BTreeMap::<_, u64>::new();
    for seed in 0..number_of("SISTRUM_SEEDS").unwrap_or(1_000) {
        let ran = std::panic::catch_unwind(|| World::new(seed).run());
        let ran = ran.unwrap_or_else(|_| {
            panic!("again: SISTRUM_SEED={seed} cargo test -p sistrum-membership --test clients")
        });
        ran.into_iter().for_each(|(what, count)| *counts.entry(what).or_default() += count);
    }
    println!("{counts:?}");
    for what in DEEDS {
        assert!(counts.get(what).is_some_and(|count| *count > 0), "{what} never came about: {counts:?}");
    }
}

/// Each way in which clients can be broken is seen within a thousand seeds.
#[cfg(feature = "mutants")]
#[test]
fn every_mutation_is_caught() {
    use sistrum_transport::mutation::{Mutation, set};
    std::panic::set_hook(Box::new(|_| ()));
    let mut missed = Vec::new();
    for (mutation, name, what) in Mutation::CLIENTS {
        let caught = (0..1_000).find(|seed| {
            set(Some(*mutation));
            let ran = std::panic::catch_unwind(|| World::new(*seed).run());
            set(None);
            ran.is_err()
        });
        match caught {
            Some(seed) => println!("{name:26} {:>5}  {what}", seed + 1),
            None => missed.push(name),
        }
    }
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not caught within 1000 seeds: {missed:?}");
}
