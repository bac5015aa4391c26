//! Every idle strategy makes progress, and the one that sleeps does sleep.

use crate::cluster::{Cluster, Fan, Member, PATIENCE, config, open};
use sistrum::{Config, Event, Idle, JoinOptions, Node};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ALL: [Idle; 4] = [Idle::Spin, Idle::SpinYield, Idle::Park, Idle::Auto];
const TRIPS: u64 = 100;

/// Echoes what it is sent until it was sent nothing.
fn echo(mut node: Node, options: JoinOptions) {
    let group = node.join("pair", options).unwrap();
    let (started, mut over) = (Instant::now(), false);
    while !(over && node.settled(&group)) {
        assert!(started.elapsed() < PATIENCE);
        let polled = node.poll_for(Duration::from_secs(1), |cx, event| {
            if let Event::Deliver(message) = event {
                over = message.is_empty();
                cx.cast(&group, sistrum::Order::Fifo, message.bytes())?;
            }
            Ok(())
        });
        polled.unwrap();
    }
}

/// Sends a message and waits for its echo, again and again, then stays until the other is `done`.
fn ask(mut node: Node, options: JoinOptions, done: &AtomicBool) {
    let group = node.join("pair", options).unwrap();
    let (started, mut answers) = (Instant::now(), 0);
    while answers <= TRIPS {
        assert!(started.elapsed() < PATIENCE, "{answers} of {TRIPS}");
        let polled = node.poll_for(Duration::from_secs(1), |cx, event| {
            match event {
                Event::View(_) => {}
                Event::Deliver(_) => answers += 1,
                _ => return Ok(()),
            }
            match answers {
                0..TRIPS => cx.cast(&group, sistrum::Order::Fifo, &answers.to_le_bytes())?,
                TRIPS => cx.cast(&group, sistrum::Order::Fifo, b"")?,
                _ => {}
            }
            Ok(())
        });
        polled.unwrap();
    }
    while !done.load(Ordering::Acquire) {
        assert!(started.elapsed() < PATIENCE, "the other has not delivered everything");
        node.poll_for(Duration::from_millis(20), |_, _| Ok(())).unwrap();
    }
}

#[test]
fn every_strategy_makes_progress() {
    for idle in ALL {
        let (asker, echoer) = (open(&Config { idle, ..config() }), open(&Config { idle, ..config() }));
        let options = Fan::Multicast.options(vec![asker.endpoint(), echoer.endpoint()]);
        let done = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                echo(echoer, options.clone());
                // Release: pairs with the Acquire in `ask`.
                done.store(true, Ordering::Release);
            });
            ask(asker, options.clone(), &done);
        });
    }
}

#[test]
fn a_node_that_sleeps_is_woken_by_what_arrives() {
    for idle in [Idle::Park, Idle::Auto] {
        // In no group it has no timers: nothing else can wake it before the limit.
        let mut node = open(&Config { idle, ..config() });
        let to = node.endpoint().0;
        let started = Instant::now();
        let sender = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"wake up", to).unwrap();
        });
        while node.counters().malformed == 0 {
            node.poll_for(PATIENCE, |_, event| panic!("{event:?}")).unwrap();
        }
        assert!(started.elapsed() < PATIENCE / 2, "{idle:?} slept through it");
        sender.join().unwrap();
    }
}

/// Processor time of this thread.
fn thread_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}

/// Processor time that two settled members take in `wall` time in which nothing is cast.
fn idle_time(idle: Idle, wall: Duration) -> Option<Duration> {
    let mut cluster = Cluster::open(2, Fan::Multicast, &Config { idle, ..config() });
    cluster.cast(0, b"one");
    cluster.settle();
    let (before, started) = (thread_time()?, Instant::now());
    while started.elapsed() < wall {
        for Member { node, .. } in &mut cluster.members {
            node.poll_for(Duration::from_millis(20), |_, event| panic!("{event:?}")).unwrap();
        }
    }
    Some(thread_time()? - before)
}

#[test]
fn a_parked_node_leaves_the_processor_to_others() {
    let wall = Duration::from_millis(400);
    let [spin, park, auto] = [Idle::Spin, Idle::Park, Idle::Auto].map(|idle| idle_time(idle, wall));
    let (Some(spin), Some(park), Some(auto)) = (spin, park, auto) else {
        eprintln!("SKIPPED: this kernel does not tell a thread's processor time");
        return;
    };
    assert!(park * 4 < spin, "parked it took {park:?}, spinning {spin:?}");
    assert!(auto * 2 < spin, "auto took {auto:?}, spinning {spin:?}");
}
