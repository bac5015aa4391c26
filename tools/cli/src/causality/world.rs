//! A small group on the simulated network in virtual time: whoever is told something may answer, and what each was handed is kept.

use std::ops::ControlFlow;

use sistrum_membership::{Caster, Entry, Event, Group, GroupConfig};
use sistrum_ordering::{BootId, CausalContext, Endpoint, Order, Rank, Seq, TotalOptions};
use sistrum_transport::engine::{Cycle, Idle};
use sistrum_transport::log::PoolConfig;
use sistrum_transport::medium::sim::endpoint_of;
use sistrum_transport::medium::{FanOut, Medium as _, Network, Sim, SimOptions};
use sistrum_transport::protocol::Protocol as _;
use sistrum_transport::reliable::{RunLimits, Tuning};
use sistrum_transport::time::ManualClock;

/// What a member says as soon as it is handed `to`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) by: u16,
    pub(super) to: &'static str,
    pub(super) text: &'static str,
}

/// The group and its network.
pub(super) struct World {
    clock: ManualClock,
    network: Network,
    order: Order,
    members: Vec<Member>,
}

struct Member {
    group: Group,
    cycle: Cycle<Sim, ManualClock>,
    answers: Vec<Answer>,
    handed: Vec<String>,
}

impl World {
    /// Members who have their view, on a network that delays datagrams up to so long.
    pub(super) fn new(
        members: u16,
        order: Order,
        seed: u64,
        slowest_ns: u64,
        loss: f64,
        texts: &[Answer],
    ) -> Self {
        let clock = ManualClock::default();
        clock.advance_ns(1);
        let network = Network::new(
            seed,
            clock.clone(),
            SimOptions { delay_ns: 20_000..30_000, ..SimOptions::default() },
        );
        let list: Vec<_> = (0..members).map(endpoint_of).collect();
        let member = |me: u16| {
            let answers = texts.iter().filter(|answer| answer.by == me).copied().collect();
            Member::new(&network, &clock, &list, me, seed, answers)
        };
        let mut world = Self { members: (0..members).map(member).collect(), clock, network, order };
        world.until("a view", |world| world.members.iter().all(|member| member.group.view().is_some()));
        world.network.set_options(SimOptions { delay_ns: 20_000..slowest_ns, loss, ..SimOptions::default() });
        world
    }

    /// Loses what `from` sends to `to` from now on.
    pub(super) fn cut(&self, from: u16, to: u16) {
        self.network.cut(from, to);
    }

    /// Ends all cuts.
    pub(super) fn heal(&self) {
        self.network.heal_all();
    }

    /// A member says something to all.
    pub(super) fn say(&mut self, by: u16, text: &'static str) {
        let order = self.order;
        let sender = self.members[usize::from(by)].group.sender().expect("it has its view");
        sender.cast_as(order.into(), text.as_bytes()).expect("the window is far larger than a story");
    }

    /// What a member was handed so far.
    pub(super) fn handed(&self, member: u16) -> &[String] {
        &self.members[usize::from(member)].handed
    }

    /// What a member would hand over beside a hidden message.
    pub(super) fn context(&self, of: u16) -> CausalContext {
        self.members[usize::from(of)].group.causal_context().expect("it has its view")
    }

    /// Whether a member has been handed everything that the context names.
    pub(super) fn has_reached(&self, member: u16, context: &CausalContext) -> bool {
        self.members[usize::from(member)].group.has_reached(context).expect("it is of this view")
    }

    /// Lets virtual time pass.
    pub(super) fn pass_ns(&mut self, ns: u64) {
        let end = self.clock.peek().plus_ns(ns);
        while self.clock.peek() < end {
            self.step(end.since_ns(self.clock.peek()));
        }
    }

    /// Lets virtual time pass until `done`.
    ///
    /// # Panics
    /// When a minute of it was not enough.
    pub(super) fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = self.clock.peek().plus_ns(60_000_000_000);
        while !done(self) {
            assert!(self.clock.peek() < end, "{what} did not come within a minute of virtual time");
            self.step(u64::MAX);
        }
    }

    /// A cycle of everybody, then on to when something is due, at most `most_ns` on.
    fn step(&mut self, most_ns: u64) {
        let Self { members, order, .. } = self;
        let work: usize = members.iter_mut().map(|member| member.turn(*order)).sum();
        let timers = self.members.iter().filter_map(|member| member.group.poll_timeout());
        let (now, next) = (self.clock.peek(), timers.chain(self.network.next_arrival()).min());
        let idle_ns = next.map_or(CYCLE_NS, |next| next.since_ns(now).max(CYCLE_NS));
        self.clock.advance_ns(if work > 0 { CYCLE_NS } else { idle_ns }.min(most_ns));
    }
}

impl Member {
    fn new(
        network: &Network,
        clock: &ManualClock,
        list: &[Endpoint],
        me: u16,
        seed: u64,
        answers: Vec<Answer>,
    ) -> Self {
        let mut medium = network.endpoint(me);
        let everybody = FanOut::multicast(Endpoint(([239, 255, 0, 1], 1).into()));
        let channel = medium.open_channel(everybody).expect("the simulated network has channels");
        let able = medium.capabilities().clone();
        let config = GroupConfig {
            name: "causality".to_owned(),
            local: list[usize::from(me)],
            entry: Entry::List { members: list.to_vec(), me: Rank(me) },
            boot: BootId(u64::from(me) + 1),
            channel,
            index: 0,
            block: BLOCK,
            limits: RunLimits { blocks: able.max_run_blocks, bytes: able.max_run_bytes },
            receive_buffer: able.receive_buffer,
            coalesces: able.coalesces,
            max_window: WINDOW,
            pair_window: 8,
            tuning: Tuning { window: WINDOW, ..Tuning::loopback() },
            order: TotalOptions::default(),
            start: Seq(0),
            seed: seed ^ u64::from(me),
        };
        let pool = PoolConfig { stride: BLOCK, strides: WINDOW * list.len() * 2, slabs: 4 };
        let cycle = Cycle::new(medium, clock.clone(), pool, Idle::Spin).expect("there is memory for a story");
        Self { group: Group::new(config), cycle, answers, handed: Vec::new() }
    }

    fn turn(&mut self, order: Order) -> usize {
        let Self { group, cycle, answers, handed } = self;
        let mut handler = |caster: &mut Caster<'_>, event: Event<'_>| {
            let Event::Deliver(message) = event else { return ControlFlow::Continue(()) };
            let said = std::str::from_utf8(message.bytes()).expect("a story is text");
            for answer in answers.iter().filter(|answer| answer.to == said) {
                caster.cast(order, answer.text.as_bytes()).expect("the window is far larger than a story");
            }
            handed.push(said.to_owned());
            ControlFlow::Continue(())
        };
        cycle.turn(group, &mut handler).expect("a simulated network does not break")
    }
}

const BLOCK: usize = 1024;
const WINDOW: usize = 16;
/// Virtual time that a duty cycle takes.
const CYCLE_NS: u64 = 1_000;
