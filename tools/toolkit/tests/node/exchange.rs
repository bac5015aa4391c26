//! Messages of every critical size, from everybody to everybody, whole and in order, over every path and through losses.

use crate::cluster::{Cluster, Fan, Member, config, losses};
use sistrum::{Config, Faults, Order, Rank, Refused};

const MEMBERS: usize = 3;

/// Nothing, next to nothing, every size around one block and around two, and the longest line of a real feed.
fn sizes() -> impl Iterator<Item = usize> {
    let block = Config::loopback("").block_size;
    let around = |blocks: usize| blocks * block - 120 * blocks..=blocks * block + 8;
    [0, 1, 2].into_iter().chain(around(1)).chain(around(2)).chain([64_066, 0, 3])
}

/// The message that a member casts at a place in its stream: no two are alike, unless they are empty.
fn message(from: usize, at: usize, len: usize) -> Vec<u8> {
    let mut state = (from * 1_000_003 + at * 31 + len) as u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Everybody casts a message of every size in turn; everybody must have those of all the others.
pub(crate) fn exchange(mut cluster: Cluster, sizes: &[usize]) {
    for (at, &len) in sizes.iter().enumerate() {
        for from in 0..MEMBERS {
            cluster.cast(from, &message(from, at, len));
        }
        cluster.turn();
    }
    cluster.settle();
    for (rank, member) in cluster.members.iter().enumerate() {
        for from in 0..MEMBERS {
            let expected = sizes.iter().enumerate().map(|(at, &len)| message(from, at, len));
            let expected: Vec<_> = if from == rank { Vec::new() } else { expected.collect() };
            assert!(member.of(Rank(from as u16)) == expected, "r{rank} has another stream of r{from}");
        }
    }
}

/// One exchange over a path.
fn over(fan: Fan, offload: bool, faults: Faults, sizes: &[usize]) {
    let config = Config { offload, faults, ..config() };
    let cluster = Cluster::open(MEMBERS, fan, &config);
    exchange(cluster, sizes);
}

#[test]
fn every_size_arrives_by_multicast_and_by_unicast_with_and_without_offload() {
    let sizes: Vec<_> = sizes().collect();
    for fan in [Fan::Multicast, Fan::Unicast] {
        for offload in [true, false] {
            over(fan, offload, losses(0.0, 0.0), &sizes);
        }
    }
}

#[test]
fn every_size_arrives_through_the_loss_of_blocks() {
    let sizes: Vec<_> = sizes().step_by(7).chain([64_066]).collect();
    for fan in [Fan::Multicast, Fan::Unicast] {
        for offload in [true, false] {
            over(fan, offload, losses(0.2, 0.0), &sizes);
        }
    }
}

#[test]
fn every_size_arrives_through_the_loss_of_whole_buffers() {
    let sizes: Vec<_> = sizes().step_by(7).chain([64_066]).collect();
    for fan in [Fan::Multicast, Fan::Unicast] {
        for offload in [true, false] {
            over(fan, offload, losses(0.0, 0.2), &sizes);
        }
    }
}

#[test]
fn losses_are_injected_counted_and_repaired() {
    let config = Config { faults: losses(0.1, 0.1), ..config() };
    let mut cluster = Cluster::open(2, Fan::Multicast, &config);
    for at in 0..500 {
        cluster.cast(0, &message(0, at, 1_000));
        cluster.turn();
    }
    cluster.settle();
    assert_eq!(cluster.members[1].of(Rank(0)).len(), 500);
    let (sender, receiver) = (cluster.members[0].node.counters(), cluster.members[1].node.counters());
    assert!(receiver.medium.injected > 20 && receiver.repaired > 20, "{receiver:?}");
    assert!(sender.session.repairs_sent >= receiver.repaired, "{sender:?}");
    assert_eq!((receiver.session.delivered, receiver.medium.overflow), (500, 0), "{receiver:?}");
    assert_eq!((receiver.malformed, receiver.unclaimed), (0, 0), "{receiver:?}");
}

#[test]
fn nothing_is_repaired_where_nothing_was_lost() {
    let mut cluster = Cluster::open(MEMBERS, Fan::Multicast, &config());
    for at in 0..2_000 {
        cluster.cast(at % MEMBERS, &message(0, at, 100 + at % 2_000));
        if at % 5 == 0 {
            cluster.turn();
        }
    }
    cluster.settle();
    for member in &cluster.members {
        let counters = member.node.counters();
        assert_eq!((counters.repaired, counters.session.repairs_sent), (0, 0), "{counters:?}");
        assert_eq!((counters.medium.overflow, counters.session.duplicates), (0, 0), "{counters:?}");
    }
}

#[test]
fn the_longest_message_arrives_and_a_longer_one_is_refused() {
    // As users have it: the whole window of the preset.
    let mut cluster = Cluster::open(MEMBERS, Fan::Multicast, &Config::loopback("test"));
    let Member { node, group, .. } = &mut cluster.members[0];
    let limit = node.max_message(group).expect("there is a view");
    assert!(limit > 1_000_000, "{limit}");
    exchange(cluster, &[1, limit, limit - 1, 2]);
}

#[test]
fn what_is_too_large_is_refused_with_both_sizes() {
    let mut cluster = Cluster::open(2, Fan::Unicast, &config());
    let Member { node, group, .. } = &mut cluster.members[0];
    let limit = node.max_message(group).expect("there is a view");
    let long = vec![1; limit + 1];
    let refused = cluster.members[0].cast(&long).expect_err("too large");
    assert_eq!(refused, Refused::TooLarge { len: limit + 1, limit });
    let Member { node, group, .. } = &mut cluster.members[0];
    let refused = node.cast_with(group, Order::Fifo, 5_000, |_| panic!("there is no place to write"));
    match refused {
        Err(Refused::TooLarge { len: 5_000, limit }) => {
            node.cast_with(group, Order::Fifo, limit, |place| place.fill(9))
                .expect("the limit itself is accepted");
        }
        other => panic!("{other:?}"),
    }
    cluster.cast(0, &long[..limit]);
    cluster.settle();
    let lengths: Vec<_> = cluster.members[1].of(Rank(0)).iter().map(|message| message.len()).collect();
    assert_eq!(lengths.len(), 2);
    assert_eq!(lengths[1], limit);
}

#[test]
fn in_every_order_messages_of_about_a_block_arrive_in_a_group_whose_stamps_may_be_long() {
    let mut cluster = Cluster::open(12, Fan::Multicast, &config());
    let (block, group) = (Config::loopback("").block_size, cluster.members[0].group);
    for order in Order::ALL {
        let before = cluster.members[1].of(Rank(0)).len();
        let sizes = block - 300..=block + 8;
        for len in sizes.clone() {
            cluster.members[0].node.cast(&group, order, &message(0, len, len)).expect("there is room");
            cluster.turn();
        }
        cluster.settle();
        let expected: Vec<_> = sizes.map(|len| message(0, len, len)).collect();
        assert!(cluster.members[1].of(Rank(0))[before..] == expected, "{order}");
    }
}
