//! Faults on purpose, around any medium: received blocks are lost, doubled or damaged, each drawn by itself.
//!
//! The draw comes after a coalesced buffer was walked, so that single blocks go missing; the loss of whole buffers is what
//! the [UDP](super::udp) filter injects.

use super::{Arrival, Capabilities, Channel, FanOut, Medium, MediumCounters, MediumError, Sent, Sockets};
use crate::id::Endpoint;
use crate::log::RxPool;
use crate::protocol::Target;
use fastrand::Rng;
use std::time::Duration;

/// How often received blocks suffer, each a probability from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FaultOptions {
    /// The block is lost.
    pub loss: f64,
    /// The block arrives twice in a row.
    pub duplicate: f64,
    /// One bit of the block is flipped.
    pub corrupt: f64,
}

/// How many faults took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FaultCounts {
    /// Blocks lost.
    pub lost: u64,
    /// Blocks that arrived twice.
    pub duplicated: u64,
    /// Blocks with one bit flipped.
    pub corrupted: u64,
}

/// Arrivals that a batch has room for from the start: more than an engine asks for at once.
const BATCH: usize = 1024;

/// A medium whose received blocks suffer faults, the same ones for the same seed and the same blocks.
#[derive(Debug)]
pub struct Fault<M> {
    inner: M,
    options: FaultOptions,
    rng: Rng,
    counts: FaultCounts,
    /// Arrivals of one batch, before they suffer.
    batch: Vec<Arrival>,
    copy: Vec<u8>,
}

impl<M: Medium> Fault<M> {
    /// Puts faults around `inner`, drawn from `seed`.
    pub fn new(inner: M, options: FaultOptions, seed: u64) -> Self {
        let rng = Rng::with_seed(seed);
        let batch = Vec::with_capacity(BATCH);
        Self { inner, options, rng, counts: FaultCounts::default(), batch, copy: Vec::new() }
    }

    /// Changes the rates from the next receive on.
    pub fn set_options(&mut self, options: FaultOptions) {
        self.options = options;
    }

    /// What the faults are around.
    pub fn inner(&self) -> &M {
        &self.inner
    }

    /// The faults that took effect so far.
    #[must_use]
    pub fn counts(&self) -> FaultCounts {
        self.counts
    }

    /// Lets the arrivals of `batch` suffer on their way into `inbox`.
    fn suffer(&mut self, pool: &mut RxPool, inbox: &mut Vec<Arrival>) {
        for Arrival { from, block } in self.batch.drain(..) {
            if chance(&mut self.rng, self.options.loss) {
                self.counts.lost += 1;
                pool.release(block);
                continue;
            }
            if chance(&mut self.rng, self.options.duplicate) {
                self.copy.clear();
                self.copy.extend_from_slice(pool.bytes(&block));
                if let Some(block) = pool.insert(&self.copy) {
                    self.counts.duplicated += 1;
                    inbox.push(Arrival { from, block });
                }
            }
            if chance(&mut self.rng, self.options.corrupt) {
                self.counts.corrupted += 1;
                flip_a_bit(&mut self.rng, pool.bytes_mut(&block));
            }
            inbox.push(Arrival { from, block });
        }
    }
}

impl<M: Medium> Medium for Fault<M> {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn local(&self) -> Endpoint {
        self.inner.local()
    }

    fn open_channel(&mut self, fan_out: FanOut) -> Result<Channel, MediumError> {
        self.inner.open_channel(fan_out)
    }

    fn close_channel(&mut self, channel: Channel) {
        self.inner.close_channel(channel);
    }

    fn relist(&mut self, channel: Channel, others: &[Endpoint]) {
        self.inner.relist(channel, others);
    }

    #[inline]
    fn receive(
        &mut self,
        pool: &mut RxPool,
        inbox: &mut Vec<Arrival>,
        sockets: Sockets,
        quota: usize,
    ) -> Result<usize, MediumError> {
        if self.options == FaultOptions::default() {
            return self.inner.receive(pool, inbox, sockets, quota);
        }
        let taken = self.inner.receive(pool, &mut self.batch, sockets, quota)?;
        self.suffer(pool, inbox);
        Ok(taken)
    }

    #[inline]
    fn send(&mut self, to: Target, run: &[u8], segment: usize) -> Result<Sent, MediumError> {
        self.inner.send(to, run, segment)
    }

    fn wait(&mut self, limit: Duration) {
        self.inner.wait(limit);
    }

    fn counters(&self) -> MediumCounters {
        let inner = self.inner.counters();
        MediumCounters { injected: inner.injected + self.counts.lost, ..inner }
    }

    fn counted(&self) -> MediumCounters {
        let inner = self.inner.counted();
        MediumCounters { injected: inner.injected + self.counts.lost, ..inner }
    }
}

/// Whether something of this probability happens; nothing is drawn for what never happens.
pub(super) fn chance(rng: &mut Rng, probability: f64) -> bool {
    probability > 0.0 && rng.f64() < probability
}

/// Flips one bit, anywhere in `bytes`.
pub(super) fn flip_a_bit(rng: &mut Rng, bytes: &mut [u8]) {
    if !bytes.is_empty() {
        let bit = rng.usize(..bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::PoolConfig;
    use crate::medium::{Network, SimOptions};
    use crate::time::ManualClock;

    const BLOCKS: usize = 20_000;

    /// Sends `BLOCKS` numbered blocks in runs of 8 through faults, and returns what arrives.
    fn through(options: FaultOptions, seed: u64) -> (Vec<Vec<u8>>, FaultCounts, u64) {
        let network =
            Network::new(1, ManualClock::default(), SimOptions { coalesce: true, ..SimOptions::default() });
        let mut from = network.endpoint(0);
        let mut to = Fault::new(network.endpoint(1), options, seed);
        let mut pool = RxPool::new(PoolConfig { stride: 64, strides: 64, slabs: 1 }).unwrap();
        let (mut inbox, mut seen) = (Vec::new(), Vec::new());
        for first in (0..BLOCKS as u32).step_by(8) {
            let run: Vec<u8> = (first..first + 8).flat_map(u32::to_le_bytes).collect();
            from.send(Target::One(to.local()), &run, 4).unwrap();
            assert_eq!(to.receive(&mut pool, &mut inbox, Sockets::All, 8).unwrap(), 1);
            for arrival in inbox.drain(..) {
                seen.push(pool.bytes(&arrival.block).to_vec());
                pool.release(arrival.block);
            }
        }
        assert!(pool.is_idle(0));
        let injected = to.counters().injected;
        (seen, to.counts(), injected)
    }

    #[test]
    fn rates_are_met_per_block_and_every_fault_is_counted() {
        let options = FaultOptions { loss: 0.1, duplicate: 0.05, corrupt: 0.02 };
        let (seen, counts, injected) = through(options, 3);
        assert!((1_700..2_300).contains(&counts.lost), "{counts:?}");
        assert!((750..1_050).contains(&counts.duplicated), "{counts:?}");
        assert!((270..450).contains(&counts.corrupted), "{counts:?}");
        assert_eq!(seen.len() as u64, BLOCKS as u64 - counts.lost + counts.duplicated);
        assert_eq!(injected, counts.lost);
    }

    #[test]
    fn the_same_seed_does_the_same() {
        let options = FaultOptions { loss: 0.3, duplicate: 0.3, corrupt: 0.3 };
        assert_eq!(through(options, 7), through(options, 7));
        assert_ne!(through(options, 7).0, through(options, 8).0);
    }

    #[test]
    fn one_bit_and_only_one_is_flipped() {
        let (seen, _, _) = through(FaultOptions { corrupt: 1.0, ..FaultOptions::default() }, 1);
        for (index, bytes) in seen.iter().enumerate() {
            let found = u32::from_le_bytes(bytes[..].try_into().unwrap());
            assert_eq!((found ^ index as u32).count_ones(), 1);
        }
    }
}
