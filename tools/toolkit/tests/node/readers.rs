//! Readers and goodbyes over real sockets.

use crate::cluster::{Cluster, GROUP, Member, Seen, config, multicast, open, refusal};
use sistrum::{Departure, JoinOptions, Node, Order, Rank, Refused};
use std::time::Duration;

fn cluster_at(group: std::net::SocketAddr, count: usize) -> Cluster {
    let nodes: Vec<_> = (0..count).map(|_| open(&config())).collect();
    let endpoints = nodes.iter().map(Node::endpoint).collect();
    Cluster::join(nodes, &JoinOptions::members(endpoints).multicast(group))
}

#[test]
fn a_reader_that_comes_late_gets_all_that_follows_and_gates_nobody() {
    let group = multicast();
    let mut cluster = cluster_at(group, 2);
    for number in 0..100_u32 {
        cluster.cast(0, &number.to_le_bytes());
    }
    cluster.settle();
    let mut reader = Member::new(open(&config()), JoinOptions::reader().multicast(group));
    cluster.until("entry", |_| {
        reader.poll();
        reader.seen.contains(&Seen::Reading(Rank(0)))
    });
    for number in 100..400_u32 {
        cluster.cast(0, &number.to_le_bytes().repeat(1 + number as usize * 10));
        reader.poll();
    }
    cluster.until("last message", |_| {
        reader.poll();
        reader.of(Rank(0)).len() == 300
    });
    let expected = (100..400_u32).map(|number| number.to_le_bytes().repeat(1 + number as usize * 10));
    assert!(reader.of(Rank(0)).into_iter().eq(expected));
    assert_eq!(reader.cast(b"nobody listens"), Err(Refused::NoView));
    // It reads no more, and the others go on.
    for _ in 0..2_000 {
        cluster.cast(0, &[7; 1_000]);
    }
    cluster.settle();
}

#[test]
fn a_goodbye_is_told_once_all_is_delivered_and_frees_the_others() {
    let mut cluster = cluster_at(multicast(), 3);
    for at in 0..50_u8 {
        cluster.cast(2, &[at; 500]);
    }
    let leaver = &mut cluster.members[2];
    leaver.node.leave(&leaver.group);
    assert_eq!(leaver.node.cast(&leaver.group, Order::Fifo, &[0; 2_000]), Err(Refused::Left));
    cluster.until("goodbye", |cluster| cluster.members[2].node.has_left(&cluster.members[2].group));
    let told = Seen::Left(Rank(2), Departure::Goodbye);
    cluster
        .until("word of it", |cluster| cluster.members[..2].iter().all(|member| member.seen.contains(&told)));
    for member in &cluster.members[..2] {
        assert_eq!(member.of(Rank(2)).len(), 50);
        assert_eq!(member.seen.last(), Some(&told));
    }
    // Its process ends; nobody waits for it.
    cluster.members.truncate(2);
    for _ in 0..1_000 {
        cluster.cast(0, &[9; 1_000]);
    }
    cluster.settle();
    let (rank, silent) = cluster.members[0].node.silence(&cluster.members[0].group).unwrap();
    assert!(rank == Rank(1) && silent < Duration::from_secs(60), "{rank} {silent:?}");
}

#[test]
fn a_reader_without_a_multicast_address_is_refused() {
    let mut node = open(&config());
    let error = refusal(node.join(GROUP, JoinOptions::reader()));
    assert!(error.starts_with("reader: a reader needs the group's multicast address"), "{error}");
}
