//! The protocols of 1987 under the workloads of ours: both histories are judged by the same checkers.
//!
//! A scenario runs on the production protocols first. Who cast how many messages, in which order of its own and with which promise,
//! is then the script of the old ones. Their network is that of the papers: it loses nothing, keeps the order of each pair of
//! processes, and takes any time.

use super::checker::{Property, Violation, judge};
use super::history::{History, Message, Process, What};
use super::options::{Bounds, Death, Scenario};
use super::{driver, history};
use fastrand::Rng;
use sistrum_ordering::legacy::{self, Abcast, Cbcast, Effects, Gbcast, Member};
use sistrum_ordering::{
    BootId, Endpoint, GroupId, GroupInstance, Order, Rank, View, ViewId, ViewMember, ViewNumber,
};
use std::collections::{BTreeMap, VecDeque};

/// Members, what is under way between each two of them, and what happened.
struct World<M: Member> {
    members: Vec<M>,
    /// By sender, then by receiver.
    channels: Vec<Vec<VecDeque<M::Packet>>>,
    script: Vec<VecDeque<Order>>,
    history: History,
    names: BTreeMap<legacy::Message, Message>,
    steps: u64,
}

impl<M: Member> World<M> {
    fn new(script: Vec<VecDeque<Order>>) -> Self {
        let count = script.len();
        let mut history = History::default();
        for rank in (0..count as u16).map(Rank) {
            let process = history.start(0, rank, 0, false);
            history.push(0, process, What::Install(Box::new(view(count as u16, rank))));
        }
        Self {
            members: (0..count as u16).map(|rank| M::new(Rank(rank), count)).collect(),
            channels: (0..count).map(|_| (0..count).map(|_| VecDeque::new()).collect()).collect(),
            script,
            history,
            names: BTreeMap::new(),
            steps: 0,
        }
    }

    /// Runs to the end: each step is a cast, or the arrival of the next packet of some channel.
    fn run(mut self, rng: &mut Rng) -> Self {
        let eagerness = rng.f64();
        loop {
            let casters: Vec<usize> =
                (0..self.script.len()).filter(|&at| !self.script[at].is_empty()).collect();
            let pairs =
                (0..self.members.len()).flat_map(|from| (0..self.members.len()).map(move |to| (from, to)));
            let busy: Vec<(usize, usize)> =
                pairs.filter(|&(from, to)| !self.channels[from][to].is_empty()).collect();
            match (rng.choice(&casters), rng.choice(&busy)) {
                (None, None) => return self,
                (Some(&at), None) => self.cast(at),
                (Some(&at), Some(_)) if rng.f64() < eagerness => self.cast(at),
                (_, Some(&(from, to))) => self.arrive(from, to),
            }
            self.steps += 1;
        }
    }

    fn cast(&mut self, at: usize) {
        let order = self.script[at].pop_front().expect("a caster has something left");
        let (process, number) =
            (Process(at as u16), self.names.keys().filter(|name| name.from.0 as usize == at).count());
        let name = legacy::Message { from: Rank(at as u16), number: number as u32 };
        self.names.insert(name, self.history.cast(self.steps, process, order, 0, (Some(ViewNumber(1)), 0)));
        let mut out = Effects::default();
        self.members[at].cast(name, order, &mut out);
        self.take(at, out);
    }

    fn arrive(&mut self, from: usize, to: usize) {
        let packet = self.channels[from][to].pop_front().expect("a busy channel has a packet");
        let mut out = Effects::default();
        self.members[to].receive(Rank(from as u16), packet, &mut out);
        self.take(to, out);
    }

    fn take(&mut self, at: usize, out: Effects<M::Packet>) {
        for name in out.delivers {
            let message = self.names[&name];
            // As everywhere in a history, only totals come back to their sender.
            if name.from.0 as usize != at || self.history.cast_of(message).order == Order::Total {
                self.history.push(self.steps, Process(at as u16), What::Deliver(message));
            }
        }
        for (to, packet) in out.sends {
            self.channels[at][to.0 as usize].push_back(packet);
        }
    }
}

fn view(members: u16, me: Rank) -> View {
    let id = ViewId { group: GroupId(1), instance: GroupInstance(1), number: ViewNumber(1) };
    let member = |rank: u16| ViewMember {
        endpoint: Endpoint(([127, 0, 0, 1], 1 + rank).into()),
        boot: BootId(u64::from(rank) + 1),
    };
    View::new(id, (0..members).map(member).collect(), me)
}

/// What everybody casts, by rank.
fn script(history: &History, members: u16) -> Vec<VecDeque<Order>> {
    let mut script = vec![VecDeque::new(); members as usize];
    for history::Cast { by, order, .. } in &history.casts {
        script[history.who(*by).rank.0 as usize].push_back(*order);
    }
    script
}

/// Runs seed after seed on the production protocols and on `M`, with casts of these orders.
fn compare<M: Member>(orders: &[Order]) {
    let seeds = std::env::var("SISTRUM_SEEDS").map_or(12, |seeds| seeds.parse().expect("a number"));
    let bounds = Bounds::of((2, 7), orders);
    let mut casts = 0;
    for seed in 0..seeds {
        let mut scenario = Scenario::draw(seed, &bounds);
        (scenario.orders, scenario.death) = (orders.to_vec(), Death::None);
        let ours = driver::run(&scenario);
        assert_eq!(ours.violations, [], "ours, seed {seed}: {scenario:?}");
        let script = script(&ours.history, scenario.members);
        casts += ours.history.casts.len();

        let old = World::<M>::new(script).run(&mut Rng::with_seed(seed));
        assert_eq!(old.history.casts.len(), ours.history.casts.len(), "the same workload");
        assert_eq!(judge(&old.history, true), [], "theirs, seed {seed}: {}", old.history);
        assert!(old.members.iter().all(|member| member.kept() == 0), "what all have is kept by nobody");
    }
    println!("{seeds} seeds, {casts} casts of {orders:?}");
}

#[test]
fn piggybacking_and_vector_time_are_causal() {
    compare::<Cbcast>(&[Order::Causal]);
    compare::<Cbcast>(&[Order::Unordered, Order::Fifo, Order::Causal]);
}

#[test]
fn priorities_and_a_sequencer_give_one_order() {
    compare::<Abcast>(&[Order::Total]);
}

#[test]
fn flushing_orders_totals_between_causal_messages_as_a_token_does() {
    compare::<Gbcast>(&Order::ALL);
}

/// Causal order alone orders no totals: the same checkers find that.
#[test]
fn a_protocol_that_promises_less_is_found_out() {
    let broken = |seed: u64| {
        let script = vec![VecDeque::from([Order::Total; 20]); 3];
        let world = World::<Cbcast>::new(script).run(&mut Rng::with_seed(seed));
        judge(&world.history, true)
    };
    let is_total = |violations: Vec<Violation>| violations.iter().any(|v| v.property == Property::Total);
    assert!((0..10).all(|seed| is_total(broken(seed))));
}
