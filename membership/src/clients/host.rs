//! A member as a contact of clients: it hears their letters, has cast what they want, and answers. Nothing of it is in the table.

use super::letter::{Cast, Deed, Letter, Part, leave_out};
use super::table::{Asked, Attaching, Entry, Table};
use super::{ClientTuning, Clients, Dest, MAX_LETTER};
use crate::call::{CallEvent, CallId, Calls, Status, Want};
use sistrum_ordering::{Endpoint, ViewMember};
use sistrum_transport::mutated;
use sistrum_transport::time::Instant;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;

/// Letters that wait to be sent, and their bytes; what is beyond will be said again.
const MAX_LETTERS: usize = 4096;
const MAX_LETTER_BYTES: usize = 8 * 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Host {
    tuning: ClientTuning,
    me: Option<ViewMember>,
    /// Who has the state, by age.
    ready: Vec<ViewMember>,
    /// By session: those who are attached to me.
    mine: BTreeMap<u64, Mine>,
    /// By session: since when their host is gone.
    orphans: BTreeMap<u64, Instant>,
    /// Those who have said goodbye to me.
    leaving: BTreeSet<u64>,
    /// Those that I strike, in a cast that is on its way or waits.
    striking: BTreeSet<u64>,
    /// Those who attach to me, by a cast that is on its way or waits, and in which turn.
    attaching: BTreeMap<ViewMember, u64>,
    /// What becomes of a request that came to me, by session and number.
    pub(super) serving: BTreeMap<(u64, u64), Serving>,
    /// Those calls of mine that are of clients.
    pub(super) calls: BTreeMap<CallId, (u64, u64)>,
    pub(super) tasks: VecDeque<Task>,
    /// What is cast next, of the first task, and the call that it begins.
    next: Option<(Vec<u8>, Option<CallId>)>,
    letters: VecDeque<(Endpoint, Vec<u8>)>,
    pub(super) letter_bytes: usize,
    looks_at: Option<Instant>,
    is_wedged: bool,
    malformed: u64,
    refused: u64,
}

/// A client that is attached to me.
#[derive(Debug, Clone, Copy)]
struct Mine {
    /// By which attempt to attach.
    turn: u64,
    heard: Instant,
    acked: u64,
}

impl Mine {
    fn new(now: Instant, turn: u64) -> Self {
        Self { turn, heard: now, acked: 0 }
    }
}

#[derive(Debug)]
pub(super) enum Serving {
    /// It waits to be cast.
    Waiting,
    Calling(CallId),
    /// That letter answers it.
    Answered(Vec<u8>),
}

/// Something that is to be cast.
#[derive(Debug)]
pub(super) enum Task {
    Attach { client: ViewMember, session: u64, turn: u64 },
    Strike { session: u64 },
    Ask { client: ViewMember, key: (u64, u64), acked: u64, want: Want, request: Vec<u8> },
}

impl Host {
    pub(super) fn new(tuning: ClientTuning) -> Self {
        Self {
            tuning,
            me: None,
            ready: Vec::new(),
            mine: BTreeMap::new(),
            orphans: BTreeMap::new(),
            leaving: BTreeSet::new(),
            striking: BTreeSet::new(),
            attaching: BTreeMap::new(),
            serving: BTreeMap::new(),
            calls: BTreeMap::new(),
            tasks: VecDeque::new(),
            next: None,
            letters: VecDeque::new(),
            letter_bytes: 0,
            looks_at: None,
            is_wedged: false,
            malformed: 0,
            refused: 0,
        }
    }

    /// The members that have the state are these.
    pub(super) fn see(
        &mut self,
        now: Instant,
        table: &Table,
        me: Option<ViewMember>,
        ready: Vec<ViewMember>,
    ) {
        (self.me, self.ready) = (me, ready);
        for (session, _) in table.entries().filter(|(_, entry)| !self.ready.contains(&entry.host)) {
            self.orphans.entry(session).or_insert(now);
        }
        // Not put off: views may follow each other faster than that.
        let looks_at = now.plus_ns(self.looks_every_ns());
        self.looks_at.get_or_insert(looks_at);
    }

    /// Nothing gets through, or does again: whoever was not heard meanwhile has time to speak.
    pub(super) fn wedge(&mut self, now: Instant, is_wedged: bool) {
        if std::mem::replace(&mut self.is_wedged, is_wedged) && !is_wedged {
            self.mine.values_mut().for_each(|mine| mine.heard = now);
            self.orphans.values_mut().for_each(|since| *since = now);
        }
    }

    /// What I was contact for is over, but for the ends of my calls, which are told yet.
    pub(super) fn excluded(&mut self) {
        let (calls, malformed, refused) = (std::mem::take(&mut self.calls), self.malformed, self.refused);
        *self = Self { calls, malformed, refused, ..Self::new(self.tuning) };
    }

    /// Without a view: returns what is none of clients.
    pub(super) fn forget_call(&mut self, event: CallEvent) -> Option<CallEvent> {
        let is_mine = matches!(&event, CallEvent::Done { call, .. } if self.calls.remove(call).is_some());
        (!is_mine).then_some(event)
    }

    fn looks_every_ns(&self) -> u64 {
        (self.tuning.silence_ns.min(self.tuning.grace_ns) / 8).max(1)
    }

    /// An attempt to attach was delivered, which `is_mine` where I have cast it.
    pub(super) fn attached(
        &mut self,
        now: Instant,
        calls: &mut Calls,
        is_mine: bool,
        client: ViewMember,
        (session, turn): (u64, u64),
        what: Attaching,
    ) {
        if let Attaching::New { session, .. } | Attaching::Hosted { session } = what {
            self.orphans.remove(&session);
            self.striking.remove(&session);
            // It says all again that is open, in order, behind each attempt to attach.
            if self.mine.get(&session).is_some_and(|mine| !is_mine || mine.turn != turn) {
                self.mine.remove(&session);
                self.drop_asks(calls, (session, 0)..=(session, u64::MAX));
            }
            if is_mine {
                self.mine.entry(session).or_insert(Mine::new(now, turn)).heard = now;
            }
        }
        if !is_mine {
            return;
        }
        if self.attaching.get(&client).is_some_and(|last| *last <= turn) {
            self.attaching.remove(&client);
        }
        let (session, part) = match what {
            Attaching::New { session, .. } | Attaching::Hosted { session } => (session, Part::Attached),
            Attaching::Late => return,
            Attaching::Full => {
                self.refused += 1;
                (session, Part::Full)
            }
            Attaching::Dropped { above } => (session, Part::Dropped { above }),
        };
        self.send(client, session, turn, part);
    }

    /// A session is over.
    pub(super) fn forget(&mut self, calls: &mut Calls, session: u64) {
        self.mine.remove(&session);
        self.orphans.remove(&session);
        self.leaving.remove(&session);
        self.striking.remove(&session);
        self.drop_asks(calls, (session, 0)..=(session, u64::MAX));
    }

    /// I have struck it.
    pub(super) fn drop_client(&mut self, client: ViewMember, session: u64) {
        self.send(client, session, 0, Part::Dropped { above: client.boot });
    }

    /// It had moved when I wanted to strike it.
    pub(super) fn spare(&mut self, session: u64) {
        self.striking.remove(&session);
    }

    /// A client has got the answers to all requests below this.
    pub(super) fn acked(&mut self, calls: &mut Calls, session: u64, acked: u64) {
        if let Some(last) = acked.checked_sub(1) {
            self.drop_asks(calls, (session, 0)..=(session, last));
        }
    }

    /// Nothing more comes of these here: they are not cast where they wait for that, and else nobody here awaits what is said of them.
    fn drop_asks(&mut self, calls: &mut Calls, keys: RangeInclusive<(u64, u64)>) {
        let over: Vec<_> = self.serving.range(keys.clone()).map(|(key, _)| *key).collect();
        let mut has_waited = false;
        for key in over {
            match self.serving.remove(&key) {
                Some(Serving::Waiting) => has_waited = true,
                Some(Serving::Calling(call)) => self.give_up(calls, call),
                Some(Serving::Answered(_)) | None => {}
            }
        }
        if has_waited {
            self.tasks.retain(|task| !matches!(task, Task::Ask { key, .. } if keys.contains(key)));
        }
    }

    fn give_up(&mut self, calls: &mut Calls, call: CallId) {
        if self.next.as_ref().is_some_and(|(_, next)| *next == Some(call)) {
            self.next = None;
            self.tasks.pop_front();
        }
        // What was over already is told yet.
        if calls.give_up(call) {
            self.calls.remove(&call);
        }
    }

    fn send(&mut self, to: ViewMember, session: u64, turn: u64, part: Part<'_>) {
        let letter = Letter { boot: to.boot, session, turn, part }.encode();
        self.post(to, letter);
    }

    fn post(&mut self, to: ViewMember, letter: Vec<u8>) {
        if self.letters.len() < MAX_LETTERS && self.letter_bytes + letter.len() <= MAX_LETTER_BYTES {
            self.letter_bytes += letter.len();
            self.letters.push_back((to.endpoint, letter));
        }
    }

    /// One of my calls is over: its client is told. Returns the replies where it is none of clients.
    pub(super) fn done(
        &mut self,
        table: &Table,
        call: CallId,
        is_enough: bool,
        replies: Vec<(ViewMember, Status)>,
    ) -> Option<Vec<(ViewMember, Status)>> {
        let Some((session, number)) = self.calls.remove(&call) else { return Some(replies) };
        if let Some(entry) = table.entry(session) {
            self.finish(entry, (session, number), is_enough, replies);
        }
        None
    }

    /// What has become of a request is told to its client.
    pub(super) fn finish(
        &mut self,
        entry: &Entry,
        (session, number): (u64, u64),
        is_enough: bool,
        mut replies: Vec<(ViewMember, Status)>,
    ) {
        let letter_of = |replies: &[_]| {
            let part = Part::Done { number, is_enough, replies: replies.to_vec() };
            Letter { boot: entry.client.boot, session, turn: entry.turn, part }.encode()
        };
        let mut letter = letter_of(&replies);
        if let Some(excess) = letter.len().checked_sub(MAX_LETTER) {
            leave_out(excess, &mut replies);
            letter = letter_of(&replies);
        }
        self.post(entry.client, letter.clone());
        // It may have said meanwhile that it has an answer.
        if let Some(serving) = self.serving.get_mut(&(session, number)) {
            *serving = Serving::Answered(letter);
        }
    }

    /// Whether a client may be struck now, by me.
    fn is_lost(&self, now: Instant, session: u64, entry: &Entry) -> bool {
        let is_silent = |mine: &Mine| now.since_ns(mine.heard) >= self.tuning.silence_ns;
        let is_orphan =
            |since: &Instant| now.since_ns(*since) >= self.tuning.grace_ns || mutated!(StrikeAtOnce);
        if self.is_wedged {
            return false;
        }
        if self.leaving.contains(&session) {
            return true;
        }
        match Some(entry.host) == self.me {
            true => self.mine.get(&session).is_none_or(is_silent),
            false => {
                self.ready.first() == self.me.as_ref() && self.orphans.get(&session).is_some_and(is_orphan)
            }
        }
    }

    fn is_contact(&self, me: ViewMember) -> bool {
        self.ready.contains(&me) && !self.is_wedged
    }

    fn strike(&mut self, session: u64) {
        if self.striking.insert(session) {
            self.tasks.push_back(Task::Strike { session });
        }
    }

    /// What a task has cast, where it is still to be.
    fn prepare(
        &mut self,
        now: Instant,
        table: &Table,
        calls: &mut Calls,
    ) -> Option<(Vec<u8>, Option<CallId>)> {
        match self.tasks.front()? {
            Task::Attach { client, session, turn } => {
                let cast = Cast { client: *client, session: *session, deed: Deed::Attach { turn: *turn } };
                Some((Calls::plain(&cast.encode()), None))
            }
            Task::Strike { session } => {
                let session = *session;
                let Some(entry) = table.entry(session).filter(|entry| self.is_lost(now, session, entry))
                else {
                    self.striking.remove(&session);
                    return None;
                };
                let deed = Deed::Gone { turn: entry.turn, host: entry.host };
                Some((Calls::plain(&Cast { client: entry.client, session, deed }.encode()), None))
            }
            Task::Ask { client, key, acked, want, request } => {
                let key = *key;
                let entry = table.entry(key.0).filter(|entry| Some(entry.host) == self.me);
                let serving = self.serving.get_mut(&key);
                let (Some(_), Some(serving)) = (entry, serving) else {
                    self.serving.remove(&key);
                    return None;
                };
                let deed = Deed::Ask { number: key.1, acked: *acked, dest: Dest::All, request };
                let cast = Cast { client: *client, session: key.0, deed };
                let (call, bytes) = calls.call_all(*want, &cast.encode());
                *serving = Serving::Calling(call);
                self.calls.insert(call, key);
                Some((bytes, Some(call)))
            }
        }
    }
}

impl Clients {
    /// A letter that came for the group from there.
    pub fn handle_letter(&mut self, now: Instant, calls: &mut Calls, from: Endpoint, letter: &[u8]) {
        let Some(me) = self.me else { return };
        let Some(Letter { boot, session, turn, part }) = Letter::decode(letter, me.endpoint) else {
            self.host.malformed += 1;
            return;
        };
        let client = ViewMember { endpoint: from, boot };
        match part {
            // Who has not got the table knows nobody, and who is wedged can do nothing: a client goes elsewhere.
            Part::Attach | Part::Ping | Part::Ask { .. } if !self.host.is_contact(me) => {
                self.host.send(client, session, turn, Part::Unattached);
            }
            Part::Bye if !self.host.is_contact(me) => {}
            Part::Attach => self.want_attached(client, session, turn),
            Part::Bye => self.goodbye(client, session, turn),
            Part::Ping | Part::Ask { .. } => {
                let entry = self.table.session(client).and_then(|known| self.table.entry(known));
                let is_mine = entry.is_some_and(|entry| (entry.host, entry.turn) == (me, turn));
                if !is_mine || self.table.session(client) != Some(session) {
                    return self.host.send(client, session, turn, Part::Unattached);
                }
                self.host.mine.entry(session).or_insert(Mine::new(now, turn)).heard = now;
                match part {
                    Part::Ask { number, acked, after, dest, want, request } => {
                        let numbers = (number, acked, after);
                        self.serve(calls, client, (session, turn), numbers, (dest, want), request);
                    }
                    _ => self.host.send(client, session, turn, Part::Pong),
                }
            }
            _ => self.host.malformed += 1,
        }
    }

    fn want_attached(&mut self, client: ViewMember, session: u64, turn: u64) {
        let known = self.table.session(client);
        if let (Some(known), Some(entry)) = (known, known.and_then(|known| self.table.entry(known)))
            && (session == 0 || session == known)
        {
            if entry.turn > turn && !mutated!(AttachLate) {
                return;
            }
            if Some(entry.host) == self.me && entry.turn == turn {
                return self.host.send(client, known, turn, Part::Attached);
            }
        }
        if self.host.attaching.get(&client).is_some_and(|last| *last >= turn) {
            return;
        }
        let is_new = !self.table.is_known(client.endpoint);
        if self.host.attaching.len() >= self.tuning.clients
            || (is_new && session == 0 && self.table.is_full())
        {
            self.host.refused += 1;
            return self.host.send(client, session, turn, Part::Full);
        }
        if self.host.attaching.insert(client, turn).is_some() {
            // Its last attempt is what counts.
            let is_its = |task: &Task| !matches!(task, Task::Attach { client: of, .. } if *of == client);
            self.host.tasks.retain(is_its);
        }
        self.host.tasks.push_back(Task::Attach { client, session, turn });
    }

    fn goodbye(&mut self, client: ViewMember, session: u64, turn: u64) {
        match self.table.session(client) {
            Some(known) if session == known || session == 0 => {
                self.host.leaving.insert(known);
                self.host.strike(known);
            }
            _ => self.host.send(client, session, turn, Part::Dropped { above: client.boot }),
        }
    }

    /// A request of one of mine.
    fn serve(
        &mut self,
        calls: &mut Calls,
        client: ViewMember,
        (session, turn): (u64, u64),
        (number, acked, after): (u64, u64, Option<u64>),
        (dest, want): (Dest, Want),
        request: &[u8],
    ) {
        let least = self.table.acked(session);
        let Some(mine) = self.host.mine.get_mut(&session) else { return };
        mine.acked = mine.acked.max(acked).max(least);
        let least = mine.acked;
        self.host.acked(calls, session, least);
        if number < least {
            return;
        }
        let untold = self.untold.get(&session).copied().unwrap_or_default();
        if number - least >= self.tuning.window || untold >= self.tuning.window {
            self.host.refused += 1;
            return;
        }
        let key = (session, number);
        let is_new = !self.host.serving.contains_key(&key);
        if is_new && !self.is_next(client, session, least, after) {
            // What is before it comes again, and it behind that.
            return;
        }
        let (len, max) = (request.len(), self.tuning.bytes);
        if is_new && len > max {
            self.host.refused += 1;
            return self.end_unasked(key, &format!("a request of {len} bytes, of at most {max}"));
        }
        match self.host.serving.get(&key) {
            Some(Serving::Answered(letter)) => {
                let letter = letter.clone();
                self.host.post(client, letter);
            }
            Some(Serving::Calling(call)) if mutated!(DoneTooSoon) => {
                let replies = calls.replies(*call).unwrap_or_default().to_vec();
                let part = Part::Done { number, is_enough: true, replies };
                self.host.send(client, session, turn, part);
            }
            Some(Serving::Waiting | Serving::Calling(_)) => {
                self.host.send(client, session, turn, Part::Pong);
            }
            None if dest == Dest::All => {
                self.host.serving.insert(key, Serving::Waiting);
                let request = request.to_vec();
                self.host.tasks.push_back(Task::Ask { client, key, acked: least, want, request });
            }
            None => {
                let Some(me) = self.me else { return };
                let deed = Deed::Ask { number, acked: least, dest, request };
                let cast = Cast { client, session, deed };
                let call = calls.call_one(me, want, &cast.encode());
                self.host.serving.insert(key, Serving::Calling(call));
                self.host.calls.insert(call, key);
            }
        }
    }

    /// Whether all before it that is not over at the client was taken on, or was before somebody took on what it comes after: then this is, too.
    fn is_next(&self, client: ViewMember, session: u64, least: u64, after: Option<u64>) -> bool {
        let is_delivered =
            |number| matches!(self.table.look(client, session, number, 0), Asked::Open | Asked::Said(_));
        let is_known = |number| {
            number < least || self.host.serving.contains_key(&(session, number)) || is_delivered(number)
        };
        after.is_none_or(is_known) || mutated!(ServeAnyOrder)
    }

    /// A request comes to an end that nobody else was asked.
    fn end_unasked(&mut self, key: (u64, u64), why: &str) {
        let (Some(me), Some(entry)) = (self.me, self.table.entry(key.0)) else { return };
        let replies = vec![(me, Status::Aborted(why.to_owned()))];
        self.host.serving.entry(key).or_insert(Serving::Waiting);
        self.host.finish(entry, key, false, replies);
    }

    /// Strikes those that it is time for.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.host.looks_at.is_none_or(|at| at > now) {
            return;
        }
        self.host.looks_at = Some(now.plus_ns(self.host.looks_every_ns()));
        let is_lost = |(session, entry): &(u64, &Entry)| self.host.is_lost(now, *session, entry);
        let lost: Vec<_> = self.table.entries().filter(is_lost).map(|(session, _)| session).collect();
        lost.into_iter().for_each(|session| self.host.strike(session));
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.host.looks_at
    }

    /// What is to be cast next, in total order; it stays until it is [`cast`](Self::cast), or is of no use any more.
    pub fn poll_cast(&mut self, now: Instant, calls: &mut Calls) -> Option<&[u8]> {
        self.me?;
        // What was right when it was refused may not be now: one that was to be struck has been heard.
        self.host.next.take_if(|(_, call)| call.is_none());
        while self.host.next.is_none() {
            match self.host.prepare(now, &self.table, calls) {
                Some(bytes) => self.host.next = Some(bytes),
                None => _ = self.host.tasks.pop_front()?,
            }
        }
        self.host.next.as_ref().map(|(bytes, _)| &bytes[..])
    }

    /// That was taken by the group.
    pub fn cast(&mut self) {
        self.host.next = None;
        self.host.tasks.pop_front();
    }

    /// That cannot be cast at all, for this reason, which the request comes to an end by.
    pub fn refused(&mut self, calls: &mut Calls, why: &str) {
        if let Some((_, Some(call))) = self.host.next.take() {
            self.host.give_up(calls, call);
        }
        match self.host.tasks.pop_front() {
            Some(Task::Ask { key, .. }) => self.end_unasked(key, why),
            Some(Task::Attach { client, .. }) => _ = self.host.attaching.remove(&client),
            Some(Task::Strike { session }) => self.host.spare(session),
            None => {}
        }
    }

    /// A letter that is to be sent next, and where to.
    pub fn poll_letter(&mut self) -> Option<(Endpoint, Vec<u8>)> {
        let letter = self.host.letters.pop_front();
        self.host.letter_bytes -= letter.as_ref().map_or(0, |(_, letter)| letter.len());
        letter
    }

    /// Letters that made no sense.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.host.malformed
    }

    /// Letters that wanted more than there may be: clients, open requests, or bytes of one.
    #[must_use]
    pub fn over_full(&self) -> u64 {
        self.host.refused
    }
}
