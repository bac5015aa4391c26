//! SafePrefix of deliveries: whoever is handed a safe message, every member holds it by then, and all that precedes it.
//!
//! What precedes a causal or total message is what its sender had cast or delivered, and its causes; a total one, every total
//! message that was delivered before it as well. Streams are held without gaps, so one block of each says how far.
//!
//! Each view has its own streams: what was delivered in the one before is held by all who are in it. What is delivered at the cut
//! of a view is held by those who go on, or will be before they do.

use crate::sim::history::eras::Eras;
use crate::sim::history::{Cast, History, Process, What};
use sistrum_ordering::{Order, ViewNumber};
use std::collections::BTreeMap;

/// For each process, the blocks of its stream that are meant.
type Blocks = Vec<u64>;

struct Walk<'a> {
    history: &'a History,
    eras: Eras<'a>,
    /// What each process holds of each, by view.
    held: BTreeMap<(Process, ViewNumber), Blocks>,
    /// What each process knows, and what was known to the sender of each message; the total messages that each has delivered.
    known: Vec<Blocks>,
    past: Vec<Blocks>,
    totals: Vec<Blocks>,
    /// Who says goodbye need hold nothing any more.
    leavers: Vec<Process>,
    /// How the view of each process ends is decided.
    is_cut: Vec<bool>,
}

/// A safe message that was delivered too early.
pub(super) fn is_held_by_all(history: &History) -> Option<String> {
    if history.is_told_by_members || !history.casts.iter().any(|cast| cast.is_safe) {
        return None;
    }
    let count = history.processes.len();
    let none = vec![vec![0; count]; count];
    let mut walk = Walk {
        history,
        eras: Eras::of(history),
        held: BTreeMap::new(),
        known: none.clone(),
        past: vec![Blocks::new(); history.casts.len()],
        totals: none,
        leavers: Vec::new(),
        is_cut: vec![false; count],
    };
    (0..history.events.len()).find_map(|at| walk.step(at))
}

impl Walk<'_> {
    fn step(&mut self, index: usize) -> Option<String> {
        let (history, number) = (self.history, self.eras.number(index));
        let event = &history.events[index];
        let (at, count) = (event.process.0 as usize, history.processes.len());
        match event.what {
            // What is cast into the next view while this one drains has nothing of that one before it.
            What::Cast(message) => {
                let is_here = self.eras.sent_in(message) == Some(number);
                self.past[message.0 as usize] = if is_here { self.known[at].clone() } else { vec![0; count] };
            }
            What::Leaves => self.leavers.push(event.process),
            What::Holds(view, rank, to) => {
                let of = self.eras.member(event.process, view, rank)?;
                let held = self.held.entry((event.process, view)).or_insert_with(|| vec![0; count]);
                held[of.0 as usize] = to;
            }
            What::Cut => self.is_cut[at] = true,
            What::Install(_) | What::Renumbered(_) if history.is_dynamic => {
                (self.known[at], self.totals[at]) = (vec![0; count], vec![0; count]);
                self.is_cut[at] = false;
            }
            _ => {}
        }
        let message = history.delivery(event)?;
        let Cast { by, order, is_safe, is_sync, block, .. } = history.cast_of(message);
        if is_sync || self.eras.sent_in(message) != Some(number) {
            return None;
        }
        let mut needed = match order {
            Order::Unordered | Order::Fifo => vec![0; history.processes.len()],
            _ => self.past[message.0 as usize].clone(),
        };
        // The first block that need not be held.
        needed[by.0 as usize] = block + 1;
        if order.spans_senders() {
            raise(&mut self.known[at], &needed);
        }
        if order == Order::Total {
            raise(&mut self.totals[at], &needed);
            needed.clone_from(&self.totals[at]);
        }
        // My own casts count when I make them: nobody was handed anything.
        let is_judged = is_safe && !self.is_cut[at] && event.what == What::Deliver(message);
        let lacks = is_judged.then(|| self.lacks(event.process, number, &needed))?;
        lacks.map(|(other, of)| {
            let (me, other, of) = (history.name(event.process), history.name(other), history.name(of));
            format!("{me} delivered {}, and {other} lacks what it needs of {of}", history.named(message))
        })
    }

    /// A member that does not hold what is `needed` at `process`, and of whom.
    fn lacks(&self, process: Process, number: ViewNumber, needed: &Blocks) -> Option<(Process, Process)> {
        let is_other = |other: &Process| *other != process && !self.leavers.contains(other);
        let members = self.eras.members(process, number).into_iter();
        members.filter(is_other).find_map(|other| {
            let held = |of: Process| self.held.get(&(other, number)).map_or(0, |held| held[of.0 as usize]);
            // What I sent myself I hold.
            let of = self.history.all().filter(|of| *of != other && needed[of.0 as usize] > 0);
            let mut of = of.filter(|of| held(*of) < needed[of.0 as usize]);
            of.next().map(|of| (other, of))
        })
    }
}

fn raise(blocks: &mut Blocks, to: &Blocks) {
    blocks.iter_mut().zip(to).for_each(|(block, to)| *block = (*block).max(*to));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::tests::{ONLY, Told};
    use sistrum_ordering::Rank;

    #[test]
    fn a_safe_message_and_its_causes_are_held_by_all_before_it_is_delivered() {
        let told = |held: u64, causes: u64| {
            let mut told = Told::of(3);
            let cause = told.cast_into(0, Order::Causal, 4);
            told.deliver(1, cause);
            let safe = told.cast_into(1, Order::Causal.safe(), 7);
            told.push(2, What::Holds(ONLY, Rank(0), causes));
            told.push(0, What::Holds(ONLY, Rank(1), 8));
            told.push(2, What::Holds(ONLY, Rank(1), held));
            told.push(1, What::Holds(ONLY, Rank(0), 5));
            told.deliver(0, safe);
            is_held_by_all(&told.0)
        };
        assert_eq!(told(8, 5), None);
        assert!(told(7, 5).unwrap().contains("p2 "));
        assert!(told(8, 4).unwrap().contains("p0 "), "its cause");
    }

    #[test]
    fn at_the_cut_it_is_enough_that_those_hold_it_who_go_on() {
        let told = |what: &[What]| {
            let mut told = Told::dynamic(3);
            told.install(1, &[0, 1, 2], &[0, 1, 2]);
            let safe = told.cast_into(0, Order::Causal.safe(), 4);
            what.iter().for_each(|what| told.push(1, what.clone()));
            told.deliver(1, safe);
            told.install(2, &[0, 1], &[]);
            is_held_by_all(&told.0)
        };
        assert!(told(&[]).unwrap().contains("p2 "));
        assert_eq!(told(&[What::Cut]), None);
        assert!(told(&[What::Holds(ONLY, Rank(0), 5)]).is_some(), "nothing is decided yet");
    }

    #[test]
    fn totals_before_a_safe_total_are_held_by_all() {
        let mut told = Told::of(3);
        let (first, safe) = (told.cast_into(0, Order::Total, 4), told.cast_into(1, Order::Total.safe(), 7));
        told.push(0, What::Holds(ONLY, Rank(1), 8));
        told.push(1, What::Holds(ONLY, Rank(0), 4));
        told.push(2, What::Holds(ONLY, Rank(1), 8));
        told.deliver(2, first);
        told.deliver(2, safe);
        assert!(is_held_by_all(&told.0).unwrap().contains("p1 "));
    }
}
