//! Every interleaving of small groups that agree on views: real [`Agreement`](sistrum_membership::agreement::Agreement) values over a
//! network that may do anything but lie, with crashes, wrong suspicions, joins and leaves.
//!
//! [`process`] is one of them with its streams; [`model`] is all of them with everything they ever said; [`judge`] judges by the
//! [`laws`], which say too what must be seen somewhere; [`table`] keeps states small. The bounds here are small enough for a test. Larger ones,
//! some ten minutes: `SISTRUM_EXPLORE=1 cargo test --release -p sistrum-membership --test explore -- --nocapture`.

mod judge;
mod laws;
mod model;
mod process;
mod table;

use laws::Law;
use laws::Witness::{self, *};
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

/// A group whose members have cast so many blocks each.
fn group(blocks: &[u64], most: Spent) -> Bounds {
    Bounds { blocks: blocks.to_vec(), most, attempts: 1, views: 3, ..Bounds::default() }
}

const NOTHING: Spent = Spent { crashes: 0, suspicions: 0, timeouts: 0, leaves: 0 };
const CRASH: Spent = Spent { crashes: 1, ..NOTHING };
const ERROR: Spent = Spent { suspicions: 1, ..NOTHING };
const CRASH_AND_ERROR: Spent = Spent { crashes: 1, suspicions: 1, ..NOTHING };

#[test]
fn members_crash_and_are_suspected() {
    holds(
        "two suspect each other",
        group(&[1, 0], Spent { suspicions: 2, timeouts: 2, ..NOTHING }),
        &[DecidedTwice, WronglyExcluded, Unwedged, Fetched],
    );
    holds("three, a crash", group(&[1, 0, 0], Spent { timeouts: 1, ..CRASH }), &[Decided, Fetched]);
    holds("three, an error", group(&[1, 0, 0], Spent { timeouts: 1, ..ERROR }), &[WronglyExcluded, Fetched]);
    let both = group(&[0, 0, 0], CRASH_AND_ERROR);
    holds("three, both", both.clone(), &[DecidedTwice, Recovered, WronglyExcluded, Unwedged]);
    holds("three, slow, both", Bounds { is_slow: true, ..both }, &[DecidedTwice, Recovered]);
    if is_large() {
        holds("three, a block, both", group(&[1, 0, 0], CRASH_AND_ERROR), &[Recovered, Fetched]);
        holds("three, two errors", group(&[1, 0, 0], Spent { suspicions: 2, ..ERROR }), &[Unwedged, Fetched]);
        holds("three, two blocks, both", group(&[1, 1, 0], CRASH_AND_ERROR), &[Recovered, Fetched]);
        let timed = Spent { timeouts: 1, ..CRASH_AND_ERROR };
        holds("three, a block, both, a timeout", group(&[1, 0, 0], timed), &[Recovered, Fetched]);
    }
}

#[test]
fn four_crash_and_are_suspected() {
    holds("four, a crash", group(&[1, 0, 0, 0], CRASH), &[Decided, Fetched]);
    holds("four, an error", group(&[1, 0, 0, 0], ERROR), &[WronglyExcluded, Fetched]);
    holds("four, two crashes", group(&[0; 4], Spent { crashes: 2, ..CRASH }), &[DecidedTwice, Unwedged]);
    // Who was hindered does not try again.
    let first_try = |most: Spent| Bounds { attempts: 0, ..group(&[0; 4], most) };
    let goes = first_try(Spent { leaves: 1, ..CRASH });
    let goes = Bounds { views: 2, mortals: vec![0], leavers: vec![3], ..goes };
    holds("four, the last leaves and the first crashes", goes, &[Recovered, Left]);
    if is_large() {
        holds("four, both", first_try(CRASH_AND_ERROR), &[DecidedTwice, WronglyExcluded, Unwedged]);
    }
}

#[test]
fn members_come_and_go() {
    let leave = Spent { leaves: 1, ..NOTHING };
    holds("three, a leave", group(&[1, 0, 0], leave), &[Left, Fetched]);
    holds("three, a leave and a crash", group(&[0; 3], Spent { crashes: 1, ..leave }), &[Recovered, Left]);
    let joined = |blocks: &[u64], most: Spent| Bounds { joiners: 1, views: 4, ..group(blocks, most) };
    holds("three and a joiner", joined(&[1, 0, 0], NOTHING), &[Joined, Fetched]);
    holds("three and a joiner, a crash", joined(&[0; 3], CRASH), &[Recovered, Joined]);
    let all_go = joined(&[1, 0], Spent { leaves: 2, ..NOTHING });
    holds("two leave and a joiner", all_go, &[DecidedTwice, Joined, Left]);
    holds("two and a joiner, an error", joined(&[0, 0], ERROR), &[DecidedTwice, WronglyExcluded, Joined]);
    if is_large() {
        holds("three and a joiner, an error", joined(&[0; 3], ERROR), &[DecidedTwice, Joined]);
        let much = Spent { leaves: 1, ..CRASH_AND_ERROR };
        holds("two and a joiner, all of it", joined(&[0, 0], much), &[Joined, Left, Unwedged]);
        holds(
            "three, a leave and an error",
            group(&[0; 3], Spent { suspicions: 1, ..leave }),
            &[Left, Unwedged],
        );
    }
}

/// Each mutation of agreement that breaks a law does so in some interleaving. The others keep changes from coming to an end, or need a
/// sync cast: the seeded runs of `tests/agreement` catch them.
#[cfg(feature = "mutants")]
#[test]
fn every_mutation_is_caught() {
    use sistrum_transport::mutation::Mutation::{self, *};
    let breaks = |mutation: Mutation, law: Law, bounds: Bounds| {
        let (broken, _) = explore(&format!("{mutation:?}"), Group::new(bounds).broken_by(mutation));
        assert!(broken.contains(&law), "{mutation:?} breaks {broken:?}, not {law:?}");
    };
    let errors = Spent { suspicions: 2, ..ERROR };
    let join = Bounds { joiners: 1, ..group(&[0, 0], NOTHING) };
    breaks(WrongRanksAfterJoin, Law::Ages, join);
    breaks(HalfIsPrimaryOnBothSides, Law::Quorum, group(&[0, 0], errors));
    breaks(InstallBeforeQuorum, Law::Quorum, group(&[0, 0, 0], ERROR));
    breaks(AckWithoutBlocks, Law::CutHeld, group(&[1, 0, 0], ERROR));
    breaks(CutIsMinimum, Law::Excluded, group(&[1, 0, 0], ERROR));
    breaks(CutOfCoordinatorOnly, Law::Excluded, group(&[0, 1, 0], ERROR));
    breaks(ReportUnackedAsAcked, Law::Word, group(&[1, 0, 0], CRASH_AND_ERROR));
    breaks(ForgetAcked, Law::OneValue, group(&[0, 0, 0], CRASH_AND_ERROR));
    // The first one is about to let the last one go, and the second one suspects it.
    let duel = Bounds { attempts: 0, views: 2, ..group(&[0, 0, 0], Spent { leaves: 1, ..ERROR }) };
    breaks(AcceptLowerBallot, Law::OneValue, Bounds { leavers: vec![2], suspicions: vec![(1, 0)], ..duel });
}
