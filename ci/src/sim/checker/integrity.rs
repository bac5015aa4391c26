//! Integrity: only what was cast is delivered, unaltered, to members of the group and of the view that it was cast in.

use crate::sim::history::eras::Eras;
use crate::sim::history::{History, What};

pub(super) fn check(history: &History) -> Option<String> {
    let eras = Eras::of(history);
    let mut cast = vec![false; history.casts.len()];
    for event in &history.events {
        let (process, who) = (event.process, history.who(event.process));
        match event.what {
            What::Cast(message) => cast[message.0 as usize] = true,
            What::Alien { from, len } => {
                return Some(format!(
                    "{} delivered {len} bytes of {from} that nobody cast",
                    history.name(process)
                ));
            }
            // A reader stays where it is when a group starts again.
            What::Overhears(message) if !cast[message.0 as usize] => {
                return Some(format!("{} read {}", history.name(process), history.named(message)));
            }
            What::Deliver(message) => {
                let by = history.who(history.cast_of(message).by);
                let is_ours = by.life == who.life && !who.is_outside && !by.is_outside;
                let view = history.cast_of(message).view.filter(|_| history.is_dynamic);
                let is_member = view.is_none_or(|view| eras.is_member(process, view));
                if !is_ours || !is_member || !cast[message.0 as usize] {
                    return Some(format!("{} delivered {}", history.name(process), history.named(message)));
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::Message;
    use crate::sim::history::tests::Told;
    use sistrum_ordering::Order;
    use sistrum_ordering::Rank;

    #[test]
    fn what_nobody_cast_is_found() {
        let mut told = Told::of(2);
        let message = told.cast(0, Order::Fifo);
        told.deliver(1, message);
        assert_eq!(check(&told.0), None);
        told.push(1, What::Alien { from: Rank(0), len: 3 });
        assert!(check(&told.0).is_some());
    }

    #[test]
    fn only_members_of_a_view_are_handed_what_was_cast_in_it() {
        let mut told = Told::dynamic(3);
        told.install(1, &[0, 1], &[0, 1]);
        let early = told.cast(0, Order::Fifo);
        told.deliver(1, early);
        told.install(2, &[0, 1, 2], &[2]);
        assert_eq!(check(&told.0), None);
        told.deliver(2, early);
        assert!(check(&told.0).is_some());
    }

    #[test]
    fn nothing_crosses_lives_or_comes_before_its_cast() {
        let mut told = Told::of(2);
        let old = told.cast(0, Order::Fifo);
        let next = told.0.start(9, Rank(1), 1, false);
        told.deliver(next.0, old);
        assert!(check(&told.0).is_some());
        let mut told = Told::of(2);
        told.deliver(1, Message(0));
        told.cast(0, Order::Fifo);
        assert!(check(&told.0).is_some());
    }
}
