//! A medium carries blocks between endpoints: the only place that does IO.
//!
//! Media lose, duplicate and reorder; they never block a caller that asked to send or receive, and never deliver what
//! a process sent back to itself. One conformance suite (`conformance.rs`) holds for all of them.

pub mod auto;
pub mod choice;
#[cfg(test)]
mod conformance;
pub mod fault;
pub mod sim;
pub mod udp;
pub mod uring;

pub use auto::{Any, MediumChoice};
pub use choice::{Way, Why};
pub use fault::{Fault, FaultOptions};
pub use sim::{Network, Sim, SimOptions};
pub use udp::{Udp, UdpConfig};
pub use uring::{Looks, Uring};

use crate::id::Endpoint;
use crate::log::{RxBlock, RxPool};
use crate::protocol::Target;
use std::net::IpAddr;
use std::time::Duration;

/// Batches of received blocks in, transmits out.
pub trait Medium {
    /// What this medium can do; fixed from its opening on, but for the name where [`Any`] goes over to another one.
    fn capabilities(&self) -> &Capabilities;

    /// The endpoint that everything is sent from and that reaches this process.
    fn local(&self) -> Endpoint;

    /// Starts to receive what is sent to `fan_out`, and names it for [`send`](Self::send).
    ///
    /// # Errors
    /// When the address cannot be used; the message names it.
    fn open_channel(&mut self, fan_out: FanOut) -> Result<Channel, MediumError>;

    /// Nothing more is sent to this channel or received from it, and what it took of the system is given back; a channel that was opened several
    /// times stays open for the others. It may be named anew for another. A medium whose channels take nothing leaves them as they are.
    fn close_channel(&mut self, _channel: Channel) {}

    /// A channel by unicast reaches `others` from now on, as a view that was installed says. One by multicast reaches whoever
    /// listens: nothing changes.
    fn relist(&mut self, channel: Channel, others: &[Endpoint]);

    /// Appends up to about `quota` blocks to `inbox`, kept in `pool`, without waiting.
    ///
    /// A coalesced run is taken whole, and each socket has a quota of its own, so that a full one starves no other.
    /// Returns how many datagrams (coalesced buffers count once) were taken from the network, 0 when there were none.
    /// The pool is the same one in every call: a medium may keep one of its slabs in hand to land in.
    ///
    /// # Errors
    /// Only when the medium is broken for good; losses are counted, not reported.
    fn receive(
        &mut self,
        pool: &mut RxPool,
        inbox: &mut Vec<Arrival>,
        sockets: Sockets,
        quota: usize,
    ) -> Result<usize, MediumError>;

    /// Sends `run` as blocks of `segment` bytes, the last of them possibly shorter, without waiting. Where
    /// the medium was opened for uniform runs, `segment` is its block size in all runs of several.
    ///
    /// The caller keeps within [`Capabilities::max_run_blocks`] and [`Capabilities::max_run_bytes`].
    ///
    /// # Errors
    /// Only when the medium is broken for good. What the network refuses is lost, and counted.
    fn send(&mut self, to: Target, run: &[u8], segment: usize) -> Result<Sent, MediumError>;

    /// Waits until something can be received, at most for `limit`.
    fn wait(&mut self, limit: Duration);

    /// What happened so far. It may ask the system for some of it, and is not for the hot path.
    fn counters(&self) -> MediumCounters;

    /// As [`counters`](Self::counters), without asking the system: where it would have to be asked for
    /// [`overflow`](MediumCounters::overflow), that is 0.
    fn counted(&self) -> MediumCounters {
        self.counters()
    }
}

/// A destination that several members listen to; an index into the medium's channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Channel(pub u16);

/// How one send reaches all members of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FanOut {
    /// One datagram to a multicast address and port.
    Multicast {
        /// The address and port.
        group: Endpoint,
        /// Who is heard: these and nobody else (source-specific multicast); empty for everybody.
        sources: Vec<IpAddr>,
    },
    /// One datagram to each of the other members.
    Unicast(Vec<Endpoint>),
}

impl FanOut {
    /// One datagram to `group`, where everybody is heard.
    #[must_use]
    pub const fn multicast(group: Endpoint) -> Self {
        Self::Multicast { group, sources: Vec::new() }
    }
}

/// One received block and who sent it.
#[derive(Debug)]
pub struct Arrival {
    /// The endpoint it came from.
    pub from: Endpoint,
    /// The block; whoever takes the arrival owes it to the pool.
    pub block: RxBlock,
}

/// Which sockets are worth a look in this cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sockets {
    /// Only those that data comes by.
    Data,
    /// The control socket as well.
    All,
}

/// What became of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way (or was lost by the network, which is the same to a sender).
    Done,
    /// The socket's send buffer is full: nothing was sent, try again in a later cycle.
    Busy,
}

/// What a medium can do, as probed when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Name for reports, for example `udp`.
    pub name: &'static str,
    /// The largest block that travels whole, bytes.
    pub max_block: usize,
    /// Whether [`FanOut::Multicast`] works.
    pub multicast: bool,
    /// The most blocks that one send carries; 1 without segmentation offload.
    pub max_run_blocks: usize,
    /// The most bytes that one send of several blocks carries; a single block may have up to `max_block`.
    pub max_run_bytes: usize,
    /// Whether received runs arrive in one buffer.
    pub coalesces: bool,
    /// The receive buffer that the network keeps for this process, in true-size bytes (see [`true_size`]).
    pub receive_buffer: usize,
}

/// What a medium counted since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MediumCounters {
    /// Datagrams (coalesced buffers count once) taken from the network.
    pub received_datagrams: u64,
    /// Blocks in them.
    pub received_blocks: u64,
    /// Send calls that carried something.
    pub sends: u64,
    /// Blocks in them.
    pub sent_blocks: u64,
    /// Sends that the network refused; their blocks are lost.
    pub send_errors: u64,
    /// Datagrams that were empty, or longer than a block, and were dropped.
    pub unusable: u64,
    /// Buffers that the kernel dropped because this process was too slow; injected losses are not among them.
    pub overflow: u64,
    /// Blocks or whole buffers dropped on purpose.
    pub injected: u64,
    /// Blocks dropped because the receive pool had no place for them.
    pub pool_exhausted: u64,
    /// How often a medium that receives in two ways changed from one to the other with the load.
    pub receive_switches: u64,
}

/// A medium that cannot be opened or has broken.
#[derive(Debug, thiserror::Error)]
pub enum MediumError {
    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        /// What was attempted, with the address or value.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The interface carries no multicast, as `lo` does not for IPv6.
    #[error("interface {interface} has no route to the multicast group {group}: use unicast, or IPv4")]
    NoMulticast {
        /// Name and address of the interface.
        interface: String,
        /// The group.
        group: Endpoint,
    },
    /// The configuration asks for what this medium or machine does not have.
    #[error("{0}")]
    Unsupported(String),
}

/// Bytes that the kernel charges a receive buffer for one datagram or one coalesced run of `len` bytes of payload.
///
/// An upper bound of `skb->truesize` as measured over loopback on Linux 6.18: an sk_buff and its shared info around a
/// power-of-two buffer for a small datagram, beside pages for a large one or a run.
#[must_use]
pub const fn true_size(len: usize) -> usize {
    let rounded = match len {
        0..=192 => 832,
        193..=640 => 1_280,
        641..=1_664 => 2_304,
        1_665..=3_712 => 4_352,
        3_713..=7_808 => 8_448,
        7_809..=16_000 => 16_640,
        _ => len + 1_088,
    };
    // A run is charged to the byte, at any size.
    let exact = len + 832;
    if rounded > exact { rounded } else { exact }
}
