//! Where blocks live: in the sender's log until they are stable, in the receiver's pool until they are delivered.

mod pool;
mod receive_window;
mod send_log;

pub use pool::{HEADROOM, Landing, PoolConfig, RxBlock, RxPool};
pub use receive_window::{Insert, MissingRanges, ReceiveWindow};
pub use send_log::SendLog;
