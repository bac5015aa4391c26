//! A reader that begins with the state: it asks one member for it, and reads on behind what that holds.
//!
//! ```text
//!   asking    a member is asked by name of a stream that it is to come by; the next one where nothing comes
//!   placed    the member has said where each stream goes on: nothing is handed over before no cut can lie below that
//!   loading   the state goes to the application; what is cast meanwhile stays in the windows
//! ```
//! Where the member is gone, or the view has ended below what its state holds, another one is asked from the beginning.

use super::era::{End, Era};
use super::{ReaderState, ViewReaderConfig, ViewReaderEvent};
use crate::agreement::{Introduction, Message, Roster};
use crate::config::{Entry, GroupConfig, Peers};
use crate::event::{Caster, Event};
use crate::transfer::{Begin, Borrowed, READER_LANE};
use sistrum_ordering::{Endpoint, GroupInstance, Rank, Seq, Stamped, TotalOptions};
use sistrum_transport::log::{RxBlock, RxPool};
use sistrum_transport::mutated;
use sistrum_transport::protocol::Transmit;
use sistrum_transport::time::Instant;
use sistrum_transport::wire::Header;
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// See the module.
#[derive(Debug)]
pub(super) struct Borrowing {
    config: GroupConfig,
    /// The member that is asked next, by its distance from the youngest.
    turn: usize,
    /// When it was asked, or something came.
    moved_at: Option<Instant>,
    stream_id: GroupInstance,
    borrowed: Option<Borrowed>,
    begins: Vec<Begin>,
    is_placed: bool,
    is_over: bool,
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
            borrowed: None,
            begins: Vec::new(),
            is_placed: false,
            is_over: false,
        }
    }

    /// Whether the state is whole, or there will be none: messages may follow.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Asks the next member, where nobody was asked in the view of `roster` or nothing comes: what to say, and to whom.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        roster: &Roster,
        pool: &mut RxPool,
    ) -> Option<(Endpoint, Message)> {
        let is_stuck = self.moved_at.is_none_or(|at| now.since_ns(at) >= AGAIN_NS);
        let is_asked = self.borrowed.as_ref().is_some_and(|it| self.is_placed || it.view() == roster.number);
        if self.is_over || (is_asked && !is_stuck) {
            return None;
        }
        self.forget(pool);
        let has_state = |known: &&Introduction| {
            known.keeps_state
                && roster.rank_of_member(known.member).is_some_and(|rank| !roster.is_joining(rank))
        };
        let givers: Vec<&Introduction> = roster.members.iter().rev().filter(has_state).collect();
        self.moved_at = Some(now);
        let giver = **givers.get(self.turn % givers.len().max(1))?;
        self.turn += 1;
        self.stream_id.0 = self.stream_id.0.wrapping_add(1);
        let names = (roster.number, self.stream_id);
        self.borrowed = Some(Borrowed::new(&self.config, names, giver, READER_LANE));
        let (number, stream, mine) = (roster.number, self.stream_id, self.config.introduction());
        Some((giver.member.endpoint, Message::Borrow { number, stream, mine }))
    }

    /// Begins anew.
    fn forget(&mut self, pool: &mut RxPool) {
        self.borrowed.take().into_iter().for_each(|borrowed| borrowed.retire(pool));
        self.begins.clear();
        (self.is_placed, self.moved_at) = (false, None);
    }

    /// Takes what has come; messages may follow once it [is over](Self::is_over). Whatever lies before the view of the state is forgotten.
    pub(super) fn poll<H>(
        &mut self,
        now: Instant,
        eras: &mut VecDeque<Era>,
        pool: &mut RxPool,
        handler: &mut H,
    ) -> usize
    where
        H: FnMut(&mut Caster<'_>, ViewReaderEvent<'_>) -> ControlFlow<()>,
    {
        let Some(borrowed) = &mut self.borrowed else { return 0 };
        if borrowed.poll_begins(&mut self.begins, pool) {
            self.moved_at = Some(now);
        }
        let Some(era) = eras.iter_mut().find(|era| era.number() == borrowed.view()) else {
            self.forget(pool);
            return 0;
        };
        if borrowed.is_begun() && !self.is_placed {
            if self.begins.len() == era.roster.members.len() {
                let places: Vec<_> = self.begins.iter().map(place).collect();
                era.reader.place_at(&places, pool);
                for Begin { rank, next, is_read, vector, .. } in &self.begins {
                    let stamped = Stamped { next: *next, is_read: *is_read, vector };
                    era.reader.order_mut().vouch(*rank, stamped);
                }
            }
            self.is_placed = true;
        }
        if !self.is_placed {
            return 0;
        }
        let places: Vec<_> = self.begins.iter().map(place).collect();
        if !era.reader.is_held(&places) {
            if era.end != End::Unknown {
                // What it holds was given up with the member.
                self.forget(pool);
            }
            return 0;
        }
        let events = borrowed.poll(pool, &mut |caster: &mut Caster<'_>, event: Event<'_>| match event {
            Event::State(block) => handler(caster, ViewReaderEvent::State(block)),
            Event::TransferFailed(why) => handler(caster, ViewReaderEvent::TransferFailed(why)),
            _ => ControlFlow::Continue(()),
        });
        if events > 0 {
            self.moved_at = Some(now);
        }
        self.is_over = borrowed.is_over();
        if self.is_over {
            let view = borrowed.view();
            while eras.front().is_some_and(|era| era.number() < view) {
                eras.pop_front().into_iter().for_each(|mut era| era.reader.clear(pool));
            }
            if let Some(era) = eras.front_mut() {
                // What was cast before the view is in the state.
                era.syncs.clear();
                era.is_to_tell = true;
            }
            self.forget(pool);
        }
        events
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
        let again = self.moved_at.map_or_else(Instant::default, |at| at.plus_ns(AGAIN_NS));
        let again = Some(again).filter(|_| !self.is_over);
        let stream = self.borrowed.as_ref().and_then(Borrowed::poll_timeout);
        again.into_iter().chain(stream).min()
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
