//! Causal and ReliableCausal: no effect before its cause, and none without it.
//!
//! The cause of a causal or total message is every causal or total message that its sender had cast or delivered, and their
//! causes. Fifo messages promise nothing across senders: they are no causes. A sender's stream is delivered in order, so
//! a count for each sender says which of its messages are meant.
//!
//! Where views change, nobody is owed the causes that were cast before its first view; and whoever is lost is bound in its last
//! view by safe messages only. Sync casts are in nobody's stream: [`super::sync`] judges them.

use crate::sim::history::eras::Eras;
use crate::sim::history::{Cast, History, Message, Process, What};

/// An effect that came before its cause, which came later.
pub(super) fn swaps(history: &History) -> Option<String> {
    first(history, true)
}

/// An effect whose cause never came.
pub(super) fn gaps(history: &History) -> Option<String> {
    first(history, false)
}

/// For each sender, how many of its messages are known.
type Vector = Vec<u32>;

/// Everything that is counted on the way through a history.
struct Walk<'a> {
    history: &'a History,
    eras: Eras<'a>,
    /// What each process knows, and what was known to the sender of each message.
    known: Vec<Vector>,
    past: Vec<Vector>,
    /// The causal and total casts of each sender.
    casts: Vec<Vec<Message>>,
    /// Whether a process has delivered a message, and how many of `casts` without a gap.
    got: Vec<Vec<bool>>,
    whole: Vec<Vec<usize>>,
}

fn first(history: &History, comes_later: bool) -> Option<String> {
    if !history.casts.iter().any(|cast| cast.order.spans_senders()) {
        return None;
    }
    let count = history.processes.len();
    let mut walk = Walk {
        history,
        eras: Eras::of(history),
        known: vec![vec![0; count]; count],
        past: vec![Vector::new(); history.casts.len()],
        casts: vec![Vec::new(); count],
        got: vec![vec![false; history.casts.len()]; count],
        whole: vec![vec![0; count]; count],
    };
    (0..history.events.len()).find_map(|at| walk.step(at, comes_later))
}

impl Walk<'_> {
    fn step(&mut self, at: usize, comes_later: bool) -> Option<String> {
        let event = &self.history.events[at];
        let process = event.process;
        if let What::Cast(message) = event.what
            && !self.history.cast_of(message).is_sync
        {
            self.past[message.0 as usize] = self.known[process.0 as usize].clone();
            self.casts[process.0 as usize].push(message);
        }
        let message = self.history.delivery(event)?;
        let Cast { by, number, order, is_safe, is_sync, .. } = self.history.cast_of(message);
        if !order.spans_senders() || is_sync {
            return None;
        }
        let is_bound = is_safe || self.eras.is_bound(process, self.eras.number(at));
        // What I cast myself waits behind my own total casts, which are not back yet, without being held up.
        if event.what == What::Deliver(message)
            && is_bound
            && let Some(cause) = self.missing(process, message)
            && self.history.deliveries(process).any(|delivered| delivered == cause) == comes_later
        {
            let (history, when) = (self.history, if comes_later { "before" } else { "without" });
            return Some(format!(
                "{} delivered {} {when} its cause {}",
                history.name(process),
                history.named(message),
                history.named(cause)
            ));
        }
        self.got[process.0 as usize][message.0 as usize] = true;
        let known = &mut self.known[process.0 as usize];
        known
            .iter_mut()
            .zip(&self.past[message.0 as usize])
            .for_each(|(known, past)| *known = (*known).max(*past));
        known[by.0 as usize] = known[by.0 as usize].max(number + 1);
        None
    }

    /// A cause of `message` that `process` has not delivered.
    fn missing(&mut self, process: Process, message: Message) -> Option<Message> {
        let (history, eras, got) = (self.history, &self.eras, &self.got[process.0 as usize]);
        for (sender, &past) in self.past[message.0 as usize].iter().enumerate() {
            let (casts, whole) = (&self.casts[sender], &mut self.whole[process.0 as usize][sender]);
            let counts = |message: &Message| {
                history.cast_of(*message).order.spans_senders() && !eras.is_before(*message, process)
            };
            while let Some(cause) = casts.get(*whole).filter(|cause| !counts(cause) || got[cause.0 as usize])
            {
                debug_assert!(history.cast_of(*cause).by.0 as usize == sender);
                *whole += 1;
            }
            let cause = casts.get(*whole).filter(|cause| history.cast_of(**cause).number < past);
            if let Some(cause) = cause {
                return Some(*cause);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::tests::Told;
    use sistrum_ordering::Order;

    /// Process 0 casts a cause, 1 delivers it and casts its effect.
    fn told(cause: Order, effect: Order) -> (Told, Message, Message) {
        let mut told = Told::of(3);
        let cause = told.cast(0, cause);
        told.deliver(1, cause);
        let effect = told.cast(1, effect);
        (told, cause, effect)
    }

    #[test]
    fn cause_before_effect_is_good_and_neither_need_come() {
        let (mut told, cause, effect) = told(Order::Causal, Order::Causal);
        assert_eq!((swaps(&told.0), gaps(&told.0)), (None, None));
        told.deliver(2, cause);
        told.deliver(2, effect);
        told.deliver(0, effect);
        assert_eq!((swaps(&told.0), gaps(&told.0)), (None, None));
    }

    #[test]
    fn an_effect_before_its_cause_is_a_swap_and_without_it_a_gap() {
        for (first, second) in
            [(Order::Causal, Order::Causal), (Order::Total, Order::Causal), (Order::Causal, Order::Total)]
        {
            let (mut told, cause, effect) = told(first, second);
            told.deliver(2, effect);
            assert!(gaps(&told.0).is_some());
            told.deliver(2, cause);
            assert!(swaps(&told.0).is_some());
            assert_eq!(gaps(&told.0), None);
        }
    }

    #[test]
    fn causes_reach_through_others() {
        let (mut told, _, effect) = told(Order::Causal, Order::Causal);
        told.0.start(3, sistrum_ordering::Rank(3), 0, false);
        told.deliver(2, effect);
        let late = told.cast(2, Order::Causal);
        told.deliver(3, late);
        assert!(gaps(&told.0).is_some(), "both of its causes are missing");
    }

    #[test]
    fn ones_own_total_cast_must_be_delivered_before_its_effect() {
        let (mut told, cause, effect) = told(Order::Total, Order::Causal);
        told.deliver(0, effect);
        assert!(gaps(&told.0).is_some());
        told.deliver(0, cause);
        assert!(swaps(&told.0).is_some());
    }

    /// Process 0 casts a cause in view 1; 1 and 2 go on with 3, and 1 casts its effect in view 2.
    fn across_views(hears: bool) -> (Told, Message) {
        let mut told = Told::dynamic(4);
        told.install(1, &[0, 1, 2], &[0, 1, 2]);
        let cause = told.cast(0, Order::Causal);
        told.deliver(1, cause);
        if hears {
            told.deliver(2, cause);
        }
        told.install(2, &[1, 2, 3], &[3]);
        let effect = told.cast(1, Order::Causal);
        (told, effect)
    }

    #[test]
    fn causes_reach_across_views_but_not_to_one_who_came_later() {
        for hears in [true, false] {
            let (mut told, effect) = across_views(hears);
            told.deliver(3, effect);
            assert_eq!(gaps(&told.0), None);
            told.deliver(2, effect);
            assert_eq!(gaps(&told.0).is_none(), hears);
        }
    }

    #[test]
    fn the_lost_are_bound_in_their_last_view_by_safe_messages_only() {
        for (promise, is_good) in [(Order::Causal.into(), true), (Order::Causal.safe(), false)] {
            let mut told = Told::dynamic(3);
            told.install(1, &[0, 1, 2], &[0, 1, 2]);
            let cause = told.cast(0, Order::Causal);
            told.deliver(1, cause);
            let effect = told.cast(1, promise);
            told.deliver(2, effect);
            assert!(gaps(&told.0).is_some(), "it lives");
            told.0.crash(99, Process(2));
            assert_eq!(gaps(&told.0).is_none(), is_good);
        }
    }

    #[test]
    fn fifo_messages_are_no_causes() {
        let (mut told, _, effect) = told(Order::Fifo, Order::Causal);
        told.deliver(2, effect);
        assert_eq!((swaps(&told.0), gaps(&told.0)), (None, None));
    }
}
