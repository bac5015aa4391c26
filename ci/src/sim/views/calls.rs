//! What an application does with calls: it calls, and answers one way or another, soon or late. All of it is written down.

use crate::sim::history::calls::{Call, Deed, Whom};
use crate::sim::history::{History, Process, What};
use fastrand::Rng;
use sistrum_membership::{CallEvent, CallId, Calls, Event, Group, Request, Status, Want};
use sistrum_ordering::{Order, Promise, Rank, ViewMember};
use sistrum_transport::reliable::Refused;
use sistrum_transport::time::Instant;
use std::collections::BTreeMap;

/// In front of what calls say: no name of anything else begins so.
const MARK: [u8; 4] = (1_u32 << 30).to_le_bytes();
const WANTS: [Want; 6] = [Want::None, Want::N(1), Want::N(2), Want::N(99), Want::All, Want::Majority];

/// How often the applications of a seed call, beside a burst of casts.
pub(super) fn rate(seed: u64) -> f64 {
    let mut rng = Rng::with_seed(seed ^ 0xca11);
    if rng.u8(..3) == 0 { 0.5 } else { 0.0 }
}

/// See the module.
pub(super) struct Desk {
    calls: Calls,
    rate: f64,
    open: BTreeMap<CallId, Open>,
    /// Requests that wait.
    asked: Vec<(Call, Request)>,
    /// Those of the view that was told, and which of them it is.
    members: Vec<ViewMember>,
    me: Rank,
    rng: Rng,
}

/// A call that goes on.
struct Open {
    call: Call,
    /// As it was cast, until it is delivered here.
    request: Option<Vec<u8>>,
    /// What was last written down of it.
    noted: Vec<(ViewMember, Status)>,
}

/// Where and when something is written down.
pub(super) type Book<'a> = (Instant, Process, &'a mut History);

fn note((now, process, history): &mut Book<'_>, deed: Deed) {
    history.push(now.0, *process, What::Call(deed));
}

impl Desk {
    pub(super) fn new(rate: f64, seed: u64) -> Self {
        Self {
            calls: Calls::new(),
            rate,
            open: BTreeMap::new(),
            asked: Vec::new(),
            members: Vec::new(),
            me: Rank(0),
            rng: Rng::with_seed(seed ^ 0xde5c),
        }
    }

    /// Whether nothing is left to be said by it, and all that it has called is on its way.
    pub(super) fn is_settled(&self) -> bool {
        let is_away = self.open.values().all(|open| open.request.is_none());
        is_away && self.asked.is_empty() && self.calls.poll_send().is_none()
    }

    /// Answers something; all that waits, where it is the `last` time. Tells how much it sent.
    pub(super) fn cycle(&mut self, group: &mut Group, last: bool, mut book: Book<'_>) -> usize {
        if self.rate == 0.0 {
            return 0;
        }
        let waiting = self.asked.len();
        for _ in 0..waiting {
            if last || self.rng.u8(..8) == 0 {
                let at = self.rng.usize(..self.asked.len());
                let (call, request) = self.asked.swap_remove(at);
                self.answer(call, request, &mut book);
            }
        }
        self.settle(&mut book);
        let mut sent = 0;
        while let Some((to, bytes)) = self.calls.poll_send() {
            match group.send(to, &[&MARK, bytes].concat()) {
                Ok(()) => {
                    self.calls.sent();
                    sent += 1;
                }
                Err(Refused::Full { .. } | Refused::ViewChanging | Refused::NoView | Refused::Left) => break,
                Err(other) => panic!("to {to}: {other}"),
            }
        }
        sent
    }

    fn answer(&mut self, call: Call, request: Request, book: &mut Book<'_>) {
        if !request.is_awaited() {
            return;
        }
        let others = self.members.iter().enumerate().filter(|(at, _)| *at != usize::from(self.me.0));
        let others: Vec<ViewMember> = others.map(|(_, member)| *member).collect();
        let status = match self.rng.u8(..24) {
            0..=1 => Status::Null,
            2 => Status::Aborted(call.0.to_string()),
            3..=6 if !others.is_empty() => Status::Forwarded(others[self.rng.usize(..others.len())]),
            _ => Status::Replied([&call.0.to_le_bytes()[..], &book.1.0.to_le_bytes()].concat()),
        };
        note(book, Deed::Says(call, status.clone()));
        match &status {
            Status::Null => self.calls.null_reply(request),
            Status::Aborted(why) => self.calls.abort_reply(request, why),
            Status::Forwarded(to) => self.calls.forward(request, *to),
            Status::Replied(bytes) => self.calls.reply(request, bytes),
            Status::Waiting | Status::Dead | Status::Unsent(_) => unreachable!("nobody says that"),
        }
    }

    /// Calls, now and then.
    pub(super) fn call(&mut self, group: &mut Group, mut book: Book<'_>) {
        if self.rng.f64() >= self.rate || !self.calls.has_view() {
            return;
        }
        let want = WANTS[self.rng.usize(..WANTS.len())];
        let body = book.2.next_call().0.to_le_bytes();
        let whom = match self.rng.u8(..4) {
            0 => Whom::One(self.members[self.rng.usize(..self.members.len())]),
            1 => Whom::Others,
            _ => Whom::All,
        };
        let (id, request) = match whom {
            Whom::One(to) => (self.calls.call_one(to, want, &body), None),
            Whom::Others => {
                let (id, request) = self.calls.call_others(want, &body);
                (id, Some(request))
            }
            Whom::All => {
                let (id, request) = self.calls.call_all(want, &body);
                (id, Some(request))
            }
        };
        let order = Order::ALL[self.rng.usize(..Order::ALL.len())];
        if let Some(request) = &request
            && !cast(group, order, request)
        {
            self.calls.give_up(id);
            return;
        }
        let call = book.2.call(book.0.0, book.1, whom, want);
        self.open.insert(id, Open { call, request: request.clone(), noted: Vec::new() });
        // Of my own casts only total ones come back.
        if let Some(request) = request.filter(|_| order != Order::Total) {
            self.take(self.me, &request, &mut book);
        }
        self.settle(&mut book);
    }

    /// Takes an event that was written down; tells whether it was a message of calls.
    pub(super) fn handle(&mut self, event: &Event<'_>, mut book: Book<'_>) -> bool {
        if self.rate == 0.0 {
            return false;
        }
        let is_mine = match event {
            Event::View(view) => {
                (self.members, self.me) = (view.members().to_vec(), view.me());
                self.calls.see(view);
                false
            }
            Event::Excluded(_) => {
                self.calls.excluded();
                false
            }
            Event::Deliver(message) | Event::Direct(message) => {
                let Some(bytes) = message.bytes().strip_prefix(&MARK) else { return false };
                self.take(message.from(), bytes, &mut book);
                true
            }
            _ => return false,
        };
        self.settle(&mut book);
        is_mine
    }

    fn take(&mut self, from: Rank, bytes: &[u8], book: &mut Book<'_>) {
        let is_it = |open: &&mut Open| from == self.me && open.request.as_deref() == Some(bytes);
        if let Some(open) = self.open.values_mut().find(is_it) {
            open.request = None;
            note(book, Deed::Delivered(open.call));
        }
        if self.calls.handle(from, bytes).is_err() {
            note(book, Deed::Nonsense);
        }
    }

    /// Writes down what has come of all that.
    fn settle(&mut self, book: &mut Book<'_>) {
        while let Some(event) = self.calls.poll_event() {
            match event {
                CallEvent::Plain { .. } => note(book, Deed::Nonsense),
                CallEvent::Request(request) => match request.bytes().first_chunk() {
                    Some(name) => {
                        let call = Call(u32::from_le_bytes(*name));
                        note(book, Deed::Asked(call));
                        self.asked.push((call, request));
                    }
                    None => note(book, Deed::Nonsense),
                },
                CallEvent::Done { call, is_enough, replies } => {
                    let open = self.open.remove(&call).expect("a call is over once");
                    note(book, Deed::Over(open.call, is_enough, replies));
                }
            }
        }
        for (id, open) in &mut self.open {
            let replies = self.calls.replies(*id).expect("it goes on");
            if open.noted != replies {
                open.noted = replies.to_vec();
                note(book, Deed::Stands(open.call, open.noted.clone()));
            }
        }
    }
}

/// Casts a request, where it is known who is asked.
fn cast(group: &mut Group, order: Order, request: &[u8]) -> bool {
    let is_changing = group.agreement().is_some_and(sistrum_membership::agreement::Agreement::is_changing);
    let is_steady = group.reached() == group.view().map(|view| view.id().number) && !is_changing;
    if order != Order::Total && !is_steady {
        return false;
    }
    let sender = group.sender();
    sender.is_ok_and(|sender| {
        sender.cast_as(Promise { order, safe: false }, &[&MARK, request].concat()).is_ok()
    })
}
