//! What was asked of a member: who wants to come in or to leave, and what is to be cast between two views.

use super::Agreement;
use super::value::{Introduction, MAX_MEMBERS, MAX_SYNC_BYTES, Op, Roster, Value};
use sistrum_ordering::{Rank, ViewMember};
use sistrum_transport::mutated;

/// Requests that wait for a change; more are not noted, and come again.
const MAX_PENDING: usize = 1024;

impl Agreement {
    /// Whether this incarnation is or was a member, or is older than one: boot ids grow.
    pub(super) fn has_been_in(&self, new: ViewMember) -> bool {
        let members = self.roster.members.iter().map(|known| known.member);
        members
            .chain(self.gone.iter().copied())
            .any(|known| known.endpoint == new.endpoint && known.boot >= new.boot)
    }

    /// Notes what is asked for; `false` when it is known, or can no longer be done.
    pub(super) fn note(&mut self, op: Op) -> bool {
        // A request may come late: after its sender has come in, and has gone.
        if matches!(&op, Op::Join(new) if self.has_been_in(new.member)) {
            return false;
        }
        if matches!(&op, Op::Ready(member) if !self.roster.is_joining_member(*member)) {
            return false;
        }
        let is_known = self.pending.iter().any(|known| match (known, &op) {
            // A newer incarnation of a joiner takes the place of the one before it.
            (Op::Join(known), Op::Join(new)) => {
                known.member.endpoint == new.member.endpoint && known.member.boot >= new.member.boot
            }
            (known, op) => known == op,
        });
        if is_known {
            return false;
        }
        if let Op::Join(new) = &op {
            let endpoint = new.member.endpoint;
            self.pending.retain(|known| !matches!(known, Op::Join(old) if old.member.endpoint == endpoint));
        }
        if !self.has_room_for(&op) {
            return false;
        }
        self.pending.push(op);
        true
    }

    /// Whether a change can hold it beside what is pending: what does not fit is not noted, and comes again.
    fn has_room_for(&self, op: &Op) -> bool {
        let joins = || self.pending.iter().filter(|op| matches!(op, Op::Join(_))).count();
        let bytes = |op: &Op| if let Op::Sync(cast) = op { cast.bytes.len() } else { 0 };
        let fits = match op {
            Op::Join(_) => joins() < self.room(),
            Op::Leave(_) | Op::Ready(_) => true,
            Op::Sync(_) => self.pending.iter().map(bytes).sum::<usize>() + bytes(op) <= MAX_SYNC_BYTES,
        };
        fits && self.pending.len() < MAX_PENDING
    }

    /// Whether something is wanted that a change of view would bring about.
    pub(super) fn wants_change(&self) -> bool {
        self.pending.iter().any(|op| !self.is_put_off(&self.roster, op))
    }

    /// Whether this is to wait, in such a view: the last ones who have the state leave when somebody of those who are joining has it.
    pub(super) fn is_put_off(&self, roster: &Roster, op: &Op) -> bool {
        let leaves = |rank: Rank| self.pending.contains(&Op::Leave(roster.members[rank.0 as usize].member));
        let has_state = |rank: &Rank| roster.has_state(*rank);
        matches!(op, Op::Leave(member) if roster.rank_of_member(*member).is_some_and(|rank| has_state(&rank)))
            && roster.ranks().filter(has_state).all(leaves)
            && !roster.joining.iter().copied().all(leaves)
    }

    /// How many may join, those who leave not counted.
    fn room(&self) -> usize {
        self.tuning.max_members.min(MAX_MEMBERS).saturating_sub(self.roster.members.len())
    }

    /// What was asked for and is done.
    pub(super) fn forget_done(&mut self, value: &Value) {
        let mut pending = std::mem::take(&mut self.pending);
        pending.retain(|op| match op {
            Op::Join(Introduction { member, .. }) => !self.has_been_in(*member),
            Op::Leave(member) => self.roster.rank_of_member(*member).is_some(),
            Op::Ready(member) => self.roster.is_joining_member(*member),
            // Nor does anybody hear of what the dead have cast.
            Op::Sync(sync) => {
                let is_done = value.syncs.contains(sync) && !mutated!(SyncTwice);
                !is_done && self.roster.rank_of_member(sync.by).is_some()
            }
        });
        // Joiners for whom there is no place any more ask again.
        let mut joins = 0..self.room();
        pending.retain(|op| !matches!(op, Op::Join(_)) || joins.next().is_some());
        self.pending = pending;
    }
}
