//! What the parent and the members of a failover say to each other: JSON, one line each.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::demo::api::Order;
use crate::demo::lines::{Counted, Latency, Place, order_by_name};
use crate::demo::options::Pace;
use crate::demo::source::Source;

/// From the parent to a member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Tell {
    /// Open your node.
    Open(Part),
    /// Join, with so many others at first and in all. The first of the publishers that is in the view publishes.
    Join { expected: usize, most: usize, publishers: Vec<SocketAddr> },
    /// All are there: publish, if it is you.
    Start,
    /// All has happened: publish this capture to its end, and no other.
    Finish,
    /// It is over: go.
    Stop,
}

/// A member's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) place: Place,
    #[serde(with = "order_by_name")]
    pub(super) order: Order,
    /// What a publisher publishes, again and again, and how fast.
    pub(super) publishes: Option<(Source, Pace)>,
}

/// From a member to the parent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Say {
    /// My node is open, here.
    Opened { endpoint: SocketAddr, medium: String },
    /// I have come to this view.
    View(Seen),
    /// Messages went on to come to me so long after the last one before this view.
    Paused { view: u32, ns: u64 },
    /// A few times a second.
    Progress { messages: u64 },
    /// The end of the feed was delivered to me, or I have published it and all have it.
    Ended(Box<Had>),
    /// I cannot go on.
    Failed { why: String },
}

/// A view, as a member was told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) number: u32,
    pub(super) members: Vec<SocketAddr>,
    pub(super) joining: Vec<SocketAddr>,
    pub(super) came: Vec<SocketAddr>,
    pub(super) readied: Vec<SocketAddr>,
    pub(super) gone: Vec<SocketAddr>,
    /// Messages that I had been handed before it.
    pub(super) messages: u64,
}

/// What a member had in the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Had {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) digest: String,
    pub(super) state_digest: String,
    pub(super) latency_ns: Option<Latency>,
    /// When (CLOCK_MONOTONIC).
    pub(super) ended_ns: u64,
    pub(super) counted: Counted,
}
