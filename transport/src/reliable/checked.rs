//! A layer around any layer, that checks what this one promises. **It does not exist in release builds.**
//!
//! It sees what the streams show to the layer and what the layer lets through, at one member:
//!
//! - Fifo, NoDuplication: of each stream, block after block, each once, none that is not held, none after the goodbye; what is
//!   delivered was let through.
//! - Causal: what a block's sender had been let through when it sealed the block has been delivered here.
//! - Total: the blocks that come back to their senders are delivered in one order by all, without a gap.
//!
//! The last two compare members, by what [`watch`] makes all members of one thread write down: the plain full vector of each
//! block, and the order as the first one delivers it. A violation is a panic that shows the state of the layer.

use super::config::{Member, SessionConfig};
use super::layer::{Blocks, Layer, Outbound};
use crate::id::{GroupId, GroupInstance, Rank, Seq, ViewNumber};
use crate::wire::{ControlWriter, Header};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Deref;

/// See the module.
#[derive(Debug)]
pub struct Checked<L> {
    layer: L,
    view: View,
    me: Rank,
    streams: Vec<Watched>,
    /// Blocks of the total order that were delivered here.
    placed: usize,
}

/// Its sending half.
#[derive(Debug)]
pub struct CheckedOutbound<O> {
    outbound: O,
    view: View,
    me: Rank,
    /// The block that is sealed next.
    next: Seq,
    /// Whether the open block promises anything across senders: then its order needs room.
    promises: bool,
    /// The plain vector: what was let through to me of each stream.
    seen: Vec<Seq>,
}

/// One stream as it is seen here.
#[derive(Debug)]
struct Watched {
    let_through: Seq,
    delivered: Seq,
    /// Of each block between the two: whether it has a place in the total order.
    between: VecDeque<bool>,
    is_gone: bool,
}

/// One view of one life of a group.
type View = (GroupId, GroupInstance, ViewNumber);

/// What members of one thread have in common.
#[derive(Debug, Default)]
struct Common {
    seen: BTreeMap<(View, Rank, Seq), Box<[Seq]>>,
    order: BTreeMap<View, Vec<(Rank, Seq)>>,
}

thread_local! {
    static COMMON: RefCell<Option<Common>> = const { RefCell::new(None) };
}

/// Members of this thread are compared from now on, or no more. What was written down is forgotten.
pub fn watch(on: bool) {
    COMMON.set(on.then(Common::default));
}

impl<L: Layer> Checked<L> {
    /// Block `seq` of `rank` was let through.
    fn let_through(&mut self, rank: Rank, seq: Seq, order: u8) {
        let stream = &self.streams[rank.0 as usize];
        self.demand(stream.let_through == seq, || format!("{seq} of {rank} is let through out of turn"));
        self.demand(!stream.is_gone, || format!("{seq} of {rank} is let through after its goodbye"));
        if let Some((cause, until)) = self.missing_cause(rank, seq) {
            self.fail(&format!("{seq} of {rank} is let through before its cause, {cause} up to {until}"));
        }
        let (stream, has_place) = (&mut self.streams[rank.0 as usize], order & L::COMES_BACK != 0);
        stream.let_through = seq.plus(1);
        if seq >= stream.delivered {
            stream.between.push_back(has_place);
        } else if has_place {
            self.fail(&format!("{seq} of {rank} is let through when it has been delivered"));
        }
    }

    /// What the sender of this block had been let through and is not delivered here. Mine may name what I was not yet handed.
    fn missing_cause(&self, rank: Rank, seq: Seq) -> Option<(Rank, Seq)> {
        if rank == self.me {
            return None;
        }
        COMMON.with_borrow(|common| {
            let seen = common.as_ref()?.seen.get(&(self.view, rank, seq))?;
            let mut causes = (0..).map(Rank).zip(seen.iter().copied()).filter(|(of, _)| *of != rank);
            causes.find(|(of, until)| self.streams[of.0 as usize].delivered < *until)
        })
    }

    /// The next block of the total order is delivered here.
    fn place(&mut self, block: (Rank, Seq)) {
        let expected = COMMON.with_borrow_mut(|common| {
            let order = common.as_mut()?.order.entry(self.view).or_default();
            if order.len() == self.placed {
                order.push(block);
            }
            order.get(self.placed).copied()
        });
        self.demand(expected.is_none_or(|expected| expected == block), || {
            format!("place {} of the total order is {block:?} here and {expected:?} elsewhere", self.placed)
        });
        self.placed += 1;
    }

    fn demand(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.fail(&what());
        }
    }

    fn fail(&self, what: &str) -> ! {
        panic!("{what}: {self:#?}")
    }
}

impl<L: Layer> Layer for Checked<L> {
    type Outbound = CheckedOutbound<L::Outbound>;
    type Options = L::Options;
    /// There is something to see even where there is nothing to decide.
    const ORDERS: bool = true;
    const COMES_BACK: u8 = L::COMES_BACK;

    fn new(config: &SessionConfig, options: &L::Options) -> (Self, Self::Outbound) {
        let (layer, outbound) = L::new(config, options);
        let (view, me) = ((config.group, config.instance, config.view), config.me);
        let seen: Vec<Seq> = config.members.iter().map(|member| member.start).collect();
        let watched = |member: &Member| Watched {
            let_through: member.start,
            delivered: member.start,
            // All memory is taken at the start, here too.
            between: VecDeque::with_capacity(member.window + 1),
            is_gone: false,
        };
        let streams = config.members.iter().map(watched).collect();
        let next = seen[me.0 as usize];
        let outbound = CheckedOutbound { outbound, view, me, next, promises: false, seen };
        (Self { layer, view, me, streams, placed: 0 }, outbound)
    }

    fn passes(&mut self, rank: Rank, seq: Seq, order: u8) -> bool {
        // A layer that decides nothing does not look which block is next.
        let is_next = self.streams[rank.0 as usize].let_through == seq;
        let passes = (L::ORDERS || is_next) && self.layer.passes(rank, seq, order);
        if passes {
            self.let_through(rank, seq, order);
        }
        passes
    }

    fn held(&mut self, rank: Rank, blocks: &impl Blocks, out: &mut Self::Outbound) {
        self.layer.held(rank, blocks, &mut out.outbound);
    }

    fn admit(&mut self, rank: Rank, blocks: &impl Blocks) -> Seq {
        let gate = self.layer.admit(rank, blocks);
        let from = self.streams[rank.0 as usize].let_through;
        self.demand(from <= gate, || format!("{rank} was let through up to {from}, and now to {gate}"));
        for seq in (from.0..gate.0).map(Seq) {
            let block = blocks.block(rank, seq);
            // What of mine does not come back may be forgotten by now.
            let is_held = seq < blocks.next(rank) && (block.is_some() || rank == self.me);
            self.demand(is_held, || format!("{seq} of {rank} is let through, and is not held"));
            self.let_through(rank, seq, block.map_or(0, |block| Header::order_of_checked(block).0));
        }
        gate
    }

    fn delivered(&mut self, rank: Rank, to: Seq) {
        let stream = &mut self.streams[rank.0 as usize];
        let (before, limit) = (stream.delivered, stream.let_through);
        // What does not come back to me was delivered when I cast it.
        if to > limit && rank != self.me {
            self.fail(&format!("{rank} is delivered up to {to}, and was let through up to {limit}"));
        }
        // What is said again, or late, says nothing.
        stream.delivered = to.max(before);
        for seq in (before.0..to.0).map(Seq) {
            if self.streams[rank.0 as usize].between.pop_front() == Some(true) {
                self.place((rank, seq));
            }
        }
        self.layer.delivered(rank, to);
    }

    fn stable(&mut self, rank: Rank, to: Seq) {
        self.layer.stable(rank, to);
    }

    fn woken(&mut self) -> Option<Rank> {
        self.layer.woken()
    }

    fn has_woken(&self) -> bool {
        self.layer.has_woken()
    }

    fn departed(&mut self, rank: Rank, blocks: &impl Blocks, out: &mut Self::Outbound) {
        self.streams[rank.0 as usize].is_gone = true;
        self.layer.departed(rank, blocks, &mut out.outbound);
    }

    fn cut(&mut self, end: &mut [Seq], blocks: &impl Blocks) {
        self.layer.cut(end, blocks);
    }

    fn misbehaved(&self) -> u64 {
        self.layer.misbehaved()
    }
}

impl<O: Outbound> Outbound for CheckedOutbound<O> {
    type Class = O::Class;
    const RESERVED_BLOCKS: u64 = O::RESERVED_BLOCKS;

    fn joins(&self, class: O::Class) -> bool {
        self.outbound.joins(class)
    }

    fn open(&mut self, class: O::Class) -> usize {
        let reserve = self.outbound.open(class);
        self.promises = reserve > 0;
        reserve
    }

    fn max_reserve(&self, class: O::Class) -> usize {
        self.outbound.max_reserve(class)
    }

    fn fits(&self, rank: Rank, to: Seq) -> bool {
        self.outbound.fits(rank, to)
    }

    fn depend(&mut self, rank: Rank, to: Seq) {
        let seen = &mut self.seen[rank.0 as usize];
        *seen = to.max(*seen);
        self.outbound.depend(rank, to);
    }

    fn seal(&mut self, seq: Seq, bare: bool, writer: &mut ControlWriter<'_>) -> u8 {
        assert!(seq == self.next, "{seq} is sealed out of turn: {self:#?}");
        self.next = seq.plus(1);
        COMMON.with_borrow_mut(|common| {
            if let Some(common) = common.as_mut().filter(|_| self.promises && !bare) {
                common.seen.insert((self.view, self.me, seq), self.seen.as_slice().into());
            }
        });
        self.outbound.seal(seq, bare, writer)
    }

    fn wants_block(&self) -> bool {
        self.outbound.wants_block()
    }

    fn retire(&mut self) {
        self.outbound.retire();
    }
}

impl<L> Deref for Checked<L> {
    type Target = L;

    fn deref(&self) -> &L {
        &self.layer
    }
}

impl<O> Deref for CheckedOutbound<O> {
    type Target = O;

    fn deref(&self) -> &O {
        &self.outbound
    }
}

#[cfg(test)]
mod tests;
