//! One group between two copies: how long its blocks take, and what became of its view.

use crate::joined::Joined;
use crate::{GroupInstance, Instant, Rank, Reason, Seq, View, ViewNumber};
use sistrum_membership as membership;
use sistrum_transport::engine::counters::Histogram;

/// See the module. What costs time is looked at once a cycle that did something, never for a message.
#[derive(Debug)]
pub(super) struct Watched {
    name: String,
    view: Option<(GroupInstance, ViewNumber)>,
    /// Why members last came or went, and when.
    cause: String,
    changed_at: Option<Instant>,
    views: u64,
    /// Since when the view changes.
    stopped_at: Option<Instant>,
    /// Blocks of mine that were sealed so far.
    sealed: Seq,
    followed: Option<Followed>,
    pauses: Histogram,
    stable: Histogram,
    delivered: Histogram,
}

/// Blocks of my stream that are followed until all have delivered them: then the next ones are.
#[derive(Debug, Clone, Copy)]
struct Followed {
    since: Instant,
    /// All before it.
    end: Seq,
    is_stable: bool,
}

impl Watched {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            view: None,
            cause: String::new(),
            changed_at: None,
            views: 0,
            stopped_at: None,
            sealed: Seq(0),
            followed: None,
            pauses: Histogram::default(),
            stable: Histogram::default(),
            delivered: Histogram::default(),
        }
    }

    /// Looks at what this cycle has changed. Tells whether other members are in the view now.
    #[inline]
    pub(super) fn look(&mut self, now: Instant, joined: &Joined) -> bool {
        let Joined::Member(group) = joined else { return false };
        let view = group.view().map(|view| (view.id().instance, view.id().number));
        let is_changed = view != self.view && self.enter(now, view, group);
        if joined.is_steady() {
            if let Some(since) = self.stopped_at.take() {
                self.pauses.record(now.since_ns(since));
            }
        } else if self.stopped_at.is_none() && self.views > 0 && !group.has_left() {
            self.stopped_at = Some(now);
        }
        self.follow(now, group);
        is_changed
    }

    #[inline]
    fn follow(&mut self, now: Instant, group: &membership::Group) {
        let Some(session) = group.session() else { return };
        let own = session.stream();
        let end = own.open();
        // When it was sealed is only known of what was sealed since the last cycle.
        let is_new = std::mem::replace(&mut self.sealed, end) != end;
        match &mut self.followed {
            None if is_new => self.followed = Some(Followed { since: now, end, is_stable: false }),
            None => {}
            Some(Followed { since, end, is_stable }) => {
                if !*is_stable && own.stable() >= *end {
                    *is_stable = true;
                    self.stable.record(now.since_ns(*since));
                }
                if *is_stable && own.delivered() >= *end {
                    self.delivered.record(now.since_ns(*since));
                    self.followed = None;
                }
            }
        }
    }

    /// There is another view, or none any more.
    #[cold]
    fn enter(
        &mut self,
        now: Instant,
        view: Option<(GroupInstance, ViewNumber)>,
        group: &membership::Group,
    ) -> bool {
        (self.view, self.followed) = (view, None);
        let Some(view) = group.view() else { return true };
        self.views += 1;
        let is_changed = !view.is_same();
        if is_changed {
            (self.cause, self.changed_at) = (cause(view), Some(now));
        }
        is_changed
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn cause(&self) -> &str {
        &self.cause
    }

    pub(super) fn changed_at(&self) -> Option<Instant> {
        self.changed_at
    }

    pub(super) fn views(&self) -> u64 {
        self.views
    }

    pub(super) fn pauses(&self) -> &Histogram {
        &self.pauses
    }

    pub(super) fn stable(&self) -> &Histogram {
        &self.stable
    }

    pub(super) fn delivered(&self) -> &Histogram {
        &self.delivered
    }
}

/// Who came and who went, and why, and who has the state now: a few of them by name.
fn cause(view: &View) -> String {
    let gone = view.gone().iter().map(|(member, why)| {
        let how = if *why == Reason::Left { "left" } else { "was suspected" };
        format!("{} {how}", member.endpoint)
    });
    let named = |rank: &Rank, how| Some(format!("{} {how}", view.member(*rank)?.endpoint));
    let came = view.came().iter().filter_map(|rank| named(rank, "came"));
    let readied = view.readied().iter().filter_map(|rank| named(rank, "has the state"));
    let mut all: Vec<String> = gone.chain(came).chain(readied).collect();
    let others = all.len().saturating_sub(MAX_NAMED);
    all.truncate(MAX_NAMED);
    if others > 0 {
        all.push(format!("and {others} more"));
    }
    all.join(", ")
}

/// Members that are named.
const MAX_NAMED: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BootId, Endpoint, GroupId, ViewId, ViewMember};
    use sistrum_ordering::Change;

    #[test]
    fn a_change_is_told_by_who_went_and_who_came() {
        let member = |port| ViewMember { endpoint: Endpoint(([127, 0, 0, 1], port).into()), boot: BootId(1) };
        let id = ViewId { group: GroupId(1), instance: GroupInstance(1), number: ViewNumber(2) };
        let gone = vec![(member(9), Reason::Suspected), (member(8), Reason::Left)];
        let change = Change { came: vec![Rank(1)], gone, ..Change::default() };
        let view = View::changed(id, vec![member(1), member(2)], Rank(0), change);
        assert_eq!(cause(&view), "127.0.0.1:9 was suspected, 127.0.0.1:8 left, 127.0.0.1:2 came");
        let readied = Change { readied: vec![Rank(1)], ..Change::default() };
        let view = View::changed(id, vec![member(1), member(2)], Rank(0), readied);
        assert_eq!(cause(&view), "127.0.0.1:2 has the state");
        let many = View::new(id, (1..8).map(member).collect(), Rank(0));
        assert!(cause(&many).ends_with("127.0.0.1:4 came, and 3 more"), "{}", cause(&many));
    }
}
