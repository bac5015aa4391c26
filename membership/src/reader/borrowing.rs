//! A reader that begins with the state: it asks one member for it, and reads on behind what that holds.
//!
//! ```text
//!   asking    a member is asked by name of a stream that it is to come by; the next one where nothing comes
//!   placed    the member has said where each stream goes on: nothing is handed over before no cut can lie below that
//!   loading   the state goes to the application; what is cast meanwhile is kept behind it
//! ```
//! Where the member is gone, or the view has ended below what its state holds, another one is asked from the beginning; what was kept is
//! replaced when that one has said where the streams go on. Where nobody keeps a state, or nobody gives it for long, that is told.

use super::era::{End, Era};
use super::kept::Kept;
use super::{ReaderState, ViewReaderConfig, ViewReaderEvent};
use crate::agreement::{Introduction, Message, Roster};
use crate::config::{Entry, GroupConfig, Peers};
use crate::event::{Caster, Event};
use crate::transfer::{Begin, Borrowed, READER_LANE, Spool, TransferError};
use sistrum_ordering::{Endpoint, GroupInstance, Rank, Seq, Stamped, TotalOptions};
use sistrum_transport::log::{RxBlock, RxPool};
use sistrum_transport::mutated;
use sistrum_transport::protocol::Transmit;
use sistrum_transport::time::Instant;
use sistrum_transport::wire::Header;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(super) struct Borrowing {
    config: GroupConfig,
    /// The member that is asked next, by its distance from the youngest.
    turn: usize,
    /// When it was asked, or something came.
    moved_at: Option<Instant>,
    /// Since when nothing of a state has come, from whomever.
    waits_since: Option<Instant>,
    stream_id: GroupInstance,
    borrowed: Option<Borrowed>,
    begins: Vec<Begin>,
    phase: Phase,
    /// Why there will be no state, as long as that was not told.
    failure: Option<TransferError>,
    /// The application was offered that, and refused.
    is_refused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Asking,
    /// It is known where the streams go on, and a cut may still lie below.
    Placed,
    Loading,
    Over,
}

impl Borrowing {
    /// As `config` says of the reader.
    pub(super) fn new(config: &ViewReaderConfig, state: &ReaderState) -> Self {
        let peers = Peers { state: Some(state.tuning), ..Peers::default() };
        let config = GroupConfig {
            name: config.name.clone(),
            local: config.local,
            entry: Entry::Peers(peers),
            boot: state.boot,
            channel: config.channel,
            index: config.index,
            block: config.block,
            limits: state.limits,
            receive_buffer: state.receive_buffer,
            coalesces: state.coalesces,
            max_window: config.tuning.window,
            pair_window: state.pair_window,
            tuning: config.tuning,
            order: TotalOptions::default(),
            start: Seq(0),
            seed: config.seed,
        };
        Self {
            stream_id: GroupInstance((config.seed >> 7) as u32 ^ state.boot.0 as u32),
            config,
            turn: 0,
            moved_at: None,
            waits_since: None,
            borrowed: None,
            begins: Vec::new(),
            phase: Phase::Asking,
            failure: None,
            is_refused: false,
        }
    }

    /// Whether the state is whole, or there will be none and that was told: messages may follow.
    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether what is cast from now on is read behind the state, whose place is sure.
    pub(super) fn is_placed(&self) -> bool {
        self.phase == Phase::Loading
    }

    /// There will be no state.
    pub(super) fn fail(&mut self, why: TransferError, pool: &mut RxPool) {
        self.forget(pool);
        self.failure = Some(why);
    }

    /// Asks the next member, where nobody was asked in the view of `roster` or nothing comes: what to say, and to whom.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        roster: Option<&Roster>,
        pool: &mut RxPool,
    ) -> Option<(Endpoint, Message)> {
        let is_stuck = self.moved_at.is_none_or(|at| now.since_ns(at) >= AGAIN_NS);
        let is_of = |view| self.phase != Phase::Asking || roster.is_none_or(|roster| view == roster.number);
        let is_asked = self.borrowed.as_ref().is_some_and(|it| is_of(it.view()));
        if self.is_over() || self.failure.is_some() || (is_asked && !is_stuck) {
            return None;
        }
        let waited = now.since(*self.waits_since.get_or_insert(now));
        if roster.is_some_and(|roster| !roster.members.iter().any(|known| known.keeps_state)) {
            self.fail(TransferError::NobodyKeepsState, pool);
            return None;
        }
        if waited >= PATIENCE {
            self.fail(TransferError::NoAnswer { waited }, pool);
            return None;
        }
        self.forget(pool);
        self.moved_at = Some(now);
        let roster = roster?;
        let has_state = |known: &&Introduction| {
            known.keeps_state
                && roster.rank_of_member(known.member).is_some_and(|rank| !roster.is_joining(rank))
        };
        let givers: Vec<&Introduction> = roster.members.iter().rev().filter(has_state).collect();
        let giver = **givers.get(self.turn % givers.len().max(1))?;
        self.turn += 1;
        self.stream_id.0 = self.stream_id.0.wrapping_add(1);
        let names = (roster.number, self.stream_id);
        self.borrowed = Some(Borrowed::new(&self.config, names, giver, READER_LANE));
        let (number, stream, mine) = (roster.number, self.stream_id, self.config.introduction());
        Some((giver.member.endpoint, Message::Borrow { number, stream, mine }))
    }

    /// Begins anew.
    pub(super) fn forget(&mut self, pool: &mut RxPool) {
        self.borrowed.take().into_iter().for_each(|borrowed| borrowed.retire(pool));
        self.begins.clear();
        (self.phase, self.moved_at) = (Phase::Asking, None);
    }

    /// Takes what has come; messages may follow once it [is over](Self::is_over). Where the streams go on behind another state than before,
    /// what was `kept` counts for nothing.
    pub(super) fn poll<H>(
        &mut self,
        now: Instant,
        eras: &mut VecDeque<Era>,
        kept: &mut Spool<Kept>,
        pool: &mut RxPool,
        handler: &mut H,
    ) -> usize
    where
        H: FnMut(&mut Caster<'_>, ViewReaderEvent<'_>) -> ControlFlow<()>,
    {
        if let Some(why) = &self.failure {
            self.is_refused =
                handler(&mut Caster::default(), ViewReaderEvent::TransferFailed(why)).is_break();
            if self.is_refused {
                return 0;
            }
            self.phase = Phase::Over;
            return 1;
        }
        let Some(borrowed) = &mut self.borrowed else { return 0 };
        if borrowed.poll_begins(&mut self.begins, pool) {
            self.moved_at = Some(now);
        }
        self.place(eras, kept, pool);
        let Some(borrowed) = self.borrowed.as_mut().filter(|_| self.phase == Phase::Loading) else {
            return 0;
        };
        let mut is_refused = false;
        let events = borrowed.poll(pool, &mut |caster: &mut Caster<'_>, event: Event<'_>| {
            let flow = match event {
                Event::State(block) => handler(caster, ViewReaderEvent::State(block)),
                Event::TransferFailed(why) => handler(caster, ViewReaderEvent::TransferFailed(why)),
                _ => ControlFlow::Continue(()),
            };
            is_refused = flow.is_break();
            flow
        });
        let is_over = borrowed.is_over();
        if events > 0 || is_refused {
            (self.moved_at, self.waits_since) = (Some(now), Some(now));
        }
        if is_over {
            self.forget(pool);
            self.phase = Phase::Over;
        }
        events
    }

    /// Puts the streams where they go on behind the state, once that is known, and looks whether a cut may still lie below. Whatever lies
    /// before is in the state.
    fn place(&mut self, eras: &mut VecDeque<Era>, kept: &mut Spool<Kept>, pool: &mut RxPool) {
        let Some(borrowed) = self.borrowed.as_ref().filter(|it| it.is_begun()) else { return };
        if self.phase == Phase::Loading {
            return;
        }
        let places: Vec<_> = self.begins.iter().map(place).collect();
        let at = eras.iter().position(|era| era.number() == borrowed.view());
        let Some(at) = at.filter(|at| eras[*at].roster.members.len() == places.len()) else {
            return self.forget(pool);
        };
        if self.phase == Phase::Asking {
            if !eras[at].reader.is_before(&places) {
                // What I have read by now cannot be had again: the next one that is asked has come further.
                return;
            }
            eras.drain(..at).for_each(|mut era| era.reader.clear(pool));
            kept.clear();
            let era = &mut eras[0];
            era.reader.place_at(&places, pool);
            for Begin { rank, next, is_read, vector, .. } in &self.begins {
                let stamped = Stamped { next: *next, is_read: *is_read, vector };
                era.reader.order_mut().vouch(*rank, stamped);
            }
            era.syncs.clear();
            era.is_to_tell = true;
            self.phase = Phase::Placed;
        }
        let era = &eras[0];
        if era.reader.is_held(&places) {
            self.phase = Phase::Loading;
        } else if era.end != End::Unknown {
            // What it holds was given up with the member.
            self.forget(pool);
        }
    }

    pub(super) fn handle_block(
        &mut self,
        (now, from): (Instant, Endpoint),
        header: &Header,
        block: RxBlock,
        pool: &mut RxPool,
    ) {
        match &mut self.borrowed {
            Some(borrowed) => borrowed.handle_block((now, from), header, block, pool),
            None => pool.release(block),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, pool: &mut RxPool) {
        self.borrowed.iter_mut().for_each(|borrowed| borrowed.handle_timeout(now, pool));
    }

    pub(super) fn seal(&mut self, now: Instant) {
        self.borrowed.iter_mut().for_each(|borrowed| borrowed.seal(now));
    }

    pub(super) fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        self.borrowed.as_mut()?.poll_transmit(now)
    }

    pub(super) fn transmit_bytes<'a>(&'a self, transmit: &Transmit, pool: &'a RxPool) -> (&'a [u8], usize) {
        self.borrowed.as_ref().map_or((&[], 1), |borrowed| borrowed.transmit_bytes(transmit, pool))
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if self.is_over() || self.failure.is_some() {
            // What was refused is offered again when the application is.
            return (!self.is_refused).then(Instant::default);
        }
        let again = self.moved_at.map_or_else(Instant::default, |at| at.plus_ns(AGAIN_NS));
        let stream = self.borrowed.as_ref().and_then(Borrowed::poll_timeout);
        stream.into_iter().chain([again]).min()
    }
}

fn place(begin: &Begin) -> (Rank, Seq, u32) {
    if mutated!(ReadTwice) {
        return (begin.rank, Seq(begin.seq.0.saturating_sub(1)), 0);
    }
    (begin.rank, begin.seq, begin.at)
}

/// Another member is asked where nothing has come for this time.
const AGAIN_NS: u64 = 300_000_000;
/// Nobody is asked any more where nothing has come for this time: as long as members give to others first.
const PATIENCE: Duration = Duration::from_secs(30);
