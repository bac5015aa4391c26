//! Processes that come and go on a bad network, and what must hold of their views.

use crate::app::{App, Name};
use fastrand::Rng;
use sistrum_membership::agreement::AgreementTuning;
use sistrum_membership::detector::DetectorTuning;
use sistrum_membership::{Caster, Entry, Event, Group, GroupConfig, Peers, StateTuning};
use sistrum_ordering::{BootId, Order, Promise, Rank, Seq, TotalMode, TotalOptions, ViewMember};
use sistrum_transport::engine::{Cycle, Idle};
use sistrum_transport::id::Endpoint;
use sistrum_transport::log::PoolConfig;
use sistrum_transport::medium::sim::endpoint_of;
use sistrum_transport::medium::{FanOut, Medium, Network, Sim, SimOptions};
use sistrum_transport::protocol::Protocol;
use sistrum_transport::reliable::{Pace, Refused, RunLimits, Tuning};
use sistrum_transport::time::{Instant, ManualClock};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const MS: u64 = 1_000_000;
const WINDOW: usize = 16;
/// Who takes so many events each time, does so at this distance.
const TAKES_EVERY_NS: u64 = 20_000;

/// What a run is drawn from.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) network: SimOptions,
    pub(crate) unicast: bool,
    pub(crate) rotating: bool,
    pub(crate) expected: usize,
    pub(crate) held_casts: usize,
    pub(crate) refusals: f64,
    pub(crate) longest: usize,
    pub(crate) orders: Vec<Order>,
    pub(crate) cast_every_ns: u64,
    pub(crate) block: usize,
    /// So many may be in it.
    pub(crate) most: usize,
    /// Whether the group has a state, with so many bytes beside what was cast, and how fast it is given.
    pub(crate) has_state: bool,
    pub(crate) padding: usize,
    pub(crate) pace: Option<Pace>,
    /// Bytes that a joiner keeps of what comes meanwhile.
    pub(crate) spool: usize,
    pub(crate) window: usize,
}

impl Plan {
    pub(crate) fn quiet(seed: u64) -> Self {
        let network = SimOptions { delay_ns: 20_000..60_000, ..SimOptions::default() };
        Self {
            seed,
            network,
            unicast: false,
            rotating: false,
            expected: 2,
            held_casts: 0,
            refusals: 0.0,
            longest: 400,
            orders: Order::ALL.to_vec(),
            cast_every_ns: 500_000,
            block: 600,
            most: 32,
            has_state: false,
            padding: 0,
            pace: None,
            spool: StateTuning::default().spool,
            window: WINDOW,
        }
    }
}

/// One process.
pub(crate) struct Process {
    pub(crate) place: u16,
    pub(crate) alive: bool,
    pub(crate) group: Group,
    pub(crate) app: App,
    cycle: Cycle<Sim, ManualClock>,
    rng: Rng,
    pub(crate) casts: bool,
    cast_at: Instant,
    takes_at: Instant,
    /// What its last turn did: after something, it has another.
    did: usize,
}

/// Who is at the network beside the group.
pub(crate) trait Guest {
    fn place(&self) -> u16;
    /// When it wants to be called, where something arrives for it at this time.
    fn wakes_at(&self, arrival: Option<Instant>) -> Option<Instant>;
    /// One cycle; returns what it did.
    fn turn(&mut self, now: Instant) -> usize;
}

/// See the module.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) clock: ManualClock,
    pub(crate) network: Network,
    pub(crate) processes: Vec<Process>,
    pub(crate) guests: Vec<Box<dyn Guest>>,
    pub(crate) rng: Rng,
    boots: u64,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let clock = ManualClock::default();
        clock.advance_ns(1_000 * MS + plan.seed % MS);
        let network = Network::new(plan.seed, clock.clone(), plan.network.clone());
        let rng = Rng::with_seed(plan.seed ^ 0x5eed);
        Self {
            clock,
            network,
            processes: Vec::new(),
            guests: Vec::new(),
            rng,
            boots: 100,
            counts: BTreeMap::new(),
            plan,
        }
    }

    /// Starts a process at this place, as a new incarnation.
    pub(crate) fn start(&mut self, place: u16) -> usize {
        self.boots += 1_000;
        let mut medium = self.network.endpoint(place);
        let fan_out = match self.plan.unicast {
            true => FanOut::Unicast(Vec::new()),
            false => FanOut::multicast(Endpoint(([239, 255, 0, 1], 9).into())),
        };
        let channel = medium.open_channel(fan_out).expect("a channel");
        let able = medium.capabilities().clone();
        let seeds =
            if self.plan.unicast { vec![endpoint_of(0), endpoint_of(1), endpoint_of(2)] } else { Vec::new() };
        let peers = Peers {
            seeds,
            is_multicast: !self.plan.unicast,
            expected: self.plan.expected,
            detector: DetectorTuning { suspect_after_ns: 60 * MS, ..DetectorTuning::default() },
            agreement: AgreementTuning { answer_ns: 500 * MS, ..AgreementTuning::default() },
            held_casts: self.plan.held_casts,
            state: self
                .plan
                .has_state
                .then_some(StateTuning { pace: self.plan.pace, spool: self.plan.spool }),
            rejoins: true,
        };
        let mode = if self.plan.rotating { TotalMode::Rotating } else { TotalMode::Token };
        let config = GroupConfig {
            name: "views".into(),
            local: endpoint_of(place),
            entry: Entry::Peers(peers),
            boot: BootId(self.boots),
            channel,
            index: 0,
            block: self.plan.block,
            limits: RunLimits { blocks: able.max_run_blocks, bytes: able.max_run_bytes },
            receive_buffer: able.receive_buffer,
            coalesces: able.coalesces,
            max_window: self.plan.window,
            pair_window: 8,
            tuning: Tuning { window: self.plan.window, ..Tuning::loopback() },
            order: TotalOptions { mode, ..TotalOptions::default() },
            start: Seq(self.plan.seed % 3 * 0x3fff_ffff),
            seed: self.plan.seed ^ self.boots,
        };
        let pool =
            PoolConfig { stride: self.plan.block, strides: self.plan.window * self.plan.most * 2, slabs: 16 };
        let cycle = Cycle::new(medium, self.clock.clone(), pool, Idle::Spin).expect("a pool");
        let mut app = App::new(self.plan.seed ^ self.boots, self.plan.longest, self.plan.refusals);
        app.padding = self.plan.padding;
        let rng = Rng::with_seed(self.plan.seed ^ self.boots << 16);
        self.processes.push(Process {
            place,
            alive: true,
            group: Group::new(config),
            app,
            cycle,
            rng,
            casts: true,
            cast_at: Instant::default(),
            takes_at: Instant::default(),
            did: 1,
        });
        self.processes.len() - 1
    }

    pub(crate) fn kill(&mut self, at: usize) {
        self.processes[at].alive = false;
        self.count("killed", 1);
    }

    /// Nothing goes between the processes of different parts.
    pub(crate) fn split(&mut self, part_of: impl Fn(u16) -> u16) {
        let places: BTreeSet<u16> = self.processes.iter().map(|process| process.place).collect();
        for from in &places {
            for to in places.iter().filter(|to| part_of(*from) != part_of(**to)) {
                self.network.cut(*from, *to);
            }
        }
        self.count("splits", 1);
    }

    /// One hears nothing of the other any more.
    pub(crate) fn cut(&mut self, from: u16, to: u16) {
        self.network.cut(from, to);
    }

    pub(crate) fn heal(&mut self) {
        self.network.heal_all();
    }

    pub(crate) fn count(&mut self, what: &'static str, by: u64) {
        *self.counts.entry(what).or_default() += by;
    }

    pub(crate) fn living(&self) -> Vec<usize> {
        let all = 0..self.processes.len();
        all.filter(|at| self.processes[*at].alive && !self.processes[*at].group.has_left()).collect()
    }

    /// Whether all that live are in one view, with nobody else, and know it.
    pub(crate) fn is_whole(&self) -> bool {
        let living = self.living();
        let mut views = living.iter().map(|at| {
            let Process { group, app, .. } = &self.processes[*at];
            let told = app.stays.last().filter(|_| app.me.is_some())?;
            // A view that only carried sync casts is not told.
            let view = group.view().filter(|view| view.members() == told.view.members())?;
            Some((view.id(), view.members().to_vec()))
        });
        let Some(Some(first)) = views.next() else { return living.is_empty() };
        first.1.len() == living.len() && views.all(|view| view.as_ref() == Some(&first))
    }

    /// Everybody has been handed what was cast.
    pub(crate) fn is_settled(&self) -> bool {
        self.living().iter().all(|at| self.processes[*at].group.is_settled())
    }

    pub(crate) fn pass(&mut self, ns: u64) {
        let end = self.clock.peek().plus_ns(ns);
        while self.clock.peek() < end {
            self.round(end);
        }
    }

    pub(crate) fn until(&mut self, what: &str, ns: u64, is_so: impl Fn(&Self) -> bool) -> u64 {
        let (begin, end) = (self.clock.peek(), self.clock.peek().plus_ns(ns));
        while !is_so(self) {
            self.round(end);
            if self.clock.peek() >= end {
                panic!("never: {what}\n{:?}\n{}", self.plan, self.describe());
            }
        }
        self.clock.peek().since_ns(begin)
    }

    pub(crate) fn describe(&self) -> String {
        let one = |process: &Process| {
            let Process { place, alive, group, app, .. } = process;
            let agreement = group.agreement().map(|agreement| {
                let suspected = agreement.roster().ranks().filter(|rank| agreement.is_suspected(*rank));
                (agreement.is_changing(), agreement.is_wedged(), suspected.collect::<Vec<Rank>>())
            });
            let told = app.stays.last().map(|stay| stay.view.to_string());
            let (view, me) = (group.view().map(|view| (view.id().instance, view.to_string())), app.me);
            format!(
                "{place} alive {alive} left {} sought {:?} me {me:?} view {view:?} told {told:?} changing, wedged, suspects {agreement:?} {:?}\n",
                group.has_left(),
                group.life_sought(),
                group.view().map(|view| view.members().to_vec())
            )
        };
        self.processes.iter().map(one).collect()
    }

    fn round(&mut self, end: Instant) {
        let (mut work, now) = (0, self.clock.peek());
        for process in self.processes.iter_mut().filter(|process| process.alive) {
            let wakes = [process.group.poll_timeout(), self.network.next_arrival_at(process.place)];
            let is_due = wakes.into_iter().flatten().any(|wake| wake <= now) || process.is_eager(now);
            if is_due {
                process.did = process.turn(&self.plan, now);
                work += process.did;
            }
        }
        for guest in &mut self.guests {
            let wake = guest.wakes_at(self.network.next_arrival_at(guest.place()));
            if wake.is_some_and(|wake| wake <= now) {
                work += guest.turn(now);
            }
        }
        let now = self.clock.peek();
        let arrival = |place| self.network.next_arrival_at(place);
        let guests = self.guests.iter().filter_map(|guest| guest.wakes_at(arrival(guest.place())));
        let wakes = self.processes.iter().filter(|process| process.alive).flat_map(|process| {
            let wakes = [process.group.poll_timeout(), self.network.next_arrival_at(process.place)];
            wakes.into_iter().flatten().min()
        });
        let next = wakes.chain(guests).min().unwrap_or(end);
        let casting = self.processes.iter().any(|process| process.alive && process.casts);
        let most = end.since_ns(now).min(if casting { MS } else { 20 * MS });
        let idle = next.since_ns(now).min(most) + self.rng.u64(..500);
        self.clock.advance_ns(if work > 0 { self.rng.u64(500..3_000) } else { idle });
    }

    /// What must hold of all histories.
    pub(crate) fn judge(&mut self) {
        let mut views = BTreeMap::new();
        for process in &self.processes {
            for stay in &process.app.stays {
                let id = stay.view.id();
                let members =
                    views.entry((id.instance.0, id.number)).or_insert_with(|| stay.view.members().to_vec());
                assert_eq!(members, stay.view.members(), "one view of a number");
            }
        }
        self.judge_synchrony();
        self.judge_totals();
        self.count("views", views.len() as u64);
        let handed = self.processes.iter().flat_map(|process| &process.app.stays);
        let handed = handed.map(|stay| stay.handed.len() as u64).sum();
        self.count("handed", handed);
    }

    /// Who goes from one view to the next together has been handed the same in the first.
    fn judge_synchrony(&mut self) {
        let mut pairs = 0;
        let mut known: BTreeMap<_, (ViewMember, BTreeSet<Name>, _)> = BTreeMap::new();
        for process in &self.processes {
            for two in process.app.stays.windows(2).filter(|two| two[0].is_over) {
                let me = two[0].view.members()[two[0].view.me().0 as usize];
                let (from, to) = (two[0].view.id(), two[1].view.id());
                let set: BTreeSet<Name> = two[0].handed.iter().copied().collect();
                assert_eq!(set.len(), two[0].handed.len(), "twice");
                let set_of = |set: &BTreeSet<Name>, but: [ViewMember; 2]| {
                    // A sender is handed only its own totals.
                    set.iter().copied().filter(|(who, _)| !but.contains(who)).collect::<Vec<_>>()
                };
                let key = (from.instance.0, from.number, to.number);
                let (other, theirs, syncs) =
                    known.entry(key).or_insert_with(|| (me, set.clone(), &two[1].syncs));
                pairs += u64::from(*other != me);
                let but = [me, *other];
                let (mine, theirs) = (set_of(&set, but), set_of(theirs, but));
                let differ: Vec<_> = mine.iter().filter(|name| !theirs.contains(name)).take(5).collect();
                assert!(
                    mine == theirs,
                    "{me:?} and {other:?} were not handed the same in {}: {} and {}, {differ:?}\n{:?}",
                    two[0].view,
                    mine.len(),
                    theirs.len(),
                    self.plan
                );
                assert_eq!(&two[1].syncs, *syncs, "sync casts between {} and the next", two[0].view);
                assert_eq!(syncs.len(), syncs.iter().collect::<BTreeSet<_>>().len(), "a sync cast twice");
            }
        }
        self.count("pairs", pairs);
    }

    /// One order of totals for all who go from one view to the next together, and for those who live in the last one.
    fn judge_totals(&self) {
        let mut orders: BTreeMap<_, (&[Name], bool)> = BTreeMap::new();
        for process in &self.processes {
            let stays = &process.app.stays;
            for (at, stay) in stays.iter().enumerate() {
                let is_last = process.alive && process.app.me.is_some() && at + 1 == stays.len();
                let to = if stay.is_over {
                    stays[at + 1].view.id().number.0
                } else if is_last {
                    0
                } else {
                    continue;
                };
                let id = stay.view.id();
                let (order, _) =
                    orders.entry((id.instance.0, id.number, to)).or_insert((&stay.totals, is_last));
                let both = if is_last { order.len().min(stay.totals.len()) } else { order.len() };
                let same = stay.totals.len() >= both && order[..both] == stay.totals[..both];
                let differ = (0..both).find(|at| order.get(*at) != stay.totals.get(*at));
                assert!(
                    same && (is_last || both == stay.totals.len()),
                    "two orders in {} from {differ:?} on of {} and {}\n{:?}",
                    stay.view,
                    order.len(),
                    stay.totals.len(),
                    self.plan
                );
            }
        }
    }
}

impl Process {
    /// Whether it has something to do by itself.
    fn is_eager(&self, now: Instant) -> bool {
        let casts = self.casts && self.app.me.is_some() && self.cast_at <= now;
        casts || self.did > 0 || self.app.was_refused
    }

    fn turn(&mut self, plan: &Plan, now: Instant) -> usize {
        let mut work = 0;
        if self.casts && self.app.me.is_some() && self.cast_at <= now {
            self.cast_at = now.plus_ns(self.rng.u64(..2 * plan.cast_every_ns));
            work += (0..self.rng.u8(1..6)).take_while(|_| self.cast(plan)).count();
        }
        let app = &mut self.app;
        if self.takes_at <= now {
            (app.takes_more, self.takes_at) = (app.takes, now.plus_ns(TAKES_EVERY_NS));
        }
        work + self
            .cycle
            .turn(&mut self.group, &mut |caster: &mut Caster<'_>, event: Event<'_>| app.handle(caster, event))
            .expect("the network does not break")
    }

    fn cast(&mut self, plan: &Plan) -> bool {
        let order = plan.orders[self.rng.usize(..plan.orders.len())];
        self.cast_now(order)
    }

    /// Casts that wait for the next view.
    pub(crate) fn holds(&mut self) -> usize {
        self.group.sender().map_or(0, |sender| sender.held())
    }

    /// Casts in this order; tells whether it was taken.
    pub(crate) fn cast_now(&mut self, order: Order) -> bool {
        let promise = Promise::from(order);
        let message = self.app.message(promise);
        // Whoever is not told yet that it is out, is nobody any more.
        let is_me = |view: &sistrum_ordering::View| Some(view.members()[view.me().0 as usize]) == self.app.me;
        if !self.group.view().is_some_and(is_me) {
            return false;
        }
        let cast = self.group.sender().and_then(|sender| sender.cast_as(promise, &message));
        match cast {
            Ok(()) => {
                let number = self.group.view().map(|view| view.id().number);
                self.app.sent(promise.order, number);
                self.did = 1;
                true
            }
            Err(Refused::ViewChanging) => {
                self.app.changing += 1;
                false
            }
            Err(Refused::Full { .. } | Refused::NoView) => false,
            Err(refused) => panic!("{refused}"),
        }
    }
}
