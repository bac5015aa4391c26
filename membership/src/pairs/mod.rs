//! What members send to one another alone: a stream from each to each other, in causal order with the casts.
//!
//! ```text
//!   I send p to q    seals my open blocks; p tells what I have been handed and have cast, and counts as nothing in it
//!   q                hands p over once it has been handed all of that; p is no gap for anybody else
//!   I cast m later   m leaves when q holds p, and so does what I send to others later
//! ```
//= birman91 §5.3: a point-to-point message carries the sender's time, and delays its later multicasts until it is acknowledged
//!
//! Each direction of a pair is a session of two members of which one sends: loss repair, flow control and parts of long messages are
//! those of every stream. It begins with the first message, and takes its memory then. What I send and what I am sent are
//! disjoint, so that a handler may send while it borrows a message.

mod incoming;
mod outgoing;
mod vector;

pub(crate) use incoming::Incoming;
pub(crate) use outgoing::Outgoing;

use sistrum_ordering::{GroupId, Rank, Seq};
use sistrum_transport::protocol::Target;
use sistrum_transport::reliable::{Entry, Member, SessionConfig, Tuning};

/// What one other and I have sent to each other alone, in the present view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PairCounters {
    /// Messages that I sent it.
    pub sent: u64,
    /// Their bytes, as the application has them.
    pub sent_bytes: u64,
    /// Blocks that I sent it again on request.
    pub sent_again: u64,
    /// Messages of it that were handed over to me.
    pub handed: u64,
    /// Their bytes, as the application has them.
    pub handed_bytes: u64,
    /// Blocks of it that filled a gap: they came as repairs, or late.
    pub repaired: u64,
}

/// Whose pairs those of this id are, given the group: `true` where the lower rank sends.
pub(crate) fn direction(group: GroupId, id: GroupId) -> Option<bool> {
    [true, false].into_iter().find(|up| id_of(group, *up) == id)
}

/// The id of the streams between pairs of `group`; `up` where the lower rank sends.
const fn id_of(group: GroupId, up: bool) -> GroupId {
    GroupId(group.0 ^ PAIRS ^ up as u32)
}

/// The session in which I send to `other`, or it to me: two members, the lower rank first.
fn config_of(view: &SessionConfig, other: Rank, i_send: bool, window: usize) -> SessionConfig {
    let (low, high) = (view.me.min(other), view.me.max(other));
    let sender = if i_send { view.me } else { other };
    let of = |rank: Rank| Member {
        start: Seq(0),
        entry: Entry::Start,
        window: if rank == sender { window } else { LEAST_WINDOW },
        ..view.members[rank.0 as usize]
    };
    let lane = 1 + 2 * other.0 + u16::from(!i_send);
    SessionConfig {
        group: id_of(view.group, sender == low),
        me: Rank(u16::from(view.me == high)),
        members: vec![of(low), of(high)],
        to: Target::One(view.members[other.0 as usize].endpoint),
        lane,
        tuning: Tuning { window: if i_send { window } else { LEAST_WINDOW }, ..view.tuning },
        seed: view.seed ^ u64::from(lane).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        ..view.clone()
    }
}

/// What makes the id of a group that of its pairs: "PAIR", and a bit for the direction.
const PAIRS: u32 = 0x5041_4952;
/// Blocks of the window of who sends nothing.
const LEAST_WINDOW: usize = 8;
