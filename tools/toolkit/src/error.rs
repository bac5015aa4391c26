//! Everything that can go wrong, one clear line each.

use crate::{ContextError, ListError, MediumError, Refused};

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be done. Nothing of it was half done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration contradicts itself or the machine.
    #[error("{key}: {why}")]
    Config {
        /// Which key.
        key: &'static str,
        /// Why its value cannot be.
        why: String,
    },
    /// The network could not be opened, or broke.
    #[error(transparent)]
    Medium(#[from] MediumError),
    /// The member list cannot be a group's.
    #[error(transparent)]
    List(#[from] ListError),
    /// A cast was refused: back-pressure, or a message that is too large.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A causal context says nothing here.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The system has not the memory for the buffers.
    #[error("memory for the buffers: {0}")]
    Memory(#[source] std::io::Error),
    /// The system has no random number generator to draw the boot id from.
    #[error("random numbers: {0}")]
    Entropy(#[source] std::io::Error),
    /// A handler cannot take its event now: it is offered again.
    #[error("the handler is busy: the event is offered again")]
    Busy,
    /// The handler of an event failed, with an error of its own.
    #[error(transparent)]
    Handler(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Wraps an error of the application, so that its handler can use `?` on it.
    pub fn handler(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Handler(error.into())
    }
}
