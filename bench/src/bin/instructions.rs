//! A fixed amount of work, for callgrind to count: `sistrum-instructions CASE COUNT`.
//!
//! What is prepared does not depend on COUNT, so that the difference of two runs is what the messages between them cost.

use sistrum_bench::one_way::{Casting, Receiving};
use sistrum_bench::pair::Pair;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [case, count] = &arguments[..] else { return usage() };
    let Ok(count) = count.parse() else { return usage() };
    match case.as_str() {
        "cast_32" => cast(32, count),
        "cast_1024" => cast(1024, count),
        "deliver_32" => deliver(32, MOST_32, count),
        "deliver_1024" => deliver(1024, MOST_1024, count),
        "round_trip_64" => Pair::new().round_trips(&[0x5a; 64], count),
        "empty_cycle" => Pair::new().empty_cycles(count),
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn cast(size: usize, count: usize) {
    Casting::new().cast(&vec![0x5a; size], count, |run, segment| {
        std::hint::black_box((run, segment));
    });
}

fn deliver(size: usize, prepared: usize, count: usize) {
    std::hint::black_box(Receiving::of(size, prepared).deliver(count.min(prepared)));
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: sistrum-instructions cast_32|cast_1024|deliver_32|deliver_1024|round_trip_64|empty_cycle COUNT"
    );
    ExitCode::from(2)
}

/// Messages that are prepared for delivery, by size: whole runs.
const MOST_32: usize = 40 * 46 * 50;
const MOST_1024: usize = 46 * 50;
