//! What order costs in bytes: members on a simulated network without faults, all of them sending, and a tap that counts what
//! their blocks carry for it.
//!
//! In each round every member casts some messages, and is handed those of all others before the next round: the first block of a
//! round depends on all of the round before. The same calls send the same bytes in every run.

use crate::{BLOCK, session_of};
use sistrum_membership::{Sender, Session};
use sistrum_ordering::{Order, TotalOptions};
use sistrum_transport::engine::{Cycle, Idle};
use sistrum_transport::id::Endpoint;
use sistrum_transport::log::{PoolConfig, RxPool};
use sistrum_transport::medium::{
    Arrival, Capabilities, Channel, FanOut, Medium, MediumCounters, MediumError, Network, Sent, Sim,
    SimOptions, Sockets,
};
use sistrum_transport::protocol::Target;
use sistrum_transport::reliable::Event;
use sistrum_transport::time::ManualClock;
use sistrum_transport::wire::{CONTROL_HEAD, Control, ControlFrames, HEADER_LEN, Header, Kind};
use std::ops::ControlFlow;
use std::time::Duration;

/// What went over the network for the order of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overhead {
    /// Messages that were cast.
    pub messages: u64,
    /// Blocks that carried them.
    pub blocks: u64,
    /// Bytes of frames of order in those blocks.
    pub frames: u64,
    /// Blocks without a message, sent for their frames of order, and all of their bytes.
    pub bare_blocks: u64,
    /// See `bare_blocks`.
    pub bare_bytes: u64,
}

/// How the members cast.
#[derive(Debug, Clone, Copy)]
pub struct Traffic {
    /// All of them send.
    pub senders: u16,
    /// Messages of each member in a round.
    pub messages: usize,
    /// The order of the casts.
    pub order: Order,
    /// How it is found, and how stamps are told.
    pub options: TotalOptions,
}

/// Bytes of a message.
pub const MESSAGE: usize = 32;
/// So many messages fit in one block, beside the largest stamp of 64 members.
pub const ONE_BLOCK: usize = 24;

impl Overhead {
    /// Bytes of order for each block that carried messages.
    #[must_use]
    pub fn per_block(&self) -> f64 {
        (self.frames + self.bare_bytes) as f64 / self.blocks as f64
    }

    /// Bytes of order for each message.
    #[must_use]
    pub fn per_message(&self) -> f64 {
        (self.frames + self.bare_bytes) as f64 / self.messages as f64
    }

    /// Counts one block, as its sender hands it to the network.
    fn count(&mut self, block: &[u8]) {
        let Ok(header) = Header::decode(block) else { return };
        if header.kind != Kind::Data {
            return;
        }
        let mut frames = ControlFrames::new(header.control(block));
        let mut order = 0;
        while let Ok(Some(Control::Order { body, .. })) = frames.next_frame() {
            order += (CONTROL_HEAD + body.len()) as u64;
        }
        if usize::from(header.trailer) == HEADER_LEN {
            self.bare_blocks += 1;
            self.bare_bytes += u64::from(header.used);
        } else {
            self.blocks += 1;
            self.frames += order;
        }
    }
}

/// The bytes of so many rounds, after one to warm up.
///
/// # Panics
/// When the system has not the memory, or a round does not end within a second of virtual time.
#[must_use]
pub fn overhead(traffic: Traffic, rounds: u64) -> Overhead {
    let clock = ManualClock::default();
    clock.advance_ns(1);
    let network =
        Network::new(1, clock.clone(), SimOptions { delay_ns: 10_000..10_001, ..SimOptions::default() });
    let mut members: Vec<_> =
        (0..traffic.senders).map(|me| Tapped::new(me, &network, &clock, traffic)).collect();
    let mut before = Overhead::default();
    for round in 0..=rounds {
        members.iter_mut().for_each(|member| member.cast(traffic));
        let wanted = (round + 1) * u64::from(traffic.senders - 1) * traffic.messages as u64;
        let end = clock.peek().plus_ns(1_000_000_000);
        while members.iter().any(|member| member.handed < wanted) {
            members.iter_mut().for_each(Tapped::turn);
            clock.advance_ns(STEP_NS);
            assert!(clock.peek() < end, "a round of {traffic:?} does not end");
        }
        if round == 0 {
            before = sum(&members);
        }
    }
    let after = sum(&members);
    Overhead {
        messages: rounds * u64::from(traffic.senders) * traffic.messages as u64,
        blocks: after.blocks - before.blocks,
        frames: after.frames - before.frames,
        bare_blocks: after.bare_blocks - before.bare_blocks,
        bare_bytes: after.bare_bytes - before.bare_bytes,
    }
}

fn sum(members: &[Tapped]) -> Overhead {
    members.iter().map(|member| member.cycle.medium().seen).fold(Overhead::default(), |sum, seen| Overhead {
        messages: 0,
        blocks: sum.blocks + seen.blocks,
        frames: sum.frames + seen.frames,
        bare_blocks: sum.bare_blocks + seen.bare_blocks,
        bare_bytes: sum.bare_bytes + seen.bare_bytes,
    })
}

/// A member whose blocks are counted.
struct Tapped {
    me: u16,
    session: Session,
    cycle: Cycle<Tap, ManualClock>,
    /// Messages of others.
    handed: u64,
}

impl Tapped {
    fn new(me: u16, network: &Network, clock: &ManualClock, traffic: Traffic) -> Self {
        let mut medium = Tap { inner: network.endpoint(me), seen: Overhead::default() };
        let everybody = FanOut::multicast(Endpoint(([239, 255, 0, 1], 1).into()));
        medium.open_channel(everybody).expect("the simulated network has channels");
        let pool =
            PoolConfig { stride: BLOCK, strides: WINDOW * usize::from(traffic.senders) + 64, slabs: 4 };
        let cycle = Cycle::new(medium, clock.clone(), pool, Idle::Spin).expect("there is memory for a pool");
        Self { me, session: session_of(me, traffic.senders, WINDOW, traffic.options), cycle, handed: 0 }
    }

    fn cast(&mut self, traffic: Traffic) {
        for _ in 0..traffic.messages {
            let cast = self.session.sender().cast_as(traffic.order.into(), &[0x5a; MESSAGE]);
            cast.expect("a round is less than a window");
        }
    }

    fn turn(&mut self) {
        let Self { me, session, cycle, handed } = self;
        let mut handler = |_: &mut Sender, event: Event<'_>| {
            if let Event::Deliver(message) = event {
                *handed += u64::from(message.from().0 != *me);
            }
            ControlFlow::Continue(())
        };
        cycle.turn(session, &mut handler).expect("a simulated network does not break");
    }
}

/// Counts what is sent for the order of messages.
#[derive(Debug)]
struct Tap {
    inner: Sim,
    seen: Overhead,
}

impl Medium for Tap {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }
    fn local(&self) -> Endpoint {
        self.inner.local()
    }
    fn open_channel(&mut self, fan_out: FanOut) -> Result<Channel, MediumError> {
        self.inner.open_channel(fan_out)
    }

    fn relist(&mut self, channel: Channel, others: &[Endpoint]) {
        self.inner.relist(channel, others);
    }
    fn receive(
        &mut self,
        pool: &mut RxPool,
        inbox: &mut Vec<Arrival>,
        sockets: Sockets,
        quota: usize,
    ) -> Result<usize, MediumError> {
        self.inner.receive(pool, inbox, sockets, quota)
    }
    fn send(&mut self, to: Target, run: &[u8], segment: usize) -> Result<Sent, MediumError> {
        run.chunks(segment).for_each(|block| self.seen.count(block));
        self.inner.send(to, run, segment)
    }
    fn wait(&mut self, limit: Duration) {
        self.inner.wait(limit);
    }
    fn counters(&self) -> MediumCounters {
        self.inner.counters()
    }
}

const WINDOW: usize = 64;
/// Virtual time between cycles.
const STEP_NS: u64 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;
    use sistrum_ordering::{Stamps, TotalMode};

    fn traffic(senders: u16, messages: usize, order: Order) -> Traffic {
        Traffic { senders, messages, order, options: TotalOptions::default() }
    }

    #[test]
    fn fifo_costs_nothing_and_a_stamp_two_bytes_for_each_other_sender() {
        assert_eq!(overhead(traffic(3, ONE_BLOCK, Order::Fifo), 20).per_block(), 0.0);
        for senders in [3, 16, 64] {
            let seen = overhead(traffic(senders, ONE_BLOCK, Order::Causal), 5);
            assert_eq!((seen.blocks, seen.bare_blocks), (5 * u64::from(senders), 0));
            // Of many, some are not heard from before every block.
            let most = (CONTROL_HEAD + 2 * usize::from(senders - 1)) as f64;
            assert!((0.9 * most..=most).contains(&seen.per_block()), "{senders}: {seen:?}");
        }
    }

    #[test]
    fn in_a_burst_only_the_first_block_has_a_stamp() {
        let (one, ten) = (
            overhead(traffic(3, ONE_BLOCK, Order::Causal), 20),
            overhead(traffic(3, 10 * ONE_BLOCK, Order::Causal), 20),
        );
        assert!(ten.per_block() < one.per_block() / 4.0, "{ten:?} {one:?}");
    }

    #[test]
    fn full_stamps_cost_in_a_burst_what_compressed_ones_spare() {
        let burst = traffic(3, 10 * ONE_BLOCK, Order::Causal);
        let options = TotalOptions { stamps: Stamps::Full, ..TotalOptions::default() };
        let (full, causal) = (overhead(Traffic { options, ..burst }, 10), overhead(burst, 10));
        assert!(full.per_block() > 2.0 * causal.per_block(), "{full:?} {causal:?}");
    }

    #[test]
    fn a_total_order_costs_what_a_causal_one_does_and_more() {
        let causal = overhead(traffic(16, ONE_BLOCK, Order::Causal), 10);
        for mode in [TotalMode::Token, TotalMode::Rotating] {
            let options = TotalOptions { mode, ..TotalOptions::default() };
            let total = overhead(Traffic { options, ..traffic(16, ONE_BLOCK, Order::Total) }, 10);
            assert!(total.per_block() >= causal.per_block(), "{mode:?} {total:?} {causal:?}");
        }
    }
}
