//! What a joiner is told while it takes the state over.

use super::spool::Weigh;
use crate::event::{Caster, Event};
use crate::flush::FlushId;
use sistrum_ordering::{Rank, View, ViewMember, ViewNumber};
use sistrum_transport::reliable::Message;
use std::ops::ControlFlow;

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

impl Kept {
    /// What is told, where it is to be kept.
    pub(super) fn of(event: Event<'_>) -> Option<Self> {
        let copy = |message: &Message<'_>| (message.from(), Box::from(message.bytes()));
        let kept = match event {
            Event::View(view) => Self::View(Box::new(view.clone())),
            Event::Deliver(message) => {
                let (from, bytes) = copy(&message);
                Self::Deliver(from, bytes)
            }
            Event::Direct(message) => {
                let (from, bytes) = copy(&message);
                Self::Direct(from, bytes)
            }
            Event::Sync { from, next, bytes } => Self::Sync { from, next, bytes: Box::from(bytes) },
            Event::Flushed(id) => Self::Flushed(id),
            Event::Wedged(heard) => Self::Wedged(heard.to_vec()),
            Event::Resumed => Self::Resumed,
            Event::Snapshot(snapshot) => {
                snapshot.put_off();
                Self::Snapshot(snapshot.view())
            }
            // The others are told of no group with state, or past the spool.
            Event::Conflict(..)
            | Event::Left(_)
            | Event::Excluded(_)
            | Event::State(_)
            | Event::TransferFailed(_)
            | Event::Stuck(_)
            | Event::HeldBack(_)
            | Event::Released(..)
            | Event::Letter { .. } => return None,
        };
        Some(kept)
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

impl Weigh for Kept {
    fn more(&self) -> usize {
        match self {
            Self::View(view) => size_of_val(view.members()),
            Self::Deliver(_, bytes) | Self::Direct(_, bytes) | Self::Sync { bytes, .. } => bytes.len(),
            Self::Wedged(heard) => size_of_val(heard.as_slice()),
            Self::Number(_) | Self::Flushed(_) | Self::Resumed | Self::Snapshot(_) => 0,
        }
    }
}
