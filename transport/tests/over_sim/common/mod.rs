//! Sessions over the simulated network, in virtual time: options drawn from a seed, a world, and what must hold in it.

pub(crate) mod app;
pub(crate) mod line;
pub(crate) mod options;
pub(crate) mod tap;
pub(crate) mod traffic;
pub(crate) mod world;

pub(crate) use options::Options;
pub(crate) use world::{Outcome, World};
