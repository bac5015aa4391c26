//! What a reader hands over, in which order: the state where it begins with one, what came meanwhile, then each view to its end.

use super::era::{End, Era};
use super::kept::Kept;
use super::{ViewReader, ViewReaderEvent};
use crate::event::Caster;
use crate::transfer::{Spool, TransferError};
use sistrum_transport::log::RxPool;
use sistrum_transport::mutated;
use sistrum_transport::protocol::Protocol as _;
use sistrum_transport::reliable::ReaderEvent;
use std::ops::ControlFlow;

impl ViewReader {
    /// Hands over what there is; counts the events.
    pub(super) fn hand_over<H>(&mut self, pool: &mut RxPool, handler: &mut H) -> usize
    where
        H: FnMut(&mut Caster<'_>, ViewReaderEvent<'_>) -> ControlFlow<()>,
    {
        let mut events = 0;
        if self.is_loading() {
            events += self.load(pool, handler);
            if self.is_loading() && !mutated!(ReadBeforeState) {
                return events;
            }
        }
        events += self.tell_kept(handler);
        // What comes now has its place behind that.
        events + if self.kept.is_empty() { self.tell_eras(false, pool, handler) } else { self.keep(pool) }
    }

    /// Whether the state comes first, and is not whole. What was told of a view before is told to its end first.
    pub(super) fn is_loading(&self) -> bool {
        !self.is_draining && self.borrowing.is_some() && self.eras.front().is_none_or(|era| era.awaits_state)
    }

    /// Hands over what has come of the state, and keeps what is cast meanwhile.
    fn load<H>(&mut self, pool: &mut RxPool, handler: &mut H) -> usize
    where
        H: FnMut(&mut Caster<'_>, ViewReaderEvent<'_>) -> ControlFlow<()>,
    {
        let Some(borrowing) = &mut self.borrowing else { return 0 };
        let mut events = borrowing.poll(self.now, &mut self.eras, &mut self.kept, pool, handler);
        let is_over = borrowing.is_over();
        if !is_over && borrowing.is_placed() {
            events += self.keep(pool);
            if let Some(borrowing) = self.borrowing.as_mut().filter(|_| self.kept.is_over_full()) {
                borrowing.fail(TransferError::SpoolFull { limit: self.kept.limit() }, pool);
            }
        }
        if is_over {
            self.borrowing = None;
            self.eras.iter_mut().for_each(|era| era.awaits_state = false);
            self.is_draining = !self.kept.is_empty();
        }
        events
    }

    /// Keeps what would be handed over now, as far as there is room: the rest stays in the windows.
    fn keep(&mut self, pool: &mut RxPool) -> usize {
        let mut kept = std::mem::replace(&mut self.kept, Spool::new(0));
        let events = self.tell_eras(true, pool, &mut |_: &mut Caster<'_>, event: ViewReaderEvent<'_>| {
            if kept.is_over_full() {
                return ControlFlow::Break(());
            }
            Kept::of(event).into_iter().for_each(|event| kept.push(event));
            ControlFlow::Continue(())
        });
        self.kept = kept;
        events
    }

    /// Hands over what was kept, not all at once: more is coming.
    fn tell_kept<H>(&mut self, handler: &mut H) -> usize
    where
        H: FnMut(&mut Caster<'_>, ViewReaderEvent<'_>) -> ControlFlow<()>,
    {
        let mut told = 0;
        self.is_refused = false;
        while let Some(kept) = self.kept.front().filter(|_| told < MAX_TOLD) {
            self.is_refused = kept.tell(handler).is_break();
            if self.is_refused {
                break;
            }
            self.kept.pop();
            told += 1;
        }
        self.is_draining = !self.kept.is_empty();
        told
    }

    /// Hands over each view to its end, and the next one, where no state is awaited or what is told is `kept` until it is there.
    fn tell_eras<H>(&mut self, is_kept: bool, pool: &mut RxPool, handler: &mut H) -> usize
    where
        H: FnMut(&mut Caster<'_>, ViewReaderEvent<'_>) -> ControlFlow<()>,
    {
        let (mut events, is_loading) = (0, self.is_loading());
        while let Some(era) = self.eras.front_mut().filter(|era| !era.awaits_state || is_loading) {
            if tell_beginning(era, &mut events, handler).is_break() {
                break;
            }
            if self.until.is_some_and(|member| era.roster.rank_of(member).is_some()) {
                // What is kept comes first.
                if !is_kept {
                    self.has_ended = true;
                    self.eras.drain(..).for_each(|mut era| era.reader.clear(pool));
                }
                break;
            }
            let mut flow = ControlFlow::Continue(());
            events += era.reader.poll_event(pool, &mut |(): &mut (), event: ReaderEvent<'_>| {
                let event = match event {
                    ReaderEvent::Deliver(message) => ViewReaderEvent::Deliver(message),
                    ReaderEvent::Reading(rank, seq) => ViewReaderEvent::Reading(rank, seq),
                    ReaderEvent::Gap(rank, blocks) => ViewReaderEvent::Gap(rank, blocks),
                    // Who leaves a group with views is out of the next one.
                    ReaderEvent::Left(_) => return ControlFlow::Continue(()),
                };
                flow = handler(&mut Caster::default(), event);
                flow
            });
            if flow.is_break() || !matches!(tell_end(era, &mut events, handler), ControlFlow::Continue(true))
            {
                break;
            }
            if let Some(mut over) = self.eras.pop_front() {
                over.reader.clear(pool);
                self.past = [self.past, over.reader.counters()].into_iter().sum();
            }
        }
        events
    }
}

/// Tells what comes before the messages of the first view.
fn tell_beginning<H>(era: &mut Era, events: &mut usize, handler: &mut H) -> ControlFlow<()>
where
    H: FnMut(&mut Caster<'_>, ViewReaderEvent<'_>) -> ControlFlow<()>,
{
    let next = era.number();
    while let Some(sync) = era.syncs.front() {
        handler(&mut Caster::default(), ViewReaderEvent::Sync { from: sync.by, next, bytes: &sync.bytes })?;
        era.syncs.pop_front();
        *events += 1;
    }
    if era.is_to_tell {
        handler(&mut Caster::default(), ViewReaderEvent::View(&era.view))?;
        era.is_to_tell = false;
        *events += 1;
    }
    ControlFlow::Continue(())
}

/// Tells what comes behind the last message of the first view; whether it is over.
fn tell_end<H>(era: &mut Era, events: &mut usize, handler: &mut H) -> ControlFlow<(), bool>
where
    H: FnMut(&mut Caster<'_>, ViewReaderEvent<'_>) -> ControlFlow<()>,
{
    match era.end {
        End::Unknown => return ControlFlow::Continue(false),
        End::Decided if !era.reader.has_come_to_end() && !mutated!(ReadNextTooEarly) => {
            return ControlFlow::Continue(false);
        }
        End::Decided | End::Missed => {}
    }
    let is_missed = era.end == End::Missed;
    let last_words = era.last_words.get_or_insert_with(|| match is_missed {
        true => era.reader.undelivered().collect(),
        false => era.reader.retracted().collect(),
    });
    while let Some(&(rank, blocks)) = last_words.front() {
        let event = match is_missed {
            true => ViewReaderEvent::Gap(rank, blocks),
            false => ViewReaderEvent::Retracted(rank, blocks),
        };
        handler(&mut Caster::default(), event)?;
        last_words.pop_front();
        *events += 1;
    }
    if is_missed {
        handler(&mut Caster::default(), ViewReaderEvent::Missed(era.view.id()))?;
        *events += 1;
    }
    ControlFlow::Continue(true)
}

/// Events of those that were kept that one cycle hands over.
const MAX_TOLD: usize = 256;
