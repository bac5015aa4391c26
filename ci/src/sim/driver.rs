//! Runs one scenario: a storm, in which only safety counts, then calm, in which everything must come to its end in time.

use super::campaign::last_panic;
use super::checker::{Property, Violation, judge};
use super::faults::{Counts, Fault};
use super::history::{History, What, Who};
use super::node::{Birth, Node};
use super::onlooker::Onlooker;
use super::options::{Scenario, WIDE_BUFFER};
use super::weather::{LONG_NS, Strike, Weather};
use fastrand::Rng;
use sistrum_ordering::{BootId, Rank, truth};
use sistrum_transport::medium::Network;
use sistrum_transport::time::{Instant, ManualClock};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// More rounds than any run needs.
const MAX_ROUNDS: u64 = 2_000_000;
/// Time for the last heartbeats: the longest distance of two of them, a few times.
const SETTLE_NS: u64 = 500_000_000;
/// How long a group is watched that has lost a member.
const MOURNING_NS: u64 = 60_000_000;
const MILLION: u64 = 1_000_000;
/// Time between two looks at what everybody keeps, for each member.
const SAMPLE_NS: u64 = 50_000;

/// What a run came to.
pub(crate) struct Outcome {
    pub(crate) history: History,
    pub(crate) effective: Counts,
    pub(crate) violations: Vec<Violation>,
    /// Virtual time that it took.
    pub(crate) took_ns: u64,
}

/// Runs `scenario` and judges its history.
pub(crate) fn run(scenario: &Scenario) -> Outcome {
    let history = RefCell::new(History::default());
    let (mut effective, mut took_ns, mut is_heard) = (Counts::default(), 0, true);
    watch(true);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(scenario, &history);
        world.run();
        effective = world.count();
        took_ns = world.time.peek().0;
        is_heard = world.unheard() == 0;
    }));
    watch(false);
    let mut history = history.into_inner();
    // Nobody goes on without one whose goodbye it has not heard: that takes another view.
    let healed = scenario.is_healed_in_the_end() && is_heard && ran.is_ok();
    if !healed {
        history.endings.clear();
    }
    let mut violations = judge(&history, healed);
    if let Err(panic) = ran {
        violations.push(Violation { property: Property::Soundness, how: said(&*panic) });
    }
    Outcome { history, effective, violations, took_ns }
}

/// Stamps are noted while a run goes on, and layers are checked; not where our own code may be broken on purpose: its history
/// shall show that.
fn watch(on: bool) {
    truth::record(on);
    #[cfg(debug_assertions)]
    sistrum_transport::reliable::checked::watch(on && !cfg!(feature = "mutants"));
}

/// What a panic said.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = last_panic() {
        return text;
    }
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

/// What all processes share; nothing passes between them but datagrams.
struct World<'a> {
    scenario: &'a Scenario,
    history: &'a RefCell<History>,
    time: ManualClock,
    network: Network,
    /// By rank; `None` while it is dead.
    nodes: Vec<Option<Node>>,
    onlooker: Option<Onlooker>,
    /// Who is born when: rank and life.
    births: Vec<(Instant, u16, u32)>,
    rng: Rng,
    weather: Weather,
    effective: Counts,
    is_calm: bool,
    /// Somebody went whose goodbye could not get lost.
    must_be_heard: bool,
    rounds: u64,
    /// Where the streams of this life of the group end, and when it is looked at next what everybody keeps.
    ends: Vec<u64>,
    sample_at: Instant,
    /// What a round takes at most while anybody is busy: members of large groups share their host's cores.
    cycle_ns: u64,
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, history: &'a RefCell<History>) -> Self {
        let time = ManualClock::default();
        // Not at the origin, as no real clock is.
        time.advance_ns(1 + scenario.seed % 1_000_000);
        let mut rng = Rng::with_seed(scenario.seed ^ 0xb0a7);
        let now = time.peek();
        let births = (0..scenario.members)
            .map(|rank| (now.plus_ns(rng.u64(0..=scenario.stagger_ns)), rank, 0))
            .collect();
        let network = Network::new(scenario.seed, time.clone(), scenario.storm.clone());
        let onlooker = (scenario.onlooker && scenario.multicast).then(|| {
            let process = history.borrow_mut().start(now.0, Rank::READER, 0, true);
            Onlooker::new(scenario, &network, &time, scenario.members, process)
        });
        Self {
            network,
            nodes: (0..scenario.members).map(|_| None).collect(),
            onlooker,
            births,
            weather: Weather::new(scenario, now),
            rng,
            effective: Counts::default(),
            is_calm: false,
            must_be_heard: false,
            rounds: 0,
            ends: scenario.starts.clone(),
            sample_at: now,
            cycle_ns: 3_000 * u64::from(scenario.members / 8).max(1),
            scenario,
            history,
            time,
        }
    }

    fn run(&mut self) {
        let storm_end = self.time.peek().plus_ns(self.scenario.storm_ns);
        while self.time.peek() < storm_end {
            self.disturb();
            self.round(storm_end.min(self.weather.next_at()));
        }
        self.heal();
        if !self.scenario.is_healed_in_the_end() {
            return self.rounds_until(self.time.peek().plus_ns(MOURNING_NS), |_| false);
        }
        let deadline = self.time.peek().plus_ns(self.patience_ns());
        self.rounds_until(deadline, |world| world.all(Node::is_done) && world.unheard() == 0);
        assert!(self.unheard() == 0 || !self.must_be_heard, "a goodbye that nothing hindered was not heard");
        self.network.set_options(self.scenario.calm(true));
        self.rounds_until(self.time.peek().plus_ns(SETTLE_NS), |world| world.all(Node::is_settled));
        let endings = self.nodes.iter().flatten().map(Node::ending);
        self.history.borrow_mut().endings.extend(endings);
    }

    fn rounds_until(&mut self, deadline: Instant, done: impl Fn(&Self) -> bool) {
        while self.time.peek() < deadline && !done(self) {
            self.round(deadline);
        }
    }

    /// How long healing may take: a few of the longest retries, and the volume at a poor pace.
    fn patience_ns(&self) -> u64 {
        let casts = u64::from(self.scenario.messages) * u64::from(self.scenario.senders);
        let slow = if self.scenario.goes_on { 20 } else { 4 };
        2_000_000_000 + 3 * LONG_NS + casts * MILLION * slow
    }

    fn all(&self, is: impl Fn(&Node) -> bool) -> bool {
        self.births.is_empty() && self.nodes.iter().flatten().all(is)
    }

    /// Everyone who has something to do does it; then time moves, not beyond `limit` where nobody has.
    fn round(&mut self, limit: Instant) {
        self.rounds += 1;
        assert!(self.rounds < MAX_ROUNDS, "the run goes round for ever");
        self.bear();
        let now = self.time.peek();
        let loses_nothing =
            self.is_calm && !self.scenario.goes_on && self.scenario.storm.receive_buffer == WIDE_BUFFER;
        let mut ran = false;
        for node in self.nodes.iter_mut().flatten() {
            if node.wakes_at(&self.network) <= now {
                let was_said = node.exits_at.is_some();
                node.turn(&self.time, self.history);
                // The last time that it was said, nothing was lost any more.
                self.must_be_heard |= !was_said && node.exits_at.is_some() && loses_nothing;
                ran = true;
            }
        }
        self.let_go(now);
        if let Some(onlooker) =
            self.onlooker.as_mut().filter(|onlooker| onlooker.wakes_at(&self.network) <= now)
        {
            onlooker.turn(now, self.history);
            ran = true;
        }
        if now >= self.sample_at {
            self.sample(now);
        }
        let step = if ran { self.rng.u64(0..self.cycle_ns) } else { self.idle_step(limit) };
        self.time.advance_ns(step);
    }

    /// Ends those whose goodbye was said.
    fn let_go(&mut self, now: Instant) {
        for node in &mut self.nodes {
            let Some(gone) = node.take_if(|node| node.exits_at.is_some_and(|at| at <= now)) else { continue };
            gone.count(&mut self.effective);
            self.effective.add(Fault::Goodbye, 1);
            self.history.borrow_mut().exit(now.0, gone.process);
        }
    }

    /// How many of those who stay have not heard the goodbye of one who is gone.
    fn unheard(&self) -> u64 {
        let history = self.history.borrow();
        let gone = history.processes.iter().filter(|who| who.has_left);
        let unheard = |who: &Who| {
            let nodes = self.nodes.iter().flatten();
            nodes.filter(|node| !node.app.departed.contains(&who.rank)).count() as u64
        };
        gone.map(unheard).sum()
    }

    /// Writes down what everybody keeps.
    fn sample(&mut self, now: Instant) {
        self.sample_at = now.plus_ns(SAMPLE_NS * u64::from(self.scenario.members));
        self.note_ends();
        let samples = self.nodes.iter().flatten().filter_map(|node| node.sample(now, &self.ends));
        self.history.borrow_mut().samples.extend(samples);
    }

    /// The stream of a dead one ends where it ended.
    fn note_ends(&mut self) {
        for (end, node) in self.ends.iter_mut().zip(&self.nodes) {
            *end = node.as_ref().and_then(Node::end).map_or(*end, |now| now.max(*end));
        }
    }

    /// To whatever happens next, and a little further.
    fn idle_step(&mut self, limit: Instant) -> u64 {
        let now = self.time.peek();
        let nodes = self.nodes.iter().flatten().map(|node| node.wakes_at(&self.network));
        let births = self.births.iter().map(|(at, ..)| *at);
        let onlooker = self.onlooker.iter().map(|onlooker| onlooker.wakes_at(&self.network));
        let next = nodes.chain(births).chain(onlooker).min().unwrap_or(limit).min(limit);
        next.since_ns(now) + self.rng.u64(0..500)
    }

    /// Starts the processes that are due.
    fn bear(&mut self) {
        let now = self.time.peek();
        while let Some(at) = self.births.iter().position(|(due, ..)| *due <= now) {
            let (_, rank, life) = self.births.swap_remove(at);
            let (scenario, mut history) = (self.scenario, self.history.borrow_mut());
            let is_newcomer = history.processes.iter().any(|who| who.rank.0 == rank && who.life == life);
            let process = history.start(now.0, Rank(rank), life, is_newcomer);
            let drift = scenario.drift;
            let birth = Birth {
                rank,
                process,
                boot: BootId(self.rng.u64(1..)),
                life,
                clock: (self.rng.u64(0..1_000 * MILLION), MILLION - drift + self.rng.u64(0..=2 * drift)),
            };
            let mut node = Node::new(scenario, &self.network, &self.time, &birth);
            if self.is_calm {
                node.heal();
            }
            self.nodes[rank as usize] = Some(node);
            self.effective.add(Fault::LateStart, u64::from(now.0 > scenario.seed % 1_000_000 + MILLION / 10));
            self.effective.add(Fault::Restart, u64::from(is_newcomer));
        }
    }

    fn disturb(&mut self) {
        let now = self.time.peek();
        let has_formed = self.births.is_empty() && self.nodes.iter().flatten().all(Node::has_view);
        let strike = self.weather.death(now, has_formed);
        let strike = strike.or_else(|| self.weather.strike(now, &self.network, &mut self.effective));
        let Some(strike) = strike else { return };
        self.history.borrow_mut().weather(now.0, format!("{strike:?}"));
        match strike {
            Strike::Kill { rank, back_in_ns } => {
                self.kill(rank);
                self.effective.add(Fault::Crash, 1);
                self.births.extend(back_in_ns.map(|ns| (now.plus_ns(ns), rank, 0)));
            }
            Strike::KillAll { back_in_ns } => {
                (0..self.scenario.members).for_each(|rank| self.kill(rank));
                self.effective.add(Fault::Rebirth, 1);
                self.ends.clone_from(&self.scenario.starts);
                let due = now.plus_ns(back_in_ns);
                self.births = (0..self.scenario.members).map(|rank| (due, rank, 1)).collect();
            }
            Strike::Leave { rank, lingers_ns } => {
                let node =
                    self.nodes[rank as usize].as_mut().expect("a group that has formed has all members");
                node.leave(lingers_ns);
                self.history.borrow_mut().push(now.0, node.process, What::Leaves);
            }
            Strike::Pause { rank, ns } => self.pause(rank, ns),
            Strike::Jump { rank, ns } => self.strike(rank, Fault::Jump, |node| node.clock.jump(ns)),
            Strike::Stall { rank, ns } => {
                self.strike(rank, Fault::Stall, |node| node.app.stalled_until = now.plus_ns(ns));
            }
        }
    }

    fn strike(&mut self, rank: u16, fault: Fault, how: impl FnOnce(&mut Node)) {
        if let Some(node) = &mut self.nodes[rank as usize] {
            how(node);
            // A stalled reader counts what it refuses.
            self.effective.add(fault, u64::from(fault != Fault::Stall));
        }
    }

    fn pause(&mut self, rank: u16, ns: u64) {
        let until = self.time.peek().plus_ns(ns);
        let fault = if ns >= LONG_NS { Fault::LongPause } else { Fault::Pause };
        if let Some(node) = &mut self.nodes[rank as usize] {
            (node.paused_until, node.was_paused) = (until, true);
            self.effective.add(fault, u64::from(fault == Fault::LongPause));
        }
    }

    fn kill(&mut self, rank: u16) {
        self.note_ends();
        if let Some(node) = self.nodes[rank as usize].take() {
            node.count(&mut self.effective);
            self.history.borrow_mut().crash(self.time.peek().0, node.process);
        }
    }

    /// The storm is over.
    fn heal(&mut self) {
        self.is_calm = true;
        self.history.borrow_mut().weather(self.time.peek().0, "calm".to_owned());
        self.weather.heal(&self.network, &mut self.effective);
        self.network.set_options(self.scenario.calm(false));
        self.nodes.iter_mut().flatten().for_each(Node::heal);
    }

    /// What took effect in all.
    fn count(&self) -> Counts {
        let network = self.network.faults();
        let mut counts = self.effective.clone();
        counts.add(Fault::LostGoodbye, self.unheard());
        let all = [
            (Fault::Loss, network.lost),
            (Fault::Duplication, network.duplicated),
            (Fault::Reordering, network.reordered),
            (Fault::Tail, network.delayed),
            (Fault::Corruption, network.corrupted),
            (Fault::Truncation, network.truncated),
            (Fault::Overflow, network.overflowed),
        ];
        all.into_iter().for_each(|(fault, count)| counts.add(fault, count));
        self.nodes.iter().flatten().for_each(|node| node.count(&mut counts));
        self.onlooker.iter().for_each(|onlooker| onlooker.count(&mut counts));
        counts
    }
}
