//! What cannot be is said in one clear line, and nothing of it is half done.

use crate::cluster::{Cluster, Fan, Member, PATIENCE, config, multicast, open, refusal};
use sistrum::{Config, Conflict, Endpoint, Error, JoinOptions, Node, Refused};
use std::net::IpAddr;
use std::time::Instant;

/// Polls both until both have heard of a conflict, and returns what each said.
#[track_caller]
fn conflicts(mut one: Member, mut other: Member) -> [(Endpoint, Conflict); 2] {
    let started = Instant::now();
    while one.conflicts().is_empty() || other.conflicts().is_empty() {
        assert!(started.elapsed() < PATIENCE, "no conflict: {:?} {:?}", one.seen, other.seen);
        one.poll();
        other.poll();
    }
    // It is said once, however often the other introduces itself.
    let started = Instant::now();
    while started.elapsed().as_millis() < 150 {
        one.poll();
        other.poll();
    }
    [one, other].map(|member| {
        assert!(!member.has_view());
        assert_eq!(member.conflicts().len(), 1, "{:?}", member.seen);
        member.conflicts()[0]
    })
}

#[test]
fn a_list_that_cannot_be_is_refused_at_once() {
    let mut node = open(&config());
    let (me, other) = (node.endpoint(), open(&config()).endpoint());
    let not_listed = refusal(node.join("a", JoinOptions::members(vec![other])));
    assert_eq!(not_listed, format!("members: {me}, this process itself, is not in the list"));
    let empty = refusal(node.join("a", JoinOptions::members(Vec::new())));
    assert_eq!(empty, not_listed);
    let twice = refusal(node.join("a", JoinOptions::members(vec![me, other, me])));
    assert_eq!(twice, format!("members: {me} stands in the list twice"));
    let many = (0..2_000).map(|at| Endpoint(([127, 0, 0, 1], at).into())).collect();
    let long = refusal(node.join("a", JoinOptions::members(many)));
    assert!(long.contains("2000 members"), "{long}");
    node.join("a", JoinOptions::members(vec![me])).expect("nothing was half done");
    let again = refusal(node.join("a", JoinOptions::members(vec![me])));
    assert_eq!(again, "group: a was joined before, or shares its id with one that was");
    // Clusters have nothing to do with each other, and one group of a cluster is joined once too.
    let observer = || JoinOptions::observer().cluster("b");
    node.join("a", observer()).expect("another cluster");
    let again = refusal(node.join("a", observer()));
    assert_eq!(again, "group: a was joined before, or shares its id with one that was");
}

#[test]
fn a_name_that_is_none_is_refused() {
    let mut node = open(&config());
    let alone = JoinOptions::members(vec![node.endpoint()]);
    for options in [alone, JoinOptions::peer(), JoinOptions::observer(), JoinOptions::reader().of_peers()] {
        let empty = refusal(node.join("", options.clone()));
        assert_eq!(empty, "group: a name of 0 bytes: it has between 1 and 100");
        let long = refusal(node.join(&"n".repeat(101), options));
        assert_eq!(long, "group: a name of 101 bytes: it has between 1 and 100");
    }
    let long = refusal(node.join("a", JoinOptions::peer().cluster("c".repeat(101))));
    assert_eq!(long, "cluster: a name of 101 bytes: it has at most 100");
    node.join(&"n".repeat(100), JoinOptions::observer().cluster("c".repeat(100))).expect("the longest names");
}

#[test]
fn a_group_address_that_is_none_is_refused() {
    let mut node = open(&config());
    let alone = JoinOptions::members(vec![node.endpoint()]);
    for address in ["127.0.0.1:7000", "239.255.0.1:0"] {
        let error = refusal(node.join("a", alone.clone().multicast(address.parse().unwrap())));
        assert_eq!(error, format!("{address} is not a multicast address and port"));
    }
    let me = node.endpoint();
    let v6 = refusal(node.join("a", alone.clone().multicast("[ff15::1]:7000".parse().unwrap())));
    let family = format!("[ff15::1]:7000 is IPv6, this node {me} is IPv4: a group has one address family");
    assert_eq!(v6, format!("multicast: {family}"));
    let any = refusal(node.join("a", alone.clone().multicast("232.0.0.1:7000".parse().unwrap())));
    assert!(any.contains("232.0.0.1:7000 lies in the range of source-specific multicast"), "{any}");
    let sources = refusal(node.join("a", alone.unicast().source_specific()));
    assert_eq!(sources, "sources: there are none without a multicast group");
}

#[test]
fn a_list_of_two_families_is_refused() {
    let mut node = open(&config());
    let me = node.endpoint();
    let mut mixed = |other: &str| {
        let members = vec![me, Endpoint(other.parse().unwrap())];
        [JoinOptions::members(members.clone()), JoinOptions::members(members).multicast(multicast())]
            .map(|options| refusal(node.join("a", options)))
    };
    let six = format!("members: [::1]:7 is IPv6, this node {me} is IPv4: a group has one address family");
    assert_eq!(mixed("[::1]:7"), [six.clone(), six]);
    let mapped = "members: [::ffff:127.0.0.1]:7 is an IPv4 address in the dress of IPv6: write it as IPv4";
    assert_eq!(mixed("[::ffff:127.0.0.1]:7"), [mapped, mapped]);
}

#[test]
fn blocks_of_different_sizes_are_a_conflict_at_both() {
    let (one, other) = (open(&config()), open(&Config { block_size: 1024, ..config() }));
    let (a, b) = (one.endpoint(), other.endpoint());
    let options = Fan::Multicast.options(vec![a, b]);
    let [at_one, at_other] = conflicts(Member::new(one, options.clone()), Member::new(other, options));
    assert_eq!(at_one, (b, Conflict::BlockSize { theirs: 1024, mine: 1408 }));
    assert_eq!(at_other, (a, Conflict::BlockSize { theirs: 1408, mine: 1024 }));
    assert_eq!(
        at_one.1.to_string(),
        "its blocks have 1024 bytes, mine have 1408: set the same block_size everywhere"
    );
}

#[test]
fn different_lists_are_a_conflict_at_both() {
    let (one, other, third) = (open(&config()), open(&config()), open(&config()));
    let (a, b, c) = (one.endpoint(), other.endpoint(), third.endpoint());
    let (short, long) = (JoinOptions::members(vec![a, b]), JoinOptions::members(vec![a, b, c]));
    let [at_one, at_other] = conflicts(Member::new(one, short), Member::new(other, long));
    assert_eq!(at_one, (b, Conflict::List { theirs: 3, mine: 2 }));
    assert_eq!(at_other, (a, Conflict::List { theirs: 2, mine: 3 }));
    assert_eq!(
        at_one.1.to_string(),
        "its member list differs from mine (3 members, mine has 2): give all the same list, in one order"
    );
}

#[test]
fn one_list_in_two_orders_is_a_conflict_at_both() {
    let (one, other) = (open(&config()), open(&config()));
    let (a, b) = (one.endpoint(), other.endpoint());
    let (forth, back) = (JoinOptions::members(vec![a, b]), JoinOptions::members(vec![b, a]));
    let [at_one, at_other] = conflicts(Member::new(one, forth), Member::new(other, back));
    assert_eq!(at_one, (b, Conflict::List { theirs: 2, mine: 2 }));
    assert_eq!(at_other, (a, Conflict::List { theirs: 2, mine: 2 }));
}

#[test]
fn a_restarted_member_is_told_that_it_is_superseded() {
    let nodes: Vec<_> = (0..3).map(|_| open(&config())).collect();
    let endpoints: Vec<_> = nodes.iter().map(Node::endpoint).collect();
    let options = Fan::Multicast.options(endpoints.clone());
    let mut cluster = Cluster::join(nodes, &options);
    let gone = cluster.members.remove(1);
    let (boot, port) = (gone.node.boot(), endpoints[1].0.port());
    drop(gone);
    let restarted = open(&Config { port, ..config() });
    assert_eq!(restarted.endpoint(), endpoints[1]);
    assert_ne!(restarted.boot(), boot);
    cluster.members.push(Member::new(restarted, options));
    cluster.until("word of both others", |cluster| cluster.members[2].conflicts().len() == 2);
    for conflict in cluster.members[2].conflicts() {
        assert!(conflict.0 == endpoints[0] || conflict.0 == endpoints[2]);
        assert_eq!(conflict.1, Conflict::Superseded);
        let text = conflict.1.to_string();
        assert!(text.contains("earlier incarnation of this process: restart all members"), "{text}");
    }
    let refused = cluster.members[2].cast(b"no view, no cast");
    assert_eq!(refused, Err(Refused::NoView));
    assert!(cluster.members[..2].iter().all(|member| member.conflicts().is_empty()), "they go on");
}

#[test]
fn an_interface_that_cannot_be_used_is_refused_by_its_address() {
    let with = |interface: &str, insecure| {
        let interface: IpAddr = interface.parse().unwrap();
        Node::open(Config { interface, insecure, ..config() })
    };
    let open_network = with("203.0.113.7", false);
    assert!(matches!(open_network, Err(Error::Config { key: "interface", .. })));
    assert_eq!(
        refusal(open_network),
        "interface: 203.0.113.7 is not loopback, and there is no key yet: set insecure = true to use it"
    );
    let unknown = refusal(with("203.0.113.7", true));
    assert_eq!(unknown, "unknown interface: no interface has the address 203.0.113.7");
    let mapped = refusal(with("::ffff:127.0.0.1", false));
    assert!(mapped.starts_with("interface: ::ffff:127.0.0.1 is not loopback"), "{mapped}");
}

#[test]
fn a_port_in_use_is_refused_by_its_address() {
    let node = open(&config());
    let at = node.endpoint();
    let error = refusal(Node::open(Config { port: at.0.port(), ..config() }));
    assert!(error.starts_with(&format!("cannot bind UDP {at}: ")) && error.contains("in use"), "{error}");
    drop(node);
    open(&Config { port: at.0.port(), ..config() });
}

#[test]
fn a_pool_too_small_for_the_list_is_refused_and_nothing_is_joined() {
    let mut node = open(&Config { pool_blocks: 32, ..config() });
    let me = node.endpoint();
    let others = (1..=3).map(|at| Endpoint(([127, 0, 0, 1], at).into()));
    let members = std::iter::once(me).chain(others).collect();
    let error = refusal(node.join("a", JoinOptions::members(members).multicast(multicast())));
    assert!(
        error.starts_with("pool_blocks: 32 blocks leave less than") && error.ends_with(" 75 would do"),
        "{error}"
    );
    node.join("a", JoinOptions::members(vec![me])).expect("nothing was half done");
}

#[test]
fn a_group_more_than_the_pool_is_divided_among_is_refused() {
    let mut node = open(&Config { groups: 1, ..config() });
    let alone = JoinOptions::members(vec![node.endpoint()]);
    node.join("a", alone.clone()).expect("one is one");
    let error = refusal(node.join("b", alone));
    assert_eq!(error, "groups: the pool is divided among 1, which are joined: 2 would do");
}
