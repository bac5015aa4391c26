//! Clients of groups whose members die, join and are excluded, over a network that loses, repeats, delays and overtakes letters; clients fall
//! silent, are struck and come back, start anew, and say goodbye. What they are told, and what is executed where, is compared with what is known
//! from outside: the law of clients.
//!
//! `SISTRUM_SEEDS=N` runs so many seeds, `SISTRUM_SEED=S` that one.

mod agent;
mod book;
#[path = "../calling/mod.rs"]
mod calling;
#[path = "../seeds/mod.rs"]
mod seeds;
mod world;

use seeds::{came_about, run_all};
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
    if let Some(all) = run_all("clients", 1_000, |seed| World::new(seed).run()) {
        came_about(all, &DEEDS);
    }
}

/// Each way in which clients can be broken is seen within a thousand seeds.
#[cfg(feature = "mutants")]
#[test]
fn every_mutation_is_caught() {
    use sistrum_transport::mutation::Mutation;
    seeds::catch_all(Mutation::CLIENTS, 1_000, |_, seed| drop(World::new(seed).run()));
}
