//! ReplyLaw: a call is over once, exactly when as many real replies are there as are wanted, or nobody is left who could give one.
//!
//! Who is asked is who is in the view in which the request is delivered to its caller, and has the group's state. What is told of each destination has come about:
//! who has replied, has said that, while it was in the caller's view; who is dead is not in it; who is waited for is. What one has said
//! first stays. In the end no call of the living goes on, and all who live and were called by one who lives have been asked.

use super::chain::having_state;
use crate::sim::history::calls::{Call, Called, Deed, Whom};
use crate::sim::history::{History, Process, What};
use sistrum_membership::{Status, Want};
use sistrum_ordering::{View, ViewMember};
use std::collections::BTreeMap;

/// What has become of a call, at each that it concerns.
type Replies = Vec<(ViewMember, Status)>;

/// The first fault of any call.
pub(super) fn check(history: &History) -> Option<String> {
    if history.calls.is_empty() {
        return None;
    }
    let mut walk = Walk {
        history,
        views: vec![None; history.processes.len()],
        known: vec![Known::default(); history.calls.len()],
    };
    let step = |event: &crate::sim::history::Event| walk.step(event.process, &event.what);
    history.events.iter().find_map(step).or_else(|| walk.end())
}

/// Whether a call is over, and with enough replies, when so much is known of it.
fn law(want: Want, replies: &Replies, is_delivered: bool) -> Option<bool> {
    let count = |is_such: fn(&Status) -> bool| replies.iter().filter(|(_, status)| is_such(status)).count();
    if count(|status| matches!(status, Status::Aborted(_))) > 0 {
        return Some(false);
    }
    if !is_delivered {
        return None;
    }
    let all = count(|status| !matches!(status, Status::Forwarded(_)));
    let wanted = match want {
        Want::None => 0,
        Want::N(count) => count.min(all.max(1)),
        Want::All => all.max(1),
        Want::Majority => all / 2 + 1,
    };
    let is_enough = count(|status| matches!(status, Status::Replied(_))) >= wanted;
    let is_left = count(|status| *status == Status::Waiting) > 0;
    (is_enough || !is_left).then_some(is_enough)
}

/// What is known of a call so far.
#[derive(Debug, Clone, Default)]
struct Known {
    destinations: Option<Vec<ViewMember>>,
    stands: Replies,
    is_over: bool,
    /// What each has said, and how often each was asked.
    said: Replies,
    asked: BTreeMap<ViewMember, usize>,
}

struct Walk<'a> {
    history: &'a History,
    /// The view that each process was told of.
    views: Vec<Option<View>>,
    known: Vec<Known>,
}

impl Walk<'_> {
    fn step(&mut self, process: Process, what: &What) -> Option<String> {
        let at = usize::from(process.0);
        let deed = match what {
            What::Install(view) => {
                self.views[at] = Some((**view).clone());
                return None;
            }
            What::Excluded(_) => {
                self.views[at] = None;
                return None;
            }
            What::Call(deed) => deed,
            _ => return None,
        };
        let call = match deed {
            Deed::Calls(call)
            | Deed::Delivered(call)
            | Deed::Asked(call)
            | Deed::Says(call, _)
            | Deed::Stands(call, _)
            | Deed::Over(call, ..) => *call,
            Deed::Nonsense => return Some(format!("{} was handed nonsense", self.history.name(process))),
        };
        let wrong = match self.known.get(call.0 as usize) {
            Some(_) => self.judge(process, call, deed)?,
            None => "nobody has made it".to_owned(),
        };
        Some(format!("call {} at {}: {wrong}", call.0, self.history.name(process)))
    }

    fn judge(&mut self, process: Process, call: Call, deed: &Deed) -> Option<String> {
        let me = self.history.who(process).member?;
        let view = self.views[usize::from(process.0)].as_ref();
        let Called { by, whom, want } = self.history.called(call);
        let known = &mut self.known[call.0 as usize];
        if by != process && !matches!(deed, Deed::Asked(_) | Deed::Says(..)) {
            return Some("it is another's".to_owned());
        }
        match deed {
            Deed::Calls(_) => {
                if let Whom::One(to) = whom {
                    known.destinations = Some(vec![to]);
                }
                None
            }
            Deed::Delivered(_) => {
                let is_asked = |member: &ViewMember| whom == Whom::All || *member != me;
                let asked =
                    view.into_iter().flat_map(having_state).filter(|member| is_asked(member)).collect();
                let before = known.destinations.replace(asked);
                before.map(|_| "it is delivered twice".to_owned())
            }
            Deed::Asked(_) => {
                let asked = known.asked.entry(me).or_default();
                *asked += 1;
                let is_called = match whom {
                    Whom::All => true,
                    Whom::Others => by != process,
                    Whom::One(to) => to == me,
                };
                let handed = known.said.iter().filter(|(_, said)| *said == Status::Forwarded(me)).count();
                let most = handed + usize::from(is_called);
                (*asked > most).then(|| format!("it is asked {asked} times, {most} would be right"))
            }
            Deed::Nonsense => None,
            Deed::Says(_, status) => {
                known.said.push((me, status.clone()));
                None
            }
            Deed::Stands(_, replies) => {
                let wrong = known.change(replies, view);
                let is_over = law(want, replies, known.destinations.is_some()).is_some();
                wrong.or_else(|| is_over.then(|| format!("it goes on: {want:?} of {replies:?}")))
            }
            Deed::Over(_, is_enough, replies) => {
                let wrong = known.change(replies, view);
                let expected = match view {
                    Some(_) => law(want, replies, known.destinations.is_some()),
                    // Who is in no view hears nothing more.
                    None => Some(matches!(want, Want::None | Want::N(0))),
                };
                let is_twice = std::mem::replace(&mut known.is_over, true);
                wrong.or_else(|| is_twice.then(|| "it is over twice".to_owned())).or_else(|| {
                    let is_right = expected == Some(*is_enough);
                    (!is_right).then(|| format!("is enough {is_enough}: {want:?} of {replies:?}"))
                })
            }
        }
    }

    /// Nothing of the living goes on for ever.
    fn end(&self) -> Option<String> {
        let history = self.history;
        let is_there = |process: Process| history.endings.iter().any(|ending| ending.process == process);
        for (called, (at, known)) in history.calls.iter().zip((0..).zip(&self.known)) {
            if !is_there(called.by) {
                continue;
            }
            if !known.is_over {
                let (who, stands) = (history.name(called.by), &known.stands);
                return Some(format!("call {at} of {who} is never over: {:?} of {stands:?}", called.want));
            }
            let destinations = known.destinations.iter().flatten();
            let lives = |member: &&ViewMember| {
                history
                    .all()
                    .any(|process| is_there(process) && history.who(process).member == Some(**member))
            };
            if let Some(member) = destinations.filter(lives).find(|member| !known.asked.contains_key(member))
            {
                return Some(format!("call {at} of {} never came to {member:?}", history.name(called.by)));
            }
        }
        None
    }
}

impl Known {
    /// This has become of it now; tells what cannot be.
    fn change(&mut self, replies: &Replies, view: Option<&View>) -> Option<String> {
        let is_there = |who: &ViewMember| view.is_some_and(|view| view.members().contains(who));
        let find = |replies: &Replies, who: &ViewMember| {
            replies.iter().find(|(known, _)| known == who).map(|(_, status)| status.clone())
        };
        let is_handed = |who: &ViewMember| {
            self.said.iter().any(|(_, said)| matches!(said, Status::Forwarded(to) if to == who))
        };
        for (who, status) in replies {
            let before = find(&self.stands, who);
            if before.as_ref() == Some(status) {
                continue;
            }
            let is_asked = self.destinations.as_ref().is_none_or(|asked| asked.contains(who));
            if !is_asked && !is_handed(who) {
                return Some(format!("{who:?} was never asked"));
            }
            let stays =
                matches!(before, Some(Status::Replied(_) | Status::Null | Status::Aborted(_) | Status::Dead));
            if stays {
                return Some(format!("{who:?} was {before:?}, and is {status:?}"));
            }
            let is_so = match status {
                Status::Waiting => is_there(who),
                Status::Dead => !is_there(who),
                said => is_there(who) && self.said.contains(&(*who, said.clone())),
            };
            if !is_so {
                return Some(format!("{who:?} is {status:?}, which cannot be"));
            }
        }
        let is_lost = |who: &ViewMember| find(replies, who).is_none();
        let lost = self.stands.iter().find(|(who, status)| is_lost(who) && *status != Status::Waiting);
        let is_aborted = replies.iter().any(|(_, status)| matches!(status, Status::Aborted(_)));
        let missed = self.destinations.iter().flatten().find(|who| is_lost(who) && !is_aborted);
        let wrong = lost.map(|(who, _)| who).or(missed).map(|who| format!("nothing is told of {who:?}"));
        self.stands.clone_from(replies);
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::Ending;
    use crate::sim::history::tests::{Told, member};

    fn said(text: &str) -> Status {
        Status::Replied(text.as_bytes().to_vec())
    }

    fn replies<const N: usize>(all: [(u16, Status); N]) -> Replies {
        all.into_iter().map(|(at, status)| (member(at, 1), status)).collect()
    }

    /// Three members in a view, the first of whom has called the others, and been handed its request; the second replies.
    fn told(want: Want) -> (Told, Call) {
        let mut told = Told::dynamic(3);
        told.install(1, &[0, 1, 2], &[0, 1, 2]);
        let call = told.0.call(0, Process(0), Whom::Others, want);
        told.push(0, What::Call(Deed::Delivered(call)));
        told.push(1, What::Call(Deed::Asked(call)));
        told.push(1, What::Call(Deed::Says(call, said("I"))));
        told.push(0, What::Call(Deed::Stands(call, replies([(1, Status::Waiting), (2, Status::Waiting)]))));
        (told, call)
    }

    /// What is said against a call that then ends so.
    fn judged<const N: usize>(
        (mut told, call): (Told, Call),
        is_enough: bool,
        all: [(u16, Status); N],
    ) -> Option<String> {
        told.push(0, What::Call(Deed::Over(call, is_enough, replies(all))));
        check(&told.0)
    }

    #[test]
    fn a_call_ends_by_the_law() {
        use Status::{Dead, Null, Waiting};
        assert_eq!(judged(told(Want::N(1)), true, [(1, said("I")), (2, Waiting)]), None);
        let early = judged(told(Want::All), false, [(1, said("I")), (2, Waiting)]);
        assert!(early.unwrap().contains("is enough false"));
        let bold = judged(told(Want::Majority), true, [(1, said("I")), (2, Waiting)]);
        assert!(bold.unwrap().contains("is enough true"));
        for (all, how) in [
            ([(1, said("you")), (2, Waiting)], "cannot be"),
            ([(1, said("I")), (2, Dead)], "cannot be"),
            ([(1, said("I")), (2, Null)], "cannot be"),
            ([(1, said("I")), (0, Waiting)], "never asked"),
        ] {
            assert!(judged(told(Want::N(1)), true, all).unwrap().contains(how));
        }
        let forgotten = judged(told(Want::N(1)), true, [(1, said("I"))]);
        assert!(forgotten.unwrap().contains("nothing is told of"));
    }

    #[test]
    fn who_is_gone_is_dead_and_does_not_reply() {
        let gone = || {
            let (mut told, call) = told(Want::All);
            told.install(2, &[0, 2], &[]);
            told.push(2, What::Call(Deed::Asked(call)));
            told.push(2, What::Call(Deed::Says(call, Status::Null)));
            (told, call)
        };
        let late = judged(gone(), false, [(1, said("I")), (2, Status::Null)]);
        assert!(late.unwrap().contains("cannot be"));
        let (mut good, call) = gone();
        good.push(0, What::Call(Deed::Over(call, false, replies([(1, Status::Dead), (2, Status::Null)]))));
        good.0.endings.push(Ending { process: Process(0), is_settled: true, is_idle: true, beyond: 0 });
        assert_eq!(check(&good.0), None);
        good.push(0, What::Call(Deed::Over(call, false, replies([(1, Status::Dead), (2, Status::Null)]))));
        assert!(check(&good.0).unwrap().contains("over twice"));
        // One who hears nothing of it, and one who waits although nobody is left.
        let (mut open, call) = gone();
        open.0.endings.push(Ending { process: Process(0), is_settled: true, is_idle: true, beyond: 0 });
        assert!(check(&open.0).unwrap().contains("never over"));
        open.push(0, What::Call(Deed::Stands(call, replies([(1, Status::Dead), (2, Status::Null)]))));
        assert!(check(&open.0).unwrap().contains("goes on"));
    }

    #[test]
    fn what_one_has_said_stays_and_each_is_asked_once() {
        let (mut told, call) = told(Want::All);
        told.push(0, What::Call(Deed::Stands(call, replies([(1, said("I")), (2, Status::Waiting)]))));
        let mut changed = Told(told.0.clone());
        changed
            .push(0, What::Call(Deed::Stands(call, replies([(1, Status::Waiting), (2, Status::Waiting)]))));
        assert!(check(&changed.0).unwrap().contains("was Some(Replied"));
        // One hands it on to the first, who is asked by that, and not once more.
        told.push(2, What::Call(Deed::Asked(call)));
        told.push(2, What::Call(Deed::Says(call, Status::Forwarded(member(0, 1)))));
        told.push(0, What::Call(Deed::Asked(call)));
        let handed = [(1, said("I")), (2, Status::Forwarded(member(0, 1))), (0, Status::Waiting)];
        told.push(0, What::Call(Deed::Stands(call, replies(handed))));
        assert_eq!(check(&told.0), None);
        told.push(0, What::Call(Deed::Asked(call)));
        assert!(check(&told.0).unwrap().contains("asked 2 times"));
    }
}
