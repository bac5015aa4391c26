//! The orders in which a group delivers its messages, as layers above the reliable streams of `sistrum-transport`.
//!
//! ```text
//!   Total    one order of all total casts    total/{token, rotating}      needs Causal
//!   Causal   nothing before its cause        causal, delay, timestamp     needs streams in order
//!   Fifo     the streams as they are         sistrum_transport::reliable
//! ```
//! **This crate reads no clock, draws no randomness, starts no thread and does no IO.**
#![forbid(unsafe_code)]

pub mod causal;
mod context;
mod cut;
pub mod delay;
#[cfg(feature = "legacy")]
pub mod legacy;
mod order;
mod reading;
mod stack;
pub mod timestamp;
pub mod total;
pub mod truth;
pub mod varint;
mod view;
mod wire;

pub use causal::Causal;
pub use context::{CausalContext, ContextError};
pub use delay::Stamped;
pub use order::{NoOrder, Order, Promise, TotalMode};
pub use reading::Reading;
pub use sistrum_transport::id::{BootId, Endpoint, GroupId, GroupInstance, Rank, Seq, ViewNumber};
pub use stack::{CausalOrder, CausalStack, FifoStack, InOrder, TotalStack};
pub use timestamp::Stamps;
pub use total::{Total, TotalOptions};
pub use view::{Change, Reason, View, ViewId, ViewMember};
