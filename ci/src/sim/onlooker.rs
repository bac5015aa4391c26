//! A passive reader of the group: it is no member, holds nobody back, and takes each stream as it comes.

use super::faults::{Counts, Fault};
use super::history::{History, Process, What};
use super::names::Names;
use super::options::Scenario;
use sistrum_ordering::{Endpoint, GroupId, Rank};
use sistrum_transport::engine::{Cycle, Idle};
use sistrum_transport::log::PoolConfig;
use sistrum_transport::medium::{FanOut, Medium, Network, Sim};
use sistrum_transport::protocol::Protocol;
use sistrum_transport::reliable::{Message, Reader, ReaderConfig, ReaderEvent};
use sistrum_transport::time::{Instant, ManualClock};
use std::cell::RefCell;
use std::ops::ControlFlow;

/// See the module.
pub(super) struct Onlooker {
    process: Process,
    reader: Reader,
    cycle: Cycle<Sim, ManualClock>,
    /// Its place in the network.
    index: u16,
    names: Names,
    /// Its last cycle did something: it runs again at once.
    again_at: Option<Instant>,
    counts: Counts,
}

impl Onlooker {
    /// Listens from the place `index` of the network, where no member is.
    pub(super) fn new(
        scenario: &Scenario,
        network: &Network,
        time: &ManualClock,
        index: u16,
        process: Process,
    ) -> Self {
        let mut medium = network.endpoint(index);
        let group = Endpoint(([239, 0, 0, 1], 9).into());
        medium.open_channel(FanOut::multicast(group)).expect("a channel");
        let widest = *scenario.windows.iter().max().expect("there are members");
        let strides = 2 * widest * scenario.windows.len();
        let pool = PoolConfig { stride: scenario.block, strides, slabs: scenario.slabs };
        // It cannot ask how large the windows are.
        let tuning = sistrum_transport::reliable::Tuning { window: widest, ..scenario.tuning(0) };
        let config = ReaderConfig {
            group: GroupId::of("storm"),
            index: 0,
            block: scenario.block,
            tuning,
            seed: scenario.seed,
        };
        Self {
            process,
            reader: Reader::new(config),
            cycle: Cycle::new(medium, time.clone(), pool, Idle::Spin).expect("memory"),
            index,
            names: Names::new(scenario.seed),
            again_at: None,
            counts: Counts::default(),
        }
    }

    pub(super) fn wakes_at(&self, network: &Network) -> Instant {
        let times = [self.reader.poll_timeout(), self.again_at, network.next_arrival_at(self.index)];
        times.into_iter().flatten().min().unwrap_or(Instant(u64::MAX))
    }

    /// One duty cycle; what it is handed is written down.
    pub(super) fn turn(&mut self, now: Instant, history: &RefCell<History>) {
        let Self { process, names, counts, .. } = self;
        let mut handler = |(): &mut (), event: ReaderEvent<'_>| {
            let mut history = history.borrow_mut();
            let what = match event {
                ReaderEvent::Deliver(message) if message.is_empty() => return ControlFlow::Continue(()),
                ReaderEvent::Deliver(message) => identify(names, &message, &history),
                ReaderEvent::Reading(rank, _) => What::Skips(rank),
                ReaderEvent::Gap(rank, _) => What::Skips(rank),
                ReaderEvent::Left(rank) => What::Departed(rank),
            };
            counts.add(Fault::Onlooker, u64::from(matches!(what, What::Overhears(_))));
            history.push(now.0, *process, what);
            ControlFlow::Continue(())
        };
        let work = self.cycle.turn(&mut self.reader, &mut handler).expect("the network is never broken");
        self.again_at = (work > 0).then_some(now);
    }

    /// Adds what it was handed.
    pub(super) fn count(&self, counts: &mut Counts) {
        counts.add_all(&self.counts);
    }
}

fn identify(names: &mut Names, message: &Message<'_>, history: &History) -> What {
    let (from, len): (Rank, usize) = (message.from(), message.len());
    names.identify(from, message.bytes(), history).map_or(What::Alien { from, len }, What::Overhears)
}
