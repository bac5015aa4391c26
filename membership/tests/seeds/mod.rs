//! How a test runs over seeds.
//!
//! `SISTRUM_SEEDS=N` runs so many seeds, `SISTRUM_SEED=S` that one.

#[cfg(feature = "mutants")]
mod mutants;

#[cfg(feature = "mutants")]
pub(crate) use mutants::catch_all;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::{RefUnwindSafe, catch_unwind};

/// How often each thing came about.
pub(crate) type Counts = BTreeMap<&'static str, u64>;

pub(crate) fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// What all seeds of this test return, `usual` many; none where one was asked for, which is printed.
pub(crate) fn run_all<R: Debug>(
    test: &str,
    usual: u64,
    run: impl Fn(u64) -> R + RefUnwindSafe,
) -> Option<Vec<R>> {
    if let Some(seed) = number_of("SISTRUM_SEED") {
        println!("{:?}", run(seed));
        return None;
    }
    let one = |seed| {
        catch_unwind(|| run(seed)).unwrap_or_else(|_| {
            panic!("again: SISTRUM_SEED={seed} cargo test -p sistrum-membership --test {test}")
        })
    };
    Some((0..number_of("SISTRUM_SEEDS").unwrap_or(usual)).map(one).collect())
}

/// Each of these has come about in some of them.
pub(crate) fn came_about(all: impl IntoIterator<Item = Counts>, what: &[&str]) {
    let mut counts = Counts::new();
    for (what, count) in all.into_iter().flatten() {
        *counts.entry(what).or_default() += count;
    }
    println!("{counts:?}");
    for what in what {
        assert!(counts.get(what).is_some_and(|count| *count > 0), "{what} never came about: {counts:?}");
    }
}
