//! `cargo ci demo`: the demo as users run it, through the whole matrix of members, losses and captures.
//!
//! Each run is judged twice: by the demo itself, which compares digests, and here, by what its report must not show.
//! A run that is slow is printed as it was; only one that does not end is held against it.

use crate::bounded;
use crate::step::{self, Report};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// How long one run may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Sizes of the group: one subscriber, as many as the README has, and more than any test machine has cores.
const MEMBERS: [u16; 3] = [1, 3, 8];

/// What carries it.
const MEDIA: [&str; 2] = ["udp", URING];

/// The medium that not every machine has.
pub(crate) const URING: &str = "uring";

/// What the loss takes at once.
const MODELS: [&str; 3] = ["block", "buffer", "both"];

/// Blocks that a send must carry on average at max pace, where there is segmentation offload.
const LEAST_SEGMENTS: f64 = 8.0;

/// The share of the blocks that a small receive buffer may lose.
const MOST_OVERFLOW: f64 = 0.001;

/// The share of the blocks that may come late or be repaired although nothing was lost: a sender that the system moves to
/// another core overtakes itself.
const MOST_LATE: f64 = 0.01;

/// Bytes of a block, as the library has it unless it is told otherwise.
const BLOCK: f64 = 1408.0;

/// Smaller captures end before a send can be filled.
const LARGE: f64 = 1e6;

/// The default receive buffer of many systems.
const SMALL_BUFFER: &[&str] = &["--rcvbuf", "212992", "--pace", "max"];

/// Three publishers who listen to each other, in every order across senders.
const ORDERS: [&[&str]; 3] = [
    &["--publishers", "3", "--order", "causal"],
    &["--publishers", "3", "--order", "total"],
    &["--publishers", "3", "--order", "total", "--total", "rotating"],
];

/// What the matrix is made of.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A folder of captures; all below it (`*.gz`, `*.itch50`) are published besides the embedded sample.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How often the whole matrix is run.
    #[arg(long, value_name = "TIMES", default_value_t = 1)]
    repeat: u32,
}

/// One run.
#[derive(Debug, Clone)]
struct Case {
    members: u16,
    loss: u32,
    model: &'static str,
    medium: &'static str,
    /// The embedded sample when absent.
    file: Option<PathBuf>,
    more: &'static [&'static str],
}

/// What the report of a run says, added up over its subscribers.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    ok: bool,
    /// Whether the medium has segmentation offload.
    offload: bool,
    bytes: f64,
    seconds: f64,
    repaired: f64,
    dropped: f64,
    overflow: f64,
    segments: f64,
    /// The largest of any subscriber, in microseconds.
    p50_us: f64,
    p99_us: f64,
}

/// The whole matrix.
pub(crate) fn run(report: &mut Report, options: &Options) -> Result<()> {
    let mut files = vec![None];
    if let Some(folder) = &options.data {
        files.extend(captures(folder)?.into_iter().map(Some));
    }
    let mut cases: Vec<_> = files.iter().flat_map(of_file).collect();
    for members in MEMBERS {
        cases.push(Case { more: &["--pace", "100"], ..case(members, 0, &None) });
        cases.push(Case { more: &["--pace", "100"], ..case(members, 1, &None) });
    }
    cases.extend(ORDERS.map(|more| Case { more, ..case(8, 20, &None) }));
    // As many as the demo allows: a handshake that has a limit stops here.
    cases.push(case(64, 1, &None));
    let cases: Vec<_> = MEDIA.iter().flat_map(|medium| over(&cases, medium)).collect();
    let cases = vec![cases; options.repeat as usize].concat();
    report.step("demo", |report| all(report, &cases))
}

/// The part of the matrix that every change must pass.
pub(crate) fn short(report: &mut Report) -> Result<()> {
    let losses = |members| [0, 1, 20].map(|loss| case(members, loss, &None));
    let mut cases: Vec<_> = MEMBERS.into_iter().flat_map(losses).collect();
    cases.push(Case { more: SMALL_BUFFER, ..case(8, 0, &None) });
    cases.extend(over(&losses(3), URING));
    cases.extend(ORDERS.map(|more| Case { more, ..case(3, 1, &None) }));
    report.step("demo", |report| all(report, &cases))
}

fn case(members: u16, loss: u32, file: &Option<PathBuf>) -> Case {
    Case { members, loss, model: "both", medium: "auto", file: file.clone(), more: &[] }
}

/// The same runs over one medium.
fn over(cases: &[Case], medium: &'static str) -> Vec<Case> {
    cases.iter().map(|case| Case { medium, ..case.clone() }).collect()
}

/// Every run over one capture.
fn of_file(file: &Option<PathBuf>) -> Vec<Case> {
    let mut cases = Vec::new();
    for members in MEMBERS {
        cases.push(case(members, 0, file));
        for loss in [1, 20] {
            cases.extend(MODELS.map(|model| Case { model, ..case(members, loss, file) }));
        }
        cases.push(Case { more: SMALL_BUFFER, ..case(members, 0, file) });
    }
    cases
}

/// The captures below `folder`, in the order of their paths.
fn captures(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(captures(&path)?);
        } else if path.extension().is_some_and(|end| end == "gz" || end == "itch50") {
            found.push(fs::canonicalize(path)?);
        }
    }
    found.sort();
    Ok(found)
}

/// Runs all cases, prints a line for each, and fails when one is red.
fn all(report: &mut Report, cases: &[Case]) -> Result<()> {
    let program = step::built_binary("sistrum-cli", "sistrum")?;
    let mut cases = cases.to_vec();
    if let Some(reason) = without_uring(&program)? {
        cases.retain(|case| case.medium != URING);
        report.optional("demo over uring", &reason)?;
    }
    println!(
        "{:>7} {:>4} {:6} {:6} {:30} {:49} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9}",
        "members",
        "loss",
        "model",
        "medium",
        "file",
        "",
        "seconds",
        "repaired",
        "dropped",
        "overflow",
        "segments",
        "p50 us",
        "p99 us"
    );
    let (mut red, mut offload) = (0, true);
    for case in &cases {
        let line = case.line();
        let outcome = one(&program, case);
        match &outcome {
            Ok(seen) => {
                let faults = faults(case, seen);
                println!("{line} {} {}", seen.line(), if faults.is_empty() { "ok" } else { "RED" });
                faults.iter().for_each(|fault| println!("        {fault}"));
                red += usize::from(!faults.is_empty());
                offload &= seen.offload;
            }
            Err(error) => {
                println!("{line} RED: {error:#}");
                red += 1;
            }
        }
    }
    ensure!(red == 0, "{red} of {} runs of the demo are red", cases.len());
    if !offload {
        report.optional("demo: segments per send", "this kernel has no UDP segmentation offload")?;
    }
    Ok(())
}

/// Why there is no io_uring here, in the demo's own words; `None` where there is.
pub(crate) fn without_uring(program: &Path) -> Result<Option<String>> {
    let options = ["demo", "--medium", URING, "--members", "1", "--loss", "0"];
    let output = Command::new(program).args(options).output().context("the demo does not start")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let refusal = said.lines().find(|line| line.contains("cannot use io_uring"));
    Ok(refusal.filter(|_| output.status.code() == Some(2)).map(str::to_owned))
}

/// One run, and what its report says.
fn one(program: &Path, case: &Case) -> Result<Seen> {
    Seen::read(&report_of(program, &case.arguments())?).context("a report without its fields")
}

/// Runs the demo with these arguments; its report.
pub(crate) fn report_of(program: &Path, arguments: &[impl AsRef<OsStr>]) -> Result<Value> {
    let beside = |kind| program.with_file_name(format!("sistrum-demo-{}.{kind}", std::process::id()));
    let (json, screen) = (beside("json"), beside("screen"));
    let mut command = Command::new(program);
    command.arg("demo").args(arguments).arg("--json").arg(&json);
    let out = File::create(&screen).with_context(|| format!("cannot make {}", screen.display()))?;
    command.stderr(out.try_clone()?).stdout(out);
    let outcome = bounded::run(&mut command, LIMIT, &AtomicBool::new(false));
    let (text, said) = (fs::read_to_string(&json), fs::read_to_string(&screen));
    let _ = (fs::remove_file(&json), fs::remove_file(&screen));
    if let Err(error) = outcome {
        print!("{}", said.unwrap_or_default());
        return Err(error);
    }
    let text = text.context("the demo left no report")?;
    Ok(serde_json::from_str(&text)?)
}

/// What must not be seen.
fn faults(case: &Case, seen: &Seen) -> Vec<String> {
    let blocks = seen.bytes / BLOCK;
    let at_max = !case.more.contains(&"--pace") || case.more.contains(&"max");
    let lossless = case.loss == 0;
    let segments = seen.segments;
    let mut faults = Vec::new();
    if !seen.ok {
        faults.push("the demo's own verdict is not ok".to_owned());
    }
    if lossless && at_max && seen.offload && seen.bytes > LARGE && segments <= LEAST_SEGMENTS {
        faults.push(format!("{segments:.1} segments per send, more than {LEAST_SEGMENTS} are wanted"));
    }
    let all_blocks = blocks * f64::from(case.members);
    // A buffer that overflows may hold as many blocks as a send carries.
    let overflowed = seen.overflow * segments.max(1.0);
    if lossless && overflowed > all_blocks * MOST_OVERFLOW {
        faults.push(format!("about {overflowed:.0} of {all_blocks:.0} blocks overflowed"));
    }
    if lossless && seen.overflow == 0.0 && seen.repaired > all_blocks * MOST_LATE {
        faults.push(format!("{} blocks were repaired, though none was lost", seen.repaired));
    }
    faults
}

impl Case {
    fn arguments(&self) -> Vec<String> {
        let (members, loss) = (self.members.to_string(), self.loss.to_string());
        let mut arguments: Vec<_> =
            ["--members", &members, "--loss", &loss, "--loss-model", self.model, "--medium", self.medium]
                .map(str::to_owned)
                .into();
        arguments.extend(self.more.iter().map(|&word| word.to_owned()));
        if let Some(file) = &self.file {
            arguments.extend(["--file".to_owned(), file.display().to_string()]);
        }
        arguments
    }

    fn line(&self) -> String {
        let file = self.file.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy());
        let Self { members, loss, model, medium, .. } = self;
        let (file, more) = (file.as_deref().unwrap_or("sample"), self.more.join(" "));
        format!("{members:>7} {loss:>4} {model:6} {medium:6} {file:30} {more:49}")
    }
}

impl Seen {
    /// Reads the JSON that the demo writes; `None` when a field is missing.
    fn read(report: &Value) -> Option<Self> {
        let members = report["members"].as_array()?;
        let sum = |name: &str| members.iter().map(|member| member[name].as_f64()).sum::<Option<f64>>();
        let largest = |name: &str| {
            let values = members.iter().map(|member| member["latency_ns"][name].as_f64());
            values.collect::<Option<Vec<_>>>().map(|values| values.into_iter().fold(0.0, f64::max) / 1e3)
        };
        Some(Self {
            ok: report["ok"].as_bool()?,
            offload: report["medium"].as_str()?.contains("with segmentation offload"),
            bytes: report["bytes"].as_f64()?,
            seconds: report["seconds"].as_f64()?,
            repaired: sum("repaired")?,
            dropped: sum("dropped")?,
            overflow: sum("overflow")?,
            segments: report["segments_per_send"].as_f64()?,
            p50_us: largest("p50")?,
            p99_us: largest("p99")?,
        })
    }

    fn line(&self) -> String {
        let Self { seconds, repaired, dropped, overflow, segments, p50_us, p99_us, .. } = self;
        format!(
            "{seconds:>8.3} {repaired:>8} {dropped:>8} {overflow:>8} {segments:>8.1} {p50_us:>9.1} {p99_us:>9.1}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{"ok":true,"messages":2,"bytes":2816000,"seconds":0.5,"digest":"ff",
        "medium":"udp, with segmentation offload","segments_per_send":20.0,"members":[
        {"name":"s1","delivered":2,"digest":"ff","repaired":1,"dropped":2,"overflow":0,
         "latency_ns":{"p50":1500,"p99":2500,"p999":3}},
        {"name":"s2","delivered":2,"digest":"ff","repaired":3,"dropped":4,"overflow":0,
         "latency_ns":{"p50":500,"p99":3500,"p999":3}}]}"#;

    fn seen() -> Seen {
        Seen::read(&serde_json::from_str(REPORT).unwrap()).unwrap()
    }

    #[test]
    fn a_report_is_added_up() {
        let seen = seen();
        assert!(seen.ok && seen.offload);
        assert_eq!((seen.repaired, seen.dropped, seen.overflow), (4.0, 6.0, 0.0));
        assert_eq!((seen.p50_us, seen.p99_us), (1.5, 3.5));
        let cut = REPORT.replace("\"overflow\":0,", "\"overflow\":null,");
        assert_eq!(Seen::read(&serde_json::from_str(&cut).unwrap()), None, "a member that died has none");
    }

    #[test]
    fn each_promise_is_kept_or_found_broken() {
        let lossless = case(2, 0, &None);
        let found = |case: &Case, change: fn(&mut Seen)| {
            let mut seen = seen();
            change(&mut seen);
            faults(case, &seen).len()
        };
        assert_eq!(found(&lossless, |_| ()), 0);
        assert_eq!(found(&lossless, |seen| seen.ok = false), 1);
        assert_eq!(found(&lossless, |seen| seen.segments = 8.0), 1);
        assert_eq!(found(&lossless, |seen| (seen.segments, seen.offload) = (1.0, false)), 0);
        assert_eq!(found(&lossless, |seen| seen.overflow = 1.0), 1, "20 blocks of 4000");
        assert_eq!(found(&lossless, |seen| seen.repaired = 50.0), 1);
        let slow = Case { more: &["--pace", "100"], ..lossless.clone() };
        assert_eq!(found(&slow, |seen| seen.segments = 1.1), 0);
        let lossy = Case { loss: 1, ..lossless };
        assert_eq!(found(&lossy, |seen| seen.repaired = 50.0), 0);
    }

    #[test]
    fn the_matrix_is_the_same_over_every_medium() {
        let cases = of_file(&None);
        for medium in MEDIA {
            let over = over(&cases, medium);
            assert!(
                over.iter().all(|case| case.arguments().join(" ").contains(&format!("--medium {medium}")))
            );
            assert_eq!(over.len(), cases.len());
        }
    }

    #[test]
    fn captures_are_found_in_folders() {
        let folder = std::env::temp_dir().join(format!("sistrum-ci-captures-{}", std::process::id()));
        fs::create_dir_all(folder.join("below")).unwrap();
        for name in ["b.itch50", "README.md", "below/a.gz"] {
            fs::write(folder.join(name), "").unwrap();
        }
        let found = captures(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let names: Vec<_> = found.iter().filter_map(|path| path.file_name()).collect();
        assert_eq!(names, ["b.itch50", "a.gz"]);
        assert!(captures(&folder).is_err());
    }
}
