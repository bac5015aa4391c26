//! PrimaryChain: the views of a group are one sequence without a hole. Of each, a quorum goes on to the next, or left because it
//! had asked to; at least one goes on. Who is out does not come back but as a later incarnation.

use crate::sim::history::eras::Eras;
use crate::sim::history::{History, Process, What};
use sistrum_ordering::{BootId, Endpoint, Rank, Reason, View, ViewMember, ViewNumber};
use std::collections::HashMap;

pub(super) fn check(history: &History) -> Option<String> {
    let eras = Eras::of(history);
    let views: Vec<_> = eras.views().collect();
    let links = views.windows(2).filter(|pair| pair[0].0.0 == pair[1].0.0);
    let broken = links.into_iter().find_map(|pair| {
        let (((life, number), old), ((_, next), new)) = (pair[0], pair[1]);
        broken(&eras, life, (number, old), (next, new))
    });
    broken.or_else(|| returns(&views))
}

/// What is wrong with the step from one view to the next.
fn broken(
    eras: &Eras<'_>,
    life: u32,
    (number, old): (ViewNumber, &View),
    (next, new): (ViewNumber, &View),
) -> Option<String> {
    if next.0 != number.0 + 1 {
        return Some(format!("after {number} comes {next}: nobody installed what lies between them"));
    }
    let common: Vec<ViewMember> =
        old.members().iter().copied().filter(|member| new.members().contains(member)).collect();
    if !having_state(new).any(|member| common.contains(&member)) {
        return Some(format!("no member of {number} is in {next} and has the state"));
    }
    // Where all who went on died at once, nobody knows who left.
    let mut leavers = leavers(eras, life, number, next)?;
    leavers.extend(common);
    (!is_quorum(old, &leavers)).then(|| {
        format!("of {} members of {number}, {next} has or let go only {leavers:?}", old.members().len())
    })
}

/// Who left between these two views because it had asked to, as those say who went through both.
fn leavers(eras: &Eras<'_>, life: u32, number: ViewNumber, next: ViewNumber) -> Option<Vec<ViewMember>> {
    let history = eras.history;
    let went =
        |process: &Process| history.who(*process).life == life && eras.before(*process, next) == Some(number);
    let process = history.all().find(went)?;
    let installed = history.of(process).find_map(|event| match &event.what {
        What::Install(view) if view.id().number == next => Some(view),
        _ => None,
    });
    let gone = installed.map(|view| view.gone()).unwrap_or_default().iter();
    Some(gone.filter(|(_, reason)| *reason == Reason::Left).map(|(member, _)| *member).collect())
}

/// Of those who have the state, more than half, or half with the oldest.
fn is_quorum(view: &View, members: &[ViewMember]) -> bool {
    let voters: Vec<ViewMember> = having_state(view).collect();
    let (have, all) = (2 * voters.iter().filter(|voter| members.contains(voter)).count(), voters.len());
    have > all || (have == all && voters.first().is_some_and(|oldest| members.contains(oldest)))
}

/// Who has the state in a view.
pub(super) fn having_state(view: &View) -> impl Iterator<Item = ViewMember> {
    let ranked = (0..).map(Rank).zip(view.members());
    ranked.filter(|(rank, _)| view.is_ready(*rank)).map(|(_, member)| *member)
}

/// An incarnation that is in a view again, or an older one of an endpoint.
fn returns(views: &[((u32, ViewNumber), &View)]) -> Option<String> {
    let mut last: HashMap<(u32, Endpoint), BootId> = HashMap::new();
    let mut before: Option<&View> = None;
    for ((life, number), view) in views {
        for member in view.members() {
            let goes_on = before.is_some_and(|before| before.members().contains(member));
            let known = last.insert((*life, member.endpoint), member.boot);
            if !goes_on && known.is_some_and(|known| known >= member.boot) {
                return Some(format!("{member:?} is in {number}, which was out already"));
            }
        }
        before = Some(view);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::tests::{Told, member};
    use sistrum_ordering::Rank;

    fn told(members: u16) -> Told {
        let mut told = Told::dynamic(members);
        let all: Vec<u16> = (0..members).collect();
        told.install(1, &all, &all);
        told
    }

    #[test]
    fn a_majority_or_the_half_with_the_oldest_goes_on() {
        for (members, next, is_good) in [
            (3, &[1, 2][..], true),
            (3, &[2], false),
            (4, &[0, 3], true),
            (4, &[1, 2], false),
            (5, &[2, 3, 4], true),
        ] {
            let mut told = told(members);
            told.install(2, next, &[]);
            assert_eq!(check(&told.0).is_none(), is_good, "{members} {next:?}");
        }
    }

    #[test]
    fn who_asked_to_leave_counts() {
        for (reason, is_good) in [(Reason::Left, true), (Reason::Suspected, false)] {
            let mut told = told(3);
            let view = told.view(2, 2, &[2], &[], reason);
            told.push(2, view);
            assert_eq!(check(&told.0).is_none(), is_good);
        }
    }

    #[test]
    fn holes_and_strangers_are_found() {
        let mut hole = told(2);
        hole.install(3, &[0, 1], &[]);
        assert!(check(&hole.0).unwrap().contains("between"));
        let mut strange = Told::dynamic(3);
        strange.install(1, &[0, 1], &[0, 1]);
        strange.install(2, &[2], &[2]);
        assert!(check(&strange.0).unwrap().contains("no member"));
    }

    #[test]
    fn only_a_later_incarnation_comes_back() {
        let mut told = told(3);
        told.install(2, &[0, 1], &[]);
        let mut bad = Told(told.0.clone());
        let again = told.0.start_as(50, Rank(2), member(2, 2)).0;
        told.install(3, &[0, 1, again], &[again]);
        assert_eq!(check(&told.0), None);
        bad.install(3, &[0, 1, 2], &[2]);
        assert!(check(&bad.0).unwrap().contains("out already"));
        let mut older = self::told(3);
        older.install(2, &[0, 1], &[]);
        let old = older.0.start_as(50, Rank(2), member(2, 0)).0;
        older.install(3, &[0, 1, old], &[old]);
        assert!(check(&older.0).unwrap().contains("out already"));
    }
}
