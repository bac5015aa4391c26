//! One process: the session of its view, and that of the view before, which drains and serves.

use crate::app::{App, Stream};
use crate::plan::{BLOCK, Kind, Plan};
use sistrum_transport::engine::{Cycle, Idle};
use sistrum_transport::id::{Endpoint, GroupId, GroupInstance, Rank, Seq, ViewNumber};
use sistrum_transport::log::{LogMemory, PoolConfig, RxBlock, RxPool};
use sistrum_transport::medium::sim::endpoint_of;
use sistrum_transport::medium::{FanOut, Medium, Network, Sim};
use sistrum_transport::protocol::{Protocol, Target, Transmit};
use sistrum_transport::reliable::{Entry, Event, Member, Message, RunLimits, Session, SessionConfig, Tuning};
use sistrum_transport::time::{Instant, ManualClock};
use sistrum_transport::wire::Header;
use std::ops::ControlFlow;

/// One member in one view.
pub(crate) struct Side<L: Kind> {
    pub(crate) session: Session<L>,
    pub(crate) app: App,
    /// What it reported first.
    pub(crate) reported: Option<Vec<Seq>>,
}

/// Both views of one process.
pub(crate) struct Sides<L: Kind> {
    pub(crate) old: Option<Side<L>>,
    pub(crate) new: Side<L>,
    pub(crate) foreign: u64,
}

/// See the module.
pub(crate) struct Node<L: Kind> {
    pub(crate) alive: bool,
    pub(crate) sides: Sides<L>,
    pub(crate) cycle: Cycle<Sim, ManualClock>,
    pub(crate) place: Place,
}

/// Where a process is, and what it is built with.
pub(crate) struct Place {
    /// Its number among all processes, in all views.
    pub(crate) id: u16,
    target: Target,
    limits: RunLimits,
    receive_buffer: usize,
    coalesces: bool,
    memory: Option<LogMemory>,
}

impl<L: Kind> Sides<L> {
    fn side(&mut self, view: ViewNumber) -> Option<&mut Side<L>> {
        let Self { old, new, .. } = self;
        [Some(new), old.as_mut()].into_iter().flatten().find(|side| side.session.config().view == view)
    }
}

impl<L: Kind> Protocol for Sides<L> {
    type Event<'a> = (bool, Message<'a>);
    type Caster<'a> = (&'a mut App, &'a mut Stream<L>);

    fn handle_datagram(&mut self, now: Instant, from: Endpoint, block: RxBlock, pool: &mut RxPool) {
        let header = Header::decode(pool.bytes(&block)).expect("nothing corrupts");
        match self.side(header.view) {
            Some(side) => side.session.handle_block(now, from, &header, block, pool),
            None => {
                self.foreign += 1;
                pool.release(block);
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant, pool: &mut RxPool) {
        self.old.iter_mut().for_each(|old| old.session.handle_timeout(now, pool));
        self.new.session.handle_timeout(now, pool);
    }

    fn poll_event<H>(&mut self, pool: &mut RxPool, handler: &mut H) -> usize
    where
        H: FnMut(&mut Self::Caster<'_>, Self::Event<'_>) -> ControlFlow<()>,
    {
        let mut events = 0;
        for (is_old, side) in [(true, self.old.as_mut()), (false, Some(&mut self.new))] {
            let Some(Side { session, app, .. }) = side else { continue };
            events += session.poll_event(pool, &mut |sender: &mut Stream<L>, event: Event<'_>| match event {
                Event::Deliver(message) => handler(&mut (&mut *app, sender), (is_old, message)),
                Event::Left(rank) => panic!("{rank} has left"),
            });
            if is_old && !session.is_drained() {
                break;
            }
        }
        events
    }

    fn seal(&mut self, now: Instant) {
        self.old.iter_mut().for_each(|old| old.session.seal(now));
        self.new.session.seal(now);
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        let old = self.old.as_mut().and_then(|old| old.session.poll_transmit(now));
        old.or_else(|| self.new.session.poll_transmit(now))
    }

    fn transmit_bytes<'a>(&'a self, transmit: &Transmit, pool: &'a RxPool) -> (&'a [u8], usize) {
        let sides = [Some(&self.new), self.old.as_ref()].into_iter().flatten();
        let side = sides.into_iter().find(|side| side.session.config().view == transmit.view);
        side.map_or((&[], 1), |side| side.session.transmit_bytes(transmit, pool))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let old = self.old.as_ref().and_then(|old| old.session.poll_timeout());
        [old, self.new.session.poll_timeout()].into_iter().flatten().min()
    }

    fn awaits_control(&self) -> bool {
        self.new.session.awaits_control()
    }
}

impl Place {
    fn side<L: Kind>(&mut self, plan: &Plan, view: u32, ids: &[u16]) -> Side<L> {
        let me = ids.iter().position(|id| *id == self.id).expect("a member") as u16;
        let seed = plan.seed ^ u64::from(self.id) << 32 ^ u64::from(view) << 48;
        let member = |id: &u16| Member {
            endpoint: endpoint_of(*id),
            start: Seq((plan.seed ^ u64::from(view + u32::from(*id))) % 5 * 0x3fff_ffff),
            entry: Entry::Start,
            window: plan.window,
            receive_buffer: self.receive_buffer,
            coalesces: self.coalesces,
        };
        let config = SessionConfig {
            group: GroupId(7),
            instance: GroupInstance(9),
            view: ViewNumber(view),
            me: Rank(me),
            members: ids.iter().map(member).collect(),
            to: self.target,
            index: 0,
            lane: 0,
            block: BLOCK,
            limits: self.limits,
            tuning: Tuning { window: plan.window, ..Tuning::loopback() },
            seed,
        };
        let session = Session::ordered_in(self.memory.take(), config, &L::options(plan)).unwrap();
        Side { session, app: App::new(plan, ids.len(), me, seed ^ 0xa99), reported: None }
    }
}

impl<L: Kind> Node<L> {
    /// A process that is a member of view 1, with all others.
    pub(crate) fn new(plan: &Plan, network: &Network, clock: &ManualClock, id: u16) -> Self {
        let mut medium = network.endpoint(id);
        let channel = medium.open_channel(FanOut::multicast(Endpoint(([239, 0, 0, 1], 9).into()))).unwrap();
        let able = medium.capabilities().clone();
        let mut place = Place {
            id,
            target: Target::Channel(channel),
            limits: RunLimits { blocks: able.max_run_blocks, bytes: able.max_run_bytes },
            receive_buffer: able.receive_buffer,
            coalesces: able.coalesces,
            memory: None,
        };
        let new = place.side(plan, 1, &(0..plan.members).collect::<Vec<_>>());
        let strides = plan.window * plan.members as usize * 4;
        let pool = PoolConfig { stride: BLOCK, strides, slabs: 16 };
        let cycle = Cycle::new(medium, clock.clone(), pool, Idle::Spin).unwrap();
        Self { alive: true, sides: Sides { old: None, new, foreign: 0 }, cycle, place }
    }

    /// Comes to the end of its view, and goes on in the next one, whose members are `ids`.
    pub(crate) fn install(&mut self, plan: &Plan, cut: &[Seq], ids: &[u16]) {
        let pool = self.cycle.pool_mut();
        self.sides.new.session.finish(cut, pool);
        if let Some(older) = self.sides.old.take() {
            self.place.memory = Some(older.session.retire(pool));
        }
        let view = self.sides.new.session.config().view.0 + 1;
        let next = self.place.side(plan, view, ids);
        self.sides.old = Some(std::mem::replace(&mut self.sides.new, next));
    }

    /// One duty cycle.
    pub(crate) fn turn(&mut self, plan: &Plan) -> usize {
        let Side { session, app, .. } = &mut self.sides.new;
        let mut work = app.begin_cycle::<L>(plan, session.sender());
        work += self
            .cycle
            .turn(&mut self.sides, &mut |(app, sender), (_, message)| {
                app.deliver::<L>(plan, sender, &message)
            })
            .unwrap();
        self.assert_not_above();
        work
    }

    /// Nothing was delivered above what it reported.
    fn assert_not_above(&self) {
        let Side { session, reported: Some(reported), .. } = &self.sides.new else { return };
        for (rank, to) in (0..).map(Rank).zip(reported) {
            let delivered = session.delivered_of(rank).unwrap_or(Seq(0));
            assert!(delivered <= *to, "{} has delivered {delivered} of {rank} above {to}", self.place.id);
        }
    }
}
