//! What ordering layers write into a block: flags in its header, and frames at the head of its trailer.
//!
//! ```text
//! flags   0x10 stamped: a stamp follows, and the block waits for what it names; without, nothing new is to be waited for
//!         0x20 total: it holds total casts, and nothing else
//!         0x40 direct: it takes the next position in the order (its sender held the token)
//!         0x80 orders: frames of order follow
//!         0x08 safe: it is delivered when it is stable
//! frames  (varints, see `varint.rs`; ranks ascend and are told as distances, the first from -1)
//!   0 stamp       (rank distance, value distance from my previous stamp)*
//!   1 full stamp  (value)* of every rank but mine
//!   2 set order   generation, first position, (rank, first sequence, count)*
//!   3 null        count of rounds that I leave out
//!   4 hand over   rank
//! ```
//! The values of a stamp count blocks: everything before that sequence has been delivered where the stamp was written. Frames
//! count in the order of their stream, so they may stand in blocks that are repaired or forwarded.

use crate::varint;
use sistrum_transport::wire::{Control, ControlFrames};

pub(crate) const STAMPED: u8 = 0x10;
pub(crate) const TOTAL: u8 = 0x20;
pub(crate) const DIRECT: u8 = 0x40;
pub(crate) const ORDERS: u8 = 0x80;
pub(crate) const SAFE: u8 = 0x08;

pub(crate) const STAMP: u8 = 0;
pub(crate) const FULL_STAMP: u8 = 1;
pub(crate) const SET_ORDER: u8 = 2;
pub(crate) const NULL: u8 = 3;
pub(crate) const HAND_OVER: u8 = 4;

/// The ordering frames of a trailer: (kind, body).
pub(crate) fn frames(trailer: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut frames = ControlFrames::new(trailer);
    std::iter::from_fn(move || match frames.next_frame() {
        Ok(Some(Control::Order { kind, body })) => Some((kind, body)),
        // Acks and the like come after them.
        _ => None,
    })
}

/// The numbers of a frame's body, up to one that cannot be read.
pub(crate) fn numbers(mut body: &[u8]) -> impl Iterator<Item = u64> {
    std::iter::from_fn(move || varint::read(&mut body))
}
