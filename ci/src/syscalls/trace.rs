//! What strace wrote, as counts: a pure function from its text to the calls between two marker writes.

use anyhow::{Result, bail, ensure};
use std::collections::BTreeMap;

/// What a member writes to standard error before the measured part.
pub(crate) const BEGIN: &str = "SISTRUM-BEGIN\n";

/// What it writes after it.
pub(crate) const END: &str = "SISTRUM-END\n";

/// The calls that move datagrams: all that a duty cycle needs.
const IO: [&str; 7] = ["recvmsg", "recvfrom", "sendmsg", "sendto", "recvmmsg", "sendmmsg", "io_uring_enter"];

/// How often each call was made, by name.
pub(super) type Calls = BTreeMap<String, u64>;

/// The calls of all threads between the markers.
///
/// # Errors
/// When the markers are not both there, in order, once.
pub(super) fn between_markers(trace: &str) -> Result<Calls> {
    let mut calls = Calls::new();
    let mut seen = 0;
    for line in trace.lines() {
        let Some((name, rest)) = call(line) else { continue };
        match (seen, marker(name, rest)) {
            (0, Some(BEGIN)) | (1, Some(END)) => seen += 1,
            (_, Some(marker)) => bail!("{} is out of place", marker.trim_end()),
            (1, None) => *calls.entry(name.to_owned()).or_default() += 1,
            _ => {}
        }
    }
    ensure!(seen == 2, "the trace has {seen} of two markers: the member did not get through");
    Ok(calls)
}

/// Which calls of `calls` are neither IO nor in `idle`, and how often each was made.
///
/// # Errors
/// When there was less IO than `least`: then the trace says nothing about a duty cycle.
pub(super) fn forbidden(calls: &Calls, idle: &[&str], least: u64) -> Result<Vec<(String, u64)>> {
    let io: u64 = calls.iter().filter(|(name, _)| IO.contains(&name.as_str())).map(|(_, count)| count).sum();
    ensure!(
        io >= least,
        "only {io} IO calls between the markers, and {least} are the least that the work takes"
    );
    let allowed = |name: &str| IO.contains(&name) || idle.contains(&name);
    Ok(calls.iter().filter(|(name, _)| !allowed(name)).map(|(name, count)| (name.clone(), *count)).collect())
}

/// Counts on one line, most frequent first.
pub(super) fn shown(calls: &Calls) -> String {
    let mut counts: Vec<_> = calls.iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

/// The name of the call that begins on a line, and what follows its parenthesis. A line that resumes a call, tells of a
/// signal or of an end begins none.
fn call(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
    let (name, rest) = line.split_once('(')?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
    is_name.then_some((name, rest))
}

/// The marker that a call writes to standard error.
fn marker(name: &str, rest: &str) -> Option<&'static str> {
    let written = if name == "write" { rest.strip_prefix("2, \"")? } else { return None };
    let is_written =
        |marker: &&str| written.strip_prefix(marker.trim_end()).is_some_and(|end| end.starts_with("\\n\""));
    [BEGIN, END].into_iter().find(is_written)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = r#"812 execve("target/release/sistrum-ci", ["sistrum-ci"], 0x7ffd /* 20 vars */) = 0
812 mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f00
812 write(2, "SISTRUM-BEGIN\n", 14)    = 14
"#;

    const WORK: &str = r#"812 sendmsg(4, {msg_name={sa_family=AF_INET, sin_port=htons(5000)}, msg_namelen=16}, 0) = 64
812 recvmsg(3, {msg_namelen=16}, MSG_DONTWAIT) = 64
812 recvmsg(3, {msg_namelen=16}, MSG_DONTWAIT) = -1 EAGAIN (Resource temporarily unavailable)
812 sched_yield()                     = 0
"#;

    const AFTER: &str = r#"812 write(2, "SISTRUM-END\n", 12)     = 12
812 munmap(0x7f00, 8192)              = 0
812 exit_group(0)                     = ?
812 +++ exited with 0 +++
"#;

    fn judged(work: &str, idle: &[&str]) -> Vec<(String, u64)> {
        let calls = between_markers(&[BEFORE, WORK, work, AFTER].concat()).unwrap();
        forbidden(&calls, idle, 1).unwrap()
    }

    #[test]
    fn only_what_lies_between_the_markers_counts() {
        let calls = between_markers(&[BEFORE, WORK, AFTER].concat()).unwrap();
        assert_eq!(shown(&calls), "recvmsg 2, sched_yield 1, sendmsg 1");
    }

    #[test]
    fn io_and_the_idle_strategy_pass() {
        assert!(judged("", &["sched_yield"]).is_empty());
        assert!(
            judged("812 ppoll([{fd=3}], 1, {tv_sec=0}, NULL, 8) = 1\n", &["sched_yield", "ppoll"]).is_empty()
        );
    }

    #[test]
    fn every_other_call_is_reported_by_name_and_count() {
        assert_eq!(judged("", &[]), [("sched_yield".to_owned(), 1)], "a spinner does not yield");
        for bad in [
            "clock_gettime(CLOCK_MONOTONIC, {tv_sec=1})",
            "mmap(NULL, 4096)",
            "futex(0x7f, FUTEX_WAKE)",
            "write(1, \"x\", 1)",
        ] {
            let work = format!("812 {bad} = 0\n813 {bad} = 0\n");
            let name = bad.split('(').next().unwrap().to_owned();
            assert_eq!(judged(&work, &["sched_yield"]), [(name, 2)]);
        }
    }

    #[test]
    fn interrupted_calls_count_once_and_signals_do_not() {
        let work = "812 futex(0x7f, FUTEX_WAIT <unfinished ...>\n\
            813 <... recvmsg resumed>) = 64\n\
            812 <... futex resumed>) = 0\n\
            812 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED (1)} ---\n\
            813 +++ exited with 0 +++\n";
        assert_eq!(judged(work, &["sched_yield"]), [("futex".to_owned(), 1)]);
    }

    #[test]
    fn lines_without_a_process_number_are_read_too() {
        let trace =
            "write(2, \"SISTRUM-BEGIN\\n\", 14) = 14\nbrk(0) = 0\nwrite(2, \"SISTRUM-END\\n\", 12) = 12\n";
        assert_eq!(shown(&between_markers(trace).unwrap()), "brk 1");
    }

    #[test]
    fn a_write_that_only_looks_like_a_marker_is_a_write() {
        let work = "812 write(2, \"SISTRUM-ENDED\\n\", 14) = 14\n812 write(1, \"SISTRUM-END\\n\", 12) = 12\n";
        assert_eq!(judged(work, &["sched_yield"]), [("write".to_owned(), 2)]);
    }

    #[test]
    fn a_trace_that_proves_nothing_is_an_error() {
        assert!(between_markers("").is_err());
        assert!(between_markers(&[BEFORE, WORK].concat()).is_err(), "the member died");
        assert!(between_markers(&[AFTER, BEFORE].concat()).is_err(), "the wrong way round");
        let idle = between_markers(&[BEFORE, AFTER].concat()).unwrap();
        assert!(forbidden(&idle, &[], 1).is_err(), "nothing was sent");
    }
}
