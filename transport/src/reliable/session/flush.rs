//! The end of a view, as far as the streams go: what an agreement above them needs to decide where the view ends, and to end it there.
//!
//! A member *freezes*: it casts nothing more, and says how far it holds each stream. It delivers nothing above that, and reads no
//! order from it, until the *cut* is known, up to which somebody holds everything. It fetches what it lacks from whoever holds it, and
//! *finishes*: what can be delivered of the cut is, in an order that follows from the blocks alone, and the rest is dropped. From
//! then on the session only answers those who are not as far, until it is cleared.
//!
//! What is reported is all that is held, causes or not, and what has no cause within the cut is left out at its end, by all alike: a block
//! whose causes are missing may have told the order of others that were delivered for it.

use super::super::layer::Layer;
use super::super::stream::Stream;
use super::Session;
use super::order::Held;
use crate::id::{Endpoint, Rank, Seq};
use crate::log::RxPool;
use crate::medium::true_size;
use crate::mutated;
use crate::protocol::{Payload, Target, Transmit};
use crate::time::Instant;
use crate::wire::{Control, ControlFrames, Header, Kind, Nak};
use std::collections::VecDeque;

/// The most ranges that wait to be answered; what is beyond will be asked for again.
const MAX_RANGES: usize = 1024;
/// Blocks that one asker is sent in a hold-off at least and at most, whatever it says of its buffer.
const BUDGET: std::ops::RangeInclusive<usize> = 8..=1024;

/// Where the view stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Phase {
    Open,
    Frozen,
    Finished,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Flush {
    phase: Phase,
    /// Something is not as usual: it is frozen, or somebody is suspected.
    is_on: bool,
    suspected: Vec<bool>,
    /// Of each stream, who is asked for what is missing up to the cut, once that is known, and how often somebody was.
    holders: Vec<(Rank, u32)>,
    /// Blocks that were asked for: by whom, of which stream, from where to where.
    asked: VecDeque<(Rank, Rank, Seq, Seq)>,
    /// Blocks that each asker has been granted, and since when.
    granted: Vec<(Instant, usize)>,
}

impl Flush {
    /// Of a view of so many members that is not about to end.
    pub(super) fn new(members: usize) -> Self {
        Self {
            phase: Phase::Open,
            is_on: false,
            suspected: vec![false; members],
            holders: Vec::new(),
            asked: VecDeque::new(),
            // All readers together are one asker more.
            granted: vec![(Instant::default(), 0); members + 1],
        }
    }

    /// Whether a block has to be looked at before it counts.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether the view is over.
    #[inline]
    pub(super) fn is_finished(&self) -> bool {
        self.phase == Phase::Finished
    }

    fn is_suspected(&self, rank: Rank) -> bool {
        self.suspected.get(rank.0 as usize).copied().unwrap_or(false)
    }

    fn look(&mut self) {
        self.is_on = self.phase != Phase::Open || self.suspected.contains(&true);
    }

    /// Whom to ask for what is missing of the stream of `origin`, for the `attempt`th time again; `None` outside of a fetch.
    pub(super) fn holder(&mut self, origin: Rank, attempt: u8, me: Rank) -> Option<Rank> {
        let (holder, turn) = self.holders.get_mut(origin.0 as usize)?;
        *turn += 1;
        let others = || (0..self.suspected.len() as u16).map(Rank).filter(|rank| *rank != me);
        let suspects = || others().filter(|rank| self.suspected[rank.0 as usize]);
        // Who did not answer is not asked again before the others were.
        let first = holder.0.saturating_add(u16::from(attempt > 0));
        let trusted = || others().filter(|rank| !self.suspected[rank.0 as usize]);
        let next = trusted().find(|rank| rank.0 >= first).or_else(|| trusted().next());
        // Nobody else may hold it than one who is suspected, and lives: now and then, those are asked too, one after the other.
        let count = suspects().count();
        if count > 0 && (next.is_none() || turn.is_multiple_of(4)) && !mutated!(NeverAskSuspects) {
            let at = if next.is_none() { *turn } else { *turn / 4 };
            return suspects().nth(at as usize % count);
        }
        *holder = next?;
        next
    }

    /// As many blocks of `wanted` as `asker` may be sent now, `budget` of them in each hold-off.
    fn grant(&mut self, now: Instant, asker: Rank, wanted: usize, budget: usize, holdoff_ns: u64) -> usize {
        let readers = self.granted.len() - 1;
        let (since, granted) = &mut self.granted[readers.min(asker.0 as usize)];
        if *since == Instant::default() || now.since_ns(*since) >= holdoff_ns {
            (*since, *granted) = (now, 0);
        }
        let taken = wanted.min(budget.saturating_sub(*granted));
        *granted += taken;
        taken
    }
}

impl<L: Layer> Session<L> {
    /// Seals what is open, and casts nothing from now on: that is [`Refused::ViewChanging`](super::super::Refused::ViewChanging). Returns
    /// how far each stream is held, my own to its end, whether it was sent or not. What the first call returns is the most that is
    /// delivered before [`finish`](Self::finish); later ones change nothing, and may return more.
    ///
    /// A member that says goodbye in a view must not be in one that changes so: not all learn of it before the cut.
    pub fn freeze(&mut self, now: Instant) -> Vec<Seq> {
        if self.flush.phase != Phase::Open {
            return self.closed();
        }
        self.sender.begin_cycle(now);
        if self.sender.has_open() {
            self.seal_open();
        }
        self.sender.freeze();
        self.flush.phase = Phase::Frozen;
        self.flush.look();
        let held = self.closed();
        for (stream, to) in self.streams.iter_mut().zip(&held) {
            if let Some(stream) = stream
                && !mutated!(DeliverAboveReported)
            {
                stream.cap(*to, !L::ORDERS);
            }
        }
        held
    }

    /// How far each stream is held now, by rank, my own to its end.
    #[must_use]
    pub fn closed(&self) -> Vec<Seq> {
        let ends = self.streams.iter().zip(0..).map(|(stream, rank)| match stream {
            Some(stream) if Rank(rank) != self.config.me => stream.held(),
            _ => self.sender.open(),
        });
        ends.collect()
    }

    /// Data and acks that come from this member itself count no more; its blocks do where others send them.
    pub fn suspect(&mut self, rank: Rank) {
        self.set_suspected(rank, true);
    }

    /// They count again, and its silence begins anew.
    pub fn trust(&mut self, now: Instant, rank: Rank) {
        self.set_suspected(rank, false);
        self.heard_at.iter_mut().skip(rank.0 as usize).take(1).for_each(|at| *at = now);
    }

    fn set_suspected(&mut self, rank: Rank, is_suspected: bool) {
        if let Some(suspected) = self.flush.suspected.get_mut(rank.0 as usize) {
            *suspected = is_suspected;
            self.flush.look();
            self.sender.suspect(rank, is_suspected);
        }
    }

    /// Asks for what is missing up to `cut`, by rank: first of `holders`, who are said to hold it, then of the others, of those that are
    /// suspected more seldom. Later blocks are not wanted any more.
    pub fn fetch(&mut self, now: Instant, cut: &[Seq], holders: &[Rank], pool: &mut RxPool) {
        if self.flush.is_finished() {
            return;
        }
        self.flush.holders = holders.iter().map(|holder| (*holder, 0)).collect();
        for rank in 0..self.streams.len() {
            let (Some(stream), Some(end)) = (&mut self.streams[rank], cut.get(rank)) else { continue };
            if rank != self.config.me.0 as usize {
                stream.fetch(now, *end, pool);
                let due = stream.nak_timeout();
                self.arm(super::Timer::Nak, due);
            }
        }
    }

    /// Whether everything up to `cut` is held.
    #[must_use]
    pub fn holds(&self, cut: &[Seq]) -> bool {
        mutated!(AckWithoutBlocks) || self.closed().iter().zip(cut).all(|(held, cut)| held >= cut)
    }

    /// The view ends at `cut`, up to which everything is held: what can be delivered of it is from now on, the rest is dropped, and
    /// nothing else is taken. See [`is_drained`](Self::is_drained).
    pub fn finish(&mut self, cut: &[Seq], pool: &mut RxPool) {
        self.flush.phase = Phase::Finished;
        self.flush.look();
        self.sender.finish();
        for (rank, (stream, cut)) in self.streams.iter_mut().zip(cut).enumerate() {
            if let Some(stream) = stream.as_mut().filter(|_| rank != self.config.me.0 as usize) {
                stream.finish(*cut, pool);
            }
        }
        self.timers = Default::default();
        self.news.clear();
        let mut end = cut.to_vec();
        if L::ORDERS {
            (0..self.streams.len()).for_each(|rank| self.show(Rank(rank as u16), pool));
            let (log, _) = self.sender.split();
            let held = Held { streams: &self.streams, pool, me: self.config.me, log, mine: log.open() };
            self.layer.cut(&mut end, &held);
        }
        for (rank, (stream, end)) in self.streams.iter_mut().zip(end).enumerate() {
            if let Some(stream) = stream {
                stream.cap(end, !L::ORDERS);
            }
            self.ready.insert(Rank(rank as u16));
        }
    }

    /// Whether all that is to be delivered of the view has been handed over.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.flush.is_finished() && self.streams.iter().flatten().all(Stream::is_drained)
    }

    /// Whether a block with this trailer counts that came from `from`, now that not all is as usual. What a suspect sends does not, but for
    /// data while some is fetched, and it was heard; and a view that is over has answers, for all, and nothing else.
    #[cold]
    pub(super) fn admits(&mut self, now: Instant, from: Endpoint, header: &Header, trailer: &[u8]) -> bool {
        let position = self.config.members.iter().position(|member| member.endpoint == from);
        let Some(sender) = position.map(|at| Rank(at as u16)) else { return false };
        if sender == header.rank {
            self.heard_at[sender.0 as usize] = now;
        }
        if self.flush.is_finished() {
            // A suspicion may have been withdrawn since, in the next view: whoever goes on to it needs what it lacks.
            if sender == header.rank {
                self.answer(now, sender, trailer);
            }
            return false;
        }
        if !self.flush.is_suspected(sender) || mutated!(DeliverSuspectsData) {
            return true;
        }
        // Who goes on without it, or with it after all, is not known yet: it may be the one who lacks what only I hold.
        if self.flush.phase == Phase::Frozen && sender == header.rank {
            self.answer(now, sender, trailer);
        }
        // What is fetched is the same from anybody.
        let is_fetching = !self.flush.holders.is_empty() && !mutated!(NeverAskSuspects);
        is_fetching && header.kind == Kind::Data
    }

    fn answer(&mut self, now: Instant, asker: Rank, trailer: &[u8]) {
        let mut frames = ControlFrames::new(trailer);
        while let Ok(Some(frame)) = frames.next_frame() {
            match frame {
                Control::Nak(nak) if !mutated!(DropOldRepairs) => self.handle_nak(now, asker, nak),
                Control::Fetch(nak) => self.handle_fetch(now, asker, nak),
                _ => {}
            }
        }
    }

    /// `asker` wants blocks of anybody's stream: those that are held here will be sent to it alone, as far as its buffer goes; where it is a
    /// reader, to all, since others may read as well and none of them can be told from one who names another's address. Only at the end of a view, or where their sender is suspected: otherwise repairs are the sender's.
    #[cold]
    pub(super) fn handle_fetch(&mut self, now: Instant, asker: Rank, nak: Nak<'_>) {
        let is_open = self.flush.phase == Phase::Open && !self.flush.is_suspected(nak.origin);
        if is_open || (self.flush.is_finished() && mutated!(DropOldRepairs)) {
            return;
        }
        let Some((base, end)) = self.extent_of(nak.origin) else { return };
        self.counters.naks_received += 1;
        // What it asked for before and still misses is in this one too.
        self.flush.asked.retain(|(whose, origin, ..)| (*whose, *origin) != (asker, nak.origin));
        let (tuning, members) = (&self.config.tuning, &self.config.members);
        let buffer = members.get(asker.0 as usize).map_or(usize::MAX, |member| member.receive_buffer);
        let budget = (buffer / 4 / true_size(self.config.block)).clamp(*BUDGET.start(), *BUDGET.end());
        for (first, count) in nak.ranges.iter() {
            let (from, to) = (first.max(base), Seq(first.0.saturating_add(u64::from(count))).min(end));
            if from >= to || self.flush.asked.len() >= MAX_RANGES {
                continue;
            }
            let wanted = to.since(from) as usize;
            let granted = self.flush.grant(now, asker, wanted, budget, tuning.repair_holdoff_ns);
            self.flush.asked.push_back((asker, nak.origin, from, from.plus(granted as u64)));
        }
    }

    /// From where to where blocks of the stream of `origin` may be held here.
    fn extent_of(&self, origin: Rank) -> Option<(Seq, Seq)> {
        if origin == self.config.me {
            return Some((self.sender.retained(), self.sender.open()));
        }
        let stream = self.streams.get(origin.0 as usize)?.as_ref()?;
        Some((stream.base(), stream.reach()))
    }

    /// The next block that somebody has fetched.
    #[cold]
    pub(super) fn next_fetched(&mut self) -> Option<Transmit> {
        while let Some((asker, origin, from, to)) = self.flush.asked.pop_front() {
            let is_held = |seq: &Seq| match &self.streams[origin.0 as usize] {
                Some(stream) if origin != self.config.me => stream.holds(*seq),
                _ => self.sender.retained() <= *seq,
            };
            let Some(seq) = (from.0..to.0).map(Seq).find(is_held) else { continue };
            if seq.plus(1) < to {
                self.flush.asked.push_front((asker, origin, seq.plus(1), to));
            }
            self.counters.repairs_lent += u64::from(origin != self.config.me);
            let asker = self.config.members.get(asker.0 as usize);
            let to = asker.map_or(self.config.to, |member| Target::One(member.endpoint));
            return Some(self.transmit(to, Payload::Held { origin, seq }));
        }
        None
    }

    /// The bytes of a block that is still held.
    #[cold]
    pub(super) fn held_bytes<'a>(&'a self, origin: Rank, seq: Seq, pool: &'a RxPool) -> &'a [u8] {
        if origin == self.config.me {
            return self.sender.run(seq, 1).0;
        }
        let stream = self.streams.get(origin.0 as usize).and_then(Option::as_ref);
        stream.and_then(|stream| stream.block(seq, pool)).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who is asked in so many attempts.
    fn asked(members: usize, suspects: &[u16], hint: u16, attempts: u8) -> Vec<Rank> {
        let mut flush = Flush::new(members);
        suspects.iter().for_each(|rank| flush.suspected[usize::from(*rank)] = true);
        flush.holders = vec![(Rank(hint), 0); members];
        (0..attempts).filter_map(|attempt| flush.holder(Rank(1), attempt, Rank(0))).collect()
    }

    #[test]
    fn the_holder_is_asked_first_and_everybody_else_within_bounds() {
        assert_eq!(asked(3, &[], 2, 3), [Rank(2), Rank(1), Rank(2)]);
        for members in 2..8 {
            let ranks = 1..members as u16;
            for suspects in [vec![], vec![1], ranks.clone().skip(1).collect(), ranks.clone().collect()] {
                for hint in 0..members as u16 {
                    let attempts = 4 * members as u8 + 4;
                    let asked = asked(members, &suspects, hint, attempts);
                    assert_eq!(asked.len(), usize::from(attempts), "{members} {suspects:?} {hint}");
                    assert!(!asked.contains(&Rank(0)), "it asks itself");
                    let left = ranks.clone().find(|rank| !asked.contains(&Rank(*rank)));
                    assert_eq!(left, None, "{members} {suspects:?} {hint}: {asked:?}");
                }
            }
        }
        assert_eq!(asked(1, &[], 0, 2), [], "alone");
    }
}
