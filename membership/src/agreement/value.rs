//! What is agreed on: who goes on, who comes, how far the old view is delivered. One value for each change of view.

pub use sistrum_ordering::Reason;
use sistrum_ordering::{Endpoint, Rank, Seq, ViewMember, ViewNumber};
use sistrum_transport::mutated;

/// Members of a view at most.
pub const MAX_MEMBERS: usize = 1024;
/// Bytes at most of the sync casts that wait for one change, together.
pub const MAX_SYNC_BYTES: usize = 64 * 1024;

/// A try to decide one change of view: a higher one wins.
///
/// Its coordinator is part of it, so that two never have the same. In the first attempt that makes the most junior coordinator
/// the one whose value may have been decided unseen.
//= ricciardi91 §4: only the most junior proposer's update can have been committed invisibly
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot {
    /// 0 for what a coordinator tries first.
    pub attempt: u32,
    /// The coordinator's rank in the view that is left.
    pub rank: Rank,
}

/// What the others have to know of a member before its first block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Introduction {
    /// Where it is, and which incarnation.
    pub member: ViewMember,
    /// The first sequence of its stream in every view.
    pub start: Seq,
    /// Blocks of its send window.
    pub window: u32,
    /// Its receive buffer in true-size bytes.
    pub receive_buffer: u32,
    /// Whether it takes coalesced runs in one buffer.
    pub coalesces: bool,
    /// Bytes of its blocks: the same everywhere.
    pub block: u32,
    /// Whether it finds total order by turns, not by a token: likewise.
    pub rotating: bool,
}

/// What may be asked of the group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Op {
    /// To let a process in.
    Join(Introduction),
    /// To let a member go, which asks for it itself.
    Leave(ViewMember),
    /// To cast something between two views.
    Sync(SyncCast),
}

/// A cast that is ordered against everything, since it is delivered where one view ends and the next begins.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SyncCast {
    /// Who cast it.
    pub by: ViewMember,
    /// Its number among the sync casts of that incarnation.
    pub number: u32,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// The next view and the cut of the old one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Value {
    /// Who does not go on, by rank, and why.
    pub removed: Vec<(Rank, Reason)>,
    /// Who comes, in the order of their new ranks, behind all who stay.
    pub joined: Vec<Introduction>,
    /// By rank: blocks of the old view before it are delivered by all who go on, and none from there on.
    pub cut: Vec<Seq>,
    /// Casts that are delivered between the two.
    pub syncs: Vec<SyncCast>,
}

/// A value that was proposed, with a member for each stream who reported to hold it up to the cut.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proposal {
    /// The ballot that it was proposed in.
    pub ballot: Ballot,
    /// What is proposed.
    pub value: Value,
    /// By rank. A hint: whoever acknowledges holds everything.
    pub holders: Vec<Rank>,
}

/// The members of a view, by rank.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Roster {
    /// The view's number.
    pub number: ViewNumber,
    /// Its members.
    pub members: Vec<Introduction>,
}

impl Roster {
    /// The rank of whoever sends from `endpoint`.
    #[must_use]
    pub fn rank_of(&self, endpoint: Endpoint) -> Option<Rank> {
        let at = self.members.iter().position(|known| known.member.endpoint == endpoint)?;
        Some(Rank(at as u16))
    }

    /// The rank of this incarnation.
    #[must_use]
    pub fn rank_of_member(&self, member: ViewMember) -> Option<Rank> {
        let at = self.members.iter().position(|known| known.member == member)?;
        Some(Rank(at as u16))
    }

    /// All ranks.
    pub fn ranks(&self) -> impl Iterator<Item = Rank> + use<> {
        (0..self.members.len() as u16).map(Rank)
    }

    /// The next view that `value` makes of this one.
    #[must_use]
    pub fn after(&self, value: &Value) -> Self {
        let stays = |rank: &Rank| !value.removed.iter().any(|(gone, _)| gone == rank);
        let stayed = self.ranks().filter(stays).map(|rank| self.members[rank.0 as usize]);
        let mut members: Vec<_> = stayed.chain(value.joined.iter().copied()).collect();
        if mutated!(WrongRanksAfterJoin) && !value.joined.is_empty() {
            members.rotate_right(usize::from(value.removed.is_empty()));
        }
        Self { number: ViewNumber(self.number.0 + 1), members }
    }

    /// Whether it can be one at all: each place has one member, and there is a number behind its own.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let mut places: Vec<_> = self.members.iter().map(|known| known.member.endpoint).collect();
        places.sort_unstable();
        places.windows(2).all(|two| two[0] != two[1]) && self.number.0 < u32::MAX
    }

    /// Whether `ranks` may decide for this view: more than half, or half of it with the oldest.
    #[must_use]
    pub fn is_quorum(&self, mut has: impl FnMut(Rank) -> bool) -> bool {
        let count = self.ranks().filter(|&rank| has(rank)).count();
        let (twice, all) = (2 * count, self.members.len());
        twice > all || twice == all && (has(Rank(0)) || mutated!(HalfIsPrimaryOnBothSides))
    }
}

#[cfg(test)]
impl Introduction {
    /// Of a small member.
    pub(crate) fn of(member: ViewMember) -> Self {
        Self {
            member,
            start: Seq(0),
            window: 8,
            receive_buffer: 1 << 20,
            coalesces: false,
            block: 256,
            rotating: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sistrum_ordering::BootId;

    fn introduction(at: u8) -> Introduction {
        let member =
            ViewMember { endpoint: Endpoint(([10, 0, 0, at], 7).into()), boot: BootId(u64::from(at)) };
        Introduction::of(member)
    }

    fn roster(count: u8) -> Roster {
        Roster { number: ViewNumber(4), members: (0..count).map(introduction).collect() }
    }

    #[test]
    fn two_quorums_always_meet() {
        for count in 1..=8 {
            let roster = roster(count);
            let is_quorum = |set: u32| roster.is_quorum(|rank| set & (1 << rank.0) != 0);
            for set in 0..1 << count {
                let rest = !set & ((1 << count) - 1);
                assert!(!(is_quorum(set) && is_quorum(rest)), "{set:b} of {count}");
                assert!(is_quorum(set) || is_quorum(rest), "{set:b} of {count}");
            }
        }
    }

    #[test]
    fn a_place_has_one_member() {
        let mut roster = roster(4);
        assert!(roster.is_sound());
        roster.members.push(introduction(2));
        assert!(!roster.is_sound());
        assert!(!Roster { number: ViewNumber(u32::MAX), members: Vec::new() }.is_sound());
    }

    #[test]
    fn who_stays_keeps_the_order_of_age() {
        let value = Value {
            removed: vec![(Rank(0), Reason::Left), (Rank(2), Reason::Suspected)],
            joined: vec![introduction(9)],
            cut: vec![Seq(0); 4],
            syncs: Vec::new(),
        };
        let next = roster(4).after(&value);
        assert_eq!(next.number, ViewNumber(5));
        assert_eq!(next.members, [1, 3, 9].map(introduction));
    }
}
