//! Tests over real sockets: 127.0.0.1 and groups of 239.255.0.0/16 with TTL 0, ::1, and own network namespaces.

use super::*;
use crate::log::PoolConfig;
use crate::medium::conformance::{Cluster, conforms};
use crate::medium::uring::tests::has_uring;
use crate::medium::{Fault, FaultOptions, Looks, MediumChoice, Uring, auto};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// A group that no other test uses: its address and port come from the process id and a count.
pub(in crate::medium) fn fresh_group() -> Endpoint {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    // Relaxed: the count only has to be different each time.
    let id = (std::process::id() << 8).wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed));
    let [_, page, high, low] = id.to_be_bytes();
    Endpoint(SocketAddr::from((Ipv4Addr::new(239, 255, high, low), 20_000 + u16::from(page))))
}

/// The same for IPv6, of the scope that does not leave a site.
fn fresh_group_v6() -> Endpoint {
    let SocketAddr::V4(group) = fresh_group().0 else { panic!("it is IPv4") };
    let low = group.ip().to_bits() as u16;
    Endpoint((Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0x7171, low), group.port()).into())
}

/// Clusters over real sockets, of a medium that is made of them.
pub(in crate::medium) struct SocketCluster<M> {
    open: fn(UdpConfig) -> M,
    interface: IpAddr,
    offload: bool,
    group: Endpoint,
    multicast: bool,
    sources: Vec<IpAddr>,
    uniform: bool,
}

impl<M> SocketCluster<M> {
    pub(in crate::medium) fn of(open: fn(UdpConfig) -> M, offload: bool, multicast: bool) -> Self {
        let interface = Ipv4Addr::LOCALHOST.into();
        Self {
            open,
            interface,
            offload,
            group: fresh_group(),
            multicast,
            sources: Vec::new(),
            uniform: false,
        }
    }

    /// By another interface, of IPv6.
    pub(in crate::medium) fn by(self, interface: IpAddr) -> Self {
        Self { interface, group: fresh_group_v6(), ..self }
    }

    /// Members hear each other and nobody else.
    pub(in crate::medium) fn source_specific(self) -> Self {
        Self { sources: vec![self.interface], ..self }
    }

    /// Runs have blocks of one size, as the configuration says.
    pub(in crate::medium) fn uniform(self) -> Self {
        Self { uniform: true, ..self }
    }
}

type UdpCluster = SocketCluster<Udp>;

impl UdpCluster {
    fn new(offload: bool, multicast: bool) -> Self {
        Self::of(|config| Udp::open(config).unwrap(), offload, multicast)
    }
}

impl<M: Medium> Cluster for SocketCluster<M> {
    type Medium = M;

    fn endpoint(&mut self) -> M {
        let (interface, offload, uniform_runs) = (self.interface, self.offload, self.uniform);
        (self.open)(UdpConfig { interface, offload, uniform_runs, ..UdpConfig::default() })
    }

    fn only_segment(&self) -> Option<usize> {
        self.uniform.then_some(UdpConfig::default().block_size)
    }

    fn fan_out(&self, all: &[Endpoint]) -> FanOut {
        if !self.multicast {
            return FanOut::Unicast(all.to_vec());
        }
        FanOut::Multicast { group: self.group, sources: self.sources.clone() }
    }

    fn neighbour(&self) -> Self {
        let mut group = if self.interface.is_ipv4() { fresh_group() } else { fresh_group_v6() };
        group.0.set_port(self.group.0.port());
        Self { group, sources: self.sources.clone(), ..*self }
    }

    fn stranger(&mut self, member: Endpoint, channel: &FanOut) -> bool {
        let interface = Interface::by_address(self.interface, 0).unwrap();
        let stranger = Socket::open(interface.family()).unwrap();
        stranger.bind(Endpoint(interface.at_port(0))).unwrap();
        stranger.send_multicast_by(&interface, 0).unwrap();
        stranger.send_one(&Destination::new(member), &[]).unwrap();
        if let FanOut::Multicast { group, .. } = channel {
            stranger.send_one(&Destination::new(*group), &[]).unwrap();
        }
        true
    }
}

/// The same inside a fault medium that injects nothing.
struct Faultless(UdpCluster);

impl Cluster for Faultless {
    type Medium = Fault<Udp>;

    fn endpoint(&mut self) -> Fault<Udp> {
        // A rate that is not zero, so that blocks take the way of faults, and that never strikes.
        Fault::new(self.0.endpoint(), FaultOptions { loss: f64::MIN_POSITIVE, ..FaultOptions::default() }, 1)
    }

    fn fan_out(&self, all: &[Endpoint]) -> FanOut {
        self.0.fan_out(all)
    }

    fn neighbour(&self) -> Self {
        Self(self.0.neighbour())
    }

    fn stranger(&mut self, member: Endpoint, channel: &FanOut) -> bool {
        self.0.stranger(member, channel)
    }
}

#[test]
fn multicast_with_offload_conforms() {
    if has_offload() {
        conforms(|| UdpCluster::new(true, true));
    }
}

#[test]
fn uniform_runs_conform() {
    if has_offload() {
        conforms(|| UdpCluster::new(true, true).uniform());
    }
}

#[test]
fn multicast_without_offload_conforms() {
    conforms(|| UdpCluster::new(false, true));
}

#[test]
fn unicast_with_offload_conforms() {
    if has_offload() {
        conforms(|| UdpCluster::new(true, false));
    }
}

#[test]
fn unicast_without_offload_conforms() {
    conforms(|| UdpCluster::new(false, false));
}

#[test]
fn faults_of_zero_conform() {
    conforms(|| Faultless(UdpCluster::new(true, true)));
}

/// Two members of one fresh group.
fn pair(config: &UdpConfig) -> [(Udp, Channel, RxPool); 2] {
    let group = if config.interface.is_ipv4() { fresh_group() } else { fresh_group_v6() };
    [0, 1].map(|_| {
        let mut udp = Udp::open(config.clone()).unwrap();
        let channel = udp.open_channel(FanOut::multicast(group)).unwrap();
        (udp, channel, RxPool::new(PoolConfig { stride: 1408, strides: 4096, slabs: 2 }).unwrap())
    })
}

/// Takes and releases everything that is there; returns how many blocks that was.
fn drain(udp: &mut Udp, pool: &mut RxPool) -> u64 {
    let (mut inbox, mut blocks) = (Vec::new(), 0);
    while udp.receive(pool, &mut inbox, Sockets::All, 64).unwrap() > 0 {
        blocks += inbox.len() as u64;
        inbox.drain(..).for_each(|arrival| pool.release(arrival.block));
    }
    blocks
}

/// Blocks that a send carries: several where offload is on.
fn run_blocks(udp: &Udp) -> usize {
    udp.capabilities().max_run_blocks.min(20)
}

#[test]
fn injected_loss_and_overflow_are_told_apart_exactly() {
    losses_are_told_apart(Ipv4Addr::LOCALHOST.into());
}

fn losses_are_told_apart(interface: IpAddr) {
    for offload in [true, false] {
        let config = UdpConfig {
            interface,
            offload,
            buffer_loss: 0.25,
            receive_buffer: 1 << 17,
            ..UdpConfig::default()
        };
        let [(mut sender, channel, _), (mut reader, back, mut pool)] = pair(&config);
        let blocks = run_blocks(&sender);
        // The reader sends too: its own datagrams are neither loss nor overflow.
        let mut sent = 0;
        for _ in 0..4_000 {
            sender.send(Target::Channel(channel), &vec![7; blocks * 100], 100).unwrap();
            reader.send(Target::Channel(back), &vec![8; blocks * 100], 100).unwrap();
            sent += 1;
            if sent % 16 == 0 && sent <= 2_000 {
                drain(&mut reader, &mut pool);
            }
        }
        let got = drain(&mut reader, &mut pool);
        let counters = reader.counters();
        assert!(got > 0 && counters.overflow > 0, "2000 unread sends must overflow: {counters:?}");
        assert_eq!(counters.received_datagrams + counters.overflow, sent, "{counters:?}");
        assert_eq!(counters.received_datagrams - counters.injected, counters.received_blocks / blocks as u64);
        let taken = counters.received_datagrams;
        assert!((taken / 5..taken * 3 / 10).contains(&counters.injected), "a quarter is lost: {counters:?}");
    }
}

#[test]
fn certain_loss_loses_everything_and_nothing_overflows() {
    let [(mut sender, channel, _), (mut reader, _, mut pool)] =
        pair(&UdpConfig { buffer_loss: 1.0, ..UdpConfig::default() });
    for _ in 0..100 {
        sender.send(Target::Channel(channel), b"gone", 4).unwrap();
    }
    assert_eq!(drain(&mut reader, &mut pool), 0);
    assert_eq!((reader.counters().injected, reader.counters().overflow), (100, 0));
}

#[test]
fn true_size_bounds_what_the_kernel_charges() {
    let [(mut sender, channel, _), (mut reader, _, mut pool)] = pair(&UdpConfig::default());
    let sizes =
        (0..2_048).chain((2_048..65_508).step_by(64)).chain([3_712, 3_713, 7_808, 16_000, 16_001, 65_507]);
    for len in sizes {
        charges_at_most(&mut sender, channel, &reader, len, len.max(1));
        drain(&mut reader, &mut pool);
    }
    for segment in [100, 512, 1_000, 1_408] {
        for blocks in (2..=run_blocks(&sender)).step_by(3) {
            charges_at_most(&mut sender, channel, &reader, segment * blocks - 7, segment);
            drain(&mut reader, &mut pool);
        }
    }
}

fn charges_at_most(sender: &mut Udp, channel: Channel, reader: &Udp, len: usize, segment: usize) {
    sender.send(Target::Channel(channel), &vec![0; len], segment).unwrap();
    let charged = reader.data[0].socket().memory().unwrap().charged;
    let estimate = true_size(len);
    assert!(charged > 0, "{len} bytes did not arrive");
    assert!(estimate >= charged, "{len} bytes are charged {charged}, more than the estimated {estimate}");
    assert!(estimate * 10 <= charged * 22, "{len} bytes are charged {charged}, far less than {estimate}");
}

#[test]
fn four_of_the_largest_runs_fit_the_smallest_usual_buffer() {
    // What SO_RCVBUF yields with the common default of rmem_max.
    let config = UdpConfig { receive_buffer: 212_992, ..UdpConfig::default() };
    let [(mut sender, channel, _), (mut reader, _, mut pool)] = pair(&config);
    let Capabilities { receive_buffer, max_run_bytes, max_run_blocks, .. } = *sender.capabilities();
    assert_eq!(receive_buffer, 425_984);
    let segment = max_run_bytes.div_ceil(max_run_blocks).min(1_408);
    let len = max_run_bytes.min(segment * max_run_blocks);
    for _ in 0..4 {
        sender.send(Target::Channel(channel), &vec![0; len], segment).unwrap();
    }
    let got = drain(&mut reader, &mut pool);
    assert_eq!(got, 4 * len.div_ceil(segment) as u64, "{:?}", reader.counters());
    assert_eq!(reader.counters().overflow, 0);
    let datagrams = reader.counters().received_datagrams;
    assert_eq!(datagrams, 4, "the largest run must not be segmented on its way");
}

#[test]
fn a_run_reaches_a_reader_without_offload_block_by_block() {
    let group = fresh_group();
    let mut media = [true, false].map(|offload| {
        let mut udp = Udp::open(UdpConfig { offload, ..UdpConfig::default() }).unwrap();
        (udp.open_channel(FanOut::multicast(group)).unwrap(), udp)
    });
    let blocks = run_blocks(&media[0].1);
    let channel = media[0].0;
    media[0].1.send(Target::Channel(channel), &vec![0; blocks * 1_408], 1_408).unwrap();
    let mut pool = RxPool::new(PoolConfig { stride: 1_408, strides: 64, slabs: 1 }).unwrap();
    assert_eq!(drain(&mut media[1].1, &mut pool), blocks as u64);
    assert_eq!(media[1].1.counters().received_datagrams, blocks as u64);
    assert_eq!((media[0].1.counters().overflow, media[1].1.counters().overflow), (0, 0));
}

#[test]
fn a_group_opened_twice_is_one_channel() {
    let [(mut sender, channel, _), (mut reader, _, mut pool)] = pair(&UdpConfig::default());
    let Route::Group(Group { destinations, .. }) = &reader.routes[0] else { panic!("a group") };
    let group = destinations[0].endpoint();
    assert_eq!(reader.open_channel(FanOut::multicast(group)).unwrap(), Channel(0));
    sender.send(Target::Channel(channel), b"once", 4).unwrap();
    assert_eq!(drain(&mut reader, &mut pool), 1);
}

/// Sockets of this host that are bound or connected to a group.
fn sockets_of(group: Endpoint) -> usize {
    let IpAddr::V4(address) = group.0.ip() else { panic!("{group} is of IPv4") };
    let name = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.octets()), group.0.port());
    let all = std::fs::read_to_string("/proc/net/udp").expect("the sockets of this host");
    all.lines().filter(|line| line.contains(&name)).count()
}

/// Opens and closes channels of a medium that is new, and looks at what is left.
fn closed_channels_give_back_their_sockets<M: Medium>(mut medium: M) {
    let groups = [(); 3].map(|()| fresh_group());
    let [first, second, third] =
        groups.map(|group| medium.open_channel(FanOut::multicast(group)).expect("a channel"));
    assert_eq!(medium.open_channel(FanOut::multicast(groups[1])).expect("a channel"), second);
    let mut sender = Udp::open(UdpConfig::default()).expect("a sender");
    let channels = groups.map(|group| sender.open_channel(FanOut::multicast(group)).expect("a channel"));
    let mut pool = RxPool::new(PoolConfig { stride: 1408, strides: 4096, slabs: 8 }).expect("a pool");
    let mut hears = |medium: &mut M| {
        for (text, channel) in ["0", "1", "2"].iter().zip(channels) {
            sender.send(Target::Channel(channel), text.as_bytes(), 1).expect("sent");
        }
        let (mut inbox, mut heard) = (Vec::new(), String::new());
        while medium.receive(&mut pool, &mut inbox, Sockets::All, 64).expect("received") > 0 {
            for arrival in inbox.drain(..) {
                heard += std::str::from_utf8(pool.bytes(&arrival.block)).expect("a text");
                pool.release(arrival.block);
            }
        }
        let mut heard: Vec<char> = heard.chars().collect();
        heard.sort_unstable();
        heard.into_iter().collect::<String>()
    };
    assert_eq!(hears(&mut medium), "012");
    medium.close_channel(second);
    assert_eq!(hears(&mut medium), "012", "it was opened twice");
    medium.close_channel(first);
    assert_eq!(hears(&mut medium), "12");
    medium.close_channel(second);
    assert_eq!(hears(&mut medium), "2");
    assert_eq!(medium.send(Target::Channel(first), b"x", 1).expect("nowhere"), Sent::Done);
    let deadline = Instant::now() + Duration::from_secs(20);
    // Those of the sender are left.
    while groups.map(sockets_of) != [2, 2, 4] {
        assert!(Instant::now() < deadline, "open: {:?}", groups.map(sockets_of));
        std::thread::yield_now();
    }
    assert_eq!(medium.open_channel(FanOut::multicast(groups[1])).expect("a channel"), first);
    assert_eq!(hears(&mut medium), "12");
    medium.close_channel(third);
    assert_eq!(hears(&mut medium), "1");
}

#[test]
fn closed_channels_of_udp_give_back_their_sockets() {
    closed_channels_give_back_their_sockets(Udp::open(UdpConfig::default()).expect("a medium"));
    let chosen = auto::open(MediumChoice::Udp, UdpConfig::default()).expect("a medium");
    closed_channels_give_back_their_sockets(chosen.with_faults(FaultOptions::default(), 7));
}

#[test]
fn closed_channels_of_a_ring_give_back_their_sockets() {
    for looks in [Looks::OneShot, Looks::Watch, Looks::ByLoad, Looks::Multishot] {
        if has_uring() {
            match Uring::open_looking(UdpConfig::default(), looks) {
                Ok(medium) => closed_channels_give_back_their_sockets(medium),
                Err(refused) => println!("skipped: {looks:?}: {refused}"),
            }
        }
    }
    if has_uring() {
        let chosen = auto::open(MediumChoice::Uring, UdpConfig::default()).expect("a medium");
        closed_channels_give_back_their_sockets(chosen);
    }
}

#[test]
fn groups_are_sent_to_from_one_address_that_nobody_else_can_share() {
    let [(mut one, _, _), (mut other, _, mut pool)] = pair(&UdpConfig::default());
    let channels = [(); 2].map(|()| one.open_channel(FanOut::multicast(fresh_group())).unwrap());
    assert_ne!(channels[0], channels[1]);
    let thief = Socket::open(Family::V4).unwrap();
    thief.share_address(true).unwrap();
    let taken = thief.bind(one.local()).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    // What comes by unicast is for the control socket, whichever senders are beside it.
    for _ in 0..10 {
        other.send(Target::One(one.local()), b"to you", 1408).unwrap();
    }
    assert_eq!(drain(&mut one, &mut pool), 10);
}

#[test]
fn a_send_to_where_nobody_is_harms_nothing() {
    let mut udp = Udp::open(UdpConfig::default()).unwrap();
    let gone = Udp::open(UdpConfig::default()).unwrap().local();
    for _ in 0..3 {
        assert_eq!(udp.send(Target::One(gone), b"hello?", 6).unwrap(), Sent::Done);
    }
    // Nothing routes from 127.0.0.1 to another network: refused, lost, counted.
    let elsewhere = Endpoint("203.0.113.1:9".parse().unwrap());
    assert_eq!(udp.send(Target::One(elsewhere), b"x", 1).unwrap(), Sent::Done);
    let six = Endpoint("[::1]:9".parse().unwrap());
    assert_eq!(udp.send(Target::One(six), b"x", 1).unwrap(), Sent::Done);
    assert_eq!(udp.counters().send_errors, 2);
}

#[test]
fn a_wait_ends_when_data_comes_or_at_its_limit() {
    let [(mut sender, channel, _), (mut reader, _, _)] = pair(&UdpConfig::default());
    let start = Instant::now();
    reader.wait(Duration::from_millis(20));
    assert!(start.elapsed() >= Duration::from_millis(20));
    sender.send(Target::Channel(channel), b"wake", 4).unwrap();
    let start = Instant::now();
    reader.wait(Duration::from_secs(60));
    assert!(start.elapsed() < Duration::from_secs(30));
}

fn refusal(config: UdpConfig) -> String {
    Udp::open(config).expect_err("it must not open").to_string()
}

#[test]
fn refusals_name_the_address_and_the_numbers() {
    let taken = Udp::open(UdpConfig::default()).unwrap();
    let port = taken.local().0.port();
    let used = refusal(UdpConfig { port, ..UdpConfig::default() });
    assert!(used.contains(&format!("bind UDP 127.0.0.1:{port}")) && used.contains("in use"), "{used}");

    let interface = "203.0.113.7".parse().unwrap();
    let unknown = refusal(UdpConfig { interface, ..UdpConfig::default() });
    assert_eq!(unknown, "unknown interface: no interface has the address 203.0.113.7");

    let large = refusal(UdpConfig { block_size: 65_508, ..UdpConfig::default() });
    assert!(large.contains("65508") && large.contains("65507"), "{large}");
}

#[test]
fn blocks_that_do_not_fit_the_interface_are_refused() {
    let config = UdpConfig { block_size: 9_000, ..UdpConfig::default() };
    for (address, needed) in [("10.0.0.7", 9_028), ("fd00::7", 9_048)] {
        let name = "eth7".to_owned();
        let interface = Interface { name, address: address.parse().unwrap(), index: 7, mtu: 1_500 };
        let error = probe::fits(&config, &interface).unwrap_err().to_string();
        let expected = format!(
            "interface eth7 ({address}) carries packets of 1500 bytes, a block of 9000 bytes needs {needed}"
        );
        assert_eq!(error, expected);
        assert!(probe::fits(&UdpConfig::default(), &interface).is_ok(), "the usual block fits Ethernet");
    }
}

#[test]
fn channels_that_cannot_be_are_refused() {
    let mut udp = Udp::open(UdpConfig::default()).unwrap();
    let mut refusal = |group: &str, sources: &[&str]| {
        let sources = sources.iter().map(|source| source.parse().unwrap()).collect();
        let group = Endpoint(group.parse().unwrap());
        udp.open_channel(FanOut::Multicast { group, sources }).unwrap_err().to_string()
    };
    for group in ["127.0.0.1:7", "239.255.1.1:0"] {
        assert_eq!(refusal(group, &[]), format!("{group} is not a multicast address and port"));
    }
    assert_eq!(
        refusal("[ff15::1]:7", &[]),
        "group [ff15::1]:7 is IPv6, but the interface's address 127.0.0.1 is IPv4: a group has one family"
    );
    assert!(
        refusal("232.1.1.1:7", &[]).contains("232.1.1.1:7 lies in the range of source-specific multicast")
    );
    assert!(refusal("239.255.1.1:7", &["::1"]).starts_with("source [::1]:0 is IPv6"));
    assert!(refusal("239.255.1.1:7", &["239.0.0.1"]).contains("is no address that anybody sends from"));
    let mixed = ["127.0.0.1:7", "[::1]:7"].map(|member| Endpoint(member.parse().unwrap())).to_vec();
    let mixed = udp.open_channel(FanOut::Unicast(mixed)).unwrap_err().to_string();
    assert!(mixed.starts_with("member [::1]:7 is IPv6, but"), "{mixed}");
}

/// Whether this kernel segments; says so aloud when not, and fails where everything must be tested.
pub(in crate::medium) fn has_offload() -> bool {
    if probe::segments(Family::V4) > 1 {
        return true;
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "CI must run on a kernel with UDP_SEGMENT and UDP_GRO"
    );
    eprintln!("SKIP: this kernel has no UDP segmentation offload");
    false
}

mod families;
mod sources;
