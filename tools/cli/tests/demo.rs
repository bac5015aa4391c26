//! The demo as a user runs it: the real binary, its exit status, its one line for bad input, its verdict.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use serde_json::Value;

/// What a finished run left.
struct Ran {
    status: Option<i32>,
    out: String,
    err: String,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sistrum"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs `sistrum` to its end; one that takes longer than a minute is killed and fails the test.
fn run(arguments: &[&str]) -> Ran {
    finish(command(arguments).spawn().expect("the binary was built"))
}

fn finish(mut child: Child) -> Ran {
    let until = Instant::now() + Duration::from_secs(60);
    // Its few lines fit into the pipes, so that they can be read afterwards.
    let status = loop {
        match child.try_wait().expect("it is our child") {
            Some(status) => break status,
            None if Instant::now() > until => {
                child.kill().expect("it is our child");
                panic!("the demo did not end within a minute");
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().expect("piped").read_to_string(&mut out).expect("text");
    child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut err).expect("text"));
    Ran { status: status.code(), out, err }
}

/// The same where the system calls of io_uring answer `errno`, as in a container: a thread puts the filter on itself, and
/// what it starts inherits it.
fn run_without_io_uring(errno: u32, arguments: &'static [&str]) -> Ran {
    let filtered = move || {
        let arch = std::env::consts::ARCH.try_into().expect("a filter knows this architecture");
        let rules = [425, 426, 427].map(|call| (call, Vec::new())).into();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno), arch);
        let program: BpfProgram = filter.expect("a filter").try_into().expect("a program");
        seccompiler::apply_filter(&program).expect("the kernel takes filters");
        run(arguments)
    };
    std::thread::spawn(filtered).join().expect("it does not panic")
}

/// A run that goes on long enough to be disturbed; with its members' names and process numbers, publisher first.
fn long_run(more: &[&str]) -> (Child, Vec<(String, u32)>) {
    let arguments = ["demo", "--members", "2", "--pace", "20", "--verbose"];
    let mut child = command(&[&arguments, more].concat()).spawn().expect("the binary was built");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let mut members = Vec::new();
    for line in lines.by_ref() {
        if let ["member", name, "pid", pid] = line.split(' ').collect::<Vec<_>>()[..] {
            members.push((name.to_owned(), pid.parse().expect("a number")));
        }
        // From here on messages flow.
        if line.starts_with("s2 at ") && !line.ends_with(" 0") {
            break;
        }
    }
    assert_eq!(members.len(), 3);
    // Somebody must go on reading, or the parent would get stuck.
    std::thread::spawn(move || lines.for_each(drop));
    (child, members)
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status().expect("kill is there");
    assert!(sent.success());
}

fn pid_of(members: &[(String, u32)], name: &str) -> u32 {
    members.iter().find(|(member, _)| member == name).expect("it was announced").1
}

fn is_running(pid: u32) -> bool {
    // A process that nobody has reaped yet is not running any more.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
}

#[track_caller]
fn assert_nobody_left(members: &[(String, u32)]) {
    let until = Instant::now() + Duration::from_secs(10);
    while members.iter().any(|(_, pid)| is_running(*pid)) {
        assert!(Instant::now() < until, "a member outlived its parent");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
fn assert_failed(ran: &Ran, why: &str) {
    assert_eq!(ran.status, Some(1), "{}{}", ran.out, ran.err);
    let verdict = ran.out.lines().find(|line| line.starts_with("FAILED: ")).expect("a verdict");
    assert!(verdict.contains(why), "{verdict}");
}

#[track_caller]
fn assert_refused(ran: &Ran, why: &str) {
    assert_eq!(ran.status, Some(2), "{}{}", ran.out, ran.err);
    assert_eq!((ran.out.lines().count(), ran.err.lines().count()), (0, 1), "{}{}", ran.out, ran.err);
    assert!(ran.err.starts_with("sistrum: ") && ran.err.contains(why), "{}", ran.err);
}

/// A small capture in a folder of its own.
fn capture(folder: &Path, messages: u64) -> String {
    let lines: String = (0..messages).map(|i| format!("{} {{\"message\":{i}}}\n", 1_000 * i)).collect();
    let path = folder.join("capture");
    std::fs::write(&path, lines).expect("to write");
    path.to_str().expect("a plain name").to_owned()
}

#[test]
fn the_sample_arrives_whole_through_losses() {
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("report.json");
    let ran = run(&["demo", "--json", json.to_str().expect("a plain name")]);
    assert_eq!(ran.status, Some(0), "{}{}", ran.out, ran.err);
    assert!(
        ran.out
            .lines()
            .next()
            .is_some_and(|line| line.contains("loopback") && line.contains("without a key"))
    );
    assert!(ran.err.is_empty(), "{}", ran.err);
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(&json).expect("written")).expect("well formed");
    assert_eq!((&report["ok"], &report["messages"]), (&Value::from(true), &Value::from(21_000)));
    let members = report["members"].as_array().expect("an array");
    assert_eq!(members.len(), 3);
    for member in members {
        assert_eq!(member["digest"], report["digest"]);
        assert_eq!(member["delivered"], 21_000);
        assert!(member["latency_ns"]["p50"].as_u64() <= member["latency_ns"]["p999"].as_u64());
    }
    let dropped = members.iter().filter_map(|member| member["dropped"].as_u64()).sum::<u64>();
    assert!(dropped > 0, "one percent was asked for");
}

#[test]
fn a_feed_survives_its_publisher_in_every_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let (json, file) = (folder.path().join("report.json"), capture(folder.path(), 500));
    let to_json = ["--json", json.to_str().expect("a plain name")];
    for more in [&[][..], &["--order", "total", "--members", "2"], &["--order", "causal", "--file", &file]] {
        let ran = run(&[&["demo", "--failover"], more, &to_json].concat());
        let report = report(&ran, &json);
        let members = report["members"].as_array().expect("an array");
        let killed: Vec<_> = members.iter().filter(|member| member["killed"] == true).collect();
        assert_eq!((killed.len(), &killed[0]["name"]), (2, &Value::from("p1")));
        for member in members.iter().filter(|member| member["killed"] == false) {
            assert_eq!(member["state_digest"], report["state_digest"]);
            assert_eq!((&member["digest"], &member["delivered"]), (&report["digest"], &report["messages"]));
        }
        let late = members.last().expect("the late one");
        assert_eq!((&late["name"], &late["joined_late"]), (&Value::from("late"), &Value::from(true)));
        let causes: Vec<_> =
            report["views"].as_array().expect("views").iter().map(|view| &view["cause"]).collect();
        for cause in ["late joined", "late has the state", "p1 failed"] {
            assert!(causes.contains(&&Value::from(cause)), "{causes:?}");
        }
    }
    assert_refused(&run(&["demo", "--failover", "--members", "1"]), "two subscribers at least");
    assert_refused(&run(&["demo", "--failover", "--publishers", "3"]), "--publishers");
}

#[test]
fn one_member_without_loss_takes_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = capture(folder.path(), 1_000);
    let ran = run(&["demo", "--members", "1", "--loss", "0", "--file", &file, "--pace", "1"]);
    assert_eq!(ran.status, Some(0), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("latency us p50") && !ran.out.contains("queueing"));
}

#[test]
fn a_subscriber_that_cheats_is_found() {
    for fault in ["flip-delivered", "drop-delivered"] {
        let ran = run(&["demo", "--members", "2", "--loss", "0", "--fault", fault]);
        assert_failed(&ran, "s1 has another stream");
        assert!(!ran.out.contains("s2 has another stream"));
    }
}

/// What the report of a run says that was told to write it to `json`.
fn report(ran: &Ran, json: &Path) -> Value {
    assert_eq!(ran.status, Some(0), "{}{}", ran.out, ran.err);
    serde_json::from_str(&std::fs::read_to_string(json).expect("written")).expect("well formed")
}

#[test]
fn three_publishers_are_delivered_in_every_order_through_losses() {
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("report.json");
    for (order, total) in [("fifo", "token"), ("causal", "token"), ("total", "token"), ("total", "rotating")]
    {
        let many = ["demo", "--publishers", "3", "--members", "2", "--order", order, "--total", total];
        let ran = run(&[&many[..], &["--json", json.to_str().expect("a plain name")]].concat());
        let report = report(&ran, &json);
        assert_eq!((&report["order"], &report["publishers"]), (&Value::from(order), &Value::from(3)));
        let members = report["members"].as_array().expect("an array");
        let names: Vec<_> = members.iter().filter_map(|member| member["name"].as_str()).collect();
        assert_eq!(names, ["p1", "p2", "p3", "s1", "s2"]);
        for (at, member) in members.iter().enumerate() {
            // A publisher is handed its own messages only where they have a place among all.
            let own = if at < 3 && order != "total" { 7_000 } else { 0 };
            assert_eq!(
                (&member["digest"], &member["delivered"]),
                (&report["digest"], &Value::from(21_000 - own))
            );
        }
        assert_eq!(
            ran.out.contains("messages depend on another publisher's"),
            order != "fifo",
            "{}",
            ran.out
        );
    }
}

#[test]
fn a_single_publisher_gets_its_totals_back() {
    let ran = run(&["demo", "--order", "total", "--members", "2", "--loss", "0"]);
    assert_eq!(ran.status, Some(0), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("\npublisher ") && ran.out.contains("ok: 3 of 3 members"), "{}", ran.out);
}

#[test]
fn a_subscriber_that_swaps_is_found_in_every_order() {
    let swapped = ["demo", "--members", "2", "--loss", "0", "--fault", "swap-delivered"];
    let with = |more: &[&str]| run(&[&swapped[..], more].concat());
    assert_failed(&with(&[]), "s1 has another stream: ");
    assert_failed(&with(&["--publishers", "3"]), "s1 has another stream of p");
    let causal = with(&["--publishers", "3", "--order", "causal"]);
    assert_failed(&causal, "s1 was handed messages before their causes");
    assert!(!causal.out.contains("another stream"), "each stream is in order: {}", causal.out);
    let total = with(&["--publishers", "3", "--order", "total"]);
    assert_failed(&total, "s1 has another order than p1");
    assert!(!total.out.contains("another stream") && !total.out.contains("s2 has"), "{}", total.out);
}

#[test]
fn each_publisher_may_have_a_file_of_its_own_in_one_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, began_ns: u64| {
        let path = folder.path().join(name);
        let lines: String =
            (0..50).map(|at| format!("{} {name} {at}\n", began_ns + at * 1_000_000)).collect();
        std::fs::write(&path, lines).expect("to write");
        path.to_str().expect("a plain name").to_owned()
    };
    // The second one begins half a second later.
    let (one, other) = (file("one", 1_000_000_000), file("other", 1_500_000_000));
    let files = ["demo", "--order", "causal", "--file", &one, "--file", &other, "--loss", "0"];
    let ran = run(&[&files[..], &["--pace", "1"]].concat());
    assert_eq!(ran.status, Some(0), "{}{}", ran.out, ran.err);
    let seconds = ran
        .out
        .split("in ")
        .filter_map(|rest| rest.split_once(" s\n"))
        .find_map(|(number, _)| number.parse::<f64>().ok());
    assert!(seconds.is_some_and(|seconds| seconds > 0.54), "{}", ran.out);
    assert!(ran.out.contains("of 2 publishers") && ran.out.contains("100 messages"), "{}", ran.out);
    assert_refused(&run(&[&files[..], &["--publishers", "3"]].concat()), "2 files for 3 publishers");
}

#[test]
fn a_subscriber_that_is_killed_fails_the_run() {
    let (child, members) = long_run(&[]);
    signal("-KILL", pid_of(&members, "s2"));
    assert_failed(&finish(child), "s2 died: killed by signal 9");
    assert_nobody_left(&members);
}

#[test]
fn a_publisher_that_is_killed_fails_the_run() {
    let (child, members) = long_run(&[]);
    signal("-KILL", pid_of(&members, "publisher"));
    assert_failed(&finish(child), "publisher died: killed by signal 9");
    assert_nobody_left(&members);
}

#[test]
fn a_publisher_that_stands_still_fails_the_run() {
    let (child, members) = long_run(&["--patience", "1"]);
    signal("-STOP", pid_of(&members, "publisher"));
    assert_failed(&finish(child), "no progress for 1 s");
    assert_nobody_left(&members);
}

#[test]
fn a_gap_in_the_capture_is_not_a_stall() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("capture");
    std::fs::write(&file, "1000000000 a\n3500000000 b\n").expect("to write");
    let file = file.to_str().expect("a plain name");
    let ran = run(&["demo", "--file", file, "--pace", "1", "--patience", "1", "--loss", "0"]);
    assert_eq!(ran.status, Some(0), "{}{}", ran.out, ran.err);
}

#[test]
fn members_do_not_outlive_their_parent() {
    let (mut child, members) = long_run(&[]);
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
    assert_nobody_left(&members);
}

#[test]
fn uring_is_refused_in_one_line_where_it_is_forbidden_and_auto_does_without() {
    const EPERM: u32 = 1;
    const ENOSYS: u32 = 38;
    for (errno, why) in [(EPERM, "it is forbidden here"), (ENOSYS, "there is none here")] {
        assert_refused(&run_without_io_uring(errno, &["demo", "--medium", "uring"]), why);
        let ran = run_without_io_uring(errno, &["demo", "--medium", "auto", "--members", "2"]);
        assert_eq!(ran.status, Some(0), "{}{}", ran.out, ran.err);
        assert!(
            ran.out.contains("\nmedium udp (cannot use io_uring: ") && ran.out.contains(why),
            "{}",
            ran.out
        );
    }
}

#[test]
fn the_sample_arrives_whole_by_uring_too() {
    let ran = run(&["demo", "--medium", "uring", "--members", "2"]);
    if ran.status == Some(2) && ran.err.contains("cannot use io_uring") {
        return eprintln!("SKIP: {}", ran.err);
    }
    assert_eq!(ran.status, Some(0), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("\nmedium uring (as asked), "), "{}", ran.out);
}

#[test]
fn options_out_of_range_are_one_line() {
    assert_refused(&run(&["demo", "--members", "0"]), "--members");
    assert_refused(&run(&["demo", "--members", "65"]), "--members");
    assert_refused(&run(&["demo", "--loss", "51"]), "0 to 50");
    assert_refused(&run(&["demo", "--loss", "-1"]), "0 to 50");
    assert_refused(&run(&["demo", "--pace", "0"]), "above 0");
    assert_refused(&run(&["demo", "--medium", "pigeon"]), "uring");
    assert_refused(&run(&["demo", "--group", "10.0.0.1:7000"]), "not a multicast address");
    assert_refused(&run(&["demo", "--fault", "nope"]), "flip-delivered, drop-delivered, swap-delivered");
    assert_refused(&run(&["demo", "--order", "random"]), "fifo, causal, total");
    assert_refused(&run(&["demo", "--total", "vote"]), "rotating");
    assert_refused(&run(&["demo", "--publishers", "17"]), "--publishers");
    assert_refused(&run(&["demo", "--nonsense"]), "--nonsense");
    assert_refused(&run(&[]), "sistrum demo");
}

#[test]
fn a_file_that_is_no_capture_is_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bad");
    let path_text = path.to_str().expect("a plain name");
    let cases: [(&[u8], &str); 5] = [
        (b"", "empty"),
        (b"<html>", "offset 0: neither"),
        (b"10 a\nb\n", "line 2: no receive time"),
        (b"\0\x01D", "offset 0: not the length"),
        (b"\x1f\x8b\x08", "damaged gzip"),
    ];
    for (bytes, why) in cases {
        std::fs::write(&path, bytes).expect("to write");
        assert_refused(&run(&["demo", "--file", path_text]), why);
    }
    assert_refused(&run(&["demo", "--file", "/nonexistent/file"]), "/nonexistent/file: No such file");
    assert_refused(&run(&["demo", "--file", "/"]), "/: not a regular file");
}

#[test]
fn a_file_without_permission_is_one_line() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = capture(folder.path(), 1);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).expect("our own file");
    if std::fs::File::open(&path).is_ok() {
        eprintln!("SKIPPED: this user may read everything");
        return;
    }
    assert_refused(&run(&["demo", "--file", &path]), "Permission denied");
}

#[test]
fn what_the_host_cannot_do_is_one_line() {
    assert_refused(&run(&["demo", "--interface", "nosuch0"]), "unknown interface: nosuch0");
    assert_refused(&run(&["demo", "--interface", "203.0.113.7"]), "unknown interface");
    assert_refused(&run(&["demo", "--group", "[ff15::1]:7000"]), "an IPv4 multicast address");
    if std::net::UdpSocket::bind("[::1]:0").is_ok() {
        assert_refused(
            &run(&["demo", "--interface", "::1"]),
            "IPv6 has no multicast on loopback: take 127.0.0.1",
        );
    } else {
        eprintln!("SKIPPED: no IPv6 on loopback");
    }
    assert_refused(&run(&["demo", "--mtu", "28"]), "MTU too small");
    assert_refused(&run(&["demo", "--mtu", "60"]), "MTU 60: block_size: 32 bytes are too small");
    assert_refused(
        &run(&["demo", "--json", "/nonexistent/report"]),
        "/nonexistent/report: cannot be written",
    );
}

#[test]
fn a_port_in_use_is_one_line_and_leaves_no_report() {
    let taken = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
    let group = format!("239.255.7.7:{}", taken.local_addr().expect("bound").port());
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("report.json");
    let ran = run(&["demo", "--group", &group, "--json", json.to_str().expect("a plain name")]);
    assert_refused(&ran, "in use");
    assert_eq!(std::fs::read_dir(folder.path()).expect("to list").count(), 0);
}
