//! `sistrum group` as people use it: several processes on this host, lines in and lines out.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// No wait is longer, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Milliseconds of silence that a slow machine does not bring about where nobody is killed.
const PATIENT: &str = "2000";

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
        let text = |line: Vec<u8>| String::from_utf8_lossy(&line).into_owned();
        std::thread::spawn(move || {
            let lines = BufReader::new(out).split(b'\n').map_while(Result::ok);
            lines.map(text).try_for_each(|line| sender.send(line))
        });
        std::thread::spawn(move || {
            let lines = BufReader::new(err).split(b'\n').map_while(Result::ok);
            lines.map(text).try_for_each(|line| errors.send(line))
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

    /// The same of one that may have come already: of its two outputs, either may be read first.
    fn finds(&mut self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        match self.seen.iter().find(|line| is_so(line)) {
            Some(line) => line.clone(),
            None => self.until(what, is_so),
        }
    }

    fn ends(self) {
        self.ends_with(0);
    }

    fn ends_with(mut self, code: i32) {
        self.input = None;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().expect("a child") {
                assert_eq!(status.code(), Some(code), "{status}");
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
    let nobodys = format!("nobody's {name}");
    let list = ["list", &name, &nobodys];
    let listed =
        Command::new(env!("CARGO_BIN_EXE_sistrum")).arg("group").args(list).output().expect("it runs");
    let text = String::from_utf8_lossy(&listed.stdout);
    assert!(text.contains(" of 3: ") && text.ends_with(&format!("{nobodys}: nobody answers\n")), "{text}");
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
        member.until("two are left", |line| {
            line.contains(" of 2: ") && line.ends_with(" is gone: it was silent")
        });
    }
    observer.until("two are seen", |line| line.contains(" of 2: "));
    reader
        .until("it reads two", |line| line.contains(" of 2: ") && line.ends_with(" is gone: it was silent"));
    Member::start(&["cast", &name, "once", "--suspect-after", "300"]).ends();
    members[0].until("what was said once", |line| line.ends_with(": once"));
    let last = members.pop().expect("two are left");
    last.ends();
    members[0].until("one is left", |line| line.contains(" of 1: ") && line.ends_with(" left"));
    drop(members);
    observer.until("nobody is left", |line| line.ends_with(" answers"));
}

#[test]
fn who_joins_takes_over_what_was_said_before() {
    let name = format!("state {}", std::process::id());
    let join = ["join", &name, "--state", "--suspect-after", "300", "--expected", "1"];
    let mut first = Member::start(&join);
    first.until("it is alone", |line| line.contains(" of 1: "));
    ["a=1", "b=2", "no value", "a=3"].iter().for_each(|line| first.say(line));
    first.until("all was said", |line| line.ends_with(": a=3"));
    let mut second = Member::start(&join);
    second.until("it is taken over", |line| line == "took over 2 values: a=3, b=2");
    second.until("it is told", |line| line.contains(" of 2: "));
    second.until("it counts", |line| line.ends_with(" has the state"));
    second.say("c=4");
    first.until("it came", |line| line.ends_with(": c=4"));
    let start = || {
        let mut member = Member::start(&join);
        member.until("it is taken over", |line| line == "took over 3 values: a=3, b=2, c=4");
        member.until("it counts", |line| line.ends_with(" has the state"));
        member
    };
    let third = start();
    // The first one dies: the others have it all.
    drop(first);
    second
        .until("two are left", |line| line.contains(" of 2: ") && line.ends_with(" is gone: it was silent"));
    [start(), third, second].into_iter().for_each(Member::ends);
    let mut refused = Member::start(&["join", &name, "--state", "--order", "fifo"]);
    refused.until("the reason", |line| line.contains("--state wants --order total"));
    refused.ends_with(2);
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

/// Who says this line.
fn speaker(line: &str) -> String {
    line.split_whitespace().next().expect("a word").trim_end_matches(':').to_owned()
}

#[test]
fn a_group_is_asked_and_answers_by_hand() {
    let name = format!("asked {}", std::process::id());
    let join = |more: &[&'static str]| {
        Member::start(&[&["join", &name, "--suspect-after", PATIENT, "--expected", "1"], more].concat())
    };
    let call =
        |more: &[&str]| Member::start(&[&["call", &name, "who?", "--suspect-after", PATIENT], more].concat());
    let mut clerk = join(&["--answer", "I"]);
    clerk.until("it is there", |line| line.contains(" of 1: "));
    let mut silent = join(&[]);
    silent.until("two are together", |line| line.contains(" of 2: "));
    // One answers, and one does not.
    let mut one = call(&["--want", "1"]);
    let reply = one.until("the reply", |line| line.ends_with(": I"));
    one.ends();
    clerk.until("it is asked", |line| line.ends_with(" asks: who?"));
    silent.until("it is asked too", |line| line.ends_with(" asks: who?"));
    let mut all = call(&["--want", "all"]);
    all.until("one does not reply", |line| line.ends_with(" does not reply"));
    all.until("that is not enough", |line| line == "not enough have replied");
    all.ends_with(1);
    let asked = ["call", &name, "who?", "--to", &speaker(&reply), "--json", "--suspect-after", PATIENT];
    let asked =
        Command::new(env!("CARGO_BIN_EXE_sistrum")).arg("group").args(asked).output().expect("it runs");
    let destination = format!(r#"{{"member":"{}","status":"replied","reply":"I"}}"#, speaker(&reply));
    let expected = format!("{{\"outcome\":\"enough\",\"destinations\":[{destination}]}}\n");
    assert_eq!((asked.status.code(), String::from_utf8_lossy(&asked.stdout).as_ref()), (Some(0), &*expected));
    call(&["--to", "0", "--want", "majority", "--order", "causal"]).ends_with(2);
    call(&["--to", "0", "--want", "majority"]).ends();
    call(&["--to", "9"]).ends_with(1);
    call(&["--want", "none"]).ends();
    // A line that begins as calls do is a line all the same.
    clerk.say("\tindented, as lines are");
    silent.until("the line", |line| line.ends_with(": \tindented, as lines are"));
    // One that never answers is waited for, until it is killed.
    let mut lazy = join(&["--answer-never"]);
    lazy.until("three are together", |line| line.contains(" of 3: "));
    let mut late = call(&["--timeout", "500"]);
    late.until("it is waited for", |line| line == "it is not over");
    late.ends_with(3);
    let last = ["call", &name, "and now?", "--want", "majority", "--suspect-after", PATIENT];
    let mut last = Member::start(&last);
    last.until("the reply", |line| line.ends_with(": I"));
    lazy.until("it is asked", |line| line.ends_with(" asks: and now?"));
    drop(lazy);
    last.until("it is found dead", |line| line.starts_with("127.0.0.1:") && line.ends_with(" is gone"));
    last.ends_with(1);
    // Nobody is asked where nobody is.
    let nobodys = format!("nobody's {}", std::process::id());
    let mut nobody = Member::start(&["call", &nobodys, "who?", "--timeout", "300"]);
    nobody.until("nobody is there", |line| line == format!("nobody answers for {nobodys}"));
    nobody.ends_with(3);
    clerk.ends();
    silent.ends();
}

#[test]
fn a_group_is_asked_from_outside() {
    let name = format!("served {}", std::process::id());
    let join = |more: &[&'static str]| {
        Member::start(
            &[&["join", &name, "--state", "--suspect-after", PATIENT, "--expected", "1"], more].concat(),
        )
    };
    let mut clerk = join(&["--answer", "I"]);
    clerk.until("it is there", |line| line.contains(" of 1: "));
    // Several at once; a client is told of as such, and says goodbye.
    let mut client = Member::start(&["ask", &name, "who?", "and who?", "--want", "all"]);
    client.finds("whom it asks by", |line| line.starts_with("I ask by 127.0.0.1:"));
    let reply = client.finds("a reply", |line| line.ends_with(": I"));
    client.ends();
    let told = clerk.finds("it is a client", |line| line.ends_with(" is a client"));
    clerk.finds("it asks", |line| line == format!("{} asks: who?", speaker(&told)));
    clerk.finds("it asks again", |line| line == format!("{} asks: and who?", speaker(&told)));
    clerk.finds("it is gone", |line| line == format!("{} is a client no more", speaker(&told)));
    let mut echo = join(&["--answer-echo"]);
    echo.until("it has the state", |line| line.ends_with(" has the state"));
    clerk.until("so it does for others", |line| line.ends_with(" has the state"));
    let mut both = Member::start(&["ask", &name, "who?"]);
    both.until("enough", |line| line == "enough have replied");
    assert_eq!(both.seen.iter().filter(|line| line.ends_with(" has replied")).count(), 2, "{:#?}", both.seen);
    both.ends();
    let any = ["ask", &name, "who?", "--any", "--want", "1", "--json"];
    let any = Command::new(env!("CARGO_BIN_EXE_sistrum")).arg("group").args(any).output().expect("it runs");
    let text = String::from_utf8_lossy(&any.stdout);
    assert!(text.starts_with("{\"outcome\":\"enough\",\"destinations\":[{"), "{text}");
    assert_eq!((any.status.code(), text.matches("replied").count()), (Some(0), 1), "{text}");
    // One that is too long is refused behind the answer to that before it.
    let long = "who? ".repeat(4 << 10);
    let some = ["ask", &name, "who?", &long, "--json"];
    let some = Command::new(env!("CARGO_BIN_EXE_sistrum")).arg("group").args(some).output().expect("it runs");
    let (text, why) = (String::from_utf8_lossy(&some.stdout), String::from_utf8_lossy(&some.stderr));
    assert_eq!(text.matches("{\"outcome\":\"enough\"").count(), 1, "{text}");
    assert!(why.contains("a request of 20480 bytes, of at most 16384"), "{why}");
    assert!(!some.status.success());
    // One never answers, and is killed.
    let mut lazy = join(&["--answer-never"]);
    lazy.until("it has the state", |line| line.ends_with(" has the state"));
    let mut late = Member::start(&["ask", &name, "and now?", "--want", "all"]);
    lazy.until("it is asked", |line| line.ends_with(" asks: and now?"));
    drop(lazy);
    // Where it asked by the dead one, it asks again by another, and only those who live.
    let end = late.finds("it is over", |line| line.ends_with("enough have replied"));
    late.finds("one has replied", |line| line.ends_with(": I"));
    late.ends_with(i32::from(end.starts_with("not")));
    let nobodys = format!("unasked {}", std::process::id());
    let mut never = Member::start(&["ask", &nobodys, "who?", "--timeout", "300"]);
    never.until("nobody is there", |line| line == format!("nobody answers for {nobodys}"));
    never.ends_with(3);
    assert!(speaker(&reply).starts_with("127.0.0.1:"));
    clerk.ends();
    echo.ends();
}

#[test]
fn a_root_says_which_leaf_is_asked() {
    let cluster = format!("hierarchy {}", std::process::id());
    let start = |arguments: &[&str]| Member::start(&[arguments, &["--cluster", &cluster]].concat());
    let expected = ["--suspect-after", "300", "--expected"];
    let mut roots: Vec<_> =
        (0..3).map(|_| start(&[&["root", "desks"], &expected[..], &["3"]].concat())).collect();
    roots.iter_mut().for_each(|root| _ = root.until("three are together", |line| line.contains(" of 3: ")));
    let leaf = |name: &str| {
        let answers = ["--state", "--answer", name];
        let mut leaf = start(&[&["join", name], &answers[..], &expected, &["1"]].concat());
        leaf.until("it is there", |line| line.contains(" of 1: "));
        leaf
    };
    let (mut one, other) = (leaf("one"), leaf("other"));
    let mut leaves = start(&["leaves", "desks", "--add", "one", "--add", "other"]);
    leaves.until("the last leaf", |line| line.starts_with("other: "));
    leaves.ends();
    for name in ["one", "other"] {
        roots[1].finds("it is up", |line| line == format!("{name} is up"));
    }
    // Of so many keys both leaves have some.
    let route = |key: usize| {
        let mut route = start(&["route", "desks", "--key", &key.to_string(), "hello"]);
        let asked = route.until("the leaf", |line| line.starts_with("asked "));
        route.finds("its reply", |line| line.ends_with(&format!(": {}", asked.trim_start_matches("asked "))));
        route.ends();
        asked
    };
    let asked: Vec<_> = (0..8).map(route).collect();
    assert!(asked.iter().any(|leaf| leaf == "asked one") && asked.iter().any(|leaf| leaf == "asked other"));
    one.until("it was asked", |line| line.contains("hello"));
    // One of the root is killed, and then a leaf: the other leaf is asked.
    drop(roots.remove(0));
    drop(one);
    roots[0].until("it is down", |line| line == "one is down");
    assert!((0..4).all(|key| route(key) == "asked other"));
    drop(other);
    let mut leaves = start(&["leaves", "desks", "--remove", "nobody's"]);
    leaves.until("the reason", |line| line == "there is no leaf group nobody's");
    leaves.ends_with(1);
}

#[test]
fn a_call_may_be_ended_or_echoed() {
    let name = format!("echoes {}", std::process::id());
    let join = |more: &[&'static str]| {
        Member::start(&[&["join", &name, "--suspect-after", PATIENT, "--expected", "1"], more].concat())
    };
    let mut echo = join(&["--answer-echo"]);
    echo.until("it is there", |line| line.contains(" of 1: "));
    let mut call = Member::start(&["call", &name, "a b", "--order", "fifo", "--suspect-after", PATIENT]);
    call.until("the echo", |line| line.ends_with(": a b"));
    call.ends();
    let mut against = join(&["--answer-abort", "not now"]);
    against.until("two are together", |line| line.contains(" of 2: "));
    let mut call = Member::start(&["call", &name, "a b", "--suspect-after", PATIENT]);
    call.until("the reason", |line| line.ends_with(" has ended the call: not now"));
    call.ends_with(1);
    // Who takes bytes as they are, takes calls so too.
    let mut raw = Member::start(&["watch", &name, "--raw", "--suspect-after", PATIENT]);
    raw.until("three are together", |line| line.contains(" of 3: "));
    Member::start(&["call", &name, "a b", "--want", "none", "--suspect-after", PATIENT]).ends();
    raw.until("the bytes", |line| line.contains("a b") && !line.contains(" asks: "));
    echo.ends();
}

#[test]
fn a_line_that_is_too_long_is_left_out_and_bytes_go_as_they_are() {
    let name = format!("lines {}", std::process::id());
    let join = ["join", &name, "--suspect-after", PATIENT];
    let start = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sistrum"));
        let piped = command.arg("group").args(arguments).stdin(Stdio::piped());
        piped.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("sistrum starts")
    };
    let (mut one, mut other) = (start(&join), Member::start(&[&join[..], &["--raw"]].concat()));
    let mut input = one.stdin.take().expect("piped");
    input.write_all(b"first\n").expect("it listens");
    input.write_all(&[b'x'; 4_000_000]).expect("it listens");
    input.write_all(b"\nnot \xff utf-8\r\nlast\n").expect("it listens");
    other.until("what comes behind it", |line| line.ends_with(": last"));
    drop(input);
    let output = one.wait_with_output().expect("it ends");
    let (text, why) = (output.stdout, String::from_utf8_lossy(&output.stderr));
    let bytes = b": not \xff utf-8\r\n";
    assert!(text.windows(bytes.len()).any(|window| window == bytes), "{}", String::from_utf8_lossy(&text));
    assert!(why.contains("sistrum: line 2: not cast: a message of 4000000 bytes exceeds the limit"), "{why}");
    assert_eq!(output.status.code(), Some(1), "{why}");
    // It has said goodbye all the same.
    other.until("one is left", |line| line.contains(" of 1: ") && line.ends_with(" left"));
    other.ends();
}

#[test]
fn who_keeps_no_state_and_would_answer_is_warned() {
    let name = format!("stateless {}", std::process::id());
    let patient = ["--suspect-after", PATIENT, "--expected", "1"];
    let mut first = Member::start(&[&["join", &name, "--state", "--answer", "I"], &patient[..]].concat());
    first.until("it is alone", |line| line.ends_with(", I came"));
    let mut second = Member::start(&[&["join", &name, "--answer", "too"], &patient[..]].concat());
    second.until("it is warned", |line| line.contains("the others keep a state and I do not"));
    let view = second.until("it is in", |line| line.contains(" of 2: "));
    assert!(view.ends_with(", I came") && view.matches(" came").count() == 1, "{view}");
    first.until("it came", |line| line.contains(" of 2: ") && line.ends_with(" came"));
    second.ends();
    first.ends();
}

#[test]
fn a_group_that_cannot_go_on_says_who_is_missing_and_is_not_counted() {
    let name = format!("wedged {}", std::process::id());
    let join = ["join", &name, "--suspect-after", "300", "--expected", "3"];
    let mut members: Vec<Member> = (0..3).map(|_| Member::start(&join)).collect();
    for member in &mut members {
        member.until("three are together", |line| line.contains(" of 3: "));
    }
    Member::start(&["wait", &name, "--members", "3"]).ends();
    let mut last = members.pop().expect("three");
    let signal = |signal: &str, member: &Member| {
        let sent = Command::new("kill").args([signal, &member.child.id().to_string()]).status();
        assert!(sent.expect("kill is there").success());
    };
    // Both at once: no view without one of them comes about.
    members.iter().for_each(|member| signal("-STOP", member));
    last.say("unheard");
    let why = last.until("it is wedged", |line| line.starts_with("cannot go on: "));
    assert!(why.contains("does not hear 127.0.0.1:"), "{why}");
    assert!(why.ends_with("; 2 of 3 are needed, and 1 are here"), "{why}");
    Member::start(&["wait", &name, "--members", "1", "--within", "1500"]).ends_with(1);
    // What it said is with nobody else: it waits aloud.
    signal("-INT", &last);
    last.until("it waits", |line| line.starts_with("not all have what was said"));
    signal("-INT", &last);
    last.ends_with(130);
}

#[test]
fn who_joins_is_told_what_it_waits_for() {
    let name = format!("stuck {}", std::process::id());
    let join = ["join", &name, "--expected", "3", "--suspect-after", "300"];
    let mut members: Vec<Member> = (0..3).map(|_| Member::start(&join)).collect();
    members.iter_mut().for_each(|member| _ = member.until("three", |line| line.contains(" of 3: ")));
    members.truncate(1);
    members[0].until("it is wedged", |line| line.starts_with("cannot go on"));
    let mut late = Member::start(&join);
    let told = late.until("it is told so", |line| line.starts_with(&format!("{name} at 127.0.0.1:")));
    assert!(
        told.ends_with(": cannot go on, since most of its members are gone: restart it, or wait for them"),
        "{told}"
    );
    assert_eq!(told.matches("127.0.0.1:").count(), 3, "{told}");
    let mut lost = Member::start(&["call", &name, "who?", "--seeds", "no.such.host.invalid:7000"]);
    lost.until("the name is told", |line| line.starts_with("no.such.host.invalid:7000 is no place"));
}

#[test]
fn bad_input_is_one_line() {
    for (arguments, why) in [
        (&["join", "x", "--seeds", "nowhere"][..], "sistrum: seeds: nowhere has no port"),
        (&["wait", "x", "--ended", "--seeds", "nowhere"], "sistrum: seeds: nowhere has no port"),
        (&["list", "x", "--seeds", "nowhere"], "sistrum: seeds: nowhere has no port"),
        (&["join", "x", "--seeds", "127.0.0.1:0"], "sistrum: seeds: 127.0.0.1:0 has no port"),
        (&["join", "x", "--expected", "99"], "sistrum: expected_members: 99"),
        (&["watch", "x", "--suspect-after", "soon"], "sistrum: "),
        (
            &["call", "x", "who?", "--want", "some"],
            "sistrum: invalid value 'some' for '--want <none|N|all|majority>'",
        ),
        (&["ask", "x", "who?", "--seeds", "nowhere"], "sistrum: seeds: nowhere has no port"),
        (&["call", "x", "who?", "--to", "me"], "sistrum: invalid value 'me' for '--to <RANK|ADDR:PORT>'"),
        (&["join", "x", "--answer", "I", "--answer-never"], "sistrum: the argument '--answer <TEXT>' cannot"),
        (&["join", "x", "--raw", "--answer", "I"], "sistrum: the argument '--"),
        (&["join", ""], "sistrum: group: a name of 0 bytes: it has between 1 and 100"),
        (&["list", &"n".repeat(300)], "sistrum: group: a name of 300 bytes: it has between 1 and 100"),
        (
            &["join", "x", "--suspect-after", "99999999999999999"],
            "sistrum: invalid value '99999999999999999' for '--suspect-after <MS>': 99999999999999999 ms is not",
        ),
        (&["read", "x", "--seeds", "127.0.0.1:9"], "sistrum: --seeds: whoever is in no view is sent nothing"),
        (&["root", "x", "--state"], "sistrum: --state: a root keeps a state of its own"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sistrum"));
        let output =
            command.arg("group").args(arguments).stdin(Stdio::null()).output().expect("sistrum runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.starts_with(why) && text.lines().count() == 1, "{arguments:?}: {text}");
        assert_eq!(output.status.code(), Some(2));
    }
}
