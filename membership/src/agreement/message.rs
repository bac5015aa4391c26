//! What processes tell each other to agree on a view. `next` is the number of the view that is being decided.

use super::value::{Ballot, Introduction, Op, Proposal, Roster, Value};
use sistrum_ordering::{Endpoint, GroupInstance, Rank, Seq, ViewMember, ViewNumber};

/// To whom a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Destination {
    /// To everybody whom the group's channel reaches.
    All,
    /// To one process.
    One(Endpoint),
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Message {
    /// Let us change the view; whoever is suspected need not answer.
    Invite {
        /// The view that is to come.
        next: ViewNumber,
        /// Of the coordinator that sends it.
        ballot: Ballot,
        /// Whom it suspects.
        suspects: Vec<Rank>,
        /// It has heard all whom it does not suspect, and they are too few: suspicions may be withdrawn.
        wedged: bool,
    },
    /// I take part in this ballot, and in no lower one. From my first one on I deliver nothing above `closed` as it was then.
    Ok {
        /// The view that is to come.
        next: ViewNumber,
        /// The ballot that is answered.
        ballot: Ballot,
        /// By rank: what I hold without a gap, its causes included.
        closed: Vec<Seq>,
        /// What I have acknowledged in the highest ballot so far.
        acked: Option<Proposal>,
        /// Whom I suspect.
        suspects: Vec<Rank>,
        /// What was asked of me.
        ops: Vec<Op>,
    },
    /// I do not take part in your ballot.
    Refuse {
        /// The view that is to come.
        next: ViewNumber,
        /// What I have promised.
        promised: Option<Ballot>,
        /// I suspect you.
        suspected: bool,
    },
    /// This is to be decided.
    Propose {
        /// The view that is to come.
        next: ViewNumber,
        /// What is proposed.
        proposal: Proposal,
    },
    /// I hold every block up to the cut that was proposed in this ballot.
    Ack {
        /// The view that is to come.
        next: ViewNumber,
        /// The ballot of the proposal.
        ballot: Ballot,
    },
    /// This is decided.
    Commit {
        /// The view that has come.
        next: ViewNumber,
        /// What was decided.
        value: Value,
        /// By rank of the view before: who holds its stream up to the cut.
        holders: Vec<Rank>,
        /// There is more to change: this is the invitation to it, of the ballot's rank in the view that has come.
        then: Option<Ballot>,
    },
    /// To one that has joined: your first view.
    Welcome {
        /// The life of the group.
        instance: GroupInstance,
        /// The view.
        roster: Roster,
        /// Who may not come in again: see [`Agreement::welcomed`](super::Agreement::welcomed).
        gone: Vec<ViewMember>,
        /// The group has once had as many members as it is not told of without: see [`Agreement::forming`](super::Agreement::forming).
        formed: bool,
    },
    /// I am in this view, and you are not. To one who asks to be let in: that incarnation was in, and cannot come again.
    Excluded {
        /// Its number.
        number: ViewNumber,
    },
    /// You speak of a later view than mine, which has this number.
    Behind {
        /// Its number.
        number: ViewNumber,
    },
    /// I have stopped for the next view, or suspect somebody, and see you as the one to go on.
    Waiting {
        /// The view that is to come.
        next: ViewNumber,
        /// What I have promised.
        promised: Option<Ballot>,
        /// Whom I suspect.
        suspects: Vec<Rank>,
    },
    /// Please do this.
    Request {
        /// The sender's view, 0 when it has none. Only a join counts in every view.
        number: ViewNumber,
        /// What to do.
        op: Op,
    },
    /// Who is in the group? I am not, and do not ask to be.
    Lookup,
    /// The answer of each member.
    Found {
        /// The life of the group.
        instance: GroupInstance,
        /// My view.
        roster: Roster,
        /// I cannot go on.
        wedged: bool,
    },
    /// How did this view end? I read it, and am in none.
    Follow {
        /// Its number.
        number: ViewNumber,
    },
    /// I read this view, and ask for the state as you have it.
    Borrow {
        /// The view's number.
        number: ViewNumber,
        /// What I call the stream that it is to come by: each has another name.
        stream: GroupInstance,
        /// What I am like.
        mine: Introduction,
    },
    /// What a client and a member tell each other; agreement makes nothing of it.
    Letter(Letter),
}

/// What somebody who is no member and a member tell each other, as bytes of theirs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Letter(pub Vec<u8>);

impl Message {
    /// The view that it speaks of as the next, for what belongs to one change.
    #[must_use]
    pub fn next(&self) -> Option<ViewNumber> {
        match self {
            Self::Invite { next, .. }
            | Self::Ok { next, .. }
            | Self::Refuse { next, .. }
            | Self::Propose { next, .. }
            | Self::Ack { next, .. }
            | Self::Commit { next, .. }
            | Self::Waiting { next, .. } => Some(*next),
            Self::Welcome { .. }
            | Self::Excluded { .. }
            | Self::Behind { .. }
            | Self::Request { .. }
            | Self::Lookup
            | Self::Found { .. }
            | Self::Follow { .. }
            | Self::Borrow { .. }
            | Self::Letter(_) => None,
        }
    }

    /// Whether its sender is told what is decided where that is known. A decision needs no answer; and an acknowledgement that comes
    /// when a quorum has acknowledged crosses the decision, which is repeated where it is lost.
    pub(super) fn wants_decision(&self) -> bool {
        !matches!(self, Self::Commit { .. } | Self::Ack { .. })
    }
}
