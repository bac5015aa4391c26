//! What a reader is handed before all members hold it: what enough of those who decide hold, and nothing else.

use crate::app::Name;
use crate::diffusion::{Counts, judge};
use crate::reader::{Manner, Told, begin};
use crate::world::{MS, Plan, World};
use sistrum_ordering::Order;
use sistrum_transport::reliable::Pace;
use std::rc::Rc;

const PLAIN: Manner = Manner { is_causal: false, is_eager: false, has_state: false, refusals: 0.0 };

#[test]
fn a_slow_member_does_not_hold_a_reader_back() {
    for seed in 0..4 {
        let manner = Manner { is_causal: seed % 2 == 1, ..PLAIN };
        let orders = vec![Order::Fifo, Order::Causal];
        let mut world = World::new(Plan { orders, longest: 60, expected: 3, ..Plan::quiet(seed) });
        (0..3).for_each(|place| {
            world.start(place);
        });
        world.until("all find each other", 3_000 * MS, World::is_whole);
        let record = begin(&mut world, 100, manner);
        world.pass(100 * MS);
        // It holds nothing of what is cast from here on, and hears no ack either: of what it cast itself it cannot say how far it is held.
        let slow = seed as u16 % 3;
        world.processes[usize::from(slow)].casts = false;
        world.pass(10 * MS);
        let handed = |world: &World, at: usize| world.processes[at].app.stays[0].handed.clone();
        let before: Vec<usize> = (0..3).map(|at| handed(&world, at).len()).collect();
        (0..3).filter(|place| *place != slow).for_each(|place| world.cut(place, slow));
        world.pass(5 * MS);
        let fast = (0..3).filter(|at| *at != usize::from(slow));
        let casts: Vec<Name> = fast.flat_map(|at| handed(&world, at).split_off(before[at])).collect();
        assert!(casts.len() > 16, "{}", casts.len());
        world.pass(10 * MS);
        for name in &casts {
            let is_handed = record.borrow().told.contains(&Told::Message(*name));
            assert!(is_handed, "seed {seed}: {name:?} is held by two of three");
        }
        world.heal();
        world.processes.iter_mut().for_each(|process| process.casts = false);
        world.until("all is delivered", 3_000 * MS, |world| world.is_settled() && world.is_whole());
        world.pass(300 * MS);
        judge(&world, &(manner, Rc::clone(&record)), &mut Counts::new());
    }
}

/// One of three answers a change of view, and holds what comes behind that; its sender dies, and the others go on without it.
pub(crate) fn what_comes_behind_an_answer(seed: u64) {
    let plan = Plan { orders: vec![Order::Fifo], longest: 60, expected: 3, ..Plan::quiet(seed) };
    let mut world = World::new(plan);
    (0..3).for_each(|place| {
        world.start(place);
    });
    world.until("all find each other", 3_000 * MS, World::is_whole);
    let record = begin(&mut world, 100, PLAIN);
    world.pass(100 * MS);
    let members = world.processes[0].group.view().expect("a view").members().to_vec();
    let at = |world: &World, rank: usize| {
        world.processes.iter().position(|it| it.app.me == Some(members[rank])).expect("it lives")
    };
    let (second, sender) = (at(&world, 1), at(&world, 2));
    let (oldest, its) = (world.processes[at(&world, 0)].place, world.processes[sender].place);
    // The oldest asks for answers, and the sender does not hear of it.
    world.cut(oldest, its);
    world.cut(its, oldest);
    world.start(3);
    let is_asked =
        |world: &World| world.processes[second].group.agreement().is_some_and(|it| it.is_changing());
    world.until("it answers", 50 * MS, is_asked);
    // The sender casts on; the second one holds it, and must not say so.
    world.pass(20 * MS);
    world.kill(sender);
    world.until("the others go on", 3_000 * MS, World::is_whole);
    world.processes.iter_mut().for_each(|process| process.casts = false);
    world.until("all is delivered", 3_000 * MS, World::is_settled);
    world.pass(300 * MS);
    judge(&world, &(PLAIN, Rc::clone(&record)), &mut Counts::new());
    let is_message = |told: &&Told| matches!(told, Told::Message(_));
    assert!(record.borrow().told.iter().filter(is_message).count() > 100, "the reader reads");
}

#[test]
fn what_comes_behind_an_answer_is_not_handed_over() {
    (0..6).for_each(what_comes_behind_an_answer);
}

#[test]
fn who_cannot_go_on_does_not_tell_and_acknowledge_for_ever() {
    for seed in 0..3 {
        let plan = Plan { orders: vec![Order::Fifo], longest: 60, expected: 4, ..Plan::quiet(seed) };
        let mut world = World::new(plan);
        (0..4).for_each(|place| {
            world.start(place);
        });
        world.until("all find each other", 3_000 * MS, World::is_whole);
        world.pass(20 * MS);
        let oldest = world.processes[0].group.view().expect("a view").members()[0];
        let oldest = world.processes.iter().find(|it| it.app.me == Some(oldest)).expect("it lives").place;
        // Half of them, without the oldest: they hold more of each other than is firm.
        let alone: Vec<u16> = (0..4).filter(|place| *place != oldest).take(2).collect();
        for place in (0..4).filter(|place| !alone.contains(place)) {
            alone.iter().for_each(|other| {
                world.cut(place, *other);
                world.cut(*other, place);
            });
        }
        world.pass(5 * MS);
        world.processes.iter_mut().for_each(|process| process.casts = false);
        world.pass(500 * MS);
        let acks = |world: &World| {
            let there = world.processes.iter().filter(|process| alone.contains(&process.place));
            there.map(|process| process.group.counters().acks_sent).sum::<u64>()
        };
        let before = acks(&world);
        world.pass(1_000 * MS);
        let count = acks(&world) - before;
        assert!(count < 500, "seed {seed}: {count} acks in a second in which nothing was cast");
    }
}

/// The oldest of three casts what only one holds who is joining; both are gone, and the others go on without.
pub(crate) fn what_the_joining_hold(seed: u64) {
    let pace = Some(Pace { rate: 1_000_000, burst: 4_000 });
    let plan = Plan { has_state: true, padding: 500_000, pace, expected: 3, ..Plan::quiet(seed) };
    let mut world = World::new(Plan { orders: vec![Order::Fifo], ..plan });
    (0..3).for_each(|place| {
        world.start(place);
        world.until("it comes in", 3_000 * MS, |world| world.living().len() < 3 || world.is_whole());
    });
    let oldest = |world: &World| world.processes[0].group.view().expect("a view").members()[0];
    let oldest = oldest(&world);
    let at = world.processes.iter().position(|it| it.app.me == Some(oldest)).expect("it lives");
    let record = begin(&mut world, 100, PLAIN);
    world.pass(20 * MS);
    let joiner = world.start(3);
    let is_there = |world: &World| {
        let view = world.processes[at].group.view().expect("a view");
        view.members().len() == 4
    };
    world.until("it joins", 1_000 * MS, is_there);
    world.pass(20 * MS);
    assert_eq!(world.processes[at].group.view().map(|view| view.joining().len()), Some(1));
    let place = world.processes[at].place;
    let cast =
        |world: &World| -> Vec<Name> { world.processes[at].app.casts.iter().map(|cast| cast.name).collect() };
    let before = cast(&world).len();
    (0..3).filter(|other| *other != place).for_each(|other| world.cut(place, other));
    world.pass(5 * MS);
    let late = cast(&world).split_off(before);
    assert!(late.len() > 4, "it casts on: {}", late.len());
    world.kill(at);
    world.kill(joiner);
    world.until("the others go on", 3_000 * MS, World::is_whole);
    world.processes.iter_mut().for_each(|process| process.casts = false);
    world.until("all is delivered", 3_000 * MS, World::is_settled);
    world.pass(300 * MS);
    judge(&world, &(PLAIN, Rc::clone(&record)), &mut Counts::new());
    let told = &record.borrow().told;
    assert!(told.iter().any(|told| matches!(told, Told::Message((of, _)) if *of == oldest)), "it reads");
    assert!(!late.iter().any(|name| told.contains(&Told::Message(*name))), "only the joiner held that");
}

#[test]
fn what_only_those_hold_who_are_joining_is_not_handed_over() {
    (0..3).for_each(what_the_joining_hold);
}
