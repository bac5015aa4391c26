//! `cargo ci syscalls`: a member at work makes no system call but IO and those of its idle strategy.
//!
//! No clock that enters the kernel, no memory, no lock, no file: what the documents promise of the duty cycle, counted
//! by strace. Reading the clock is no call where the kernel maps it into the process; where it does not, this fails, and
//! rightly so.
//!
//! The verdict is itself tried: a member that misbehaves on purpose must be caught, or nothing is proved.

pub(crate) mod trace;

use crate::bounded;
use crate::step::{self, Report};
use anyhow::{Context as _, Result, ensure};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use trace::Calls;

/// How long a member may take under strace.
const LIMIT: Duration = Duration::from_secs(60);

/// The least IO that the measured part of a member takes: it exchanges thousands of messages, many to a datagram.
const LEAST_IO: u64 = 100;

/// The idle strategies, and what each may call, and must be seen to call.
const IDLE: [(&str, &[&str]); 4] = [
    ("spin", &[]),
    ("spin-yield", &["sched_yield"]),
    ("park", &["ppoll"]),
    ("auto", &["sched_yield", "ppoll"]),
];

/// All idle strategies, and the member that misbehaves.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    report.step("syscalls", |report| {
        if let Err(reason) = can_trace() {
            return report.optional("syscalls", &format!("{reason:#}"));
        }
        // As users get it: a debug build checks more.
        let program = step::built("sistrum-ci")?;
        for (idle, allowed) in IDLE {
            let calls = member(&program, &["--idle", idle])?;
            println!("    {idle}: {}", trace::shown(&calls));
            let forbidden = trace::forbidden(&calls, allowed, LEAST_IO)?;
            ensure!(forbidden.is_empty(), "a member that idles by {idle} makes other calls: {forbidden:?}");
            let unseen = allowed.iter().find(|call| !calls.contains_key(**call));
            ensure!(unseen.is_none(), "a member that idles by {idle} never idled: {unseen:?} is missing");
        }
        let calls = member(&program, &["--idle", "spin", "--misbehave"])?;
        let caught = !trace::forbidden(&calls, &[], LEAST_IO)?.is_empty();
        ensure!(caught, "a member that reads a file in its cycle was not caught: this step proves nothing");
        println!("    a member that misbehaves is caught");
        Ok(())
    })
}

/// Whether there is a strace that may trace.
fn can_trace() -> Result<()> {
    let probe = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).stdin(Stdio::null()).output();
    let probe = probe.context("strace does not start (apt-get install strace)")?;
    let error = String::from_utf8_lossy(&probe.stderr);
    ensure!(probe.status.success(), "strace may not trace: {}", error.lines().next().unwrap_or_default());
    Ok(())
}

/// Runs a member under strace. Returns its calls between the markers.
fn member(program: &Path, args: &[&str]) -> Result<Calls> {
    let beside = |kind| program.with_file_name(format!("sistrum-member-{}.{kind}", std::process::id()));
    let (trace_file, errors_file) = (beside("strace"), beside("stderr"));
    // Its standard error has the markers; a file keeps them off the screen.
    let errors =
        File::create(&errors_file).with_context(|| format!("cannot make {}", errors_file.display()))?;
    let mut command = Command::new("strace");
    command.args(["-f", "-e", "trace=all", "-o"]).arg(&trace_file).arg(program).arg("member").args(args);
    let outcome = bounded::run(command.stderr(errors), LIMIT, &AtomicBool::new(false));
    let trace = fs::read(&trace_file);
    let errors = fs::read(&errors_file);
    let _ = (fs::remove_file(&trace_file), fs::remove_file(&errors_file));
    if outcome.is_err() {
        std::io::stderr().write_all(&errors.unwrap_or_default())?;
    }
    outcome?;
    let trace = trace.with_context(|| format!("strace left no {}", trace_file.display()))?;
    trace::between_markers(&String::from_utf8_lossy(&trace))
}
