//! What a session has to know from the start: the view as the streams see it.

use super::Tuning;
use crate::id::{Endpoint, GroupId, GroupInstance, Rank, Seq, ViewNumber};
use crate::protocol::Target;

/// Everything that a session is built from; a new view builds a new one.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// The group.
    pub group: GroupId,
    /// Its life.
    pub instance: GroupInstance,
    /// The view.
    pub view: ViewNumber,
    /// My rank in `members`.
    pub me: Rank,
    /// All members, by rank.
    pub members: Vec<Member>,
    /// What reaches all the others.
    pub to: Target,
    /// Index of the group among those of its node.
    pub index: u16,
    /// Which of the group's sessions this is: see [`Transmit::lane`](crate::protocol::Transmit::lane).
    pub lane: u16,
    /// Bytes of a block.
    pub block: usize,
    /// What the medium carries in one send.
    pub limits: RunLimits,
    /// Sizes and times.
    pub tuning: Tuning,
    /// Seed of the random delays.
    pub seed: u64,
}

/// What a session has to know of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Where it sends from.
    pub endpoint: Endpoint,
    /// The first sequence of its stream.
    pub start: Seq,
    /// Whether I take its stream from that sequence on, or from wherever it stands.
    pub entry: Entry,
    /// Blocks of its send window: a power of two.
    pub window: usize,
    /// Its receive buffer in true-size bytes.
    pub receive_buffer: usize,
    /// Whether it takes coalesced runs in one buffer.
    pub coalesces: bool,
}

/// Where I enter a member's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// At its first sequence.
    Start,
    /// In mid-flow.
    Live,
}

/// What one send can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLimits {
    /// Blocks.
    pub blocks: usize,
    /// Bytes.
    pub bytes: usize,
}

impl RunLimits {
    /// Blocks of this many bytes that one send carries.
    pub(super) fn blocks_of(&self, block: usize) -> usize {
        self.blocks.min(self.bytes / block).max(1)
    }
}
