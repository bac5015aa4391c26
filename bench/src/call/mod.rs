//! Calls: a request to all others, and as many replies as are wanted, beside the same exchange over plain sockets.
//!
//! The caller has one thread, and all who answer have another, in which they are polled in turn: more of them take longer by reason of the
//! core that they share. Round trips are of one call at a time, calls a second of [`WINDOW`] that are open at once. A call that wants no
//! reply has no round trip, and nobody waits for it: the floor only sends, and loses what it likes.

mod floor;
mod ours;

use crate::floor::Trips;
use crate::pins::Pins;
use crate::report::{Series, Unit};
use crate::{Failure, Plan, Span};
use sistrum::{MediumChoice, Want};

/// One kind of exchange.
#[derive(Debug, Clone, Copy)]
struct Setup {
    /// Members that answer; who calls is one more.
    members: usize,
    want: Want,
    /// Bytes of a request, and of a reply.
    size: usize,
    /// Calls that are open at once.
    window: usize,
    medium: MediumChoice,
    span: Span,
}

impl Setup {
    /// Replies that end a call.
    fn replies(&self) -> usize {
        match self.want {
            Want::None => 0,
            Want::N(count) => count.min(self.members),
            Want::All => self.members,
            Want::Majority => self.members / 2 + 1,
        }
    }
}

/// What one repetition counted.
#[derive(Debug)]
struct Calls {
    /// From each request to its last wanted reply.
    trips: Trips,
    /// Calls a second.
    rate: f64,
}

/// All numbers of members and all that can be wanted.
pub(crate) fn run(plan: &Plan, pins: &Pins) -> Result<Vec<Series>, Failure> {
    let size = plan.sizes.first().copied().unwrap_or(DEFAULT_SIZE);
    let mut series = Vec::new();
    for members in MEMBERS {
        for (want, name) in WANTS {
            series.extend(measure(plan, pins, (members, size), want, name)?);
        }
    }
    Ok(series)
}

/// Interleaves the floor and ours.
fn measure(
    plan: &Plan,
    pins: &Pins,
    (members, size): (usize, usize),
    want: Want,
    name: &str,
) -> Result<Vec<Series>, Failure> {
    let mut columns = [Column::default(), Column::default()];
    for rep in 1..=plan.reps {
        eprintln!("call, {members} answer, {name} wanted: repetition {rep} of {}", plan.reps);
        let setup = |window| Setup { members, want, size, window, medium: plan.medium(), span: plan.span };
        for window in [1, WINDOW] {
            let counted = [floor::run(&setup(window), pins)?, ours::run(&setup(window), pins)?];
            let is_empty = |calls: &Calls| calls.trips.histogram.is_empty();
            if let Some(at) = counted.iter().position(is_empty) {
                eprintln!(
                    "repetition {rep}, {window} open at once: no call of {} has ended: no figure",
                    WHOSE[at]
                );
                continue;
            }
            columns.iter_mut().zip(&counted).for_each(|(column, calls)| column.push(window, calls));
        }
    }
    let [floor, ours] = &columns;
    let of = |column: &Column, who: &str, carrier: String| {
        let rows: [(_, _, &Vec<f64>, &Vec<f64>); 3] = [
            ("call_p50", Unit::Nanoseconds, &column.p50, &floor.p50),
            ("call_p99", Unit::Nanoseconds, &column.p99, &floor.p99),
            ("calls", Unit::CallsPerSecond, &column.rate, &floor.rate),
        ];
        let is_told = |(bench, _, values, _): &(&str, Unit, &Vec<f64>, _)| {
            (want != Want::None || *bench == "calls") && !values.is_empty()
        };
        let row = |(bench, unit, values, floor): (_, _, &Vec<f64>, &Vec<f64>)| Series {
            bench,
            variant: format!("{who}, {members} answer, {name} wanted"),
            medium: carrier.clone(),
            size,
            sockets: 1,
            offload: true,
            unit,
            values: values.clone(),
            floor: floor.clone(),
            note: if column.lost > 0 { format!("{} lost", column.lost) } else { String::new() },
        };
        rows.into_iter().filter(is_told).map(row).collect::<Vec<_>>()
    };
    let floor = of(floor, "floor", MediumChoice::Udp.to_string());
    Ok([floor, of(ours, "ours", plan.medium().to_string())].concat())
}

/// One variant over all repetitions.
#[derive(Debug, Default)]
struct Column {
    p50: Vec<f64>,
    p99: Vec<f64>,
    rate: Vec<f64>,
    lost: u64,
}

impl Column {
    fn push(&mut self, window: usize, calls: &Calls) {
        self.lost += calls.trips.lost;
        if window > 1 {
            return self.rate.push(calls.rate);
        }
        let at = |quantile| calls.trips.histogram.value_at_quantile(quantile) as f64;
        self.p50.push(at(0.50));
        self.p99.push(at(0.99));
    }
}

/// Calls that are open at once where calls a second are counted.
const WINDOW: usize = 64;
/// Members that answer.
const MEMBERS: [usize; 3] = [1, 3, 7];
const WANTS: [(Want, &str); 4] =
    [(Want::None, "none"), (Want::N(1), "one"), (Want::Majority, "majority"), (Want::All, "all")];
/// Of whom a column is.
const WHOSE: [&str; 2] = ["the floor", "ours"];
/// Bytes of a message.
const DEFAULT_SIZE: usize = 64;
