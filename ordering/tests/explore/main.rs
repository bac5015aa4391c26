//! Every interleaving of small groups on the production layers: causal and total order hold in each, and nothing stalls.
//!
//! [`model`] is a group of members that are joined by reliable streams in order, and nothing else; [`member`] drives the two halves
//! of a layer as a session does; [`laws`] knows what really happened before what, and judges. The bounds here are small enough for
//! a test. Larger ones: `SISTRUM_EXPLORE=1 cargo test --release -p sistrum-ordering --test explore -- --nocapture`.

mod laws;
mod member;
mod model;

use laws::Law;
use model::{Fault, Group, Pace, Subject};
use sistrum_ordering::Order::{self, Causal as C, Fifo as F, Total as T};
use sistrum_ordering::{Causal, Stamps, Total, TotalMode, TotalOptions};
use stateright::{Checker as _, HasDiscoveries, Model as _};
use std::time::Instant;

const TOKEN: TotalOptions =
    TotalOptions { mode: TotalMode::Token, stamps: Stamps::Compressed, hand_over_after: 64 };
/// The token moves as soon as it may.
const RESTLESS: TotalOptions = TotalOptions { hand_over_after: 1, ..TOKEN };
const ROTATING: TotalOptions = TotalOptions { mode: TotalMode::Rotating, ..TOKEN };

fn is_large() -> bool {
    std::env::var_os("SISTRUM_EXPLORE").is_some()
}

/// The laws that some interleaving breaks, up to the first one or to this one.
fn explore<L: Subject>(name: &str, group: Group<L>, until: Option<Law>) -> Vec<Law> {
    let began = Instant::now();
    let end = match until {
        Some(law) => HasDiscoveries::AnyOf([law.name()].into()),
        None => HasDiscoveries::Any,
    };
    let checker = group.checker().threads(2).finish_when(end).spawn_bfs().join();
    let discoveries = checker.discoveries();
    println!(
        "{name}: {} states, {} distinct, {} steps deep, {:.1} s",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64()
    );
    for (law, path) in discoveries {
        println!("{law}: {:?}", path.into_actions());
    }
    Law::ALL.into_iter().filter(|law| checker.discovery(law.name()).is_some()).collect()
}

fn holds<L: Subject>(name: &str, group: Group<L>) {
    assert_eq!(explore(name, group, None), [], "{name}");
}

fn group<L: Subject>(options: TotalOptions, pace: Pace, script: &[&[Order]]) -> Group<L> {
    Group::new(options, pace, script.iter().map(|casts| casts.to_vec()).collect())
}

#[test]
fn causal_order() {
    let full = TotalOptions { stamps: Stamps::Full, ..TOKEN };
    holds("causal, coarse", group::<Causal>(TOKEN, Pace::Coarse, &[&[C], &[C, F], &[C]]));
    holds("causal, full stamps", group::<Causal>(full, Pace::Coarse, &[&[C], &[C, C], &[C]]));
    if is_large() {
        holds("causal, fine", group::<Causal>(TOKEN, Pace::Fine, &[&[C, C], &[C], &[C]]));
        holds("causal, two each", group::<Causal>(TOKEN, Pace::Coarse, &[&[C, C], &[C, C], &[C, C]]));
    }
}

#[test]
fn total_order_by_a_token() {
    holds("token, fine", group::<Total>(TOKEN, Pace::Fine, &[&[], &[T], &[T]]));
    holds("token, coarse", group::<Total>(TOKEN, Pace::Coarse, &[&[T], &[T, C], &[C]]));
    if is_large() {
        holds("token, fine, all", group::<Total>(TOKEN, Pace::Fine, &[&[T], &[T], &[T]]));
        holds("token, four", group::<Total>(TOKEN, Pace::Coarse, &[&[T], &[T, C], &[T, F]]));
    }
}

#[test]
fn total_order_by_a_token_that_moves() {
    holds("restless, fine", group::<Total>(RESTLESS, Pace::Fine, &[&[], &[T], &[T]]));
    holds("restless, coarse", group::<Total>(RESTLESS, Pace::Coarse, &[&[T], &[T, C], &[T]]));
    holds("restless, full blocks", group::<Total>(RESTLESS, Pace::Full, &[&[], &[T, T], &[]]));
    if is_large() {
        holds("restless, fine, all", group::<Total>(RESTLESS, Pace::Fine, &[&[T], &[T], &[T]]));
        holds("restless, five", group::<Total>(RESTLESS, Pace::Coarse, &[&[T], &[T, T], &[T, C]]));
        holds("restless, full, long", group::<Total>(RESTLESS, Pace::Full, &[&[], &[T, T, T], &[C]]));
    }
}

#[test]
fn total_order_by_turns() {
    holds("rotating, fine", group::<Total>(ROTATING, Pace::Fine, &[&[], &[T], &[C]]));
    holds("rotating, coarse", group::<Total>(ROTATING, Pace::Coarse, &[&[], &[T, C], &[T]]));
    if is_large() {
        holds("rotating, four", group::<Total>(ROTATING, Pace::Coarse, &[&[T], &[T, C], &[T]]));
    }
}

#[test]
fn members_leave() {
    let some: &[&[Order]] = &[&[T], &[T], &[T]];
    holds("token, two leave", group::<Total>(TOKEN, Pace::Coarse, &[&[T], &[], &[T]]).left_by(&[0, 1]));
    holds("restless, two leave", group::<Total>(RESTLESS, Pace::Coarse, &[&[], &[T], &[T]]).left_by(&[0, 1]));
    holds("rotating, one leaves", group::<Total>(ROTATING, Pace::Coarse, &[&[T], &[], &[T]]).left_by(&[0]));
    if is_large() {
        holds("token, leaving", group::<Total>(TOKEN, Pace::Coarse, some).left_by(&[0, 1]));
        holds("restless, leaving", group::<Total>(RESTLESS, Pace::Coarse, some).left_by(&[0, 1]));
        holds("restless, others leave", group::<Total>(RESTLESS, Pace::Coarse, some).left_by(&[1, 2]));
        holds(
            "restless, fine, leaving",
            group::<Total>(RESTLESS, Pace::Fine, &[&[], &[T], &[T]]).left_by(&[1]),
        );
        holds(
            "rotating, leaving",
            group::<Total>(ROTATING, Pace::Coarse, &[&[T], &[T], &[]]).left_by(&[0, 1]),
        );
    }
}

/// A checker that finds nothing is no checker.
#[test]
fn what_is_broken_is_found() {
    let breaks = |fault: Fault, options: TotalOptions, law: Law, script: &[&[Order]]| {
        let broken =
            explore("broken", group::<Total>(options, Pace::Coarse, script).broken_by(fault), Some(law));
        assert!(broken.contains(&law), "{fault:?} breaks {broken:?}, not {law:?}");
    };
    breaks(Fault::LostStamp, TOKEN, Law::Causal, &[&[C], &[C], &[]]);
    breaks(Fault::LostStamp, TOKEN, Law::TimestampTruth, &[&[C], &[C], &[]]);
    breaks(Fault::DeliverOnReceipt, TOKEN, Law::Total, &[&[T], &[T], &[]]);
    breaks(Fault::DeliverOnReceipt, ROTATING, Law::Total, &[&[T], &[T], &[]]);
    breaks(Fault::DeliverOnReceipt, TOKEN, Law::Causal, &[&[C], &[C], &[]]);
    breaks(Fault::LostWake, TOKEN, Law::Progress, &[&[C], &[C], &[]]);
    breaks(Fault::LostWake, ROTATING, Law::Progress, &[&[T], &[T], &[]]);
    breaks(Fault::Twice, TOKEN, Law::Fifo, &[&[C, C], &[], &[]]);
    breaks(Fault::Jump, TOKEN, Law::Manners, &[&[], &[T, T], &[]]);
}
