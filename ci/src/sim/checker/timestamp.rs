//! TimestampTruth: the stamps of a block are read as what its sender had seen when it sealed it.
//!
//! A sender's own entry means nothing: its stream is delivered in order. Blocks of fifo messages have no stamp, and tell nothing.
//! Nor does a sender read its own stamps: what all have delivered of its blocks may be forgotten before.

use crate::sim::history::{Event, History, Process, What};
use sistrum_ordering::{Rank, Seq};
use std::collections::HashMap;

/// What each process had seen, by the block that it sealed then.
type Sealed<'a> = HashMap<(Process, u64), &'a [Seq]>;

pub(super) fn check(history: &History) -> Option<String> {
    let mut sealed = Sealed::new();
    history.events.iter().find_map(|event| match &event.what {
        What::Sealed(seq, seen) => {
            sealed.insert((event.process, *seq), seen);
            None
        }
        What::Reads(rank, seq, vector) => mismatch(history, &sealed, event, (*rank, *seq), vector),
        _ => None,
    })
}

/// What is read that was not seen.
fn mismatch(
    history: &History,
    sealed: &Sealed<'_>,
    event: &Event,
    (rank, seq): (Rank, u64),
    vector: &[Seq],
) -> Option<String> {
    let by = history.member(rank, history.who(event.process).life)?;
    if by == event.process {
        return None;
    }
    let seen = sealed.get(&(by, seq))?;
    let at = (0..vector.len()).find(|&at| at != rank.0 as usize && vector.get(at) != seen.get(at))?;
    let (me, by) = (history.name(event.process), history.name(by));
    Some(format!(
        "{me} reads of block #{seq} of {by} that it had seen {:?} of r{at}, and it had seen {:?}",
        vector.get(at),
        seen.get(at)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::tests::Told;

    fn vector(entries: [u64; 3]) -> Box<[Seq]> {
        entries.map(Seq).into()
    }

    #[test]
    fn a_stamp_is_read_as_it_was_meant_but_for_what_is_the_senders_own() {
        let mut told = Told::of(3);
        told.push(1, What::Sealed(7, vector([5, 0, 9])));
        told.push(0, What::Reads(Rank(1), 7, vector([5, 3, 9])));
        told.push(2, What::Reads(Rank(1), 8, vector([6, 6, 6])));
        assert_eq!(check(&told.0), None, "block 8 has no stamp");
        told.push(2, What::Reads(Rank(1), 7, vector([5, 0, 8])));
        assert!(check(&told.0).unwrap().contains("p2 "));
    }

    #[test]
    fn another_life_has_other_blocks() {
        let mut told = Told::of(3);
        told.push(1, What::Sealed(7, vector([5, 0, 9])));
        let next = told.0.start(9, Rank(0), 1, false);
        told.0.start(9, Rank(1), 1, false);
        told.push(next.0, What::Reads(Rank(1), 7, vector([0, 0, 0])));
        assert_eq!(check(&told.0), None);
    }
}
