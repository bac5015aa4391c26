//! Who is in the group. For now the members are a list that all were given; agreement on views comes on top of it.
//!
//! **This crate reads no clock, draws no randomness, starts no thread and does no IO.**
#![forbid(unsafe_code)]

pub mod agreement;
mod flush;
mod group;
mod handshake;
mod pairs;
mod post;
mod running;
pub mod step;

pub use flush::FlushId;
pub use group::{Caster, Event, Group, GroupConfig, ListError, Sender, Session};
pub use handshake::Conflict;
