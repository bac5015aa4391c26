//! What the application is told, in which order: the old view to its end, then the next one.

use super::Views;
use crate::event::{Caster, Event};
use crate::looking::Sighting;
use crate::running::Running;
use crate::step::{Step, reached};
use crate::transfer::{Begin, TransferError, Transfers};
use sistrum_ordering::{Change, Rank, Stamped, ViewNumber};
use sistrum_transport::log::RxPool;
use sistrum_transport::mutated;
use std::ops::ControlFlow;

/// What has become of the group.
#[derive(Debug, Clone)]
pub(super) enum Notice {
    Wedged(Vec<Rank>),
    Resumed,
    Excluded(ViewNumber),
    TransferFailed(TransferError),
    Stuck(Sighting),
}

impl Views {
    /// Tells what comes before the deliveries of the present view. Counts the events, and tells whether those may follow.
    pub(crate) fn poll_event<H>(
        &mut self,
        running: Option<&mut Running>,
        pool: &mut RxPool,
        handler: &mut H,
    ) -> (usize, ControlFlow<()>)
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let mut events = 0;
        while !self.notices.is_empty() {
            if self.tell_notice(handler).is_break() {
                return (events, ControlFlow::Break(()));
            }
            events += 1;
        }
        let Some(running) = running else { return (events, ControlFlow::Break(())) };
        if running.told {
            return (events, ControlFlow::Continue(()));
        }
        let flow = self.bring_over(running, pool, handler, &mut events);
        (events, flow)
    }

    /// Tells the next of what has become of the group.
    fn tell_notice<H>(&mut self, handler: &mut H) -> ControlFlow<()>
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let Some(notice) = self.notices.front() else { return ControlFlow::Continue(()) };
        let event = match notice {
            Notice::Wedged(heard) => Event::Wedged(heard),
            Notice::Resumed => Event::Resumed,
            Notice::Excluded(number) => Event::Excluded(*number),
            Notice::TransferFailed(why) => Event::TransferFailed(why),
            Notice::Stuck(group) => Event::Stuck(group),
        };
        handler(&mut Caster::default(), event)?;
        self.notices.pop_front();
        ControlFlow::Continue(())
    }

    /// Takes what those who join ask of me.
    pub(crate) fn poll_transfers(&mut self, pool: &mut RxPool) -> usize {
        self.transfers.poll(pool)
    }

    /// Tells of letters, where the application has come to the view of `running`.
    pub(crate) fn tell_letters<H>(
        &mut self,
        running: &mut Running,
        handler: &mut H,
        events: &mut usize,
    ) -> ControlFlow<()>
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        self.letters.tell(&mut running.caster(), handler, events)
    }

    /// Writes the state down for readers, when all that was handed over in the view of `running` is in it and nothing else.
    pub(crate) fn tell_readers<H>(
        &mut self,
        running: &mut Running,
        pool: &mut RxPool,
        handler: &mut H,
    ) -> (usize, ControlFlow<()>)
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let number = running.view.id().number;
        if !running.told || !self.transfers.owes_readers(number) {
            return (0, ControlFlow::Continue(()));
        }
        // What I have cast comes back as far as it does at once.
        running.session.sender().seal_now();
        let (mut events, flow) = running.poll_event(None, pool, handler);
        if flow.is_break() {
            return (events, flow);
        }
        let ranks = (0..running.view.members().len() as u16).map(Rank);
        let begins: Option<Vec<Begin>> = ranks
            .map(|rank| {
                let (seq, at) = running.session.cursor_of(rank)?;
                let Stamped { next, is_read, vector } = running.session.layer().causal().stamps(rank);
                Some(Begin { rank, seq, at, next, is_read, vector: vector.to_vec() })
            })
            .collect();
        let Some(begins) = begins else { return (events, flow) };
        let flow = self.transfers.tell_readers(number, &begins, handler);
        events += usize::from(flow.is_continue());
        (events, flow)
    }

    /// Whether the state is taken over here, or what came meanwhile handed over.
    pub(crate) fn is_taking(&self) -> bool {
        self.transfers.is_taking()
    }

    /// Hands over the state, then what came meanwhile; what comes now is kept behind it.
    pub(crate) fn poll_taking<H>(
        &mut self,
        running: Option<&mut Running>,
        pool: &mut RxPool,
        handler: &mut H,
    ) -> usize
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let (Some(mut taking), Some(running)) = (self.transfers.take_taking(), running) else { return 0 };
        let before = (taking.is_loaded(), taking.has_failed());
        // What became of me as I was before I joined is told at once, and why there is no state.
        self.notices.extend(taking.take_failure().map(Notice::TransferFailed));
        let is_of_me = |notice: &Notice| matches!(notice, Notice::Excluded(_) | Notice::TransferFailed(_));
        let mut events = 0;
        while self.notices.iter().any(is_of_me) {
            if self.tell_notice(handler).is_break() {
                self.transfers.put_taking(taking);
                return events;
            }
            events += 1;
        }
        events += taking.poll(pool, handler);
        if taking.may_keep() {
            let keep = &mut |_: &mut Caster<'_>, event: Event<'_>| taking.keep(event);
            let (told, flow) = self.poll_event(Some(&mut *running), pool, keep);
            events += told;
            if flow.is_continue() {
                taking.come_to(running.view.id().number);
                let keep = &mut |_: &mut Caster<'_>, event: Event<'_>| taking.keep(event);
                events += running.poll_event(None, pool, keep).0;
            }
        }
        let (mut told, kept) = (0, taking.kept());
        while told < MAX_TOLD && taking.tell_next(running, &mut self.transfers, handler).is_continue() {
            told += 1;
        }
        events += told;
        taking.narrow(kept - taking.kept());
        let is_urgent = (taking.is_loaded(), taking.has_failed()) != before;
        self.transfers.put_taking(taking);
        if let Some(seat) = self.seat.as_mut().filter(|_| is_urgent) {
            seat.is_to_look = true;
            seat.look_soon();
        }
        events
    }

    /// Hands over what is left of the view before. Where it was not told, since enough had come to it for others and not yet for me, it is
    /// before the first message of it, or behind the last.
    fn drain<H>(
        old: &mut Running,
        transfers: &mut Transfers,
        untold: &mut Option<Change>,
        running: &mut Running,
        pool: &mut RxPool,
        handler: &mut H,
    ) -> (usize, ControlFlow<()>)
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let view = old.view.clone();
        let into = Some((running.view.id().number, running.session.sender()));
        old.poll_event(into, pool, &mut |caster: &mut Caster<'_>, event: Event<'_>| {
            if untold.is_some() {
                transfers.tell_snapshots(view.id().number, handler)?;
                handler(caster, Event::View(&view))?;
            }
            if let Some(change) = untold.take() {
                running.view = running.view.clone().behind(change);
            }
            handler(caster, event)
        })
    }

    /// Brings the application from the view before to the present one.
    fn bring_over<H>(
        &mut self,
        running: &mut Running,
        pool: &mut RxPool,
        handler: &mut H,
        events: &mut usize,
    ) -> ControlFlow<()>
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        if !running.is_open {
            return ControlFlow::Break(());
        }
        if let Some(old) = self.old.as_mut().filter(|_| !self.is_old_drained) {
            let (handed, flow) =
                Self::drain(old, &mut self.transfers, &mut self.untold, running, pool, handler);
            *events += handed;
            flow?;
            // A look hands over so many that were sent to me alone: what is left comes next. Where nothing came of one, nothing ever will: its
            // sender is gone, and a part of it is lacking.
            let has_more = old.incoming.has_pending() && handed > 0;
            if (has_more || !old.session.is_drained()) && !mutated!(DeliverOldAfterInstall) {
                return ControlFlow::Break(());
            }
            if self.owes_old && self.untold.is_some() {
                let view = old.view.clone();
                self.transfers.tell_snapshots(view.id().number, handler)?;
                handler(
                    &mut Caster::ahead(running.view.id().number, running.session.sender()),
                    Event::View(&view),
                )?;
                let change = self.untold.take().unwrap_or_default();
                running.view = running.view.clone().behind(change);
            }
            reached(Step::Drained);
            self.is_old_drained = true;
            // All that go on hold all of it.
            self.flushed.extend(old.flushes.end());
        }
        let number = running.view.id().number;
        while let Some(flush) = self.flushed.front() {
            handler(&mut Caster::ahead(number, running.session.sender()), Event::Flushed(*flush))?;
            self.flushed.pop_front();
            *events += 1;
        }
        if !mutated!(ViewBeforeSyncs) {
            self.tell_syncs(running, handler, events)?;
        }
        self.transfers.tell_snapshots(number, handler)?;
        if !running.view.is_same() {
            let caster = &mut Caster::new(number, running.session.sender(), &mut running.outgoing);
            handler(caster, Event::View(&running.view))?;
            *events += 1;
        }
        if mutated!(ViewBeforeSyncs) {
            self.tell_syncs(running, handler, events)?;
        }
        running.told = true;
        reached(Step::Told);
        if let Some(seat) = &mut self.seat {
            seat.is_to_look = true;
            seat.look_soon();
        }
        ControlFlow::Continue(())
    }

    /// Hands over what was cast between two views.
    fn tell_syncs<H>(&mut self, running: &mut Running, handler: &mut H, events: &mut usize) -> ControlFlow<()>
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        if mutated!(ForgetSyncs) {
            self.syncs.clear();
        }
        while let Some((next, sync)) = self.syncs.front() {
            let event = Event::Sync { from: sync.by, next: *next, bytes: &sync.bytes };
            handler(&mut Caster::ahead(running.view.id().number, running.session.sender()), event)?;
            self.syncs.pop_front();
            *events += 1;
        }
        ControlFlow::Continue(())
    }
}

/// Events of those that came while the state was taken over that one cycle hands over: the others have to hear of me meanwhile.
const MAX_TOLD: usize = 256;
