//! A reader whose application has a lag contract: what comes of the protocol goes by its backlog.

use crate::joined::Joined;
use crate::{Departure, Event};
use sistrum_membership as membership;
use sistrum_membership::lag::{Backlog, Note, Told};
use sistrum_transport::log::RxPool;
use sistrum_transport::protocol::Protocol;
use std::ops::ControlFlow;

/// Hands over what is kept, then what comes, as far as the application takes it; the rest is kept. Returns the events that were taken by
/// either.
pub(crate) fn poll_event<H>(
    own: &mut Joined,
    backlog: &mut Backlog,
    pool: &mut RxPool,
    handler: &mut H,
) -> usize
where
    H: FnMut(&mut membership::Caster<'_>, Event<'_>) -> ControlFlow<()>,
{
    let handed =
        backlog.hand_over(&mut |told: Told<'_>| handler(&mut membership::Caster::default(), of_told(told)));
    let came = own.poll_event(pool, &mut |caster: &mut membership::Caster<'_>, event: Event<'_>| {
        let (from, note) = match event {
            Event::Deliver(message) => {
                backlog.take(message, &mut |told: Told<'_>| handler(caster, of_told(told)));
                return ControlFlow::Continue(());
            }
            Event::Reading(from, seq) => (from, Note::Reading(seq)),
            Event::Gap(from, blocks) => (from, Note::Gap(blocks)),
            Event::Left(from, Departure::Goodbye) => (from, Note::Left),
            // What cannot be kept waits where it is until all before it was taken.
            other if backlog.passes() => return handler(caster, other),
            _ => return ControlFlow::Break(()),
        };
        backlog.take_note(from, note, &mut |told: Told<'_>| handler(caster, of_told(told)));
        ControlFlow::Continue(())
    });
    handed + came
}

#[inline]
fn of_told(told: Told<'_>) -> Event<'_> {
    match told {
        Told::Message(message) => Event::Deliver(message),
        Told::Note(from, Note::Reading(seq)) => Event::Reading(from, seq),
        Told::Note(from, Note::Gap(blocks)) => Event::Gap(from, blocks),
        Told::Note(from, Note::Left) => Event::Left(from, Departure::Goodbye),
        Told::Lost(from, messages) => Event::Lost(from, messages),
        Told::Lagging(behind) => Event::Lagging(behind),
        Told::Replaying(behind) => Event::Replaying(behind),
        Told::CaughtUp(caught_up) => Event::CaughtUp(caught_up),
        Told::Evicted(eviction) => Event::Evicted(eviction),
    }
}
