//! The receiving half: sockets are drained into the pool, and what went missing on the way is counted.

use crate::log::{Landing, RxPool};
use crate::medium::{Arrival, MediumCounters, MediumError};
use crate::sys::message::Received;
use crate::sys::socket::Socket;
use std::io;

/// A socket that datagrams are received from.
#[derive(Debug)]
pub(in crate::medium) struct Inlet {
    socket: Socket,
    runs: Runs,
    /// Whether its filter loses datagrams on purpose: they arrive empty.
    injects: bool,
    /// Own datagrams that came back and that the filter has dropped; wraps like the kernel's count.
    own: u32,
}

/// How several blocks in one buffer are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::medium) enum Runs {
    /// There are none: every block comes by itself.
    None,
    /// The kernel says of each buffer what size its segments have.
    Told,
    /// They are runs that a member sent in one call, so that all but the last have the size of a block. On loopback
    /// nothing else is coalesced, and not to ask saves a tenth of a microsecond for each look at the socket.
    Known {
        /// Bytes of a block.
        block: usize,
    },
}

impl Runs {
    /// Whether the kernel has to be asked for the size of the segments.
    pub(in crate::medium) fn told(self) -> bool {
        self == Self::Told
    }

    /// What a receive that did not ask for the size of the segments has brought.
    #[inline]
    pub(in crate::medium) fn infer(self, received: Received) -> Received {
        match self {
            Self::Known { block } => Received { segment: Some(received.len.min(block).max(1)), ..received },
            Self::None | Self::Told => received,
        }
    }
}

impl Inlet {
    pub(in crate::medium) fn new(socket: Socket, runs: Runs, injects: bool) -> io::Result<Self> {
        if runs != Runs::None {
            socket.coalesce(true)?;
        }
        Ok(Self { socket, runs, injects, own: 0 })
    }

    pub(in crate::medium) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Notes that `blocks` were sent in one call to a group that this socket has joined.
    pub(in crate::medium) fn expect_own(&mut self, blocks: u32) {
        // A socket that does not coalesce gets, filters and drops every block for itself.
        self.own = self.own.wrapping_add(if self.runs == Runs::None { blocks } else { 1 });
    }

    /// Buffers that the kernel dropped for want of space: all drops but those of own datagrams.
    pub(in crate::medium) fn overflow(&self) -> u64 {
        let drops = self.socket.memory().map_or(self.own, |memory| memory.drops);
        // Behind by a few while own datagrams are still on their way.
        u64::try_from(drops.wrapping_sub(self.own).cast_signed()).unwrap_or(0)
    }

    #[inline]
    fn receive(&self, into: &mut [u8]) -> io::Result<Option<Received>> {
        match self.runs {
            Runs::None => self.socket.receive_one(into),
            Runs::Told => self.socket.receive_run(into),
            Runs::Known { .. } => {
                Ok(self.socket.receive_one(into)?.map(|received| self.runs.infer(received)))
            }
        }
    }
}

/// What one call took from an inlet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::medium) struct Drained {
    /// How many datagrams.
    pub(in crate::medium) datagrams: usize,
    /// Whether nothing was left.
    pub(in crate::medium) dry: bool,
}

/// Where datagrams go that were taken from an inlet.
#[derive(Debug, Default)]
pub(in crate::medium) struct Intake {
    /// The slab that the next datagram lands in; kept across empty receives.
    landing: Option<Landing>,
    counters: MediumCounters,
}

impl Intake {
    /// Takes datagrams from `inlet` until they hold `quota` blocks.
    ///
    /// It stops at the first empty answer, and does not ask once more when the quota is reached. Blocks are what is
    /// bounded, not datagrams: a few runs stay in the cache until they are handled, many do not.
    #[inline]
    pub(in crate::medium) fn drain(
        &mut self,
        inlet: &Inlet,
        pool: &mut RxPool,
        inbox: &mut Vec<Arrival>,
        quota: usize,
    ) -> Result<Drained, MediumError> {
        let (mut datagrams, mut dry, mut blocks) = (0, false, 0);
        while blocks < quota {
            // Without a slab the datagrams stay where they are: the kernel counts those that overflow.
            let Some(landing) = self.landing.take().or_else(|| pool.land()) else { break };
            match inlet.receive(pool.landing_mut(&landing)) {
                Ok(Some(received)) => {
                    datagrams += 1;
                    blocks += self.accept(inlet, 0, landing, received, pool, inbox).max(1);
                }
                Ok(None) => {
                    self.landing = Some(landing);
                    dry = true;
                    break;
                }
                Err(source) => {
                    self.landing = Some(landing);
                    blocks += 1;
                    survive(source)?;
                }
            }
        }
        Ok(Drained { datagrams, dry })
    }

    /// Gives back the slab that was kept to land in.
    pub(in crate::medium) fn leave(&mut self, pool: &mut RxPool) {
        if let Some(landing) = self.landing.take() {
            pool.abandon(landing);
        }
    }

    pub(in crate::medium) fn counters(&self) -> MediumCounters {
        self.counters
    }

    /// Turns what has landed behind the first `head` bytes into blocks, and returns how many there were.
    pub(in crate::medium) fn accept(
        &mut self,
        inlet: &Inlet,
        head: usize,
        landing: Landing,
        received: Received,
        pool: &mut RxPool,
        inbox: &mut Vec<Arrival>,
    ) -> usize {
        let Received { len, from, segment, truncated } = received;
        self.counters.received_datagrams += 1;
        let segment = segment.unwrap_or(len);
        if len == 0 || truncated || segment > pool.stride() {
            // Empty: the filter's injected loss, where there is one; else a stranger's datagram.
            let injected = len == 0 && inlet.injects;
            self.counters.injected += u64::from(injected);
            self.counters.unusable += u64::from(!injected);
            pool.abandon(landing);
            return 0;
        }
        let exhausted = pool.exhausted();
        let blocks =
            pool.split_behind(head, landing, len, segment, |block| inbox.push(Arrival { from, block }));
        self.counters.received_blocks += blocks as u64;
        self.counters.pool_exhausted += pool.exhausted() - exhausted;
        blocks
    }
}

/// An error of a receive tells of an earlier datagram's fate, unless the socket itself is unusable.
pub(in crate::medium) fn survive(source: io::Error) -> Result<(), MediumError> {
    match source.raw_os_error() {
        Some(libc::EBADF | libc::ENOTSOCK | libc::EFAULT | libc::EINVAL | libc::EOPNOTSUPP) => {
            Err(MediumError::System { what: "cannot receive from a UDP socket".to_owned(), source })
        }
        _ => Ok(()),
    }
}
