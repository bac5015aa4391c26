//! A group that is virtually synchronous, its clients, and the network between them, in virtual time.

use crate::agent::Agent;
use crate::book::{Book, Told, name_in};
use crate::calling::Sent;
use fastrand::Rng;
use sistrum_membership::{
    CallEvent, Calls, ClientRequest, ClientTuning, Clients, ClientsEvent, Dest, Request, Served, Status, Want,
};
use sistrum_ordering::{
    BootId, Change, Endpoint, GroupId, GroupInstance, Rank, Reason, View, ViewId, ViewMember, ViewNumber,
};
use sistrum_transport::time::Instant;
use std::collections::{BTreeMap, BTreeSet};

const MS: u64 = 1_000_000;
/// What members cast for themselves, and ask each other.
const OWN: &[u8] = b"own";

struct Peer {
    me: ViewMember,
    calls: Calls,
    clients: Clients,
    /// The state and the first view of one that has not taken them over yet.
    coming: Option<(Vec<u8>, View)>,
    /// How much its application was told.
    told: usize,
    /// Requests that wait for the application, and those of members.
    asked: Vec<ClientRequest>,
    is_wedged: bool,
    /// That of each client with the greatest number that it was told of.
    latest: BTreeMap<ViewMember, u64>,
    own: Vec<Request>,
}

/// A letter on its way.
struct Flight {
    to: Endpoint,
    from: Endpoint,
    bytes: Vec<u8>,
    /// Of a client: to whom it is attached, and for which time.
    stamp: Option<(ViewMember, u64)>,
}

pub(crate) struct World {
    rng: Rng,
    now: u64,
    tuning: ClientTuning,
    /// What is cast is never lost with its sender.
    is_safe: bool,
    /// Some requests are answered only when a later one of the same client has come.
    is_patient: bool,
    loss: f64,
    number: u32,
    boots: u64,
    /// Calls of members.
    own: u64,
    view: Vec<ViewMember>,
    joining: BTreeSet<ViewMember>,
    peers: Vec<Peer>,
    /// Casts in one order, who has cast them, and when; and how many of them each has been handed.
    casts: Vec<(ViewMember, Vec<u8>, u64)>,
    handed: BTreeMap<ViewMember, usize>,
    /// What was sent to one alone, in the order of its sender.
    sent: Sent,
    flights: BTreeMap<(u64, u64), Flight>,
    agents: Vec<Agent>,
    book: Book,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let count = rng.u16(1..6);
        let tuning = ClientTuning {
            clients: if rng.u8(..4) == 0 { usize::from(count.div_ceil(2)) } else { 64 },
            window: rng.u64(2..7),
            bytes: 64,
            retry_ns: 100 * MS,
            keep_alive_ns: 300 * MS,
            patience_ns: 1_000 * MS,
            silence_ns: 2_000 * MS,
            grace_ns: 2_000 * MS,
        };
        let mut world = Self {
            now: MS,
            tuning,
            is_safe: rng.bool(),
            is_patient: rng.u8(..4) == 0,
            loss: [0.0, 0.1, 0.4][rng.usize(..3)],
            number: 0,
            boots: 0,
            own: 0,
            view: Vec::new(),
            joining: BTreeSet::new(),
            peers: Vec::new(),
            casts: Vec::new(),
            handed: BTreeMap::new(),
            sent: Sent::default(),
            flights: BTreeMap::new(),
            agents: (0..count).map(|at| Agent::new(at, tuning)).collect(),
            book: Book::default(),
            rng,
        };
        let peers = world.rng.usize(1..5);
        (0..peers).for_each(|_| world.add_peer(None));
        world.install(&[]);
        world
    }

    fn members(&self) -> Vec<ViewMember> {
        self.peers.iter().map(|peer| peer.me).collect()
    }

    fn is_ready(&self, member: ViewMember) -> bool {
        !self.joining.contains(&member)
    }

    fn add_peer(&mut self, coming: Option<(Vec<u8>, View)>) {
        self.boots += 1;
        let port = 100 + (self.boots % 7) as u16;
        let endpoint = Endpoint(([10, 0, 0, 1], port).into());
        let me = ViewMember { endpoint, boot: BootId(self.boots) };
        let (calls, clients) = (Calls::for_state(), Clients::new(self.tuning));
        let (asked, latest, own) = (Vec::new(), BTreeMap::new(), Vec::new());
        self.peers.push(Peer { me, calls, clients, coming, told: 0, asked, is_wedged: false, latest, own });
        self.handed.insert(me, self.casts.len());
    }

    /// All of the present view is handed over to its end.
    fn flush(&mut self, dead: Option<ViewMember>) {
        for at in 0..self.peers.len() {
            self.take_over(at);
            while self.hand(at) {}
        }
        for at in 0..self.peers.len() {
            self.post(at);
            if let Some(dead) = dead {
                let sent = self.sent.of(dead, self.peers[at].me);
                sent.truncate(self.rng.usize(..=sent.len()));
            }
        }
        for at in 0..self.peers.len() {
            for from in self.members().into_iter().chain(dead) {
                while self.bring(from, at) {}
            }
        }
        self.sent.clear();
    }

    /// All who have the table have the same.
    fn compare(&mut self) {
        let all: Vec<Vec<Served>> = self.peers.iter().map(|peer| peer.clients.clients().collect()).collect();
        assert!(all.iter().all(|clients| *clients == all[0]), "the tables differ: {all:?}");
        for (at, clients) in all.iter().enumerate() {
            if self.rng.bool() {
                self.listen(at);
                let told = self.book.clients(self.peers[at].told);
                assert!(
                    clients.iter().map(|served| served.client).eq(told),
                    "{:?} was told others",
                    self.peers[at].me
                );
            }
        }
    }

    fn view_of(&self, gone: &[(ViewMember, Reason)], rank: Rank) -> View {
        let id = ViewId { group: GroupId(1), instance: GroupInstance(1), number: ViewNumber(self.number) };
        let change = Change { gone: gone.to_vec(), ..Change::default() };
        let ranked = (0..).map(Rank).zip(&self.view);
        let joining = ranked.filter(|(_, member)| !self.is_ready(**member)).map(|(rank, _)| rank).collect();
        View::changed(id, self.view.clone(), rank, change).with_joining(joining)
    }

    fn install(&mut self, gone: &[(ViewMember, Reason)]) {
        self.number += 1;
        self.view = self.members();
        for at in 0..self.peers.len() {
            let view = self.view_of(gone, Rank(at as u16));
            let (now, peer) = (Instant(self.now), &mut self.peers[at]);
            if let Some((_, first)) = &mut peer.coming {
                *first = view;
                continue;
            }
            peer.is_wedged = false;
            peer.calls.see(&view);
            peer.clients.see(now, &mut peer.calls, &view);
            self.settle(at);
        }
    }

    /// Somebody comes: those who were joining have the state, perhaps.
    fn join(&mut self) {
        self.flush(None);
        self.compare();
        if self.rng.bool() {
            self.joining.clear();
        }
        // The endpoint of one that is there is not taken again.
        let port = 100 + ((self.boots + 1) % 7) as u16;
        if self.peers.len() < 6 && self.peers.iter().all(|peer| peer.me.endpoint.0.port() != port) {
            let ready: Vec<_> =
                (0..self.peers.len()).filter(|at| self.is_ready(self.peers[*at].me)).collect();
            let giver = ready[self.rng.usize(..ready.len())];
            let mut state = Vec::new();
            self.peers[giver].clients.write(&mut state);
            let (by, told) = (self.peers[giver].me, self.peers[giver].told);
            self.add_peer(Some((state, self.view_of(&[], Rank(0)))));
            let last = self.peers.len() - 1;
            let me = self.peers[last].me;
            self.peers[last].told = told;
            self.book.inherit(by, me, told);
            self.joining.insert(me);
            self.book.count("joins");
        }
        self.install(&[]);
    }

    /// One has got all of the state, and begins.
    fn take_over(&mut self, at: usize) {
        let (now, peer) = (Instant(self.now), &mut self.peers[at]);
        let Some((state, view)) = peer.coming.take() else { return };
        peer.clients.read(peer.me.endpoint, &state).expect("it was written by a member");
        peer.calls.see(&view);
        peer.clients.see(now, &mut peer.calls, &view);
        self.settle(at);
    }

    /// One dies, or the others go on without it: what the others have been cast is handed to all, and some is lost with it.
    fn die(&mut self) {
        let at = self.rng.usize(..self.peers.len());
        let is_last = self.peers.iter().filter(|peer| self.is_ready(peer.me)).count() == 1;
        if self.is_ready(self.peers[at].me) && is_last {
            return;
        }
        let peer = self.peers.remove(at);
        let dead = peer.me;
        if !self.is_safe {
            let handed = self.peers.iter().map(|peer| self.handed[&peer.me]).max().unwrap_or_default();
            let before = self.casts.len();
            let kept = self.casts.split_off(handed).into_iter().filter(|(by, ..)| *by != dead);
            let kept: Vec<_> = kept.collect();
            self.casts.extend(kept);
            if self.casts.len() < before {
                self.book.count("lost casts");
                // What it has sent since may depend on them.
                self.peers.iter().for_each(|peer| self.sent.of(dead, peer.me).clear());
            }
            // What nobody who lives was told is forgotten.
            for at in 0..self.peers.len() {
                self.listen(at);
            }
            let told = self.peers.iter().map(|peer| peer.told).max().unwrap_or_default();
            self.book.forget(told);
        }
        self.flush(Some(dead));
        self.compare();
        self.joining.remove(&dead);
        self.book.dead.insert(dead, self.now);
        let is_left = self.rng.bool();
        self.book.count("deaths");
        self.install(&[(dead, if is_left { Reason::Left } else { Reason::Suspected })]);
        if self.rng.bool() {
            self.exclude(peer);
        }
    }

    /// One that lives learns that it is in no view, and has nothing more to say.
    fn exclude(&mut self, mut peer: Peer) {
        if peer.coming.is_some() {
            return;
        }
        peer.calls.excluded();
        peer.clients.excluded();
        while let Some(event) = peer.calls.poll_event() {
            let event = peer.clients.take(Instant(self.now), &mut peer.calls, event);
            // What is told of its own calls is told.
            let is_own =
                |event: &CallEvent| matches!(event, CallEvent::Done { .. } | CallEvent::Plain { .. });
            assert!(event.as_ref().is_none_or(is_own), "{event:?}");
        }
        peer.asked.into_iter().for_each(|request| peer.clients.reply(&mut peer.calls, request, b""));
        peer.clients.handle_timeout(Instant(self.now));
        assert_eq!(peer.clients.poll_cast(Instant(self.now), &mut peer.calls), None);
        assert_eq!((peer.clients.poll_event(), peer.clients.clients().count()), (None, 0));
        assert_eq!((peer.clients.poll_letter(), peer.calls.open()), (None, 0));
        self.book.count("excluded");
    }

    /// Hands the next cast to one.
    fn hand(&mut self, at: usize) -> bool {
        let me = self.peers[at].me;
        let handed = self.handed[&me];
        if self.peers[at].coming.is_some() || handed == self.casts.len() {
            return false;
        }
        self.handed.insert(me, handed + 1);
        let (from, bytes, cast_at) = self.casts[handed].clone();
        // What the dead of an earlier view have cast was handed to all in it.
        let Some(rank) = self.view.iter().position(|member| *member == from) else { return true };
        if let Some(name) = name_in(&bytes).filter(|_| from == me) {
            let ready = self.view.iter().copied().filter(|member| self.is_ready(*member)).collect();
            self.book.destinations.entry(name).or_default().push(ready);
        }
        let before: Vec<Served> = self.peers[at].clients.clients().collect();
        self.peers[at].calls.handle(Rank(rank as u16), &bytes).expect("it is of calls");
        self.settle(at);
        let after: Vec<Served> = self.peers[at].clients.clients().collect();
        let gone = before.iter().filter(|served| after.iter().all(|other| other.client != served.client));
        gone.for_each(|served| self.judge_strike(*served, from, cast_at, &after));
        before.iter().filter(|served| served.host == me).for_each(|served| self.judge_move(*served, &after));
        true
    }

    /// What is in work is bounded by what there may be of clients.
    fn judge_size(&self, peer: &Peer) {
        let clients = peer.clients.clients().count() as u64;
        let (open, most) = (peer.calls.open() as u64, clients * self.tuning.window + self.own);
        assert!(open <= most, "{:?} has {open} calls, of at most {most}", peer.me);
    }

    /// A client moves from its host when it has left it, and not before.
    fn judge_move(&self, Served { client, host }: Served, after: &[Served]) {
        let is_attached =
            |agent: &Agent| agent.me == client && agent.stamp().is_some_and(|(to, _)| to == host);
        let is_moved = after.iter().any(|other| other.client == client && other.host != host);
        let is_torn = is_moved && self.agents.iter().any(is_attached);
        assert!(!is_torn, "{client:?} is taken away from {host:?}, to which it is attached");
    }

    /// A client is struck by what this member has cast then.
    fn judge_strike(&self, Served { client, host }: Served, by: ViewMember, at: u64, after: &[Served]) {
        let is_renewed = after
            .iter()
            .any(|other| other.client.endpoint == client.endpoint && other.client.boot > client.boot);
        let is_abandoned = self.book.dead.get(&host).is_some_and(|dead| dead + self.tuning.grace_ns <= at);
        let is_so = self.book.over.contains(&client) || is_renewed || host == by || is_abandoned;
        assert!(is_so, "{client:?}, who is attached to {host:?}, is struck by {by:?}");
        let is_it = |agent: &&Agent| agent.me == client && !self.book.over.contains(&client);
        for agent in self.agents.iter().filter(is_it) {
            let is_late = |heard: u64| heard + self.tuning.silence_ns > at && heard < at;
            let is_heard =
                agent.heard.iter().any(|(host, heard)| self.view.contains(host) && is_late(*heard));
            assert!(!is_heard, "{client:?} is struck by {by:?}, and its host has heard it");
        }
    }

    /// Brings what one has sent to another alone.
    fn bring(&mut self, from: ViewMember, at: usize) -> bool {
        let to = self.peers[at].me;
        // It comes behind all casts that its sender had been handed; but for my own, which I know, handed or not.
        let behind = self.handed.get(&from).copied().unwrap_or_default().min(self.casts.len());
        let handed = self.handed[&to];
        let is_behind = self.casts[handed.min(behind)..behind].iter().any(|(by, ..)| *by != to);
        if self.peers[at].coming.is_some() || is_behind {
            return false;
        }
        let Some(bytes) = self.sent.of(from, to).pop_front() else { return false };
        let rank = self.view.iter().position(|member| *member == from).expect("it is in the view");
        self.peers[at].calls.handle(Rank(rank as u16), &bytes).expect("it is of calls");
        self.settle(at);
        true
    }

    fn post(&mut self, at: usize) {
        let Peer { me, calls, .. } = &mut self.peers[at];
        self.sent.post(calls, *me, &self.view);
    }

    /// What calls tell a member goes by its clients, and its letters go out.
    fn settle(&mut self, at: usize) {
        let Self { peers, rng, flights, now, loss, .. } = self;
        let peer = &mut peers[at];
        while let Some(event) = peer.calls.poll_event() {
            match peer.clients.take(Instant(*now), &mut peer.calls, event) {
                None => {}
                Some(CallEvent::Plain { bytes, .. }) => assert_eq!(bytes, OWN),
                Some(CallEvent::Request(request)) => {
                    assert_eq!(request.bytes(), OWN);
                    peer.own.push(request);
                }
                Some(CallEvent::Done { replies, .. }) => {
                    let is_own = |status: &Status| match status {
                        Status::Replied(reply) => reply == OWN,
                        other => *other == Status::Dead,
                    };
                    assert!(replies.iter().all(|(_, status)| is_own(status)), "{replies:?}");
                }
            }
        }
        while let Some((to, bytes)) = peer.clients.poll_letter() {
            fly(rng, flights, *now, *loss, Flight { to, from: peer.me.endpoint, bytes, stamp: None });
        }
    }

    /// The application of one is told what there is.
    fn listen(&mut self, at: usize) {
        let Self { peers, book, .. } = self;
        let peer = &mut peers[at];
        while let Some(event) = peer.clients.poll_event() {
            let told = match event {
                ClientsEvent::Joined(client) => Told::Joined(client),
                ClientsEvent::Gone(client) => Told::Gone(client),
                ClientsEvent::Request(request) => {
                    let name = name_in(request.bytes()).expect("it has a name");
                    let told = Told::Request(request.client(), request.number(), name);
                    peer.latest.insert(request.client(), request.number());
                    let dest = request.dest();
                    peer.asked.push(request);
                    if dest == Dest::Any {
                        continue;
                    }
                    told
                }
                other => panic!("{other:?}"),
            };
            book.tell(peer.told, told);
            peer.told += 1;
        }
    }

    /// The application of one answers, one way or another.
    fn answer(&mut self, at: usize) {
        let Self { peers, book, rng, view, number, is_patient, .. } = self;
        let peer = &mut peers[at];
        if let Some(request) = peer.own.pop() {
            peer.calls.reply(request, OWN);
        }
        if peer.asked.is_empty() {
            return;
        }
        let at_random = rng.usize(..peer.asked.len());
        let is_awaited = |request: &ClientRequest| {
            *is_patient
                && request.number() % 4 == 1
                && peer.latest.get(&request.client()) == Some(&request.number())
        };
        // Some are answered when a later one of the same client has come.
        if is_awaited(&peer.asked[at_random]) {
            return book.count("waits for a later one");
        }
        let request = peer.asked.swap_remove(at_random);
        let (me, name) = (peer.me, name_in(request.bytes()).expect("it has a name"));
        let others: Vec<_> = view.iter().copied().filter(|member| *member != me).collect();
        let (status, what) = match rng.u8(..12) {
            0 => (Status::Null, "null replies"),
            1 if number.is_multiple_of(3) => (Status::Aborted(name.to_string()), "aborts"),
            2 | 3 if !others.is_empty() => (Status::Forwarded(others[rng.usize(..others.len())]), "forwards"),
            _ => (Status::Replied(format!("{name} {}", me.boot.0).into_bytes()), "replies"),
        };
        book.said.entry((me, name)).or_default().push(status.clone());
        let (calls, clients) = (&mut peer.calls, &mut peer.clients);
        match &status {
            Status::Null => clients.null_reply(calls, request),
            Status::Aborted(why) => clients.abort_reply(calls, request, why),
            Status::Forwarded(to) => clients.forward(calls, request, *to),
            Status::Replied(bytes) => clients.reply(calls, request, bytes),
            Status::Waiting | Status::Dead | Status::Unsent(_) => unreachable!("nobody says that"),
        }
        book.count(what);
        self.settle(at);
    }

    /// One casts something that waits.
    fn cast(&mut self, at: usize) {
        if self.peers[at].coming.is_some() {
            return;
        }
        let (now, peer) = (Instant(self.now), &mut self.peers[at]);
        if let Some(bytes) = peer.clients.poll_cast(now, &mut peer.calls) {
            if self.loss > 0.0 && self.rng.u8(..4) == 0 {
                return self.book.count("refused for a while");
            }
            self.casts.push((peer.me, bytes.to_vec(), now.0));
            peer.clients.cast();
        }
    }

    /// One says something of its own.
    fn cast_own(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        if peer.coming.is_some() {
            return;
        }
        let bytes = match self.rng.bool() {
            true => Calls::plain(OWN),
            false => {
                self.own += 1;
                peer.calls.call_all(Want::All, OWN).1
            }
        };
        self.casts.push((peer.me, bytes, self.now));
    }

    /// The letters that are due come, and the timers that are.
    fn run_until(&mut self, until: u64) {
        self.now = until;
        while let Some(flight) = self.flights.first_entry().filter(|entry| entry.key().0 <= until) {
            let flight = flight.remove();
            self.land(flight);
        }
        for at in 0..self.peers.len() {
            let peer = &mut self.peers[at];
            if peer.clients.poll_timeout().is_some_and(|due| due.0 <= until) {
                peer.clients.handle_timeout(Instant(until));
                assert!(peer.clients.poll_timeout().is_none_or(|due| due.0 > until), "it is due for ever");
                self.settle(at);
            }
        }
        for at in 0..self.agents.len() {
            let agent = &mut self.agents[at];
            let is_awake = agent.is_awake(until);
            let Some(end) = agent.end.as_mut().filter(|_| is_awake) else { continue };
            if end.poll_timeout().is_some_and(|due| due.0 <= until) {
                end.handle_timeout(Instant(until));
                assert!(end.poll_timeout().is_none_or(|due| due.0 > until), "it is due for ever");
            }
            self.hear(at);
        }
    }

    fn land(&mut self, Flight { to, from, bytes, stamp }: Flight) {
        let now = Instant(self.now);
        if let Some(at) = self.peers.iter().position(|peer| peer.me.endpoint == to) {
            let peer = &mut self.peers[at];
            if peer.coming.is_none() {
                peer.clients.handle_letter(now, &mut peer.calls, from, &bytes);
                self.settle(at);
                self.note_any(at, &bytes);
                let is_heard =
                    |agent: &&mut Agent| agent.endpoint == from && stamp.is_some() && agent.stamp() == stamp;
                // Who is wedged is no contact.
                let peer = &self.peers[at];
                let heard = stamp.is_some_and(|(host, _)| host == peer.me && !peer.is_wedged);
                let speakers = self.agents.iter_mut().filter(|agent| heard && is_heard(agent));
                speakers.for_each(|agent| agent.heard.push((peer.me, now.0)));
            }
        } else if let Some(at) = self.agents.iter().position(|agent| agent.endpoint == to)
            && self.agents[at].is_awake(now.0)
        {
            self.agents[at].end.as_mut().expect("it is awake").handle(now, from, &bytes);
            self.hear(at);
        }
    }

    /// A request for one member alone has this one as destination.
    fn note_any(&mut self, at: usize, bytes: &[u8]) {
        let name = name_in(bytes)
            .filter(|name| self.book.asked.get(name).is_some_and(|asked| asked.dest == Dest::Any));
        if let Some(name) = name {
            self.book.destinations.entry(name).or_default().push(vec![self.peers[at].me]);
        }
    }

    /// What a client has to say goes out, and what it is told is judged.
    fn hear(&mut self, at: usize) {
        let Self { agents, peers, book, rng, flights, now, loss, is_safe, .. } = self;
        let agent = &mut agents[at];
        let is_gone_at = |peer: &Peer, client| {
            peer.coming.is_none() && peer.clients.clients().all(|served| served.client != client)
        };
        agent.listen(book, |_, client| !*is_safe || peers.iter().any(|peer| is_gone_at(peer, client)));
        let (from, stamp) = (agent.endpoint, agent.stamp());
        let Some(end) = &mut agent.end else { return };
        while let Some((to, bytes)) = end.poll_letter() {
            fly(rng, flights, *now, *loss, Flight { to, from, bytes, stamp });
        }
    }

    fn nonsense(&mut self) {
        let len = self.rng.usize(..60);
        let bytes: Vec<u8> = std::iter::repeat_with(|| self.rng.u8(..32)).take(len).collect();
        let all = self.peers.iter().map(|peer| peer.me.endpoint);
        let all: Vec<_> = all.chain(self.agents.iter().map(|agent| agent.endpoint)).collect();
        let to = all[self.rng.usize(..all.len())];
        let from = Endpoint(([10, 0, 2, 1], 1).into());
        // Some is a letter that was cut off.
        let cut = self.flights.values().next().map(|flight| {
            let len = flight.bytes.len().min(self.rng.usize(..20));
            Flight { to: flight.to, from: flight.from, bytes: flight.bytes[..len].to_vec(), stamp: None }
        });
        self.land(Flight { to, from, bytes, stamp: None });
        cut.into_iter().for_each(|cut| self.land(cut));
        self.book.count("nonsense");
    }

    /// One member does something.
    fn act(&mut self) {
        let at = self.rng.usize(..self.peers.len());
        match self.rng.u8(..16) {
            0..4 => _ = self.hand(at),
            4..6 => self.post(at),
            6..9 => {
                let from = self.members()[self.rng.usize(..self.peers.len())];
                self.bring(from, at);
            }
            9..11 => self.cast(at),
            11 => self.listen(at),
            12..15 => self.answer(at),
            _ if self.rng.u8(..4) == 0 => self.take_over(at),
            _ if self.rng.u8(..8) == 0 => self.wedge(at),
            _ => {}
        }
    }

    /// One cannot go on, or does again.
    fn wedge(&mut self, at: usize) {
        let is_wedged = self.rng.bool();
        self.peers[at].clients.wedge(Instant(self.now), is_wedged);
        self.peers[at].is_wedged = is_wedged;
        if is_wedged {
            self.book.count("wedged");
        }
    }

    /// One client does something, or something is done to it.
    fn stir(&mut self) {
        let at = self.rng.usize(..self.agents.len());
        let Self { agents, book, rng, now, .. } = self;
        let agent = &mut agents[at];
        if agent.end.is_none() {
            if rng.u8(..3) == 0 {
                agent.start(rng, book);
            }
            return;
        }
        match rng.u8(..64) {
            0 => agent.start(rng, book),
            1 => agent.crash(book),
            2 => agent.leave(*now, book),
            3 if agent.is_awake(*now) => {
                agent.wakes = *now + rng.u64(..6_000) * MS;
                book.count("silences");
            }
            4..24 if agent.is_awake(*now) => agent.ask(*now, rng, book),
            24..40 if agent.is_awake(*now) => self.sight(at),
            40..52 => agent.give_up(rng, book),
            52 if agent.is_awake(*now) => {
                agent.end.as_mut().expect("it is awake").unseen(Instant(*now));
            }
            _ => {}
        }
        self.hear(at);
    }

    /// A client sees who is in the group.
    fn sight(&mut self, at: usize) {
        let members = self.view.clone();
        if let Some(end) = &mut self.agents[at].end {
            end.see(Instant(self.now), &members);
        }
        self.hear(at);
    }

    pub(crate) fn run(mut self) -> BTreeMap<&'static str, u64> {
        for at in 0..self.agents.len() {
            self.agents[at].start(&mut self.rng, &mut self.book);
            self.sight(at);
        }
        for _ in 0..self.rng.usize(60..250) {
            let pause = if self.rng.u8(..16) == 0 { 1_500 } else { 60 };
            let until = self.now + self.rng.u64(1..pause * MS);
            self.run_until(until);
            for _ in 0..self.rng.u8(..30) {
                self.act();
            }
            for _ in 0..self.rng.u8(..4) {
                self.stir();
            }
            match self.rng.u8(..64) {
                0..2 => self.die(),
                2..5 => self.join(),
                5 => self.nonsense(),
                6..10 => {
                    let at = self.rng.usize(..self.peers.len());
                    self.cast_own(at);
                }
                _ => {}
            }
            self.peers.iter().for_each(|peer| self.judge_size(peer));
        }
        self.come_to_an_end();
        self.book.counts
    }

    /// All members do all that they can.
    fn act_all(&mut self) {
        for at in 0..self.peers.len() {
            self.take_over(at);
            self.cast(at);
            while self.hand(at) {}
            self.listen(at);
            self.answer(at);
            self.post(at);
            for from in self.members() {
                while self.bring(from, at) {}
            }
        }
    }

    /// Nothing is lost any more, and all who live are heard: every request comes to an end, and all who are gone are struck.
    fn come_to_an_end(&mut self) {
        (self.loss, self.is_patient) = (0.0, false);
        self.flush(None);
        self.joining.clear();
        self.install(&[]);
        self.agents.iter_mut().for_each(|agent| agent.wakes = 0);
        let now = Instant(self.now);
        self.peers.iter_mut().for_each(|peer| peer.clients.wedge(now, false));
        for round in 0..1_000 {
            self.run_until(self.now + 50 * MS);
            self.act_all();
            for at in 0..self.agents.len() {
                if round % 10 == 0 {
                    self.sight(at);
                }
                let agent = &mut self.agents[at];
                if agent.end.as_ref().is_some_and(|end| end.open() == 0) && !agent.is_leaving() {
                    agent.leave(self.now, &mut self.book);
                }
                self.hear(at);
            }
            let is_over = |agent: &Agent| agent.end.as_ref().is_none_or(|end| end.is_over());
            let is_idle = |peer: &Peer| {
                peer.clients.clients().count() == 0 && peer.calls.open() == 0 && peer.asked.is_empty()
            };
            if self.agents.iter().all(is_over) && self.peers.iter().all(is_idle) {
                self.flush(None);
                self.compare();
                return;
            }
        }
        let ends: Vec<_> = self.agents.iter().map(|agent| &agent.end).collect();
        let clients: Vec<_> = self.peers.iter().map(|peer| &peer.clients).collect();
        panic!("requests that never end: {ends:#?} {clients:#?}");
    }
}

/// A letter goes on its way; it is lost, comes twice, or comes when nobody thinks of it any more.
fn fly(rng: &mut Rng, flights: &mut BTreeMap<(u64, u64), Flight>, now: u64, loss: f64, flight: Flight) {
    let copies = match loss > 0.0 && rng.f64() < 0.2 {
        _ if rng.f64() < loss => 0,
        true => 2,
        false => 1,
    };
    for _ in 0..copies {
        let delay = match rng.u8(..32) {
            0 if loss > 0.0 => rng.u64(..8_000),
            1..6 => rng.u64(..150),
            _ => rng.u64(..10),
        };
        let Flight { to, from, bytes, stamp } = &flight;
        let copy = Flight { to: *to, from: *from, bytes: bytes.clone(), stamp: *stamp };
        flights.insert((now + delay * MS, rng.u64(..)), copy);
    }
}
