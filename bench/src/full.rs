//! `report`: every bench in one go, as a document for people and as JSON for machines.

use crate::pins::Pins;
use crate::{Failure, Plan, Span, aims, idle, order, report, rtt, throughput};
use sistrum::MediumChoice;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How thoroughly, and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// One short repetition of everything: shows that it works, and says nothing
    #[arg(long)]
    quick: bool,
    /// What carries ours; the idle strategies and the orders use the first
    #[arg(long, value_delimiter = ',', default_value = "udp,uring", value_name = "NAME,..")]
    medium: Vec<MediumChoice>,
    /// The day that the report names [default: today]
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Option<String>,
    /// The folder for report.md and report.json
    #[arg(long, default_value = "bench", value_name = "FOLDER")]
    out: PathBuf,
}

/// Measures, and writes both files.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let started = Instant::now();
    let (markdown, json) = (options.out.join("report.md"), options.out.join("report.json"));
    fs::create_dir_all(&options.out).map_err(|error| format!("{}: {error}", options.out.display()))?;
    report::probe_writable(&markdown)?;
    report::probe_writable(&json)?;
    let pins = Pins::find();
    pins.announce();
    let plan = plan(options);
    let fewer = Plan { reps: plan.reps.min(FEWER_REPS), ..plan.clone() };
    let many_sockets = Plan { sockets: MORE_SOCKETS.to_vec(), ..fewer.clone() };
    let mut series = rtt::run(&plan, &pins)?;
    series.extend(rtt::run(&many_sockets, &pins)?);
    series.extend(throughput::run(&plan, &pins)?);
    series.extend(throughput::run(&many_sockets, &pins)?);
    let waited = pins.waited();
    series.extend(idle::run(&fewer, &pins)?);
    // Pairs that idle share the cores on purpose.
    pins.waited();
    let others = series.len();
    series.extend(order::run(&plan, &pins)?);
    report::print_table(&series);
    Pins::judge(waited.into_iter().chain(pins.waited()).reduce(f64::max));
    let mut text = preamble(options, &plan, started.elapsed())?;
    text += &aims::section(&series);
    text += "\n## Figures\n\n";
    text += &report::table(&series[..others], true);
    text += ORDERS;
    text += &report::table(&series[others..], true);
    fs::write(&markdown, text).map_err(|error| format!("{}: {error}", markdown.display()))?;
    report::write_json(&json, &series)?;
    println!("\nwritten: {} and {}", markdown.display(), json.display());
    Ok(())
}

/// All of it takes less than ten minutes, on two cores.
fn plan(options: &Options) -> Plan {
    let (reps, measure) =
        if options.quick { (1, Duration::from_millis(50)) } else { (7, Duration::from_millis(500)) };
    Plan {
        sizes: Vec::new(),
        offload: None,
        media: options.medium.clone(),
        sockets: vec![1],
        veth: true,
        reps,
        span: Span { warm_up: measure / 5, measure },
    }
}

/// What a reader must know before the first figure.
fn preamble(options: &Options, plan: &Plan, took: Duration) -> Result<String, Failure> {
    let date = match &options.date {
        Some(date) => date.clone(),
        None => said_by("date", &["-u", "+%Y-%m-%d"])?,
    };
    let commit = said_by("git", &["describe", "--always", "--dirty", "--abbrev=12"]);
    let commit = commit.unwrap_or_else(|_| "unknown".to_owned());
    let kernel = line_of("/proc/sys/kernel/osrelease", "");
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let machine = line_of("/proc/cpuinfo", "model name");
    let rmem = line_of("/proc/sys/net/core/rmem_max", "");
    let quick = if options.quick { "\n**A quick run: its figures say nothing.**\n" } else { "" };
    Ok(format!(
        "# Measured\n{quick}\n\
         Written by `sistrum-bench report` on {date}, at commit {commit}, in {:.0} s.\n\n\
         - machine: {machine}, {cores} cores, the two ends pinned to one each; rmem_max {rmem}\n\
         - kernel: Linux {kernel}\n- media asked for: {}\n\
         - each figure: median, least and most of {} repetitions of {} ms (more than one socket, and `idle`: of {})\n\n\
         `to floor` is the median of the ratios to the floor in the same repetition. What was measured without segmentation \
         offload stands at the end of the line. Figures are this machine's: quote ratios.\n\n",
        took.as_secs_f64(),
        options.medium.iter().map(MediumChoice::to_string).collect::<Vec<_>>().join(", "),
        plan.reps,
        plan.span.measure.as_millis(),
        plan.reps.min(FEWER_REPS),
    ))
}

/// The first line of what a program prints.
fn said_by(program: &str, args: &[&str]) -> Result<String, Failure> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program} ended with {}", output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

/// The value on the first line of a file that begins with `key`.
fn line_of(path: impl AsRef<Path>, key: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap_or("unknown");
    line.split_once(": ").map_or(line, |(_, value)| value).trim().to_owned()
}

/// What a reader must know before the figures of the orders.
const ORDERS: &str = "\n## Orders\n\n\
    Several members in each of two threads, which yield when there is nothing to do: compare these figures with each other and with \
    nothing above. Here `to floor` is the ratio to fifo in the same repetition; of `order_bytes`, which are counted on the \
    simulated network, to full stamps. `order_place` is the time from the cast of a total to its delivery at its own sender.\n\n";

/// Groups that each member joins, beside the one of the headlines.
const MORE_SOCKETS: [usize; 3] = [4, 16, 64];
/// There are many rows, and none of them is a headline.
const FEWER_REPS: usize = 3;
