//! All unsafe system code, one file per facility. Everything else in the house is safe Rust.
#![allow(unsafe_code)]

pub mod bpf;
pub mod clock;
pub mod crc;
pub mod interface;
pub mod message;
pub mod random;
pub mod socket;
pub mod uring;
