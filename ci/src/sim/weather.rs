//! What the storm does beside what the network does: cuts, partitions, pauses, clocks that jump, readers that stop, deaths.

use super::faults::{Counts, Fault};
use super::options::{Death, Scenario};
use fastrand::Rng;
use sistrum_transport::medium::Network;
use sistrum_transport::time::Instant;

/// What is to be done to the processes; the network has been dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strike {
    Pause { rank: u16, ns: u64 },
    Jump { rank: u16, ns: u64 },
    Stall { rank: u16, ns: u64 },
    Leave { rank: u16, lingers_ns: u64 },
    Kill { rank: u16, back_in_ns: Option<u64> },
    KillAll { back_in_ns: u64 },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Weather {
    rng: Rng,
    members: u16,
    next_at: Instant,
    distance_ns: u64,
    /// What may come: each is drawn as likely as the others.
    kinds: Vec<Kind>,
    /// Why links are cut at present, and how many datagrams had been lost to cuts when that began.
    cut: Option<(Fault, u64)>,
    /// When somebody dies.
    death: Option<(Instant, Death)>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Cut,
    Partition,
    Pause,
    LongPause,
    Jump,
    Stall,
}

impl Weather {
    pub(super) fn new(scenario: &Scenario, begin: Instant) -> Self {
        let mut rng = Rng::with_seed(scenario.seed ^ 0xdead);
        let kinds = [
            (scenario.cuts, Kind::Cut),
            (scenario.partitions, Kind::Partition),
            (scenario.pauses, Kind::Pause),
            (scenario.long_pauses, Kind::LongPause),
            (scenario.jumps, Kind::Jump),
            (scenario.stalls, Kind::Stall),
        ];
        let dies_at = begin.plus_ns(rng.u64(0..scenario.storm_ns));
        Self {
            members: scenario.members,
            next_at: begin,
            distance_ns: 1 + scenario.storm_ns / rng.u64(2..20),
            kinds: kinds.into_iter().filter_map(|(drawn, kind)| drawn.then_some(kind)).collect(),
            cut: None,
            death: (scenario.death != Death::None).then_some((dies_at, scenario.death)),
            rng,
        }
    }

    /// When something happens next.
    pub(super) fn next_at(&self) -> Instant {
        let death = self.death.map(|(at, _)| at);
        let next = (!self.kinds.is_empty()).then_some(self.next_at);
        death.into_iter().chain(next).min().unwrap_or(Instant(u64::MAX))
    }

    /// Somebody dies only where a group has formed; a whole group may die at any time.
    pub(super) fn death(&mut self, now: Instant, has_formed: bool) -> Option<Strike> {
        let (at, death) = self.death?;
        if now < at {
            return None;
        }
        if !has_formed && death != Death::AllComeBack {
            self.death = Some((now.plus_ns(1_000_000), death));
            return None;
        }
        self.death = None;
        let rank = self.rng.u16(..self.members);
        // Often so soon that what the dead have sent is still on its way.
        let longest_ns = if self.rng.bool() { 500_000 } else { 20_000_000 };
        let back_in_ns = self.rng.u64(0..longest_ns);
        Some(match death {
            Death::AllComeBack => Strike::KillAll { back_in_ns },
            Death::Leaves => Strike::Leave { rank, lingers_ns: back_in_ns },
            Death::OneComesBack => Strike::Kill { rank, back_in_ns: Some(back_in_ns) },
            Death::One | Death::None => Strike::Kill { rank, back_in_ns: None },
        })
    }

    /// What happens now, if anything does.
    pub(super) fn strike(&mut self, now: Instant, network: &Network, counts: &mut Counts) -> Option<Strike> {
        if self.kinds.is_empty() || now < self.next_at {
            return None;
        }
        self.next_at = now.plus_ns(self.rng.u64(0..self.distance_ns));
        let kind = self.kinds[self.rng.usize(..self.kinds.len())];
        let rank = self.rng.u16(..self.members);
        match kind {
            Kind::Cut | Kind::Partition if self.cut.is_some() => {
                self.heal(network, counts);
                None
            }
            Kind::Cut => {
                self.begin_cut(Fault::OneWayCut, network);
                network.cut(rank, self.rng.u16(..self.members));
                None
            }
            Kind::Partition => {
                self.begin_cut(Fault::Partition, network);
                self.part(network);
                None
            }
            Kind::Pause => Some(Strike::Pause { rank, ns: self.rng.u64(0..8_000_000) }),
            Kind::LongPause => Some(Strike::Pause { rank, ns: self.rng.u64(LONG_NS..3 * LONG_NS) }),
            Kind::Jump => Some(Strike::Jump { rank, ns: self.rng.u64(1_000_000..300_000_000) }),
            Kind::Stall => Some(Strike::Stall { rank, ns: self.rng.u64(1_000_000..50_000_000) }),
        }
    }

    /// Ends whatever cuts links.
    pub(super) fn heal(&mut self, network: &Network, counts: &mut Counts) {
        network.heal_all();
        if let Some((why, before)) = self.cut.take() {
            counts.add(why, network.faults().cut - before);
        }
    }

    fn begin_cut(&mut self, why: Fault, network: &Network) {
        self.cut = Some((why, network.faults().cut));
    }

    /// Draws two sides that do not hear each other.
    fn part(&mut self, network: &Network) {
        let side: Vec<bool> = (0..self.members).map(|_| self.rng.bool()).collect();
        for from in 0..self.members {
            let across = (0..self.members).filter(|&to| side[from as usize] != side[to as usize]);
            across.for_each(|to| network.cut(from, to));
        }
    }
}

/// Longer than any timeout of the protocol.
pub(super) const LONG_NS: u64 = 120_000_000;
