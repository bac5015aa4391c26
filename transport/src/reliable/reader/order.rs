//! In which order a reader is handed the streams that it reads: each in its own, or what a layer from outside makes of them.

use crate::id::{Rank, Seq};
use std::fmt;

/// Decides how far each stream may be handed over. The reader asks again whenever something was.
pub trait ReaderOrder: fmt::Debug + Default {
    /// Whether there is anything to decide.
    const ORDERS: bool;

    /// The stream of `rank` stands at block `at`, and everything from there to `held` is there: `block` gives each.
    fn admit<'a>(
        &mut self,
        rank: Rank,
        at: Seq,
        held: Seq,
        block: impl Fn(Seq) -> Option<&'a [u8]>,
    ) -> Admission;

    /// Every message of `rank` that ends before block `to` was handed over. Returns whether another stream may go on by that.
    fn delivered(&mut self, rank: Rank, to: Seq) -> bool;

    /// Blocks of `rank` are lost for good.
    fn lost(&mut self, rank: Rank);

    /// Another life of the group is read from now on, or another view.
    fn restart(&mut self);

    /// A view is read that ends at a cut: its streams begin at `starts`, and are read from there on, or from wherever they stand.
    fn begin(&mut self, _starts: &[Seq], _is_from_start: bool) {}

    /// Enough members hold the blocks of `rank` before `held` that no end of the view leaves them out, and all were handed those before `handed`.
    fn announced(&mut self, _rank: Rank, _held: Seq, _handed: Seq) {}

    /// The stream of `rank` goes on at `seq`: all before is known to be held by enough, with its causes.
    fn place(&mut self, _rank: Rank, _seq: Seq) {}

    /// Whether enough members hold the blocks of `rank` before `seq`, or they are before the cut.
    fn is_held(&self, _rank: Rank, _seq: Seq) -> bool {
        true
    }

    /// The view ends here, by rank.
    fn ended(&mut self, _cut: &[Seq]) {}
}

/// How far a stream may be handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// Nothing before it is handed over: the stream is entered here, or again.
    pub enter: Option<Seq>,
    /// Nothing from here on is, for now.
    pub gate: Seq,
    /// What is handed over from here on may have to be looked at again.
    pub keep: Seq,
    /// Nothing from the gate on ever is: what is missing behind it is not wanted.
    pub is_last: bool,
}

impl Admission {
    /// Everything.
    pub const ALL: Self = Self { enter: None, gate: Seq(u64::MAX), keep: Seq(u64::MAX), is_last: false };
}

/// Each stream in its own order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnOrder;

impl ReaderOrder for OwnOrder {
    const ORDERS: bool = false;

    fn admit<'a>(&mut self, _: Rank, _: Seq, _: Seq, _: impl Fn(Seq) -> Option<&'a [u8]>) -> Admission {
        Admission::ALL
    }

    fn delivered(&mut self, _: Rank, _: Seq) -> bool {
        false
    }

    fn lost(&mut self, _: Rank) {}

    fn restart(&mut self) {}
}
