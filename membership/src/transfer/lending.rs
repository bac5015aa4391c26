//! What is given to readers: the state as it is between two events, and how far each stream was handed over by then.
//!
//! A reader asks one member for it. The member waits for a moment in which its state holds all that it was handed and has cast, and nothing
//! else: when a cycle has handed over everything, and none of its own casts is still to come back to it.

use super::Snapshot;
use super::giver::{At, Flow, Taken};
use super::message::{Message, Place, Print, Vector};
use super::stream::{Ends, Stream};
use crate::agreement::Introduction;
use crate::config::GroupConfig;
use crate::event::{Caster, Event};
use sistrum_ordering::{Endpoint, GroupInstance, Rank, Seq, ViewNumber};
use sistrum_transport::log::RxPool;
use sistrum_transport::reliable::Refused;
use sistrum_transport::time::Instant;
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// Where a stream goes on behind a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Begin {
    pub(crate) rank: Rank,
    /// In this block, at this offset of its data.
    pub(crate) seq: Seq,
    pub(crate) at: u32,
    /// What has been read of its stamps, as [`Stamped`](sistrum_ordering::Stamped) has it; in large views nothing is said of it.
    pub(crate) next: Seq,
    pub(crate) is_read: bool,
    pub(crate) vector: Vec<Seq>,
}

/// What is given to one reader.
#[derive(Debug)]
pub(super) struct Lending {
    pub(super) reader: Endpoint,
    pub(super) stream_id: GroupInstance,
    view: ViewNumber,
    pub(super) flow: Flow,
    taken: Option<Taken>,
    begins: VecDeque<Begin>,
    /// When the stream took something of it.
    moved_at: Instant,
}

impl Lending {
    /// To `taker`, who reads the view `number`, by the stream that it has named.
    pub(super) fn new(
        now: Instant,
        config: &GroupConfig,
        (number, stream_id): (ViewNumber, GroupInstance),
        (giver, taker): (Introduction, Introduction),
        lane: u16,
    ) -> Self {
        let ends = Ends { instance: stream_id, cut: number, giver, taker, i_give: true, lane };
        let flow = Flow { stream: Stream::new(config, &ends), at: At::Start };
        let reader = taker.member.endpoint;
        Self { reader, stream_id, view: number, flow, taken: None, begins: VecDeque::new(), moved_at: now }
    }

    /// Whether it waits for a snapshot in this view.
    pub(super) fn waits_in(&self, number: ViewNumber) -> bool {
        self.taken.is_none() && self.view == number
    }

    /// Whether it is worth keeping: what was not taken in the view that it was asked in never is, and who takes all of it, or nothing more,
    /// makes room for others.
    pub(super) fn is_alive(&self, now: Instant, number: ViewNumber) -> bool {
        let patience_ns = if matches!(self.flow.at, At::Done) { DONE_NS } else { LENT_NS };
        (self.taken.is_some() || self.view == number) && now.since_ns(self.moved_at) < patience_ns
    }

    /// Asks the application for its state, as it is where streams go on at `begins`.
    pub(super) fn ask<H>(&mut self, begins: &[Begin], handler: &mut H) -> ControlFlow<()>
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let mut snapshot = Snapshot::new(self.view, true);
        handler(&mut Caster::default(), Event::Snapshot(&mut snapshot))?;
        self.taken = Some(Taken::new(snapshot));
        self.begins = begins.iter().cloned().collect();
        self.flow.at = At::Asked(Place::default(), Print::default());
        ControlFlow::Continue(())
    }

    /// Gives what the stream takes, at most `left` messages.
    pub(super) fn give(&mut self, now: Instant, left: &mut usize) {
        let Some(taken) = &self.taken else { return };
        while *left > 0 && !matches!(self.flow.at, At::Start | At::Done) {
            let sent: Result<(), Refused> = match self.begins.front() {
                Some(begin) => {
                    let &Begin { rank, seq, at, next, is_read, ref vector } = begin;
                    let is_short = size_of_val(&vector[..]) <= MAX_VECTOR;
                    let vector = Vector::Values(if is_short { vector } else { &[] });
                    let (rank, seq, next) = (rank.0, seq.0, next.0);
                    self.flow.stream.send(&Message::From { rank, seq, at, next, is_read, vector })
                }
                None => self.flow.step(taken),
            };
            if sent.is_err() {
                return;
            }
            self.begins.pop_front();
            self.moved_at = now;
            *left -= 1;
        }
    }

    pub(super) fn retire(self, pool: &mut RxPool) {
        self.flow.stream.retire(pool);
    }
}

/// Readers that are given to at the same time; who comes later asks again.
pub(super) const MAX_LENDINGS: usize = 8;
/// Bytes of a vector that are said at most.
const MAX_VECTOR: usize = 1024;
/// Who takes nothing for this time asks again.
const LENT_NS: u64 = 20_000_000_000;
/// What of the last of it was lost is repaired for this time.
const DONE_NS: u64 = 3_000_000_000;
