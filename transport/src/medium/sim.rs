//! An in-memory network in virtual time: everything it does wrong follows from one seed.
//!
//! Each datagram is lost, doubled, damaged, cut short and delayed by draws of its own for every receiver, as real networks
//! do; a receiver that is not read overflows. The clock is the driver's: [`Network::next_arrival`] says how far it may
//! jump. The same seed and the same calls give the same run.

mod core;

use self::core::{Core, Datagram};
use super::{Arrival, Capabilities, Channel, FanOut, Medium, MediumCounters, MediumError, Sent, Sockets};
use crate::id::Endpoint;
use crate::log::RxPool;
use crate::protocol::Target;
use crate::time::{Instant, ManualClock};
use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

/// What the network does to datagrams. Probabilities are from 0 to 1; the default is a perfect network.
#[derive(Debug, Clone, PartialEq)]
pub struct SimOptions {
    /// A datagram is lost.
    pub loss: f64,
    /// A datagram arrives twice, each time after a delay of its own.
    pub duplicate: f64,
    /// One bit of a datagram is flipped.
    pub corrupt: f64,
    /// A datagram loses its end, at a place drawn uniformly.
    pub truncate: f64,
    /// A send finds the send buffer full.
    pub busy: f64,
    /// How long datagrams travel, nanoseconds, uniformly drawn: a range wider than a send interval reorders.
    pub delay_ns: Range<u64>,
    /// A datagram takes `tail_ns` more.
    pub tail: f64,
    /// Nanoseconds that an unlucky datagram takes more.
    pub tail_ns: u64,
    /// True-size bytes that wait at a receiver before datagrams overflow.
    pub receive_buffer: usize,
    /// Whether a run travels as one buffer, which one draw concerns; otherwise block by block.
    pub coalesce: bool,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            loss: 0.0,
            duplicate: 0.0,
            corrupt: 0.0,
            truncate: 0.0,
            busy: 0.0,
            delay_ns: 0..0,
            tail: 0.0,
            tail_ns: 0,
            receive_buffer: 8 << 20,
            coalesce: false,
        }
    }
}

/// How many faults took effect; datagrams, per receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SimFaults {
    /// Lost by draw.
    pub lost: u64,
    /// Lost because the pair was [cut](Network::cut).
    pub cut: u64,
    /// Arrived twice.
    pub duplicated: u64,
    /// Had one bit flipped.
    pub corrupted: u64,
    /// Lost their end.
    pub truncated: u64,
    /// Took the tail's time.
    pub delayed: u64,
    /// Arrived after what the same process had sent later.
    pub reordered: u64,
    /// Lost because the receive buffer was full.
    pub overflowed: u64,
    /// Arrived where nobody was any more.
    pub unreachable: u64,
    /// Sends that found the send buffer full.
    pub busy: u64,
}

/// The network; clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct Network {
    core: Rc<RefCell<Core>>,
}

impl Network {
    /// A network whose faults are drawn from `seed` and whose time is `clock`.
    #[must_use]
    pub fn new(seed: u64, clock: ManualClock, options: SimOptions) -> Self {
        Self { core: Rc::new(RefCell::new(Core::new(seed, clock, options))) }
    }

    /// Attaches process `index` to the network. Doing so again is a restart: the earlier one's socket is gone, with what
    /// waited in it, but not what is still on its way.
    #[must_use]
    pub fn endpoint(&self, index: u16) -> Sim {
        let mut core = self.core.borrow_mut();
        let life = core.attach(index);
        let options = core.options();
        let capabilities = Capabilities {
            name: "sim",
            max_block: MAX_PAYLOAD,
            multicast: true,
            max_run_blocks: 128,
            max_run_bytes: MAX_PAYLOAD,
            coalesces: options.coalesce,
            receive_buffer: options.receive_buffer,
        };
        let counters = MediumCounters::default();
        Sim { core: self.core.clone(), index, life, capabilities, routes: Vec::new(), counters }
    }

    /// Changes what the network does from now on; what is on its way is not affected.
    pub fn set_options(&self, options: SimOptions) {
        self.core.borrow_mut().set_options(options);
    }

    /// What the network does at present.
    #[must_use]
    pub fn options(&self) -> SimOptions {
        self.core.borrow().options().clone()
    }

    /// Loses everything that `from` sends to `to` from now on; the other direction still works.
    pub fn cut(&self, from: u16, to: u16) {
        self.core.borrow_mut().cut(from, to);
    }

    /// Ends the cut from `from` to `to`.
    pub fn heal(&self, from: u16, to: u16) {
        self.core.borrow_mut().heal(from, to);
    }

    /// Ends all cuts.
    pub fn heal_all(&self) {
        self.core.borrow_mut().heal_all();
    }

    /// When the next datagram can be received by somebody: now if one waits already, `None` if none is on its way.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Instant> {
        self.core.borrow().next_arrival()
    }

    /// When process `index` can receive something: as [`next_arrival`](Self::next_arrival).
    #[must_use]
    pub fn next_arrival_at(&self, index: u16) -> Option<Instant> {
        self.core.borrow().next_arrival_at(index)
    }

    /// The faults that took effect so far.
    #[must_use]
    pub fn faults(&self) -> SimFaults {
        self.core.borrow().faults()
    }
}

/// The endpoint of process `index`.
#[must_use]
pub fn endpoint_of(index: u16) -> Endpoint {
    let [high, low] = index.to_be_bytes();
    Endpoint(SocketAddr::from((Ipv4Addr::new(10, 77, high, low), PORT)))
}

/// The process whose endpoint this is, or would be.
fn index_of(endpoint: Endpoint) -> Option<u16> {
    let SocketAddr::V4(address) = endpoint.0 else { return None };
    let [_, _, high, low] = address.ip().octets();
    let index = u16::from_be_bytes([high, low]);
    (endpoint_of(index) == endpoint).then_some(index)
}

/// One process's access to a [`Network`].
#[derive(Debug)]
pub struct Sim {
    core: Rc<RefCell<Core>>,
    index: u16,
    life: u64,
    capabilities: Capabilities,
    routes: Vec<FanOut>,
    counters: MediumCounters,
}

impl Sim {
    fn accept(&mut self, datagram: &Datagram, pool: &mut RxPool, inbox: &mut Vec<Arrival>) {
        let Datagram { from, bytes, segment } = datagram;
        self.counters.received_datagrams += 1;
        if bytes.is_empty() {
            return;
        }
        if (*segment).min(bytes.len()) > pool.stride() {
            self.counters.unusable += 1;
            return;
        }
        let exhausted = pool.exhausted();
        if let Some(landing) = pool.land() {
            pool.landing_mut(&landing)[..bytes.len()].copy_from_slice(bytes);
            let from = endpoint_of(*from);
            let each = |block| inbox.push(Arrival { from, block });
            self.counters.received_blocks += pool.split(landing, bytes.len(), *segment, each) as u64;
        } else {
            self.counters.pool_exhausted += bytes.len().div_ceil(*segment) as u64;
        }
        self.counters.pool_exhausted += pool.exhausted() - exhausted;
    }
}

impl Medium for Sim {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn local(&self) -> Endpoint {
        endpoint_of(self.index)
    }

    fn open_channel(&mut self, fan_out: FanOut) -> Result<Channel, MediumError> {
        if let FanOut::Multicast { group, .. } = &fan_out {
            self.core.borrow_mut().subscribe(*group, self.index);
        }
        // A list is its channel's own: it may change.
        let is_list = matches!(fan_out, FanOut::Unicast(_));
        let known = self.routes.iter().position(|route| *route == fan_out && !is_list);
        let at = known.unwrap_or(self.routes.len());
        if known.is_none() {
            self.routes.push(fan_out);
        }
        Ok(Channel(u16::try_from(at).expect("a process has fewer than 65536 channels")))
    }

    fn relist(&mut self, Channel(at): Channel, others: &[Endpoint]) {
        if let FanOut::Unicast(members) = &mut self.routes[usize::from(at)] {
            members.clear();
            members.extend_from_slice(others);
        }
    }

    fn receive(
        &mut self,
        pool: &mut RxPool,
        inbox: &mut Vec<Arrival>,
        _: Sockets,
        quota: usize,
    ) -> Result<usize, MediumError> {
        let (mut taken, mut blocks) = (0, 0);
        while blocks < quota {
            let next = self.core.borrow_mut().take(self.index, self.life);
            let Some(datagram) = next else { break };
            taken += 1;
            blocks += datagram.bytes.len().div_ceil(datagram.segment).max(1);
            self.accept(&datagram, pool, inbox);
        }
        Ok(taken)
    }

    fn send(&mut self, to: Target, run: &[u8], segment: usize) -> Result<Sent, MediumError> {
        debug_assert!(segment > 0 && (run.len() <= segment || run.len() <= self.capabilities.max_run_bytes));
        let mut core = self.core.borrow_mut();
        if core.is_busy() {
            return Ok(Sent::Busy);
        }
        match to {
            Target::One(endpoint) => core.post(self.index, endpoint, run, segment),
            Target::Channel(Channel(at)) => match &self.routes[usize::from(at)] {
                FanOut::Multicast { group, .. } => core.cast(self.index, *group, run, segment),
                FanOut::Unicast(members) => {
                    members.iter().for_each(|&member| core.post(self.index, member, run, segment));
                }
            },
        }
        self.counters.sends += 1;
        self.counters.sent_blocks += run.len().div_ceil(segment) as u64;
        Ok(Sent::Done)
    }

    /// Returns at once: time is moved by whoever drives the network.
    fn wait(&mut self, _: Duration) {}

    fn counters(&self) -> MediumCounters {
        MediumCounters { overflow: self.core.borrow().overflow(self.index, self.life), ..self.counters }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.core.borrow_mut().detach(self.index, self.life);
    }
}

const MAX_PAYLOAD: usize = 65_507;
const PORT: u16 = 7_000;

#[cfg(test)]
mod tests;
