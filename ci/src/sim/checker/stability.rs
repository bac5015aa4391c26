//! SafePrefix: what a sender calls stable is held by every member, with all that precedes it. StabilityReported: in the
//! end each sender knows that all is.

use crate::sim::history::eras::Eras;
use crate::sim::history::{History, Process, What};
use std::collections::BTreeMap;

/// A sender that believes more than is so.
pub(super) fn is_held_by_all(history: &History) -> Option<String> {
    let eras = Eras::of(history);
    // What each process holds of the stream of a rank in a view of its life of the group.
    let mut held = BTreeMap::new();
    // Who says goodbye holds nobody back.
    let mut leavers = Vec::new();
    for event in &history.events {
        match event.what {
            What::Holds(view, of, to) => {
                held.insert((event.process, view, of), to);
            }
            What::Leaves => leavers.push(event.process),
            What::Stable(view, to) => {
                let members = eras.members(event.process, view);
                let Some(rank) = eras.rank(event.process, view) else { continue };
                let is_other = |process: &Process| *process != event.process && !leavers.contains(process);
                let lacks = |process: &_| held.get(&(*process, view, rank)).is_none_or(|held| *held < to);
                if let Some(other) = members.into_iter().filter(is_other).find(lacks) {
                    let (me, other) = (history.name(event.process), history.name(other));
                    return Some(format!(
                        "{me} calls its stream stable up to #{to}, which {other} does not hold"
                    ));
                }
            }
            _ => {}
        }
    }
    None
}

/// A process that does not know in the end that all have delivered what it cast.
pub(super) fn is_reported(history: &History) -> Option<String> {
    let open = history.endings.iter().find(|ending| !ending.is_settled)?;
    Some(format!("{} does not know that all have delivered what it cast", history.name(open.process)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::Ending;
    use crate::sim::history::tests::{ONLY, Told};
    use sistrum_ordering::{Rank, ViewNumber};

    #[test]
    fn all_must_hold_what_is_called_stable() {
        let mut told = Told::of(3);
        told.push(1, What::Holds(ONLY, Rank(0), 5));
        told.push(2, What::Holds(ONLY, Rank(0), 4));
        told.push(0, What::Stable(ONLY, 4));
        assert_eq!(is_held_by_all(&told.0), None);
        told.push(0, What::Stable(ONLY, 5));
        assert!(is_held_by_all(&told.0).unwrap().contains("p2"));
    }

    #[test]
    fn each_view_has_its_own_streams() {
        let mut told = Told::dynamic(3);
        told.install(1, &[0, 1], &[0, 1]);
        told.push(1, What::Holds(ViewNumber(1), Rank(0), 5));
        told.push(0, What::Stable(ViewNumber(1), 5));
        told.install(2, &[1, 2], &[2]);
        told.push(2, What::Holds(ViewNumber(2), Rank(0), 3));
        told.push(1, What::Stable(ViewNumber(2), 3));
        assert_eq!(is_held_by_all(&told.0), None);
        told.push(2, What::Stable(ViewNumber(2), 5));
        assert!(is_held_by_all(&told.0).is_some(), "what was held in the view before does not count");
    }

    #[test]
    fn in_the_end_it_is_known() {
        let mut told = Told::of(1);
        let ending = Ending { process: Process(0), is_settled: true, is_idle: true, beyond: 0 };
        told.0.endings.push(ending);
        assert_eq!(is_reported(&told.0), None);
        told.0.endings.push(Ending { is_settled: false, ..ending });
        assert!(is_reported(&told.0).is_some());
    }
}
