//! Termination and SelfDelivery: once all is healed, every cast of the living is delivered by all of the living that are in its view.

use crate::sim::history::eras::Eras;
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
    let eras = Eras::of(history);
    history.all().find_map(|process| {
        let mut got = vec![false; history.casts.len()];
        history.deliveries(process).for_each(|message| got[message.0 as usize] = true);
        let missing = |message: &Message| {
            !got[message.0 as usize]
                && eras.is_owed(process, *message)
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
    use crate::sim::history::What;
    use crate::sim::history::tests::Told;
    use sistrum_ordering::{Order, ViewNumber};

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
    fn a_cast_is_owed_to_its_own_view_held_ones_to_a_later_one() {
        let mut told = Told::dynamic(3);
        told.install(1, &[0, 1], &[0, 1]);
        let early = told.cast(0, Order::Fifo);
        told.deliver(1, early);
        let held = told.cast_in(0, Order::Total, None, 0);
        told.install(2, &[0, 1, 2], &[2]);
        assert!(termination(&told.0).is_some() && self_delivery(&told.0).is_some());
        (0..3).for_each(|at| told.deliver(at, held));
        assert_eq!((termination(&told.0), self_delivery(&told.0)), (None, None));
        told.push(2, What::Excluded(ViewNumber(3)));
        told.cast(2, Order::Fifo);
        assert_eq!(termination(&told.0), None, "another incarnation has to come instead");
    }

    #[test]
    fn nothing_is_asked_of_the_dead() {
        let mut told = Told::of(2);
        told.cast(0, Order::Fifo);
        told.0.crash(5, Process(1));
        assert_eq!(termination(&told.0), None);
    }
}
