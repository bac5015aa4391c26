//! The feed as a user runs it: real processes, their exit status, their lines, what they write.

#[path = "feed/lag.rs"]
mod lag;
#[path = "feed/network.rs"]
mod network;
#[path = "feed/process.rs"]
mod process;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use process::{Process, Setting, feed, json_of, text};

const MARKET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/spot-btcusdt-20000.gz");
const ITCH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/nasdaq-open-20191230.itch50");

/// Lines of different lengths, some of several blocks, each of which begins with its number.
fn lines(from: u64, to: u64) -> String {
    (from..to).map(|i| format!("{i} {}\n", "x".repeat((i as usize * 37) % 3_000))).collect()
}

fn in_folder(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().expect("a plain name").to_owned()
}

#[test]
fn two_subscribers_come_to_the_publishers_digest_through_losses() {
    let setting = Setting::new(3);
    let folder = tempfile::tempdir().expect("a folder");
    let copy = in_folder(folder.path(), "copy");
    let s1 = setting.subscribe(1, &["--json", "--loss", "2"]);
    let s2 = setting.subscribe(2, &["--json", "--out", &copy]);
    let publisher = setting.publish(&["--json", "--file", MARKET]).finish();
    let (s1, s2) = (s1.finish(), s2.finish());
    assert_eq!(
        [&publisher, &s1, &s2].map(|ran| ran.status),
        [Some(0); 3],
        "{}{}{}",
        publisher.err,
        s1.err,
        s2.err
    );
    let [published, one, two] = [&publisher, &s1, &s2].map(json_of);
    assert_eq!((&published["ok"], &published["messages"]), (&true.into(), &20_000.into()));
    assert_eq!((&one["digest"], &two["digest"]), (&published["digest"], &published["digest"]));
    assert!(one["injected"].as_u64() > Some(0) && one["repaired"].as_u64() > Some(0), "{one}");
    let (lost, told) = (&one["losses"][0], &published["losses"][0]);
    assert!(lost["injected"].as_u64() > Some(0) && lost["overflow"] == 0, "{lost}");
    assert!(
        told["rank"] == 1 && told["naks"].as_u64() > Some(0) && told["sent_again"].as_u64() > Some(0),
        "{told}"
    );
    let packed = std::fs::File::open(MARKET).expect("embedded");
    let unpacked = std::io::read_to_string(flate2::read::MultiGzDecoder::new(packed)).expect("text");
    assert!(std::fs::read_to_string(&copy).expect("written") == unpacked, "the copy differs");
    assert!(publisher.err.contains("interface lo 127.0.0.1") && publisher.err.contains(&setting.group));
    assert!(setting.members.iter().all(|member| publisher.err.contains(member)), "{}", publisher.err);
}

#[test]
fn every_format_comes_out_as_it_went_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| {
        let path = in_folder(folder.path(), name);
        std::fs::write(&path, bytes).expect("to write");
        path
    };
    let binary = [&b"\x03\0\0\0abc\0\0\0\0"[..], &70_000_u32.to_le_bytes(), &[7; 70_000]].concat();
    let inputs = [
        ("lines", file("lines", b"1 a\n\nno time\r\n3 b\n")),
        ("itch", ITCH.to_owned()),
        ("binary", file("binary", &binary)),
    ];
    for (format, input) in inputs {
        let out = in_folder(folder.path(), "out");
        let setting = Setting::new(2);
        let subscriber = setting.subscribe(1, &["--format", format, "--out", &out]);
        let publisher = setting.publish(&["--format", format, "--file", &input]).finish();
        let subscriber = subscriber.finish();
        assert_eq!((publisher.status, subscriber.status), (Some(0), Some(0)), "{}", publisher.err);
        let (sent, got) = (std::fs::read(&input).expect("read"), std::fs::read(&out).expect("read"));
        assert!(sent == got, "{format}: the copy differs");
    }
}

#[test]
fn messages_go_to_standard_output_and_nothing_else_does() {
    let setting = Setting::new(2);
    let subscriber = setting.subscribe(1, &["--write"]);
    let mut publisher = setting.publish(&["--file", "-"]);
    publisher.type_in("one\n");
    publisher.type_in("two");
    publisher.end_input();
    assert_eq!(publisher.finish().status, Some(0));
    let ran = subscriber.finish();
    assert_eq!((ran.status, ran.out.as_str()), (Some(0), "one\ntwo\n"), "{}", ran.err);
    assert!(ran.err.contains("ok: 2 messages, 6 bytes"), "{}", ran.err);
}

#[test]
fn a_message_that_is_typed_is_delivered_at_once() {
    let setting = Setting::new(2);
    let folder = tempfile::tempdir().expect("a folder");
    let out = in_folder(folder.path(), "out");
    let subscriber = setting.subscribe(1, &["--out", &out]);
    let mut publisher = setting.publish(&["--file", "-"]);
    publisher.type_in("first\nsec");
    text::wait_for(&out, "first\n");
    publisher.type_in("ond\n");
    text::wait_for(&out, "first\nsecond\n");
    publisher.end_input();
    assert_eq!((publisher.finish().status, subscriber.finish().status), (Some(0), Some(0)));
}

#[test]
fn who_is_late_starts_at_a_whole_message_and_has_all_from_there_on() {
    let setting = Setting::new(2);
    let folder = tempfile::tempdir().expect("a folder");
    let (all, part) = (in_folder(folder.path(), "all"), in_folder(folder.path(), "part"));
    let listed = setting.subscribe(1, &["--out", &all]);
    let mut publisher = setting.publish(&["--file", "-"]);
    publisher.type_in(&lines(0, 1_000));
    text::wait_for(&all, &lines(0, 1_000));
    let mut late = setting.late(&["--json", "--out", &part]);
    late.wait_for("came in at block");
    publisher.type_in(&lines(1_000, 2_000));
    late.wait_for("starts at message 1");
    publisher.type_in(&lines(2_000, 2_500));
    publisher.end_input();
    assert_eq!((publisher.finish().status, listed.finish().status), (Some(0), Some(0)));
    let late = late.finish();
    assert_eq!(late.status, Some(0), "{}", late.err);
    let report = json_of(&late);
    let from = report["from_message"].as_u64().expect("a number");
    assert!((1_000..2_000).contains(&from) && late.err.contains(&format!("starts at message {from} ")));
    assert_eq!((&report["messages"], &report["lost_blocks"]), (&(2_500 - from).into(), &0.into()));
    assert!(std::fs::read_to_string(&part).expect("written") == lines(from, 2_500), "not a suffix");
}

#[test]
fn who_is_late_holds_nobody_up() {
    let setting = Setting::new(2);
    let listed = setting.subscribe(1, &[]);
    let mut publisher = setting.publish(&["--file", "-"]);
    publisher.wait_for("all are here");
    let mut late = setting.late(&[]);
    late.wait_for("came in at block");
    publisher.type_in(&lines(0, 100));
    late.wait_for("starts at message 0");
    late.signal("-STOP");
    publisher.type_in(&lines(100, 5_000));
    publisher.end_input();
    assert_eq!((publisher.finish().status, listed.finish().status), (Some(0), Some(0)));
}

#[test]
fn who_says_goodbye_no_longer_gates() {
    let setting = Setting::new(3);
    let (stays, mut goes) = (setting.subscribe(1, &["--json"]), setting.subscribe(2, &["--json"]));
    let mut publisher = setting.publish(&["--file", "-", "--json"]);
    publisher.type_in(&lines(0, 100));
    publisher.wait_for("all are here");
    goes.wait_for("all are here");
    goes.signal("-INT");
    publisher.wait_for(&format!("subscriber {} (r2) said goodbye", setting.members[2]));
    let gone = goes.finish();
    assert_eq!(gone.status, Some(130), "{}", gone.err);
    assert!(json_of(&gone)["why"] == "interrupted by signal 2");
    // More than any window: whoever still gated would stop it.
    publisher.type_in(&lines(100, 6_000));
    publisher.end_input();
    let publisher = publisher.finish();
    assert_eq!(publisher.status, Some(0), "{}", publisher.err);
    let published = json_of(&publisher);
    assert_eq!(
        (&published["members"][1]["left"], &published["members"][2]["left"]),
        (&false.into(), &true.into())
    );
    let stays = stays.finish();
    assert_eq!((stays.status, &json_of(&stays)["digest"]), (Some(0), &published["digest"]));
}

#[test]
fn who_is_silent_ends_the_publisher_by_name() {
    let setting = Setting::new(3);
    let (s1, mut s2) = (setting.subscribe(1, &["--limit", "1"]), setting.subscribe(2, &[]));
    let mut publisher = setting.publish(&["--file", "-", "--json", "--limit", "1"]);
    publisher.wait_for("all are here");
    s2.wait_for("all are here");
    s2.signal("-STOP");
    publisher.type_in(&lines(0, 6_000));
    let publisher = publisher.finish();
    assert_eq!(publisher.status, Some(1), "{}", publisher.err);
    let why = format!("subscriber {} (r2) has been silent for 1.", setting.members[2]);
    assert!(publisher.err.lines().last().is_some_and(|line| line.contains(&why)), "{}", publisher.err);
    let report = json_of(&publisher);
    assert!(report["ok"] == false && report["members"][2]["held_seconds"].as_f64() > Some(0.1), "{report}");
    let s1 = s1.finish();
    assert_eq!(s1.status, Some(1));
    assert!(s1.err.contains("FAILED") || s1.out.contains("FAILED"), "{}{}", s1.out, s1.err);
}

#[test]
fn who_still_listens_hears_that_the_publisher_broke_off() {
    let setting = Setting::new(3);
    let (s1, mut s2) = (setting.subscribe(1, &[]), setting.subscribe(2, &[]));
    let mut publisher = setting.publish(&["--file", "-", "--limit", "0.5"]);
    publisher.type_in("one\n");
    publisher.wait_for("all are here");
    s2.wait_for("all are here");
    s2.signal("-STOP");
    assert_eq!(publisher.finish().status, Some(1));
    let s1 = s1.finish();
    assert_eq!(s1.status, Some(1), "{}", s1.err);
    assert!(s1.err.contains("the publisher broke off after 1 messages"), "{}", s1.err);
}

#[test]
fn a_publisher_that_dies_ends_all_subscribers() {
    let setting = Setting::new(2);
    let mut listed = setting.subscribe(1, &["--limit", "1"]);
    let mut publisher = setting.publish(&["--file", "-"]);
    publisher.wait_for("all are here");
    listed.wait_for("all are here");
    let mut late = setting.late(&["--limit", "1"]);
    late.wait_for("came in at block");
    publisher.type_in(&lines(0, 10));
    late.wait_for("starts at message 0");
    publisher.signal("-KILL");
    for ran in [listed.finish(), late.finish()] {
        assert_eq!(ran.status, Some(1), "{}", ran.err);
        assert!(ran.err.contains("publisher") && ran.err.contains("silent for 1."), "{}", ran.err);
    }
}

#[test]
fn an_interrupted_publisher_says_goodbye_and_loses_nothing() {
    let setting = Setting::new(2);
    let folder = tempfile::tempdir().expect("a folder");
    let out = in_folder(folder.path(), "out");
    let subscriber = setting.subscribe(1, &["--out", &out]);
    let mut publisher = setting.publish(&["--file", "-"]);
    publisher.type_in(&lines(0, 50));
    text::wait_for(&out, &lines(0, 50));
    publisher.signal("-INT");
    let publisher = publisher.finish();
    assert_eq!(publisher.status, Some(130), "{}", publisher.err);
    assert!(publisher.out.starts_with("interrupted: 50 messages"), "{}", publisher.out);
    let subscriber = subscriber.finish();
    assert_eq!(subscriber.status, Some(0), "{}", subscriber.err);
    assert!(subscriber.err.contains("the publisher was interrupted after 50 messages"), "{}", subscriber.err);
}

#[test]
fn an_interrupt_before_all_are_here_ends_the_wait() {
    let setting = Setting::new(2);
    let starts: [&dyn Fn() -> Process; 3] =
        [&|| setting.publish(&["--file", "-"]), &|| setting.subscribe(1, &[]), &|| setting.late(&[])];
    for start in starts {
        let mut process = start();
        process.wait_for("waiting for");
        process.signal("-INT");
        let ran = process.finish();
        assert_eq!(ran.status, Some(130), "{}", ran.err);
    }
    let ran = setting.publish(&["--file", MARKET, "--wait", "0.3"]).finish();
    assert_eq!(ran.status, Some(1), "{}", ran.err);
    assert!(ran.err.contains("not all others have come within 0.3 s (--wait)"), "{}", ran.err);
}

#[test]
fn input_that_turns_bad_ends_all() {
    let setting = Setting::new(2);
    let subscriber = setting.subscribe(1, &[]);
    let mut publisher = setting.publish(&["--file", "-", "--format", "itch"]);
    publisher.type_in("\0\x01a\0\x05bc");
    publisher.end_input();
    let publisher = publisher.finish();
    assert_eq!(publisher.status, Some(2), "{}", publisher.err);
    assert!(publisher.err.contains("offset 3: the input ends within a message"), "{}", publisher.err);
    let subscriber = subscriber.finish();
    assert_eq!(subscriber.status, Some(1), "{}", subscriber.err);
    assert!(subscriber.err.contains("broke off after 1 messages"), "{}", subscriber.err);
}

#[test]
fn peers_members_and_unicast_come_to_the_same_group() {
    let setting = Setting::new(3);
    let [p, s1, s2] = &setting.members[..] else { panic!("three were asked for") };
    let port = |member: &str| member.rsplit(':').next().expect("a port").to_owned();
    let common = |more: &[&str]| {
        let mut arguments = vec!["--unicast".to_owned(), "--json".to_owned()];
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        arguments
    };
    let one =
        Process::start(feed("subscribe", &common(&["--peers", &format!("{p},{s2}"), "--port", &port(s1)])));
    // After the publisher, the order does not matter.
    let two = common(&["--members", &format!("{p},{s2},{s1}"), "--port", &port(s2)]);
    let two = Process::start(feed("subscribe", &two));
    let publisher =
        common(&["--peers", &format!("{s1},{s2}"), "--port", &port(p), "--file", ITCH, "--format", "itch"]);
    let ran = [Process::start(feed("publish", &publisher)), one, two].map(Process::finish);
    assert_eq!(ran.each_ref().map(|ran| ran.status), [Some(0); 3], "{}", ran[0].err);
    let [published, one, two] = ran.each_ref().map(json_of);
    assert_eq!((&one["digest"], &two["digest"]), (&published["digest"], &published["digest"]));
    assert!(published["group"].is_null() && published["messages"] == 1_000);
}

/// Whether this host has IPv6 on loopback; says so aloud when not, and fails where everything must be tested.
fn has_ipv6() -> bool {
    let Err(refused) = std::net::UdpSocket::bind("[::1]:0") else { return true };
    assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must run where ::1 is: {refused}");
    eprintln!("SKIPPED: no IPv6 on loopback: {refused}");
    false
}

/// Whether io_uring can be had here; says so aloud when not.
fn has_uring() -> bool {
    let ran = Process::start(feed("subscribe", &["--late", "--medium", "uring", "--interface", "nosuch0"]))
        .finish();
    let refused = ran.err.contains("cannot use io_uring");
    if refused {
        eprintln!("SKIPPED: {}", ran.err);
    }
    !refused
}

#[test]
fn ipv6_on_this_host_goes_by_unicast() {
    if !has_ipv6() {
        return;
    }
    let setting = Setting::at(std::net::Ipv6Addr::LOCALHOST.into(), 3);
    let common = ["--unicast", "--json", "--loss", "1"];
    let subscribers = [1, 2].map(|rank| setting.subscribe(rank, &common));
    let publisher = setting.publish(&[&common[..], &["--file", MARKET]].concat()).finish();
    let published = json_of(&publisher);
    for subscriber in subscribers.map(Process::finish) {
        assert_eq!((publisher.status, subscriber.status), (Some(0), Some(0)), "{}", publisher.err);
        assert_eq!(json_of(&subscriber)["digest"], published["digest"]);
    }
    assert!(publisher.err.contains("interface lo ::1 (it has this process's address of the list)"));
    // Without --unicast, one line says what to do.
    let members = setting.members.join(",");
    let ran = Process::start(feed("publish", &["--members", &members, "--file", MARKET])).finish();
    assert_eq!((ran.status, ran.err.lines().count()), (Some(2), 1), "{}", ran.err);
    let why = "interface lo (::1) has no route to the multicast group [ff15::7171]:7171: use unicast, or IPv4 (here: --unicast)";
    assert!(ran.err.contains(why), "{}", ran.err);
}

#[test]
fn a_list_may_be_all_that_is_heard() {
    let setting = Setting::new(3);
    let common = ["--source-specific", "--json", "--loss", "1"];
    let subscribers = [1, 2].map(|rank| setting.subscribe(rank, &common));
    let publisher = setting.publish(&[&common[..], &["--file", MARKET]].concat()).finish();
    let published = json_of(&publisher);
    for subscriber in subscribers.map(Process::finish) {
        assert_eq!((publisher.status, subscriber.status), (Some(0), Some(0)), "{}", publisher.err);
        assert_eq!(json_of(&subscriber)["digest"], published["digest"]);
    }
}

#[test]
fn another_list_is_named_as_the_reason() {
    let setting = Setting::new(3);
    let [p, s1, _] = &setting.members[..] else { panic!("three were asked for") };
    let members = format!("{p},{s1}");
    let other = Process::start(feed("subscribe", &["--members", &members, "--group", &setting.group]));
    let publisher = setting.publish(&["--file", MARKET]).finish();
    assert_eq!((publisher.status, other.finish().status), (Some(1), Some(1)));
    assert!(publisher.err.contains("member list differs"), "{}", publisher.err);
}

#[test]
fn capture_time_paces_what_is_published() {
    let setting = Setting::new(2);
    let folder = tempfile::tempdir().expect("a folder");
    let file = in_folder(folder.path(), "capture");
    std::fs::write(&file, "1000000000 a\n1800000000 b\n").expect("to write");
    let subscriber = setting.subscribe(1, &["--json"]);
    let publisher = setting.publish(&["--file", &file, "--pace", "2"]).finish();
    assert_eq!(publisher.status, Some(0), "{}", publisher.err);
    let took = json_of(&subscriber.finish())["seconds"].as_f64().expect("a number");
    assert!((0.39..0.9).contains(&took), "{took} s, where 0.4 s are right");
}

#[test]
fn a_rate_holds_back_what_is_published() {
    let setting = Setting::new(2);
    let subscriber = setting.subscribe(1, &["--json", "--loss", "2"]);
    let publisher =
        setting.publish(&["--file", MARKET, "--rate", "80mbit", "--burst", "32kB", "--json"]).finish();
    assert_eq!((publisher.status, subscriber.finish().status), (Some(0), Some(0)), "{}", publisher.err);
    let took = json_of(&publisher)["seconds"].as_f64().expect("a number");
    assert!((0.52..3.0).contains(&took), "{took} s, where 5.2 MB take 0.53 s at least");
}

#[test]
fn what_stays_missing_is_told_while_it_does() {
    let setting = Setting::new(2);
    let mut subscriber = setting.subscribe(1, &["--loss", "50", "--limit", "60"]);
    let mut publisher = setting.publish(&["--file", MARKET, "--rate", "2mbit", "--burst", "4kB"]);
    publisher.wait_for("all are here");
    // Most often something is missing when it is stopped; then nobody answers.
    for _ in 0..20 {
        publisher.signal("-STOP");
        std::thread::sleep(Duration::from_millis(1_300));
        publisher.signal("-CONT");
        if subscriber.said().contains("missing for 1.") {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    subscriber.wait_for("lost by subscriber");
    assert!(subscriber.said().contains("suspected: injected loss"), "{}", subscriber.said());
    assert!(subscriber.said().contains("its sender holds it"), "{}", subscriber.said());
}

#[test]
fn bad_input_is_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| {
        let path = in_folder(folder.path(), name);
        std::fs::write(&path, bytes).expect("to write");
        path
    };
    let (empty, cut) = (file("empty", b""), file("cut", b"\x1f\x8b\x08"));
    let two = "127.0.0.1:7001,127.0.0.1:7002";
    let (six, mixed) = ("[::1]:7001,[::1]:7002", "127.0.0.1:7001,[::1]:7002");
    let mapped = "[::ffff:127.0.0.1]:7001,[::ffff:127.0.0.1]:7002";
    let cases: [(&str, &[&str], &str); 35] = [
        ("publish", &["--file", MARKET], "--members HOST:PORT,.."),
        ("publish", &["--members", two], "--file"),
        ("publish", &["--members", two, "--file", "/nonexistent"], "/nonexistent: No such file"),
        ("publish", &["--members", two, "--file", "/"], "/: is a directory"),
        ("publish", &["--members", two, "--file", &empty], "empty: there is no message"),
        ("publish", &["--members", two, "--file", &cut], "damaged gzip"),
        ("publish", &["--members", two, "--file", MARKET, "--format", "csv"], "lines, itch, binary"),
        ("publish", &["--members", two, "--file", "-", "--format", "binary", "--pace", "1"], "carry no time"),
        ("publish", &["--members", "127.0.0.1:7001", "--file", MARKET], "at least one subscriber"),
        (
            "publish",
            &["--members", two, "--file", MARKET, "--port", "9"],
            "first in the list, is 127.0.0.1:7001, but this process is at an address of this host, port 9",
        ),
        ("subscribe", &["--members", "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3"], "--port is wanted"),
        ("subscribe", &["--members", "127.0.0.1:1,nowhere"], "HOST:PORT is wanted"),
        ("subscribe", &["--members", two, "--peers", two, "--port", "7002"], "cannot be used with"),
        ("subscribe", &["--late", "--unicast"], "cannot be used with"),
        ("subscribe", &["--late", "--wait", "1"], "cannot be used with"),
        ("subscribe", &["--late", "--interface", "nosuch0"], "unknown interface"),
        ("subscribe", &["--late", "--write", "--json"], "--out"),
        ("publish", &["--members", two, "--file", MARKET, "--rate", "10"], "such as 100mbit"),
        ("publish", &["--members", two, "--file", MARKET, "--rate", "0kbit"], "would never send"),
        ("publish", &["--members", two, "--file", MARKET, "--burst", "64kB"], "--rate"),
        (
            "publish",
            &["--members", two, "--file", MARKET, "--rate", "1mbit", "--burst", "99B"],
            "tuning.pace.burst: it is less than a block",
        ),
        ("publish", &["--members", mixed, "--file", MARKET], "\"[::1]:7002\" has no IPv4 address"),
        (
            "publish",
            &["--members", six, "--file", MARKET, "--group", "239.255.1.1:7"],
            "which --group 239.255.1.1:7 wants",
        ),
        (
            "publish",
            &["--members", two, "--file", MARKET, "--interface", "::1"],
            "which --interface ::1 wants",
        ),
        ("publish", &["--members", "::1:7001,::1:7002", "--file", MARKET], "or [::1]:7001"),
        ("publish", &["--members", mapped, "--file", MARKET, "--unicast"], "write it as IPv4"),
        ("publish", &["--members", two, "--file", MARKET, "--group", "[::1]:7"], "not a multicast address"),
        (
            "publish",
            &["--members", two, "--file", MARKET, "--group", "232.1.1.1:7"],
            "--source-specific is wanted",
        ),
        (
            "publish",
            &["--members", two, "--file", MARKET, "--source-specific", "--unicast"],
            "cannot be used with",
        ),
        (
            "publish",
            &["--members", two, "--file", MARKET, "--group", "[ff15::1]:7"],
            "which --group [ff15::1]:7 wants",
        ),
        (
            "subscribe",
            &["--late", "--group", "[ff15::1]:7", "--interface", "127.0.0.1"],
            "127.0.0.1 is IPv4, the group is IPv6",
        ),
        ("subscribe", &["--peers", "127.0.0.1:7001", "--port", "7001"], "stands in the list twice"),
        ("subscribe", &["--late", "--source-specific"], "cannot be used with"),
        ("subscribe", &["--late", "--sources", "127.0.0.1,::1"], "--sources: ::1 is not IPv4"),
        ("subscribe", &["--members", two, "--sources", "127.0.0.1"], "--sources goes with --late"),
    ];
    for (command, arguments, why) in cases {
        let ran = Process::start(feed(command, arguments)).finish();
        assert_eq!(ran.status, Some(2), "{arguments:?}: {}{}", ran.out, ran.err);
        let line = ran.err.lines().last().unwrap_or_default().to_lowercase();
        assert!(line.starts_with("sistrum: ") && line.contains(&why.to_lowercase()), "{}", ran.err);
        assert_eq!((ran.out.lines().count(), ran.err.lines().count()), (0, 1), "{}{}", ran.out, ran.err);
    }
}

#[test]
fn a_port_in_use_is_one_line() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let members = format!("{},127.0.0.1:7002", taken.local_addr().expect("bound"));
    let ran = Process::start(feed("publish", &["--members", &members, "--file", MARKET])).finish();
    assert_eq!((ran.status, ran.err.lines().count()), (Some(2), 1), "{}", ran.err);
    assert!(ran.err.contains("in use"), "{}", ran.err);
}

#[test]
fn a_reader_that_goes_ends_the_subscriber_in_order() {
    let setting = Setting::new(2);
    let mut subscriber = setting.subscribe(1, &["--write"]);
    let mut publisher = setting.publish(&["--file", "-"]);
    subscriber.wait_for("all are here");
    drop(subscriber.take_out());
    publisher.type_in("nobody reads this\n");
    let ran = subscriber.finish();
    assert_eq!(ran.status, Some(1), "{}", ran.err);
    assert!(ran.err.contains("standard output: nobody reads it any more"), "{}", ran.err);
    publisher.wait_for("said goodbye");
    publisher.end_input();
    assert_eq!(publisher.finish().status, Some(0));
}

#[test]
fn help_is_enough_to_begin() {
    for command in ["publish", "subscribe"] {
        let ran = Process::start(feed(command, &["--help"])).finish();
        assert_eq!(ran.status, Some(0));
        assert!(ran.out.contains("sistrum feed subscribe") && ran.out.contains("Exit status: 0"));
    }
    std::io::stdout().flush().expect("our own");
}
