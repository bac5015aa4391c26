//! Members under engines of their own on one simulated network.

use super::Plain;
use super::app::{App, Tally, Truth};
use super::options::{Options, calm_of};
use fastrand::Rng;
use sistrum_transport::engine::{Cycle, CycleCounters, Idle};
use sistrum_transport::id::{Endpoint, GroupId, GroupInstance, Rank, ViewNumber};
use sistrum_transport::log::PoolConfig;
use sistrum_transport::medium::sim::{SimFaults, endpoint_of};
use sistrum_transport::medium::{Channel, FanOut, Medium, Network, Sim};
use sistrum_transport::protocol::{Protocol, Target};
use sistrum_transport::reliable::{
    Entry, Event, Fifo, Member, Refused, RunLimits, Sender, Session, SessionConfig, SessionCounters,
};
use sistrum_transport::time::{Instant, ManualClock};
use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;

/// What all members share. Nothing else passes between them but datagrams.
pub(crate) struct World<L: Plain = Fifo> {
    pub(crate) options: Options,
    pub(crate) clock: ManualClock,
    pub(crate) network: Network,
    pub(crate) nodes: Vec<Node<L>>,
    truth: Truth,
    rng: Rng,
    cut: bool,
    trace: DefaultHasher,
    rounds: u64,
}

/// One member.
pub(crate) struct Node<L: Plain> {
    pub(crate) session: Session<L>,
    pub(crate) cycle: Cycle<Sim, ManualClock>,
    pub(crate) app: App,
    paused_until: Instant,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) trace: u64,
    pub(crate) took_ns: u64,
    pub(crate) faults: SimFaults,
    pub(crate) counters: SessionCounters,
    pub(crate) engine: CycleCounters,
    pub(crate) exhausted: u64,
    pub(crate) tally: Tally,
    pub(crate) casts: usize,
}

impl World {
    pub(crate) fn new(options: Options) -> Self {
        Self::with_entry(options, |_, _| Entry::Start)
    }
}

impl<L: Plain> World<L> {
    /// A world in which members (the first argument) enter the streams of others (the second) as `entry` says.
    pub(crate) fn with_entry(options: Options, entry: impl Fn(Rank, Rank) -> Entry) -> Self {
        let clock = ManualClock::default();
        // Not at the origin, as no real clock is.
        clock.advance_ns(1 + options.seed % 1_000_000_000);
        let network = Network::new(options.seed, clock.clone(), options.storm.clone());
        let node = |rank| Node::new(&options, &network, &clock, Rank(rank), |of| entry(Rank(rank), of));
        let nodes = (0..options.members).map(node).collect();
        Self {
            truth: RefCell::new(vec![Vec::new(); options.members as usize]),
            rng: Rng::with_seed(options.seed ^ 0xdead),
            cut: false,
            trace: DefaultHasher::new(),
            rounds: 0,
            clock,
            network,
            nodes,
            options,
        }
    }

    /// The whole run: a storm, and then until everything that was cast is delivered and nothing is held any more.
    pub(crate) fn run(mut self) -> Outcome {
        let begin = self.clock.peek();
        let storm_end = begin.plus_ns(self.options.storm_ns);
        while self.clock.peek() < storm_end {
            self.disturb();
            self.round();
        }
        self.network.heal_all();
        self.network.set_options(self.options.calm.clone());
        self.run_until_settled();
        let took_ns = self.clock.peek().since_ns(begin);
        self.network.set_options(calm_of(&self.options.calm));
        self.settle();
        self.close(took_ns)
    }

    /// Runs until everything was cast and delivered, as it must be in time.
    pub(crate) fn run_until_settled(&mut self) {
        let deadline = self.clock.peek().plus_ns(self.patience_ns());
        while !self.is_done() {
            assert!(self.clock.peek() < deadline, "stuck: {}", self.state());
            self.round();
        }
    }

    /// Rounds for so long.
    pub(crate) fn rounds_for(&mut self, ns: u64) {
        let until = self.clock.peek().plus_ns(ns);
        while self.clock.peek() < until {
            self.round();
        }
    }

    /// Casts one message as member `at`.
    pub(crate) fn try_cast(&mut self, at: usize, message: &[u8]) -> Result<(), Refused> {
        self.nodes[at].session.sender().cast(message)?;
        self.truth.borrow_mut()[at].push(message.to_vec());
        Ok(())
    }

    /// Likewise, where there must be room.
    pub(crate) fn cast(&mut self, at: usize, message: &[u8]) {
        self.try_cast(at, message).expect("there is room");
    }

    /// After the last delivery the receivers learn that all is stable, and hold nothing any more.
    fn settle(&mut self) {
        let until = self.clock.peek().plus_ns(SETTLE_NS);
        while self.clock.peek() < until && !self.nodes.iter().all(|node| node.cycle.pool().is_idle(0)) {
            self.round();
        }
        for node in &self.nodes {
            assert!(
                node.cycle.pool().is_idle(0),
                "{:?} holds what all have delivered: {}",
                node.app.me,
                self.state()
            );
        }
    }

    fn close(mut self, took_ns: u64) -> Outcome {
        let sum = |of: fn(&Node<L>) -> u64| self.nodes.iter().map(of).sum::<u64>();
        let engine = CycleCounters {
            cycles: sum(|node| node.cycle.counters().cycles),
            empty_cycles: sum(|node| node.cycle.counters().empty_cycles),
            pauses: sum(|node| node.cycle.counters().pauses),
            busy_sends: sum(|node| node.cycle.counters().busy_sends),
        };
        let outcome = Outcome {
            trace: self.trace.finish(),
            took_ns,
            faults: self.network.faults(),
            counters: self.nodes.iter().map(|node| node.session.counters()).sum(),
            engine,
            exhausted: sum(|node| node.cycle.pool().exhausted()),
            tally: self.nodes.iter().map(|node| node.app.tally).sum(),
            casts: self.truth.borrow().iter().map(Vec::len).sum(),
        };
        self.nodes.pop();
        self.rounds_for(SETTLE_NS / 2);
        self.nodes.iter_mut().for_each(Node::close);
        Outcome { faults: self.network.faults(), ..outcome }
    }

    /// Every member runs once, or is paused; then time moves.
    pub(crate) fn round(&mut self) {
        let mut work = 0;
        for at in 0..self.nodes.len() {
            work += self.turn(at);
        }
        self.rounds += 1;
        assert!(self.rounds < MAX_ROUNDS, "too many rounds: {}", self.state());
        let step = if work > 0 { self.rng.u64(0..3_000) } else { self.idle_step() };
        self.clock.advance_ns(step);
    }

    /// One duty cycle of one member, and all that must hold after any.
    pub(crate) fn turn(&mut self, at: usize) -> usize {
        let (now, node) = (self.clock.peek(), &mut self.nodes[at]);
        if now < node.paused_until {
            return 0;
        }
        let casts = node.app.begin_cycle(node.session.sender(), &self.options, &self.truth);
        let (reads, busy) = (self.clock.reads(), node.cycle.counters().busy_sends);
        let open = node.session.stream().open();
        let (app, options, truth, trace) = (&mut node.app, &self.options, &self.truth, &mut self.trace);
        let mut handler = |sender: &mut Sender<L::Outbound>, event: Event<'_>| {
            let Event::Deliver(message) = event else {
                app.notices.push(format!("{event:?}"));
                return ControlFlow::Continue(());
            };
            let flow = app.deliver(sender, &message, options, truth);
            (now, at, message.from(), message.len(), flow.is_break()).hash(trace);
            flow
        };
        let work = node.cycle.turn(&mut node.session, &mut handler).expect("the network is never broken");
        assert_eq!(self.clock.reads(), reads + 1, "the clock is read once in a cycle");
        // What a cycle seals, a layer looks at in the next one.
        let is_seen_next = L::ORDERS && node.session.stream().open() > open;
        if work == 0 && node.cycle.counters().busy_sends == busy && !is_seen_next {
            let due = node.session.poll_timeout();
            assert!(
                due.is_none_or(|due| due > now),
                "a timer is due that nothing was done about: {due:?} at {now:?}"
            );
        }
        self.assert_acks_are_true(at);
        casts + work
    }

    /// What a sender believes of a receiver is never more than is so.
    fn assert_acks_are_true(&self, at: usize) {
        let me = self.nodes[at].app.me;
        let sent = self.nodes[at].session.stream();
        for other in self.nodes.iter().filter(|other| other.app.me != me) {
            let held = other.session.held_of(me).expect("a member");
            assert!(
                sent.received_by(other.app.me) <= held,
                "{} does not hold what {me} believes",
                other.app.me
            );
            let is_gone = sent.gating().all(|rank| rank != other.app.me);
            assert!(is_gone || sent.stable() <= held, "what {} does not hold is not stable", other.app.me);
        }
    }

    /// To the next arrival or timer, and a little further; not far while an application would still cast.
    fn idle_step(&mut self) -> u64 {
        let now = self.clock.peek();
        let timers = self
            .nodes
            .iter()
            .filter_map(|node| node.session.poll_timeout().map(|due| due.max(node.paused_until)));
        let next =
            timers.chain(self.network.next_arrival()).min().expect("a heartbeat is always due some time");
        let is_casting = self.nodes.iter().any(|node| node.app.left > 0);
        let is_paused = self.nodes.iter().any(|node| node.paused_until > now);
        let jitter = self.rng.u64(0..if is_paused { 40_000 } else { 500 });
        next.since_ns(now).min(if is_casting { 300_000 } else { 20_000_000 }) + jitter
    }

    /// What the storm does beside what the network does.
    fn disturb(&mut self) {
        let members = self.options.members;
        if self.options.cuts && self.rng.u32(0..2_000) == 0 {
            self.cut = !self.cut;
            match self.cut {
                true => {
                    let (from, to) = (self.rng.u16(..members), self.rng.u16(..members));
                    self.network.cut(from, to);
                    if self.rng.bool() {
                        self.network.cut(to, from);
                    }
                }
                false => self.network.heal_all(),
            }
        }
        if self.rng.f64() < self.options.pauses {
            let at = self.rng.usize(..self.nodes.len());
            self.nodes[at].paused_until = self.clock.peek().plus_ns(self.rng.u64(0..8_000_000));
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.nodes.iter().all(|node| node.app.is_complete(&self.truth) && node.session.stream().is_settled())
    }

    /// How long healing may take: a few of the longest retries, and the volume at a poor pace.
    fn patience_ns(&self) -> u64 {
        let casts = self.options.messages as u64 * u64::from(self.options.senders);
        let slow = if self.options.calm.loss > 0.0 { 20 } else { 4 };
        1_000_000_000 + casts * 1_000_000 * slow
    }

    pub(crate) fn state(&self) -> String {
        let truth = self.truth.borrow();
        let cast: Vec<usize> = truth.iter().map(Vec::len).collect();
        let mut text = format!("at {:?}, cast {cast:?}\n", self.clock.peek());
        for node in &self.nodes {
            let (app, sent) = (&node.app, node.session.stream());
            text += &format!(
                "{:?}: seen {:?}, left {}, settled {}, stable {:?}, timeout {:?}, low {}, {:?}\n",
                app.me,
                app.seen,
                app.left,
                sent.is_settled(),
                sent.stable(),
                node.session.poll_timeout(),
                node.cycle.pool().is_low(),
                node.session.counters()
            );
        }
        text
    }
}

impl<L: Plain> Node<L> {
    fn new(
        options: &Options,
        network: &Network,
        clock: &ManualClock,
        me: Rank,
        entry: impl Fn(Rank) -> Entry,
    ) -> Self {
        let mut medium = network.endpoint(me.0);
        let channel = medium.open_channel(fan_out(options, me)).expect("a channel");
        let config = session_config(options, &medium, me, channel, &entry);
        let pool = PoolConfig {
            stride: options.block,
            strides: (options.window * (options.members as usize - 1))
                .saturating_add_signed(options.spare_strides),
            slabs: options.slabs,
        };
        Self {
            session: Session::ordered(config, &()).expect("memory"),
            cycle: Cycle::new(medium, clock.clone(), pool, Idle::Spin).expect("memory"),
            app: App::new(options, me, |rank| entry(rank) == Entry::Live),
            paused_until: Instant::default(),
        }
    }

    fn close(&mut self) {
        self.session.clear(self.cycle.pool_mut());
        assert!(self.cycle.pool().is_idle(0), "a block is owed to the pool");
        let counters = self.session.counters();
        // Every member keeps to its window, and speaks only as itself.
        assert_eq!((counters.beyond, counters.strangers, counters.foreign), (0, 0, 0), "{counters:?}");
        assert_eq!(counters.malformed_frames, 0);
    }

    /// Does not run before `until`.
    pub(crate) fn pause(&mut self, until: Instant) {
        self.paused_until = until;
    }
}

pub(crate) fn fan_out(options: &Options, me: Rank) -> FanOut {
    if options.multicast {
        return FanOut::multicast(Endpoint(([239, 0, 0, 1], 9).into()));
    }
    FanOut::Unicast((0..options.members).filter(|rank| *rank != me.0).map(endpoint_of).collect())
}

fn session_config(
    options: &Options,
    medium: &Sim,
    me: Rank,
    channel: Channel,
    entry: &impl Fn(Rank) -> Entry,
) -> SessionConfig {
    let capabilities = medium.capabilities();
    let member = |rank| Member {
        endpoint: endpoint_of(rank),
        start: options.start,
        entry: entry(Rank(rank)),
        window: options.window,
        receive_buffer: capabilities.receive_buffer,
        coalesces: capabilities.coalesces,
    };
    SessionConfig {
        group: GroupId::of("storm"),
        instance: GroupInstance(7),
        view: ViewNumber(1),
        me,
        members: (0..options.members).map(member).collect(),
        to: Target::Channel(channel),
        index: 0,
        lane: 0,
        block: options.block,
        limits: RunLimits {
            blocks: options.run_blocks.min(capabilities.max_run_blocks),
            bytes: capabilities.max_run_bytes,
        },
        tuning: options.tuning(),
        seed: options.seed ^ u64::from(me.0),
    }
}

/// Time for the last heartbeats: the longest distance of two of them, a few times.
const SETTLE_NS: u64 = 500_000_000;
/// More rounds than any run needs.
const MAX_ROUNDS: u64 = 400_000;
