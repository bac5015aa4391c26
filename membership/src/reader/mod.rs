//! A reader of a group with views: in none of them, it gates nobody and agrees on nothing, and is handed what the group is, view by view.
//!
//! ```text
//!   looking for the group --- somebody says who is in it ---> a view, entered in mid-flow
//!   a view  --- decided where it ends, heard or asked for ---> the rest up to the cut, then the next view from its beginning
//!           --- nobody tells any more ----------------------> what is known to be lost is told, and the present view is entered
//! ```
//! It hears what the coordinator decides; where it hears a later view instead, it asks. What it lacks of a view that is over it asks of the
//! sender, then of those who held it; members keep it for a while. By default it hands over nothing that a cut may leave out: what
//! enough members hold with its causes, or all were handed, as the senders say in heartbeats and in blocks. Nothing is lost in silence: what is not handed
//! over of a stream that was entered is a [gap](ViewReaderEvent::Gap), or lies in views that were [missed](ViewReaderEvent::Missed).

mod borrowing;
mod era;
mod kept;
mod telling;

use crate::agreement::{Message, Roster, Value};
use crate::event::Caster;
use crate::post::Post;
use crate::transfer::{self, Spool, StateBlock, StateTuning, TransferError};
use borrowing::Borrowing;
use era::{End, Era};
use kept::Kept;
use sistrum_ordering::{
    BootId, Endpoint, GroupId, GroupInstance, Rank, Seq, View, ViewId, ViewMember, ViewNumber,
};
use sistrum_transport::log::{RxBlock, RxPool};
use sistrum_transport::medium::Channel;
use sistrum_transport::protocol::{Payload, Protocol, Target, Transmit};
use sistrum_transport::reliable::{self, Cause, Gap, PeerLosses, RunLimits, SessionCounters, Tuning};
use sistrum_transport::time::Instant;
use sistrum_transport::wire::{Header, Kind};
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// What a reader of a group with views is built from.
#[derive(Debug, Clone)]
pub struct ViewReaderConfig {
    /// The group's name.
    pub name: String,
    /// Where I ask from.
    pub local: Endpoint,
    /// Reaches all of the group: by multicast, or nothing would be heard.
    pub channel: Channel,
    /// Index of the group among those of its node.
    pub index: u16,
    /// Bytes of a block.
    pub block: usize,
    /// Sizes and times; the window is that of each stream at least.
    pub tuning: Tuning,
    /// Whether no effect is handed over before its cause; otherwise each stream is in its own order.
    pub is_causal: bool,
    /// Whether messages are handed over at once, and [taken back](ViewReaderEvent::Retracted) where a cut leaves them out.
    pub is_eager: bool,
    /// Begins with the group's state, as one of its members has it.
    pub state: Option<ReaderState>,
    /// Seed of the random delays.
    pub seed: u64,
}

/// What a member has to know of a reader to give it the state.
#[derive(Debug, Clone, Copy)]
pub struct ReaderState {
    /// How it is taken over. The spool takes what is cast meanwhile; where it overflows, it is read on without the state.
    pub tuning: StateTuning,
    /// My incarnation.
    pub boot: BootId,
    /// What the medium carries in one send.
    pub limits: RunLimits,
    /// My receive buffer in true-size bytes.
    pub receive_buffer: usize,
    /// Whether I take coalesced runs in one buffer.
    pub coalesces: bool,
    /// Blocks of the window of what goes to one alone.
    pub pair_window: usize,
}

/// What a reader of a group with views is told.
#[derive(Debug)]
#[non_exhaustive]
pub enum ViewReaderEvent<'a> {
    /// This view is read from here on. I am not in it: my rank is [`Rank::READER`].
    View(&'a View),
    /// A message.
    Deliver(reliable::Message<'a>),
    /// A cast between two views, ordered against everything.
    Sync {
        /// Who cast it.
        from: ViewMember,
        /// The view that begins behind it.
        next: ViewNumber,
        /// What it says.
        bytes: &'a [u8],
    },
    /// I enter a member's stream at this block, in mid-flow.
    Reading(Rank, Seq),
    /// So many blocks of a member's stream are lost for me.
    Gap(Rank, u64),
    /// So many blocks of a member's stream were handed over, the last ones, that nobody else is handed: the view ends before them.
    Retracted(Rank, u64),
    /// Some of the group's state, where it [begins with it](ViewReaderConfig::state). Behind the last of it comes [`View`](Self::View), and
    /// what was cast behind the state; where a view was missed, the state comes again.
    State(StateBlock<'a>),
    /// There is no state for me, for this reason: what was cast since I have looked for one follows, and is read without.
    TransferFailed(&'a TransferError),
    /// I do not know how this view has ended, or what was cast in those behind it: the next one that I am told of is read in mid-flow.
    Missed(ViewId),
}

/// See the module.
#[derive(Debug)]
pub struct ViewReader {
    config: ViewReaderConfig,
    id: GroupId,
    post: Post,
    /// The view that is handed over, and those behind it.
    eras: VecDeque<Era>,
    /// The state comes first.
    borrowing: Option<Borrowing>,
    /// What was cast meanwhile; and it is being handed over, and was refused.
    kept: Spool<Kept>,
    is_draining: bool,
    is_refused: bool,
    /// It is read up to the view that somebody comes in who sends from here, and whether that was told.
    until: Option<Endpoint>,
    has_ended: bool,
    now: Instant,
    heard_at: Instant,
    asks_at: Instant,
    /// Somebody is in a later view than I know of: how often it was asked how the last one ended.
    behind: Option<(Endpoint, u32)>,
    wait_ns: u64,
    /// What happened in views that are over, and blocks of none.
    past: SessionCounters,
}

impl ViewReader {
    /// Begins to look for the group.
    #[must_use]
    pub fn new(config: ViewReaderConfig) -> Self {
        let kept = Spool::new(config.state.as_ref().map_or(0, |state| state.tuning.spool));
        Self {
            id: GroupId::of(&config.name),
            post: Post::new(config.local, config.block),
            config,
            eras: VecDeque::new(),
            borrowing: None,
            kept,
            is_draining: false,
            is_refused: false,
            until: None,
            has_ended: false,
            now: Instant::default(),
            heard_at: Instant::default(),
            asks_at: Instant::default(),
            behind: None,
            wait_ns: FIRST_WAIT_NS,
            past: SessionCounters::default(),
        }
    }

    /// The group's id.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// Reads up to the view that contains a member that sends from here: that view is the last event. **Who reads, and joins as that member,
    /// is handed every cast once**: up to that view by the reader, and from there on, which is its first view, as the member. To be said before the
    /// member joins.
    pub fn read_until(&mut self, member: Endpoint) {
        self.until = Some(member);
    }

    /// Whether that view was told: nothing comes any more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether blocks of this group id are for it.
    #[must_use]
    pub fn owns(&self, id: GroupId) -> bool {
        id == self.id || (self.config.state.is_some() && id == transfer::id_of(self.id))
    }

    /// The view that is being handed over, or kept behind the state.
    #[must_use]
    pub fn view(&self) -> Option<&View> {
        self.eras.front().map(|era| &era.view)
    }

    /// What happened so far, in all views.
    #[must_use]
    pub fn counters(&self) -> SessionCounters {
        self.eras.iter().map(|era| era.reader.counters()).chain([self.past]).sum()
    }

    /// The open and the recent gaps of the view that is handed over.
    pub fn gaps(&self) -> impl Iterator<Item = Gap> + '_ {
        self.eras.front().into_iter().flat_map(|era| era.reader.gaps())
    }

    /// What I have lost of each member's stream in that view.
    pub fn losses(&self) -> impl Iterator<Item = (Rank, PeerLosses)> + '_ {
        self.eras.front().into_iter().flat_map(|era| era.reader.losses())
    }

    /// Whether a gap waits for its cause to be told.
    #[inline]
    #[must_use]
    pub fn is_unexplained(&self) -> bool {
        self.eras.iter().any(|era| era.reader.is_unexplained())
    }

    /// What was noticed to be missing was most likely lost by `cause`.
    pub fn explain(&mut self, cause: Cause) {
        self.eras.iter_mut().for_each(|era| era.reader.explain(cause));
    }

    /// Takes a block of the group.
    pub fn handle_block(
        &mut self,
        now: Instant,
        from: Endpoint,
        header: &Header,
        block: RxBlock,
        pool: &mut RxPool,
    ) {
        self.now = now;
        if self.has_ended {
            return pool.release(block);
        }
        if header.group != self.id {
            return match &mut self.borrowing {
                Some(borrowing) => borrowing.handle_block((now, from), header, block, pool),
                None => pool.release(block),
            };
        }
        if header.kind == Kind::Agreement {
            let message = self.post.receive(from, true, header, pool.bytes(&block));
            pool.release(block);
            return self.handle_message(from, header.instance, message, pool);
        }
        let is_of_member = matches!(header.kind, Kind::Data | Kind::Control) && header.rank != Rank::READER;
        let era = self.eras.iter_mut().find(|era| era.is(header.instance, header.view));
        if let Some(era) = era.filter(|_| is_of_member) {
            self.heard_at = now;
            return era.reader.handle_block(now, from, header, block, pool);
        }
        pool.release(block);
        self.past.foreign += 1;
        if is_of_member {
            self.hear_other(from, header);
        }
    }

    /// Something came of a view that is not known here.
    fn hear_other(&mut self, from: Endpoint, header: &Header) {
        match self.eras.back() {
            Some(last) if last.view.id().instance != header.instance || last.number() >= header.view => {}
            Some(_) if self.behind.is_some() => {}
            last => {
                self.behind = last.map(|_| (from, 0));
                (self.wait_ns, self.asks_at) = (FIRST_WAIT_NS, self.asks_at.min(self.now));
            }
        }
    }

    fn handle_message(
        &mut self,
        from: Endpoint,
        instance: GroupInstance,
        message: Option<Message>,
        pool: &mut RxPool,
    ) {
        match message {
            Some(Message::Commit { next, value, holders, .. }) => {
                self.take_decision(from, (instance, next), value, holders, pool);
            }
            // Whoever says who is in it, is in it.
            Some(Message::Found { instance: named, roster, .. })
                if named == instance && roster.is_sound() && roster.rank_of(from).is_some() =>
            {
                self.take_sight(instance, roster, pool);
            }
            _ => {}
        }
    }

    /// It is decided how the last view that I know of ends.
    fn take_decision(
        &mut self,
        from: Endpoint,
        (instance, next): (GroupInstance, ViewNumber),
        value: Value,
        holders: Vec<Rank>,
        pool: &mut RxPool,
    ) {
        let Some(last) = self.eras.back_mut().filter(|last| last.end == End::Unknown) else { return };
        let is_its = last.view.id().instance == instance && last.number().0.checked_add(1) == Some(next.0);
        let is_of_member = last.roster.rank_of(from).is_some();
        if !is_its || !is_of_member || !last.roster.may_be_followed_by(&value, &holders) {
            return;
        }
        last.end(self.now, &value, holders, pool);
        let awaits_state = last.awaits_state;
        let next = last.next(&self.config, value);
        self.eras.extend(next.map(|next| Era { awaits_state, ..next }));
        (self.behind, self.heard_at) = (None, self.now);
        self.ask_later();
    }

    /// This view is there. It is entered in mid-flow where none is known, or nobody says how the one before it has ended.
    fn take_sight(&mut self, instance: GroupInstance, roster: Roster, pool: &mut RxPool) {
        if let Some(last) = self.eras.back_mut().filter(|last| last.end == End::Unknown) {
            let (id, asked) = (last.view.id(), self.behind.map_or(0, |(_, asked)| asked));
            let is_silent = self.now.since_ns(self.heard_at) >= LIFE_OVER_NS;
            let is_later = roster.number > id.number;
            let is_far = is_later && roster.number.0 > id.number.0 + 1;
            let may_enter = match id.instance == instance {
                true => is_far || (is_later && asked >= MAX_ASKED),
                false => is_silent,
            };
            if !may_enter {
                return;
            }
            last.end = End::Missed;
        }
        let live = Era::live(&self.config, instance, roster);
        self.eras.push_back(Era { awaits_state: self.config.state.is_some(), ..live });
        let borrowing = self.config.state.as_ref().map(|state| Borrowing::new(&self.config, state));
        let before = std::mem::replace(&mut self.borrowing, borrowing);
        before.into_iter().for_each(|mut before| before.forget(pool));
        (self.behind, self.heard_at) = (None, self.now);
        self.ask_later();
    }

    fn names(&self) -> (GroupId, GroupInstance, ViewNumber, Rank) {
        let instance = self.eras.back().map(|last| last.view.id().instance).unwrap_or_default();
        (self.id, instance, ViewNumber(0), Rank::READER)
    }

    /// Asks what is not known: who is in the group, or how the last view has ended.
    fn ask(&mut self) {
        let names = self.names();
        if let (Some(last), Some((from, asked))) = (self.eras.back(), &mut self.behind) {
            *asked += 1;
            let message = Message::Follow { number: last.number() };
            // Who spoke of it may be the only one, or may just have come.
            let channel = Target::Channel(self.config.channel);
            let to = if asked.is_multiple_of(2) { channel } else { Target::One(*from) };
            self.post.send(to, names, &message);
            self.asks_at = self.now.plus_ns(self.wait_ns);
            self.wait_ns = (2 * self.wait_ns).min(ASK_EVERY_NS);
            return;
        }
        let is_silent = self.now.since_ns(self.heard_at) >= SILENCE_NS;
        if self.eras.is_empty() || is_silent {
            let names = (self.id, GroupInstance::default(), ViewNumber(0), Rank::READER);
            self.post.send(Target::Channel(self.config.channel), names, &Message::Lookup);
        }
        self.ask_later();
    }

    /// Asks for the state, where that is to be done.
    fn borrow(&mut self, now: Instant, pool: &mut RxPool) {
        // What was told of a view before is told to its end first: until then nothing that comes of the state would be taken.
        if !self.is_loading() {
            return;
        }
        let names = self.names();
        let Some(borrowing) = &mut self.borrowing else { return };
        borrowing.handle_timeout(now, pool);
        if let Some((to, message)) = borrowing.ask(now, self.eras.back().map(|last| &last.roster), pool) {
            self.post.send(Target::One(to), names, &message);
        }
    }

    fn ask_later(&mut self) {
        self.config.seed = self.config.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        self.asks_at = self.now.plus_ns(ASK_EVERY_NS + (self.config.seed >> 33) % (ASK_EVERY_NS / 2));
    }
}

impl Protocol for ViewReader {
    type Event<'a> = ViewReaderEvent<'a>;
    type Caster<'a> = Caster<'a>;

    fn handle_datagram(&mut self, now: Instant, from: Endpoint, block: RxBlock, pool: &mut RxPool) {
        match Header::decode(pool.bytes(&block)) {
            Ok(header) if self.owns(header.group) => self.handle_block(now, from, &header, block, pool),
            _ => pool.release(block),
        }
    }

    fn handle_timeout(&mut self, now: Instant, pool: &mut RxPool) {
        self.now = now;
        if self.has_ended {
            return;
        }
        if self.asks_at <= now {
            self.ask();
        }
        self.borrow(now, pool);
        self.eras.iter_mut().for_each(|era| era.reader.handle_timeout(now, pool));
    }

    fn poll_event<H>(&mut self, pool: &mut RxPool, handler: &mut H) -> usize
    where
        H: FnMut(&mut Caster<'_>, ViewReaderEvent<'_>) -> ControlFlow<()>,
    {
        self.hand_over(pool, handler)
    }

    fn seal(&mut self, now: Instant) {
        self.borrowing.iter_mut().for_each(|borrowing| borrowing.seal(now));
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if let Some(to) = self.post.take() {
            let (group, view, payload) = (self.config.index, ViewNumber(0), Payload::Setup { slot: 0 });
            return Some(Transmit { to, group, view, lane: 0, payload });
        }
        if let Some(transmit) = self.borrowing.as_mut().and_then(|borrowing| borrowing.poll_transmit(now)) {
            return Some(transmit);
        }
        let mut transmits = self.eras.iter_mut().enumerate();
        transmits.find_map(|(at, era)| Some(Transmit { lane: at as u16, ..era.reader.poll_transmit(now)? }))
    }

    fn transmit_bytes<'a>(&'a self, transmit: &Transmit, pool: &'a RxPool) -> (&'a [u8], usize) {
        if let Payload::Setup { .. } = transmit.payload {
            let bytes = self.post.bytes();
            return (bytes, bytes.len());
        }
        if transfer::is_of_transfer(transmit.lane) {
            return self.borrowing.as_ref().map_or((&[], 1), |it| it.transmit_bytes(transmit, pool));
        }
        self.eras
            .get(usize::from(transmit.lane))
            .map_or((&[], 1), |era| era.reader.transmit_bytes(transmit, pool))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.has_ended {
            return None;
        }
        let is_urgent = self.is_draining && !self.is_refused;
        let borrowing = self.borrowing.as_ref().filter(|_| self.is_loading());
        let own = [self.asks_at].into_iter().chain(borrowing.and_then(Borrowing::poll_timeout));
        let own = own.chain(is_urgent.then(Instant::default));
        self.eras.iter().filter_map(|era| era.reader.poll_timeout()).chain(own).min()
    }

    fn awaits_control(&self) -> bool {
        false
    }
}

/// It is asked who is in the group after this time, or up to half as much more.
const ASK_EVERY_NS: u64 = 80_000_000;
/// It is asked how a view has ended after this time, and then at doubled distances.
const FIRST_WAIT_NS: u64 = 2_000_000;
/// What nobody has said in so many questions, nobody says.
const MAX_ASKED: u32 = 6;
/// Whether the group is still there is asked where it was silent for this time.
const SILENCE_NS: u64 = 500_000_000;
/// Another life of the group is read where this one was silent for so long.
const LIFE_OVER_NS: u64 = 2_000_000_000;
