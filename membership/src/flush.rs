//! Flushes that were asked for: each ends when every member holds all that its member had cast and been handed by then.
//!
//! A flush marks a block of each stream. Marks only grow, so flushes end in the order in which they were asked for, and only the
//! first one is ever looked at; while there is none, nothing is. One that covers casts that are held goes on in the next view, where
//! those are cast.

use sistrum_ordering::Seq;
use sistrum_transport::mutated;
use std::collections::VecDeque;

/// One flush of a group: numbered from 1 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlushId(pub u64);

/// Those that are not over.
#[derive(Debug, Default)]
pub(crate) struct Flushes {
    asked: u64,
    pending: VecDeque<(FlushId, Vec<Seq>)>,
    /// The last of them cover casts that are held: so many.
    behind_held: usize,
}

impl Flushes {
    /// A flush of everything before `marks`, by rank, and of what is held.
    pub(crate) fn ask(&mut self, marks: Vec<Seq>, covers_held: bool) -> FlushId {
        self.asked += 1;
        self.behind_held += usize::from(covers_held);
        self.pending.push_back((FlushId(self.asked), marks));
        FlushId(self.asked)
    }

    /// The first one, if it is over: streams are held by all up to what `stable` says of each rank.
    #[inline]
    pub(crate) fn over(&self, stable: impl Fn(usize) -> Seq) -> Option<FlushId> {
        let (id, marks) = self.pending.front()?;
        if self.pending.len() == self.behind_held && !mutated!(FlushBeforeHeld) {
            return None;
        }
        let is_stable = |(rank, mark): (usize, &Seq)| *mark <= stable(rank);
        (mutated!(FlushAtOnce) || marks.iter().enumerate().all(is_stable)).then_some(*id)
    }

    /// Those of the next view, numbered on: what was held is cast there before `marks`.
    pub(crate) fn succeed(&mut self, marks: &[Seq]) -> Self {
        let behind = if mutated!(FlushBeforeHeld) { 0 } else { self.behind_held };
        let held = self.pending.split_off(self.pending.len() - behind);
        let pending = held.into_iter().map(|(id, _)| (id, marks.to_vec())).collect();
        self.behind_held = 0;
        Self { asked: self.asked, pending, behind_held: 0 }
    }

    /// All that are not over are: everybody holds everything of the view.
    pub(crate) fn end(&mut self) -> impl Iterator<Item = FlushId> + '_ {
        self.pending.drain(..).map(|(id, _)| id)
    }

    /// The application was told of the first one.
    pub(crate) fn told(&mut self) {
        self.pending.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flushes_end_in_their_order_and_once() {
        let mut flushes = Flushes::default();
        assert_eq!(flushes.over(|_| Seq::LIMIT), None);
        let (first, second) =
            (flushes.ask(vec![Seq(5), Seq(7)], false), flushes.ask(vec![Seq(5), Seq(8)], false));
        let over = |flushes: &Flushes, stable: [u64; 2]| flushes.over(|rank| Seq(stable[rank]));
        assert_eq!(over(&flushes, [5, 6]), None);
        assert_eq!(over(&flushes, [4, 9]), None);
        assert_eq!(over(&flushes, [5, 7]), Some(first));
        flushes.told();
        assert_eq!(over(&flushes, [5, 7]), None);
        assert_eq!(over(&flushes, [6, 8]), Some(second));
        flushes.told();
        assert_eq!(over(&flushes, [9, 9]), None);
    }

    #[test]
    fn what_covers_held_casts_goes_on_in_the_next_view() {
        let mut flushes = Flushes::default();
        let (first, second) = (flushes.ask(vec![Seq(5)], false), flushes.ask(vec![Seq(5)], true));
        assert_eq!(flushes.over(|_| Seq(5)), Some(first));
        let mut next = flushes.succeed(&[Seq(2)]);
        assert_eq!(flushes.end().collect::<Vec<_>>(), [first]);
        assert_eq!((next.over(|_| Seq(1)), next.over(|_| Seq(2))), (None, Some(second)));
        assert_eq!(next.ask(vec![Seq(3)], false), FlushId(3));
        // Where the first was told already, the other waits all the same.
        let mut flushes = Flushes::default();
        flushes.ask(vec![Seq(5)], true);
        assert_eq!(flushes.over(|_| Seq(5)), None);
    }
}
