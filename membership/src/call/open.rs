//! One call at its caller: who has said what, and whether it is over.

use sistrum_ordering::ViewMember;
use sistrum_transport::mutated;
use std::collections::BTreeSet;

/// How many real replies end a call. More than there are destinations is all of them, and one at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// None: nobody replies, and the call is over when its request is delivered here.
    None,
    /// So many.
    N(usize),
    /// Those of all.
    All,
    /// Those of more than half.
    Majority,
}

impl Want {
    /// Whether anybody is to reply at all.
    pub(super) fn is_any(self) -> bool {
        !matches!(self, Self::None | Self::N(0))
    }
}

/// What has become of the request at one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Nothing so far.
    Waiting,
    /// This is its reply.
    Replied(Vec<u8>),
    /// It does not reply.
    Null,
    /// It has ended the call, and says why.
    Aborted(String),
    /// It has handed the request on.
    Forwarded(ViewMember),
    /// It is gone from the view.
    Dead,
    /// It has replied with so many bytes, for which there was no room in the letter to the client that asked.
    Unsent(usize),
}

/// A call that is not over.
#[derive(Debug)]
pub(super) struct Open {
    want: Want,
    /// Whether the request was delivered here: all destinations are known.
    is_delivered: bool,
    status: Vec<(ViewMember, Status)>,
    /// Who was handed it, and has not accepted it so far.
    handed: Vec<Handed>,
}

#[derive(Debug)]
struct Handed {
    from: ViewMember,
    to: ViewMember,
    /// What stood for `to` before: nothing, where it was not asked.
    before: Option<Status>,
}

impl Open {
    /// Of these destinations, where all are known: where the request was delivered here.
    pub(super) fn new(want: Want, destinations: Option<Vec<(ViewMember, Status)>>) -> Self {
        let is_delivered = destinations.is_some();
        Self { want, is_delivered, status: destinations.unwrap_or_default(), handed: Vec::new() }
    }

    /// The request has come to these, or will.
    pub(super) fn deliver(&mut self, asked: &[ViewMember]) {
        if std::mem::replace(&mut self.is_delivered, true) {
            return;
        }
        // They are asked themselves, whoever has handed it to them.
        self.handed.retain(|handed| handed.before.is_some() || !asked.contains(&handed.to));
        for member in asked {
            if !self.status.iter().any(|(known, _)| known == member) {
                self.status.push((*member, Status::Waiting));
            }
        }
    }

    /// Only these are there: who is gone will not reply.
    pub(super) fn bury(&mut self, there: &[ViewMember]) {
        for (who, status) in &mut self.status {
            if *status == Status::Waiting && !there.contains(who) && !mutated!(WaitForTheDead) {
                *status = Status::Dead;
            }
        }
    }

    /// To whom it was handed by somebody who is gone: they may not have got it.
    pub(super) fn unsure(&self, there: &[ViewMember]) -> BTreeSet<ViewMember> {
        let is_lost = |handed: &&Handed| !there.contains(&handed.from) && !mutated!(NeverAskAfter);
        self.handed.iter().filter(is_lost).map(|handed| handed.to).collect()
    }

    /// Nothing more will be learnt of it.
    pub(super) fn lose(mut self) -> (bool, Vec<(ViewMember, Status)>) {
        self.bury(&[]);
        (!self.want.is_any(), self.status)
    }

    /// What has become of it so far.
    pub(super) fn replies(&self) -> &[(ViewMember, Status)] {
        &self.status
    }

    /// What has become of it everywhere.
    pub(super) fn into_replies(self) -> Vec<(ViewMember, Status)> {
        self.status
    }

    /// One has handed it to another: it is waited for that one instead.
    pub(super) fn hand(&mut self, from: ViewMember, to: ViewMember, is_there: bool) {
        if !self.set(from, Status::Forwarded(to)) {
            return;
        }
        let waiting = if is_there { Status::Waiting } else { Status::Dead };
        let before = match self.status.iter_mut().find(|(known, _)| *known == to) {
            None => {
                self.status.push((to, waiting));
                None
            }
            // It has handed it on itself, and is asked again.
            Some((_, status)) if matches!(status, Status::Forwarded(_)) && is_there => {
                Some(std::mem::replace(status, waiting))
            }
            // It is waited for by reason of another.
            Some(_) => match self.handed.iter().find(|handed| handed.to == to) {
                Some(handed) => handed.before.clone(),
                None => return,
            },
        };
        self.handed.push(Handed { from, to, before });
    }

    /// It has the request, and will answer.
    pub(super) fn accept(&mut self, who: ViewMember) {
        self.handed.retain(|handed| handed.to != who);
    }

    /// It has not got the request from those who are gone, and will not.
    pub(super) fn miss(&mut self, who: ViewMember, there: &[ViewMember]) {
        let is_lost = |handed: &mut Handed| handed.to == who && !there.contains(&handed.from);
        let lost: Vec<Handed> = self.handed.extract_if(.., is_lost).collect();
        for handed in &lost {
            let status = self.status.iter_mut().find(|(known, _)| *known == handed.from);
            status.into_iter().for_each(|(_, status)| *status = Status::Dead);
        }
        let Some(Handed { before, .. }) = lost.into_iter().next() else { return };
        if self.handed.iter().any(|handed| handed.to == who) {
            return;
        }
        let at = self.status.iter().position(|known| *known == (who, Status::Waiting));
        match (at, before) {
            (Some(at), Some(before)) => self.status[at].1 = before,
            (Some(at), None) => _ = self.status.remove(at),
            (None, _) => {}
        }
    }

    /// Notes what a destination has said: what it says first counts, but who has handed it on may come to answer.
    pub(super) fn set(&mut self, who: ViewMember, said: Status) -> bool {
        match self.status.iter_mut().find(|(known, _)| *known == who) {
            Some((_, status)) if *status == Status::Waiting => *status = said,
            Some((_, status @ Status::Forwarded(_)))
                if matches!(said, Status::Replied(_) | Status::Aborted(_)) =>
            {
                *status = said;
            }
            // The request was delivered there, and not here yet.
            None if !self.is_delivered => self.status.push((who, said)),
            Some(_) | None => return false,
        }
        true
    }

    fn count(&self, is_such: impl Fn(&Status) -> bool) -> usize {
        self.status.iter().filter(|(_, status)| is_such(status)).count()
    }

    /// Whether it is over, and with enough replies.
    pub(super) fn verdict(&self) -> Option<bool> {
        if self.count(|status| matches!(status, Status::Aborted(_))) > 0 {
            return Some(false);
        }
        if !self.is_delivered && !mutated!(RepliesBeforeDelivery) {
            return None;
        }
        // Who has handed it on is no destination: who it was handed to is.
        let is_destination =
            |status: &Status| !matches!(status, Status::Forwarded(_)) || mutated!(WaitForTheForwarder);
        let all = self.count(is_destination);
        let wanted = match self.want {
            Want::None => 0,
            Want::N(count) if mutated!(WantUnclamped) => count,
            // Nobody is not enough.
            Want::N(count) => count.min(all.max(1)),
            Want::All => all.max(1),
            Want::Majority => all / 2 + 1,
        };
        let is_reply = |status: &Status| match status {
            Status::Replied(_) => true,
            Status::Null => mutated!(NullIsReply),
            _ => false,
        };
        let is_enough = self.count(is_reply) >= wanted;
        let is_over = is_enough || self.count(|status| *status == Status::Waiting) == 0;
        is_over.then_some(is_enough)
    }
}
