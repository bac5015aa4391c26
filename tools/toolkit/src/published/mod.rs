//! The counters of a node, where other processes read them.
//!
//! What the node counts stays where it is. After a cycle this looks at what has become of its groups, and every 20 ms of the
//! cycle's own clock it copies all numbers into the node's file: no clock is read for it, and nothing is asked of the system.

mod metrics;
mod walk;
mod watched;

pub use metrics::help;

use crate::groups::Groups;
use crate::{Config, Endpoint, Instant, MediumCounters, MonotonicClock};
use sistrum_transport::engine::Cycle;
use sistrum_transport::engine::counters::{Histogram, Publisher, Size, Unpublished};
use sistrum_transport::id::BootId;
use sistrum_transport::medium::{Any, Medium};
use std::path::Path;
use walk::Everything;
use watched::Watched;

/// See the module.
#[derive(Debug)]
pub(crate) struct Published {
    file: Result<Publisher, Unpublished>,
    watched: Vec<Watched>,
    cycles: Box<Histogram>,
    /// When the last cycle began that did something, where the one behind it is yet to begin.
    worked_at: Option<Instant>,
    /// What the sockets had dropped when they were last asked.
    overflow: u64,
    /// The names in the file are old.
    is_changed: bool,
}

impl Published {
    /// Makes the file. Where that cannot be, the node does without, and can be asked why.
    pub(crate) fn open(config: &Config, boot: BootId, now: Instant) -> Self {
        let file = Publisher::create(&config.counters, Size::of_groups(config.groups), boot, now);
        let (watched, cycles) = (Vec::new(), Box::default());
        Self { file, watched, cycles, worked_at: None, overflow: 0, is_changed: true }
    }

    /// Where it is, or why it is not.
    pub(crate) fn path(&self) -> Result<&Path, &Unpublished> {
        self.file.as_ref().map(Publisher::path)
    }

    /// A group was joined: behind those before it, or at the place of one that was closed.
    pub(crate) fn joined(&mut self, index: u16, name: &str) {
        let (at, watched) = (usize::from(index), Watched::new(name.to_owned()));
        match self.watched.get_mut(at) {
            Some(closed) => *closed = watched,
            None => self.watched.push(watched),
        }
        self.is_changed = true;
    }

    /// A group was closed.
    pub(crate) fn closed(&mut self) {
        self.is_changed = true;
    }

    /// The sockets were asked.
    pub(crate) fn asked(&mut self, medium: &MediumCounters) {
        self.overflow = medium.overflow;
    }

    /// A cycle that began `now` is over, and did `work`. Tells whether it is time to publish.
    #[inline]
    pub(crate) fn end_cycle(&mut self, now: Instant, groups: &Groups, work: usize) -> bool {
        let Ok(file) = &self.file else { return false };
        // Of one that did nothing, the idle strategy has the time.
        if let Some(at) = self.worked_at.take() {
            self.cycles.record(now.since_ns(at));
        }
        if work > 0 {
            self.worked_at = Some(now);
            for (watched, joined) in self.watched.iter_mut().zip(groups.iter()) {
                self.is_changed |= watched.look(now, joined);
            }
        }
        file.is_due(now)
    }

    /// Copies everything, due or not.
    pub(crate) fn publish(
        &mut self,
        (cycle, groups): (&Cycle<Any, MonotonicClock>, &Groups),
        (name, endpoint): (&str, Endpoint),
    ) {
        let Ok(file) = &mut self.file else { return };
        let medium = cycle.medium();
        let everything = Everything {
            now: cycle.now(),
            name,
            endpoint,
            about: medium.description(),
            engine: cycle.counters(),
            medium: MediumCounters { overflow: self.overflow, ..medium.counted() },
            pool: cycle.pool().in_use(),
            cycles: &self.cycles,
            groups,
            watched: &self.watched,
        };
        file.publish(everything.now, &everything, std::mem::take(&mut self.is_changed));
    }
}
