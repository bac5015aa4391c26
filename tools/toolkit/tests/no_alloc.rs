//! After warm-up, no message costs an allocation: neither to send, nor to receive, nor to repair, nor to keep for who is slow. Nor does it to publish
//! counters.
//!
//! A global allocator counts what the test's own thread asks for; this file alone has it, and its unsafe code.
#![allow(unsafe_code)]

use sistrum::counters::Snapshot;
use sistrum::{Config, Error, Event, Faults, Group, JoinOptions, Key, Lag, LagState, Node, Order, Refused};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

/// The system's allocator, with a count beside it.
struct Counting;

thread_local! {
    // Constant and without a destructor: to reach it never allocates itself.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static GLOBAL: Counting = Counting;

// SAFETY: every call is passed on unchanged to `System`, which keeps the contract; the count touches no memory but its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`, which is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: `at` came from this allocator with this layout, hence from `System`.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

fn count() {
    // A thread that is ending has no counter any more, and is none that is measured.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

const MEMBERS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(30);

/// Members of one group in one thread, each of which casts to the others.
struct Cluster {
    nodes: Vec<Node>,
    groups: Vec<Group>,
    delivered: u64,
    bytes: u64,
}

impl Cluster {
    fn open(multicast: SocketAddr, config: &Config) -> Self {
        let open = |seed| {
            let faults = Faults { seed, ..config.faults };
            Node::open(Config { faults, ..config.clone() }).expect("loopback opens")
        };
        let mut nodes: Vec<_> = (0..MEMBERS as u64).map(open).collect();
        let members: Vec<_> = nodes.iter().map(Node::endpoint).collect();
        let options = JoinOptions::members(members).multicast(multicast);
        let groups = nodes.iter_mut().map(|node| node.join("ticks", options.clone()).unwrap()).collect();
        let mut cluster = Self { nodes, groups, delivered: 0, bytes: 0 };
        cluster.until(|cluster| cluster.nodes.iter().zip(&cluster.groups).all(|(n, g)| n.view(g).is_some()));
        cluster
    }

    fn turn(&mut self) {
        let Self { nodes, delivered, bytes, .. } = self;
        for node in nodes {
            let polled = node.poll(|_, event| {
                if let Event::Deliver(message) = event {
                    // In parts and in one piece: both must do without.
                    let parts: usize = message.parts().map(<[u8]>::len).sum();
                    assert_eq!(message.bytes().len(), parts);
                    *delivered += 1;
                    *bytes += parts as u64;
                }
                Ok(())
            });
            polled.expect("loopback does not break");
        }
    }

    #[track_caller]
    fn until(&mut self, mut done: impl FnMut(&Self) -> bool) {
        let started = Instant::now();
        while !done(self) {
            assert!(started.elapsed() < PATIENCE, "stuck: {} delivered", self.delivered);
            self.turn();
        }
    }

    /// Everybody casts `count` messages of these lengths in turn, and all deliver all of them.
    fn exchange(&mut self, lengths: &[usize], count: usize, message: &[u8]) {
        let (before, started) = (self.delivered, Instant::now());
        for at in 0..count {
            let message = &message[..lengths[at % lengths.len()]];
            for from in 0..MEMBERS {
                while let Err(refused) = self.nodes[from].cast(&self.groups[from], Order::Fifo, message) {
                    assert!(matches!(refused, Refused::Full { .. }), "{refused}");
                    assert!(started.elapsed() < PATIENCE, "stuck: {refused}");
                    self.turn();
                }
            }
            if at % 4 == 0 {
                self.turn();
            }
        }
        self.until(|cluster| {
            let mut members = cluster.nodes.iter().zip(&cluster.groups);
            members.all(|(node, group)| node.settled(group))
        });
        assert_eq!(self.delivered - before, (count * MEMBERS * (MEMBERS - 1)) as u64);
    }

    /// Polls on for longer than counters stay unpublished.
    fn rest(&mut self) {
        let started = Instant::now();
        self.until(|_| started.elapsed() > Duration::from_millis(50));
    }

    /// When each member last published its counters.
    fn published(&self) -> Vec<sistrum::Instant> {
        let files = self.nodes.iter().map(|node| node.counters_file().expect("counters are on"));
        files.map(|file| Snapshot::read(file).expect("it can be read").written).collect()
    }

    fn repaired(&self) -> u64 {
        self.nodes.iter().map(|node| node.counters().repaired).sum()
    }
}

fn config(offload: bool, loss: f64) -> Config {
    let mut config = Config::loopback("test");
    config.receive_buffer = 2 << 20;
    config.pool_blocks = 4096;
    config.tuning.window = 256;
    config.offload = offload;
    config.faults = Faults { block_loss: loss, buffer_loss: loss, seed: 0 };
    config
}

/// Allocations of a measured exchange that follows one of the same kind; and blocks that were repaired in it.
fn measured(config: &Config, port: u16, lengths: &[usize], count: usize) -> (u64, u64) {
    let group = Ipv4Addr::new(239, 255, 254, std::process::id() as u8);
    let mut cluster = Cluster::open(SocketAddrV4::new(group, port).into(), config);
    let message = vec![7; 100_000];
    cluster.exchange(lengths, count * 2, &message);
    let (published, repaired, before) = (cluster.published(), cluster.repaired(), allocations());
    cluster.exchange(lengths, count, &message);
    cluster.rest();
    let allocations = allocations() - before;
    let again = cluster.published();
    assert!(published.iter().zip(&again).all(|(before, after)| before < after), "{published:?} {again:?}");
    (allocations, cluster.repaired() - repaired)
}

#[test]
fn the_counter_counts() {
    let before = allocations();
    drop(std::hint::black_box(vec![0_u8; 100]));
    assert_eq!(allocations() - before, 1);
}

#[test]
fn messages_of_one_block_cost_no_allocation() {
    for offload in [true, false] {
        let (allocations, _) = measured(&config(offload, 0.0), 32_101, &[0, 1, 64, 1_000, 1_300], 5_000);
        assert_eq!(allocations, 0, "offload {offload}");
    }
}

#[test]
fn messages_of_many_blocks_cost_no_allocation() {
    for offload in [true, false] {
        let (allocations, _) = measured(&config(offload, 0.0), 32_102, &[2_000, 64_066, 100_000], 300);
        assert_eq!(allocations, 0, "offload {offload}");
    }
}

#[test]
fn repairs_cost_no_allocation() {
    for offload in [true, false] {
        let (allocations, repaired) = measured(&config(offload, 0.03), 32_103, &[64, 1_000, 10_000], 1_500);
        assert!(repaired > 50, "only {repaired} repairs: this proves nothing");
        assert_eq!(allocations, 0, "offload {offload}, {repaired} repaired");
    }
}

/// A member casts to a reader, which is busy while it does, and takes what was kept behind that.
fn lag(lag: Lag, port: u16) -> u64 {
    let at = SocketAddrV4::new(Ipv4Addr::new(239, 255, 254, std::process::id() as u8), port).into();
    let open = || Node::open(config(true, 0.0)).expect("loopback opens");
    let (mut member, mut reader) = (open(), open());
    let options = JoinOptions::members(vec![member.endpoint()]).multicast(at);
    let casts = member.join("ticks", options).unwrap();
    let reads = reader.join("ticks", JoinOptions::reader().multicast(at).lag(lag)).unwrap();
    let (mut entered, mut measured, started) = (false, 0, Instant::now());
    while !entered {
        assert!(started.elapsed() < PATIENCE, "the reader does not enter");
        member.poll(|_, _| Ok(())).unwrap();
        _ = reader.poll(|_, event| {
            entered |= matches!(event, Event::Reading(..));
            Ok(())
        });
    }
    for round in 0..20 {
        let before = allocations();
        for number in 0..500_u32 {
            let message = [number as u8 % 10; 300];
            while let Err(refused) = member.cast(&casts, Order::Fifo, &message) {
                assert!(matches!(refused, Refused::Full { .. }), "{refused}");
                member.poll(|_, _| Ok(())).unwrap();
            }
            member.poll(|_, _| Ok(())).unwrap();
            let busy = reader.poll(|_, _| Err(Error::Busy));
            assert!(matches!(busy, Ok(_) | Err(Error::Busy)), "{busy:?}");
        }
        loop {
            assert!(started.elapsed() < PATIENCE, "the reader does not catch up: {:?}", reader.lag(&reads));
            member.poll(|_, _| Ok(())).unwrap();
            reader.poll(|_, _| Ok(())).unwrap();
            let standing = reader.lag(&reads).unwrap();
            let counters = standing.counters;
            let all = counters.live + counters.late + counters.conflated + counters.lost;
            if standing.state == LagState::Live && all == 500 * (round + 1) {
                break;
            }
        }
        measured = allocations() - before;
    }
    let counters = reader.lag(&reads).unwrap().counters;
    assert!(counters.lags >= 20 && counters.late > 0, "{counters:?}");
    measured
}

#[test]
fn what_is_kept_for_who_is_slow_costs_no_allocation() {
    let contracts = [
        Lag::replay(1 << 20),
        Lag::replay(30_000),
        Lag::conflate(1 << 20, |message| Some(Key::from(u64::from(message[0])))),
    ];
    for (contract, port) in contracts.into_iter().zip(32_104..) {
        assert_eq!(lag(contract, port), 0, "{contract:?}");
    }
}
