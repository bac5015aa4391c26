//! What a member does on the messages of a coordinator: it promises, stops, fetches, acknowledges, installs.

use super::coordinator::Lead;
use super::help::Committed;
use super::value::{Ballot, Op, Proposal, Reason, Value};
use super::{Agreement, Destination, Installed, Message, Outcome, Streams};
use crate::step::{Step, reached};
use sistrum_ordering::{Rank, Seq, ViewMember};
use sistrum_transport::mutated;
use sistrum_transport::time::Instant;

/// My part in the change of the present view.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Part {
    /// I take part in no lower ballot.
    promised: Option<Ballot>,
    /// Its coordinator has gone over to another one.
    has_yielded: bool,
    /// What I held when I stopped: the limit of my delivery.
    limit: Option<Vec<Seq>>,
    /// An invitation that came before I may leave the view: its ballot.
    parked: Option<Ballot>,
    /// My own ballot that the decision before has invited to.
    invited: Option<Ballot>,
    /// What I have accepted, while blocks are missing.
    accepted: Option<Proposal>,
    /// What I have acknowledged in the highest ballot.
    acked: Option<Proposal>,
    /// What is decided, while blocks are missing.
    committed: Option<Decision>,
}

/// A value that is decided.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Decision {
    pub(super) value: Value,
    pub(super) holders: Vec<Rank>,
    pub(super) then: Option<Ballot>,
    /// Whether I decided it: I see to it that all hear of it.
    pub(super) is_mine: bool,
    /// When I heard of it, or more of its blocks came.
    pub(super) since: Instant,
    /// What I held then.
    pub(super) held: Vec<Seq>,
}

/// What a member answers to an invitation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Answer {
    pub(super) closed: Vec<Seq>,
    pub(super) acked: Option<Proposal>,
    /// For whom it did not wait.
    pub(super) suspects: Vec<Rank>,
}

impl Part {
    /// Whether I have stopped for the next view.
    pub(super) fn is_frozen(&self) -> bool {
        self.limit.is_some()
    }

    /// Whether the next view is decided, as I know.
    pub(super) fn is_committed(&self) -> bool {
        self.committed.is_some()
    }

    /// What is decided, while I am still in the view before, or out of the next one.
    pub(super) fn decision(&self) -> Option<(Value, Vec<Rank>)> {
        self.committed.as_ref().map(|decision| (decision.value.clone(), decision.holders.clone()))
    }

    pub(super) fn promised(&self) -> Option<Ballot> {
        self.promised
    }

    /// Whether somebody whom I do not suspect is at it.
    pub(super) fn is_led_by_other(&self, me: Rank, suspected: &[bool]) -> bool {
        let leads = |ballot: Ballot| ballot.rank != me && !suspected[ballot.rank.0 as usize];
        !self.has_yielded && self.promised.is_some_and(leads)
    }

    /// `rank` has promised another ballot: if I was waiting for its own, I wait in vain.
    pub(super) fn note_yielded(&mut self, rank: Rank, promised: Option<Ballot>) {
        if self.promised.is_some_and(|mine| mine.rank == rank) && promised > self.promised {
            self.has_yielded = true;
        }
    }

    /// The decision of the view before was an invitation too.
    fn follow(&mut self, ballot: Ballot, me: Rank) {
        if ballot.rank == me {
            self.invited = Some(ballot);
        } else {
            self.promised = Some(ballot);
            self.parked = Some(ballot);
        }
    }

    /// Whether the others have been invited to `ballot` by the decision before.
    pub(super) fn has_invited(&self, ballot: Ballot) -> bool {
        self.invited == Some(ballot)
    }

    /// Takes part in `ballot`.
    pub(super) fn promise(&mut self, ballot: Ballot) {
        self.has_yielded &= self.promised == Some(ballot);
        self.promised = Some(ballot);
        let is_over = self.accepted.as_ref().is_some_and(|accepted| accepted.ballot < ballot);
        if is_over && !mutated!(ReportUnackedAsAcked) {
            self.accepted = None;
        }
    }
}

impl Agreement {
    pub(super) fn on_invite(
        &mut self,
        now: Instant,
        ballot: Ballot,
        suspects: &[Rank],
        wedged: bool,
        streams: &mut impl Streams,
    ) {
        self.see_attempt(ballot);
        // A suspect's answer would not count.
        if suspects.contains(&self.me) {
            return;
        }
        let is_suspected = self.is_suspected(ballot.rank);
        let is_low =
            self.part.promised.is_some_and(|promised| promised > ballot) && !mutated!(AcceptLowerBallot);
        if is_suspected || is_low {
            let (next, promised) = (self.next(), self.part.promised);
            return self.send_to(ballot.rank, Message::Refuse { next, promised, suspected: is_suspected });
        }
        if self.part.promised != Some(ballot) && self.lead.is_leading() {
            self.lead = Lead::None;
        }
        self.follow_wedge(now, wedged, suspects, streams);
        self.adopt(now, suspects, streams);
        self.part.promise(ballot);
        reached(Step::Promised);
        self.answer(now, ballot, streams);
    }

    /// Where too few are left, their coordinator says whom to suspect.
    fn follow_wedge(&mut self, now: Instant, wedged: bool, suspects: &[Rank], streams: &mut impl Streams) {
        let was_wedged = std::mem::replace(&mut self.is_wedged, wedged);
        if wedged && !was_wedged {
            let heard = self.roster.ranks().filter(|rank| !suspects.contains(rank)).collect();
            self.outcomes.push_back(Outcome::Wedged { heard });
        }
        if was_wedged && !wedged {
            self.outcomes.push_back(Outcome::Resumed);
        }
        if !(wedged || was_wedged) || mutated!(NeverWithdraw) {
            return;
        }
        for rank in self.roster.ranks().filter(|rank| !suspects.contains(rank)) {
            self.withdraw(now, rank, streams);
        }
        self.retry_soon(now);
    }

    /// Stops for the next view, and answers; where that may not be yet, later. One who has stopped may have to wait again: for somebody
    /// whom it suspected when it stopped, and does no more.
    fn answer(&mut self, now: Instant, ballot: Ballot, streams: &mut impl Streams) {
        if !self.may_change(streams) {
            self.part.parked = Some(ballot);
            return;
        }
        self.part.parked = None;
        let answer = self.freeze(streams);
        if !self.part.is_frozen() {
            return;
        }
        reached(Step::Answered);
        let message = Message::Ok {
            next: self.next(),
            ballot,
            closed: answer.closed,
            acked: answer.acked,
            suspects: self.suspects(),
            ops: self.pending.clone(),
        };
        self.send_to(ballot.rank, message);
        self.retry_soon(now);
    }

    /// What I hold; the first time, I stop.
    pub(super) fn freeze(&mut self, streams: &mut impl Streams) -> Answer {
        let closed = streams.freeze();
        debug_assert_eq!(closed.len(), self.roster.members.len());
        if self.part.limit.is_none() {
            reached(Step::Frozen);
            self.part.limit = Some(closed.clone());
        }
        let acked = match &self.part.accepted {
            Some(accepted) if mutated!(ReportUnackedAsAcked) => Some(accepted.clone()),
            _ if mutated!(ForgetAcked) => None,
            _ => self.part.acked.clone(),
        };
        // Whether I wait for anybody, is asked again before I propose.
        Answer { closed, acked, suspects: Vec::new() }
    }

    /// Answers an invitation that had to wait.
    pub(super) fn answer_parked(&mut self, now: Instant, streams: &mut impl Streams) {
        if let Some(ballot) = self.part.parked
            && self.may_change(streams)
        {
            if self.part.promised == Some(ballot) && !self.is_suspected(ballot.rank) {
                self.answer(now, ballot, streams);
            } else {
                self.part.parked = None;
            }
        }
    }

    pub(super) fn on_propose(&mut self, now: Instant, proposal: Proposal, streams: &mut impl Streams) {
        let ballot = proposal.ballot;
        self.see_attempt(ballot);
        // Who has not stopped is not in it, and need not say anything of it.
        if !self.part.is_frozen() || !self.roster.may_be_followed_by(&proposal.value, &proposal.holders) {
            return;
        }
        let is_low = self.part.promised.is_some_and(|promised| promised > ballot);
        let suspected = self.is_suspected(ballot.rank);
        if (is_low || suspected) && !mutated!(AcceptLowerBallot) {
            let (next, promised) = (self.next(), self.part.promised);
            return self.send_to(ballot.rank, Message::Refuse { next, promised, suspected });
        }
        self.part.promise(ballot);
        if self.part.acked.as_ref().is_some_and(|acked| acked.ballot == ballot) {
            let next = self.next();
            return self.send_to(ballot.rank, Message::Ack { next, ballot });
        }
        self.accept(now, proposal, streams);
    }

    /// Fetches what a proposal wants held, and acknowledges it then.
    pub(super) fn accept(&mut self, now: Instant, proposal: Proposal, streams: &mut impl Streams) {
        if !streams.holds(&proposal.value.cut) {
            reached(Step::Fetching);
            streams.fetch(&proposal.value.cut, &proposal.holders);
        }
        self.part.accepted = Some(proposal);
        self.try_ack(now, streams);
    }

    /// Acknowledges what was accepted, once everything up to its cut is held.
    pub(super) fn try_ack(&mut self, now: Instant, streams: &mut impl Streams) {
        let Some(accepted) = &self.part.accepted else { return };
        if !streams.holds(&accepted.value.cut) && !mutated!(AckWithoutBlocks) {
            return;
        }
        reached(Step::CutHeld);
        let ballot = accepted.ballot;
        self.part.acked = self.part.accepted.take();
        if ballot.rank == self.me {
            self.on_ack(now, self.me, ballot, streams);
        } else {
            let next = self.next();
            self.send_to(ballot.rank, Message::Ack { next, ballot });
        }
        self.retry_soon(now);
    }

    pub(super) fn on_commit(
        &mut self,
        now: Instant,
        value: Value,
        holders: Vec<Rank>,
        then: Option<Ballot>,
        streams: &mut impl Streams,
    ) {
        if self.part.is_committed() || !self.roster.may_be_followed_by(&value, &holders) {
            return;
        }
        reached(Step::CommitReceived);
        self.decide(
            now,
            Decision { value, holders, then, is_mine: false, since: now, held: Vec::new() },
            streams,
        );
    }

    /// Tells a member what is decided, while I still fetch its blocks.
    pub(super) fn tell_decision(&mut self, rank: Rank) {
        let Some(Decision { value, holders, .. }) = &self.part.committed else { return };
        let (value, holders) = (value.clone(), holders.clone());
        self.send_to(rank, Message::Commit { next: self.next(), value, holders, then: None });
    }

    /// Goes on with what is decided.
    pub(super) fn decide(&mut self, now: Instant, decision: Decision, streams: &mut impl Streams) {
        let number = self.next();
        if let Some((_, reason)) = decision.value.removed.iter().find(|(rank, _)| *rank == self.me) {
            let outcome = match reason {
                Reason::Left => {
                    Outcome::Left { is_last: self.roster.after(&decision.value).members.is_empty() }
                }
                Reason::Suspected => Outcome::Excluded { number },
            };
            self.part.committed = Some(decision);
            return self.go_out(outcome);
        }
        // A cut that I had no part in may lie below what I have delivered.
        let is_honoured = self
            .part
            .limit
            .as_ref()
            .is_some_and(|limit| limit.iter().zip(&decision.value.cut).all(|(limit, cut)| limit <= cut));
        if !is_honoured {
            return self.go_out(Outcome::Excluded { number });
        }
        if !streams.holds(&decision.value.cut) {
            reached(Step::Fetching);
            streams.fetch(&decision.value.cut, &decision.holders);
        }
        self.lead = Lead::None;
        self.part.accepted = None;
        self.part.committed = Some(decision);
        self.retry_soon(now);
        self.try_install(now, streams);
    }

    /// What I lack of this view may be held by nobody any more who lives: then I go on only when the others do so without me.
    pub(super) fn lose_hope(&mut self, now: Instant, streams: &mut impl Streams) {
        let Some(decision) = self.part.committed.as_mut().filter(|_| !self.is_wedged && !self.is_out) else {
            return;
        };
        if now.since_ns(decision.since) < self.tuning.answer_ns {
            return;
        }
        let held = streams.freeze();
        if decision.held != held {
            (decision.since, decision.held) = (now, held);
            return;
        }
        reached(Step::Wedged);
        self.is_wedged = true;
        let heard = self.roster.ranks().filter(|&rank| !self.is_suspected(rank)).collect();
        self.outcomes.push_back(Outcome::Wedged { heard });
    }

    /// I am no member any more.
    pub(super) fn go_out(&mut self, outcome: Outcome) {
        reached(Step::Excluded);
        self.is_out = true;
        self.outcomes.push_back(outcome);
    }

    /// Installs the next view once everything up to the cut is held.
    pub(super) fn try_install(&mut self, now: Instant, streams: &mut impl Streams) {
        let Some(decision) = self.part.committed.as_ref().filter(|_| !self.is_out) else { return };
        if !streams.holds(&decision.value.cut) && !mutated!(AckWithoutBlocks) {
            return;
        }
        let Some(decision) = self.part.committed.take() else { return };
        self.install(now, decision);
    }

    fn install(&mut self, now: Instant, decision: Decision) {
        reached(Step::Installed);
        let Decision { value, holders, then, is_mine, .. } = decision;
        self.gone = self.gone_after(&value);
        let next = self.roster.after(&value);
        let old = std::mem::replace(&mut self.roster, next);
        let me = self.roster.rank_of_member(old.members[self.me.0 as usize].member).unwrap_or_default();
        let suspected: Vec<ViewMember> = old
            .ranks()
            .filter(|rank| self.is_suspected(*rank))
            .map(|rank| old.members[rank.0 as usize].member)
            .collect();
        let gone = value
            .removed
            .iter()
            .map(|(rank, reason)| (old.members[rank.0 as usize].member, *reason))
            .collect();
        self.me = me;
        self.part = Part::default();
        self.lead = Lead::None;
        self.attempts_seen = None;
        let was_wedged = std::mem::replace(&mut self.is_wedged, false);
        if was_wedged {
            self.outcomes.push_back(Outcome::Resumed);
        }
        self.forget_done(&value);
        (self.is_formed, self.forms) = (value.formed, false);
        // The streams of the next view are there when the driver has taken this; who is still suspected, is so in them too.
        self.suspected = self.roster.members.iter().map(|known| suspected.contains(&known.member)).collect();
        let installed = Installed { roster: self.roster.clone(), me, value: value.clone(), gone };
        self.outcomes.push_back(Outcome::Install(installed));
        self.last = Some(Committed::new(value, holders, &old, &self.roster, is_mine));
        self.unheard = self.roster.ranks().map(|rank| rank != me).collect();
        self.retry_soon(now);
        self.is_installing = true;
        if let Some(ballot) = then.filter(|ballot| (ballot.rank.0 as usize) < self.suspected.len()) {
            // The view has to be told first.
            self.part.follow(ballot, me);
        }
    }

    pub(super) fn see_attempt(&mut self, ballot: Ballot) {
        self.attempts_seen = self.attempts_seen.max(Some(ballot.attempt));
    }

    /// Tells whom I see as coordinator that I wait for it, or whom I suspect.
    pub(super) fn tell_coordinator(&mut self) {
        let coordinator = self.coordinator();
        if coordinator == self.me || self.part.is_committed() {
            return;
        }
        let message =
            Message::Waiting { next: self.next(), promised: self.part.promised, suspects: self.suspects() };
        self.send_to(coordinator, message);
    }

    /// Passes what was asked of me on to the coordinator.
    pub(super) fn pass_on(&mut self) {
        let coordinator = self.coordinator();
        if coordinator == self.me {
            return;
        }
        let (to, number) = (Destination::One(self.endpoint(coordinator)), self.roster.number);
        for op in self.pending.clone() {
            if let Op::Join(_) = op {
                reached(Step::JoinRelayed);
            }
            self.send(to, Message::Request { number, op });
        }
        // A joiner asks again itself; what I ask for, I repeat.
        self.pending.retain(|op| !matches!(op, Op::Join(_)));
    }
}
