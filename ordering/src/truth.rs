//! What stamps were to say and what they were read as, noted for whoever judges whether the two are one.
//!
//! Notes are those of one thread, and are taken only while somebody asks for them. A simulation runs all members in one
//! thread and takes them after each turn of a member, so that it knows whose they are. **No release build has any of this.**

#[cfg(debug_assertions)]
pub use present::{Note, take, watch};
#[cfg(debug_assertions)]
pub(crate) use present::{reads, sealed};

#[cfg(debug_assertions)]
mod present {
    use sistrum_transport::id::{Rank, Seq};
    use std::cell::RefCell;

    /// One note.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum Note {
        /// I sealed this block, which has a stamp, when I had seen so much of each stream.
        Sealed(Seq, Box<[Seq]>),
        /// The vector of this block of a stream is this one, as its stamps read.
        Reads(Rank, Seq, Box<[Seq]>),
    }

    thread_local! {
        static NOTES: RefCell<Option<Vec<Note>>> = const { RefCell::new(None) };
    }

    /// Notes are taken in this thread from now on, or no more. Those that nobody took are forgotten.
    pub fn watch(on: bool) {
        NOTES.set(on.then(Vec::new));
    }

    /// The notes since the last call, in their order.
    #[must_use]
    pub fn take() -> Vec<Note> {
        NOTES.with_borrow_mut(|notes| notes.as_mut().map(std::mem::take)).unwrap_or_default()
    }

    pub(crate) fn sealed(seq: Seq, seen: &[Seq]) {
        note(|| Note::Sealed(seq, seen.into()));
    }

    pub(crate) fn reads(rank: Rank, seq: Seq, vector: &[Seq]) {
        note(|| Note::Reads(rank, seq, vector.into()));
    }

    /// A closure, so that it costs nothing while nobody asks.
    fn note(note: impl FnOnce() -> Note) {
        NOTES.with_borrow_mut(|notes| {
            if let Some(notes) = notes {
                notes.push(note());
            }
        });
    }
}

#[cfg(not(debug_assertions))]
pub(crate) use absent::{reads, sealed};

/// Nobody can ask.
#[cfg(not(debug_assertions))]
mod absent {
    use sistrum_transport::id::{Rank, Seq};

    #[inline(always)]
    pub(crate) const fn sealed(_seq: Seq, _seen: &[Seq]) {}
    #[inline(always)]
    pub(crate) const fn reads(_rank: Rank, _seq: Seq, _vector: &[Seq]) {}
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;
    use sistrum_transport::id::{Rank, Seq};

    #[test]
    fn notes_are_taken_while_somebody_asks_and_given_once() {
        sealed(Seq(1), &[Seq(1)]);
        assert_eq!(take(), []);
        watch(true);
        sealed(Seq(2), &[Seq(2)]);
        reads(Rank(1), Seq(3), &[Seq(4)]);
        let notes = [Note::Sealed(Seq(2), [Seq(2)].into()), Note::Reads(Rank(1), Seq(3), [Seq(4)].into())];
        assert_eq!((take(), take()), (notes.to_vec(), vec![]));
        watch(false);
        sealed(Seq(2), &[Seq(2)]);
        assert_eq!(take(), []);
    }
}
