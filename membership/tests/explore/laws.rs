//! What must hold in every state, and what must come about in some: else the exploration has seen nothing.

use crate::model::{Group, Spent, State};
use crate::process::End;
use sistrum_membership::agreement::{Ballot, Message, Reason, Roster, Value};
use sistrum_ordering::ViewNumber;
use stateright::Property;

/// A promise that some interleaving may break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Law {
    /// What leads to the view of a number is the same wherever it is decided or installed, and so is the view.
    OneValue,
    /// Whoever installs holds everything up to the cut.
    CutHeld,
    /// Nothing that may have been delivered before the freeze lies above the cut.
    Synchrony,
    /// A quorum of the view that is left has acknowledged what is decided.
    Quorum,
    /// Those who stay come first, by age, and nobody is lost on the way.
    Ages,
    /// An incarnation that is gone does not come again.
    Again,
    /// A process is in the views that it installs; after its end it installs none. It tells no state twice.
    Out,
    /// Nobody is excluded from a view that it is in.
    Excluded,
    /// Who reports an acknowledgement holds what it has acknowledged.
    Word,
    /// Nobody is excluded whom nobody has suspected.
    Cause,
}

impl Law {
    pub(crate) const ALL: [Self; 10] = [
        Self::OneValue,
        Self::CutHeld,
        Self::Synchrony,
        Self::Quorum,
        Self::Ages,
        Self::Again,
        Self::Out,
        Self::Excluded,
        Self::Word,
        Self::Cause,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OneValue => "OneValue",
            Self::CutHeld => "CutHeld",
            Self::Synchrony => "Synchrony",
            Self::Quorum => "Quorum",
            Self::Ages => "Ages",
            Self::Again => "Again",
            Self::Out => "Out",
            Self::Excluded => "Excluded",
            Self::Word => "Word",
            Self::Cause => "Cause",
        }
    }
}

/// Something that must be seen somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Witness {
    /// A change is decided.
    Decided,
    /// Two changes are.
    DecidedTwice,
    /// A proposal of one that has crashed undecided is decided by another.
    Recovered,
    /// One that lives is excluded.
    WronglyExcluded,
    /// A view came after too few had been left.
    Unwedged,
    /// Blocks were fetched that a member lacked at the cut.
    Fetched,
    /// A joiner is in its first view.
    Joined,
    /// A member has left.
    Left,
}

impl Witness {
    pub(crate) const ALL: [Self; 8] = [
        Self::Decided,
        Self::DecidedTwice,
        Self::Recovered,
        Self::WronglyExcluded,
        Self::Unwedged,
        Self::Fetched,
        Self::Joined,
        Self::Left,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Decided => "Decided",
            Self::DecidedTwice => "DecidedTwice",
            Self::Recovered => "Recovered",
            Self::WronglyExcluded => "WronglyExcluded",
            Self::Unwedged => "Unwedged",
            Self::Fetched => "Fetched",
            Self::Joined => "Joined",
            Self::Left => "Left",
        }
    }
}

const SECOND: ViewNumber = ViewNumber(2);

pub(crate) fn properties() -> Vec<Property<Group>> {
    macro_rules! laws {
        ($($law:ident)*) => { vec![$(
            Property::always(Law::$law.name(), |_: &Group, state: &State| !state.broken.contains(&Law::$law)),
        )*] };
    }
    macro_rules! witnesses {
        ($($witness:ident => $seen:expr,)*) => { {
            let sometimes = |witness: Witness, seen: fn(&Group, &State) -> bool| Property::sometimes(witness.name(), seen);
            vec![$(sometimes(Witness::$witness, $seen),)*]
        } };
    }
    let laws = laws![OneValue CutHeld Synchrony Quorum Ages Again Out Excluded Word Cause];
    let witnesses = witnesses![
        Decided => |_, state| !state.values.is_empty(),
        DecidedTwice => |_, state| state.values.len() > 1,
        Recovered => is_recovered,
        WronglyExcluded => |group, state| has_ended(group, state, |end| matches!(end, End::Excluded(_))),
        Unwedged => is_unwedged,
        Fetched => |group, state| group.processes_of(state).any(|process| {
            process.kept.is_some() && process.has_fetched
        }),
        Joined => |group, state| {
            group.processes_of(state).skip(group.bounds.blocks.len()).any(|process| process.is_there())
        },
        Left => |group, state| has_ended(group, state, |end| end == End::Left),
    ];
    laws.into_iter().chain(witnesses).collect()
}

fn has_ended(group: &Group, state: &State, how: fn(End) -> bool) -> bool {
    group.processes_of(state).any(|process| process.end.is_some_and(how))
}

fn is_recovered(group: &Group, state: &State) -> bool {
    let Some(decided) = group.first_decided(state) else { return false };
    let has_decided = |at: usize| {
        group.letters_of(state).any(|letter| {
            letter.from == at && matches!(&letter.message, Message::Commit { next: SECOND, .. })
        })
    };
    group.processes_of(state).filter(|process| process.end == Some(End::Crashed)).any(|process| {
        !group.ballots(state, process.at, SECOND, &decided).is_empty() && !has_decided(process.at)
    })
}

fn is_unwedged(group: &Group, state: &State) -> bool {
    let is_wedged =
        |message: &Message| matches!(message, Message::Invite { next: ViewNumber(2), wedged: true, .. });
    !state.values.is_empty() && group.letters_of(state).any(|letter| is_wedged(&letter.message))
}

/// Whether `acked`, by rank, may decide for a view of so many: said here once more, in other words.
pub(crate) fn is_quorum(acked: &[bool]) -> bool {
    let (with, without) =
        (acked.iter().filter(|acked| **acked).count(), acked.iter().filter(|acked| !**acked).count());
    with > without || with == without && acked[0]
}

/// Whether `next` grows out of `before` by `value`.
pub(crate) fn grows(before: &Roster, value: &Value, next: &Roster) -> bool {
    let is_gone = |at: usize| value.removed.iter().any(|(rank, _)| rank.0 as usize == at);
    let stays = before.members.iter().enumerate().filter(|(at, _)| !is_gone(*at)).map(|(_, member)| member);
    next.number.0 == before.number.0 + 1
        && next.members.iter().eq(stays.chain(&value.joined))
        && next.members.iter().any(|member| before.members.contains(member))
}

/// Whether there was a reason for what a value does.
pub(crate) fn has_cause(value: &Value, spent: Spent) -> bool {
    let excludes = value.removed.iter().any(|(_, reason)| *reason == Reason::Suspected);
    !excludes || spent.crashes + spent.suspicions > 0
}

/// The highest ballot that a message speaks of.
pub(crate) fn ballot_of(message: &Message) -> Option<Ballot> {
    match message {
        Message::Invite { ballot, .. } | Message::Ok { ballot, .. } | Message::Ack { ballot, .. } => {
            Some(*ballot)
        }
        Message::Propose { proposal, .. } => Some(proposal.ballot),
        _ => None,
    }
}
