//! The client's end: what it asks, whom it is attached to, and what it says again.

use super::letter::{Letter, Part};
use super::{ClientTuning, Dest};
use crate::call::{Status, Want};
use sistrum_ordering::{BootId, Endpoint, ViewMember};
use sistrum_transport::time::Instant;
use std::collections::{BTreeMap, VecDeque};

/// What is said again waits so many times as long as at first, at most.
const MAX_BACKOFF: u64 = 8;
/// A goodbye is said so often, where nobody hears it.
const MAX_GOODBYES: u32 = 10;

/// One of my requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AskId(u64);

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It does not fit.
    #[error("a request of {len} bytes, of at most {max}")]
    TooLong {
        /// Its bytes.
        len: usize,
        /// How many there may be.
        max: usize,
    },
    /// Too many later ones were asked already than the oldest that is not over.
    #[error("the oldest request that is not over is {window} before this one: as many as may be open")]
    Full {
        /// How many there may be.
        window: u64,
    },
    /// I have said goodbye.
    #[error("the client has left")]
    Left,
}

/// How a request has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As many have replied as were wanted.
    Enough,
    /// Nobody is left who could reply, or one has ended it.
    NotEnough,
    /// It may have been executed or not: I was struck, or have left.
    Unknown,
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// I am attached to this member.
    Attached(ViewMember),
    /// It does not answer, or is gone: I look for another.
    Detached(ViewMember),
    /// The group has as many clients as it takes. I go on to try.
    Full,
    /// I was struck, and come back as somebody new. What was open has ended with [`Outcome::Unknown`].
    Dropped,
    /// A request is over.
    Done {
        /// Which one.
        ask: AskId,
        /// How.
        outcome: Outcome,
        /// What has become of it everywhere. Replies for which there was no room all together are [`Status::Unsent`], and count.
        replies: Vec<(ViewMember, Status)>,
    },
}

/// See the module.
#[derive(Debug)]
pub struct ClientEnd {
    tuning: ClientTuning,
    me: ViewMember,
    seed: u64,
    /// Who was seen in the group.
    members: Vec<ViewMember>,
    session: u64,
    turn: u64,
    seat: Seat,
    next: u64,
    open: BTreeMap<u64, Ask>,
    /// When I have said something last, and when my host has.
    said: Instant,
    heard: Instant,
    /// [`ClientEvent::Full`] was told since I was attached last.
    is_full: bool,
    letters: VecDeque<(Endpoint, Vec<u8>)>,
    events: VecDeque<ClientEvent>,
    malformed: u64,
}

/// How I stand to the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seat {
    /// Nobody is in sight.
    Looking,
    Attaching {
        to: ViewMember,
        since: Instant,
        again: Again,
    },
    Attached(ViewMember),
    Leaving {
        to: ViewMember,
        goodbyes: u32,
        again: Instant,
    },
    Over,
}

/// When something is said again, and how long after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Again {
    at: Instant,
    wait_ns: u64,
}

#[derive(Debug)]
struct Ask {
    dest: Dest,
    want: Want,
    request: Vec<u8>,
    /// `None` as long as it was never said.
    again: Option<Again>,
}

impl ClientEnd {
    /// One that sends from the endpoint of `me`, whose boot is greater than that of any client that did so before. The seed is that of the choice of
    /// its hosts.
    #[must_use]
    pub fn new(me: ViewMember, tuning: ClientTuning, seed: u64) -> Self {
        debug_assert!(tuning.bytes <= ClientTuning::MAX_BYTES, "a request fits in a letter");
        Self {
            tuning,
            me,
            seed,
            members: Vec::new(),
            session: 0,
            turn: 0,
            seat: Seat::Looking,
            next: 0,
            open: BTreeMap::new(),
            said: Instant::default(),
            heard: Instant::default(),
            is_full: false,
            letters: VecDeque::new(),
            events: VecDeque::new(),
            malformed: 0,
        }
    }

    /// Who I am: my boot grows when I come back as somebody new.
    #[must_use]
    pub fn me(&self) -> ViewMember {
        self.me
    }

    /// Whom I am attached to.
    #[must_use]
    pub fn host(&self) -> Option<ViewMember> {
        match self.seat {
            Seat::Attached(host) => Some(host),
            _ => None,
        }
    }

    /// Requests that are not over.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Letters that made no sense.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Asks the group; it waits where I am not attached.
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn ask(&mut self, now: Instant, dest: Dest, want: Want, request: &[u8]) -> Result<AskId, AskError> {
        if matches!(self.seat, Seat::Leaving { .. } | Seat::Over) {
            return Err(AskError::Left);
        }
        let (len, max, window) = (request.len(), self.tuning.bytes, self.tuning.window);
        if len > max {
            return Err(AskError::TooLong { len, max });
        }
        let number = self.next;
        if number - self.acked() >= window {
            return Err(AskError::Full { window });
        }
        self.next += 1;
        self.open.insert(number, Ask { dest, want, request: request.to_vec(), again: None });
        if let Seat::Attached(host) = self.seat {
            self.say_ask(now, host, number);
        }
        Ok(AskId(number))
    }

    /// The request is over for me, without a word; it may be executed all the same, where it was said. Returns whether it was; `None` where it was over.
    pub fn give_up(&mut self, ask: AskId) -> Option<bool> {
        Some(self.open.remove(&ask.0)?.again.is_some())
    }

    /// All below this are over.
    fn acked(&self) -> u64 {
        self.open.first_key_value().map_or(self.next, |(number, _)| *number)
    }

    /// These are in the group, as it was seen just now.
    pub fn see(&mut self, now: Instant, members: &[ViewMember]) {
        self.members = members.to_vec();
        match self.seat {
            Seat::Looking => self.go_on(now, None),
            Seat::Attaching { to, .. } | Seat::Attached(to) if !members.contains(&to) => self.detach(now, to),
            _ => {}
        }
    }

    /// Nobody answers any more who was in it.
    pub fn unseen(&mut self, now: Instant) {
        self.members.clear();
        if let Seat::Attaching { to, .. } = self.seat {
            self.detach(now, to);
        }
    }

    fn detach(&mut self, now: Instant, from: ViewMember) {
        if let Seat::Attached(host) = self.seat {
            self.events.push_back(ClientEvent::Detached(host));
        }
        self.go_on(now, Some(from));
    }

    /// Attaches to somebody, and not to this one where there is another.
    fn go_on(&mut self, now: Instant, but: Option<ViewMember>) {
        match self.choose(but) {
            Some(to) => self.attach(now, to),
            None => self.seat = Seat::Looking,
        }
    }

    fn choose(&mut self, but: Option<ViewMember>) -> Option<ViewMember> {
        self.seed = self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let others: Vec<_> = self.members.iter().filter(|member| Some(**member) != but).collect();
        let at = (self.seed >> 33) as usize;
        match others.len() {
            0 => self.members.first().copied(),
            count => Some(*others[at % count]),
        }
    }

    fn attach(&mut self, now: Instant, to: ViewMember) {
        self.turn += 1;
        let again = self.again(now);
        self.seat = Seat::Attaching { to, since: now, again };
        self.send(now, to, Part::Attach);
    }

    fn again(&self, now: Instant) -> Again {
        Again { at: now.plus_ns(self.tuning.retry_ns), wait_ns: self.tuning.retry_ns }
    }

    fn send(&mut self, now: Instant, to: ViewMember, part: Part<'_>) {
        let letter = Letter { boot: self.me.boot, session: self.session, turn: self.turn, part }.encode();
        self.letters.push_back((to.endpoint, letter));
        self.said = now;
    }

    fn say_ask(&mut self, now: Instant, host: ViewMember, number: u64) {
        let (acked, first) = (self.acked(), self.again(now));
        let max_ns = self.tuning.retry_ns.saturating_mul(MAX_BACKOFF);
        let Some(mut ask) = self.open.remove(&number) else { return };
        ask.again = Some(ask.again.map_or(first, |again| {
            let wait_ns = again.wait_ns.saturating_mul(2).min(max_ns);
            Again { at: now.plus_ns(wait_ns), wait_ns }
        }));
        let after = self.open.range(..number).next_back().map(|(before, _)| *before);
        let Ask { dest, want, request, .. } = &ask;
        self.send(now, host, Part::Ask { number, acked, after, dest: *dest, want: *want, request });
        self.open.insert(number, ask);
    }

    /// Takes a letter that came from there.
    pub fn handle(&mut self, now: Instant, from: Endpoint, letter: &[u8]) {
        let Some(Letter { boot, session, turn, part }) = Letter::decode(letter, self.me.endpoint) else {
            self.malformed += 1;
            return;
        };
        if boot != self.me.boot || matches!(self.seat, Seat::Over) {
            return;
        }
        if let Seat::Attached(host) = self.seat
            && host.endpoint == from
            && turn == self.turn
        {
            self.heard = now;
        }
        match part {
            Part::Attached => self.attached(now, from, session, turn),
            Part::Full => self.full(now, from, turn),
            Part::Unattached => self.unattached(now, from, turn),
            Part::Dropped { above } => self.dropped(now, from, (session, turn), above),
            Part::Done { number, is_enough, replies } if session == self.session => {
                let outcome = if is_enough { Outcome::Enough } else { Outcome::NotEnough };
                self.end(number, outcome, replies);
            }
            Part::Pong | Part::Done { .. } => {}
            Part::Attach | Part::Ask { .. } | Part::Ping | Part::Bye => self.malformed += 1,
        }
    }

    fn end(&mut self, number: u64, outcome: Outcome, replies: Vec<(ViewMember, Status)>) {
        if self.open.remove(&number).is_some() {
            self.events.push_back(ClientEvent::Done { ask: AskId(number), outcome, replies });
        }
    }

    /// Whom I am attaching to, where it is there that a letter comes from, and of this attempt.
    fn attaching(&self, from: Endpoint, turn: u64) -> Option<ViewMember> {
        match self.seat {
            Seat::Attaching { to, .. } if to.endpoint == from && turn == self.turn => Some(to),
            _ => None,
        }
    }

    fn attached(&mut self, now: Instant, from: Endpoint, session: u64, turn: u64) {
        let Some(host) = self.attaching(from, turn) else { return };
        if self.session != 0 && self.session != session {
            return;
        }
        self.session = session;
        self.seat = Seat::Attached(host);
        (self.heard, self.is_full) = (now, false);
        self.events.push_back(ClientEvent::Attached(host));
        for number in self.open.keys().copied().collect::<Vec<_>>() {
            self.say_ask(now, host, number);
        }
    }

    fn full(&mut self, now: Instant, from: Endpoint, turn: u64) {
        let Some(to) = self.attaching(from, turn) else { return };
        if !std::mem::replace(&mut self.is_full, true) {
            self.events.push_back(ClientEvent::Full);
        }
        let wait_ns = self.tuning.patience_ns;
        self.seat = Seat::Attaching { to, since: now, again: Again { at: now.plus_ns(wait_ns), wait_ns } };
    }

    fn unattached(&mut self, now: Instant, from: Endpoint, turn: u64) {
        match self.seat {
            Seat::Attached(host) if host.endpoint == from && turn == self.turn => self.attach(now, host),
            // It cannot be my host: I go elsewhere when I would have said it again.
            Seat::Attaching { to, again, .. } if to.endpoint == from && turn == self.turn => {
                self.seat = Seat::Attaching { to, since: Instant::default(), again };
            }
            _ => {}
        }
    }

    fn dropped(&mut self, now: Instant, from: Endpoint, (session, turn): (u64, u64), above: BootId) {
        if let Seat::Leaving { .. } = self.seat {
            self.seat = Seat::Over;
            return;
        }
        let is_of_attempt = session == 0 && self.attaching(from, turn).is_some();
        if session != self.session || (session == 0 && !is_of_attempt) {
            return;
        }
        if session != 0 {
            self.events.push_back(ClientEvent::Dropped);
            // What nobody was told of can still be.
            let said = self.open.iter().filter(|(_, ask)| ask.again.is_some());
            for number in said.map(|(number, _)| *number).collect::<Vec<_>>() {
                self.end(number, Outcome::Unknown, Vec::new());
            }
        }
        self.me.boot = BootId(self.me.boot.max(above).0.saturating_add(1));
        self.session = 0;
        match self.seat {
            // Said again at once, it might be refused again at once, for ever.
            Seat::Attaching { to, .. } if session == 0 => {
                self.turn += 1;
                self.seat = Seat::Attaching { to, since: now, again: self.again(now) };
            }
            _ => self.go_on(now, None),
        }
    }

    /// Says again what was not answered, and looks for another host where this one is silent.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.seat {
            Seat::Attaching { to, since, again } if again.at <= now => {
                if now.since_ns(since) >= self.tuning.patience_ns {
                    return self.go_on(now, Some(to));
                }
                self.seat = Seat::Attaching { to, since, again: self.again(now) };
                self.send(now, to, Part::Attach);
            }
            Seat::Attached(host) => self.keep_on(now, host),
            Seat::Leaving { to, goodbyes, again } if again <= now => self.say_goodbye(now, to, goodbyes),
            _ => {}
        }
    }

    fn keep_on(&mut self, now: Instant, host: ViewMember) {
        if now.since_ns(self.heard) >= self.tuning.patience_ns {
            return self.detach(now, host);
        }
        let is_due = |ask: &Ask| ask.again.is_none_or(|again| again.at <= now);
        let due = self.open.iter().filter(|(_, ask)| is_due(ask)).map(|(number, _)| *number);
        for number in due.collect::<Vec<_>>() {
            self.say_ask(now, host, number);
        }
        if self.pings_at() <= now {
            self.send(now, host, Part::Ping);
        }
    }

    /// It is asked whether it is there, when nothing was said for long, and soon again where it does not answer.
    fn pings_at(&self) -> Instant {
        let said = self.said.plus_ns(self.tuning.retry_ns).max(self.heard.plus_ns(self.tuning.keep_alive_ns));
        said.min(self.said.plus_ns(self.tuning.keep_alive_ns))
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.seat {
            Seat::Looking | Seat::Over => None,
            Seat::Attaching { again, .. } => Some(again.at),
            Seat::Leaving { again, .. } => Some(again),
            Seat::Attached(_) => {
                let asks = self.open.values().filter_map(|ask| ask.again).map(|again| again.at).min();
                let first = self.pings_at().min(self.heard.plus_ns(self.tuning.patience_ns));
                Some(asks.map_or(first, |at| at.min(first)))
            }
        }
    }

    /// A letter that is to be sent next, and where to.
    pub fn poll_letter(&mut self) -> Option<(Endpoint, Vec<u8>)> {
        self.letters.pop_front()
    }

    /// What there is to be told next.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// Says goodbye: what is open ends with [`Outcome::Unknown`].
    pub fn leave(&mut self, now: Instant) {
        let to = match self.seat {
            Seat::Leaving { .. } | Seat::Over => return,
            Seat::Attached(to) | Seat::Attaching { to, .. } => Some(to),
            Seat::Looking => None,
        };
        for number in self.open.keys().copied().collect::<Vec<_>>() {
            self.end(number, Outcome::Unknown, Vec::new());
        }
        match to.or_else(|| self.choose(None)) {
            Some(to) => self.say_goodbye(now, to, 0),
            None => self.seat = Seat::Over,
        }
    }

    fn say_goodbye(&mut self, now: Instant, last: ViewMember, goodbyes: u32) {
        let to = match goodbyes {
            0..3 => Some(last),
            _ => self.choose(Some(last)),
        };
        let Some(to) = to.filter(|_| goodbyes < MAX_GOODBYES) else {
            self.seat = Seat::Over;
            return;
        };
        self.send(now, to, Part::Bye);
        self.seat = Seat::Leaving { to, goodbyes: goodbyes + 1, again: now.plus_ns(self.tuning.retry_ns) };
    }

    /// Whether I have left: my goodbye was heard, or there is nobody who would hear it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.seat == Seat::Over
    }
}
