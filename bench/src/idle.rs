//! `idle`: what each idle strategy costs, in cores and in round trips, for one, two and four pairs on two cores.
//!
//! Every pair bounces one message of 64 bytes, then waits with nothing to do. `busy` cores are those of the whole process
//! while messages bounce, `quiet` ones those of all ends while nothing is sent. The floor of each row is one spinning pair.

use crate::floor::Trips;
use crate::ours::{self, Setup};
use crate::pins::Pins;
use crate::place::Place;
use crate::report::{Series, Unit};
use crate::{Failure, Plan, raw};
use sistrum::Idle;
use std::thread;
use std::time::Instant;

/// Measures every strategy with every number of pairs.
pub(crate) fn run(plan: &Plan, pins: &Pins) -> Result<Vec<Series>, Failure> {
    let mut cells: Vec<Cell> =
        PAIRS.iter().flat_map(|&pairs| STRATEGIES.map(|idle| Cell::new(idle, pairs))).collect();
    for rep in 1..=plan.reps {
        eprintln!("idle: repetition {rep} of {}", plan.reps);
        for cell in &mut cells {
            cell.measure(plan, pins)?;
        }
    }
    let figures = ["idle_p50", "idle_p99", "idle_cores_busy", "idle_cores_quiet"];
    let rows = figures.into_iter().enumerate();
    Ok(rows
        .flat_map(|(at, bench)| cells.iter().map(move |cell| (at, bench, cell)))
        .map(|(at, bench, cell)| cell.series(at, bench, &cells[0]))
        .collect())
}

/// One strategy with one number of pairs.
#[derive(Debug)]
struct Cell {
    idle: Idle,
    pairs: usize,
    /// p50, p99, busy cores and quiet cores of every repetition.
    figures: [Vec<f64>; 4],
    medium: String,
    offload: bool,
    trips: u64,
}

impl Cell {
    fn new(idle: Idle, pairs: usize) -> Self {
        Self { idle, pairs, figures: Default::default(), medium: String::new(), offload: true, trips: 0 }
    }

    fn measure(&mut self, plan: &Plan, pins: &Pins) -> Result<(), Failure> {
        self.offload = plan.offload.unwrap_or(true);
        let setup = |pair| Setup {
            size: SIZE,
            offload: self.offload,
            medium: plan.medium(),
            sockets: 1,
            idle: self.idle,
            place: &Place::Loopback,
            pair,
        };
        let (started, cpu_before) = (Instant::now(), raw::process_cpu_time());
        let bounced = side_by_side(self.pairs, |pair| ours::ping_pong(&setup(pair), plan.span, pins))?;
        let busy = (raw::process_cpu_time() - cpu_before).as_secs_f64() / started.elapsed().as_secs_f64();
        let quiet = side_by_side(self.pairs, |pair| ours::quiet(&setup(pair), plan.span, pins))?;
        let mut all = Trips::new();
        for (trips, medium) in bounced {
            all.histogram.add(&trips.histogram)?;
            self.medium = medium;
        }
        self.trips += all.histogram.len();
        let quantile = |q| all.histogram.value_at_quantile(q) as f64;
        let figures = [quantile(0.50), quantile(0.99), busy, quiet.iter().sum()];
        self.figures.iter_mut().zip(figures).for_each(|(column, figure)| column.push(figure));
        Ok(())
    }

    fn series(&self, at: usize, bench: &'static str, floor: &Self) -> Series {
        let pairs = if self.pairs == 1 { "1 pair".to_owned() } else { format!("{} pairs", self.pairs) };
        Series {
            bench,
            variant: format!("{}, {pairs}", name(self.idle)),
            medium: self.medium.clone(),
            size: SIZE,
            sockets: 1,
            offload: self.offload,
            unit: if at < 2 { Unit::Nanoseconds } else { Unit::Cores },
            values: self.figures[at].clone(),
            floor: floor.figures[at].clone(),
            note: if at == 0 { format!("{} trips", self.trips) } else { String::new() },
        }
    }
}

/// Runs `work` for so many pairs at once.
fn side_by_side<T: Send>(
    pairs: usize,
    work: impl Fn(u8) -> Result<T, Failure> + Sync,
) -> Result<Vec<T>, Failure> {
    let work = &work;
    thread::scope(|scope| {
        let all: Vec<_> = (0..pairs).map(|pair| scope.spawn(move || work(u8::try_from(pair)?))).collect();
        all.into_iter().map(|pair| pair.join().map_err(|_| "a pair panicked")?).collect()
    })
}

fn name(idle: Idle) -> &'static str {
    match idle {
        Idle::Spin => "spin",
        Idle::SpinYield => "spin-yield",
        Idle::Park => "park",
        Idle::Auto => "auto",
    }
}

/// The first of them with the fewest pairs is the floor.
const STRATEGIES: [Idle; 4] = [Idle::Spin, Idle::SpinYield, Idle::Auto, Idle::Park];
const PAIRS: [usize; 3] = [1, 2, 4];
/// Bytes.
const SIZE: usize = 64;
