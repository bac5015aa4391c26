//! Who is no member any more, whatever it was about when that came.

use crate::world::{MS, Plan, World};
use sistrum_ordering::{Order, Promise};
use sistrum_transport::medium::SimOptions;
use sistrum_transport::reliable::Refused;
use sistrum_transport::time::Instant;

/// Who always has something on its way to one alone, leaves.
fn leave_while_sending(seed: u64) {
    let mut world = super::formed(Plan { expected: 3, longest: 1, ..Plan::quiet(seed) }, 3);
    world.processes.iter_mut().for_each(|process| process.casts = false);
    world.until("all is delivered", 1_000 * MS, World::is_settled);
    let view = world.processes[0].group.view().expect("a view");
    let to = view.rank_of(super::endpoint_of(1)).expect("a member");
    let (mut sent, mut turns) = (0, 0);
    while !world.processes[0].group.has_left() {
        if turns == 1_000 {
            world.processes[0].group.leave(Instant::default());
        }
        let app = &mut world.processes[0].app;
        let (me, text) = (app.me.expect("a member"), app.message(Promise::from(Order::Fifo)));
        if world.processes[0].group.send(to, &text).is_ok() {
            *world.processes[0].app.numbers.entry(me).or_default() += 1;
            sent += 1;
        }
        world.pass(MS / 100);
        turns += 1;
        assert!(turns < 50_000, "it never leaves, with {sent} sent");
    }
    world.until("the others go on", 1_000 * MS, World::is_whole);
    assert!(sent > 500, "{sent}");
    assert_eq!(world.processes[1].app.directs.len(), sent);
}

/// The others go on without one that was handed the state and no view so far; whether it came to that.
fn go_on_without(seed: u64) -> bool {
    let network = SimOptions { loss: 0.3, delay_ns: 20_000..60_000, ..SimOptions::default() };
    let mut world = World::new(Plan { has_state: true, network, ..Plan::quiet(seed) });
    (0..2).for_each(|place| _ = world.start(place));
    world.until("it has the state", 3_000 * MS, |world| world.processes[1].app.state.taken > 0);
    if !world.processes[1].app.stays.is_empty() {
        return false;
    }
    world.split(|place| place);
    let is_alone =
        |world: &World| world.processes[0].group.view().is_some_and(|view| view.members().len() == 1);
    world.until("the other goes on", 1_000 * MS, is_alone);
    world.heal();
    world.until("all are together", 3_000 * MS, World::is_whole);
    assert_eq!(world.processes[1].app.excluded.len(), 1, "{}", world.describe());
    world.pass(10 * MS);
    world.judge();
    true
}

/// A group is made while most of those who make it start anew.
fn restart_while_it_is_made(seed: u64) {
    let mut world = World::new(Plan { expected: 3, ..Plan::quiet(seed) });
    (0..3).for_each(|place| _ = world.start(place));
    world.pass(100 * MS);
    (1..3).for_each(|at| world.kill(at));
    world.pass(200 * MS);
    (1..3).for_each(|place| _ = world.start(place));
    world.until("all find each other", 5_000 * MS, World::is_whole);
    world.judge();
}

/// One hears the others, and they do not hear it.
fn hear_one_way(seed: u64) {
    let mut world = World::new(Plan { expected: 4, ..Plan::quiet(seed) });
    (0..4).for_each(|place| _ = world.start(place));
    world.until("a view of all", 3_000 * MS, |world| {
        let views = world.processes.iter().filter_map(|process| process.group.view());
        views.filter(|view| view.members().len() == 4).count() > 0
    });
    (0..3).for_each(|place| world.cut(3, place));
    world.pass(500 * MS);
    let told = world.processes.iter().filter(|process| !process.app.stays.is_empty()).count();
    assert_eq!(told, 0, "seed {seed}: {}", world.describe());
    world.heal();
    world.until("all are together", 3_000 * MS, World::is_whole);
    world.judge();
}

#[test]
fn what_is_taken_of_one_who_leaves_is_cast_and_no_more_is_taken() {
    for seed in 0..10 {
        let plan = Plan { expected: 3, held_casts: 8_000, longest: 1, ..Plan::quiet(seed) };
        let mut world = super::formed(plan, 3);
        world.pass(10 * MS);
        world.processes.iter_mut().for_each(|process| process.casts = false);
        world.processes[0].group.leave(Instant::default());
        while !world.processes[0].group.has_left() {
            let refused = world.processes[0].group.sender().map(|sender| sender.cast(b"too late"));
            assert!(matches!(refused, Ok(Err(Refused::Left)) | Err(Refused::NoView)), "{refused:?}");
            world.pass(MS / 10);
        }
        world.until("the others go on", 1_000 * MS, World::is_whole);
        let cast = &world.processes[0].app.casts;
        let (me, cast) = (cast[0].name.0, cast.len());
        for other in &world.processes[1..] {
            let handed = other.app.stays.iter().flat_map(|stay| &stay.handed);
            assert_eq!(handed.filter(|(who, _)| *who == me).count(), cast, "seed {seed}");
        }
    }
}

#[test]
fn who_always_has_something_on_its_way_to_one_alone_may_leave_and_it_comes_there() {
    (0..10).for_each(leave_while_sending);
}

#[test]
fn who_was_handed_the_state_and_no_view_is_told_when_the_others_go_on_without_it() {
    let came_to_it = (0..100).filter(|seed| go_on_without(*seed)).count();
    assert!(came_to_it > 5, "{came_to_it}");
}

#[test]
fn a_group_is_made_where_most_of_its_first_members_start_anew_meanwhile() {
    (0..10).for_each(restart_while_it_is_made);
}

#[test]
fn a_first_view_is_told_to_all_or_to_nobody_whomever_each_hears() {
    (0..10).for_each(hear_one_way);
}

/// Each way in which that can be broken is seen.
#[cfg(feature = "mutants")]
#[test]
fn every_mutation_is_caught() {
    use sistrum_transport::mutation::Mutation;
    crate::catch_each(3, 100, |mutation| match mutation {
        Mutation::LeaveWhenIdle => Some(leave_while_sending),
        Mutation::ForgetHanded => Some(|seed| _ = go_on_without(seed)),
        Mutation::FormUnheard => Some(hear_one_way),
        _ => None,
    });
}
