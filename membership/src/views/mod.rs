//! A group whose members come and go: who is in no view seeks one; who is in one agrees with the others on the next.
//!
//! ```text
//!   seeking  --- welcomed, or made the group ---> seat in a view --- left, or the others went on without me ---> nothing, or seeking
//!
//!   a change:  frozen --- decided, all of the cut held ---> the next view's streams are there, and take casts
//!              the old view drains to the application, then it is told: flushes, sync casts, the view
//!              the old view's streams answer until all were heard in the next one
//! ```
//! Blocks go by the number of their view: to the streams of mine, or of the one before it; those of the next one are parked until I am
//! there. Whoever speaks of a view that is over is told what was decided.

mod event;
mod flow;
mod install;
mod letters;
mod seat;
mod seeking;

use crate::agreement::{Agreement, Destination, Introduction, MAX_SYNC_BYTES, Message, Op, SyncCast};
use crate::config::{GroupConfig, Peers};
use crate::conflicts::Conflicts;
use crate::flush::FlushId;
use crate::post::Post;
use crate::running::Running;
use crate::transfer::{self, Transfers};
use event::Notice;
use flow::Flow;
use letters::Letters;
use seat::Seat;
use seeking::Seeking;
use sistrum_ordering::{Change, Endpoint, GroupId, GroupInstance, Rank, ViewMember, ViewNumber};
use sistrum_transport::log::{LogMemory, RxBlock, RxPool};
use sistrum_transport::mutated;
use sistrum_transport::protocol::{Payload, Protocol, Route, Target, Transmit};
use sistrum_transport::reliable::{Refused, SessionCounters};
use sistrum_transport::time::Instant;
use sistrum_transport::wire::{Header, Kind};
use std::collections::VecDeque;

/// Blocks of the next view that wait until I am in it.
const MAX_PARKED: usize = 64;
/// Whoever is behind is told so not more often than this.
const TELL_EVERY_NS: u64 = 1_000_000;

/// What of the group a call has in its hands.
pub(crate) struct Hands<'a> {
    pub(crate) now: Instant,
    pub(crate) config: &'a GroupConfig,
    pub(crate) id: GroupId,
    pub(crate) running: &'a mut Option<Running>,
    pub(crate) conflicts: &'a mut Conflicts,
    /// Blocks that belong to nothing here.
    pub(crate) early: &'a mut u64,
    pub(crate) pool: &'a mut RxPool,
}

impl Hands<'_> {
    fn discard(&mut self, block: RxBlock) {
        *self.early += 1;
        self.pool.release(block);
    }
}

/// What was asked for outside of a cycle.
#[derive(Debug)]
enum Ask {
    Do(Op),
    Suspect(ViewMember),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Views {
    peers: Peers,
    /// As I am now.
    mine: Introduction,
    seeking: Option<Seeking>,
    /// There is one exactly where there is a view.
    seat: Option<Seat>,
    post: Post,
    letters: Letters,
    /// The view before, and what of it is to be handed over behind its messages.
    old: Option<Running>,
    is_old_drained: bool,
    /// The application was not told of it: what has changed since.
    untold: Option<Change>,
    /// It is told all the same, since others were.
    owes_old: bool,
    flushed: VecDeque<FlushId>,
    syncs: VecDeque<(ViewNumber, SyncCast)>,
    notices: VecDeque<Notice>,
    asks: VecDeque<Ask>,
    my_syncs: Vec<SyncCast>,
    /// The last of them are behind casts that are held, and are asked for in the next view: so many.
    held_syncs: usize,
    transfers: Transfers,
    sync_number: u32,
    parked: Vec<(Endpoint, Header, RxBlock)>,
    memory: Option<LogMemory>,
    /// What happened in views that are over.
    past: SessionCounters,
    /// The others of the view, where the channel has not been told of them yet.
    others: Vec<Endpoint>,
    has_route: bool,
    told_at: Instant,
    /// When an observer was answered last.
    shown_at: Instant,
    /// How often I was told that my incarnation cannot come in.
    refusals: u32,
    is_leaving: bool,
    has_left: bool,
}

impl Views {
    pub(crate) fn new(config: &GroupConfig, peers: Peers) -> Self {
        let mine = config.introduction();
        Self {
            peers,
            mine,
            seeking: Some(Seeking::new(mine, None, Vec::new())),
            seat: None,
            post: Post::new(config.local, config.block),
            letters: Letters::new(config.local, config.block),
            old: None,
            is_old_drained: false,
            untold: None,
            owes_old: false,
            flushed: VecDeque::new(),
            syncs: VecDeque::new(),
            notices: VecDeque::new(),
            asks: VecDeque::new(),
            my_syncs: Vec::new(),
            held_syncs: 0,
            transfers: Transfers::default(),
            sync_number: 0,
            parked: Vec::new(),
            memory: None,
            past: SessionCounters::default(),
            others: Vec::new(),
            has_route: false,
            told_at: Instant::default(),
            shown_at: Instant::default(),
            refusals: 0,
            is_leaving: false,
            has_left: false,
        }
    }

    /// Whether I am out for good, and the application was told of all.
    pub(crate) fn has_left(&self) -> bool {
        self.has_left && self.notices.is_empty()
    }

    /// Who I am now.
    pub(crate) fn mine(&self) -> ViewMember {
        self.mine.member
    }

    /// The agreement on the next view, where there is one.
    pub(crate) fn agreement(&self) -> Option<&Agreement> {
        self.seat.as_ref().map(|seat| &seat.agreement)
    }

    /// The life of the group that I was in and look for.
    pub(crate) fn life_sought(&self) -> Option<GroupInstance> {
        self.seeking.as_ref()?.life
    }

    /// What happened in all views before the present one.
    pub(crate) fn counters(&self) -> SessionCounters {
        self.old.as_ref().map(Running::counters).into_iter().chain([self.past]).sum()
    }

    /// Gives back what a view that is over holds, but for the memory of its log.
    fn retire(&mut self, over: Running, pool: &mut RxPool) {
        self.past = [self.past, over.counters()].into_iter().sum();
        self.memory = Some(over.retire(pool));
    }

    /// The streams of the view before, while they are there.
    pub(crate) fn old(&self) -> Option<&Running> {
        self.old.as_ref()
    }

    /// Frames and bytes that agreement has sent, a multicast once.
    pub(crate) fn spent(&self) -> (u64, u64) {
        self.post.spent()
    }

    /// Where the group may be found, from now on.
    pub(crate) fn set_seeds(&mut self, seeds: Vec<Endpoint>) {
        self.peers.seeds = seeds;
    }

    /// Leaves when what I sent to others alone has come to them.
    pub(crate) fn leave(&mut self) {
        self.is_leaving = true;
        match &mut self.seat {
            Some(seat) => seat.look_soon(),
            None => (self.seeking, self.has_left) = (None, true),
        }
    }

    /// Suspects a member.
    pub(crate) fn suspect(&mut self, member: ViewMember) {
        self.asks.push_back(Ask::Suspect(member));
    }

    /// Whether all sync casts that I asked for were handed over.
    pub(crate) fn has_no_syncs(&self) -> bool {
        self.my_syncs.is_empty()
    }

    /// Casts something between two views, behind what is held where that is so.
    pub(crate) fn cast_sync(&mut self, bytes: &[u8], is_behind_held: bool) -> Result<(), Refused> {
        if self.is_leaving {
            return Err(Refused::Left);
        }
        let waiting = self.my_syncs.iter().map(|cast| cast.bytes.len()).sum::<usize>();
        let (len, limit) = (bytes.len(), MAX_SYNC_BYTES / 8);
        if len > limit {
            return Err(Refused::TooLarge { len, limit });
        }
        if waiting + len > MAX_SYNC_BYTES / 4 || self.my_syncs.len() >= MAX_SYNCS {
            return Err(Refused::ViewChanging);
        }
        self.sync_number += 1;
        let cast = SyncCast { by: self.mine.member, number: self.sync_number, bytes: bytes.to_vec() };
        self.my_syncs.push(cast.clone());
        if is_behind_held && !mutated!(SyncBeforeHeld) {
            self.held_syncs += 1;
        } else {
            self.asks.push_back(Ask::Do(Op::Sync(cast)));
        }
        Ok(())
    }

    /// Takes a block of the group.
    #[inline]
    pub(crate) fn handle_block(
        &mut self,
        hands: &mut Hands<'_>,
        from: Endpoint,
        header: &Header,
        block: RxBlock,
    ) {
        if header.group == transfer::id_of(hands.id) {
            return self.handle_transfer(hands, from, header, block);
        }
        if let (Some(running), Some(seat)) = (hands.running.as_mut(), &self.seat) {
            let id = running.view.id();
            let is_usual = header.view == id.number && header.instance == id.instance && !seat.counts_heard;
            if is_usual && header.kind != Kind::Agreement {
                return running.handle_block(hands.now, (hands.id, from), header, block, hands.pool);
            }
        }
        self.handle_unusual(hands, from, header, block);
    }

    #[cold]
    fn handle_transfer(&mut self, hands: &mut Hands<'_>, from: Endpoint, header: &Header, block: RxBlock) {
        let (Some(running), Some(seat)) = (hands.running.as_mut(), &self.seat) else {
            return hands.discard(block);
        };
        if let Some(rank) = running.view.rank_of(from) {
            running.session.heard(rank, hands.now);
        }
        let here = seat.here(hands.config);
        self.transfers.handle_block(here, (hands.now, from), header, block, hands.pool);
    }

    #[cold]
    fn handle_unusual(&mut self, hands: &mut Hands<'_>, from: Endpoint, header: &Header, block: RxBlock) {
        if from == hands.config.local {
            return hands.discard(block);
        }
        if header.kind == Kind::Agreement {
            return self.handle_agreement(hands, from, header, block);
        }
        let (Some(running), Some(seat)) = (hands.running.as_mut(), &mut self.seat) else {
            if let Some(seeking) = self.seeking.as_mut().filter(|_| header.rank != Rank::READER) {
                seeking.saw_group(hands.now);
            }
            return hands.discard(block);
        };
        let id = running.view.id();
        if header.instance != id.instance {
            return hands.discard(block);
        }
        if header.rank == Rank::READER && header.view != id.number {
            return self.answer_reader(hands, from, header, block);
        }
        if let Some(rank) = running.view.rank_of(from) {
            running.session.heard(rank, hands.now);
            if header.view == id.number {
                seat.note_heard(rank);
            }
        }
        if header.view == id.number {
            seat.asked_at = hands.now;
            return running.handle_block(hands.now, (hands.id, from), header, block, hands.pool);
        }
        if seat.left_at.is_some() {
            return hands.pool.release(block);
        }
        match &mut self.old {
            Some(old) if old.view.id().number == header.view => {
                old.handle_block(hands.now, (hands.id, from), header, block, hands.pool);
            }
            _ if header.view.0 == id.number.0 + 1 && self.parked.len() < MAX_PARKED => {
                self.parked.push((from, *header, block));
            }
            _ => hands.pool.release(block),
        }
        self.tell_place(hands, from, header.view);
    }

    /// A reader asks for what it lacks of a view that is over.
    fn answer_reader(&mut self, hands: &mut Hands<'_>, from: Endpoint, header: &Header, block: RxBlock) {
        match self.old.as_mut().filter(|old| old.view.id().number == header.view) {
            Some(old) => old.handle_block(hands.now, (hands.id, from), header, block, hands.pool),
            None => hands.discard(block),
        }
    }

    /// Who speaks of another view than mine is told so, or tells me.
    fn tell_place(&mut self, hands: &mut Hands<'_>, from: Endpoint, view: ViewNumber) {
        let (Some(seat), Some(running)) = (&mut self.seat, hands.running.as_ref()) else { return };
        if hands.now.since_ns(self.told_at) < TELL_EVERY_NS || seat.left_at.is_some() {
            return;
        }
        self.told_at = hands.now;
        let number = running.view.id().number;
        if view < number {
            seat.agreement.heard_behind(from, view);
            self.settle(hands);
        } else {
            self.say(hands, Target::One(from), &Message::Behind { number });
        }
    }

    fn handle_agreement(&mut self, hands: &mut Hands<'_>, from: Endpoint, header: &Header, block: RxBlock) {
        let view = hands.running.as_ref().map(|running| &running.view);
        let is_known = view.is_none_or(|view| view.rank_of(from).is_some());
        let bytes = hands.pool.bytes(&block);
        let message = self.post.receive(from, is_known, header, bytes);
        let is_admitted = message.is_none() && !is_known && self.letters.admits(from);
        let long = if is_admitted { self.letters.mail.receive(from, header, bytes) } else { None };
        let message = message.or(long.filter(|message| matches!(message, Message::Letter(_))));
        hands.pool.release(block);
        if let (Some(running), Some(seat)) = (hands.running.as_mut(), &mut self.seat)
            && header.instance == running.view.id().instance
            && header.view != ViewNumber(0)
            && let Some(rank) = running.view.rank_of(from)
        {
            running.session.heard(rank, hands.now);
            if header.view == running.view.id().number {
                seat.asked_at = hands.now;
                seat.note_heard(rank);
            }
        }
        match message {
            Some(message) => self.handle_message(hands, from, header, message),
            None => *hands.early += 1,
        }
    }

    fn handle_message(&mut self, hands: &mut Hands<'_>, from: Endpoint, header: &Header, message: Message) {
        match message {
            Message::Lookup => return self.show(hands, from),
            Message::Follow { number } => return self.show_end(hands, from, header, number),
            Message::Borrow { number, stream, mine } => {
                if let Some(seat) = self.seat.as_ref().filter(|seat| {
                    seat.instance == header.instance && mine.member.endpoint == from && seat.left_at.is_none()
                }) {
                    let here = (seat.here(hands.config), hands.now);
                    self.transfers.lend(here, (number, stream), mine, hands.pool);
                }
                return;
            }
            Message::Letter(letter) => return self.take_letter(hands, from, header, letter),
            Message::Found { instance, roster, wedged } => {
                return self.hear_found(hands, (from, header), (instance, roster), wedged);
            }
            _ => {}
        }
        if let Message::Request { op: Op::Join(theirs), .. } = &message
            && let Some(conflict) = hands.config.conflict_with(theirs)
        {
            // It is told what I am like, and sees the same.
            if theirs.member.endpoint != hands.config.local
                && hands.conflicts.note(theirs.member.endpoint, conflict)
            {
                self.say_mine(hands, theirs.member.endpoint);
            }
            return;
        }
        // Whoever let somebody in whom I cannot be with, does not speak of a view of mine.
        let value = match &message {
            Message::Propose { proposal, .. } => Some(&proposal.value),
            Message::Commit { value, .. } => Some(value),
            _ => None,
        };
        if value
            .is_some_and(|value| value.joined.iter().any(|known| hands.config.conflict_with(known).is_some()))
        {
            *hands.early += 1;
            return;
        }
        if self.seeking.is_some() {
            return self.handle_while_seeking(hands, from, header, message);
        }
        let is_welcome_alone = matches!(message, Message::Welcome { .. }) && self.is_alone_unformed(hands);
        if is_welcome_alone {
            self.part(hands, None);
            return self.handle_while_seeking(hands, from, header, message);
        }
        self.show_stuck(hands, from, &message);
        let is_mine =
            hands.running.as_ref().is_some_and(|running| running.view.id().instance == header.instance);
        let is_join = matches!(message, Message::Request { op: Op::Join(_), .. });
        if !is_mine && !is_join {
            *hands.early += 1;
            return;
        }
        self.agree(hands, |agreement, now, flow| agreement.handle_message(now, from, message, flow));
    }

    /// Lets agreement act on the streams, and does what has become of it.
    fn agree(&mut self, hands: &mut Hands<'_>, act: impl FnOnce(&mut Agreement, Instant, &mut Flow<'_>)) {
        let (Some(seat), Some(running)) = (&mut self.seat, hands.running.as_mut()) else { return };
        let mut flow = Flow::new(hands.now, running, &mut seat.detector, hands.pool);
        act(&mut seat.agreement, hands.now, &mut flow);
        seat.stops_sends |= flow.waits();
        running.outgoing.stop(seat.stops_sends || seat.agreement.is_changing());
        self.settle(hands);
    }

    /// Sends what agreement says, and takes what has become of the view.
    fn settle(&mut self, hands: &mut Hands<'_>) {
        while let Some(seat) = &mut self.seat {
            if let Some((to, message)) = seat.agreement.poll_send() {
                let to = match to {
                    Destination::All => Target::Channel(hands.config.channel),
                    Destination::One(endpoint) => Target::One(endpoint),
                };
                self.say(hands, to, &message);
            } else if let Some(outcome) = seat.agreement.poll_outcome() {
                self.take_outcome(hands, outcome);
            } else {
                return;
            }
        }
    }

    fn say(&mut self, hands: &Hands<'_>, to: Target, message: &Message) {
        let names = match &self.seat {
            Some(Seat { agreement, instance, .. }) => {
                (hands.id, *instance, agreement.roster().number, agreement.me())
            }
            None => {
                let life = self.seeking.as_ref().and_then(|seeking| seeking.life).unwrap_or_default();
                (hands.id, life, ViewNumber(0), Rank(0))
            }
        };
        self.post.send(to, names, message);
    }

    /// Says what I am like.
    pub(super) fn say_mine(&mut self, hands: &Hands<'_>, to: Endpoint) {
        let number = hands.running.as_ref().map_or(ViewNumber(0), |running| running.view.id().number);
        let message = Message::Request { number, op: Op::Join(self.mine) };
        self.say(hands, Target::One(to), &message);
    }

    /// Tells an observer who is in the group.
    fn show(&mut self, hands: &Hands<'_>, to: Endpoint) {
        let Some(seat) = self.seat.as_ref().filter(|seat| seat.left_at.is_none()) else { return };
        let is_there = hands.running.as_ref().is_some_and(|running| running.is_open);
        if !is_there || self.post.is_waiting() || hands.now.since_ns(self.shown_at) < OBSERVED_EVERY_NS {
            return;
        }
        self.shown_at = hands.now;
        let (instance, roster) = (seat.instance, seat.agreement.roster().clone());
        let message = Message::Found { instance, roster, wedged: seat.agreement.is_wedged() };
        self.say(hands, Target::One(to), &message);
    }

    /// Tells a reader how the view that it reads has ended, or who is in the group by now.
    fn show_end(&mut self, hands: &Hands<'_>, to: Endpoint, header: &Header, number: ViewNumber) {
        let Some(seat) = self.seat.as_ref().filter(|seat| seat.instance == header.instance) else { return };
        let Some(end) = seat.agreement.end_of(number) else {
            if number < seat.agreement.roster().number {
                self.show(hands, to);
            }
            return;
        };
        if !self.post.is_waiting() && hands.now.since_ns(self.shown_at) >= OBSERVED_EVERY_NS {
            self.shown_at = hands.now;
            self.say(hands, Target::One(to), &end);
        }
    }

    pub(crate) fn handle_timeout(&mut self, hands: &mut Hands<'_>) {
        if self.seeking.is_some() {
            return self.seek(hands);
        }
        let Some(seat) = &self.seat else { return };
        if seat.left_at.is_none()
            && let Some(running) = hands.running.as_mut()
        {
            running.handle_timeout(hands.now, hands.pool);
        }
        if let Some(old) = &mut self.old {
            old.session.handle_timeout(hands.now, hands.pool);
        }
        self.transfers.handle_timeout(seat.here(hands.config), hands.now, hands.pool);
        self.look_after(hands);
    }

    /// Whom a channel by unicast reaches. What agreement says of the change that led to this view goes to all of the one before: first.
    pub(crate) fn poll_route(&mut self, config: &GroupConfig) -> Option<Route<'_>> {
        if mutated!(KeepOldRoute) {
            self.has_route = false;
        }
        if !self.has_route || self.post.is_waiting() {
            return None;
        }
        self.has_route = false;
        Some(Route { channel: config.channel, others: &self.others })
    }

    pub(crate) fn poll_transmit(&mut self, config: &GroupConfig, now: Instant) -> Option<Transmit> {
        if let Some(to) = self.post.take() {
            let (group, view, payload) = (config.index, ViewNumber(0), Payload::Setup { slot: 0 });
            return Some(Transmit { to, group, view, lane: 0, payload });
        }
        self.old.as_mut()?.session.poll_transmit(now)
    }

    /// What is given of the state: behind everything else.
    pub(crate) fn poll_transfer(&mut self, now: Instant) -> Option<Transmit> {
        self.transfers.poll_transmit(now)
    }

    /// What goes out by it.
    pub(crate) fn transfers(&self) -> &Transfers {
        &self.transfers
    }

    pub(crate) fn seal(&mut self, now: Instant) {
        self.transfers.seal(now);
    }

    /// Whether the streams have to wait with what they send.
    pub(crate) fn holds_streams(&self) -> bool {
        self.has_route
    }

    /// What goes out beside the streams.
    pub(crate) fn bytes(&self, slot: u16) -> &[u8] {
        if slot == letters::SLOT { self.letters.mail.bytes() } else { self.post.bytes() }
    }

    /// When something is to be done, beside what the streams of the view want.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if let Some(seeking) = &self.seeking {
            return Some(seeking.poll_timeout());
        }
        let seat = self.seat.as_ref()?;
        let is_urgent = !self.asks.is_empty() || self.has_route || seat.is_to_look;
        if is_urgent || self.post.is_waiting() {
            return Some(Instant::default());
        }
        let old =
            self.old.as_ref().filter(|_| !self.is_old_drained).and_then(|old| old.session.poll_timeout());
        let beside = self.transfers.poll_timeout().into_iter().chain(self.letters.mail.poll_timeout());
        seat.poll_timeout().into_iter().chain(old).chain(beside).min()
    }

    /// Whether the streams of the view are at rest: I have left it.
    pub(crate) fn is_parting(&self) -> bool {
        self.seat.as_ref().is_some_and(|seat| seat.left_at.is_some())
    }
}

/// Observers are answered so often at most, all together: whoever asks may say that he is another, and the answer is the longer one.
const OBSERVED_EVERY_NS: u64 = 2_000_000;
/// Sync casts of mine that wait.
const MAX_SYNCS: usize = 64;
