//! One group: how its members find each other, then the present view with its reliable streams.

mod context;
mod letters;

use crate::agreement::Agreement;
use crate::config::{self, GroupConfig};
use crate::conflicts::Conflicts;
use crate::event::{Caster, Event};
use crate::handshake::Handshake;
use crate::pairs::{self, PairCounters};
use crate::running::Running;
use crate::transfer;
use crate::views::{Hands, Views};
use sistrum_ordering::{Endpoint, GroupId, GroupInstance, Rank, TotalStack, View, ViewMember, ViewNumber};
use sistrum_transport::log::{RxBlock, RxPool};
use sistrum_transport::mutated;
use sistrum_transport::protocol::{Payload, Protocol, Route, Transmit};
use sistrum_transport::reliable::{self, Cause, Layer, Refused, SessionCounters};
use sistrum_transport::time::Instant;
use sistrum_transport::wire::{Header, Kind};
use std::ops::ControlFlow;

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

/// See the module.
#[derive(Debug)]
pub struct Group {
    config: GroupConfig,
    id: GroupId,
    entry: Way,
    running: Option<Running>,
    conflicts: Conflicts,
    early: u64,
    /// The application has refused a message in the last cycle.
    has_refused: bool,
}

/// How its members have found each other, or do.
#[derive(Debug)]
enum Way {
    /// By a list, in one view.
    List(Box<Handshake>),
    /// They come and go.
    Views(Box<Views>),
}

impl Group {
    /// Starts to look for the others.
    #[must_use]
    pub fn new(mut config: GroupConfig) -> Self {
        let id = GroupId::of(&config.name);
        let entry = match config.entry.clone() {
            config::Entry::List { members, me } => Way::List(Box::new(Handshake::of(&config, members, me))),
            config::Entry::Peers(peers) => {
                // Silence is only known from the longest time between two signs of life.
                let tuning = &mut config.tuning;
                tuning.heartbeat_max_ns = tuning.heartbeat_max_ns.min(peers.detector.heartbeat_ns());
                tuning.heartbeat_ns = tuning.heartbeat_ns.min(tuning.heartbeat_max_ns);
                Way::Views(Box::new(Views::new(&config, peers)))
            }
        };
        Self {
            id,
            entry,
            config,
            running: None,
            conflicts: Conflicts::default(),
            early: 0,
            has_refused: false,
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

    /// The number of the view that the application has come to: of the view before, it has been handed everything. One in which no member
    /// changes comes without [`Event::View`].
    #[must_use]
    pub fn reached(&self) -> Option<ViewNumber> {
        if let Some(views) = self.views().filter(|views| views.is_taking()) {
            return views.transfers().told();
        }
        let running = self.running.as_ref()?;
        let before = || self.views()?.old().filter(|old| old.told);
        let reached = if running.told { Some(running) } else { before() };
        reached.map(|reached| reached.view.id().number)
    }

    /// The view that the application was told of last.
    fn told_view(&self) -> Option<&View> {
        if let Some(views) = self.views().filter(|views| views.is_taking()) {
            return views.transfers().told_view();
        }
        let present = self.running.iter();
        let before = self.views().and_then(Views::old);
        present.chain(before).find(|running| running.told).map(|running| &running.view)
    }

    /// My stream, to cast into.
    ///
    /// # Errors
    /// [`Refused::NoView`] before the first view was told.
    #[inline]
    pub fn sender(&mut self) -> Result<&mut Sender, Refused> {
        if self.is_before_view() {
            return Err(Refused::NoView);
        }
        let running = self.running.as_mut().filter(|running| running.is_open);
        Ok(running.ok_or(Refused::NoView)?.session.sender())
    }

    /// Sends one message to one other member alone, in causal order with the casts: it is handed over behind everything that I have
    /// been handed and have cast, and what I cast or send later comes behind it.
    ///
    /// # Errors
    /// As a cast, and [`Refused::NoMember`]; [`Refused::ViewChanging`] until the next view was told, and [`Refused::Left`] where I leave a list.
    pub fn send(&mut self, to: Rank, message: &[u8]) -> Result<(), Refused> {
        let running = self.running.as_mut().filter(|running| running.is_open).ok_or(Refused::NoView)?;
        // Who a rank is, the application knows from the view that it was told of.
        let is_behind = |views: &Views| !running.told || views.is_taking();
        if matches!(&self.entry, Way::Views(views) if is_behind(views)) {
            return Err(Refused::ViewChanging);
        }
        running.outgoing.send(running.session.sender(), to, message)
    }

    /// Whether blocks of this group id are mine: the group's, or those of pairs in it.
    #[must_use]
    pub fn owns(&self, id: GroupId) -> bool {
        id == self.id || pairs::direction(self.id, id).is_some() || id == transfer::id_of(self.id)
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

    /// What this member and I have sent to each other alone in the present view. Not for the hot path.
    #[must_use]
    pub fn pair_counters(&self, rank: Rank) -> PairCounters {
        self.running.as_ref().map(|running| running.pair(rank)).unwrap_or_default()
    }

    /// Blocks that are kept of what others sent to me alone.
    #[must_use]
    pub fn kept_of_pairs(&self) -> usize {
        let pairs =
            self.running.as_ref().map_or(0, |running| running.incoming.kept() + running.outgoing.kept());
        pairs + self.views().map_or(0, |views| views.transfers().kept())
    }

    /// The most bytes that a message may have, once there is a view.
    #[must_use]
    pub fn max_message(&self) -> Option<usize> {
        Some(self.running.as_ref()?.session.stream().max_message())
    }

    /// Whether every other member has delivered everything that I cast.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let is_over =
            |running: &Running| running.session.stream().is_settled() && running.outgoing.is_settled();
        self.running.as_ref().is_some_and(is_over) && self.views().is_none_or(Views::has_no_syncs)
    }

    /// Leaves the group, once everything that I cast has been delivered by all, or is sure to be; nothing more can be cast. Where too few are
    /// left to be sure of anything, I am [excluded](Event::Excluded) instead.
    pub fn leave(&mut self, now: Instant) {
        if let Some(running) = &mut self.running {
            running.session.close();
        }
        match (&mut self.entry, &mut self.running) {
            (Way::Views(views), _) => views.leave(),
            (Way::List(_), Some(running)) => {
                running.is_leaving = true;
                running.outgoing.close();
                running.try_leave(now);
            }
            (Way::List(_), None) => {}
        }
    }

    /// Whether I am gone; without a view there is nobody to say it to.
    #[must_use]
    pub fn has_left(&self) -> bool {
        match &self.entry {
            Way::Views(views) => views.has_left(),
            Way::List(_) => {
                self.running.as_ref().is_none_or(|running| !running.is_leaving && running.session.has_left())
            }
        }
    }

    /// The application knows that this member of the present view has failed: the others go on without it. Nothing comes of it in a static
    /// list.
    pub fn suspect(&mut self, rank: Rank) {
        // Who a rank is, the application knows from the view that it has come to.
        let member = self.told_view().and_then(|view| view.member(rank).copied());
        if let (Some(member), Way::Views(views)) = (member, &mut self.entry) {
            views.suspect(member);
        }
    }

    /// Casts a message that is ordered against everything else: all who are handed it have been handed exactly the same before it. It costs a
    /// change of view that changes no member, and is handed over as [`Event::Sync`], to me too.
    ///
    /// # Errors
    /// [`Refused::NoView`] before the first view and in a static list, [`Refused::TooLarge`], and [`Refused::ViewChanging`] while too many of
    /// mine are on their way.
    pub fn cast_sync(&mut self, message: &[u8]) -> Result<(), Refused> {
        match &mut self.entry {
            Way::Views(views) if !views.transfers().is_before_view() => {
                let running = self.running.as_ref().filter(|running| running.is_open);
                let held = running.ok_or(Refused::NoView)?.session.stream().held();
                views.cast_sync(message, held > 0)
            }
            _ => Err(Refused::NoView),
        }
    }

    /// Where the group may be found, from now on: names may have come to mean other addresses.
    pub fn set_seeds(&mut self, seeds: Vec<Endpoint>) {
        if let Way::Views(views) = &mut self.entry {
            views.set_seeds(seeds);
        }
    }

    /// Who I am: a new incarnation whenever the others have gone on without me.
    #[must_use]
    pub fn me(&self) -> ViewMember {
        self.views().map_or(ViewMember { endpoint: self.config.local, boot: self.config.boot }, Views::mine)
    }

    /// The agreement on the next view; none before the first one and in a static list.
    #[must_use]
    pub fn agreement(&self) -> Option<&Agreement> {
        self.views()?.agreement()
    }

    /// The view before the present one and its streams, while they are needed.
    #[must_use]
    pub fn before(&self) -> Option<(&View, &Session)> {
        let old = self.views()?.old()?;
        Some((&old.view, &old.session))
    }

    /// The life of the group that I was in, while I wait to come back to it. As long as I do, no other is begun: where it has ended, leave and
    /// join again.
    #[must_use]
    pub fn life_sought(&self) -> Option<GroupInstance> {
        self.views()?.life_sought()
    }

    /// Frames and bytes that agreement has sent so far, a multicast once.
    #[must_use]
    pub fn spent_on_views(&self) -> (u64, u64) {
        self.views().map_or((0, 0), Views::spent)
    }

    /// Whether I take the state over, or have not been handed all that came meanwhile.
    #[must_use]
    pub fn is_taking_over(&self) -> bool {
        self.views().is_some_and(Views::is_taking)
    }

    /// Whether the application was told of no view, since the state comes first.
    fn is_before_view(&self) -> bool {
        self.views().is_some_and(|views| views.transfers().is_before_view())
    }

    /// The streams of a view whose application is there too.
    fn told_streams(&self) -> Option<&Running> {
        self.running.as_ref().filter(|running| running.is_open && !self.is_taking_over())
    }

    fn views(&self) -> Option<&Views> {
        match &self.entry {
            Way::Views(views) => Some(views),
            Way::List(_) => None,
        }
    }

    fn views_mut(&mut self) -> Option<&mut Views> {
        match &mut self.entry {
            Way::Views(views) => Some(views),
            Way::List(_) => None,
        }
    }

    /// The member that gates me and was heard least recently, and when.
    #[must_use]
    pub fn most_silent(&self) -> Option<(Rank, Instant)> {
        self.running.as_ref()?.session.most_silent()
    }

    /// What happened so far, in all views; blocks that came before the view count as foreign.
    #[must_use]
    pub fn counters(&self) -> SessionCounters {
        let present = self.running.as_ref().map(Running::counters);
        let before = self.views().map(Views::counters);
        let counters: SessionCounters = present.into_iter().chain(before).sum();
        SessionCounters { foreign: counters.foreign + self.early, ..counters }
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
        let Self { config, id, entry, running, conflicts, early, .. } = self;
        let handshake = match entry {
            Way::Views(views) => {
                let hands = &mut Hands { now, config, id: *id, running, conflicts, early, pool };
                return views.handle_block(hands, from, header, block);
            }
            Way::List(handshake) => handshake,
        };
        if header.kind == Kind::Setup {
            let is_complete = match handshake.handle_block(from, header, pool.bytes(&block)) {
                Ok(is_complete) => is_complete,
                Err(Some(conflict)) => {
                    conflicts.note(from, conflict);
                    false
                }
                Err(None) => {
                    *early += 1;
                    false
                }
            };
            pool.release(block);
            if is_complete {
                self.running = Some(handshake.install(&self.config));
            }
            return;
        }
        match running {
            Some(running) => running.handle_block(now, (*id, from), header, block, pool),
            None => {
                *early += 1;
                pool.release(block);
            }
        }
    }

    /// Tells of processes that cannot be in the group.
    fn tell_conflicts<H>(&mut self, handler: &mut H, events: &mut usize) -> ControlFlow<()>
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        while let Some((endpoint, conflict)) = self.conflicts.next() {
            // Nothing is cast into a view that the application has not been told of.
            let is_behind = matches!(&self.entry, Way::Views(views) if views.is_taking());
            let told = self.running.as_mut().filter(|running| running.told && !is_behind);
            let mut caster = told.map_or_else(Caster::default, Running::caster);
            handler(&mut caster, Event::Conflict(endpoint, conflict))?;
            self.conflicts.told();
            *events += 1;
        }
        ControlFlow::Continue(())
    }

    /// Tells of what has no place among the deliveries of the view.
    fn tell_rest<H>(&mut self, handler: &mut H, events: &mut usize) -> ControlFlow<()>
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let Some(running) = &mut self.running else { return ControlFlow::Continue(()) };
        running.tell_holdups(handler, events)?;
        if let Way::Views(views) = &mut self.entry {
            views.tell_letters(running, handler, events)?;
        }
        running.tell_flushed(handler, events)
    }

    /// Tells of what comes before the deliveries of the view.
    fn tell_view<H>(&mut self, pool: &mut RxPool, handler: &mut H, events: &mut usize) -> ControlFlow<()>
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        if let Way::Views(views) = &mut self.entry {
            let (told, flow) = views.poll_event(self.running.as_mut(), pool, handler);
            *events += told;
            return flow;
        }
        let Some(running) = self.running.as_mut().filter(|running| !running.told) else {
            return ControlFlow::Continue(());
        };
        let number = running.view.id().number;
        let caster = &mut Caster::new(number, running.session.sender(), &mut running.outgoing);
        handler(caster, Event::View(&running.view))?;
        running.told = true;
        *events += 1;
        ControlFlow::Continue(())
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
        let Self { config, id, entry, running, conflicts, early, .. } = self;
        match (entry, running) {
            (Way::Views(views), running) => {
                let hands = &mut Hands { now, config, id: *id, running, conflicts, early, pool };
                views.handle_timeout(hands);
            }
            (Way::List(_), Some(running)) => running.handle_timeout(now, pool),
            (Way::List(handshake), None) => {
                handshake.on_timeout(now);
                // Alone in the list, there is nobody to hear.
                if handshake.is_complete() {
                    self.running = Some(handshake.install(&self.config));
                }
            }
        }
    }

    fn poll_event<H>(&mut self, pool: &mut RxPool, handler: &mut H) -> usize
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let mut events = 0;
        if self.tell_conflicts(handler, &mut events).is_break() {
            return events;
        }
        if let Way::Views(views) = &mut self.entry {
            events += views.poll_transfers(pool);
            if views.is_taking() {
                return events + views.poll_taking(self.running.as_mut(), pool, handler);
            }
        }
        let may_go = self.tell_view(pool, handler, &mut events).is_continue();
        if !may_go {
            return events;
        }
        // Who refuses a message in each cycle, is told of what else there is before its messages.
        if self.has_refused && self.tell_rest(handler, &mut events).is_break() {
            return events;
        }
        let Some(running) = self.running.as_mut() else { return events };
        let (handed, flow) = running.poll_event(None, pool, handler);
        events += handed;
        self.has_refused = flow.is_break() && !mutated!(RestBehindAll);
        if flow.is_break() {
            return events;
        }
        if let Way::Views(views) = &mut self.entry {
            let (told, flow) = views.tell_readers(running, pool, handler);
            events += told;
            if flow.is_break() {
                return events;
            }
        }
        _ = self.tell_rest(handler, &mut events);
        events
    }

    fn seal(&mut self, now: Instant) {
        if let Some(running) = &mut self.running {
            running.session.seal(now);
            running.outgoing.seal(now);
            running.incoming.seal(now);
        }
        if let Way::Views(views) = &mut self.entry {
            views.seal(now);
        }
    }

    fn poll_route(&mut self) -> Option<Route<'_>> {
        match &mut self.entry {
            Way::Views(views) => views.poll_route(&self.config),
            Way::List(_) => None,
        }
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        match &mut self.entry {
            Way::List(handshake) => {
                if let Some((to, slot)) = handshake.take() {
                    let (group, view, payload) = (self.config.index, ViewNumber(0), Payload::Setup { slot });
                    return Some(Transmit { to, group, view, lane: 0, payload });
                }
            }
            Way::Views(views) => {
                if let Some(transmit) = views.poll_transmit(&self.config, now) {
                    return Some(transmit);
                }
                if views.holds_streams() {
                    return None;
                }
            }
        }
        let Running { session, outgoing, incoming, .. } = self.running.as_mut()?;
        // Acknowledgements of what came to me alone, and what goes to one alone: others may wait for either.
        let pairs = incoming.poll_transmit(now).or_else(|| outgoing.poll_transmit(now));
        let streams = pairs.or_else(|| session.poll_transmit(now));
        let Way::Views(views) = &mut self.entry else { return streams };
        streams.or_else(|| views.poll_transfer(now)).or_else(|| views.poll_letter(self.config.index, now))
    }

    fn transmit_bytes<'a>(&'a self, transmit: &Transmit, pool: &'a RxPool) -> (&'a [u8], usize) {
        if let Payload::Setup { slot } = transmit.payload {
            let bytes = match &self.entry {
                Way::List(handshake) => handshake.bytes(slot),
                Way::Views(views) => views.bytes(slot),
            };
            return (bytes, bytes.len());
        }
        if transfer::is_of_transfer(transmit.lane) {
            return self.views().map_or((&[], 1), |views| views.transfers().transmit_bytes(transmit, pool));
        }
        let old = self.views().and_then(Views::old);
        let both = [self.running.as_ref(), old].into_iter().flatten();
        let mut its = both.into_iter().filter(|running| running.view.id().number == transmit.view);
        its.next().map_or((&[], 1), |running| running.transmit_bytes(transmit, pool))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let (own, rests) = match &self.entry {
            Way::List(handshake) => (self.running.is_none().then(|| handshake.timeout()).flatten(), false),
            Way::Views(views) => (views.poll_timeout(), views.is_parting()),
        };
        let running = self.running.as_ref().filter(|_| !rests);
        running.and_then(Running::poll_timeout).into_iter().chain(own).min()
    }

    fn awaits_control(&self) -> bool {
        let is_waiting = |Running { session, outgoing, incoming, .. }: &Running| {
            session.awaits_control() || outgoing.awaits_control() || incoming.awaits_control()
        };
        self.running.as_ref().is_none_or(is_waiting)
            || self.views().is_some_and(|views| views.transfers().awaits_control())
    }
}
