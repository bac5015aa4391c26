//! Every interleaving of small groups that agree on views: real [`Agreement`](sistrum_membership::agreement::Agreement) values over a
//! network that may do anything but lie, with crashes, wrong suspicions, joins and leaves.
//!
//! [`process`] is one of them with its streams; [`model`] is all of them with everything they ever said; [`laws`] judges, and says what
//! must be seen somewhere; [`table`] keeps states small. The bounds here are small enough for a test. Larger ones:
//! `SISTRUM_EXPLORE=1 cargo test --release -p sistrum-membership --test explore -- --nocapture`.

mod laws;
mod model;
mod process;
mod table;

use laws::{Law, Witness};
use model::{Bounds, Group, Spent};
use stateright::{Checker as _, HasDiscoveries, Model as _};
use std::time::Instant;

fn is_large() -> bool {
    std::env::var_os("SISTRUM_EXPLORE").is_some()
}

/// The laws that some interleaving breaks, up to the first one, and what was seen.
fn explore(name: &str, group: Group) -> (Vec<Law>, Vec<Witness>) {
    let began = Instant::now();
    let checker = group.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let (processes, letters) = checker.model().counts();
    println!(
        "{name}: {} states, {} distinct, {} steps deep, {processes} processes, {letters} letters, {:.1} s",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64()
    );
    let broken: Vec<Law> =
        Law::ALL.into_iter().filter(|law| checker.discovery(law.name()).is_some()).collect();
    for law in &broken {
        let path = checker.discovery(law.name()).expect("it was found");
        for action in path.into_actions() {
            println!("  {law:?}: {}", checker.model().format_action(&action));
        }
    }
    let seen = Witness::ALL.into_iter().filter(|witness| checker.discovery(witness.name()).is_some());
    let seen = seen.collect();
    (broken, seen)
}

/// All laws hold, and `witnesses` are seen.
fn holds(name: &str, bounds: Bounds, witnesses: &[Witness]) {
    let (broken, seen) = explore(name, Group::new(bounds));
    assert_eq!(broken, [], "{name}");
    let missed: Vec<_> = witnesses.iter().filter(|witness| !seen.contains(witness)).collect();
    assert!(missed.is_empty(), "{name}: nowhere {missed:?}");
}

fn spent(crashes: u8, suspicions: u8, timeouts: u8) -> Spent {
    Spent { crashes, suspicions, timeouts, leaves: 0 }
}

fn bounds(blocks: &[u64], most: Spent) -> Bounds {
    Bounds { blocks: blocks.to_vec(), most, attempts: 1, views: 3, ..Bounds::default() }
}

#[test]
fn probe() {
    let var = |name: &str, or: u32| std::env::var(name).map_or(or, |text| text.parse().unwrap());
    let blocks = std::env::var("BLOCKS").unwrap_or("100".into());
    let blocks: Vec<u64> = blocks.bytes().map(|byte| u64::from(byte - b'0')).collect();
    let most = Spent {
        crashes: var("C", 0) as u8,
        suspicions: var("S", 0) as u8,
        timeouts: var("T", 0) as u8,
        leaves: var("L", 0) as u8,
    };
    let bounds = Bounds {
        joiners: var("J", 0) as usize,
        attempts: var("A", 1),
        views: var("V", 3),
        is_slow: var("SLOW", 0) == 1,
        ..bounds(&blocks, most)
    };
    println!("{:?}", explore("probe", Group::new(bounds)));
}
