//! What may stand above the streams: a layer that decides how far each may be delivered, and what blocks carry for it.
//!
//! A layer has two halves, as the session has. The receiving half reads held blocks in the order of each stream, its own
//! included, and *admits* them to delivery. The [`Outbound`] half stands beside the sender, so that a cast from inside a handler
//! can seal a block; it writes the ordering frames at the head of the block's trailer. Both are pure.

use super::config::SessionConfig;
use crate::id::{Rank, Seq};
use crate::wire::ControlWriter;
use std::fmt;

/// The receiving half of an ordering layer.
pub trait Layer: Sized + fmt::Debug {
    /// Its sending half.
    type Outbound: Outbound;
    /// What it may be told from outside.
    type Options: Clone + Default + fmt::Debug;
    /// Whether there is anything to decide: without, every held block may be delivered, and none of mine comes back to me.
    const ORDERS: bool;
    /// A block of mine with one of these order flags comes back to me, to be delivered in its place.
    const COMES_BACK: u8;

    /// Both halves, for a view that begins.
    fn new(config: &SessionConfig, options: &Self::Options) -> (Self, Self::Outbound);

    /// Block `seq` of `rank` is held in order, or sealed when it is me: whether it may be delivered at once, as its order flags
    /// alone say. Otherwise it is shown to [`held`](Self::held). This is the way of most blocks.
    fn passes(&mut self, rank: Rank, seq: Seq, order: u8) -> bool;

    /// More blocks of `rank` are held in order, or sealed when it is me.
    fn held(&mut self, rank: Rank, blocks: &impl Blocks, out: &mut Self::Outbound);

    /// The first block of the stream of `rank` that may not be delivered yet.
    fn admit(&mut self, rank: Rank, blocks: &impl Blocks) -> Seq;

    /// Every message of `rank` that ends before block `to` has been delivered here.
    fn delivered(&mut self, rank: Rank, to: Seq);

    /// Every member holds the blocks of `rank` before `to`.
    fn stable(&mut self, rank: Rank, to: Seq);

    /// A stream of which more may be admitted now than at the last look.
    fn woken(&mut self) -> Option<Rank>;

    /// Whether there is such a stream.
    fn has_woken(&self) -> bool;

    /// `rank` has said goodbye, and its stream has come to its end.
    fn departed(&mut self, rank: Rank, blocks: &impl Blocks, out: &mut Self::Outbound);

    /// The view ends with what `blocks` has, all of which has been shown: gives what is left its order, the same at all who have the
    /// same blocks, waiting for nobody. `end` is, by rank, where the blocks end; what is to be delivered ends there or before.
    fn cut(&mut self, end: &mut [Seq], blocks: &impl Blocks);

    /// Ordering frames that no member that keeps to the protocol sends.
    fn misbehaved(&self) -> u64;
}

/// The sending half of an ordering layer.
pub trait Outbound: fmt::Debug {
    /// What a cast asks for.
    type Class: Copy + Default + PartialEq + fmt::Debug;
    /// Blocks of the log that casts leave free for frames of order: they free the rest.
    const RESERVED_BLOCKS: u64;

    /// Whether a message of this class may join the open block.
    fn joins(&self, class: Self::Class) -> bool;

    /// A block is opened for messages of this class; returns the bytes to keep free in its trailer.
    fn open(&mut self, class: Self::Class) -> usize;

    /// The most that [`open`](Self::open) keeps free, in any view of this size.
    fn max_reserve(&self, class: Self::Class) -> usize;

    /// Whether what my next stamp would say of `rank` delivered up to `to` has room in the open block.
    fn fits(&self, rank: Rank, to: Seq) -> bool;

    /// Blocks of `rank` before `to` are about to be delivered: what I cast from now on may depend on them.
    fn depend(&mut self, rank: Rank, to: Seq);

    /// The open block is sealed as `seq`: writes its frames and returns its order flags. A `bare` block has no message.
    fn seal(&mut self, seq: Seq, bare: bool, writer: &mut ControlWriter<'_>) -> u8;

    /// Whether a block should be sealed for its frames, even a bare one.
    fn wants_block(&self) -> bool;

    /// I say goodbye: the others find out who does from now on what was my duty, and nothing becomes mine any more.
    fn retire(&mut self);
}

/// The blocks that are held of each stream.
pub trait Blocks {
    /// A held block, or one of mine that was sealed.
    fn block(&self, rank: Rank, seq: Seq) -> Option<&[u8]>;
    /// Every block of the stream before it is held, or has been.
    fn next(&self, rank: Rank) -> Seq;
}

/// No order across senders: the streams as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Fifo;

impl Layer for Fifo {
    type Outbound = Fifo;
    type Options = ();
    const ORDERS: bool = false;
    const COMES_BACK: u8 = 0;

    fn new(_config: &SessionConfig, (): &()) -> (Self, Self) {
        (Self, Self)
    }
    fn passes(&mut self, _rank: Rank, _seq: Seq, _order: u8) -> bool {
        true
    }
    fn held(&mut self, _rank: Rank, _blocks: &impl Blocks, _out: &mut Self) {}
    fn admit(&mut self, rank: Rank, blocks: &impl Blocks) -> Seq {
        blocks.next(rank)
    }
    fn delivered(&mut self, _rank: Rank, _to: Seq) {}
    fn stable(&mut self, _rank: Rank, _to: Seq) {}
    fn woken(&mut self) -> Option<Rank> {
        None
    }
    fn has_woken(&self) -> bool {
        false
    }
    fn departed(&mut self, _rank: Rank, _blocks: &impl Blocks, _out: &mut Self) {}
    fn cut(&mut self, _end: &mut [Seq], _blocks: &impl Blocks) {}
    fn misbehaved(&self) -> u64 {
        0
    }
}

impl Outbound for Fifo {
    type Class = ();
    const RESERVED_BLOCKS: u64 = 0;

    fn joins(&self, (): ()) -> bool {
        true
    }
    fn open(&mut self, (): ()) -> usize {
        0
    }
    fn max_reserve(&self, (): ()) -> usize {
        0
    }
    fn fits(&self, _rank: Rank, _to: Seq) -> bool {
        true
    }
    fn depend(&mut self, _rank: Rank, _to: Seq) {}
    fn seal(&mut self, _seq: Seq, _bare: bool, _writer: &mut ControlWriter<'_>) -> u8 {
        0
    }
    fn wants_block(&self) -> bool {
        false
    }
    fn retire(&mut self) {}
}
