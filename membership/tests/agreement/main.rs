//! Agreement on views over a network that misbehaves: seeded runs, each judged as it goes. Beside them, what it costs where nothing
//! goes wrong ([`counts`]), how it treats those who are [`gone`], and [`links`] that stay cut.
//!
//! `SISTRUM_SEEDS=N` runs so many seeds, `SISTRUM_SEED=S` that one.

mod counts;
mod gone;
mod links;
mod quiet;
#[path = "../seeds/mod.rs"]
mod seeds;
mod world;

use fastrand::Rng;
use seeds::{came_about, run_all};
use sistrum_membership::step::{self, Step};
use std::collections::{BTreeMap, BTreeSet};
use world::{Weather, World};

fn draw(seed: u64) -> (Weather, u8) {
    let rng = &mut Rng::with_seed(seed ^ 0xa9_e3);
    let processes = rng.u8(2..=7);
    let often = |rng: &mut Rng, most: f64| if rng.bool() { 0.0 } else { rng.f64() * most };
    let steps: Vec<Step> = Step::ALL.into_iter().filter(|step| !OF_OTHERS.contains(step)).collect();
    let weather = Weather {
        processes,
        loss: often(rng, 0.4),
        duplicate: often(rng, 0.2),
        delay_ns: [20_000, 1_000_000, 8_000_000][rng.usize(..3)],
        crashes: often(rng, 0.01),
        partitions: often(rng, 0.02),
        wrong_suspicions: often(rng, 0.02),
        leaves: often(rng, 0.003),
        syncs: often(rng, 0.02),
        storm_ns: rng.u64(50_000_000..600_000_000),
        pulls: [0.6, 2.0, 2.5][rng.usize(..3)],
        late: [0.02, 0.02, 0.3][rng.usize(..3)],
        sends: if rng.u8(..4) == 0 { 0.3 } else { 0.0 },
        deadly: rng.bool().then(|| (steps[rng.usize(..steps.len())], rng.f64() * 0.5)),
    };
    (weather, rng.u8(1..=processes))
}

fn run(seed: u64) -> World {
    let (weather, founders) = draw(seed);
    step::record(true);
    let mut world = World::new(seed, weather, founders);
    world.run();
    step::record(false);
    world
}

#[test]
fn members_agree_whatever_the_weather() {
    let ran = run_all("agreement", 600, |seed| {
        let World { counts, deaths, .. } = run(seed);
        (counts, deaths)
    });
    let Some(ran) = ran else { return };
    let (counts, deaths): (Vec<_>, Vec<_>) = ran.into_iter().unzip();
    let deaths: BTreeSet<Step> = deaths.into_iter().flat_map(BTreeMap::into_keys).collect();
    println!("{deaths:?}");
    let unreached: Vec<_> =
        Step::ALL.into_iter().filter(|step| !deaths.contains(step) && !OF_OTHERS.contains(step)).collect();
    // Release builds do not know the steps.
    assert!(unreached.is_empty() || !cfg!(debug_assertions), "nobody died at {unreached:?}");
    came_about(counts, &DEEDS);
}

/// What has to come about in them.
const DEEDS: [&str; 9] =
    ["crashes", "joins", "partitions", "wedged", "resumed", "excluded", "left", "syncs", "installs"];

/// Steps of the group, of the joiner and of transfers, which are not in this world.
const OF_OTHERS: [Step; 9] = [
    Step::Drained,
    Step::Told,
    Step::JoinAsked,
    Step::WelcomeReceived,
    Step::SnapshotTaken,
    Step::BlockTaken,
    Step::TakenOver,
    Step::Loaded,
    Step::ReadyAsked,
];

/// Each way in which agreement can be broken is seen within a few hundred seeds.
#[cfg(feature = "mutants")]
#[test]
fn every_mutation_is_caught() {
    use sistrum_transport::mutation::Mutation;
    seeds::catch_all(Mutation::AGREEMENT, 1_000, |_, seed| drop(run(seed)));
}
