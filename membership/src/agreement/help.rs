//! Help for those who are behind, or come in: what was decided is told until all have installed it.

use super::value::{Introduction, Op, Roster, Value};
use super::{Agreement, Destination, MAX_GONE, Message, Outcome, Streams};
use crate::step::{Step, reached};
use sistrum_ordering::{Endpoint, Rank, ViewMember, ViewNumber};
use sistrum_transport::mutated;
use sistrum_transport::time::Instant;

/// The change that led to the present view.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Committed {
    value: Value,
    holders: Vec<Rank>,
    /// By rank of the present view: who came with it.
    is_joiner: Vec<bool>,
    /// I see to it that all hear of it.
    is_mine: bool,
}

impl Committed {
    pub(super) fn new(
        value: Value,
        holders: Vec<Rank>,
        old: &Roster,
        roster: &Roster,
        is_mine: bool,
    ) -> Self {
        let is_joiner =
            roster.members.iter().map(|known| old.rank_of_member(known.member).is_none()).collect();
        Self { value, holders, is_joiner, is_mine }
    }
}

impl Agreement {
    /// Somebody speaks of another change than the one that may come now.
    pub(super) fn help(&mut self, from: Endpoint, next: ViewNumber) {
        if next > self.next() {
            return self.send(Destination::One(from), Message::Behind { number: self.roster.number });
        }
        match self.roster.rank_of(from) {
            None => self.send(Destination::One(from), Message::Excluded { number: self.roster.number }),
            Some(rank) if next == self.roster.number => self.tell_last(rank),
            Some(_) => {}
        }
    }

    /// A member has not come as far as I.
    pub(super) fn on_behind(&mut self, from: Endpoint, number: ViewNumber) {
        match self.roster.rank_of(from) {
            Some(rank) if self.roster.number.0.checked_sub(1) == Some(number.0) => self.tell_last(rank),
            Some(_) => {}
            None => self.send(Destination::One(from), Message::Excluded { number: self.roster.number }),
        }
    }

    /// Somebody in a later view says that I am not in it. It may have come after me, and be all that is left: it is believed, as views of
    /// one life of a group are one sequence.
    pub(super) fn on_excluded(&mut self, number: ViewNumber) {
        if number > self.roster.number {
            self.go_out(Outcome::Excluded { number });
        }
    }

    pub(super) fn on_request(
        &mut self,
        now: Instant,
        from: Endpoint,
        number: ViewNumber,
        op: Op,
        streams: &mut impl Streams,
    ) {
        match &op {
            Op::Join(introduction) => {
                if !self.admits(now, introduction, streams) {
                    return;
                }
            }
            // What a member asked for in another view is done, or asked for again.
            Op::Leave(_) | Op::Sync(_) | Op::Ready(_) => {
                if number != self.roster.number || self.roster.rank_of(from).is_none() {
                    return;
                }
            }
        }
        self.request(now, op, streams);
    }

    /// I am out, by a decision that this member may not know: all others who do may be out too.
    pub(super) fn see_off(&mut self, from: Endpoint, message: &Message) {
        let is_asked = message.next() == Some(self.next()) && message.wants_decision();
        if let Some(rank) = self.roster.rank_of(from).filter(|_| is_asked) {
            self.tell_decision(rank);
        }
    }

    /// How the view of this number ended, for one who reads it, where that is known here.
    #[must_use]
    pub fn end_of(&self, number: ViewNumber) -> Option<Message> {
        let (value, holders) = match &self.last {
            Some(last) if number.0 + 1 == self.roster.number.0 => (last.value.clone(), last.holders.clone()),
            _ if number == self.roster.number => self.part.decision()?,
            _ => return None,
        };
        Some(Message::Commit { next: ViewNumber(number.0 + 1), value, holders, then: None })
    }

    /// Whether a process may come in; whoever is in already is welcomed again.
    fn admits(&mut self, now: Instant, new: &Introduction, streams: &mut impl Streams) -> bool {
        let Some(rank) = self.roster.rank_of(new.member.endpoint) else {
            let is_gone = self.has_been_in(new.member);
            if is_gone {
                // Perhaps it does not know.
                self.send(
                    Destination::One(new.member.endpoint),
                    Message::Excluded { number: self.roster.number },
                );
            }
            return !is_gone;
        };
        let known = self.roster.members[rank.0 as usize].member;
        if known == new.member {
            if !mutated!(NeverRepeatCommit) {
                reached(Step::Welcomed);
                let welcome = self.welcome();
                self.send(Destination::One(new.member.endpoint), welcome);
            }
            return false;
        }
        // What an earlier incarnation sent, late.
        if self.has_been_in(new.member) {
            return false;
        }
        self.suspect(now, rank, streams);
        true
    }

    /// Who may not come again when `value` has made the next view; where another incarnation is in, the view says as much.
    pub(super) fn gone_after(&self, value: &Value) -> Vec<ViewMember> {
        let next = self.roster.after(value);
        let now = value.removed.iter().map(|(rank, _)| self.roster.members[rank.0 as usize].member);
        let is_free = |gone: &ViewMember| next.rank_of(gone.endpoint).is_none();
        let gone: Vec<_> = self.gone.iter().copied().chain(now).filter(is_free).collect();
        gone[gone.len().saturating_sub(MAX_GONE)..].to_vec()
    }

    fn welcome(&self) -> Message {
        let (instance, formed) = (self.instance, self.is_formed);
        Message::Welcome { instance, roster: self.roster.clone(), gone: self.gone.clone(), formed }
    }

    fn tell_last(&mut self, rank: Rank) {
        let Some(last) = &self.last else { return };
        if mutated!(NeverRepeatCommit) {
            return;
        }
        let message = if last.is_joiner[rank.0 as usize] {
            self.welcome()
        } else {
            let (value, holders) = (last.value.clone(), last.holders.clone());
            Message::Commit { next: self.roster.number, value, holders, then: None }
        };
        self.send_to(rank, message);
    }

    /// Whether I have to tell somebody again what led to this view.
    pub(super) fn is_to_be_told(&self) -> bool {
        self.has_laggards() && self.last.as_ref().is_some_and(|last| last.is_mine)
    }

    /// Tells those again who were not heard in the view that I decided.
    pub(super) fn repeat_commit(&mut self) {
        if self.is_to_be_told() {
            for rank in self.laggards().filter(|rank| !self.is_suspected(*rank)).collect::<Vec<_>>() {
                self.tell_last(rank);
            }
        }
    }
}
