//! What a node is built from. Every value is checked before anything is opened.

use crate::{Error, Idle, MediumChoice, Pace, Result, Tuning};
use sistrum_transport::engine::counters::Place;
use sistrum_transport::log::{PoolConfig, SLAB_BYTES};
use sistrum_transport::reliable::CONTROL_BLOCK_LEN;
use std::net::{IpAddr, Ipv4Addr};

/// The largest control block takes as much.
const MIN_BLOCK: usize = CONTROL_BLOCK_LEN;
/// A frame's length has 15 bits.
const MAX_BLOCK: usize = 32 * 1024;
/// Bytes that a pool can address.
const MAX_POOL_BYTES: usize = u32::MAX as usize;

/// What a node is built from. Start from a preset and change what is to be different.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Name of the node, for reports.
    pub name: String,
    /// Which medium carries the blocks.
    pub medium: MediumChoice,
    /// Address of the interface that everything is sent and received by; members and groups have its family. Only loopback
    /// needs no key. [`Way::to`](crate::Way::to) finds one by the routes.
    pub interface: IpAddr,
    /// Number of that interface on this host, for a link-local IPv6 address that several have; 0 leaves it open.
    pub interface_index: u32,
    /// UDP port of this node; 0 lets the system choose.
    pub port: u16,
    /// How many routers a multicast may pass; 0 keeps it on the host.
    pub ttl: u8,
    /// Bytes of receive buffer to ask the system for.
    pub receive_buffer: usize,
    /// Bytes of a block, the unit on the wire: the same at all members.
    pub block_size: usize,
    /// How many groups this node is to be in, a reader's among them. Three quarters of the pool are divided evenly among so
    /// many, and one group more is refused: with few groups, windows are large.
    pub groups: usize,
    /// Blocks that the receive buffers of all senders have together.
    pub pool_blocks: usize,
    /// Whether to use UDP segmentation offload where there is.
    pub offload: bool,
    /// How to wait.
    pub idle: Idle,
    /// Sizes and times of the reliable layer. The window shrinks where many members and groups share the pool. A pace is that
    /// of each group by itself; where every member is sent a copy, that of all copies together.
    pub tuning: Tuning,
    /// Losses to inject, for tests and demonstrations.
    pub faults: Faults,
    /// Where the counters are published for other processes of this user (`sistrum stat`, `sistrum top`): in a folder of his own, in one
    /// that is named here, which others may not enter, or nowhere. Where that cannot be, the node works without, and
    /// [`Node::counters_file`](crate::Node::counters_file) says why.
    pub counters: Place,
    /// Says, in so many words, that a network is used without a key. Loopback needs no such word.
    pub insecure: bool,
}

/// Losses to inject into what this node receives.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Faults {
    /// Probability that a block is dropped after it was received.
    pub block_loss: f64,
    /// Probability that the socket filter drops a whole buffer, which may hold many blocks.
    pub buffer_loss: f64,
    /// Seed of the former; the kernel draws the latter.
    pub seed: u64,
}

impl Config {
    /// For processes of one host: nothing leaves it, and no key is needed.
    #[must_use]
    pub fn loopback(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            medium: MediumChoice::Auto,
            interface: IpAddr::V4(Ipv4Addr::LOCALHOST),
            interface_index: 0,
            port: 0,
            ttl: 0,
            receive_buffer: 8 << 20,
            block_size: 1408,
            groups: 2,
            pool_blocks: 32 * 1024,
            offload: true,
            idle: Idle::Auto,
            tuning: Tuning { held_back_ns: HELD_BACK_NS, ..Tuning::loopback() },
            faults: Faults::default(),
            counters: Place::PerUser,
            insecure: false,
        }
    }

    /// Whether everything can be opened as it stands here.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |key, why: String| Err(Error::Config { key, why });
        if !self.interface.is_loopback() && !self.insecure {
            let why = format!(
                "{} is not loopback, and there is no key yet: set insecure = true to use it",
                self.interface
            );
            return refuse("interface", why);
        }
        if self.block_size < MIN_BLOCK {
            return refuse(
                "block_size",
                format!("{} bytes are too small, the least is {MIN_BLOCK}", self.block_size),
            );
        }
        if self.block_size > MAX_BLOCK {
            return refuse(
                "block_size",
                format!("{} bytes are too large, the most is {MAX_BLOCK}", self.block_size),
            );
        }
        if !self.tuning.window.is_power_of_two() || self.tuning.window < MIN_WINDOW {
            let why = format!("{} is no power of two from {MIN_WINDOW} up", self.tuning.window);
            return refuse("tuning.window", why);
        }
        if let Err((field, why)) = self.tuning.check() {
            return refuse("tuning", format!("{field}: {why}"));
        }
        if let Some((key, why)) = self.tuning.pace.and_then(|pace| self.check_pace(pace).err()) {
            return refuse(key, why);
        }
        let most = MAX_POOL_BYTES / (1 + SLABS_FOR_STRIDES) / self.block_size - SLAB_BYTES / self.block_size;
        if !(MIN_WINDOW * 4..=most).contains(&self.pool_blocks) {
            let (blocks, least) = (self.pool_blocks, MIN_WINDOW * 4);
            let why =
                format!("{blocks} blocks of {} bytes are not between {least} and {most}", self.block_size);
            return refuse("pool_blocks", why);
        }
        if !(1..=MAX_GROUPS).contains(&self.groups) {
            return refuse("groups", format!("{} is not between 1 and {MAX_GROUPS}", self.groups));
        }
        self.max_window_for(2, 0)?;
        for (key, loss) in
            [("faults.block_loss", self.faults.block_loss), ("faults.buffer_loss", self.faults.buffer_loss)]
        {
            if !(0.0..=1.0).contains(&loss) {
                return refuse(key, format!("{loss} is no probability"));
            }
        }
        Ok(())
    }

    /// Whether blocks of mine can be sent at this pace; otherwise which key says no, and why.
    fn check_pace(&self, pace: Pace) -> Result<(), (&'static str, String)> {
        let key = |field| if field == "rate" { "tuning.pace.rate" } else { "tuning.pace.burst" };
        let Pace { rate, burst } = pace;
        pace.check(self.block_size).map_err(|(field, why)| {
            let block = self.block_size;
            (key(field), format!("{why} ({rate} bytes a second, a burst of {burst}, blocks of {block})"))
        })
    }

    /// The pace of a stream each of whose blocks is sent `copies` times.
    pub(crate) fn pace_of_each(&self, copies: usize) -> Result<Option<Pace>> {
        let each = self.tuning.pace.map(|pace| pace.of_each(copies));
        let checked = each.map_or(Ok(()), |pace| self.check_pace(pace));
        checked.map(|()| each).map_err(|(key, why)| Error::Config {
            key,
            why: format!("of each of {copies} copies, one for each member: {why}"),
        })
    }

    /// Blocks of my window in a group of `members`, when so many groups were `joined` before.
    pub(crate) fn window_for(&self, members: usize, joined: usize) -> Result<usize> {
        Ok(self.tuning.window.min(self.max_window_for(members, joined)?))
    }

    /// Blocks of the largest window in a group of `members`, when so many groups were `joined` before.
    ///
    /// The windows of all senders in all groups fit in three quarters of the pool, and half of mine too, since my total casts come
    /// back to me through it. Every group has the same share, whichever is joined first.
    pub(crate) fn max_window_for(&self, members: usize, joined: usize) -> Result<usize> {
        let Self { groups, pool_blocks, .. } = *self;
        if joined >= groups {
            let why =
                format!("the pool is divided among {groups}, which are joined: {} would do", joined + 1);
            return Err(Error::Config { key: "groups", why });
        }
        let halves = 2 * members.saturating_sub(1).max(1) + 1;
        let share = pool_blocks * 3 / 4 * 2 / groups / halves;
        if share < MIN_WINDOW {
            let least = (MIN_WINDOW * halves * groups * 2).div_ceil(3);
            let why = format!(
                "{pool_blocks} blocks leave less than {MIN_WINDOW} for each of {members} members in each of {groups} groups: \
                 {least} would do"
            );
            return Err(Error::Config { key: "pool_blocks", why });
        }
        Ok(1 << share.ilog2())
    }

    /// Blocks of the window of what is sent to one member alone: all pairs of all groups fit in half of what the windows of
    /// the groups leave free.
    pub(crate) fn pair_window_for(&self, members: usize) -> usize {
        let share = self.pool_blocks / 8 / self.groups / members.saturating_sub(1).max(1);
        1 << share.clamp(MIN_WINDOW, MAX_PAIR_WINDOW).ilog2()
    }

    /// The receive buffers that all this takes.
    pub(crate) fn pool(&self) -> PoolConfig {
        // What is kept in coalesced buffers fills at least half of them.
        let slabs = (self.pool_blocks * self.block_size * SLABS_FOR_STRIDES).div_ceil(SLAB_BYTES);
        PoolConfig { stride: self.block_size, strides: self.pool_blocks, slabs }
    }
}

/// Less is no window: half of it has to hold a message.
const MIN_WINDOW: usize = 8;
/// More is not needed to keep one member busy.
const MAX_PAIR_WINDOW: usize = 64;
/// Channels of a medium have numbers of 16 bits.
const MAX_GROUPS: usize = u16::MAX as usize;
/// Bytes of slabs for each byte of strides.
const SLABS_FOR_STRIDES: usize = 2;

/// Who has held casts back for so long is told of.
const HELD_BACK_NS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::loopback("test");
        change(&mut config);
        config.check().expect_err("must be refused").to_string()
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_key() {
        assert!(Config::loopback("test").check().is_ok());
        assert!(refusal(|config| config.interface = [10, 0, 0, 1].into()).starts_with("interface: 10.0.0.1"));
        assert!(refusal(|config| config.block_size = 32).starts_with("block_size: 32 bytes are too small"));
        assert!(
            refusal(|config| config.block_size = 70_000).starts_with("block_size: 70000 bytes are too large")
        );
        assert!(refusal(|config| config.tuning.window = 1000).starts_with("tuning.window: 1000"));
        assert!(
            refusal(|config| config.tuning.heartbeat_ns = 0).starts_with("tuning: heartbeat_ns: it is 0")
        );
        assert!(
            refusal(|config| config.tuning.nak_retry_ns = 0).starts_with("tuning: nak_retry_ns: it is 0")
        );
        assert!(
            refusal(|config| config.tuning.nak_retry_max_ns = 1)
                .starts_with("tuning: nak_retry_max_ns: it is less")
        );
        assert!(refusal(|config| config.tuning.ack_delay_ns = 1 << 40).starts_with("tuning: ack_delay_ns: "));
        let pace = |rate, burst| refusal(move |config| config.tuning.pace = Some(Pace { rate, burst }));
        assert!(pace(0, 9_000).starts_with("tuning.pace.rate: it is 0"));
        assert!(pace(1, 1_407).starts_with("tuning.pace.burst: it is less than a block"));
        assert!(refusal(|config| config.pool_blocks = 2).starts_with("pool_blocks: 2 blocks"));
        let too_much = |config: &mut Config| (config.pool_blocks, config.block_size) = (1 << 16, 32 * 1024);
        assert!(refusal(too_much).starts_with("pool_blocks: 65536 blocks"));
        assert!(refusal(|config| config.groups = 0).starts_with("groups: 0 is not between 1 and"));
        assert!(refusal(|config| config.groups = 10_000).starts_with("pool_blocks: 32768 blocks leave less"));
        assert!(refusal(|config| config.faults.block_loss = 1.5).starts_with("faults.block_loss: 1.5"));
        assert!(
            refusal(|config| config.faults.buffer_loss = f64::NAN).starts_with("faults.buffer_loss: NaN")
        );
    }

    #[test]
    fn copies_share_the_pace() {
        let mut config = Config::loopback("test");
        assert_eq!(config.pace_of_each(7).unwrap(), None);
        config.tuning.pace = Some(Pace { rate: 9_000, burst: 3 * 1_408 });
        assert_eq!(config.pace_of_each(3).unwrap(), Some(Pace { rate: 3_000, burst: 1_408 }));
        let refused = config.pace_of_each(4).unwrap_err().to_string();
        assert!(refused.starts_with("tuning.pace.burst: of each of 4 copies"), "{refused}");
    }

    #[test]
    fn windows_shrink_until_all_senders_of_all_groups_fit_in_the_pool() {
        let mut config = Config { groups: 1, ..Config::loopback("test") };
        assert_eq!(config.window_for(2, 0).unwrap(), 2048);
        assert_eq!(config.window_for(65, 0).unwrap(), 256);
        for groups in [1, 2, 3, 12, 64, 100] {
            config.groups = groups;
            let windows: Vec<_> =
                (0..groups).map(|joined| config.max_window_for(9, joined).unwrap()).collect();
            let (all, most) = (windows.iter().sum::<usize>() * 8, config.pool_blocks * 3 / 4);
            assert!(all > most / 3 && all <= most, "{groups} groups take {all} of {most}");
            assert!(windows.windows(2).all(|pair| pair[0] == pair[1]), "the first has no more than the last");
        }
    }

    #[test]
    fn a_pool_that_is_too_small_says_what_would_do() {
        let refusal = |config: &Config, members, joined| match config.window_for(members, joined) {
            Err(Error::Config { key, why }) => (key, why),
            other => panic!("{other:?}"),
        };
        let mut config = Config::loopback("test");
        let (key, why) = refusal(&config, 2, 2);
        assert_eq!(
            (key, why.ends_with("divided among 2, which are joined: 3 would do")),
            ("groups", true),
            "{why}"
        );
        config.groups = 64;
        let (key, why) = refusal(&config, 1000, 0);
        let least = why.strip_suffix(" would do").and_then(|why| why.rsplit(' ').next()).unwrap();
        assert_eq!(key, "pool_blocks");
        config.pool_blocks = least.parse().unwrap();
        assert_eq!(config.max_window_for(1000, 63).unwrap(), MIN_WINDOW);
        config.pool_blocks -= 1;
        assert!(config.max_window_for(1000, 63).is_err());
    }

    #[test]
    fn the_largest_pool_that_is_accepted_can_be_addressed() {
        for block_size in [MIN_BLOCK, 1408, 9000, MAX_BLOCK] {
            let mut config = Config { block_size, ..Config::loopback("test") };
            let mut step = 1 << 30;
            while step > 0 {
                config.pool_blocks += step;
                if config.check().is_err() {
                    config.pool_blocks -= step;
                }
                step /= 2;
            }
            let pool = config.pool();
            let bytes = pool.stride * pool.strides + (pool.slabs + 1) * SLAB_BYTES;
            assert!((MAX_POOL_BYTES / 10 * 9..=MAX_POOL_BYTES).contains(&bytes));
        }
    }
}
