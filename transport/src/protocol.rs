//! The contract between pure protocols and the engine that drives them.

use crate::id::{Endpoint, Rank, Seq, ViewNumber};
use crate::log::{RxBlock, RxPool};
use crate::medium::Channel;
use crate::time::Instant;
use std::ops::ControlFlow;

/// A protocol as a pure state machine: it reads no clock, draws no randomness of its own and does no IO.
///
/// **The driver's duty cycle is: `handle_datagram` for a whole batch, `handle_timeout`, `poll_event`, `seal`, then
/// `poll_transmit` until it returns `None`; only then may it wait, at most until `poll_timeout`.** All `now`s of one
/// cycle are the same reading of the clock. [`Cycle`](crate::engine::Cycle) is that driver, in production and under
/// the simulator.
pub trait Protocol {
    /// What [`poll_event`](Self::poll_event) hands to the application; it may borrow from the receive pool.
    type Event<'a>;
    /// What the handler may use to cast replies while it still borrows the event.
    type Caster<'a>;

    /// Takes one received block. The protocol owns it from here, and gives it back to `pool` when it is done.
    fn handle_datagram(&mut self, now: Instant, from: Endpoint, block: RxBlock, pool: &mut RxPool);

    /// Fires every timer that is due at `now`.
    fn handle_timeout(&mut self, now: Instant, pool: &mut RxPool);

    /// Hands every event that is ready to `handler`, until none is left or it breaks.
    ///
    /// An event whose handler broke is not consumed: it is offered again, after those of others. Returns the events consumed.
    fn poll_event<H>(&mut self, pool: &mut RxPool, handler: &mut H) -> usize
    where
        H: FnMut(&mut Self::Caster<'_>, Self::Event<'_>) -> ControlFlow<()>;

    /// Closes open blocks that would otherwise wait although there is nothing else to do.
    fn seal(&mut self, now: Instant);

    /// Whom a channel by unicast reaches from now on, where a view that was installed has changed that: asked before anything of
    /// the cycle is sent, until it is `None`.
    fn poll_route(&mut self) -> Option<Route<'_>> {
        None
    }

    /// The next thing to send, or `None` when everything that may be sent now has been taken.
    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit>;

    /// The bytes of the transmit that [`poll_transmit`](Self::poll_transmit) returned last, and the size of their segments:
    /// every block starts at a multiple of it, only the last may be shorter.
    ///
    /// A medium that is busy lets it wait for later cycles; there is nothing left of a run that was released meanwhile.
    fn transmit_bytes<'a>(&'a self, transmit: &Transmit, pool: &'a RxPool) -> (&'a [u8], usize);

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called at the latest.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Whether control is awaited with impatience (a gap is open, a window is full), so that the control socket is
    /// worth an empty poll in every cycle.
    fn awaits_control(&self) -> bool;
}

/// Whom a channel reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route<'a> {
    /// The channel.
    pub channel: Channel,
    /// The other members.
    pub others: &'a [Endpoint],
}

/// Something to send: what, and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// Where it goes.
    pub to: Target,
    /// Index of the group that sends it, for a protocol that is made of several.
    pub group: u16,
    /// The view whose session sends it: one that waits in a busy medium may be of the view before. 0 before any.
    pub view: ViewNumber,
    /// Which of the group's sessions sends it: 0 is that of the view, the others are those of pairs.
    pub lane: u16,
    /// What is sent.
    pub payload: Payload,
}

/// The origins of bytes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// A run of consecutive blocks of my own log, contiguous in memory.
    Log {
        /// The first block of the run.
        first: Seq,
        /// How many blocks; at least 1.
        count: u32,
    },
    /// One block that I hold of another member's stream, or of my log, for one who asked me for it.
    Held {
        /// Whose stream.
        origin: Rank,
        /// The block.
        seq: Seq,
    },
    /// One control block that was composed in a slot of the protocol.
    Control {
        /// The slot.
        slot: u16,
    },
    /// One block of the handshake that comes before a view, likewise.
    Setup {
        /// The slot.
        slot: u16,
    },
}

/// Where a transmit goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// To every member of a channel.
    Channel(Channel),
    /// To one process.
    One(Endpoint),
}
