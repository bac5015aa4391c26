//! How messages come into blocks: what does not fit in the open one, or in any.

use super::Sender;
use super::gate::Gate;
use crate::id::Seq;
use crate::mutated;
use crate::reliable::flow::Refused;
use crate::reliable::layer::Outbound;
use crate::wire::{
    ControlWriter, FIRM_FRAME_LEN, Firm, HEARTBEAT_FRAME_LEN, Heartbeat, MAX_FRAME_OVERHEAD, Part, frame_len,
};

const _: () = assert!(FIRM_FRAME_LEN <= HEARTBEAT_FRAME_LEN, "it finds the room of a heartbeat");

/// A message's first part is not begun in less room than this: a block of its own is better.
const MIN_FRAGMENT: usize = 64;

/// What rides in a block beside what is cast: how far the stream is stable, and how far it is firm.
struct News {
    position: Option<Heartbeat>,
    firm: Option<Firm>,
}

impl News {
    /// Writes what there is room for; the rest is none.
    #[cold]
    fn write(&mut self, writer: &mut ControlWriter<'_>) {
        self.position = self.position.filter(|position| writer.heartbeat(*position));
        self.firm = self.firm.filter(|firm| writer.firm(*firm));
    }
}

impl<O: Outbound> Sender<O> {
    /// Casts a message for which the open block has no room.
    #[inline(never)]
    pub(super) fn cast_beyond(&mut self, class: O::Class, message: &[u8]) -> Result<(), Refused> {
        let carried = self.carried(class)?;
        if self.gate == Gate::Frozen {
            return self.hold(class, message);
        }
        let frame = frame_len(Part::Whole, message.len());
        if frame > self.log.block_room() - self.out.max_reserve(class) {
            return self.cast_fragments(class, message, carried);
        }
        self.make_room(class, frame)?;
        self.log.claim(Part::Whole, message.len()).copy_from_slice(message);
        Ok(())
    }

    /// Makes room for a frame of `frame` bytes in the open block, sealing it and opening the next where needed.
    pub(super) fn make_room(&mut self, class: O::Class, frame: usize) -> Result<(), Refused> {
        if !self.log.is_open_empty() {
            self.seal(true, |_| ());
        }
        self.open_next(class)?;
        if frame > self.log.room() {
            self.log.begin(self.order_room);
        }
        Ok(())
    }

    /// Whether so much has become stable that the receivers should hear of it in the next block.
    ///
    /// Not each block carries it: what they keep in the meantime is little, and it would cost every one of them.
    fn announces(&self) -> bool {
        self.flow.stable().since(self.announced.stable) >= self.max_unannounced
    }

    /// Prepares an empty open block: its slot must be free, and it keeps room for news of stability and for what its order needs.
    fn open_next(&mut self, class: O::Class) -> Result<(), Refused> {
        if self.gate != Gate::Open {
            return Err(self.gate.refusal());
        }
        let limit = if mutated!(OverfillWindow) { self.window + 2 } else { self.window - self.reserved };
        if self.log.open().since(self.log.oldest()) >= limit {
            return Err(self.full());
        }
        self.flow.accept(self.now);
        self.order_room = self.out.open(class);
        self.log.begin(self.order_room + if self.is_to_tell() { HEARTBEAT_FRAME_LEN } else { 0 });
        Ok(())
    }

    /// Seals the open block; news of stability, and of what is firm, ride in it where there is room.
    pub(super) fn seal(&mut self, full: bool, acks: impl FnOnce(&mut ControlWriter<'_>)) {
        let seq = self.log.open();
        let mut news = self.is_to_tell().then(|| self.news_before(seq));
        let bare = self.log.is_open_empty();
        self.log.seal(full, |writer| {
            let order = self.out.seal(seq, bare, writer);
            acks(writer);
            if let Some(news) = &mut news {
                news.write(writer);
            }
            order
        });
        if let Some(news) = news {
            self.told(&news);
        }
        self.retransmit.forget(seq);
    }

    /// Whether the next block is to say something beside what is cast in it.
    fn is_to_tell(&self) -> bool {
        self.announces() || self.firm.is_due()
    }

    #[cold]
    fn news_before(&mut self, seq: Seq) -> News {
        // A block is its own proof that it exists: told in its trailer as well, it would look like a gap until it is held.
        let position = self.announces().then(|| self.position_before(seq));
        let firm = if self.firm.is_due() { self.look_what_is_firm() } else { None };
        News { position, firm }
    }

    #[cold]
    fn told(&mut self, news: &News) {
        if let Some(position) = news.position {
            self.announced = position;
        }
        if let Some(firm) = news.firm {
            self.firm.tell(firm.to);
        }
    }

    /// Casts a message that needs several blocks: all of them, or none.
    fn cast_fragments(&mut self, class: O::Class, message: &[u8], carried: usize) -> Result<(), Refused> {
        // What its order needs of each block leaves less, and it must fit in half the window, where it comes back to me.
        let limit = self.max_message.min((self.window / 2).saturating_sub(2).max(1) as usize * carried);
        if message.len() > limit {
            return Err(Refused::TooLarge { len: message.len(), limit });
        }
        if self.gate != Gate::Open {
            return Err(self.gate.refusal());
        }
        // Two more than full blocks would need: the open one may have little room left, news may take some.
        let needed = message.len() / carried + 2;
        let taken = self.log.open().since(self.log.oldest());
        if taken + needed as u64 > self.window - self.reserved {
            return Err(self.full());
        }
        if !self.log.is_open_empty() && (self.log.room() < MIN_FRAGMENT || !self.out.joins(class)) {
            self.seal(true, |_| ());
        }
        let mut rest = message;
        let mut part = Part::First { total: message.len() as u32 };
        loop {
            if self.log.is_open_empty() {
                self.open_next(class)?;
            }
            let (taken, left) = rest.split_at(fitting(self.log.room(), rest.len(), part));
            if left.is_empty() {
                // The block may keep less room for its order than the most that was reckoned with: then all of it fits.
                part = if matches!(part, Part::First { .. }) { Part::Whole } else { Part::Last };
            }
            self.log.claim(part, taken.len()).copy_from_slice(taken);
            if left.is_empty() {
                return Ok(());
            }
            self.seal(true, |_| ());
            (rest, part) = (left, Part::Middle);
        }
    }
}

/// The most bytes that a message may have in a window of `blocks` blocks of `stride` bytes: half of it.
#[must_use]
pub fn max_message(blocks: usize, stride: usize) -> usize {
    let carried = stride - crate::wire::HEADER_LEN - HEARTBEAT_FRAME_LEN - MAX_FRAME_OVERHEAD;
    (blocks / 2).saturating_sub(2).max(1) * carried
}

/// How many of `len` bytes fit as one frame in `room`.
fn fitting(room: usize, len: usize, part: Part) -> usize {
    let overhead = frame_len(part, room) - room;
    (room - overhead).min(len)
}
