//! What every medium must do, whatever it is made of. Each medium runs all of it, by [`conforms`].
//!
//! Only clusters that lose nothing are tried: what a medium does under loss is its own matter.

use super::{Arrival, Channel, FanOut, Medium, Sent, Sockets};
use crate::id::Endpoint;
use crate::log::{PoolConfig, RxPool};
use crate::protocol::Target;
use std::time::{Duration, Instant};

/// How the members of one cluster are made; two clusters of one network must not hear each other.
pub(super) trait Cluster {
    type Medium: Medium;

    /// One more endpoint, without channels.
    fn endpoint(&mut self) -> Self::Medium;

    /// How the members at `all` reach each other.
    fn fan_out(&self, all: &[Endpoint]) -> FanOut;

    /// Another cluster on the same network and the same port.
    fn neighbour(&self) -> Self;

    /// The one segment size that runs of several blocks may have, where there is only one.
    fn only_segment(&self) -> Option<usize> {
        None
    }

    /// Lets time pass between two looks at the network.
    fn settle(&mut self) {}

    /// Lets a stranger send an empty datagram to a member and to the channel; `false` where there are no strangers.
    fn stranger(&mut self, member: Endpoint, channel: &FanOut) -> bool;
}

/// Blocks are at most this long here; the pool's stride.
const STRIDE: usize = 9_000;

/// One member: its medium, its channel, its pool.
struct Member<M> {
    medium: M,
    channel: Channel,
    pool: RxPool,
}

impl<M: Medium> Member<M> {
    fn local(&self) -> Endpoint {
        self.medium.local()
    }

    /// Sends until the medium takes it: `Busy` must mean that nothing was lost.
    fn send(&mut self, to: Target, run: &[u8], segment: usize) {
        let deadline = Instant::now() + LIMIT;
        while self.medium.send(to, run, segment).unwrap() == Sent::Busy {
            assert!(Instant::now() < deadline, "busy for ever");
        }
    }

    fn cast(&mut self, run: &[u8], segment: usize) {
        self.send(Target::Channel(self.channel), run, segment);
    }

    /// Takes what is there, and gives the blocks back.
    fn take(&mut self, inbox: &mut Vec<(Endpoint, Vec<u8>)>) -> usize {
        let mut arrivals = Vec::new();
        let taken = self.medium.receive(&mut self.pool, &mut arrivals, Sockets::All, 64).unwrap();
        for Arrival { from, block } in arrivals {
            inbox.push((from, self.pool.bytes(&block).to_vec()));
            self.pool.release(block);
        }
        taken
    }
}

fn members<C: Cluster>(cluster: &mut C, count: usize, config: PoolConfig) -> Vec<Member<C::Medium>> {
    let media: Vec<_> = (0..count).map(|_| cluster.endpoint()).collect();
    let all: Vec<_> = media.iter().map(Medium::local).collect();
    let fan_out = cluster.fan_out(&all);
    let join = |mut medium: C::Medium| {
        let channel = medium.open_channel(fan_out.clone()).unwrap();
        Member { medium, channel, pool: RxPool::new(config).unwrap() }
    };
    media.into_iter().map(join).collect()
}

fn roomy() -> PoolConfig {
    PoolConfig { stride: STRIDE, strides: 512, slabs: 4 }
}

/// Receives at `member` until it has `count` blocks, then a little longer: nothing more may come.
fn receive<C: Cluster>(
    cluster: &mut C,
    member: &mut Member<C::Medium>,
    count: usize,
) -> Vec<(Endpoint, Vec<u8>)> {
    let mut inbox = Vec::new();
    let deadline = Instant::now() + LIMIT;
    while inbox.len() < count && Instant::now() < deadline {
        cluster.settle();
        if member.take(&mut inbox) == 0 {
            member.medium.wait(Duration::from_millis(1));
        }
    }
    silence(cluster, member, &mut inbox);
    assert_eq!(inbox.len(), count, "blocks at {}", member.local());
    inbox
}

fn silence<C: Cluster>(
    cluster: &mut C,
    member: &mut Member<C::Medium>,
    inbox: &mut Vec<(Endpoint, Vec<u8>)>,
) {
    for _ in 0..3 {
        cluster.settle();
        member.medium.wait(Duration::from_millis(1));
        while member.take(inbox) > 0 {}
    }
}

/// The blocks of a run, each filled with its number; the last is shorter.
fn run(segment: usize, blocks: usize, last: usize) -> Vec<u8> {
    let len = (blocks - 1) * segment + last;
    (0..len).map(|at| (at / segment) as u8).collect()
}

/// Runs everything against clusters that `new` makes.
pub(super) fn conforms<C: Cluster>(mut new: impl FnMut() -> C) {
    a_cast_reaches_all_but_its_sender(&mut new());
    one_to_one_reaches_only_that_one(&mut new());
    a_run_arrives_as_its_blocks_in_order(&mut new());
    the_largest_block_and_the_largest_run_travel_whole(&mut new());
    an_empty_receive_is_zero_and_a_quota_is_kept(&mut new());
    empty_datagrams_of_strangers_are_harmless(&mut new());
    an_exhausted_pool_drops_counts_and_recovers(&mut new());
    neighbours_do_not_mix(&mut new());
    a_changed_list_is_who_is_reached(&mut new());
}

/// By multicast, whoever listens is reached whatever the list says.
fn a_changed_list_is_who_is_reached<C: Cluster>(cluster: &mut C) {
    let mut all = members(cluster, 3, roomy());
    let (one, other) = (all[1].local(), all[2].local());
    let by_list = matches!(cluster.fan_out(&[one, other]), FanOut::Unicast(_));
    for (others, reached) in [(vec![one], [1, 0]), (vec![other, one], [1, 1]), (vec![], [0, 0])] {
        let channel = all[0].channel;
        all[0].medium.relist(channel, &others);
        all[0].cast(&[others.len() as u8; 9], 9);
        for (at, count) in [1, 2].into_iter().zip(if by_list { reached } else { [1, 1] }) {
            receive(cluster, &mut all[at], count);
        }
    }
}

fn a_cast_reaches_all_but_its_sender<C: Cluster>(cluster: &mut C) {
    let mut all = members(cluster, 4, roomy());
    for sender in 0..4 {
        all[sender].cast(b"to all", 6);
        let from = all[sender].local();
        for (at, member) in all.iter_mut().enumerate() {
            let expected = usize::from(at != sender);
            assert!(receive(cluster, member, expected).iter().all(|got| *got == (from, b"to all".to_vec())));
        }
    }
    for member in &all {
        let counters = member.medium.counters();
        assert_eq!((counters.received_blocks, counters.overflow, counters.send_errors), (3, 0, 0));
        assert_idle(member);
    }
}

fn one_to_one_reaches_only_that_one<C: Cluster>(cluster: &mut C) {
    let mut all = members(cluster, 3, roomy());
    let (from, to) = (all[0].local(), all[2].local());
    all[0].send(Target::One(to), b"for you", 7);
    assert_eq!(receive(cluster, &mut all[2], 1), [(from, b"for you".to_vec())]);
    all[2].send(Target::One(from), b"thanks", 6);
    assert_eq!(receive(cluster, &mut all[0], 1), [(to, b"thanks".to_vec())]);
    assert!(receive(cluster, &mut all[1], 0).is_empty());
    // To oneself is nowhere.
    all[0].send(Target::One(from), b"echo", 4);
    assert!(receive(cluster, &mut all[0], 0).is_empty());
}

fn a_run_arrives_as_its_blocks_in_order<C: Cluster>(cluster: &mut C) {
    let mut all = members(cluster, 2, roomy());
    let most = all[0].medium.capabilities().max_run_blocks;
    let only = cluster.only_segment();
    let shapes = [(100, 5, 30), (1_408, 40, 1), (1_408, 40, 1_408), (64, 128, 9), (STRIDE, 3, 77)];
    let shapes = shapes.into_iter().filter(|(segment, ..)| only.is_none_or(|only| only == *segment));
    let mut runs = 0;
    for (segment, blocks, last) in shapes {
        runs += 1;
        let (blocks, last) = if most == 1 { (1, segment.min(last)) } else { (blocks.min(most), last) };
        let bytes = run(segment, blocks, last);
        all[0].cast(&bytes, segment);
        let got = receive(cluster, &mut all[1], blocks);
        let expected: Vec<_> = bytes.chunks(segment).map(<[u8]>::to_vec).collect();
        assert_eq!(got.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>(), expected);
    }
    let (sender, receiver) = (all[0].medium.counters(), all[1].medium.counters());
    assert_eq!((sender.sends, sender.sent_blocks), (runs, receiver.received_blocks));
    assert_idle(&all[1]);
}

fn the_largest_block_and_the_largest_run_travel_whole<C: Cluster>(cluster: &mut C) {
    let config = PoolConfig { stride: 65_507, strides: 130, slabs: 4 };
    let mut all = members(cluster, 2, config);
    let able = all[0].medium.capabilities().clone();
    let block = run(able.max_block, 1, able.max_block);
    all[0].cast(&block, able.max_block);
    assert!(receive(cluster, &mut all[1], 1)[0].1 == block, "the largest block differs");
    let smallest = able.max_run_bytes.div_ceil(able.max_run_blocks).min(able.max_block);
    let segment = cluster.only_segment().unwrap_or(smallest);
    let blocks = able.max_run_bytes.div_ceil(segment);
    let bytes: Vec<u8> = (0..able.max_run_bytes).map(|at| (at / segment) as u8).collect();
    all[0].cast(&bytes, segment);
    let got = receive(cluster, &mut all[1], blocks);
    assert!(got.iter().flat_map(|(_, bytes)| bytes).eq(&bytes), "the largest run differs");
}

fn an_empty_receive_is_zero_and_a_quota_is_kept<C: Cluster>(cluster: &mut C) {
    let mut all = members(cluster, 2, roomy());
    let mut inbox = Vec::new();
    assert_eq!(all[1].take(&mut inbox), 0);
    for _ in 0..3 {
        all[0].cast(b"x", 1);
    }
    receive(cluster, &mut all[0], 0);
    cluster.settle();
    let Member { medium, pool, .. } = &mut all[1];
    let mut arrivals = Vec::new();
    for count in 1..=3 {
        assert_eq!(medium.receive(pool, &mut arrivals, Sockets::Data, 1).unwrap(), 1);
        assert_eq!(arrivals.len(), count);
    }
    assert_eq!(medium.receive(pool, &mut arrivals, Sockets::Data, 1).unwrap(), 0);
    arrivals.into_iter().for_each(|arrival| pool.release(arrival.block));
    assert_idle(&all[1]);
}

fn empty_datagrams_of_strangers_are_harmless<C: Cluster>(cluster: &mut C) {
    let mut all = members(cluster, 2, roomy());
    let locals = [all[0].local(), all[1].local()];
    if !cluster.stranger(locals[1], &cluster.fan_out(&locals)) {
        return;
    }
    all[0].cast(b"after", 5);
    assert_eq!(receive(cluster, &mut all[1], 1), [(locals[0], b"after".to_vec())]);
    assert_idle(&all[1]);
}

fn an_exhausted_pool_drops_counts_and_recovers<C: Cluster>(cluster: &mut C) {
    let mut all = members(cluster, 2, PoolConfig { stride: 256, strides: 4, slabs: 1 });
    let Member { medium, pool, .. } = &mut all[1];
    let mut held = Vec::new();
    let fill = [1; 10];
    for _ in 0..4 {
        held.extend(pool.insert(&fill));
    }
    let before = medium.counters().pool_exhausted;
    all[0].cast(b"dropped", 7);
    assert!(receive(cluster, &mut all[1], 0).is_empty());
    assert_eq!(all[1].medium.counters().pool_exhausted, before + 1);
    held.into_iter().for_each(|block| all[1].pool.release(block));
    all[0].cast(b"kept", 4);
    assert_eq!(receive(cluster, &mut all[1], 1)[0].1, b"kept");
    all[0].cast(&[0; 257], 257);
    assert!(receive(cluster, &mut all[1], 0).is_empty());
    assert_eq!(all[1].medium.counters().unusable, 1, "longer than a stride");
    assert_idle(&all[1]);
}

fn neighbours_do_not_mix<C: Cluster>(cluster: &mut C) {
    let mut other = cluster.neighbour();
    let (mut ours, mut theirs) = (members(cluster, 2, roomy()), members(&mut other, 2, roomy()));
    ours[0].cast(b"ours", 4);
    theirs[0].cast(b"theirs", 6);
    assert_eq!(receive(cluster, &mut ours[1], 1), [(ours[0].local(), b"ours".to_vec())]);
    assert_eq!(receive(&mut other, &mut theirs[1], 1), [(theirs[0].local(), b"theirs".to_vec())]);
}

/// The pool got everything back, but at most one slab that the medium holds to land in.
fn assert_idle<M: Medium>(member: &Member<M>) {
    assert!(member.pool.is_idle(0) || member.pool.is_idle(1), "the pool leaks: {:?}", member.pool);
}

const LIMIT: Duration = Duration::from_secs(5);
