//! A place in a view: what is looked after there, now and then.

use super::event::Notice;
use super::seeking::Seeking;
use super::{Ask, Hands, Views};
use crate::agreement::{Agreement, Op};
use crate::config::GroupConfig;
use crate::detector::{Detector, Verdict};
use crate::step::{Step, reached};
use crate::transfer::Here;
use sistrum_ordering::{Endpoint, GroupInstance, Rank, ViewNumber};
use sistrum_transport::mutated;
use sistrum_transport::time::Instant;

/// What is to be looked after is, at this distance.
const LOOK_EVERY_NS: u64 = 2_000_000;
/// Who makes a group to which nobody comes, or too few to agree on anything, gives up after this time.
const ALONE_NS: u64 = 1_000_000_000;
/// Who has left answers until nothing was asked of it for this time, and for the second one at most.
const LINGER_NS: u64 = 100_000_000;
const LINGER_MOST_NS: u64 = 2_000_000_000;
/// Seeds that are not in the view are told of it at this distance: several times before one of them would make another group.
const SHOW_EVERY_NS: u64 = 50_000_000;
/// Readers gate nobody, and may lack something of a view that is over: it answers for this time at least, unless another one ends.
const READERS_NS: u64 = 30_000_000;
/// A sync cast that is not done is asked for again at this distance.
const SYNC_AGAIN_NS: u64 = 20_000_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(super) agreement: Agreement,
    pub(super) detector: Detector,
    pub(super) instance: GroupInstance,
    pub(super) installed_at: Instant,
    /// Whether it matters who is heard in this view: somebody may not have come as far.
    pub(super) counts_heard: bool,
    /// The application was told of the view, or blocks have come that agreement waits for.
    pub(super) is_to_look: bool,
    /// A change waits until what I sent to one alone has come there: nothing more is sent.
    pub(super) stops_sends: bool,
    /// I have left, and answer for a while: since when, and when I was last asked.
    pub(super) left_at: Option<Instant>,
    pub(super) asked_at: Instant,
    has_asked_to_leave: bool,
    look_at: Option<Instant>,
    syncs_at: Instant,
    /// When it was last asked that I be counted.
    ready_at: Instant,
    /// When those of the seeds that are not in the view are told of it again.
    show_at: Option<Instant>,
}

impl Seat {
    pub(super) fn new(
        now: Instant,
        agreement: Agreement,
        detector: Detector,
        instance: GroupInstance,
    ) -> Self {
        let counts_heard = agreement.has_laggards();
        Self {
            agreement,
            detector,
            instance,
            installed_at: now,
            counts_heard,
            is_to_look: true,
            stops_sends: false,
            left_at: None,
            asked_at: now,
            has_asked_to_leave: false,
            look_at: Some(now),
            syncs_at: now,
            ready_at: Instant::default(),
            show_at: Some(now),
        }
    }

    /// A frame of this view came from this member.
    pub(super) fn note_heard(&mut self, rank: Rank) {
        self.agreement.heard_in_view(rank);
        self.counts_heard = self.left_at.is_some() || self.agreement.has_laggards();
    }

    /// The view, and who I am in it.
    pub(super) fn here<'a>(&'a self, config: &'a GroupConfig) -> Here<'a> {
        let (roster, me) = (self.agreement.roster(), self.agreement.me());
        Here { config, instance: self.instance, roster, me }
    }

    pub(super) fn look_soon(&mut self) {
        (self.look_at, self.show_at) = (Some(Instant::default()), Some(Instant::default()));
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if self.left_at.is_some() {
            return self.look_at;
        }
        let timers = [self.look_at, self.agreement.poll_timeout(), self.detector.poll_timeout()];
        timers.into_iter().flatten().min()
    }
}

impl Views {
    /// What is due of all that is not the streams' own.
    #[inline]
    pub(super) fn look_after(&mut self, hands: &mut Hands<'_>) {
        let Some(seat) = &self.seat else { return };
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= hands.now);
        let is_changing = seat.agreement.is_changing() || seat.stops_sends;
        if seat.is_to_look || is_changing || is_due(seat.poll_timeout()) || !self.asks.is_empty() {
            self.look(hands);
        }
    }

    #[cold]
    fn look(&mut self, hands: &mut Hands<'_>) {
        let Some(seat) = &mut self.seat else { return };
        let due = seat.look_at.is_some_and(|at| at <= hands.now);
        seat.is_to_look = false;
        if seat.left_at.is_some() {
            self.asks.clear();
            return if due {
                self.linger(hands)
            };
        }
        while let Some(ask) = self.asks.pop_front() {
            self.ask(hands, ask);
        }
        self.watch(hands);
        // Whoever still wants a change says so here.
        self.seat.iter_mut().for_each(|seat| seat.stops_sends = false);
        self.agree(hands, |agreement, now, flow| agreement.handle_timeout(now, flow));
        if due {
            self.tidy(hands);
        }
    }

    fn ask(&mut self, hands: &mut Hands<'_>, ask: Ask) {
        match ask {
            Ask::Do(op) => self.agree(hands, |agreement, now, flow| agreement.request(now, op, flow)),
            // The application may have come to an earlier view than this one.
            Ask::Suspect(member) => self.agree(hands, |agreement, now, flow| {
                if let Some(rank) = agreement.roster().rank_of_member(member) {
                    agreement.suspect(now, rank, flow);
                }
            }),
        }
    }

    /// Who is silent is suspected; who is heard again may be trusted again.
    fn watch(&mut self, hands: &mut Hands<'_>) {
        let (Some(seat), Some(running)) = (&mut self.seat, hands.running.as_ref()) else { return };
        if seat.detector.poll_timeout().is_some_and(|at| at <= hands.now) || seat.agreement.is_wedged() {
            seat.detector.look(hands.now, running.session.heard_at());
        }
        while let Some(verdict) = self.seat.as_mut().and_then(|seat| seat.detector.poll_verdict()) {
            self.agree(hands, |agreement, now, flow| match verdict {
                Verdict::Suspect { rank, .. } => agreement.suspect(now, rank, flow),
                Verdict::HeardAgain { rank } => agreement.heard_again(now, rank, flow),
            });
        }
    }

    /// What need not be at once.
    fn tidy(&mut self, hands: &mut Hands<'_>) {
        self.chase_laggards(hands);
        self.form(hands);
        self.repeat_syncs(hands);
        self.look_after_state(hands);
        self.try_leave(hands);
        self.retire_old(hands);
        self.show_seeds(hands);
        let (Some(seat), Some(running)) = (&mut self.seat, hands.running.as_ref()) else { return };
        let is_busy = !running.is_open
            || seat.counts_heard
            || self.old.is_some()
            || !self.my_syncs.is_empty()
            || self.is_leaving
            || self.transfers.is_taking()
            || seat.agreement.roster().is_joining(seat.agreement.me())
            || seat.left_at.is_some();
        let look_at = is_busy.then(|| hands.now.plus_ns(LOOK_EVERY_NS));
        seat.look_at = look_at.into_iter().chain(seat.show_at).min();
    }

    /// Whoever starts at a seed that is not in the view, knows nothing of the group: it is told.
    fn show_seeds(&mut self, hands: &mut Hands<'_>) {
        let (Some(seat), Some(running)) = (&mut self.seat, hands.running.as_ref()) else { return };
        if seat.show_at.is_none_or(|at| at > hands.now) {
            return;
        }
        let is_in = |seed: &&Endpoint| running.view.rank_of(**seed).is_some();
        let missing = || self.peers.seeds.iter().filter(|seed| !is_in(seed)).copied();
        let is_any = !self.peers.is_multicast && missing().next().is_some();
        seat.show_at = is_any.then(|| hands.now.plus_ns(SHOW_EVERY_NS));
        let is_mine = is_any && seat.agreement.coordinator() == seat.agreement.me();
        for seed in missing().filter(|_| is_mine).collect::<Vec<_>>() {
            self.say_mine(hands, seed);
        }
    }

    /// Who does not come to the view that was decided cannot take part in the next one, and is kept waiting for.
    fn chase_laggards(&mut self, hands: &mut Hands<'_>) {
        let Some(seat) = self.seat.as_mut().filter(|seat| seat.counts_heard) else { return };
        let patience = 2 * self.peers.detector.suspect_after_ns;
        if hands.now.since_ns(seat.installed_at) < patience {
            return;
        }
        let late: Vec<Rank> = seat.agreement.laggards().collect();
        for rank in late {
            self.agree(hands, |agreement, now, flow| agreement.suspect(now, rank, flow));
        }
    }

    /// A group is there when as many are heard in a view as are expected. It is made by a change of view, for all or for nobody: else some were
    /// told of a view that the others leave as if it had never been. One that too few come to is given up; nobody was told of it.
    fn form(&mut self, hands: &mut Hands<'_>) {
        let (Some(seat), Some(running)) = (&self.seat, hands.running.as_ref()) else { return };
        if running.is_open {
            return;
        }
        let members = running.view.members().len();
        let is_over = hands.now.since_ns(seat.installed_at) >= ALONE_NS;
        if is_over && (members == 1 || seat.agreement.is_wedged()) {
            return self.part(hands, None);
        }
        let come = if mutated!(FormUnheard) { members } else { seat.agreement.present() };
        if come >= self.peers.expected && seat.agreement.coordinator() == seat.agreement.me() {
            self.agree(hands, |agreement, now, flow| agreement.form(now, flow));
        }
    }

    /// Whether I have made a group to which nobody has come.
    pub(super) fn is_alone_unformed(&self, hands: &Hands<'_>) -> bool {
        hands.running.as_ref().is_some_and(|running| !running.is_open && running.view.members().len() == 1)
    }

    fn repeat_syncs(&mut self, hands: &mut Hands<'_>) {
        let Some(seat) = &mut self.seat else { return };
        let asked = self.my_syncs.len() - self.held_syncs;
        if asked == 0 || hands.now.since_ns(seat.syncs_at) < SYNC_AGAIN_NS {
            return;
        }
        seat.syncs_at = hands.now;
        let casts = self.my_syncs[..asked].to_vec();
        for cast in casts {
            self.agree(hands, |agreement, now, flow| agreement.request(now, Op::Sync(cast), flow));
        }
    }

    /// Who joins asks to be counted once it has the state, and gives up where nobody is left who could give it.
    fn look_after_state(&mut self, hands: &mut Hands<'_>) {
        let Some(seat) = &mut self.seat else { return };
        let (roster, me) = (seat.agreement.roster(), seat.agreement.me());
        if !roster.is_joining(me) {
            return;
        }
        // A group that is only being formed has had nothing that could be lost.
        let is_unformed = hands.running.as_ref().is_some_and(|running| !running.is_open);
        if is_unformed && roster.voters().all(|rank| seat.agreement.is_suspected(rank)) {
            return self.part(hands, None);
        }
        if self.transfers.has_failed() {
            self.is_leaving = true;
        }
        let has_state = self.transfers.is_ready() || !self.transfers.is_taking();
        let is_ready = has_state || mutated!(ReadyBeforeState);
        if is_ready && hands.now.since_ns(seat.ready_at) >= SYNC_AGAIN_NS {
            reached(Step::ReadyAsked);
            seat.ready_at = hands.now;
            let op = Op::Ready(self.mine.member);
            self.agree(hands, |agreement, now, flow| agreement.request(now, op, flow));
        }
    }

    fn try_leave(&mut self, hands: &mut Hands<'_>) {
        let (Some(seat), Some(running)) = (&mut self.seat, hands.running.as_ref()) else { return };
        if !self.is_leaving {
            return;
        }
        if !running.is_open {
            return self.part(hands, None);
        }
        if seat.agreement.is_wedged() {
            // There is nobody to agree with: what I cast last may be lost.
            return self.part(hands, Some(running.view.id().number));
        }
        // What is held goes out in the next view.
        let holds = running.session.stream().held() > 0 && !mutated!(LeaveBeforeHeld);
        // What I send to one alone until then has come there before the view ends: that is not waited for here, and I may always be answering.
        let waits = mutated!(LeaveWhenIdle) && !running.outgoing.is_settled();
        let is_done = !holds && !waits && self.my_syncs.is_empty();
        if is_done && !std::mem::replace(&mut seat.has_asked_to_leave, true) {
            let op = Op::Leave(self.mine.member);
            self.agree(hands, |agreement, now, flow| agreement.request(now, op, flow));
        }
    }

    /// The view before has nothing more to do when it was delivered and all are known to have come to this one.
    fn retire_old(&mut self, hands: &mut Hands<'_>) {
        let is_told = hands.running.as_ref().is_some_and(|running| running.told);
        let patience = if self.peers.is_multicast { READERS_NS } else { 0 };
        let is_kept = |seat: &Seat| seat.counts_heard || hands.now.since_ns(seat.installed_at) < patience;
        if is_told
            && self.is_old_drained
            && self.seat.as_ref().is_some_and(|seat| !is_kept(seat))
            && let Some(old) = self.old.take()
        {
            self.retire(old, hands.pool);
        }
    }

    /// I have left, but somebody may not know what was decided, or lack what I hold.
    fn linger(&mut self, hands: &mut Hands<'_>) {
        let Some(seat) = &mut self.seat else { return };
        let Some(left_at) = seat.left_at else { return };
        let is_over = |since: Instant, ns| hands.now.since_ns(since) >= ns;
        if is_over(seat.asked_at, LINGER_NS) || is_over(left_at, LINGER_MOST_NS) {
            return self.part(hands, None);
        }
        seat.look_at = Some(hands.now.plus_ns(LOOK_EVERY_NS));
    }

    /// I am in no view any more: by my own will, or because the others went on `without` me, to this view.
    pub(super) fn part(&mut self, hands: &mut Hands<'_>, without: Option<ViewNumber>) {
        let life = self.seat.take().map(|seat| seat.instance).filter(|_| without.is_some());
        // Who was taking the state over knows what it was handed of it, and of the view perhaps.
        let handed = self.transfers.part(hands.pool);
        let present = hands.running.as_ref().map(|running| running.view.id().number);
        let mut was_told = false;
        for running in self.old.take().into_iter().chain(hands.running.take()) {
            was_told |= running.told;
            self.retire(running, hands.pool);
        }
        let was_told = handed.unwrap_or(was_told);
        let is_lost = without.is_some() || handed == Some(true);
        self.parked.drain(..).for_each(|(.., block)| hands.pool.release(block));
        (self.is_old_drained, self.has_route) = (false, false);
        self.flushed.clear();
        self.syncs.clear();
        (self.my_syncs, self.held_syncs) = (Vec::new(), 0);
        self.asks.clear();
        self.letters.clear();
        // Who was told of no view misses none.
        if let Some(number) = without.or(present).filter(|_| was_told && is_lost) {
            self.notices.push_back(Notice::Excluded(number));
        }
        if self.is_leaving || (without.is_some() && !self.peers.rejoins) {
            self.has_left = true;
            return;
        }
        if without.is_some() && mutated!(NeverSeekAgain) {
            return;
        }
        if !mutated!(ReuseIncarnation) {
            self.mine.member.boot.0 = self.mine.member.boot.0.saturating_add(1);
        }
        let others = std::mem::take(&mut self.others);
        let known = others.into_iter().filter(|other| !self.peers.seeds.contains(other) && life.is_some());
        self.seeking = Some(Seeking::new(self.mine, life, known.collect()));
    }
}
