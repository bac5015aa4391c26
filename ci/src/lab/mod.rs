//! `cargo ci lab`: members as real processes, killed, stopped and restarted, and in namespaces cut off from each other; what they
//! write down goes through the checkers of the simulator.
//!
//! Rounds are independent of each other, some side by side. What is drawn in one follows from its seed; who coordinates or gives the
//! state at that time, and when anything takes effect, from the machine too: a seed that failed may need several tries, and its
//! histories stay. Members are built like what judges: with optimisation, and with our own assertions.

mod blows;
pub(crate) mod member;
mod network;
mod process;
mod round;
mod standing;
mod tally;

use crate::bounded;
use crate::sim;
use crate::step::{self, Report};
use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use round::{Round, Terms};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tally::Tally;

/// How much of it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Rounds, each with processes of its own.
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: u64,
    /// As many rounds as it takes to deal so many faults, instead.
    #[arg(long, value_name = "N", conflicts_with = "rounds", value_parser = clap::value_parser!(u64).range(1..))]
    faults: Option<u64>,
    /// Faults in one round.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..))]
    blows: u64,
    /// Rounds side by side.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    jobs: u8,
    /// What befalls the processes of the first round follows from this; when, from the machine too.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Casts go to each member by itself, which is found by seeds.
    #[arg(long)]
    unicast: bool,
    /// In network namespaces on a bridge, where links are cut too; as root.
    #[arg(long)]
    namespaces: bool,
    /// Breaks this of our own code in the members: `cargo ci mutants` lists what can be broken.
    #[arg(long, value_name = "NAME")]
    mutate: Option<String>,
    /// Keeps the histories in this folder.
    #[arg(long, value_name = "PATH")]
    keep: Option<PathBuf>,
    /// This program is the one that judges.
    #[arg(long, hide = true)]
    here: bool,
}

/// How long may pass until all are together again, for each job: however slow the machine is, it must not matter.
const PATIENCE: Duration = Duration::from_secs(30);

/// A round each way, and one in a network of its own.
const SHORT: [&str; 4] = ["lab", "--here", "--rounds", "2"];
const NAMESPACES: [&str; 5] = ["lab", "--here", "--rounds", "1", "--namespaces"];

/// See [`SHORT`] and [`NAMESPACES`].
pub(crate) fn short(report: &mut Report) -> Result<()> {
    build_and_run(report, (false, &[]), |command| command.args(SHORT))?;
    build_and_run(report, (true, &[]), |command| command.args(NAMESPACES))
}

/// Builds the members, and lives through all rounds.
pub(crate) fn run(report: &mut Report, options: &Options) -> Result<()> {
    if options.here {
        return Campaign::new(options)?.run();
    }
    let features: &[&str] = if options.mutate.is_some() { &["--features", "mutants"] } else { &[] };
    build_and_run(report, (options.namespaces, features), |command| {
        command.args(std::env::args_os().skip(1)).arg("--here")
    })
}

fn build_and_run(
    report: &mut Report,
    (namespaces, features): (bool, &[&str]),
    arguments: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<()> {
    let name = if namespaces { "lab in namespaces" } else { "lab" };
    report.step(name, |report| {
        if namespaces && let Some(why) = network::lacking() {
            return report.optional(name, &why);
        }
        step::run(arguments(&mut Command::new(sim::worker(features)?)))
    })
}

/// All rounds.
struct Campaign<'a> {
    options: &'a Options,
    terms: Terms,
    rounds: u64,
    next: AtomicU64,
    /// Of the rounds that are over, and what the first one that failed says.
    done: Mutex<(Tally, Option<anyhow::Error>)>,
    folder: PathBuf,
    bar: ProgressBar,
}

impl<'a> Campaign<'a> {
    fn new(options: &'a Options) -> Result<Self> {
        let terms = Terms {
            program: std::env::current_exe().context("this program is not found")?,
            blows: options.blows,
            unicast: options.unicast,
            namespaces: options.namespaces,
            mutation: options.mutate.clone(),
            patience: PATIENCE * u32::from(options.jobs),
            is_over: bounded::interruptible()?,
        };
        let temporary = || std::env::temp_dir().join(format!("sistrum-lab-{}", std::process::id()));
        let rounds = options.faults.map_or(options.rounds, |faults| faults.div_ceil(options.blows));
        let bar = ProgressBar::new(rounds * options.blows);
        bar.set_style(ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} faults, {eta} left")?);
        Ok(Self {
            options,
            terms,
            rounds,
            next: AtomicU64::new(0),
            done: Mutex::default(),
            folder: options.keep.clone().unwrap_or_else(temporary),
            bar,
        })
    }

    fn run(self) -> Result<()> {
        std::thread::scope(|scope| {
            (0..self.options.jobs).for_each(|_| _ = scope.spawn(|| self.work()));
        });
        self.bar.finish_and_clear();
        let (tally, failure) = self.done.into_inner().expect("no round panics while it adds up");
        println!("{tally}");
        // It stays where something failed or is to be kept.
        let _ = fs::remove_dir(&self.folder);
        match failure {
            Some(failure) => Err(failure),
            None if self.terms.is_over.load(Ordering::Relaxed) => bail!("interrupted"),
            None => Ok(()),
        }
    }

    /// One job: round after round.
    fn work(&self) {
        while !self.terms.is_over.load(Ordering::Relaxed) {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            if at >= self.rounds {
                return;
            }
            let outcome = self.round(self.options.seed + at);
            let mut done = self.done.lock().expect("no round panics while it adds up");
            match outcome {
                Ok(tally) => done.0.add(&tally),
                // Who is broken off because another one failed has nothing to say.
                Err(error) if !self.terms.is_over.swap(true, Ordering::Relaxed) => done.1 = Some(error),
                Err(_) => {}
            }
        }
    }

    fn round(&self, seed: u64) -> Result<Tally> {
        let folder = self.folder.join(seed.to_string());
        let lived = Round::new(&self.terms, seed, &folder).and_then(Round::run);
        let tally = lived
            .with_context(|| format!("{}; its histories are in {}", self.line(seed), folder.display()))?;
        let how = if self.terms.is_unicast(seed) { "unicast" } else { "multicast" };
        self.bar.suspend(|| println!("    seed {seed} by {how}: {}", tally.line()));
        self.bar.inc(tally.faults());
        if self.options.keep.is_none() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        Ok(tally)
    }

    /// What runs a seed again.
    fn line(&self, seed: u64) -> String {
        let Options { blows, unicast, namespaces, mutate, .. } = self.options;
        let unicast = if *unicast { " --unicast" } else { "" };
        let namespaces = if *namespaces { " --namespaces" } else { "" };
        let mutate = mutate.as_ref().map(|name| format!(" --mutate {name}")).unwrap_or_default();
        format!(
            "run it again: cargo ci lab --seed {seed} --rounds 1 --blows {blows}{unicast}{namespaces}{mutate}"
        )
    }
}
