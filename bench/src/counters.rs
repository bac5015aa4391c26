//! What it costs to publish counters: two nodes of one thread in one group, with and without a file, in turns too short for the machine
//! to become another one in between. Costs are processor time: that others want the processor too is no cost of ours.

use crate::Failure;
use crate::raw::thread_cpu_time;
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
    #[arg(long, value_name = "N", default_value_t = 20)]
    turns: usize,
    /// Both without counters: what the machine makes of no difference.
    #[arg(long)]
    control: bool,
}

/// One kind of work, begun with nothing on its way; it tells how much of it was done.
struct Work {
    what: &'static str,
    run: fn(&mut Pair) -> Result<f64, Failure>,
}

const FLOW: Duration = Duration::from_millis(30);
const TRIPS: u32 = 1_500;
const EMPTY: u32 = 50_000;

const WORK: [Work; 4] = [
    Work { what: "a message of 32 bytes", run: |pair| flow(pair, &[0x5a; 32]) },
    Work { what: "a message of 1024 bytes", run: |pair| flow(pair, &[0x5a; 1024]) },
    Work { what: "a round trip", run: |pair| pair.round_trips(TRIPS).map(|_| f64::from(TRIPS)) },
    Work { what: "an empty cycle", run: |pair| pair.empty_cycles(EMPTY).map(|_| f64::from(EMPTY)) },
];

fn flow(pair: &mut Pair, message: &[u8]) -> Result<f64, Failure> {
    let before = pair.heard();
    pair.flow(message, FLOW)?;
    Ok((pair.heard() - before) as f64)
}

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
        let other = if options.control { Place::Off } else { Place::PerUser };
        // Who is opened first has the better memory: each of them in turn.
        let mut pairs = if rep % 2 == 0 {
            [open(Place::Off, 2 * rep)?, open(other, 2 * rep + 1)?]
        } else {
            let second = open(other, 2 * rep + 1)?;
            [open(Place::Off, 2 * rep)?, second]
        };
        for (work, ratios) in WORK.iter().zip(&mut ratios) {
            ratios.push(ratio(work, &mut pairs, options.turns)?);
        }
    }
    for (work, ratios) in WORK.iter().zip(&mut ratios) {
        ratios.sort_by(f64::total_cmp);
        let count = ratios.len();
        let [least, low, median, high, most] =
            [0, 1, 2, 3, 4].map(|quarter| ratios[(count - 1) * quarter / 4]);
        println!(
            "counters {} to off, processor time of {}: median {median:.4}, half of all from {low:.4} to {high:.4}, \
             all from {least:.4} to {most:.4} of {count}",
            if options.control { "off" } else { "on" },
            work.what
        );
    }
    Ok(())
}

/// What some work costs the second pair, to what it costs the first.
fn ratio(work: &Work, pairs: &mut [Pair; 2], turns: usize) -> Result<f64, Failure> {
    let (mut times, mut done) = ([0.0; 2], [0.0; 2]);
    for turn in 0..=turns {
        // Who goes first is the other each time; the first turn warms up.
        for at in if turn % 2 == 0 { [0, 1] } else { [1, 0] } {
            pairs[at].settle()?;
            let before = thread_cpu_time();
            let units = (work.run)(&mut pairs[at])?;
            if turn > 0 {
                times[at] += (thread_cpu_time() - before).as_secs_f64();
                done[at] += units;
            }
        }
    }
    Ok(times[1] / done[1] / (times[0] / done[0]))
}
