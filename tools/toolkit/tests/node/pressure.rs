//! Back-pressure: who holds everybody back, for how long, and that casting goes on.

use crate::cluster::{Cluster, Fan, Member, PATIENCE, config, open};
use sistrum::{Error, Event, JoinOptions, Order, Rank, Refused};
use std::time::{Duration, Instant};

#[test]
fn a_member_that_does_not_poll_is_named_and_casting_goes_on_once_it_does() {
    for sleeper in [1, 2] {
        let mut cluster = Cluster::open(3, Fan::Multicast, &config());
        let (mut cast, mut first) = (0_u32, None);
        let started = Instant::now();
        let age = loop {
            match cluster.members[0].cast(&cast.to_le_bytes().repeat(100)) {
                Ok(()) => cast += 1,
                Err(Refused::Full { held_by, behind, age }) => {
                    // Until the others have delivered, it may be any of them.
                    let since = *first.get_or_insert_with(Instant::now);
                    if since.elapsed() > Duration::from_millis(50) {
                        assert_eq!((held_by, behind), (Rank(sleeper as u16), 252));
                        break age;
                    }
                }
                Err(refused) => panic!("{refused}"),
            }
            let awake = cluster.members.iter_mut().enumerate().filter(|(rank, _)| *rank != sleeper);
            awake.for_each(|(_, member)| _ = member.poll());
        };
        assert!(cast >= 252, "a window has 256 blocks, and keeps four for frames of order: {cast}");
        assert!(age >= Duration::from_millis(40) && age <= started.elapsed(), "{age:?}");
        for _ in 0..1_000 {
            cluster.cast(0, &cast.to_le_bytes().repeat(100));
            cast += 1;
        }
        cluster.settle();
        let expected: Vec<_> = (0..cast).map(|at| at.to_le_bytes().repeat(100)).collect();
        assert!(cluster.members[1..].iter().all(|member| member.of(Rank(0)) == expected));
    }
}

#[test]
fn who_holds_back_for_long_is_told_while_it_lasts_and_when_it_is_over() {
    const AFTER: Duration = Duration::from_millis(20);
    let mut config = config();
    config.tuning.held_back_ns = AFTER.as_nanos() as u64;
    let mut cluster = Cluster::open(3, Fan::Unicast, &config);
    let (mut held, mut released, started) = (Vec::new(), Vec::new(), Instant::now());
    // The last member does not poll until that was told twice.
    while released.is_empty() {
        assert!(started.elapsed() < PATIENCE, "{held:?}");
        let is_awake = held.len() >= 2;
        if !is_awake {
            let refused = cluster.members[0].cast(&[7; 1_000]);
            assert!(matches!(refused, Ok(()) | Err(Refused::Full { .. })), "{refused:?}");
        }
        let Member { node, group, .. } = &mut cluster.members[0];
        let (told, ended) = (&mut held, &mut released);
        let polled = node.poll(|cx, event| {
            match event {
                Event::HeldBack(holdup) if !is_awake => told.push(holdup),
                Event::Released(by, lasted) => {
                    cx.cast(&cx.group(), Order::Fifo, b"at last")?;
                    ended.push((by, lasted));
                }
                other => panic!("{other:?}"),
            }
            Ok(())
        });
        // There may be no room yet: then it is told again.
        assert!(matches!(polled, Ok(_) | Err(Error::Refused(Refused::Full { .. }))), "{polled:?}");
        let pressure = node.pressure(group);
        cluster.members[1].poll();
        if is_awake {
            cluster.members[2].poll();
        } else if let Some(holdup) = held.last() {
            let (rank, pressure) = pressure[1];
            assert_eq!((rank, pressure.behind), (Rank(2), 252), "{pressure:?}");
            assert!(pressure.refusals >= holdup.refusals && !pressure.refused.is_zero(), "{pressure:?}");
        }
    }
    for holdup in &held {
        assert_eq!((holdup.by, holdup.behind), (Rank(2), 252));
        assert!(holdup.still >= holdup.lasts && holdup.refusals > 0, "{holdup:?}");
    }
    assert!(held[0].lasts >= AFTER && held[1].lasts >= 2 * held[0].lasts, "{held:?}");
    let (by, lasted) = released[0];
    assert!(by == Rank(2) && lasted >= held[1].lasts, "{released:?}");
    cluster.settle();
    assert_eq!(cluster.members[1].of(Rank(0)).last(), Some(&&b"at last"[..]));
}

#[test]
fn a_full_window_says_so_in_words() {
    let refused = Refused::Full { held_by: Rank(2), behind: 252, age: Duration::from_millis(3) };
    let said = "the window is full: r2 has not delivered 252 blocks, the oldest for 3ms now";
    assert_eq!(refused.to_string(), said);
}

#[test]
fn nothing_can_be_cast_before_the_view() {
    let (mut node, other) = (open(&config()), open(&config()));
    let members = vec![node.endpoint(), other.endpoint()];
    let group = node.join("pair", JoinOptions::members(members)).unwrap();
    for _ in 0..10 {
        assert_eq!(node.cast(&group, Order::Fifo, b"early"), Err(Refused::NoView));
        assert_eq!(
            node.cast_with(&group, Order::Fifo, 5, |_| panic!("there is no place")),
            Err(Refused::NoView)
        );
        assert_eq!((node.max_message(&group), node.view(&group)), (None, None));
        assert!(!node.settled(&group));
        node.poll(|_, event| panic!("{event:?} without the other member")).unwrap();
    }
}

#[test]
fn a_group_of_another_node_is_no_group_here() {
    let mut one = Cluster::open(1, Fan::Unicast, &config());
    let mut other = open(&config());
    let alone = vec![other.endpoint()];
    let foreign = other.join("elsewhere", JoinOptions::members(alone)).unwrap();
    let Member { node, group, .. } = &mut one.members[0];
    assert_eq!(node.cast(&foreign, Order::Fifo, b""), Err(Refused::NoView));
    assert!(node.view(&foreign).is_none() && !node.settled(&foreign));
    assert_eq!(node.cast(group, Order::Fifo, b""), Ok(()));
}

#[test]
fn alone_in_a_group_every_cast_is_settled_at_once() {
    let mut cluster = Cluster::open(1, Fan::Multicast, &config());
    for at in 0..3_000_u32 {
        cluster.cast(0, &[at as u8; 1_000]);
    }
    cluster.settle();
    assert!(cluster.members[0].of(Rank(0)).is_empty(), "nobody hears himself");
    let Member { node, group, .. } = &mut cluster.members[0];
    node.poll(|_, event: Event<'_>| panic!("{event:?}")).unwrap();
    assert!(node.settled(group));
}
