//! What is sent to one member alone, over real sockets: in causal order with the casts, whole, and refused where it cannot be.

use crate::cluster::{Cluster, Fan, PATIENCE, Seen, config, losses};
use sistrum::{Config, Event, Group, Node, Order, Rank, Refused};

/// What a member was handed of another, in its order: whether it was for it alone, and what it said.
fn heard(cluster: &Cluster, at: usize, from: u16) -> Vec<(bool, &[u8])> {
    let mut heard = Vec::new();
    for seen in &cluster.members[at].seen {
        match seen {
            Seen::Direct(rank, bytes) if rank.0 == from => heard.push((true, &bytes[..])),
            Seen::Message(rank, bytes) if rank.0 == from => heard.push((false, &bytes[..])),
            _ => {}
        }
    }
    heard
}

/// Does `act` at a member until its window has room for it.
fn until_room(
    cluster: &mut Cluster,
    at: usize,
    mut act: impl FnMut(&mut Node, &Group) -> Result<(), Refused>,
) {
    let started = std::time::Instant::now();
    loop {
        let member = &mut cluster.members[at];
        match act(&mut member.node, &member.group) {
            Ok(()) => return,
            Err(Refused::Full { .. }) => cluster.turn(),
            Err(other) => panic!("{other}"),
        };
        assert!(started.elapsed() < PATIENCE, "no room");
    }
}

fn until_sent(cluster: &mut Cluster, from: usize, to: u16, message: &[u8]) {
    until_room(cluster, from, |node, group| node.send(group, Rank(to), message));
}

#[test]
fn sends_and_casts_come_in_the_order_in_which_they_were_made_and_to_nobody_else() {
    for (fan, faults) in [(Fan::Multicast, losses(0.0, 0.0)), (Fan::Unicast, losses(0.05, 0.0))] {
        let mut cluster = Cluster::open(3, fan, &Config { faults, ..config() });
        let mut expected: [Vec<(bool, Vec<u8>)>; 2] = Default::default();
        for at in 0..200_u32 {
            // Now and then one that needs several blocks.
            let message = at.to_le_bytes().repeat(if at % 50 == 7 { 4_000 } else { 1 });
            if at % 3 == 0 {
                let order = [Order::Causal, Order::Total][at as usize / 3 % 2];
                until_room(&mut cluster, 0, |node, group| node.cast(group, order, &message));
                expected.iter_mut().for_each(|expected| expected.push((false, message.clone())));
            } else {
                until_sent(&mut cluster, 0, 1 + (at % 2) as u16, &message);
                expected[at as usize % 2].push((true, message));
            }
        }
        for (at, expected) in (1..).zip(&expected) {
            cluster.until("all of it", |cluster| heard(cluster, at, 0).len() == expected.len());
            assert!(
                heard(&cluster, at, 0)
                    .into_iter()
                    .eq(expected.iter().map(|(alone, what)| (*alone, &what[..])))
            );
        }
        cluster.settle();
    }
}

#[test]
fn an_answer_may_be_sent_from_inside_the_handler_of_a_question() {
    let mut cluster = Cluster::open(2, Fan::Unicast, &config());
    let group = cluster.members[0].group;
    until_sent(&mut cluster, 0, 1, b"question");
    let started = std::time::Instant::now();
    let mut answers = Vec::new();
    while answers.len() < 2 {
        assert!(started.elapsed() < PATIENCE, "no answer");
        let [asker, other] = &mut cluster.members[..] else { panic!("two members") };
        let answered = other.node.poll(|cx, event| match event {
            Event::Direct(question) => {
                cx.send(&group, question.from(), b"answer")?;
                // A cast that follows comes behind it.
                Ok(cx.cast(&group, Order::Causal, b"told all")?)
            }
            _ => Ok(()),
        });
        answered.expect("there is room for an answer");
        let asked = asker.node.poll(|_, event| {
            match event {
                Event::Direct(answer) => answers.push(answer.bytes().to_vec()),
                Event::Deliver(cast) => answers.push(cast.bytes().to_vec()),
                _ => {}
            }
            Ok(())
        });
        asked.expect("loopback does not break");
    }
    assert_eq!(answers, [&b"answer"[..], b"told all"]);
}

#[test]
fn who_is_no_other_member_cannot_be_sent_to() {
    let mut cluster = Cluster::open(2, Fan::Unicast, &config());
    let group = cluster.members[0].group;
    for nobody in [Rank(0), Rank(2), Rank::READER] {
        assert_eq!(cluster.members[0].node.send(&group, nobody, b"?"), Err(Refused::NoMember(nobody)));
    }
    until_sent(&mut cluster, 0, 1, b"last words");
    // A goodbye is said when they have come.
    cluster.members[0].node.leave(&group);
    assert_eq!(cluster.members[0].node.send(&group, Rank(1), b"?"), Err(Refused::Left));
    cluster.until("goodbye", |cluster| {
        cluster.members[1].seen.iter().any(|seen| matches!(seen, Seen::Left(..)))
    });
    assert_eq!(heard(&cluster, 1, 0), [(true, &b"last words"[..])]);
    assert_eq!(cluster.members[1].node.send(&group, Rank(0), b"?"), Err(Refused::NoMember(Rank(0))));
}

#[test]
fn a_message_that_can_never_fit_is_refused_and_a_full_window_names_who_holds_it() {
    let mut cluster = Cluster::open(2, Fan::Unicast, &config());
    let group = cluster.members[0].group;
    let sender = &mut cluster.members[0].node;
    assert!(matches!(sender.send(&group, Rank(1), &[0; 1 << 20]), Err(Refused::TooLarge { .. })));
    let refused = (0..10_000).find_map(|_| sender.send(&group, Rank(1), &[7; 1_000]).err());
    assert!(matches!(refused, Some(Refused::Full { .. })), "{refused:?}");
}
