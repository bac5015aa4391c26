//! The reliable layer over the simulated network, in virtual time.

mod common;
mod readers;
mod reliable;
