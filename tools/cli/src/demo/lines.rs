//! What the parent and its members say to each other: JSON, one line each, over the members' standard input and output.

use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fault::DeliveryFault;
use super::options::{Medium, Pace};
use crate::digest::Digest;

/// From the parent to a member, in this order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Tell {
    /// Open your node.
    Open(Plan),
    /// Here is everybody; the publisher has rank 0.
    Join { members: Vec<SocketAddr> },
    /// All have the view: publish.
    Start,
    /// It is over: say your counters and go.
    Stop,
}

/// From a member to the parent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Say {
    /// My node is open, here.
    Opened { endpoint: SocketAddr, medium: String },
    /// I have the view with everybody in it.
    Ready,
    /// A few times a second.
    Progress(Progress),
    /// The publisher: everything was delivered by everybody.
    Settled { started_ns: u64 },
    /// A subscriber: the end of the stream was delivered to me.
    Ended(Received),
    /// The last word, after [`Tell::Stop`].
    Counted(Counted),
    /// I cannot go on.
    Failed { why: String },
}

/// What a member needs to open its node and to play its part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) medium: Medium,
    pub(super) interface: IpAddr,
    pub(super) group: SocketAddrV4,
    /// Bytes; the library's default when absent.
    pub(super) receive_buffer: Option<usize>,
    /// Bytes of a block; the library's default when absent.
    pub(super) block_size: Option<usize>,
    /// Probability that a received block is dropped.
    pub(super) block_loss: f64,
    /// Probability that a whole receive buffer is dropped.
    pub(super) buffer_loss: f64,
    pub(super) seed: u64,
    pub(super) role: Role,
}

/// A member's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    /// Publishes the capture at `path`, or the embedded sample.
    Publisher { path: Option<PathBuf>, pace: Pace },
    /// Hashes what is delivered, and may be told to cheat.
    Subscriber { fault: Option<DeliveryFault> },
}

/// How far a member is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Messages cast, or delivered.
    pub(super) messages: u64,
    /// Who holds the publisher back, while it is held.
    pub(super) held: Option<Held>,
    /// The publisher has cast everything that is due, and waits for the time of the next message.
    pub(super) ahead: bool,
}

/// The member for whom the publisher's window stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) rank: u16,
    pub(super) age: Duration,
}

/// What a subscriber got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Received {
    pub(super) digest: Digest,
    /// When the end of the stream was delivered (CLOCK_MONOTONIC).
    pub(super) ended_ns: u64,
    pub(super) latency_ns: Latency,
}

/// From the scheduled send time to the delivery, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Latency {
    pub(super) p50: u64,
    pub(super) p99: u64,
    pub(super) p999: u64,
}

/// What a member's node counted from its opening to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counted {
    /// Blocks that came as repairs.
    pub(super) repaired: u64,
    /// Blocks and buffers that the injected loss took.
    pub(super) dropped: u64,
    /// Datagrams that the kernel dropped for want of room.
    pub(super) overflow: u64,
    pub(super) received_buffers: u64,
    pub(super) received_blocks: u64,
    pub(super) sends: u64,
    pub(super) sent_blocks: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_back_as_it_was_said() {
        let plan = Plan {
            medium: Medium::Auto,
            interface: IpAddr::from([127, 0, 0, 1]),
            group: SocketAddrV4::new([239, 255, 1, 2].into(), 7_000),
            receive_buffer: None,
            block_size: Some(1_372),
            block_loss: 0.01,
            buffer_loss: 0.0,
            seed: u64::MAX,
            role: Role::Publisher { path: Some("a b".into()), pace: Pace::Times(2.5) },
        };
        for tell in [Tell::Open(plan), Tell::Stop] {
            let line = serde_json::to_string(&tell).expect("plain data");
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Tell>(&line).expect("just written"), tell);
        }
    }
}
