//! The properties of the model, and one checker for each that can be checked by now.
//!
//! Names are those of the published specification of group communication (Chockler, Keidar and Vitenberg 2001). A checker is
//! a function of a [`History`] that returns its first counter-example in words.

mod bounded;
mod causal;
mod chain;
mod dead;
mod direct;
mod duplication;
mod fifo;
mod flush;
mod goodbye;
mod integrity;
mod liveness;
mod reader;
mod reply_law;
mod safe;
mod settled;
mod stability;
mod sync;
mod synchrony;
mod total;
mod transfer;
mod view;
mod witness;

use super::history::History;
use std::fmt;

/// Everything that is promised, or will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Property {
    SelfInclusion,
    LocalMonotonicity,
    InitialView,
    PrimaryChain,
    ViewAgreement,
    NoDeadTalk,
    Integrity,
    NoDuplication,
    SendingView,
    VirtualSynchrony,
    TransitionalSet,
    SafePrefix,
    Fifo,
    ReliableFifo,
    Causal,
    ReliableCausal,
    Total,
    SyncOrder,
    /// There is a closely synchronous run that no process can tell from this one.
    Witness,
    SelfDelivery,
    Termination,
    Precision,
    StabilityReported,
    FlushEnds,
    ReplyLaw,
    TransferCut,
    TimestampTruth,
    Bounded,
    EpochKeys,
    /// No assertion of the code itself fails, and no run goes round for ever. The driver judges it.
    Soundness,
}

/// What a property needs to be checked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Needs {
    /// Nothing but a history.
    History(Checker),
    /// A history whose faults were healed in the end, and whose processes live.
    Healing(Checker),
    /// A history in which views change; healed in the end.
    Views(Checker),
    HealedViews(Checker),
    /// It is found while the run goes on.
    Driver,
    /// Something that does not exist yet.
    NotYet(&'static str),
}

/// Returns the first counter-example in words.
pub(crate) type Checker = fn(&History) -> Option<String>;

/// A property that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) property: Property,
    pub(crate) how: String,
}

impl Property {
    pub(crate) const ALL: [Self; 30] = [
        Self::SelfInclusion,
        Self::LocalMonotonicity,
        Self::InitialView,
        Self::PrimaryChain,
        Self::ViewAgreement,
        Self::NoDeadTalk,
        Self::Integrity,
        Self::NoDuplication,
        Self::SendingView,
        Self::VirtualSynchrony,
        Self::TransitionalSet,
        Self::SafePrefix,
        Self::Fifo,
        Self::ReliableFifo,
        Self::Causal,
        Self::ReliableCausal,
        Self::Total,
        Self::SyncOrder,
        Self::Witness,
        Self::SelfDelivery,
        Self::Termination,
        Self::Precision,
        Self::StabilityReported,
        Self::FlushEnds,
        Self::ReplyLaw,
        Self::TransferCut,
        Self::TimestampTruth,
        Self::Bounded,
        Self::EpochKeys,
        Self::Soundness,
    ];

    pub(crate) fn needs(self) -> Needs {
        match self {
            Self::SelfInclusion => Needs::History(view::includes_self),
            Self::LocalMonotonicity => Needs::History(view::grows),
            Self::InitialView => Needs::History(view::is_installed_first),
            Self::ViewAgreement => Needs::History(view::is_agreed_on),
            Self::PrimaryChain => Needs::Views(chain::check),
            Self::NoDeadTalk => {
                Needs::History(|history| goodbye::check(history).or_else(|| dead::check(history)))
            }
            Self::SendingView => Needs::Views(synchrony::is_in_its_view),
            Self::VirtualSynchrony => Needs::Views(synchrony::is_the_same_for_all),
            Self::TransitionalSet => Needs::Views(synchrony::is_told_who_comes_along),
            Self::SyncOrder => Needs::Views(sync::check),
            Self::Precision => Needs::HealedViews(settled::is_one_component),
            Self::FlushEnds => Needs::HealedViews(settled::ends),
            Self::Integrity => Needs::History(integrity::check),
            Self::NoDuplication => Needs::History(duplication::check),
            Self::SafePrefix => Needs::History(|history| {
                let early = stability::is_held_by_all(history).or_else(|| safe::is_held_by_all(history));
                early.or_else(|| flush::is_held_by_all(history))
            }),
            Self::Fifo => Needs::History(|history| fifo::swaps(history).or_else(|| reader::swaps(history))),
            Self::ReliableFifo => {
                Needs::History(|history| fifo::gaps(history).or_else(|| reader::gaps(history)))
            }
            Self::Causal => {
                Needs::History(|history| causal::swaps(history).or_else(|| direct::order(history)))
            }
            Self::ReliableCausal => Needs::History(causal::gaps),
            Self::Total => Needs::History(total::check),
            Self::Witness => Needs::History(witness::check),
            Self::SelfDelivery => Needs::Healing(liveness::self_delivery),
            Self::Termination => Needs::Healing(|history| {
                liveness::termination(history).or_else(|| direct::termination(history))
            }),
            Self::StabilityReported => {
                Needs::Healing(|history| stability::is_reported(history).or_else(|| flush::is_over(history)))
            }
            Self::Bounded => Needs::History(|history| {
                bounded::check(history).or_else(|| bounded::is_of_the_unstable(history))
            }),
            Self::Soundness => Needs::Driver,
            Self::TimestampTruth => Needs::History(|history| history.stamps.wrong.clone()),
            Self::ReplyLaw => Needs::History(reply_law::check),
            Self::TransferCut => Needs::Views(transfer::is_at_the_cut),
            Self::EpochKeys => Needs::NotYet("keys"),
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Every property that does not hold in `history`. Liveness is asked for only where everything was `healed`.
pub(crate) fn judge(history: &History, healed: bool) -> Vec<Violation> {
    let violation = |property: Property| {
        let how = match property.needs() {
            Needs::History(check) => check(history),
            Needs::Healing(check) if healed => check(history),
            Needs::Views(check) if history.is_dynamic => check(history),
            Needs::HealedViews(check) if healed && history.is_dynamic => check(history),
            _ => None,
        };
        how.map(|how| Violation { property, how })
    };
    Property::ALL.into_iter().filter_map(violation).collect()
}

#[cfg(test)]
mod tests {
    use super::super::history::tests::Told;
    use super::*;
    use crate::sim::history::{Message, Process, What};
    use sistrum_ordering::truth::Note;
    use sistrum_ordering::{Order, Rank, Reason, Seq, ViewNumber};

    #[test]
    fn a_good_history_has_no_fault() {
        let mut told = Told::of(3);
        let total = told.cast(0, Order::Total);
        let fifo = told.cast(0, Order::Fifo);
        told.deliver(1, total);
        let effect = told.cast(1, Order::Causal);
        told.deliver(0, total);
        told.deliver(0, effect);
        told.deliver(2, total);
        told.deliver(2, effect);
        told.deliver(2, fifo);
        told.deliver(1, fifo);
        assert_eq!(judge(&told.0, false), []);
        assert_eq!(judge(&told.0, true), []);
    }

    /// Two members, one of whom goes; another comes, and a sync cast is between two views.
    #[test]
    fn a_good_history_of_views_has_no_fault() {
        let mut told = Told::dynamic(3);
        told.install(1, &[0, 1], &[0, 1]);
        let total = told.cast(0, Order::Total);
        let effect = told.cast(0, Order::Causal);
        [0, 1].into_iter().for_each(|at| told.deliver(at, total));
        told.deliver(1, effect);
        told.push(2, What::Joining);
        told.install(2, &[0, 1, 2], &[2]);
        let (sync, late) = (told.sync(2), told.cast(1, Order::Causal));
        for at in 0..3 {
            if at != 1 {
                told.deliver(at, late);
            }
            told.deliver(at, sync);
            told.push(at, What::Renumbered(ViewNumber(3)));
        }
        let view = |told: &Told, at| told.view(at, 4, &[1, 2], &[], Reason::Left);
        told.push(0, What::Leaves);
        told.push(0, What::Left);
        [1, 2].into_iter().for_each(|at| told.push(at, view(&told, at)));
        let last = told.cast(2, Order::Total);
        [1, 2].into_iter().for_each(|at| told.deliver(at, last));
        assert_eq!(judge(&told.0, true), []);
    }

    /// Two casts are held in view 1, of three members; view 2 is of them and another, view 3 of the first two.
    fn told_with_held(deliver: impl Fn(&mut Told, u32, [Message; 2])) -> Vec<Property> {
        let mut told = Told::dynamic(4);
        told.install(1, &[0, 1, 2], &[0, 1, 2]);
        let held = [told.hold(0, Order::Causal), told.hold(0, Order::Total)];
        deliver(&mut told, 1, held);
        told.push(3, What::Joining);
        told.install(2, &[0, 1, 2, 3], &[3]);
        deliver(&mut told, 2, held);
        [2, 3].into_iter().for_each(|at| told.0.crash(99, Process(at)));
        told.install(3, &[0, 1], &[]);
        deliver(&mut told, 3, held);
        judge(&told.0, true).into_iter().map(|violation| violation.property).collect()
    }

    #[test]
    fn what_is_held_comes_once_in_its_order_in_the_next_view() {
        let to_all = |told: &mut Told, [causal, total]: [Message; 2]| {
            told.deliver(1, causal);
            [0, 1].into_iter().for_each(|at| told.deliver(at, total));
        };
        let only_in = |wanted: u32| {
            told_with_held(|told, number, held| {
                if number == wanted {
                    to_all(told, held);
                }
            })
        };
        assert_eq!(only_in(2), []);
        for early_or_late in [1, 3] {
            assert!(only_in(early_or_late).contains(&Property::SendingView), "{early_or_late}");
        }
        assert!(only_in(9).contains(&Property::Termination), "it never comes");
        let twice = told_with_held(|told, number, held| {
            if number == 2 {
                to_all(told, held);
                told.deliver(1, held[0]);
            }
        });
        assert_eq!(twice, [Property::NoDuplication]);
        let swapped = told_with_held(|told, number, [causal, total]| {
            if number == 2 {
                [0, 1].into_iter().for_each(|at| told.deliver(at, total));
                told.deliver(1, causal);
            }
        });
        assert!(swapped.contains(&Property::Fifo) && swapped.contains(&Property::Causal), "{swapped:?}");
    }

    #[test]
    fn what_is_held_is_lost_with_its_caster_alone() {
        for (has_crashed, is_excluded) in [(true, false), (false, true), (false, false)] {
            let mut told = Told::dynamic(3);
            told.install(1, &[0, 1, 2], &[0, 1, 2]);
            told.hold(0, Order::Causal);
            if has_crashed {
                told.0.crash(99, Process(0));
            }
            if is_excluded {
                told.push(0, What::Excluded(ViewNumber(2)));
                let again = told.0.start_as(99, Rank(0), crate::sim::history::tests::member(0, 2)).0;
                told.install(2, &[1, 2], &[]);
                told.install(3, &[1, 2, again], &[again]);
            } else if has_crashed {
                told.install(2, &[1, 2], &[]);
            } else {
                told.install(2, &[0, 1, 2], &[]);
            }
            assert_eq!(judge(&told.0, true).is_empty(), has_crashed || is_excluded);
        }
    }

    #[test]
    fn a_stamp_that_is_read_as_another_is_found() {
        let mut told = Told::of(3);
        let vector = |of: [u64; 3]| of.map(Seq).to_vec();
        told.0.stamp(Process(0), Note::Sealed { seq: Seq(4), vector: vector([5, 1, 2]) });
        let read = |vector| Note::Read { rank: Rank(0), seq: Seq(4), vector };
        told.0.stamp(Process(1), read(vector([4, 1, 2])));
        assert_eq!((judge(&told.0, false), told.0.stamps.compared), (Vec::new(), 1));
        told.0.stamp(Process(2), read(vector([4, 1, 3])));
        let found: Vec<_> = judge(&told.0, false).into_iter().map(|violation| violation.property).collect();
        assert_eq!(found, [Property::TimestampTruth]);
    }

    #[test]
    fn every_property_is_listed_once() {
        let mut all = Property::ALL.to_vec();
        all.dedup();
        assert_eq!(all.len(), Property::Soundness as usize + 1);
    }
}
