//! One member's process, seen from outside: it is told things, stopped, killed, and looked at.

use super::member;
use super::standing::Standing;
use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// See the module. Dropped, it is killed.
pub(super) struct Process {
    child: Child,
    /// Where it writes.
    pub(super) file: PathBuf,
    pub(super) place: usize,
    /// It is stopped until then.
    resumes_at: Option<Instant>,
    pub(super) is_leaving: bool,
    /// It had a vote when all were last together, and nothing has befallen it since.
    pub(super) is_sound: bool,
}

impl Process {
    pub(super) fn start(mut command: Command, file: PathBuf, place: usize) -> Result<Self> {
        // It may be killed before it says anything.
        File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
        // Another run may have written here.
        Standing::default().show(&file)?;
        let child = command.stdin(Stdio::piped()).spawn().context("a member does not start")?;
        Ok(Self { child, file, place, resumes_at: None, is_leaving: false, is_sound: false })
    }

    pub(super) fn say(&mut self, word: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().context("it has an input")?;
        writeln!(input, "{word}").context("a member does not listen")
    }

    pub(super) fn standing(&self) -> Standing {
        Standing::of(&self.file)
    }

    pub(super) fn stop(&mut self, until: Instant) -> Result<()> {
        self.resumes_at = Some(until);
        self.signal(Signal::STOP)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.resumes_at.is_some()
    }

    /// Lets it go on, if it is time; whether it was.
    pub(super) fn resume(&mut self, now: Instant) -> Result<bool> {
        let is_due = self.resumes_at.take_if(|until| *until <= now).is_some();
        if is_due {
            self.signal(Signal::CONT)?;
        }
        Ok(is_due)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal).context("a member cannot be signalled")
    }

    /// Kills it, and does not wait for its end.
    pub(super) fn end(&mut self) -> Result<()> {
        self.child.kill().context("a member cannot be killed")
    }

    /// Waits for the end of one that was killed, and writes it down in its stead.
    pub(super) fn bury(mut self) -> Result<()> {
        self.child.wait()?;
        member::note_killed(&self.file)
    }

    /// Whether it has ended, as only who leaves may.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        let Some(status) = self.child.try_wait()? else { return Ok(false) };
        let file = self.file.display();
        ensure!(self.is_leaving && status.success(), "the member that writes {file} ended with {status}");
        Ok(true)
    }

    /// Whether it has ended, in whatever way.
    pub(super) fn is_gone(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
