//! SafePrefix: what a sender calls stable is held by every member, with all that precedes it. StabilityReported: in the
//! end each sender knows that all is.

use crate::sim::history::{History, Process, What};
use std::collections::BTreeMap;

/// A sender that believes more than is so.
pub(super) fn is_held_by_all(history: &History) -> Option<String> {
    // What each process holds of the stream of a rank in its life of the group.
    let mut held = BTreeMap::new();
    // Who says goodbye holds nobody back.
    let mut leavers = Vec::new();
    for event in &history.events {
        let who = history.who(event.process);
        match event.what {
            What::Holds(of, to) => {
                held.insert((event.process, of), to);
            }
            What::Leaves => leavers.push(event.process),
            What::Stable(to) => {
                let is_other = |process: &Process| {
                    let other = history.who(*process);
                    let is_member = other.life == who.life && !other.is_outside;
                    is_member && other.rank != who.rank && !leavers.contains(process)
                };
                let others = history.all().filter(is_other);
                let lacks = |process: &_| held.get(&(*process, who.rank)).is_none_or(|held| *held < to);
                if let Some(other) = others.into_iter().find(lacks) {
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
    use crate::sim::history::tests::Told;
    use sistrum_ordering::Rank;

    #[test]
    fn all_must_hold_what_is_called_stable() {
        let mut told = Told::of(3);
        told.push(1, What::Holds(Rank(0), 5));
        told.push(2, What::Holds(Rank(0), 4));
        told.push(0, What::Stable(4));
        assert_eq!(is_held_by_all(&told.0), None);
        told.push(0, What::Stable(5));
        assert!(is_held_by_all(&told.0).unwrap().contains("p2"));
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
