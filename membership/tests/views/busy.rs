//! Who never rests, or is slow: what was asked for comes all the same.

use crate::world::{MS, Plan, World};
use sistrum_ordering::Order;
use sistrum_transport::medium::sim::endpoint_of;
use sistrum_transport::reliable::Pace;

/// Who joins hands over as little as one of the others, and these never rest.
fn catch_up(seed: u64) {
    let pace = Some(Pace { rate: 4_000_000, burst: 4_000 });
    let busy = Plan { longest: 1, block: 1_400, cast_every_ns: 3_000, ..Plan::quiet(seed) };
    let plan = Plan { has_state: true, padding: 20_000, spool: 300_000, pace, ..busy };
    let mut world = super::formed(plan, 2);
    world.start(2);
    world.processes[2].casts = false;
    (1..3).for_each(|at| world.processes[at].app.takes = 2);
    world.until("it counts", 3_000 * MS, |world| {
        let view = world.processes[0].group.view();
        view.is_some_and(|view| view.members().len() == 3 && view.joining().is_empty())
    });
    world.until("it has caught up", 200 * MS, |world| !world.processes[2].group.is_taking_over());
}

/// One refuses something each time, and has asked for a flush.
fn flush_while_busy(seed: u64) {
    let busy = Plan { longest: 1, cast_every_ns: 3_000, orders: vec![Order::Fifo], ..Plan::quiet(seed) };
    let mut world = super::formed(Plan { expected: 3, window: 256, ..busy }, 3);
    world.processes[0].casts = false;
    world.processes[0].app.takes = 8;
    world.pass(50 * MS);
    world.processes[0].group.flush().expect("a view");
    world.until("it is over", 100 * MS, |world| world.processes[0].app.flushed > 0);
}

/// The last one who has the state leaves those who keep none.
fn leave_the_stateless(seed: u64) {
    let mut world = World::new(Plan { expected: 1, has_state: true, ..Plan::quiet(seed) });
    world.start(0);
    world.until("it is there", 2_000 * MS, World::is_whole);
    world.plan.has_state = false;
    world.start(1);
    world.until("both are there", 2_000 * MS, World::is_whole);
    let number = |world: &World| world.processes[1].group.view().expect("a view").id().number.0;
    let before = number(&world);
    (world.processes[0].casts, world.processes[1].casts) = (false, false);
    world.processes[0].group.leave(sistrum_transport::time::Instant::default());
    world.until("it leaves", 500 * MS, |world| world.processes[0].group.has_left() && world.is_whole());
    assert!(number(&world) < before + 3, "{before} to {}", number(&world));
}

#[test]
fn a_joiner_catches_up_with_those_who_never_rest() {
    (0..3).for_each(catch_up);
}

#[test]
fn a_flush_is_told_to_one_that_refuses_something_in_each_cycle() {
    (0..3).for_each(flush_while_busy);
}

#[test]
fn the_last_one_with_the_state_leaves_those_who_keep_none() {
    (0..3).for_each(leave_the_stateless);
}

#[test]
fn whom_the_application_calls_failed_is_out_though_the_next_view_is_there_already() {
    let mut world = super::formed(Plan { expected: 4, ..Plan::quiet(1) }, 4);
    world.processes.iter_mut().for_each(|process| process.casts = false);
    world.until("all is delivered", 1_000 * MS, World::is_settled);
    world.processes[1].group.cast_sync(b"between two views").expect("taken");
    let number = |world: &World| world.processes[0].group.view().expect("a view").id().number;
    let before = number(&world);
    world.processes[0].app.takes = 0;
    world.until("the next view is there", 100 * MS, |world| number(world) > before);
    assert_eq!(world.processes[0].group.reached(), Some(before));
    let view = &world.processes[0].app.stays[0].view;
    let failed = view.rank_of(endpoint_of(3)).expect("a member");
    world.processes[0].group.suspect(failed);
    world.pass(MS);
    world.processes[0].app.takes = usize::MAX;
    world.until("it is out", 2_000 * MS, |world| !world.processes[3].app.excluded.is_empty());
}

#[test]
fn a_flush_is_asked_for_in_a_view_that_was_told_and_ends() {
    let mut world = World::new(Plan { expected: 3, ..Plan::quiet(1) });
    (0..3).for_each(|place| _ = world.start(place));
    world.pass(100 * MS);
    world.kill(2);
    let mut asked = [0, 0];
    let mut pass = |world: &mut World| {
        for (at, asked) in asked.iter_mut().enumerate() {
            let is_taken = world.processes[at].group.flush().is_ok();
            assert!(!is_taken || !world.processes[at].app.stays.is_empty(), "there is no view");
            *asked += u64::from(is_taken);
        }
        world.pass(MS);
    };
    (0..1_000).for_each(|_| pass(&mut world));
    world.start(2);
    (0..1_000).for_each(|_| pass(&mut world));
    assert!(world.is_whole(), "{}", world.describe());
    world.processes.iter_mut().for_each(|process| process.casts = false);
    world.pass(1_000 * MS);
    let flushed = world.processes[..2].iter().map(|process| process.app.flushed);
    assert!(asked[0] > 500 && flushed.eq(asked), "{asked:?}");
}

/// Each way in which that can be broken is seen.
#[cfg(feature = "mutants")]
#[test]
fn every_mutation_is_caught() {
    use sistrum_transport::mutation::Mutation;
    crate::catch_each(3, 3, |mutation| match mutation {
        Mutation::NeverNarrow => Some(catch_up),
        Mutation::RestBehindAll => Some(flush_while_busy),
        Mutation::LeaveToAnybody => Some(leave_the_stateless),
        _ => None,
    });
}
