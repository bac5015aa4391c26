//! Total: one order of a group's total casts, the same at all, without gaps: whoever delivered fewer delivered a prefix.
//!
//! Where views change, that is asked of each view: what was delivered in it by those that went on is its order. Whoever is lost
//! is bound in its last view up to its last safe message: all that precedes that one is held by all.

use crate::sim::history::eras::Eras;
use crate::sim::history::{History, Message, Process};
use sistrum_ordering::{Order, ViewNumber};
use std::collections::BTreeMap;

/// What one process delivered in one view.
struct Delivered {
    process: Process,
    order: Vec<Message>,
    /// It went on to a later view: there is no more to come.
    is_whole: bool,
}

pub(super) fn check(history: &History) -> Option<String> {
    if !history.casts.iter().any(|cast| cast.order == Order::Total) {
        return None;
    }
    let eras = Eras::of(history);
    let mut views: BTreeMap<(u32, ViewNumber), Vec<Delivered>> = BTreeMap::new();
    for process in history.all() {
        for (number, order) in totals(&eras, process) {
            let is_whole = eras.goes_on(process, number);
            let delivered = Delivered { process, order: bound(&eras, process, number, order), is_whole };
            views.entry((history.who(process).life, number)).or_default().push(delivered);
        }
    }
    views.values().find_map(|of| differs(history, of))
}

/// The total messages that a process delivered, by view.
fn totals(eras: &Eras<'_>, process: Process) -> BTreeMap<ViewNumber, Vec<Message>> {
    let mut totals: BTreeMap<_, Vec<_>> = BTreeMap::new();
    // Who went through a view without any has delivered none of them.
    eras.numbers_of(process).iter().for_each(|number| _ = totals.entry(*number).or_default());
    for (number, message) in eras.deliveries(process) {
        if eras.history.cast_of(message).order == Order::Total {
            totals.entry(number).or_default().push(message);
        }
    }
    totals
}

/// What of `order` binds a process.
fn bound(eras: &Eras<'_>, process: Process, number: ViewNumber, mut order: Vec<Message>) -> Vec<Message> {
    if !eras.is_bound(process, number) {
        let last = order.iter().rposition(|message| eras.history.cast_of(*message).is_safe);
        order.truncate(last.map_or(0, |last| last + 1));
    }
    order
}

fn differs(history: &History, of: &[Delivered]) -> Option<String> {
    let longest = of.iter().max_by_key(|delivered| (delivered.is_whole, delivered.order.len()))?;
    of.iter().find_map(|delivered| {
        let (one, other) = (&delivered.order, &longest.order);
        let (name, reference) = (history.name(delivered.process), history.name(longest.process));
        if let Some(at) = one.iter().zip(other).position(|(one, other)| one != other) {
            let (one, other) = (history.named(one[at]), history.named(other[at]));
            return Some(format!(
                "the total casts number {at} are {one} at {name} and {other} at {reference}"
            ));
        }
        let more = one.get(other.len())?;
        Some(format!(
            "{name} delivered the total cast {}, and {reference} went on without it",
            history.named(*more)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::tests::Told;

    fn told(orders: [&[usize]; 3]) -> Told {
        let mut told = Told::of(3);
        let messages = [told.cast(0, Order::Total), told.cast(1, Order::Total), told.cast(2, Order::Total)];
        for (process, order) in orders.into_iter().enumerate() {
            order.iter().for_each(|&at| told.deliver(process as u16, messages[at]));
        }
        told
    }

    #[test]
    fn prefixes_of_one_order_are_good() {
        assert_eq!(check(&told([&[2, 0, 1], &[2, 0], &[]]).0), None);
    }

    #[test]
    fn a_swap_and_a_gap_are_found() {
        assert!(check(&told([&[0, 1], &[1, 0], &[]]).0).is_some());
        assert!(check(&told([&[0, 1, 2], &[0, 2], &[]]).0).is_some());
    }

    /// Three members deliver so in view 1; the first two go on.
    fn until_the_cut(orders: [&[usize]; 3], promise: sistrum_ordering::Promise) -> Told {
        let mut told = Told::dynamic(3);
        told.install(1, &[0, 1, 2], &[0, 1, 2]);
        let messages = [told.cast(0, promise), told.cast(1, promise), told.cast(2, promise)];
        for (process, order) in orders.into_iter().enumerate() {
            order.iter().for_each(|&at| told.deliver(process as u16, messages[at]));
        }
        told.install(2, &[0, 1], &[]);
        told
    }

    #[test]
    fn the_lost_are_bound_by_what_is_safe() {
        let (plain, safe) = (Order::Total.into(), Order::Total.safe());
        for (orders, promise, is_good) in [
            ([&[0, 1][..], &[0, 1], &[1, 2]], plain, true),
            ([&[0, 1], &[0, 1], &[1, 2]], safe, false),
            ([&[0, 1], &[0, 1], &[0, 1, 2]], safe, false),
            ([&[0, 1], &[0, 1], &[0]], safe, true),
            ([&[0, 1], &[1, 0], &[]], plain, false),
        ] {
            assert_eq!(check(&until_the_cut(orders, promise).0).is_none(), is_good, "{orders:?}");
        }
    }

    #[test]
    fn the_living_deliver_no_more_than_those_who_went_on() {
        let mut told = Told::dynamic(2);
        told.install(1, &[0, 1], &[0, 1]);
        let message = told.cast(0, Order::Total);
        told.deliver(1, message);
        assert_eq!(check(&told.0), None);
        told.install_at(0, 2, &[0, 1], &[]);
        assert!(check(&told.0).unwrap().contains("went on without it"));
    }
}
