//! Readers that begin with the state: where it is large, where nobody gives it, where its giver dies.

use crate::diffusion::{Counts, judge, judge_state};
use crate::reader::{Manner, Record, Told, begin, begin_with};
use crate::world::{MS, Plan, World};
use sistrum_membership::{StateTuning, TransferError};
use sistrum_transport::reliable::Pace;
use std::cell::RefCell;
use std::rc::Rc;

const WITH_STATE: Manner = Manner { is_causal: true, is_eager: false, has_state: true, refusals: 0.0 };

/// A group of so many with a state of a megabyte that takes a quarter of a second.
fn slow(seed: u64, count: u16) -> World {
    let pace = Some(Pace { rate: 4_000_000, burst: 4_000 });
    let plan =
        Plan { has_state: true, padding: 1_000_000, pace, longest: 60, expected: 3, ..Plan::quiet(seed) };
    let mut world = World::new(plan);
    (0..count).for_each(|place| {
        world.start(place);
    });
    world.until("all find each other", 3_000 * MS, World::is_whole);
    world.pass(20 * MS);
    world
}

fn has_state(record: &RefCell<Record>) -> bool {
    record.borrow().told.contains(&Told::State)
}

/// Nobody casts any more, and all is handed over.
fn end(world: &mut World) {
    world.processes.iter_mut().for_each(|process| process.casts = false);
    world.until("all is delivered", 3_000 * MS, |world| world.is_settled() && world.is_whole());
    world.pass(1_200 * MS);
}

fn messages(told: &[Told]) -> usize {
    told.iter().filter(|told| matches!(told, Told::Message(_))).count()
}

fn losses(told: &[Told]) -> usize {
    told.iter().filter(|told| matches!(told, Told::Gap(..) | Told::Missed(_))).count()
}

#[test]
fn what_is_cast_while_a_large_state_comes_follows_behind_it_without_a_gap() {
    for seed in 0..2 {
        let mut world = slow(seed, 3);
        let manner = Manner { is_causal: seed % 2 == 0, ..WITH_STATE };
        let record = begin(&mut world, 100, manner);
        world.pass(20 * MS);
        let cast = |world: &World| -> usize { world.processes.iter().map(|it| it.app.casts.len()).sum() };
        let before = cast(&world);
        world.until("the state is there", 5_000 * MS, |_| has_state(&record));
        // Far more than the windows of all streams take.
        let meanwhile = cast(&world) - before;
        assert!(meanwhile > 1_000, "{meanwhile}");
        world.pass(5 * MS);
        // The view changes, too.
        world.start(3);
        world.until("it comes in", 5_000 * MS, World::is_whole);
        end(&mut world);
        let reader = (manner, Rc::clone(&record));
        let mut counts = Counts::new();
        judge(&world, &reader, &mut counts);
        judge_state(&world, &record.borrow(), &mut counts);
        let told = &record.borrow().told;
        assert!(matches!(told[..2], [Told::State, Told::View(_)]), "{:?}", &told[..2]);
        assert_eq!(losses(told), 0, "seed {seed}");
        assert!(messages(told) >= meanwhile, "{} of {meanwhile}", messages(told));
    }
}

#[test]
fn a_state_whose_giver_dies_or_whose_view_ends_comes_from_another_and_nothing_is_lost() {
    let mut counts = Counts::new();
    for seed in 0..4 {
        let mut world = slow(seed, 4);
        let manner = Manner { is_causal: seed % 2 == 0, ..WITH_STATE };
        let record = begin(&mut world, 100, manner);
        world.pass((30 + 40 * seed) * MS);
        assert!(!has_state(&record));
        // The youngest gives.
        match seed % 4 {
            0 => {
                world.start(4);
            }
            _ => world.kill(3),
        }
        world.until("all that live are together", 5_000 * MS, World::is_whole);
        world.until("the state is there", 8_000 * MS, |_| has_state(&record));
        end(&mut world);
        let reader = (manner, Rc::clone(&record));
        judge(&world, &reader, &mut counts);
        judge_state(&world, &record.borrow(), &mut counts);
        assert_eq!(losses(&record.borrow().told), 0, "seed {seed}");
    }
    assert_eq!(counts["states"], 4, "{counts:?}");
}

#[test]
fn a_spool_that_overflows_fails_the_transfer_aloud_and_it_reads_on() {
    let mut world = slow(1, 3);
    let tuning = StateTuning { spool: 30_000, ..StateTuning::default() };
    let record = begin_with(&mut world, 100, WITH_STATE, tuning);
    let has_failed = |told: &Told| matches!(told, Told::Failed(_));
    world.until("it fails", 5_000 * MS, |_| record.borrow().told.iter().any(has_failed));
    world.pass(50 * MS);
    end(&mut world);
    judge(&world, &(WITH_STATE, Rc::clone(&record)), &mut Counts::new());
    let told = &record.borrow().told;
    assert_eq!(told[0], Told::Failed(TransferError::SpoolFull { limit: 30_000 }));
    assert!(matches!(told[1], Told::View(_)), "{:?}", told[1]);
    assert!(!told.contains(&Told::State));
    assert_eq!(losses(told), 0);
    assert!(messages(told) > 300, "{}", messages(told));
}

#[test]
fn where_nobody_keeps_a_state_a_reader_is_told_and_reads_on_without() {
    let mut world = World::new(Plan { expected: 3, ..Plan::quiet(1) });
    (0..3).for_each(|place| {
        world.start(place);
    });
    world.until("all find each other", 3_000 * MS, World::is_whole);
    let record = begin(&mut world, 100, WITH_STATE);
    world.pass(50 * MS);
    {
        let told = &record.borrow().told;
        assert_eq!(told[0], Told::Failed(TransferError::NobodyKeepsState));
        assert!(matches!(told[1], Told::View(_)), "{:?}", told[1]);
        assert!(messages(told) > 20, "{}", messages(told));
    }
    end(&mut world);
    judge(&world, &(WITH_STATE, Rc::clone(&record)), &mut Counts::new());
}

#[test]
fn where_who_keeps_a_state_never_answers_a_reader_is_told_and_reads_on_without() {
    let mut world = World::new(Plan { expected: 3, has_state: true, ..Plan::quiet(1) });
    world.start(0);
    // The others keep none.
    world.plan.has_state = false;
    world.start(1);
    world.start(2);
    world.until("all find each other", 3_000 * MS, World::is_whole);
    world.processes.iter_mut().for_each(|process| process.casts = false);
    world.cut(100, 0);
    let record = begin(&mut world, 100, WITH_STATE);
    world.pass(20_000 * MS);
    assert_eq!(record.borrow().told, []);
    world.pass(15_000 * MS);
    let is_silent = |told: &Told| matches!(told, Told::Failed(TransferError::NoAnswer { waited }) if waited.as_secs() == 30);
    assert!(is_silent(&record.borrow().told[0]), "{:?}", record.borrow().told);
    world.processes.iter_mut().for_each(|process| process.casts = true);
    world.pass(50 * MS);
    end(&mut world);
    judge(&world, &(WITH_STATE, Rc::clone(&record)), &mut Counts::new());
    assert!(messages(&record.borrow().told) > 20);
}
