//! Why blocks were lost, as far as their receiver can tell: a suspicion, from what its medium counted meanwhile.

use crate::medium::MediumCounters;
use crate::time::Instant;

/// What most likely took a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Nothing here: the network, or its sender.
    Network,
    /// My socket's buffer was full: this process is too slow, or was not running.
    Overflow,
    /// Loss that was injected here on purpose.
    Injected,
    /// My receive buffers had no room.
    Pool,
}

/// Blocks, by suspected cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LostBlocks {
    /// See [`Cause::Network`].
    pub network: u64,
    /// See [`Cause::Overflow`].
    pub overflow: u64,
    /// See [`Cause::Injected`].
    pub injected: u64,
    /// See [`Cause::Pool`].
    pub pool: u64,
}

impl LostBlocks {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.network + self.overflow + self.injected + self.pool
    }

    pub(super) fn add(&mut self, cause: Cause, blocks: u64) {
        *match cause {
            Cause::Network => &mut self.network,
            Cause::Overflow => &mut self.overflow,
            Cause::Injected => &mut self.injected,
            Cause::Pool => &mut self.pool,
        } += blocks;
    }
}

/// Remembers what a medium had counted of its own losses.
///
/// Counters say how much was lost, not what. So what is noticed missing is put down to the counter that has grown since the
/// last look, or else to the one that grew last, if that is not long ago: a socket that overflowed is still being drained, and
/// one look may see two losses of which the second is noticed later. Where several things lose at once, this may be wrong.
#[derive(Debug, Default)]
pub struct Suspect {
    /// For each own cause: the count, and when it was last seen to grow.
    seen: [(u64, Option<Instant>); OWN.len()],
}

/// In the order of suspicion when several have grown.
const OWN: [Cause; 3] = [Cause::Overflow, Cause::Pool, Cause::Injected];
/// For so long after its counter grew, each is suspected.
const RECENT_NS: [u64; OWN.len()] = [100_000_000, 100_000_000, 5_000_000];

impl Suspect {
    /// The cause to suspect for what was noticed missing since the last look. It costs what the counters cost.
    pub fn look(&mut self, now: Instant, counters: &MediumCounters) -> Cause {
        let counts = [counters.overflow, counters.pool_exhausted, counters.injected];
        let mut grown = None;
        for ((count, (seen, at)), cause) in counts.into_iter().zip(&mut self.seen).zip(OWN) {
            if count > *seen {
                (*seen, *at) = (count, Some(now));
                grown = grown.or(Some(cause));
            }
        }
        let last = || {
            let recent = self.seen.iter().zip(OWN).zip(RECENT_NS);
            let times = recent.filter_map(|((&(_, at), cause), recent_ns)| {
                Some((at.filter(|at| now.since_ns(*at) <= recent_ns)?, cause))
            });
            times.max_by_key(|(at, _)| *at).map(|(_, cause)| cause)
        };
        grown.or_else(last).unwrap_or(Cause::Network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_that_grew_is_suspected_and_the_network_otherwise() {
        let mut suspect = Suspect::default();
        let mut look = |at_ms: u64, overflow, injected| {
            let counters = MediumCounters { overflow, injected, ..MediumCounters::default() };
            suspect.look(Instant(at_ms * 1_000_000), &counters)
        };
        assert_eq!(look(1, 0, 0), Cause::Network);
        assert_eq!(look(2, 0, 1), Cause::Injected);
        assert_eq!(look(3, 2, 1), Cause::Overflow);
        assert_eq!(look(4, 2, 2), Cause::Injected, "only that has grown");
        assert_eq!(look(9, 2, 2), Cause::Injected, "not long ago");
        assert_eq!(look(103, 2, 2), Cause::Overflow, "what came through a full socket is old");
        assert_eq!(look(104, 2, 2), Cause::Network);
        assert_eq!(look(106, 9, 9), Cause::Overflow, "what the application can do something about");
    }
}
