//! A command that cannot run for ever and leaves no process behind.
//!
//! It runs in a process group of its own. When it ends, when its time is over, or when we are interrupted, the whole
//! group is killed: the members of a demo as well as the compilers of a build.

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a running command is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Whether somebody asked us to stop. From here on SIGINT and SIGTERM no longer end this process: whoever holds the
/// flag cleans up and returns.
pub(crate) fn interruptible() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag)).context("cannot listen for signals")?;
    }
    Ok(flag)
}

/// Runs `command` with our own output and no input.
///
/// # Errors
/// When it does not start, ends with any status but 0, runs longer than `limit`, or `interrupt` is set.
pub(crate) fn run(command: &mut Command, limit: Duration, interrupt: &AtomicBool) -> Result<()> {
    let line = crate::shown(command);
    let child = command.process_group(0).stdin(Stdio::null()).spawn();
    let mut child = child.with_context(|| format!("`{line}` does not start"))?;
    let cut = wait(&child, limit, interrupt);
    // Our child is not reaped yet, so that its number cannot name anybody else's group.
    let _ = kill_process_group(pid(&child), Signal::KILL);
    let status = child.wait().with_context(|| format!("cannot wait for `{line}`"))?;
    match cut? {
        Some(why) => bail!("`{line}` was killed: {why}"),
        None if status.success() => Ok(()),
        None => bail!("`{line}` ended with {status}"),
    }
}

/// Waits for the end of `child` without reaping it. Returns why it must be cut short, or `None` when it ended by itself.
fn wait(child: &Child, limit: Duration, interrupt: &AtomicBool) -> Result<Option<String>> {
    let deadline = Instant::now() + limit;
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    loop {
        if waitid(WaitId::Pid(pid(child)), look)?.is_some() {
            return Ok(None);
        }
        if interrupt.load(Ordering::Relaxed) {
            return Ok(Some("interrupted".to_owned()));
        }
        if Instant::now() >= deadline {
            return Ok(Some(format!("it ran longer than {} s", limit.as_secs())));
        }
        std::thread::sleep(LOOK);
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> Result<()> {
        let interrupt = AtomicBool::new(false);
        run(Command::new("sh").args(["-c", script]), limit, &interrupt)
    }

    #[test]
    fn it_passes_the_outcome_on() {
        assert!(sh("exit 0", Duration::from_secs(20)).is_ok());
        let error = sh("exit 3", Duration::from_secs(20)).unwrap_err();
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }

    #[test]
    fn it_ends_what_runs_too_long() {
        let started = Instant::now();
        let error = sh("sleep 60", Duration::from_millis(200)).unwrap_err();
        assert!(error.to_string().contains("longer than"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn it_ends_when_interrupted() {
        let interrupt = AtomicBool::new(true);
        let error = run(Command::new("sleep").arg("60"), Duration::from_secs(60), &interrupt).unwrap_err();
        assert!(error.to_string().contains("interrupted"), "{error}");
    }

    #[test]
    fn it_leaves_no_process_behind() {
        // The background process holds the writing end: reading ends only when it is gone.
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & exit 0"]).stdout(writer);
        let started = Instant::now();
        run(&mut command, Duration::from_secs(20), &AtomicBool::new(false)).unwrap();
        drop(command);
        std::io::Read::read_to_end(&mut reader, &mut Vec::new()).unwrap();
        assert!(started.elapsed() < Duration::from_secs(30));
    }
}
