//! Watches on the views of a group, seen from inside or outside: each fires once, and says at once what is so already.
//!
//! After the `pg_watch` and `pg_monitor` of Isis (Birman and Joseph 1987).

use sistrum_ordering::{Endpoint, Reason, View, ViewMember};

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Until {
    /// Somebody at this place is a member.
    In(Endpoint),
    /// This incarnation is no member, whether it was one or not.
    Gone(ViewMember),
    /// Somebody is a member who was none when the watch began.
    Another,
    /// Somebody who was a member when the watch began is none.
    Fewer,
    /// There are so many members at least.
    Members(usize),
}

/// One watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchId(u64);

/// What has come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fired {
    /// The watch, which is over.
    pub watch: WatchId,
    /// Who it came about by: the last of those at the same time, by rank.
    pub member: Option<ViewMember>,
    /// Why it is gone, where that is known: an observer does not know.
    pub why: Option<Reason>,
}

/// The watches on one group.
#[derive(Debug, Default)]
pub struct Watches {
    next: u64,
    waiting: Vec<Watch>,
    /// Who was in the group when it was last seen.
    seen: Option<Vec<ViewMember>>,
}

#[derive(Debug)]
struct Watch {
    id: WatchId,
    until: Until,
    /// Members when it began.
    before: Vec<ViewMember>,
}

impl Watches {
    /// None, on a group that was not seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits until something is so; what is so already comes with it, and nothing more comes of that watch. Nothing is, before the group was seen.
    pub fn watch(&mut self, until: Until) -> (WatchId, Option<Fired>) {
        let id = WatchId(self.next);
        self.next += 1;
        let watch = Watch { id, until, before: self.seen.clone().unwrap_or_default() };
        let fired = self.seen.as_ref().and_then(|seen| watch.fires(seen, &[]));
        if fired.is_none() {
            self.waiting.push(watch);
        }
        (id, fired)
    }

    /// It is not waited for any more. Returns whether it was.
    pub fn cancel(&mut self, watch: WatchId) -> bool {
        let count = self.waiting.len();
        self.waiting.retain(|waiting| waiting.id != watch);
        self.waiting.len() < count
    }

    /// A member was told of this view. Returns what has come about with it, in the order of the watches.
    pub fn see(&mut self, view: &View) -> Vec<Fired> {
        self.see_all(view.members(), view.gone())
    }

    /// These are in the group, as an observer sees it: nobody, when [nobody answers](crate::ObserverEvent::Unseen).
    pub fn see_members(&mut self, members: &[ViewMember]) -> Vec<Fired> {
        self.see_all(members, &[])
    }

    fn see_all(&mut self, members: &[ViewMember], gone: &[(ViewMember, Reason)]) -> Vec<Fired> {
        self.seen = Some(members.to_vec());
        let mut all = Vec::new();
        self.waiting.retain(|watch| {
            let fired = watch.fires(members, gone);
            all.extend(fired);
            fired.is_none()
        });
        all
    }
}

impl Watch {
    fn fires(&self, members: &[ViewMember], gone: &[(ViewMember, Reason)]) -> Option<Fired> {
        let why_of = |who: ViewMember| gone.iter().find(|(member, _)| *member == who).map(|(_, why)| *why);
        let by =
            |member: ViewMember| Some(Fired { watch: self.id, member: Some(member), why: why_of(member) });
        let is_in = |who: &&ViewMember| members.contains(who);
        match self.until {
            Until::In(place) => members.iter().rfind(|member| member.endpoint == place).copied().and_then(by),
            Until::Gone(who) if members.contains(&who) => None,
            Until::Gone(who) => by(who),
            Until::Another => {
                members.iter().rfind(|member| !self.before.contains(member)).copied().and_then(by)
            }
            Until::Fewer => self.before.iter().rfind(|member| !is_in(member)).copied().and_then(by),
            Until::Members(count) if members.len() < count => None,
            Until::Members(_) => Some(Fired { watch: self.id, member: None, why: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sistrum_ordering::{BootId, Change, GroupId, GroupInstance, Rank, ViewId, ViewNumber};

    fn member(port: u16, boot: u64) -> ViewMember {
        ViewMember { endpoint: Endpoint(([127, 0, 0, 1], port).into()), boot: BootId(boot) }
    }

    fn view(members: &[ViewMember], gone: &[(ViewMember, Reason)]) -> View {
        let id = ViewId { group: GroupId(1), instance: GroupInstance(1), number: ViewNumber(2) };
        let change = Change { gone: gone.to_vec(), ..Change::default() };
        View::changed(id, members.to_vec(), Rank(0), change)
    }

    #[test]
    fn each_fires_once() {
        let (one, two, three) = (member(1, 1), member(2, 1), member(3, 1));
        let mut watches = Watches::new();
        assert_eq!(watches.see(&view(&[one, two], &[])), []);
        let (came, none) = watches.watch(Until::In(three.endpoint));
        let (another, _) = watches.watch(Until::Another);
        let (many, _) = watches.watch(Until::Members(3));
        let (gone, _) = watches.watch(Until::Gone(two));
        let (fewer, _) = watches.watch(Until::Fewer);
        assert_eq!(none, None);
        let fired = watches.see(&view(&[one, two, three], &[]));
        let by = |watch, member| Fired { watch, member, why: None };
        assert_eq!(fired, [by(came, Some(three)), by(another, Some(three)), by(many, None)]);
        let left = (two, Reason::Left);
        let fired = watches.see(&view(&[one, three], &[left]));
        let why = Some(Reason::Left);
        assert_eq!(fired, [gone, fewer].map(|watch| Fired { watch, member: Some(two), why }));
        assert_eq!(watches.see(&view(&[one], &[(three, Reason::Suspected)])), []);
    }

    #[test]
    fn what_is_so_already_is_said_at_once() {
        let (one, two) = (member(1, 1), member(2, 1));
        let mut watches = Watches::new();
        assert_eq!(watches.watch(Until::Gone(one)).1, None, "it was not seen yet");
        watches.see_members(&[one]);
        for until in [Until::In(one.endpoint), Until::Gone(two), Until::Gone(member(1, 0)), Until::Members(1)]
        {
            let (id, fired) = watches.watch(until);
            assert_eq!(fired.map(|fired| fired.watch), Some(id), "{until:?}");
        }
        assert_eq!(watches.see_members(&[two]).len(), 1, "but for the first, they are over");
    }

    #[test]
    fn a_newer_incarnation_is_somebody_else_at_the_same_place() {
        let (old, new) = (member(1, 1), member(1, 2));
        let mut watches = Watches::new();
        watches.see_members(&[old]);
        let (gone, _) = watches.watch(Until::Gone(old));
        let (another, _) = watches.watch(Until::Another);
        let (given_up, _) = watches.watch(Until::Members(9));
        assert!(watches.cancel(given_up) && !watches.cancel(given_up));
        let fired: Vec<_> =
            watches.see_members(&[new]).iter().map(|fired| (fired.watch, fired.member)).collect();
        assert_eq!(fired, [(gone, Some(old)), (another, Some(new))]);
        let (fewer, _) = watches.watch(Until::Fewer);
        assert_eq!(watches.see_members(&[])[0].watch, fewer, "the whole group is gone");
    }
}
