//! What the endpoints of a simulated network share: who listens, what is on its way, and what goes wrong.

use super::{SimFaults, SimOptions, index_of};
use crate::id::Endpoint;
use crate::medium::fault::{chance, flip_a_bit};
use crate::medium::true_size;
use crate::time::{Instant, ManualClock};
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The shared state. Every collection is ordered, so that nothing but the seed decides what happens.
#[derive(Debug)]
pub(super) struct Core {
    rng: Rng,
    clock: ManualClock,
    options: SimOptions,
    sockets: BTreeMap<u16, Socket>,
    groups: BTreeMap<Endpoint, BTreeSet<u16>>,
    cuts: BTreeSet<(u16, u16)>,
    lives: u64,
    posted: u64,
    faults: SimFaults,
}

/// One datagram or one coalesced run.
#[derive(Debug, Clone)]
pub(super) struct Datagram {
    pub(super) from: u16,
    pub(super) bytes: Vec<u8>,
    pub(super) segment: usize,
}

/// Where the datagrams of one process arrive.
#[derive(Debug, Default)]
struct Socket {
    /// Which life of the process reads here; `None` when it has ended.
    life: Option<u64>,
    /// By time of arrival, then in the order of sending.
    flying: BTreeMap<(Instant, u64), Datagram>,
    waiting: VecDeque<Datagram>,
    /// The latest of each process's datagrams, by the order of sending, that has arrived here.
    latest: BTreeMap<u16, u64>,
    /// True-size bytes of what waits.
    charged: usize,
    overflow: u64,
}

impl Core {
    pub(super) fn new(seed: u64, clock: ManualClock, options: SimOptions) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            clock,
            options,
            sockets: BTreeMap::new(),
            groups: BTreeMap::new(),
            cuts: BTreeSet::new(),
            lives: 0,
            posted: 0,
            faults: SimFaults::default(),
        }
    }

    pub(super) fn options(&self) -> &SimOptions {
        &self.options
    }

    pub(super) fn set_options(&mut self, options: SimOptions) {
        self.options = options;
    }

    pub(super) fn faults(&self) -> SimFaults {
        self.faults
    }

    pub(super) fn cut(&mut self, from: u16, to: u16) {
        self.cuts.insert((from, to));
    }

    pub(super) fn heal(&mut self, from: u16, to: u16) {
        self.cuts.remove(&(from, to));
    }

    pub(super) fn heal_all(&mut self) {
        self.cuts.clear();
    }

    /// Starts a life of process `index`, with an empty socket and no groups.
    pub(super) fn attach(&mut self, index: u16) -> u64 {
        self.lives += 1;
        // What has arrived by now met the earlier life, or nobody.
        self.arrive(index);
        self.leave(index);
        let socket = self.sockets.entry(index).or_default();
        let flying = std::mem::take(&mut socket.flying);
        *socket = Socket { life: Some(self.lives), flying, ..Socket::default() };
        self.lives
    }

    /// Ends a life, unless another has begun since.
    pub(super) fn detach(&mut self, index: u16, life: u64) {
        let Some(socket) = self.sockets.get_mut(&index).filter(|socket| socket.life == Some(life)) else {
            return;
        };
        socket.life = None;
        socket.waiting.clear();
        socket.charged = 0;
        self.leave(index);
    }

    pub(super) fn subscribe(&mut self, group: Endpoint, index: u16) {
        self.groups.entry(group).or_default().insert(index);
    }

    /// Draws whether the send buffer is full.
    pub(super) fn is_busy(&mut self) -> bool {
        let busy = chance(&mut self.rng, self.options.busy);
        self.faults.busy += u64::from(busy);
        busy
    }

    /// Sends a run to everybody who listens to `group`, but not back.
    pub(super) fn cast(&mut self, from: u16, group: Endpoint, run: &[u8], segment: usize) {
        let Some(listeners) = self.groups.remove(&group) else { return };
        listeners.iter().filter(|&&to| to != from).for_each(|&to| self.post_to(from, to, run, segment));
        self.groups.insert(group, listeners);
    }

    /// Sends a run to one process, unless it is the sender.
    pub(super) fn post(&mut self, from: u16, to: Endpoint, run: &[u8], segment: usize) {
        match index_of(to).filter(|to| self.sockets.contains_key(to)) {
            Some(to) if to == from => {}
            Some(to) => self.post_to(from, to, run, segment),
            None => self.faults.unreachable += 1,
        }
    }

    /// The next datagram that waits at `index`, if this is still its life.
    pub(super) fn take(&mut self, index: u16, life: u64) -> Option<Datagram> {
        self.arrive(index);
        let socket = self.sockets.get_mut(&index).filter(|socket| socket.life == Some(life))?;
        let datagram = socket.waiting.pop_front()?;
        socket.charged -= true_size(datagram.bytes.len());
        Some(datagram)
    }

    pub(super) fn overflow(&self, index: u16, life: u64) -> u64 {
        self.sockets
            .get(&index)
            .filter(|socket| socket.life == Some(life))
            .map_or(0, |socket| socket.overflow)
    }

    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.sockets.keys().filter_map(|&index| self.next_arrival_at(index)).min()
    }

    pub(super) fn next_arrival_at(&self, index: u16) -> Option<Instant> {
        let socket = self.sockets.get(&index).filter(|socket| socket.life.is_some())?;
        let now = self.clock.peek();
        match socket.waiting.is_empty() {
            false => Some(now),
            true => socket.flying.keys().next().map(|&(due, _)| due.max(now)),
        }
    }

    fn leave(&mut self, index: u16) {
        self.groups.values_mut().for_each(|listeners| {
            listeners.remove(&index);
        });
    }

    fn post_to(&mut self, from: u16, to: u16, run: &[u8], segment: usize) {
        let piece = if self.options.coalesce { run.len().max(1) } else { segment };
        for bytes in run.chunks(piece) {
            self.launch(to, Datagram { from, bytes: bytes.to_vec(), segment });
        }
        if run.is_empty() {
            self.launch(to, Datagram { from, bytes: Vec::new(), segment });
        }
    }

    fn launch(&mut self, to: u16, datagram: Datagram) {
        if self.cuts.contains(&(datagram.from, to)) {
            self.faults.cut += 1;
            return;
        }
        if chance(&mut self.rng, self.options.loss) {
            self.faults.lost += 1;
            return;
        }
        if chance(&mut self.rng, self.options.duplicate) {
            self.faults.duplicated += 1;
            self.fly(to, datagram.clone());
        }
        self.fly(to, datagram);
    }

    fn fly(&mut self, to: u16, mut datagram: Datagram) {
        if chance(&mut self.rng, self.options.corrupt) && !datagram.bytes.is_empty() {
            self.faults.corrupted += 1;
            flip_a_bit(&mut self.rng, &mut datagram.bytes);
        }
        if chance(&mut self.rng, self.options.truncate) && !datagram.bytes.is_empty() {
            self.faults.truncated += 1;
            datagram.bytes.truncate(self.rng.usize(..datagram.bytes.len()));
        }
        let due = self.clock.peek().plus_ns(self.delay_ns());
        self.posted += 1;
        if let Some(socket) = self.sockets.get_mut(&to) {
            socket.flying.insert((due, self.posted), datagram);
            if socket.life.is_none() {
                // Nobody reads here: do not let it pile up.
                self.arrive(to);
            }
        }
    }

    fn delay_ns(&mut self) -> u64 {
        let range = self.options.delay_ns.clone();
        let delay = if range.is_empty() { range.start } else { self.rng.u64(range) };
        if !chance(&mut self.rng, self.options.tail) {
            return delay;
        }
        self.faults.delayed += 1;
        delay + self.options.tail_ns
    }

    /// Moves what has arrived at `index` by now into its receive buffer, as far as there is room.
    fn arrive(&mut self, index: u16) {
        let now = self.clock.peek();
        let Some(socket) = self.sockets.get_mut(&index) else { return };
        while let Some(next) = socket.flying.first_entry().filter(|next| next.key().0 <= now) {
            let posted = next.key().1;
            let datagram = next.remove();
            let latest = socket.latest.entry(datagram.from).or_default();
            self.faults.reordered += u64::from(posted < *latest);
            *latest = posted.max(*latest);
            let charge = true_size(datagram.bytes.len());
            if socket.life.is_none() {
                self.faults.unreachable += 1;
            } else if socket.charged + charge > self.options.receive_buffer {
                self.faults.overflowed += 1;
                socket.overflow += 1;
            } else {
                socket.charged += charge;
                socket.waiting.push_back(datagram);
            }
        }
    }
}
