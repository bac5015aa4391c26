//! Calls: a request to all of a group or to one member, and the replies to it.
//!
//! ```text
//! caller                       each destination
//!   | Request(id) ==cast==>       the application: reply, null reply, abort or forward
//!   | <--- Reply / Null / Abort --|                          to the caller alone
//!   | <--- Forwarded(to) ---------| --- Forward(id, caller) --> to
//!   | <--- Accepted ------------------------------------------- to, which answers the caller
//!   | --- Asked? --> to --- No --> where the forwarder has died meanwhile: who has accepted, has said so before
//! ```
//! A call is over when as many real replies are there as are wanted, or when nobody is left who could give one: each has replied, has said that it
//! will not, has handed the request on, or is gone from the view. Destinations are the members of the view in which the request is
//! delivered to its caller (where it is not handed back to him, in which it was cast): the same at all, by virtual synchrony. Who goes
//! from that view has been heard to its end before.
//!
//! After the group RPC of Isis (Birman and Joseph 1987): `reply`, `nullreply`, `abortreply`, `forward`.
//!
//! A member counts once in a call: its first reply, null or not; what it was asked again, by somebody who has handed the request on, adds nothing to that.
//! Who stands for having handed it on may come to reply all the same. Members are trusted: what one says of a call is not proven.
//!
//! Nothing here sends: what is to go out is taken by [`poll_send`](Calls::poll_send), and tried again where it is refused. A group with calls
//! says everything by them: a plain cast is [`wrapped`](Calls::plain). What waits goes out in its order, whoever it is for.

mod message;
mod open;
#[cfg(test)]
mod tests;

pub use open::{Status, Want};

use message::{Message, Of, Part};
use open::Open;
use sistrum_ordering::{Rank, View, ViewMember};
use sistrum_transport::mutated;
use std::collections::{BTreeMap, VecDeque};

/// One of my calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(u64);

/// A request that is to be answered, once: by [`Calls::reply`] or one of the others. Where it is dropped, its caller waits as long as I live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    caller: ViewMember,
    id: u64,
    bytes: Vec<u8>,
    is_awaited: bool,
    /// It was cast to all, and not sent or handed on to me alone.
    is_cast: bool,
}

impl Request {
    /// Who calls.
    #[must_use]
    pub fn caller(&self) -> ViewMember {
        self.caller
    }

    /// What it says.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether a reply is wanted at all.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.is_awaited
    }

    /// Whether all are asked it, at this place of its order.
    pub(crate) fn is_cast(&self) -> bool {
        self.is_cast
    }
}

/// What the application is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallEvent {
    /// Somebody calls.
    Request(Request),
    /// A plain cast, or something that was sent to me alone.
    Plain {
        /// Who says it.
        from: ViewMember,
        /// What it says.
        bytes: Vec<u8>,
    },
    /// A call of mine is over.
    Done {
        /// Which one.
        call: CallId,
        /// As many have replied as were wanted.
        is_enough: bool,
        /// What has become of it everywhere.
        replies: Vec<(ViewMember, Status)>,
    },
}

/// Bytes that are no message of a group with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bytes that are no message of a group with calls")]
pub struct NotOfCalls;

/// See the module.
#[derive(Debug, Default)]
pub struct Calls {
    members: Vec<ViewMember>,
    /// Those of them that have not said goodbye.
    there: Vec<ViewMember>,
    /// Those of them that have the group's state: the others are no destinations of what goes to all.
    ready: Vec<ViewMember>,
    me: Option<ViewMember>,
    /// Who is joining is asked too.
    asks_joining: bool,
    next: u64,
    open: BTreeMap<u64, Open>,
    out: VecDeque<(ViewMember, Vec<u8>)>,
    events: VecDeque<CallEvent>,
    late: u64,
}

impl Calls {
    /// In a group that has no view yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Likewise, in a group whose state is changed by requests: who is joining is asked as well what goes to all, behind the state, and nobody
    /// awaits its reply. It is no destination all the same.
    #[must_use]
    pub fn for_state() -> Self {
        Self { asks_joining: true, ..Self::default() }
    }

    /// A message that is no call, as it is cast or sent.
    #[must_use]
    pub fn plain(message: &[u8]) -> Vec<u8> {
        Message::Plain(message).encode()
    }

    /// Calls all members of the group: what is returned is to be cast, in any order. Where that is refused for good,
    /// [`give_up`](Self::give_up).
    pub fn call_all(&mut self, want: Want, request: &[u8]) -> (CallId, Vec<u8>) {
        self.cast(want, Of::All, request)
    }

    /// Calls all members of the group but me, who am not asked; else as [`call_all`](Self::call_all).
    pub fn call_others(&mut self, want: Want, request: &[u8]) -> (CallId, Vec<u8>) {
        self.cast(want, Of::Others, request)
    }

    fn cast(&mut self, want: Want, of: Of, request: &[u8]) -> (CallId, Vec<u8>) {
        let id = self.begin(Open::new(want, None));
        let part = Part::Request { is_awaited: want.is_any(), of, request };
        (CallId(id), Message::Call(id, part).encode())
    }

    /// Calls one member, myself or another. One that is not in the view is [`Status::Dead`]. Where no reply is wanted, it is over at once: what
    /// comes of it is not known.
    pub fn call_one(&mut self, to: ViewMember, want: Want, request: &[u8]) -> CallId {
        let status = if self.there.contains(&to) { Status::Waiting } else { Status::Dead };
        let id = self.begin(Open::new(want, Some(vec![(to, status)])));
        self.post(to, id, Part::Request { is_awaited: want.is_any(), of: Of::One, request });
        self.conclude(id);
        CallId(id)
    }

    /// The call is over for me: nothing more comes of it. Returns whether it was not over.
    pub fn give_up(&mut self, call: CallId) -> bool {
        self.open.remove(&call.0).is_some()
    }

    /// Answers a request.
    pub fn reply(&mut self, request: Request, reply: &[u8]) {
        self.answer(&request, Part::Reply(reply));
    }

    /// Says that there will be no reply.
    pub fn null_reply(&mut self, request: Request) {
        self.answer(&request, Part::Null);
    }

    /// Ends the call, for a reason.
    pub fn abort_reply(&mut self, request: Request, why: &str) {
        self.answer(&request, Part::Abort(why.as_bytes()));
    }

    /// Hands the request on to another member, which answers in my place. Where there is no such member, the call is ended.
    pub fn forward(&mut self, request: Request, to: ViewMember) {
        if Some(to) == self.me {
            return self.ask(request);
        }
        if !self.there.contains(&to) {
            return self.abort_reply(request, "it was handed on to somebody who is no member");
        }
        // The caller learns of it first: what the other answers comes behind this.
        self.answer(&request, Part::Forwarded(to));
        let Request { caller, id, bytes, is_awaited, .. } = &request;
        self.post(to, *id, Part::Forward { is_awaited: *is_awaited, caller: *caller, request: bytes });
    }

    /// The view is this from now on: who is gone will not reply.
    pub fn see(&mut self, view: &View) {
        self.members = view.members().to_vec();
        self.there.clone_from(&self.members);
        let ranked = (0..).map(Rank).zip(view.members());
        self.ready = ranked.filter(|(rank, _)| view.has_state(*rank)).map(|(_, member)| *member).collect();
        self.me = view.member(view.me()).copied();
        self.bury();
    }

    /// A member has said goodbye, and will not reply: the view of a static list stays as it is.
    pub fn left(&mut self, rank: Rank) {
        let gone = self.members.get(usize::from(rank.0));
        self.there.retain(|member| Some(member) != gone);
        self.bury();
    }

    /// Whether there is a view.
    #[must_use]
    pub fn has_view(&self) -> bool {
        self.me.is_some()
    }

    /// I am in no view any more: who has got my requests, and what they would have said, I shall not learn.
    pub fn excluded(&mut self) {
        (self.members, self.there, self.ready, self.me) = (Vec::new(), Vec::new(), Vec::new(), None);
        self.out.clear();
        for (id, open) in std::mem::take(&mut self.open) {
            let (is_enough, replies) = open.lose();
            self.events.push_back(CallEvent::Done { call: CallId(id), is_enough, replies });
        }
    }

    fn bury(&mut self) {
        let there = &self.there;
        self.out.retain(|(to, _)| there.contains(to));
        self.open.values_mut().for_each(|open| open.bury(there));
        for id in self.open.keys().copied().collect::<Vec<_>>() {
            let unsure = self.open[&id].unsure(&self.there);
            unsure.into_iter().for_each(|to| self.post(to, id, Part::Asked));
            self.conclude(id);
        }
    }

    /// Takes a message that was delivered, or was sent to me alone, from a member of the view.
    ///
    /// # Errors
    /// [`NotOfCalls`], and nothing has come of it.
    pub fn handle(&mut self, from: Rank, message: &[u8]) -> Result<(), NotOfCalls> {
        let from = *self.members.get(usize::from(from.0)).ok_or(NotOfCalls)?;
        let local = self.me.ok_or(NotOfCalls)?.endpoint;
        match Message::decode(message, local).ok_or(NotOfCalls)? {
            Message::Plain(said) => {
                self.events.push_back(CallEvent::Plain { from, bytes: said.to_vec() });
            }
            Message::Call(id, part) => self.take(from, id, part),
        }
        Ok(())
    }

    fn take(&mut self, from: ViewMember, id: u64, part: Part<'_>) {
        match part {
            Part::Request { is_awaited, of, request } => {
                if Some(from) == self.me && of != Of::One {
                    let is_asked = |member: &ViewMember| {
                        (self.ready.contains(member) || mutated!(WaitForTheJoining))
                            && (of == Of::All || *member != from)
                    };
                    let asked: Vec<_> = self.there.iter().copied().filter(is_asked).collect();
                    self.change(id, |open, _| open.deliver(&asked));
                    if of == Of::Others {
                        return;
                    }
                }
                // It may still be handed on to one who has not got the state, or sent to it alone.
                let is_ready = self.me.is_some_and(|me| self.ready.contains(&me));
                let is_joining = of != Of::One && !is_ready && !mutated!(WaitForTheJoining);
                if is_joining && (!self.asks_joining || mutated!(JoiningIdle)) {
                    return;
                }
                let (is_awaited, is_cast) = (is_awaited && !is_joining, of != Of::One);
                self.ask(Request { caller: from, id, bytes: request.to_vec(), is_awaited, is_cast });
            }
            Part::Forward { is_awaited, caller, request } => {
                if is_awaited {
                    self.post(caller, id, Part::Accepted);
                }
                self.ask(Request { caller, id, bytes: request.to_vec(), is_awaited, is_cast: false });
            }
            Part::Reply(reply) => self.note(id, from, Status::Replied(reply.to_vec())),
            Part::Null => self.note(id, from, Status::Null),
            Part::Abort(why) => {
                self.note(id, from, Status::Aborted(String::from_utf8_lossy(why).into_owned()));
            }
            Part::Forwarded(to) => self.change(id, |open, there| open.hand(from, to, there.contains(&to))),
            Part::Accepted => self.change(id, |open, _| open.accept(from)),
            Part::Asked => self.post(from, id, Part::No),
            Part::No => self.change(id, |open, there| open.miss(from, there)),
        }
    }

    fn ask(&mut self, request: Request) {
        self.events.push_back(CallEvent::Request(request));
    }

    /// What the application is to be told next.
    pub fn poll_event(&mut self) -> Option<CallEvent> {
        self.events.pop_front()
    }

    /// What is to be sent next to one other member alone; it stays until it is [`sent`](Self::sent).
    #[must_use]
    pub fn poll_send(&self) -> Option<(Rank, &[u8])> {
        let (to, bytes) = self.out.front()?;
        let rank = self.members.iter().position(|member| member == to)?;
        Some((Rank(rank as u16), bytes))
    }

    /// That was taken by the group.
    pub fn sent(&mut self) {
        self.out.pop_front();
    }

    /// That cannot be sent at all, for this reason, which its call comes to an end by.
    pub fn refused(&mut self, why: &str) {
        let (Some((to, bytes)), Some(me)) = (self.out.pop_front(), self.me) else { return };
        let Some(Message::Call(id, part)) = Message::decode(&bytes, me.endpoint) else { return };
        match part {
            Part::Request { .. } => self.note(id, to, Status::Aborted(why.to_owned())),
            Part::Reply(_) | Part::Abort(_) => self.post(to, id, Part::Abort(why.as_bytes())),
            Part::Forward { is_awaited: true, caller, .. } => {
                self.post(caller, id, Part::Abort(why.as_bytes()));
            }
            _ => {}
        }
    }

    /// Calls of mine that are not over.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// What has become of a call of mine so far, where it is not over.
    #[must_use]
    pub fn replies(&self, call: CallId) -> Option<&[(ViewMember, Status)]> {
        self.open.get(&call.0).map(Open::replies)
    }

    /// Replies that came when their call was over.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late
    }

    fn begin(&mut self, open: Open) -> u64 {
        let id = self.next;
        self.next += 1;
        self.open.insert(id, open);
        id
    }

    fn answer(&mut self, request: &Request, part: Part<'_>) {
        if request.is_awaited {
            self.post(request.caller, request.id, part);
        }
    }

    /// To another, or to myself at once.
    fn post(&mut self, to: ViewMember, id: u64, part: Part<'_>) {
        if Some(to) == self.me {
            self.take(to, id, part);
        } else if self.there.contains(&to) {
            self.out.push_back((to, Message::Call(id, part).encode()));
        }
    }

    fn note(&mut self, id: u64, from: ViewMember, said: Status) {
        self.late += u64::from(!self.open.contains_key(&id));
        self.change(id, |open, _| _ = open.set(from, said));
    }

    fn change(&mut self, id: u64, change: impl FnOnce(&mut Open, &[ViewMember])) {
        if let Some(open) = self.open.get_mut(&id) {
            change(open, &self.there);
        }
        self.conclude(id);
    }

    fn conclude(&mut self, id: u64) {
        let Some(is_enough) = self.open.get(&id).and_then(Open::verdict) else { return };
        if let Some(open) = self.open.remove(&id) {
            let replies = open.into_replies();
            self.events.push_back(CallEvent::Done { call: CallId(id), is_enough, replies });
        }
    }
}
