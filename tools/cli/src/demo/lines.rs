//! What the parent and its members say to each other: JSON, one line each, over the members' standard input and output.

use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::api::{Node, Order};
use super::fault::DeliveryFault;
use super::options::{Medium, Pace, TotalBy};
use super::source::Source;
use crate::digest::Digest;

/// From the parent to a member, in this order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Tell {
    /// Open your node.
    Open(Plan),
    /// Here is everybody; the publishers come first.
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
    /// A publisher: everything of it was delivered by everybody, and what it awaits of others was delivered to it.
    Settled { started_ns: u64 },
    /// The end of every stream that comes to me was delivered to me.
    Ended(Received),
    /// It is time to kill me; I do nothing more.
    Ripe,
    /// The last word, after [`Tell::Stop`].
    Counted(Counted),
    /// I cannot go on.
    Failed { why: String },
}

/// What a member needs to play its part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) place: Place,
    /// How many members publish.
    pub(super) publishers: u16,
    #[serde(with = "order_by_name")]
    pub(super) order: Order,
    pub(super) total: TotalBy,
    pub(super) role: Role,
}

/// What a member needs to open its node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Place {
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
    /// Who is silent for so long is dead.
    pub(super) suspect_after: Duration,
}

/// A member's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    /// The publisher of this rank.
    Publisher { rank: u16, source: Source, pace: Pace },
    /// Hashes what is delivered, and may be told to cheat.
    Subscriber {
        fault: Option<DeliveryFault>,
        /// It is killed when so many messages were delivered to it.
        dies_at: Option<u64>,
    },
}

/// How far a member is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Messages that it has cast.
    pub(super) cast: u64,
    /// Messages that were delivered to it.
    pub(super) delivered: u64,
    /// Who holds a publisher back, while it is held.
    pub(super) held: Option<Held>,
    /// A publisher has cast everything that is due, and waits for the time of the next message.
    pub(super) ahead: bool,
}

/// The member for whom a publisher's window stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) rank: u16,
    pub(super) age: Duration,
}

/// What a member got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Received {
    /// Messages that were delivered.
    pub(super) delivered: u64,
    /// Of each publisher's messages.
    pub(super) streams: Vec<Digest>,
    /// Of all messages in the order of their delivery, where there is one order.
    pub(super) sequence: Option<Digest>,
    /// Messages that depend on more messages of other publishers than the one before of the same publisher.
    pub(super) dependent: u64,
    /// Dependences on what had not been delivered.
    pub(super) violations: u64,
    /// The first of them, in words.
    pub(super) violation: Option<String>,
    /// When the last end of a stream was delivered (CLOCK_MONOTONIC).
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

impl Counted {
    /// What this node has counted.
    pub(super) fn of(node: &Node) -> Self {
        let counters = node.counters();
        let medium = counters.medium;
        Self {
            repaired: counters.repaired,
            dropped: medium.injected,
            overflow: medium.overflow,
            received_buffers: medium.received_datagrams,
            received_blocks: medium.received_blocks,
            sends: medium.sends,
            sent_blocks: medium.sent_blocks,
        }
    }
}

/// An order on a line is its name.
pub(super) mod order_by_name {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::Order;

    pub(crate) fn serialize<S: Serializer>(order: &Order, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(order.name())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Order, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_back_as_it_was_said() {
        let source = Source { path: Some("a b".into()), turn: 1, of: 3, lead_ns: 7 };
        let place = Place {
            suspect_after: Duration::from_secs(1),
            medium: Medium::Auto,
            interface: IpAddr::from([127, 0, 0, 1]),
            group: SocketAddrV4::new([239, 255, 1, 2].into(), 7_000),
            receive_buffer: None,
            block_size: Some(1_372),
            block_loss: 0.01,
            buffer_loss: 0.0,
            seed: u64::MAX,
        };
        let plan = Plan {
            place,
            publishers: 3,
            order: Order::Total,
            total: TotalBy::Rotating,
            role: Role::Publisher { rank: 1, source, pace: Pace::Times(2.5) },
        };
        for tell in [Tell::Open(plan), Tell::Stop] {
            let line = serde_json::to_string(&tell).expect("plain data");
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Tell>(&line).expect("just written"), tell);
        }
    }
}
