//! What does not belong: other clusters on the same port, and datagrams of strangers. All of it is counted, none delivered.

use crate::cluster::{Cluster, GROUP, config, multicast, open_nth};
use sistrum::{Config, Endpoint, GroupId, GroupInstance, JoinOptions, Node, Rank, View, ViewNumber};
use sistrum_transport::wire::{Header, Kind};
use std::net::{SocketAddr, UdpSocket};

fn cluster_at(group: SocketAddr) -> Cluster {
    let nodes: Vec<_> = (0..2).map(|at| open_nth(&config(), at)).collect();
    let endpoints = nodes.iter().map(Node::endpoint).collect();
    Cluster::join(nodes, &JoinOptions::members(endpoints).multicast(group))
}

#[test]
fn two_clusters_with_one_name_on_one_port_do_not_mix() {
    let group = multicast();
    let mut clusters = [cluster_at(group), cluster_at(group)];
    let views = clusters.each_ref().map(|cluster| {
        let view = cluster.members[0].node.view(&cluster.members[0].group).expect("waited for");
        (view.id().group, view.id().instance)
    });
    assert_eq!(views[0].0, views[1].0, "one name");
    assert_ne!(views[0].1, views[1].1, "two lives");
    for at in 0..500_u32 {
        for (which, cluster) in clusters.iter_mut().enumerate() {
            cluster.cast(which, &[which as u8; 300]);
            if at % 3 == 0 {
                cluster.turn();
            }
        }
    }
    for _ in 0..2 {
        clusters.iter_mut().for_each(Cluster::settle);
    }
    for (which, cluster) in clusters.iter().enumerate() {
        let receiver = &cluster.members[1 - which];
        assert!(receiver.of(Rank(which as u16)) == vec![[which as u8; 300]; 500]);
        let counters = receiver.node.counters();
        assert!(counters.session.foreign > 0, "{counters:?}");
        assert_eq!((counters.malformed, counters.session.delivered), (0, 500), "{counters:?}");
    }
}

/// A process that is no member, and what it sends.
struct Stranger {
    socket: UdpSocket,
    targets: Vec<SocketAddr>,
}

impl Stranger {
    fn new(cluster: &Cluster, group: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_multicast_ttl_v4(0).expect("a plain option");
        let endpoints = cluster.members.iter().map(|member| member.node.endpoint().0);
        Self { socket, targets: endpoints.chain([group]).collect() }
    }

    fn send(&self, bytes: &[u8]) {
        for target in &self.targets {
            self.socket.send_to(bytes, target).expect("loopback takes it");
        }
    }
}

fn view(cluster: &Cluster) -> View {
    cluster.members[0].node.view(&cluster.members[0].group).expect("waited for").clone()
}

/// A block without content that has a right checksum.
fn forged(kind: Kind, group: GroupId, instance: GroupInstance, rank: Rank) -> Vec<u8> {
    let mut block = vec![0; 64];
    let header = Header { used: 64, ..Header::new(kind, group, instance, ViewNumber(1), rank) };
    header.encode(&mut block, true);
    block
}

/// Polls until what was sent has been counted, as `counted` sees it at every member.
fn counted(cluster: &mut Cluster, what: &str, least: u64, count: impl Fn(&Node) -> u64) {
    cluster.until(what, |cluster| cluster.members.iter().all(|member| count(&member.node) >= least));
}

#[test]
fn garbage_is_counted_and_harmless() {
    let group = multicast();
    let mut cluster = cluster_at(group);
    let stranger = Stranger::new(&cluster, group);
    let mut state = 1_u32;
    let mut random = |len: usize| -> Vec<u8> {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..len).map(|_| next()).collect()
    };
    for at in 0..300 {
        stranger.send(&random(1 + at * 4));
        cluster.cast(0, &random(200));
        cluster.turn();
    }
    counted(&mut cluster, "malformed", 600, |node| node.counters().malformed);
    // Nothing is not even read; more than a block is read as a run of blocks that are none.
    stranger.send(&[]);
    counted(&mut cluster, "unusable", 2, |node| node.counters().medium.unusable);
    stranger.send(&random(20_000));
    counted(&mut cluster, "malformed", 600 + 2 * 20_000 / 1408, |node| node.counters().malformed);
    cluster.settle();
    assert_eq!(cluster.members[1].of(Rank(0)).len(), 300);
    assert!(cluster.members.iter().all(|member| member.seen.len() == 1 + member.of(Rank(0)).len()));
}

#[test]
fn blocks_that_are_whole_but_not_ours_are_told_apart() {
    let group = multicast();
    let mut cluster = cluster_at(group);
    let stranger = Stranger::new(&cluster, group);
    let id = view(&cluster).id();
    let elsewhere = GroupId::of("elsewhere");
    stranger.send(&forged(Kind::Data, elsewhere, id.instance, Rank(0)));
    counted(&mut cluster, "unclaimed", 2, |node| node.counters().unclaimed);
    stranger.send(&forged(Kind::Data, id.group, GroupInstance(id.instance.0 ^ 1), Rank(0)));
    counted(&mut cluster, "foreign", 2, |node| node.counters().session.foreign);
    for kind in [Kind::Data, Kind::Control] {
        for rank in [0, 1, 2, u16::MAX] {
            stranger.send(&forged(kind, id.group, id.instance, Rank(rank)));
        }
    }
    counted(&mut cluster, "strangers", 16, |node| node.counters().session.strangers);
    for rank in [0, 1, 2, u16::MAX] {
        stranger.send(&forged(Kind::Setup, id.group, id.instance, Rank(rank)));
    }
    cluster.cast(0, b"still here");
    cluster.settle();
    assert_eq!(cluster.members[1].of(Rank(0)), [b"still here"]);
    assert_eq!(view(&cluster).id(), id);
}

#[test]
fn garbage_before_the_view_does_not_keep_it_from_coming() {
    let (group, mut nodes) = (multicast(), vec![open_nth(&config(), 0), open_nth(&config(), 1)]);
    let members: Vec<Endpoint> = nodes.iter().map(Node::endpoint).collect();
    let options = JoinOptions::members(members.clone()).multicast(group);
    let joined = nodes[0].join(GROUP, options).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let instance = nodes[0].boot().instance();
    for rank in 0..3 {
        for kind in [Kind::Setup, Kind::Control, Kind::Data] {
            let block = forged(kind, joined.id(), instance, Rank(rank));
            socket.send_to(&block, members[0].0).expect("loopback takes it");
        }
        socket.send_to(&[rank as u8; 700], members[0].0).expect("loopback takes it");
    }
    // The second node is another process to the first; its group is joined only now.
    let mut late = nodes.pop().expect("there are two");
    let mut early = nodes.pop().expect("there are two");
    let options = JoinOptions::members(members).multicast(group);
    late.join(GROUP, options).unwrap();
    let started = std::time::Instant::now();
    while early.view(&joined).is_none() {
        assert!(started.elapsed() < crate::cluster::PATIENCE, "{:?}", early.counters());
        early.poll(|_, _| Ok(())).unwrap();
        late.poll(|_, _| Ok(())).unwrap();
    }
    assert_eq!(early.counters().malformed, 3);
    assert!(early.counters().session.foreign >= 9, "{:?}", early.counters());
}

#[test]
fn a_node_that_is_in_no_group_counts_what_comes() {
    let mut node = open_nth(&Config::loopback("nobody"), 0);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let block = forged(Kind::Data, GroupId::of("any"), GroupInstance(1), Rank(0));
    socket.send_to(&block, node.endpoint().0).expect("loopback takes it");
    let started = std::time::Instant::now();
    while node.counters().unclaimed == 0 {
        assert!(started.elapsed() < crate::cluster::PATIENCE);
        node.poll(|_, event| panic!("{event:?}")).unwrap();
    }
}
