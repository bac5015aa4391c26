//! What one run is made of: all of it is drawn from one seed.

use fastrand::Rng;
use sistrum_ordering::causal::UpToCausal;
use sistrum_ordering::{Causal, Order, Promise, Stamps, Total, TotalMode, TotalOptions};
use sistrum_transport::medium::SimOptions;
use sistrum_transport::reliable::{Fifo, Layer, Outbound};

pub(crate) const BLOCK: usize = 700;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) members: u16,
    pub(crate) window: usize,
    /// Casts of each in each view, and how many views there are at most.
    pub(crate) casts: u32,
    pub(crate) views: u32,
    pub(crate) orders: Vec<Order>,
    pub(crate) safe: f64,
    pub(crate) total: TotalOptions,
    pub(crate) replies: f64,
    pub(crate) refusals: f64,
    pub(crate) longest: usize,
    pub(crate) network: SimOptions,
    /// One is suspected though it lives.
    pub(crate) wrongly: bool,
    /// One more dies while the others fetch.
    pub(crate) dies_late: bool,
    /// One learns of the cut when all others have come to it.
    pub(crate) laggard: bool,
    /// Who dies is cut off from some before.
    pub(crate) cuts: bool,
    /// What is reported in the end is what is held then, not at first.
    pub(crate) reports_again: bool,
    /// Who fetches comes to suspect others.
    pub(crate) doubts: bool,
}

impl Plan {
    pub(crate) fn draw(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let all = [Order::Fifo, Order::Causal, Order::Total];
        let orders = [&all[..], &all[2..], &all[1..], &all[1..2]];
        let mode = if rng.bool() { TotalMode::Token } else { TotalMode::Rotating };
        let stamps = if rng.u8(..4) == 0 { Stamps::Full } else { Stamps::Compressed };
        let hand_over_after = [1, 4, 64][rng.usize(..3)];
        Self {
            seed,
            members: rng.u16(2..=6),
            window: [8, 16, 32][rng.usize(..3)],
            casts: rng.u32(10..60),
            views: rng.u32(1..=3),
            orders: orders[rng.usize(..4)].to_vec(),
            safe: [0.0, 0.2, 1.0][rng.usize(..3)],
            total: TotalOptions { mode, stamps, hand_over_after },
            replies: rng.f64() * 0.2,
            refusals: rng.f64() * 0.3,
            longest: if rng.bool() { 60 } else { 1_000 },
            network: SimOptions {
                loss: [0.0, 0.02, 0.2, 0.4][rng.usize(..4)],
                duplicate: rng.f64() * 0.05,
                busy: if rng.bool() { 0.0 } else { rng.f64() * 0.3 },
                delay_ns: 5_000..5_000 + rng.u64(1..400_000),
                coalesce: rng.bool(),
                ..SimOptions::default()
            },
            wrongly: rng.u8(..3) == 0,
            dies_late: rng.u8(..3) == 0,
            laggard: rng.bool(),
            cuts: rng.bool(),
            reports_again: rng.bool(),
            doubts: rng.u8(..4) == 0,
        }
    }
}

/// A layer that runs are made with.
pub(crate) trait Kind: Layer<Outbound: 'static> {
    /// What a cast with this promise asks for.
    fn class(promise: Promise) -> <Self::Outbound as Outbound>::Class;
    /// What it is told.
    fn options(plan: &Plan) -> Self::Options;
    /// The orders that it knows.
    fn restrict(plan: &mut Plan);
}

impl Kind for Fifo {
    fn class(_promise: Promise) {}
    fn options(_plan: &Plan) {}
    fn restrict(plan: &mut Plan) {
        plan.orders = vec![Order::Fifo];
    }
}

impl Kind for Causal {
    fn class(promise: Promise) -> UpToCausal {
        promise.try_into().expect("none of them is total")
    }
    fn options(plan: &Plan) -> Stamps {
        plan.total.stamps
    }
    fn restrict(plan: &mut Plan) {
        plan.orders
            .iter_mut()
            .filter(|order| **order == Order::Total)
            .for_each(|order| *order = Order::Causal);
    }
}

impl Kind for Total {
    fn class(promise: Promise) -> Promise {
        promise
    }
    fn options(plan: &Plan) -> TotalOptions {
        plan.total
    }
    fn restrict(_plan: &mut Plan) {}
}
