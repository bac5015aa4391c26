//! Members that come and go, over real sockets: in one thread, since who is not polled is as good as dead.

use crate::cluster::{PATIENCE, config, multicast};
use sistrum::{Config, Error, Event, Group, JoinOptions, Node, Order, Refused, View};
use std::time::{Duration, Instant};

/// One member, and what it was told.
struct Peer {
    node: Node,
    group: Group,
    views: Vec<View>,
    heard: Vec<Vec<u8>>,
    syncs: Vec<Vec<u8>>,
}

impl Peer {
    fn join(name: &str, options: JoinOptions) -> Self {
        Self::join_from(Node::open(config()).expect("a node"), name, options)
    }

    fn join_from(mut node: Node, name: &str, options: JoinOptions) -> Self {
        let group = node.join(name, options).expect("a group");
        Self { node, group, views: Vec::new(), heard: Vec::new(), syncs: Vec::new() }
    }

    fn poll(&mut self) {
        let Self { node, views, heard, syncs, .. } = self;
        node.poll(|_, event| {
            match event {
                Event::View(view) => views.push(view.clone()),
                Event::Deliver(message) => heard.push(message.bytes().to_vec()),
                Event::Sync { bytes, .. } => syncs.push(bytes.to_vec()),
                _ => {}
            }
            Ok(())
        })
        .expect("a poll");
    }

    fn size(&self) -> usize {
        self.node.view(&self.group).map_or(0, |view| view.members().len())
    }
}

/// Polls all until something holds of them.
fn until(peers: &mut [Peer], what: &str, is_so: impl Fn(&[Peer]) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so(peers) {
        peers.iter_mut().for_each(Peer::poll);
        assert!(Instant::now() < end, "never: {what}");
        std::thread::yield_now();
    }
}

/// All were told of a view of so many.
fn together(count: usize) -> impl Fn(&[Peer]) -> bool {
    move |peers| {
        let told = |peer: &Peer| peer.views.last().is_some_and(|view| view.members().len() == count);
        peers.iter().all(|peer| peer.size() == count && told(peer))
    }
}

fn options(expected: usize) -> JoinOptions {
    JoinOptions::peer().expected_members(expected).suspect_after(Duration::from_millis(300))
}

#[test]
fn peers_find_each_other_by_name_come_and_go() {
    let name = format!("found {}", std::process::id());
    let mut peers: Vec<Peer> = (0..3).map(|_| Peer::join(&name, options(3))).collect();
    until(&mut peers, "three are together", together(3));
    assert!(peers.iter().all(|peer| peer.views.len() == 1 && peer.views[0].members().len() == 3));
    for (at, peer) in peers.iter_mut().enumerate() {
        peer.node.cast(&peer.group, Order::Total, &[at as u8]).expect("room");
    }
    until(&mut peers, "all totals", |peers| peers.iter().all(|peer| peer.heard.len() == 3));
    assert!(peers.iter().all(|peer| peer.heard == peers[0].heard), "one order");

    // Another comes, one says goodbye, one is gone without a word.
    peers.push(Peer::join(&name, options(3)));
    until(&mut peers, "four are together", together(4));
    let group = peers[0].group;
    peers[0].node.leave(&group);
    until(&mut peers, "one has left", |peers| {
        peers[0].node.has_left(&peers[0].group) && together(3)(&peers[1..])
    });
    drop(peers.remove(0));
    drop(peers.remove(0));
    until(&mut peers, "two are left", together(2));
    peers[0].node.cast_sync(&group, b"between").expect("room");
    until(&mut peers, "the sync cast", |peers| peers.iter().all(|peer| peer.syncs == [b"between"]));
    // So few are enough for who comes now: the group once had as many as are expected.
    peers.push(Peer::join(&name, options(3)));
    until(&mut peers, "three again", together(3));
}

#[test]
fn peers_find_each_other_by_seeds_that_are_names() {
    let port = Node::open(config()).expect("a node").endpoint().0.port();
    let seeded = |own: u16| {
        let config = Config { port: own, ..config() };
        let options = options(2).seeds([format!("localhost:{port}")]);
        Peer::join_from(Node::open(config).expect("a node"), "seeded", options)
    };
    let mut peers = vec![seeded(0)];
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(400) {
        peers[0].poll();
    }
    assert!(peers[0].views.is_empty(), "alone it is no group");
    peers.push(seeded(port));
    peers.push(seeded(0));
    until(&mut peers, "three are together", together(3));
    assert_eq!(peers[1].views[0].members()[0].endpoint, peers[1].node.endpoint(), "the seed made the group");
    // The seed ends, and another process begins in its place.
    drop(peers.remove(1));
    until(&mut peers, "two are left", together(2));
    peers.push(seeded(port));
    until(&mut peers, "three again", together(3));
}

#[test]
fn clusters_and_other_blocks_do_not_mix() {
    let at = multicast();
    let of = |cluster: &str, block_size| {
        let node = Node::open(Config { block_size, ..config() }).expect("a node");
        let options = options(2).multicast(at).cluster(cluster);
        Peer::join_from(node, "apart", options)
    };
    let mut peers = vec![of("a", 1408), of("b", 1408), of("a", 1000)];
    let conflicts = |peer: &mut Peer| {
        let mut count = 0;
        peer.node
            .poll(|_, event| {
                count += usize::from(matches!(event, Event::Conflict(..)));
                assert!(!matches!(event, Event::View(_)), "nobody fits to another");
                Ok(())
            })
            .expect("a poll");
        count
    };
    let (mut seen, begin) = ([0; 3], Instant::now());
    while begin.elapsed() < Duration::from_secs(1) {
        for (seen, peer) in seen.iter_mut().zip(&mut peers) {
            *seen += conflicts(peer);
        }
    }
    assert_eq!(seen, [1, 0, 1], "those of one cluster tell each other apart, once");
}

#[test]
fn a_group_that_is_seen_by_a_place_is_there_when_the_member_at_that_place_is_gone() {
    let name = format!("seen at a place {}", std::process::id());
    let first = Node::open(config()).expect("a node");
    let place = first.endpoint().to_string();
    let at = |options: JoinOptions| options.seeds([place.clone()]);
    let mut peers = vec![Peer::join_from(first, &name, at(options(3)))];
    peers.extend((1..3).map(|_| Peer::join(&name, at(options(3)))));
    until(&mut peers, "three are together", together(3));
    let mut looking = Node::open(config()).expect("a node");
    looking.join(&name, at(JoinOptions::observer())).expect("an observer");
    let sees = |looking: &mut Node| {
        let mut count = None;
        let seen = looking.poll(|_, event| {
            match event {
                Event::Seen(sighting) => count = Some(sighting.members.len()),
                Event::Unseen(view) => panic!("{view:?} is alive"),
                _ => {}
            }
            Ok(())
        });
        seen.expect("a poll");
        count
    };
    for wanted in [3, 2] {
        let (mut count, end) = (None, Instant::now() + PATIENCE);
        while count != Some(wanted) {
            peers.iter_mut().for_each(Peer::poll);
            count = sees(&mut looking).or(count);
            assert!(Instant::now() < end, "{count:?} are seen of {wanted}");
        }
        if wanted == 3 {
            peers.remove(0);
        }
    }
    // Ten questions are not answered at the place.
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        peers.iter_mut().for_each(Peer::poll);
        sees(&mut looking);
    }
}

#[test]
fn what_cannot_be_is_refused_by_its_key() {
    let mut node = Node::open(config()).expect("a node");
    let mut refusal = |options: JoinOptions| match node.join("refused", options) {
        Err(Error::Config { key, why }) => format!("{key}: {why}"),
        other => panic!("{other:?}"),
    };
    assert!(refusal(JoinOptions::peer().expected_members(0)).starts_with("expected_members: 0"));
    assert!(refusal(JoinOptions::peer().expected_members(17)).starts_with("expected_members: 17"));
    assert!(refusal(JoinOptions::peer().max_members(0)).starts_with("max_members: 0"));
    assert!(refusal(JoinOptions::peer().unicast()).starts_with("seeds: "));
    assert!(refusal(JoinOptions::peer().seeds(["nowhere"])).starts_with("seeds: nowhere has no port"));
    assert!(
        refusal(JoinOptions::observer().seeds(["127.0.0.1:0"])).starts_with("seeds: 127.0.0.1:0 has no port")
    );
    assert!(refusal(JoinOptions::peer().suspect_after(Duration::ZERO)).starts_with("suspect_after: "));
    let group = node.join("refused", JoinOptions::peer()).expect("a group");
    assert_eq!(node.cast(&group, Order::Fifo, b"x"), Err(Refused::NoView));
    assert_eq!(node.cast_sync(&group, b"x"), Err(Refused::NoView));
    node.leave(&group);
    assert!(node.has_left(&group), "there is nobody to agree with");
}
