//! Causal order: a layer that lets a block through when everything that its stamp names has been delivered.
//!
//= birman91 §5.1 (CBCAST), with the stamps of `timestamp` on blocks. My own casts are delivered to me as I make them, so that
//! nothing of mine comes back.

use crate::cut;
use crate::delay::{DelayQueue, Stamped};
use crate::order::{Order, Promise};
use crate::stack::{CausalOrder, InOrder};
use crate::timestamp::{StampWriter, Stamps};
use crate::truth;
use crate::wire::{SAFE, STAMPED};
use sistrum_transport::id::{Rank, Seq};
use sistrum_transport::mutated;
use sistrum_transport::reliable::{Blocks, Fifo, Layer, Outbound, SessionConfig};
use sistrum_transport::wire::{ControlWriter, Header};
use std::collections::VecDeque;
use std::fmt;

/// The receiving half, over a layer that lets each sender's blocks through in their order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Causal<B: InOrder = Fifo> {
    below: B,
    me: Rank,
    queue: DelayQueue,
    delivered: Vec<Seq>,
    /// Blocks of each stream before it are held by all.
    stable: Vec<Seq>,
    /// Streams whose next block waits until it is stable.
    unstable: Vec<Rank>,
    woken: Woken,
    /// The view ends: nothing waits until it is stable, all hold what is left.
    is_cut: bool,
    misbehaved: u64,
}

/// The sending half.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stamper {
    writer: StampWriter,
    open: Promise,
    /// Bytes that the open block keeps free for its stamp.
    reserve: usize,
}

/// What a cast may ask of causal order, and no more: there is no total one among its promises.
///
/// ```
/// use sistrum_ordering::{Order, Promise, causal::UpToCausal};
/// assert!(UpToCausal::try_from(Promise::from(Order::Causal)).is_ok());
/// assert!(UpToCausal::try_from(Order::Total.safe()).unwrap_err().to_string().contains("total"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct UpToCausal(Promise);

impl UpToCausal {
    /// In the order of its sender.
    pub const FIFO: Self = Self(Promise { order: Order::Fifo, safe: false });
    /// Not before its causes.
    pub const CAUSAL: Self = Self(Promise { order: Order::Causal, safe: false });

    /// The same, and delivered only when it is stable at all members.
    #[must_use]
    pub const fn safe(self) -> Self {
        Self(Promise { safe: true, ..self.0 })
    }
}

/// An order that a stack does not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotKept(pub Order);

impl fmt::Display for NotKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this stack keeps no {} order: one with that layer does", self.0)
    }
}

impl std::error::Error for NotKept {}

impl TryFrom<Promise> for UpToCausal {
    type Error = NotKept;

    fn try_from(promise: Promise) -> Result<Self, NotKept> {
        if promise.order > Order::Causal { Err(NotKept(promise.order)) } else { Ok(Self(promise)) }
    }
}

/// Whether the layer above lets a block through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It does.
    Come,
    /// It will wake the stream.
    Waits,
    /// Something that the block's place depends on is not held by all.
    Unstable,
}

impl<B: InOrder> Causal<B> {
    /// What has been read of the stamps of `rank`: whoever goes on in that stream behind what was delivered here has to know it.
    #[must_use]
    pub fn stamps(&self, rank: Rank) -> Stamped<'_> {
        self.queue.stamps(rank)
    }

    /// Both halves, for member `me` of streams that begin at `starts`.
    #[must_use]
    pub fn halves(me: Rank, starts: &[Seq], stamps: Stamps) -> (Self, Stamper) {
        let causal = Self {
            below: B::default(),
            me,
            queue: DelayQueue::new(starts),
            delivered: starts.to_vec(),
            stable: starts.to_vec(),
            unstable: Vec::with_capacity(starts.len()),
            woken: Woken::new(starts.len()),
            is_cut: false,
            misbehaved: 0,
        };
        let writer = StampWriter::new(me, starts, stamps);
        (causal, Stamper { writer, open: Promise::default(), reserve: 0 })
    }

    /// How far each stream has been delivered.
    #[must_use]
    pub fn delivered_up_to(&self) -> &[Seq] {
        &self.delivered
    }

    /// How far each stream is held by every member, as far as that is known here.
    #[must_use]
    pub fn stable_up_to(&self) -> &[Seq] {
        &self.stable
    }

    /// Whether every member holds the next block of `rank` and all that its stamp names; otherwise it is looked at again when
    /// more is stable.
    fn is_stable(&mut self, rank: Rank, seq: Seq) -> bool {
        let depends = self.queue.vector(rank).iter().enumerate();
        let is_stable = self.is_cut
            || mutated!(SafeAtOnce)
            || self.stable[rank.0 as usize] > seq
                && depends.filter(|(k, _)| *k != rank.0 as usize).all(|(k, until)| self.stable[k] >= *until);
        if !is_stable {
            self.await_stability(rank);
        }
        is_stable
    }

    /// Looks at the stream again when more is stable.
    fn await_stability(&mut self, rank: Rank) {
        if !self.unstable.contains(&rank) {
            self.unstable.push(rank);
        }
    }
}

impl<B: InOrder> CausalOrder for Causal<B> {
    fn halves(me: Rank, starts: &[Seq], stamps: Stamps) -> (Self, Stamper) {
        Self::halves(me, starts, stamps)
    }

    fn queue(&self) -> &DelayQueue {
        &self.queue
    }

    #[inline]
    fn admit_if(
        &mut self,
        rank: Rank,
        blocks: &impl Blocks,
        mut turn: impl FnMut(Seq, u8, &[Seq]) -> Turn,
    ) -> Seq {
        let held = self.below.admit(rank, blocks);
        while self.queue.next(rank) < held {
            let seq = self.queue.next(rank);
            let (order, trailer) = blocks.block(rank, seq).map_or((0, &[][..]), Header::order_of_checked);
            match turn(seq, order, &self.stable) {
                Turn::Come => {}
                Turn::Waits => break,
                Turn::Unstable => {
                    self.await_stability(rank);
                    break;
                }
            }
            // What I have sealed waits for nothing that I had not been handed.
            let may_go = if rank == self.me {
                self.queue.read_only(rank, (order, trailer));
                true
            } else {
                let asked = self.queue.may_go(rank, (order, trailer), &self.delivered);
                asked.unwrap_or_else(|_| {
                    self.misbehaved += 1;
                    true
                })
            };
            if !may_go || (order & SAFE != 0 && !self.is_stable(rank, seq)) {
                break;
            }
            self.queue.go(rank);
            if mutated!(AdvanceOnAccept) && rank != self.me {
                self.delivered[rank.0 as usize] = held;
            }
        }
        self.queue.next(rank)
    }

    fn wake(&mut self, rank: Rank) {
        self.woken.insert(rank);
    }

    fn wake_all(&mut self) {
        (0..self.delivered.len()).for_each(|rank| self.woken.insert(Rank(rank as u16)));
    }
}

impl<B: InOrder> Layer for Causal<B> {
    type Outbound = Stamper;
    type Options = Stamps;
    const ORDERS: bool = true;
    const COMES_BACK: u8 = 0;

    fn new(config: &SessionConfig, options: &Stamps) -> (Self, Stamper) {
        let starts: Vec<Seq> = config.members.iter().map(|member| member.start).collect();
        Self::halves(config.me, &starts, *options)
    }

    #[inline]
    fn passes(&mut self, rank: Rank, seq: Seq, order: u8) -> bool {
        order & (STAMPED | SAFE) == 0 && self.below.passes(rank, seq, order) && self.queue.pass(rank, seq)
    }

    fn held(&mut self, _rank: Rank, _blocks: &impl Blocks, _out: &mut Stamper) {}

    fn admit(&mut self, rank: Rank, blocks: &impl Blocks) -> Seq {
        self.admit_if(rank, blocks, |_, _, _| Turn::Come)
    }

    #[inline]
    fn delivered(&mut self, rank: Rank, to: Seq) {
        if to <= self.delivered[rank.0 as usize] {
            return;
        }
        self.delivered[rank.0 as usize] = to;
        let woken = &mut self.woken;
        self.queue.reached(rank, to, |other| woken.insert(other));
    }

    #[inline]
    fn stable(&mut self, rank: Rank, to: Seq) {
        if to <= self.stable[rank.0 as usize] {
            return;
        }
        self.stable[rank.0 as usize] = to;
        for rank in self.unstable.drain(..) {
            self.woken.insert(rank);
        }
    }

    fn woken(&mut self) -> Option<Rank> {
        self.woken.take()
    }

    fn has_woken(&self) -> bool {
        !self.woken.queue.is_empty()
    }

    fn departed(&mut self, rank: Rank, _blocks: &impl Blocks, _out: &mut Stamper) {
        // It went when all had delivered its stream; nobody says again how far it is stable.
        self.stable(rank, Seq::LIMIT);
    }

    fn cut(&mut self, end: &mut [Seq], blocks: &impl Blocks) {
        self.is_cut = true;
        cut::close(self.queue.clone(), self.me, end, blocks);
        self.wake_all();
    }

    fn misbehaved(&self) -> u64 {
        self.misbehaved
    }
}

impl Stamper {
    /// The full vector as the next stamp tells it.
    #[must_use]
    pub fn seen(&self) -> &[Seq] {
        self.writer.seen()
    }

    /// What the open block is for.
    pub(crate) fn open_for(&self) -> Order {
        self.open.order
    }
}

/// What the layers above ask, in any order.
impl Stamper {
    #[inline]
    pub(crate) fn joins_as(&self, class: Promise) -> bool {
        // A block has a stamp for all of its messages: those that need none may come along. Totals keep to themselves.
        let comes_along = !class.order.spans_senders() && self.open.order != Order::Total;
        class == self.open || comes_along && !class.safe && !self.open.safe
    }

    pub(crate) fn open_as(&mut self, class: Promise) -> usize {
        self.open = class;
        self.reserve = if class.order.spans_senders() { self.writer.reserve() } else { 0 };
        self.reserve
    }

    pub(crate) fn max_reserve_as(&self, class: Promise) -> usize {
        if class.order.spans_senders() { self.writer.max_len() } else { 0 }
    }
}

impl Outbound for Stamper {
    type Class = UpToCausal;
    const RESERVED_BLOCKS: u64 = 0;

    #[inline]
    fn joins(&self, UpToCausal(class): UpToCausal) -> bool {
        self.joins_as(class)
    }

    fn open(&mut self, UpToCausal(class): UpToCausal) -> usize {
        self.open_as(class)
    }

    fn max_reserve(&self, UpToCausal(class): UpToCausal) -> usize {
        self.max_reserve_as(class)
    }

    fn fits(&self, rank: Rank, to: Seq) -> bool {
        !self.open.order.spans_senders() || self.writer.len_with(rank, to) <= self.reserve
    }

    #[inline]
    fn depend(&mut self, rank: Rank, to: Seq) {
        if mutated!(DropDependency) && rank.0 == 1 {
            return;
        }
        self.writer.see(rank, to);
    }

    fn seal(&mut self, seq: Seq, bare: bool, writer: &mut ControlWriter<'_>) -> u8 {
        if bare {
            return 0;
        }
        if self.open.order.spans_senders() {
            truth::sealed(seq, self.writer.seen());
        }
        let safe = if self.open.safe { SAFE } else { 0 };
        let is_stamped = self.open.order.spans_senders() && self.writer.write(writer);
        safe | if is_stamped { STAMPED } else { 0 }
    }

    fn wants_block(&self) -> bool {
        false
    }

    fn retire(&mut self) {}
}

/// Streams to look at again, each once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Woken {
    queue: VecDeque<Rank>,
    is_in: Vec<bool>,
}

impl Woken {
    fn new(members: usize) -> Self {
        Self { queue: VecDeque::with_capacity(members), is_in: vec![false; members] }
    }

    fn insert(&mut self, rank: Rank) {
        if !std::mem::replace(&mut self.is_in[rank.0 as usize], true) {
            self.queue.push_back(rank);
        }
    }

    fn take(&mut self) -> Option<Rank> {
        let rank = self.queue.pop_front()?;
        self.is_in[rank.0 as usize] = false;
        Some(rank)
    }
}
