//! A medium between two engines of one thread: a queue of runs for each direction, without system calls.

use sistrum_transport::id::Endpoint;
use sistrum_transport::log::RxPool;
use sistrum_transport::medium::sim::endpoint_of;
use sistrum_transport::medium::{
    Arrival, Capabilities, Channel, FanOut, Medium, MediumCounters, MediumError, Sent, Sockets,
};
use sistrum_transport::protocol::Target;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// One end. Nothing is lost, doubled or reordered.
#[derive(Debug)]
pub struct Pipe {
    index: u16,
    into: Rc<RefCell<Lane>>,
    out: Rc<RefCell<Lane>>,
    capabilities: Capabilities,
}

/// One direction.
#[derive(Debug, Default)]
struct Lane {
    /// Runs on their way, with the size of their blocks.
    runs: VecDeque<(Vec<u8>, usize)>,
    /// Buffers to be used again, so that a steady flow takes no memory.
    spare: Vec<Vec<u8>>,
}

impl Pipe {
    /// Both ends: those of members 0 and 1.
    #[must_use]
    pub fn ends() -> [Self; 2] {
        let lanes = [Rc::<RefCell<Lane>>::default(), Rc::default()];
        [0, 1].map(|index: usize| Self {
            index: index as u16,
            into: Rc::clone(&lanes[index]),
            out: Rc::clone(&lanes[1 - index]),
            capabilities: Capabilities {
                name: "pipe",
                max_block: crate::BLOCK,
                multicast: true,
                max_run_blocks: crate::RUN_BLOCKS,
                max_run_bytes: crate::MAX_RUN_BYTES,
                coalesces: true,
                receive_buffer: 1 << 30,
            },
        })
    }
}

impl Medium for Pipe {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn local(&self) -> Endpoint {
        endpoint_of(self.index)
    }

    fn open_channel(&mut self, _: FanOut) -> Result<Channel, MediumError> {
        Ok(Channel(0))
    }

    fn relist(&mut self, _: Channel, _: &[Endpoint]) {}

    fn receive(
        &mut self,
        pool: &mut RxPool,
        inbox: &mut Vec<Arrival>,
        _: Sockets,
        quota: usize,
    ) -> Result<usize, MediumError> {
        let from = endpoint_of(1 - self.index);
        let mut lane = self.into.borrow_mut();
        let (mut taken, mut blocks) = (0, 0);
        while blocks < quota {
            let Some((run, segment)) = lane.runs.pop_front() else { break };
            let landing = pool.land().expect("the pool has room for a window");
            pool.landing_mut(&landing)[..run.len()].copy_from_slice(&run);
            blocks += pool.split(landing, run.len(), segment, |block| inbox.push(Arrival { from, block }));
            lane.spare.push(run);
            taken += 1;
        }
        Ok(taken)
    }

    fn send(&mut self, _: Target, run: &[u8], segment: usize) -> Result<Sent, MediumError> {
        let mut lane = self.out.borrow_mut();
        let mut buffer = lane.spare.pop().unwrap_or_else(|| Vec::with_capacity(crate::MAX_RUN_BYTES));
        buffer.clear();
        buffer.extend_from_slice(run);
        lane.runs.push_back((buffer, segment));
        Ok(Sent::Done)
    }

    fn wait(&mut self, _: Duration) {}

    fn counters(&self) -> MediumCounters {
        MediumCounters::default()
    }
}
