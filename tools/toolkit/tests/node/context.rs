//! Causal contexts over real sockets: carried by hand, awaited, and refused where they say nothing.

use crate::cluster::{Cluster, Fan, config};
use sistrum::{CausalContext, ContextError, JoinOptions, Order, Rank};

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
