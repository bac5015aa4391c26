//! `rtt`: one message there and back between two members, beside the floor over the same path and a harder one.

use crate::floor::{Topology, Trips, ping_pong};
use crate::pins::Pins;
use crate::report::{Series, Unit, ratio};
use crate::{Failure, Plan, ours};

/// Measures every size.
pub(crate) fn run(plan: &Plan, pins: &Pins) -> Result<Vec<Series>, Failure> {
    let sizes = if plan.sizes.is_empty() { &[DEFAULT_SIZE][..] } else { &plan.sizes };
    let mut series = Vec::new();
    for &size in sizes {
        series.extend(measure(size, plan, pins)?);
    }
    Ok(series)
}

/// Interleaves the variants of one size.
fn measure(size: usize, plan: &Plan, pins: &Pins) -> Result<Vec<Series>, Failure> {
    let offload = plan.offload.unwrap_or(true);
    let mut floor = Column::new("floor", "udp", false);
    let mut harder = Column::new("floor, two groups", "udp", false);
    let mut own = Column::new("ours", "", offload);
    for rep in 1..=plan.reps {
        eprintln!("rtt {size} B: repetition {rep} of {}", plan.reps);
        floor.push(&ping_pong(Topology::SharedGroup, size, plan.span, pins)?);
        let (trips, medium) = ours::ping_pong(size, offload, plan.span, pins)?;
        own.push(&trips);
        own.medium = medium;
        harder.push(&ping_pong(Topology::TwoGroups, size, plan.span, pins)?);
    }
    let [p50, p99] = [ratio(&own.p50, &harder.p50), ratio(&own.p99, &harder.p99)];
    own.notes = [format!("{p50:.3} of the two-group floor; "), format!("{p99:.3} of the two-group floor; ")];
    let columns = [&floor, &harder, &own];
    let p50 = columns.map(|column| column.series("rtt_p50", size, &column.p50, &floor.p50, &column.notes[0]));
    let p99 = columns.map(|column| column.series("rtt_p99", size, &column.p99, &floor.p99, &column.notes[1]));
    Ok(p50.into_iter().chain(p99).collect())
}

/// One variant over all repetitions.
#[derive(Debug)]
struct Column {
    variant: &'static str,
    medium: String,
    offload: bool,
    p50: Vec<f64>,
    p99: Vec<f64>,
    trips: u64,
    lost: u64,
    notes: [String; 2],
}

impl Column {
    fn new(variant: &'static str, medium: &str, offload: bool) -> Self {
        Self {
            variant,
            medium: medium.into(),
            offload,
            p50: Vec::new(),
            p99: Vec::new(),
            trips: 0,
            lost: 0,
            notes: [String::new(), String::new()],
        }
    }

    fn push(&mut self, trips: &Trips) {
        self.p50.push(trips.histogram.value_at_quantile(0.50) as f64);
        self.p99.push(trips.histogram.value_at_quantile(0.99) as f64);
        self.trips += trips.histogram.len();
        self.lost += trips.lost;
    }

    fn series(&self, bench: &'static str, size: usize, values: &[f64], floor: &[f64], note: &str) -> Series {
        Series {
            bench,
            variant: self.variant.into(),
            medium: self.medium.clone(),
            size,
            sockets: 1,
            offload: self.offload,
            unit: Unit::Nanoseconds,
            values: values.to_vec(),
            floor: floor.to_vec(),
            note: format!("{note}{} trips, {} lost", self.trips, self.lost),
        }
    }
}

/// Bytes.
const DEFAULT_SIZE: usize = 64;
