//! The two halves of a stream, each by itself: what it costs to cast a message, and what it costs to deliver one.

use crate::{BLOCK, RUN_BLOCKS, pool, session};
use sistrum_membership::Session;
use sistrum_membership::lag::{Backlog, Told};
use sistrum_transport::id::Endpoint;
use sistrum_transport::log::{RxBlock, RxPool};
use sistrum_transport::medium::sim::endpoint_of;
use sistrum_transport::protocol::{Payload, Protocol as _};
use sistrum_transport::reliable::Event;
use sistrum_transport::time::Instant;
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// The casting member. Nobody answers it: it may cast one window.
#[derive(Debug)]
pub struct Casting {
    session: Session,
    pool: RxPool,
    now: Instant,
}

impl Casting {
    /// At the beginning of its stream.
    #[must_use]
    pub fn new() -> Self {
        Self {
            session: session(0),
            pool: RxPool::new(NONE).expect("there is memory for a block"),
            now: Instant(1),
        }
    }

    /// Casts `count` times `message` in duty cycles of one run each, and hands every run that is to be sent to `send`,
    /// with the size of its blocks.
    ///
    /// # Panics
    /// When the window is full.
    pub fn cast(&mut self, message: &[u8], count: usize, mut send: impl FnMut(&[u8], usize)) {
        let burst = RUN_BLOCKS * (BLOCK / (message.len() + FRAME_BYTES)).max(1);
        let mut left = count;
        while left > 0 {
            let casts = left.min(burst);
            self.session.handle_timeout(self.now, &mut self.pool);
            for _ in 0..casts {
                self.session.sender().cast(message).expect("less than a window is cast");
            }
            self.session.seal(self.now);
            while let Some(transmit) = self.session.poll_transmit(self.now) {
                if matches!(transmit.payload, Payload::Log { .. }) {
                    let (run, segment) = self.session.transmit_bytes(&transmit, &self.pool);
                    send(run, segment);
                }
            }
            self.now = self.now.plus_ns(CYCLE_NS);
            left -= casts;
        }
    }
}

impl Default for Casting {
    fn default() -> Self {
        Self::new()
    }
}

/// The receiving member, with what it is going to receive already in its buffers: the kernel's part is done.
#[derive(Debug)]
pub struct Receiving {
    session: Session,
    pool: RxPool,
    arrived: VecDeque<RxBlock>,
    from: Endpoint,
    now: Instant,
}

impl Receiving {
    /// Has `count` messages of `size` bytes before it.
    ///
    /// # Panics
    /// When they are more than a window.
    #[must_use]
    pub fn of(size: usize, count: usize) -> Self {
        let mut pool = pool();
        let mut arrived = VecDeque::new();
        Casting::new().cast(&vec![0x5a; size], count, |run, segment| {
            let landing = pool.land().expect("the pool has room for a window");
            pool.landing_mut(&landing)[..run.len()].copy_from_slice(run);
            pool.split(landing, run.len(), segment, |block| arrived.push_back(block));
        });
        Self { session: session(1), pool, arrived, from: endpoint_of(0), now: Instant(1) }
    }

    /// Receives blocks, in duty cycles of one run each, until at least `count` messages are delivered; returns how many
    /// that were, and the bytes in them.
    pub fn deliver(&mut self, count: usize) -> (usize, usize) {
        let (mut delivered, mut bytes) = (0, 0);
        while delivered < count && self.receive() {
            delivered += self.session.poll_event(&mut self.pool, &mut |_, event| {
                let Event::Deliver(message) = event else { return ControlFlow::Continue(()) };
                bytes += message.bytes().len();
                ControlFlow::Continue(())
            });
            self.send();
        }
        (delivered, bytes)
    }

    /// The same to an application that has a lag contract, and keeps up.
    pub fn deliver_by(&mut self, backlog: &mut Backlog, count: usize) -> (usize, usize) {
        let (mut delivered, mut bytes) = (0, 0);
        let mut handler = |told: Told<'_>| {
            let Told::Message(message) = told else { return ControlFlow::Continue(()) };
            bytes += message.bytes().len();
            ControlFlow::Continue(())
        };
        while delivered < count && self.receive() {
            backlog.begin_cycle(self.now);
            delivered += backlog.hand_over(&mut handler);
            delivered += self.session.poll_event(&mut self.pool, &mut |_, event| {
                if let Event::Deliver(message) = event {
                    backlog.take(message, &mut handler);
                }
                ControlFlow::Continue(())
            });
            self.send();
        }
        (delivered, bytes)
    }

    /// A duty cycle begins, with a run; false when there is none left.
    fn receive(&mut self) -> bool {
        let arrived = !self.arrived.is_empty();
        for _ in 0..RUN_BLOCKS {
            let Some(block) = self.arrived.pop_front() else { break };
            self.session.handle_datagram(self.now, self.from, block, &mut self.pool);
        }
        self.session.handle_timeout(self.now, &mut self.pool);
        arrived
    }

    /// It ends.
    fn send(&mut self) {
        self.session.seal(self.now);
        while self.session.poll_transmit(self.now).is_some() {}
        self.now = self.now.plus_ns(CYCLE_NS);
    }
}

/// A casting member receives nothing.
const NONE: sistrum_transport::log::PoolConfig =
    sistrum_transport::log::PoolConfig { stride: BLOCK, strides: 1, slabs: 1 };
/// Of a frame around a short message.
const FRAME_BYTES: usize = 2;
/// From one duty cycle to the next: about what a run takes.
const CYCLE_NS: u64 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;
    use sistrum_membership::lag::Lag;

    #[test]
    fn everything_that_is_cast_is_delivered() {
        for (size, count) in [(32, 100_000), (1024, 2_500)] {
            assert_eq!(Receiving::of(size, count).deliver(count), (count, count * size));
            let backlog = &mut Backlog::new(Lag::replay(1024));
            assert_eq!(Receiving::of(size, count).deliver_by(backlog, count), (count, count * size));
        }
    }
}
