//! Links that stay cut: whoever cannot hear each other cannot be in one view, and holds up nobody else.

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
