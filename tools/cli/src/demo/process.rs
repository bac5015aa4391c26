//! A member seen from the parent: a child process, its standard input, and a thread that listens to its output.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A running member. Dropped, it is killed and reaped.
pub(super) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Its end, once it was waited for.
    status: Option<ExitStatus>,
}

/// What came out of a member, whose lines are `S`.
#[derive(Debug)]
pub(super) enum Heard<S> {
    /// A line.
    Said(S),
    /// A line that is none of ours.
    Garbled(String),
    /// The end of its output: it is gone.
    Gone,
}

impl Process {
    /// Starts this program again, by this hidden `command`, as the member called `name`; what it says goes to `heard` under `rank`.
    pub(super) fn spawn<S: DeserializeOwned + Send + 'static>(
        (command, name): (&str, &str),
        rank: usize,
        heard: Sender<(usize, Heard<S>)>,
    ) -> std::io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([command, name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().expect("it was piped");
        std::thread::spawn(move || listen(stdout, rank, &heard));
        let stdin = child.stdin.take();
        Ok(Self { child, stdin, status: None })
    }

    /// The process's number.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells the member a line.
    pub(super) fn tell(&mut self, tell: &impl Serialize) -> Result<(), String> {
        let line = serde_json::to_string(tell).map_err(|error| error.to_string())?;
        let stdin = self.stdin.as_mut().ok_or("its input is closed")?;
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).map_err(|error| error.to_string())
    }

    /// Kills it.
    pub(super) fn kill(&mut self) -> std::io::Result<()> {
        self.child.kill()
    }

    /// The status of a member whose output has ended; one that only closed its output is killed.
    pub(super) fn reap(&mut self) -> std::io::Result<ExitStatus> {
        let until = Instant::now() + REAP_WITHIN;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                self.status = Some(status);
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.child.kill()?;
        let status = self.child.wait()?;
        self.status = Some(status);
        Ok(status)
    }

    /// How it ended, in words.
    pub(super) fn obituary(&self) -> String {
        match self.status {
            None => "its end is unknown".to_owned(),
            Some(status) => match (status.signal(), status.code()) {
                (Some(signal), _) => format!("killed by signal {signal}"),
                (None, Some(code)) => format!("exit status {code}"),
                (None, None) => status.to_string(),
            },
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status.is_none() {
            // It may have gone by itself meanwhile; then there is only its status to fetch.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn listen<S: DeserializeOwned>(stdout: ChildStdout, rank: usize, heard: &Sender<(usize, Heard<S>)>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let said = serde_json::from_str(&line).map_or_else(|_| Heard::Garbled(line), Heard::Said);
        if heard.send((rank, said)).is_err() {
            return;
        }
    }
    // Nobody listens any more when the run is over.
    let _ = heard.send((rank, Heard::Gone));
}

const REAP_WITHIN: Duration = Duration::from_secs(2);
