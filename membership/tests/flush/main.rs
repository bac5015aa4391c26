//! Views that end over a network that loses and reorders: members die at any moment, and the others deliver the same of the old view.
//!
//! `SISTRUM_SEEDS=N` runs so many seeds, `SISTRUM_SEED=S` that one.

mod app;
mod node;
mod plan;
mod world;

use plan::{Kind, Plan};
use sistrum_ordering::{Causal, Total};
use sistrum_transport::reliable::Fifo;
use std::collections::BTreeMap;
use world::World;

fn run(seed: u64) -> BTreeMap<&'static str, u64> {
    fn of<L: Kind>(plan: Plan) -> BTreeMap<&'static str, u64> {
        let mut world = World::<L>::new(plan);
        world.run();
        world.counts
    }
    let plan = Plan::draw(seed);
    match seed % 4 {
        0 => of::<Fifo>(plan),
        1 => of::<Causal>(plan),
        _ => of::<Total>(plan),
    }
}

#[test]
fn survivors_deliver_the_same_of_a_view_that_ends() {
    if let Some(seed) = number_of("SISTRUM_SEED") {
        println!("{:?}", Plan::draw(seed));
        println!("{:?}", run(seed));
        return;
    }
    let mut counts = BTreeMap::<&str, u64>::new();
    for seed in 0..number_of("SISTRUM_SEEDS").unwrap_or(400) {
        let ran = std::panic::catch_unwind(|| run(seed));
        let ran = ran.unwrap_or_else(|_| {
            panic!("again: SISTRUM_SEED={seed} cargo test -p sistrum-membership --test flush")
        });
        ran.into_iter().for_each(|(what, count)| *counts.entry(what).or_default() += count);
    }
    println!("{counts:?}");
    for what in [
        "views",
        "died",
        "died late",
        "wrongly",
        "laggards",
        "fetches",
        "repairs lent",
        "frozen out",
        "totals",
    ] {
        assert!(counts.get(what).is_some_and(|count| *count > 0), "{what} never came about: {counts:?}");
    }
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Each way in which the end of a view can be broken is seen within a few hundred seeds.
#[cfg(feature = "mutants")]
#[test]
fn every_mutation_is_caught() {
    use sistrum_transport::mutation::{Mutation, set};
    std::panic::set_hook(Box::new(|_| ()));
    let caught = |mutation| {
        (0..MUTANT_SEEDS).find(|seed| {
            set(Some(mutation));
            let ran = std::panic::catch_unwind(|| run(*seed));
            set(None);
            ran.is_err()
        })
    };
    let lies =
        (Mutation::AckWithoutBlocks, "AckWithoutBlocks", "A cut counts as held before its blocks are.");
    let mut missed = Vec::new();
    for (mutation, name, what) in Mutation::FLUSH.iter().chain([&lies]) {
        match caught(*mutation) {
            Some(seed) => eprintln!("{name:26} {:>5}  {what}", seed + 1),
            None => {
                eprintln!("{name:26} missed");
                missed.push(name);
            }
        }
    }
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not caught within {MUTANT_SEEDS} seeds: {missed:?}");
}

#[cfg(feature = "mutants")]
const MUTANT_SEEDS: u64 = 1_000;
