//! What a run is drawn from: a network, a group, and what befalls it.

use fastrand::Rng;
use sistrum_membership::step::Step;
use sistrum_ordering::Order;
use sistrum_transport::medium::SimOptions;

pub(super) const MS: u64 = 1_000_000;
/// Bytes of a spool that is never full.
pub(super) const ROOM: usize = 16 << 20;

/// See the module. Times are nanoseconds.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) network: SimOptions,
    /// Casts go to each member by itself, and members find each other by seeds.
    pub(super) unicast: bool,
    pub(super) rotating: bool,
    pub(super) expected: usize,
    /// Processes that begin together.
    pub(super) first: u16,
    pub(super) window: usize,
    pub(super) block: usize,
    /// How often the application refuses an event, asks for a safe delivery, answers.
    pub(super) refusals: f64,
    pub(super) safe: f64,
    pub(super) replies: f64,
    /// How often it sends to one other alone, beside a burst of casts.
    pub(super) sends: f64,
    /// How often it calls, likewise.
    pub(super) calls: f64,
    pub(super) longest: usize,
    /// The application has a state.
    pub(super) state: Option<StatePlan>,
    /// Casts are held while the view changes.
    pub(super) holds: Option<Holds>,
    pub(super) cast_every_ns: u64,
    /// The first sequence of each stream.
    pub(super) start: u64,
    pub(super) suspect_after_ns: u64,
    pub(super) phi: bool,
    /// Somebody ends exactly where a process comes to this step for the nth time, once the group is there.
    pub(super) doom: Option<(Step, u32)>,
    /// What befalls it, and how long nothing does before each.
    pub(super) blows: Vec<(u64, Blow)>,
}

/// A state that is taken over by those who join.
#[derive(Debug, Clone, Copy)]
pub(super) struct StatePlan {
    /// Bytes that it has more than it needs.
    pub(super) padding: usize,
    /// Bytes of what may come while it is taken over.
    pub(super) spool: usize,
    /// Bytes a second that are given.
    pub(super) rate: Option<u64>,
}

/// How many bytes of casts are held, and whether by all, or only at every other place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holds {
    pub(super) bytes: usize,
    pub(super) by_all: bool,
}

/// What may befall a group. A number chooses among those whom it may concern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blow {
    /// A process ends.
    Kill(u16),
    /// A process ends, and another begins at once in its place.
    Restart(u16),
    /// Processes begin in new places.
    Start(u16),
    /// The one who gives the state to somebody who joins, ends.
    KillGiver,
    /// A process leaves.
    Leave(u16),
    /// A process does not run for a while.
    Stop(u16, u64),
    /// A process says that a member of its view has failed, which is not so.
    Suspect(u16, u16),
    /// A process casts something between two views.
    Sync(u16),
    /// The network falls apart, and comes together after a while: places of one remainder, or quotient, hear each other.
    Split(Shape, u64),
    /// A process hears nobody for a while, or nobody hears it.
    Deafen(u16, bool, u64),
}

/// Into which parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Halves(u16),
    Runs(u16),
    All,
}

impl Shape {
    /// The part of this place.
    pub(super) fn part(self, place: u16) -> u16 {
        match self {
            Self::Halves(parts) => place % parts,
            Self::Runs(len) => place / len,
            Self::All => place,
        }
    }
}

impl Plan {
    pub(super) fn draw(seed: u64) -> Self {
        let mut plan = Self::draw_stateless(seed);
        let rng = &mut Rng::with_seed(seed ^ 0x57a7e);
        if rng.bool() {
            plan.keep_state(rng);
        } else {
            plan.holds = Holds::draw(seed);
        }
        plan
    }

    /// The application has a state; whoever gives it may end, and somebody in the middle of a transfer.
    fn keep_state(&mut self, rng: &mut Rng) {
        // Somebody is to end where it is given by another one: the first one has to end before, and has to have time for it.
        let is_to_end_late = self.doom.is_some_and(|(step, _)| step == Step::TakenOver);
        let is_small = rng.bool() && !is_to_end_late;
        let padding = if is_small { rng.usize(..200) } else { rng.usize(20_000..60_000) };
        let spool = if rng.u8(..20) == 0 { rng.usize(..20_000) } else { ROOM };
        let rate = (rng.bool() || is_to_end_late).then(|| rng.u64(300_000..3_000_000));
        self.state = Some(StatePlan { padding, spool, rate });
        if let Some((
            Step::SnapshotTaken | Step::BlockTaken | Step::TakenOver | Step::Loaded | Step::ReadyAsked,
            nth,
        )) = &mut self.doom
        {
            *nth %= 2;
        }
        if rng.bool() || is_to_end_late {
            let at = if is_to_end_late { 0 } else { rng.usize(..=self.blows.len()) };
            let start = (rng.u64(..20 * MS), Blow::Start(rng.u16(1..3)));
            self.blows.splice(at..at, [start, (rng.u64(2 * MS..60 * MS), Blow::KillGiver)]);
            self.first = self.first.max(3);
        }
    }

    /// The seeds of before there was a state stay what they were.
    fn draw_stateless(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed ^ 0x71e3);
        let delay = if rng.bool() { rng.u64(1_000..50_000) } else { rng.u64(10_000..300_000) };
        let network = SimOptions {
            loss: if rng.u8(..3) > 0 { rng.f64() * 0.08 } else { 0.0 },
            duplicate: if rng.bool() { rng.f64() * 0.05 } else { 0.0 },
            delay_ns: delay / 2..delay * 2,
            tail: 0.01,
            tail_ns: rng.u64(..3 * MS),
            coalesce: rng.bool(),
            ..SimOptions::default()
        };
        let blows = (0..rng.usize(1..6)).map(|_| (rng.u64(..60 * MS), Blow::draw(rng))).collect();
        let first = if rng.u8(..20) == 0 { rng.u16(8..20) } else { rng.u16(2..6) };
        Self {
            seed,
            network,
            unicast: rng.bool(),
            rotating: rng.u8(..4) == 0,
            expected: rng.usize(1..=usize::from(first).min(4)),
            first,
            window: 1 << rng.u8(4..6),
            block: rng.usize(400..700),
            refusals: if rng.bool() { 0.05 } else { 0.0 },
            safe: if rng.bool() { 0.2 } else { 0.0 },
            replies: if rng.bool() { 0.02 } else { 0.0 },
            sends: if rng.u8(..3) == 0 { 0.3 } else { 0.0 },
            calls: super::calls::rate(seed),
            longest: if rng.u8(..3) == 0 { 2_000 } else { 200 },
            cast_every_ns: rng.u64(100_000..4 * MS),
            state: None,
            holds: None,
            start: [0, 0x3fff_fff0, u64::from(u32::MAX) - 20][rng.usize(..3)],
            suspect_after_ns: rng.u64(30 * MS..80 * MS),
            phi: rng.u8(..4) == 0,
            doom: (rng.u8(..3) > 0).then(|| {
                let step = Step::ALL[rng.usize(..Step::ALL.len())];
                (step, rng.u32(..6))
            }),
            blows,
        }
    }

    /// Bytes of casts that the process at `place` holds while the view changes.
    pub(super) fn held_casts(&self, place: u16) -> usize {
        self.holds.filter(|holds| holds.by_all || place % 2 == 1).map_or(0, |holds| holds.bytes)
    }

    /// Whether some may be suspected that live.
    pub(super) fn suspects_wrongly(&self) -> bool {
        let is_so = |blow: &Blow| {
            matches!(blow, Blow::Stop(..) | Blow::Suspect(..) | Blow::Split(..) | Blow::Deafen(..))
        };
        self.blows.iter().any(|(_, blow)| is_so(blow))
    }

    pub(super) fn order(&self, rng: &mut Rng) -> Order {
        Order::ALL[rng.usize(..Order::ALL.len())]
    }
}

impl Holds {
    /// Where nobody keeps a state: whoever does casts again itself.
    fn draw(seed: u64) -> Option<Self> {
        let mut rng = Rng::with_seed(seed ^ 0x401d);
        let bytes = if rng.u8(..4) == 0 { rng.usize(100..1_000) } else { 100_000 };
        (rng.u8(..3) > 0).then(|| Self { bytes, by_all: rng.bool() })
    }
}

impl Blow {
    fn draw(rng: &mut Rng) -> Self {
        let who = rng.u16(..);
        let while_ns = rng.u64(1..250) * MS;
        match rng.u8(..20) {
            0..=2 => Self::Kill(who),
            3..=4 => Self::Restart(who),
            5..=7 => Self::Start(rng.u16(1..4)),
            8..=9 => Self::Leave(who),
            10..=11 => Self::Stop(who, while_ns),
            12 => Self::Suspect(who, rng.u16(..)),
            13..=14 => Self::Sync(who),
            15..=17 => {
                let shape = match rng.u8(..3) {
                    0 => Shape::Halves(rng.u16(2..4)),
                    1 => Shape::Runs(rng.u16(1..4)),
                    _ => Shape::All,
                };
                Self::Split(shape, while_ns)
            }
            _ => Self::Deafen(who, rng.bool(), while_ns),
        }
    }
}
