//! `rtt`: one message there and back between two members, beside the floor over the same path and a harder one.

use crate::floor::{Topology, Trips, ping_pong};
use crate::ours::{self, Setup};
use crate::pins::Pins;
use crate::place::Place;
use crate::report::{Series, Unit, ratio};
use crate::{Failure, Plan};
use sistrum::{Idle, MediumChoice};

/// Measures every size with every number of sockets.
pub(crate) fn run(plan: &Plan, pins: &Pins) -> Result<Vec<Series>, Failure> {
    let sizes = if plan.sizes.is_empty() { &[DEFAULT_SIZE][..] } else { &plan.sizes };
    let mut series = Vec::new();
    for &size in sizes {
        for &sockets in &plan.sockets {
            series.extend(measure(size, sockets, plan, pins)?);
        }
    }
    Ok(series)
}

/// Interleaves the variants of one size.
fn measure(size: usize, sockets: usize, plan: &Plan, pins: &Pins) -> Result<Vec<Series>, Failure> {
    let setup = |medium, offload| Setup {
        size,
        offload,
        medium,
        sockets,
        idle: Idle::Spin,
        place: &Place::Loopback,
        pair: 0,
    };
    let media = setup(plan.medium(), false).usable("rtt", &plan.media);
    let mut floor = Column::new("floor", MediumChoice::Udp, sockets, false);
    let mut harder = Column::new("floor, two groups", MediumChoice::Udp, sockets, false);
    let own = media.iter().flat_map(|&medium| {
        plan.switches().into_iter().map(move |offload| Column::new("ours", medium, sockets, offload))
    });
    let mut own: Vec<_> = own.collect();
    if own.is_empty() {
        return Ok(Vec::new());
    }
    for rep in 1..=plan.reps {
        eprintln!("rtt {size} B, {sockets} sockets: repetition {rep} of {}", plan.reps);
        let mut trips = vec![ping_pong(Topology::SharedGroup, size, plan.span, pins)?];
        for column in &mut own {
            let (ours, medium) = ours::ping_pong(&setup(column.asked, column.offload), plan.span, pins)?;
            trips.push(ours);
            column.medium = medium;
        }
        trips.push(ping_pong(Topology::TwoGroups, size, plan.span, pins)?);
        if trips.iter().any(|trips| trips.histogram.is_empty()) {
            eprintln!("repetition {rep}: of one variant nothing came back: no figure");
            continue;
        }
        let columns = std::iter::once(&mut floor).chain(&mut own).chain(std::iter::once(&mut harder));
        columns.zip(&trips).for_each(|(column, trips)| column.push(trips));
    }
    if floor.p50.is_empty() {
        eprintln!("rtt {size} B, {sockets} sockets: nothing came back in any repetition");
        return Ok(Vec::new());
    }
    for column in &mut own {
        let [p50, p99] = [ratio(&column.p50, &harder.p50), ratio(&column.p99, &harder.p99)];
        column.notes =
            [format!("{p50:.3} of the two-group floor; "), format!("{p99:.3} of the two-group floor; ")];
    }
    let columns: Vec<_> = [&floor, &harder].into_iter().chain(&own).collect();
    let p50 = columns.iter().map(|column| column.series("rtt_p50", size, &column.p50, &floor.p50, 0));
    let p99 = columns.iter().map(|column| column.series("rtt_p99", size, &column.p99, &floor.p99, 1));
    Ok(p50.chain(p99).collect())
}

/// One variant over all repetitions.
#[derive(Debug)]
struct Column {
    variant: &'static str,
    asked: MediumChoice,
    medium: String,
    sockets: usize,
    offload: bool,
    p50: Vec<f64>,
    p99: Vec<f64>,
    trips: u64,
    lost: u64,
    notes: [String; 2],
}

impl Column {
    fn new(variant: &'static str, asked: MediumChoice, sockets: usize, offload: bool) -> Self {
        Self {
            variant,
            asked,
            medium: asked.to_string(),
            sockets,
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

    fn series(&self, bench: &'static str, size: usize, values: &[f64], floor: &[f64], note: usize) -> Series {
        Series {
            bench,
            variant: self.variant.into(),
            medium: self.medium.clone(),
            size,
            sockets: self.sockets,
            offload: self.offload,
            unit: Unit::Nanoseconds,
            values: values.to_vec(),
            floor: floor.to_vec(),
            note: format!("{}{} trips, {} lost", self.notes[note], self.trips, self.lost),
        }
    }
}

/// Bytes.
const DEFAULT_SIZE: usize = 64;
