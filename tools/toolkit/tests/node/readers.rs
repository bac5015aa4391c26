//! Readers and goodbyes over real sockets.

use crate::cluster::{Cluster, GROUP, Member, PATIENCE, Seen, config, multicast, open, refusal};
use sistrum::{
    Departure, Event, Group, JoinOptions, Node, Order, Rank, Refused, StateTuning, View, ViewMember,
};
use std::time::{Duration, Instant};

fn cluster_at(group: std::net::SocketAddr, count: usize) -> Cluster {
    let nodes: Vec<_> = (0..count).map(|_| open(&config())).collect();
    let endpoints = nodes.iter().map(Node::endpoint).collect();
    Cluster::join(nodes, &JoinOptions::members(endpoints).multicast(group))
}

#[test]
fn a_reader_that_comes_late_gets_all_that_follows_and_gates_nobody() {
    let group = multicast();
    let mut cluster = cluster_at(group, 2);
    for number in 0..100_u32 {
        cluster.cast(0, &number.to_le_bytes());
    }
    cluster.settle();
    let mut reader = Member::new(open(&config()), JoinOptions::reader().multicast(group));
    cluster.until("entry", |_| {
        reader.poll();
        reader.seen.contains(&Seen::Reading(Rank(0)))
    });
    for number in 100..400_u32 {
        cluster.cast(0, &number.to_le_bytes().repeat(1 + number as usize * 10));
        reader.poll();
    }
    cluster.until("last message", |_| {
        reader.poll();
        reader.of(Rank(0)).len() == 300
    });
    let expected = (100..400_u32).map(|number| number.to_le_bytes().repeat(1 + number as usize * 10));
    assert!(reader.of(Rank(0)).into_iter().eq(expected));
    assert_eq!(reader.cast(b"nobody listens"), Err(Refused::NoView));
    // It reads no more, and the others go on.
    for _ in 0..2_000 {
        cluster.cast(0, &[7; 1_000]);
    }
    cluster.settle();
}

#[test]
fn a_goodbye_is_told_once_all_is_delivered_and_frees_the_others() {
    let mut cluster = cluster_at(multicast(), 3);
    for at in 0..50_u8 {
        cluster.cast(2, &[at; 500]);
    }
    let leaver = &mut cluster.members[2];
    leaver.node.leave(&leaver.group);
    assert_eq!(leaver.node.cast(&leaver.group, Order::Fifo, &[0; 2_000]), Err(Refused::Left));
    cluster.until("goodbye", |cluster| cluster.members[2].node.has_left(&cluster.members[2].group));
    let told = Seen::Left(Rank(2), Departure::Goodbye);
    cluster
        .until("word of it", |cluster| cluster.members[..2].iter().all(|member| member.seen.contains(&told)));
    for member in &cluster.members[..2] {
        assert_eq!(member.of(Rank(2)).len(), 50);
        assert_eq!(member.seen.last(), Some(&told));
    }
    // Its process ends; nobody waits for it.
    cluster.members.truncate(2);
    for _ in 0..1_000 {
        cluster.cast(0, &[9; 1_000]);
    }
    cluster.settle();
    let (rank, silent) = cluster.members[0].node.silence(&cluster.members[0].group).unwrap();
    assert!(rank == Rank(1) && silent < Duration::from_secs(60), "{rank} {silent:?}");
}

#[test]
fn a_reader_without_a_multicast_address_is_refused() {
    let mut node = open(&config());
    let error = refusal(node.join(GROUP, JoinOptions::reader()));
    assert!(error.starts_with("reader: a reader needs the group's multicast address"), "{error}");
}

/// A peer or a reader of peers: what it was handed, by view and sender.
struct Party {
    node: Node,
    group: Group,
    views: Vec<View>,
    heard: Vec<(u32, ViewMember, Vec<u8>)>,
    /// Gaps, and views that were missed, behind so many messages.
    lost: Vec<usize>,
    /// All that was heard and cast, in whatever order.
    state: Vec<u8>,
    /// Why there was no state, behind so many messages.
    failed: Option<(String, usize)>,
}

impl Party {
    fn join(name: &str, options: JoinOptions) -> Self {
        let mut node = open(&config());
        let group = node.join(name, options).expect("a group");
        let (views, heard, lost, state) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { node, group, views, heard, lost, state, failed: None }
    }

    fn poll(&mut self) {
        let Self { node, views, heard, lost, state, failed, .. } = self;
        node.poll(|_, event| {
            match event {
                Event::View(view) => views.push(view.clone()),
                Event::Deliver(message) => {
                    let view = views.last().expect("a view comes first");
                    let sender = *view.member(message.from()).expect("a member");
                    state.extend(message.bytes());
                    heard.push((view.id().number.0, sender, message.bytes().to_vec()));
                }
                Event::Gap(..) | Event::Missed(_) => lost.push(heard.len()),
                Event::TransferFailed(why) => *failed = Some((why.to_string(), heard.len())),
                Event::Snapshot(snapshot) => snapshot.domain("all").extend_from_slice(state),
                Event::State(block) => {
                    if block.is_first() {
                        state.clear();
                    }
                    state.extend(block.bytes);
                }
                _ => {}
            }
            Ok(())
        })
        .expect("a poll");
    }

    fn is_in_view_of(&self, count: usize) -> bool {
        self.views.last().is_some_and(|view| view.members().len() == count)
    }
}

/// Polls all, while each peer casts what it can, until something holds of them.
fn until(parties: &mut [Party], what: &str, casts: bool, is_so: impl Fn(&[Party]) -> bool) {
    let (end, mut number) = (Instant::now() + PATIENCE, 0_u32);
    while !is_so(parties) {
        for party in parties.iter_mut() {
            if casts {
                number += 1;
                // A reader is refused, and who is in no view yet.
                let cast = party.node.cast(&party.group, Order::Causal, &number.to_le_bytes());
                if cast.is_ok() {
                    party.state.extend(number.to_le_bytes());
                }
            }
            party.poll();
        }
        let state = || parties.iter().map(|party| format!("{:?}\n", party.views.last())).collect::<String>();
        assert!(Instant::now() < end, "never: {what}: {}", state());
        std::thread::yield_now();
    }
}

#[test]
fn a_reader_of_peers_goes_with_them_from_view_to_view_when_one_dies() {
    let readers = [JoinOptions::reader().of_peers(), JoinOptions::causal_reader().of_peers()];
    for (at, reader) in readers.into_iter().enumerate() {
        let name = format!("read {at} {}", std::process::id());
        let peer = || {
            JoinOptions::peer().expected_members(3).suspect_after(Duration::from_millis(300)).max_members(4)
        };
        let mut parties: Vec<Party> = (0..3).map(|_| Party::join(&name, peer())).collect();
        until(&mut parties, "three are together", false, |parties| {
            parties.iter().all(|party| party.is_in_view_of(3))
        });
        parties.push(Party::join(&name, reader));
        until(&mut parties, "it reads", true, |parties| !parties[3].heard.is_empty());
        assert_eq!(parties[3].views[0].me(), Rank::READER);
        let Party { node, group, .. } = &mut parties[3];
        assert_eq!(node.cast(group, Order::Fifo, b"nobody listens"), Err(Refused::NoView));
        // Once it has read a full stamp of each, it knows of what follows whether the cut has its causes.
        until(&mut parties, "it reads all", true, |parties| {
            let of = |rank| *parties[3].views[0].member(Rank(rank)).expect("a member");
            let heard = |rank| parties[3].heard.iter().filter(|(_, sender, _)| *sender == of(rank)).count();
            (0..3).all(|rank| heard(rank) > 1_500)
        });
        let before = parties[3].lost.len();
        // One is gone without a word, in the middle of it all.
        drop(parties.remove(0));
        until(&mut parties, "the others go on", true, |parties| {
            parties.iter().all(|party| party.is_in_view_of(2))
        });
        let enough = parties[2].heard.len() + 100;
        until(&mut parties, "they go on to be read", true, |parties| parties[2].heard.len() >= enough);
        until(&mut parties, "all is settled", false, |parties| {
            parties[..2].iter().all(|party| party.node.settled(&party.group))
        });
        let number = parties[0].views.last().expect("a view").id().number.0;
        // What each of them cast in the new view is what the other was handed of it.
        for (at, from) in [(0, 1), (1, 0)] {
            let of = |party: &Party, sender: ViewMember| -> Vec<Vec<u8>> {
                let its = party.heard.iter().filter(|(view, who, _)| (*view, *who) == (number, sender));
                its.map(|(.., bytes)| bytes.clone()).collect()
            };
            let sender = parties[from].node.member(&parties[from].group).expect("a member");
            let handed = of(&parties[at], sender);
            until(&mut parties, "the last of it", false, |parties| {
                of(&parties[2], sender).len() == handed.len()
            });
            assert!(of(&parties[2], sender) == handed && !handed.is_empty());
        }
        assert_eq!(parties[2].lost[before..], [] as [usize; 0], "nothing was lost on the way");
    }
}

#[test]
fn a_reader_begins_with_the_state_and_reads_on_behind_it() {
    let name = format!("state {}", std::process::id());
    let peer = || JoinOptions::peer().keep_state(StateTuning::default()).max_members(3);
    let mut parties: Vec<Party> = (0..2).map(|_| Party::join(&name, peer())).collect();
    until(&mut parties, "two are together", false, |parties| {
        parties.iter().all(|party| party.is_in_view_of(2))
    });
    until(&mut parties, "there is a state", true, |parties| {
        parties.iter().all(|party| party.heard.len() > 2_000)
    });
    parties.push(Party::join(&name, JoinOptions::causal_reader().keep_state(StateTuning::default())));
    until(&mut parties, "it reads", true, |parties| parties[2].heard.len() > 500);
    until(&mut parties, "all is settled", false, |parties| {
        parties[..2].iter().all(|party| party.node.settled(&party.group))
    });
    let len = parties[0].state.len();
    until(&mut parties, "all is read", false, |parties| parties[2].state.len() >= len);
    // Each has its own order of what came from several.
    let numbers = |party: &Party| -> Vec<u32> {
        let numbers = party.state.chunks_exact(4);
        let mut all: Vec<u32> =
            numbers.map(|number| u32::from_le_bytes(number.try_into().expect("four bytes"))).collect();
        all.sort_unstable();
        all
    };
    assert!(numbers(&parties[2]) == numbers(&parties[0]), "none twice, none missing");
    assert!(parties[2].lost.is_empty() && parties[2].heard.len() < len / 4);
}

#[test]
fn a_reader_that_wants_a_state_where_nobody_keeps_one_is_told_and_reads_on() {
    let name = format!("no state {}", std::process::id());
    let peer = || JoinOptions::peer().expected_members(2).max_members(3);
    let mut parties: Vec<Party> = (0..2).map(|_| Party::join(&name, peer())).collect();
    until(&mut parties, "two are together", false, |parties| {
        parties.iter().all(|party| party.is_in_view_of(2))
    });
    parties.push(Party::join(&name, JoinOptions::causal_reader().keep_state(StateTuning::default())));
    until(&mut parties, "it reads", true, |parties| parties[2].heard.len() > 100);
    let (why, behind) = parties[2].failed.as_ref().expect("it was told");
    assert!(why.starts_with("no member of the view keeps a state") && *behind == 0, "{why}");
}
