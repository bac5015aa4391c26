//! A medium that writes down what is sent of the data, and when.

use sistrum_transport::id::Endpoint;
use sistrum_transport::log::RxPool;
use sistrum_transport::medium::{
    Arrival, Capabilities, Channel, FanOut, Fault, Medium, MediumCounters, MediumError, Sent, Sim, Sockets,
};
use sistrum_transport::protocol::Target;
use sistrum_transport::time::{Instant, ManualClock};
use sistrum_transport::wire::{Header, Kind};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// Runs of data blocks as they left: when, and how many blocks and bytes.
pub(crate) type Record = Rc<RefCell<Vec<(Instant, usize, usize)>>>;

/// See the module.
pub(crate) struct Tap {
    pub(crate) inner: Fault<Sim>,
    pub(crate) clock: ManualClock,
    pub(crate) record: Record,
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
        let first = Header::decode(&run[..segment.min(run.len())]).expect("a block of ours");
        if first.kind == Kind::Data {
            let blocks = run.len().div_ceil(segment);
            self.record.borrow_mut().push((self.clock.peek(), blocks, run.len()));
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
