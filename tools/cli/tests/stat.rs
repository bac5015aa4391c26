//! `sistrum stat` and `sistrum top` beside a live process of `sistrum group join`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// No wait is longer, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A place for the counters of one test.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sistrum"));
        command.args(arguments).env("XDG_RUNTIME_DIR", self.0.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().expect("sistrum runs")
    }

    fn files(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.0.path().join("sistrum")) else { return Vec::new() };
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }
}

/// A member that is killed when it is forgotten.
struct Member(Child);

impl Member {
    /// Joins, and waits for a view of so many.
    fn join(place: &Place, name: &str, count: usize) -> Self {
        let expected = count.to_string();
        let mut command = place.command(&["group", "join", name, "--expected", &expected]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        if count == 1 {
            let errors = BufReader::new(child.stderr.take().expect("piped"));
            let is_view = |line: &String| line.contains(" of 1: ");
            assert!(errors.lines().map_while(Result::ok).any(|line| is_view(&line)), "it is never alone");
        }
        Self(child)
    }

    fn say(&mut self, line: &str) {
        writeln!(self.0.stdin.as_mut().expect("piped"), "{line}").expect("it listens");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What `stat` prints, once something is so of it.
fn until(place: &Place, arguments: &[&str], is_so: impl Fn(&str) -> bool) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let output = place.run(arguments);
        let text = text(&output);
        if output.status.success() && is_so(&text) {
            return text;
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(Instant::now() < end, "never: {arguments:?}: {text}{errors}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_live_process_is_shown_in_three_formats() {
    let place = Place::new();
    let name = format!("counted {}", std::process::id());
    let mut members = [Member::join(&place, &name, 2), Member::join(&place, &name, 2)];
    members[0].say("hello");
    let process = members[1].0.id().to_string();
    let only = ["stat", "--node", &process];

    let table = until(&place, &only, |text| text.contains("delivered messages"));
    let group = format!("group {name} as member, r");
    assert!(table.contains(&format!("process {process}, up ")) && table.contains(&group), "{table}");
    assert!(table.contains(" of 2 in v") && table.contains("cycle time p50 "), "{table}");
    assert_eq!(table.matches("  peer ").count(), 1, "{table}");

    let json = until(&place, &["stat", "--json"], |text| text.contains("delivered_messages"));
    let nodes: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    let nodes = nodes.as_array().expect("an array");
    assert_eq!(nodes.len(), 2);
    let node = nodes.iter().find(|node| node["process"] == members[1].0.id()).expect("it is there");
    assert_eq!((&node["life"], &node["left_out"]), (&"alive".into(), &0.into()));
    let scopes = node["scopes"].as_array().expect("scopes");
    let group = scopes.iter().find(|scope| scope["scope"] == "group").expect("a group");
    assert_eq!((&group["labels"]["group"], &group["values"]["members"]), (&name.as_str().into(), &2.into()));
    assert!(scopes[0]["values"]["cycles"].as_u64() > Some(0));

    let page = until(&place, &["stat", "--prometheus"], |text| text.contains("sistrum_peer_"));
    let mut names = Vec::new();
    for line in page.lines().filter(|line| !line.starts_with("# HELP ")) {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (family, kind) = family.split_once(' ').expect("a kind");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(!names.contains(&family), "{line} comes twice");
            names.push(family);
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            assert!(
                value.parse::<f64>().is_ok() && series.starts_with(names.last().expect("a family")),
                "{line}"
            );
            assert!(series.contains("pid=\"") && series.ends_with('}'), "{line}");
        }
    }
    assert!(names.contains(&"sistrum_group_delivered_messages_total"), "{names:?}");
    assert!(names.contains(&"sistrum_engine_cycle_time_seconds"), "{names:?}");
    drop(members);

    // They were killed: what they left is not shown, and removed.
    let gone = place.run(&["stat"]);
    assert_eq!((gone.status.code(), text(&gone)), (Some(1), String::new()));
    let why = String::from_utf8_lossy(&gone.stderr);
    assert!(
        why.starts_with("sistrum: no counters: no node publishes any in ") && why.lines().count() == 1,
        "{why}"
    );
    assert_eq!(place.files(), Vec::<PathBuf>::new());
}

#[test]
fn who_leaves_takes_the_file_along() {
    let place = Place::new();
    let mut member = Member::join(&place, &format!("leaves {}", std::process::id()), 1);
    assert_eq!(place.files().len(), 1);
    drop(member.0.stdin.take());
    assert!(member.0.wait().expect("it ends").success());
    assert_eq!(place.files(), Vec::<PathBuf>::new());
}

#[test]
fn watching_goes_on() {
    let place = Place::new();
    let _member = Member::join(&place, &format!("watched {}", std::process::id()), 1);
    let mut watch = place.command(&["stat", "--json", "--watch", "0.05"]);
    let mut watch = Member(watch.stdout(Stdio::piped()).spawn().expect("it starts"));
    let lines = BufReader::new(watch.0.stdout.take().expect("piped")).lines();
    let looks: Vec<serde_json::Value> =
        lines.take(3).map(|line| serde_json::from_str(&line.expect("a line")).expect("JSON")).collect();
    let cycles = |look: &serde_json::Value| look[0]["scopes"][0]["values"]["cycles"].as_u64();
    assert!(cycles(&looks[0]) <= cycles(&looks[2]), "{looks:#?}");
}

#[test]
fn what_cannot_be_read_is_told() {
    let place = Place::new();
    let _member = Member::join(&place, &format!("unread {}", std::process::id()), 1);
    let mut bytes = std::fs::read(&place.files()[0]).expect("it can be read");
    bytes[8] = 9;
    let other = place.files()[0].with_file_name("1-1.counters");
    std::fs::write(&other, bytes).expect("it can be written");
    let output = place.run(&["stat"]);
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(why.contains("it has layout version 9, and this reads version 1"), "{why}");
    assert!(
        output.status.success() && text(&output).contains("group unread"),
        "all that was asked for is shown"
    );
    let asked = place.run(&["stat", "--node", "1"]);
    let why = String::from_utf8_lossy(&asked.stderr);
    assert!(why.contains("it has layout version 9") && asked.status.code() == Some(1), "{why}");
    let named = place.run(&["stat", "--node", "/nowhere/at.all"]);
    let why = String::from_utf8_lossy(&named.stderr);
    assert!(why.starts_with("sistrum: /nowhere/at.all: ") && named.status.code() == Some(1), "{why}");
}

#[test]
fn bad_input_is_one_line() {
    let place = Place::new();
    for (arguments, why) in [
        (&["top"][..], "sistrum: standard output is no terminal: `sistrum stat --watch 1`"),
        (&["stat", "--watch", "soon"], "sistrum: "),
        (&["stat", "--json", "--prometheus"], "sistrum: "),
        (&["top", "--every", "0"], "sistrum: "),
    ] {
        let output = place.run(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.starts_with(why) && text.lines().count() == 1, "{arguments:?}: {text}");
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn the_terminal_is_given_back() {
    let place = Place::new();
    // In one word: what is blank is not drawn.
    let name = format!("ontop{}", std::process::id() % 1_000);
    let _member = Member::join(&place, &name, 1);
    // It makes a terminal, and copies what comes of it.
    let shown = format!("stty rows 24 cols 80; exec '{}' top", env!("CARGO_BIN_EXE_sistrum"));
    let mut script = Command::new("script");
    script.args(["-qec", &shown, "/dev/null"]).env("XDG_RUNTIME_DIR", place.0.path()).env("TERM", "xterm");
    let spawned = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(child) = spawned else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must run where `script` is");
        eprintln!("SKIP: a terminal wants `script`");
        return;
    };
    let mut top = Member(child);
    let mut output = top.0.stdout.take().expect("piped");
    let (sender, pieces) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok(count @ 1..) = output.read(&mut buffer) {
            let _ = sender.send(String::from_utf8_lossy(&buffer[..count]).into_owned());
        }
    });
    let mut seen = String::new();
    while !seen.contains(&name) {
        let piece = pieces.recv_timeout(PATIENCE);
        seen += &piece.unwrap_or_else(|_| panic!("it does not show {name}: {seen:?}"));
    }
    assert!(seen.contains("\u{1b}[?1049h"), "it takes a screen of its own");
    top.say("q");
    while let Ok(piece) = pieces.recv_timeout(PATIENCE) {
        seen += &piece;
    }
    assert!(seen.contains("\u{1b}[?1049l"), "it gives it back: {seen:?}");
    assert!(top.0.wait().expect("it ends").success());
}
