//! What it costs to publish counters: two nodes of one thread in one group, with and without a file, in turns too short for the machine
//! to become another one in between.

use crate::Failure;
use crate::viewchange::steady::Pair;
use sistrum::counters::Place;
use sistrum::{Config, Idle};
use std::time::Duration;

/// How often to measure.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Repetitions, each with nodes of its own.
    #[arg(long, value_name = "N", default_value_t = 15)]
    reps: usize,
    /// Turns of each kind in one repetition.
    #[arg(long, value_name = "N", default_value_t = 10)]
    turns: usize,
}

/// One kind of work, and its figure.
struct Work {
    what: &'static str,
    measure: fn(&mut Pair) -> Result<f64, Failure>,
}

const FLOW: Duration = Duration::from_millis(40);
const TRIPS: u32 = 3_000;
const EMPTY: u32 = 100_000;

/// Of the first two, more is better; of the others, less.
const WORK: [Work; 4] = [
    Work { what: "32-byte messages a second", measure: |pair| pair.flow(&[0x5a; 32], FLOW) },
    Work { what: "1024-byte messages a second", measure: |pair| pair.flow(&[0x5a; 1024], FLOW) },
    Work { what: "time of a round trip", measure: |pair| pair.round_trips(TRIPS) },
    Work { what: "time of an empty cycle", measure: |pair| pair.empty_cycles(EMPTY) },
];

/// Prints the ratios: with counters to without.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    if options.reps == 0 || options.turns == 0 {
        return Err("--reps and --turns: at least 1".into());
    }
    let mut ratios: [Vec<f64>; WORK.len()] = Default::default();
    for rep in 0..options.reps {
        let open = |counters, number| {
            let config = Config { idle: Idle::Spin, counters, ..Config::loopback("counters") };
            Pair::open(false, &config, number)
        };
        let mut pairs = [open(Place::Off, 2 * rep)?, open(Place::PerUser, 2 * rep + 1)?];
        for (work, ratios) in WORK.iter().zip(&mut ratios) {
            let mut sums = [0.0; 2];
            for turn in 0..options.turns {
                // Who goes first is the other each time.
                for at in if turn % 2 == 0 { [0, 1] } else { [1, 0] } {
                    sums[at] += (work.measure)(&mut pairs[at])?;
                }
            }
            ratios.push(sums[1] / sums[0]);
        }
    }
    for (work, ratios) in WORK.iter().zip(&mut ratios) {
        ratios.sort_by(f64::total_cmp);
        let count = ratios.len();
        let at = |quarter: usize| ratios[(count - 1) * quarter / 4];
        println!(
            "counters on to off, {}: median {:.4}, half of all from {:.4} to {:.4}, all from {:.4} to {:.4} of {count}",
            work.what,
            at(2),
            at(1),
            at(3),
            at(0),
            at(4)
        );
    }
    Ok(())
}
