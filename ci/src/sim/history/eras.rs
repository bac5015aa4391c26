//! Who is in which view when: read once from a history, for the checkers.
//!
//! An era of a process is the time in which its view has one number. Where the members are a list that stays, each process has
//! one era, whatever it installs.

use super::{Cast, History, Message, Process, What};
use sistrum_ordering::{Rank, View, ViewMember, ViewNumber};
use std::collections::{BTreeMap, HashMap};

/// What a view is found by: the life of the group, and its number.
type Key = (u32, ViewNumber);

/// See the module.
#[derive(Debug)]
pub(crate) struct Eras<'a> {
    pub(crate) history: &'a History,
    /// The first that was installed of each number.
    views: BTreeMap<Key, &'a View>,
    process_of: HashMap<ViewMember, Process>,
    /// By event: the number of its process's view at that time.
    numbers: Vec<ViewNumber>,
    /// By process: the numbers that its views had, in its order.
    of: Vec<Vec<ViewNumber>>,
    /// By message: the view that it was sent in.
    sent_in: Vec<Option<ViewNumber>>,
}

/// The number of what is before every view.
const NONE: ViewNumber = ViewNumber(0);
/// The number of the view of a list of members that stays.
pub(crate) const ONLY: ViewNumber = ViewNumber(1);

impl<'a> Eras<'a> {
    pub(crate) fn of(history: &'a History) -> Self {
        let mut eras = Self {
            history,
            views: BTreeMap::new(),
            process_of: HashMap::new(),
            numbers: Vec::new(),
            of: vec![Vec::new(); history.processes.len()],
            sent_in: Vec::new(),
        };
        if history.is_dynamic {
            eras.read();
        }
        eras
    }

    fn read(&mut self) {
        let history = self.history;
        self.sent_in = history.casts.iter().map(|cast| cast.view).collect();
        let called = |process: Process| history.who(process).member.map(|member| (member, process));
        self.process_of = history.all().filter_map(called).collect();
        let mut last: Vec<Option<&View>> = vec![None; history.processes.len()];
        for event in &history.events {
            let at = event.process.0 as usize;
            let number = match &event.what {
                What::Install(view) => {
                    last[at] = Some(view);
                    Some(view.id().number)
                }
                What::Renumbered(number) => Some(*number),
                _ => None,
            };
            if let Some(number) = number {
                self.of[at].push(number);
                let life = history.who(event.process).life;
                last[at].into_iter().for_each(|view| _ = self.views.entry((life, number)).or_insert(view));
            }
            let number = self.of[at].last().copied().unwrap_or(NONE);
            self.numbers.push(number);
            // What was held is sent where it is delivered.
            if let What::Deliver(message) = event.what {
                self.sent_in[message.0 as usize].get_or_insert(number);
            }
        }
    }

    /// The number of the view of its process when this event happened.
    pub(crate) fn number(&self, at: usize) -> ViewNumber {
        self.numbers.get(at).copied().unwrap_or(ONLY)
    }

    /// The numbers that a process's views had.
    pub(crate) fn numbers_of(&self, process: Process) -> &[ViewNumber] {
        &self.of[process.0 as usize]
    }

    /// The view of this number, in the life of `process`.
    pub(crate) fn view(&self, process: Process, number: ViewNumber) -> Option<&'a View> {
        self.views.get(&(self.history.who(process).life, number)).copied()
    }

    /// All views that anybody installed, by life and number.
    pub(crate) fn views(&self) -> impl Iterator<Item = (Key, &'a View)> {
        self.views.iter().map(|(key, view)| (*key, *view))
    }

    /// The views that a process installed, in its order.
    pub(crate) fn installed(&self, process: Process) -> impl Iterator<Item = &'a View> {
        self.history.of(process).filter_map(|event| match &event.what {
            What::Install(view) => Some(&**view),
            _ => None,
        })
    }

    /// The process that a view means.
    pub(crate) fn process(&self, member: ViewMember) -> Option<Process> {
        self.process_of.get(&member).copied()
    }

    /// Who has this rank in the view of this number, in the life of `process`.
    pub(crate) fn member(&self, process: Process, number: ViewNumber, rank: Rank) -> Option<Process> {
        if !self.history.is_dynamic {
            return self.history.member(self.history.who(process).life, rank);
        }
        self.process(*self.view(process, number)?.member(rank)?)
    }

    /// The members of the view of this number, in the life of `process`.
    pub(crate) fn members(&self, process: Process, number: ViewNumber) -> Vec<Process> {
        if self.history.is_dynamic {
            let members = self.view(process, number).map(View::members).unwrap_or_default();
            return members.iter().filter_map(|member| self.process(*member)).collect();
        }
        let life = self.history.who(process).life;
        let is_member = |other: &Process| {
            let who = self.history.who(*other);
            who.life == life && !who.is_outside
        };
        self.history.all().filter(is_member).collect()
    }

    /// The rank of a process in the view of this number.
    pub(crate) fn rank(&self, process: Process, number: ViewNumber) -> Option<Rank> {
        let who = self.history.who(process);
        if !self.history.is_dynamic {
            return Some(who.rank);
        }
        let mut members = self.view(process, number)?.members().iter();
        members.position(|member| who.member == Some(*member)).map(|at| Rank(at as u16))
    }

    /// Whether this process is a member of the view of this number.
    pub(crate) fn is_member(&self, process: Process, number: ViewNumber) -> bool {
        !self.history.is_dynamic || self.rank(process, number).is_some()
    }

    /// The view that a message was sent in, as far as that can be known.
    pub(crate) fn sent_in(&self, message: Message) -> Option<ViewNumber> {
        if self.history.is_dynamic { self.sent_in[message.0 as usize] } else { Some(ONLY) }
    }

    /// Whether a message was sent before the first view of `process`, or never: then it is not owed to it.
    pub(crate) fn is_before(&self, message: Message, process: Process) -> bool {
        if !self.history.is_dynamic {
            return false;
        }
        let first = self.numbers_of(process).first();
        let (Some(first), Some(sent)) = (first, self.sent_in(message)) else { return true };
        sent < *first
    }

    /// What a process delivered, with the number of its view: for its own messages that count when they are cast, of theirs.
    pub(crate) fn deliveries(&self, process: Process) -> impl Iterator<Item = (ViewNumber, Message)> {
        self.history.places_of(process).filter_map(|at| {
            let event = &self.history.events[at];
            let message = self.history.delivery(event)?;
            // What is held until the end is delivered nowhere.
            let number = match event.what {
                What::Cast(_) => self.sent_in(message)?,
                _ => self.number(at),
            };
            Some((number, message))
        })
    }

    /// Whether a process is out of the group without having asked for it: it crashed, was excluded, or the group went on without it.
    pub(crate) fn is_lost(&self, process: Process) -> bool {
        let who = self.history.who(process);
        let Some(last) = self.numbers_of(process).last() else { return who.is_crashed };
        let mut later = self.views.range((who.life, *last)..).take_while(|((life, _), _)| *life == who.life);
        let is_without = |view: &View| who.member.is_some_and(|member| !view.members().contains(&member));
        let goes_on_without = later.any(|(_, view)| is_without(view));
        who.is_crashed || who.is_excluded || (!who.has_left && goes_on_without)
    }

    /// Whether what a process does in the view of this number binds it though it is lost: not in its last view.
    pub(crate) fn is_bound(&self, process: Process, number: ViewNumber) -> bool {
        !self.history.is_dynamic || self.goes_on(process, number) || !self.is_lost(process)
    }

    /// The number that the view of a process had before it had this one.
    pub(crate) fn before(&self, process: Process, number: ViewNumber) -> Option<ViewNumber> {
        let numbers = self.numbers_of(process);
        let at = numbers.iter().position(|known| *known == number)?;
        numbers.get(at.checked_sub(1)?).copied()
    }

    /// Whether a process went from the view of this number to a later one.
    pub(crate) fn goes_on(&self, process: Process, number: ViewNumber) -> bool {
        self.numbers_of(process).last().is_some_and(|last| *last > number)
    }

    /// The number after this one that anybody's view had.
    pub(crate) fn next(&self, process: Process, number: ViewNumber) -> Option<ViewNumber> {
        let life = self.history.who(process).life;
        let from = (life, ViewNumber(number.0 + 1));
        let ((found, next), _) = self.views.range(from..).next()?;
        (*found == life).then_some(*next)
    }

    /// The number of the first message of `by` that `process` is to get.
    pub(crate) fn first_owed(&self, process: Process, by: Process) -> u32 {
        if !self.history.is_dynamic {
            return 0;
        }
        let messages = (0..self.history.casts.len() as u32).map(Message);
        let is_owed = |message: &Message| {
            let cast = self.history.cast_of(*message);
            cast.by == by && !cast.is_sync && !self.is_before(*message, process)
        };
        messages.into_iter().find(is_owed).map_or(0, |message| self.history.cast_of(message).number)
    }

    /// Whether a member must get a message, once nothing hinders it.
    pub(crate) fn is_owed(&self, process: Process, message: Message) -> bool {
        if !self.history.is_owed(process, message) {
            return false;
        }
        // Who casts is in the same views, as long as both live; what is held would go into its last one.
        let Cast { by, .. } = self.history.cast_of(message);
        let sent = self.sent_in(message).or_else(|| self.numbers_of(by).last().copied());
        !self.history.is_dynamic || sent.is_some_and(|number| self.is_member(process, number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::tests::Told;
    use sistrum_ordering::Order;

    #[test]
    fn ranks_are_those_of_the_view_and_numbers_those_of_the_time() {
        let mut told = Told::dynamic(3);
        told.install(1, &[0, 1], &[0, 1]);
        let held = told.cast_in(1, Order::Fifo, None, 0);
        told.install(2, &[1, 2], &[2]);
        told.push(1, What::Renumbered(ViewNumber(3)));
        told.deliver(2, held);
        let eras = Eras::of(&told.0);
        let (p1, p2) = (Process(1), Process(2));
        assert_eq!(eras.member(p1, ViewNumber(1), Rank(1)), Some(p1));
        assert_eq!(eras.member(p1, ViewNumber(2), Rank(1)), Some(p2));
        assert_eq!(eras.members(p2, ViewNumber(3)), [p1, p2]);
        assert_eq!(eras.sent_in(held), Some(ViewNumber(2)), "where it was delivered");
        assert_eq!(eras.numbers_of(p1), [1, 2, 3].map(ViewNumber));
        assert!(eras.is_lost(Process(0)) && !eras.is_lost(p1), "the group went on without it");
        assert!(eras.is_bound(p1, ViewNumber(1)) && !eras.is_bound(Process(0), ViewNumber(1)));
    }

    #[test]
    fn nothing_is_owed_to_one_who_came_later() {
        let mut told = Told::dynamic(3);
        told.install(1, &[0, 1], &[0, 1]);
        let early = told.cast(0, Order::Fifo);
        told.install(2, &[0, 1, 2], &[2]);
        let late = told.cast(0, Order::Fifo);
        let eras = Eras::of(&told.0);
        assert!(eras.is_owed(Process(1), early) && !eras.is_owed(Process(2), early));
        assert!(eras.is_owed(Process(2), late));
        assert!(eras.is_before(early, Process(2)) && !eras.is_before(late, Process(2)));
    }
}
