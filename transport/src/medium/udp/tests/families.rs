//! IPv6: on loopback by unicast, by multicast in a network namespace.

use super::*;
use crate::medium::uring::tests::{ALL_LOOKS, has_uring, opener};
use crate::sys::tests::{has_ipv6, inside_a_namespace};

const LOCALHOST: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
/// Two ends of a veth in one namespace.
pub(super) const VETH: [&str; 8] = [
    "link set lo up",
    "link add v0 mtu 65535 type veth peer name v1 mtu 65535",
    "link set v0 addrgenmode none",
    "link set v0 up",
    "link set v1 up",
    "addr add fd71::1/64 dev v0 nodad",
    "addr add fd71::2/64 dev v0 nodad",
    "addr add fe80::71/64 dev v0 nodad",
];

#[test]
fn unicast_conforms() {
    if !has_ipv6() {
        return;
    }
    for offload in [has_offload(), false] {
        conforms(|| UdpCluster::new(offload, false).by(LOCALHOST));
        conforms(|| UdpCluster::new(offload, false).by(LOCALHOST).uniform());
    }
}

#[test]
fn multicast_on_a_veth_conforms() {
    inside_a_namespace(&VETH, concat!(module_path!(), "::multicast_on_a_veth_conforms"), || {
        let veth: IpAddr = "fd71::1".parse().unwrap();
        for offload in [has_offload(), false] {
            conforms(|| UdpCluster::new(offload, true).by(veth));
            conforms(|| UdpCluster::new(offload, true).by(veth).source_specific());
            for looks in ALL_LOOKS.into_iter().filter(|_| has_uring()) {
                conforms(|| SocketCluster::of(opener(looks), offload, true).by(veth));
            }
        }
    });
}

#[test]
fn own_datagrams_injected_loss_and_overflow_are_told_apart() {
    let this = concat!(module_path!(), "::own_datagrams_injected_loss_and_overflow_are_told_apart");
    inside_a_namespace(&VETH, this, || losses_are_told_apart("fd71::1".parse().unwrap()));
}

#[test]
fn one_group_on_two_interfaces_is_two_groups() {
    let commands = [&VETH[..], &["addr add fd72::1/64 dev v1 nodad"]].concat();
    let this = concat!(module_path!(), "::one_group_on_two_interfaces_is_two_groups");
    inside_a_namespace(&commands, this, || {
        let group = fresh_group_v6();
        let mut members = ["fd71::1", "fd72::1", "fd71::2"].map(|interface| {
            let interface = interface.parse().unwrap();
            let mut udp = Udp::open(UdpConfig { interface, ttl: 0, ..UdpConfig::default() }).unwrap();
            let channel = udp.open_channel(FanOut::multicast(group)).unwrap();
            (udp, channel)
        });
        let (sender, channel) = &mut members[0];
        sender.send(Target::Channel(*channel), b"here", 4).unwrap();
        let mut pool = RxPool::new(PoolConfig { stride: 1408, strides: 8, slabs: 8 }).unwrap();
        let counts = members.map(|(mut udp, _)| drain(&mut udp, &mut pool));
        assert_eq!(counts, [0, 0, 1]);
    });
}

#[test]
fn a_link_local_member_is_reached_by_its_link() {
    inside_a_namespace(
        &VETH,
        concat!(module_path!(), "::a_link_local_member_is_reached_by_its_link"),
        || {
            let interface = Interface::find("fe80::71%v0").unwrap();
            let config = UdpConfig { interface: interface.address, ..UdpConfig::default() };
            let [mut one, mut other] = [(); 2].map(|()| Udp::open(config.clone()).unwrap());
            assert_eq!(one.local().0, interface.at_port(one.local().0.port()));
            let group = Endpoint("[ff12::7171]:7171".parse().unwrap());
            let channels =
                [&mut one, &mut other].map(|udp| udp.open_channel(FanOut::multicast(group)).unwrap());
            let mut pool = RxPool::new(PoolConfig { stride: 1408, strides: 8, slabs: 1 }).unwrap();
            for to in [Target::Channel(channels[0]), Target::One(other.local())] {
                one.send(to, b"by the link", 11).unwrap();
                let mut inbox = Vec::new();
                other.receive(&mut pool, &mut inbox, Sockets::All, 8).unwrap();
                let froms: Vec<_> =
                    inbox.drain(..).map(|arrival| (arrival.from, pool.release(arrival.block)).0).collect();
                assert_eq!(froms, [one.local()]);
            }
        },
    );
}

#[test]
fn four_of_the_largest_runs_fit_and_none_is_segmented() {
    if !has_ipv6() || !has_offload() {
        return;
    }
    let config = UdpConfig { interface: LOCALHOST, receive_buffer: 212_992, ..UdpConfig::default() };
    let [mut sender, mut reader] = [(); 2].map(|()| Udp::open(config.clone()).unwrap());
    let mut pool = RxPool::new(PoolConfig { stride: 1408, strides: 4096, slabs: 2 }).unwrap();
    let Capabilities { max_run_bytes, max_run_blocks, max_block, .. } = *sender.capabilities();
    assert_eq!(max_block, 65_536 - 48);
    let segment = max_run_bytes.div_ceil(max_run_blocks).min(1_408);
    let len = max_run_bytes.min(segment * max_run_blocks);
    for _ in 0..4 {
        sender.send(Target::One(reader.local()), &vec![0; len], segment).unwrap();
    }
    assert_eq!(drain(&mut reader, &mut pool), 4 * len.div_ceil(segment) as u64, "{:?}", reader.counters());
    assert_eq!((reader.counters().received_datagrams, reader.counters().overflow), (4, 0));
}

#[test]
fn multicast_on_loopback_is_one_clear_error() {
    if !has_ipv6() {
        return;
    }
    let mut udp = Udp::open(UdpConfig { interface: LOCALHOST, ..UdpConfig::default() }).unwrap();
    let group = fresh_group_v6();
    let refused = udp.open_channel(FanOut::multicast(group)).unwrap_err();
    assert!(matches!(&refused, MediumError::NoMulticast { .. }), "{refused:?}");
    assert_eq!(
        refused.to_string(),
        format!("interface lo (::1) has no route to the multicast group {group}: use unicast, or IPv4")
    );
    let four = udp.open_channel(FanOut::multicast(fresh_group())).unwrap_err().to_string();
    assert!(four.ends_with("but the interface's address ::1 is IPv6: a group has one family"), "{four}");
    let sources = udp
        .open_channel(FanOut::multicast(Endpoint("[ff3e::7]:7".parse().unwrap())))
        .unwrap_err()
        .to_string();
    assert!(sources.contains("lies in the range of source-specific multicast"), "{sources}");
}
