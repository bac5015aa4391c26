//! SyncOrder: a sync cast is ordered against everything. All that are handed it are handed it at the end of the same view, behind
//! the same messages and before the same.

use crate::sim::history::eras::Eras;
use crate::sim::history::{History, Message, Process};
use sistrum_ordering::{Order, ViewNumber};
use std::collections::BTreeMap;

/// Where a process delivered something: in which view, and as which of its deliveries.
type Place = (ViewNumber, usize);

pub(super) fn check(history: &History) -> Option<String> {
    if !history.casts.iter().any(|cast| cast.is_sync) {
        return None;
    }
    let eras = Eras::of(history);
    let places: Vec<(Process, BTreeMap<Message, Place>)> =
        history.all().map(|process| (process, places(&eras, process))).collect();
    let syncs = (0..history.casts.len() as u32).map(Message).filter(|at| history.cast_of(*at).is_sync);
    syncs.into_iter().find_map(|sync| {
        let mut handed = places.iter().filter(|(_, of)| of.contains_key(&sync));
        let first = handed.next()?;
        is_behind_all(history, sync, first).or_else(|| {
            handed.find_map(|other| {
                is_behind_all(history, sync, other).or_else(|| differ(history, sync, first, other))
            })
        })
    })
}

/// Messages of its own that count when they are cast stand before everything that comes in their view.
fn places(eras: &Eras<'_>, process: Process) -> BTreeMap<Message, Place> {
    let deliveries = eras.deliveries(process).enumerate();
    let mut places = BTreeMap::new();
    for (at, (number, message)) in deliveries {
        let cast = eras.history.cast_of(message);
        let counts_when_cast = cast.by == process && cast.order != Order::Total;
        places.entry(message).or_insert((number, if counts_when_cast { 0 } else { at + 1 }));
    }
    places
}

/// A message that comes behind a sync cast in the view that it ends.
fn is_behind_all(
    history: &History,
    sync: Message,
    (process, places): &(Process, BTreeMap<Message, Place>),
) -> Option<String> {
    let (number, at) = places[&sync];
    let is_behind = |(message, (view, place)): &(&Message, &Place)| {
        *view == number && *place > at && !history.cast_of(**message).is_sync
    };
    let (message, _) = places.iter().find(is_behind)?;
    let (who, sync, message) = (history.name(*process), history.named(sync), history.named(*message));
    Some(format!("{who} delivered {message} behind {sync}, and in the view that it ends"))
}

/// Another view, or a message on another side.
fn differ(
    history: &History,
    sync: Message,
    (one, here): &(Process, BTreeMap<Message, Place>),
    (other, there): &(Process, BTreeMap<Message, Place>),
) -> Option<String> {
    let (at, elsewhere) = (here[&sync], there[&sync]);
    let (one, other, name) = (history.name(*one), history.name(*other), history.named(sync));
    if at.0 != elsewhere.0 {
        return Some(format!("{one} delivered {name} at the end of {}, {other} of {}", at.0, elsewhere.0));
    }
    let is_swapped = |(message, place): &(&Message, &Place)| {
        there.get(*message).is_some_and(|there| (**place < at) != (*there < elsewhere))
    };
    let (message, _) = here.iter().find(is_swapped)?;
    Some(format!("{one} and {other} delivered {} on two sides of {name}", history.named(*message)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::What;
    use crate::sim::history::tests::Told;

    /// Two members in a view, and a sync cast.
    fn told() -> (Told, Message, Message) {
        let mut told = Told::dynamic(2);
        told.install(1, &[0, 1], &[0, 1]);
        let sync = told.sync(0);
        let message = told.cast(0, Order::Causal);
        (told, sync, message)
    }

    #[test]
    fn between_two_views_it_is_good() {
        let (mut told, sync, message) = told();
        told.deliver(1, message);
        for at in 0..2 {
            told.deliver(at, sync);
            told.push(at, What::Renumbered(ViewNumber(2)));
        }
        let next = told.cast(1, Order::Causal);
        told.deliver(0, next);
        assert_eq!(check(&told.0), None);
    }

    #[test]
    fn two_sides_and_two_views_are_found() {
        let (mut told, sync, message) = told();
        told.deliver(0, sync);
        told.deliver(1, sync);
        told.deliver(1, message);
        assert!(check(&told.0).unwrap().contains("that it ends"));
        let (mut told, sync, _) = self::told();
        told.deliver(0, sync);
        told.push(1, What::Renumbered(ViewNumber(2)));
        told.deliver(1, sync);
        assert!(check(&told.0).unwrap().contains("at the end of"));
        let (mut told, sync, _) = self::told();
        let other = told.sync(1);
        for (at, message) in [(0, sync), (0, other), (1, other), (1, sync)] {
            told.deliver(at, message);
        }
        assert!(check(&told.0).unwrap().contains("two sides"));
    }
}
