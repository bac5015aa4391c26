//! The reliable layer over the simulated network, in virtual time.

mod common;
mod congestion;
mod losses;
mod pacing;
mod readers;
mod reliable;
