//! Sessions whose layer is checked, over a network that loses and reorders: the layers keep what they promise, and one that does
//! not is found out.
#![cfg(debug_assertions)]

use fastrand::Rng;
use sistrum_ordering::{
    Causal, GroupId, GroupInstance, Order, Promise, Rank, Seq, Stamps, Total, TotalMode, TotalOptions,
    ViewNumber,
};
use sistrum_transport::engine::{Cycle, Idle};
use sistrum_transport::id::Endpoint;
use sistrum_transport::log::PoolConfig;
use sistrum_transport::medium::sim::endpoint_of;
use sistrum_transport::medium::{FanOut, Medium, Network, Sim, SimOptions};
use sistrum_transport::protocol::{Protocol, Target};
use sistrum_transport::reliable::checked::{self, Checked};
use sistrum_transport::reliable::{
    Blocks, Entry, Event, Layer, Member, Outbound, RunLimits, Sender, Session, SessionConfig, Tuning,
};
use sistrum_transport::time::ManualClock;
use std::fmt::Debug;
use std::ops::ControlFlow;

const MEMBERS: u16 = 4;
const WINDOW: usize = 16;
const BLOCK: usize = 512;
/// Casts of each member.
const CASTS: usize = 100;

/// A layer whose casts ask for a promise.
trait Ordering: Layer<Outbound: Outbound<Class: TryFrom<Promise, Error: Debug>>> {}
impl<L: Layer<Outbound: Outbound<Class: TryFrom<Promise, Error: Debug>>>> Ordering for L {}

type Node<L> = (Session<Checked<L>>, Cycle<Sim, ManualClock>);

fn node<L: Ordering>(network: &Network, clock: &ManualClock, me: u16, options: &L::Options) -> Node<L> {
    let mut medium = network.endpoint(me);
    let channel = medium.open_channel(FanOut::multicast(Endpoint(([239, 0, 0, 1], 9).into()))).unwrap();
    let member = |rank| Member {
        endpoint: endpoint_of(rank),
        start: Seq(u64::from(rank)),
        entry: Entry::Start,
        window: WINDOW,
        receive_buffer: 1 << 20,
        coalesces: true,
    };
    let config = SessionConfig {
        group: GroupId::of("checked"),
        instance: GroupInstance(1),
        view: ViewNumber(1),
        me: Rank(me),
        members: (0..MEMBERS).map(member).collect(),
        to: Target::Channel(channel),
        lane: 0,
        index: 0,
        block: BLOCK,
        limits: RunLimits { blocks: 8, bytes: 60_000 },
        tuning: Tuning { window: WINDOW, ..Tuning::loopback() },
        seed: u64::from(me),
    };
    let pool = PoolConfig { stride: BLOCK, strides: WINDOW * MEMBERS as usize, slabs: 4 };
    let session = Session::ordered(config, options).unwrap();
    (session, Cycle::new(medium, clock.clone(), pool, Idle::Spin).unwrap())
}

/// Everybody casts, in orders of `orders`, and all is delivered.
fn run<L: Ordering>(seed: u64, orders: &[Order], options: &L::Options) {
    checked::watch(true);
    let clock = ManualClock::default();
    clock.advance_ns(1 + seed);
    let storm = SimOptions { loss: 0.1, delay_ns: 1_000..200_000, ..SimOptions::default() };
    let network = Network::new(seed, clock.clone(), storm);
    let mut nodes: Vec<Node<L>> = (0..MEMBERS).map(|me| node(&network, &clock, me, options)).collect();
    let mut rng = Rng::with_seed(seed);
    let (mut left, mut delivered) = ([CASTS; MEMBERS as usize], 0);
    let is_settled = |node: &Node<L>| node.0.stream().is_settled();
    while left != [0; MEMBERS as usize] || !nodes.iter().all(is_settled) {
        for ((session, cycle), left) in nodes.iter_mut().zip(&mut left) {
            if *left > 0 && rng.u8(..4) == 0 {
                let promise = Promise::from(*rng.choice(orders).unwrap());
                let message = vec![1; rng.usize(..BLOCK)];
                *left -= usize::from(session.sender().cast_as(promise.try_into().unwrap(), &message).is_ok());
            }
            let mut handler = |_: &mut Sender<_>, event: Event<'_>| {
                delivered += usize::from(matches!(event, Event::Deliver(_)));
                ControlFlow::Continue(())
            };
            cycle.turn(session, &mut handler).unwrap();
        }
        let timers = nodes.iter().filter_map(|(session, _)| session.poll_timeout());
        let next = timers.chain(network.next_arrival()).min().unwrap_or_default();
        clock.advance_ns(next.since_ns(clock.peek()).min(50_000) + rng.u64(..1_000));
        assert!(clock.peek().0 < 60_000_000_000, "stuck, {left:?} left and {delivered} delivered");
    }
    assert!(delivered >= CASTS * MEMBERS as usize * (MEMBERS as usize - 1), "{delivered}");
}

#[test]
fn causal_and_total_layers_keep_what_they_promise() {
    for seed in 0..10 {
        run::<Causal>(seed, &[Order::Fifo, Order::Causal], &Stamps::Compressed);
        for mode in [TotalMode::Token, TotalMode::Rotating] {
            let options = TotalOptions { mode, hand_over_after: 4, ..TotalOptions::default() };
            run::<Total>(seed, &Order::ALL, &options);
        }
    }
}

/// Lets through whatever is held, as if it were causal.
#[derive(Debug)]
struct OnReceipt;

impl Layer for OnReceipt {
    type Outbound = <Causal as Layer>::Outbound;
    type Options = Stamps;
    const ORDERS: bool = true;
    const COMES_BACK: u8 = 0;

    fn new(config: &SessionConfig, options: &Stamps) -> (Self, Self::Outbound) {
        (Self, <Causal>::new(config, options).1)
    }
    fn passes(&mut self, _rank: Rank, _seq: Seq, _order: u8) -> bool {
        false
    }
    fn held(&mut self, _rank: Rank, _blocks: &impl Blocks, _out: &mut Self::Outbound) {}
    fn admit(&mut self, rank: Rank, blocks: &impl Blocks) -> Seq {
        blocks.next(rank)
    }
    fn delivered(&mut self, _rank: Rank, _to: Seq) {}
    fn stable(&mut self, _rank: Rank, _to: Seq) {}
    fn woken(&mut self) -> Option<Rank> {
        None
    }
    fn has_woken(&self) -> bool {
        false
    }
    fn departed(&mut self, _rank: Rank, _blocks: &impl Blocks, _out: &mut Self::Outbound) {}
    fn cut(&mut self, _end: &mut [Seq], _blocks: &impl Blocks) {}
    fn misbehaved(&self) -> u64 {
        0
    }
}

#[test]
#[should_panic(expected = "before its cause")]
fn delivery_on_receipt_is_not_causal() {
    (0..20).for_each(|seed| run::<OnReceipt>(seed, &[Order::Causal], &Stamps::Compressed));
}

#[test]
fn fifo_casts_may_be_delivered_on_receipt() {
    run::<OnReceipt>(0, &[Order::Fifo], &Stamps::Compressed);
}
