//! Fifo and ReliableFifo: each sender's messages, of whatever order, come in the order in which it cast them; none is
//! missing before one that came. Unordered ones promise less, and keep it all the same: they travel in the same stream.
//!
//! Where views change, a process is owed what is cast in its first view and later: a member that goes on with it loses nothing.
//! Sync casts are in nobody's stream.
//!
//! A process that delivers its own total casts later than its other ones inverts nothing: it knows what it cast.

use crate::sim::history::eras::Eras;
use crate::sim::history::{History, Message, Process};

/// A message that comes after a later one of its sender.
pub(super) fn swaps(history: &History) -> Option<String> {
    first(history, |next, number| number < next, "after a later one")
}

/// A message that comes before an earlier one of its sender, or without it.
pub(super) fn gaps(history: &History) -> Option<String> {
    first(history, |next, number| number > next, "before an earlier one")
}

/// The first delivery whose number among its sender's, against the one that should be next, is `bad`.
fn first(history: &History, bad: impl Fn(u32, u32) -> bool, how: &str) -> Option<String> {
    let eras = Eras::of(history);
    let at = |process: Process| {
        let mut next = vec![None; history.processes.len()];
        let mut seen = vec![false; history.casts.len()];
        let mut is_bad = |message: &Message| {
            let cast = history.cast_of(*message);
            // What comes twice is another property's.
            if cast.by == process || cast.is_sync || std::mem::replace(&mut seen[message.0 as usize], true) {
                return false;
            }
            let next = next[cast.by.0 as usize].get_or_insert_with(|| eras.first_owed(process, cast.by));
            let found = bad(*next, cast.number);
            *next = (cast.number + 1).max(*next);
            found
        };
        let message = history.deliveries(process).find(|message| is_bad(message))?;
        Some(format!("{} delivered {} {how}", history.name(process), history.named(message)))
    };
    history.all().find_map(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::tests::Told;
    use sistrum_ordering::Order;

    fn told() -> (Told, [Message; 3]) {
        let mut told = Told::of(2);
        let messages = [Order::Total, Order::Causal, Order::Fifo].map(|order| told.cast(0, order));
        (told, messages)
    }

    #[test]
    fn in_order_without_a_gap_is_good_and_the_end_may_be_missing() {
        let (mut told, messages) = told();
        messages[..2].iter().for_each(|&message| told.deliver(1, message));
        told.deliver(0, messages[0]);
        assert_eq!((swaps(&told.0), gaps(&told.0)), (None, None));
    }

    #[test]
    fn a_joiner_begins_with_what_is_cast_in_its_first_view() {
        let mut told = Told::dynamic(3);
        told.install(1, &[0, 1], &[0, 1]);
        told.cast(0, Order::Fifo);
        told.install(2, &[0, 1, 2], &[2]);
        let next = [told.cast(0, Order::Fifo), told.cast(0, Order::Fifo)];
        let mut gap = Told(told.0.clone());
        told.deliver(2, next[0]);
        told.deliver(2, next[1]);
        assert_eq!((swaps(&told.0), gaps(&told.0)), (None, None));
        gap.deliver(2, next[1]);
        assert!(gaps(&gap.0).is_some());
    }

    #[test]
    fn a_causal_cast_that_overtakes_a_total_one_is_a_swap() {
        let (mut told, messages) = told();
        told.deliver(1, messages[1]);
        assert!(gaps(&told.0).is_some());
        assert_eq!(swaps(&told.0), None);
        told.deliver(1, messages[0]);
        assert!(swaps(&told.0).is_some());
    }
}
