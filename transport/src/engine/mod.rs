//! The engine: the only code that reads a clock, drives a medium and waits.

pub mod counters;
mod cycle;
mod idle;

pub use cycle::{Cycle, CycleCounters};
pub use idle::Idle;
