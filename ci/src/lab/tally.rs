//! What was done to the members of a round, or of many, and what came of it.

use std::collections::BTreeMap;
use std::fmt;

/// Something that is done to members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deed {
    Kill,
    /// Of a minority, at once.
    KillSeveral,
    /// Of the member that leads changes of the view.
    KillCoordinator,
    /// Of the member that gives the state to another one, which has not got all of it.
    KillGiver,
    /// For less than silence may last, and for longer.
    StopShort,
    StopLong,
    Cut,
    /// What is no fault: a place that was left empty is taken, or one whose member was killed.
    Join,
    Return,
    Leave,
    SyncCast,
}

impl Deed {
    /// Whether something breaks. The others are changes that somebody wants.
    pub(super) fn is_fault(self) -> bool {
        !matches!(self, Self::Join | Self::Return | Self::Leave | Self::SyncCast)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillSeveral => "kill of several at once",
            Self::KillCoordinator => "kill of the coordinator",
            Self::KillGiver => "kill of a giver of state",
            Self::StopShort => "short stop",
            Self::StopLong => "long stop",
            Self::Cut => "cut of the network",
            Self::Join => "join",
            Self::Return => "return behind a kill",
            Self::Leave => "leave",
            Self::SyncCast => "sync cast",
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    deeds: BTreeMap<Deed, u64>,
    /// Faults that struck before all were together again behind the one before.
    pub(super) hurried: u64,
    pub(super) rounds: u64,
    pub(super) incarnations: usize,
    pub(super) casts: usize,
    pub(super) events: usize,
    pub(super) views: usize,
    /// How often somebody was given the state.
    pub(super) restored: usize,
}

impl Tally {
    pub(super) fn count(&mut self, deed: Deed) {
        *self.deeds.entry(deed).or_default() += 1;
    }

    pub(super) fn faults(&self) -> u64 {
        self.of(true).map(|(_, count)| count).sum()
    }

    fn of(&self, is_fault: bool) -> impl Iterator<Item = (Deed, u64)> {
        self.deeds
            .iter()
            .map(|(deed, count)| (*deed, *count))
            .filter(move |(deed, _)| deed.is_fault() == is_fault)
    }

    /// Of one round.
    pub(super) fn line(&self) -> String {
        let Self { incarnations, casts, events, views, .. } = self;
        let faults = self.faults();
        format!("{faults} faults, {incarnations} incarnations, {views} views, {casts} casts, {events} events")
    }

    pub(super) fn add(&mut self, other: &Self) {
        other.deeds.iter().for_each(|(deed, count)| *self.deeds.entry(*deed).or_default() += count);
        self.hurried += other.hurried;
        self.rounds += other.rounds;
        self.incarnations += other.incarnations;
        self.casts += other.casts;
        self.events += other.events;
        self.views += other.views;
        self.restored += other.restored;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hurried, rounds, incarnations, casts, events, views, restored, .. } = self;
        writeln!(
            f,
            "    {:>9} faults, {hurried} of them in the middle of what the last one caused",
            self.faults()
        )?;
        self.of(true).try_for_each(|(deed, count)| writeln!(f, "    {count:>9} {deed}"))?;
        writeln!(f, "    beside them:")?;
        self.of(false).try_for_each(|(deed, count)| writeln!(f, "    {count:>9} {deed}"))?;
        write!(
            f,
            "    judged: {rounds} rounds, {incarnations} incarnations, {views} views, {casts} casts, {events} events, \
             {restored} times state given"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_wants_is_no_fault() {
        let (mut tally, mut other) = (Tally::default(), Tally { views: 3, ..Tally::default() });
        [Deed::Kill, Deed::Join, Deed::StopLong, Deed::Return].into_iter().for_each(|deed| tally.count(deed));
        [Deed::Kill, Deed::Leave].into_iter().for_each(|deed| other.count(deed));
        tally.add(&other);
        assert_eq!((tally.faults(), tally.views), (3, 3));
        assert!(tally.to_string().contains("2 kill\n"), "{tally}");
    }
}
