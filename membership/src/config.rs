//! What a group is built from.

use crate::agreement::{AgreementTuning, Introduction, MAX_MEMBERS};
use crate::detector::DetectorTuning;
use crate::handshake::Conflict;
use crate::transfer::StateTuning;
use sistrum_ordering::{BootId, Endpoint, Rank, Seq, TotalMode, TotalOptions, ViewMember};
use sistrum_transport::medium::Channel;
use sistrum_transport::reliable::{RunLimits, Tuning};

/// What a group is built from.
#[derive(Debug, Clone)]
pub struct GroupConfig {
    /// Its name.
    pub name: String,
    /// Where I send from.
    pub local: Endpoint,
    /// How its members find each other.
    pub entry: Entry,
    /// My incarnation. With an open list it has to be greater than that of whatever ran at this place before.
    pub boot: BootId,
    /// What reaches all of them.
    pub channel: Channel,
    /// Index of the group among those of its node.
    pub index: u16,
    /// Bytes of a block.
    pub block: usize,
    /// What the medium carries in one send.
    pub limits: RunLimits,
    /// My receive buffer in true-size bytes.
    pub receive_buffer: usize,
    /// Whether I take coalesced runs in one buffer.
    pub coalesces: bool,
    /// Blocks of the largest window of another member that my receive buffers have room for.
    pub max_window: usize,
    /// Blocks of the window of what I send to one other alone.
    pub pair_window: usize,
    /// Sizes and times.
    pub tuning: Tuning,
    /// How total order is found, and how stamps are told: the same at all members.
    pub order: TotalOptions,
    /// The first sequence of my stream.
    pub start: Seq,
    /// Seed of the random delays.
    pub seed: u64,
}

/// How members find each other.
#[derive(Debug, Clone)]
pub enum Entry {
    /// All are given the same list; there is one view.
    List {
        /// All members, in the order of their ranks.
        members: Vec<Endpoint>,
        /// Which of them I am, as [`rank_in`] says.
        me: Rank,
    },
    /// They come and go, and agree on each view.
    Peers(Peers),
}

/// What a group with views is told of those who may be in it.
#[derive(Debug, Clone)]
pub struct Peers {
    /// Where somebody of the group may be, or will be: whoever joins asks there. One of these makes the group where there is none; without
    /// any, and where the channel reaches all, anybody does.
    pub seeds: Vec<Endpoint>,
    /// Whether the channel reaches all whom it may concern, members or not: by multicast.
    pub is_multicast: bool,
    /// The first view is told when so many are in it.
    pub expected: usize,
    /// Who is silent for how long is suspected.
    pub detector: DetectorTuning,
    /// Times of agreement, and how many may be in a view.
    pub agreement: AgreementTuning,
    /// Bytes of casts that are held while the view changes, and cast in the next one; 0 refuses them with
    /// [`Refused::ViewChanging`](sistrum_transport::reliable::Refused::ViewChanging).
    pub held_casts: usize,
    /// How the group's state is taken over and given; none where it has none, or I do not keep it.
    pub state: Option<StateTuning>,
    /// Whether I join again, as a new incarnation, when the others go on without me.
    pub rejoins: bool,
}

impl Default for Peers {
    fn default() -> Self {
        Self {
            seeds: Vec::new(),
            is_multicast: true,
            expected: 2,
            detector: DetectorTuning::default(),
            agreement: AgreementTuning::default(),
            held_casts: 0,
            state: None,
            rejoins: true,
        }
    }
}

/// A list that no group can be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// I am not in it.
    #[error("members: {0}, this process itself, is not in the list")]
    NotListed(Endpoint),
    /// Somebody is in it twice.
    #[error("members: {0} stands in the list twice")]
    Twice(Endpoint),
    /// It is too long.
    #[error("members: a list of {0} members is longer than the limit of {MAX_MEMBERS}")]
    TooLong(usize),
}

/// My rank in a list of members.
///
/// # Errors
/// When the list cannot be that of a group that I am in.
pub fn rank_in(members: &[Endpoint], local: Endpoint) -> Result<Rank, ListError> {
    if members.len() > MAX_MEMBERS {
        return Err(ListError::TooLong(members.len()));
    }
    if let Some(at) = (1..members.len()).find(|&at| members[..at].contains(&members[at])) {
        return Err(ListError::Twice(members[at]));
    }
    let me = members.iter().position(|member| *member == local);
    Ok(Rank(me.ok_or(ListError::NotListed(local))? as u16))
}

impl GroupConfig {
    /// Why I cannot be in one view with whoever introduces itself so.
    pub(crate) fn conflict_with(&self, theirs: &Introduction) -> Option<Conflict> {
        let mine = self.introduction();
        let limit = u32::try_from(self.max_window).unwrap_or(u32::MAX);
        if theirs.block != mine.block {
            let narrow = |block: u32| u16::try_from(block).unwrap_or(u16::MAX);
            return Some(Conflict::BlockSize { theirs: narrow(theirs.block), mine: narrow(mine.block) });
        }
        if theirs.rotating != mine.rotating {
            return Some(Conflict::TotalMode { theirs: theirs.rotating });
        }
        let fits = theirs.window.is_power_of_two() && theirs.window <= limit;
        (!fits).then_some(Conflict::Window { theirs: theirs.window, limit })
    }

    /// How the group's state is taken over and given, where I keep it.
    pub(crate) fn state(&self) -> Option<&StateTuning> {
        match &self.entry {
            Entry::Peers(peers) => peers.state.as_ref(),
            Entry::List { .. } => None,
        }
    }

    /// What others have to know of me before my first block.
    pub(crate) fn introduction(&self) -> Introduction {
        Introduction {
            member: ViewMember { endpoint: self.local, boot: self.boot },
            start: self.start,
            window: u32::try_from(self.tuning.window).unwrap_or(u32::MAX),
            receive_buffer: u32::try_from(self.receive_buffer).unwrap_or(u32::MAX),
            coalesces: self.coalesces,
            block: u32::try_from(self.block).unwrap_or(u32::MAX),
            rotating: self.order.mode == TotalMode::Rotating,
            keeps_state: self.state().is_some(),
        }
    }
}
