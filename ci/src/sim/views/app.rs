//! The application of one process, through all its incarnations: what it does and is handed is written down.

use super::calls::Desk;
use super::plan::Plan;
use crate::sim::history::{History, Message, Process, Send, What};
use crate::sim::names::{NAME, Names};
use crate::sim::state::State;
use fastrand::Rng;
use sistrum_membership::{Caster, Event, Group};
use sistrum_ordering::{GroupInstance, Order, Promise, Rank, Seq, View, ViewMember, ViewNumber};
use sistrum_transport::reliable::{self, Refused};
use sistrum_transport::time::Instant;
use std::ops::ControlFlow;

/// See the module.
pub(super) struct App {
    /// The present incarnation.
    pub(super) process: Process,
    pub(super) me: ViewMember,
    place: Rank,
    /// The view that it was told of.
    pub(super) view: Option<View>,
    /// The lives of the group, in the order in which they were seen: all processes share them.
    cast_at: Instant,
    pub(super) casts: bool,
    /// It could not take the state over, and leaves.
    pub(super) has_failed: bool,
    names: Names,
    /// The number of the view that it is in: not each is told.
    number: ViewNumber,
    is_changing: bool,
    has_cut: bool,
    /// Those that are not over.
    pub(super) flushes: u32,
    /// Total casts of mine that have not come back.
    pub(super) own_totals: u32,
    /// What has come of all that was cast, where the plan wants one.
    state: Option<State>,
    /// What is held for a view: as which of all that is, and what it is.
    held: Vec<(ViewNumber, usize, Message)>,
    /// Where it calls and answers.
    pub(super) desk: Desk,
    rng: Rng,
}

/// Where a cast went.
struct Placed {
    block: Seq,
    /// It waits for the next view, behind so many.
    held: Option<usize>,
}

/// The lives of the group that were seen, each by its number.
pub(super) type Lives = Vec<GroupInstance>;

impl App {
    /// A process begins at `place`, as `me`.
    pub(super) fn new(plan: &Plan, place: Rank, me: ViewMember, now: Instant, history: &mut History) -> Self {
        let process = history.start_as(now.0, place, me);
        history.push(now.0, process, What::Joining);
        Self {
            process,
            me,
            place,
            view: None,
            cast_at: now,
            casts: true,
            has_failed: false,
            names: Names::new(plan.seed),
            number: ViewNumber(0),
            is_changing: false,
            has_cut: false,
            flushes: 0,
            own_totals: 0,
            state: plan.state.map(|state| State::new(me, state.padding)),
            held: Vec::new(),
            desk: Desk::new(plan.calls, plan.seed ^ me.boot.0),
            rng: Rng::with_seed(plan.seed ^ me.boot.0),
        }
    }

    /// When it is time to cast.
    pub(super) fn casts_at(&self) -> Option<Instant> {
        (self.casts && self.view.is_some()).then_some(self.cast_at)
    }

    /// Casts a few, when it is time.
    pub(super) fn begin_cycle(
        &mut self,
        plan: &Plan,
        now: Instant,
        group: &mut Group,
        history: &mut History,
    ) -> usize {
        let is_mine = group.view().is_some_and(|view| view.member(view.me()) == Some(&self.me));
        let sent = self.desk.cycle(group, !self.casts, (now, self.process, history));
        if self.casts_at().is_none_or(|at| now < at) {
            return sent;
        }
        self.cast_at = now.plus_ns(self.rng.u64(..2 * plan.cast_every_ns));
        if !is_mine {
            return sent;
        }
        self.desk.call(group, (now, self.process, history));
        let burst = self.rng.u8(1..6);
        let casts = (0..burst)
            .take_while(|_| {
                let number = group.view().map(|view| view.id().number);
                let cast = |promise, bytes: &[u8]| {
                    let sender = group.sender()?;
                    let held = sender.held();
                    sender.cast_as(promise, bytes)?;
                    Ok(Placed { block: sender.open(), held: (sender.held() > held).then_some(held) })
                };
                self.cast(plan, now, number, cast, history)
            })
            .count();
        // What is ordered against everything comes behind what is held.
        if plan.holds.is_some()
            && group.sender().is_ok_and(|sender| sender.held() > 0)
            && self.rng.u8(..16) == 0
        {
            self.sync(now, group, history);
        }
        if plan.sends > 0.0 && self.rng.f64() < plan.sends {
            self.send(now, group, history);
        }
        if self.rng.u8(..8) == 0
            && let Ok(id) = group.flush()
        {
            self.flushes += 1;
            history.push(now.0, self.process, What::Flush(id.0));
        }
        casts + sent
    }

    fn cast(
        &mut self,
        plan: &Plan,
        now: Instant,
        number: Option<ViewNumber>,
        cast: impl FnOnce(Promise, &[u8]) -> Result<Placed, Refused>,
        history: &mut History,
    ) -> bool {
        let order = plan.order(&mut self.rng);
        let promise = Promise { order, safe: self.rng.f64() < plan.safe };
        let len = self.rng.usize(NAME..plan.longest);
        match cast(promise, self.names.compose(history.next_message(), len)) {
            Ok(Placed { block, held }) => {
                let message = match held.zip(number) {
                    Some((at, number)) => {
                        let next = ViewNumber(number.0 + 1);
                        let message = history.hold(now.0, self.process, promise, len, next);
                        self.held.push((next, at, message));
                        message
                    }
                    None => history.cast(now.0, self.process, promise, len, (number, block.0)),
                };
                if order != Order::Total
                    && let Some(state) = &mut self.state
                {
                    state.cast(number, message.0.into());
                }
                self.own_totals += u32::from(order == Order::Total);
                true
            }
            Err(
                Refused::Full { .. }
                | Refused::ViewChanging
                | Refused::NoView
                | Refused::Left
                | Refused::TooLarge { .. },
            ) => false,
            Err(other) => panic!("{len} bytes: {other}"),
        }
    }

    /// Sends something to one other member of the view that it was told of.
    fn send(&mut self, now: Instant, group: &mut Group, history: &mut History) {
        let Some(view) = &self.view else { return };
        let (to, len) = (Rank(self.rng.u16(..view.members().len() as u16)), self.rng.usize(NAME..400));
        match group.send(to, self.names.compose_sent(history.next_send(), len)) {
            Ok(()) => _ = history.send(now.0, self.process, to, len),
            Err(Refused::Full { .. } | Refused::ViewChanging | Refused::NoView | Refused::NoMember(_)) => {}
            Err(other) => panic!("{len} bytes to {to}: {other}"),
        }
    }

    /// Casts something between two views.
    pub(super) fn sync(&mut self, now: Instant, group: &mut Group, history: &mut History) -> bool {
        let len = self.rng.usize(NAME..100);
        let is_taken =
            self.view.is_some() && group.cast_sync(self.names.compose(history.next_message(), len)).is_ok();
        if is_taken {
            history.sync(now.0, self.process, len);
        }
        is_taken
    }

    /// Takes an event, or refuses it.
    pub(super) fn handle(
        &mut self,
        plan: &Plan,
        now: Instant,
        caster: &mut Caster<'_>,
        mut event: Event<'_>,
        (history, lives): (&mut History, &mut Lives),
    ) -> ControlFlow<()> {
        // What was sent to one alone gives its place away where it is refused: that is asked for, and nothing to be judged.
        let is_direct = matches!(event, Event::Direct(_));
        if plan.refusals > 0.0 && self.rng.f64() < plan.refusals && !is_direct {
            return ControlFlow::Break(());
        }
        self.note_place(now, caster, &event, history);
        let is_message = matches!(event, Event::Deliver(_) | Event::Direct(_));
        if is_message && self.desk.handle(&event, (now, self.process, history)) {
            return ControlFlow::Continue(());
        }
        let Some(what) = self.what_of(now, &mut event, (history, lives)) else {
            return ControlFlow::Continue(());
        };
        if let (What::Deliver(message), Some(state)) = (&what, &mut self.state) {
            state.deliver(message.0.into());
        }
        let may_answer = matches!(what, What::Deliver(_)) && self.casts;
        history.push(now.0, self.process, what);
        if !is_message {
            self.desk.handle(&event, (now, self.process, history));
        }
        if may_answer && plan.replies > 0.0 && self.rng.f64() < plan.replies {
            let number = caster.view();
            let cast = |promise, bytes: &[u8]| {
                let held = caster.held();
                caster.cast(promise, bytes)?;
                Ok(Placed { block: caster.open(), held: (caster.held() > held).then_some(held) })
            };
            self.cast(plan, now, number, cast, history);
        }
        ControlFlow::Continue(())
    }

    /// What an event is in a history, where it is anything, and what comes of it.
    fn what_of(
        &mut self,
        now: Instant,
        event: &mut Event<'_>,
        (history, lives): (&mut History, &mut Lives),
    ) -> Option<What> {
        Some(match event {
            Event::View(view) => {
                self.enter(view, history, lives);
                if let Some(state) = &mut self.state {
                    let digest = state.enter(view.id().number);
                    history.push(now.0, self.process, What::Install(Box::new((*view).clone())));
                    What::State(digest)
                } else {
                    What::Install(Box::new((*view).clone()))
                }
            }
            Event::Deliver(message) => self.identify(message, history),
            Event::Sync { from, bytes, .. } => self.identify_sync(*from, bytes, history),
            Event::Direct(message) => self.identify_sent(message, history),
            Event::Snapshot(snapshot) => {
                self.state.as_mut().expect("there is a state").write(snapshot);
                return None;
            }
            Event::State(block) => {
                let state = self.state.as_mut().expect("there is a state");
                if !state.take(block) {
                    return None;
                }
                What::Restored
            }
            Event::TransferFailed(why) => {
                (self.casts, self.has_failed) = (false, true);
                history.push(now.0, self.process, What::Leaves);
                What::TransferFailed(why.to_string())
            }
            Event::Left(_) => unreachable!("nobody says goodbye: {event:?}"),
            Event::HeldBack(_) | Event::Released(..) | Event::Letter { .. } => {
                unreachable!("nobody asked, nor wrote: {event:?}")
            }
            Event::Stuck(_) => return None,
            Event::Conflict(_, why) => What::Conflict(why.to_string()),
            Event::Flushed(id) => {
                self.flushes = self.flushes.saturating_sub(1);
                What::Flushed(id.0)
            }
            Event::Wedged(_) => What::Wedged,
            Event::Resumed => What::Resumed,
            Event::Excluded(number) => {
                self.view = None;
                self.state.iter_mut().for_each(State::forget);
                What::Excluded(*number)
            }
        })
    }

    /// Writes down where it is in a change, as far as the event tells.
    fn note_place(&mut self, now: Instant, caster: &Caster<'_>, event: &Event<'_>, history: &mut History) {
        if caster.is_ahead() && !self.has_cut && self.view.is_some() {
            self.has_cut = true;
            history.push(now.0, self.process, What::Cut);
        }
        let is_there = !caster.is_ahead() && !matches!(event, Event::View(_));
        if let Some(number) = caster.view().filter(|_| is_there) {
            self.renumber(now, number, history);
        }
    }

    /// It may have come to a view that has the same members.
    fn renumber(&mut self, now: Instant, number: ViewNumber, history: &mut History) {
        if self.view.is_some() && number > self.number {
            (self.number, self.is_changing, self.has_cut) = (number, false, false);
            self.state.iter_mut().for_each(|state| _ = state.enter(number));
            history.push(now.0, self.process, What::Renumbered(number));
        }
    }

    /// In which life of the group it is: also where it was told of no view yet, since the state comes first.
    pub(super) fn live_in(&self, instance: GroupInstance, history: &mut History, lives: &mut Lives) {
        let life = lives.iter().position(|known| *known == instance).unwrap_or_else(|| {
            lives.push(instance);
            lives.len() - 1
        });
        history.processes[self.process.0 as usize].life = life as u32;
    }

    fn enter(&mut self, view: &View, history: &mut History, lives: &mut Lives) {
        self.live_in(view.id().instance, history, lives);
        (self.view, self.number) = (Some(view.clone()), view.id().number);
        (self.is_changing, self.has_cut) = (false, false);
    }

    /// Writes down what has become of it since the last cycle; tells of a new incarnation.
    pub(super) fn end_cycle(&mut self, now: Instant, group: &Group, history: &mut History) {
        if let Some(number) = group.reached() {
            self.renumber(now, number, history);
        }
        let is_changing =
            group.agreement().is_some_and(sistrum_membership::agreement::Agreement::is_changing);
        if is_changing && !self.is_changing && self.view.is_some() {
            history.push(now.0, self.process, What::Changing);
        }
        self.is_changing |= is_changing;
        self.note_held(group, history);
        let me = group.me();
        let is_excluded = history.who(self.process).is_excluded;
        // Who never came in may be somebody new without having been told; who was handed a part of the state is told.
        let is_to_be_told = self.state.as_ref().is_some_and(State::has_any);
        if me != self.me && (is_excluded || (self.view.is_none() && !is_to_be_told)) {
            if !is_excluded {
                history.push(now.0, self.process, What::Excluded(ViewNumber(0)));
            }
            (self.process, self.me) = (history.start_as(now.0, self.place, me), me);
            history.push(now.0, self.process, What::Joining);
            (self.is_changing, self.has_cut, self.flushes, self.own_totals) = (false, false, 0, 0);
            self.state.iter_mut().for_each(|state| state.begin_as(me));
            self.held.clear();
        }
    }

    /// Writes down where what was held has ended, in the view that it was held for.
    fn note_held(&mut self, group: &Group, history: &mut History) {
        let present = group.view().zip(group.session());
        for (view, session) in group.before().into_iter().chain(present) {
            let number = view.id().number;
            for (_, at, message) in self.held.extract_if(.., |(next, ..)| *next == number) {
                let end = session.stream().held_ends().get(at);
                end.into_iter().for_each(|end| history.seal(message, number, end.0));
            }
        }
    }

    /// Which message was delivered: one that was cast like that, to the byte.
    fn identify(&mut self, message: &reliable::Message<'_>, history: &History) -> What {
        let (from, len) = (message.from(), message.len());
        let member = self.view.as_ref().and_then(|view| view.member(from)).copied();
        let named = member.and_then(|member| self.named(member, message.bytes(), history));
        let is_mine = named.is_some_and(|named| history.cast_of(named).by == self.process);
        self.own_totals -= u32::from(is_mine);
        named.map_or(What::Alien { from, len }, What::Deliver)
    }

    fn identify_sent(&mut self, message: &reliable::Message<'_>, history: &History) -> What {
        let (from, len) = (message.from(), message.len());
        let member = self.view.as_ref().and_then(|view| view.member(from)).copied();
        let is_so = |send: &Send| member.is_some() && history.who(send.by).member == member;
        let sent = self.names.identify_sent(message.bytes(), history, is_so);
        sent.map_or(What::Alien { from, len }, What::Receive)
    }

    fn identify_sync(&mut self, from: ViewMember, bytes: &[u8], history: &History) -> What {
        let named = self.named(from, bytes, history);
        named.map_or(What::Alien { from: Rank(u16::MAX), len: bytes.len() }, What::Deliver)
    }

    fn named(&mut self, from: ViewMember, bytes: &[u8], history: &History) -> Option<Message> {
        self.names.identify_by(bytes, history, |by| history.who(by).member == Some(from))
    }
}
