//! Where blocks live: in the sender's log until all have delivered them, in the receivers' pools until they are delivered
//! there and stable.

mod pool;
mod receive_window;
mod send_log;

pub use pool::{HEADROOM, Landing, PoolConfig, RESERVED_STRIDES, RxBlock, RxPool, SLAB_BYTES};
pub use receive_window::{Insert, MissingRanges, ReceiveWindow};
pub use send_log::{LogMemory, SendLog};
