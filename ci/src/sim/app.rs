//! The application of one process: it casts in bursts, refuses, stalls, replies, and writes down what it is handed.

use super::faults::{Counts, Fault};
use super::history::{History, Message, Process, Send, What};
use super::names::{NAME, Names};
use super::options::Scenario;
use fastrand::Rng;
use sistrum_membership::{Caster, Event, Group};
use sistrum_ordering::{Order, Promise, Rank, Seq, ViewNumber};
use sistrum_transport::reliable::{self, Refused, max_message};
use sistrum_transport::time::Instant;
use sistrum_transport::wire::{HEADER_LEN, MAX_FRAME_OVERHEAD};
use std::ops::ControlFlow;

/// Longer messages cost time and try nothing new.
const LARGE: usize = 32_000;

/// How something is said.
enum Speech {
    /// To all.
    Cast(Promise),
    /// To one.
    Send(Rank),
}

/// See the module.
#[derive(Debug)]
pub(super) struct App {
    process: Process,
    rng: Rng,
    left: u32,
    /// Total casts of mine that have not come back yet.
    own_totals: u32,
    /// Flushes that are not over.
    flushes: u32,
    /// The view that it was told of: before that it casts nothing.
    view: Option<ViewNumber>,
    orders: Vec<Order>,
    safe: f64,
    block: usize,
    largest: usize,
    /// When the next burst is cast, and how far apart bursts are at most.
    next_at: Instant,
    spread_ns: u64,
    refusals: f64,
    replies: f64,
    sends: f64,
    /// Members, and my rank.
    members: u16,
    me: Rank,
    pub(super) stalled_until: Instant,
    names: Names,
    /// How often a message is empty, and how many such of each rank were delivered.
    empties: f64,
    empties_of: Vec<usize>,
    /// Of whose goodbyes it was told.
    pub(super) departed: Vec<Rank>,
    pub(super) counts: Counts,
}

impl App {
    pub(super) fn new(scenario: &Scenario, process: Process, me: Rank, seed: u64) -> Self {
        let messages = if me.0 < scenario.senders { scenario.messages } else { 0 };
        Self {
            process,
            rng: Rng::with_seed(seed ^ 0xa99),
            left: messages,
            own_totals: 0,
            flushes: 0,
            view: None,
            orders: scenario.orders.clone(),
            safe: scenario.safe,
            block: scenario.block,
            largest: max_message(scenario.windows[me.0 as usize], scenario.block).min(scenario.longest),
            next_at: Instant::default(),
            spread_ns: 1 + 20 * scenario.storm_ns / u64::from(messages.max(1)),
            refusals: scenario.refusals,
            replies: scenario.replies,
            sends: scenario.sends,
            members: scenario.members,
            me,
            stalled_until: Instant::default(),
            names: Names::new(scenario.seed),
            empties: scenario.empties,
            empties_of: vec![0; scenario.members as usize],
            departed: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// When it would cast next, where it can.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        (self.view.is_some() && self.left > 0).then_some(self.next_at)
    }

    /// Whether it has cast everything, and got back what comes back; and no flush goes on.
    pub(super) fn is_done(&self) -> bool {
        self.left == 0 && self.own_totals == 0 && self.flushes == 0
    }

    /// Until an event that was refused, or a send that found no room, is tried again.
    pub(super) fn patience_ns(&mut self) -> u64 {
        self.rng.u64(1..20_000)
    }

    /// Casts a burst when it is time; returns how many.
    pub(super) fn begin_cycle(&mut self, now: Instant, group: &mut Group, history: &mut History) -> usize {
        if self.view.is_none() || self.left == 0 || now < self.next_at {
            return 0;
        }
        if group.sender().is_err() {
            return 0;
        }
        self.next_at = now.plus_ns(self.rng.u64(0..self.spread_ns));
        let burst = self.rng.usize(1..20);
        let casts = (0..burst)
            .take_while(|_| {
                self.cast(
                    now,
                    |speech, bytes| match speech {
                        Speech::Send(to) => group.send(to, bytes).map(|()| Seq(0)),
                        Speech::Cast(promise) => {
                            let sender = group.sender()?;
                            sender.cast_as(promise, bytes).map(|()| sender.open())
                        }
                    },
                    history,
                )
            })
            .count();
        if self.rng.u8(0..4) == 0 {
            let id = group.flush().expect("there is a view");
            self.flushes += 1;
            history.push(now.0, self.process, What::Flush(id.0));
        }
        casts
    }

    /// Takes an event, or refuses it.
    pub(super) fn handle(
        &mut self,
        now: Instant,
        caster: &mut Caster<'_>,
        event: &Event<'_>,
        history: &mut History,
    ) -> ControlFlow<()> {
        let is_stalled = now < self.stalled_until;
        // What was sent to one alone gives its place away where it is refused: that is asked for, and nothing to be judged.
        let is_direct = matches!(event, Event::Direct(_));
        let refuses = is_stalled || (self.refusals > 0.0 && self.rng.f64() < self.refusals);
        if refuses && !is_direct {
            self.counts.add(if is_stalled { Fault::Stall } else { Fault::Refusal }, 1);
            return ControlFlow::Break(());
        }
        let what = match event {
            Event::View(view) => {
                self.view = Some(view.id().number);
                What::Install(Box::new((*view).clone()))
            }
            Event::Deliver(message) => self.identify(message, history),
            Event::Direct(message) => self.identify_send(message, history),
            Event::Conflict(_, why) => What::Conflict(why.to_string()),
            Event::Flushed(id) => {
                self.flushes = self.flushes.saturating_sub(1);
                What::Flushed(id.0)
            }
            Event::Left(rank) => {
                self.departed.push(*rank);
                What::Departed(*rank)
            }
            Event::Sync { .. }
            | Event::Wedged(_)
            | Event::Resumed
            | Event::Stuck(_)
            | Event::Excluded(_)
            | Event::Snapshot(_)
            | Event::State(_)
            | Event::TransferFailed(_) => {
                unreachable!("a static list has one view: {event:?}")
            }
            Event::HeldBack(_) | Event::Released(..) | Event::Letter { .. } => {
                unreachable!("nobody asked, nor wrote: {event:?}")
            }
        };
        history.push(now.0, self.process, what);
        if self.replies > 0.0 && self.rng.f64() < self.replies {
            let replied = self.cast(
                now,
                |speech, bytes| match speech {
                    Speech::Send(to) => caster.send(to, bytes).map(|()| Seq(0)),
                    Speech::Cast(promise) => caster.cast(promise, bytes).map(|()| caster.open()),
                },
                history,
            );
            self.counts.add(Fault::Reply, u64::from(replied));
        }
        ControlFlow::Continue(())
    }

    /// Casts the next message; `false` when there is none, or no room for it.
    fn cast(
        &mut self,
        now: Instant,
        cast: impl FnOnce(Speech, &[u8]) -> Result<Seq, Refused>,
        history: &mut History,
    ) -> bool {
        if self.left == 0 {
            return false;
        }
        if self.sends > 0.0 && self.rng.f64() < self.sends {
            return self.send(now, cast, history);
        }
        let order = self.orders[self.rng.usize(..self.orders.len())];
        let promise = Promise { order, safe: self.safe > 0.0 && self.rng.f64() < self.safe };
        let len = self.draw_len();
        match cast(Speech::Cast(promise), self.names.compose(history.next_message(), len)) {
            Ok(Seq(block)) => {
                self.counts.add(Fault::Empty, u64::from(len == 0));
                self.left -= 1;
                self.own_totals += u32::from(order == Order::Total);
                history.cast(now.0, self.process, promise, len, (self.view, block));
                true
            }
            Err(Refused::Full { .. }) => {
                self.counts.add(Fault::FullWindow, 1);
                false
            }
            // What stamps take of each block is taken off the longest message.
            Err(Refused::TooLarge { len, limit }) if order.spans_senders() && len > limit => false,
            // A handler may run before its own view, when all that there is to tell is a conflict.
            Err(Refused::NoView) => false,
            Err(other) => panic!("{len} bytes: {other}"),
        }
    }

    /// Sends to one member alone, likewise.
    fn send(
        &mut self,
        now: Instant,
        send: impl FnOnce(Speech, &[u8]) -> Result<Seq, Refused>,
        history: &mut History,
    ) -> bool {
        let mut to = Rank(self.rng.u16(0..self.members - 1));
        to.0 += u16::from(to >= self.me);
        let len = self.rng.usize(NAME..self.block);
        match send(Speech::Send(to), self.names.compose_sent(history.next_send(), len)) {
            Ok(_) => {
                self.left -= 1;
                self.counts.add(Fault::Send, 1);
                history.send(now.0, self.process, to, len);
                true
            }
            Err(Refused::Full { .. } | Refused::TooLarge { .. } | Refused::NoView | Refused::NoMember(_)) => {
                // It may be the only thing that is left, and never fit.
                self.left -= u32::from(self.left > 0);
                false
            }
            Err(other) => panic!("{len} bytes to {to}: {other}"),
        }
    }

    /// Which message was sent to me.
    fn identify_send(&mut self, message: &reliable::Message<'_>, history: &History) -> What {
        let (from, len) = (message.from(), message.len());
        let alien = What::Alien { from, len };
        let life = history.who(self.process).life;
        let is_so = |send: &Send| history.who(send.by).rank == from && send.life == life;
        let sent = self.names.identify_sent(message.bytes(), history, is_so);
        sent.map_or(alien, What::Receive)
    }

    /// Lengths that lie where it hurts.
    fn draw_len(&mut self) -> usize {
        let (rng, room) = (&mut self.rng, self.block - HEADER_LEN);
        if self.empties > 0.0 && rng.f64() < self.empties {
            return 0;
        }
        let len = match rng.u8(0..20) {
            0..=10 => rng.usize(0..64),
            // Around what one block holds, whatever the frame adds.
            11..=13 => room - rng.usize(0..MAX_FRAME_OVERHEAD + 4),
            14 => (2 * room + 8).saturating_sub(rng.usize(0..24)),
            15 => rng.usize(0..=self.largest.min(LARGE)),
            // All of what is allowed, though not where that is very much.
            16 if self.largest < LARGE || rng.u8(0..8) == 0 => self.largest - rng.usize(0..2),
            _ => rng.usize(64..room + 64),
        };
        len.clamp(NAME, self.largest)
    }

    /// Which message was delivered: one that was cast like that, to the byte.
    fn identify(&mut self, message: &reliable::Message<'_>, history: &History) -> What {
        let (from, len) = (message.from(), message.len());
        let parts = message.parts().map(<[u8]>::len).sum::<usize>();
        assert_eq!(parts, len, "the parts are the whole");
        self.counts.add(Fault::Fragments, u64::from(message.parts().count() > 1));
        let named = match len {
            0 => self.next_empty(from, history),
            _ => self.names.identify(from, message.bytes(), history),
        };
        let Some(named) = named else { return What::Alien { from, len } };
        let is_mine = history.cast_of(named).by == self.process;
        self.own_totals = self.own_totals.saturating_sub(u32::from(is_mine));
        What::Deliver(named)
    }

    /// An empty message has no name: it is the next such one of its sender that comes here.
    fn next_empty(&mut self, from: Rank, history: &History) -> Option<Message> {
        let by = history.member(history.who(self.process).life, from)?;
        let comes = |message: &Message| {
            let cast = history.cast_of(*message);
            (cast.by, cast.len) == (by, 0) && (by != self.process || cast.order == Order::Total)
        };
        let mut empties = (0..history.casts.len() as u32).map(Message).filter(comes);
        let count = &mut self.empties_of[from.0 as usize];
        *count += 1;
        empties.nth(*count - 1)
    }

    /// It casts nothing more.
    pub(super) fn stop(&mut self) {
        self.left = 0;
    }
}
