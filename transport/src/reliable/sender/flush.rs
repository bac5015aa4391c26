//! My own stream at the end of its view.

use super::Sender;
use crate::id::{Rank, Seq};
use crate::log::LogMemory;
use crate::mutated;
use crate::reliable::flow::Refused;
use crate::reliable::layer::Outbound;

/// Casts that wait for the next view, in their order.
#[derive(Debug)]
pub(in crate::reliable) struct Held<C> {
    casts: Vec<(C, Box<[u8]>)>,
    /// Bytes of them, and how many there may be.
    bytes: usize,
    limit: usize,
}

impl<C> Default for Held<C> {
    fn default() -> Self {
        Self { casts: Vec::new(), bytes: 0, limit: 0 }
    }
}

impl<O: Outbound> Sender<O> {
    /// Casts that come while the view changes are held, up to so many bytes and what a fresh window has room for; 0 refuses them.
    pub fn hold_casts(&mut self, limit: usize) {
        // Half of what half a window carries: blocks are not full, and each frame has a head.
        let room = (self.window / 4) as usize * (self.log.block_room() / 2);
        self.held.limit = limit.min(room);
    }

    /// Casts what another sender has held, in the view behind its own.
    pub fn cast_held(&mut self, other: &mut Self) {
        for (class, message) in std::mem::take(&mut other.held).casts {
            let cast = self.cast_as(class, &message);
            debug_assert!(cast.is_ok(), "a fresh window has room for what is held: {cast:?}");
        }
    }

    /// Keeps a cast for the next view.
    pub(super) fn hold(&mut self, class: O::Class, message: &[u8]) -> Result<(), Refused> {
        let bytes = self.held.bytes + message.len() + size_of::<(O::Class, Box<[u8]>)>();
        // The next view may leave less room for one: it has other members.
        if bytes > self.held.limit || message.len() > self.carried(class)? / 2 {
            return Err(Refused::ViewChanging);
        }
        self.held.bytes = bytes;
        self.held.casts.push((class, message.into()));
        Ok(())
    }

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
