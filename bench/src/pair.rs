//! Two members, each with its engine, over a pipe: everything of a message's way but the kernel.

use crate::pipe::Pipe;
use crate::{BLOCK, POOL, RUN_BLOCKS, session};
use sistrum_membership::{Sender, Session};
use sistrum_transport::engine::{Cycle, Idle};
use sistrum_transport::reliable::Event;
use sistrum_transport::time::ManualClock;
use std::ops::ControlFlow;

/// Two members in virtual time.
#[derive(Debug)]
pub struct Pair {
    left: End,
    right: End,
    clock: ManualClock,
}

#[derive(Debug)]
struct End {
    session: Session,
    cycle: Cycle<Pipe, ManualClock>,
}

impl Pair {
    /// Both at the beginning of their streams.
    ///
    /// # Panics
    /// When the system has not the memory for logs and pools.
    #[must_use]
    pub fn new() -> Self {
        let clock = ManualClock::default();
        let [left, right] = Pipe::ends();
        let end = |me, pipe| {
            let cycle = Cycle::new(pipe, clock.clone(), POOL, Idle::Spin);
            End { session: session(me), cycle: cycle.expect("there is memory for a pool") }
        };
        Self { left: end(0, left), right: end(1, right), clock: clock.clone() }
    }

    /// `count` messages there and back, one after the other.
    ///
    /// # Panics
    /// When one of them does not arrive.
    pub fn round_trips(&mut self, message: &[u8], count: usize) {
        let mut back = 1;
        let reply = |sender: &mut Sender| sender.cast(message).expect("an exchange never fills a window");
        reply(self.left.session.sender());
        self.left.turn(|_, _| {});
        for _ in 0..count {
            self.clock.advance_ns(LEG_NS);
            back += self.right.turn(|sender, _| reply(sender));
            self.clock.advance_ns(LEG_NS);
            back += self.left.turn(|sender, _| reply(sender));
        }
        // The last one that the left end cast.
        self.right.turn(|_, _| {});
        assert_eq!(back, 2 * count + 1, "every message arrives in the cycle after its cast");
    }

    /// So many cycles of one end with nothing to do: what a look at an empty socket costs beside the look.
    pub fn empty_cycles(&mut self, count: usize) {
        for _ in 0..count {
            self.clock.advance_ns(EMPTY_NS);
            self.left.turn(|_, _| {});
        }
    }

    /// Casts `runs` runs of blocks full of `message` and delivers them; returns how many messages that were.
    pub fn stream(&mut self, message: &[u8], runs: usize) -> usize {
        let per_run = RUN_BLOCKS * (BLOCK / (message.len() + 2)).max(1);
        let mut delivered = 0;
        for _ in 0..runs {
            for _ in 0..per_run {
                if self.left.session.sender().cast(message).is_err() {
                    break;
                }
            }
            self.left.turn(|_, _| {});
            self.clock.advance_ns(RUN_NS);
            delivered += self.right.turn(|_, _| {});
        }
        delivered
    }
}

impl Default for Pair {
    fn default() -> Self {
        Self::new()
    }
}

impl End {
    /// One duty cycle; returns how many messages were delivered.
    fn turn(&mut self, mut handler: impl FnMut(&mut Sender, &[u8])) -> usize {
        let mut delivered = 0;
        let turned = self.cycle.turn(&mut self.session, &mut |sender: &mut Sender, event: Event<'_>| {
            let Event::Deliver(message) = event else { return ControlFlow::Continue(()) };
            delivered += 1;
            handler(sender, message.bytes());
            ControlFlow::Continue(())
        });
        turned.expect("a pipe does not break");
        delivered
    }
}

/// From one end to the other: about half of a round trip over sockets.
const LEG_NS: u64 = 2_000;
/// From one empty cycle to the next.
const EMPTY_NS: u64 = 400;
/// About what a run takes.
const RUN_NS: u64 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_bounce_and_stream() {
        let mut pair = Pair::new();
        pair.round_trips(&[1; 64], 10_000);
        let delivered = pair.stream(&[2; 32], 500);
        assert!(delivered > 500 * RUN_BLOCKS * 30, "{delivered} messages were delivered");
    }
}
