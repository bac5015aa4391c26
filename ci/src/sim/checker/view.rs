//! What can be said of single views: who installs one is in it, as the incarnation that it is; numbers grow; nothing is cast or
//! delivered outside a view; and all that install it agree on it, and on what comes before and after it.

use crate::sim::history::eras::Eras;
use crate::sim::history::{Event, History, Process, What};
use sistrum_ordering::{View, ViewNumber};
use std::collections::BTreeMap;

/// The views that were installed, by whom.
fn views(history: &History) -> impl Iterator<Item = (Process, &View)> {
    history.events.iter().filter_map(|event| match &event.what {
        What::Install(view) => Some((event.process, &**view)),
        _ => None,
    })
}

/// SelfInclusion: a process that installs a view is in it. With a list of members, one that came back is not: its rank is that
/// of the dead.
pub(super) fn includes_self(history: &History) -> Option<String> {
    let (process, view) = views(history).find(|(process, view)| {
        let who = history.who(*process);
        let is_itself = match history.is_dynamic {
            true => who.member.is_some() && view.member(view.me()) == who.member.as_ref(),
            false => view.me() == who.rank,
        };
        who.is_outside || !is_itself
    })?;
    Some(format!("{} installed {}, and is not in it", history.name(process), view.id().number))
}

/// LocalMonotonicity: the numbers of a process's views only grow.
pub(super) fn grows(history: &History) -> Option<String> {
    history.all().find_map(|process| {
        let mut last = None;
        let numbers = history.of(process).filter_map(|event| match &event.what {
            What::Install(view) => Some(view.id().number),
            What::Renumbered(number) => Some(*number),
            _ => None,
        });
        let bad =
            numbers.into_iter().find(|number| last.replace(*number).is_some_and(|last| *number <= last))?;
        Some(format!("{} installed view {} when it had a later one", history.name(process), bad.0))
    })
}

/// InitialView: nothing is cast or delivered outside a view, neither before the first nor behind the last.
pub(super) fn is_installed_first(history: &History) -> Option<String> {
    // Histories that are told by hand have no views, and are none of this checker's.
    views(history).next()?;
    history.all().find_map(|process| {
        let mut has_view = false;
        let event = history.of(process).find(|event| {
            match event.what {
                What::Install(_) => has_view = true,
                What::Excluded(_) | What::Left => has_view = false,
                _ => {}
            }
            !has_view && is_traffic(event)
        })?;
        Some(format!("{} has no view and {:?}", history.name(process), event.what))
    })
}

fn is_traffic(event: &Event) -> bool {
    matches!(event.what, What::Cast(_) | What::Deliver(_) | What::Alien { .. })
}

/// ViewAgreement: the same view is the same ranked list of incarnations everywhere, and a life of a group has one list of members;
/// or one sequence of views, if those change.
pub(super) fn is_agreed_on(history: &History) -> Option<String> {
    if history.is_dynamic {
        are_the_same(history).or_else(|| is_one_sequence(history))
    } else {
        is_one(history)
    }
}

/// All that install a view in one life install the same.
fn is_one(history: &History) -> Option<String> {
    let mut first: Vec<(u32, Process, &View)> = Vec::new();
    for (process, view) in views(history) {
        let life = history.who(process).life;
        let Some((_, other, known)) = first.iter().find(|(known, ..)| *known == life) else {
            first.push((life, process, view));
            continue;
        };
        if known.id() != view.id() || known.members() != view.members() {
            return Some(differ(history, (process, view), (*other, known)));
        }
    }
    None
}

fn differ(history: &History, one: (Process, &View), other: (Process, &View)) -> String {
    let differs = other.1.members().iter().zip(one.1.members()).find(|(one, other)| one != other);
    format!(
        "{} installed {:?} of {} members, {} installed {:?} of {}: of the members, {differs:?} differ",
        history.name(one.0),
        one.1.id(),
        one.1.members().len(),
        history.name(other.0),
        other.1.id(),
        other.1.members().len(),
    )
}

/// The same number means the same members; and what a view says of the one before it is the same for all who come from there.
fn are_the_same(history: &History) -> Option<String> {
    let eras = Eras::of(history);
    let mut known: BTreeMap<(u32, ViewNumber), (Process, &View)> = BTreeMap::new();
    let mut changes: BTreeMap<(u32, ViewNumber, ViewNumber), (Process, &View)> = BTreeMap::new();
    views(history).find_map(|(process, view)| {
        let (life, number) = (history.who(process).life, view.id().number);
        let (other, first) = *known.entry((life, number)).or_insert((process, view));
        if (first.id(), first.members()) != (view.id(), view.members()) {
            return Some(differ(history, (process, view), (other, first)));
        }
        let before = eras.before(process, number)?;
        let (other, first) = *changes.entry((life, before, number)).or_insert((process, view));
        let is_same = first.came() == view.came() && first.gone() == view.gone();
        let (one, other) = (history.name(process), history.name(other));
        (!is_same).then(|| {
            let (came, gone) = ((view.came(), first.came()), (view.gone(), first.gone()));
            format!("{one} and {other} installed {number}: they say {came:?} came, {gone:?} went")
        })
    })
}

/// Who leaves a view for the next one finds the same next one; and a life of a group has one instance.
fn is_one_sequence(history: &History) -> Option<String> {
    let eras = Eras::of(history);
    let mut next: BTreeMap<(u32, ViewNumber), (Process, ViewNumber)> = BTreeMap::new();
    let mut instances = BTreeMap::new();
    if let Some((process, view)) = views(history).find(|(process, view)| {
        let id = (view.id().group, view.id().instance);
        *instances.entry(history.who(*process).life).or_insert(id) != id
    }) {
        return Some(format!("{} installed {:?}, of another group", history.name(process), view.id()));
    }
    history.all().find_map(|process| {
        let life = history.who(process).life;
        eras.numbers_of(process).windows(2).find_map(|numbers| {
            let (other, known) = *next.entry((life, numbers[0])).or_insert((process, numbers[1]));
            let (one, other) = (history.name(process), history.name(other));
            (known != numbers[1])
                .then(|| format!("after {}, {one} installed {}, and {other} {known}", numbers[0], numbers[1]))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::tests::Told;
    use sistrum_ordering::{BootId, Endpoint, GroupId, GroupInstance, Rank, ViewId, ViewMember, ViewNumber};
    use sistrum_ordering::{Order, Reason};

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

    fn two_views() -> Told {
        let mut told = Told::dynamic(3);
        told.install(1, &[0, 1], &[0, 1]);
        told.cast(0, Order::Fifo);
        told.install(2, &[1, 2], &[2]);
        told
    }

    #[test]
    fn views_that_change_are_good_where_all_see_the_same() {
        let mut told = two_views();
        told.push(1, What::Renumbered(ViewNumber(3)));
        told.install_at(1, 4, &[1, 2], &[]);
        assert_eq!(faults(&told), [false; 4]);
        told.push(2, What::Renumbered(ViewNumber(3)));
        told.install_at(2, 4, &[1, 2], &[]);
        assert_eq!(faults(&told), [false; 4]);
    }

    #[test]
    fn views_that_differ_are_found() {
        let mut told = two_views();
        told.install_at(0, 2, &[0, 1], &[]);
        assert_eq!(faults(&told), [false, false, false, true], "both halves go on");
        let mut told = two_views();
        told.install_at(1, 3, &[1, 2], &[]);
        told.install_at(2, 4, &[1, 2], &[]);
        assert_eq!(faults(&told), [false, false, false, true], "one of them left one out");
        let mut told = Told::dynamic(3);
        told.install(1, &[0, 1, 2], &[0, 1, 2]);
        for (at, reason) in [(0, Reason::Left), (1, Reason::Suspected)] {
            let view = told.view(at, 2, &[0, 1], &[], reason);
            told.push(at, view);
        }
        assert_eq!(faults(&told), [false, false, false, true], "they differ on why it went");
    }

    #[test]
    fn who_is_out_says_and_hears_nothing_and_is_nobody_else() {
        let mut told = two_views();
        told.push(0, What::Excluded(ViewNumber(2)));
        assert_eq!(faults(&told), [false; 4]);
        told.cast(0, Order::Fifo);
        assert_eq!(faults(&told), [false, false, true, false]);
        let mut told = two_views();
        let views = told.view(1, 3, &[1, 2], &[], Reason::Left);
        told.push(2, views);
        assert_eq!(faults(&told), [true, false, false, false]);
        let mut told = two_views();
        told.push(1, What::Renumbered(ViewNumber(2)));
        assert_eq!(faults(&told), [false, true, false, false]);
    }
}
