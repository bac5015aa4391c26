//! A sender that was given a rate keeps to it over every interval, whatever the network loses, and uses all of it.

use crate::common::tap::{Record, Tap};
use sistrum_transport::engine::{Cycle, Idle};
use sistrum_transport::id::{Endpoint, GroupId, GroupInstance, Rank, Seq, ViewNumber};
use sistrum_transport::log::PoolConfig;
use sistrum_transport::medium::sim::endpoint_of;
use sistrum_transport::medium::{FanOut, Medium, Network, SimOptions};
use sistrum_transport::protocol::Protocol;
use sistrum_transport::reliable::{
    Entry, Event, Member, Pace, Refused, RunLimits, Sender, Session, SessionConfig, Tuning,
};
use sistrum_transport::time::{Instant, ManualClock};
use std::ops::ControlFlow;

const BLOCK: usize = 1408;
const WINDOW: usize = 2048;
const SATURATED_NS: u64 = 100_000_000;

/// One sender, paced, and its receivers.
struct Paced {
    clock: ManualClock,
    network: Network,
    nodes: Vec<(Session, Cycle<Tap, ManualClock>)>,
    record: Record,
    delivered: u64,
    rng: fastrand::Rng,
    /// How often a cast was refused, for the pace and for a receiver.
    refused: (u64, u64),
}

impl Paced {
    fn new(seed: u64, receivers: u16, pace: Pace, options: SimOptions) -> Self {
        let clock = ManualClock::default();
        clock.advance_ns(1 + seed);
        let network = Network::new(seed, clock.clone(), options);
        let record = Record::default();
        let node = |rank: u16| {
            let record = if rank == 0 { record.clone() } else { Record::default() };
            let mut medium = Tap { inner: network.endpoint(rank), clock: clock.clone(), record };
            let group = Endpoint(([239, 0, 0, 1], 9).into());
            let channel = medium.open_channel(FanOut::Multicast(group)).unwrap();
            let capabilities = medium.capabilities().clone();
            let member = |rank| Member {
                endpoint: endpoint_of(rank),
                start: Seq(0),
                entry: Entry::Start,
                window: WINDOW,
                receive_buffer: capabilities.receive_buffer,
                coalesces: capabilities.coalesces,
            };
            let session = Session::new(SessionConfig {
                group: GroupId::of("paced"),
                instance: GroupInstance(7),
                view: ViewNumber(1),
                me: Rank(rank),
                members: (0..=receivers).map(member).collect(),
                channel,
                index: 0,
                block: BLOCK,
                limits: RunLimits { blocks: 46, bytes: capabilities.max_run_bytes },
                tuning: Tuning { window: WINDOW, pace: Some(pace), ..Tuning::loopback() },
                seed: seed ^ u64::from(rank),
            });
            let pool = PoolConfig { stride: BLOCK, strides: 4 * WINDOW, slabs: 64 };
            (session.unwrap(), Cycle::new(medium, clock.clone(), pool, Idle::Spin).unwrap())
        };
        let nodes = (0..=receivers).map(node).collect();
        let (delivered, refused) = Default::default();
        Self { clock, network, nodes, record, delivered, refused, rng: fastrand::Rng::with_seed(seed) }
    }

    /// Casts one message, if there is room.
    fn cast(&mut self, len: usize) -> bool {
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
    fn round(&mut self, limit_ns: u64) {
        let mut work = 0;
        for (session, cycle) in &mut self.nodes {
            let mut handler = |_: &mut Sender, event: Event<'_>| {
                self.delivered += u64::from(matches!(event, Event::Deliver(_)));
                ControlFlow::Continue(())
            };
            work += cycle.turn(session, &mut handler).unwrap();
        }
        let timers = self.nodes.iter().filter_map(|(session, _)| session.poll_timeout());
        let next = timers.chain(self.network.next_arrival()).min().unwrap_or_default();
        let step = if work > 0 { 1_000 } else { next.since_ns(self.clock.peek()).min(limit_ns) };
        self.clock.advance_ns(step + self.rng.u64(0..500));
    }

    /// There is always something to cast for so long; then until all have everything. Returns how long that took.
    fn saturate(&mut self, ns: u64) -> u64 {
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

/// The checker: by how many bytes some interval had more than `burst + rate * interval`; 0 when none had.
fn excess(record: &[(Instant, usize, usize)], pace: Pace) -> i128 {
    let (mut before, mut least, mut worst) = (0_i128, i128::MAX, 0);
    for &(at, _, bytes) in record {
        // In billionths of a byte: sent before, less what was earned by then.
        let earned = i128::from(pace.rate) * i128::from(at.0);
        least = least.min(before - earned);
        before += bytes as i128 * 1_000_000_000;
        worst = worst.max(before - earned - least - i128::from(pace.burst) * 1_000_000_000);
    }
    // A timer fires at a whole nanosecond: never before what it waits for is earned.
    worst.div_euclid(1_000_000_000)
}

fn rate_of(record: &[(Instant, usize, usize)], pace: Pace, until: Instant) -> f64 {
    let first = record.first().expect("something was sent").0;
    let bytes: usize = record.iter().filter(|(at, ..)| *at < until).map(|(.., bytes)| bytes).sum();
    (bytes as f64 - pace.burst as f64) / (until.since_ns(first) as f64 / 1e9)
}

#[test]
fn a_rate_is_kept_over_every_interval_and_reached() {
    for (seed, loss) in (0..6).map(|seed| (seed, [0.0, 0.01, 0.2][seed as usize % 3])) {
        for (rate, burst) in [(12_500_000, 64_000), (3_000_000, BLOCK as u64), (25_000_000, 300_000)] {
            let pace = Pace { rate, burst };
            let options = SimOptions {
                loss,
                // Without loss nothing is asked for: nothing is late.
                delay_ns: 5_000..5_001 + (loss * 100_000.0) as u64,
                coalesce: seed % 2 == 1,
                ..SimOptions::default()
            };
            let mut world = Paced::new(seed, 2, pace, options);
            let begin = world.clock.peek();
            let tail_ns = world.saturate(SATURATED_NS);
            let record = world.record.borrow();
            let what = format!("seed {seed}, loss {loss}, {pace:?}");
            assert_eq!(excess(&record, pace), 0, "{what}");
            let reached = rate_of(&record, pace, begin.plus_ns(SATURATED_NS)) / rate as f64;
            eprintln!("{what}: reached {reached:.4}, tail {tail_ns} ns");
            assert!((0.98..1.02).contains(&reached), "{what}: {reached}");
            let window_ns = (WINDOW * BLOCK) as u64 * 1_000_000_000 / rate;
            assert!(tail_ns < 2 * window_ns + 100_000_000, "{what}: the tail took {tail_ns} ns");
            assert!(world.refused.0 > 0, "{what}: the pace was never what held casts back");
            // Before the first cycle nobody has asked the bucket.
            assert!(loss > 0.0 || world.refused.1 <= 1, "{what}: a receiver was blamed: {:?}", world.refused);
            assert_eq!(world.nodes[0].0.stream().repairs() > 0, loss > 0.0, "{what}");
        }
    }
}

#[test]
fn the_checker_finds_a_sender_that_is_a_little_too_fast() {
    let pace = Pace { rate: 12_500_000, burst: 64_000 };
    let mut world = Paced::new(3, 1, pace, SimOptions::default());
    world.saturate(100_000_000);
    let record = world.record.borrow().clone();
    assert_eq!(excess(&record, pace), 0);
    let origin = record[0].0;
    let faster = |&(at, blocks, bytes): &(Instant, usize, usize)| {
        (origin.plus_ns(at.since_ns(origin) / 100 * 99), blocks, bytes)
    };
    assert!(excess(&record.iter().map(faster).collect::<Vec<_>>(), pace) > 0, "one per cent too fast");
    let mut twice = record.clone();
    twice.insert(record.len() / 2, record[record.len() / 2]);
    assert!(excess(&twice, pace) > 0, "one run too many");
}

#[test]
fn what_the_pace_holds_back_fills_blocks() {
    let pace = Pace { rate: 1_000_000, burst: 2 * BLOCK as u64 };
    let mut world = Paced::new(1, 1, pace, SimOptions::default());
    for _ in 0..4_000 {
        assert!(world.cast(60));
        world.round(50_000);
    }
    let fill = |record: &[(Instant, usize, usize)]| {
        let (blocks, bytes) =
            record.iter().fold((0, 0), |(b, c), (_, blocks, bytes)| (b + blocks, c + bytes));
        bytes as f64 / (blocks * BLOCK) as f64
    };
    let record = world.record.borrow();
    assert!(fill(&record[record.len() / 2..]) > 0.9, "{}", fill(&record));
    drop(record);
    world.round(u64::MAX);
    let open = world.clock.peek();
    while !world.nodes[0].0.stream().is_settled() {
        world.round(u64::MAX);
        assert!(world.clock.peek().since_ns(open) < 1_000_000_000, "the last messages are stuck");
    }
    assert_eq!(world.delivered, 4_000);
}
