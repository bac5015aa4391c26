//! What one run is made of; all of it is drawn from one seed, and printed when the run fails.

use fastrand::Rng;
use sistrum_transport::id::Seq;
use sistrum_transport::medium::SimOptions;
use sistrum_transport::medium::true_size;
use sistrum_transport::reliable::{Pace, Tuning};

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    pub(crate) members: u16,
    /// The first so many ranks cast.
    pub(crate) senders: u16,
    pub(crate) window: usize,
    pub(crate) block: usize,
    /// Blocks that one send carries.
    pub(crate) run_blocks: usize,
    /// The first sequence of every member's stream.
    pub(crate) start: Seq,
    /// Casts of each sender, replies among them.
    pub(crate) messages: usize,
    pub(crate) multicast: bool,
    /// What the network does while the storm lasts, and after it.
    pub(crate) storm: SimOptions,
    pub(crate) calm: SimOptions,
    pub(crate) storm_ns: u64,
    /// Links are cut and healed while the storm lasts.
    pub(crate) cuts: bool,
    /// How often a member does not run for a while, in every round of the storm.
    pub(crate) pauses: f64,
    /// How often a handler breaks.
    pub(crate) breaks: f64,
    /// How often a handler casts a reply.
    pub(crate) replies: f64,
    /// Strides of the pool beyond the sum of the windows (negative: it is too small), and slabs.
    pub(crate) spare_strides: isize,
    pub(crate) slabs: usize,
    pub(crate) check_payload: bool,
    /// How fast each may send.
    pub(crate) pace: Option<Pace>,
}

impl Options {
    /// Draws everything from `seed`.
    pub(crate) fn draw(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let members = rng.u16(2..=8);
        let block = pick(rng, &[128, 160, 256, 512, 1408, 4096]);
        let window = pick(rng, &[8, 8, 16, 64, 256]);
        let check_payload = rng.bool();
        let storm = draw_storm(rng, block, check_payload);
        let goes_on = rng.u8(0..3) == 0 && storm.loss <= 0.1;
        Self {
            seed,
            members,
            senders: rng.u16(1..=members),
            window,
            block,
            run_blocks: pick(rng, &[1, 4, 16, 128]),
            start: Seq(draw_start(rng, window as u64)),
            messages: rng.usize(10..120),
            multicast: rng.bool(),
            calm: if goes_on { storm.clone() } else { calm_of(&storm) },
            storm,
            storm_ns: rng.u64(1_000_000..60_000_000),
            cuts: rng.u8(0..3) == 0,
            pauses: sometimes(rng, 0.01),
            breaks: sometimes(rng, 0.3),
            replies: sometimes(rng, 0.2),
            spare_strides: pick(rng, &[0, 0, 1, 4, 31]),
            slabs: pick(rng, &[0, 1, 8]),
            check_payload,
            pace: draw_pace(rng, block as u64),
        }
    }

    /// Times as on one host, but with the window and the checks of this run.
    pub(crate) fn tuning(&self) -> Tuning {
        Tuning {
            window: self.window,
            check_payload: self.check_payload,
            pace: self.pace,
            ..Tuning::loopback()
        }
    }
}

/// The same network without its faults.
pub(crate) fn calm_of(storm: &SimOptions) -> SimOptions {
    SimOptions {
        delay_ns: storm.delay_ns.clone(),
        receive_buffer: storm.receive_buffer,
        coalesce: storm.coalesce,
        ..SimOptions::default()
    }
}

fn draw_storm(rng: &mut Rng, block: usize, check_payload: bool) -> SimOptions {
    let shortest = pick(rng, &[0, 1_000, 20_000]);
    SimOptions {
        loss: pick(rng, &[0.0, 0.01, 0.05, 0.2, 0.5]),
        duplicate: sometimes(rng, 0.1),
        // A flipped bit that no checksum covers is not ours to find.
        corrupt: if check_payload { sometimes(rng, 0.1) } else { 0.0 },
        truncate: sometimes(rng, 0.05),
        busy: sometimes(rng, 0.3),
        delay_ns: shortest..shortest + pick(rng, &[1, 1_000, 50_000, 400_000]),
        tail: sometimes(rng, 0.02),
        tail_ns: rng.u64(100_000..10_000_000),
        receive_buffer: pick(rng, &[8 << 20, 16 * true_size(block), 6 * true_size(block)]),
        coalesce: rng.bool(),
    }
}

/// Streams begin anywhere, and more often than not just before 32 bits are used up.
fn draw_start(rng: &mut Rng, window: u64) -> u64 {
    let wraps = pick(rng, &[0_u64, 1 << 31, 1 << 32, 1 << 33, 5 << 32, 1 << 48]);
    wraps.saturating_sub(rng.u64(0..3 * window))
}

fn draw_pace(rng: &mut Rng, block: u64) -> Option<Pace> {
    let pace = Pace { rate: rng.u64(5_000_000..100_000_000), burst: block * pick(rng, &[1, 1, 3, 64]) };
    (rng.u8(0..4) == 0).then_some(pace)
}

fn sometimes(rng: &mut Rng, probability: f64) -> f64 {
    if rng.bool() { 0.0 } else { rng.f64() * probability }
}

pub(crate) fn pick<T: Clone>(rng: &mut Rng, values: &[T]) -> T {
    values[rng.usize(..values.len())].clone()
}
