//! What tests of calls share: what is sent to one alone on its way, and the law of how a call ends.

use sistrum_membership::{Calls, Status, Want};
use sistrum_ordering::ViewMember;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;

/// What was sent to one alone, in the order of its sender.
#[derive(Debug, Default)]
pub(crate) struct Sent(BTreeMap<(ViewMember, ViewMember), VecDeque<Vec<u8>>>);

impl Sent {
    /// Takes what the calls of `me` have to send, as far as it may be sent now.
    pub(crate) fn post(&mut self, calls: &mut Calls, me: ViewMember, view: &[ViewMember]) {
        while let Some((rank, bytes)) = calls.poll_send() {
            let to = view[usize::from(rank.0)];
            // What is sent to one waits until what was sent to others before is held there.
            let is_held = |((from, other), sent): (&(ViewMember, ViewMember), &VecDeque<_>)| {
                *from != me || *other == to || sent.is_empty()
            };
            if !self.0.iter().all(is_held) {
                return;
            }
            self.of(me, to).push_back(bytes.to_vec());
            calls.sent();
        }
    }

    /// What is under way from one to another.
    pub(crate) fn of(&mut self, from: ViewMember, to: ViewMember) -> &mut VecDeque<Vec<u8>> {
        self.0.entry((from, to)).or_default()
    }

    /// Nothing is under way.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Whether a call that is over may be over so, by what became of it everywhere: as many real replies as are wanted, or nobody is left.
#[track_caller]
pub(crate) fn judge_end(name: impl Display, want: Want, replies: &[(ViewMember, Status)], is_enough: bool) {
    let count = |is_such: fn(&Status) -> bool| replies.iter().filter(|(_, status)| is_such(status)).count();
    let is_aborted = count(|status| matches!(status, Status::Aborted(_))) > 0;
    let all = count(|status| !matches!(status, Status::Forwarded(_)));
    let wanted = match want {
        Want::None => 0,
        Want::N(count) => count.min(all.max(1)),
        Want::All => all.max(1),
        Want::Majority => all / 2 + 1,
    };
    let real = count(|status| matches!(status, Status::Replied(_) | Status::Unsent(_)));
    assert!(!is_enough || real > 0 || want == Want::None, "{name}: nobody is enough");
    assert_eq!(is_enough, real >= wanted && !is_aborted, "{name}: {want:?} of {replies:?}");
    let nobody_left = count(|status| *status == Status::Waiting) == 0;
    assert!(is_enough || is_aborted || nobody_left, "{name} is over too early: {replies:?}");
}
