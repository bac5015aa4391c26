//! `cargo ci mutants`: breaks our own code on purpose, in one way after the other, and demands that the simulator sees it.
//!
//! A checker that catches nothing is not a checker. The mutations are listed in `transport/src/mutation.rs`; they exist in a
//! program of their own, which this command builds and starts with `--here`.

use crate::sim;
use crate::step::{self, Report};
use anyhow::Result;
use std::process::Command;

/// What to break.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Only this mutation.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Seeds within which each must be caught.
    #[arg(long, value_name = "N", default_value_t = SEEDS)]
    seeds: u64,
    /// Sizes of the groups, at most.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(2..=64))]
    members: u16,
    /// This program is the one that has the mutations.
    #[arg(long, hide = true)]
    here: bool,
}

/// Builds the program that has the mutations, and lets it break itself.
pub(crate) fn run(report: &mut Report, options: &Options) -> Result<()> {
    if options.here {
        return catch_all(options);
    }
    report.step("mutants", |_| {
        let mut command = Command::new(sim::worker(&["--features", "mutants"])?);
        command.args(["mutants", "--here", "--seeds", &options.seeds.to_string()]);
        command.args(["--members", &options.members.to_string()]);
        if let Some(only) = &options.only {
            command.args(["--only", only]);
        }
        step::run(&mut command)
    })?;
    match &options.only {
        Some(_) => Ok(()),
        None => report.step(
            "mutants of agreement, of the detector, of readers, of lag, of calls, of clients and of the end of views",
            |_| {
                let package = ["test", "--quiet", "-p", "sistrum-membership", "--features", "mutants"];
                let tests = ["agreement", "explore", "readers", "views", "lag", "calls", "clients", "flush"]
                    .map(|test| ["--test", test]);
                step::run(step::cargo().args(package).args(tests.as_flattened()).args([
                    "every_mutation",
                    "--",
                    "--nocapture",
                ]))?;
                step::run(step::cargo().args(package).args(["--lib", "every_mutation"]))
            },
        ),
    }
}

/// All of them, as every change must pass.
pub(crate) fn short(report: &mut Report) -> Result<()> {
    run(report, &Options { only: None, seeds: SEEDS, members: 8, here: false })
}

/// Seeds within which a mutation must be caught.
const SEEDS: u64 = 1_000;

#[cfg(not(feature = "mutants"))]
fn catch_all(_: &Options) -> Result<()> {
    anyhow::bail!("mutations are not compiled into this program")
}

#[cfg(feature = "mutants")]
use present::catch_all;

#[cfg(feature = "mutants")]
mod present {
    use super::Options;
    use crate::sim::campaign::{Campaign, Ends, Failure};
    use crate::sim::options::Bounds;
    use crate::sim::views;
    use anyhow::{Result, ensure};
    use sistrum_ordering::Order;
    use sistrum_transport::mutation::{Mutation, set};
    use std::time::Instant;

    /// Those of calls that show on whole groups soon. The others need what sends do not allow there, or luck.
    const OF_CALLS: [Mutation; 4] = [
        Mutation::WaitForTheDead,
        Mutation::NullIsReply,
        Mutation::WantUnclamped,
        Mutation::WaitForTheForwarder,
    ];

    /// Those of views that show here too, but take hundreds of seeds and more: they have runs of their own.
    const LATE: [Mutation; 7] = [
        Mutation::LeaveBeforeHeld,
        Mutation::LeaveWhenIdle,
        Mutation::LeaveToAnybody,
        Mutation::ForgetHanded,
        Mutation::FormUnheard,
        Mutation::NeverNarrow,
        Mutation::RestBehindAll,
    ];

    pub(super) fn catch_all(options: &Options) -> Result<()> {
        let begin = Instant::now();
        let is_chosen = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
        println!("{:24} {:>6} {:>9}  {:20} what is broken", "mutation", "seeds", "seconds", "caught by");
        let (mut all, mut missed) = (0, Vec::new());
        for (_, name, what) in Mutation::ALL.iter().filter(|(_, name, _)| is_chosen(name)) {
            let begin = Instant::now();
            let caught = catch(name, options)?;
            all += 1;
            missed.extend(tell(name, what, begin, options, caught));
        }
        // Those of agreement and of the end of views have runs of their own; `sim --views --mutate` takes them too. So have those of calls,
        // but most of them must be seen here as well.
        let of_calls = Mutation::CALLS.iter().filter(|(mutation, ..)| OF_CALLS.contains(mutation));
        let of_views = Mutation::VIEWS.iter().filter(|(mutation, ..)| !LATE.contains(mutation));
        let in_views = of_views.chain(Mutation::TRANSFER).chain(of_calls);
        for (mutation, name, what) in in_views.filter(|(_, name, _)| is_chosen(name)) {
            let begin = Instant::now();
            let ends = Ends { seeds: options.seeds, after: None, failures: 1 };
            let summary = views::campaign(0, &ends, false, || set(Some(*mutation)));
            all += 1;
            missed.extend(tell(name, what, begin, options, summary.failures.into_iter().next()));
        }
        ensure!(all > 0, "there is no such mutation");
        println!("{all} mutations in {:.1} s, {} not caught", begin.elapsed().as_secs_f64(), missed.len());
        ensure!(missed.is_empty(), "not caught within {} seeds: {}", options.seeds, missed.join(", "));
        Ok(())
    }

    /// Prints what has become of one; returns its name where it was missed.
    fn tell<'a>(
        name: &'a str,
        what: &str,
        begin: Instant,
        options: &Options,
        caught: Option<Failure>,
    ) -> Option<&'a str> {
        let seconds = begin.elapsed().as_secs_f64();
        let Some(Failure { seed, violations }) = caught else {
            println!("{name:24} {:>6} {seconds:>9.1}  {:20}{what}", options.seeds, "NOT CAUGHT");
            return Some(name);
        };
        let property = violations[0].property.to_string();
        println!("{name:24} {:>6} {seconds:>9.1}  {property:20}{what}", seed + 1);
        None
    }

    /// The first seed that shows it.
    fn catch(name: &str, options: &Options) -> Result<Option<Failure>> {
        let campaign = Campaign {
            bounds: Bounds::of((2, options.members), Order::ALL),
            first: 0,
            ends: Ends { seeds: options.seeds, after: None, failures: 1 },
            mutation: Some(name.to_owned()),
            shows: false,
        };
        // Seeds are handed out in order, and one that was begun is finished: the smallest that fails is among them.
        Ok(campaign.run()?.failures.into_iter().next())
    }
}
