//! Round trip and throughput of Sistrum beside the raw floor of the same machine, measured in one run.
//!
//! A figure without its floor says more about the machine than about the code, so every variant is interleaved with
//! the best that plain sockets do over the same path: floor, ours, floor, ours, and the ratio is the median of the
//! ratios of each repetition. See [`floor`] and [`packed`] for what the floors are.

mod floor;
mod ours;
mod packed;
mod pins;
mod raw;
mod report;
mod rtt;
mod throughput;

use clap::{Args, Parser, Subcommand, ValueEnum};
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
    let (Command::Rtt(args) | Command::Throughput(args)) = &cli.command;
    let plan = args.plan()?;
    if let Some(path) = &args.json {
        report::probe_writable(path)?;
    }
    let pins = pins::Pins::find();
    pins.announce();
    let series = match &cli.command {
        Command::Rtt(_) => rtt::run(&plan, &pins)?,
        Command::Throughput(_) => throughput::run(&plan, &pins)?,
    };
    report::print_table(&series);
    if let Some(path) = &args.json {
        report::write_json(path, &series)?;
    }
    Ok(())
}

/// What to measure, and for how long.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Message sizes in bytes; empty for the default of the bench.
    pub(crate) sizes: Vec<usize>,
    /// Segmentation offload: on, off, or the default of the bench.
    pub(crate) offload: Option<bool>,
    /// How often each variant is measured.
    pub(crate) reps: usize,
    /// The phases of each repetition.
    pub(crate) span: Span,
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
}

#[derive(Debug, Args)]
struct Options {
    /// Message sizes in bytes, separated by commas [default: rtt 64; throughput 32,1024]
    #[arg(long, value_delimiter = ',', value_name = "BYTES,..")]
    size: Vec<usize>,
    /// Segmentation offload (UDP GSO and GRO) [default: rtt on; throughput both]
    #[arg(long, value_enum)]
    offload: Option<Switch>,
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
        let measure = Duration::from_secs_f64(self.seconds);
        Ok(Plan {
            sizes: self.size.clone(),
            offload: self.offload.map(|switch| switch == Switch::On),
            reps: self.reps,
            span: Span { warm_up: measure / 5, measure },
        })
    }
}

/// A message has room for its u64 serial number; the largest fits into one block of the packed floor.
const SIZES: std::ops::RangeInclusive<usize> = 8..=packed::BLOCK_BYTES - packed::FRAME_HEADER_BYTES;
