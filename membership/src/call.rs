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
//! delivered to its caller (where it is not handed back to him, in which it was cast): the same at all, by virtual synchrony. Who goes from that view has been heard to its end before.
//!
//! After the group RPC of Isis (Birman and Joseph 1987): `reply`, `nullreply`, `abortreply`, `forward`.
//!
//! A member counts once in a call: its first reply, null or not; what it was asked again, by somebody who has handed the request on, adds nothing to that.
//! Who stands for having handed it on may come to reply all the same. Members are trusted: what one says of a call is not proven.
//!
//! Nothing here sends: what is to go out is taken by [`poll_send`](Calls::poll_send), and tried again where it is refused. A group with calls
//! says everything by them: a plain cast is [`wrapped`](Calls::plain). What waits goes out in its order, whoever it is for.

use sistrum_ordering::{BootId, Endpoint, Rank, View, ViewMember};
use sistrum_transport::mutated;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

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
    fn tag(self) -> u8 {
        if matches!(self, Self::None | Self::N(0)) { QUIET_REQUEST } else { REQUEST }
    }
}

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
    /// Members that have said goodbye.
    gone: Vec<ViewMember>,
    me: Option<ViewMember>,
    next: u64,
    open: BTreeMap<u64, Open>,
    out: VecDeque<(ViewMember, Vec<u8>)>,
    events: VecDeque<CallEvent>,
    late: u64,
}

/// A call that is not over.
#[derive(Debug)]
struct Open {
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
    /// One has handed it to another: it is waited for that one instead.
    fn hand(&mut self, from: ViewMember, to: ViewMember, is_there: bool) {
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
    fn accept(&mut self, who: ViewMember) {
        self.handed.retain(|handed| handed.to != who);
    }

    /// It has not got the request from those who are gone, and will not.
    fn miss(&mut self, who: ViewMember, is_there: impl Fn(ViewMember) -> bool) {
        let is_lost = |handed: &mut Handed| handed.to == who && !is_there(handed.from);
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
    fn set(&mut self, who: ViewMember, said: Status) -> bool {
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
    fn verdict(&self) -> Option<bool> {
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

const PLAIN: u8 = 0;
const REQUEST: u8 = 1;
const QUIET_REQUEST: u8 = 2;
const REPLY: u8 = 3;
const NULL: u8 = 4;
const ABORT: u8 = 5;
const FORWARDED: u8 = 6;
const FORWARD: u8 = 7;
const ACCEPTED: u8 = 8;
const ASKED: u8 = 9;
const NO: u8 = 10;

impl Calls {
    /// In a group that has no view yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A message that is no call, as it is cast or sent.
    #[must_use]
    pub fn plain(message: &[u8]) -> Vec<u8> {
        [&[PLAIN], message].concat()
    }

    /// Calls all members of the group: what is returned is to be cast, in any order. Where that is refused for good,
    /// [`give_up`](Self::give_up).
    pub fn call_all(&mut self, want: Want, request: &[u8]) -> (CallId, Vec<u8>) {
        let id = self.open_call(want, false, Vec::new());
        (CallId(id), envelope(want.tag(), id, request))
    }

    /// Calls one member, myself or another. One that is not in the view is [`Status::Dead`]. Where no reply is wanted, it is over at once: what
    /// comes of it is not known.
    pub fn call_one(&mut self, to: ViewMember, want: Want, request: &[u8]) -> CallId {
        let status = if self.is_there(to) { Status::Waiting } else { Status::Dead };
        let is_there = status == Status::Waiting;
        let id = self.open_call(want, true, vec![(to, status)]);
        if is_there {
            self.post(to, envelope(want.tag(), id, request));
        }
        self.conclude(id);
        CallId(id)
    }

    /// The call is over for me: nothing more comes of it. Returns whether it was not over.
    pub fn give_up(&mut self, call: CallId) -> bool {
        self.open.remove(&call.0).is_some()
    }

    /// Answers a request.
    pub fn reply(&mut self, request: Request, reply: &[u8]) {
        self.answer(&request, REPLY, reply);
    }

    /// Says that there will be no reply.
    pub fn null_reply(&mut self, request: Request) {
        self.answer(&request, NULL, &[]);
    }

    /// Ends the call, for a reason.
    pub fn abort_reply(&mut self, request: Request, why: &str) {
        self.answer(&request, ABORT, why.as_bytes());
    }

    /// Hands the request on to another member, which answers in my place. Where there is no such member, the call is ended.
    pub fn forward(&mut self, request: Request, to: ViewMember) {
        if Some(to) == self.me {
            self.events.push_back(CallEvent::Request(request));
            return;
        }
        if !self.is_there(to) {
            return self.abort_reply(request, "it was handed on to somebody who is no member");
        }
        let mut named = Vec::new();
        write_member(&mut named, to);
        // The caller learns of it first: what the other answers comes behind this.
        self.answer(&request, FORWARDED, &named);
        self.hand_on(&request, to);
    }

    fn hand_on(&mut self, request: &Request, to: ViewMember) {
        let mut bytes = envelope(FORWARD, request.id, &[u8::from(request.is_awaited)]);
        write_member(&mut bytes, request.caller);
        bytes.extend_from_slice(&request.bytes);
        self.post(to, bytes);
    }

    /// The view is this from now on: who is gone will not reply.
    pub fn see(&mut self, view: &View) {
        self.members = view.members().to_vec();
        self.me = view.member(view.me()).copied();
        self.gone.clear();
        self.bury();
    }

    /// A member has said goodbye, and will not reply: the view of a static list stays as it is.
    pub fn left(&mut self, rank: Rank) {
        self.gone.extend(self.members.get(usize::from(rank.0)).copied());
        self.bury();
    }

    /// Whether there is a view.
    #[must_use]
    pub fn has_view(&self) -> bool {
        self.me.is_some()
    }

    fn is_there(&self, member: ViewMember) -> bool {
        self.members.contains(&member) && !self.gone.contains(&member)
    }

    /// I am in no view any more: who has got my requests, and what they would have said, I shall not learn.
    pub fn excluded(&mut self) {
        (self.members, self.me) = (Vec::new(), None);
        self.out.clear();
        for (id, open) in std::mem::take(&mut self.open) {
            let is_enough = open.want == Want::None;
            let known = |(who, status)| (who, if status == Status::Waiting { Status::Dead } else { status });
            let replies = open.status.into_iter().map(known).collect();
            self.events.push_back(CallEvent::Done { call: CallId(id), is_enough, replies });
        }
    }

    fn bury(&mut self) {
        let Self { members, gone, out, open, .. } = self;
        let is_there = |member: &ViewMember| members.contains(member) && !gone.contains(member);
        out.retain(|(to, _)| is_there(to));
        for (who, status) in open.values_mut().flat_map(|open| &mut open.status) {
            if *status == Status::Waiting && !is_there(who) && !mutated!(WaitForTheDead) {
                *status = Status::Dead;
            }
        }
        for id in self.open.keys().copied().collect::<Vec<_>>() {
            self.ask_after(id);
            self.conclude(id);
        }
    }

    /// Who was handed a request by somebody who is gone may not have got it.
    fn ask_after(&mut self, id: u64) {
        let Some(open) = self.open.get(&id) else { return };
        let is_lost = |handed: &&Handed| !self.is_there(handed.from) && !mutated!(NeverAskAfter);
        let mut unsure: Vec<ViewMember> =
            open.handed.iter().filter(is_lost).map(|handed| handed.to).collect();
        unsure.dedup();
        for to in unsure {
            self.post(to, envelope(ASKED, id, &[]));
        }
    }

    /// Takes a message that was delivered, or was sent to me alone, from a member of the view.
    ///
    /// # Errors
    /// [`NotOfCalls`], and nothing has come of it.
    pub fn handle(&mut self, from: Rank, message: &[u8]) -> Result<(), NotOfCalls> {
        let from = *self.members.get(usize::from(from.0)).ok_or(NotOfCalls)?;
        self.take(from, message)
    }

    fn take(&mut self, from: ViewMember, message: &[u8]) -> Result<(), NotOfCalls> {
        let (tag, rest) = message.split_first().ok_or(NotOfCalls)?;
        if *tag == PLAIN {
            self.events.push_back(CallEvent::Plain { from, bytes: rest.to_vec() });
            return Ok(());
        }
        let (id, rest) = rest.split_first_chunk().ok_or(NotOfCalls)?;
        let id = u64::from_le_bytes(*id);
        match *tag {
            REQUEST | QUIET_REQUEST => {
                if Some(from) == self.me {
                    self.note_delivered(id);
                }
                let (bytes, is_awaited) = (rest.to_vec(), *tag == REQUEST);
                self.events.push_back(CallEvent::Request(Request { caller: from, id, bytes, is_awaited }));
            }
            FORWARD => {
                let (is_awaited, rest) = rest.split_first().ok_or(NotOfCalls)?;
                let (caller, rest) = self.read_member(rest).ok_or(NotOfCalls)?;
                let (bytes, is_awaited) = (rest.to_vec(), *is_awaited != 0);
                if is_awaited {
                    self.post(caller, envelope(ACCEPTED, id, &[]));
                }
                self.events.push_back(CallEvent::Request(Request { caller, id, bytes, is_awaited }));
            }
            REPLY => self.note(id, from, Status::Replied(rest.to_vec())),
            NULL => self.note(id, from, Status::Null),
            ABORT => self.note(id, from, Status::Aborted(String::from_utf8_lossy(rest).into_owned())),
            FORWARDED => {
                let (to, _) = self.read_member(rest).ok_or(NotOfCalls)?;
                let is_there = self.is_there(to);
                self.change(id, |open, _| open.hand(from, to, is_there));
            }
            ACCEPTED => self.change(id, |open, _| open.accept(from)),
            ASKED => self.post(from, envelope(NO, id, &[])),
            NO => self.change(id, |open, members| open.miss(from, |member| members.contains(&member))),
            _ => return Err(NotOfCalls),
        }
        Ok(())
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
        let Some((to, bytes)) = self.out.pop_front() else { return };
        let Some((id, rest)) = bytes.get(1..).and_then(<[u8]>::split_first_chunk) else { return };
        let id = u64::from_le_bytes(*id);
        match bytes[0] {
            REQUEST | QUIET_REQUEST => self.note(id, to, Status::Aborted(why.to_owned())),
            REPLY | ABORT => self.post(to, envelope(ABORT, id, why.as_bytes())),
            FORWARD => {
                if let Some((caller, _)) = rest.get(1..).and_then(|rest| self.read_member(rest)) {
                    self.post(caller, envelope(ABORT, id, why.as_bytes()));
                }
            }
            _ => {}
        }
    }

    /// Calls of mine that are not over.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Replies that came when their call was over.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late
    }

    fn open_call(&mut self, want: Want, is_delivered: bool, status: Vec<(ViewMember, Status)>) -> u64 {
        let id = self.next;
        self.next += 1;
        self.open.insert(id, Open { want, is_delivered, status, handed: Vec::new() });
        id
    }

    fn answer(&mut self, request: &Request, tag: u8, body: &[u8]) {
        if request.is_awaited {
            self.post(request.caller, envelope(tag, request.id, body));
        }
    }

    /// To another, or to myself at once.
    fn post(&mut self, to: ViewMember, bytes: Vec<u8>) {
        if Some(to) == self.me {
            let is_sound = self.take(to, &bytes);
            debug_assert!(is_sound.is_ok(), "I wrote it myself");
        } else if self.is_there(to) {
            self.out.push_back((to, bytes));
        }
    }

    /// My request has come to everybody in this view, or will.
    fn note_delivered(&mut self, id: u64) {
        let members = self.members.clone();
        if let Some(open) = self.open.get_mut(&id).filter(|open| !open.is_delivered) {
            open.is_delivered = true;
            // They are asked themselves, whoever has handed it to them.
            open.handed.retain(|handed| handed.before.is_some() || !members.contains(&handed.to));
            for member in members {
                if !open.status.iter().any(|(known, _)| *known == member) {
                    open.status.push((member, Status::Waiting));
                }
            }
            self.conclude(id);
        }
    }

    fn note(&mut self, id: u64, from: ViewMember, status: Status) {
        match self.open.get_mut(&id) {
            Some(open) => _ = open.set(from, status),
            None => self.late += 1,
        }
        self.conclude(id);
    }

    fn change(&mut self, id: u64, change: impl FnOnce(&mut Open, &[ViewMember])) {
        let there: Vec<ViewMember> =
            self.members.iter().copied().filter(|member| self.is_there(*member)).collect();
        if let Some(open) = self.open.get_mut(&id) {
            change(open, &there);
        }
        self.conclude(id);
    }

    /// Somebody, as he is seen from here, and what follows.
    fn read_member<'a>(&self, bytes: &'a [u8]) -> Option<(ViewMember, &'a [u8])> {
        let (family, rest) = bytes.split_first()?;
        let (ip, rest) = match family {
            4 => rest.split_first_chunk::<4>().map(|(ip, rest)| (Ipv4Addr::from(*ip).into(), rest))?,
            6 => {
                rest.split_first_chunk::<16>().map(|(ip, rest)| (IpAddr::from(Ipv6Addr::from(*ip)), rest))?
            }
            _ => return None,
        };
        let (port, rest) = rest.split_first_chunk()?;
        let (boot, rest) = rest.split_first_chunk()?;
        let endpoint = Endpoint(SocketAddr::new(ip, u16::from_le_bytes(*port))).seen_from(self.me?.endpoint);
        Some((ViewMember { endpoint, boot: BootId(u64::from_le_bytes(*boot)) }, rest))
    }

    fn conclude(&mut self, id: u64) {
        let Some(is_enough) = self.open.get(&id).and_then(Open::verdict) else { return };
        if let Some(open) = self.open.remove(&id) {
            let replies = open.status;
            self.events.push_back(CallEvent::Done { call: CallId(id), is_enough, replies });
        }
    }
}

fn envelope(tag: u8, id: u64, body: &[u8]) -> Vec<u8> {
    [&[tag], &id.to_le_bytes()[..], body].concat()
}

fn write_member(out: &mut Vec<u8>, member: ViewMember) {
    match member.endpoint.0.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&[&[4], &ip.octets()[..]].concat()),
        IpAddr::V6(ip) => out.extend_from_slice(&[&[6], &ip.octets()[..]].concat()),
    }
    out.extend_from_slice(&member.endpoint.0.port().to_le_bytes());
    out.extend_from_slice(&member.boot.0.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use sistrum_ordering::{GroupId, GroupInstance, ViewId, ViewNumber};

    fn member(port: u16) -> ViewMember {
        ViewMember { endpoint: Endpoint(([127, 0, 0, 1], port).into()), boot: BootId(9) }
    }

    /// Three members, of whom this is one.
    fn calls(me: u16) -> Calls {
        let id = ViewId { group: GroupId(1), instance: GroupInstance(1), number: ViewNumber(1) };
        let mut calls = Calls::new();
        calls.see(&View::new(id, (0..3).map(member).collect(), Rank(me)));
        calls
    }

    /// Brings what one has to send to those that it is for, until nobody says anything.
    fn settle(all: &mut [Calls]) {
        for from in (0..all.len()).cycle().take(20 * all.len()) {
            while let Some((to, bytes)) = all[from].poll_send().map(|(to, bytes)| (to, bytes.to_vec())) {
                all[from].sent();
                all[usize::from(to.0)].handle(Rank(from as u16), &bytes).unwrap();
            }
        }
    }

    fn asked(calls: &mut Calls) -> Request {
        match calls.poll_event() {
            Some(CallEvent::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_may_be_handed_on_and_what_cannot_be_sent_ends_the_call() {
        let mut all = [calls(0), calls(1), calls(2)];
        let call = all[0].call_one(member(1), Want::All, b"who?");
        settle(&mut all);
        let request = asked(&mut all[1]);
        assert_eq!((request.bytes(), request.caller()), (&b"who?"[..], member(0)));
        all[1].forward(request, member(2));
        settle(&mut all);
        let request = asked(&mut all[2]);
        all[2].reply(request, b"I");
        settle(&mut all);
        let replies =
            vec![(member(1), Status::Forwarded(member(2))), (member(2), Status::Replied(b"I".to_vec()))];
        assert_eq!(all[0].poll_event(), Some(CallEvent::Done { call, is_enough: true, replies }));
        let call = all[0].call_one(member(1), Want::All, b"again?");
        settle(&mut all);
        let request = asked(&mut all[1]);
        all[1].reply(request, b"a reply that is too large");
        all[1].refused("too large");
        settle(&mut all);
        let replies = vec![(member(1), Status::Aborted("too large".to_owned()))];
        assert_eq!(all[0].poll_event(), Some(CallEvent::Done { call, is_enough: false, replies }));
        let call = all[0].call_one(member(1), Want::All, b"a request that is too large");
        all[0].refused("too large");
        let replies = vec![(member(1), Status::Aborted("too large".to_owned()))];
        assert_eq!(all[0].poll_event(), Some(CallEvent::Done { call, is_enough: false, replies }));
        let call = all[0].call_one(member(1), Want::All, b"large when handed on");
        settle(&mut all);
        let request = asked(&mut all[1]);
        all[1].forward(request, member(2));
        all[1].sent();
        all[0]
            .handle(Rank(1), &[&[FORWARDED][..], &3_u64.to_le_bytes(), &named(member(2))].concat())
            .unwrap();
        all[1].refused("too large");
        settle(&mut all);
        let Some(CallEvent::Done { call: done, is_enough, .. }) = all[0].poll_event() else {
            panic!("no end")
        };
        assert_eq!((done, is_enough), (call, false));
    }

    fn named(member: ViewMember) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_member(&mut bytes, member);
        bytes
    }

    #[test]
    fn a_call_to_nobody_is_over_at_once_and_nonsense_does_nothing() {
        let mut calls = calls(0);
        let call = calls.call_one(member(7), Want::N(1), b"");
        let replies = vec![(member(7), Status::Dead)];
        assert_eq!(calls.poll_event(), Some(CallEvent::Done { call, is_enough: false, replies }));
        let whole = [&[FORWARD][..], &[0; 8], &[1], &named(member(1)), b"x"].concat();
        for len in 0..whole.len() - 1 {
            let mut bytes = whole[..len].to_vec();
            assert_eq!(calls.handle(Rank(1), &bytes), Err(NotOfCalls), "{len} bytes");
            if let Some(tag) = bytes.first_mut() {
                *tag = 99;
            }
            assert_eq!(calls.handle(Rank(1), &bytes), Err(NotOfCalls));
        }
        assert_eq!(calls.handle(Rank(3), &whole), Err(NotOfCalls), "nobody has that rank");
        // Replies to what nobody has asked.
        calls.handle(Rank(1), &envelope(REPLY, 77, b"yes")).unwrap();
        assert_eq!((calls.late(), calls.poll_event(), calls.poll_send()), (1, None, None));
        calls.handle(Rank(1), &Calls::plain(b"news")).unwrap();
        assert_eq!(calls.poll_event(), Some(CallEvent::Plain { from: member(1), bytes: b"news".to_vec() }));
    }

    #[test]
    fn who_says_goodbye_will_not_reply_and_whoever_is_no_member_is_not_handed_anything() {
        let mut all = [calls(0), calls(1), calls(2)];
        let call = all[0].call_one(member(1), Want::All, b"who?");
        all[0].left(Rank(1));
        let lost = |call, status| Some(CallEvent::Done { call, is_enough: false, replies: vec![status] });
        assert_eq!(all[0].poll_event(), lost(call, (member(1), Status::Dead)));
        assert_eq!(all[0].poll_send(), None, "it is not sent any more");
        let call = all[0].call_one(member(2), Want::N(0), b"no answer, please");
        assert!(
            matches!(all[0].poll_event(), Some(CallEvent::Done { call: done, is_enough: true, .. }) if done == call)
        );
        all[0].sent();
        let call = all[0].call_one(member(2), Want::All, b"who?");
        settle(&mut all);
        let request = asked(&mut all[2]);
        all[2].forward(request, member(9));
        settle(&mut all);
        let why = "it was handed on to somebody who is no member".to_owned();
        assert_eq!(all[0].poll_event(), lost(call, (member(2), Status::Aborted(why))));
        // To oneself, it is simply asked again.
        let call = all[0].call_one(member(0), Want::All, b"me?");
        let request = asked(&mut all[0]);
        all[0].forward(request, member(0));
        let request = asked(&mut all[0]);
        all[0].reply(request, b"yes");
        let replies = vec![(member(0), Status::Replied(b"yes".to_vec()))];
        assert_eq!(all[0].poll_event(), Some(CallEvent::Done { call, is_enough: true, replies }));
    }

    #[test]
    fn who_is_excluded_hears_nothing_more_of_his_calls() {
        let mut calls = calls(0);
        let (all, _) = calls.call_all(Want::All, b"who?");
        let one = calls.call_one(member(1), Want::All, b"and you?");
        calls.excluded();
        let lost = |call, replies| Some(CallEvent::Done { call, is_enough: false, replies });
        assert_eq!(calls.poll_event(), lost(all, Vec::new()));
        assert_eq!(calls.poll_event(), lost(one, vec![(member(1), Status::Dead)]));
        assert_eq!((calls.poll_event(), calls.poll_send(), calls.open()), (None, None, 0));
    }
}
