//! A feed on the simulated network: members of a list that cast, and one who reads.

use sistrum_membership::{Entry, Group, GroupConfig};
use sistrum_ordering::{BootId, Endpoint, GroupId, Rank, Seq, TotalOptions};
use sistrum_transport::engine::{Cycle, Idle};
use sistrum_transport::log::PoolConfig;
use sistrum_transport::medium::sim::endpoint_of;
use sistrum_transport::medium::{FanOut, Medium, Network, Sim};
use sistrum_transport::reliable::{Reader, ReaderConfig, ReaderOrder, RunLimits, Tuning};
use sistrum_transport::time::ManualClock;

const BLOCK: usize = 500;

/// Where it is, with so many members, each of whom has a window of so many blocks.
pub(crate) struct Feed<'a> {
    pub(crate) network: &'a Network,
    pub(crate) clock: &'a ManualClock,
    pub(crate) members: usize,
    pub(crate) window: usize,
}

impl Feed<'_> {
    fn open(&self, place: u16) -> Sim {
        self.network.endpoint(place)
    }

    fn cycle(&self, medium: Sim, strides: usize) -> Cycle<Sim, ManualClock> {
        let pool = PoolConfig { stride: BLOCK, strides, slabs: 16 };
        Cycle::new(medium, self.clock.clone(), pool, Idle::Spin).expect("a pool")
    }

    fn tuning(&self) -> Tuning {
        Tuning { window: self.window, ..Tuning::loopback() }
    }

    /// The member of this rank, whose stream begins at `start`.
    pub(crate) fn member(&self, me: u16, start: Seq, seed: u64) -> (Group, Cycle<Sim, ManualClock>) {
        let mut medium = self.open(me);
        let channel = medium.open_channel(fan_out()).expect("a channel");
        let able = medium.capabilities().clone();
        let config = GroupConfig {
            name: "feed".into(),
            local: endpoint_of(me),
            entry: Entry::List { members: (0..self.members as u16).map(endpoint_of).collect(), me: Rank(me) },
            boot: BootId(u64::from(me) + 1),
            channel,
            index: 0,
            block: BLOCK,
            limits: RunLimits { blocks: able.max_run_blocks, bytes: able.max_run_bytes },
            receive_buffer: able.receive_buffer,
            coalesces: able.coalesces,
            max_window: self.window,
            pair_window: 8,
            tuning: self.tuning(),
            order: TotalOptions::default(),
            start,
            seed: seed ^ u64::from(me),
        };
        (Group::new(config), self.cycle(medium, self.window * self.members * 2))
    }

    /// Who reads it, in this order.
    pub(crate) fn reader<O: ReaderOrder>(&self, order: O) -> (Reader<O>, Cycle<Sim, ManualClock>) {
        let mut medium = self.open(self.members as u16);
        medium.open_channel(fan_out()).expect("a channel");
        let (group, tuning) = (GroupId::of("feed"), self.tuning());
        let config = ReaderConfig { group, index: 0, block: BLOCK, tuning, seed: 5 };
        (Reader::ordered(config, order), self.cycle(medium, 4096))
    }
}

fn fan_out() -> FanOut {
    FanOut::multicast(Endpoint(([239, 0, 0, 1], 9).into()))
}
