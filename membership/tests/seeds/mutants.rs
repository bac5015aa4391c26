//! Breaks what a test tests on purpose, in one way after the other: it must see each.

use sistrum_transport::mutation::{Mutation, set};
use std::panic::{RefUnwindSafe, catch_unwind};

/// Each of these, with its name and what is broken, is seen within so many seeds: `run` panics.
pub(crate) fn catch_all<'a>(
    mutants: impl IntoIterator<Item = &'a (Mutation, &'static str, &'static str)>,
    seeds: u64,
    run: impl Fn(Mutation, u64) + RefUnwindSafe,
) {
    std::panic::set_hook(Box::new(|_| ()));
    let mut missed = Vec::new();
    for (mutation, name, what) in mutants {
        let caught = (0..seeds).find(|seed| {
            set(Some(*mutation));
            let ran = catch_unwind(|| run(*mutation, *seed));
            set(None);
            ran.is_err()
        });
        match caught {
            Some(seed) => println!("{name:26} {:>5}  {what}", seed + 1),
            None => missed.push(name),
        }
    }
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not caught within {seeds} seeds: {missed:?}");
}
