//! A medium in a mood: it brings fewer datagrams than it was asked for, so that batches are of any size.

use fastrand::Rng;
use sistrum_membership::step;
use sistrum_transport::id::Endpoint;
use sistrum_transport::log::RxPool;
use sistrum_transport::medium::{
    Arrival, Capabilities, Channel, FanOut, Medium, MediumCounters, MediumError, Sent, Sockets,
};
use sistrum_transport::protocol::Target;
use std::time::Duration;

/// Around any medium.
#[derive(Debug)]
pub(super) struct Whim<M> {
    inner: M,
    /// How often it is in a mood.
    often: f64,
    rng: Rng,
    /// Batches that were cut short.
    pub(super) short_batches: u64,
}

impl<M: Medium> Whim<M> {
    pub(super) fn new(inner: M, often: f64, seed: u64) -> Self {
        Self { inner, often, rng: Rng::with_seed(seed), short_batches: 0 }
    }

    pub(super) fn inner_mut(&mut self) -> &mut M {
        &mut self.inner
    }

    pub(super) fn inner(&self) -> &M {
        &self.inner
    }
}

impl<M: Medium> Medium for Whim<M> {
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
        let is_moody = self.often > 0.0 && quota > 1 && self.rng.f64() < self.often;
        let mine = if is_moody { self.rng.usize(1..quota) } else { quota };
        self.short_batches += u64::from(is_moody);
        self.inner.receive(pool, inbox, sockets, mine)
    }

    fn send(&mut self, to: Target, run: &[u8], segment: usize) -> Result<Sent, MediumError> {
        // Who has come to the step that it ends at, says nothing more.
        if step::is_halted() {
            return Ok(Sent::Done);
        }
        self.inner.send(to, run, segment)
    }

    fn wait(&mut self, limit: Duration) {
        self.inner.wait(limit);
    }

    fn counters(&self) -> MediumCounters {
        self.inner.counters()
    }
}
