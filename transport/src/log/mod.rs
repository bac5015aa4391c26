//! Where blocks live: in the sender's log until they are stable, in the receiver's pool until they are delivered.

mod pool;

pub use pool::{Landing, PoolConfig, RxBlock, RxPool};
