//! The duty cycle: one reading of the clock, one batch in, all that is due, one batch out.

use super::idle::{Idle, IdleState};
use crate::log::{PoolConfig, RESERVED_STRIDES, RxPool};
use crate::medium::{Arrival, Medium, MediumError, Sent, Sockets};
use crate::protocol::{Protocol, Transmit};
use crate::time::{Clock, Instant};
use std::ops::ControlFlow;
use std::time::Duration;

/// The most blocks that one cycle takes from each socket: a few coalesced runs, so that they are handled while in cache.
const MAX_TAKEN: usize = 64;
/// The most sends of one cycle: between them, control is looked at again.
const MAX_SENDS: usize = 16;
/// The control socket is looked at this often even when nothing is awaited from it: many empty cycles, one full one.
const CONTROL_EVERY_NS: u64 = 10_000;
/// A cycle that began this long after the last one follows a pause: what arrived meanwhile comes before any timer.
const PAUSE_NS: u64 = 2_000_000;
/// Batches that are taken after a pause, at most.
const MAX_PAUSE_BATCHES: usize = 1024;
/// Blocks that one batch may bring from two sockets, the last datagram of each coalesced as it may be.
const INBOX: usize = 2 * (MAX_TAKEN + 128);

/// Drives one protocol over one medium.
#[derive(Debug)]
pub struct Cycle<M, C> {
    medium: M,
    clock: C,
    pool: RxPool,
    inbox: Vec<Arrival>,
    idle: IdleState,
    now: Instant,
    /// When the control socket was last looked at.
    looked_at: Instant,
    /// Blocks to take in the next cycle: one while they come singly, more while the batch is used up.
    quota: usize,
    /// What the medium had no room for.
    pending: Option<Transmit>,
    counters: CycleCounters,
}

/// What the engine counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CycleCounters {
    /// Duty cycles.
    pub cycles: u64,
    /// Those of them that found nothing to do.
    pub empty_cycles: u64,
    /// Those that followed a pause longer than 2 ms.
    pub pauses: u64,
    /// Sends that found the socket's buffer full, and were tried again.
    pub busy_sends: u64,
}

impl<M: Medium, C: Clock> Cycle<M, C> {
    /// An engine over `medium`, with its receive buffers taken from the system at once: those of `pool`, which the windows
    /// of all senders share, and a few for control.
    ///
    /// # Errors
    /// When the system has not that much memory.
    pub fn new(medium: M, clock: C, pool: PoolConfig, idle: Idle) -> std::io::Result<Self> {
        Ok(Self {
            medium,
            clock,
            pool: RxPool::new(PoolConfig { strides: pool.strides + RESERVED_STRIDES, ..pool })?,
            inbox: Vec::with_capacity(INBOX),
            idle: IdleState::new(idle),
            now: Instant::default(),
            looked_at: Instant::default(),
            quota: 1,
            pending: None,
            counters: CycleCounters::default(),
        })
    }

    /// One duty cycle; never waits. Returns the work it did: datagrams taken, events handed over, sends.
    ///
    /// The handler may break: the event it was handed is then not consumed, and offered again in a later cycle.
    ///
    /// # Errors
    /// When the medium is broken for good.
    pub fn turn<P, H>(&mut self, protocol: &mut P, handler: &mut H) -> Result<usize, MediumError>
    where
        P: Protocol,
        H: FnMut(&mut P::Caster<'_>, P::Event<'_>) -> ControlFlow<()>,
    {
        let now = self.clock.now();
        let paused = self.counters.cycles > 0 && now.since_ns(self.now) > PAUSE_NS;
        self.now = now;
        let mut work = self.receive(protocol)?;
        if paused {
            self.counters.pauses += 1;
            work += self.drain(protocol)?;
        }
        protocol.handle_timeout(now, &mut self.pool);
        work += protocol.poll_event(&mut self.pool, handler);
        protocol.seal(now);
        work += self.transmit(protocol)?;
        self.counters.cycles += 1;
        self.counters.empty_cycles += u64::from(work == 0);
        Ok(work)
    }

    /// Waits as the idle strategy says after a cycle that did `work`: at most for `limit`, at most until the next timer.
    pub fn idle<P: Protocol>(&mut self, protocol: &P, work: usize, limit: Duration) {
        if self.pending.is_some() {
            return;
        }
        let timer = protocol.poll_timeout().map_or(limit, |due| due.since(self.now));
        self.idle.idle(self.now, work, &mut self.medium, timer.min(limit));
    }

    /// The clock as it was read at the beginning of the last cycle.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The medium.
    pub fn medium(&self) -> &M {
        &self.medium
    }

    /// The medium, to open channels on.
    pub fn medium_mut(&mut self) -> &mut M {
        &mut self.medium
    }

    /// The group of this index is over: nothing of it waits to be sent.
    pub fn forget(&mut self, group: u16) {
        self.pending.take_if(|pending| pending.group == group);
    }

    /// The receive buffers.
    pub fn pool(&self) -> &RxPool {
        &self.pool
    }

    /// The receive buffers, for a protocol that is taken apart to give back what it holds.
    pub fn pool_mut(&mut self) -> &mut RxPool {
        &mut self.pool
    }

    /// What happened so far.
    pub fn counters(&self) -> CycleCounters {
        self.counters
    }

    fn receive<P: Protocol>(&mut self, protocol: &mut P) -> Result<usize, MediumError> {
        let look = self.now.since_ns(self.looked_at) >= CONTROL_EVERY_NS || protocol.awaits_control();
        let sockets = if look { Sockets::All } else { Sockets::Data };
        if look {
            self.looked_at = self.now;
        }
        let (taken, blocks) = self.batch(protocol, sockets, self.quota)?;
        // While datagrams come singly, none is kept waiting for a look at an empty socket.
        self.quota = if blocks >= self.quota { (self.quota * 2).min(MAX_TAKEN) } else { 1 };
        Ok(taken)
    }

    fn drain<P: Protocol>(&mut self, protocol: &mut P) -> Result<usize, MediumError> {
        let mut drained = 0;
        for _ in 0..MAX_PAUSE_BATCHES {
            match self.batch(protocol, Sockets::All, MAX_TAKEN)? {
                (0, _) => break,
                (taken, _) => drained += taken,
            }
        }
        Ok(drained)
    }

    /// Takes one batch, and returns how many datagrams and blocks it brought.
    fn batch<P: Protocol>(
        &mut self,
        protocol: &mut P,
        sockets: Sockets,
        quota: usize,
    ) -> Result<(usize, usize), MediumError> {
        let taken = self.medium.receive(&mut self.pool, &mut self.inbox, sockets, quota)?;
        let blocks = self.inbox.len();
        for Arrival { from, block } in self.inbox.drain(..) {
            protocol.handle_datagram(self.now, from, block, &mut self.pool);
        }
        Ok((taken, blocks))
    }

    fn transmit<P: Protocol>(&mut self, protocol: &mut P) -> Result<usize, MediumError> {
        while let Some(route) = protocol.poll_route() {
            self.medium.relist(route.channel, route.others);
        }
        for sent in 0..MAX_SENDS {
            let Some(transmit) = self.pending.take().or_else(|| protocol.poll_transmit(self.now)) else {
                return Ok(sent);
            };
            let (bytes, segment) = protocol.transmit_bytes(&transmit, &self.pool);
            // Nothing is left of a run that all members have delivered meanwhile.
            if !bytes.is_empty() && self.medium.send(transmit.to, bytes, segment)? == Sent::Busy {
                self.counters.busy_sends += 1;
                self.pending = Some(transmit);
                return Ok(sent);
            }
        }
        Ok(MAX_SENDS)
    }
}
