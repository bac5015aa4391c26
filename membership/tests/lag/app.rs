//! An application that takes what it likes, and a judge that knows what was delivered to it.

use fastrand::Rng;
use sistrum_membership::lag::{Backlog, CaughtUp, Key, Lag, LagState, Note, PER_MESSAGE, Told, Tripped};
use sistrum_ordering::Rank;
use sistrum_transport::reliable::{Message, ReaderEvent};
use sistrum_transport::time::Instant;
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::time::Duration;

/// What a message says of itself: its number in its sender's stream, and what it is about.
pub(crate) const HEAD: usize = 5;
/// What has no key.
pub(crate) const PLAIN: u8 = u8::MAX;

fn key_of(message: &[u8]) -> Option<Key> {
    message.get(4).filter(|key| **key != PLAIN).map(|key| Key::from(u64::from(*key)))
}

/// See the module.
pub(crate) struct App {
    pub(crate) backlog: Backlog,
    contract: Lag,
    is_slow: bool,
    /// Events that it takes in this cycle; `None` for all.
    budget: Option<usize>,
    judge: Judge,
    now: Instant,
}

#[derive(Default)]
struct Judge {
    /// By sender: numbers and keys of all that was delivered, and how many of them were settled: handed over, left out or lost.
    delivered: Vec<Vec<(u32, u8)>>,
    last: Vec<Option<u32>>,
    handed: u64,
    lost: u64,
    /// The last of each sender and key that was handed over.
    values: BTreeMap<(u16, u8), u32>,
    /// Keys that wait, and how much had been handed over when they began to.
    waiting: BTreeMap<(u16, u8), u64>,
    most_waited: u64,
    /// What should be kept by who may be cut off.
    kept: VecDeque<Kept>,
    tripped: Option<Tripped>,
    evictions: u64,
    told_evictions: u64,
    states: Vec<&'static str>,
    wrong: Option<String>,
}

/// When it came, what it counts, and what it is when it is no message.
struct Kept {
    at: Instant,
    cost: usize,
    note: Option<(Rank, Note)>,
}

impl Judge {
    fn wrong(&mut self, why: String) {
        self.wrong.get_or_insert(why);
    }

    fn note_delivered(&mut self, from: Rank, number: u32, key: u8) {
        let at = usize::from(from.0);
        self.delivered.resize(self.delivered.len().max(at + 1), Vec::new());
        self.delivered[at].push((number, key));
        if key != PLAIN {
            self.waiting.entry((from.0, key)).or_insert(self.handed);
        }
    }

    fn note_handed(&mut self, message: &Message<'_>) {
        let (from, bytes) = (message.from().0, message.bytes());
        let (number, key) = (u32::from_le_bytes(bytes[..4].try_into().expect("a number")), bytes[4]);
        let at = usize::from(from);
        self.last.resize(self.last.len().max(at + 1), None);
        if self.last[at].is_some_and(|last| last >= number) {
            self.wrong(format!("message {number} of r{from} comes behind {:?}", self.last[at]));
        }
        self.last[at] = Some(number);
        if bytes[HEAD..].iter().any(|byte| *byte != number as u8) {
            self.wrong(format!("message {number} of r{from} was altered"));
        }
        self.handed += 1;
        self.kept.pop_front();
        self.values.insert((from, key), number);
        if let Some(since) = self.waiting.remove(&(from, key)) {
            self.most_waited = self.most_waited.max(self.handed - since);
        }
    }
}

impl App {
    pub(crate) fn new(rng: &mut Rng, is_slow: bool) -> Self {
        let bytes = rng.usize(2_000..30_000);
        let contract = match rng.u8(..3) {
            0 => Lag::evict(bytes, Duration::from_micros([0, 300, 2_000][rng.usize(..3)])),
            1 => Lag::conflate([bytes, 4_000_000][rng.usize(..2)], key_of),
            _ => Lag::replay([bytes, 4_000_000][rng.usize(..2)]),
        };
        let judge = Judge::default();
        Self {
            backlog: Backlog::new(contract),
            contract,
            is_slow,
            budget: None,
            judge,
            now: Instant::default(),
        }
    }

    /// A cycle begins; the application has some time for it, or none.
    pub(crate) fn begin(&mut self, now: Instant, rng: &mut Rng) {
        let mood = rng.u8(..8);
        // Always the same draws.
        let few = rng.usize(..3);
        self.budget = self.is_slow.then_some(match mood {
            0..5 => 0,
            5 | 6 => few,
            _ => few + 1,
        });
        self.now = now;
        self.backlog.begin_cycle(now);
        self.expect_age();
        self.hand_over();
    }

    fn hand_over(&mut self) {
        let Self { backlog, judge, budget, .. } = self;
        backlog.hand_over(&mut |told: Told<'_>| listen(judge, budget, &told));
    }

    /// Who was cut off comes back after a while.
    pub(crate) fn come_back(&mut self) {
        self.backlog.readmit();
    }

    pub(crate) fn deliver(&mut self, event: ReaderEvent<'_>) {
        let (cost, note) = match &event {
            ReaderEvent::Deliver(message) => {
                let bytes = message.bytes();
                let number = u32::from_le_bytes(bytes[..4].try_into().expect("a number"));
                self.judge.note_delivered(message.from(), number, bytes[4]);
                (message.len() + PER_MESSAGE, None)
            }
            ReaderEvent::Reading(from, seq) => (PER_MESSAGE, Some((*from, Note::Reading(*seq)))),
            ReaderEvent::Gap(from, blocks) => (PER_MESSAGE, Some((*from, Note::Gap(*blocks)))),
            ReaderEvent::Left(from) => (PER_MESSAGE, Some((*from, Note::Left))),
        };
        if self.backlog.standing().state != LagState::Evicted {
            self.judge.kept.push_back(Kept { at: self.now, cost, note });
            self.expect_bytes();
        }
        let Self { backlog, judge, budget, .. } = self;
        let mut listen = |told: Told<'_>| listen(judge, budget, &told);
        match (event, note) {
            (ReaderEvent::Deliver(message), _) => backlog.take(message, &mut listen),
            (_, Some((from, note))) => backlog.take_note(from, note, &mut listen),
            _ => unreachable!("all else is noted"),
        }
        self.check();
    }

    fn expect_age(&mut self) {
        let Lag::Evict { age: bound, .. } = self.contract else { return };
        let Some(Kept { at, .. }) = self.judge.kept.front() else { return };
        let age = self.now.since(*at);
        if !bound.is_zero() && age > bound {
            self.expect(Tripped::Age { age, bound });
        }
    }

    fn expect_bytes(&mut self) {
        let Lag::Evict { bytes: bound, .. } = self.contract else { return };
        // One that can be handed over at once is not kept.
        let keeps = self.backlog.standing().state != LagState::Live || self.budget == Some(0);
        let bytes: usize = self.judge.kept.iter().map(|kept| kept.cost).sum();
        if keeps && bytes > bound {
            self.expect(Tripped::Bytes { bytes, bound });
        }
    }

    fn expect(&mut self, tripped: Tripped) {
        self.judge.kept.clear();
        self.judge.tripped = Some(tripped);
        self.judge.evictions += 1;
    }

    fn check(&mut self) {
        let standing = self.backlog.standing();
        if standing.behind.bytes > self.contract.bytes() {
            self.judge.wrong(format!("{} are kept, the bound is {}", standing.behind, self.contract.bytes()));
        }
        if standing.counters.evictions != self.judge.evictions {
            let why = format!("{} evictions, not {}", standing.counters.evictions, self.judge.evictions);
            self.judge.wrong(why);
        }
    }

    /// The stream is over: all that is kept is taken. What was wrong.
    pub(crate) fn end(&mut self) -> Option<String> {
        for _ in 0..2 {
            self.budget = None;
            self.backlog.begin_cycle(self.now);
            self.expect_age();
            self.hand_over();
            self.come_back();
        }
        self.hand_over();
        self.check();
        let (standing, Judge { delivered, handed, lost, .. }) = (self.backlog.standing(), &self.judge);
        let all: u64 = delivered.iter().map(|of| of.len() as u64).sum();
        let settled = handed + lost + standing.counters.conflated;
        if standing.state != LagState::Live || settled != all {
            let why = format!("{all} delivered, {handed} handed over, {lost} told as lost: {standing:?}");
            self.judge.wrong(why);
        }
        if self.judge.told_evictions != self.judge.evictions {
            self.judge.wrong(format!(
                "cut off {} times, told {} times",
                self.judge.evictions, self.judge.told_evictions
            ));
        }
        if let Lag::Conflate { .. } = self.contract
            && standing.counters.lost == 0
        {
            self.check_values();
            let most = 3 * standing.counters.most_messages + 3;
            if self.judge.most_waited > most {
                self.judge.wrong(format!("a key waited for {} others: over {most}", self.judge.most_waited));
            }
        }
        self.judge.wrong.take()
    }

    /// The last of each key came, and all that has none.
    fn check_values(&mut self) {
        let (mut last, mut plain) = (BTreeMap::new(), 0);
        for (from, of) in (0..).zip(&self.judge.delivered) {
            for (number, key) in of {
                last.insert((from, *key), *number);
                plain += u64::from(*key == PLAIN);
            }
        }
        if last != self.judge.values {
            self.judge.wrong(format!("last values {:?}, not {last:?}", self.judge.values));
        }
        let (all, counters) = (
            self.judge.delivered.iter().map(Vec::len).sum::<usize>() as u64,
            self.backlog.standing().counters,
        );
        if counters.conflated > all - plain {
            self.judge.wrong("more were left out than have a key".to_owned());
        }
    }

    pub(crate) fn delivered(&self) -> Vec<Vec<u32>> {
        let numbers = |of: &Vec<(u32, u8)>| of.iter().map(|(number, _)| *number).collect();
        self.judge.delivered.iter().map(numbers).collect()
    }
}

fn listen(judge: &mut Judge, budget: &mut Option<usize>, told: &Told<'_>) -> ControlFlow<()> {
    match budget {
        Some(0) => return ControlFlow::Break(()),
        Some(left) => *left -= 1,
        None => {}
    }
    let state = match told {
        Told::Message(message) => {
            judge.note_handed(message);
            return ControlFlow::Continue(());
        }
        Told::Note(from, note) => {
            // What was dropped is told too, as a sum.
            if judge.kept.front().is_some_and(|kept| kept.note == Some((*from, *note))) {
                judge.kept.pop_front();
            }
            return ControlFlow::Continue(());
        }
        Told::Lost(_, messages) => {
            judge.lost += messages;
            return ControlFlow::Continue(());
        }
        Told::Lagging(_) => "lagging",
        Told::Replaying(_) => "replaying",
        Told::CaughtUp(CaughtUp { .. }) => "caught up",
        Told::Evicted(eviction) => {
            judge.told_evictions += 1;
            if judge.tripped.take() != Some(eviction.tripped) {
                judge.wrong(format!("cut off by {:?}", eviction.tripped));
            }
            "evicted"
        }
    };
    let is_next = match (judge.states.last(), state) {
        (None | Some(&"caught up"), "lagging" | "evicted") => true,
        (Some(&"lagging"), "replaying" | "caught up" | "evicted") => true,
        (Some(&"replaying"), "caught up" | "evicted") => true,
        // Who was let in again.
        (Some(&"evicted"), "caught up" | "evicted") => true,
        _ => false,
    };
    if !is_next {
        judge.wrong(format!("{state} is told after {:?}", judge.states.last()));
    }
    judge.states.push(state);
    ControlFlow::Continue(())
}
