//! Control blocks that wait to be sent, composed in slots that were taken at the start.

use crate::id::GroupInstance;
use crate::protocol::Target;
use crate::wire::{
    ControlWriter, HEADER_LEN, HEARTBEAT_FRAME_LEN, Header, MAX_NAK_FRAME_LEN, MAX_STATUS_FRAME_LEN,
};

/// Control blocks that may wait; what is beyond is dropped, since a timer will say it again.
const SLOTS: usize = 64;
/// Bytes of a control block at most: enough for the largest status or NAK beside a heartbeat.
pub const CONTROL_BLOCK_LEN: usize = 512;
const _: () = assert!(HEADER_LEN + HEARTBEAT_FRAME_LEN + MAX_STATUS_FRAME_LEN <= CONTROL_BLOCK_LEN);
const _: () = assert!(HEADER_LEN + HEARTBEAT_FRAME_LEN + MAX_NAK_FRAME_LEN <= CONTROL_BLOCK_LEN);

/// A ring of control blocks.
#[derive(Debug)]
pub struct ControlQueue {
    slots: Vec<Slot>,
    /// Slots composed and taken so far.
    composed: usize,
    taken: usize,
    /// Bytes of a control block: receivers have no place for more than a block.
    limit: usize,
    template: Header,
}

#[derive(Debug, Clone)]
struct Slot {
    to: Option<Target>,
    len: usize,
    bytes: [u8; CONTROL_BLOCK_LEN],
}

impl ControlQueue {
    /// An empty queue of blocks of at most `block` bytes, whose headers follow `template`.
    #[must_use]
    pub fn new(template: Header, block: usize) -> Self {
        let slots = vec![Slot { to: None, len: 0, bytes: [0; CONTROL_BLOCK_LEN] }; SLOTS];
        Self { slots, composed: 0, taken: 0, limit: block.min(CONTROL_BLOCK_LEN), template }
    }

    /// The headers of blocks composed from here on follow `template`.
    pub fn set_template(&mut self, template: Header) {
        self.template = template;
    }

    /// Blocks composed from here on belong to this instance.
    pub fn set_instance(&mut self, instance: GroupInstance) {
        self.template.instance = instance;
    }

    /// Composes one block to `to` with what `write` puts into it; `false` when the queue is full.
    pub fn push(&mut self, to: Target, write: impl FnOnce(&mut ControlWriter<'_>)) -> bool {
        // The slot that was taken last may still be on its way: it is not reused before the next is taken.
        if self.composed + 1 - self.taken >= SLOTS {
            return false;
        }
        let slot = &mut self.slots[self.composed % SLOTS];
        let mut writer = ControlWriter::new(&mut slot.bytes[HEADER_LEN..self.limit]);
        write(&mut writer);
        slot.len = HEADER_LEN + writer.written();
        slot.to = Some(to);
        let header = Header { used: slot.len as u16, ..self.template };
        header.encode(&mut slot.bytes, true);
        self.composed += 1;
        true
    }

    /// The next block to send: its destination and slot.
    pub fn take(&mut self) -> Option<(Target, u16)> {
        if self.taken == self.composed {
            return None;
        }
        let at = self.taken % SLOTS;
        self.taken += 1;
        self.slots[at].to.map(|to| (to, at as u16))
    }

    /// The block in a slot that was taken, until the next one is.
    #[must_use]
    pub fn bytes(&self, slot: u16) -> &[u8] {
        let slot = &self.slots[slot as usize];
        &slot.bytes[..slot.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{GroupId, Rank, Seq, ViewNumber};
    use crate::medium::Channel;
    use crate::wire::Kind;

    #[test]
    fn a_control_block_is_no_longer_than_a_block() {
        for block in [128, 256, 512, 1408] {
            let template = Header::new(Kind::Control, GroupId(1), GroupInstance(1), ViewNumber(1), Rank(0));
            let mut queue = ControlQueue::new(template, block);
            let mut written = 0;
            assert!(queue.push(Target::Channel(Channel(0)), |writer| {
                written = writer.nak(Rank(1), 0, (0..100).map(|at| (Seq(2 * at), 1)));
            }));
            let (_, slot) = queue.take().unwrap();
            assert!(written > 0 && queue.bytes(slot).len() <= block);
        }
    }
}
