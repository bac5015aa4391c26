//! Losses over real sockets are told apart: injected ones from those of a socket that was not read.

use crate::cluster::{Cluster, Fan, config, losses};
use sistrum::{Cause, Config, Gap, Pace, PeerLosses, Rank};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// What member `at` knows of the losses between itself and `of`.
fn between(cluster: &Cluster, at: usize, of: Rank) -> PeerLosses {
    let member = &cluster.members[at];
    let all = member.node.losses(&member.group);
    all.into_iter().find(|(rank, _)| *rank == of).expect("a member").1
}

fn gaps(cluster: &Cluster, at: usize) -> Vec<Gap> {
    let member = &cluster.members[at];
    member.node.gaps(&member.group)
}

/// Until the receiver's cause is known, which is looked for once a millisecond at most.
fn explained(cluster: &mut Cluster) -> PeerLosses {
    cluster.settle();
    cluster.until("cause", |cluster| between(cluster, 1, Rank(0)).unexplained == 0);
    between(cluster, 1, Rank(0))
}

#[test]
fn injected_losses_are_known_as_such_on_both_ends() {
    for (block_loss, buffer_loss) in [(0.05, 0.0), (0.0, 0.05)] {
        let config = Config { faults: losses(block_loss, buffer_loss), ..config() };
        let mut cluster = Cluster::open(2, Fan::Multicast, &config);
        for at in 0..4_000_u32 {
            cluster.cast(0, &at.to_le_bytes().repeat(100));
            if at % 50 == 0 {
                cluster.turn();
            }
        }
        let of = explained(&mut cluster);
        assert!(of.lost.injected > 0 && of.lost.total() == of.lost.injected, "{of:?}");
        assert_eq!((of.missing, of.repaired >= of.lost.injected), (0, true), "{of:?}");
        assert!(gaps(&cluster, 1).iter().all(|gap| gap.cause == Some(Cause::Injected) && !gap.is_open()));
        let told = between(&cluster, 0, Rank(1));
        assert!(told.naks > 0 && told.sent_again > 0 && told.lost.total() == 0, "{told:?}");
        assert!(gaps(&cluster, 0).iter().any(|gap| gap.stream == Rank(0) && gap.lost_by == Rank(1)));
    }
}

#[test]
fn what_a_full_socket_lost_is_put_down_to_it() {
    let config = Config { receive_buffer: 128 << 10, ..config() };
    let mut cluster = Cluster::open(2, Fan::Unicast, &config);
    // It does not read, and somebody else fills its socket.
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let sleeper = cluster.members[1].node.endpoint().0;
    for _ in 0..2_000 {
        stranger.send_to(&[0; 1_400], sleeper).expect("loopback takes it");
    }
    for at in 0..20_u32 {
        cluster.members[0].cast(&at.to_le_bytes().repeat(300)).expect("there is room");
        cluster.members[0].poll();
    }
    let of = explained(&mut cluster);
    assert!(of.lost.overflow > 0 && of.lost.total() == of.lost.overflow, "{of:?}");
    assert!(cluster.members[1].node.counters().medium.overflow > 0);
}

#[test]
fn a_pace_is_kept_over_real_sockets() {
    let mut config = config();
    config.tuning.pace = Some(Pace { rate: 2_000_000, burst: 20_000 });
    let mut cluster = Cluster::open(2, Fan::Multicast, &config);
    let started = Instant::now();
    let mut cast = 0;
    while cast < 400 {
        match cluster.members[0].cast(&[7; 1_000]) {
            Ok(()) => cast += 1,
            Err(_) => _ = cluster.turn(),
        }
    }
    cluster.settle();
    assert!(
        started.elapsed() >= Duration::from_millis(190),
        "400 kB, less the burst: {:?}",
        started.elapsed()
    );
}
