//! One group of a static list of members: the handshake first, then one view with its reliable streams.

use crate::flush::{FlushId, Flushes};
use crate::handshake::{Conflict, Handshake};
use crate::pairs::{self, Incoming, Outgoing};
use crate::running::Running;
use sistrum_ordering::{
    BootId, CausalContext, ContextError, Endpoint, GroupId, Promise, Rank, Seq, TotalMode, TotalOptions,
    TotalStack, View, ViewId, ViewMember, ViewNumber,
};
use sistrum_transport::log::{RxBlock, RxPool};
use sistrum_transport::medium::Channel;
use sistrum_transport::protocol::{Payload, Protocol, Target, Transmit};
use sistrum_transport::reliable::{
    self, Cause, Entry, Layer, Member, Message, Refused, RunLimits, SessionConfig, SessionCounters, Tuning,
};
use sistrum_transport::time::Instant;
use sistrum_transport::wire::{Control, ControlFrames, Header, Kind, Setup, SetupFlags};
use std::ops::ControlFlow;

/// A view number is never 0: that is what a handshake has.
const FIRST_VIEW: ViewNumber = ViewNumber(1);
/// Ranks are 16 bits on the wire; memory per member ends long before.
const MAX_MEMBERS: usize = 1024;

/// Every order. In debug builds it is checked whether it keeps what it promises.
#[cfg(debug_assertions)]
pub(crate) type Orders = reliable::checked::Checked<TotalStack>;
/// Every order.
#[cfg(not(debug_assertions))]
pub(crate) type Orders = TotalStack;
/// The streams of a group, with every order above them.
pub type Session = reliable::Session<Orders>;
/// A member's own stream.
pub type Sender = reliable::Sender<<Orders as Layer>::Outbound>;

/// What a group is built from.
#[derive(Debug, Clone)]
pub struct GroupConfig {
    /// Its name.
    pub name: String,
    /// All members, in the order of their ranks: the same list everywhere.
    pub members: Vec<Endpoint>,
    /// Which of them I am, as [`Group::rank_in`] says.
    pub me: Rank,
    /// My incarnation.
    pub boot: BootId,
    /// What reaches all of them.
    pub channel: Channel,
    /// Index of the group among those of its node.
    pub index: u16,
    /// Bytes of a block.
    pub block: usize,
    /// What the medium carries in one send.
    pub limits: RunLimits,
    /// My receive buffer in true-size bytes.
    pub receive_buffer: usize,
    /// Whether I take coalesced runs in one buffer.
    pub coalesces: bool,
    /// Blocks of the largest window of another member that my receive buffers have room for.
    pub max_window: usize,
    /// Blocks of the window of what I send to one other alone.
    pub pair_window: usize,
    /// Sizes and times.
    pub tuning: Tuning,
    /// How total order is found, and how stamps are told: the same at all members.
    pub order: TotalOptions,
    /// The first sequence of my stream.
    pub start: Seq,
    /// Seed of the random delays.
    pub seed: u64,
}

/// A list that no group can be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// I am not in it.
    #[error("members: {0}, this process itself, is not in the list")]
    NotListed(Endpoint),
    /// Somebody is in it twice.
    #[error("members: {0} stands in the list twice")]
    Twice(Endpoint),
    /// It is too long.
    #[error("members: a list of {0} members is longer than the limit of {MAX_MEMBERS}")]
    TooLong(usize),
}

/// What a group hands to the application.
#[derive(Debug)]
pub enum Event<'a> {
    /// A view was installed: casts are possible from here on.
    View(&'a View),
    /// A message.
    Deliver(Message<'a>),
    /// A message that was sent to me alone.
    Direct(Message<'a>),
    /// A member of the list cannot be in one group with me, for this reason. Said once for each.
    Conflict(Endpoint, Conflict),
    /// A member has said goodbye, and all that it cast has been delivered: it gates nobody any more.
    Left(Rank),
    /// Every member holds what this flush covers.
    Flushed(FlushId),
}

/// Casts into the group whose event is being handled; there is nothing to cast into before the first view.
#[derive(Debug, Default)]
pub struct Caster<'a>(pub(crate) Option<(&'a mut Sender, &'a mut Outgoing)>);

impl Caster<'_> {
    /// The same caster, for a shorter time.
    pub fn reborrow(&mut self) -> Caster<'_> {
        Caster(self.0.as_mut().map(|(sender, outgoing)| (&mut **sender, &mut **outgoing)))
    }

    /// Sends one message to one other member, as [`Group::send`].
    ///
    /// # Errors
    /// Likewise.
    pub fn send(&mut self, to: Rank, message: &[u8]) -> Result<(), Refused> {
        let (sender, outgoing) = self.0.as_mut().ok_or(Refused::NoView)?;
        outgoing.send(sender, to, message)
    }

    /// The block that casts go into at present; the first one before there is a view.
    #[must_use]
    pub fn open(&self) -> Seq {
        self.0.as_ref().map_or(Seq(0), |(sender, _)| sender.open())
    }

    /// Casts one message in this order.
    ///
    /// # Errors
    /// As [`Sender::cast_as`](reliable::Sender::cast_as), and [`Refused::NoView`].
    #[inline]
    pub fn cast(&mut self, promise: impl Into<Promise>, message: &[u8]) -> Result<(), Refused> {
        self.0.as_mut().ok_or(Refused::NoView)?.0.cast_as(promise.into(), message)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Group {
    config: GroupConfig,
    id: GroupId,
    handshake: Handshake,
    running: Option<Running>,
    conflicts: Vec<(Endpoint, Conflict)>,
    conflicts_told: usize,
    early: u64,
}

impl Group {
    /// My rank in a list of members.
    ///
    /// # Errors
    /// When the list cannot be that of a group that I am in.
    pub fn rank_in(members: &[Endpoint], local: Endpoint) -> Result<Rank, ListError> {
        if members.len() > MAX_MEMBERS {
            return Err(ListError::TooLong(members.len()));
        }
        if let Some(at) = (1..members.len()).find(|&at| members[..at].contains(&members[at])) {
            return Err(ListError::Twice(members[at]));
        }
        let me = members.iter().position(|member| *member == local);
        Ok(Rank(me.ok_or(ListError::NotListed(local))? as u16))
    }

    /// Starts the handshake with the others of the list.
    #[must_use]
    pub fn new(config: GroupConfig) -> Self {
        let id = GroupId::of(&config.name);
        let setup = Setup {
            boot: config.boot,
            seen: BootId(0),
            start: config.start,
            receive_buffer: u32::try_from(config.receive_buffer).unwrap_or(u32::MAX),
            window: u32::try_from(config.tuning.window).unwrap_or(u32::MAX),
            block: config.block as u16,
            members: config.members.len() as u16,
            list: list_digest(&config.members),
            flags: SetupFlags {
                complete: false,
                coalesces: config.coalesces,
                rotating: config.order.mode == TotalMode::Rotating,
            },
        };
        Self {
            id,
            handshake: Handshake::new(id, config.members.clone(), config.me, setup, config.max_window),
            config,
            running: None,
            conflicts: Vec::new(),
            conflicts_told: 0,
            early: 0,
        }
    }

    /// Its id, that of its name.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// The view, once there is one.
    #[must_use]
    pub fn view(&self) -> Option<&View> {
        self.running.as_ref().map(|running| &running.view)
    }

    /// My stream, to cast into.
    ///
    /// # Errors
    /// [`Refused::NoView`] before the first view.
    #[inline]
    pub fn sender(&mut self) -> Result<&mut Sender, Refused> {
        Ok(self.running.as_mut().ok_or(Refused::NoView)?.session.sender())
    }

    /// Sends one message to one other member alone, in causal order with the casts: it is handed over behind everything that I have
    /// been handed and have cast, and what I cast or send later comes behind it.
    ///
    /// # Errors
    /// As a cast, and [`Refused::NoMember`].
    pub fn send(&mut self, to: Rank, message: &[u8]) -> Result<(), Refused> {
        let running = self.running.as_mut().ok_or(Refused::NoView)?;
        running.outgoing.send(running.session.sender(), to, message)
    }

    /// Whether blocks of this group id are mine: the group's, or those of pairs in it.
    #[must_use]
    pub fn owns(&self, id: GroupId) -> bool {
        id == self.id || pairs::direction(self.id, id).is_some()
    }

    /// The streams of the view, once there is one.
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        self.running.as_ref().map(|running| &running.session)
    }

    /// What the streams have noticed to be missing was most likely lost by `cause`.
    pub fn explain(&mut self, cause: Cause) {
        if let Some(running) = &mut self.running {
            running.session.explain(cause);
        }
    }

    /// Blocks that are kept of what others sent to me alone.
    #[must_use]
    pub fn kept_of_pairs(&self) -> usize {
        self.running.as_ref().map_or(0, |running| running.incoming.kept() + running.outgoing.kept())
    }

    /// The most bytes that a message may have, once there is a view.
    #[must_use]
    pub fn max_message(&self) -> Option<usize> {
        Some(self.running.as_ref()?.session.stream().max_message())
    }

    /// Whether every other member has delivered everything that I cast.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.session.stream().is_settled() && running.outgoing.is_settled())
    }

    /// Everything that I have been handed and have cast so far, to be carried to another member outside the group.
    ///
    /// # Errors
    /// [`ContextError::NoView`] before the first view.
    pub fn causal_context(&self) -> Result<CausalContext, ContextError> {
        let running = self.running.as_ref().ok_or(ContextError::NoView)?;
        let own = running.session.stream();
        // What is about to be handed to me counts too: a context may name more than it must, never less.
        let mut upto = own.outbound().seen().to_vec();
        // A block that is still open will be sealed as the next one, whatever joins it.
        upto[self.config.me.0 as usize] = own.cast_up_to();
        Ok(CausalContext::new(running.view.id(), upto))
    }

    /// Whether everything that `context` names has been handed to me.
    ///
    /// # Errors
    /// When it is of another group or view, or there is no view here yet.
    pub fn has_reached(&self, context: &CausalContext) -> Result<bool, ContextError> {
        let running = self.running.as_ref().ok_or(ContextError::NoView)?;
        let delivered = running.session.layer().causal().delivered_up_to();
        context.is_reached(running.view.id(), delivered)
    }

    /// Whether every member holds everything that `context` names, as far as is known here. Of my own context, it is the end of a
    /// flush: whatever I do outside the group from then on, no failure undoes its causes.
    ///
    /// # Errors
    /// When it is of another group or view, or there is no view here yet.
    pub fn is_stable(&self, context: &CausalContext) -> Result<bool, ContextError> {
        let running = self.running.as_ref().ok_or(ContextError::NoView)?;
        context.is_reached(running.view.id(), running.session.layer().causal().stable_up_to())
    }

    /// Asks for [`Event::Flushed`], which comes once, when every member holds everything that I have cast and been handed so far.
    /// What is in an open block is sent by the present or the next cycle.
    ///
    /// # Errors
    /// [`Refused::NoView`] before the first view.
    pub fn flush(&mut self) -> Result<FlushId, Refused> {
        let context = self.causal_context().map_err(|_| Refused::NoView)?;
        let running = self.running.as_mut().ok_or(Refused::NoView)?;
        Ok(running.flushes.ask(context.upto().to_vec()))
    }

    /// Says goodbye once everything that I cast has been delivered by all.
    pub fn leave(&mut self, now: Instant) {
        if let Some(running) = &mut self.running {
            running.is_leaving = true;
            running.try_leave(now);
        }
    }

    /// Whether the goodbye has been said; without a view there is nobody to say it to.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.running.as_ref().is_none_or(|running| !running.is_leaving && running.session.has_left())
    }

    /// The member that gates me and was heard least recently, and when.
    #[must_use]
    pub fn most_silent(&self) -> Option<(Rank, Instant)> {
        self.running.as_ref()?.session.most_silent()
    }

    /// What happened so far; blocks that came before the view count as foreign.
    #[must_use]
    pub fn counters(&self) -> SessionCounters {
        let counters = self.running.as_ref().map(|running| running.session.counters()).unwrap_or_default();
        let pairs = self.running.as_ref().map_or(0, |running| running.incoming.malformed());
        SessionCounters {
            foreign: counters.foreign + self.early,
            malformed_frames: counters.malformed_frames + pairs,
            ..counters
        }
    }

    /// Takes a block whose header was decoded already, and that is of this group.
    pub fn handle_block(
        &mut self,
        now: Instant,
        from: Endpoint,
        header: &Header,
        block: RxBlock,
        pool: &mut RxPool,
    ) {
        if header.kind == Kind::Setup {
            self.handle_setup(from, header, pool.bytes(&block));
            return pool.release(block);
        }
        match &mut self.running {
            Some(running) => running.handle_block(now, (self.id, from), header, block, pool),
            None => {
                self.early += 1;
                pool.release(block);
            }
        }
    }

    fn handle_setup(&mut self, from: Endpoint, header: &Header, block: &[u8]) {
        let rank = self.handshake.members().iter().position(|member| *member == from);
        if rank.is_none_or(|rank| rank == self.config.me.0 as usize) {
            self.early += 1;
            return;
        }
        let Ok(Some(Control::Setup(setup))) = ControlFrames::new(header.control(block)).next_frame() else {
            return;
        };
        // In a list of another order it has another rank: then its list is what is wrong, and what is told.
        let known = rank == Some(header.rank.0 as usize) || !self.handshake.is_same_list(&setup);
        if !known {
            self.early += 1;
            return;
        }
        match self.handshake.on_setup(header, &setup) {
            Ok(true) => self.install(),
            Ok(false) => {}
            Err(conflict) => {
                // Each kind once for each member: who sends a new number every time fills no memory.
                let is_known = self.conflicts.iter().any(|(who, known)| {
                    *who == from && std::mem::discriminant(known) == std::mem::discriminant(&conflict)
                });
                if !is_known {
                    self.conflicts.push((from, conflict));
                }
            }
        }
    }

    /// Builds the view and its streams from what all have said.
    fn install(&mut self) {
        let config = &self.config;
        let instance = self.handshake.instance();
        let setups = (0..config.members.len())
            .map(|rank| self.handshake.heard(Rank(rank as u16)).expect("all were heard"));
        let (view_members, members): (Vec<_>, Vec<_>) = config
            .members
            .iter()
            .zip(setups)
            .map(|(&endpoint, setup)| {
                (ViewMember { endpoint, boot: setup.boot }, stream_member(endpoint, setup))
            })
            .unzip();
        let id = ViewId { group: self.id, instance, number: FIRST_VIEW };
        let view = View::new(id, view_members, config.me);
        let session = SessionConfig {
            group: self.id,
            instance,
            view: FIRST_VIEW,
            me: view.me(),
            members,
            to: Target::Channel(config.channel),
            index: config.index,
            lane: 0,
            block: config.block,
            limits: config.limits,
            tuning: config.tuning,
            seed: config.seed,
        };
        let outgoing = Outgoing::new(&session, config.pair_window);
        let incoming = Incoming::new(&session, config.pair_window);
        let session = Session::ordered(session, &config.order).expect("the memory of a log is there");
        let offered = vec![false; view.members().len()];
        self.running = Some(Running {
            view,
            told: false,
            session,
            outgoing,
            incoming,
            offered,
            is_leaving: false,
            flushes: Flushes::default(),
        });
    }
}

impl Protocol for Group {
    type Event<'a> = Event<'a>;
    type Caster<'a> = Caster<'a>;

    fn handle_datagram(&mut self, now: Instant, from: Endpoint, block: RxBlock, pool: &mut RxPool) {
        match Header::decode(pool.bytes(&block)) {
            Ok(header) if self.owns(header.group) => self.handle_block(now, from, &header, block, pool),
            _ => {
                self.early += 1;
                pool.release(block);
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant, pool: &mut RxPool) {
        match &mut self.running {
            Some(running) => running.handle_timeout(now, pool),
            None => self.handshake.on_timeout(now),
        }
        // Alone in the list, there is nobody to hear.
        if self.running.is_none() && self.handshake.is_complete() {
            self.install();
        }
    }

    fn poll_event<H>(&mut self, pool: &mut RxPool, handler: &mut H) -> usize
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let mut events = 0;
        while let Some((endpoint, conflict)) = self.conflicts.get(self.conflicts_told) {
            // Nothing is cast into a view that the application has not been told of.
            let told = self.running.as_mut().filter(|running| running.told);
            let caster = told.map(|running| (running.session.sender(), &mut running.outgoing));
            if handler(&mut Caster(caster), Event::Conflict(*endpoint, *conflict)).is_break() {
                return events;
            }
            self.conflicts_told += 1;
            events += 1;
        }
        let Some(running) = &mut self.running else { return events };
        if !running.told {
            let caster = &mut Caster(Some((running.session.sender(), &mut running.outgoing)));
            if handler(caster, Event::View(&running.view)).is_break() {
                return events;
            }
            running.told = true;
            events += 1;
        }
        events + running.poll_event(pool, handler)
    }

    fn seal(&mut self, now: Instant) {
        if let Some(running) = &mut self.running {
            running.session.seal(now);
            running.outgoing.seal(now);
            running.incoming.seal(now);
        }
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if let Some((to, slot)) = self.handshake.take() {
            return Some(Transmit {
                to,
                group: self.config.index,
                view: ViewNumber(0),
                lane: 0,
                payload: Payload::Setup { slot },
            });
        }
        let Running { session, outgoing, incoming, .. } = self.running.as_mut()?;
        // Acknowledgements of what came to me alone, and what goes to one alone: others may wait for either.
        let pairs = incoming.poll_transmit(now).or_else(|| outgoing.poll_transmit(now));
        pairs.or_else(|| session.poll_transmit(now))
    }

    fn transmit_bytes<'a>(&'a self, transmit: &Transmit, pool: &'a RxPool) -> (&'a [u8], usize) {
        match (transmit.payload, &self.running) {
            (Payload::Setup { slot }, _) => {
                let bytes = self.handshake.bytes(slot);
                (bytes, bytes.len())
            }
            (_, Some(running)) => running.transmit_bytes(transmit, pool),
            (_, None) => (&[], 1),
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match &self.running {
            // Alone, what I have sent is stable at once.
            Some(running) if running.told && running.flushed().is_some() => Some(Instant::default()),
            Some(Running { session, outgoing, incoming, .. }) => {
                let pairs = [outgoing.poll_timeout(), incoming.poll_timeout()];
                pairs.into_iter().chain([session.poll_timeout()]).flatten().min()
            }
            None => self.handshake.timeout(),
        }
    }

    fn awaits_control(&self) -> bool {
        self.running.as_ref().is_none_or(|Running { session, outgoing, incoming, .. }| {
            session.awaits_control() || outgoing.awaits_control() || incoming.awaits_control()
        })
    }
}

fn stream_member(endpoint: Endpoint, setup: &Setup) -> Member {
    Member {
        endpoint,
        start: setup.start,
        entry: Entry::Start,
        window: setup.window as usize,
        receive_buffer: setup.receive_buffer as usize,
        coalesces: setup.flags.coalesces,
    }
}

/// The same for the same list in the same order.
fn list_digest(members: &[Endpoint]) -> u32 {
    let text: Vec<String> = members.iter().map(|member| member.unscoped().to_string()).collect();
    GroupId::of(&text.join(" ")).0
}
