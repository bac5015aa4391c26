//! Groups over a simulated network that loses and reorders: every order that was promised is kept, and nothing stalls.

use fastrand::Rng;
use sistrum_membership::{Caster, Entry, Event, Group, GroupConfig, Session};
use sistrum_ordering::{BootId, Order, Promise, Rank, Seq, Stamps, TotalMode, TotalOptions};
use sistrum_transport::engine::{Cycle, Idle};
use sistrum_transport::id::Endpoint;
use sistrum_transport::log::PoolConfig;
use sistrum_transport::medium::sim::endpoint_of;
use sistrum_transport::medium::{FanOut, Medium, Network, Sim, SimOptions};
use sistrum_transport::protocol::Protocol;
use sistrum_transport::reliable::{Message, Refused, RunLimits, Tuning};
use sistrum_transport::time::ManualClock;
use std::ops::ControlFlow;

const BLOCK: usize = 1000;
const WINDOW: usize = 16;

/// What a run is drawn from.
#[derive(Debug, Clone)]
struct Plan {
    seed: u64,
    members: u16,
    casts: u32,
    orders: Vec<Order>,
    safe: f64,
    options: TotalOptions,
    replies: f64,
    refusals: f64,
    longest: usize,
    network: SimOptions,
    /// The first so many ranks leave as soon as they have cast everything.
    leavers: u16,
}

/// A message as it was cast: its sender's n-th, and how many of each other's its sender had been handed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cast {
    from: u16,
    number: u32,
    order: Order,
    seen: Vec<u32>,
}

struct Node {
    me: u16,
    group: Group,
    cycle: Cycle<Sim, ManualClock>,
    app: App,
}

struct App {
    me: u16,
    left: u32,
    cast: Vec<Order>,
    /// The block that each of them ends in.
    blocks: Vec<Seq>,
    /// Safe messages that were delivered in this turn.
    safe: Vec<(u16, u32)>,
    /// Messages of each that were delivered; of mine, the totals.
    seen: Vec<u32>,
    totals: Vec<(u16, u32)>,
    all: Vec<(u16, u32)>,
    has_view: bool,
    is_leaving: bool,
    rng: Rng,
}

impl Plan {
    fn draw(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let orders = [&[Order::Causal][..], &[Order::Total], &Order::ALL, &[Order::Causal, Order::Total]];
        let orders = orders[rng.usize(..4)].to_vec();
        let mode = if rng.bool() { TotalMode::Token } else { TotalMode::Rotating };
        let stamps = if rng.u8(..4) == 0 { Stamps::Full } else { Stamps::Compressed };
        let plan = Self {
            seed,
            leavers: 0,
            members: rng.u16(2..7),
            casts: rng.u32(20..80),
            orders,
            safe: [0.0, 0.2, 1.0][rng.usize(..3)],
            options: TotalOptions { mode, stamps, ..TotalOptions::default() },
            replies: rng.f64() * 0.2,
            refusals: rng.f64() * 0.3,
            longest: if rng.bool() { 60 } else { 3000 },
            network: SimOptions {
                loss: [0.0, 0.02, 0.2][rng.usize(..3)],
                duplicate: rng.f64() * 0.05,
                delay_ns: 5_000..5_000 + rng.u64(1..400_000),
                coalesce: rng.bool(),
                ..SimOptions::default()
            },
        };
        plan.with_departures(&mut rng)
    }

    /// Some leave, and the token moves sooner; a goodbye is said a few times only, so not where most is lost.
    fn with_departures(mut self, rng: &mut Rng) -> Self {
        self.options.hand_over_after = [1, 8, 64][rng.usize(..3)];
        if self.network.loss < 0.1 {
            self.leavers = [0, 1, 2][rng.usize(..3)].min(self.members - 1);
        }
        self
    }
}

impl App {
    fn message(&mut self, order: Order, safe: bool, longest: usize) -> Vec<u8> {
        let mut text = vec![order as u8 | if safe { 0x80 } else { 0 }];
        text.extend((self.cast.len() as u32).to_le_bytes());
        self.seen.iter().for_each(|seen| text.extend(seen.to_le_bytes()));
        let len = text.len() + self.rng.usize(..longest);
        text.resize(len, 7);
        text
    }

    fn try_cast(&mut self, plan: &Plan, cast: impl FnOnce(Promise, &[u8]) -> Result<Seq, Refused>) -> bool {
        let order = plan.orders[self.rng.usize(..plan.orders.len())];
        let safe = self.rng.f64() < plan.safe;
        let message = self.message(order, safe, plan.longest);
        let promise = Promise { order, safe };
        match cast(promise, &message) {
            Ok(seq) => {
                self.cast.push(order);
                self.blocks.push(seq);
                self.left -= 1;
                true
            }
            Err(Refused::Full { .. }) => false,
            Err(refused) => panic!("{refused}"),
        }
    }

    fn read(&self, message: &Message<'_>) -> Cast {
        let bytes = message.bytes();
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let order = Order::ALL[bytes[0] as usize & 0x7f];
        let seen = (0..self.seen.len()).map(|at| number(5 + 4 * at)).collect();
        Cast { from: message.from().0, number: number(1), order, seen }
    }

    fn deliver(&mut self, plan: &Plan, caster: &mut Caster<'_>, message: &Message<'_>) -> ControlFlow<()> {
        if self.rng.f64() < plan.refusals {
            return ControlFlow::Break(());
        }
        let cast = self.read(message);
        let is_mine = cast.from == self.me;
        assert!(!is_mine || cast.order == Order::Total, "only totals come back");
        let expected = if is_mine { cast.number } else { self.seen[cast.from as usize] };
        assert_eq!(cast.number, expected, "{} has {cast:?} out of its sender's order", self.me);
        if is_mine {
            let before = &self.cast[..cast.number as usize];
            let totals = before.iter().filter(|order| **order == Order::Total).count();
            let come = self.totals.iter().filter(|(from, _)| *from == self.me).count();
            assert_eq!(totals, come, "my own totals come back in order");
        }
        if cast.order.spans_senders() {
            for (other, &seen) in cast.seen.iter().enumerate() {
                if other == self.me as usize || other == cast.from as usize {
                    continue;
                }
                let here = self.seen[other];
                assert!(here >= seen, "{} has {cast:?} before {seen} of {other}: {here}", self.me);
            }
        }
        // The reply may fail; then all of it is offered again.
        if self.left > 0
            && self.rng.f64() < plan.replies
            && !self.try_cast(plan, |promise, bytes| caster.cast(promise, bytes).map(|()| caster.open()))
        {
            return ControlFlow::Break(());
        }
        self.seen[cast.from as usize] = cast.number + 1;
        self.all.push((cast.from, cast.number));
        if message.bytes()[0] & 0x80 != 0 {
            self.safe.push((cast.from, cast.number));
        }
        if cast.order == Order::Total {
            self.totals.push((cast.from, cast.number));
        }
        ControlFlow::Continue(())
    }
}

fn node(plan: &Plan, network: &Network, clock: &ManualClock, me: u16) -> Node {
    let mut medium = network.endpoint(me);
    let channel = medium.open_channel(FanOut::multicast(Endpoint(([239, 0, 0, 1], 9).into()))).unwrap();
    let able = medium.capabilities().clone();
    let config = GroupConfig {
        name: "orders".into(),
        local: endpoint_of(me),
        entry: Entry::List { members: (0..plan.members).map(endpoint_of).collect(), me: Rank(me) },
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
        order: plan.options,
        start: Seq(plan.seed % 5 * 0x3fff_ffff),
        seed: plan.seed ^ u64::from(me),
    };
    let pool = PoolConfig { stride: BLOCK, strides: WINDOW * plan.members as usize * 2, slabs: 16 };
    let rng = Rng::with_seed(plan.seed ^ (u64::from(me) << 32));
    let app = App {
        me,
        left: plan.casts,
        cast: Vec::new(),
        blocks: Vec::new(),
        safe: Vec::new(),
        seen: vec![0; plan.members as usize],
        totals: Vec::new(),
        all: Vec::new(),
        has_view: false,
        is_leaving: false,
        rng,
    };
    Node {
        me,
        group: Group::new(config),
        cycle: Cycle::new(medium, clock.clone(), pool, Idle::Spin).unwrap(),
        app,
    }
}

impl Node {
    fn turn(&mut self, plan: &Plan) -> usize {
        let Self { group, cycle, app, .. } = self;
        let mut work = 0;
        while app.has_view && app.left > 0 && app.rng.u8(..3) > 0 {
            let sender = group.sender().unwrap();
            if !app.try_cast(plan, |promise, bytes| sender.cast_as(promise, bytes).map(|()| sender.open())) {
                break;
            }
            work += 1;
        }
        let mut handler = |caster: &mut Caster<'_>, event: Event<'_>| match event {
            Event::Deliver(message) => app.deliver(plan, caster, &message),
            Event::View(_) => {
                app.has_view = true;
                ControlFlow::Continue(())
            }
            Event::Left(rank) if rank.0 < plan.leavers => ControlFlow::Continue(()),
            other => panic!("{other:?}"),
        };
        work + cycle.turn(group, &mut handler).unwrap()
    }

    /// It has left, and its process is gone.
    fn is_gone(&self) -> bool {
        self.app.is_leaving && self.group.has_left()
    }
}

/// What is delivered as safe is held by every member that does not say goodbye.
fn assert_safe(nodes: &[Node], from: u16, number: u32) {
    let block = nodes[from as usize].app.blocks[number as usize];
    for other in nodes.iter().filter(|other| other.me != from && !other.app.is_leaving) {
        let held = other.group.session().unwrap().held_of(Rank(from)).unwrap();
        assert!(
            held > block,
            "message {number} of {from} was delivered as safe, and {} has {held:?}",
            other.me
        );
    }
}

/// Everything was cast, and delivered by all who stay; the others are gone.
fn is_done(plan: &Plan, nodes: &[Node]) -> bool {
    nodes.iter().all(|node| {
        if node.me < plan.leavers {
            return node.is_gone();
        }
        let is_complete = nodes.iter().all(|other| {
            let totals = other.app.cast.iter().filter(|order| **order == Order::Total).count();
            let cast = other.app.cast.len() as u32;
            match other.me == node.me {
                true => node.app.totals.iter().filter(|(from, _)| *from == node.me).count() == totals,
                false => node.app.seen[other.me as usize] == cast,
            }
        });
        is_complete && node.app.left == 0 && node.group.is_settled()
    })
}

fn run(plan: &Plan) -> Vec<Node> {
    #[cfg(debug_assertions)]
    sistrum_transport::reliable::checked::watch(true);
    let clock = ManualClock::default();
    clock.advance_ns(1 + plan.seed % 1_000_000);
    let network = Network::new(plan.seed, clock.clone(), plan.network.clone());
    let mut nodes: Vec<Node> = (0..plan.members).map(|me| node(plan, &network, &clock, me)).collect();
    let mut rng = Rng::with_seed(plan.seed ^ 0xabc);
    let end = clock.peek().plus_ns(60_000_000_000);
    while !is_done(plan, &nodes) {
        let mut work = 0;
        for at in 0..nodes.len() {
            if nodes[at].is_gone() {
                continue;
            }
            let Node { me, app, group, .. } = &mut nodes[at];
            if *me < plan.leavers && app.has_view && app.left == 0 && !app.is_leaving {
                app.is_leaving = true;
                group.leave(clock.peek());
            }
            work += nodes[at].turn(plan);
            let safe = std::mem::take(&mut nodes[at].app.safe);
            safe.into_iter().for_each(|(from, number)| assert_safe(&nodes, from, number));
        }
        let now = clock.peek();
        assert!(now < end, "stuck: {plan:?}\n{}", state(&nodes));
        let timers = nodes.iter().filter(|node| !node.is_gone()).filter_map(|node| node.group.poll_timeout());
        let next = timers.chain(network.next_arrival()).min().unwrap_or(now);
        let is_casting = nodes.iter().any(|node| node.app.left > 0);
        let idle = next.since_ns(now).min(if is_casting { 200_000 } else { 20_000_000 }) + rng.u64(..500);
        clock.advance_ns(if work > 0 { rng.u64(..3_000) } else { idle });
    }
    nodes
}

fn state(nodes: &[Node]) -> String {
    let line = |node: &Node| {
        let app = &node.app;
        let session: Option<&Session> = node.group.session();
        format!(
            "{}: cast {} left {} seen {:?} totals {} settled {} {:?}\n  {:?}\n  {:?}\n",
            node.me,
            app.cast.len(),
            app.left,
            app.seen,
            app.totals.len(),
            node.group.is_settled(),
            node.group.counters(),
            session.map(|session| session.layer()),
            session.map(|session| session.stream().outbound()),
        )
    };
    nodes.iter().map(line).collect()
}

#[test]
fn every_promise_is_kept_and_nothing_stalls() {
    let seeds = match std::env::var("SISTRUM_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => {
            (0..std::env::var("SISTRUM_SEEDS").map_or(40, |n| n.parse().unwrap())).collect::<Vec<u64>>()
        }
    };
    for seed in seeds {
        let plan = Plan::draw(seed);
        println!("{plan:?}");
        let nodes = run(&plan);
        for node in &nodes[plan.leavers as usize..] {
            assert_eq!(
                node.app.totals, nodes[plan.leavers as usize].app.totals,
                "one total order, seed {seed}"
            );
            assert_eq!(node.group.counters().malformed_frames, 0);
        }
    }
}
