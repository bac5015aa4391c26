//! Groups that change their views as a manager who sees everything tells them to, and what must hold of it.

use crate::node::{Node, Side};
use crate::plan::{Kind, Plan};
use fastrand::Rng;
use sistrum_transport::id::{Rank, Seq};
use sistrum_transport::medium::Network;
use sistrum_transport::protocol::Protocol;
use sistrum_transport::time::{Instant, ManualClock};
use std::collections::BTreeMap;

/// See the module.
pub(crate) struct World<L: Kind> {
    plan: Plan,
    clock: ManualClock,
    network: Network,
    nodes: Vec<Node<L>>,
    /// The members of the view that is about to end, by rank, and those who will be in the next one.
    ids: Vec<u16>,
    view: u32,
    survivors: Vec<u16>,
    /// How far those who are suspected had come when all suspected them: nothing more is taken of them.
    sealed: BTreeMap<u16, Seq>,
    rng: Rng,
    rounds: u64,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

impl<L: Kind> World<L> {
    pub(crate) fn new(mut plan: Plan) -> Self {
        L::restrict(&mut plan);
        let clock = ManualClock::default();
        clock.advance_ns(1 + plan.seed % 1_000_000);
        let network = Network::new(plan.seed, clock.clone(), plan.network.clone());
        let ids: Vec<u16> = (0..plan.members).collect();
        Self {
            nodes: ids.iter().map(|id| Node::new(&plan, &network, &clock, *id)).collect(),
            rng: Rng::with_seed(plan.seed ^ 0xabc),
            clock,
            network,
            survivors: ids.clone(),
            ids,
            view: 1,
            sealed: BTreeMap::new(),
            rounds: 0,
            counts: BTreeMap::new(),
            plan,
        }
    }

    /// Lives through all views.
    pub(crate) fn run(&mut self) {
        for _ in 0..self.plan.views {
            if self.survivors.len() < 2 {
                break;
            }
            self.change();
        }
        self.count("foreign in sum", self.nodes.iter().map(|node| node.sides.foreign).sum());
        let last = self.survivors.clone();
        self.until("the last view is settled", |world| {
            last.iter().all(|id| {
                let side = &world.nodes[*id as usize].sides.new;
                side.app.left == 0 && side.session.stream().is_settled() && side.app.has_own()
            })
        });
        let lent = self.nodes.iter().filter_map(|node| node.sides.old.as_ref());
        let lent = lent.map(|old| old.session.counters().repairs_lent).sum();
        self.count("repairs lent", lent);
    }

    /// One view ends.
    fn change(&mut self) {
        self.pass(3_000_000);
        self.doom();
        self.pass(1_000_000);
        self.freeze();
        self.pass(1_000_000);
        let laggard = self.plan.laggard.then(|| self.survivors[self.rng.usize(..self.survivors.len())]);
        let mut cut = self.propose(laggard);
        if self.plan.dies_late && self.survivors.len() > 2 {
            self.pass(500_000);
            let dead = self.survivors.iter().copied().rfind(|id| Some(*id) != laggard).expect("two");
            self.kill(dead);
            self.count("died late", 1);
            self.survivors.clone().into_iter().for_each(|id| self.suspect_all(id));
            cut = self.propose(laggard);
        }
        let ready: Vec<u16> = self.survivors.iter().copied().filter(|id| Some(*id) != laggard).collect();
        self.install(&ready, &cut);
        if let Some(laggard) = laggard {
            self.until("all but one are there", |world| ready.iter().all(|id| world.is_drained(*id)));
            self.count("laggards", 1);
            self.fetch(laggard, &cut);
            self.install(&[laggard], &cut);
        }
        let survivors = self.survivors.clone();
        self.until("all are there", |world| survivors.iter().all(|id| world.is_drained(*id)));
        self.judge(&cut);
        self.ids = survivors;
        self.view += 1;
        self.sealed.clear();
    }

    /// Some die, or are taken for dead.
    fn doom(&mut self) {
        let most = self.survivors.len() - 1;
        let doomed = self.rng.usize(0..=most.min(2));
        for _ in 0..doomed {
            let id = self.survivors[self.rng.usize(..self.survivors.len())];
            if self.plan.cuts {
                let others = self.survivors.iter().filter(|_| self.rng.bool());
                others.for_each(|other| self.network.cut(id, *other));
                self.pass(300_000);
            }
            if self.plan.wrongly && self.rng.bool() {
                self.survivors.retain(|survivor| *survivor != id);
                self.count("wrongly", 1);
            } else {
                self.kill(id);
                self.count("died", 1);
            }
            self.pass(500_000);
        }
        self.network.heal_all();
    }

    fn kill(&mut self, id: u16) {
        self.nodes[id as usize].alive = false;
        self.survivors.retain(|survivor| *survivor != id);
    }

    /// Everybody suspects who is gone, and reports.
    fn freeze(&mut self) {
        let mut order = self.survivors.clone();
        self.rng.shuffle(&mut order);
        order.iter().for_each(|id| {
            self.suspect_all(*id);
            self.pass(200_000);
        });
        self.seal();
        self.rng.shuffle(&mut order);
        for id in order {
            let now = self.clock.peek();
            let Side { session, reported, app } = &mut self.nodes[id as usize].sides.new;
            let before = session.freeze(now);
            assert_eq!(session.freeze(now), before, "asked again at once");
            *reported = Some(before);
            if app.left > 0 {
                assert!(!app.try_cast::<L>(&self.plan, session.sender()), "a cast while the view changes");
            }
            self.pass(300_000);
        }
    }

    /// From now on nobody takes what one sends whom all suspect.
    fn seal(&mut self) {
        for id in self.ids.iter().filter(|id| !self.survivors.contains(id)) {
            let open = self.nodes[*id as usize].sides.new.session.stream().open();
            self.sealed.insert(*id, open);
        }
    }

    fn suspect_all(&mut self, id: u16) {
        let gone = (0..).zip(&self.ids).filter(|(_, other)| !self.survivors.contains(other));
        let gone: Vec<u16> = gone.map(|(rank, _)| rank).collect();
        let session = &mut self.nodes[id as usize].sides.new.session;
        gone.into_iter().for_each(|rank| session.suspect(Rank(rank)));
    }

    /// The cut of what the survivors report, which all but one learn.
    fn propose(&mut self, laggard: Option<u16>) -> Vec<Seq> {
        let reports: Vec<Vec<Seq>> = self.survivors.iter().map(|id| self.report(*id)).collect();
        let cut: Vec<Seq> =
            (0..self.ids.len()).map(|rank| reports.iter().map(|held| held[rank]).max().unwrap()).collect();
        let mut order: Vec<u16> = self.survivors.iter().copied().filter(|id| Some(*id) != laggard).collect();
        self.rng.shuffle(&mut order);
        for id in order {
            self.fetch(id, &cut);
            self.pass(200_000);
        }
        cut
    }

    fn report(&self, id: u16) -> Vec<Seq> {
        let side = &self.nodes[id as usize].sides.new;
        let first = side.reported.clone().expect("it is frozen");
        if self.plan.reports_again { side.session.closed() } else { first }
    }

    fn fetch(&mut self, id: u16, cut: &[Seq]) {
        let mut holders = Vec::new();
        for (rank, end) in cut.iter().enumerate() {
            let knows = |who: &&u16| self.report_of(**who)[rank] >= *end;
            let holder = self.survivors.iter().find(knows).expect("a cut is what somebody holds");
            holders.push(Rank(self.ids.iter().position(|id| id == holder).unwrap() as u16));
        }
        let now = self.clock.peek();
        let Node { sides, cycle, .. } = &mut self.nodes[id as usize];
        let lacks = sides.new.session.closed().iter().zip(cut).any(|(held, cut)| held < cut);
        sides.new.session.fetch(now, cut, &holders, cycle.pool_mut());
        if self.plan.doubts {
            let others = (0..self.ids.len() as u16).filter(|_| self.rng.u8(..4) > 0);
            others.for_each(|rank| sides.new.session.suspect(Rank(rank)));
        }
        self.count("fetches", u64::from(lacks));
    }

    /// How far one holds each stream, in the view that ends.
    fn report_of(&self, id: u16) -> Vec<Seq> {
        self.ending(id).session.closed()
    }

    fn ending(&self, id: u16) -> &Side<L> {
        let sides = &self.nodes[id as usize].sides;
        let both = [Some(&sides.new), sides.old.as_ref()].into_iter().flatten();
        both.into_iter().find(|side| side.session.config().view.0 == self.view).expect("it was in the view")
    }

    /// Each goes on as soon as it holds the cut.
    fn install(&mut self, ids: &[u16], cut: &[Seq]) {
        let mut left = ids.to_vec();
        let next = self.survivors.clone();
        let end = self.clock.peek().plus_ns(PATIENCE_NS);
        while !left.is_empty() {
            left.retain(|id| {
                let node = &mut self.nodes[*id as usize];
                let holds = node.sides.new.session.holds(cut);
                if holds {
                    node.install(&self.plan, cut, &next);
                }
                !holds
            });
            self.round(end);
            assert!(self.clock.peek() < end, "{left:?} do not come to the cut {cut:?}\n{:?}", self.plan);
        }
    }

    fn is_drained(&self, id: u16) -> bool {
        self.nodes[id as usize].sides.old.as_ref().is_some_and(|old| old.session.is_drained())
    }

    /// All survivors have delivered the same, nothing above the cut, and what a member promised that is gone.
    fn judge(&mut self, cut: &[Seq]) {
        let sides: Vec<&Side<L>> = self.survivors.iter().map(|id| self.ending(*id)).collect();
        let first = sides[0];
        for side in &sides {
            assert_eq!(side.app.totals, first.app.totals, "one total order");
            assert!(side.app.has_own(), "{} has not all that it cast", side.app.me);
            for rank in 0..self.ids.len() {
                let of = |side: &Side<L>| side.app.seen[rank];
                let others = sides.iter().filter(|other| usize::from(other.app.me) != rank);
                let least = others.clone().map(|other| of(other)).min();
                assert_eq!(least, others.map(|other| of(other)).max(), "the same of {rank}");
                let delivered = side.session.delivered_of(Rank(rank as u16)).unwrap_or(Seq(0));
                assert!(delivered <= cut[rank], "{} has {delivered} of {rank}: {cut:?}", side.app.me);
            }
            let (me, cast) = (usize::from(side.app.me), side.app.cast.len() as u32);
            let others = sides.iter().filter(|other| other.app.me != side.app.me);
            others.for_each(|other| assert_eq!(other.app.seen[me], cast, "all that {me} has cast"));
        }
        for id in self.ids.iter().filter(|id| !self.survivors.contains(id)) {
            let gone = &self.nodes[*id as usize].sides.new.app;
            let safe = &gone.totals[..gone.safe_totals];
            assert!(first.app.totals.starts_with(safe), "the order of what {id} had as safe");
            for side in &sides {
                let lacks = (0..)
                    .zip(&gone.safe)
                    .find(|(rank, safe)| *rank != side.app.me && side.app.seen[usize::from(*rank)] < **safe);
                assert!(lacks.is_none(), "{} lacks what {id} had as safe", side.app.me);
            }
        }
        let frozen_out = sides.iter().map(|side| u64::from(side.app.frozen_out)).sum();
        let totals = first.app.totals.len() as u64;
        self.count("views", 1);
        self.count("frozen out", frozen_out);
        self.count("totals", totals);
    }

    fn count(&mut self, what: &'static str, by: u64) {
        *self.counts.entry(what).or_default() += by;
    }

    /// Some time passes, at most `ns`.
    fn pass(&mut self, ns: u64) {
        let end = self.clock.peek().plus_ns(self.rng.u64(..ns));
        while self.clock.peek() < end {
            self.round(end);
        }
    }

    fn until(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let end = self.clock.peek().plus_ns(PATIENCE_NS);
        while !is_so(self) {
            self.round(end);
            assert!(self.clock.peek() < end, "never: {what}\n{:?}", self.plan);
        }
    }

    /// Everybody who lives has a turn.
    fn round(&mut self, end: Instant) {
        let mut work = 0;
        self.rounds += 1;
        assert!(self.rounds < PATIENCE_ROUNDS, "no time passes\n{:?}", self.plan);
        for node in self.nodes.iter_mut().filter(|node| node.alive) {
            work += node.turn(&self.plan);
        }
        for (id, end) in &self.sealed {
            let Some(rank) = self.ids.iter().position(|other| other == id) else { continue };
            for who in self.survivors.iter() {
                let held = self.ending(*who).session.closed()[rank];
                assert!(held <= *end, "{who} has taken {held} of {id}, who is suspected, not {end}");
            }
        }
        let now = self.clock.peek();
        // What arrives at the dead is taken by nobody.
        let living = self.nodes.iter().filter(|node| node.alive);
        let wakes =
            living.flat_map(|node| [node.sides.poll_timeout(), self.network.next_arrival_at(node.place.id)]);
        let next = wakes.flatten().min().unwrap_or(now);
        let is_casting = self.survivors.iter().any(|id| self.nodes[*id as usize].sides.new.app.left > 0);
        let most = end.since_ns(now).min(if is_casting { 1_000_000 } else { 20_000_000 });
        let idle = next.since_ns(now).min(most) + self.rng.u64(..500);
        self.clock.advance_ns(if work > 0 { self.rng.u64(..3_000) } else { idle });
    }
}

/// Of virtual time, until something must have happened.
const PATIENCE_NS: u64 = 20_000_000_000;
/// And of turns, of which a run has a few thousands.
const PATIENCE_ROUNDS: u64 = 300_000;
