//! My own stream at the end of its view.

use super::Sender;
use crate::id::{Rank, Seq};
use crate::log::LogMemory;
use crate::mutated;
use crate::reliable::flow::Refused;
use crate::reliable::layer::Outbound;

impl<O: Outbound> Sender<O> {
    /// Nothing is written any more, casts or frames of order. What is open was sealed before.
    pub(in crate::reliable) fn freeze(&mut self) {
        debug_assert!(!self.has_open());
        if !mutated!(CastDuringFlush) {
            self.refuses = Some(Refused::ViewChanging);
        }
    }

    /// The view is over: nothing is sent any more but what is asked for, and that is all of it.
    pub(in crate::reliable) fn finish(&mut self) {
        self.sent = self.log.open();
    }

    /// Nothing is under way to `rank` as long as it is suspected.
    pub(in crate::reliable) fn suspect(&mut self, rank: Rank, is_suspected: bool) {
        self.flow.suspect(self.now, rank, is_suspected, self.sent);
    }

    /// The memory of the log, for another one.
    pub(in crate::reliable) fn into_memory(self) -> LogMemory {
        self.log.into_memory()
    }

    /// The oldest block that can still be sent again.
    pub(in crate::reliable) fn retained(&self) -> Seq {
        self.log.retained()
    }
}
