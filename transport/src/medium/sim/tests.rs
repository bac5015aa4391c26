use super::*;
use crate::log::PoolConfig;
use crate::medium::conformance::{Cluster, conforms};
use crate::medium::true_size;

fn pool() -> RxPool {
    RxPool::new(PoolConfig { stride: 256, strides: 4096, slabs: 1 }).unwrap()
}

fn drain(sim: &mut Sim, pool: &mut RxPool) -> Vec<Vec<u8>> {
    let mut inbox = Vec::new();
    while sim.receive(pool, &mut inbox, Sockets::All, 16).unwrap() > 0 {}
    let take = |arrival: Arrival| {
        let bytes = pool.bytes(&arrival.block).to_vec();
        pool.release(arrival.block);
        bytes
    };
    inbox.into_iter().map(take).collect()
}

/// 500 blocks through everything that can go wrong; returns what arrived, when it did, and the faults.
fn storm(seed: u64) -> (Vec<(Instant, Vec<u8>)>, SimFaults) {
    let clock = ManualClock::default();
    let options = SimOptions {
        loss: 0.1,
        duplicate: 0.1,
        corrupt: 0.1,
        truncate: 0.1,
        busy: 0.1,
        delay_ns: 1_000..50_000,
        tail: 0.05,
        tail_ns: 1_000_000,
        ..SimOptions::default()
    };
    let network = Network::new(seed, clock.clone(), options);
    let (mut from, mut to, mut pool) = (network.endpoint(0), network.endpoint(1), pool());
    for number in 0..500_u32 {
        let bytes = [number.to_le_bytes(); 8].concat();
        while from.send(Target::One(to.local()), &bytes, 32).unwrap() == Sent::Busy {}
    }
    let mut seen = Vec::new();
    while let Some(due) = network.next_arrival() {
        clock.advance_ns(due.since_ns(clock.peek()));
        seen.extend(drain(&mut to, &mut pool).into_iter().map(|bytes| (due, bytes)));
    }
    assert!(pool.is_idle(0));
    (seen, network.faults())
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    assert_eq!(storm(42), storm(42));
    assert_ne!(storm(42), storm(43));
}

#[test]
fn every_kind_of_fault_takes_effect_and_datagrams_are_reordered() {
    let (seen, faults) = storm(1);
    let SimFaults { lost, duplicated, corrupted, truncated, delayed, busy, .. } = faults;
    for count in [lost, duplicated, corrupted, truncated, busy] {
        assert!((20..100).contains(&count), "{faults:?}");
    }
    assert!((5..60).contains(&delayed), "{faults:?}");
    assert!(seen.iter().any(|(due, _)| due.0 > 1_000_000), "the tail was seen");
    assert!(!seen.is_sorted_by_key(|(_, bytes)| bytes.clone()), "uniform delays reorder");
}

#[test]
fn a_cut_is_one_way_until_it_is_healed() {
    let network = Network::new(1, ManualClock::default(), SimOptions::default());
    let (mut a, mut b, mut pool) = (network.endpoint(0), network.endpoint(1), pool());
    network.cut(0, 1);
    a.send(Target::One(b.local()), b"lost", 4).unwrap();
    b.send(Target::One(a.local()), b"kept", 4).unwrap();
    assert!(drain(&mut b, &mut pool).is_empty());
    assert_eq!(drain(&mut a, &mut pool), [b"kept"]);
    network.heal(0, 1);
    a.send(Target::One(b.local()), b"back", 4).unwrap();
    assert_eq!(drain(&mut b, &mut pool), [b"back"]);
    assert_eq!(network.faults(), SimFaults { cut: 1, ..SimFaults::default() });
}

#[test]
fn what_is_not_read_overflows_by_true_size_and_is_counted() {
    let receive_buffer = 10 * true_size(100);
    let network =
        Network::new(1, ManualClock::default(), SimOptions { receive_buffer, ..SimOptions::default() });
    let (mut a, mut b, mut pool) = (network.endpoint(0), network.endpoint(1), pool());
    for _ in 0..15 {
        a.send(Target::One(b.local()), &[7; 100], 100).unwrap();
    }
    assert_eq!(drain(&mut b, &mut pool).len(), 10);
    assert_eq!((b.counters().overflow, network.faults().overflowed), (5, 5));
}

#[test]
fn a_restart_loses_what_waited_but_not_what_is_on_its_way() {
    let clock = ManualClock::default();
    let network = Network::new(1, clock.clone(), SimOptions { delay_ns: 10..11, ..SimOptions::default() });
    let (mut a, mut b, mut pool) = (network.endpoint(0), network.endpoint(1), pool());
    a.send(Target::One(b.local()), b"waits", 5).unwrap();
    a.send(Target::One(b.local()), b"waits", 5).unwrap();
    clock.advance_ns(10);
    let mut inbox = Vec::new();
    b.receive(&mut pool, &mut inbox, Sockets::All, 1).unwrap();
    a.send(Target::One(b.local()), b"flies", 5).unwrap();
    let mut reborn = network.endpoint(1);
    clock.advance_ns(10);
    assert!(drain(&mut b, &mut pool).is_empty(), "the dead read nothing");
    drop(b);
    assert_eq!(drain(&mut reborn, &mut pool), [b"flies"]);
    inbox.into_iter().for_each(|arrival| pool.release(arrival.block));
}

#[test]
fn next_arrival_is_now_while_something_waits() {
    let clock = ManualClock::default();
    let network = Network::new(1, clock.clone(), SimOptions { delay_ns: 500..501, ..SimOptions::default() });
    let (mut a, b) = (network.endpoint(0), network.endpoint(1));
    assert_eq!(network.next_arrival(), None);
    a.send(Target::One(b.local()), b"x", 1).unwrap();
    assert_eq!(network.next_arrival(), Some(Instant(500)));
    clock.advance_ns(800);
    assert_eq!(network.next_arrival(), Some(Instant(800)));
}

/// Clusters on a network that takes its time but loses nothing; a busy send buffer now and then.
struct SimCluster {
    network: Network,
    clock: ManualClock,
    next: u16,
    group: u16,
    multicast: bool,
}

impl SimCluster {
    fn new(coalesce: bool, multicast: bool) -> Self {
        let clock = ManualClock::default();
        let options = SimOptions { coalesce, delay_ns: 500..501, busy: 0.3, ..SimOptions::default() };
        Self { network: Network::new(5, clock.clone(), options), clock, next: 0, group: 1, multicast }
    }
}

impl Cluster for SimCluster {
    type Medium = Sim;

    fn endpoint(&mut self) -> Sim {
        self.next += 1;
        self.network.endpoint(self.next)
    }

    fn fan_out(&self, all: &[Endpoint]) -> FanOut {
        if !self.multicast {
            return FanOut::Unicast(all.to_vec());
        }
        FanOut::multicast(Endpoint(SocketAddr::from((Ipv4Addr::new(239, 255, 0, 1), self.group))))
    }

    fn neighbour(&self) -> Self {
        let (network, clock) = (self.network.clone(), self.clock.clone());
        Self { network, clock, next: self.next + 100, group: self.group + 1, ..*self }
    }

    fn settle(&mut self) {
        self.clock.advance_ns(1_000);
    }

    fn stranger(&mut self, member: Endpoint, channel: &FanOut) -> bool {
        let mut stranger = self.endpoint();
        let channel = stranger.open_channel(channel.clone()).unwrap();
        for to in [Target::One(member), Target::Channel(channel)] {
            while stranger.send(to, &[], 1).unwrap() == Sent::Busy {}
        }
        true
    }
}

#[test]
fn the_network_conforms() {
    for (coalesce, multicast) in [(false, true), (true, true), (false, false), (true, false)] {
        conforms(|| SimCluster::new(coalesce, multicast));
    }
}
