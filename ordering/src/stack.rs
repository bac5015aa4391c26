//! The stacks, composed by types: what a layer needs of the one below is a bound, so that a stack that cannot keep its promise does
//! not compile.
//!
//! ```
//! use sistrum_ordering::{CausalStack, FifoStack, TotalStack, causal::UpToCausal, Order};
//! use sistrum_transport::reliable::{Layer, Refused, Sender};
//! fn is_a_stack<L: Layer>() {}
//! is_a_stack::<FifoStack>();
//! is_a_stack::<CausalStack>();
//! is_a_stack::<TotalStack>();
//! fn casts(sender: &mut Sender<<CausalStack as Layer>::Outbound>) -> Result<(), Refused> {
//!     sender.cast_as(UpToCausal::CAUSAL, b"a cause comes first")
//! }
//! fn totals(sender: &mut Sender<<TotalStack as Layer>::Outbound>) -> Result<(), Refused> {
//!     sender.cast_as(Order::Total.into(), b"one order for all")
//! }
//! ```
//! Total order wants causal order below:
//! ```compile_fail,E0277
//! use sistrum_ordering::{FifoStack, Total};
//! use sistrum_transport::reliable::Layer;
//! fn is_a_stack<L: Layer>() {}
//! is_a_stack::<Total<FifoStack>>();
//! ```
//! Nothing is put in causal order that has a total one:
//! ```compile_fail,E0277
//! use sistrum_ordering::{Causal, TotalStack};
//! use sistrum_transport::reliable::Layer;
//! fn is_a_stack<L: Layer>() {}
//! is_a_stack::<Causal<TotalStack>>();
//! ```
//! And a stack without total order takes no total casts:
//! ```compile_fail,E0277
//! use sistrum_ordering::{CausalStack, Order};
//! use sistrum_transport::reliable::{Layer, Refused, Sender};
//! fn totals(sender: &mut Sender<<CausalStack as Layer>::Outbound>) -> Result<(), Refused> {
//!     sender.cast_as(Order::Total.into(), b"one order for all")
//! }
//! ```
//! Each of the last three differs from the first in nothing but that.

use crate::causal::{Causal, Stamper, Turn};
use crate::delay::DelayQueue;
use crate::timestamp::Stamps;
use crate::total::Total;
use sistrum_transport::id::{Rank, Seq};
use sistrum_transport::reliable::{Blocks, Fifo, Layer};

/// Each sender's blocks in their order, and nothing across senders.
pub type FifoStack = Fifo;
/// Nothing before its causes.
pub type CausalStack = Causal<FifoStack>;
/// One order of all total casts, consistent with causality.
pub type TotalStack = Total<CausalStack>;

/// A layer that lets the blocks of each sender through in their order, as they come.
pub trait InOrder: Layer + Default {}

impl InOrder for Fifo {}

/// A layer that lets a block through when everything has been delivered that its stamp names.
pub trait CausalOrder: Layer<Outbound = Stamper> {
    /// Both halves, for member `me` of streams that begin at `starts`.
    #[must_use]
    fn halves(me: Rank, starts: &[Seq], stamps: Stamps) -> (Self, Stamper);

    /// The blocks that wait, and the vectors that were read.
    fn queue(&self) -> &DelayQueue;

    /// Lets blocks of `rank` through as far as their stamps and `turn` allow, which is told a block's sequence, its order flags and
    /// what is stable.
    fn admit_if(
        &mut self,
        rank: Rank,
        blocks: &impl Blocks,
        turn: impl FnMut(Seq, u8, &[Seq]) -> Turn,
    ) -> Seq;

    /// The stream is to be looked at again.
    fn wake(&mut self, rank: Rank);

    /// All of them are.
    fn wake_all(&mut self);
}
