//! Groups whose members come and go, over a network in memory, in virtual time.

mod app;
mod borrowing;
mod busy;
mod diffusion;
mod firm;
mod holding;
mod leaving;
#[cfg(feature = "mutants")]
#[path = "../seeds/mutants.rs"]
mod mutants;
mod reader;
mod world;

use sistrum_ordering::{Order, Promise};
use sistrum_transport::medium::SimOptions;
use sistrum_transport::medium::sim::endpoint_of;
#[cfg(feature = "mutants")]
use sistrum_transport::mutation::Mutation;
use sistrum_transport::time::Instant;
use world::{MS, Plan, Process, World};

/// Processes at places 0, 1, .. that have found each other.
fn formed(plan: Plan, count: u16) -> World {
    let mut world = World::new(plan);
    (0..count).for_each(|place| {
        world.start(place);
    });
    let ns = world.until("all find each other", 3_000 * MS, World::is_whole);
    assert!(ns < 2_000 * MS, "{ns}");
    world
}

/// Panics where what it tests is broken, with this seed.
#[cfg(feature = "mutants")]
type Check = fn(u64);

/// Each of the `count` mutations that `check` has a test for is seen by it within so many seeds.
#[cfg(feature = "mutants")]
fn catch_each(count: usize, seeds: u64, check: fn(Mutation) -> Option<Check>) {
    let checked: Vec<_> =
        Mutation::VIEWS.iter().filter(|(mutation, ..)| check(*mutation).is_some()).collect();
    assert_eq!(checked.len(), count);
    mutants::catch_all(checked, seeds, |mutation, seed| {
        check(mutation).into_iter().for_each(|check| check(seed));
    });
}

#[test]
fn processes_find_each_other_by_multicast_and_by_seeds() {
    for unicast in [false, true] {
        let plan = Plan { unicast, expected: 5, ..Plan::quiet(1) };
        let mut world = formed(plan, 5);
        world.pass(50 * MS);
        world.judge();
        let stays = world.processes.iter().map(|process| process.app.stays.len());
        assert!(stays.clone().all(|stays| stays == 1), "{:?}", stays.collect::<Vec<_>>());
        assert!(world.counts["handed"] > 1_000, "{:?}", world.counts);
    }
}

#[test]
fn a_crash_is_followed_by_a_view_without_the_dead() {
    for seed in 0..10 {
        let mut world = formed(Plan { expected: 4, ..Plan::quiet(seed) }, 4);
        world.pass(20 * MS);
        world.kill(seed as usize % 4);
        let ns = world.until("the others go on", 1_000 * MS, World::is_whole);
        assert!(ns < 150 * MS, "{ns} is longer than the suspicion takes");
        world.pass(20 * MS);
        world.judge();
        assert!(world.counts["pairs"] >= 2, "{:?}", world.counts);
    }
}

#[test]
fn what_waits_for_the_end_of_a_view_is_handed_over_before_the_next_however_much_it_is() {
    let mut world = formed(Plan { expected: 3, longest: 1, block: 1400, ..Plan::quiet(5) }, 3);
    world.processes.iter_mut().for_each(|process| process.casts = false);
    world.until("all is delivered", 1_000 * MS, World::is_settled);
    // The first one lacks a cast, on which all depends that the second one sends it: nobody but its dead sender would repair it.
    world.cut(2, 0);
    let text = world.processes[2].app.message(Promise::from(Order::Fifo));
    world.processes[2].group.sender().expect("a view").cast(&text).expect("there is room");
    world.processes[2].app.sent(Order::Fifo, None);
    world.pass(2 * MS);
    let to = world.processes[1].group.view().expect("a view").rank_of(endpoint_of(0)).expect("a member");
    let Process { group, app, .. } = &mut world.processes[1];
    let (me, first) = (app.me.expect("a member"), app.numbers.values().last().copied().unwrap_or(0));
    let sent = (0..1_000)
        .take_while(|_| {
            let text = app.message(Promise::from(Order::Fifo));
            let is_taken = group.send(to, &text).is_ok();
            *app.numbers.entry(me).or_default() += u32::from(is_taken);
            is_taken
        })
        .count();
    assert!(sent > 300, "more than one look hands over, and not {sent}");
    world.pass(5 * MS);
    let before = world.processes[0].app.directs.len();
    world.kill(2);
    world.until("the others go on", 1_000 * MS, World::is_whole);
    world.pass(5 * MS);
    let got: Vec<u32> = world.processes[0].app.directs[before..].iter().map(|(_, number)| *number).collect();
    let wanted: Vec<u32> = (first..).take(sent).collect();
    assert_eq!(got, wanted);
}

#[test]
fn members_join_and_leave_under_load() {
    for seed in 0..10 {
        let mut world = formed(Plan { unicast: seed % 2 == 1, ..Plan::quiet(seed) }, 3);
        world.pass(10 * MS);
        let late = world.start(3);
        let ns = world.until("it comes in", 500 * MS, World::is_whole);
        assert!(ns < 20 * MS, "{ns}");
        world.pass(10 * MS);
        let leaver = if seed % 3 == 0 { late } else { 0 };
        world.processes[leaver].casts = false;
        world.processes[leaver].group.leave(Instant::default());
        world.until("it leaves", 1_000 * MS, |world| {
            world.processes[leaver].group.has_left() && world.is_whole()
        });
        world.pass(10 * MS);
        world.judge();
        assert!(world.processes.iter().all(|process| process.app.excluded.is_empty()));
    }
}

#[test]
fn a_minority_is_wedged_and_comes_back_as_somebody_new() {
    for seed in 0..10 {
        let mut world = formed(Plan { expected: 5, unicast: seed % 2 == 0, ..Plan::quiet(seed) }, 5);
        world.pass(10 * MS);
        world.split(|place| u16::from(place < 2));
        world.pass(300 * MS);
        assert!(world.processes[..2].iter().all(|process| process.app.wedged > 0), "{seed}");
        assert!(world.processes[2..].iter().all(|process| process.app.wedged == 0), "{seed}");
        world.heal();
        world.until("all are together", 3_000 * MS, World::is_whole);
        assert!(world.processes[..2].iter().all(|process| process.app.excluded.len() == 1), "{seed}");
        world.pass(10 * MS);
        world.judge();
    }
}

#[test]
fn wedged_is_not_dead() {
    for seed in 0..10 {
        let mut world = formed(Plan { expected: 5, ..Plan::quiet(seed) }, 5);
        world.split(|place| place / 2);
        world.pass(300 * MS);
        assert!(world.processes.iter().all(|process| process.app.wedged > 0), "{seed}");
        world.heal();
        world.until("all go on", 3_000 * MS, World::is_whole);
        world.pass(10 * MS);
        world.judge();
        let stayed = world.processes.iter().filter(|process| process.app.excluded.is_empty()).count();
        assert!(stayed >= 3, "a majority of the view keeps its incarnation: {stayed} in {seed}");
    }
}

#[test]
fn who_would_join_a_group_that_cannot_go_on_is_told_so_and_makes_no_other() {
    for seed in 0..10 {
        let mut world = formed(Plan { expected: 3, unicast: seed % 2 == 0, ..Plan::quiet(seed) }, 3);
        world.pass(10 * MS);
        world.split(|place| place % 3);
        world.pass(300 * MS);
        let late = world.start(3);
        world.split(|place| place % 3);
        world.pass(2_000 * MS);
        let told = &world.processes[late].app.stuck;
        assert_eq!(told.len(), 1, "{seed}: {told:?}");
        assert!(told[0].is_wedged && told[0].members.len() == 3, "{seed}: {told:?}");
        assert!(world.processes[late].app.stays.is_empty(), "{seed}");
        world.heal();
        world.until("all are together", 3_000 * MS, World::is_whole);
        world.pass(10 * MS);
        world.judge();
    }
}

#[test]
fn casts_are_held_over_a_change_or_refused() {
    // As much as a window of so few blocks may hold.
    let [plain, held] = [0, 8_000].map(|held_casts| {
        let mut world =
            formed(Plan { held_casts, cast_every_ns: 150_000, longest: 60, ..Plan::quiet(11) }, 3);
        for _ in 0..3 {
            let late = world.start(3);
            world.until("it comes in", 500 * MS, World::is_whole);
            world.processes[late].casts = false;
            world.processes[late].group.leave(Instant::default());
            world.until("it leaves", 1_000 * MS, |world| {
                world.processes[late].group.has_left() && world.is_whole()
            });
        }
        world.processes.iter_mut().for_each(|process| process.casts = false);
        world.until("all is delivered", 1_000 * MS, World::is_settled);
        world.judge();
        let refused: u64 = world.processes[..3].iter().map(|process| process.app.changing).sum();
        // Nothing that was taken is missing, in whatever view it was cast.
        for process in &world.processes[..3] {
            let me = process.app.me.expect("a member");
            let cast = process.app.numbers[&me];
            let other =
                world.processes[..3].iter().find(|other| other.place != process.place).expect("two others");
            let handed = other.app.stays.iter().flat_map(|stay| &stay.handed);
            let got = handed.filter(|(who, _)| *who == me).map(|(_, number)| *number);
            assert!(got.eq(0..cast), "all {cast} of {me:?} in their order");
        }
        refused
    });
    assert!(held < plain / 2, "{plain} were refused, and {held} where they may be held");
}

#[test]
fn nothing_is_ever_told_of_one_alone_that_expects_others() {
    let mut world = World::new(Plan { network: SimOptions::default(), ..Plan::quiet(3) });
    world.start(0);
    world.pass(5_000 * MS);
    assert!(world.processes[0].app.stays.is_empty() && world.processes[0].group.sender().is_err());
}

#[test]
fn a_storm_of_joins_is_a_few_views() {
    // A hundred, where that does not take minutes.
    let joiners = if cfg!(debug_assertions) { 24 } else { 100 };
    for unicast in [false, true] {
        let plan = Plan { unicast, cast_every_ns: 20 * MS, block: 1400, most: 128, ..Plan::quiet(7) };
        let mut world = formed(plan, 4);
        (4..4 + joiners).for_each(|place| {
            let at = world.start(place);
            world.processes[at].casts = false;
        });
        let ns = world.until("all are in", 3_000 * MS, World::is_whole);
        let views = world.processes[0].app.stays.len();
        assert!(ns < 500 * MS && views < 30, "{} ms, {views} views", ns / MS);
        world.pass(20 * MS);
        world.judge();
        assert!(
            world.processes.iter().all(|process| process.app.excluded.is_empty()),
            "nobody is lost on the way"
        );
    }
}
