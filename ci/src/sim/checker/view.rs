//! What can be said of views while there is one for each life of a group: who installs it is in it, as the incarnation that
//! it is; all that install it agree on it; and nothing is cast or delivered before it.
//!
//! The properties of views that change find their place here too.

use crate::sim::history::{Event, History, Process, What};
use sistrum_ordering::View;

/// The views that were installed, by whom.
fn views(history: &History) -> impl Iterator<Item = (Process, &View)> {
    history.events.iter().filter_map(|event| match &event.what {
        What::Install(view) => Some((event.process, &**view)),
        _ => None,
    })
}

/// SelfInclusion: a process that installs a view is in it. One that came back is not: its rank is that of the dead.
pub(super) fn includes_self(history: &History) -> Option<String> {
    let (process, view) = views(history).find(|(process, view)| {
        let who = history.who(*process);
        who.is_outside || view.me() != who.rank
    })?;
    Some(format!("{} installed {}, and is not in it", history.name(process), view.id().number))
}

/// LocalMonotonicity: the numbers of a process's views only grow.
pub(super) fn grows(history: &History) -> Option<String> {
    history.all().find_map(|process| {
        let mut last = None;
        let numbers = views(history).filter(|(by, _)| *by == process).map(|(_, view)| view.id().number.0);
        let bad =
            numbers.into_iter().find(|number| last.replace(*number).is_some_and(|last| *number <= last))?;
        Some(format!("{} installed view {bad} when it had a later one", history.name(process)))
    })
}

/// InitialView: nothing is cast or delivered outside a view.
pub(super) fn is_installed_first(history: &History) -> Option<String> {
    let is_traffic =
        |event: &&Event| matches!(event.what, What::Cast(_) | What::Deliver(_) | What::Alien { .. });
    let has_view = |process| views(history).any(|(by, _)| by == process);
    // Histories that are told by hand have no views, and are none of this checker's.
    views(history).next()?;
    history.all().find_map(|process| {
        let mut before = history.of(process).take_while(|event| !matches!(event.what, What::Install(_)));
        let event = before.find(is_traffic)?;
        Some(format!(
            "{} has no view (later: {}) and {:?}",
            history.name(process),
            has_view(process),
            event.what
        ))
    })
}

/// ViewAgreement: the same view is the same ranked list of incarnations everywhere, and a life of a group has one.
pub(super) fn is_agreed_on(history: &History) -> Option<String> {
    let mut first: Vec<(u32, Process, &View)> = Vec::new();
    for (process, view) in views(history) {
        let life = history.who(process).life;
        let Some((_, other, known)) = first.iter().find(|(known, ..)| *known == life) else {
            first.push((life, process, view));
            continue;
        };
        if known.id() != view.id() || known.members() != view.members() {
            let differs = known.members().iter().zip(view.members()).find(|(one, other)| one != other);
            return Some(format!(
                "{} installed {:?}, {} installed {:?}: of the members, {differs:?} differ",
                history.name(process),
                view.id(),
                history.name(*other),
                known.id()
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::tests::Told;
    use sistrum_ordering::Order;
    use sistrum_ordering::{BootId, Endpoint, GroupId, GroupInstance, Rank, ViewId, ViewMember, ViewNumber};

    fn view(number: u32, boots: [u64; 2], me: u16) -> What {
        let id = ViewId { group: GroupId(1), instance: GroupInstance(2), number: ViewNumber(number) };
        let member =
            |(at, boot)| ViewMember { endpoint: Endpoint(([10, 0, 0, at], 7).into()), boot: BootId(boot) };
        What::Install(Box::new(View::new(id, (0..).zip(boots).map(member).collect(), Rank(me))))
    }

    fn faults(told: &Told) -> [bool; 4] {
        [includes_self, grows, is_installed_first, is_agreed_on].map(|check| check(&told.0).is_some())
    }

    #[test]
    fn one_view_for_all_is_good() {
        let mut told = Told::of(2);
        told.push(0, view(1, [8, 9], 0));
        told.cast(0, Order::Fifo);
        told.push(1, view(1, [8, 9], 1));
        assert_eq!(faults(&told), [false; 4]);
    }

    #[test]
    fn each_promise_of_a_view_is_kept_or_found_broken() {
        let mut told = Told::of(2);
        told.push(0, view(1, [8, 9], 0));
        told.push(1, view(1, [8, 7], 1));
        assert_eq!(faults(&told), [false, false, false, true]);
        let mut told = Told::of(2);
        told.push(1, view(1, [8, 9], 0));
        assert_eq!(faults(&told), [true, false, false, false]);
        told.push(0, view(1, [8, 9], 0));
        told.push(0, view(1, [8, 9], 0));
        assert_eq!(faults(&told), [true, true, false, false]);
        let mut told = Told::of(2);
        told.cast(1, Order::Fifo);
        told.push(0, view(1, [8, 9], 0));
        assert_eq!(faults(&told), [false, false, true, false]);
    }
}
