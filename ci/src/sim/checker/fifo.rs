//! Fifo and ReliableFifo: each sender's messages, of whatever order, come in the order in which it cast them; none is
//! missing before one that came. Unordered ones promise less, and keep it all the same: they travel in the same stream.
//!
//! A process that delivers its own total casts later than its other ones inverts nothing: it knows what it cast.

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
    let at = |process: Process| {
        let mut next = vec![0; history.processes.len()];
        let mut seen = vec![false; history.casts.len()];
        let mut is_bad = |message: &Message| {
            let cast = history.cast_of(*message);
            // What comes twice is another property's.
            if cast.by == process || std::mem::replace(&mut seen[message.0 as usize], true) {
                return false;
            }
            let next = &mut next[cast.by.0 as usize];
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
    fn a_causal_cast_that_overtakes_a_total_one_is_a_swap() {
        let (mut told, messages) = told();
        told.deliver(1, messages[1]);
        assert!(gaps(&told.0).is_some());
        assert_eq!(swaps(&told.0), None);
        told.deliver(1, messages[0]);
        assert!(swaps(&told.0).is_some());
    }
}
