//! SafePrefix of flushes: when one ends, every member holds all that its process had cast and been handed when it asked for it.
//! StabilityReported: in the end each has ended, once.

use crate::sim::history::{Event, History, Process, What};

/// The first block of each process's stream that is not meant.
type Blocks = Vec<u64>;

struct Walk<'a> {
    history: &'a History,
    /// What each process holds of each, and what each has cast or been handed.
    held: Vec<Blocks>,
    seen: Vec<Blocks>,
    /// By process: flushes that are not over, with what they cover.
    open: Vec<Vec<(u64, Blocks)>>,
}

/// A flush that ended too early, twice, or without being asked for.
pub(super) fn is_held_by_all(history: &History) -> Option<String> {
    let mut walk = Walk::of(history);
    history.events.iter().find_map(|event| walk.step(event))
}

/// A flush that never ended.
pub(super) fn is_over(history: &History) -> Option<String> {
    let mut walk = Walk::of(history);
    history.events.iter().for_each(|event| _ = walk.step(event));
    let lives = |process: &Process| history.endings.iter().any(|ending| ending.process == *process);
    let waits = |process: &Process| !walk.open[process.0 as usize].is_empty();
    let process = history.all().filter(lives).find(waits)?;
    Some(format!("{} waits for the end of a flush", history.name(process)))
}

impl<'a> Walk<'a> {
    fn of(history: &'a History) -> Self {
        let count = history.processes.len();
        let none = vec![vec![0; count]; count];
        Self { history, held: none.clone(), seen: none, open: vec![Vec::new(); count] }
    }

    fn step(&mut self, event: &Event) -> Option<String> {
        let (history, at) = (self.history, event.process.0 as usize);
        match event.what {
            What::Holds(rank, to) => {
                let of = self.fellows(event.process).find(|of| history.who(*of).rank == rank)?;
                self.held[at][of.0 as usize] = to;
            }
            What::Cast(message) | What::Deliver(message) => {
                let cast = history.cast_of(message);
                let seen = &mut self.seen[at][cast.by.0 as usize];
                *seen = (*seen).max(cast.block + 1);
            }
            What::Flush(id) => self.open[at].push((id, self.seen[at].clone())),
            What::Flushed(id) => return self.end(event.process, id),
            _ => {}
        }
        None
    }

    fn end(&mut self, process: Process, id: u64) -> Option<String> {
        let (history, open) = (self.history, &mut self.open[process.0 as usize]);
        let Some(asked) = open.iter().position(|(known, _)| *known == id) else {
            return Some(format!("{} was told of flush {id}, which does not go on", history.name(process)));
        };
        let (_, covered) = open.remove(asked);
        // What I sent myself I hold.
        let lacks = |other: Process, of: Process| {
            of != other && self.held[other.0 as usize][of.0 as usize] < covered[of.0 as usize]
        };
        // Who said goodbye need hold nothing any more.
        let stays = |other: &Process| *other != process && !history.who(*other).has_left;
        let mut fellows = self.fellows(process).filter(stays);
        let other = fellows.find(|other| history.all().any(|of| lacks(*other, of)))?;
        Some(format!(
            "flush {id} of {} is over, and {} lacks something",
            history.name(process),
            history.name(other)
        ))
    }

    /// The members of the group in the life of `process`.
    fn fellows(&self, process: Process) -> impl Iterator<Item = Process> + use<'a> {
        let history = self.history;
        let life = history.who(process).life;
        history.all().filter(move |other| {
            let who = history.who(*other);
            (who.life, who.is_outside) == (life, false)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::Ending;
    use crate::sim::history::tests::Told;
    use sistrum_ordering::{Order, Rank};

    /// Member 0 casts, is handed something of member 1, and flushes; member 2 holds so much of both.
    fn told(own: u64, others: u64) -> Told {
        let mut told = Told::of(3);
        told.cast_into(0, Order::Fifo, 4);
        let message = told.cast_into(1, Order::Fifo, 7);
        told.deliver(0, message);
        told.push(0, What::Holds(Rank(1), 8));
        told.push(0, What::Flush(1));
        told.push(1, What::Holds(Rank(0), 5));
        told.push(2, What::Holds(Rank(0), own));
        told.push(2, What::Holds(Rank(1), others));
        told
    }

    #[test]
    fn all_hold_what_was_cast_and_handed_over_before_a_flush() {
        for (own, others, is_good) in [(5, 8, true), (4, 8, false), (5, 7, false)] {
            let mut told = told(own, others);
            told.push(0, What::Flushed(1));
            assert_eq!(is_held_by_all(&told.0).is_none(), is_good, "{own} {others}");
        }
    }

    #[test]
    fn a_flush_ends_once() {
        let mut told = told(5, 8);
        told.0.endings.push(Ending { process: Process(0), is_settled: true, is_idle: true, beyond: 0 });
        assert!(is_over(&told.0).is_some());
        told.push(0, What::Flushed(1));
        assert_eq!((is_over(&told.0), is_held_by_all(&told.0)), (None, None));
        told.push(0, What::Flushed(1));
        assert!(is_held_by_all(&told.0).is_some());
    }
}
