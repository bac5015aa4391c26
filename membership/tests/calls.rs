//! Calls in groups whose members die, over a network that is virtually synchronous and otherwise does what it likes: who was a destination,
//! what each has said, and when a call is over, is compared with what is known from outside.
//!
//! `SISTRUM_SEEDS=N` runs so many seeds, `SISTRUM_SEED=S` that one.

mod calling;
mod seeds;

use calling::{Sent, judge_end};
use fastrand::Rng;
use seeds::{came_about, run_all};
use sistrum_membership::{CallEvent, CallId, Calls, Request, Status, Want};
use sistrum_ordering::{
    BootId, Change, Endpoint, GroupId, GroupInstance, Rank, Reason, View, ViewId, ViewMember, ViewNumber,
};
use std::collections::{BTreeMap, BTreeSet};

/// What a member has said of a request, as it is known from outside.
type Said = BTreeMap<(ViewMember, u8), Vec<Status>>;

struct Peer {
    me: ViewMember,
    calls: Calls,
    /// Requests that wait for the application.
    asked: Vec<Request>,
}

struct World {
    rng: Rng,
    number: u32,
    /// Who is in the view; who has died since is still.
    view: Vec<ViewMember>,
    peers: Vec<Peer>,
    /// Casts on their way, in one order, and how many of them each has been handed.
    casts: Vec<(ViewMember, Vec<u8>)>,
    handed: BTreeMap<ViewMember, usize>,
    /// What was sent to one alone, in the order of its sender.
    sent: Sent,
    /// By the first byte of the request, which names it: who called, what is wanted, and in which view it was delivered to him.
    called: BTreeMap<u8, (ViewMember, CallId, Want, Option<ViewMember>)>,
    destinations: BTreeMap<u8, Vec<ViewMember>>,
    /// Calls that do not ask their caller.
    of_others: BTreeSet<u8>,
    said: Said,
    done: BTreeMap<u8, usize>,
    counts: BTreeMap<&'static str, u64>,
}

fn member(at: u16) -> ViewMember {
    ViewMember { endpoint: Endpoint(([10, 0, 0, 1], 100 + at).into()), boot: BootId(1) }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let peers = (0..rng.u16(1..6))
            .map(|at| Peer { me: member(at), calls: Calls::new(), asked: Vec::new() })
            .collect();
        let mut world = Self {
            rng,
            number: 0,
            view: Vec::new(),
            peers,
            casts: Vec::new(),
            handed: BTreeMap::new(),
            sent: Sent::default(),
            called: BTreeMap::new(),
            destinations: BTreeMap::new(),
            of_others: BTreeSet::new(),
            said: Said::new(),
            done: BTreeMap::new(),
            counts: BTreeMap::new(),
        };
        world.install(&[]);
        world
    }

    fn members(&self) -> Vec<ViewMember> {
        self.peers.iter().map(|peer| peer.me).collect()
    }

    fn install(&mut self, gone: &[ViewMember]) {
        self.number += 1;
        let members = self.members();
        self.view.clone_from(&members);
        let id = ViewId { group: GroupId(1), instance: GroupInstance(1), number: ViewNumber(self.number) };
        for (rank, peer) in (0..).map(Rank).zip(&mut self.peers) {
            let gone = gone.iter().map(|member| (*member, Reason::Suspected)).collect();
            let change = Change { gone, ..Change::default() };
            peer.calls.see(&View::changed(id, members.clone(), rank, change));
        }
        (0..self.peers.len()).for_each(|at| self.drain(at));
    }

    /// One dies: what the others have been cast is handed to all, and of what it sent some that is last is lost.
    fn die(&mut self) {
        let at = self.rng.usize(..self.peers.len());
        let dead = self.peers.remove(at).me;
        (0..self.peers.len()).for_each(|at| while self.hand(at) {});
        for at in 0..self.peers.len() {
            self.post(at);
            let to = self.peers[at].me;
            let sent = self.sent.of(dead, to);
            sent.truncate(self.rng.usize(..=sent.len()));
        }
        for at in 0..self.peers.len() {
            for from in self.members().into_iter().chain([dead]) {
                while self.bring(from, at) {}
            }
        }
        self.sent.clear();
        self.count("deaths");
        self.install(&[dead]);
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Hands the next cast to one.
    fn hand(&mut self, at: usize) -> bool {
        let me = self.peers[at].me;
        let handed = self.handed.entry(me).or_default();
        let Some((from, bytes)) = self.casts.get(*handed).cloned() else { return false };
        *handed += 1;
        // What the dead of an earlier view have cast was handed to all in it.
        let Some(rank) = self.view.iter().position(|member| *member == from) else { return true };
        // The name of the request stands behind its tag and id.
        if from == me {
            let is_asked = |member: &ViewMember| *member != me || !self.of_others.contains(&bytes[9]);
            self.destinations.insert(bytes[9], self.view.iter().copied().filter(is_asked).collect());
        }
        self.peers[at].calls.handle(Rank(rank as u16), &bytes).expect("it is of calls");
        self.drain(at);
        true
    }

    /// Brings what one has sent to another alone.
    fn bring(&mut self, from: ViewMember, at: usize) -> bool {
        let to = self.peers[at].me;
        // It comes behind all casts that its sender had been handed; but for my own, which I know, handed or not.
        let behind = self.handed.get(&from).copied().unwrap_or_default();
        let handed = self.handed.get(&to).copied().unwrap_or_default();
        if self.casts[handed.min(behind)..behind].iter().any(|(by, _)| *by != to) {
            return false;
        }
        let Some(bytes) = self.sent.of(from, to).pop_front() else { return false };
        let rank = self.view.iter().position(|member| *member == from).expect("it is in the view");
        self.peers[at].calls.handle(Rank(rank as u16), &bytes).expect("it is of calls");
        self.drain(at);
        true
    }

    fn post(&mut self, at: usize) {
        let Peer { me, calls, .. } = &mut self.peers[at];
        self.sent.post(calls, *me, &self.view);
    }

    fn drain(&mut self, at: usize) {
        while let Some(event) = self.peers[at].calls.poll_event() {
            match event {
                CallEvent::Request(request) => {
                    let (me, name) = (self.peers[at].me, request.bytes()[0]);
                    let is_handed_on = |((_, of), all): (&(ViewMember, u8), &Vec<_>)| {
                        *of == name && all.contains(&Status::Forwarded(me))
                    };
                    let is_asked = request.caller() != me || !self.of_others.contains(&name);
                    assert!(is_asked || self.said.iter().any(is_handed_on), "{name}: a client is asked");
                    self.peers[at].asked.push(request);
                }
                CallEvent::Plain { .. } => panic!("nobody says anything plain"),
                CallEvent::Done { call, is_enough, replies } => {
                    let me = self.peers[at].me;
                    self.judge(me, call, is_enough, &replies);
                }
            }
        }
    }

    /// The application of one answers, one way or another.
    fn answer(&mut self, at: usize) {
        let count = self.peers[at].asked.len();
        if count == 0 {
            return;
        }
        let request = self.peers[at].asked.swap_remove(self.rng.usize(..count));
        let (me, name) = (self.peers[at].me, request.bytes()[0]);
        if !request.is_awaited() {
            return;
        }
        let to = self.members()[self.rng.usize(..self.peers.len())];
        let calls = &mut self.peers[at].calls;
        let (status, what) = match self.rng.u8(..12) {
            0 => (Status::Null, "null replies"),
            1 if self.number.is_multiple_of(3) => (Status::Aborted(name.to_string()), "aborts"),
            2 | 3 => (Status::Forwarded(to), "forwards"),
            _ => (Status::Replied(vec![name, me.endpoint.0.port() as u8]), "replies"),
        };
        // It may have been handed the same request twice, by a forward.
        self.said.entry((me, name)).or_default().push(status.clone());
        match &status {
            Status::Null => calls.null_reply(request),
            Status::Aborted(why) => calls.abort_reply(request, why),
            Status::Forwarded(to) => calls.forward(request, *to),
            Status::Replied(bytes) => calls.reply(request, bytes),
            Status::Waiting | Status::Dead | Status::Unsent(_) => unreachable!("nobody says that"),
        }
        self.drain(at);
        self.count(what);
    }

    fn call(&mut self, at: usize, name: u8) {
        let want = [Want::None, Want::N(1), Want::N(2), Want::N(99), Want::All, Want::Majority];
        let want = want[self.rng.usize(..want.len())];
        let to = self.rng.bool().then(|| self.members()[self.rng.usize(..self.peers.len())]);
        let peer = &mut self.peers[at];
        let me = peer.me;
        let call = match to {
            Some(to) => {
                self.destinations.insert(name, vec![to]);
                // What comes of it at once is looked for by its id.
                let call = peer.calls.call_one(to, want, &[name]);
                self.called.insert(name, (me, call, want, Some(to)));
                call
            }
            None => {
                let is_of_others = self.rng.bool();
                let (call, bytes) = match is_of_others {
                    true => peer.calls.call_others(want, &[name]),
                    false => peer.calls.call_all(want, &[name]),
                };
                self.of_others.extend(is_of_others.then_some(name));
                self.casts.push((me, bytes));
                call
            }
        };
        self.called.insert(name, (me, call, want, to));
        self.drain(at);
        self.count("calls");
    }

    /// Whether a call may be over, so.
    fn judge(&mut self, by: ViewMember, call: CallId, is_enough: bool, replies: &[(ViewMember, Status)]) {
        let found = self.called.iter().find(|(_, (caller, id, ..))| (*caller, *id) == (by, call));
        let (&name, &(_, _, want, _)) = found.expect("it was called");
        assert_eq!(*self.done.entry(name).or_default(), 0, "{name} is over twice");
        self.done.insert(name, 1);
        let is_aborted = replies.iter().any(|(_, status)| matches!(status, Status::Aborted(_)));
        // One may have ended it before it was delivered to its caller.
        let destinations = self.destinations.get(&name);
        assert!(is_aborted || destinations.is_some(), "{name} is over before it was delivered");
        let destinations = destinations.unwrap_or(&self.view);
        let mut expected = destinations.clone();
        for (_, all) in self.said.iter().filter(|((_, of), _)| *of == name) {
            expected.extend(all.iter().filter_map(|said| match said {
                Status::Forwarded(to) => Some(*to),
                _ => None,
            }));
        }
        for (who, status) in replies {
            match status {
                Status::Waiting => assert!(self.view.contains(who), "{name} waits for the dead"),
                Status::Dead => {
                    assert!(!self.view.contains(who), "{who:?} is taken for dead in {name}");
                }
                said => {
                    let all = self.said.get(&(*who, name));
                    assert!(all.is_some_and(|all| all.contains(said)), "{who:?} has not said that");
                }
            }
        }
        let is_destination = |who: &ViewMember| replies.iter().any(|(known, _)| known == who);
        assert!(is_aborted || destinations.iter().all(is_destination), "{name} was not asked of all");
        assert!(replies.iter().all(|(who, _)| expected.contains(who)), "{name} was asked of others");
        judge_end(name, want, replies, is_enough);
        self.count(if is_enough { "enough" } else { "not enough" });
    }

    fn run(mut self) -> BTreeMap<&'static str, u64> {
        for name in 0..self.rng.u8(10..60) {
            for _ in 0..self.rng.u8(..12) {
                let at = self.rng.usize(..self.peers.len());
                match self.rng.u8(..6) {
                    0 => _ = self.hand(at),
                    1 => self.post(at),
                    2 | 3 => {
                        let from = self.members()[self.rng.usize(..self.peers.len())];
                        self.bring(from, at);
                    }
                    _ => self.answer(at),
                }
            }
            if self.peers.len() > 1 && self.rng.u8(..10) == 0 {
                self.die();
            }
            let at = self.rng.usize(..self.peers.len());
            self.call(at, name);
        }
        // All comes to its end, and then no call of the living is open.
        for _ in 0..10_000 {
            for at in 0..self.peers.len() {
                while self.hand(at) {}
                self.answer(at);
                self.post(at);
                for from in self.members() {
                    while self.bring(from, at) {}
                }
            }
            if self.peers.iter().all(|peer| peer.calls.open() == 0 && peer.asked.is_empty()) {
                return self.counts;
            }
        }
        panic!("calls that never end: {:?}", self.peers.iter().map(|peer| &peer.calls).collect::<Vec<_>>());
    }
}

#[test]
fn a_call_is_over_when_enough_have_replied_or_nobody_is_left_who_could() {
    if let Some(all) = run_all("calls", 1_000, |seed| World::new(seed).run()) {
        came_about(all, &DEEDS);
    }
}

/// What has to come about in a thousand seeds.
const DEEDS: [&str; 8] =
    ["calls", "deaths", "replies", "null replies", "aborts", "forwards", "enough", "not enough"];

/// Each way in which calls can be broken is seen within a thousand seeds.
#[cfg(feature = "mutants")]
#[test]
fn every_mutation_is_caught() {
    use sistrum_transport::mutation::Mutation;
    seeds::catch_all(Mutation::CALLS, 1_000, |_, seed| drop(World::new(seed).run()));
}
