//! State transfer over real sockets: what a member has when it joins is what the others have, and behind it comes exactly what they get.

use crate::cluster::{PATIENCE, config};
use sistrum::{
    ContextError, Domain, Event, Group, JoinOptions, Node, Order, Pace, Refused, State, StateTuning, View,
};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Numbers that were handed over, and as many bytes more as make the state large.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Numbers {
    taken: BTreeSet<u32>,
    padding: usize,
}

impl State for Numbers {
    fn write(&self, out: &mut Vec<u8>) {
        out.resize(out.len() + self.padding, 0xa5);
        self.taken.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (padding, numbers) = bytes.split_at_checked(self.padding).ok_or("too short")?;
        assert!(padding.iter().all(|byte| *byte == 0xa5));
        let (numbers, rest) = numbers.as_chunks::<4>();
        assert!(rest.is_empty(), "whole numbers");
        self.taken = numbers.iter().map(|number| u32::from_le_bytes(*number)).collect();
        Ok(())
    }
}

/// One member. Its first number is due next.
struct Keeper {
    node: Node,
    group: Group,
    numbers: Numbers,
    domain: Domain,
    next: u32,
    views: Vec<View>,
    /// Blocks of the state that came.
    blocks: usize,
    refuses: bool,
    failed: Option<String>,
}

impl Keeper {
    fn join(name: &str, padding: usize, state: StateTuning) -> Self {
        let options = JoinOptions::peer()
            .expected_members(1)
            .suspect_after(Duration::from_millis(300))
            .keep_state(state);
        let mut node = Node::open(config()).expect("a node");
        let group = node.join(name, options).expect("a group");
        let numbers = Numbers { padding, ..Numbers::default() };
        let (next, views, blocks, refuses, failed) = Default::default();
        Self { node, group, numbers, domain: Domain::new("numbers"), next, views, blocks, refuses, failed }
    }

    fn poll(&mut self) {
        let Self { node, numbers, domain, views, blocks, refuses, failed, .. } = self;
        let polled = node.poll(|_, mut event| {
            if domain.handle(&mut event, numbers)? {
                assert!(views.is_empty(), "the state comes before the first view");
                *blocks += 1;
                return Ok(());
            }
            match event {
                Event::View(view) => views.push(view.clone()),
                Event::Deliver(message) => {
                    let number = u32::from_le_bytes(message.bytes().try_into().expect("a number"));
                    assert!(numbers.taken.insert(number), "{number} was in the state, or came twice");
                }
                Event::Snapshot(snapshot) if *refuses => snapshot.refuse("I am not to be asked"),
                Event::TransferFailed(why) => *failed = Some(why.to_string()),
                _ => {}
            }
            Ok(())
        });
        polled.map_or_else(|error| panic!("{error}"), drop);
    }

    /// Casts the next number, when there is room: it comes back, since it is a total cast.
    fn cast(&mut self) {
        match self.node.cast(&self.group, Order::Total, &self.next.to_le_bytes()) {
            Ok(()) => self.next += 1,
            Err(Refused::Full { .. } | Refused::ViewChanging | Refused::NoView) => {}
            Err(refused) => panic!("{refused}"),
        }
    }

    fn is_ready_among(&self, count: usize) -> bool {
        self.views.last().is_some_and(|view| view.members().len() == count && view.joining().is_empty())
    }
}

/// Polls all, and lets the first one cast, until something holds of them.
fn until(keepers: &mut [Keeper], what: &str, is_so: impl Fn(&[Keeper]) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so(keepers) {
        keepers[0].cast();
        keepers.iter_mut().for_each(Keeper::poll);
        assert!(Instant::now() < end, "never: {what}");
    }
}

/// All have all, once nothing more is cast.
fn settle(keepers: &mut [Keeper]) {
    let (end, all) = (Instant::now() + PATIENCE, keepers[0].next as usize);
    while !keepers.iter().all(|keeper| keeper.numbers.taken.len() == all) {
        keepers.iter_mut().for_each(Keeper::poll);
        assert!(Instant::now() < end, "never: all have all {all}");
    }
    assert!(keepers.iter().all(|keeper| keeper.numbers == keepers[0].numbers));
}

#[test]
fn who_joins_has_what_the_others_have_and_what_comes_behind_it() {
    let keeper = || Keeper::join("state-join", 300_000, StateTuning::default());
    let mut keepers = vec![keeper()];
    until(&mut keepers, "one is there", |keepers| keepers[0].next > 2_000);
    for count in 2..=4 {
        keepers.push(keeper());
        until(&mut keepers, "one more is ready", |keepers| {
            keepers.iter().all(|keeper| keeper.is_ready_among(count))
        });
        let before = keepers[0].next;
        until(&mut keepers, "it goes on", |keepers| keepers[0].next > before + 500);
    }
    settle(&mut keepers);
    let joined =
        |keeper: &Keeper| keeper.views.first().is_some_and(|view| view.joining().contains(&view.me()));
    assert!(keepers[1..].iter().all(|keeper| joined(keeper) && keeper.blocks > 100), "in many blocks");
    assert!(!joined(&keepers[0]) && keepers[0].blocks == 0, "nobody had it before the first");
}

#[test]
fn where_the_giver_dies_the_other_one_goes_on() {
    // Slow enough that it dies while it gives.
    let pace = Some(Pace { rate: 2_000_000, burst: 20_000 });
    let keeper = || Keeper::join("state-death", 400_000, StateTuning { pace, ..StateTuning::default() });
    let mut keepers = vec![keeper()];
    for count in 2..=3 {
        keepers.push(keeper());
        until(&mut keepers, "they are there", |keepers| {
            keepers.iter().all(|keeper| keeper.is_ready_among(count))
        });
    }
    keepers.push(keeper());
    until(&mut keepers, "some has come", |keepers| keepers[3].blocks > 40);
    // The youngest who has the state is the one who gives.
    let giver = keepers.remove(2);
    drop(giver);
    until(&mut keepers, "it is ready all the same", |keepers| {
        keepers.iter().all(|keeper| keeper.is_ready_among(3))
    });
    assert_eq!(
        keepers[2].views.len(),
        keepers[2].views.iter().map(|view| view.id().number).collect::<BTreeSet<_>>().len()
    );
    settle(&mut keepers);
}

#[test]
fn who_has_no_room_for_what_comes_meanwhile_leaves_and_holds_nobody_up() {
    let pace = Some(Pace { rate: 500_000, burst: 20_000 });
    let mut keepers =
        vec![Keeper::join("state-spool", 500_000, StateTuning { pace, ..StateTuning::default() })];
    until(&mut keepers, "one is there", |keepers| keepers[0].next > 0);
    keepers.push(Keeper::join("state-spool", 500_000, StateTuning { spool: 1_000, pace }));
    until(&mut keepers, "it gives up", |keepers| keepers[1].failed.is_some());
    assert!(keepers[1].failed.as_ref().is_some_and(|why| why.contains("the spool of 1000 bytes")));
    until(&mut keepers, "it is gone", |keepers| keepers[1].node.has_left(&keepers[1].group));
    assert!(keepers[1].views.is_empty(), "it was told of no view");
    keepers.truncate(1);
    let before = keepers[0].next;
    until(&mut keepers, "the other one goes on alone", |keepers| {
        keepers[0].is_ready_among(1) && keepers[0].next > before + 100
    });
    settle(&mut keepers);
}

#[test]
fn who_is_refused_is_told_why() {
    let keeper = || Keeper::join("state-refusal", 0, StateTuning::default());
    let mut keepers = vec![keeper()];
    keepers[0].refuses = true;
    until(&mut keepers, "one is there", |keepers| keepers[0].next > 0);
    keepers.push(keeper());
    until(&mut keepers, "it gives up", |keepers| keepers[1].node.has_left(&keepers[1].group));
    let why = keepers[1].failed.clone().expect("a reason");
    assert!(why.contains("gives no state: I am not to be asked"), "{why}");
}

#[test]
fn nothing_is_cast_before_the_state_is_there() {
    let pace = Some(Pace { rate: 500_000, burst: 20_000 });
    let keeper = || Keeper::join("state-silence", 200_000, StateTuning { pace, ..StateTuning::default() });
    let mut keepers = vec![keeper()];
    until(&mut keepers, "one is there", |keepers| keepers[0].next > 0);
    keepers.push(keeper());
    until(&mut keepers, "some has come", |keepers| keepers[1].blocks > 10);
    let Keeper { node, group, .. } = &mut keepers[1];
    assert!(matches!(node.cast(group, Order::Fifo, b"early"), Err(Refused::NoView)));
    assert!(matches!(node.flush(group), Err(Refused::NoView)) && node.reached(group).is_none());
    assert!(matches!(node.causal_context(group), Err(ContextError::NoView)));
    until(&mut keepers, "it is ready", |keepers| keepers.iter().all(|keeper| keeper.is_ready_among(2)));
    settle(&mut keepers);
}
