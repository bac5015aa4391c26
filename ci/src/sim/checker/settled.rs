//! Precision and FlushEnds: once all is healed, everybody is let in, all have one view, which is of all that live, and nobody changes
//! it any more or is wedged.

use crate::sim::history::eras::Eras;
use crate::sim::history::{History, Process, What};

/// Precision: the last view of each that lives is the same, of exactly those. Who was excluded has come back.
pub(super) fn is_one_component(history: &History) -> Option<String> {
    let eras = Eras::of(history);
    let living: Vec<Process> = history.all().filter(|process| lives(history, *process)).collect();
    let mut last = None;
    for &process in &living {
        let (who, number) = (history.name(process), eras.numbers_of(process).last().copied());
        let Some(number) = number else { return Some(format!("{who} was never let in")) };
        let mut members = eras.members(process, number);
        members.sort_unstable();
        if members != living {
            let (is, should) = (names(history, &members), names(history, &living));
            return Some(format!("{who} ends in {number} of {is}, and {should} live"));
        }
        let (other, known) = *last.get_or_insert((process, number));
        if known != number {
            return Some(format!("{who} ends in {number}, {} in {known}", history.name(other)));
        }
    }
    let is_gone = |process: &Process| {
        let who = history.who(*process);
        who.is_excluded && !who.is_crashed && !is_followed(history, *process)
    };
    let gone = history.all().find(is_gone)?;
    Some(format!("{} was excluded, and no later incarnation came", history.name(gone)))
}

fn lives(history: &History, process: Process) -> bool {
    history.is_alive(process) && !history.who(process).has_left
}

/// Whether another incarnation came where this one was.
fn is_followed(history: &History, process: Process) -> bool {
    let endpoint = |process: Process| history.who(process).member.map(|member| member.endpoint);
    history.all().any(|other| other > process && endpoint(other) == endpoint(process))
}

fn names(history: &History, processes: &[Process]) -> String {
    processes.iter().map(|process| history.name(*process)).collect::<Vec<_>>().join(", ")
}

/// FlushEnds: who lives is in the middle of nothing.
pub(super) fn ends(history: &History) -> Option<String> {
    history.all().filter(|process| lives(history, *process)).find_map(|process| {
        let mut open = None;
        for event in history.of(process) {
            match event.what {
                What::Install(_) | What::Renumbered(_) => open = None,
                What::Joining => open = Some("was never let in"),
                What::Changing => open = Some("never came to the end of a change"),
                What::Wedged => open = Some("is wedged for ever"),
                What::Resumed => open = Some("never came to the end of a change, after it was wedged"),
                What::Leaves if history.is_dynamic => open = Some("was never let go"),
                _ => {}
            }
        }
        open.map(|how| format!("{} {how}", history.name(process)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::tests::{Told, member};
    use sistrum_ordering::{Rank, ViewNumber};

    #[test]
    fn all_that_live_end_in_one_view() {
        let mut told = Told::dynamic(3);
        assert!(is_one_component(&told.0).unwrap().contains("never let in"));
        told.install(1, &[0, 1, 2], &[0, 1, 2]);
        assert_eq!(is_one_component(&told.0), None);
        told.0.crash(9, Process(2));
        assert!(is_one_component(&told.0).unwrap().contains("live"));
        told.install_at(0, 2, &[0, 1], &[]);
        assert!(is_one_component(&told.0).is_some(), "p1 has not installed it");
        told.install_at(1, 2, &[0, 1], &[]);
        assert_eq!(is_one_component(&told.0), None);
        told.push(1, What::Renumbered(ViewNumber(3)));
        assert!(is_one_component(&told.0).unwrap().contains("ends in"));
    }

    #[test]
    fn who_was_excluded_comes_back() {
        let mut told = Told::dynamic(3);
        told.install(1, &[0, 1, 2], &[0, 1, 2]);
        told.install(2, &[0, 1], &[]);
        told.push(2, What::Excluded(ViewNumber(2)));
        assert!(is_one_component(&told.0).unwrap().contains("no later incarnation"));
        let again = told.0.start_as(50, Rank(2), member(2, 2)).0;
        assert!(is_one_component(&told.0).is_some());
        told.install(3, &[0, 1, again], &[again]);
        assert_eq!(is_one_component(&told.0), None);
    }

    #[test]
    fn every_change_ends() {
        for (begins, how) in [
            (What::Joining, "let in"),
            (What::Changing, "change"),
            (What::Wedged, "for ever"),
            (What::Resumed, "wedged"),
            (What::Leaves, "let go"),
        ] {
            let mut told = Told::dynamic(2);
            told.push(0, begins);
            assert!(ends(&told.0).unwrap().contains(how));
            told.install(1, &[0, 1], &[0, 1]);
            assert_eq!(ends(&told.0), None);
        }
        let mut told = Told::dynamic(1);
        told.push(0, What::Leaves);
        told.push(0, What::Left);
        assert_eq!(ends(&told.0), None);
    }
}
