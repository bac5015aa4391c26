//! Source-specific multicast: who was not named is not heard.

use super::*;
use crate::sys::tests::inside_a_namespace;

/// A medium at `address`, in `group`.
fn member(address: &str, group: Endpoint, sources: &[&str]) -> (Udp, Channel) {
    let mut udp =
        Udp::open(UdpConfig { interface: address.parse().unwrap(), ..UdpConfig::default() }).unwrap();
    let sources = sources.iter().map(|source| source.parse().unwrap()).collect();
    let channel = udp.open_channel(FanOut::Multicast { group, sources }).unwrap();
    (udp, channel)
}

/// Who is heard by a member that named `one` only, and by one that named both.
fn only_the_named_are_heard(one: &str, other: &str, group: Endpoint) {
    let mut speakers = [one, other].map(|speaker| member(speaker, group, &[speaker]));
    let (mut hears_one, _) = member(one, group, &[one, one]);
    let (mut hears_both, _) = member(other, group, &[one, other]);
    let (mut grows, at) = member(one, group, &[one]);
    let both = vec![one.parse().unwrap(), other.parse().unwrap()];
    assert_eq!(grows.open_channel(FanOut::Multicast { group, sources: both }).unwrap(), at);
    for (udp, channel) in &mut speakers {
        assert_eq!(udp.send(Target::Channel(*channel), b"hear", 4).unwrap(), Sent::Done);
    }
    let mut pool = RxPool::new(PoolConfig { stride: 1408, strides: 16, slabs: 8 }).unwrap();
    let counts = [&mut hears_one, &mut hears_both, &mut grows].map(|udp| drain(udp, &mut pool));
    assert_eq!(counts, [1, 2, 2]);
    for (udp, _) in &mut speakers {
        assert_eq!((drain(udp, &mut pool), udp.counters().overflow), (0, 0), "its own, and no other");
    }
}

#[test]
fn a_source_that_was_not_named_is_not_heard() {
    only_the_named_are_heard("127.0.0.1", "127.0.0.2", fresh_group());
    let specific = Endpoint((Ipv4Addr::new(232, 255, 71, 71), fresh_group().0.port()).into());
    only_the_named_are_heard("127.0.0.1", "127.0.0.2", specific);
}

#[test]
fn a_source_that_was_not_named_is_not_heard_by_ipv6() {
    let this = concat!(module_path!(), "::a_source_that_was_not_named_is_not_heard_by_ipv6");
    inside_a_namespace(&families::VETH, this, || {
        only_the_named_are_heard("fd71::1", "fd71::2", fresh_group_v6());
        only_the_named_are_heard("fd71::1", "fd71::2", Endpoint("[ff35::7171]:7171".parse().unwrap()));
    });
}

#[test]
fn who_does_not_hear_itself_counts_every_overflow() {
    let group = fresh_group();
    let (mut speaker, channel) = member("127.0.0.2", group, &["127.0.0.2"]);
    let mut deaf = Udp::open(UdpConfig { receive_buffer: 1 << 15, ..UdpConfig::default() }).unwrap();
    let sources = vec![Ipv4Addr::new(127, 0, 0, 2).into()];
    let own = deaf.open_channel(FanOut::Multicast { group, sources }).unwrap();
    for _ in 0..200 {
        deaf.send(Target::Channel(own), b"nobody", 6).unwrap();
        speaker.send(Target::Channel(channel), &[7; 1_000], 1_000).unwrap();
    }
    let mut pool = RxPool::new(PoolConfig { stride: 1408, strides: 256, slabs: 2 }).unwrap();
    let got = drain(&mut deaf, &mut pool);
    let overflow = deaf.counters().overflow;
    assert!(got > 0 && overflow > 0);
    assert_eq!(got + overflow, 200);
}

#[test]
fn a_group_hears_everybody_or_the_named() {
    let group = fresh_group();
    let (mut udp, _) = member("127.0.0.1", group, &[]);
    let sources = vec![Ipv4Addr::LOCALHOST.into()];
    let refused = udp.open_channel(FanOut::Multicast { group, sources }).unwrap_err().to_string();
    assert!(refused.ends_with("it hears either everybody or named sources, not both"), "{refused}");
}

#[test]
fn more_sources_than_the_system_allows_are_refused_by_the_limits_name() {
    let limit: usize =
        std::fs::read_to_string("/proc/sys/net/ipv4/igmp_max_msf").unwrap().trim().parse().unwrap();
    let mut udp = Udp::open(UdpConfig::default()).unwrap();
    let sources = (0..=limit as u32).map(|at| Ipv4Addr::from_bits(0x7f00_0001 + at).into()).collect();
    let refused =
        udp.open_channel(FanOut::Multicast { group: fresh_group(), sources }).unwrap_err().to_string();
    assert!(refused.contains("more sources than net.ipv4.igmp_max_msf allows"), "{refused}");
}
