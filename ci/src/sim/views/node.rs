//! One process: the production group under the production cycle, with an application that is written down.

use super::app::{App, Lives};
use super::plan::{MS, Plan, StatePlan};
use crate::sim::history::{Ending, History, What};
use crate::sim::whim::Whim;
use sistrum_membership::agreement::AgreementTuning;
use sistrum_membership::detector::{DetectorTuning, Suspicion};
use sistrum_membership::step::{self, Step};
use sistrum_membership::{Caster, Entry, Event, Group, GroupConfig, Peers, Session, StateTuning};
use sistrum_ordering::{BootId, Endpoint, Rank, Seq, TotalMode, TotalOptions, View, ViewMember, ViewNumber};
use sistrum_transport::engine::{Cycle, Idle};
use sistrum_transport::log::PoolConfig;
use sistrum_transport::medium::sim::endpoint_of;
use sistrum_transport::medium::{FanOut, Medium, Network, Sim};
use sistrum_transport::protocol::Protocol;
use sistrum_transport::reliable::{Pace, RunLimits, Tuning};
use sistrum_transport::time::{Instant, ManualClock};
use std::cell::RefCell;

/// See the module.
pub(super) struct Node {
    pub(super) place: u16,
    pub(super) group: Group,
    pub(super) app: App,
    /// It does not run before this time.
    pub(super) stopped_until: Instant,
    /// It leaves as soon as it holds casts.
    pub(super) leaves_behind: bool,
    cycle: Cycle<Whim<Sim>, ManualClock>,
    /// What was last written down of its streams: by view, what it holds by rank, and what of its own it calls stable.
    noted: Vec<Noted>,
    /// Its last cycle did something: it runs again at once.
    pub(super) again_at: Option<Instant>,
    /// What the group's timers said behind its last cycle.
    timer: Option<Instant>,
    spins: u32,
}

struct Noted {
    view: ViewNumber,
    held: Vec<Seq>,
    stable: Seq,
}

/// Places at which the group may be asked for, and made.
pub(super) const SEEDS: u16 = 3;
/// Receive buffers, in windows: more than there are members.
const WINDOWS: usize = 64;
/// What was done in one cycle may be looked at in the next; more than a few are a fault.
const MAX_SPINS: u32 = 100;

impl Node {
    pub(super) fn new(
        plan: &Plan,
        (network, time): (&Network, &ManualClock),
        place: u16,
        boot: BootId,
        history: &mut History,
    ) -> Self {
        let mut medium = Whim::new(network.endpoint(place), 0.1, plan.seed ^ boot.0);
        let config = group_config(plan, &mut medium, place, boot);
        let pool = PoolConfig { stride: plan.block, strides: plan.window * WINDOWS, slabs: 16 };
        let me = ViewMember { endpoint: endpoint_of(place), boot };
        Self {
            place,
            group: Group::new(config),
            app: App::new(plan, Rank(place), me, time.peek(), history),
            stopped_until: Instant::default(),
            leaves_behind: false,
            cycle: Cycle::new(medium, time.clone(), pool, Idle::Spin).expect("memory"),
            noted: Vec::new(),
            again_at: Some(time.peek()),
            timer: None,
            spins: 0,
        }
    }

    /// When it has something to do.
    pub(super) fn wakes_at(&self, network: &Network) -> Instant {
        let times = [self.timer, self.again_at, self.app.casts_at(), network.next_arrival_at(self.place)];
        times.into_iter().flatten().min().unwrap_or(Instant(u64::MAX)).max(self.stopped_until)
    }

    /// One duty cycle, and everything that it did is written down. Tells which steps it came to.
    pub(super) fn turn(
        &mut self,
        plan: &Plan,
        time: &ManualClock,
        (history, lives): (&RefCell<History>, &mut Lives),
    ) -> Vec<Step> {
        let now = time.peek();
        let casts = self.app.begin_cycle(plan, now, &mut self.group, &mut history.borrow_mut());
        if self.leaves_behind && self.group.sender().is_ok_and(|sender| sender.held() > 0) {
            self.leave(now, &mut history.borrow_mut());
        }
        let (app, mut broke) = (&mut self.app, false);
        let mut handler = |caster: &mut Caster<'_>, event: Event<'_>| {
            let flow = app.handle(plan, now, caster, event, (&mut history.borrow_mut(), lives));
            broke |= flow.is_break();
            flow
        };
        let work = self.cycle.turn(&mut self.group, &mut handler).expect("the network is never broken");
        self.timer = self.group.poll_timeout();
        let spins = work == 0 && !broke && self.timer.is_some_and(|due| due <= now);
        self.spins = if spins { self.spins + 1 } else { 0 };
        assert!(self.spins < MAX_SPINS, "a timer is due that nothing is done about");
        self.again_at = (work + casts > 0 || broke).then(|| now.plus_ns(if broke { 5_000 } else { 0 }));
        let history = &mut history.borrow_mut();
        // Who ends in this cycle, ends before it tells anybody.
        if !step::is_halted() {
            if let Some(view) = self.group.view().filter(|_| self.app.view.is_none()) {
                self.app.live_in(view.id().instance, history, lives);
            }
            self.note_progress(plan, now, history);
            self.app.end_cycle(now, &self.group, history);
        }
        step::take()
    }

    /// Writes down how far it has come since the last cycle, in both views.
    fn note_progress(&mut self, plan: &Plan, now: Instant, history: &mut History) {
        let present = self.group.view().zip(self.group.session());
        let sides: Vec<(&View, &Session)> = self.group.before().into_iter().chain(present).collect();
        let process = self.app.process;
        self.noted.retain(|noted| sides.iter().any(|(view, _)| view.id().number == noted.view));
        for (view, session) in sides {
            let number = view.id().number;
            let at = self.noted.iter().position(|noted| noted.view == number).unwrap_or_else(|| {
                let start = Seq(plan.start);
                let held = vec![start; view.members().len()];
                self.noted.push(Noted { view: number, held, stable: start });
                self.noted.len() - 1
            });
            let noted = &mut self.noted[at];
            for (rank, known) in (0..).map(Rank).zip(&mut noted.held) {
                let Some(held) = session.held_of(rank) else { continue };
                if std::mem::replace(known, held) != held {
                    history.push(now.0, process, What::Holds(number, rank, held.0));
                }
            }
            let stable = session.stream().stable();
            if std::mem::replace(&mut noted.stable, stable) != stable {
                history.push(now.0, process, What::Stable(number, stable.0));
            }
        }
    }

    pub(super) fn leave(&mut self, now: Instant, history: &mut History) {
        if self.app.casts {
            self.app.casts = false;
            history.push(now.0, self.app.process, What::Leaves);
            self.group.leave(now);
            self.again_at = Some(now);
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        !self.app.casts
    }

    pub(super) fn is_settled(&self) -> bool {
        let is_changing = self.group.agreement().is_some_and(|agreement| agreement.is_changing());
        let app = &self.app;
        let is_over = !is_changing
            && !self.group.is_taking_over()
            && self.group.before().is_none()
            && app.flushes + app.own_totals == 0
            && app.desk.is_settled();
        is_over && self.group.is_settled() && self.cycle.pool().is_idle(0)
    }

    pub(super) fn ending(&self) -> Ending {
        Ending {
            process: self.app.process,
            is_settled: self.group.is_settled(),
            is_idle: self.cycle.pool().is_idle(0),
            beyond: self.group.counters().beyond,
        }
    }
}

fn group_config(plan: &Plan, medium: &mut impl Medium, place: u16, boot: BootId) -> GroupConfig {
    let fan_out = match plan.unicast {
        true => FanOut::Unicast(Vec::new()),
        false => FanOut::multicast(Endpoint(([239, 255, 0, 1], 9).into())),
    };
    let channel = medium.open_channel(fan_out).expect("a channel");
    let able = medium.capabilities();
    let suspicion = if plan.phi { Suspicion::PhiAccrual { threshold: 8.0 } } else { Suspicion::Heartbeat };
    let seeds = if plan.unicast { (0..SEEDS).map(endpoint_of).collect() } else { Vec::new() };
    let peers = Peers {
        seeds,
        is_multicast: !plan.unicast,
        expected: plan.expected,
        detector: DetectorTuning { suspicion, suspect_after_ns: plan.suspect_after_ns },
        agreement: AgreementTuning { answer_ns: 500 * MS, ..AgreementTuning::default() },
        held_casts: plan.held_casts(place),
        state: plan.state.map(|StatePlan { spool, rate, .. }| {
            let pace = rate.map(|rate| Pace { rate, burst: 2 * plan.block as u64 });
            StateTuning { spool, pace }
        }),
        rejoins: true,
    };
    let mode = if plan.rotating { TotalMode::Rotating } else { TotalMode::Token };
    GroupConfig {
        name: "views".to_owned(),
        local: endpoint_of(place),
        entry: Entry::Peers(peers),
        boot,
        channel,
        index: 0,
        block: plan.block,
        limits: RunLimits { blocks: able.max_run_blocks, bytes: able.max_run_bytes },
        receive_buffer: able.receive_buffer,
        coalesces: able.coalesces,
        max_window: plan.window,
        pair_window: crate::sim::node::PAIR_WINDOW,
        tuning: Tuning { window: plan.window, ..Tuning::loopback() },
        order: TotalOptions { mode, ..TotalOptions::default() },
        start: Seq(plan.start),
        seed: plan.seed ^ boot.0,
    }
}
