//! Sessions without sockets: what the micro benchmarks and the instruction counts have in common.
//!
//! Nothing here reads a clock, enters the kernel or draws randomness, so that the same calls are the same instructions in
//! every run. The benches that measure time over sockets are the program beside this library.

pub mod one_way;
pub mod pair;
pub mod pipe;
pub mod stamps;

use sistrum_membership::Session;
use sistrum_ordering::TotalOptions;
use sistrum_transport::id::{GroupId, GroupInstance, Rank, Seq, ViewNumber};
use sistrum_transport::log::{PoolConfig, RxPool};
use sistrum_transport::medium::Channel;
use sistrum_transport::medium::sim::endpoint_of;
use sistrum_transport::protocol::Target;
use sistrum_transport::reliable::{Entry, Member, RunLimits, SessionConfig, Tuning};

/// Bytes of a block, as the library's default.
pub const BLOCK: usize = 1408;

/// Blocks that one send carries: as many as fit in the largest UDP payload.
pub const RUN_BLOCKS: usize = MAX_RUN_BYTES / BLOCK;

/// Blocks of each member's window: more than any case sends without an ack.
pub const WINDOW: usize = 4096;

/// The session of member `me` of two.
///
/// # Panics
/// When the system has not the memory for its log.
#[must_use]
pub fn session(me: u16) -> Session {
    session_of(me, 2, WINDOW, TotalOptions::default())
}

/// The session of member `me` of so many, each with so many blocks of window, in the order that `options` say.
pub(crate) fn session_of(me: u16, members: u16, window: usize, options: TotalOptions) -> Session {
    let member = |index| Member {
        endpoint: endpoint_of(index),
        start: Seq(0),
        entry: Entry::Start,
        window,
        receive_buffer: 1 << 30,
        coalesces: true,
    };
    let config = SessionConfig {
        group: GroupId::of("bench"),
        instance: GroupInstance(1),
        view: ViewNumber(1),
        me: Rank(me),
        members: (0..members).map(member).collect(),
        to: Target::Channel(Channel(0)),
        index: 0,
        lane: 0,
        block: BLOCK,
        limits: RunLimits { blocks: RUN_BLOCKS, bytes: MAX_RUN_BYTES },
        tuning: Tuning { window, ..Tuning::loopback() },
        seed: 1,
    };
    Session::ordered(config, &options).expect("there is memory for a log")
}

/// Receive buffers for one window.
///
/// # Panics
/// When the system has not the memory.
#[must_use]
pub fn pool() -> RxPool {
    RxPool::new(POOL).expect("there is memory for a pool")
}

/// What [`pool`] takes.
pub(crate) const POOL: PoolConfig =
    PoolConfig { stride: BLOCK, strides: WINDOW, slabs: WINDOW / RUN_BLOCKS + 2 };

/// The largest UDP payload over IPv4.
pub(crate) const MAX_RUN_BYTES: usize = 65_507;
