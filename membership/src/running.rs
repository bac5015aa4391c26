//! What a group has from its view on: the streams of all, those of pairs, and what is handed over of them in which order.

use crate::agreement::Introduction;
use crate::config::GroupConfig;
use crate::event::{Caster, Event};
use crate::flush::{FlushId, Flushes};
use crate::group::{Sender, Session};
use crate::holdup::{Holdups, Telling};
use crate::pairs::{self, Incoming, Outgoing, PairCounters};
use sistrum_ordering::{Endpoint, GroupId, Rank, Seq, View, ViewNumber};
use sistrum_transport::log::{LogMemory, RxBlock, RxPool};
use sistrum_transport::mutated;
use sistrum_transport::protocol::{Protocol, Target, Transmit};
use sistrum_transport::reliable::{self, Entry, Member, Message, SessionConfig, SessionCounters};
use sistrum_transport::time::Instant;
use sistrum_transport::wire::Header;
use std::ops::ControlFlow;

/// See the module.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) view: View,
    pub(crate) told: bool,
    /// Whether anything may be cast: not before enough members have come.
    pub(crate) is_open: bool,
    pub(crate) session: Session,
    pub(crate) outgoing: Outgoing,
    pub(crate) incoming: Incoming,
    /// By rank: its next cast could be handed over, and nothing that was sent to me alone can go before it.
    pub(crate) offered: Vec<bool>,
    /// I leave when what I sent to others alone has come to them.
    pub(crate) is_leaving: bool,
    pub(crate) flushes: Flushes,
    holdups: Holdups,
}

impl Running {
    /// The view, whose members have introduced themselves so; the log takes the `memory` of an earlier one.
    pub(crate) fn new(
        config: &GroupConfig,
        view: View,
        members: &[Introduction],
        memory: Option<LogMemory>,
    ) -> Self {
        let id = view.id();
        let session = SessionConfig {
            group: id.group,
            instance: id.instance,
            view: id.number,
            me: view.me(),
            members: members.iter().map(stream_member).collect(),
            to: Target::Channel(config.channel),
            index: config.index,
            lane: 0,
            block: config.block,
            limits: config.limits,
            tuning: config.tuning,
            seed: config.seed ^ (u64::from(id.number.0) - 1) << 32,
        };
        let outgoing = Outgoing::new(&session, config.pair_window);
        let incoming = Incoming::new(&session, config.pair_window);
        let session =
            Session::ordered_in(memory, session, &config.order).expect("the memory of a log is there");
        let offered = vec![false; view.members().len()];
        let (told, is_open, is_leaving) = (false, true, false);
        let flushes = Flushes::default();
        let holdups = Holdups::new(config.tuning.held_back_ns, members.len());
        Self { view, told, is_open, session, outgoing, incoming, offered, is_leaving, flushes, holdups }
    }

    /// What I have cast so far, by rank: nothing of others.
    pub(crate) fn own_mark(&self) -> Vec<Seq> {
        let mut marks = vec![Seq(0); self.view.members().len()];
        marks[self.view.me().0 as usize] = self.session.stream().cast_up_to();
        marks
    }

    /// A flush that is over, and that the application has not been told of.
    #[inline]
    pub(crate) fn flushed(&self) -> Option<FlushId> {
        let (me, session) = (self.view.me().0 as usize, &self.session);
        self.flushes.over(|rank| match rank == me {
            true => session.stream().stable(),
            false => session.layer().causal().stable_up_to()[rank],
        })
    }

    /// What this member sends does not count, and nothing waits for it.
    pub(crate) fn suspect(&mut self, rank: Rank) {
        self.session.suspect(rank);
        self.outgoing.suspect(rank, true);
    }

    /// It counts again.
    pub(crate) fn trust(&mut self, now: Instant, rank: Rank) {
        self.session.trust(now, rank);
        self.outgoing.suspect(rank, false);
    }

    /// Casts into it.
    pub(crate) fn caster(&mut self) -> Caster<'_> {
        Caster::new(self.view.id().number, self.session.sender(), &mut self.outgoing)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.told && self.flushed().is_some() {
            // Alone, what I have sent is stable at once.
            return Some(Instant::default());
        }
        let pairs = [self.outgoing.poll_timeout(), self.incoming.poll_timeout()];
        let streams = [self.session.poll_timeout(), self.holdups.poll_timeout()];
        pairs.into_iter().chain(streams).flatten().min()
    }

    pub(crate) fn handle_block(
        &mut self,
        now: Instant,
        (group, from): (GroupId, Endpoint),
        header: &Header,
        block: RxBlock,
        pool: &mut RxPool,
    ) {
        let Some(up) = pairs::direction(group, header.group) else {
            return self.session.handle_block(now, from, header, block, pool);
        };
        let Some(rank) = self.view.rank_of(from).filter(|rank| *rank != self.view.me()) else {
            return pool.release(block);
        };
        // The lower rank sends where it goes up.
        if (self.view.me() < rank) == up {
            self.outgoing.handle_block(now, (rank, from), header, block, pool);
        } else {
            self.incoming.handle_block(now, (rank, from), header, block, pool);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, pool: &mut RxPool) {
        self.holdups.look(now, self.session.stream());
        self.session.handle_timeout(now, pool);
        self.outgoing.handle_timeout(now, pool);
        self.incoming.handle_timeout(now, pool);
        self.try_leave(now);
    }

    /// Says goodbye once nobody waits for what I sent him alone.
    pub(crate) fn try_leave(&mut self, now: Instant) {
        if self.is_leaving && self.outgoing.is_settled() {
            self.is_leaving = false;
            self.session.leave(now);
        }
    }

    /// The session that sends by this lane.
    pub(crate) fn transmit_bytes<'a>(&'a self, transmit: &Transmit, pool: &'a RxPool) -> (&'a [u8], usize) {
        let Some(lane) = transmit.lane.checked_sub(1) else {
            return self.session.transmit_bytes(transmit, pool);
        };
        let rank = Rank(lane / 2);
        let pair = if lane % 2 == 0 { self.outgoing.session(rank) } else { self.incoming.session(rank) };
        pair.map_or((&[], 1), |session| session.transmit_bytes(transmit, pool))
    }

    /// Hands over what has come to all, and to me alone. Casts of the handler go into this view, or `into` the one behind it, which is
    /// there already. Tells how many events were taken, and whether the handler refused one.
    pub(crate) fn poll_event<H>(
        &mut self,
        mut into: Option<(ViewNumber, &mut Sender)>,
        pool: &mut RxPool,
        handler: &mut H,
    ) -> (usize, ControlFlow<()>)
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let (mut broke, number) = (false, self.view.id().number);
        let mut hand = |sender: &mut Sender, outgoing: &mut Outgoing, event: Event<'_>| {
            let mut caster = match &mut into {
                Some((next, sender)) => Caster::ahead(*next, sender),
                None => Caster::new(number, sender, outgoing),
            };
            let flow = handler(&mut caster, event);
            broke |= flow.is_break();
            flow
        };
        let events = self.hand_over(pool, &mut hand);
        (events, if broke { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn hand_over<H>(&mut self, pool: &mut RxPool, handler: &mut H) -> usize
    where
        H: FnMut(&mut Sender, &mut Outgoing, Event<'_>) -> ControlFlow<()>,
    {
        let Self { session, outgoing, incoming, offered, .. } = self;
        let (mut events, mut left) = (0, Vec::new());
        for _ in 0..MAX_LOOKS + offered.len() {
            let handed = Self::poll_incoming(session, outgoing, incoming, pool, handler);
            if handed > 0 {
                offered.fill(false);
            }
            events += handed;
            let mut again = false;
            events += session.poll_event(pool, &mut |sender: &mut Sender, event: reliable::Event<'_>| {
                let event = match event {
                    reliable::Event::Left(rank) => {
                        left.push(rank);
                        Event::Left(rank)
                    }
                    reliable::Event::Deliver(message) => {
                        // A cast waits a moment where something waits that was sent to me alone: what may go now may be its cause.
                        let from = usize::from(message.from().0);
                        if incoming.has_pending() && !offered[from] && !mutated!(SendAtOnce) {
                            (offered[from], again) = (true, true);
                            return ControlFlow::Break(());
                        }
                        offered.fill(false);
                        Event::Deliver(message)
                    }
                };
                handler(sender, outgoing, event)
            });
            if !again {
                break;
            }
        }
        events += Self::poll_incoming(session, outgoing, incoming, pool, handler);
        for rank in left {
            outgoing.depart(rank, pool);
            incoming.depart(rank, pool);
        }
        let (sender, _) = session.split();
        incoming.release(pool);
        outgoing.poll(pool);
        outgoing.release(sender);
        events
    }

    fn poll_incoming<H>(
        session: &mut Session,
        outgoing: &mut Outgoing,
        incoming: &mut Incoming,
        pool: &mut RxPool,
        handler: &mut H,
    ) -> usize
    where
        H: FnMut(&mut Sender, &mut Outgoing, Event<'_>) -> ControlFlow<()>,
    {
        if !incoming.has_pending() {
            return 0;
        }
        let (sender, layer) = session.split();
        let delivered = layer.causal().delivered_up_to();
        incoming.poll_event(delivered, pool, &mut |message: Message<'_>| {
            handler(sender, outgoing, Event::Direct(message))
        })
    }

    /// Tells of flushes that are over: what came of stability in this cycle counts in it.
    pub(crate) fn tell_flushed<H>(&mut self, handler: &mut H, events: &mut usize) -> ControlFlow<()>
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        while let Some(flush) = self.flushed() {
            handler(&mut self.caster(), Event::Flushed(flush))?;
            self.flushes.told();
            *events += 1;
        }
        ControlFlow::Continue(())
    }

    /// Tells who holds everybody back, and who does not any more.
    pub(crate) fn tell_holdups<H>(&mut self, handler: &mut H, events: &mut usize) -> ControlFlow<()>
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let Some(telling) = self.holdups.due().filter(|_| self.told) else {
            return ControlFlow::Continue(());
        };
        let event = match telling {
            Telling::HeldBack(holdup) => Event::HeldBack(holdup),
            Telling::Released(by, lasted) => Event::Released(by, lasted),
        };
        handler(&mut self.caster(), event)?;
        self.holdups.told();
        *events += 1;
        ControlFlow::Continue(())
    }

    /// What happened so far in its streams.
    pub(crate) fn counters(&self) -> SessionCounters {
        let counters = self.session.counters();
        SessionCounters {
            malformed_frames: counters.malformed_frames + self.incoming.malformed(),
            ..counters
        }
    }

    /// What this member and I have sent to each other alone.
    pub(crate) fn pair(&self, rank: Rank) -> PairCounters {
        let (sent, sent_bytes, sent_again) = self.outgoing.counted(rank);
        let (handed, handed_bytes, repaired) = self.incoming.counted(rank);
        PairCounters { sent, sent_bytes, sent_again, handed, handed_bytes, repaired }
    }

    /// Gives back all that it holds.
    pub(crate) fn retire(self, pool: &mut RxPool) -> LogMemory {
        let Self { session, mut outgoing, mut incoming, .. } = self;
        for rank in (0..session.config().members.len() as u16).map(Rank) {
            outgoing.depart(rank, pool);
            incoming.depart(rank, pool);
        }
        session.retire(pool)
    }
}

fn stream_member(known: &Introduction) -> Member {
    Member {
        endpoint: known.member.endpoint,
        start: known.start,
        entry: Entry::Start,
        window: known.window as usize,
        receive_buffer: known.receive_buffer as usize,
        coalesces: known.coalesces,
    }
}

/// Looks at what was sent to me alone in one cycle, beside one for each member: what is left is handed over in the next.
const MAX_LOOKS: usize = 32;
