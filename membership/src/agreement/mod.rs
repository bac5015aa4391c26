//! Agreement on views: who goes on, who comes, and where the old view ends, decided as one value.
//!
//! ```text
//!   coordinator                        members of v
//!     | Invite(v+1, ballot) ------------> promise, stop casts, limit delivery to what is held: F
//!     | <------------- Ok(held, acked) ---|
//!     | value: the acked one of the highest ballot, or (who answered - leavers + joiners, max of held)
//!     | Propose(value) -----------------> fetch what is missing up to the cut
//!     | <------------------------- Ack ---| everything up to the cut is held
//!     | a quorum of v has acknowledged
//!     | Commit(value) ------------------> deliver the cut, then the view
//! ```
//! The first two messages are the update of Ricciardi and Birman (1991); Propose and Ack make it safe against failures of the
//! coordinator, as in Paxos (Lamport 1998): a later coordinator proposes again what may have been decided. The coordinator is
//! the most senior member that it does not suspect itself; two of them hinder each other, never harm.
//!
//! Deviations from the paper: the value is formed from the answers, not before, so that who fell silent meanwhile costs no
//! second round; a suspect's answer counts for nothing, not even for the quorum.
//!
//! **The driver gives it every message, suspicion and timeout, tells it of [`progress`](Agreement::progress) while
//! [it is changing](Agreement::is_changing), and then drains `poll_send` and `poll_outcome`.**

mod codec;
mod coordinator;
mod help;
mod message;
mod participant;
mod pending;
mod value;

pub use codec::MAX_MESSAGE_LEN;
pub(crate) use codec::{read_member, write_member};
pub use message::{Destination, Letter, Message};
pub use value::{
    Ballot, Introduction, MAX_MEMBERS, MAX_SYNC_BYTES, Op, Proposal, Reason, Roster, SyncCast, Value,
};

use crate::step::{Step, reached};
use coordinator::Lead;
use help::Committed;
use participant::Part;
use sistrum_ordering::{Endpoint, GroupInstance, Rank, Seq, ViewMember, ViewNumber};
use sistrum_transport::mutated;
use sistrum_transport::time::Instant;
use std::collections::VecDeque;

/// What agreement needs of the streams.
pub trait Streams {
    /// Whether the view may be left: the application was told of it, and nothing is under way that would come too late for one who goes on.
    fn may_change(&self) -> bool;

    /// Seals what is open and stops casts; the first call of a view limits delivery to what it returns: by rank, what is held without a
    /// gap, its causes included. Later calls return what is held then.
    fn freeze(&mut self) -> Vec<Seq>;

    /// Asks for what is missing up to `cut`: by rank, `holders` hold it.
    fn fetch(&mut self, cut: &[Seq], holders: &[Rank]);

    /// Whether everything up to `cut` is held.
    fn holds(&self, cut: &[Seq]) -> bool;

    /// Data and acks that come from this member itself count no more, but for data that is fetched.
    fn suspect(&mut self, rank: Rank);

    /// They count again, and its silence begins anew.
    fn trust(&mut self, rank: Rank);
}

/// Times of agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AgreementTuning {
    /// What was not answered is repeated after this time, then at doubled distances: a few round trips.
    pub retry_ns: u64,
    /// The longest distance of two repetitions.
    pub retry_max_ns: u64,
    /// Who lives and has not answered a coordinator for this time is suspected.
    pub answer_ns: u64,
    /// So many members are in a view at most, up to [`MAX_MEMBERS`].
    pub max_members: usize,
}

impl Default for AgreementTuning {
    fn default() -> Self {
        Self {
            retry_ns: 2_000_000,
            retry_max_ns: 100_000_000,
            answer_ns: 3_000_000_000,
            max_members: MAX_MEMBERS,
        }
    }
}

/// What has become of the view.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The next view is decided, and everything up to the cut is held.
    Install(Installed),
    /// Too few of the view are left to change it, or nobody gives what I lack of the view that was decided: nothing goes on until that has
    /// changed.
    Wedged {
        /// Who still answers.
        heard: Vec<Rank>,
    },
    /// It goes on again.
    Resumed,
    /// The group goes on without me, and not because I had asked for it, as far as is known here.
    Excluded {
        /// In this view.
        number: ViewNumber,
    },
    /// I have left, as I asked. Messages are still to be handled for a while: I may be the last who knows of the decision.
    Left {
        /// Nobody is left: the group has ended.
        is_last: bool,
    },
}

/// A view to be installed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Installed {
    /// Its members.
    pub roster: Roster,
    /// My rank in it.
    pub me: Rank,
    /// What was decided.
    pub value: Value,
    /// Who of the view before is gone, and why.
    pub gone: Vec<(ViewMember, Reason)>,
}

/// One member's part in agreeing on the views of one life of a group. See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Agreement {
    instance: GroupInstance,
    me: Rank,
    roster: Roster,
    /// By rank.
    suspected: Vec<bool>,
    /// Of each place that a member has gone from: its last incarnation there, which does not come in again. The last one last.
    gone: Vec<ViewMember>,
    /// What was asked of me, and is not done.
    pending: Vec<Op>,
    /// My answers to others' ballots, and what I have acknowledged.
    part: Part,
    /// My own ballot.
    lead: Lead,
    /// By rank: who has not been heard in this view.
    unheard: Vec<bool>,
    /// The change that led to this view, where I know it: who was welcomed does not.
    last: Option<Committed>,
    /// Attempts up to this one have been seen.
    attempts_seen: Option<u32>,
    is_wedged: bool,
    /// The view is that of a group: as many as are expected had come before it. All who are in it agree on that.
    is_formed: bool,
    /// As many have come to this view: the next one is that of a group.
    forms: bool,
    /// The driver has not taken the view that is to be installed: its streams are still those of the old one.
    is_installing: bool,
    /// I have been told that I am out, or have left: nothing is said any more.
    is_out: bool,
    retry_at: Option<Instant>,
    retry_ns: u64,
    seed: u64,
    tuning: AgreementTuning,
    sends: VecDeque<(Destination, Message)>,
    outcomes: VecDeque<Outcome>,
}

impl Agreement {
    /// For member `me` of the view `roster`.
    ///
    /// # Panics
    /// When `me` is not in it.
    #[must_use]
    pub fn new(
        instance: GroupInstance,
        roster: Roster,
        me: Rank,
        tuning: AgreementTuning,
        seed: u64,
    ) -> Self {
        assert!((me.0 as usize) < roster.members.len(), "a process that installs a view is in it");
        Self {
            instance,
            me,
            suspected: vec![false; roster.members.len()],
            unheard: vec![false; roster.members.len()],
            roster,
            gone: Vec::new(),
            pending: Vec::new(),
            part: Part::default(),
            lead: Lead::None,
            last: None,
            attempts_seen: None,
            is_wedged: false,
            is_formed: true,
            forms: false,
            is_installing: false,
            is_out: false,
            retry_at: None,
            retry_ns: tuning.retry_ns,
            seed,
            tuning,
            sends: VecDeque::new(),
            outcomes: VecDeque::new(),
        }
    }

    /// Of one who was welcomed: with those who may not come in again, of each place that a member has gone from its last incarnation.
    /// Nobody was heard in the view so far.
    #[must_use]
    pub fn welcomed(mut self, gone: Vec<ViewMember>) -> Self {
        self.unheard = self.roster.ranks().map(|rank| rank != self.me).collect();
        Self { gone, ..self }
    }

    /// Of a group that is only being formed: those who join are told so, until [`form`](Self::form).
    #[must_use]
    pub fn forming(self) -> Self {
        Self { is_formed: false, ..self }
    }

    /// As many as are expected have come: the next view is that of a group, for all who come to it, however many will be left. I am the one to
    /// begin the change.
    pub fn form(&mut self, now: Instant, streams: &mut impl Streams) {
        if !self.is_formed {
            self.forms = true;
            self.retry_soon(now);
            self.consider(now, streams);
        }
    }

    /// Whether the view is that of a group.
    #[must_use]
    pub fn is_formed(&self) -> bool {
        self.is_formed
    }

    /// The present view.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// My rank in it.
    #[must_use]
    pub fn me(&self) -> Rank {
        self.me
    }

    /// Whether a change is under way here: casts are stopped.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.part.is_frozen()
    }

    /// Whether nothing goes on: see [`Outcome::Wedged`].
    #[must_use]
    pub fn is_wedged(&self) -> bool {
        self.is_wedged
    }

    /// Whether I suspect this member.
    #[must_use]
    pub fn is_suspected(&self, rank: Rank) -> bool {
        self.suspected.get(rank.0 as usize).is_some_and(|suspected| *suspected)
    }

    /// Whether `rank` may not have installed this view yet: the old one is kept for it.
    #[must_use]
    pub fn has_laggards(&self) -> bool {
        self.unheard.contains(&true)
    }

    /// Who may not have installed this view yet.
    pub fn laggards(&self) -> impl Iterator<Item = Rank> + '_ {
        self.roster.ranks().filter(|rank| self.unheard[rank.0 as usize])
    }

    /// How many have come to this view and are not suspected, I among them.
    #[must_use]
    pub fn present(&self) -> usize {
        self.unheard
            .iter()
            .zip(&self.suspected)
            .filter(|(unheard, suspected)| !**unheard && !**suspected)
            .count()
    }

    /// Takes a message that came from `from`.
    ///
    /// # Panics
    /// When a view is to be installed: the driver takes what has become of the view before it goes on.
    pub fn handle_message(
        &mut self,
        now: Instant,
        from: Endpoint,
        message: Message,
        streams: &mut impl Streams,
    ) {
        assert!(!self.is_installing, "outcomes are taken before the next message");
        if self.is_out {
            return self.see_off(from, &message);
        }
        if let Some(next) = message.next() {
            let mine = self.next();
            if next < mine && !message.wants_decision() {
                return;
            }
            if next != mine {
                return self.help(from, next);
            }
        }
        match message {
            Message::Request { number, op } => self.on_request(now, from, number, op, streams),
            Message::Behind { number } => self.on_behind(from, number),
            Message::Excluded { number } => self.on_excluded(number),
            Message::Welcome { .. }
            | Message::Lookup
            | Message::Found { .. }
            | Message::Follow { .. }
            | Message::Borrow { .. }
            | Message::Letter(_) => {}
            message => {
                // Only members speak of the next view; and nobody to himself.
                let Some(rank) = self.roster.rank_of(from).filter(|rank| *rank != self.me) else {
                    return self
                        .send(Destination::One(from), Message::Excluded { number: self.roster.number });
                };
                self.on_message_of(now, rank, message, streams);
            }
        }
        self.consider(now, streams);
    }

    fn on_message_of(&mut self, now: Instant, rank: Rank, message: Message, streams: &mut impl Streams) {
        if self.is_suspected(rank) {
            self.heard_again(now, rank, streams);
            // It cannot go on without me, and nobody else is at it.
            let is_stuck = matches!(message, Message::Invite { wedged: true, .. });
            let is_free = !self.lead.is_leading() && !self.part.is_led_by_other(self.me, &self.suspected);
            if is_stuck && is_free && !mutated!(NeverWithdraw) {
                self.withdraw(now, rank, streams);
            }
        }
        if self.part.is_committed() && message.wants_decision() {
            return self.tell_decision(rank);
        }
        match message {
            Message::Invite { ballot, suspects, wedged, .. } if ballot.rank == rank => {
                self.on_invite(now, ballot, &suspects, wedged, streams);
            }
            Message::Ok { ballot, closed, acked, suspects, ops, .. } => {
                self.on_ok(now, rank, ballot, participant::Answer { closed, acked, suspects }, ops, streams);
            }
            Message::Refuse { promised, suspected, .. } => {
                self.on_refuse(now, rank, promised, suspected, streams);
            }
            Message::Propose { proposal, .. } if proposal.ballot.rank == rank => {
                self.on_propose(now, proposal, streams);
            }
            Message::Ack { ballot, .. } => self.on_ack(now, rank, ballot, streams),
            Message::Commit { value, holders, then, .. } => {
                self.on_commit(now, value, holders, then, streams)
            }
            Message::Waiting { promised, suspects, .. } => {
                self.on_waiting(now, rank, promised, &suspects, streams);
            }
            _ => {}
        }
    }

    /// This member is silent, or the application says that it has failed.
    pub fn suspect(&mut self, now: Instant, rank: Rank, streams: &mut impl Streams) {
        if self.is_out
            || rank == self.me
            || self.is_suspected(rank)
            || self.roster.members.len() <= rank.0 as usize
        {
            return;
        }
        self.adopt(now, &[rank], streams);
        self.retry_soon(now);
        self.consider(now, streams);
        // Whoever is to act on it is told at once.
        if !self.lead.is_leading() {
            self.tell_coordinator();
        }
    }

    /// A member that I suspect was heard: while too few are left, it is not suspected any more.
    pub fn heard_again(&mut self, now: Instant, rank: Rank, streams: &mut impl Streams) {
        let withdraws = self.is_wedged && !mutated!(NeverWithdraw);
        if self.is_out || !withdraws || !self.is_suspected(rank) || self.part.is_committed() {
            return;
        }
        self.withdraw(now, rank, streams);
        // Others will be heard as well: a moment for all of them.
        self.lead.begin_again(now.plus_ns(self.tuning.retry_ns / 2));
        self.retry_soon(now);
        if self.coordinator() != self.me {
            // Who is more senior than I goes on.
            self.lead = Lead::None;
            self.tell_coordinator();
        }
    }

    /// A frame of the present view came from this member: it has installed it.
    #[inline]
    pub fn heard_in_view(&mut self, rank: Rank) {
        self.unheard.iter_mut().skip(rank.0 as usize).take(1).for_each(|unheard| *unheard = false);
    }

    /// A frame of an earlier view came from there: its sender does not know what has been decided. The driver sees to it that this is not
    /// said for every frame.
    pub fn heard_behind(&mut self, from: Endpoint, number: ViewNumber) {
        if !self.is_out && number < self.roster.number {
            self.on_behind(from, number);
        }
    }

    /// I ask for this, or somebody has asked me.
    pub fn request(&mut self, now: Instant, op: Op, streams: &mut impl Streams) {
        if self.is_out || !self.note(op) {
            return;
        }
        self.retry_soon(now);
        self.consider(now, streams);
        if !self.lead.is_leading() && self.coordinator() != self.me {
            self.pass_on();
        }
    }

    /// Blocks have come, or the application has come to its present view: what waited for that goes on.
    pub fn progress(&mut self, now: Instant, streams: &mut impl Streams) {
        if self.is_out {
            return;
        }
        self.answer_parked(now, streams);
        self.try_ack(now, streams);
        self.try_install(now, streams);
        self.consider(now, streams);
    }

    /// Repeats what was not answered.
    pub fn handle_timeout(&mut self, now: Instant, streams: &mut impl Streams) {
        self.progress(now, streams);
        if self.is_out || self.retry_at.is_none_or(|at| at > now) {
            return;
        }
        if self.lead.is_leading() {
            self.repeat_lead(now, streams);
        } else if self.part.is_frozen() || self.suspected.contains(&true) {
            self.tell_coordinator();
        } else {
            self.pass_on();
        }
        self.repeat_commit();
        self.lose_hope(now, streams);
        self.retry_ns = (self.retry_ns * 2).min(self.tuning.retry_max_ns);
        self.retry_at = self.has_something_to_repeat().then(|| now.plus_ns(self.retry_ns));
        self.consider(now, streams);
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let again = self.lead.begins_again_at();
        self.retry_at.into_iter().chain(again).min().filter(|_| !self.is_out)
    }

    /// The next message to be sent.
    pub fn poll_send(&mut self) -> Option<(Destination, Message)> {
        self.sends.pop_front()
    }

    /// The next thing that has become of the view.
    pub fn poll_outcome(&mut self) -> Option<Outcome> {
        let outcome = self.outcomes.pop_front();
        self.is_installing &= !matches!(outcome, Some(Outcome::Install(_)));
        outcome
    }

    fn may_change(&self, streams: &impl Streams) -> bool {
        !self.is_installing && streams.may_change()
    }

    fn next(&self) -> ViewNumber {
        ViewNumber(self.roster.number.0 + 1)
    }

    fn endpoint(&self, rank: Rank) -> Endpoint {
        self.roster.members[rank.0 as usize].member.endpoint
    }

    /// The most senior member that I do not suspect: it leads the next change.
    #[must_use]
    pub fn coordinator(&self) -> Rank {
        self.roster.ranks().find(|&rank| !self.is_suspected(rank)).unwrap_or(self.me)
    }

    fn suspects(&self) -> Vec<Rank> {
        self.roster.ranks().filter(|&rank| self.is_suspected(rank)).collect()
    }

    fn send(&mut self, to: Destination, message: Message) {
        self.sends.push_back((to, message));
    }

    fn send_to(&mut self, rank: Rank, message: Message) {
        self.send(Destination::One(self.endpoint(rank)), message);
    }

    /// Suspects these too, me never.
    fn adopt(&mut self, now: Instant, suspects: &[Rank], streams: &mut impl Streams) {
        let is_new = |rank: &Rank| *rank != self.me && self.suspected.get(rank.0 as usize) == Some(&false);
        let new: Vec<Rank> = suspects.iter().copied().filter(is_new).collect();
        for &rank in &new {
            self.suspected[rank.0 as usize] = true;
            streams.suspect(rank);
        }
        if !new.is_empty() {
            self.lost(now, &new, streams);
        }
    }

    fn withdraw(&mut self, now: Instant, rank: Rank, streams: &mut impl Streams) {
        if std::mem::take(&mut self.suspected[rank.0 as usize]) {
            reached(Step::Withdrawn);
            streams.trust(rank);
            self.lead.trust(now, rank);
        }
    }

    /// Begins a change where there is a reason for one, and I am the one to do it.
    fn consider(&mut self, now: Instant, streams: &mut impl Streams) {
        if self.is_out || self.part.is_committed() {
            return;
        }
        if self.lead.is_leading() {
            if self.lead.begins_again_at().is_some_and(|at| at <= now) {
                self.begin(now, streams);
            }
            return;
        }
        let has_reason =
            self.part.is_frozen() || self.forms || self.wants_change() || self.suspected.contains(&true);
        let others = self.part.is_led_by_other(self.me, &self.suspected);
        if has_reason && !others && self.coordinator() == self.me {
            self.begin(now, streams);
        }
    }

    fn retry_soon(&mut self, now: Instant) {
        self.retry_ns = self.tuning.retry_ns;
        self.retry_at = Some(now.plus_ns(self.retry_ns));
    }

    fn has_something_to_repeat(&self) -> bool {
        self.lead.is_leading()
            || self.part.is_frozen()
            || !self.pending.is_empty()
            || self.suspected.contains(&true)
            || self.is_to_be_told()
    }
}

/// Incarnations that are remembered to be gone: the last ones.
const MAX_GONE: usize = MAX_MEMBERS;
