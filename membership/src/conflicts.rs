//! Processes that cannot be in one group with me, and why.

use crate::handshake::Conflict;
use sistrum_ordering::Endpoint;

/// So many are told: who makes up addresses fills no memory.
const MAX_CONFLICTS: usize = 1024;

/// Those that were found, in the order in which they are told.
#[derive(Debug, Default)]
pub(crate) struct Conflicts {
    known: Vec<(Endpoint, Conflict)>,
    told: usize,
}

impl Conflicts {
    /// Each kind once for each process: who sends a new number every time fills no memory. Tells whether it is new.
    pub(crate) fn note(&mut self, from: Endpoint, conflict: Conflict) -> bool {
        let is_it = |(who, known): &(Endpoint, Conflict)| {
            *who == from && std::mem::discriminant(known) == std::mem::discriminant(&conflict)
        };
        let is_new = self.known.len() < MAX_CONFLICTS && !self.known.iter().any(is_it);
        if is_new {
            self.known.push((from, conflict));
        }
        is_new
    }

    /// The next one to be told.
    pub(crate) fn next(&self) -> Option<(Endpoint, Conflict)> {
        self.known.get(self.told).copied()
    }

    /// It was told.
    pub(crate) fn told(&mut self) {
        self.told += 1;
    }
}
