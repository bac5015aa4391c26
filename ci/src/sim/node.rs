//! One process of a run: the production group and engine, over a medium that misbehaves, with an application on top.

use super::app::App;
use super::clock::LocalClock;
use super::faults::{Counts, Fault};
use super::history::{Ending, History, Kept, Process, Sample, What};
use super::options::Scenario;
use super::whim::Whim;
use sistrum_membership::{Caster, Entry, Event, Group, GroupConfig};
use sistrum_ordering::{BootId, Endpoint, Order, Rank, Seq, truth};
use sistrum_transport::engine::{Cycle, Idle};
use sistrum_transport::log::PoolConfig;
use sistrum_transport::medium::sim::endpoint_of;
use sistrum_transport::medium::{FanOut, Fault as BlockFaults, FaultOptions, Medium, Network, Sim};
use sistrum_transport::protocol::Protocol;
use sistrum_transport::reliable::RunLimits;
use sistrum_transport::time::{Instant, ManualClock};
use std::cell::RefCell;

/// See the module.
pub(super) struct Node {
    pub(super) process: Process,
    pub(super) group: Group,
    pub(super) app: App,
    pub(super) clock: LocalClock,
    /// It does not run before this time of the simulation.
    pub(super) paused_until: Instant,
    pub(super) was_paused: bool,
    cycle: Cycle<Whim<BlockFaults<Sim>>, LocalClock>,
    rank: Rank,
    start: u64,
    /// Its last cycle did something, or left something undone: it runs again at this time.
    again_at: Option<Instant>,
    /// What was last written down of its streams: what it holds, by rank, and what of its own it calls stable.
    held: Vec<u64>,
    stable: u64,
    busy_sends: u64,
    /// A handler refused an event in the last cycle: what was to be freed behind it waits for the next one.
    was_refused: bool,
    /// Cycles in a row that did nothing although a timer was due.
    spins: u32,
    drifts: bool,
    /// It says goodbye, and goes so long after that was said.
    lingers_ns: Option<u64>,
    pub(super) exits_at: Option<Instant>,
}

/// Blocks of the window of what is sent to one member alone.
pub(super) const PAIR_WINDOW: usize = 8;
/// What was sealed in one cycle may be looked at in the next; more than a few are a fault.
const MAX_SPINS: u32 = 100;

/// Which process a node is to be.
pub(super) struct Birth {
    pub(super) rank: u16,
    pub(super) process: Process,
    pub(super) boot: BootId,
    pub(super) life: u32,
    /// By what its clock is ahead, and its rate.
    pub(super) clock: (u64, u64),
}

impl Node {
    pub(super) fn new(scenario: &Scenario, network: &Network, time: &ManualClock, birth: &Birth) -> Self {
        let (rank, seed) = (birth.rank, scenario.seed ^ birth.boot.0);
        let clock = LocalClock::new(time.clone(), birth.clock.0, birth.clock.1);
        let blocks = BlockFaults::new(network.endpoint(rank), scenario.blocks, seed);
        let mut medium = Whim::new(blocks, scenario.moods, seed);
        let group = Group::new(group_config(scenario, &mut medium, birth, seed));
        let pool =
            PoolConfig { stride: scenario.block, strides: strides(scenario, rank), slabs: scenario.slabs };
        let start = scenario.starts[rank as usize];
        Self {
            process: birth.process,
            group,
            app: App::new(scenario, birth.process, Rank(rank), seed),
            cycle: Cycle::new(medium, clock.clone(), pool, Idle::Spin).expect("memory"),
            drifts: birth.clock.1 != 1_000_000,
            clock,
            paused_until: Instant::default(),
            was_paused: false,
            rank: Rank(rank),
            start,
            again_at: None,
            held: scenario.starts.clone(),
            stable: start,
            busy_sends: 0,
            was_refused: false,
            spins: 0,
            lingers_ns: None,
            exits_at: None,
        }
    }

    /// When it has something to do, in the time of the simulation.
    pub(super) fn wakes_at(&self, network: &Network) -> Instant {
        let timer = self.group.poll_timeout().map(|due| self.clock.when(due));
        let arrival = network.next_arrival_at(self.rank.0);
        let times = [timer, self.again_at, arrival, self.app.wakes_at(), self.exits_at];
        times.into_iter().flatten().min().unwrap_or(Instant(u64::MAX)).max(self.paused_until)
    }

    /// One duty cycle, and everything that it did is written down.
    pub(super) fn turn(&mut self, time: &ManualClock, history: &RefCell<History>) {
        let now = time.peek();
        let casts = self.app.begin_cycle(now, &mut self.group, &mut history.borrow_mut());
        let (app, process, reads) = (&mut self.app, self.process, time.reads());
        let mut broke = false;
        let mut handler = |caster: &mut Caster<'_>, event: Event<'_>| {
            let flow = app.handle(now, caster, &event, &mut history.borrow_mut());
            broke |= flow.is_break();
            flow
        };
        let work = self.cycle.turn(&mut self.group, &mut handler).expect("the network is never broken");
        assert_eq!(time.reads(), reads + 1, "the clock is read once in a cycle");
        truth::take().into_iter().for_each(|note| history.borrow_mut().stamp(process, note));
        self.was_refused = broke;
        let busy_sends = self.cycle.counters().busy_sends;
        let is_busy = std::mem::replace(&mut self.busy_sends, busy_sends) != busy_sends;
        // An event that was refused is offered again soon, whatever the timers say.
        self.assert_no_spinning(work == 0 && !is_busy && !broke);
        self.again_at = match work + casts {
            0 if broke || is_busy => Some(now.plus_ns(self.app.patience_ns())),
            0 => None,
            _ => Some(now),
        };
        self.note_progress(now, process, &mut history.borrow_mut());
        if let Some(ns) = self.lingers_ns.filter(|_| self.group.has_left()) {
            self.exits_at.get_or_insert(now.plus_ns(ns));
        }
    }

    /// Casts nothing more, and says goodbye.
    pub(super) fn leave(&mut self, lingers_ns: u64) {
        self.app.stop();
        self.group.leave(self.clock.peek());
        self.lingers_ns = Some(lingers_ns);
        self.again_at = Some(Instant::default());
    }

    /// A timer that is due must do something: who waits for it would never sleep.
    fn assert_no_spinning(&mut self, was_idle: bool) {
        let (due, shown) = (self.group.poll_timeout(), self.clock.peek());
        let spins = was_idle && due.is_some_and(|due| due <= shown);
        self.spins = if spins { self.spins + 1 } else { 0 };
        assert!(self.spins < MAX_SPINS, "a timer is due that nothing is done about: {due:?} at {shown:?}");
    }

    /// Writes down how far it has come since the last cycle.
    fn note_progress(&mut self, now: Instant, process: Process, history: &mut History) {
        let (Some(view), Some(session)) = (self.group.view(), self.group.session()) else { return };
        let view = view.id().number;
        for (rank, known) in self.held.iter_mut().enumerate() {
            let rank = Rank(rank as u16);
            let Some(Seq(held)) = session.held_of(rank) else { continue };
            if std::mem::replace(known, held) != held {
                history.push(now.0, process, What::Holds(view, rank, held));
            }
        }
        let Seq(stable) = session.stream().stable();
        if std::mem::replace(&mut self.stable, stable) != stable {
            history.push(now.0, process, What::Stable(view, stable));
        }
    }

    pub(super) fn has_view(&self) -> bool {
        self.group.view().is_some()
    }

    /// Whether everything that it cast has reached all, and nothing is kept.
    pub(super) fn is_settled(&self) -> bool {
        self.is_done() && self.cycle.pool().is_idle(0)
    }

    /// Whether everything that it has to cast has been delivered by all, and it stays.
    pub(super) fn is_done(&self) -> bool {
        self.lingers_ns.is_none() && self.app.is_done() && self.group.is_settled()
    }

    pub(super) fn heal(&mut self) {
        self.cycle.medium_mut().inner_mut().set_options(FaultOptions::default());
    }

    /// Where its own stream ends, once there is one.
    pub(super) fn end(&self) -> Option<u64> {
        Some(self.group.session()?.stream().cast_up_to().0)
    }

    /// What it keeps, where the streams of all end at `ends`; nothing without a view, and in the middle of a refusal.
    pub(super) fn sample(&self, now: Instant, ends: &[u64]) -> Option<Sample> {
        let session = self.group.session().filter(|_| !self.was_refused)?;
        let (stream, causal, me) = (session.stream(), session.layer().causal(), self.rank.0 as usize);
        let (slabs, strides) = self.cycle.pool().in_use();
        let known = |rank: usize| match rank == me {
            true => stream.delivered(),
            false => causal.stable_up_to()[rank],
        };
        let delivered = |rank: usize| session.delivered_of(Rank(rank as u16)).unwrap_or_default();
        let open = |rank: usize| ends[rank].saturating_sub(known(rank).min(delivered(rank)).0);
        let kept = Kept {
            log: stream.kept(),
            windows: session.kept() as u64,
            // What was sent to one alone has its own bound, the windows of the pairs.
            buffers: (slabs + strides).saturating_sub(self.group.kept_of_pairs()) as u64,
            places: session.layer().queued() as u64,
        };
        let unstable = (0..ends.len()).map(open).sum();
        Some(Sample { at_ns: now.0, process: self.process, unstable, kept })
    }

    pub(super) fn ending(&self) -> Ending {
        Ending {
            process: self.process,
            is_settled: self.group.is_settled(),
            is_idle: self.cycle.pool().is_idle(0),
            beyond: self.group.counters().beyond,
        }
    }

    /// Adds what took effect here.
    pub(super) fn count(&self, counts: &mut Counts) {
        let medium = self.cycle.medium();
        let (blocks, engine, session) =
            (medium.inner().counts(), self.cycle.counters(), self.group.counters());
        let wrapped = self.stable >> 32 != self.start >> 32;
        let all = [
            (Fault::BlockLoss, blocks.lost),
            (Fault::BlockDuplication, blocks.duplicated),
            (Fault::BlockCorruption, blocks.corrupted),
            (Fault::ShortBatch, medium.short_batches),
            (Fault::Exhaustion, self.cycle.pool().exhausted() + session.refused_low),
            (Fault::BusySend, engine.busy_sends),
            (Fault::Pause, if self.was_paused { engine.pauses } else { 0 }),
            (Fault::Drift, u64::from(self.drifts && engine.cycles > 0)),
            (Fault::Wrap, u64::from(wrapped)),
        ];
        all.into_iter().for_each(|(fault, count)| counts.add(fault, count));
        counts.add_all(&self.app.counts);
    }
}

/// Strides of the receive pool: all windows whose blocks may lie in it, and no more than was drawn beside them. My own are among
/// them where total casts come back to me.
fn strides(scenario: &Scenario, rank: u16) -> usize {
    let all = scenario.windows.iter().sum::<usize>();
    let needed = match scenario.orders.contains(&Order::Total) {
        true => all,
        false => all - scenario.windows[rank as usize],
    };
    let pairs = if scenario.sends > 0.0 { usize::from(scenario.members - 1) * PAIR_WINDOW } else { 0 };
    needed + pairs + scenario.spare_strides
}

fn group_config(scenario: &Scenario, medium: &mut impl Medium, birth: &Birth, seed: u64) -> GroupConfig {
    let rank = birth.rank;
    let channel = medium.open_channel(fan_out(scenario, rank)).expect("a channel");
    let capabilities = medium.capabilities();
    GroupConfig {
        name: "storm".to_owned(),
        local: endpoint_of(rank),
        entry: Entry::List { members: (0..scenario.members).map(endpoint_of).collect(), me: Rank(rank) },
        boot: birth.boot,
        channel,
        index: 0,
        block: scenario.block,
        limits: RunLimits {
            blocks: scenario.run_blocks.min(capabilities.max_run_blocks),
            bytes: capabilities.max_run_bytes,
        },
        receive_buffer: capabilities.receive_buffer,
        coalesces: capabilities.coalesces,
        max_window: *scenario.windows.iter().max().expect("there are members"),
        pair_window: PAIR_WINDOW,
        tuning: scenario.tuning(rank),
        order: scenario.total,
        // Each life of a stream begins where the one before it did: what is left of that one is in reach.
        start: Seq(scenario.starts[rank as usize]),
        seed: seed ^ u64::from(birth.life),
    }
}

fn fan_out(scenario: &Scenario, me: u16) -> FanOut {
    if scenario.multicast {
        return FanOut::multicast(Endpoint(([239, 0, 0, 1], 9).into()));
    }
    FanOut::Unicast((0..scenario.members).filter(|rank| *rank != me).map(endpoint_of).collect())
}
