//! What other processes read of a node: exactly what it counts, for as long as it is there.

use crate::cluster::{Cluster, Fan, Member, PATIENCE, config, losses, open};
use sistrum::counters::{Place, Reading, Scope, Snapshot, Unpublished, files};
use sistrum::{
    Config, Counters, Event, Group, JoinOptions, Node, PeerLosses, Rank, Refused, SessionCounters,
};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A folder for one test, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sistrum-published-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn config(&self) -> Config {
        Config { counters: Place::In(self.0.clone()), ..config() }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What another process sees of a node now.
fn seen(node: &mut Node) -> Snapshot {
    node.publish();
    Snapshot::read(node.counters_file().expect("it is published")).expect("it can be read")
}

fn number(scope: &Scope, name: &str) -> u64 {
    scope.number(name).unwrap_or_else(|| panic!("no {name} in {scope:#?}"))
}

fn times(scope: &Scope, name: &str) -> (u64, u64) {
    match scope.reading(name) {
        Some(Reading::Histogram { sum, counts, .. }) => (counts.iter().sum(), *sum),
        other => panic!("{name}: {other:?}"),
    }
}

/// A node's counters, put together again from what is published.
fn put_together(seen: &Snapshot) -> Counters {
    let (engine, group) = (seen.scope("engine").unwrap(), seen.scope("group").unwrap());
    let (of_engine, of_group) = (|name| number(engine, name), |name| number(group, name));
    let session = SessionCounters {
        delivered: of_group("delivered_messages"),
        repaired: of_group("repaired_blocks"),
        repairs_sent: of_group("repairs_sent_blocks"),
        repairs_lent: of_group("repairs_lent_blocks"),
        duplicates: of_group("duplicate_blocks"),
        beyond: of_group("beyond_window_blocks"),
        refused_low: of_group("refused_low_blocks"),
        malformed_blocks: of_group("malformed_blocks"),
        wrong_checksums: of_group("wrong_checksums"),
        malformed_frames: of_group("malformed_frames"),
        foreign: of_group("foreign_blocks"),
        strangers: of_group("stranger_blocks"),
        naks_sent: of_group("naks_sent"),
        naks_received: of_group("naks_received"),
        acks_sent: of_group("acks_sent"),
        reductions: of_group("reductions"),
        reductions_undone: of_group("reductions_undone"),
    };
    let mut counters = Counters { session, ..Counters::default() };
    counters.engine.cycles = of_engine("cycles");
    counters.engine.empty_cycles = of_engine("empty_cycles");
    counters.engine.pauses = of_engine("pauses");
    counters.engine.busy_sends = of_engine("busy_sends");
    counters.medium.received_datagrams = of_engine("received_datagrams");
    counters.medium.received_blocks = of_engine("received_blocks");
    counters.medium.sends = of_engine("sends");
    counters.medium.sent_blocks = of_engine("sent_blocks");
    counters.medium.send_errors = of_engine("send_errors");
    counters.medium.unusable = of_engine("unusable_datagrams");
    counters.medium.overflow = of_engine("overflow_datagrams");
    counters.medium.injected = of_engine("injected_losses");
    counters.medium.pool_exhausted = of_engine("pool_exhausted_blocks");
    counters.medium.receive_switches = of_engine("receive_switches");
    counters.repaired = session.repaired;
    counters.malformed = of_engine("malformed_datagrams") + session.malformed_blocks;
    counters.unclaimed = of_engine("unclaimed_blocks");
    counters
}

fn losses_of(peer: &Scope) -> PeerLosses {
    let mut losses = PeerLosses {
        unexplained: number(peer, "unexplained_blocks"),
        repaired: number(peer, "repaired_blocks"),
        missing: number(peer, "missing_blocks"),
        sent_again: number(peer, "sent_again_blocks"),
        naks: number(peer, "naks"),
        evicted: number(peer, "evicted_gaps"),
        ..PeerLosses::default()
    };
    losses.lost.network = number(peer, "lost_network_blocks");
    losses.lost.overflow = number(peer, "lost_overflow_blocks");
    losses.lost.injected = number(peer, "lost_injected_blocks");
    losses.lost.pool = number(peer, "lost_pool_blocks");
    losses
}

#[test]
fn what_is_read_is_exactly_what_the_node_counts() {
    let folder = Folder::new("exact");
    let config = Config { faults: losses(0.02, 0.02), ..folder.config() };
    let mut cluster = Cluster::open(3, Fan::Multicast, &config);
    for at in 0..2_000_u32 {
        cluster.cast(at as usize % 3, &at.to_le_bytes().repeat(100));
        if at % 20 == 0 {
            cluster.turn();
        }
    }
    cluster.settle();
    assert_eq!(files(&folder.0).len(), 3);
    for member in &mut cluster.members {
        let seen = seen(&mut member.node);
        let counters = member.node.counters();
        assert!(counters.repaired > 0 && counters.session.delivered > 0, "{counters:?}");
        assert_eq!(put_together(&seen), counters);
        let engine = seen.scope("engine").unwrap();
        assert_eq!(engine.label("node"), "test");
        assert_eq!(engine.label("endpoint"), member.node.endpoint().to_string());
        assert_eq!(engine.label("about"), member.node.medium());
        assert_eq!((seen.left_out, seen.boot), (0, member.node.boot()));
        assert_eq!(seen.origin.process, std::process::id());
        let losses = member.node.losses(&member.group);
        let peers: Vec<_> = seen.scopes("peer").collect();
        assert_eq!(peers.len(), 2);
        let view = member.node.view(&member.group).unwrap();
        for (peer, (rank, losses)) in peers.iter().zip(losses) {
            assert_eq!(peer.label("rank"), rank.0.to_string());
            assert_eq!(peer.label("member"), view.member(rank).unwrap().endpoint.to_string());
            assert_eq!(losses_of(peer), losses);
            assert_eq!((number(peer, "behind_blocks"), number(peer, "suspected")), (0, 0));
        }
        let streams: Vec<_> = seen.scopes("stream").collect();
        let out = streams.iter().find(|stream| stream.label("direction") == "out").unwrap();
        let window = member.node.window(&member.group).unwrap() as u64;
        assert_eq!((streams.len(), number(out, "window_blocks")), (3, window));
        assert_eq!(number(out, "sealed_blocks"), number(out, "delivered_blocks"));
        assert_eq!(out.number("held_by_rank"), None, "nobody holds anybody back");
    }
}

#[test]
fn what_is_sent_to_one_alone_is_counted_by_pair() {
    let folder = Folder::new("pairs");
    let config = Config { faults: losses(0.05, 0.0), ..folder.config() };
    let mut cluster = Cluster::open(3, Fan::Multicast, &config);
    for at in 0..1_000_u32 {
        let started = Instant::now();
        let message = at.to_le_bytes().repeat(100);
        while let Err(refused) = {
            let member = &mut cluster.members[0];
            member.node.send(&member.group, Rank(1), &message)
        } {
            assert!(matches!(refused, Refused::Full { .. }) && started.elapsed() < PATIENCE, "{refused}");
            cluster.turn();
        }
        if at % 10 == 0 {
            cluster.turn();
        }
    }
    cluster.settle();
    let mut pair = |at: usize, rank: u16, names: [&str; 3]| {
        let seen = seen(&mut cluster.members[at].node);
        let peer = seen.scopes("peer").find(|peer| peer.label("rank") == rank.to_string()).unwrap();
        names.map(|name| number(peer, name))
    };
    let sent = ["sent_alone_messages", "sent_alone", "sent_alone_again_blocks"];
    let handed = ["handed_alone_messages", "handed_alone", "repaired_alone_blocks"];
    let ([messages, bytes, again], [got, got_bytes, repaired]) = (pair(0, 1, sent), pair(1, 0, handed));
    assert_eq!((messages, bytes), (1_000, 400_000));
    assert_eq!((got, got_bytes), (1_000, 400_000));
    assert!(again > 0 && repaired > 0, "{again} {repaired}");
    for (at, rank) in [(0, 2), (2, 0), (1, 2)] {
        assert_eq!((pair(at, rank, sent), pair(at, rank, handed)), ([0; 3], [0; 3]), "{at} and {rank}");
    }
    assert_eq!((pair(0, 1, handed), pair(1, 0, sent)), ([0; 3], [0; 3]), "nothing comes back");
}

#[test]
fn latencies_are_those_of_blocks_and_cycles() {
    let folder = Folder::new("latency");
    let began = Instant::now();
    let mut cluster = Cluster::open(2, Fan::Multicast, &folder.config());
    for at in 0..50_u32 {
        cluster.cast(0, &at.to_le_bytes());
        cluster.settle();
    }
    let seen = seen(&mut cluster.members[0].node);
    let elapsed = began.elapsed().as_nanos() as u64;
    let (engine, group) = (seen.scope("engine").unwrap(), seen.scope("group").unwrap());
    let (stable, stable_sum) = times(group, "stable_time");
    let (delivered, delivered_sum) = times(group, "delivered_time");
    assert!((40..=50).contains(&stable) && delivered <= stable, "{stable} {delivered}");
    assert!(stable_sum > 0 && stable_sum <= elapsed && delivered_sum <= elapsed);
    let (cycles, time) = times(engine, "cycle_time");
    let busy = number(engine, "cycles") - number(engine, "empty_cycles");
    assert!(cycles == busy || cycles + 1 == busy, "the last one is not over: {cycles} {busy}");
    assert!(time > 0 && time <= elapsed);
    // Who casts nothing has nothing to follow.
    let seen = self::seen(&mut cluster.members[1].node);
    assert_eq!(times(seen.scope("group").unwrap(), "stable_time"), (0, 0));
}

#[test]
fn polling_publishes_by_itself() {
    let folder = Folder::new("itself");
    let mut node = open(&folder.config());
    let path = node.counters_file().unwrap().to_owned();
    let first = Snapshot::read(&path).unwrap();
    let end = Instant::now() + PATIENCE;
    let cycles = |seen: &Snapshot| seen.scope("engine").and_then(|engine| engine.number("cycles"));
    while cycles(&Snapshot::read(&path).unwrap()).is_none_or(|cycles| cycles < 2) {
        node.poll(|_, _| Ok(())).unwrap();
        assert!(Instant::now() < end);
    }
    assert!(Snapshot::read(&path).unwrap().written > first.written);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&folder.0).unwrap().mode() & 0o777, 0o700);
    drop(node);
    assert!(!path.exists(), "the file goes with the node");
}

#[test]
fn who_cannot_publish_works_and_says_why() {
    let mut off = open(&Config { counters: Place::Off, ..config() });
    assert_eq!(off.counters_file(), Err(&Unpublished::Off));
    off.publish();
    off.poll(|_, _| Ok(())).unwrap();
    let nowhere = Config { counters: Place::In("/proc/none".into()), ..config() };
    let mut cluster = Cluster::open(2, Fan::Multicast, &nowhere);
    cluster.cast(0, b"all the same");
    cluster.settle();
    let refused = cluster.members[0].node.counters_file().unwrap_err().to_string();
    assert!(refused.starts_with("counters: /proc/none: "), "{refused}");
}

#[test]
fn who_holds_everybody_back_is_named_with_the_number() {
    let folder = Folder::new("held");
    let mut cluster = Cluster::open(3, Fan::Multicast, &folder.config());
    let message = [7; 1_000];
    let end = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < end, "the window is never full");
        match cluster.members[0].cast(&message) {
            Ok(()) => {}
            Err(Refused::Full { held_by: Rank(2), age, .. }) if age > Duration::from_millis(20) => break,
            Err(Refused::Full { .. }) => {}
            Err(refused) => panic!("{refused}"),
        }
        // The last one sleeps.
        cluster.members[..2].iter_mut().for_each(|member| _ = member.poll());
    }
    let seen = seen(&mut cluster.members[0].node);
    let out = seen.scopes("stream").find(|stream| stream.label("direction") == "out").unwrap();
    assert_eq!(number(out, "held_by_rank"), 2);
    assert!(number(out, "held_age") > 20_000_000);
    assert!(number(out, "held_blocks") >= 252, "the window, but for what is kept for order");
    let peers: Vec<_> = seen.scopes("peer").collect();
    assert_eq!(number(peers[1], "behind_blocks"), number(out, "held_blocks"));
    assert!(number(peers[1], "refused_casts") > 0);
    assert!(number(peers[0], "behind_blocks") < number(peers[1], "behind_blocks"));
}

/// Polls all until something holds of what the first publishes.
fn until(members: &mut [(Node, Group)], what: &str, is_so: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let end = Instant::now() + PATIENCE;
    loop {
        for (node, _) in members.iter_mut() {
            node.poll(|_, _: Event<'_>| Ok(())).expect("loopback does not break");
        }
        let seen = seen(&mut members[0].0);
        if is_so(&seen) {
            return seen;
        }
        assert!(Instant::now() < end, "never: {what}: {seen:#?}");
        std::thread::yield_now();
    }
}

#[test]
fn views_come_and_go_with_their_cause() {
    let folder = Folder::new("views");
    let name = format!("published {}", std::process::id());
    let mut members: Vec<_> = (0..3)
        .map(|_| {
            let mut node = open(&folder.config());
            let options = JoinOptions::peer().expected_members(3).suspect_after(Duration::from_millis(200));
            let group = node.join(&name, options).unwrap();
            (node, group)
        })
        .collect();
    let of = |seen: &Snapshot, count| seen.scope("group").unwrap().number("members") == Some(count);
    let none = seen(&mut members[0].0);
    let group = none.scope("group").unwrap();
    assert_eq!(
        (group.label("group"), group.label("role"), group.number("view")),
        (&name[..], "member", None)
    );
    // Before it is told, a first view may have as many.
    let is_told = |seen: &Snapshot| seen.scope("group").unwrap().number("view_changing") == Some(0);
    until(&mut members, "three", |seen| of(seen, 3) && is_told(seen) && seen.scopes("peer").count() == 2);
    let (last, _) = members.pop().unwrap();
    let gone = last.endpoint().to_string();
    drop(last);
    let seen = until(&mut members, "two", |seen| of(seen, 2) && is_told(seen));
    let group = seen.scope("group").unwrap();
    assert_eq!(group.label("about"), format!("{gone} was suspected"));
    assert_eq!((seen.scopes("peer").count(), seen.scopes("stream").count()), (1, 2));
    assert!(number(group, "views") >= 2 && number(group, "view_age") < PATIENCE.as_nanos() as u64);
    let (pauses, time) = times(group, "view_change_pause");
    assert!(pauses >= 1 && time > 0, "{pauses} {time}");
    assert!(number(group, "agreement_frames") > 0);
}

#[test]
fn readers_and_observers_are_published_too() {
    let folder = Folder::new("roles");
    let mut node = open(&folder.config());
    node.join("read", JoinOptions::reader().multicast("239.255.1.1:21999".parse().unwrap())).unwrap();
    let mut watched = node.join("watched", JoinOptions::observer()).unwrap();
    let seen = seen(&mut node);
    let roles: Vec<_> =
        seen.scopes("group").map(|group| (group.label("group"), group.label("role"))).collect();
    assert_eq!(roles, [("read", "reader"), ("watched", "observer")]);
    // Who looks no more is published no more, and leaves its place to the next.
    let names = |node: &mut Node| {
        let seen = self::seen(node);
        seen.scopes("group").map(|group| group.label("group").to_owned()).collect::<Vec<_>>()
    };
    for at in 0..40 {
        node.leave(&watched);
        assert_eq!(names(&mut node), ["read"]);
        watched = node.join(&format!("watched {at}"), JoinOptions::observer()).unwrap();
        assert_eq!(names(&mut node), ["read".to_owned(), format!("watched {at}")]);
    }
    let Member { node, .. } = &mut Cluster::open(1, Fan::Multicast, &folder.config()).members[0];
    assert_eq!(self::seen(node).scopes("peer").count(), 0, "alone");
}
