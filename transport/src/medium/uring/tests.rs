//! Tests over a real ring; all of them say aloud that they are skipped where there is none.

use super::*;
use crate::log::PoolConfig;
use crate::medium::conformance::conforms;
use crate::medium::udp::tests::{SocketCluster, fresh_group, has_offload};
use crate::sys::uring::Ring;
use std::net::UdpSocket;
use std::time::Instant;

pub(in crate::medium) const ALL_LOOKS: [Looks; 4] =
    [Looks::ByLoad, Looks::OneShot, Looks::Watch, Looks::Multishot];

fn open(config: UdpConfig, looks: Looks) -> Uring {
    Uring::open_looking(config, looks).unwrap()
}

pub(in crate::medium) fn opener(looks: Looks) -> fn(UdpConfig) -> Uring {
    match looks {
        Looks::ByLoad => |config| open(config, Looks::ByLoad),
        Looks::OneShot => |config| open(config, Looks::OneShot),
        Looks::Watch => |config| open(config, Looks::Watch),
        Looks::Multishot => |config| open(config, Looks::Multishot),
    }
}

/// Whether this kernel lets us have a ring; says so aloud when not, and fails where everything must be tested and the
/// kernel itself does not forbid it.
pub(in crate::medium) fn has_uring() -> bool {
    let Err(refused) = ring() else { return true };
    let switched_off = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    let offered = switched_off.is_ok_and(|value| value.trim() == "0");
    assert!(
        std::env::var("CI").as_deref() != Ok("true") || !offered,
        "CI must run where io_uring is not forbidden: {refused}"
    );
    eprintln!("SKIP: {refused}");
    false
}

fn all_conform(offload: bool, multicast: bool) {
    if !has_uring() || offload && !has_offload() {
        return;
    }
    for looks in ALL_LOOKS {
        conforms(|| SocketCluster::of(opener(looks), offload, multicast));
    }
}

#[test]
fn multicast_with_offload_conforms() {
    all_conform(true, true);
}

#[test]
fn multicast_without_offload_conforms() {
    all_conform(false, true);
}

#[test]
fn unicast_with_offload_conforms() {
    all_conform(true, false);
}

#[test]
fn unicast_without_offload_conforms() {
    all_conform(false, false);
}

#[test]
fn unicast_by_ipv6_conforms() {
    if !has_uring() || !crate::sys::tests::has_ipv6() {
        return;
    }
    for looks in ALL_LOOKS {
        for offload in [has_offload(), false] {
            let cluster = || SocketCluster::of(opener(looks), offload, false);
            conforms(|| cluster().by(std::net::Ipv6Addr::LOCALHOST.into()));
        }
    }
}

#[test]
fn uniform_runs_conform() {
    if has_uring() && has_offload() {
        for looks in ALL_LOOKS {
            conforms(|| SocketCluster::of(opener(looks), true, true).uniform());
        }
    }
}

/// Two members of `groups` fresh groups.
fn pair(config: &UdpConfig, looks: Looks, groups: usize) -> [(Uring, Vec<Channel>); 2] {
    let groups: Vec<_> = (0..groups).map(|_| FanOut::multicast(fresh_group())).collect();
    [0, 1].map(|_| {
        let mut uring = open(config.clone(), looks);
        let channels = groups.iter().map(|group| uring.open_channel(group.clone()).unwrap()).collect();
        (uring, channels)
    })
}

pub(super) fn pool(slabs: usize) -> RxPool {
    RxPool::new(PoolConfig { stride: 1408, strides: 4096, slabs }).unwrap()
}

/// One receive of up to `quota` blocks; returns what arrived as text.
fn take(uring: &mut Uring, pool: &mut RxPool, quota: usize) -> Vec<String> {
    let mut inbox = Vec::new();
    uring.receive(pool, &mut inbox, Sockets::All, quota).unwrap();
    let text = |arrival: Arrival| {
        let text = String::from_utf8_lossy(pool.bytes(&arrival.block)).into_owned();
        pool.release(arrival.block);
        text
    };
    inbox.into_iter().map(text).collect()
}

fn send(uring: &mut Uring, channel: Channel, text: &str) {
    assert_eq!(uring.send(Target::Channel(channel), text.as_bytes(), text.len()).unwrap(), Sent::Done);
}

#[test]
fn every_socket_of_many_is_heard_and_none_twice() {
    if !has_uring() {
        return;
    }
    for looks in ALL_LOOKS {
        // More sockets than slabs, and more than one call looks at.
        let [(mut sender, channels), (mut reader, _)] = pair(&UdpConfig::default(), looks, 100);
        let mut pool = pool(9);
        assert!(take(&mut reader, &mut pool, 1).is_empty());
        for round in 0..3 {
            for at in [0, 99, 50, 63, 64, 7] {
                send(&mut sender, channels[at], &format!("{round} {at}"));
            }
            let mut got = take(&mut reader, &mut pool, 1);
            got.sort_unstable();
            let expected = ["0", "50", "63", "64", "7", "99"].map(|at| format!("{round} {at}"));
            assert_eq!(got, expected, "{looks:?}");
            assert!(take(&mut reader, &mut pool, 1).is_empty());
        }
        reader.udp.intake.leave(&mut pool);
        assert!(pool.is_idle(0));
    }
}

#[test]
fn sockets_that_come_later_are_watched_too_with_what_they_have_already() {
    if !has_uring() {
        return;
    }
    let [(mut sender, _), (mut reader, _)] = pair(&UdpConfig::default(), Looks::Watch, 1);
    let mut pool = pool(4);
    assert!(take(&mut reader, &mut pool, 8).is_empty());
    let group = FanOut::multicast(fresh_group());
    let channel = sender.open_channel(group.clone()).unwrap();
    reader.open_channel(group).unwrap();
    send(&mut sender, channel, "early");
    assert_eq!(take(&mut reader, &mut pool, 8), ["early"]);
    send(&mut sender, channel, "late");
    assert_eq!(take(&mut reader, &mut pool, 8), ["late"]);
}

#[test]
fn a_backlog_that_exceeds_the_quota_stays_ready() {
    if !has_uring() {
        return;
    }
    for looks in ALL_LOOKS {
        let [(mut sender, channels), (mut reader, _)] = pair(&UdpConfig::default(), looks, 5);
        let mut pool = pool(4);
        for number in 0..100 {
            send(&mut sender, channels[number % 2], &number.to_string());
        }
        let mut got = Vec::new();
        for quota in [1, 7, 20, 64] {
            let batch = take(&mut reader, &mut pool, quota);
            assert_eq!(batch.len(), 2 * quota.min(50 - got.len() / 2), "{looks:?}");
            got.extend(batch);
        }
        for parity in [0, 1] {
            let numbers = got.iter().map(|text| text.parse::<usize>().unwrap());
            let of_one = numbers.filter(|number| number % 2 == parity);
            assert!(of_one.eq((0..50).map(|number| 2 * number + parity)), "{looks:?}: {got:?}");
        }
    }
}

#[test]
fn load_switches_to_multishot_and_back_and_both_are_counted() {
    if !has_uring() {
        return;
    }
    let [(mut sender, channels), (mut reader, _)] = pair(&UdpConfig::default(), Looks::ByLoad, 1);
    let mut pool = pool(8);
    for (quota, switches) in [(1, 0), (4, 0), (8, 1), (64, 1), (2, 1), (1, 2), (4, 2)] {
        send(&mut sender, channels[0], "x");
        assert_eq!(take(&mut reader, &mut pool, quota), ["x"]);
        assert_eq!(reader.counters().receive_switches, switches);
    }
}

#[test]
fn a_multishot_that_runs_out_of_buffers_goes_on_with_others() {
    if !has_uring() {
        return;
    }
    let [(mut sender, channels), (mut reader, _)] = pair(&UdpConfig::default(), Looks::Multishot, 1);
    // Two buffers: the request ends with -ENOBUFS after every two datagrams.
    let mut pool = pool(1);
    let numbers: Vec<_> = (0..51).map(|number| number.to_string()).collect();
    for text in &numbers {
        send(&mut sender, channels[0], text);
    }
    assert_eq!(take(&mut reader, &mut pool, 64), numbers);
    // None at all: what waits stays in the socket.
    send(&mut sender, channels[0], "waits");
    let held: Vec<_> = std::iter::from_fn(|| pool.land()).collect();
    assert!(take(&mut reader, &mut pool, 64).is_empty());
    held.into_iter().for_each(|landing| pool.abandon(landing));
    assert_eq!(take(&mut reader, &mut pool, 64), ["waits"]);
    assert_eq!(reader.counters().overflow, 0);
}

#[test]
fn an_empty_datagram_ends_a_multishot_but_not_the_batch() {
    if !has_uring() {
        return;
    }
    for offload in [false, true] {
        let config = UdpConfig { offload, ..UdpConfig::default() };
        let mut reader = open(config, Looks::Multishot);
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        for text in ["one", "", "two", "", "", "three"] {
            stranger.send_to(text.as_bytes(), reader.local().0).unwrap();
        }
        let mut pool = pool(8);
        assert_eq!(take(&mut reader, &mut pool, 8), ["one", "two", "three"]);
        assert_eq!((reader.counters().unusable, reader.counters().injected), (3, 0));
    }
}

#[test]
fn what_is_longer_than_its_buffer_is_counted_and_dropped() {
    if !has_uring() {
        return;
    }
    for told in [false, true] {
        let (ring, into, from) = (&mut Ring::open().unwrap(), socket(), socket());
        let to = crate::sys::message::Destination::new(into.local().unwrap());
        let head = burst_head(told);
        for text in [b"123456789".as_slice(), b"12345678", b""] {
            from.send_one(&to, text).unwrap();
        }
        let mut buffers = [[0; 200]; 3];
        let lent = buffers.iter_mut().map(|buffer| &mut buffer[..head + 8]);
        assert!(matches!(
            ring.receive_many(Indexed { index: 0, socket: &into }, lent, told).unwrap(),
            Ended::Early
        ));
        let got: Vec<_> = ring.burst().iter().map(|got| (got.len, got.truncated, got.from)).collect();
        let from = from.local().unwrap();
        assert_eq!(got, [(8, true, from), (8, false, from), (0, false, from)]);
        assert!(buffers[..2].iter().all(|buffer| buffer[head..head + 8] == *b"12345678"));
    }
}

fn socket() -> crate::sys::socket::Socket {
    let socket = crate::sys::socket::Socket::open(crate::id::Family::V4).unwrap();
    socket.bind(Endpoint("127.0.0.1:0".parse().unwrap())).unwrap();
    socket
}

#[test]
fn a_burst_after_bursts_finds_the_buffers_where_the_kernel_looks_for_them() {
    if !has_uring() {
        return;
    }
    let (ring, into, from) = (&mut Ring::open().unwrap(), socket(), socket());
    let to = crate::sys::message::Destination::new(into.local().unwrap());
    let mut rng = fastrand::Rng::with_seed(7);
    let mut memory = vec![[0_u8; 64]; MAX_BURST];
    let (mut sent, mut got) = (0_u32, 0_u32);
    // Far more than the 65536 buffers that a ring counts before it begins anew.
    while got < 100_000 {
        for _ in 0..rng.usize(0..20) {
            from.send_one(&to, &sent.to_le_bytes()).unwrap();
            sent += 1;
        }
        let count = rng.usize(0..=MAX_BURST);
        let ended = ring
            .receive_many(
                Indexed { index: 0, socket: &into },
                memory[..count].iter_mut().map(|b| &mut b[..]),
                false,
            )
            .unwrap();
        for (buffer, received) in memory.iter().zip(ring.burst()) {
            let number = buffer[burst_head(false)..].first_chunk().copied().map(u32::from_le_bytes);
            assert_eq!((received.len, number), (4, Some(got)));
            got += 1;
        }
        match ended {
            Ended::Empty => assert_eq!(got, sent),
            Ended::OutOfBuffers => assert_eq!(ring.burst().len(), count),
            other => panic!("{other:?}"),
        }
    }
    assert!(ring.has_bursts());
}

#[test]
fn a_ring_that_is_dropped_lets_go_of_the_port_at_once() {
    if !has_uring() {
        return;
    }
    let mut config = UdpConfig::default();
    for looks in ALL_LOOKS.into_iter().cycle().take(40) {
        let mut uring = open(config.clone(), looks);
        config.port = uring.local().0.port();
        assert!(take(&mut uring, &mut pool(4), 8).is_empty());
    }
}

#[test]
fn another_thread_may_begin_but_not_go_on() {
    if !has_uring() {
        return;
    }
    for looks in ALL_LOOKS {
        let mut uring = open(UdpConfig::default(), looks);
        let mut uring = std::thread::spawn(move || {
            assert!(take(&mut uring, &mut pool(4), 8).is_empty());
            uring
        })
        .join()
        .unwrap();
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        stranger.send_to(b"x", uring.local().0).unwrap();
        for _ in 0..2 {
            let refused = uring.receive(&mut pool(4), &mut Vec::new(), Sockets::All, 8);
            assert!(refused.is_err(), "{looks:?} {refused:?}");
        }
    }
}

#[test]
fn a_wait_ends_when_data_comes_or_at_its_limit() {
    if !has_uring() {
        return;
    }
    for looks in ALL_LOOKS {
        let [(mut sender, channels), (mut reader, _)] = pair(&UdpConfig::default(), looks, 5);
        assert!(take(&mut reader, &mut pool(4), 8).is_empty());
        let start = Instant::now();
        reader.wait(Duration::from_millis(20));
        assert!(start.elapsed() >= Duration::from_millis(20));
        send(&mut sender, channels[3], "wake");
        let start = Instant::now();
        reader.wait(Duration::from_secs(60));
        assert!(start.elapsed() < Duration::from_secs(30));
        assert_eq!(take(&mut reader, &mut pool(4), 8), ["wake"]);
    }
}

#[test]
fn a_panic_while_looks_are_queued_leaves_nothing_for_the_kernel() {
    if !has_uring() {
        return;
    }
    let (ring, into) = (&mut Ring::open().unwrap(), socket());
    let mut buffer = [0; 64];
    let mut lent = Some(&mut buffer[..]);
    let looks = std::iter::repeat_with(|| {
        let into = Indexed { index: 0, socket: &into };
        (into, lent.take().expect("a panic at the second look, on purpose"))
    });
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ring.receive_each(looks, false)));
    assert!(panicked.is_err());
    assert!(ring.receive_each(std::iter::empty(), false).is_err(), "what is queued must never be submitted");
}

#[test]
fn a_watch_that_the_kernel_ends_is_begun_anew() {
    if !has_uring() {
        return;
    }
    let [(mut sender, channels), (mut reader, _)] = pair(&UdpConfig::default(), Looks::Watch, 3);
    let mut pool = pool(4);
    for text in ["first", "second", "third"] {
        assert!(take(&mut reader, &mut pool, 8).is_empty());
        reader.receiver.ring.cancel();
        assert!(take(&mut reader, &mut pool, 8).is_empty());
        send(&mut sender, channels[1], text);
        assert_eq!(take(&mut reader, &mut pool, 8), [text]);
    }
}
