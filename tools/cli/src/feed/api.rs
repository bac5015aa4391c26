//! The one place of the feed that names the library.

use std::time::Duration;

#[cfg(test)]
pub(super) use sistrum::Seq;
pub(super) use sistrum::{
    Behind, CaughtUp, Cause, Clock, Config, Conflict, Endpoint, Error, Event, Eviction, Family, Faults, Gap,
    Group, Holder, Holdup, Instant, Interface, JoinOptions, Key, Lag, LagCounters, MediumChoice, MediumError,
    MonotonicClock, Node, Order, Pace, PeerLosses, Rank, Refused, Way,
};

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
    /// My casts are refused because of this member, and have been for a while.
    HeldBack(Holdup),
    /// They are not any more.
    Released(Rank, Duration),
    /// This process is behind what it was sent.
    Lagging(Behind),
    /// It is not any more.
    CaughtUp(CaughtUp),
    /// It is so far behind that it is cut off.
    Evicted(Eviction),
    /// What this version does not know.
    Other,
}

/// Hands over what happened.
pub(super) fn tell<R>(event: &Event<'_>, told: impl FnOnce(Happening<'_>) -> R) -> R {
    match event {
        Event::View(_) => told(Happening::View),
        Event::Deliver(message) => told(Happening::Deliver(message.from(), message.bytes())),
        Event::Conflict(endpoint, conflict) => told(Happening::Conflict(*endpoint, *conflict)),
        Event::Left(rank, _) => told(Happening::Left(*rank)),
        Event::Reading(rank, block) => told(Happening::Reading(*rank, block.0)),
        Event::Gap(rank, blocks) => told(Happening::Gap(*rank, *blocks)),
        Event::HeldBack(holdup) => told(Happening::HeldBack(*holdup)),
        Event::Released(rank, lasted) => told(Happening::Released(*rank, *lasted)),
        Event::Lagging(behind) => told(Happening::Lagging(*behind)),
        Event::CaughtUp(caught_up) => told(Happening::CaughtUp(*caught_up)),
        Event::Evicted(eviction) => told(Happening::Evicted(*eviction)),
        _ => told(Happening::Other),
    }
}
