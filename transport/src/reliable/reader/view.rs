//! A reader of one view that is known: its members, where their streams begin, and some time where they end.

use super::source::Means;
use super::{Reader, ReaderConfig, ReaderOrder, Source, template};
use crate::id::{Endpoint, GroupInstance, Rank, Seq, ViewNumber};
use crate::log::RxPool;
use crate::reliable::config::Member;
use crate::time::Instant;

/// A view of a group, as a reader has to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderView {
    /// The life of the group.
    pub instance: GroupInstance,
    /// The view's number.
    pub number: ViewNumber,
    /// Its members by rank, and whether their streams are read from their beginning.
    pub members: Vec<Member>,
}

/// Where a view ends, and who may have what is missing.
#[derive(Debug)]
pub(super) struct End {
    cut: Vec<Seq>,
    holders: Vec<Rank>,
    /// Who did not go on to the next view.
    gone: Vec<Rank>,
    /// The next to be asked of all, where the holder does not answer.
    turn: u16,
}

impl End {
    /// Who is asked for what is missing of the stream of `rank`, and whether it is not the sender.
    pub(super) fn ask(&mut self, view: &ReaderView, rank: Rank, attempt: u8) -> (Endpoint, bool) {
        let endpoint = |rank: Rank| view.members[usize::from(rank.0)].endpoint;
        let goes_on = |rank: &Rank| !self.gone.contains(rank);
        if attempt == 0 && goes_on(&rank) {
            return (endpoint(rank), false);
        }
        let holder = self.holders[usize::from(rank.0)];
        if attempt <= 1 && holder != rank && goes_on(&holder) {
            return (endpoint(holder), true);
        }
        let count = view.members.len() as u16;
        self.turn = self.turn.wrapping_add(1);
        let mut others = (0..count).map(|at| Rank((self.turn + at) % count));
        let other = others.find(goes_on).unwrap_or(rank);
        (endpoint(other), other != rank)
    }
}

impl<O: ReaderOrder> Reader<O> {
    /// Reads this view, and no other; `config` says how many blocks of each stream are taken ahead. What `order` hands over waits until no
    /// cut can leave it out, if `order` wants that.
    ///
    /// # Panics
    /// When the view has no members.
    #[must_use]
    pub fn of_view(config: ReaderConfig, mut order: O, view: ReaderView) -> Self {
        let starts: Vec<Seq> = view.members.iter().map(|member| member.start).collect();
        let is_from_start = view.members[0].entry == crate::reliable::Entry::Start;
        order.begin(&starts, is_from_start);
        let mut reader = Self::ordered(config, order);
        reader.control.set_template(template(&config, view.instance, view.number));
        reader.life = Some((view.instance, view.number));
        let sources = view.members.iter().zip(0..).map(|(member, rank)| {
            let known = Member { window: config.tuning.window, ..*member };
            Some(Source::of_view(Rank(rank), &known, &config.tuning))
        });
        reader.senders = sources.collect();
        reader.view = Some(view);
        reader
    }

    /// The view ends at `cut`: by rank, `holders` held it, and `gone` do not go on. What is missing before it is asked for.
    ///
    /// # Panics
    /// When it is no cut of the view.
    pub fn end(&mut self, now: Instant, cut: &[Seq], holders: Vec<Rank>, gone: Vec<Rank>, pool: &mut RxPool) {
        assert!(cut.len() == self.senders.len() && holders.len() == cut.len(), "a cut of another view");
        self.now = now;
        self.order.ended(cut);
        for (source, cut) in self.senders.iter_mut().flatten().zip(cut) {
            let (rng, counters) = (&mut self.rng, &mut self.counters);
            source.end_view_at(*cut, &mut Means { now, pool, rng, counters });
        }
        self.end = Some(End { cut: cut.to_vec(), holders, gone, turn: 0 });
        self.reach_for_end();
    }

    /// Each stream goes on here, by rank and offset in the data of a block: what is before it was told in another way.
    pub fn place_at(&mut self, begins: &[(Rank, Seq, u32)], pool: &mut RxPool) {
        for &(rank, seq, at) in begins {
            if let Some(Some(source)) = self.senders.get_mut(rank.0 as usize) {
                source.place_at(seq, at, pool);
                self.order.place(rank, seq);
                self.arm(rank);
            }
        }
        if let Some(end) = &self.end {
            for (source, cut) in self.senders.iter_mut().flatten().zip(&end.cut) {
                source.stream.end_at(self.now, *cut, pool);
            }
        }
        self.reach_for_end();
    }

    /// Whether no cut can lie before these places.
    #[must_use]
    pub fn is_held(&self, begins: &[(Rank, Seq, u32)]) -> bool {
        begins.iter().all(|&(rank, seq, at)| self.order.is_held(rank, seq.plus(u64::from(at > 0))))
    }

    /// Whether nothing was handed over that lies behind these places.
    #[must_use]
    pub fn is_before(&self, begins: &[(Rank, Seq, u32)]) -> bool {
        let is_before = |source: &Source, seq, at| !source.has_passed(seq, at);
        let source = |rank: Rank| self.senders.get(rank.0 as usize).and_then(Option::as_ref);
        begins.iter().all(|&(rank, seq, at)| source(rank).is_none_or(|source| is_before(source, seq, at)))
    }

    /// Whether its end is known, and all before it was handed over, or given up: nothing more will come of it.
    #[must_use]
    pub fn has_come_to_end(&self) -> bool {
        self.end.as_ref().is_some_and(|end| self.ends(end).all(|(source, cut)| source.has_come_to(cut)))
    }

    /// By rank, blocks that were handed over and should not have been, once it [has come to its end](Self::has_come_to_end).
    pub fn retracted(&self) -> impl Iterator<Item = (Rank, u64)> + '_ {
        let ends = self.end.iter().flat_map(|end| self.ends(end));
        let retracted = (0..).map(Rank).zip(ends.map(|(source, cut)| source.retracted(cut)));
        retracted.filter(|(_, blocks)| *blocks > 0)
    }

    /// By rank, blocks that are known to exist and were not handed over to their end.
    pub fn undelivered(&self) -> impl Iterator<Item = (Rank, u64)> + '_ {
        let undelivered = self.sources().map(|(rank, source)| (rank, source.stream.undelivered()));
        undelivered.filter(|(_, blocks)| *blocks > 0)
    }

    /// Gives everything back to the pool.
    pub fn clear(&mut self, pool: &mut RxPool) {
        self.senders.iter_mut().flatten().for_each(|source| source.clear(pool));
    }

    fn ends<'a>(&'a self, end: &'a End) -> impl Iterator<Item = (&'a Source, Seq)> + 'a {
        self.senders.iter().flatten().zip(end.cut.iter().copied())
    }

    /// What lies before the end is asked for as far as there is room.
    pub(super) fn reach_for_end(&mut self) {
        if self.end.is_none() {
            return;
        }
        for at in 0..self.senders.len() {
            let Some(source) = &mut self.senders[at] else { continue };
            source.stream.reach_for_end(self.now, &mut self.rng);
            self.arm(Rank(at as u16));
        }
    }
}
