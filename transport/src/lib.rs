//! Reliable, ordered blocks from one process to many, over any datagram network.
//!
//! A message is written in place into a block of the sender's [`log`], the block is sealed and sent by a
//! [`medium`], walked in place at the receivers, and delivered by reference. Losses are repaired by the
//! pure state machines of [`reliable`]; the [`engine`] is the only code that reads a clock or touches a socket.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "sistrum runs on Linux only: it is built on Linux UDP segmentation offload and socket filters"
);

pub mod engine;
pub mod id;
pub mod log;
pub mod medium;
pub mod mutation;
pub mod protocol;
pub mod reliable;
pub mod sys;
pub mod time;
pub mod wire;

// Arithmetic, although it is made of the processor's own instructions: the pure code may have it.
pub(crate) use sys::crc;
