//! `sistrum group` as people use it: several processes on this host, lines in and lines out.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// No wait is longer, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process that is killed when it is forgotten.
struct Member {
    child: Child,
    input: Option<ChildStdin>,
    /// What it prints, of messages and of the group.
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Member {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sistrum"));
        command.arg("group").args(arguments);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("sistrum starts");
        let (sender, lines) = channel();
        let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let errors = sender.clone();
        std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        std::thread::spawn(move || {
            BufReader::new(err).lines().map_while(Result::ok).try_for_each(|line| errors.send(line))
        });
        Self { input: child.stdin.take(), child, lines, seen: Vec::new() }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("an input"), "{line}").expect("it listens");
    }

    /// Waits for a line of which this is so.
    fn until(&mut self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else { panic!("never: {what}; {:#?}", self.seen) };
            self.seen.push(line.clone());
            if is_so(&line) {
                return line;
            }
        }
    }

    fn ends(mut self) {
        self.input = None;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().expect("a child") {
                assert!(status.success(), "{status}");
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end: {:#?}", self.seen);
    }
}

#[test]
fn lines_go_to_all_and_views_are_told() {
    let name = format!("by hand {}", std::process::id());
    let join = ["join", &name, "--suspect-after", "300"];
    let mut observer = Member::start(&["list", &name, "--watch"]);
    let mut members: Vec<Member> = (0..3).map(|_| Member::start(&join)).collect();
    for member in &mut members {
        member.until("three are together", |line| line.contains(" of 3: "));
    }
    let mut reader = Member::start(&["read", &name]);
    reader.until("it reads three", |line| line.contains(" of 3: "));
    observer.until("three are seen", |line| line.contains(" of 3: "));
    let list = ["list", &name, "nobody's"];
    let listed =
        Command::new(env!("CARGO_BIN_EXE_sistrum")).arg("group").args(list).output().expect("it runs");
    let text = String::from_utf8_lossy(&listed.stdout);
    assert!(text.contains(" of 3: ") && text.ends_with("nobody's: nobody answers\n"), "{text}");
    assert_eq!(listed.status.code(), Some(1));
    members[0].say("hello");
    for member in &mut members {
        let line = member.until("what was said", |line| line.ends_with(": hello"));
        assert!(line.starts_with("127.0.0.1:"), "{line}");
    }
    reader.until("it reads what was said", |line| line.ends_with(": hello"));
    // One is killed, one comes to say one thing, and one leaves at the end of its input.
    drop(members.remove(0));
    for member in &mut members {
        member.until("two are left", |line| line.contains(" of 2: ") && line.ends_with(" is gone"));
    }
    observer.until("two are seen", |line| line.contains(" of 2: "));
    reader.until("it reads two", |line| line.contains(" of 2: ") && line.ends_with(" is gone"));
    Member::start(&["cast", &name, "once", "--suspect-after", "300"]).ends();
    members[0].until("what was said once", |line| line.ends_with(": once"));
    let last = members.pop().expect("two are left");
    last.ends();
    members[0].until("one is left", |line| line.contains(" of 1: ") && line.ends_with(" left"));
    drop(members);
    observer.until("nobody is left", |line| line.ends_with(" answers"));
}

#[test]
fn it_is_waited_for_what_is_or_comes_to_be() {
    let name = format!("awaited {}", std::process::id());
    let join = ["join", &name, "--suspect-after", "300", "--expected", "1"];
    let mut first = Member::start(&join);
    let view = first.until("it is alone", |line| line.contains(" of 1: "));
    let place = view.split_whitespace().nth(3).expect("a member").trim_end_matches(',').to_owned();
    Member::start(&["wait", &name, "--members", "1"]).ends();
    Member::start(&["wait", &name, "--in", &place]).ends();
    Member::start(&["wait", &name, "--gone", "127.0.0.1:9"]).ends();
    let two = Member::start(&["wait", &name, "--members", "2"]);
    let gone = Member::start(&["wait", &name, "--gone", &place]);
    let mut none = Member::start(&["wait", &name, "--ended", "--within", "2500"]);
    none.until("it is there", |line| line.ends_with("not so within 2500 ms"));
    let mut second = Member::start(&join);
    second.until("both are together", |line| line.contains(" of 2: "));
    two.ends();
    // A leaver of two: the other goes on alone.
    first.ends();
    gone.ends();
    second.ends();
    Member::start(&["wait", &name, "--ended"]).ends();
}

#[test]
fn a_group_by_unicast_is_listed_at_its_seeds() {
    let name = format!("by unicast {}", std::process::id());
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = socket.local_addr().expect("bound").port().to_string();
    drop(socket);
    let seeds = format!("127.0.0.1:{port}");
    let mut alone = Member::start(&["join", &name, "--seeds", &seeds, "--port", &port, "--expected", "1"]);
    alone.until("it is there", |line| line.contains(" of 1: "));
    let mut observer = Member::start(&["list", &name, "--seeds", &seeds, "--within", "10000"]);
    observer.until("it is seen", |line| line.contains(" of 1: "));
    observer.ends();
    alone.ends();
}

#[test]
fn bad_input_is_one_line() {
    for (arguments, why) in [
        (&["join", "x", "--seeds", "nowhere"][..], "sistrum: seeds: nowhere has no port"),
        (&["wait", "x", "--ended", "--seeds", "nowhere"], "sistrum: seeds: nowhere has no port"),
        (&["list", "x", "--seeds", "nowhere"], "sistrum: seeds: nowhere has no port"),
        (&["join", "x", "--expected", "99"], "sistrum: expected_members: 99"),
        (&["watch", "x", "--suspect-after", "soon"], "sistrum: "),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sistrum"));
        let output =
            command.arg("group").args(arguments).stdin(Stdio::null()).output().expect("sistrum runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.starts_with(why) && text.lines().count() == 1, "{arguments:?}: {text}");
        assert_eq!(output.status.code(), Some(2));
    }
}
