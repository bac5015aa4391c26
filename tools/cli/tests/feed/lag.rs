//! Late subscribers that take slowly, under each contract: the publisher and the listed subscriber do not notice.

use super::process::{Process, Ran, Setting, json_of};
use super::{MARKET, in_folder};

/// The first lines of a real feed: most are best bids and offers, and each of the others counts.
fn market() -> Vec<String> {
    let packed = std::fs::File::open(MARKET).expect("embedded");
    let text = std::io::read_to_string(flate2::read::MultiGzDecoder::new(packed)).expect("text");
    text.lines().take(LINES).map(|line| format!("{line}\n")).collect()
}

const LINES: usize = 4_000;

/// Publishes the lines to one who is listed and to one who is late, with these options, and takes 2 000 of them a second; the end comes when
/// that has said `until`.
fn ran(lines: &[String], more: &[&str], until: &str) -> Ran {
    let setting = Setting::new(2);
    let listed = setting.subscribe(1, &["--json"]);
    let mut publisher = setting.publish(&["--file", "-", "--json", "--rate", "100mbit"]);
    publisher.wait_for("all are here");
    let mut late = setting.late(&[&["--json", "--take", "2000"], more].concat());
    late.wait_for("came in at block 0");
    publisher.type_in(&lines.concat());
    late.wait_for(until);
    publisher.end_input();
    let (publisher, listed) = (publisher.finish(), listed.finish());
    assert_eq!((publisher.status, listed.status), (Some(0), Some(0)), "{}{}", publisher.err, listed.err);
    assert_eq!(json_of(&listed)["messages"], lines.len());
    Process::finish(late)
}

fn number(ran: &Ran, name: &str) -> u64 {
    json_of(ran)["lag"][name].as_u64().unwrap_or_else(|| panic!("no {name}: {}", ran.out))
}

#[test]
fn of_quotes_the_latest_comes_to_who_is_slow_and_of_trades_each() {
    let folder = tempfile::tempdir().expect("a folder");
    let (copy, lines) = (in_folder(folder.path(), "copy"), market());
    let slow = ran(&lines, &["--lag", "conflate:8MB", "--out", &copy], "caught up");
    assert_eq!(slow.status, Some(0), "{}", slow.err);
    let report = json_of(&slow);
    let conflated = number(&slow, "conflated");
    assert!(conflated > 100 && report["lag"]["lags"].as_u64() > Some(0), "{report}");
    assert_eq!(report["messages"].as_u64(), Some(lines.len() as u64 - conflated));
    let copy = std::fs::read_to_string(&copy).expect("written");
    let copied: Vec<_> = copy.split_inclusive('\n').collect();
    // What came is what was published, in its order, and without nothing but quotes that others followed.
    let is_quote = |line: &str| line.contains("@bookTicker");
    let mut rest = copied.iter().peekable();
    for line in &lines {
        let came = rest.next_if(|copied| **copied == line).is_some();
        assert!(came || is_quote(line), "{line}");
    }
    assert_eq!(rest.next(), None);
    let last_of_all = lines.iter().rfind(|line| is_quote(line)).map(String::as_str);
    assert_eq!(copied.iter().rfind(|line| is_quote(line)).copied(), last_of_all);
}

#[test]
fn who_replays_has_all_of_it_in_the_end() {
    let slow = ran(&market(), &["--lag", "replay:8MB"], "caught up");
    assert_eq!(slow.status, Some(0), "{}", slow.err);
    assert_eq!((json_of(&slow)["messages"].as_u64(), number(&slow, "dropped")), (Some(LINES as u64), 0));
    assert!(number(&slow, "late") > 100 && number(&slow, "most_bytes") < 8_000_000, "{}", slow.out);
}

#[test]
fn who_has_no_room_to_replay_is_told_how_many_were_dropped() {
    let slow = ran(&market(), &["--lag", "replay:50kB"], "caught up");
    assert_eq!(slow.status, Some(1), "{}", slow.err);
    let dropped = number(&slow, "dropped");
    assert_eq!(json_of(&slow)["messages"].as_u64(), Some(LINES as u64 - dropped));
    let why = format!("{dropped} messages were dropped: they were not taken in time (--lag)");
    assert!(dropped > 100 && slow.err.contains(&why), "{}", slow.err);
    assert!(number(&slow, "most_bytes") <= 50_000);
}

#[test]
fn who_is_cut_off_says_by_which_number() {
    let slow = ran(&market(), &["--lag", "evict:50kB,0"], "too slow");
    assert_eq!(slow.status, Some(1), "{}", slow.err);
    let evicted = json_of(&slow)["lag"]["evicted"].as_str().expect("a reason").to_owned();
    assert!(
        evicted.contains("bytes behind, the bound is 50000;") && slow.err.contains(&evicted),
        "{}",
        slow.err
    );
}

#[test]
fn contracts_that_cannot_be_are_refused() {
    let refused = |options: &[&str]| {
        let ran = Process::start(super::feed("subscribe", options)).finish();
        assert_eq!(ran.status, Some(2), "{}", ran.err);
        ran.err
    };
    let member = refused(&["--members", "127.0.0.1:7001,127.0.0.1:7002", "--lag", "replay:1MB"]);
    assert!(member.contains("--late"), "{member}");
    assert!(
        refused(&["--late", "--lag", "drop:1MB"])
            .contains("evict:BYTES,MS or conflate:BYTES or replay:BYTES")
    );
    let small = refused(&["--late", "--lag", "replay:10B"]);
    assert!(small.contains("lag: 10 bytes to be kept at most are not between"), "{small}");
    let binary = refused(&["--late", "--lag", "conflate:1MB", "--format", "binary"]);
    assert!(binary.contains("messages of format binary"), "{binary}");
}
