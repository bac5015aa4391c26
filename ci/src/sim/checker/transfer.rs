//! State transfer: all who come to a view have the same state there, whether they got it by messages or from another; and nobody counts as
//! having it before.

use crate::sim::history::eras::Eras;
use crate::sim::history::{History, Process, What};
use std::collections::BTreeMap;

/// TransferCut: where a view begins, all that install it are in the same state; who was joining has got it before it is said to be ready;
/// and no transfer fails, but where more came meanwhile than may be kept.
pub(super) fn is_at_the_cut(history: &History) -> Option<String> {
    let eras = Eras::of(history);
    states_differ(&eras).or_else(|| is_ready_early(&eras)).or_else(|| fails(history))
}

fn states_differ(eras: &Eras<'_>) -> Option<String> {
    let history = eras.history;
    let mut states: BTreeMap<_, (Process, u64)> = BTreeMap::new();
    history.events.iter().enumerate().find_map(|(at, event)| {
        let What::State(state) = event.what else { return None };
        let number = eras.number(at);
        let key = (history.who(event.process).life, number);
        let (first, known) = *states.entry(key).or_insert((event.process, state));
        (known != state).then(|| {
            let (one, other) = (history.name(first), history.name(event.process));
            format!("{one} and {other} came to view {} in different states", number.0)
        })
    })
}

fn is_ready_early(eras: &Eras<'_>) -> Option<String> {
    let history = eras.history;
    history.events.iter().enumerate().find_map(|(at, event)| {
        let What::Install(view) = &event.what else { return None };
        let early = view.readied().iter().find_map(|rank| {
            let process = eras.process(*view.member(*rank)?)?;
            let mut before = history.events[..at].iter().filter(|event| event.process == process);
            (!before.any(|event| event.what == What::Restored)).then_some(process)
        })?;
        let (early, number) = (history.name(early), view.id().number.0);
        Some(format!("{early} is said to be ready in view {number}, and has not got the state"))
    })
}

fn fails(history: &History) -> Option<String> {
    history.events.iter().find_map(|event| match &event.what {
        What::TransferFailed(why) if !why.contains("the spool") => {
            Some(format!("{} got no state: {why}", history.name(event.process)))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::tests::Told;

    fn joined(states: [u64; 2], restores: bool) -> Option<String> {
        let mut told = Told::dynamic(2);
        told.install(1, &[0], &[0]);
        if restores {
            told.push(1, What::Restored);
        }
        told.install(2, &[0, 1], &[1]);
        // Both have installed it by now: the states are those of the last to do so.
        told.push(0, What::State(states[0]));
        told.push(1, What::State(states[1]));
        is_at_the_cut(&told.0)
    }

    #[test]
    fn states_are_compared_where_a_view_begins() {
        assert_eq!(joined([7, 7], true), None);
        assert!(joined([7, 8], true).is_some_and(|how| how.contains("different states")));
    }

    #[test]
    fn nobody_is_ready_before_it_has_the_state() {
        use sistrum_ordering::{Change, Rank, Reason};
        let ready = |restores: bool| {
            let mut told = Told::dynamic(2);
            told.install(1, &[0, 1], &[0, 1]);
            if restores {
                told.push(1, What::Restored);
            }
            let What::Install(view) = told.view(0, 2, &[0, 1], &[], Reason::Left) else { unreachable!() };
            let change = Change { readied: vec![Rank(1)], ..Change::default() };
            told.push(0, What::Install(Box::new(view.behind(change))));
            is_at_the_cut(&told.0)
        };
        assert_eq!(ready(true), None);
        assert!(ready(false).is_some_and(|how| how.contains("ready in view 2")));
    }

    #[test]
    fn a_transfer_fails_only_for_want_of_room() {
        let failed = |why: &str| {
            let mut told = Told::dynamic(1);
            told.push(0, What::TransferFailed(why.to_owned()));
            is_at_the_cut(&told.0)
        };
        assert_eq!(failed("more came than the spool of 7 bytes holds"), None);
        assert!(failed("another checksum").is_some());
    }
}
