//! Fifo, causal and total order side by side: throughput, round trips, and the bytes that order costs.
//!
//! All orders take turns within a repetition, and the ratio is to fifo in the same one. The bytes need no repetition: they are
//! counted on a simulated network, and are the same every time; their ratio is to full stamps.

mod crew;
mod flow;
mod ring;

use crate::pins::Pins;
use crate::report::{Series, Unit};
use crate::{Failure, Plan};
use crew::Setup;
use flow::Traffic;
use ring::Ring;
use sistrum::{Order, TotalMode};
use sistrum_bench::stamps::{self, ONE_BLOCK, overhead};
use sistrum_ordering::{Stamps, TotalOptions};

/// The orders that are compared; the first is what the others are compared with.
const ORDERS: [(&str, Order, TotalMode); 4] = [
    ("fifo", Order::Fifo, TotalMode::Token),
    ("causal", Order::Causal, TotalMode::Token),
    ("total by token", Order::Total, TotalMode::Token),
    ("total by rounds", Order::Total, TotalMode::Rotating),
];

/// All of it.
pub(crate) fn run(plan: &Plan, pins: &Pins) -> Result<Vec<Series>, Failure> {
    let size = plan.sizes.first().copied().unwrap_or(DEFAULT_SIZE);
    let mut series = Vec::new();
    for (publishers, traffic, how) in FLOWS {
        series.extend(flows(plan, pins, size, publishers, traffic, how)?);
    }
    for members in [2, 3] {
        series.extend(rings(plan, pins, size, members)?);
    }
    series.extend(bytes());
    Ok(series)
}

fn setup(plan: &Plan, members: usize, size: usize, (_, order, mode): (&str, Order, TotalMode)) -> Setup {
    let split = members / 2;
    Setup { members, split, order, mode, medium: plan.medium(), size, span: plan.span }
}

fn flows(
    plan: &Plan,
    pins: &Pins,
    size: usize,
    publishers: usize,
    traffic: Traffic,
    how: &str,
) -> Result<Vec<Series>, Failure> {
    let mut rates = vec![Vec::new(); ORDERS.len()];
    for rep in 1..=plan.reps {
        eprintln!("order throughput, {how}: repetition {rep} of {}", plan.reps);
        for (rates, order) in rates.iter_mut().zip(ORDERS) {
            rates.push(flow::rate(&setup(plan, publishers + 1, size, order), traffic, pins)?);
        }
    }
    let unit = Unit::MessagesPerSecond;
    let row = |(values, (name, ..)): (&Vec<f64>, (&str, Order, TotalMode))| {
        one("order_throughput", format!("{name}, {how}"), plan, size, unit, values, &rates[0])
    };
    Ok(rates.iter().zip(ORDERS).map(row).collect())
}

fn rings(plan: &Plan, pins: &Pins, size: usize, members: usize) -> Result<Vec<Series>, Failure> {
    let mut runs: Vec<Vec<Ring>> = vec![Vec::new(); ORDERS.len()];
    for rep in 1..=plan.reps {
        eprintln!("order rtt, {members} members: repetition {rep} of {}", plan.reps);
        for (runs, order) in runs.iter_mut().zip(ORDERS) {
            runs.push(ring::run(&setup(plan, members, size, order), pins)?);
        }
    }
    let of = |runs: &[Ring], pick: fn(&Ring) -> f64| runs.iter().map(pick).collect::<Vec<_>>();
    let mut series = Vec::new();
    for (bench, pick) in
        [("order_rtt_p50", (|ring| ring.trip) as fn(&Ring) -> f64), ("order_rtt_p99", |ring| ring.trip_p99)]
    {
        for (values, (name, ..)) in runs.iter().zip(ORDERS) {
            let variant = format!("{name}, {members} publishers in turn");
            series.push(one(
                bench,
                variant,
                plan,
                size,
                Unit::Nanoseconds,
                &of(values, pick),
                &of(&runs[0], pick),
            ));
        }
    }
    let fifo = of(&runs[0], |ring| ring.trip);
    let totals = runs.iter().zip(ORDERS).filter(|(_, (_, order, _))| *order == Order::Total);
    for (values, (name, _, mode)) in totals {
        let mut place = |who: String, values: Vec<f64>| {
            let variant = format!("{name}, {members} members, {who}");
            series.push(one("order_place_p50", variant, plan, size, Unit::Nanoseconds, &values, &fifo));
        };
        for rank in 0..members {
            let holds = if rank == 0 && mode == TotalMode::Token { ", which holds the token" } else { "" };
            place(format!("rank {rank}{holds}"), values.iter().map(|ring| ring.place[rank]).collect());
        }
        let others = |ring: &Ring| ring.place[1..].iter().sum::<f64>() / (members - 1) as f64;
        place("mean of the ranks but 0".to_owned(), values.iter().map(others).collect());
    }
    Ok(series)
}

/// Bytes of order at 3, 16 and 64 active senders.
fn bytes() -> Vec<Series> {
    let mut series = Vec::new();
    for senders in [3, 16, 64] {
        for (how, messages) in [("a block each in turn", ONE_BLOCK), ("bursts of 10 blocks", 10 * ONE_BLOCK)]
        {
            for (name, order, mode) in ORDERS.into_iter().skip(1) {
                let seen = |stamps| {
                    let options = TotalOptions { mode, stamps, ..TotalOptions::default() };
                    overhead(stamps::Traffic { senders, messages, order, options }, ROUNDS)
                };
                let (told, full) = (seen(Stamps::Compressed), seen(Stamps::Full));
                for (per, value, floor) in [
                    ("block", told.per_block(), full.per_block()),
                    ("message", told.per_message(), full.per_message()),
                ] {
                    series.push(Series {
                        bench: "order_bytes",
                        variant: format!("{name}, {senders} senders, {how}, per {per}"),
                        medium: "sim".into(),
                        size: stamps::MESSAGE,
                        sockets: 1,
                        offload: true,
                        unit: Unit::Bytes,
                        values: vec![value],
                        floor: vec![floor],
                        note: String::new(),
                    });
                }
            }
        }
    }
    series
}

fn one(
    bench: &'static str,
    variant: String,
    plan: &Plan,
    size: usize,
    unit: Unit,
    values: &[f64],
    floor: &[f64],
) -> Series {
    Series {
        bench,
        variant,
        medium: plan.medium().to_string(),
        size,
        sockets: 1,
        offload: true,
        unit,
        values: values.to_vec(),
        floor: floor.to_vec(),
        note: String::new(),
    }
}

/// Publishers, what they do, and the name of it.
const FLOWS: [(usize, Traffic, &str); 3] = [
    (1, Traffic::Free, "1 publisher"),
    (3, Traffic::Free, "3 publishers"),
    (3, Traffic::Chained, "3 publishers, each block after another's"),
];

/// Bytes of a message.
pub(crate) const DEFAULT_SIZE: usize = 64;
const ROUNDS: u64 = 20;
