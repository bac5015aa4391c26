//! The sockets of [udp](super::udp), received from by way of one io_uring.
//!
//! What is sent, and how channels are opened, is udp's. Receiving has three ways, of which [`Looks::ByLoad`] takes the one
//! that fits:
//! - **one-shot**: a receive for each socket that is due, all of them in one system call, for few sockets.
//! - **watch**: the kernel notes which sockets have something, and only those are received from. While nothing
//!   comes, a look at any number of sockets is a look at two words of memory.
//! - **multishot**: under load, one request fills many buffers, which are slabs of the pool.
//!
//! Measured on Linux 6.18 (2 vCPUs, loopback), by `cargo run --release -p sistrum-transport --example crossover`: an empty
//! look, and the round trip of 96 bytes (p50, median of 7 repetitions of one run, in us; plain : one-shot : watch).
//!
//! | sockets | empty look, ns      | round trip        |
//! |---------|---------------------|-------------------|
//! | 1       |    255 :   577 : 7  |  8.3 :  8.5 : 10.0 |
//! | 4       |    994 :  1693 : 7  |  8.9 :  9.7 : 10.0 |
//! | 5       |  1 279 :  2101 : 7  |  8.7 : 10.9 : 10.1 |
//! | 8       |  2 042 :  3386 : 7  |  8.1 : 10.9 :  8.0 |
//! | 16      |  4 073 :  6513 : 7  | 11.9 : 16.8 :  7.9 |
//! | 64      | 16 154 : 25483 : 10 | 20.0 : 29.3 :  7.9 |
//!
//! (All figures became smaller by a quarter between 5 and 8, on a shared machine: compare within a row.) So a one-shot
//! receive costs more than the system call that it saves, for any number of sockets: it is the best that io_uring has for
//! few of them, not the best that there is. The watch is level with plain sockets at 8 and ahead from 16 on; between 5
//! and 8 the winner changed from run to run.
//!
//! By throwaway programs on one core, not kept: a datagram that is sent and watched for costs 0.55 us more than one
//! that is sent and received plainly; a multishot drains 8 to 48 datagrams 2 to 4 % slower than plain receives, sends
//! included; a send by the ring costs 0.4 us more than a plain one, 0.1 us more when it shares the system call of a
//! look: hence plain ones; registered sockets and a registered ring save 0.04 us of a look each.

use super::udp::inlet::{Inlet, survive};
use super::{
    Arrival, Capabilities, Channel, FanOut, Medium, MediumCounters, MediumError, Sent, Sockets, Udp,
    UdpConfig,
};
use crate::id::Endpoint;
use crate::log::{Landing, RxPool};
use crate::protocol::Target;
use crate::sys::uring::{Ended, Indexed, MAX_BURST, MAX_LOOKS, Ring, burst_head};
use std::io;
use std::time::Duration;

/// How sockets are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Looks {
    /// One-shot for few sockets, watch for many, and multishot under load.
    #[default]
    ByLoad,
    /// One-shot always.
    OneShot,
    /// Watch always.
    Watch,
    /// Multishot always.
    Multishot,
}

/// UDP sockets behind an io_uring, as a medium. It belongs to the thread that first receives from it.
#[derive(Debug)]
pub struct Uring {
    // Before the sockets, so that it is dropped before them: it has no use for them then.
    receiver: Receiver,
    udp: Udp,
}

/// The receiving half: everything but the sockets, which it is lent.
#[derive(Debug)]
pub(super) struct Receiver {
    ring: Ring,
    looks: Looks,
    /// Under load: multishot.
    loaded: bool,
    switches: u64,
    /// How many sockets the ring knows: the control socket, then those of data.
    known: usize,
    /// How many of them it watches.
    watched: usize,
    /// The sockets that are looked at in this call.
    due: Vec<Due>,
    landings: Vec<Landing>,
    /// Blocks of the last datagram: how many buffers a quota is worth.
    run_blocks: usize,
}

/// A socket that is looked at, and how many blocks it brought. The control socket is number 0, data begins at 1.
#[derive(Debug, Clone, Copy)]
struct Due {
    socket: usize,
    blocks: usize,
}

/// What is received into: the same in all ways.
pub(super) struct Sink<'a> {
    pub(super) pool: &'a mut RxPool,
    pub(super) inbox: &'a mut Vec<Arrival>,
    pub(super) quota: usize,
}

impl Uring {
    /// Opens the sockets as [`Udp::open`] does, and a ring.
    ///
    /// # Errors
    /// As [`Udp::open`], and where io_uring is forbidden or too old; the message says which.
    pub fn open(config: UdpConfig) -> Result<Self, MediumError> {
        Self::open_looking(config, Looks::ByLoad)
    }

    /// The same with one way to look, for measurements and tests.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_looking(config: UdpConfig, looks: Looks) -> Result<Self, MediumError> {
        // The ring first: what forbids it says more than what may be wrong with a socket.
        let ring = ring()?;
        if looks == Looks::Multishot && !ring.has_bursts() {
            return Err(MediumError::Unsupported("this kernel has no buffer rings".to_owned()));
        }
        let mut udp = Udp::open(config)?;
        udp.capabilities.name = NAME;
        Ok(Self { receiver: Receiver::new(ring, looks), udp })
    }
}

/// A ring, or one sentence on why there is none.
pub(super) fn ring() -> Result<Ring, MediumError> {
    Ring::open().map_err(|source| {
        let why = match source.raw_os_error() {
            Some(libc::EPERM) => {
                "cannot use io_uring: it is forbidden here (kernel.io_uring_disabled, or a seccomp filter)"
            }
            Some(libc::ENOSYS) => {
                "cannot use io_uring: there is none here (no such kernel feature, or a seccomp filter)"
            }
            Some(libc::EINVAL) => "cannot use io_uring: this kernel has no deferred task work (Linux 6.1)",
            _ => "cannot use io_uring",
        };
        MediumError::System { what: why.to_owned(), source }
    })
}

impl Medium for Uring {
    fn capabilities(&self) -> &Capabilities {
        self.udp.capabilities()
    }

    fn local(&self) -> Endpoint {
        self.udp.local()
    }

    fn open_channel(&mut self, fan_out: FanOut) -> Result<Channel, MediumError> {
        self.udp.open_channel(fan_out)
    }

    fn close_channel(&mut self, channel: Channel) {
        if self.receiver.renew() {
            self.udp.close_channel(channel);
        }
    }

    fn relist(&mut self, channel: Channel, others: &[Endpoint]) {
        self.udp.relist(channel, others);
    }

    #[inline]
    fn receive(
        &mut self,
        pool: &mut RxPool,
        inbox: &mut Vec<Arrival>,
        sockets: Sockets,
        quota: usize,
    ) -> Result<usize, MediumError> {
        self.receiver.receive(&mut self.udp, sockets, &mut Sink { pool, inbox, quota })
    }

    #[inline]
    fn send(&mut self, to: Target, run: &[u8], segment: usize) -> Result<Sent, MediumError> {
        self.udp.send(to, run, segment)
    }

    fn wait(&mut self, limit: Duration) {
        self.udp.wait(limit);
    }

    fn counters(&self) -> MediumCounters {
        MediumCounters { receive_switches: self.receiver.switches, ..self.udp.counters() }
    }

    fn counted(&self) -> MediumCounters {
        MediumCounters { receive_switches: self.receiver.switches, ..self.udp.counted() }
    }
}

impl Receiver {
    pub(super) fn new(ring: Ring, looks: Looks) -> Self {
        Self {
            ring,
            looks,
            loaded: false,
            switches: 0,
            known: 0,
            watched: 0,
            due: Vec::new(),
            landings: Vec::with_capacity(MAX_LOOKS.max(MAX_BURST)),
            run_blocks: 1,
        }
    }

    /// Begins anew with another ring, which knows no socket yet: some are about to be closed. False where there is none: then they stay open.
    pub(super) fn renew(&mut self) -> bool {
        let Ok(ring) = ring() else { return false };
        *self = Self { switches: self.switches, ..Self::new(ring, self.looks) };
        true
    }

    pub(super) fn switches(&self) -> u64 {
        self.switches
    }

    /// [`Medium::receive`] from the sockets of `udp`, always the same one.
    pub(super) fn receive(
        &mut self,
        udp: &mut Udp,
        sockets: Sockets,
        sink: &mut Sink<'_>,
    ) -> Result<usize, MediumError> {
        self.follow_load(sink.quota);
        let all = udp.data.len() + 1;
        while self.known < all {
            self.ring.add(socket(udp, self.known).socket).map_err(broken)?;
            self.known += 1;
        }
        let watch = match self.looks {
            Looks::Watch => true,
            Looks::ByLoad => udp.data.len() > WATCH_ABOVE,
            Looks::OneShot | Looks::Multishot => false,
        };
        if watch {
            self.watch(udp, all)?;
        } else {
            let first = usize::from(sockets == Sockets::Data && !udp.data_by_control);
            self.due.extend((first..all).map(|socket| Due { socket, blocks: 0 }));
        }
        match (self.loaded, watch) {
            (true, _) => self.burst(udp, sink),
            (false, true) => self.drain(udp, sink),
            (false, false) => self.look(udp, sink),
        }
    }

    /// Goes over to multishot when quotas grow, which they do while batches are used up, and back when they are one block.
    #[inline]
    fn follow_load(&mut self, quota: usize) {
        let loaded = match self.looks {
            Looks::Multishot => true,
            Looks::OneShot | Looks::Watch => false,
            Looks::ByLoad if !self.ring.has_bursts() => false,
            Looks::ByLoad if self.loaded => quota > 1,
            Looks::ByLoad => quota >= LOADED_QUOTA,
        };
        self.switches += u64::from(loaded != self.loaded);
        self.loaded = loaded;
    }

    /// What the kernel has noted becomes due.
    fn watch(&mut self, udp: &Udp, all: usize) -> Result<(), MediumError> {
        while self.watched < all {
            self.ring.watch(socket(udp, self.watched).socket, number(self.watched)).map_err(broken)?;
            self.watched += 1;
        }
        self.ring.refresh().map_err(broken)?;
        while let Some(ended) = self.ring.unwatched() {
            self.ring.watch(socket(udp, ended as usize).socket, ended).map_err(broken)?;
        }
        self.due.extend(self.ring.ready().iter().map(|&socket| Due { socket: socket as usize, blocks: 0 }));
        Ok(())
    }

    /// One-shot: looks at all that is due at once, then again at what had something, until that is empty or has had its quota.
    fn look(&mut self, udp: &mut Udp, sink: &mut Sink<'_>) -> Result<usize, MediumError> {
        let mut taken = 0;
        udp.intake.leave(sink.pool);
        while !self.due.is_empty() {
            sink.pool.land_many(self.due.len().min(MAX_LOOKS), &mut self.landings);
            if self.landings.is_empty() {
                // Without a slab the datagrams stay where they are: the kernel counts those that overflow.
                self.due.clear();
                break;
            }
            let sockets = self.due.iter().map(|due| socket(udp, due.socket));
            let looks = sockets.zip(sink.pool.landings_mut(&self.landings));
            self.ring.receive_each(looks, udp.runs.told()).map_err(broken)?;
            taken += self.answers(udp, sink)?;
            self.due.retain(|due| due.blocks < sink.quota);
        }
        Ok(taken)
    }

    /// Takes what the looks brought, in the order of what is due; a socket that is empty has had its quota.
    fn answers(&mut self, udp: &mut Udp, sink: &mut Sink<'_>) -> Result<usize, MediumError> {
        let mut taken = 0;
        for (at, landing) in self.landings.drain(..).enumerate() {
            match self.ring.answer(at) {
                Ok(Some(received)) => {
                    taken += 1;
                    let received = udp.runs.infer(received);
                    let inlet = inlet(&udp.control, &udp.data, self.due[at].socket);
                    let blocks = udp.intake.accept(inlet, 0, landing, received, sink.pool, sink.inbox);
                    self.due[at].blocks += blocks.max(1);
                }
                Ok(None) => {
                    sink.pool.abandon(landing);
                    self.due[at].blocks = sink.quota;
                }
                Err(source) => {
                    sink.pool.abandon(landing);
                    self.due[at].blocks += 1;
                    survive(source)?;
                }
            }
        }
        Ok(taken)
    }

    /// Watch: receives from what is ready, and forgets what turns out to be empty.
    fn drain(&mut self, udp: &mut Udp, sink: &mut Sink<'_>) -> Result<usize, MediumError> {
        let mut taken = 0;
        for Due { socket, .. } in self.due.drain(..) {
            let inlet = inlet(&udp.control, &udp.data, socket);
            let drained = udp.intake.drain(inlet, sink.pool, sink.inbox, sink.quota)?;
            taken += drained.datagrams;
            if drained.dry {
                self.ring.forget(number(socket));
            }
        }
        Ok(taken)
    }

    /// Multishot: one request after the other, until the socket is empty or has had its quota.
    fn burst(&mut self, udp: &mut Udp, sink: &mut Sink<'_>) -> Result<usize, MediumError> {
        let mut taken = 0;
        udp.intake.leave(sink.pool);
        while let Some(mut due) = self.due.pop() {
            while due.blocks < sink.quota {
                let ended = self.burst_once(udp, &mut due, sink)?;
                let datagrams = self.ring.burst().len();
                taken += datagrams;
                match ended {
                    Ended::Empty => {
                        self.ring.forget(number(due.socket));
                        break;
                    }
                    // Without a slab the datagrams stay where they are: the kernel counts those that overflow.
                    Ended::OutOfBuffers | Ended::Early if datagrams == 0 => break,
                    Ended::OutOfBuffers | Ended::Early => {}
                    Ended::Failed(source) => {
                        due.blocks += 1;
                        survive(source)?;
                    }
                }
            }
        }
        Ok(taken)
    }

    /// One request, for as many datagrams as the rest of the quota is likely to be.
    fn burst_once(
        &mut self,
        udp: &mut Udp,
        due: &mut Due,
        sink: &mut Sink<'_>,
    ) -> Result<Ended, MediumError> {
        let wanted = (sink.quota - due.blocks).div_ceil(self.run_blocks).min(MAX_BURST);
        sink.pool.land_many(wanted, &mut self.landings);
        let told = udp.runs.told();
        let socket = socket(udp, due.socket);
        let buffers = sink.pool.landings_mut(&self.landings);
        let ended = self.ring.receive_many(socket, buffers, told).map_err(broken)?;
        let (received, head) = (self.ring.burst(), burst_head(told));
        let inlet = inlet(&udp.control, &udp.data, due.socket);
        for (landing, &received) in self.landings.drain(..received.len()).zip(received) {
            let received = udp.runs.infer(received);
            let blocks = udp.intake.accept(inlet, head, landing, received, sink.pool, sink.inbox).max(1);
            due.blocks += blocks;
            self.run_blocks = blocks;
        }
        self.landings.drain(..).rev().for_each(|landing| sink.pool.abandon(landing));
        Ok(ended)
    }
}

/// The socket of that number, of a part of udp that leaves the others free.
fn inlet<'a>(control: &'a Inlet, data: &'a [Inlet], socket: usize) -> &'a Inlet {
    if socket == 0 { control } else { &data[socket - 1] }
}

fn socket(udp: &Udp, at: usize) -> Indexed<'_> {
    Indexed { index: number(at), socket: inlet(&udp.control, &udp.data, at).socket() }
}

fn number(socket: usize) -> u32 {
    u32::try_from(socket).expect("a process has fewer than 65536 channels")
}

#[cold]
fn broken(source: io::Error) -> MediumError {
    let what = match source.raw_os_error() {
        Some(libc::EEXIST) => "cannot receive by io_uring from another thread than the one that began to",
        _ => "cannot receive by io_uring",
    };
    MediumError::System { what: what.to_owned(), source }
}

/// What this medium is called.
pub(super) const NAME: &str = "uring";
/// More data sockets than this are watched; up to there, one-shot receives are faster. See the head of this file.
const WATCH_ABOVE: usize = 4;
/// The quota that begins multishot: a batch was used up three times in a row.
const LOADED_QUOTA: usize = 8;

#[cfg(test)]
mod forbidden;
#[cfg(test)]
pub(super) mod tests;
