//! Replies from inside the handler, and handlers that fail.

use crate::cluster::{Cluster, Fan, PATIENCE, config, multicast, open_nth, whole};
use sistrum::{Config, Error, Event, Group, JoinOptions, Node, Order, Rank};
use std::time::Instant;

#[test]
fn all_of_many_groups_have_the_same_window_and_carry_messages() {
    let names: Vec<_> = (0..64).map(|at| format!("group {at}")).collect();
    let Crossed { nodes: [mut caster, mut hearer], groups } =
        Crossed::open(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let windows: Vec<_> = groups.iter().map(|group| caster.window(group).unwrap()).collect();
    assert!(windows.iter().all(|&window| window == windows[0]), "{windows:?}");
    for (at, group) in groups.iter().enumerate() {
        caster.cast(group, Order::Fifo, &[at as u8; 100]).unwrap();
    }
    let (started, mut heard) = (Instant::now(), vec![0; groups.len()]);
    while heard != [1; 64] {
        assert!(started.elapsed() < PATIENCE, "{heard:?}");
        caster.poll(|_, _| Ok(())).unwrap();
        hearer
            .poll(|cx, event| {
                let Event::Deliver(message) = event else { return Ok(()) };
                let at = usize::from(message.bytes()[0]);
                assert_eq!(cx.group(), groups[at], "a message is delivered in its group");
                heard[at] += 1;
                Ok(())
            })
            .unwrap();
    }
}

#[test]
fn a_reply_is_cast_from_inside_the_handler() {
    let mut cluster = Cluster::open(2, Fan::Multicast, &config());
    let [asker, echoer] = &mut cluster.members[..] else { panic!("two were opened") };
    asker.cast(b"one").expect("there is room");
    asker.cast(&[7; 10_000]).expect("there is room");
    let started = Instant::now();
    while asker.of(Rank(1)).len() < 2 {
        assert!(started.elapsed() < PATIENCE);
        let group = echoer.group;
        let echoed = echoer.node.poll(|cx, event| match event {
            Event::Deliver(message) => {
                assert_eq!(cx.group(), group);
                Ok(cx.cast(&group, Order::Fifo, message.bytes())?)
            }
            _ => Ok(()),
        });
        echoed.expect("there is room");
        asker.poll();
    }
    assert_eq!(asker.of(Rank(1)), [&b"one"[..], &[7; 10_000]]);
}

/// Two nodes that are both in the same several groups.
struct Crossed {
    nodes: [Node; 2],
    groups: Vec<Group>,
}

impl Crossed {
    fn open(names: &[&str]) -> Self {
        let config = Config { groups: names.len(), ..config() };
        let mut nodes = [0, 1].map(|at| open_nth(&config, at));
        let members: Vec<_> = nodes.iter().map(Node::endpoint).collect();
        let options: Vec<_> =
            names.iter().map(|_| JoinOptions::members(members.clone()).multicast(multicast())).collect();
        let mut groups = Vec::new();
        for node in &mut nodes {
            let joined = names.iter().zip(&options);
            groups = joined.map(|(name, options)| node.join(name, options.clone()).unwrap()).collect();
        }
        let mut crossed = Self { nodes, groups };
        let started = Instant::now();
        while !crossed.nodes.iter().all(|node| crossed.groups.iter().all(|group| node.view(group).is_some()))
        {
            assert!(started.elapsed() < PATIENCE, "no views");
            crossed.nodes.iter_mut().for_each(|node| {
                node.poll(|_, _| Ok(())).unwrap();
            });
        }
        crossed
    }
}

#[test]
fn a_handler_casts_into_every_group_of_its_node() {
    let Crossed { nodes: [mut asker, mut echoer], groups } = Crossed::open(&["a", "b", "c"]);
    for (at, group) in groups.iter().enumerate() {
        asker.cast(group, Order::Fifo, &[at as u8]).unwrap();
    }
    let mut answers = Vec::new();
    let started = Instant::now();
    while answers.len() < 9 {
        assert!(started.elapsed() < PATIENCE, "{answers:?}");
        echoer
            .poll(|cx, event| {
                if let Event::Deliver(message) = event {
                    // Into the group of the event, and into those before and after it.
                    for group in &groups {
                        cx.cast(group, Order::Fifo, message.bytes())?;
                    }
                }
                Ok(())
            })
            .unwrap();
        asker
            .poll(|cx, event| {
                if let Event::Deliver(message) = event {
                    let group = groups.iter().position(|group| *group == cx.group()).unwrap();
                    answers.push((group, whole(&message)[0]));
                }
                Ok(())
            })
            .unwrap();
    }
    answers.sort_unstable();
    assert_eq!(answers, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]);
}

#[test]
fn a_handler_that_fails_gets_its_event_again_and_the_rest_after_it() {
    let mut cluster = Cluster::open(2, Fan::Multicast, &config());
    for at in 0..100_u8 {
        cluster.cast(0, &[at]);
    }
    cluster.cast(0, &[100; 20_000]);
    let (mut got, mut offered, mut failures) = (Vec::new(), 0, 0);
    let started = Instant::now();
    while got.len() < 101 {
        assert!(started.elapsed() < PATIENCE);
        cluster.members[0].poll();
        let polled = cluster.members[1].node.poll(|_, event| {
            if let Event::Deliver(message) = event {
                offered += 1;
                // Every message is refused when it is offered first, the long one too.
                if offered % 2 == 1 {
                    return Err(Error::handler("not yet"));
                }
                got.push(message.bytes()[0]);
            }
            Ok(())
        });
        if let Err(error) = polled {
            assert_eq!(error.to_string(), "not yet");
            failures += 1;
        }
    }
    assert_eq!(got, (0..=100).collect::<Vec<_>>());
    assert_eq!((offered, failures), (202, 101));
}

#[test]
fn a_view_is_offered_again_as_well() {
    let mut node = open_nth(&config(), 0);
    let alone = vec![node.endpoint()];
    let group = node.join("alone", JoinOptions::members(alone)).unwrap();
    let mut offered = 0;
    let started = Instant::now();
    while offered < 3 {
        assert!(started.elapsed() < PATIENCE);
        let polled = node.poll(|_, event| {
            assert!(matches!(event, Event::View(_)), "{event:?}");
            offered += 1;
            if offered < 3 { Err(Error::handler("not yet")) } else { Ok(()) }
        });
        assert_eq!(polled.is_err(), offered > 0 && offered < 3);
    }
    node.poll(|_, event| panic!("{event:?} after the view")).unwrap();
    assert!(node.view(&group).is_some());
}

#[test]
fn a_refusal_that_is_passed_on_is_tried_again() {
    // Each question is answered by more than a quarter of the window: most replies meet a full one first.
    let config = Config { pool_blocks: 1024, ..config() };
    let mut cluster = Cluster::open(2, Fan::Multicast, &config);
    let [asker, echoer] = &mut cluster.members[..] else { panic!("two were opened") };
    for at in 0..40_u8 {
        asker.cast(&[at]).expect("there is room");
    }
    let mut refused = 0;
    let started = Instant::now();
    while asker.of(Rank(1)).len() < 40 {
        assert!(started.elapsed() < PATIENCE);
        asker.poll();
        let group = echoer.group;
        let polled = echoer.node.poll(|cx, event| match event {
            Event::Deliver(message) => Ok(cx.cast(&group, Order::Fifo, &[message.bytes()[0]; 100_000])?),
            _ => Ok(()),
        });
        match polled {
            Ok(_) => {}
            Err(Error::Refused(sistrum::Refused::Full { .. })) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    let answers: Vec<_> = asker.of(Rank(1)).iter().map(|answer| (answer.len(), answer[0])).collect();
    assert_eq!(answers, (0..40).map(|at| (100_000, at)).collect::<Vec<_>>());
    assert!(refused > 0, "the window was never full: this test proves nothing");
}

/// Polls a node whose handler refuses some messages for good, and keeps the others as (group, sender).
fn poll_refusing(node: &mut Node, taken: &mut Vec<(Group, Rank)>, refuses: impl Fn(Group, Rank) -> bool) {
    let _refused = node.poll(|cx, event| {
        let Event::Deliver(message) = event else { return Ok(()) };
        if refuses(cx.group(), message.from()) {
            return Err(Error::handler("not now"));
        }
        taken.push((cx.group(), message.from()));
        Ok(())
    });
}

/// Otherwise two members that each wait for room to reply would wait for each other: the room is freed by what they deliver.
#[test]
fn an_event_that_is_refused_holds_up_no_other_sender() {
    let mut cluster = Cluster::open(3, Fan::Multicast, &config());
    cluster.cast(0, b"refused");
    let mut taken = Vec::new();
    let started = Instant::now();
    for round in 0.. {
        assert!(started.elapsed() < PATIENCE, "{taken:?}");
        // The refused message is the first that is ready, long before the other sender's.
        if round == 100 {
            cluster.cast(1, b"taken");
        }
        cluster.members[0].poll();
        cluster.members[1].poll();
        poll_refusing(&mut cluster.members[2].node, &mut taken, |_, from| from == Rank(0));
        if !taken.is_empty() {
            break;
        }
    }
    assert_eq!(taken, [(cluster.members[2].group, Rank(1))]);
}

#[test]
fn an_event_that_is_refused_holds_up_no_other_group() {
    let Crossed { nodes: [mut caster, mut refuser], groups } = Crossed::open(&["a", "b", "c"]);
    groups.iter().for_each(|group| caster.cast(group, Order::Fifo, b"x").unwrap());
    let mut taken = Vec::new();
    let started = Instant::now();
    while taken.len() < 2 {
        assert!(started.elapsed() < PATIENCE, "{taken:?}");
        caster.poll(|_, _| Ok(())).unwrap();
        poll_refusing(&mut refuser, &mut taken, |group, _| group == groups[0]);
    }
    assert_eq!(taken, [(groups[1], Rank(0)), (groups[2], Rank(0))]);
}
