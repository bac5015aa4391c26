//! Clients: who asks a group and is no member of it.
//!
//! ```text
//! client               contact member, its host                       all members
//!   | Attach ---------->  == Attach cast ===========================>   the table: it is a client, in this session, and that is its host
//!   | <-- Attached
//!   | Ask(number) ----->  == a call of `Calls`, with what is wanted ==>  new: the application is asked, and what it says is recorded;
//!   | <-- Done(number)     what all have said                           known: what is recorded is said again
//!   | Ping, Pong           silent for long: == Gone cast ===========>   it is struck
//! ```
//! A request is executed at most once by each member, in one order at all, whatever is lost or said again between client and member and whoever
//! dies: a client that does not hear of its host says all that is open to another. It comes back as somebody new when it was struck, and is told so.
//!
//! After the registered clients of process groups of Isis, with the client table of Viewstamped Replication.
//= liskov12 §4.1: if the request has been executed already, the reply is sent again
//!
//! Deviations: a client has many requests open, so that the table holds a window of replies for each, and not one; and all members reply, so that
//! what a member had said is said again by itself. Requests of one client are taken on in the order of their numbers: one that overtakes
//! another waits for it to be said again, as long as that one is open at the client: each names the last that is. One that comes behind a
//! later one all the same was over before that was taken on: it is not executed, by anybody.
//!
//! Letters are lost, repeated and overtake each other as they like. All casts are total: what comes back to me stands where it does at all.
//! **The table has to be taken over by whoever joins**: [`write`](Clients::write), [`read`](Clients::read), and calls
//! [for a state](Calls::for_state). Where no state is kept, clients are struck whenever somebody joins.

mod bytes;
mod end;
mod host;
mod letter;
mod table;
#[cfg(test)]
mod tests;

pub use end::{AskError, AskId, ClientEnd, ClientEvent, Outcome};

use crate::agreement::write_member;
use crate::call::{CallEvent, Calls, Request, Status};
use crate::mail::MAX_LETTER_LEN as MAX_LETTER;
use bytes::{Reader, put_bytes};
use host::Host;
use letter::{Cast, Deed};
use sistrum_ordering::{Endpoint, Rank, View, ViewMember};
use sistrum_transport::mutated;
use sistrum_transport::time::Instant;
use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use table::{Asked, Attaching, Table};

/// What bounds clients, and when they are taken for gone. Clients and members have to be of one mind about `window` and `bytes`, and about times
/// as far as `keep_alive_ns` is much less than `silence_ns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientTuning {
    /// Clients of a group.
    pub clients: usize,
    /// Requests of one client that are not over; so many replies are recorded for it at each member.
    pub window: u64,
    /// Bytes of one request, and of one reply.
    pub bytes: usize,
    /// A client says what was not answered again after this time, then after twice as long, up to eight times as long.
    pub retry_ns: u64,
    /// A client says something at least so often.
    pub keep_alive_ns: u64,
    /// A client whose host does not answer for so long looks for another.
    pub patience_ns: u64,
    /// A client that its host has not heard for so long is struck.
    pub silence_ns: u64,
    /// A client whose host is gone has so long to attach elsewhere.
    pub grace_ns: u64,
}

impl ClientTuning {
    /// What [`bytes`](Self::bytes) may be at most: a request goes in one letter.
    pub const MAX_BYTES: usize = MAX_LETTER - letter::ASK_LEN;
}

impl Default for ClientTuning {
    fn default() -> Self {
        Self {
            clients: 1024,
            window: 64,
            bytes: 16 << 10,
            retry_ns: 100_000_000,
            keep_alive_ns: 500_000_000,
            patience_ns: 2_000_000_000,
            silence_ns: 6_000_000_000,
            grace_ns: 6_000_000_000,
        }
    }
}

/// Who executes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dest {
    /// All members, at the same place of the total order, and once.
    All,
    /// The host alone, from its state, or who that hands it on to: for what changes nothing. Another may execute it again when the host dies.
    Any,
}

/// A client as all members know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Where it is, and which incarnation of it.
    pub client: ViewMember,
    /// The member that it is attached to.
    pub host: ViewMember,
}

/// A request of a client that is to be answered, once: by [`Clients::reply`] or one of the others. Where it is dropped, its client waits.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientRequest {
    client: ViewMember,
    session: u64,
    number: u64,
    bytes: Vec<u8>,
    /// In which of my lives in the group it was asked.
    epoch: u64,
    /// How one is answered that is for one member alone.
    alone: Option<Request>,
}

impl ClientRequest {
    /// Who asks.
    #[must_use]
    pub fn client(&self) -> ViewMember {
        self.client
    }

    /// Which of its requests it is.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What it says.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Who executes it.
    #[must_use]
    pub fn dest(&self) -> Dest {
        if self.alone.is_some() { Dest::Any } else { Dest::All }
    }
}

/// What a member's application is told of clients. Requests to all, and who is there, are told in the same order at all.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientsEvent {
    /// A client asks.
    Request(ClientRequest),
    /// This one is a client from now on.
    Joined(ViewMember),
    /// It is none any more: it has said goodbye, was silent, or has come back as somebody new.
    Gone(ViewMember),
}

/// Bytes that are no table of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bytes that are no table of clients")]
pub struct NotOfClients;

/// See the module. Nothing here sends: **behind each call that changes something, take what [`Calls::poll_event`] has through
/// [`take`](Self::take) before the group tells anything else**, then what [`poll_cast`](Self::poll_cast), [`poll_letter`](Self::poll_letter) and
/// [`poll_event`](Self::poll_event) have.
#[derive(Debug)]
pub struct Clients {
    tuning: ClientTuning,
    table: Table,
    host: Host,
    /// Who waits for what I say, by session and number of the request.
    waiting: BTreeMap<(u64, u64), Vec<Request>>,
    events: VecDeque<ClientsEvent>,
    /// By session: requests among them.
    untold: BTreeMap<u64, u64>,
    members: Vec<ViewMember>,
    /// Those of them that keep no state though others do: they know of no client, and are asked nothing.
    stateless: Vec<ViewMember>,
    me: Option<ViewMember>,
    /// Counts my lives in the group: an answer to what was asked in an earlier one is nobody's.
    epoch: u64,
}

impl Clients {
    /// In a group that has no view yet, and no clients.
    #[must_use]
    pub fn new(tuning: ClientTuning) -> Self {
        Self {
            table: Table::new(tuning.clients, tuning.window),
            host: Host::new(tuning),
            tuning,
            waiting: BTreeMap::new(),
            events: VecDeque::new(),
            untold: BTreeMap::new(),
            members: Vec::new(),
            stateless: Vec::new(),
            me: None,
            epoch: 0,
        }
    }

    /// The view is this from now on, as [`Calls::see`] knows already. Where no state is kept and somebody comes, all begin with an empty table:
    /// clients are struck, and come back as somebody new. Who keeps none though others do, serves no clients.
    pub fn see(&mut self, now: Instant, calls: &mut Calls, view: &View) {
        let is_new = |member: &ViewMember| !self.members.contains(member) || self.stateless.contains(member);
        let ranked = || (0..).map(Rank).zip(view.members());
        let comes_bare = ranked().any(|(rank, member)| is_new(member) && view.has_state(rank));
        // I begin with an empty table anyway, or with that of who has given me the state.
        if comes_bare && self.me.is_some() {
            self.strike_all(calls);
        }
        self.table.begin(view.id().number);
        self.members = view.members().to_vec();
        self.stateless = view.stateless().iter().filter_map(|rank| view.member(*rank)).copied().collect();
        self.me = view.member(view.me()).copied();
        let ready = ranked().filter(|(rank, _)| view.has_state(*rank)).map(|(_, member)| *member).collect();
        self.host.see(now, &self.table, self.me, ready);
        self.host.wedge(now, false);
    }

    /// The table is empty from here on, as it is with who comes without it.
    fn strike_all(&mut self, calls: &mut Calls) {
        let known: Vec<_> = self.table.entries().map(|(session, entry)| (session, entry.client)).collect();
        for (session, client) in known {
            self.events.push_back(ClientsEvent::Gone(client));
            self.forget(calls, session);
        }
        self.table.clear();
    }

    /// The group cannot go on, or does again: meanwhile I am no contact, and strike nobody.
    pub fn wedge(&mut self, now: Instant, is_wedged: bool) {
        self.host.wedge(now, is_wedged);
    }

    /// I am in no view any more, as [`Calls::excluded`] knows already: all that I know of clients is forgotten.
    pub fn excluded(&mut self) {
        self.table = Table::new(self.tuning.clients, self.tuning.window);
        self.host.excluded();
        self.waiting.clear();
        self.events.clear();
        self.untold.clear();
        self.epoch += 1;
        (self.members, self.stateless, self.me) = (Vec::new(), Vec::new(), None);
    }

    /// Takes what calls tell, and returns what is none of clients.
    pub fn take(&mut self, now: Instant, calls: &mut Calls, event: CallEvent) -> Option<CallEvent> {
        let Some(me) = self.me else {
            return self.host.forget_call(event);
        };
        let is_stateless = self.stateless.contains(&me);
        match event {
            CallEvent::Plain { from, bytes } => match Cast::decode(&bytes, me.endpoint) {
                Some(Cast { deed: Deed::Attach { .. } | Deed::Gone { .. }, .. }) if is_stateless => None,
                Some(Cast { client, session, deed: Deed::Attach { turn } }) => {
                    self.attach(now, calls, from, (client, session, turn));
                    None
                }
                Some(Cast { client, session, deed: Deed::Gone { turn, host } }) => {
                    self.strike(calls, from, (client, session, turn, host));
                    None
                }
                _ => Some(CallEvent::Plain { from, bytes }),
            },
            CallEvent::Request(request) => {
                let Some(Cast { client, session, deed: Deed::Ask { number, acked, dest, request: bytes } }) =
                    Cast::decode(request.bytes(), me.endpoint)
                else {
                    return Some(CallEvent::Request(request));
                };
                if is_stateless {
                    calls.null_reply(request);
                    return None;
                }
                let (bytes, epoch) = (bytes.to_vec(), self.epoch);
                let asked = ClientRequest { client, session, number, bytes, epoch, alone: None };
                match dest {
                    Dest::All => self.ask(calls, asked, acked, request),
                    Dest::Any => self.tell(ClientRequest { alone: Some(request), ..asked }),
                }
                None
            }
            CallEvent::Done { call, is_enough, replies } => self
                .host
                .done(&self.table, call, is_enough, replies)
                .map(|replies| CallEvent::Done { call, is_enough, replies }),
        }
    }

    fn tell(&mut self, request: ClientRequest) {
        *self.untold.entry(request.session).or_default() += 1;
        self.events.push_back(ClientsEvent::Request(request));
    }

    fn attach(
        &mut self,
        now: Instant,
        calls: &mut Calls,
        from: ViewMember,
        (client, session, turn): (ViewMember, u64, u64),
    ) {
        let what = self.table.attach(client, session, turn, from);
        if let Attaching::New { before, .. } = what {
            if let Some((before, client)) = before {
                self.forget(calls, before);
                self.events.push_back(ClientsEvent::Gone(client));
            }
            self.events.push_back(ClientsEvent::Joined(client));
        }
        self.host.attached(now, calls, self.me == Some(from), client, (session, turn), what);
    }

    fn strike(
        &mut self,
        calls: &mut Calls,
        from: ViewMember,
        (client, session, turn, host): (ViewMember, u64, u64, ViewMember),
    ) {
        if self.table.strike(client, session, turn, host) {
            self.events.push_back(ClientsEvent::Gone(client));
            self.forget(calls, session);
            if self.me == Some(from) {
                self.host.drop_client(client, session);
            }
        } else if self.me == Some(from) {
            self.host.spare(session);
        }
    }

    /// A session is over: whoever waits for what I say to its requests waits no more.
    fn forget(&mut self, calls: &mut Calls, session: u64) {
        self.host.forget(calls, session);
        self.release(calls, (session, 0)..=(session, u64::MAX));
    }

    /// Nobody is to be told any more what I say to these.
    fn release(&mut self, calls: &mut Calls, keys: RangeInclusive<(u64, u64)>) {
        let over: Vec<_> = self.waiting.range(keys).map(|(key, _)| *key).collect();
        let waiting = over.into_iter().filter_map(|key| self.waiting.remove(&key)).flatten();
        waiting.collect::<Vec<_>>().into_iter().for_each(|request| calls.null_reply(request));
    }

    /// A request to all was delivered, or handed on to me.
    fn ask(&mut self, calls: &mut Calls, asked: ClientRequest, acked: u64, request: Request) {
        let (client, key) = (asked.client, (asked.session, asked.number));
        let known = match request.is_cast() {
            true => self.table.ask(client, asked.session, asked.number, acked),
            false => self.table.look(client, asked.session, asked.number, acked),
        };
        match known {
            Asked::New => {
                self.waiting.entry(key).or_default().push(request);
                self.tell(asked);
            }
            // What I have cast myself may be handed on to me before it is delivered here.
            Asked::Open | Asked::Early => self.waiting.entry(key).or_default().push(request),
            // It had handed it on itself, and is asked by somebody who has.
            Asked::Said(Status::Forwarded(_)) if !request.is_cast() => calls.null_reply(request),
            Asked::Said(said) => self.answer(calls, request, &said),
            Asked::Stale => {
                let waiting = self.waiting.remove(&key).unwrap_or_default();
                waiting.into_iter().chain([request]).for_each(|request| calls.null_reply(request));
            }
        }
        let acked = self.table.acked(key.0);
        self.host.acked(calls, key.0, acked);
        if let Some(last) = acked.checked_sub(1) {
            self.release(calls, (key.0, 0)..=(key.0, last));
        }
    }

    /// Says of a request what was said of it.
    fn answer(&self, calls: &mut Calls, request: Request, said: &Status) {
        match said {
            Status::Replied(reply) => calls.reply(request, reply),
            Status::Aborted(why) => calls.abort_reply(request, why),
            Status::Forwarded(to) if self.members.contains(to) => calls.forward(request, *to),
            _ => calls.null_reply(request),
        }
    }

    fn say(&mut self, calls: &mut Calls, request: ClientRequest, said: &Status) {
        if request.epoch != self.epoch {
            return;
        }
        if let Some(alone) = request.alone {
            return self.answer(calls, alone, said);
        }
        self.table.say(request.session, request.number, said);
        let waiting = self.waiting.remove(&(request.session, request.number)).unwrap_or_default();
        for request in waiting {
            match said {
                Status::Forwarded(_) if !request.is_cast() => calls.null_reply(request),
                said => self.answer(calls, request, said),
            }
        }
    }

    /// Answers a request. A reply that is too long ends it, and says so.
    pub fn reply(&mut self, calls: &mut Calls, request: ClientRequest, reply: &[u8]) {
        let (len, max) = (reply.len(), self.tuning.bytes);
        if len > max {
            return self.abort_reply(calls, request, &format!("a reply of {len} bytes, of at most {max}"));
        }
        self.say(calls, request, &Status::Replied(reply.to_vec()));
    }

    /// Says that there will be no reply.
    pub fn null_reply(&mut self, calls: &mut Calls, request: ClientRequest) {
        self.say(calls, request, &Status::Null);
    }

    /// Ends the request, for a reason.
    pub fn abort_reply(&mut self, calls: &mut Calls, request: ClientRequest, why: &str) {
        self.say(calls, request, &Status::Aborted(why.to_owned()));
    }

    /// Hands the request on to another member. One that all execute is replied to by that one alone, which had it anyway. To myself, I am asked again.
    pub fn forward(&mut self, calls: &mut Calls, request: ClientRequest, to: ViewMember) {
        if request.epoch == self.epoch && Some(to) == self.me {
            return self.tell(request);
        }
        if !self.members.contains(&to) {
            return self.abort_reply(calls, request, "it was handed on to somebody who is no member");
        }
        self.say(calls, request, &Status::Forwarded(to));
    }

    /// What the application is to be told next.
    pub fn poll_event(&mut self) -> Option<ClientsEvent> {
        let event = self.events.pop_front();
        if let Some(ClientsEvent::Request(request)) = &event {
            self.told(request.session);
        }
        event
    }

    fn told(&mut self, session: u64) {
        let Some(untold) = self.untold.get_mut(&session) else { return };
        *untold -= 1;
        if *untold == 0 {
            self.untold.remove(&session);
        }
    }

    /// How much there is to be told.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.events.len()
    }

    /// All clients, in the order of their registration.
    pub fn clients(&self) -> impl Iterator<Item = Served> {
        self.table.entries().map(|(_, entry)| Served { client: entry.client, host: entry.host })
    }

    /// Appends the table for who joins, as it is where the group asks for the state: with what was not told to the application here.
    pub fn write(&self, out: &mut Vec<u8>) {
        let untold = |event: &ClientsEvent| match event {
            ClientsEvent::Request(ClientRequest { alone: None, session, number, .. }) => {
                Some((*session, *number)).filter(|_| !mutated!(ForgetUntold))
            }
            _ => None,
        };
        let untold: Vec<_> = self.events.iter().filter_map(untold).collect();
        self.table.write(|session, number| untold.contains(&(session, number)), out);
        let is_for_all = |event: &&ClientsEvent| match event {
            ClientsEvent::Request(request) => request.alone.is_none() && !mutated!(ForgetUntold),
            ClientsEvent::Joined(_) | ClientsEvent::Gone(_) => true,
        };
        out.extend_from_slice(&(self.events.iter().filter(is_for_all).count() as u32).to_le_bytes());
        for event in self.events.iter().filter(is_for_all) {
            match event {
                ClientsEvent::Request(ClientRequest { client, session, number, bytes, .. }) => {
                    out.push(0);
                    write_member(*client, out);
                    out.extend_from_slice(&session.to_le_bytes());
                    out.extend_from_slice(&number.to_le_bytes());
                    put_bytes(bytes, out);
                }
                ClientsEvent::Joined(client) => {
                    out.push(1);
                    write_member(*client, out);
                }
                ClientsEvent::Gone(client) => {
                    out.push(2);
                    write_member(*client, out);
                }
            }
        }
    }

    /// Takes over what a member has written; `local` is my endpoint. What was not told to the application there, is told to mine.
    ///
    /// # Errors
    /// [`NotOfClients`], and nothing has changed.
    pub fn read(&mut self, local: Endpoint, bytes: &[u8]) -> Result<(), NotOfClients> {
        let (mut from, epoch) = (Reader::new(bytes, local), self.epoch + 1);
        let mut read = || {
            let mut table = Table::new(self.tuning.clients, self.tuning.window);
            table.read(&mut from)?;
            let events = from.list(|from| match (from.u8()?, from.member()?) {
                (0, client) => {
                    let (session, number) = (from.u64()?, from.u64()?);
                    let bytes = from.bytes()?.to_vec();
                    let request = ClientRequest { client, session, number, bytes, epoch, alone: None };
                    Some(ClientsEvent::Request(request))
                }
                (1, client) => Some(ClientsEvent::Joined(client)),
                (2, client) => Some(ClientsEvent::Gone(client)),
                _ => None,
            })?;
            from.is_at_end().then_some((table, events))
        };
        let (table, events) = read().ok_or(NotOfClients)?;
        (self.table, self.events) = (table, VecDeque::new());
        self.waiting.clear();
        self.untold.clear();
        self.epoch = epoch;
        for event in events {
            match event {
                ClientsEvent::Request(request) => self.tell(request),
                other => self.events.push_back(other),
            }
        }
        Ok(())
    }
}
