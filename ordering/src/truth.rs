//! What stamps say where they are written and where they are read, for a judge that compares the two. Only in builds with debug
//! assertions, and only where a thread asks for it: release builds have nothing of it.

use sistrum_transport::id::{Rank, Seq};

/// What is known of one stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// This process sealed block `seq`, which may depend on `vector`.
    Sealed {
        /// The block.
        seq: Seq,
        /// By rank: everything before it.
        vector: Vec<Seq>,
    },
    /// This process has read as far as block `seq` of `rank`, and takes it to depend on `vector`.
    Read {
        /// Whose stream it is.
        rank: Rank,
        /// The block.
        seq: Seq,
        /// By rank: everything before it.
        vector: Vec<Seq>,
    },
}

#[cfg(debug_assertions)]
mod recorder {
    use super::{Note, Rank, Seq};
    use std::cell::RefCell;

    thread_local! {
        static NOTES: RefCell<Option<Vec<Note>>> = const { RefCell::new(None) };
    }

    /// Notes are taken in this thread from now on, or no more.
    pub fn record(on: bool) {
        NOTES.set(on.then(Vec::new));
    }

    /// What was noted since the last call.
    #[must_use]
    pub fn take() -> Vec<Note> {
        NOTES.with_borrow_mut(|notes| notes.as_mut().map(std::mem::take).unwrap_or_default())
    }

    pub(crate) fn sealed(seq: Seq, vector: &[Seq]) {
        note(|| Note::Sealed { seq, vector: vector.to_vec() });
    }

    pub(crate) fn read(rank: Rank, seq: Seq, vector: &[Seq]) {
        note(|| Note::Read { rank, seq, vector: vector.to_vec() });
    }

    fn note(what: impl FnOnce() -> Note) {
        NOTES.with_borrow_mut(|notes| {
            if let Some(notes) = notes {
                notes.push(what());
            }
        });
    }
}

#[cfg(not(debug_assertions))]
mod recorder {
    use super::{Note, Rank, Seq};

    /// Nothing is noted in this build.
    pub const fn record(_: bool) {}

    /// Nothing was noted.
    #[must_use]
    pub const fn take() -> Vec<Note> {
        Vec::new()
    }

    #[inline(always)]
    pub(crate) const fn sealed(_: Seq, _: &[Seq]) {}

    #[inline(always)]
    pub(crate) const fn read(_: Rank, _: Seq, _: &[Seq]) {}
}

pub(crate) use recorder::{read, sealed};
pub use recorder::{record, take};
