//! What one run is made of: everything is drawn from its seed, and can be changed afterwards to shrink it.

use super::faults::{Counts, Fault};
use fastrand::Rng;
use sistrum_ordering::{Order, Stamps, TotalMode, TotalOptions};
use sistrum_transport::medium::{FaultOptions, SimOptions, true_size};
use sistrum_transport::reliable::Tuning;

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) members: u16,
    /// The first so many ranks cast.
    pub(crate) senders: u16,
    /// Casts of each sender, replies among them.
    pub(crate) messages: u32,
    /// Each cast has one of these.
    pub(crate) orders: Vec<Order>,
    /// How often a message is sent to one member alone.
    pub(crate) sends: f64,
    /// How often a cast asks to be safe too.
    pub(crate) safe: f64,
    /// Bytes of a message, at most.
    pub(crate) longest: usize,
    /// How total order is found, and how stamps are told.
    pub(crate) total: TotalOptions,
    pub(crate) block: usize,
    /// Blocks that one send carries.
    pub(crate) run_blocks: usize,
    /// By rank: blocks of the send window, and where the stream begins.
    pub(crate) windows: Vec<usize>,
    pub(crate) starts: Vec<u64>,
    pub(crate) check_payload: bool,
    pub(crate) multicast: bool,
    /// What the network does while the storm lasts.
    pub(crate) storm: SimOptions,
    pub(crate) storm_ns: u64,
    /// What happens to blocks that have arrived, likewise.
    pub(crate) blocks: FaultOptions,
    /// Whether loss goes on when the rest is healed.
    pub(crate) goes_on: bool,
    pub(crate) cuts: bool,
    pub(crate) partitions: bool,
    pub(crate) pauses: bool,
    pub(crate) long_pauses: bool,
    pub(crate) jumps: bool,
    /// Millionths that the clocks are fast or slow, at most.
    pub(crate) drift: u64,
    /// Members start within this time.
    pub(crate) stagger_ns: u64,
    /// How often a batch is cut short, a handler refuses, and a handler casts a reply.
    pub(crate) moods: f64,
    pub(crate) refusals: f64,
    pub(crate) replies: f64,
    /// How often a message is empty.
    pub(crate) empties: f64,
    pub(crate) stalls: bool,
    /// Somebody reads who is no member: where the group is multicast.
    pub(crate) onlooker: bool,
    pub(crate) death: Death,
    /// Strides of the receive pool beyond what the windows need, and slabs.
    pub(crate) spare_strides: usize,
    pub(crate) slabs: usize,
}

/// Who dies during the storm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    None,
    /// One member says goodbye, once the group has formed, and goes when it has been said.
    Leaves,
    /// One member, once the group has formed.
    One,
    /// One member, which comes back as another incarnation.
    OneComesBack,
    /// All at once, and the whole group starts again.
    AllComeBack,
}

/// What a user may ask of the draw.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    pub(crate) members: (u16, u16),
    pub(crate) orders: Vec<Order>,
    /// How many percent of all datagrams the network loses until the end, in runs in which nobody dies; drawn if it is not said.
    pub(crate) loss: Option<f64>,
    /// Changes to what was drawn, as `name=value`.
    pub(crate) edits: Vec<String>,
}

impl Bounds {
    /// Groups of these sizes and orders, all else as it is drawn.
    pub(crate) fn of(members: (u16, u16), orders: impl Into<Vec<Order>>) -> Self {
        Self { members, orders: orders.into(), loss: None, edits: Vec::new() }
    }
}

impl Scenario {
    /// Draws everything from `seed`.
    pub(crate) fn draw(seed: u64, bounds: &Bounds) -> Self {
        let mut scenario = Self::draw_freely(seed, bounds);
        if let Some(loss) = bounds.loss {
            scenario.lose(loss);
        }
        scenario
    }

    /// Loses so much to the end. Streams are long enough that windows run full.
    fn lose(&mut self, percent: f64) {
        let loss = percent / 100.0;
        (self.storm.loss, self.blocks.loss, self.goes_on, self.death) = (loss, 0.0, true, Death::None);
        self.messages = self.messages.max(LONG_STREAM);
    }

    fn draw_freely(seed: u64, bounds: &Bounds) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let members = draw_members(rng, bounds.members);
        let senders = rng.u16(1..=members);
        let orders = draw_orders(rng, &bounds.orders);
        let block = draw_block(rng, members, &orders);
        let check_payload = rng.bool();
        let death = draw_death(rng);
        let mut storm = draw_storm(rng, block, members, check_payload);
        if death == Death::AllComeBack && rng.bool() {
            // What the dead have sent arrives among the living.
            (storm.tail, storm.tail_ns) = (0.3, rng.u64(500_000..10_000_000));
        }
        let windows = draw_windows(rng, members);
        let widest = *windows.iter().max().expect("there are members") as u64;
        let deliveries = u32::from(senders) * u32::from(members - 1);
        Self {
            seed,
            members,
            senders,
            messages: rng.u32(1..(6_000 / deliveries).clamp(4, 120)),
            orders,
            total: draw_total(rng),
            block,
            run_blocks: pick(rng, &[1, 4, 16, 128]),
            starts: (0..members).map(|_| draw_start(rng, widest)).collect(),
            windows,
            check_payload,
            multicast: rng.bool(),
            blocks: draw_block_faults(rng, storm.coalesce, check_payload),
            storm_ns: rng.u64(1_000_000..60_000_000),
            goes_on: rng.u8(0..4) == 0 && storm.loss <= 0.1,
            storm,
            cuts: rng.u8(0..4) == 0,
            partitions: rng.u8(0..4) == 0,
            pauses: rng.u8(0..3) == 0,
            long_pauses: rng.u8(0..8) == 0,
            jumps: rng.u8(0..4) == 0,
            drift: pick(rng, &[0, 0, 100, 100_000]),
            stagger_ns: pick(rng, &[0, 1_000_000, 30_000_000]),
            moods: sometimes(rng, 0.9),
            refusals: sometimes(rng, 0.3),
            replies: sometimes(rng, 0.2),
            empties: sometimes(rng, 0.3),
            stalls: rng.u8(0..4) == 0,
            onlooker: rng.u8(0..4) == 0,
            death,
            spare_strides: pick(rng, &[0, 0, 1, 4, 31]),
            slabs: pick(rng, &[0, 1, 8]),
            safe: pick(rng, &[0.0, 0.0, 0.2, 1.0]),
            longest: usize::MAX,
            // The judge of what is sent to one keeps a number for each pair and message.
            sends: if members <= 12 { pick(rng, &[0.0, 0.0, 0.1, 0.5]) } else { 0.0 },
        }
    }

    /// Draws from `seed`, and changes what is asked for.
    ///
    /// # Errors
    /// When an edit cannot be applied.
    pub(crate) fn of(seed: u64, bounds: &Bounds) -> Result<Self, String> {
        let mut scenario = Self::draw(seed, bounds);
        bounds.edits.iter().try_for_each(|edit| scenario.edit(edit))?;
        Ok(scenario)
    }

    /// Whether this was drawn at all, and turning it off changes something.
    pub(crate) fn can_turn_off(&self, switch: &str) -> bool {
        let mut other = self.clone();
        other.turn_off(switch).is_ok() && format!("{other:?}") != format!("{self:?}")
    }

    /// Times as on one host, with what this run draws for member `rank`.
    pub(crate) fn tuning(&self, rank: u16) -> Tuning {
        Tuning {
            window: self.windows[rank as usize],
            check_payload: self.check_payload,
            ..Tuning::loopback()
        }
    }

    /// The same network when all is healed; `done` when nothing may be lost any more either.
    pub(crate) fn calm(&self, done: bool) -> SimOptions {
        let healed = SimOptions {
            delay_ns: self.storm.delay_ns.clone(),
            receive_buffer: self.storm.receive_buffer,
            coalesce: self.storm.coalesce,
            ..SimOptions::default()
        };
        match self.goes_on && !done {
            true => SimOptions { loss: self.storm.loss, ..healed },
            false => healed,
        }
    }

    /// Whether liveness can be asked for: until views change, nobody goes on without the dead.
    pub(crate) fn is_healed_in_the_end(&self) -> bool {
        matches!(self.death, Death::None | Death::Leaves | Death::AllComeBack)
    }

    /// Changes one thing that was drawn.
    ///
    /// # Errors
    /// When there is no such thing, or it cannot be so.
    pub(crate) fn edit(&mut self, edit: &str) -> Result<(), String> {
        let (name, value) =
            edit.split_once('=').ok_or_else(|| format!("{edit}: not of the form name=value"))?;
        let number = || value.parse::<u32>().map_err(|_| format!("{edit}: not a number"));
        let is_off =
            || if value == "off" { Ok(()) } else { Err(format!("{edit}: `off` is all that can be said")) };
        match name {
            "messages" => self.messages = number()?,
            "longest" => self.longest = number()? as usize,
            "members" => self.set_members(number()?)?,
            "senders" => self.senders = (number()?.max(1) as u16).min(self.members),
            "storm_us" => self.storm_ns = u64::from(number()?) * 1_000,
            _ => {
                is_off()?;
                self.turn_off(name)?;
            }
        }
        Ok(())
    }

    fn set_members(&mut self, members: u32) -> Result<(), String> {
        if members < 2 || members > u32::from(self.members) {
            return Err(format!("members={members}: from 2 to the {} that were drawn", self.members));
        }
        self.members = members as u16;
        self.senders = self.senders.min(self.members);
        self.windows.truncate(members as usize);
        self.starts.truncate(members as usize);
        Ok(())
    }

    fn turn_off(&mut self, name: &str) -> Result<(), String> {
        match name {
            "loss" => (self.storm.loss, self.blocks.loss) = (0.0, 0.0),
            "duplicate" => (self.storm.duplicate, self.blocks.duplicate) = (0.0, 0.0),
            "corrupt" => (self.storm.corrupt, self.blocks.corrupt) = (0.0, 0.0),
            "truncate" => self.storm.truncate = 0.0,
            "busy" => self.storm.busy = 0.0,
            "tail" => self.storm.tail = 0.0,
            "delay" => self.storm.delay_ns = 0..0,
            "cuts" => self.cuts = false,
            "partitions" => self.partitions = false,
            "pauses" => (self.pauses, self.long_pauses) = (false, false),
            "jumps" => self.jumps = false,
            "drift" => self.drift = 0,
            "stagger" => self.stagger_ns = 0,
            "moods" => self.moods = 0.0,
            "refusals" => self.refusals = 0.0,
            "replies" => self.replies = 0.0,
            "empties" => self.empties = 0.0,
            "stalls" => self.stalls = false,
            "onlooker" => self.onlooker = false,
            "death" => self.death = Death::None,
            "starts" => self.starts.fill(0),
            "safe" => self.safe = 0.0,
            "sends" => self.sends = 0.0,
            _ => return Err(format!("{name}: nothing of that name is drawn")),
        }
        Ok(())
    }

    /// What can be [turned off](Self::edit).
    pub(crate) const SWITCHES: [&str; 23] = [
        "loss",
        "duplicate",
        "corrupt",
        "truncate",
        "busy",
        "tail",
        "delay",
        "cuts",
        "partitions",
        "pauses",
        "jumps",
        "drift",
        "stagger",
        "moods",
        "refusals",
        "replies",
        "empties",
        "stalls",
        "onlooker",
        "death",
        "starts",
        "safe",
        "sends",
    ];

    /// The faults that this run may bring.
    pub(crate) fn drawn(&self) -> Counts {
        let (storm, blocks) = (&self.storm, &self.blocks);
        let widest = |range: &std::ops::Range<u64>| range.end - range.start > 1_000;
        let all = [
            (Fault::Loss, storm.loss > 0.0),
            (Fault::Duplication, storm.duplicate > 0.0),
            (Fault::Reordering, widest(&storm.delay_ns) || storm.tail > 0.0),
            (Fault::Tail, storm.tail > 0.0),
            (Fault::Corruption, storm.corrupt > 0.0),
            (Fault::Truncation, storm.truncate > 0.0),
            (Fault::BlockLoss, blocks.loss > 0.0),
            (Fault::BlockDuplication, blocks.duplicate > 0.0),
            (Fault::BlockCorruption, blocks.corrupt > 0.0),
            (Fault::OneWayCut, self.cuts),
            (Fault::Partition, self.partitions),
            (Fault::Overflow, storm.receive_buffer < 1 << 20),
            (Fault::Exhaustion, self.spare_strides == 0 && !self.orders.contains(&Order::Total)),
            (Fault::BusySend, storm.busy > 0.0),
            (Fault::ShortBatch, self.moods > 0.0),
            (Fault::Pause, self.pauses),
            (Fault::LongPause, self.long_pauses),
            (Fault::Drift, self.drift > 0),
            (Fault::Jump, self.jumps),
            (Fault::LateStart, self.stagger_ns > 0),
            (Fault::Wrap, self.starts.iter().any(|start| *start as u32 > u32::MAX - 1_000)),
            (Fault::Refusal, self.refusals > 0.0),
            (Fault::Stall, self.stalls),
            (Fault::Reply, self.replies > 0.0),
            (Fault::Send, self.sends > 0.0),
            (Fault::Fragments, true),
            (Fault::Onlooker, self.onlooker && self.multicast),
            (Fault::Empty, self.empties > 0.0),
            (Fault::FullWindow, true),
            (Fault::Goodbye, self.death == Death::Leaves),
            (Fault::Crash, matches!(self.death, Death::One | Death::OneComesBack)),
            (Fault::Restart, self.death == Death::OneComesBack),
            (Fault::Rebirth, self.death == Death::AllComeBack),
        ];
        let mut counts = Counts::default();
        all.into_iter().for_each(|(fault, drawn)| counts.add(fault, u64::from(drawn)));
        counts
    }
}

/// Bytes of a receive buffer that never overflows.
pub(crate) const WIDE_BUFFER: usize = 8 << 20;

/// Small groups far more often than large ones: they find as much, and faster.
fn draw_members(rng: &mut Rng, (least, most): (u16, u16)) -> u16 {
    let share = rng.f64().powi(8);
    least + (f64::from(most - least + 1) * share) as u16
}

/// Casts of each sender that fill the windows of a large group more than once.
const LONG_STREAM: u32 = 24;

fn draw_orders(rng: &mut Rng, orders: &[Order]) -> Vec<Order> {
    let mut drawn = orders.to_vec();
    rng.shuffle(&mut drawn);
    drawn.truncate(rng.usize(1..=orders.len()));
    drawn
}

/// Any size, as long as a block has room for the longest stamp beside a message.
fn draw_block(rng: &mut Rng, members: u16, orders: &[Order]) -> usize {
    let needs_stamps = orders.iter().any(|order| order.spans_senders());
    let least = if needs_stamps { 160 + 14 * usize::from(members) } else { 0 };
    let sizes: Vec<usize> =
        [128, 160, 256, 512, 1408, 4096].into_iter().filter(|size| *size >= least).collect();
    pick(rng, &sizes)
}

fn draw_total(rng: &mut Rng) -> TotalOptions {
    TotalOptions {
        mode: pick(rng, &[TotalMode::Token, TotalMode::Rotating]),
        hand_over_after: pick(rng, &[1, 4, 16, 64]),
        stamps: pick(rng, &[Stamps::Compressed, Stamps::Compressed, Stamps::Compressed, Stamps::Full]),
    }
}

fn draw_death(rng: &mut Rng) -> Death {
    match rng.u8(0..8) {
        3 => Death::Leaves,
        0 => Death::One,
        1 => Death::OneComesBack,
        2 => Death::AllComeBack,
        _ => Death::None,
    }
}

fn draw_storm(rng: &mut Rng, block: usize, members: u16, check_payload: bool) -> SimOptions {
    let shortest = pick(rng, &[0, 1_000, 20_000]);
    // Every member may have one run under way, whatever the buffer takes.
    let runs = usize::from(members).max(8);
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
        receive_buffer: pick(rng, &[WIDE_BUFFER, 2 * runs * true_size(block), runs * true_size(block)]),
        coalesce: rng.bool(),
    }
}

/// Single blocks suffer on their way out of coalesced runs: others do so in the network.
fn draw_block_faults(rng: &mut Rng, coalesce: bool, check_payload: bool) -> FaultOptions {
    let drawn = FaultOptions {
        loss: sometimes(rng, 0.1),
        duplicate: sometimes(rng, 0.1),
        corrupt: if check_payload { sometimes(rng, 0.05) } else { 0.0 },
    };
    if coalesce { drawn } else { FaultOptions::default() }
}

/// Two sizes of windows in one group, and small ones in large groups.
fn draw_windows(rng: &mut Rng, members: u16) -> Vec<usize> {
    let sizes: &[usize] = if members > 16 { &[8, 16] } else { &[8, 8, 16, 64, 256] };
    let two = [pick(rng, sizes), pick(rng, sizes)];
    (0..members).map(|_| pick(rng, &two)).collect()
}

/// Streams begin anywhere, and more often than not just before 32 bits are used up.
fn draw_start(rng: &mut Rng, window: u64) -> u64 {
    let wraps = pick(rng, &[0_u64, 1 << 31, 1 << 32, 1 << 33, 5 << 32, 1 << 48]);
    wraps.saturating_sub(rng.u64(0..3 * window))
}

fn sometimes(rng: &mut Rng, probability: f64) -> f64 {
    if rng.bool() { 0.0 } else { rng.f64() * probability }
}

fn pick<T: Clone>(rng: &mut Rng, values: &[T]) -> T {
    values[rng.usize(..values.len())].clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds() -> Bounds {
        Bounds::of((2, 64), [Order::Fifo])
    }

    #[test]
    fn draws_keep_to_their_bounds() {
        let mut sizes = Vec::new();
        for seed in 0..2_000 {
            let drawn = Scenario::draw(seed, &bounds());
            assert!((2..=64).contains(&drawn.members) && (1..=drawn.members).contains(&drawn.senders));
            assert_eq!(
                (drawn.windows.len(), drawn.starts.len()),
                (drawn.members.into(), drawn.members.into())
            );
            assert!(drawn.tuning(0).check().is_ok());
            sizes.push(drawn.members);
        }
        assert!(sizes.contains(&2) && sizes.iter().any(|size| *size > 50));
    }

    #[test]
    fn loss_that_is_asked_for_lasts_and_nobody_dies() {
        for seed in 0..100 {
            let drawn = Scenario::draw(seed, &Bounds { loss: Some(5.0), ..bounds() });
            assert!(drawn.is_healed_in_the_end() && drawn.drawn().of(Fault::Loss) == 1);
            assert!(drawn.calm(false).loss == 0.05 && drawn.calm(true).loss == 0.0);
        }
    }

    #[test]
    fn every_switch_can_be_turned_off_and_nothing_else() {
        for switch in Scenario::SWITCHES {
            assert_eq!(Scenario::draw(1, &bounds()).edit(&format!("{switch}=off")), Ok(()));
        }
        let mut drawn = Scenario::draw(1, &bounds());
        for bad in ["loss", "loss=1", "nothing=off", "members=1", "members=65", "messages=many"] {
            assert!(drawn.edit(bad).is_err(), "{bad}");
        }
        drawn.edit("members=2").unwrap();
        assert_eq!((drawn.members, drawn.windows.len()), (2, 2));
    }
}
