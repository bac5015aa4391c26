//! Groups whose members come and go, over a network in memory, in virtual time.

mod app;
mod world;

use sistrum_transport::medium::SimOptions;
use world::{MS, Plan, World};

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
        let now = sistrum_transport::time::Instant::default();
        world.processes[leaver].group.leave(now);
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
fn storms() {
    let (first, seeds) = range();
    let mut counts = std::collections::BTreeMap::new();
    for seed in first..first + seeds {
        let world = storm(seed);
        world.counts.into_iter().for_each(|(what, count)| *counts.entry(what).or_insert(0) += count);
    }
    println!("{seeds} seeds: {counts:?}");
    if seeds > 10 {
        assert!(
            counts["pairs"] > seeds && counts["killed"] > seeds / 2 && counts["splits"] > seeds / 4,
            "{counts:?}"
        );
    }
}

/// Says which seed has failed.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("seed {}: SISTRUM_VIEWS_SEEDS={},1", self.0, self.0);
        }
    }
}

/// Whatever happens, all come together when it is over.
fn storm(seed: u64) -> World {
    let _said = Seed(seed);
    let mut world = World::new(Plan::drawn(seed));
    let first = world.rng.u16(3..6);
    (0..first).for_each(|place| {
        world.start(place);
    });
    if world.rng.bool() {
        world.until("all find each other", 10_000 * MS, World::is_whole);
    }
    for _ in 0..world.rng.usize(2..8) {
        let ns = world.rng.u64(..100 * MS);
        world.pass(ns);
        disturb(&mut world);
    }
    world.heal();
    // Those who are about to leave cast no more.
    let is_leaving = |world: &World, at: &usize| !world.processes[*at].casts;
    world.until("who leaves, is gone", 10_000 * MS, |world| {
        !world.living().iter().any(|at| is_leaving(world, at))
    });
    let kept = world.living();
    // Somebody has to be there who may make the group, and as many as are expected.
    if kept.len() < 3 || world.plan.unicast {
        for place in 0..6 {
            if !world.living().iter().any(|at| world.processes[*at].place == place) {
                world.start(place);
            }
        }
    }
    world.until("all are together", 30_000 * MS, |world| world.is_whole() || world.is_lost());
    if world.is_lost() {
        let is_double = world.is_double();
        let was_hidden = ["splits", "stopped"].iter().any(|what| world.counts.contains_key(what));
        assert!(
            !is_double || was_hidden,
            "a second life without a split\n{:?}\n{}",
            world.plan,
            world.describe()
        );
        world.count("lost", 1);
        world.count("two lives", u64::from(is_double));
    } else {
        world.pass(5 * MS);
        world.processes.iter_mut().for_each(|process| process.casts = false);
        world.until("all is delivered", 10_000 * MS, |world| world.is_settled() && world.is_whole());
    }
    world.judge();
    world
}

fn disturb(world: &mut World) {
    let living = world.living();
    let one = living.get(world.rng.usize(..living.len().max(1))).copied();
    match (world.rng.u8(..10), one) {
        (0..=1, Some(one)) => world.kill(one),
        (2, Some(one)) => {
            let place = world.processes[one].place;
            world.kill(one);
            world.start(place);
        }
        (3, Some(one)) => {
            world.processes[one].casts = false;
            world.processes[one].group.leave(sistrum_transport::time::Instant::default());
            world.count("left", 1);
        }
        (4, Some(one)) => {
            let ns = world.rng.u64(..300 * MS);
            world.stop(one, ns);
        }
        (5, Some(one)) => {
            let rank = world.rng.u16(..3);
            world.processes[one].group.suspect(sistrum_ordering::Rank(rank));
            world.count("suspected", 1);
        }
        (6, Some(one)) => {
            let text = [&world.rng.u64(..).to_le_bytes()[..], &vec![7; world.rng.usize(..100)]].concat();
            let taken = world.processes[one].group.cast_sync(&text).is_ok();
            world.count("sync casts", u64::from(taken));
        }
        (7, _) => {
            let shape = world.rng.u16(1..5);
            world.split(|place| place / shape);
            let ns = world.rng.u64(..300 * MS);
            world.pass(ns);
            if world.rng.u8(..4) > 0 {
                world.heal();
            }
        }
        _ => {
            let place = world.rng.u16(..7);
            let is_free = !world.processes.iter().any(|process| process.alive && process.place == place);
            if is_free {
                world.start(place);
                world.count("started", 1);
            }
        }
    }
}

/// Seeds to run: `SISTRUM_VIEWS_SEEDS=first,count`.
fn range() -> (u64, u64) {
    let Ok(text) = std::env::var("SISTRUM_VIEWS_SEEDS") else { return (0, 60) };
    let (first, count) = text.split_once(',').expect("first,count");
    (first.parse().expect("a number"), count.parse().expect("a number"))
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
