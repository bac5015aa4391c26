//! What a coordinator does: it invites, gathers, proposes, decides. Any member may have to.

use super::participant::{Answer, Decision};
use super::value::{Ballot, Op, Proposal, Reason, SyncCast, Value};
use super::{Agreement, Destination, Message, Outcome, Streams};
use crate::step::{Step, reached};
use sistrum_ordering::{Rank, Seq};
use sistrum_transport::mutated;
use sistrum_transport::time::Instant;

/// My own ballot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) enum Lead {
    /// I have none.
    #[default]
    None,
    /// I gather answers.
    Inviting {
        ballot: Ballot,
        /// By rank.
        answers: Vec<Option<Answer>>,
        /// Who has said that it suspects me: it is not waited for.
        opposed: Vec<bool>,
        since: Instant,
        /// When I try again with a higher ballot.
        again_at: Option<Instant>,
    },
    /// I gather acknowledgements.
    Proposing {
        ballot: Ballot,
        proposal: Proposal,
        /// By rank: who has answered the invitation, and who has acknowledged.
        answered: Vec<bool>,
        acked: Vec<bool>,
        since: Instant,
        again_at: Option<Instant>,
    },
}

impl Lead {
    pub(super) fn is_leading(&self) -> bool {
        !matches!(self, Self::None)
    }

    pub(super) fn begins_again_at(&self) -> Option<Instant> {
        match self {
            Self::None => None,
            Self::Inviting { again_at, .. } | Self::Proposing { again_at, .. } => *again_at,
        }
    }

    /// Tries again at this time, or before it where that was planned.
    pub(super) fn begin_again(&mut self, at: Instant) {
        if let Self::Inviting { again_at, .. } | Self::Proposing { again_at, .. } = self {
            *again_at = Some(again_at.map_or(at, |before| before.min(at)));
        }
    }

    /// This member counts again: who has answered without waiting for it, is to answer once more, and has time for that.
    pub(super) fn trust(&mut self, now: Instant, rank: Rank) {
        if let Self::Inviting { answers, since, .. } = self
            && !mutated!(KeepAnswers)
        {
            *since = now;
            for answer in answers {
                answer.take_if(|answer| answer.suspects.contains(&rank));
            }
        }
    }

    /// Tries again at this time, and not before.
    fn put_off(&mut self, at: Instant) {
        if let Self::Inviting { again_at, .. } | Self::Proposing { again_at, .. } = self {
            *again_at = Some(at);
        }
    }

    fn ballot(&self) -> Option<Ballot> {
        match self {
            Self::None => None,
            Self::Inviting { ballot, .. } | Self::Proposing { ballot, .. } => Some(*ballot),
        }
    }
}

impl Agreement {
    /// Begins a ballot of my own, above all that I know of.
    pub(super) fn begin(&mut self, now: Instant, streams: &mut impl Streams) {
        if !self.may_change(streams) {
            self.lead.put_off(now.plus_ns(self.tuning.retry_ns / 2));
            return;
        }
        let ballot = self.next_ballot();
        reached(if ballot.attempt == 0 { Step::Invited } else { Step::Reconfiguring });
        self.see_attempt(ballot);
        self.part.promise(ballot);
        let mut answers = vec![None; self.roster.members.len()];
        let opposed = vec![false; answers.len()];
        answers[self.me.0 as usize] = Some(self.freeze(streams));
        self.lead = Lead::Inviting { ballot, answers, opposed, since: now, again_at: None };
        if !self.part.has_invited(ballot) {
            self.invite(Destination::All, ballot);
        }
        self.retry_soon(now);
        self.advance(now, streams);
    }

    fn next_ballot(&self) -> Ballot {
        let first = Ballot { attempt: 0, rank: self.me };
        let is_above = |ballot: &Ballot| {
            self.part.promised().is_none_or(|promised| promised < *ballot)
                && self.lead.ballot().is_none_or(|mine| mine < *ballot)
        };
        let attempt = self.attempts_seen.map_or(0, |seen| seen.saturating_add(1));
        if is_above(&first) && self.attempts_seen.is_none_or(|seen| seen == 0) {
            first
        } else {
            Ballot { attempt, rank: self.me }
        }
    }

    fn invite(&mut self, to: Destination, ballot: Ballot) {
        let (next, suspects, wedged) = (self.next(), self.suspects(), self.is_wedged);
        self.send(to, Message::Invite { next, ballot, suspects, wedged });
    }

    pub(super) fn on_ok(
        &mut self,
        now: Instant,
        rank: Rank,
        ballot: Ballot,
        answer: Answer,
        ops: Vec<Op>,
        streams: &mut impl Streams,
    ) {
        let is_sound = answer.closed.len() == self.roster.members.len();
        let is_mine = self.lead.ballot() == Some(ballot);
        let counts = !self.is_suspected(rank);
        if !is_mine || !is_sound || !counts {
            return;
        }
        for op in ops {
            self.note(op);
        }
        if !self.is_wedged || self.may_do_without(now, &answer.suspects) {
            self.adopt(now, &answer.suspects, streams);
        }
        // It has not waited for somebody who counts again: it will answer once more.
        let is_early = answer.suspects.iter().any(|suspect| !self.is_suspected(*suspect));
        // Whom I have come to suspect may have made this another ballot.
        if let Lead::Inviting { ballot: mine, answers, .. } = &mut self.lead
            && *mine == ballot
            && (!is_early || mutated!(KeepAnswers))
        {
            answers[rank.0 as usize] = Some(answer);
        }
        self.advance(now, streams);
    }

    pub(super) fn on_refuse(
        &mut self,
        now: Instant,
        rank: Rank,
        promised: Option<Ballot>,
        suspected: bool,
        streams: &mut impl Streams,
    ) {
        if let Some(promised) = promised {
            self.see_attempt(promised);
        }
        let Some(mine) = self.lead.ballot() else { return self.part.note_yielded(rank, promised) };
        if suspected {
            // Either of us will be out, unless too few are left.
            if let Lead::Inviting { opposed, .. } = &mut self.lead {
                opposed[rank.0 as usize] = true;
            }
            self.advance(now, streams);
        } else if promised.is_some_and(|promised| promised > mine) {
            // The other may be about to end it: not at once.
            let wait_ns = self.jitter_ns();
            self.lead.begin_again(now.plus_ns(wait_ns));
        }
    }

    /// Somebody waits for me, whom he sees as coordinator.
    pub(super) fn on_waiting(
        &mut self,
        now: Instant,
        rank: Rank,
        promised: Option<Ballot>,
        suspects: &[Rank],
        streams: &mut impl Streams,
    ) {
        if self.is_suspected(rank) {
            return;
        }
        if let Some(promised) = promised {
            self.see_attempt(promised);
        }
        if !self.is_wedged {
            self.adopt(now, suspects, streams);
        }
        if self.coordinator() != self.me {
            // Whoever waits for me learns whom I follow.
            let (next, mine) = (self.next(), self.part.promised());
            if !self.lead.is_leading() && mine > promised {
                self.send_to(rank, Message::Refuse { next, promised: mine, suspected: false });
            }
            return;
        }
        let is_above = |mine: Ballot| promised.is_some_and(|promised| promised > mine);
        match self.lead.ballot() {
            None if promised.is_some() || !suspects.is_empty() => self.begin(now, streams),
            Some(mine) if is_above(mine) => {
                let wait_ns = self.jitter_ns();
                self.lead.begin_again(now.plus_ns(wait_ns));
            }
            _ => {}
        }
    }

    /// Where too few were left, whom some suspect is waited for; not for ever, where there are enough without.
    fn may_do_without(&self, now: Instant, suspects: &[Rank]) -> bool {
        let Lead::Inviting { since, .. } = &self.lead else { return false };
        let is_left = |rank: Rank| !self.is_suspected(rank) && !suspects.contains(&rank);
        now.since_ns(*since) >= self.tuning.answer_ns && self.roster.is_quorum(is_left)
    }

    /// Proposes once all have answered whom I do not suspect, if they are enough.
    pub(super) fn advance(&mut self, now: Instant, streams: &mut impl Streams) {
        let Lead::Inviting { ballot, answers, opposed, .. } = &self.lead else { return };
        let (ballot, has_answered) = (*ballot, |rank: Rank| answers[rank.0 as usize].is_some());
        let is_awaited = |rank: Rank| !self.is_suspected(rank) && !opposed[rank.0 as usize];
        if self.roster.ranks().any(|rank| is_awaited(rank) && !has_answered(rank)) {
            return;
        }
        let counts = |rank: Rank| has_answered(rank) && !self.is_suspected(rank);
        if !self.roster.is_quorum(counts) && !mutated!(WedgedGoesOn) {
            return self.wedge(now);
        }
        // Somebody may count again whom I suspected when I stopped.
        if !self.may_change(streams) {
            return self.lead.put_off(now.plus_ns(self.tuning.retry_ns / 2));
        }
        let answered: Vec<bool> = self.roster.ranks().map(counts).collect();
        let answers: Vec<Option<Answer>> = answers
            .iter()
            .zip(&answered)
            .map(|(answer, counts)| answer.clone().filter(|_| *counts))
            .collect();
        self.resume();
        reached(Step::Proposed);
        let proposal = self.proposal_from(ballot, &answers);
        let acked = vec![false; answered.len()];
        self.lead = Lead::Proposing {
            ballot,
            proposal: proposal.clone(),
            answered,
            acked,
            since: now,
            again_at: None,
        };
        let next = self.next();
        self.send(Destination::All, Message::Propose { next, proposal: proposal.clone() });
        self.retry_soon(now);
        if mutated!(InstallBeforeQuorum) {
            return self.decide_mine(now, proposal, streams);
        }
        self.accept(now, proposal, streams);
    }

    fn wedge(&mut self, now: Instant) {
        if !self.is_wedged {
            reached(Step::Wedged);
            self.is_wedged = true;
            let heard = self.roster.ranks().filter(|&rank| !self.is_suspected(rank)).collect();
            self.outcomes.push_back(Outcome::Wedged { heard });
            if let Some(ballot) = self.lead.ballot() {
                self.invite(Destination::All, ballot);
            }
            self.retry_soon(now);
        }
    }

    fn resume(&mut self) {
        if std::mem::replace(&mut self.is_wedged, false) {
            self.outcomes.push_back(Outcome::Resumed);
        }
    }

    /// What may have been decided before, or something new.
    fn proposal_from(&self, ballot: Ballot, answers: &[Option<Answer>]) -> Proposal {
        let acked = answers.iter().flatten().filter_map(|answer| answer.acked.as_ref());
        if let Some(acked) = acked.max_by_key(|acked| acked.ballot) {
            let holder = |(rank, answer): (Rank, &Option<Answer>)| {
                (answer.as_ref()?.acked.as_ref()? == acked).then_some(rank)
            };
            // Who has acknowledged it holds all of it.
            let holder = self.roster.ranks().zip(answers).find_map(holder).unwrap_or(self.me);
            let holders = vec![holder; self.roster.members.len()];
            return Proposal { ballot, value: acked.value.clone(), holders };
        }
        let (cut, holders) = self.cut_of(answers);
        let (removed, joined) = (self.removed(answers), self.joined(answers));
        let formed = self.is_formed || self.forms;
        let value = Value { removed, joined, cut, syncs: self.syncs(), ready: self.ready(answers), formed };
        Proposal { ballot, value, holders }
    }

    /// The entrywise maximum of what is held: a union of causally closed sets is closed.
    fn cut_of(&self, answers: &[Option<Answer>]) -> (Vec<Seq>, Vec<Rank>) {
        let of = |origin: Rank| {
            let held = self.roster.ranks().zip(answers).filter_map(|(rank, answer)| {
                let only_mine = mutated!(CutOfCoordinatorOnly) && rank != self.me;
                answer.as_ref().filter(|_| !only_mine).map(|answer| (answer.closed[origin.0 as usize], rank))
            });
            let best = if mutated!(CutIsMinimum) {
                held.min_by_key(|(seq, _)| *seq)
            } else {
                // Of several, the stream's own sender.
                held.max_by_key(|(seq, rank)| (*seq, *rank == origin))
            };
            best.unwrap_or((Seq(0), self.me))
        };
        self.roster.ranks().map(of).unzip()
    }

    fn removed(&self, answers: &[Option<Answer>]) -> Vec<(Rank, Reason)> {
        let leaves = |rank: Rank| {
            let member = self.roster.members[rank.0 as usize].member;
            self.pending.contains(&Op::Leave(member))
        };
        let has_answered = |rank: Rank| answers[rank.0 as usize].is_some();
        let ready = self.ready(answers);
        let has_state = |rank: Rank| self.roster.has_state(rank) || ready.contains(&rank);
        let (staying, leaving): (Vec<Rank>, Vec<Rank>) =
            self.roster.ranks().filter(|rank| has_answered(*rank)).partition(|rank| !leaves(*rank));
        // Two views that follow each other share a member that has the state: the last one to leave waits until somebody has taken it over.
        // Who keeps none never will.
        let keeps_nobody = !self.roster.members.iter().any(|known| known.keeps_state);
        let may_take =
            |known: &super::Introduction| known.keeps_state || keeps_nobody || mutated!(LeaveToAnybody);
        let comes = |op: &Op| matches!(op, Op::Join(new) if may_take(new));
        let stays = |rank: &Rank| may_take(&self.roster.members[rank.0 as usize]);
        let is_followed = self.pending.iter().any(comes) || staying.iter().any(stays);
        let hands_over =
            is_followed && !staying.iter().copied().any(has_state) && !mutated!(LastLeavesAtOnce);
        let why = |rank: Rank| match has_answered(rank) {
            false => Some((rank, Reason::Suspected)),
            true if leaving.contains(&rank) && !(hands_over && has_state(rank)) => Some((rank, Reason::Left)),
            true => None,
        };
        self.roster.ranks().filter_map(why).collect()
    }

    fn joined(&self, answers: &[Option<Answer>]) -> Vec<super::Introduction> {
        let removed = self.removed(answers);
        let stays = |rank: Rank| !removed.iter().any(|(gone, _)| *gone == rank);
        let is_free = |endpoint| self.roster.rank_of(endpoint).is_none_or(|rank| !stays(rank));
        let joins = self.pending.iter().filter_map(|op| match op {
            Op::Join(introduction) => Some(*introduction),
            _ => None,
        });
        joins.filter(|introduction| is_free(introduction.member.endpoint)).collect()
    }

    /// Who has the state now, of those who go on.
    fn ready(&self, answers: &[Option<Answer>]) -> Vec<Rank> {
        let is_ready = |rank: &Rank| {
            let member = self.roster.members[rank.0 as usize].member;
            answers[rank.0 as usize].is_some() && self.pending.contains(&Op::Ready(member))
        };
        self.roster.joining.iter().copied().filter(is_ready).collect()
    }

    fn syncs(&self) -> Vec<SyncCast> {
        let casts = self.pending.iter().filter_map(|op| match op {
            Op::Sync(cast) => Some(cast.clone()),
            _ => None,
        });
        casts.collect()
    }

    pub(super) fn on_ack(&mut self, now: Instant, rank: Rank, ballot: Ballot, streams: &mut impl Streams) {
        if self.is_suspected(rank) {
            return;
        }
        let Lead::Proposing { ballot: mine, proposal, acked, .. } = &mut self.lead else { return };
        if *mine != ballot {
            return;
        }
        acked[rank.0 as usize] = true;
        if self.roster.is_quorum(|rank| acked[rank.0 as usize]) {
            let proposal = proposal.clone();
            self.decide_mine(now, proposal, streams);
        }
    }

    fn decide_mine(&mut self, now: Instant, proposal: Proposal, streams: &mut impl Streams) {
        reached(Step::Decided);
        let Proposal { value, holders, .. } = proposal;
        let then = self.next_invitation(&value);
        let commit =
            Message::Commit { next: self.next(), value: value.clone(), holders: holders.clone(), then };
        self.send(Destination::All, commit);
        if !value.joined.is_empty() {
            reached(Step::Welcomed);
            let (instance, roster, gone) =
                (self.instance, self.roster.after(&value), self.gone_after(&value));
            for joiner in &value.joined {
                let welcome = Message::Welcome {
                    instance,
                    roster: roster.clone(),
                    gone: gone.clone(),
                    formed: value.formed,
                };
                self.send(Destination::One(joiner.member.endpoint), welcome);
            }
        }
        self.decide(
            now,
            Decision { value, holders, then, is_mine: true, since: now, held: Vec::new() },
            streams,
        );
    }

    /// What the decision tells of the change after it, where there is more to change and I am still the one to do it.
    //= ricciardi91 §5: the commit carries the next, contingent update
    fn next_invitation(&self, value: &Value) -> Option<Ballot> {
        let next = self.roster.after(value);
        let me = next.rank_of_member(self.roster.members[self.me.0 as usize].member)?;
        let suspects = |rank: Rank| {
            let member = next.members[rank.0 as usize].member;
            self.roster.rank_of_member(member).is_some_and(|rank| self.is_suspected(rank))
        };
        let is_senior = next.ranks().take_while(|rank| *rank != me).all(suspects);
        let is_open = |op: &Op| match op {
            Op::Join(introduction) => next.rank_of_member(introduction.member).is_none(),
            Op::Leave(member) => next.rank_of_member(*member).is_some() && !self.is_put_off(&next, op),
            Op::Sync(sync) => !value.syncs.contains(sync),
            Op::Ready(member) => next.is_joining_member(*member),
        };
        let has_more = next.ranks().any(suspects) || self.pending.iter().any(is_open);
        (is_senior && has_more).then_some(Ballot { attempt: 0, rank: me })
    }

    /// Members are suspected while I lead: their answers do not count, and what was proposed with one is proposed anew.
    pub(super) fn lost(&mut self, now: Instant, suspects: &[Rank], streams: &mut impl Streams) {
        match &mut self.lead {
            Lead::None => {}
            Lead::Inviting { answers, .. } => {
                suspects.iter().for_each(|rank| answers[rank.0 as usize] = None);
                self.advance(now, streams);
            }
            Lead::Proposing { answered, .. } => {
                if suspects.iter().any(|rank| answered[rank.0 as usize]) {
                    self.begin(now, streams);
                }
            }
        }
    }

    /// Repeats to those who have not answered.
    pub(super) fn repeat_lead(&mut self, now: Instant, streams: &mut impl Streams) {
        self.lose_patience(now, streams);
        let next = self.next();
        match &self.lead {
            Lead::None => {}
            Lead::Inviting { ballot, .. } if self.is_wedged => {
                let ballot = *ballot;
                self.invite(Destination::All, ballot);
            }
            Lead::Inviting { ballot, answers, .. } => {
                let ballot = *ballot;
                let missing = |rank: &Rank| !self.is_suspected(*rank) && answers[rank.0 as usize].is_none();
                for rank in self.roster.ranks().filter(missing).collect::<Vec<_>>() {
                    self.invite(Destination::One(self.endpoint(rank)), ballot);
                }
            }
            Lead::Proposing { proposal, answered, acked, .. } => {
                let missing =
                    |rank: &Rank| answered[rank.0 as usize] && !acked[rank.0 as usize] && *rank != self.me;
                let (proposal, to) =
                    (proposal.clone(), self.roster.ranks().filter(missing).collect::<Vec<_>>());
                for rank in to {
                    self.send_to(rank, Message::Propose { next, proposal: proposal.clone() });
                }
            }
        }
    }

    /// Nothing waits without bound: who lives and does not answer is suspected, and what is not acknowledged is tried again.
    fn lose_patience(&mut self, now: Instant, streams: &mut impl Streams) {
        let is_over = |since: Instant| now.since_ns(since) >= self.tuning.answer_ns;
        match &self.lead {
            Lead::Inviting { since, answers, .. } if is_over(*since) => {
                let silent = |rank: &Rank| answers[rank.0 as usize].is_none();
                // Too few have no patience to lose.
                if self.is_wedged && !self.roster.is_quorum(|rank| !silent(&rank)) {
                    return;
                }
                let silent: Vec<Rank> = self.roster.ranks().filter(silent).collect();
                self.adopt(now, &silent, streams);
            }
            Lead::Proposing { since, .. } if is_over(*since) => self.begin(now, streams),
            _ => {}
        }
    }

    /// A while that differs from member to member and from attempt to attempt.
    fn jitter_ns(&self) -> u64 {
        let attempt = u64::from(self.attempts_seen.unwrap_or_default());
        let mixed =
            (self.seed ^ attempt.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        self.tuning.retry_ns + (mixed >> 32) % (self.tuning.retry_ns * (1 + attempt.min(6))).max(1)
    }
}
