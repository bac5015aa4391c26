//! SafePrefix of flushes: when one ends, every member holds all that its process had cast and been handed when it asked for it.
//! StabilityReported: in the end each has ended, once.
//!
//! What was cast or handed over in a view that has ended is held by all who go on. What was cast into a later view, held or while the
//! present one drains, is meant there.

use crate::sim::history::eras::Eras;
use crate::sim::history::{History, Message, Process, What};
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
    /// What each has cast into later views than its present one.
    ahead: Vec<Vec<Message>>,
    /// By process: flushes that are not over.
    open: Vec<Vec<Open>>,
    /// How the view of each process ends is decided.
    is_cut: Vec<bool>,
}

/// A flush that is not over, with what it covers: of the present view, and of later ones.
struct Open {
    id: u64,
    covered: Blocks,
    ahead: Vec<Message>,
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
            ahead: vec![Vec::new(); count],
            open: history.all().map(|_| Vec::new()).collect(),
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
                self.enter(at, number);
            }
            What::Cast(message) | What::Deliver(message) => {
                let cast = history.cast_of(message);
                let sent_in = self.eras.sent_in(message);
                if cast.by == event.process && !cast.is_sync && sent_in > Some(number) {
                    self.ahead[at].push(message);
                }
                if cast.is_sync || sent_in != Some(number) {
                    return None;
                }
                let seen = &mut self.seen[at][cast.by.0 as usize];
                *seen = (*seen).max(cast.block + 1);
            }
            What::Flush(id) => {
                let (covered, ahead) = (self.seen[at].clone(), self.ahead[at].clone());
                self.open[at].push(Open { id, covered, ahead });
            }
            What::Flushed(id) => return self.end(event.process, number, id),
            _ => {}
        }
        None
    }

    /// A process comes to this view.
    fn enter(&mut self, at: usize, number: ViewNumber) {
        let (history, eras) = (self.history, &self.eras);
        let here = |ahead: &mut Vec<Message>| {
            let mut blocks = vec![0; history.processes.len()];
            for message in ahead.extract_if(.., |message| eras.sent_in(*message) <= Some(number)) {
                blocks[at] = blocks[at].max(history.cast_of(message).block + 1);
            }
            blocks
        };
        self.seen[at] = here(&mut self.ahead[at]);
        self.open[at].iter_mut().for_each(|open| open.covered = here(&mut open.ahead));
        self.is_cut[at] = false;
    }

    fn end(&mut self, process: Process, number: ViewNumber, id: u64) -> Option<String> {
        let (history, open) = (self.history, &mut self.open[process.0 as usize]);
        let Some(asked) = open.iter().position(|open| open.id == id) else {
            return Some(format!("{} was told of flush {id}, which does not go on", history.name(process)));
        };
        let Open { covered, ahead, .. } = open.remove(asked);
        if let Some(message) = ahead.first().filter(|_| !history.is_told_by_members) {
            let (who, what) = (history.name(process), history.named(*message));
            return Some(format!("flush {id} of {who} is over, and {what} is not sent"));
        }
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
    fn a_flush_behind_what_is_held_ends_when_all_hold_that_in_the_next_view() {
        for (installs, holds, is_good) in [(false, 0, false), (true, 4, false), (true, 5, true)] {
            let mut told = Told::dynamic(2);
            told.install(1, &[0, 1], &[0, 1]);
            let held = told.hold(0, Order::Fifo);
            told.push(0, What::Flush(1));
            if installs {
                told.install(2, &[0, 1], &[]);
                told.0.seal(held, ViewNumber(2), 4);
                told.push(1, What::Holds(ViewNumber(2), Rank(0), holds));
            }
            told.push(0, What::Flushed(1));
            assert_eq!(is_held_by_all(&told.0).is_none(), is_good, "{installs} {holds}");
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
