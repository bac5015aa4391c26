//! Round trip and throughput of Sistrum beside the raw floor of the same machine, measured in one run.
//!
//! A figure without its floor says more about the machine than about the code, so every variant is interleaved with
//! the best that plain sockets do over the same path: floor, ours, floor, ours, and the ratio is the median of the
//! ratios of each repetition. See [`floor`] and [`packed`] for what the floors are.

mod aims;
mod call;
mod counters;
mod floor;
mod full;
mod idle;
mod lag;
mod order;
mod ours;
mod packed;
mod pins;
mod place;
mod plot;
mod raw;
mod report;
mod rtt;
mod throughput;
mod transfer;
mod viewchange;

use crate::pins::Pins;
use crate::report::Series;
use clap::{Args, Parser, Subcommand, ValueEnum};
use sistrum::MediumChoice;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Whatever ends a benchmark early; it becomes one line and exit status 2.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("sistrum-bench: {failure}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Rtt(options) => measure(&options, rtt::run).map(drop),
        Command::Throughput(options) => measure(&options, throughput::run).map(drop),
        // Its ends wait on purpose, and several pairs share the cores.
        Command::Idle(options) => measure(&options, |plan, pins| {
            let series = idle::run(plan, pins);
            pins.waited();
            series
        })
        .map(drop),
        Command::Order(options) => {
            let series = measure(&options, order::run)?;
            aims::print_orders(&series);
            Ok(())
        }
        Command::Call(options) => measure(&options, call::run).map(drop),
        Command::Lag(options) => measure(&options, lag::run).map(drop),
        Command::Viewchange(options) => viewchange::run(&options),
        Command::Transfer(options) => transfer::run(&options),
        Command::Counters(options) => counters::run(&options),
        Command::Report(options) => full::run(&options),
        Command::Plot { report, out } => plot::run(&report, &out),
    }
}

/// Runs one bench, prints its table, writes its rows.
fn measure(
    options: &Options,
    bench: fn(&Plan, &Pins) -> Result<Vec<Series>, Failure>,
) -> Result<Vec<Series>, Failure> {
    let plan = options.plan()?;
    if let Some(path) = &options.json {
        report::probe_writable(path)?;
    }
    let pins = Pins::find();
    pins.announce();
    let series = bench(&plan, &pins)?;
    report::print_table(&series);
    Pins::judge(pins.waited());
    if let Some(path) = &options.json {
        report::write_json(path, &series)?;
    }
    Ok(series)
}

/// What to measure, and for how long.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Message sizes in bytes; empty for the default of the bench.
    pub(crate) sizes: Vec<usize>,
    /// Segmentation offload: on, off, or both.
    pub(crate) offload: Option<bool>,
    /// What carries ours: one after the other, against the same floor; at least one.
    pub(crate) media: Vec<MediumChoice>,
    /// Groups that each member joins; only one is active.
    pub(crate) sockets: Vec<usize>,
    /// Whether to measure throughput over a veth pair too.
    pub(crate) veth: bool,
    /// How often each variant is measured.
    pub(crate) reps: usize,
    /// The phases of each repetition.
    pub(crate) span: Span,
}

impl Plan {
    /// Offload on and off, unless only one was asked for.
    pub(crate) fn switches(&self) -> Vec<bool> {
        self.offload.map_or(vec![true, false], |offload| vec![offload])
    }

    /// The medium of a bench that is not about media.
    pub(crate) fn medium(&self) -> MediumChoice {
        self.media[0]
    }
}

/// The phases of one repetition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// Not counted: buffers fault in, queues fill.
    pub(crate) warm_up: Duration,
    /// Counted.
    pub(crate) measure: Duration,
}

#[derive(Debug, Parser)]
#[command(name = "sistrum-bench", version, about = "Sistrum beside the raw floor, measured in one run")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Round trip times of one message between two members, ns
    Rtt(Options),
    /// Verified messages per second from one member to another
    Throughput(Options),
    /// What each idle strategy costs, in cores and in round trips, for 1, 2 and 4 pairs
    Idle(Options),
    /// Fifo, causal and total order: throughput, round trips, and the bytes that order costs
    Order(Options),
    /// Calls: round trips and calls a second, for 1, 3 and 7 that answer and for as many replies as can be wanted
    Call(Options),
    /// What a lag contract costs an application that keeps up
    Lag(Options),
    /// What a change of view costs those who go on: pauses of casts and deliveries, for join, leave and crash
    Viewchange(viewchange::Options),
    /// How fast state is taken over by one who joins, and what that costs those who are there
    Transfer(transfer::Options),
    /// What it costs to publish counters: the same two nodes with and without, in turn
    Counters(counters::Options),
    /// Everything, as bench/report.md and bench/report.json
    Report(full::Options),
    /// Draws a report as SVG
    Plot {
        /// A JSON array that this program wrote
        report: PathBuf,
        /// The folder for the drawings
        #[arg(long, default_value = "bench/plots", value_name = "FOLDER")]
        out: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Options {
    /// Message sizes in bytes, separated by commas [default: rtt, order, call 64; throughput 32,1024]
    #[arg(long, value_delimiter = ',', value_name = "BYTES,..")]
    size: Vec<usize>,
    /// Segmentation offload (UDP GSO and GRO) [default: both; idle on]
    #[arg(long, value_enum)]
    offload: Option<Switch>,
    /// What carries ours; several take turns (rtt and throughput)
    #[arg(long, value_delimiter = ',', default_value = "auto", value_name = "NAME,..")]
    medium: Vec<MediumChoice>,
    /// Groups that each member joins, each a socket more to look at; only one is active (rtt and throughput)
    #[arg(long, value_delimiter = ',', default_value = "1", value_name = "N,..")]
    sockets: Vec<usize>,
    /// Leave out the throughput over a veth pair whose device does not segment
    #[arg(long)]
    no_veth: bool,
    /// Repetitions of each variant
    #[arg(long, default_value_t = 7, value_name = "N")]
    reps: usize,
    /// Seconds per repetition, after a warm-up of a fifth of it
    #[arg(long, default_value_t = 0.5, value_name = "S")]
    seconds: f64,
    /// Write the rows as a JSON array
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

impl Options {
    fn plan(&self) -> Result<Plan, Failure> {
        if let Some(size) = self.size.iter().find(|size| !SIZES.contains(*size)) {
            return Err(format!("--size {size}: between {} and {} bytes", SIZES.start(), SIZES.end()).into());
        }
        if self.reps == 0 {
            return Err("--reps 0: at least 1".into());
        }
        if !(0.001..=3600.0).contains(&self.seconds) {
            return Err(format!("--seconds {}: between 0.001 and 3600", self.seconds).into());
        }
        if let Some(sockets) = self.sockets.iter().find(|sockets| !SOCKETS.contains(*sockets)) {
            return Err(
                format!("--sockets {sockets}: between {} and {}", SOCKETS.start(), SOCKETS.end()).into()
            );
        }
        let measure = Duration::from_secs_f64(self.seconds);
        Ok(Plan {
            sizes: self.size.clone(),
            offload: self.offload.map(|switch| switch == Switch::On),
            media: self.medium.clone(),
            sockets: self.sockets.clone(),
            veth: !self.no_veth && self.offload != Some(Switch::Off),
            reps: self.reps,
            span: Span { warm_up: measure / 5, measure },
        })
    }
}

/// A message has room for its u64 serial number; the largest fits into one block of the packed floor.
const SIZES: std::ops::RangeInclusive<usize> = 8..=packed::BLOCK_BYTES - packed::FRAME_HEADER_BYTES;
/// Each group has a port of its own.
const SOCKETS: std::ops::RangeInclusive<usize> = 1..=128;
