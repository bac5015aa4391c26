//! Members under engines of their own on one simulated network, and the application that judges them.

use super::options::Options;
use super::traffic::draw_message;
use fastrand::Rng;
use sistrum_transport::engine::{Cycle, CycleCounters, Idle};
use sistrum_transport::id::{Endpoint, GroupId, GroupInstance, Rank, ViewNumber};
use sistrum_transport::log::PoolConfig;
use sistrum_transport::medium::sim::{SimFaults, endpoint_of};
use sistrum_transport::medium::{Channel, FanOut, Medium, Network, Sim};
use sistrum_transport::protocol::Protocol;
use sistrum_transport::reliable::{
    Entry, Event, Member, Message, Refused, RunLimits, Sender, Session, SessionConfig, SessionCounters,
};
use sistrum_transport::time::{Instant, ManualClock};
use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;

/// What all members share. Nothing else passes between them but datagrams.
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) clock: ManualClock,
    pub(crate) network: Network,
    pub(crate) nodes: Vec<Node>,
    /// What was cast, by sender, in order: the truth that deliveries are compared with.
    truth: RefCell<Vec<Vec<Vec<u8>>>>,
    rng: Rng,
    cut: bool,
    trace: DefaultHasher,
    /// Rounds in which no member had work to do, and blocks cast by accepted messages.
    rounds: u64,
}

/// One member.
pub(crate) struct Node {
    pub(crate) session: Session,
    pub(crate) cycle: Cycle<Sim, ManualClock>,
    pub(crate) app: App,
    paused_until: Instant,
}

/// The application of one member.
pub(crate) struct App {
    me: Rank,
    rng: Rng,
    /// Messages delivered, by sender.
    pub(crate) seen: Vec<usize>,
    /// Where a stream entered in mid-flow was entered; everywhere else it is 0.
    pub(crate) entered: Vec<Option<usize>>,
    /// The message to be cast next, once there is room.
    next: Option<Vec<u8>>,
    left: usize,
    pub(crate) tally: Tally,
}

/// What happened to an application that must happen to some application of some run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Tally {
    pub(crate) full: u64,
    pub(crate) too_large: u64,
    pub(crate) broke: u64,
    pub(crate) in_parts: u64,
    pub(crate) empty: u64,
    pub(crate) replies: u64,
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
        let clock = ManualClock::default();
        // Not at the origin, as no real clock is.
        clock.advance_ns(1 + options.seed % 1_000_000_000);
        let network = Network::new(options.seed, clock.clone(), options.storm.clone());
        let nodes =
            (0..options.members).map(|rank| Node::new(&options, &network, &clock, Rank(rank))).collect();
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
        let deadline = self.clock.peek().plus_ns(self.patience_ns());
        while !self.is_done() {
            assert!(self.clock.peek() < deadline, "stuck: {}", self.state());
            self.round();
        }
        let took_ns = self.clock.peek().since_ns(begin);
        self.network
            .set_options(sistrum_transport::medium::SimOptions { loss: 0.0, ..self.options.calm.clone() });
        self.settle();
        self.close(took_ns)
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
        for node in &mut self.nodes {
            node.session.clear(node.cycle.pool_mut());
            assert!(node.cycle.pool().is_idle(0), "a block is owed to the pool");
            let counters = node.session.counters();
            // Every member keeps to its window, and speaks only as itself.
            assert_eq!((counters.beyond, counters.strangers, counters.foreign), (0, 0, 0), "{counters:?}");
            assert_eq!(counters.malformed_frames, 0);
        }
        let sum = |of: fn(&Node) -> u64| self.nodes.iter().map(of).sum::<u64>();
        let engine = CycleCounters {
            cycles: sum(|node| node.cycle.counters().cycles),
            empty_cycles: sum(|node| node.cycle.counters().empty_cycles),
            pauses: sum(|node| node.cycle.counters().pauses),
            busy_sends: sum(|node| node.cycle.counters().busy_sends),
        };
        Outcome {
            trace: self.trace.finish(),
            took_ns,
            faults: self.network.faults(),
            counters: self.nodes.iter().map(|node| node.session.counters()).sum(),
            engine,
            exhausted: sum(|node| node.cycle.pool().exhausted()),
            tally: self.nodes.iter().map(|node| node.app.tally).sum(),
            casts: self.truth.borrow().iter().map(Vec::len).sum(),
        }
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
        let casts = node.app.cast_some(node.session.sender(), &self.options, &self.truth);
        let (reads, busy) = (self.clock.reads(), node.cycle.counters().busy_sends);
        let (app, options, truth, trace) = (&mut node.app, &self.options, &self.truth, &mut self.trace);
        let mut handler = |sender: &mut Sender, event: Event<'_>| {
            let Event::Deliver(message) = event;
            app.deliver(sender, &message, options, truth, &mut |what| (now, at, what).hash(trace))
        };
        let work = node.cycle.turn(&mut node.session, &mut handler).expect("the network is never broken");
        assert_eq!(self.clock.reads(), reads + 1, "the clock is read once in a cycle");
        if work == 0 && node.cycle.counters().busy_sends == busy {
            let due = node.session.poll_timeout();
            assert!(
                due.is_none_or(|due| due > now),
                "a timer is due that nothing was done about: {due:?} at {now:?}"
            );
        }
        casts + work
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

    fn is_done(&self) -> bool {
        let truth = self.truth.borrow();
        self.nodes.iter().all(|node| {
            let complete = node
                .app
                .seen
                .iter()
                .enumerate()
                .all(|(from, &seen)| from == node.app.me.0 as usize || seen == truth[from].len());
            complete && node.app.left == 0 && node.session.sent().is_settled()
        })
    }

    /// How long healing may take: a few of the longest retries, and the volume at a poor pace.
    fn patience_ns(&self) -> u64 {
        let casts = self.options.messages as u64 * u64::from(self.options.senders);
        let slow = if self.options.calm.loss > 0.0 { 20 } else { 4 };
        1_000_000_000 + casts * 1_000_000 * slow
    }

    fn state(&self) -> String {
        let truth = self.truth.borrow();
        let cast: Vec<usize> = truth.iter().map(Vec::len).collect();
        let mut text = format!("at {:?}, cast {cast:?}\n", self.clock.peek());
        for node in &self.nodes {
            let (app, sent) = (&node.app, node.session.sent());
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

impl Node {
    fn new(options: &Options, network: &Network, clock: &ManualClock, me: Rank) -> Self {
        let mut medium = network.endpoint(me.0);
        let channel = medium.open_channel(fan_out(options, me)).expect("a channel");
        let config = session_config(options, &medium, me, channel);
        let pool = PoolConfig {
            stride: options.block,
            strides: options.window * (options.members as usize - 1) + options.spare_strides,
            slabs: options.slabs,
        };
        Self {
            session: Session::new(config).expect("memory"),
            cycle: Cycle::new(medium, clock.clone(), pool, Idle::Spin).expect("memory"),
            app: App::new(options, me),
            paused_until: Instant::default(),
        }
    }
}

impl App {
    fn new(options: &Options, me: Rank) -> Self {
        Self {
            me,
            rng: Rng::with_seed(options.seed ^ u64::from(me.0) << 32),
            seen: vec![0; options.members as usize],
            entered: vec![Some(0); options.members as usize],
            next: None,
            left: if me.0 < options.senders { options.messages } else { 0 },
            tally: Tally::default(),
        }
    }

    /// Casts a burst now and then, until it is refused.
    fn cast_some(&mut self, sender: &mut Sender, options: &Options, truth: &Truth) -> usize {
        if self.left == 0 || self.rng.u8(0..3) > 0 {
            return 0;
        }
        let burst = self.rng.usize(1..20);
        (0..burst).take_while(|_| self.cast(sender, options, truth)).count()
    }

    /// Casts the next message; `false` when there is none, or no room for it.
    fn cast(&mut self, sender: &mut Sender, options: &Options, truth: &Truth) -> bool {
        if self.left == 0 {
            return false;
        }
        let message = self.next.take().unwrap_or_else(|| draw_message(&mut self.rng, sender, options.block));
        self.try_too_large(sender);
        match sender.cast(&message) {
            Ok(()) => {
                self.left -= 1;
                truth.borrow_mut()[self.me.0 as usize].push(message);
                true
            }
            Err(Refused::Full { held_by, .. }) => {
                assert!(
                    held_by != self.me && held_by.0 < options.members,
                    "{held_by} cannot hold anybody back"
                );
                self.tally.full += 1;
                self.next = Some(message);
                false
            }
            Err(other) => panic!("{} bytes: {other}", message.len()),
        }
    }

    fn try_too_large(&mut self, sender: &mut Sender) {
        let limit = sender.max_message();
        if limit > sender.max_claim() + 16 && self.rng.u8(0..16) == 0 {
            assert_eq!(sender.cast(&vec![1; limit + 1]), Err(Refused::TooLarge { len: limit + 1, limit }));
            self.tally.too_large += 1;
        }
    }

    /// Judges one delivery: it must be the next one of its sender, to the byte.
    fn deliver(
        &mut self,
        sender: &mut Sender,
        message: &Message<'_>,
        options: &Options,
        truth: &Truth,
        trace: &mut impl FnMut((u16, usize)),
    ) -> ControlFlow<()> {
        let from = message.from().0 as usize;
        assert_ne!(message.from(), self.me, "a member does not hear itself");
        if self.rng.f64() < options.breaks {
            self.tally.broke += 1;
            return ControlFlow::Break(());
        }
        self.check(message, from, &truth.borrow()[from]);
        trace((message.from().0, self.seen[from]));
        if self.rng.f64() < options.replies && self.cast(sender, options, truth) {
            self.tally.replies += 1;
        }
        ControlFlow::Continue(())
    }

    fn check(&mut self, message: &Message<'_>, from: usize, truth: &[Vec<u8>]) {
        let at = match self.entered[from] {
            Some(_) => self.seen[from],
            // Whichever whole message comes first is where it was entered.
            None => truth
                .iter()
                .position(|known| known == message.bytes())
                .expect("a whole message of its sender"),
        };
        self.entered[from].get_or_insert(at);
        let parts: usize = message.parts().map(<[u8]>::len).sum();
        assert_eq!(parts, message.len(), "the parts are the whole");
        let expected = truth.get(at).expect("nothing is delivered that was not cast");
        assert!(expected == message.bytes(), "{:?} got another message than number {at} of {from}", self.me);
        assert!(message.parts().flatten().eq(expected), "in parts as in one piece");
        self.seen[from] = at + 1;
        self.tally.in_parts += u64::from(message.parts().count() > 1);
        self.tally.empty += u64::from(message.is_empty());
    }
}

impl std::iter::Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            full: sum.full + one.full,
            too_large: sum.too_large + one.too_large,
            broke: sum.broke + one.broke,
            in_parts: sum.in_parts + one.in_parts,
            empty: sum.empty + one.empty,
            replies: sum.replies + one.replies,
        })
    }
}

type Truth = RefCell<Vec<Vec<Vec<u8>>>>;

fn fan_out(options: &Options, me: Rank) -> FanOut {
    if options.multicast {
        return FanOut::Multicast(Endpoint(([239, 0, 0, 1], 9).into()));
    }
    FanOut::Unicast((0..options.members).filter(|rank| *rank != me.0).map(endpoint_of).collect())
}

fn session_config(options: &Options, medium: &Sim, me: Rank, channel: Channel) -> SessionConfig {
    let capabilities = medium.capabilities();
    let member = |rank| Member {
        endpoint: endpoint_of(rank),
        start: options.start,
        entry: Entry::Start,
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
        channel,
        index: 0,
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
