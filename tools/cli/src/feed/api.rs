//! The one place of the feed that names the library.

pub(super) use sistrum::{
    Clock, Config, Conflict, Endpoint, Faults, Group, Instant, Interface, JoinOptions, MediumChoice,
    MonotonicClock, Node, Order, Rank, Refused,
};

use std::time::Duration;

/// What a node tells, as far as the feed wants to know.
pub(super) enum Happening<'a> {
    /// All of the list are here.
    View,
    /// A message.
    Deliver(Rank, &'a [u8]),
    /// Somebody cannot be in one group with me.
    Conflict(Endpoint, Conflict),
    /// A member said goodbye.
    Left(Rank),
    /// A reader entered this member's stream, at this block.
    Reading(Rank, u64),
    /// A reader lost so many blocks of it for good.
    Gap(Rank, u64),
    /// What this version does not know.
    Other,
}

/// Hands over what happened.
pub(super) fn tell<R>(event: &sistrum::Event<'_>, told: impl FnOnce(Happening<'_>) -> R) -> R {
    match event {
        sistrum::Event::View(_) => told(Happening::View),
        sistrum::Event::Deliver(message) => told(Happening::Deliver(message.from(), message.bytes())),
        sistrum::Event::Conflict(endpoint, conflict) => told(Happening::Conflict(*endpoint, *conflict)),
        _ => told(Happening::Other),
    }
}

pub(super) fn reader() -> JoinOptions {
    JoinOptions::members(Vec::new())
}

pub(super) fn leave(_node: &mut Node, _group: &Group) {}

pub(super) fn has_left(_node: &Node, _group: &Group) -> bool {
    true
}

pub(super) fn silence(_node: &Node, _group: &Group) -> Option<(Rank, Duration)> {
    None
}
