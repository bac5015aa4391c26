//! `cargo ci instructions`: how many instructions of ours a message costs, against a table that is checked in.
//!
//! Times on a shared machine cannot tell a change of 3 % from noise; instructions can. callgrind counts those of a
//! program that does a fixed amount of work without a system call in it, twice with different amounts: the difference is
//! what the messages between them cost, and the start of the program cancels.
//!
//! The counts are those of one compiler, and hold on any processor: whatever the machine has, valgrind shows programs the
//! same one of a few, by which the checksum and the C library's copies choose their instructions. Where that is another than
//! the table's (no AVX2, no x86), or the compiler is, nothing is compared, and that is said aloud.

use crate::bounded;
use crate::step::{self, Report};
use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Whether to judge, or to write down.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Write the counts of this run into the table instead of judging them by it.
    #[arg(long)]
    update: bool,
}

/// One kind of message, and two amounts of it.
struct Case {
    name: &'static str,
    counts: [u64; 2],
}

/// What is counted. Whole runs of blocks each: 40 messages of 32 B, or one of 1 KiB, in each of 46 blocks.
const CASES: [Case; 6] = [
    Case { name: "cast_32", counts: [40 * 46 * 10, 40 * 46 * 50] },
    Case { name: "deliver_32", counts: [40 * 46 * 10, 40 * 46 * 50] },
    Case { name: "cast_1024", counts: [46 * 10, 46 * 50] },
    Case { name: "deliver_1024", counts: [46 * 10, 46 * 50] },
    Case { name: "round_trip_64", counts: [1_000, 5_000] },
    Case { name: "empty_cycle", counts: [10_000, 50_000] },
];

/// Where the table is.
const TABLE: &str = "bench/instructions.toml";
/// A count that grew by more than this part fails.
const ALLOWED_GROWTH: f64 = 0.03;
/// How long one run under callgrind may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What is checked in.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Table {
    rustc: String,
    /// The one that valgrind shows to programs: see the module.
    processor: String,
    instructions_per_message: BTreeMap<String, f64>,
}

/// Counts, and compares or writes the table.
pub(crate) fn run(report: &mut Report, options: &Options) -> Result<()> {
    report.step("instructions", |report| {
        if let Err(reason) = can_count() {
            return report.optional("instructions", &format!("{reason:#}"));
        }
        let (rustc, processor) = (compiler()?, processor());
        let table = read(Path::new(TABLE));
        if let Ok(table) = &table
            && (table.rustc != rustc || table.processor != processor)
            && !options.update
        {
            let why = format!(
                "{TABLE} has the counts of {} on {}, here is {rustc} on {processor}",
                table.rustc, table.processor
            );
            report.inapplicable("instructions", &why);
            return Ok(());
        }
        let counts = count_all()?;
        if options.update {
            fs::write(TABLE, written(&rustc, &processor, &counts))
                .with_context(|| format!("cannot write {TABLE}"))?;
            println!("    {TABLE} is written");
            return Ok(());
        }
        judge(&table?.instructions_per_message, &counts)
    })
}

/// Prints every count beside the table's. A count that grew too much is an error; one that shrank is a hint.
fn judge(table: &BTreeMap<String, f64>, counts: &BTreeMap<String, f64>) -> Result<()> {
    let mut grown = Vec::new();
    for (name, &count) in counts {
        let Some(&before) = table.get(name) else {
            bail!("{name} is not in {TABLE}: cargo ci instructions --update");
        };
        let growth = count / before - 1.0;
        let percent = 100.0 * growth;
        println!("    {name:16} {count:>9.1} instructions, table {before:>9.1} ({percent:+.2} %)");
        if growth > ALLOWED_GROWTH {
            grown.push(format!(
                "{name} takes {count:.1} instructions a message, {percent:.1} % more than {before:.1}"
            ));
        } else if growth < -ALLOWED_GROWTH {
            println!("    {name} has shrunk: keep it so with cargo ci instructions --update");
        }
    }
    let allowed = 100.0 * ALLOWED_GROWTH;
    ensure!(
        grown.is_empty(),
        "{}; {allowed} % are allowed. If it is worth it: cargo ci instructions --update",
        grown.join("; ")
    );
    Ok(())
}

/// Builds the program as users' code is built, and counts every case.
fn count_all() -> Result<BTreeMap<String, f64>> {
    let program = step::built_binary("sistrum-bench", "sistrum-instructions")?;
    let count = |case: &Case| Ok((case.name.to_owned(), per_message(&program, case)?));
    CASES.iter().map(count).collect()
}

fn per_message(program: &Path, case: &Case) -> Result<f64> {
    let [few, many] = case.counts;
    let more = count(program, case.name, many)? - count(program, case.name, few)?;
    Ok(more as f64 / (many - few) as f64)
}

/// Instructions of one run, from its start to its end.
fn count(program: &Path, name: &str, messages: u64) -> Result<u64> {
    let out = program.with_file_name(format!("sistrum-callgrind-{}.out", std::process::id()));
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(program).arg(name).arg(messages.to_string());
    // Its banner says nothing; what it cannot do, it says by its status.
    let outcome = bounded::run(command.stderr(Stdio::null()), LIMIT, &AtomicBool::new(false));
    let profile = fs::read(&out);
    let _ = fs::remove_file(&out);
    outcome?;
    total(&String::from_utf8_lossy(&profile.context("callgrind left no profile")?))
}

/// The sum of all events in a profile.
fn total(profile: &str) -> Result<u64> {
    let line = profile.lines().find_map(|line| line.strip_prefix("summary: "));
    let line = line.context("callgrind's profile has no summary")?;
    line.split_whitespace().next().unwrap_or_default().parse().context("callgrind's summary is no number")
}

/// Whether there is a valgrind that works.
fn can_count() -> Result<()> {
    let probe = Command::new("valgrind").args(["--tool=none", "true"]).stdin(Stdio::null()).output();
    let probe = probe.context("valgrind does not start (apt-get install valgrind)")?;
    let error = String::from_utf8_lossy(&probe.stderr);
    ensure!(probe.status.success(), "valgrind does not work: {}", error.lines().last().unwrap_or_default());
    Ok(())
}

/// The compiler's own line about itself.
fn compiler() -> Result<String> {
    let program = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(program).arg("--version").output().context("rustc does not start")?;
    Ok(String::from_utf8(output.stdout).context("rustc does not speak UTF-8")?.trim().to_owned())
}

fn read(path: &Path) -> Result<Table> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read {}: cargo ci instructions --update", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is no table of counts", path.display()))
}

/// What valgrind makes of this processor: it shows the same one for all that have AVX2.
fn processor() -> String {
    #[cfg(target_arch = "x86_64")]
    let extension = if std::arch::is_x86_feature_detected!("avx2") { "with AVX2" } else { "without AVX2" };
    #[cfg(not(target_arch = "x86_64"))]
    let extension = "as it is";
    format!("{} {extension}", std::env::consts::ARCH)
}

fn written(rustc: &str, processor: &str, counts: &BTreeMap<String, f64>) -> String {
    let mut text = format!(
        "# Instructions of ours per message or round trip, without the kernel's: `cargo ci instructions [--update]`.\n\
         # A growth of more than {} % fails. Under another compiler nothing is compared.\n\
         rustc = \"{rustc}\"\nprocessor = \"{processor}\"\n\n[instructions_per_message]\n",
        100.0 * ALLOWED_GROWTH
    );
    for (name, count) in counts {
        writeln!(text, "{name} = {count:.1}").expect("a string takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, f64)]) -> BTreeMap<String, f64> {
        of.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn growth_beyond_the_allowance_fails_and_says_by_how_much() {
        let table = counts(&[("cast", 100.0), ("deliver", 100.0)]);
        assert!(judge(&table, &counts(&[("cast", 102.9), ("deliver", 50.0)])).is_ok());
        let error = judge(&table, &counts(&[("cast", 104.0), ("deliver", 100.0)])).unwrap_err().to_string();
        assert!(
            error.starts_with("cast takes 104.0 instructions a message, 4.0 % more than 100.0"),
            "{error}"
        );
        assert!(judge(&table, &counts(&[("reply", 1.0)])).unwrap_err().to_string().contains("--update"));
    }

    #[test]
    fn the_table_is_read_back_as_it_was_written() {
        let counts = counts(&[("cast", 41.5), ("deliver", 30.0)]);
        let table: Table = toml::from_str(&written("rustc 1.0", "some", &counts)).unwrap();
        assert_eq!(
            table,
            Table { rustc: "rustc 1.0".into(), processor: "some".into(), instructions_per_message: counts }
        );
        assert!(toml::from_str::<Table>("rustc = 1").is_err());
    }

    #[test]
    fn the_summary_of_a_profile_is_its_total() {
        assert_eq!(total("version: 1\nsummary: 4711 0\n\nfn=a\n").unwrap(), 4711);
        assert!(total("version: 1\n").is_err());
    }
}
