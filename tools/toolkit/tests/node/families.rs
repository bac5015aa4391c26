//! IPv6, and groups whose sources are named.

use crate::cluster::{Cluster, Fan, GROUP, Member, config, losses, multicast, open, open_nth};
use crate::exchange::exchange;
use sistrum::{Config, Interface, JoinOptions, Node, Rank, Way, Why};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Whether this host has IPv6 on loopback; says so aloud when not, and fails where everything must be tested.
fn has_ipv6() -> bool {
    let Err(refused) = UdpSocket::bind("[::1]:0") else { return true };
    assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must run where ::1 is: {refused}");
    eprintln!("SKIP: no IPv6 on loopback: {refused}");
    false
}

#[test]
fn messages_arrive_by_ipv6_through_losses_on_both_media() {
    if !has_ipv6() {
        return;
    }
    for medium in ["udp", "auto", "uring"].map(|name| name.parse().expect("a medium")) {
        for offload in [true, false] {
            let interface = Ipv6Addr::LOCALHOST.into();
            let config = Config { interface, medium, offload, faults: losses(0.05, 0.05), ..config() };
            if Node::open(config.clone())
                .is_err_and(|refused| refused.to_string().contains("cannot use io_uring"))
            {
                eprintln!("SKIP: io_uring is forbidden here");
                continue;
            }
            exchange(Cluster::open(3, Fan::Unicast, &config), &[0, 1, 1_400, 64_066, 3, 5_000]);
        }
    }
}

/// A group in the range of source-specific multicast.
fn specific() -> SocketAddr {
    let SocketAddr::V4(group) = multicast() else { panic!("it is IPv4") };
    let [_, _, high, low] = group.ip().octets();
    (Ipv4Addr::new(232, 255, high, low), group.port()).into()
}

#[test]
fn members_hear_the_list_and_readers_hear_whom_they_name() {
    let here = |last: u8| Config { interface: Ipv4Addr::new(127, 0, 0, last).into(), ..config() };
    let nodes: Vec<_> = (1..=3).map(|at| open_nth(&here(at), 0)).collect();
    let members: Vec<_> = nodes.iter().map(Node::endpoint).collect();
    let group = specific();
    let mut cluster = Cluster::join(nodes, &JoinOptions::members(members).multicast(group).source_specific());
    let reader = |sources: &[u8]| {
        let sources = sources.iter().map(|&last| Ipv4Addr::new(127, 0, 0, last).into()).collect();
        Member::new(open(&config()), JoinOptions::reader().multicast(group).sources(sources))
    };
    let mut readers = [reader(&[1, 3]), reader(&[2])];
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(400) {
        cluster.turn();
        for reader in &mut readers {
            reader.poll();
        }
    }
    for from in 0..3 {
        cluster.cast(from, &[from as u8; 2_000]);
    }
    cluster.settle();
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(100) {
        cluster.turn();
        for reader in &mut readers {
            reader.poll();
        }
    }
    let heard = readers.map(|reader| [0, 1, 2].map(|rank| reader.of(Rank(rank)).len()));
    assert_eq!(heard, [[1, 0, 1], [0, 1, 0]]);
    for member in &cluster.members {
        assert_eq!(member.node.counters().medium.overflow, 0);
    }
}

#[test]
fn an_interface_is_chosen_for_peers_and_says_why() {
    let way = Way::to(Some(multicast()), &[SocketAddr::from((Ipv4Addr::LOCALHOST, 7))]).expect("loopback");
    assert_eq!((way.interface.name.as_str(), &way.why), ("lo", &Why::Loopback));
    assert_eq!(way.interface, Interface::find("127.0.0.1").expect("loopback"));
    assert_eq!(way.why.to_string(), "all peers are on loopback");
    let mut node = open(&Config { interface: way.interface.address, ..config() });
    let alone = vec![node.endpoint()];
    node.join(GROUP, JoinOptions::members(alone)).expect("it opens");
}
