//! `cargo ci judge`: what real processes have written down of themselves, judged by the checkers of the simulator.

use crate::sim::checker::judge;
use crate::sim::history::lines;
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::PathBuf;

/// What to judge.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// One file for each process, or for several: JSON, one event a line.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Everything was healed in the end, and had time to settle: then all must have one view, and every cast must have come.
    #[arg(long)]
    healed: bool,
    /// Prints every event.
    #[arg(long)]
    trace: bool,
}

/// Reads the files, and fails where a property does not hold.
pub(crate) fn run(options: &Options) -> Result<()> {
    let read = |file: &PathBuf| {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        lines::read(&text).with_context(|| format!("{} is no history", file.display()))
    };
    let files = options.files.iter().map(read).collect::<Result<Vec<_>>>()?;
    let history = lines::history(files)?;
    if options.trace {
        print!("{history}");
    }
    let violations = judge(&history, options.healed);
    violations.iter().for_each(|violation| println!("{}: {}", violation.property, violation.how));
    let (processes, casts, events) = (history.processes.len(), history.casts.len(), history.events.len());
    println!("{processes} processes, {casts} casts, {events} events; {} properties broken", violations.len());
    ensure!(violations.is_empty(), "the history breaks what is promised");
    Ok(())
}
