//! Sessions over the simulated network, in virtual time: options drawn from a seed, a world, and what must hold in it.

pub(crate) mod app;
pub(crate) mod line;
pub(crate) mod options;
pub(crate) mod tap;
pub(crate) mod traffic;
pub(crate) mod world;

use sistrum_transport::reliable::{Layer, Outbound};

pub(crate) use options::Options;
pub(crate) use world::{Outcome, World};

/// Layers that let everything through as the streams have it.
pub(crate) trait Plain: Layer<Options = (), Outbound: Outbound<Class = ()>> {}
impl<L: Layer<Options = (), Outbound: Outbound<Class = ()>>> Plain for L {}
