//! The protocols of 1987, as oracles for simulations: what they deliver must satisfy the same checkers as what we deliver.
//!
//! Each is one member's state machine above channels that lose nothing and keep the order of each pair. Members are static: what
//! the papers say of crashes (the oldest holder of a message takes over; a view change flushes) needs views that change, and is
//! not here yet. Messages are values, and nothing is bounded or fast.
//!
//! ```text
//!   Cbcast   causal   each message takes along what precedes it and may be missing
//!   Abcast   total    receivers propose priorities, the sender commits the largest
//!   Gbcast   total    against everything: all stop, what is under way is flushed, the message is committed at one point
//! ```

mod abcast;
mod cbcast;
mod gbcast;

pub use abcast::Abcast;
pub use cbcast::Cbcast;
pub use gbcast::Gbcast;

use crate::{Order, Rank};
use std::fmt::Debug;

/// A message: nothing but its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Message {
    /// Who cast it.
    pub from: Rank,
    /// Its number among all that its sender cast.
    pub number: u32,
}

/// One member of one of the old protocols.
pub trait Member {
    /// What members send each other.
    type Packet: Clone + Debug;

    /// Member `me` of `members`.
    fn new(me: Rank, members: usize) -> Self;

    /// Casts `message` of mine in this order, or a stronger one.
    fn cast(&mut self, message: Message, order: Order, out: &mut Effects<Self::Packet>);

    /// A packet has come.
    fn receive(&mut self, from: Rank, packet: Self::Packet, out: &mut Effects<Self::Packet>);

    /// Messages that are kept here.
    fn kept(&self) -> usize;
}

/// What a step makes happen.
#[derive(Debug)]
pub struct Effects<P> {
    /// Packets to other members.
    pub sends: Vec<(Rank, P)>,
    /// Deliveries here, in their order; my own messages too.
    pub delivers: Vec<Message>,
}

impl<P> Default for Effects<P> {
    fn default() -> Self {
        Self { sends: Vec::new(), delivers: Vec::new() }
    }
}

impl<P: Clone> Effects<P> {
    /// To everybody but me.
    fn send_all(&mut self, me: Rank, members: usize, packet: &P) {
        self.sends.extend(others(me, members).map(|other| (other, packet.clone())));
    }
}

fn others(me: Rank, members: usize) -> impl Iterator<Item = Rank> {
    (0..members as u16).map(Rank).filter(move |other| *other != me)
}
