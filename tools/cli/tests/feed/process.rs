//! A process of the feed under test: started, typed into, signalled, and never left behind.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// What a finished process left.
pub(crate) struct Ran {
    pub(crate) status: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A running process; dropped, it is killed.
pub(crate) struct Process {
    child: Child,
    err: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

/// Members and a group that nobody else has.
pub(crate) struct Setting {
    pub(crate) members: Vec<String>,
    pub(crate) group: String,
}

impl Setting {
    /// A publisher and its subscribers, together `members`.
    pub(crate) fn new(members: usize) -> Self {
        Self::at(Ipv4Addr::LOCALHOST.into(), members)
    }

    /// The same at another address of this host; the group is of IPv4 all the same.
    pub(crate) fn at(host: IpAddr, members: usize) -> Self {
        // All held at once, so that they differ.
        let sockets: Vec<_> = (0..=members).map(|_| UdpSocket::bind((host, 0)).expect("a port")).collect();
        let mut ports: Vec<_> =
            sockets.iter().map(|socket| socket.local_addr().expect("bound").port()).collect();
        let group = ports.pop().expect("one more than members");
        // In the order that the feed gives them.
        ports[1..].sort_unstable();
        let [high, low] = group.to_be_bytes();
        Self {
            members: ports.iter().map(|port| SocketAddr::new(host, *port).to_string()).collect(),
            group: format!("239.255.{high}.{low}:{group}"),
        }
    }

    pub(crate) fn publish(&self, more: &[&str]) -> Process {
        let members = self.members.join(",");
        Process::start(feed("publish", &[&["--members", &members, "--group", &self.group], more].concat()))
    }

    pub(crate) fn subscribe(&self, rank: usize, more: &[&str]) -> Process {
        let (members, port) =
            (self.members.join(","), self.members[rank].rsplit(':').next().expect("a port"));
        let own = ["--members", &members, "--group", &self.group, "--port", port];
        Process::start(feed("subscribe", &[&own, more].concat()))
    }

    pub(crate) fn late(&self, more: &[&str]) -> Process {
        Process::start(feed("subscribe", &[&["--late", "--group", &self.group], more].concat()))
    }
}

/// `sistrum feed` with these arguments.
pub(crate) fn feed(command: &str, arguments: &[impl AsRef<std::ffi::OsStr>]) -> Command {
    let mut process = Command::new(env!("CARGO_BIN_EXE_sistrum"));
    process.args(["feed", command]).args(arguments);
    process
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().expect("the binary was built");
        let err = Arc::new(Mutex::new(String::new()));
        let (lines, said) = (BufReader::new(child.stderr.take().expect("piped")).lines(), Arc::clone(&err));
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut said = said.lock().expect("nobody panics while holding it");
                said.push_str(&line);
                said.push('\n');
            }
        });
        Self { child, err, reader: Some(reader) }
    }

    /// Types into its standard input.
    pub(crate) fn type_in(&mut self, text: &str) {
        // One that has ended does not read it; its status will tell.
        let _ = self.child.stdin.as_mut().expect("not ended").write_all(text.as_bytes());
    }

    pub(crate) fn end_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Its standard output, for whoever wants to close it.
    pub(crate) fn take_out(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    pub(crate) fn signal(&mut self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill is there").success());
    }

    /// Waits until it has said `what` on standard error.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, what: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.said().contains(what) {
            assert!(Instant::now() < until, "it never said {what:?}, but:\n{}", self.said());
            std::thread::sleep(TICK);
        }
    }

    pub(crate) fn said(&self) -> String {
        self.err.lock().expect("nobody panics while holding it").clone()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Ran {
        let until = Instant::now() + PATIENCE;
        // What it writes to standard output fits into the pipe, so that it can be read afterwards.
        let status = loop {
            match self.child.try_wait().expect("it is our child") {
                Some(status) => break status,
                None => assert!(Instant::now() < until, "it did not end, but said:\n{}", self.said()),
            }
            std::thread::sleep(TICK);
        };
        let mut out = String::new();
        self.child.stdout.take().map(|mut stdout| stdout.read_to_string(&mut out).expect("text"));
        self.reader.take().into_iter().for_each(|reader| reader.join().expect("it only reads"));
        Ran { status: status.code(), out, err: self.said() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended needs neither.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The summary on standard output.
#[track_caller]
pub(crate) fn json_of(ran: &Ran) -> Value {
    assert_eq!(ran.out.lines().count(), 1, "{}{}", ran.out, ran.err);
    serde_json::from_str(&ran.out).expect("well formed")
}

pub(crate) mod text {
    use super::{Instant, PATIENCE, TICK};

    /// Waits until the file at `path` holds `wanted`.
    #[track_caller]
    pub(crate) fn wait_for(path: &str, wanted: &str) {
        let until = Instant::now() + PATIENCE;
        while std::fs::read_to_string(path).ok().as_deref() != Some(wanted) {
            assert!(Instant::now() < until, "{path} does not become what was published");
            std::thread::sleep(TICK);
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(5);
