//! Stands in for `ours.rs` until `sistrum::Node` lands: the floors run and are measured, ours is said to be absent.

use crate::floor::Trips;
use crate::packed::Flow;
use crate::pins::Pins;
use crate::{Failure, Span};

/// Said aloud where a figure of ours would stand.
pub(crate) const ABSENT: &str = "ours: not measured, this build has no `ours` feature (see bench/Cargo.toml)";

/// What one repetition through `cast` and `poll` counted.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    pub(crate) flow: Flow,
    pub(crate) repaired: u64,
    pub(crate) refused: u64,
    pub(crate) blocks_per_send: f64,
    pub(crate) medium: String,
}

/// Nothing yet.
pub(crate) fn ping_pong(_: usize, _: bool, _: Span, _: &Pins) -> Result<Option<(Trips, String)>, Failure> {
    Ok(None)
}

/// Nothing yet.
pub(crate) fn stream(_: usize, _: bool, _: Span, _: &Pins) -> Result<Option<Stream>, Failure> {
    Ok(None)
}
