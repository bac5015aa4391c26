//! The same scenario with compressed and with full stamps: the histories are one.
//!
//! Stamps of two lengths leave blocks of two lengths. Where a block fills up, it is sealed a message earlier or later, another
//! number of datagrams is lost, and all that follows may differ. So these scenarios lose nothing, delay everything alike, and
//! have more room in their blocks and windows than their messages need: each block is sealed at the end of a cycle, whatever
//! its stamp takes. Then everything must be the same: what each process casts, holds, delivers and calls stable, and when.

use super::driver;
use super::options::{Bounds, Scenario};
use sistrum_ordering::{Order, Stamps};

/// A history as it is with these stamps, every event with its time.
fn told(mut scenario: Scenario, stamps: Stamps) -> String {
    scenario.total.stamps = stamps;
    let outcome = driver::run(&scenario);
    assert_eq!(outcome.violations, [], "{scenario:?}");
    outcome.history.to_string()
}

fn drawn(seed: u64) -> Scenario {
    let mut scenario = Scenario::draw(seed, &Bounds::of((2, 8), Order::ALL));
    // Whatever is drawn, there is something to stamp.
    if !scenario.orders.iter().any(|order| order.spans_senders()) {
        scenario.orders.push(Order::Causal);
    }
    scenario
}

/// What the network and the readers do has no part in it; that handlers refuse and reply, and clocks differ, has.
const CALMED: [&str; 11] = [
    "loss",
    "duplicate",
    "corrupt",
    "truncate",
    "busy",
    "tail",
    "cuts",
    "partitions",
    "pauses",
    "stalls",
    "death",
];

fn with_room(mut scenario: Scenario) -> Scenario {
    let edits = CALMED.map(|switch| format!("{switch}=off"));
    edits.iter().for_each(|edit| scenario.edit(edit).expect("it can be turned off"));
    scenario.edit("longest=60").expect("it can be changed");
    (scenario.block, scenario.storm.receive_buffer) = (4096, 8 << 20);
    scenario.storm.delay_ns.end = scenario.storm.delay_ns.start + 1;
    // More blocks than anybody casts messages.
    scenario.windows.fill(256);
    scenario
}

#[test]
fn compressed_and_full_stamps_give_one_history_where_blocks_have_room() {
    for seed in 0..120 {
        let scenario = with_room(drawn(seed));
        let [compressed, full] =
            [Stamps::Compressed, Stamps::Full].map(|stamps| told(scenario.clone(), stamps));
        let differs = compressed.lines().zip(full.lines()).find(|(one, other)| one != other);
        assert!(compressed == full, "seed {seed}: {differs:?}\n{scenario:?}");
    }
}

/// The comparison sees that stamps are of two lengths, where that shows.
#[test]
fn where_blocks_fill_up_the_histories_differ() {
    let differs = |seed: &u64| {
        let scenario = drawn(*seed);
        told(scenario.clone(), Stamps::Compressed) != told(scenario, Stamps::Full)
    };
    assert!((0..40).any(|seed| differs(&seed)));
}
