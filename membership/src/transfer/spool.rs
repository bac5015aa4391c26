//! What comes while the state is taken over: it is kept, and handed over behind the state.

use crate::event::{Caster, Event};
use crate::flush::FlushId;
use sistrum_ordering::{Rank, View, ViewMember, ViewNumber};
use sistrum_transport::mutated;
use sistrum_transport::reliable::Message;
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// See the module.
#[derive(Debug)]
pub(super) struct Spool {
    limit: usize,
    bytes: usize,
    /// The view that what is kept ends in.
    number: Option<ViewNumber>,
    kept: VecDeque<Kept>,
}

/// One event.
#[derive(Debug)]
pub(super) enum Kept {
    View(Box<View>),
    /// The view has another number, and nobody is told.
    Number(ViewNumber),
    Deliver(Rank, Box<[u8]>),
    Direct(Rank, Box<[u8]>),
    Sync {
        from: ViewMember,
        next: ViewNumber,
        bytes: Box<[u8]>,
    },
    Flushed(FlushId),
    Wedged(Vec<Rank>),
    Resumed,
    /// The state is to be given to those who join in this view, as it is when all before was handed over.
    Snapshot(ViewNumber),
}

impl Spool {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, bytes: 0, number: None, kept: VecDeque::new() }
    }

    /// Whether more was kept than may be.
    pub(super) fn is_over_full(&self) -> bool {
        self.bytes > self.limit
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Keeps what is told now.
    pub(super) fn keep(&mut self, event: Event<'_>) {
        let copy = |message: &Message<'_>| (message.from(), Box::from(message.bytes()));
        let kept = match event {
            Event::View(view) => {
                self.number = Some(view.id().number);
                Kept::View(Box::new(view.clone()))
            }
            Event::Deliver(message) => {
                let (from, bytes) = copy(&message);
                Kept::Deliver(from, bytes)
            }
            Event::Direct(message) => {
                let (from, bytes) = copy(&message);
                Kept::Direct(from, bytes)
            }
            Event::Sync { from, next, bytes } => Kept::Sync { from, next, bytes: Box::from(bytes) },
            Event::Flushed(id) => Kept::Flushed(id),
            Event::Wedged(heard) => Kept::Wedged(heard.to_vec()),
            Event::Resumed => Kept::Resumed,
            Event::Snapshot(snapshot) => {
                snapshot.put_off();
                Kept::Snapshot(snapshot.view())
            }
            // The others are told of no group with state, or past the spool.
            Event::Conflict(..)
            | Event::Left(_)
            | Event::Excluded(_)
            | Event::State(_)
            | Event::TransferFailed(_)
            | Event::HeldBack(_)
            | Event::Released(..)
            | Event::Letter { .. } => return,
        };
        self.push(kept);
        if mutated!(SpoolForgets) && self.kept.len() > 8 {
            self.pop();
        }
    }

    /// What is told next, is told in the view of this number.
    pub(super) fn come_to(&mut self, number: ViewNumber) {
        if self.number.replace(number) != Some(number) {
            self.push(Kept::Number(number));
        }
    }

    fn push(&mut self, kept: Kept) {
        self.bytes += kept.bytes();
        self.kept.push_back(kept);
    }

    pub(super) fn front(&self) -> Option<&Kept> {
        self.kept.front()
    }

    pub(super) fn pop(&mut self) {
        if let Some(kept) = self.kept.pop_front() {
            self.bytes -= kept.bytes();
        }
    }

    pub(super) fn clear(&mut self) {
        (self.bytes, self.kept) = (0, VecDeque::new());
    }
}

impl Kept {
    /// What it takes.
    fn bytes(&self) -> usize {
        let more = match self {
            Self::View(view) => size_of_val(view.members()),
            Self::Deliver(_, bytes) | Self::Direct(_, bytes) | Self::Sync { bytes, .. } => bytes.len(),
            Self::Wedged(heard) => size_of_val(heard.as_slice()),
            Self::Number(_) | Self::Flushed(_) | Self::Resumed | Self::Snapshot(_) => 0,
        };
        size_of::<Self>() + more
    }

    /// Hands it over.
    pub(super) fn tell<H>(&self, caster: &mut Caster<'_>, handler: &mut H) -> ControlFlow<()>
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let event = match self {
            Self::View(view) => Event::View(view),
            Self::Deliver(from, bytes) => Event::Deliver(Message::whole(*from, bytes)),
            Self::Direct(from, bytes) => Event::Direct(Message::whole(*from, bytes)),
            Self::Sync { from, next, bytes } => Event::Sync { from: *from, next: *next, bytes },
            Self::Flushed(id) => Event::Flushed(*id),
            Self::Wedged(heard) => Event::Wedged(heard),
            Self::Resumed => Event::Resumed,
            Self::Number(_) | Self::Snapshot(_) => return ControlFlow::Continue(()),
        };
        handler(caster, event)
    }
}
