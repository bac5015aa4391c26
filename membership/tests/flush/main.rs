//! Views that end over a network that loses and reorders: members die at any moment, and the others deliver the same of the old view.
//!
//! `SISTRUM_SEEDS=N` runs so many seeds, `SISTRUM_SEED=S` that one.

mod app;
mod node;
mod plan;
#[path = "../seeds/mod.rs"]
mod seeds;
mod world;

use plan::{Kind, Plan};
use seeds::{came_about, number_of, run_all};
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
    }
    if let Some(all) = run_all("flush", 400, run) {
        came_about(all, &DEEDS);
    }
}

/// What has to come about in them.
const DEEDS: [&str; 9] =
    ["views", "died", "died late", "wrongly", "laggards", "fetches", "repairs lent", "frozen out", "totals"];

/// Each way in which the end of a view can be broken is seen within a few hundred seeds.
#[cfg(feature = "mutants")]
#[test]
fn every_mutation_is_caught() {
    use sistrum_transport::mutation::Mutation;
    let lies =
        (Mutation::AckWithoutBlocks, "AckWithoutBlocks", "A cut counts as held before its blocks are.");
    seeds::catch_all(Mutation::FLUSH.iter().chain([&lies]), 1_000, |_, seed| drop(run(seed)));
}
