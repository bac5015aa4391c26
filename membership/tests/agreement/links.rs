//! Links that stay cut: whoever cannot hear each other cannot be in one view, and holds up nobody else. And what is lost with the dead.

use crate::world::{Weather, World};

const MS: u64 = 1_000_000;

fn calm(processes: u8) -> Weather {
    Weather {
        processes,
        loss: 0.0,
        duplicate: 0.0,
        delay_ns: 100_000,
        crashes: 0.0,
        partitions: 0.0,
        wrong_suspicions: 0.0,
        leaves: 0.0,
        syncs: 0.0,
        storm_ns: 0,
        late: 0.0,
        pulls: 2.0,
        sends: 0.0,
        deadly: None,
    }
}

fn pass(world: &mut World, ns: u64) {
    let end = world.now + ns;
    while world.now < end {
        world.step();
    }
}

/// Each of two has sent the other what it cannot have: neither can go on with the other, and the third may not wait for that.
#[test]
fn a_wedged_group_goes_on_without_one_of_two_that_stay_apart() {
    for seed in 0..50 {
        let mut world = World::new(seed, calm(3), 3);
        pass(&mut world, 5 * MS);
        world.apart = vec![(0, 1), (0, 2), (1, 2)];
        for (at, to) in [(1, 2), (2, 1)] {
            world.processes[at].as_mut().expect("a founder").streams.owes[to] = true;
        }
        pass(&mut world, 200 * MS);
        assert!(world.processes.iter().flatten().all(|process| process.is_wedged), "seed {seed}");
        world.apart = vec![(1, 2)];
        pass(&mut world, 3_000 * MS);
        let numbers = world.processes.iter().flatten().filter_map(|process| process.agreement.as_ref());
        let latest = numbers.map(|agreement| agreement.roster().number.0).max();
        assert!(latest > Some(1), "seed {seed}: nobody goes on\n{}", world.describe());
    }
}

/// The other decides alone, being the half with rank 0, and dies with what I lack.
#[test]
fn who_lacks_what_nobody_alive_holds_says_so_in_time() {
    for seed in 0..50 {
        let mut world = World::new(seed, Weather { pulls: 0.0, ..calm(2) }, 2);
        pass(&mut world, 5 * MS);
        world.sync(0);
        // One hears the other, and is not heard.
        let end = world.now + 20 * MS;
        while world.now < end {
            world.step();
            let theirs = world.processes[1].as_ref().expect("it lives").streams.held[1];
            let mine = &mut world.processes[0].as_mut().expect("it lives").streams;
            mine.held[1] = mine.held[1].max(theirs);
        }
        let number = |world: &World, at: usize| {
            let process: Option<&_> = world.processes[at].as_ref();
            process.and_then(|process| process.agreement.as_ref()).map(|known| known.roster().number.0)
        };
        assert_eq!((number(&world, 0), number(&world, 1)), (Some(2), Some(1)), "seed {seed}");
        world.processes[0] = None;
        pass(&mut world, 1_500 * MS);
        let left = world.processes[1].as_ref().expect("it lives");
        assert!(left.is_wedged, "seed {seed}: it waits for ever\n{}", world.describe());
    }
}
