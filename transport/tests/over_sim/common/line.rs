//! One sender and its receivers, in virtual time: what is sent of the data is written down.

use super::tap::{Record, Tap};
use sistrum_transport::engine::{Cycle, Idle};
use sistrum_transport::id::{Endpoint, GroupId, GroupInstance, Rank, Seq, ViewNumber};
use sistrum_transport::log::PoolConfig;
use sistrum_transport::medium::sim::endpoint_of;
use sistrum_transport::medium::{FanOut, Fault, FaultOptions, Medium, Network, SimOptions};
use sistrum_transport::protocol::{Protocol, Target};
use sistrum_transport::reliable::{
    Entry, Event, Member, Pace, Refused, RunLimits, Sender, Session, SessionConfig, Suspect, Tuning,
};
use sistrum_transport::time::ManualClock;
use std::ops::ControlFlow;

pub(crate) const BLOCK: usize = 1408;
pub(crate) const WINDOW: usize = 2048;

/// What a line is made of.
#[derive(Debug, Clone)]
pub(crate) struct LineOptions {
    pub(crate) seed: u64,
    pub(crate) receivers: u16,
    pub(crate) pace: Option<Pace>,
    pub(crate) congestion: bool,
    pub(crate) network: SimOptions,
    /// What receivers say of their buffers, whatever the network gives them.
    pub(crate) announced: usize,
    pub(crate) run_blocks: usize,
    /// Loss that the receivers inject, and what their receive buffers hold.
    pub(crate) injected: f64,
    pub(crate) strides: usize,
}

impl Default for LineOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            receivers: 1,
            pace: None,
            congestion: true,
            network: SimOptions::default(),
            announced: 8 << 20,
            run_blocks: 46,
            injected: 0.0,
            strides: 4 * WINDOW,
        }
    }
}

/// See the module.
pub(crate) struct Line {
    pub(crate) clock: ManualClock,
    pub(crate) network: Network,
    pub(crate) nodes: Vec<(Session, Cycle<Tap, ManualClock>)>,
    pub(crate) record: Record,
    suspects: Vec<Suspect>,
    pub(crate) delivered: u64,
    rng: fastrand::Rng,
    /// How often a cast was refused, for the pace and for a receiver.
    pub(crate) refused: (u64, u64),
}

impl Line {
    pub(crate) fn new(options: LineOptions) -> Self {
        let LineOptions { seed, receivers, .. } = options;
        let clock = ManualClock::default();
        clock.advance_ns(1 + seed);
        let network = Network::new(seed, clock.clone(), options.network.clone());
        let record = Record::default();
        let node = |rank: u16| {
            let record = if rank == 0 { record.clone() } else { Record::default() };
            let loss = if rank == 0 { 0.0 } else { options.injected };
            let faults = FaultOptions { loss, ..FaultOptions::default() };
            let inner = Fault::new(network.endpoint(rank), faults, seed ^ u64::from(rank));
            let mut medium = Tap { inner, clock: clock.clone(), record };
            let group = Endpoint(([239, 0, 0, 1], 9).into());
            let channel = medium.open_channel(FanOut::multicast(group)).unwrap();
            let capabilities = medium.capabilities().clone();
            let member = |rank| Member {
                endpoint: endpoint_of(rank),
                start: Seq(0),
                entry: Entry::Start,
                window: WINDOW,
                receive_buffer: options.announced,
                coalesces: capabilities.coalesces,
            };
            let session = Session::new(SessionConfig {
                group: GroupId::of("line"),
                instance: GroupInstance(7),
                view: ViewNumber(1),
                me: Rank(rank),
                members: (0..=receivers).map(member).collect(),
                to: Target::Channel(channel),
                index: 0,
                lane: 0,
                block: BLOCK,
                limits: RunLimits { blocks: options.run_blocks, bytes: capabilities.max_run_bytes },
                tuning: Tuning {
                    window: WINDOW,
                    pace: options.pace,
                    congestion: options.congestion,
                    ..Tuning::loopback()
                },
                seed: seed ^ u64::from(rank),
            });
            let pool = PoolConfig { stride: BLOCK, strides: options.strides, slabs: 64 };
            (session.unwrap(), Cycle::new(medium, clock.clone(), pool, Idle::Spin).unwrap())
        };
        let nodes = (0..=receivers).map(node).collect();
        let suspects = (0..=receivers).map(|_| Suspect::default()).collect();
        let (delivered, refused) = Default::default();
        Self {
            clock,
            network,
            nodes,
            record,
            suspects,
            delivered,
            refused,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Casts one message, if there is room.
    pub(crate) fn cast(&mut self, len: usize) -> bool {
        let message = vec![7; len];
        match self.nodes[0].0.sender().cast(&message) {
            Ok(()) => return true,
            Err(Refused::Paced { .. }) => self.refused.0 += 1,
            Err(Refused::Full { .. }) => self.refused.1 += 1,
            Err(refused) => panic!("{refused}"),
        }
        false
    }

    /// Everybody runs once, then time goes on to what happens next, if that is within `limit_ns`.
    pub(crate) fn round(&mut self, limit_ns: u64) {
        let mut work = 0;
        for ((session, cycle), suspect) in self.nodes.iter_mut().zip(&mut self.suspects) {
            let mut handler = |_: &mut Sender, event: Event<'_>| {
                self.delivered += u64::from(matches!(event, Event::Deliver(_)));
                ControlFlow::Continue(())
            };
            work += cycle.turn(session, &mut handler).unwrap();
            if session.is_unexplained() {
                session.explain(suspect.look(cycle.now(), &cycle.medium().counters()));
            }
        }
        let timers = self.nodes.iter().filter_map(|(session, _)| session.poll_timeout());
        let next = timers.chain(self.network.next_arrival()).min().unwrap_or_default();
        let step = if work > 0 { 1_000 } else { next.since_ns(self.clock.peek()).min(limit_ns) };
        self.clock.advance_ns(step + self.rng.u64(0..500));
    }

    /// Casts `count` messages of a block each as fast as they are taken; returns how long it took until all had them.
    pub(crate) fn transfer(&mut self, count: u64) -> u64 {
        let (from, mut left) = (self.clock.peek(), count);
        let until = self.delivered + count * (self.nodes.len() as u64 - 1);
        while self.delivered < until {
            while left > 0 && self.cast(BLOCK - 100) {
                left -= 1;
            }
            self.round(100_000);
            assert!(self.clock.peek().since_ns(from) < 60_000_000_000, "stuck");
        }
        self.clock.peek().since_ns(from)
    }

    /// There is always something to cast for so long; then until all have everything. Returns how long that took.
    pub(crate) fn saturate(&mut self, ns: u64) -> u64 {
        let until = self.clock.peek().plus_ns(ns);
        let mut cast = 0;
        while self.clock.peek() < until {
            while self.cast(700) {
                cast += 1;
            }
            self.round(100_000);
        }
        let (from, expected) = (self.clock.peek(), cast * (self.nodes.len() as u64 - 1));
        while self.delivered < expected {
            assert!(self.clock.peek().since_ns(from) < 10_000_000_000, "the tail is stuck");
            self.round(u64::MAX);
        }
        self.clock.peek().since_ns(from)
    }
}
