//! `lag`: what a lag contract costs an application that keeps up: delivery with each beside delivery without, interleaved.
//!
//! What was received lies in the buffers already, and the kernel's part is done: the ratio is that of the delivery alone, which is less than
//! half of a message's way.

use crate::pins::Pins;
use crate::report::{Series, Unit};
use crate::{Failure, Plan};
use sistrum::{Key, Lag};
use sistrum_bench::one_way::Receiving;
use sistrum_membership::lag::Backlog;
use std::time::{Duration, Instant};

/// Measures every contract with every size.
pub(crate) fn run(plan: &Plan, _pins: &Pins) -> Result<Vec<Series>, Failure> {
    let sizes = if plan.sizes.is_empty() { &SIZES[..] } else { &plan.sizes };
    let mut series = Vec::new();
    for &size in sizes {
        let mut columns = vec![Vec::new(); 1 + CONTRACTS.len()];
        for rep in 1..=plan.reps {
            eprintln!("lag: {size} B, repetition {rep} of {}", plan.reps);
            columns[0].push(rate(plan.span.measure, size, None));
            for (column, (_, contract)) in columns[1..].iter_mut().zip(CONTRACTS) {
                column.push(rate(plan.span.measure, size, Some(contract())));
            }
        }
        let names = ["without"].into_iter().chain(CONTRACTS.map(|(name, _)| name));
        series.extend(names.zip(&columns).map(|(name, values)| Series {
            bench: "lag",
            variant: name.to_owned(),
            medium: "none".to_owned(),
            size,
            sockets: 1,
            offload: true,
            unit: Unit::MessagesPerSecond,
            values: values.clone(),
            floor: columns[0].clone(),
            note: String::new(),
        }));
    }
    Ok(series)
}

/// Messages a second that are delivered, measured for so long.
fn rate(span: Duration, size: usize, contract: Option<Lag>) -> f64 {
    let count = (RUNS * 64 * 1024 / (size + 2)).max(1);
    let mut backlog = contract.map(Backlog::new);
    let (mut delivered, mut took) = (0, Duration::ZERO);
    while took < span {
        let mut end = Receiving::of(size, count);
        let started = Instant::now();
        let (messages, _) = match &mut backlog {
            None => end.deliver(count),
            Some(backlog) => end.deliver_by(backlog, count),
        };
        (took, delivered) = (took + started.elapsed(), delivered + messages);
    }
    delivered as f64 / took.as_secs_f64()
}

/// A contract by its name.
type Contract = (&'static str, fn() -> Lag);

const CONTRACTS: [Contract; 3] = [
    ("evict", || Lag::evict(1 << 20, Duration::from_secs(1))),
    ("conflate", || {
        Lag::conflate(1 << 20, |message| message.first().map(|byte| Key::from(u64::from(*byte))))
    }),
    ("replay", || Lag::replay(1 << 20)),
];
const SIZES: [usize; 2] = [32, 1024];
/// Runs that one end receives: less than its window.
const RUNS: usize = 64;
