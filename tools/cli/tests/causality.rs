//! `sistrum causality` as a user runs it.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sistrum"))
        .arg("causality")
        .args(arguments)
        .output()
        .expect("the binary was built")
}

#[test]
fn the_stories_end_as_they_should_and_the_same_way_every_time() {
    let (once, again) = (run(&["--schedules", "30"]), run(&["--schedules", "30"]));
    let text = String::from_utf8(once.stdout).expect("text");
    assert_eq!(once.status.code(), Some(0), "{text}");
    assert_eq!(text.as_bytes(), again.stdout, "virtual time, and the same seeds");
    for title in ["FILE, THEN MAIL", "REPLY BEFORE QUESTION", "DERIVED QUOTE", "HIDDEN CHANNEL"] {
        assert!(text.contains(title), "{text}");
    }
    // Causal order three times, the exported context once.
    assert_eq!(text.matches("  0 of 30 random schedules end so badly").count(), 4, "{text}");
    assert!(text.lines().last().is_some_and(|line| line.starts_with("ok: ")) && !text.contains("FAILED"));
}

#[test]
fn a_number_that_is_none_is_one_line() {
    let refused = run(&["--schedules", "many"]);
    let line = String::from_utf8(refused.stderr).expect("text");
    assert_eq!((refused.status.code(), line.lines().count()), (Some(2), 1), "{line}");
}
