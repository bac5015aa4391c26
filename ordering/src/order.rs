//! The orders in which a group delivers its messages.

use std::fmt;
use std::str::FromStr;

/// What a cast asks of the order of its delivery.
///
/// The casts of one sender are delivered in the order in which it made them, whatever they ask for: a causal cast that
/// follows a total one waits for it. So every order includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Order {
    /// Reliable, and nothing more: every member is handed it once. It comes from the contiguous prefix of its sender's stream.
    Unordered,
    /// Each sender's messages in the order in which it cast them; nothing is promised across senders.
    #[default]
    Fifo,
    /// Nothing before what its sender had been handed, or had cast, when it cast it.
    Causal,
    /// The same order of all total casts at every member, consistent with causality. They come back to their sender in their
    /// place.
    Total,
}

/// What a cast asks for: an order, and perhaps that all hold it before anybody is handed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Promise {
    /// The order of its delivery.
    pub order: Order,
    /// Whether it is delivered only when it is stable: every member holds it, everything that it depends on, and its place in
    /// the order. Costs about the time between two heartbeats.
    pub safe: bool,
}

impl From<Order> for Promise {
    #[inline]
    fn from(order: Order) -> Self {
        Self { order, safe: false }
    }
}

/// How the members find the order of total casts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TotalMode {
    /// One member holds a token and numbers the casts of all; the token goes to whoever casts most. Best when few cast.
    #[default]
    Token,
    /// All take turns by rank; who has nothing to say passes. Best when many cast all the time.
    Rotating,
}

impl Order {
    /// Every order, the weakest first.
    pub const ALL: [Self; 4] = [Self::Unordered, Self::Fifo, Self::Causal, Self::Total];

    /// This order, and delivered only when it is stable at all members.
    #[must_use]
    pub const fn safe(self) -> Promise {
        Promise { order: self, safe: true }
    }

    /// Whether it says anything across senders; the others cost no stamp.
    #[must_use]
    pub const fn spans_senders(self) -> bool {
        matches!(self, Self::Causal | Self::Total)
    }

    /// Its name in options and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unordered => "unordered",
            Self::Fifo => "fifo",
            Self::Causal => "causal",
            Self::Total => "total",
        }
    }
}

/// A name that is none of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoOrder(String);

impl fmt::Display for NoOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "order {:?} is not one of unordered, fifo, causal, total", self.0)
    }
}

impl std::error::Error for NoOrder {}

impl FromStr for Order {
    type Err = NoOrder;

    fn from_str(name: &str) -> Result<Self, NoOrder> {
        Self::ALL.into_iter().find(|order| order.name() == name).ok_or_else(|| NoOrder(name.to_owned()))
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
