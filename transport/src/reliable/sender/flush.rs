//! My own stream at the end of its view.

use super::Sender;
use crate::id::{Rank, Seq};
use crate::log::LogMemory;
use crate::mutated;
use crate::reliable::flow::Refused;
use crate::reliable::layer::Outbound;
use crate::wire::{Part, frame_len};

/// Casts that wait for the next view, in their order.
#[derive(Debug)]
pub(in crate::reliable) struct Held<C> {
    casts: Vec<(C, Box<[u8]>)>,
    /// Bytes of them, and how many there may be.
    bytes: usize,
    limit: usize,
    /// Blocks that they need at most, and what the last of those has room for.
    blocks: u64,
    room: usize,
    /// Where those that the view before held have ended.
    ends: Vec<Seq>,
}

impl<C> Default for Held<C> {
    fn default() -> Self {
        Self { casts: Vec::new(), bytes: 0, limit: 0, blocks: 0, room: 0, ends: Vec::new() }
    }
}

impl<O: Outbound> Sender<O> {
    /// Casts that come while the view changes are held, up to so many bytes and what a fresh window has room for; 0 refuses them.
    pub fn hold_casts(&mut self, limit: usize) {
        self.held.limit = limit;
    }

    /// Casts that wait for the next view.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.casts.len()
    }

    /// The blocks in which those end that the view before held, in their order.
    #[must_use]
    pub fn held_ends(&self) -> &[Seq] {
        &self.held.ends
    }

    /// Casts what another sender has held, in the view behind its own.
    pub fn cast_held(&mut self, other: &mut Self) {
        let mut casts = std::mem::take(&mut other.held).casts;
        if mutated!(HeldLastFirst) {
            casts.reverse();
        }
        if mutated!(HeldForgotten) {
            casts.pop();
        }
        for (class, message) in casts {
            let cast = self.cast_as(class, &message);
            debug_assert!(cast.is_ok(), "a fresh window has room for what is held: {cast:?}");
            self.held.ends.push(self.log.open());
        }
    }

    /// Keeps a cast for the next view.
    pub(super) fn hold(&mut self, class: O::Class, message: &[u8]) -> Result<(), Refused> {
        // The next view may leave less room in a block: it has other members.
        let room = self.carried(class)? / 2;
        let bytes = self.held.bytes + message.len() + size_of::<(O::Class, Box<[u8]>)>();
        let frame = frame_len(Part::Whole, message.len());
        let joins = self.held.casts.last().is_some_and(|(last, _)| *last == class) && frame <= self.held.room;
        let blocks = self.held.blocks + u64::from(!joins);
        // Half a window: the rest is for what cannot wait, frames of order among it.
        if bytes > self.held.limit || frame > room || blocks > self.window / 2 {
            return Err(Refused::ViewChanging);
        }
        self.held.room = if joins { self.held.room } else { room } - frame;
        (self.held.bytes, self.held.blocks) = (bytes, blocks);
        self.held.casts.push((class, message.into()));
        Ok(())
    }

    /// Nothing is written any more, casts or frames of order. What is open was sealed before.
    pub(in crate::reliable) fn freeze(&mut self) {
        debug_assert!(!self.has_open());
        if !mutated!(CastDuringFlush) {
            self.gate = self.gate.frozen();
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
