//! Views and messages: a message is delivered in the view that it was sent in; who goes on together has delivered the same; and
//! each is told exactly who comes along.

use crate::sim::history::eras::Eras;
use crate::sim::history::{History, Message, Process, What};
use sistrum_ordering::{ViewMember, ViewNumber};
use std::collections::{BTreeMap, BTreeSet};

/// SendingView: where it is delivered, and where it can have been sent.
pub(super) fn is_in_its_view(history: &History) -> Option<String> {
    let eras = Eras::of(history);
    (0..history.events.len()).find_map(|at| {
        let event = &history.events[at];
        let number = eras.number(at);
        match event.what {
            What::Deliver(message) if !history.cast_of(message).is_sync => {
                let sent = eras.sent_in(message)?;
                let (who, what) = (history.name(event.process), history.named(message));
                (sent != number).then(|| format!("{who} delivered {what} of {sent} in {number}"))
            }
            What::Cast(message) => {
                let sent =
                    eras.sent_in(message).filter(|sent| !can_send(&eras, event.process, number, *sent))?;
                let (who, what) = (history.name(event.process), history.named(message));
                // A sync cast is handed over wherever the next change is.
                (!history.cast_of(message).is_sync || sent < number)
                    .then(|| format!("{who} cast {what} in {number}, and it was sent in {sent}"))
            }
            _ => None,
        }
    })
}

/// Whether what a process casts in this view may be sent in that one: the same, or a later one that it goes to.
fn can_send(eras: &Eras<'_>, process: Process, number: ViewNumber, sent: ViewNumber) -> bool {
    let is_reached = eras.numbers_of(process).contains(&sent);
    sent >= number && (is_reached || !eras.goes_on(process, sent))
}

/// VirtualSynchrony: processes that go from one view to the next together delivered the same in it.
pub(super) fn is_the_same_for_all(history: &History) -> Option<String> {
    let eras = Eras::of(history);
    let mut known: BTreeMap<(u32, ViewNumber, ViewNumber), (Process, BTreeSet<Message>)> = BTreeMap::new();
    history.all().find_map(|process| {
        let mut sets: BTreeMap<ViewNumber, BTreeSet<Message>> = BTreeMap::new();
        for (number, message) in eras.deliveries(process) {
            sets.entry(number).or_default().insert(message);
        }
        let life = history.who(process).life;
        eras.numbers_of(process).windows(2).find_map(|numbers| {
            let set = sets.remove(&numbers[0]).unwrap_or_default();
            let Some((other, first)) = known.get(&(life, numbers[0], numbers[1])) else {
                known.insert((life, numbers[0], numbers[1]), (process, set));
                return None;
            };
            let differs = *set.symmetric_difference(first).next()?;
            let (has, lacks) = if set.contains(&differs) { (process, *other) } else { (*other, process) };
            Some(format!(
                "{} and {} went from {} to {}, and only the first delivered {}",
                history.name(has),
                history.name(lacks),
                numbers[0],
                numbers[1],
                history.named(differs)
            ))
        })
    })
}

/// TransitionalSet: with a view, each learns exactly who came with it from the one before.
pub(super) fn is_told_who_comes_along(history: &History) -> Option<String> {
    let eras = Eras::of(history);
    history.all().find_map(|process| {
        let mut before: &[ViewMember] = &[];
        eras.installed(process).find_map(|view| {
            let told: Vec<ViewMember> =
                view.with_me().filter_map(|rank| view.member(rank).copied()).collect();
            let am_new = before.is_empty();
            let me = view.member(view.me());
            let comes =
                |member: &&ViewMember| if am_new { Some(*member) == me } else { before.contains(member) };
            let along: Vec<ViewMember> = view.members().iter().filter(comes).copied().collect();
            before = view.members();
            let (who, number) = (history.name(process), view.id().number);
            if told != along {
                return Some(format!(
                    "{who} was told in {number} that {told:?} came along, it was {along:?}"
                ));
            }
            let from = eras.before(process, number);
            let strange = told.iter().filter_map(|member| eras.process(*member)).find(|other| {
                eras.numbers_of(*other).contains(&number) && eras.before(*other, number) != from
            })?;
            Some(format!(
                "{who} was told in {number} that {} came along, which did not",
                history.name(strange)
            ))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::tests::Told;
    use sistrum_ordering::{Order, Reason};

    fn told() -> Told {
        let mut told = Told::dynamic(3);
        told.install(1, &[0, 1, 2], &[0, 1, 2]);
        told
    }

    #[test]
    fn a_message_is_delivered_in_the_view_of_its_block() {
        let mut told = told();
        let early = told.cast(0, Order::Fifo);
        told.deliver(1, early);
        let next = told.cast_in(0, Order::Fifo, Some(ViewNumber(2)), 0);
        told.install(2, &[0, 1, 2], &[]);
        told.deliver(1, next);
        assert_eq!(is_in_its_view(&told.0), None);
        told.deliver(2, early);
        assert!(is_in_its_view(&told.0).unwrap().contains("p2 "));
    }

    #[test]
    fn what_is_held_is_sent_in_one_view() {
        let mut told = told();
        let held = told.cast_in(0, Order::Fifo, None, 0);
        told.install(2, &[0, 1, 2], &[]);
        told.deliver(1, held);
        assert_eq!(is_in_its_view(&told.0), None);
        told.push(2, What::Renumbered(ViewNumber(3)));
        told.deliver(2, held);
        assert!(is_in_its_view(&told.0).is_some());
    }

    #[test]
    fn nothing_is_sent_in_a_view_that_is_over_or_is_never_reached() {
        let mut told = told();
        told.install(2, &[0, 1, 2], &[]);
        told.cast_in(0, Order::Fifo, Some(ViewNumber(1)), 0);
        assert!(is_in_its_view(&told.0).unwrap().contains("sent in v1"));
    }

    #[test]
    fn who_goes_on_together_delivered_the_same() {
        let mut told = told();
        let message = told.cast(0, Order::Causal);
        told.deliver(2, message);
        told.install_at(0, 2, &[0, 1], &[]);
        assert_eq!(is_the_same_for_all(&told.0), None);
        let mut good = Told(told.0.clone());
        good.deliver(1, message);
        good.install_at(1, 2, &[0, 1], &[]);
        assert_eq!(is_the_same_for_all(&good.0), None, "who did not go on delivers what it likes");
        told.install_at(1, 2, &[0, 1], &[]);
        assert!(is_the_same_for_all(&told.0).unwrap().contains("only the first"));
    }

    #[test]
    fn who_comes_along_is_told_exactly() {
        let mut told = Told::dynamic(3);
        told.install(1, &[0, 1], &[0, 1]);
        told.install(2, &[0, 1, 2], &[2]);
        assert_eq!(is_told_who_comes_along(&told.0), None);
        for came in [&[2][..], &[]] {
            let mut told = Told::dynamic(3);
            told.install(1, &[0, 1, 2], &[0, 1, 2]);
            let view = told.view(0, 2, &[0, 1, 2], came, Reason::Left);
            told.push(0, view);
            assert_eq!(is_told_who_comes_along(&told.0).is_none(), came.is_empty());
        }
        // One that is said to come along has not been through the view before.
        let mut told = Told::dynamic(2);
        told.install(1, &[0, 1], &[0, 1]);
        told.push(0, What::Renumbered(ViewNumber(2)));
        told.install(3, &[0, 1], &[]);
        assert!(is_told_who_comes_along(&told.0).unwrap().contains("which did not"));
    }
}
