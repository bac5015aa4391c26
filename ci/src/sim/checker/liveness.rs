//! Termination and SelfDelivery: once all is healed, every cast of the living is delivered by all of the living.

use crate::sim::history::{History, Message, Process};

/// A cast that did not reach another process.
pub(super) fn termination(history: &History) -> Option<String> {
    first_missing(history, |process, by| process != by)
}

/// A total cast that did not come back to its sender.
pub(super) fn self_delivery(history: &History) -> Option<String> {
    first_missing(history, |process, by| process == by)
}

fn first_missing(history: &History, concerns: impl Fn(Process, Process) -> bool) -> Option<String> {
    history.all().find_map(|process| {
        let mut got = vec![false; history.casts.len()];
        history.deliveries(process).for_each(|message| got[message.0 as usize] = true);
        let missing = |message: &Message| {
            !got[message.0 as usize]
                && history.is_owed(process, *message)
                && concerns(process, history.cast_of(*message).by)
        };
        let message = (0..history.casts.len() as u32).map(Message).find(missing)?;
        let left = got.iter().filter(|got| !**got).count();
        Some(format!("{} never delivered {}, {left} in all", history.name(process), history.named(message)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::tests::Told;
    use sistrum_ordering::Order;

    #[test]
    fn what_never_comes_is_found() {
        let mut told = Told::of(3);
        let message = told.cast(0, Order::Total);
        told.deliver(1, message);
        assert!(termination(&told.0).unwrap().contains("p2"));
        assert!(self_delivery(&told.0).is_some());
        told.deliver(2, message);
        told.deliver(0, message);
        assert_eq!((termination(&told.0), self_delivery(&told.0)), (None, None));
    }

    #[test]
    fn nothing_is_asked_of_the_dead() {
        let mut told = Told::of(2);
        told.cast(0, Order::Fifo);
        told.0.crash(5, Process(1));
        assert_eq!(termination(&told.0), None);
    }
}
