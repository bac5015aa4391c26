//! A reader beside the group: it writes down all that it is told.

use crate::app::{Name, State};
use crate::world::{Guest, World};
use fastrand::Rng;
use sistrum_membership::{
    Caster, ReaderState, StateTuning, TransferError, ViewReader, ViewReaderConfig, ViewReaderEvent,
};
use sistrum_ordering::{BootId, Rank, View, ViewId, ViewMember, ViewNumber};
use sistrum_transport::engine::{Cycle, Idle};
use sistrum_transport::id::Endpoint;
use sistrum_transport::log::PoolConfig;
use sistrum_transport::medium::sim::endpoint_of;
use sistrum_transport::medium::{FanOut, Medium, Sim};
use sistrum_transport::protocol::Protocol;
use sistrum_transport::reliable::{RunLimits, Tuning};
use sistrum_transport::time::{Instant, ManualClock};
use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;

/// What a reader was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    View(View),
    Message(Name),
    Sync(ViewMember, ViewNumber, Vec<u8>),
    Reading(ViewMember),
    Gap(ViewMember, u64),
    Retracted(ViewMember, u64),
    Missed(ViewId),
    /// The state is whole, or there is none.
    State,
    Failed(TransferError),
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) told: Vec<Told>,
    pub(crate) view: Option<View>,
    pub(crate) state: State,
    /// It reads until this one comes.
    pub(crate) until: Option<Endpoint>,
    /// It does nothing until then.
    pub(crate) sleeps_until: Instant,
}

/// How it reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) is_causal: bool,
    pub(crate) is_eager: bool,
    pub(crate) refusals: f64,
    /// Begins with the state.
    pub(crate) has_state: bool,
}

struct Onlooker {
    place: u16,
    reader: ViewReader,
    cycle: Cycle<Sim, ManualClock>,
    record: Rc<RefCell<Record>>,
    rng: Rng,
    manner: Manner,
    was_refused: bool,
}

/// Begins to read the group of this world.
pub(crate) fn begin(world: &mut World, place: u16, manner: Manner) -> Rc<RefCell<Record>> {
    begin_with(world, place, manner, StateTuning::default())
}

/// The same, where a state is taken over so.
pub(crate) fn begin_with(
    world: &mut World,
    place: u16,
    manner: Manner,
    tuning: StateTuning,
) -> Rc<RefCell<Record>> {
    let mut medium = world.network.endpoint(place);
    let group = FanOut::multicast(Endpoint(([239, 255, 0, 1], 9).into()));
    let channel = medium.open_channel(group).expect("a channel");
    let able = medium.capabilities().clone();
    let state = ReaderState {
        tuning,
        boot: BootId(u64::from(place)),
        limits: RunLimits { blocks: able.max_run_blocks, bytes: able.max_run_bytes },
        receive_buffer: able.receive_buffer,
        coalesces: able.coalesces,
        pair_window: 8,
    };
    let config = ViewReaderConfig {
        name: "views".into(),
        local: endpoint_of(place),
        channel,
        index: 0,
        block: world.plan.block,
        tuning: Tuning { window: 16, ..Tuning::loopback() },
        is_causal: manner.is_causal,
        is_eager: manner.is_eager,
        state: manner.has_state.then_some(state),
        seed: world.plan.seed ^ u64::from(place),
    };
    let pool = PoolConfig { stride: world.plan.block, strides: 64 * world.plan.most, slabs: 16 };
    let cycle = Cycle::new(medium, world.clock.clone(), pool, Idle::Spin).expect("a pool");
    let record = Rc::new(RefCell::new(Record::default()));
    let rng = Rng::with_seed(world.plan.seed ^ u64::from(place));
    let (reader, told) = (ViewReader::new(config), Rc::clone(&record));
    let onlooker = Onlooker { place, reader, cycle, record: told, rng, manner, was_refused: false };
    world.guests.push(Box::new(onlooker));
    record
}

impl Guest for Onlooker {
    fn place(&self) -> u16 {
        self.place
    }

    fn wakes_at(&self, arrival: Option<Instant>) -> Option<Instant> {
        let again = self.was_refused.then(Instant::default);
        let wake = [self.reader.poll_timeout(), arrival, again].into_iter().flatten().min();
        wake.map(|at| at.max(self.record.borrow().sleeps_until))
    }

    fn turn(&mut self, now: Instant) -> usize {
        debug_assert!(self.record.borrow().sleeps_until <= now);
        let Self { reader, cycle, record, rng, manner, was_refused, .. } = self;
        let record = &mut record.borrow_mut();
        *was_refused = false;
        record.until.take().into_iter().for_each(|member| reader.read_until(member));
        let mut handler = |_: &mut Caster<'_>, event: ViewReaderEvent<'_>| {
            *was_refused = rng.f64() < manner.refusals;
            if *was_refused {
                return ControlFlow::Break(());
            }
            record.take(event);
            ControlFlow::Continue(())
        };
        cycle.turn(reader, &mut handler).expect("the network does not break")
    }
}

impl Record {
    fn take(&mut self, event: ViewReaderEvent<'_>) {
        let member = |rank: Rank| *self.view.as_ref().and_then(|view| view.member(rank)).expect("a member");
        let told = match event {
            ViewReaderEvent::View(view) => {
                self.view = Some(view.clone());
                Told::View(view.clone())
            }
            ViewReaderEvent::Deliver(message) => {
                let (sender, bytes) = (member(message.from()), message.bytes());
                let boot = u64::from_le_bytes(bytes[1..9].try_into().expect("eight bytes"));
                assert_eq!(boot, sender.boot.0, "{sender:?} did not cast that");
                let name = (sender, u32::from_le_bytes(bytes[9..13].try_into().expect("four bytes")));
                self.state.add(name);
                Told::Message(name)
            }
            ViewReaderEvent::Sync { from, next, bytes } => Told::Sync(from, next, bytes.to_vec()),
            ViewReaderEvent::Reading(rank, _) => Told::Reading(member(rank)),
            ViewReaderEvent::Gap(rank, blocks) => Told::Gap(member(rank), blocks),
            ViewReaderEvent::Retracted(rank, blocks) => Told::Retracted(member(rank), blocks),
            ViewReaderEvent::Missed(id) => Told::Missed(id),
            ViewReaderEvent::State(block) => {
                self.state.take(&block);
                if !block.is_last() || block.domain != "cast" {
                    return;
                }
                Told::State
            }
            ViewReaderEvent::TransferFailed(why) => Told::Failed(why.clone()),
            other => panic!("{other:?}"),
        };
        self.told.push(told);
    }
}
