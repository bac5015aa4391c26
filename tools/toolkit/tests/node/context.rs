//! Causal contexts over real sockets: carried by hand, awaited, and refused where they say nothing.

use crate::cluster::{Cluster, Fan, Seen, config};
use sistrum::{CausalContext, ContextError, Event, FlushId, JoinOptions, Order, Rank, Refused};

fn context_of(cluster: &Cluster, at: usize) -> CausalContext {
    let member = &cluster.members[at];
    member.node.causal_context(&member.group).expect("there is a view")
}

fn has_reached(cluster: &Cluster, at: usize, context: &CausalContext) -> Result<bool, ContextError> {
    let member = &cluster.members[at];
    member.node.has_reached(&member.group, context)
}

#[test]
fn who_has_reached_a_context_has_what_its_owner_cast_and_was_handed() {
    let mut cluster = Cluster::open(3, Fan::Multicast, &config());
    let group = cluster.members[0].group;
    for order in [Order::Fifo, Order::Causal, Order::Total] {
        cluster.members[1].node.cast(&group, order, b"cause").expect("there is room");
        let before = cluster.members[0].of(Rank(1)).len();
        cluster.until("cause", |cluster| cluster.members[0].of(Rank(1)).len() > before);
        // Still open when the context is taken.
        cluster.members[0].node.cast(&group, order, order.name().as_bytes()).expect("there is room");
        let carried = context_of(&cluster, 0).to_bytes();
        let context = CausalContext::from_bytes(&carried).expect("just written");
        assert_eq!(has_reached(&cluster, 2, &context), Ok(false), "{order}: nobody was polled since");
        cluster.until("context", |cluster| has_reached(cluster, 2, &context) == Ok(true));
        let (causes, own) = (cluster.members[2].of(Rank(1)), cluster.members[2].of(Rank(0)));
        assert_eq!((causes.len(), own.last()), (before + 1, Some(&order.name().as_bytes())));
        cluster.until("context at its owner", |cluster| has_reached(cluster, 0, &context) == Ok(true));
        cluster.settle();
    }
}

#[test]
fn a_context_of_another_group_is_refused_and_so_is_one_before_the_view() {
    let mut cluster = Cluster::open(2, Fan::Unicast, &config());
    let (here, alone) = (context_of(&cluster, 0), {
        let node = &mut cluster.members[0].node;
        let options = JoinOptions::members(vec![node.endpoint()]).unicast();
        node.join("alone", options).expect("a group of one")
    });
    let node = &cluster.members[0].node;
    assert_eq!(node.causal_context(&alone), Err(ContextError::NoView));
    assert_eq!(node.has_reached(&alone, &here), Err(ContextError::NoView));
    cluster.until("view", |cluster| cluster.members[0].node.view(&alone).is_some());
    let node = &cluster.members[0].node;
    assert_eq!(node.has_reached(&alone, &here), Err(ContextError::OtherGroup));
}

#[test]
fn a_context_is_stable_when_every_member_holds_it() {
    let mut cluster = Cluster::open(3, Fan::Multicast, &config());
    let group = cluster.members[0].group;
    for order in Order::ALL {
        cluster.members[0].node.cast(&group, order, b"before the action").expect("there is room");
        let context = context_of(&cluster, 0);
        let is_stable = |cluster: &Cluster| cluster.members[0].node.is_stable(&group, &context);
        let until = std::time::Instant::now() + std::time::Duration::from_millis(20);
        while std::time::Instant::now() < until {
            cluster.members[..2].iter_mut().for_each(|member| _ = member.poll());
            assert_eq!(is_stable(&cluster), Ok(false), "{order}: one member has not been polled");
        }
        cluster.until("stability", |cluster| is_stable(cluster) == Ok(true));
        cluster.settle();
    }
}

fn flushed(cluster: &Cluster, at: usize) -> Vec<FlushId> {
    let ids = cluster.members[at].seen.iter().filter_map(|seen| match seen {
        Seen::Flushed(id) => Some(*id),
        _ => None,
    });
    ids.collect()
}

#[test]
fn a_flush_is_over_once_when_every_member_holds_what_was_cast_and_handed_over() {
    let mut cluster = Cluster::open(3, Fan::Multicast, &config());
    let group = cluster.members[0].group;
    let mut asked = Vec::new();
    for order in Order::ALL {
        cluster.members[0].node.cast(&group, order, b"before the action").expect("there is room");
        let node = &mut cluster.members[0].node;
        asked.extend([node.flush(&group), node.flush(&group)].map(|flush| flush.expect("there is a view")));
        let until = std::time::Instant::now() + std::time::Duration::from_millis(20);
        while std::time::Instant::now() < until {
            cluster.members[..2].iter_mut().for_each(|member| _ = member.poll());
            assert_eq!(
                flushed(&cluster, 0).len(),
                asked.len() - 2,
                "{order}: one member has not been polled"
            );
        }
        cluster.until("the end of a flush", |cluster| flushed(cluster, 0).len() == asked.len());
        cluster.settle();
    }
    assert_eq!((flushed(&cluster, 0), flushed(&cluster, 1)), (asked, vec![]));
}

#[test]
fn alone_a_flush_ends_too_and_before_a_view_there_is_none() {
    let mut cluster = Cluster::open(1, Fan::Unicast, &config());
    let group = cluster.members[0].group;
    cluster.until("view", |cluster| cluster.members[0].node.view(&group).is_some());
    cluster.members[0].node.cast(&group, Order::Total, b"to myself").expect("there is room");
    let flush = cluster.members[0].node.flush(&group).expect("there is a view");
    cluster.until("the end of a flush", |cluster| flushed(cluster, 0) == [flush]);
    let node = &mut cluster.members[0].node;
    let members = vec![node.endpoint()];
    let other = node.join("other", JoinOptions::members(members).unicast()).expect("a group of one");
    assert_eq!(node.flush(&other), Err(Refused::NoView));
}

#[test]
fn the_end_of_a_flush_that_a_handler_refuses_is_told_again() {
    let mut cluster = Cluster::open(2, Fan::Multicast, &config());
    let group = cluster.members[0].group;
    cluster.members[0].node.cast(&group, Order::Fifo, b"before the action").expect("there is room");
    let flush = cluster.members[0].node.flush(&group).expect("there is a view");
    let (mut told, mut refused) = (Vec::new(), 0);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while told.is_empty() && std::time::Instant::now() < end {
        cluster.members[1].poll();
        let polled = cluster.members[0].node.poll(|_, event| {
            if let Event::Flushed(id) = event {
                told.push(id);
                if refused < 3 {
                    told.clear();
                    refused += 1;
                    return Err(Refused::NoView.into());
                }
            }
            Ok(())
        });
        assert!(polled.is_ok() || refused > 0);
    }
    assert_eq!((told, refused), (vec![flush], 3));
}
