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
    /// Whether it keeps the group's state: it takes it over when it joins, and hands it on to those who join later.
    pub keeps_state: bool,
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
    /// To count a member that was joining as one that has the group's state: it asks for that itself.
    Ready(ViewMember),
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
    /// Who of the old view, by rank, was joining and has the state now.
    pub ready: Vec<Rank>,
    /// The next view is that of a group: as many as are expected have come to this one, or to one before it.
    pub formed: bool,
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
    /// Those who have not got the group's state yet, in the order of their ranks. They get everything, but do not vote.
    pub joining: Vec<Rank>,
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
        let joining = self.joining_after(value);
        if mutated!(WrongRanksAfterJoin) && !value.joined.is_empty() {
            members.rotate_right(usize::from(value.removed.is_empty()));
        }
        Self { number: ViewNumber(self.number.0 + 1), members, joining }
    }

    /// Who has not got the state in the view that `value` makes: of those who stay, who was joining and is not ready; of those who come, who
    /// keeps state where somebody has it.
    fn joining_after(&self, value: &Value) -> Vec<Rank> {
        let stays = |rank: &Rank| !value.removed.iter().any(|(gone, _)| gone == rank);
        let is_joining = |rank: Rank| self.is_joining(rank) && !value.ready.contains(&rank);
        let stayed: Vec<Rank> = self.ranks().filter(stays).collect();
        let has_state = |rank: &Rank| !is_joining(*rank) && self.members[rank.0 as usize].keeps_state;
        let is_there = stayed.iter().any(has_state);
        let staying = stayed.iter().map(|rank| is_joining(*rank));
        let coming = value.joined.iter().map(|known| known.keeps_state && is_there);
        (0..).map(Rank).zip(staying.chain(coming)).filter_map(|(rank, joins)| joins.then_some(rank)).collect()
    }

    /// Who has the state here, of those of whom `was_joining` is so in the view before.
    pub fn readied(&self, was_joining: impl Fn(ViewMember) -> bool) -> Vec<Rank> {
        let is_it =
            |rank: &Rank| !self.is_joining(*rank) && was_joining(self.members[rank.0 as usize].member);
        self.ranks().filter(is_it).collect()
    }

    /// Whether this member has not got the group's state yet.
    #[must_use]
    pub fn is_joining(&self, rank: Rank) -> bool {
        self.joining.binary_search(&rank).is_ok()
    }

    /// The same of an incarnation, where it is a member at all.
    #[must_use]
    pub fn is_joining_member(&self, member: ViewMember) -> bool {
        self.rank_of_member(member).is_some_and(|rank| self.is_joining(rank))
    }

    /// Whether this member has the group's state: where nobody keeps one, all have it.
    #[must_use]
    pub fn has_state(&self, rank: Rank) -> bool {
        let keeps = |rank: Rank| self.members[rank.0 as usize].keeps_state;
        !self.is_joining(rank) && (keeps(rank) || !self.ranks().any(keeps))
    }

    /// Those who keep no state though others do.
    pub fn stateless(&self) -> impl Iterator<Item = Rank> + '_ {
        self.ranks().filter(|rank| !self.is_joining(*rank) && !self.has_state(*rank))
    }

    /// Those who decide.
    pub fn voters(&self) -> impl Iterator<Item = Rank> + '_ {
        self.ranks().filter(|rank| !self.is_joining(*rank) || mutated!(JoiningVotes))
    }

    /// By rank, what each weighs where it is decided: a set [is a quorum](Self::is_quorum) where it has more than half of that. The oldest of
    /// those who decide has half a vote more.
    #[must_use]
    pub fn votes(&self) -> Vec<u8> {
        let oldest = self.voters().next();
        let votes = |rank: Rank| match self.is_joining(rank) && !mutated!(FirmByTheJoining) {
            true => 0,
            false => 2 + u8::from(Some(rank) == oldest),
        };
        self.ranks().map(votes).collect()
    }

    /// Whether it can be one at all: each place has one member, and there is a number behind its own.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let mut places: Vec<_> = self.members.iter().map(|known| known.member.endpoint).collect();
        places.sort_unstable();
        let is_ordered = self.joining.windows(2).all(|two| two[0] < two[1]);
        let are_members = self.joining.last().is_none_or(|last| usize::from(last.0) < self.members.len());
        let has_one_each = places.windows(2).all(|two| two[0] != two[1]);
        has_one_each && is_ordered && are_members && self.number.0 < u32::MAX
    }

    /// Whether `value` can be what ends this view, where `holders` hold its streams.
    #[must_use]
    pub fn may_be_followed_by(&self, value: &Value, holders: &[Rank]) -> bool {
        let count = self.members.len();
        let is_member = |rank: Rank| (rank.0 as usize) < count;
        let is_shaped = value.cut.len() == count
            && holders.len() == count
            && holders.iter().all(|rank| is_member(*rank))
            && value.removed.iter().map(|(rank, _)| rank).chain(&value.ready).all(|rank| is_member(*rank));
        is_shaped && self.after(value).is_sound()
    }

    /// Whether `ranks` may decide for this view: more than half of those who vote, or half of them with the oldest.
    #[must_use]
    pub fn is_quorum(&self, mut has: impl FnMut(Rank) -> bool) -> bool {
        let count = self.voters().filter(|&rank| has(rank)).count();
        let (twice, all) = (2 * count, self.voters().count());
        let mut has_oldest = || self.voters().next().is_some_and(&mut has);
        twice > all || twice == all && (has_oldest() || mutated!(HalfIsPrimaryOnBothSides))
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
            keeps_state: false,
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
        Roster { number: ViewNumber(4), members: (0..count).map(introduction).collect(), joining: Vec::new() }
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
    fn a_quorum_has_more_than_half_of_the_votes_and_meets_each_other_one() {
        for count in 1..=6 {
            for joining in 0..1_u32 << count {
                let is_in = |set: u32, rank: Rank| set & (1 << rank.0) != 0;
                let ranks: Vec<Rank> = (0..u16::from(count)).map(Rank).collect();
                let joining = ranks.iter().copied().filter(|rank| is_in(joining, *rank)).collect();
                let roster = Roster { joining, ..roster(count) };
                let votes = roster.votes();
                let all: u32 = votes.iter().map(|votes| u32::from(*votes)).sum();
                for set in 0..1 << count {
                    let its = ranks.iter().filter(|rank| is_in(set, **rank));
                    let its: u32 = its.map(|rank| u32::from(votes[usize::from(rank.0)])).sum();
                    assert_eq!(
                        roster.is_quorum(|rank| is_in(set, rank)),
                        2 * its > all,
                        "{set:b} {roster:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_place_has_one_member() {
        let mut roster = roster(4);
        assert!(roster.is_sound());
        roster.members.push(introduction(2));
        assert!(!roster.is_sound());
        assert!(!Roster { number: ViewNumber(u32::MAX), ..self::roster(0) }.is_sound());
        let joining = |joining: &[u16]| Roster {
            joining: joining.iter().copied().map(Rank).collect(),
            ..self::roster(4)
        };
        assert!(joining(&[1, 3]).is_sound());
        assert!(!joining(&[4]).is_sound() && !joining(&[2, 1]).is_sound() && !joining(&[1, 1]).is_sound());
    }

    #[test]
    fn who_is_joining_does_not_vote() {
        let roster = Roster { joining: vec![Rank(2), Rank(3), Rank(4)], ..roster(5) };
        let is_quorum = |ranks: &[u16]| roster.is_quorum(|rank| ranks.contains(&rank.0));
        assert!(is_quorum(&[0, 1]) && is_quorum(&[0]), "half with the oldest");
        assert!(!is_quorum(&[1, 2, 3, 4]));
        assert!(
            !Roster { joining: vec![Rank(0)], ..self::roster(1) }.is_quorum(|_| true),
            "nobody has the state"
        );
    }

    #[test]
    fn who_comes_is_joining_until_it_is_ready_where_somebody_has_the_state() {
        let with_state = |at| Introduction { keeps_state: true, ..introduction(at) };
        let mut roster = Roster { members: vec![with_state(1), introduction(2)], ..roster(0) };
        let mut change = |joined: Vec<Introduction>, removed: &[u16], ready: &[u16]| {
            let removed = removed.iter().map(|rank| (Rank(*rank), Reason::Left)).collect();
            let ready = ready.iter().copied().map(Rank).collect();
            roster = roster.after(&Value {
                removed,
                joined,
                cut: Vec::new(),
                syncs: Vec::new(),
                ready,
                formed: true,
            });
            roster.joining.iter().map(|rank| rank.0).collect::<Vec<_>>()
        };
        assert_eq!(change(vec![with_state(3), introduction(4)], &[], &[]), [2]);
        assert_eq!(change(vec![with_state(5)], &[1], &[]), [1, 3]);
        assert_eq!(change(Vec::new(), &[], &[1]), [3]);
        assert_eq!(change(Vec::new(), &[0], &[3]), [] as [u16; 0]);
        assert_eq!(change(vec![with_state(6)], &[0, 2], &[]), [] as [u16; 0], "nobody has it");
    }

    #[test]
    fn who_stays_keeps_the_order_of_age() {
        let value = Value {
            removed: vec![(Rank(0), Reason::Left), (Rank(2), Reason::Suspected)],
            joined: vec![introduction(9)],
            cut: vec![Seq(0); 4],
            syncs: Vec::new(),
            ready: Vec::new(),
            formed: true,
        };
        let next = roster(4).after(&value);
        assert_eq!(next.number, ViewNumber(5));
        assert_eq!(next.members, [1, 3, 9].map(introduction));
    }
}
