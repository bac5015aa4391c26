//! Calls, written down: who has called whom, what each has said to it, and what has come of it.

use super::{Event, History, Process, What};
use sistrum_membership::{Status, Want};
use sistrum_ordering::ViewMember;

/// One call; an index into [`History::calls`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Call(pub(crate) u32);

/// What is known of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Called {
    pub(crate) by: Process,
    pub(crate) whom: Whom,
    pub(crate) want: Want,
}

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    All,
    /// All but whoever calls.
    Others,
    One(ViewMember),
}

/// What a process did about a call, or was told of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Deed {
    Calls(Call),
    /// The request to all is delivered to its caller, or counts as that: who is asked is known.
    Delivered(Call),
    /// It is handed the request.
    Asked(Call),
    /// It answers.
    Says(Call, Status),
    /// This has become of its call so far, which goes on.
    Stands(Call, Vec<(ViewMember, Status)>),
    /// Its call is over: whether with enough replies, and what has become of it.
    Over(Call, bool, Vec<(ViewMember, Status)>),
    /// It was handed something that nobody says.
    Nonsense,
}

impl History {
    /// The name that the next call will have.
    pub(crate) fn next_call(&self) -> Call {
        Call(self.calls.len() as u32)
    }

    pub(crate) fn call(&mut self, at_ns: u64, by: Process, whom: Whom, want: Want) -> Call {
        let call = self.next_call();
        self.calls.push(Called { by, whom, want });
        self.push(at_ns, by, What::Call(Deed::Calls(call)));
        call
    }

    pub(crate) fn called(&self, call: Call) -> Called {
        self.calls[call.0 as usize]
    }

    /// How many calls there were, and how they ended.
    pub(crate) fn tally_of_calls(&self) -> [(&'static str, u64); 4] {
        let count = |is_such: fn(&Deed) -> bool| {
            let is_it = |event: &&Event| matches!(&event.what, What::Call(deed) if is_such(deed));
            self.events.iter().filter(is_it).count() as u64
        };
        [
            ("calls", self.calls.len() as u64),
            ("calls with enough replies", count(|deed| matches!(deed, Deed::Over(_, true, _)))),
            ("calls without", count(|deed| matches!(deed, Deed::Over(_, false, _)))),
            ("handed on", count(|deed| matches!(deed, Deed::Says(_, Status::Forwarded(_))))),
        ]
    }
}
