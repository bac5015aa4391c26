//! What the orders of a group's messages stand on: for now the names of the orders and the view.
//!
//! **This crate reads no clock, draws no randomness, starts no thread and does no IO.**
#![forbid(unsafe_code)]

mod order;
mod view;

pub use order::Order;
pub use sistrum_transport::id::{BootId, Endpoint, GroupId, GroupInstance, Rank, Seq, ViewNumber};
pub use view::{View, ViewId, ViewMember};
