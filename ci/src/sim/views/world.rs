//! Runs one plan: processes come and go, the network falls apart and heals, and in the end all must be together.

use super::app::Lives;
use super::node::{Node, SEEDS};
use super::plan::{Blow, MS, Plan, ROOM, StatePlan};
use crate::sim::campaign::last_panic;
use crate::sim::checker::{Property, Violation, judge};
use crate::sim::history::{History, What};
use fastrand::Rng;
use sistrum_membership::step::{self, Step};
use sistrum_ordering::{BootId, Rank, ViewMember};
use sistrum_transport::medium::Network;
use sistrum_transport::time::{Instant, ManualClock};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Within this time all are together, once all is healed: suspicions, wedges and new incarnations included.
const TOGETHER_NS: u64 = 20_000 * MS;
/// More rounds than any run needs.
const MAX_ROUNDS: u64 = 3_000_000;
/// Boot ids of processes that follow each other at one place are so far apart at least.
const BOOTS_APART: u64 = 1_000;

/// What a run came to.
pub(super) struct Outcome {
    pub(super) history: History,
    pub(super) violations: Vec<Violation>,
    pub(super) took_ns: u64,
    pub(super) counts: Counts,
    /// The step that a process ended at.
    pub(super) ended_at: Option<Step>,
}

/// What took effect, by name.
pub(super) type Counts = BTreeMap<&'static str, u64>;

/// Runs `plan` and judges its history.
pub(super) fn run(plan: &Plan) -> Outcome {
    let history = RefCell::new(History::of_views(plan.suspects_wrongly()));
    let (mut counts, mut took_ns, mut is_whole, mut ended_at) = (Counts::new(), 0, false, None);
    step::record(true);
    step::arm(None);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(plan, &history);
        is_whole = world.run();
        (took_ns, ended_at) = (world.time.peek().0, world.ended_at);
        counts = std::mem::take(&mut world.counts);
    }));
    step::record(false);
    step::arm(None);
    let mut history = history.into_inner();
    *counts.entry("held casts").or_default() +=
        history.casts.iter().filter(|cast| cast.is_held).count() as u64;
    history.tally_of_calls().into_iter().for_each(|(what, count)| *counts.entry(what).or_default() += count);
    if ran.is_err() || !is_whole {
        history.endings.clear();
    }
    let mut violations = judge(&history, ran.is_ok() && is_whole);
    if let Err(panic) = ran {
        let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        violations.push(Violation { property: Property::Soundness, how: last_panic().unwrap_or(text) });
    }
    Outcome { history, violations, took_ns, counts, ended_at }
}

/// What all processes share; nothing passes between them but datagrams.
struct World<'a> {
    plan: &'a Plan,
    history: &'a RefCell<History>,
    lives: Lives,
    time: ManualClock,
    network: Network,
    nodes: Vec<Node>,
    rng: Rng,
    boots: u64,
    /// When the network is whole again.
    heals_at: Option<Instant>,
    is_doomed: bool,
    ended_at: Option<Step>,
    rounds: u64,
    counts: Counts,
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan, history: &'a RefCell<History>) -> Self {
        let time = ManualClock::default();
        time.advance_ns(1_000 * MS + plan.seed % MS);
        Self {
            network: Network::new(plan.seed, time.clone(), plan.network.clone()),
            plan,
            history,
            lives: Lives::new(),
            time,
            nodes: Vec::new(),
            rng: Rng::with_seed(plan.seed ^ 0xb10c),
            boots: BOOTS_APART,
            heals_at: None,
            is_doomed: false,
            ended_at: None,
            rounds: 0,
            counts: Counts::new(),
        }
    }

    /// Tells whether all are together in the end.
    fn run(&mut self) -> bool {
        (0..self.plan.first).for_each(|place| self.start(place));
        if self.rng.u8(..4) > 0 {
            self.until(TOGETHER_NS, "all find each other", Self::is_together);
        }
        step::arm(self.plan.doom);
        self.is_doomed = self.plan.doom.is_some();
        for (pause_ns, blow) in &self.plan.blows {
            self.pass(*pause_ns);
            self.strike(*blow);
        }
        let longest = self.heals_at.map_or(0, |at| at.since_ns(self.time.peek()));
        self.pass(longest + 10 * MS);
        step::arm(None);
        self.is_doomed = false;
        self.calm()
    }

    /// Everything is healed, and whoever is needed is there.
    fn calm(&mut self) -> bool {
        self.network.heal_all();
        self.nodes.iter_mut().for_each(|node| node.leaves_behind = false);
        self.until(TOGETHER_NS, "who leaves, is gone", |world| !world.nodes.iter().any(Node::is_leaving));
        // Somebody has to be there who may make the group, and as many as are expected.
        let wanted = self.plan.expected.max(2) as u16;
        for place in 0..wanted.max(SEEDS) {
            if (self.plan.unicast || self.nodes.len() < wanted as usize) && !self.is_taken(place) {
                self.start(place);
            }
        }
        self.until(TOGETHER_NS, "all are together", |world| world.is_together() || world.is_lost());
        if self.is_lost() {
            self.count("majority gone", 1);
            self.count("two lives", u64::from(self.is_double()));
            return false;
        }
        self.pass(10 * MS);
        self.nodes.iter_mut().for_each(|node| node.app.casts = false);
        self.until(TOGETHER_NS, "all is delivered", |world| {
            world.is_together() && world.nodes.iter().all(Node::is_settled)
        });
        let endings = self.nodes.iter().map(Node::ending).collect();
        self.history.borrow_mut().endings = endings;
        true
    }

    fn count(&mut self, what: &'static str, by: u64) {
        *self.counts.entry(what).or_default() += by;
    }

    fn is_taken(&self, place: u16) -> bool {
        self.nodes.iter().any(|node| node.place == place)
    }

    fn start(&mut self, place: u16) {
        self.start_as(self.plan, place);
    }

    /// Where there was no room for what came while the state was taken over, there is now.
    fn start_roomy(&mut self, place: u16) {
        let mut plan = self.plan.clone();
        plan.state = plan.state.map(|state| StatePlan { spool: ROOM, ..state });
        self.start_as(&plan, place);
        self.count("spool full", 1);
    }

    fn start_as(&mut self, plan: &Plan, place: u16) {
        self.boots += BOOTS_APART;
        let (boot, with) = (BootId(self.boots), (&self.network, &self.time));
        let node = Node::new(plan, with, place, boot, &mut self.history.borrow_mut());
        self.nodes.push(node);
        self.count("started", 1);
    }

    fn kill(&mut self, at: usize) {
        let node = self.nodes.swap_remove(at);
        self.history.borrow_mut().crash(self.time.peek().0, node.app.process);
        self.count("killed", 1);
    }

    fn strike(&mut self, blow: Blow) {
        let now = self.time.peek();
        let count = self.nodes.len();
        let one = |who: u16| usize::from(who) % count.max(1);
        match blow {
            Blow::Start(many) => {
                for place in
                    (0..).filter(|place| !self.is_taken(*place)).take(usize::from(many)).collect::<Vec<_>>()
                {
                    self.start(place);
                }
            }
            Blow::Split(shape, ns) => {
                self.split(|from, to| shape.part(from) != shape.part(to), ns);
                self.count("splits", 1);
            }
            _ if count == 0 => {}
            Blow::Kill(who) => self.kill(one(who)),
            Blow::KillGiver => {
                if let Some(giver) = self.giver() {
                    self.kill(giver);
                    self.count("givers killed", 1);
                }
            }
            Blow::Restart(who) => {
                let place = self.nodes[one(who)].place;
                self.kill(one(who));
                self.start(place);
                self.count("restarted", 1);
            }
            // Every other one leaves when it holds casts, where that may be.
            Blow::Leave(who) if self.plan.holds.is_some() && who % 2 == 0 => {
                self.nodes[one(who)].leaves_behind = true;
            }
            Blow::Leave(who) => {
                self.nodes[one(who)].leave(now, &mut self.history.borrow_mut());
                self.count("left", 1);
            }
            Blow::Stop(who, ns) => {
                self.nodes[one(who)].stopped_until = now.plus_ns(ns);
                self.count("stopped", 1);
            }
            Blow::Suspect(who, whom) => {
                let Node { group, again_at, .. } = &mut self.nodes[one(who)];
                let members = group.view().map_or(0, |view| view.members().len()) as u16;
                if members > 0 {
                    group.suspect(Rank(whom % members));
                    *again_at = Some(now);
                    self.count("suspected wrongly", 1);
                }
            }
            Blow::Sync(who) => {
                let Node { app, group, again_at, .. } = &mut self.nodes[one(who)];
                let is_taken = app.sync(now, group, &mut self.history.borrow_mut());
                *again_at = Some(now);
                self.count("sync casts", u64::from(is_taken));
            }
            Blow::Deafen(who, hears, ns) => {
                let place = self.nodes[one(who)].place;
                self.split(|from, to| if hears { from == place } else { to == place }, ns);
                self.count("deaf", 1);
            }
        }
    }

    /// Who gives the state to somebody.
    fn giver(&self) -> Option<usize> {
        let view = self.nodes.iter().find(|node| node.group.is_taking_over())?.group.view()?;
        let members = (0..).map(Rank).zip(view.members()).filter(|(rank, _)| view.is_ready(*rank));
        let (_, giver) = members.last()?;
        self.nodes.iter().position(|node| node.group.me() == *giver)
    }

    fn split(&mut self, is_cut: impl Fn(u16, u16) -> bool, ns: u64) {
        let places: BTreeSet<u16> = self.nodes.iter().map(|node| node.place).collect();
        for from in &places {
            for to in places.iter().filter(|to| *to != from && is_cut(*from, **to)) {
                self.network.cut(*from, *to);
            }
        }
        let heals_at = self.time.peek().plus_ns(ns);
        self.heals_at = Some(self.heals_at.map_or(heals_at, |at| at.max(heals_at)));
    }

    /// All that live are in one view, with nobody else, and were told of it.
    fn is_together(&self) -> bool {
        let mut first = None;
        !self.nodes.is_empty()
            && self.nodes.iter().all(|node| {
                let (Some(view), Some(told)) = (node.group.view(), &node.app.view) else { return false };
                // A view that only carried sync casts is not told.
                let members = (view.id(), view.members());
                view.members() == told.members()
                    && view.members().len() == self.nodes.len()
                    && *first.get_or_insert(members) == members
            })
    }

    /// Whether not all can come together any more: the majority of a view is gone, nobody is left of a life that some wait for, or
    /// processes that did not see a life have begun another.
    fn is_lost(&self) -> bool {
        self.nodes.iter().any(|node| self.is_stuck(node)) || self.is_orphaned() || self.is_double()
    }

    fn is_stuck(&self, node: &Node) -> bool {
        let (Some(view), Some(agreement)) = (node.group.view(), node.group.agreement()) else { return false };
        let mine = view.id();
        let ids = || self.nodes.iter().filter_map(|other| Some((other, other.group.view()?.id())));
        let is_there = |member: ViewMember| ids().any(|(other, id)| other.group.me() == member && id == mine);
        // Who has gone on tells it so.
        let goes_on = ids().any(|(_, id)| id.instance == mine.instance && id.number > mine.number);
        agreement.is_wedged()
            && !goes_on
            && !agreement.roster().is_quorum(|rank| is_there(view.members()[rank.0 as usize]))
    }

    fn is_orphaned(&self) -> bool {
        let groups = || self.nodes.iter().map(|node| &node.group);
        let lives: Vec<_> = groups().filter_map(|group| Some(group.view()?.id().instance)).collect();
        groups().filter_map(sistrum_membership::Group::life_sought).any(|life| !lives.contains(&life))
    }

    fn is_double(&self) -> bool {
        let lives = self.nodes.iter().filter_map(|node| Some(node.group.view()?.id().instance.0));
        lives.collect::<BTreeSet<_>>().len() > 1
    }

    fn pass(&mut self, ns: u64) {
        let end = self.time.peek().plus_ns(ns);
        while self.time.peek() < end {
            self.round(end);
        }
    }

    fn until(&mut self, ns: u64, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = self.time.peek().plus_ns(ns);
        while !is_so(self) {
            self.round(end);
            assert!(self.time.peek() < end, "never: {what}\n{}", self.describe());
        }
    }

    /// How everybody stands, for people.
    fn describe(&self) -> String {
        let one = |node: &Node| {
            let group = &node.group;
            let state = group.agreement().map(|agreement| {
                let suspects: Vec<Rank> =
                    agreement.roster().ranks().filter(|rank| agreement.is_suspected(*rank)).collect();
                let laggards: Vec<Rank> = agreement.laggards().collect();
                let (changing, wedged) = (agreement.is_changing(), agreement.is_wedged());
                format!("changing {changing}, wedged {wedged}, suspects {suspects:?}, laggards {laggards:?}")
            });
            let view = group.view().map(ToString::to_string);
            let (before, settled) = (group.before().is_some(), node.is_settled());
            format!(
                "  {} {:?} {view:?}, reached {:?}, {state:?}, before {before}, settled {settled}\n",
                node.place,
                node.app.process,
                group.reached()
            )
        };
        self.nodes.iter().map(one).collect()
    }

    /// Everybody whose time has come has a turn.
    fn round(&mut self, end: Instant) {
        self.rounds += 1;
        assert!(self.rounds < MAX_ROUNDS, "it goes round for ever");
        let now = self.time.peek();
        if self.heals_at.is_some_and(|at| at <= now) {
            self.network.heal_all();
            self.heals_at = None;
        }
        let mut at = 0;
        while at < self.nodes.len() {
            let node = &mut self.nodes[at];
            if node.wakes_at(&self.network) <= now {
                let steps = node.turn(self.plan, &self.time, (self.history, &mut self.lives));
                let last = steps.last().copied();
                if step::is_halted() {
                    (self.ended_at, self.is_doomed) = (last.and(self.plan.doom).map(|(step, _)| step), false);
                    step::arm(None);
                    self.kill(at);
                    continue;
                }
                if node.group.has_left() {
                    let (place, has_failed) = (node.place, node.app.has_failed);
                    let process = node.app.process;
                    // Who left where too few were heard to agree on it, is as good as dead.
                    let is_excluded = self.history.borrow().who(process).is_excluded;
                    match is_excluded {
                        true => self.history.borrow_mut().crash(now.0, process),
                        false => self.history.borrow_mut().push(now.0, process, What::Left),
                    }
                    self.nodes.swap_remove(at);
                    if has_failed {
                        self.start_roomy(place);
                    }
                    continue;
                }
            }
            at += 1;
        }
        let next = self.nodes.iter().map(|node| node.wakes_at(&self.network)).min().unwrap_or(end);
        let most = end.since_ns(now).min(50 * MS);
        let step_ns = next.since_ns(now).min(most).max(self.rng.u64(300..2_000));
        self.time.advance_ns(step_ns);
    }
}
