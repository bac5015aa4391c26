//! What may be written into a stream: nothing is cast any more by one who leaves, and nothing at all is written while the view changes.

use crate::reliable::flow::Refused;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// Casts, and frames of order.
    Open,
    /// Frames of order: I leave.
    Left,
    /// Nothing: the view is about to change.
    Frozen,
    /// Nothing, and I leave.
    LeftFrozen,
}

impl Gate {
    /// I leave.
    pub(super) const fn left(self) -> Self {
        match self {
            Self::Open | Self::Left => Self::Left,
            Self::Frozen | Self::LeftFrozen => Self::LeftFrozen,
        }
    }

    /// The view is about to change.
    pub(super) const fn frozen(self) -> Self {
        match self {
            Self::Open | Self::Frozen => Self::Frozen,
            Self::Left | Self::LeftFrozen => Self::LeftFrozen,
        }
    }

    /// Whether frames of order may be written.
    pub(super) const fn is_writable(self) -> bool {
        matches!(self, Self::Open | Self::Left)
    }

    /// Why nothing is cast.
    #[cold]
    pub(super) const fn refusal(self) -> Refused {
        match self {
            Self::Left | Self::LeftFrozen => Refused::Left,
            Self::Open | Self::Frozen => Refused::ViewChanging,
        }
    }
}
