//! Process groups at the speed of a datagram.
//!
//! A [`Node`] is an inline engine: it does its work when you call [`Node::poll`], on your thread, and hands you events by
//! reference. Members of a group come and go, and agree on each [view](View); the first one is the first event of a group.
//!
//! ```
//! use sistrum::{Config, Event, JoinOptions, Node, Order};
//!
//! let mut node = Node::open(Config::loopback("prices"))?;
//! let group = node.join("ticks", JoinOptions::peer().expected_members(1))?;
//!
//! let mut seen = false;
//! while !seen {
//!     node.poll(|cx, event| {
//!         match event {
//!             Event::View(view) => {
//!                 println!("{view}");
//!                 cx.cast(&group, Order::Fifo, b"EURUSD 1.0731")?; // replies from inside the handler
//!                 seen = true;
//!             }
//!             Event::Deliver(message) => println!("{:?}: {} bytes", message.from(), message.bytes().len()),
//!             _ => {}
//!         }
//!         Ok(())
//!     })?;
//! }
//! # Ok::<(), sistrum::Error>(())
//! ```
#![forbid(unsafe_code)]

mod calls;
mod config;
mod error;
mod groups;
mod hierarchy;
mod join;
mod joined;
mod lagging;
mod node;
mod published;
mod seeds;
mod service;
mod state;

pub use calls::Calls;
/// Counters that nodes publish in files, and their reading: see [`Config::counters`].
pub mod counters {
    pub use crate::published::help;
    pub use sistrum_transport::engine::counters::*;
}

pub use config::{Config, Faults};
pub use error::{Error, Result};
pub use groups::{Caster, Event, Group};
pub use hierarchy::{
    Leaf, LeafError, LeafMap, Root, RootEvent, RouteError, RouteId, Router, RouterEvent, TellError,
};
pub use join::JoinOptions;
pub use joined::{Departure, Pressure};
pub use node::{Counters, Node};
pub use seeds::UnknownSeed;
pub use service::{Service, ServiceEvent};
pub use sistrum_membership::detector::{DetectorTuning, Suspicion};
pub use sistrum_membership::lag::{
    Behind, CaughtUp, Eviction, Key, KeyOf, Lag, LagCounters, LagState, PER_MESSAGE, Standing, Tripped,
};
pub use sistrum_membership::{
    AskError, AskId, CallEvent, CallId, ClientEvent, ClientRequest, ClientTuning, ClientsEvent, Conflict,
    Dest, Fired, FlushId, Holdup, ListError, Outcome, Request, Served, Sighting, Snapshot, StateBlock,
    StateTuning, Status, TransferError, Until, Want, WatchId, Watches,
};
pub use sistrum_ordering::{
    BootId, CausalContext, ContextError, Endpoint, GroupId, GroupInstance, Order, Promise, Rank, Reason, Seq,
    TotalMode, View, ViewId, ViewMember, ViewNumber,
};
pub use sistrum_transport::engine::{CycleCounters, Idle};
pub use sistrum_transport::id::Family;
pub use sistrum_transport::medium::{MediumChoice, MediumCounters, MediumError, Way, Why};
pub use sistrum_transport::reliable::{
    Cause, Gap, Holder, LostBlocks, Message, Pace, Parts, PeerLosses, Refused, SessionCounters, Tuning,
};
pub use sistrum_transport::sys::interface::Interface;
pub use sistrum_transport::time::{Clock, Instant, MonotonicClock};
#[cfg(feature = "serde")]
pub use state::Serde;
pub use state::{Domain, State};
