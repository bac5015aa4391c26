//! Causal order at a reader, who is in no view and starts in mid-stream.
//!
//! A stamp tells changes against the one before it, so a reader enters a stream at the first full stamp that it meets, and again behind
//! blocks that it has lost. What a stamp says of streams that are not entered counts as satisfied; so such a stream is entered no
//! earlier than anything that was handed over says of it, and no cause comes behind its effect.
//!
//! In a view that ends at a cut, nothing is handed over that it may leave out (`firm`), in whatever order. An *eager* reader does not wait for
//! that, and is told at the cut how much it should not have been handed.
//!
//= birman91 §7.3: decoding needs every stamp of a sender since the last full one

mod firm;

use crate::delay::Stamped;
use crate::timestamp;
use crate::wire::{FULL_STAMP, STAMP, STAMPED, frames, numbers};
use firm::Firm;
use sistrum_transport::id::{Rank, Seq};
use sistrum_transport::mutated;
use sistrum_transport::reliable::{Admission, ReaderOrder};
use sistrum_transport::wire::Header;

/// See the module; or, as it is by default, each stream in its own order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    is_causal: bool,
    is_eager: bool,
    streams: Vec<Stream>,
    /// In a view that ends at a cut some time.
    firm: Option<Firm>,
    is_over: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Stream {
    /// The vector of its last stamp that was read; none before it is entered.
    base: Option<Vec<Seq>>,
    /// The first block that was not let through, and whether its stamp is in `base`.
    next: Seq,
    is_read: bool,
    delivered: Seq,
    /// What was handed over of others names its blocks before this one.
    named: Seq,
}

impl Reading {
    /// In causal order.
    #[must_use]
    pub fn causal() -> Self {
        Self { is_causal: true, ..Self::default() }
    }

    /// Behind what was placed, this has been read of the stamps of `rank` elsewhere, where all before was handed over.
    pub fn vouch(&mut self, rank: Rank, stamped: Stamped<'_>) {
        let Some(firm) = &mut self.firm else { return };
        firm.vouch(rank, stamped);
        if self.is_causal {
            let stream = self.stream(rank);
            (stream.base, stream.next, stream.is_read) =
                (Some(stamped.vector.to_vec()), stamped.next, stamped.is_read);
        }
    }

    /// At once, whether or not a cut may leave it out.
    #[must_use]
    pub fn eager(self) -> Self {
        Self { is_eager: true, ..self }
    }

    fn stream(&mut self, rank: Rank) -> &mut Stream {
        let at = usize::from(rank.0);
        if self.streams.len() <= at {
            self.streams.resize(at + 1, Stream::default());
        }
        &mut self.streams[at]
    }

    /// Whether everything that the stamp of the next block of `rank` names has been handed over, or never will be.
    fn is_satisfied(&self, rank: Rank) -> bool {
        let base = self.streams[usize::from(rank.0)].base.as_deref().unwrap_or_default();
        let others = base.iter().enumerate().filter(|(k, _)| *k != usize::from(rank.0));
        others.into_iter().all(|(k, value)| {
            let is_over = |other: &Stream| other.base.is_none() || other.delivered >= *value;
            mutated!(ReadAhead) || self.streams.get(k).is_none_or(is_over)
        })
    }

    /// What is let through of `rank` names blocks of others.
    fn note_named(&mut self, rank: Rank) {
        let base = self.streams[usize::from(rank.0)].base.take();
        for (k, value) in base.iter().flatten().enumerate().filter(|(k, _)| *k != usize::from(rank.0)) {
            let other = self.stream(Rank(k as u16));
            other.named = other.named.max(*value);
        }
        self.streams[usize::from(rank.0)].base = base;
    }
}

impl Stream {
    /// Reads the stamp of its next block; `false` when the stream is not entered, or cannot be read any more.
    fn read(&mut self, rank: Rank, block: &[u8]) -> bool {
        if self.is_read {
            return true;
        }
        let (order, trailer) = Header::order_of_checked(block);
        let frame = frames(trailer)
            .find(|(kind, _)| matches!(*kind, STAMP | FULL_STAMP))
            .filter(|_| order & STAMPED != 0);
        if self.base.is_none() {
            let may_enter = self.next >= self.named || mutated!(EnterTooEarly);
            let Some((FULL_STAMP, body)) = frame.filter(|_| may_enter) else { return false };
            self.base = Some(vec![Seq(0); numbers(body).count() + 1]);
        }
        let (Some(frame), Some(base)) = (frame, &mut self.base) else { return true };
        self.is_read = timestamp::read(rank, frame, base, |_, _| ()).is_ok();
        if !self.is_read {
            self.base = None;
        }
        self.is_read
    }
}

impl ReaderOrder for Reading {
    const ORDERS: bool = true;

    fn admit<'a>(
        &mut self,
        rank: Rank,
        at: Seq,
        held: Seq,
        block: impl Fn(Seq) -> Option<&'a [u8]>,
    ) -> Admission {
        let mut admission = self.admit_causes(rank, at, held, &block);
        let Some(firm) = &mut self.firm else { return admission };
        let walk = firm.go_on(rank, admission.enter.unwrap_or(at).max(at), held, &block);
        if !self.is_eager || self.is_over {
            admission.gate = admission.gate.min(walk.end);
            admission.enter = admission.enter.max(walk.unsure);
        }
        let is_last = walk.is_last && walk.end <= admission.gate;
        Admission { keep: walk.end, is_last, ..admission }
    }

    fn delivered(&mut self, rank: Rank, to: Seq) -> bool {
        if !self.is_causal {
            return false;
        }
        let stream = self.stream(rank);
        let has_come = to > stream.delivered;
        stream.delivered = stream.delivered.max(to);
        has_come
    }

    fn lost(&mut self, rank: Rank) {
        self.firm.iter_mut().for_each(|firm| firm.lost(rank));
        if self.is_causal {
            let stream = self.stream(rank);
            (stream.base, stream.is_read) = (None, false);
        }
    }

    fn restart(&mut self) {
        self.streams.clear();
    }

    fn begin(&mut self, starts: &[Seq], is_from_start: bool) {
        self.firm = Some(Firm::begin(starts, is_from_start));
        let one = |start: &Seq| Stream {
            base: Some(starts.to_vec()),
            next: *start,
            delivered: *start,
            named: *start,
            is_read: false,
        };
        self.streams = starts.iter().filter(|_| is_from_start).map(one).collect();
    }

    fn announced(&mut self, rank: Rank, held: Seq, handed: Seq) {
        self.firm.iter_mut().for_each(|firm| firm.announced(rank, held, handed));
    }

    fn place(&mut self, rank: Rank, seq: Seq) {
        self.firm.iter_mut().for_each(|firm| firm.place(rank, seq));
        if self.is_causal {
            let stream = self.stream(rank);
            (stream.base, stream.next, stream.is_read) = (None, seq, false);
            (stream.delivered, stream.named) = (seq, seq);
        }
    }

    fn is_held(&self, rank: Rank, seq: Seq) -> bool {
        self.firm.as_ref().is_none_or(|firm| firm.is_held(rank, seq))
    }

    fn ended(&mut self, cut: &[Seq]) {
        self.is_over = true;
        self.firm.iter_mut().for_each(|firm| firm.ended(cut));
    }
}

impl Reading {
    /// How far the causes are there, in causal order.
    fn admit_causes<'a>(
        &mut self,
        rank: Rank,
        at: Seq,
        held: Seq,
        block: impl Fn(Seq) -> Option<&'a [u8]>,
    ) -> Admission {
        if !self.is_causal {
            return Admission::ALL;
        }
        let stream = self.stream(rank);
        stream.next = stream.next.max(at);
        let mut enter = None;
        loop {
            let stream = self.stream(rank);
            let next = stream.next;
            let Some(bytes) = block(next).filter(|_| next < held) else { break };
            let was_entered = stream.base.is_some();
            if !stream.read(rank, bytes) {
                // Nothing of it can be put in its place.
                (stream.next, enter) = (next.plus(1), Some(next.plus(1)));
                continue;
            }
            if !was_entered {
                (stream.delivered, enter) = (next, Some(next));
            }
            if !self.is_satisfied(rank) {
                break;
            }
            self.note_named(rank);
            let stream = self.stream(rank);
            (stream.next, stream.is_read) = (next.plus(1), false);
        }
        Admission { enter, gate: self.stream(rank).next, ..Admission::ALL }
    }
}
