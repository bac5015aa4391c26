//! The orders in which a group delivers its messages.

/// What a cast asks of the order of its delivery. Causal and total order come with their own layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Order {
    /// Each sender's messages in the order in which it cast them; nothing is promised across senders.
    #[default]
    Fifo,
}
