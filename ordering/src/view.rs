//! The view: who is in the group, ranked by age. A plain value that is handed to every layer.

use crate::{BootId, Endpoint, GroupId, GroupInstance, Rank, ViewNumber};
use std::fmt;

/// Names one view of one life of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ViewId {
    /// The group.
    pub group: GroupId,
    /// Its life.
    pub instance: GroupInstance,
    /// The view's number in that life.
    pub number: ViewNumber,
}

/// One member: where it is, and which incarnation of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewMember {
    /// Where it sends from.
    pub endpoint: Endpoint,
    /// A restarted process is another member.
    pub boot: BootId,
}

/// Why a member is not in the next view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It was suspected, or its answer did not come before it was.
    Suspected,
    /// It asked for it.
    Left,
}

/// What a view says of the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// Who is new, in the order of their ranks.
    pub came: Vec<Rank>,
    /// Who does not go on, in the order of their old ranks, and why.
    pub gone: Vec<(ViewMember, Reason)>,
    /// Who was [joining](View::joining) and has the group's state now, in the order of their ranks.
    pub readied: Vec<Rank>,
}

/// Members, ranked by age. A new view builds new state: nothing of the old one leaks into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    id: ViewId,
    members: Vec<ViewMember>,
    me: Rank,
    change: Change,
    joining: Vec<Rank>,
    stateless: Vec<Rank>,
}

impl View {
    /// The view `id` with these members, of which I am `me`. All of them are new: there was no view before.
    ///
    /// # Panics
    /// When `me` is no rank of `members` or an endpoint stands in it twice: a view that was agreed on never does.
    #[must_use]
    pub fn new(id: ViewId, members: Vec<ViewMember>, me: Rank) -> Self {
        let came = (0..members.len() as u16).map(Rank).collect();
        Self::changed(id, members, me, Change { came, ..Change::default() })
    }

    /// Likewise, behind a view from which `change` led here.
    ///
    /// # Panics
    /// Likewise.
    #[must_use]
    pub fn changed(id: ViewId, members: Vec<ViewMember>, me: Rank, change: Change) -> Self {
        assert!((me.0 as usize) < members.len(), "a process that installs a view is in it");
        let twice = members
            .iter()
            .enumerate()
            .any(|(at, member)| members[..at].iter().any(|other| other.endpoint == member.endpoint));
        assert!(!twice, "a member has one rank");
        Self { id, members, me, change, joining: Vec::new(), stateless: Vec::new() }
    }

    /// The view `id` with these members, as one sees it who reads it and is in none: its rank is [`Rank::READER`].
    ///
    /// # Panics
    /// When an endpoint stands in it twice.
    #[must_use]
    pub fn read(id: ViewId, members: Vec<ViewMember>, change: Change) -> Self {
        Self { me: Rank::READER, ..Self::changed(id, members, Rank(0), change) }
    }

    /// The same, where these have not got the group's state yet, in the order of their ranks.
    #[must_use]
    pub fn with_joining(self, joining: Vec<Rank>) -> Self {
        Self { joining, ..self }
    }

    /// The same, where these keep no state though others do, in the order of their ranks.
    #[must_use]
    pub fn with_stateless(self, stateless: Vec<Rank>) -> Self {
        Self { stateless, ..self }
    }

    /// The same, behind a view from which `change` led here.
    #[must_use]
    pub fn behind(self, change: Change) -> Self {
        Self { change, ..self }
    }

    /// Whether nobody came, went or got the state: only its number is new.
    #[must_use]
    pub fn is_same(&self) -> bool {
        let Change { came, gone, readied } = &self.change;
        came.is_empty() && gone.is_empty() && readied.is_empty()
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> ViewId {
        self.id
    }

    /// The members, by rank.
    #[must_use]
    pub fn members(&self) -> &[ViewMember] {
        &self.members
    }

    /// My rank; [`Rank::READER`] where I am not in it.
    #[must_use]
    pub fn me(&self) -> Rank {
        self.me
    }

    /// Who is new in it, in the order of their ranks.
    #[must_use]
    pub fn came(&self) -> &[Rank] {
        &self.change.came
    }

    /// Who was in the view before it and does not go on, and why.
    #[must_use]
    pub fn gone(&self) -> &[(ViewMember, Reason)] {
        &self.change.gone
    }

    /// Who was joining in the view before it and has the group's state now, in the order of their ranks.
    #[must_use]
    pub fn readied(&self) -> &[Rank] {
        &self.change.readied
    }

    /// Those who have not got the group's state yet, in the order of their ranks: they are handed everything, and count nowhere else.
    #[must_use]
    pub fn joining(&self) -> &[Rank] {
        &self.joining
    }

    /// Those who keep no state though others do, in the order of their ranks: they are handed messages, and serve nobody.
    #[must_use]
    pub fn stateless(&self) -> &[Rank] {
        &self.stateless
    }

    /// Whether this member counts where it is decided: it waits for no state.
    #[must_use]
    pub fn is_ready(&self, rank: Rank) -> bool {
        (rank.0 as usize) < self.members.len() && !self.joining.contains(&rank)
    }

    /// Whether this member has the group's state: where nobody keeps one, all have it.
    #[must_use]
    pub fn has_state(&self, rank: Rank) -> bool {
        self.is_ready(rank) && !self.stateless.contains(&rank)
    }

    /// Who goes on with me from the view before it: exactly those will have been handed the same messages in it. Nobody but
    /// me where I am new myself. This is the transitional set of Chockler, Keidar and Vitenberg (2001).
    pub fn with_me(&self) -> impl Iterator<Item = Rank> {
        let am_new = self.came().contains(&self.me);
        let ranks = (0..self.members.len() as u16).map(Rank);
        ranks.filter(move |rank| *rank == self.me || (!am_new && !self.came().contains(rank)))
    }

    /// The member of this rank.
    #[must_use]
    pub fn member(&self, rank: Rank) -> Option<&ViewMember> {
        self.members.get(rank.0 as usize)
    }

    /// The rank of whoever sends from this endpoint.
    #[must_use]
    pub fn rank_of(&self, endpoint: Endpoint) -> Option<Rank> {
        self.members.iter().position(|member| member.endpoint == endpoint).map(|rank| Rank(rank as u16))
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} members", self.id.number, self.members.len())?;
        if self.me == Rank::READER { Ok(()) } else { write!(f, ", I am {}", self.me) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(port: u16) -> ViewMember {
        ViewMember { endpoint: Endpoint(([127, 0, 0, 1], port).into()), boot: BootId(u64::from(port)) }
    }

    fn id() -> ViewId {
        ViewId { group: GroupId(1), instance: GroupInstance(2), number: ViewNumber(1) }
    }

    #[test]
    fn ranks_and_endpoints_name_each_other() {
        let view = View::new(id(), vec![member(10), member(20)], Rank(1));
        assert_eq!(view.rank_of(member(20).endpoint), Some(Rank(1)));
        assert_eq!(view.rank_of(member(30).endpoint), None);
        assert_eq!(view.member(Rank(0)), Some(&member(10)));
        assert_eq!(view.member(Rank(2)), None);
    }

    #[test]
    fn a_view_knows_who_came_and_who_comes_along() {
        let (members, gone) = (vec![member(10), member(20), member(30)], vec![(member(40), Reason::Left)]);
        let change = Change { came: vec![Rank(2)], gone: gone.clone(), readied: Vec::new() };
        let view = |me| View::changed(id(), members.clone(), me, change.clone());
        assert!(view(Rank(1)).with_me().eq([Rank(0), Rank(1)]));
        assert!(view(Rank(2)).with_me().eq([Rank(2)]), "who is new comes from nowhere");
        assert_eq!(view(Rank(0)).gone(), gone);
        let first = View::new(id(), members.clone(), Rank(1));
        assert_eq!((first.came().len(), first.with_me().collect()), (3, vec![Rank(1)]));
    }

    #[test]
    #[should_panic(expected = "is in it")]
    fn nobody_installs_a_view_without_himself() {
        let _ = View::new(id(), vec![member(10)], Rank(1));
    }

    #[test]
    #[should_panic(expected = "one rank")]
    fn no_endpoint_has_two_ranks() {
        let _ = View::new(id(), vec![member(10), member(10)], Rank(1));
    }
}
