//! SafePrefix of deliveries: whoever is handed a safe message, every member holds it by then, and all that precedes it.
//!
//! What precedes a causal or total message is what its sender had cast or delivered, and its causes; a total one, every total
//! message that was delivered before it as well. Streams are held without gaps, so one block of each says how far.

use crate::sim::history::{Cast, Event, History, Process, What};
use sistrum_ordering::Order;

/// For each process, the blocks of its stream that are meant.
type Blocks = Vec<u64>;

struct Walk<'a> {
    history: &'a History,
    /// What each process holds of each.
    held: Vec<Blocks>,
    /// What each process knows, and what was known to the sender of each message; the total messages that each has delivered.
    known: Vec<Blocks>,
    past: Vec<Blocks>,
    totals: Vec<Blocks>,
    /// Who says goodbye need hold nothing any more.
    leavers: Vec<Process>,
}

/// A safe message that was delivered too early.
pub(super) fn is_held_by_all(history: &History) -> Option<String> {
    if !history.casts.iter().any(|cast| cast.is_safe) {
        return None;
    }
    let count = history.processes.len();
    let none = vec![vec![0; count]; count];
    let mut walk = Walk {
        history,
        held: none.clone(),
        known: none.clone(),
        past: vec![Blocks::new(); history.casts.len()],
        totals: none,
        leavers: Vec::new(),
    };
    history.events.iter().find_map(|event| walk.step(event))
}

impl Walk<'_> {
    fn step(&mut self, event: &Event) -> Option<String> {
        let (history, at) = (self.history, event.process.0 as usize);
        match event.what {
            What::Cast(message) => self.past[message.0 as usize] = self.known[at].clone(),
            What::Leaves => self.leavers.push(event.process),
            What::Holds(rank, to) => {
                let of = history.member(history.who(event.process).life, rank)?;
                self.held[at][of.0 as usize] = to;
            }
            _ => {}
        }
        let message = history.delivery(event)?;
        let Cast { by, order, is_safe, block, .. } = history.cast_of(message);
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
        let lacks =
            (is_safe && event.what == What::Deliver(message)).then(|| self.lacks(event.process, &needed))?;
        lacks.map(|(other, of)| {
            let (me, other, of) = (history.name(event.process), history.name(other), history.name(of));
            format!("{me} delivered {}, and {other} lacks what it needs of {of}", history.named(message))
        })
    }

    /// A member that does not hold what is `needed` at `process`, and of whom.
    fn lacks(&self, process: Process, needed: &Blocks) -> Option<(Process, Process)> {
        let life = self.history.who(process).life;
        let is_other = |other: &Process| {
            let who = self.history.who(*other);
            let is_member = who.life == life && !who.is_outside && !self.leavers.contains(other);
            *other != process && is_member
        };
        self.history.all().filter(is_other).find_map(|other| {
            // What I sent myself I hold.
            let of = self.history.all().filter(|of| *of != other && needed[of.0 as usize] > 0);
            let mut of = of.filter(|of| self.held[other.0 as usize][of.0 as usize] < needed[of.0 as usize]);
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
    use crate::sim::history::tests::Told;
    use sistrum_ordering::Rank;

    #[test]
    fn a_safe_message_and_its_causes_are_held_by_all_before_it_is_delivered() {
        let told = |held: u64, causes: u64| {
            let mut told = Told::of(3);
            let cause = told.cast_into(0, Order::Causal, 4);
            told.deliver(1, cause);
            let safe = told.cast_into(1, Order::Causal.safe(), 7);
            told.push(2, What::Holds(Rank(0), causes));
            told.push(0, What::Holds(Rank(1), 8));
            told.push(2, What::Holds(Rank(1), held));
            told.push(1, What::Holds(Rank(0), 5));
            told.deliver(0, safe);
            is_held_by_all(&told.0)
        };
        assert_eq!(told(8, 5), None);
        assert!(told(7, 5).unwrap().contains("p2 "));
        assert!(told(8, 4).unwrap().contains("p0 "), "its cause");
    }

    #[test]
    fn totals_before_a_safe_total_are_held_by_all() {
        let mut told = Told::of(3);
        let (first, safe) = (told.cast_into(0, Order::Total, 4), told.cast_into(1, Order::Total.safe(), 7));
        told.push(0, What::Holds(Rank(1), 8));
        told.push(1, What::Holds(Rank(0), 4));
        told.push(2, What::Holds(Rank(1), 8));
        told.deliver(2, first);
        told.deliver(2, safe);
        assert!(is_held_by_all(&told.0).unwrap().contains("p1 "));
    }
}
