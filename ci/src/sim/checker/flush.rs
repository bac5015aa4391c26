//! SafePrefix of flushes: when one ends, every member holds all that its process had cast and been handed when it asked for it.
//! StabilityReported: in the end each has ended, once.
//!
//! What was cast or handed over in a view that has ended is held by all who go on.

use crate::sim::history::eras::Eras;
use crate::sim::history::{History, Process, What};
use sistrum_ordering::ViewNumber;
use std::collections::BTreeMap;

/// The first block of each process's stream that is not meant.
type Blocks = Vec<u64>;

struct Walk<'a> {
    history: &'a History,
    eras: Eras<'a>,
    /// What each process holds of each, by view; and what each has cast or been handed in its present one.
    held: BTreeMap<(Process, ViewNumber), Blocks>,
    seen: Vec<Blocks>,
    /// By process: flushes that are not over, with what they cover.
    open: Vec<Vec<(u64, Blocks)>>,
    /// How the view of each process ends is decided.
    is_cut: Vec<bool>,
}

/// A flush that ended too early, twice, or without being asked for.
pub(super) fn is_held_by_all(history: &History) -> Option<String> {
    let mut walk = Walk::of(history);
    (0..history.events.len()).find_map(|at| walk.step(at))
}

/// A flush that never ended.
pub(super) fn is_over(history: &History) -> Option<String> {
    let mut walk = Walk::of(history);
    (0..history.events.len()).for_each(|at| _ = walk.step(at));
    let lives = |process: &Process| history.endings.iter().any(|ending| ending.process == *process);
    let waits = |process: &Process| !walk.open[process.0 as usize].is_empty();
    let process = history.all().filter(lives).find(waits)?;
    Some(format!("{} waits for the end of a flush", history.name(process)))
}

impl<'a> Walk<'a> {
    fn of(history: &'a History) -> Self {
        let count = history.processes.len();
        Self {
            history,
            eras: Eras::of(history),
            held: BTreeMap::new(),
            seen: vec![vec![0; count]; count],
            open: vec![Vec::new(); count],
            is_cut: vec![false; count],
        }
    }

    fn step(&mut self, index: usize) -> Option<String> {
        let (history, number) = (self.history, self.eras.number(index));
        let event = &history.events[index];
        let (at, count) = (event.process.0 as usize, history.processes.len());
        match event.what {
            What::Holds(view, rank, to) => {
                let of = self.eras.member(event.process, view, rank)?;
                let held = self.held.entry((event.process, view)).or_insert_with(|| vec![0; count]);
                held[of.0 as usize] = to;
            }
            What::Cut => self.is_cut[at] = true,
            What::Install(_) | What::Renumbered(_) if history.is_dynamic => {
                self.seen[at] = vec![0; count];
                self.open[at].iter_mut().for_each(|(_, covered)| covered.fill(0));
                self.is_cut[at] = false;
            }
            What::Cast(message) | What::Deliver(message) => {
                let cast = history.cast_of(message);
                if cast.is_sync || self.eras.sent_in(message) != Some(number) {
                    return None;
                }
                let seen = &mut self.seen[at][cast.by.0 as usize];
                *seen = (*seen).max(cast.block + 1);
            }
            What::Flush(id) => self.open[at].push((id, self.seen[at].clone())),
            What::Flushed(id) => return self.end(event.process, number, id),
            _ => {}
        }
        None
    }

    fn end(&mut self, process: Process, number: ViewNumber, id: u64) -> Option<String> {
        let (history, open) = (self.history, &mut self.open[process.0 as usize]);
        let Some(asked) = open.iter().position(|(known, _)| *known == id) else {
            return Some(format!("{} was told of flush {id}, which does not go on", history.name(process)));
        };
        let (_, covered) = open.remove(asked);
        if history.is_told_by_members || self.is_cut[process.0 as usize] {
            return None;
        }
        // What I sent myself I hold.
        let lacks = |other: Process, of: Process| {
            let held = self.held.get(&(other, number)).map_or(0, |held| held[of.0 as usize]);
            of != other && held < covered[of.0 as usize]
        };
        // Who said goodbye need hold nothing any more.
        let stays = |other: &Process| *other != process && !history.who(*other).has_left;
        let mut fellows = self.eras.members(process, number).into_iter().filter(stays);
        let other = fellows.find(|other| history.all().any(|of| lacks(*other, of)))?;
        Some(format!(
            "flush {id} of {} is over, and {} lacks something",
            history.name(process),
            history.name(other)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::Ending;
    use crate::sim::history::tests::{ONLY, Told};
    use sistrum_ordering::{Order, Rank};

    /// Member 0 casts, is handed something of member 1, and flushes; member 2 holds so much of both.
    fn told(own: u64, others: u64) -> Told {
        let mut told = Told::of(3);
        told.cast_into(0, Order::Fifo, 4);
        let message = told.cast_into(1, Order::Fifo, 7);
        told.deliver(0, message);
        told.push(0, What::Holds(ONLY, Rank(1), 8));
        told.push(0, What::Flush(1));
        told.push(1, What::Holds(ONLY, Rank(0), 5));
        told.push(2, What::Holds(ONLY, Rank(0), own));
        told.push(2, What::Holds(ONLY, Rank(1), others));
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
    fn what_was_cast_in_a_view_that_has_ended_is_settled() {
        for (ends_view, is_good) in [(true, true), (false, false)] {
            let mut told = Told::dynamic(2);
            told.install(1, &[0, 1], &[0, 1]);
            told.cast_into(0, Order::Fifo, 4);
            told.push(0, What::Flush(1));
            if ends_view {
                told.install(2, &[0, 1], &[]);
            }
            told.push(0, What::Flushed(1));
            assert_eq!(is_held_by_all(&told.0).is_none(), is_good);
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
