//! What a reader is told while the state comes that it begins with.

use super::ViewReaderEvent;
use crate::event::Caster;
use crate::transfer::Weigh;
use sistrum_ordering::{Rank, Seq, View, ViewId, ViewMember, ViewNumber};
use sistrum_transport::reliable::Message;
use std::ops::ControlFlow;

/// One event.
#[derive(Debug)]
pub(super) enum Kept {
    View(Box<View>),
    Deliver(Rank, Box<[u8]>),
    Sync { from: ViewMember, next: ViewNumber, bytes: Box<[u8]> },
    Reading(Rank, Seq),
    Gap(Rank, u64),
    Retracted(Rank, u64),
    Missed(ViewId),
}

impl Kept {
    /// What is told, where it is to be kept.
    pub(super) fn of(event: ViewReaderEvent<'_>) -> Option<Self> {
        let kept = match event {
            ViewReaderEvent::View(view) => Self::View(Box::new(view.clone())),
            ViewReaderEvent::Deliver(message) => Self::Deliver(message.from(), Box::from(message.bytes())),
            ViewReaderEvent::Sync { from, next, bytes } => Self::Sync { from, next, bytes: Box::from(bytes) },
            ViewReaderEvent::Reading(rank, seq) => Self::Reading(rank, seq),
            ViewReaderEvent::Gap(rank, blocks) => Self::Gap(rank, blocks),
            ViewReaderEvent::Retracted(rank, blocks) => Self::Retracted(rank, blocks),
            ViewReaderEvent::Missed(id) => Self::Missed(id),
            // The state is what the others wait for.
            ViewReaderEvent::State(_) | ViewReaderEvent::TransferFailed(_) => return None,
        };
        Some(kept)
    }

    /// Hands it over.
    pub(super) fn tell<H>(&self, handler: &mut H) -> ControlFlow<()>
    where
        H: FnMut(&mut Caster<'_>, ViewReaderEvent<'_>) -> ControlFlow<()>,
    {
        let event = match self {
            Self::View(view) => ViewReaderEvent::View(view),
            Self::Deliver(from, bytes) => ViewReaderEvent::Deliver(Message::whole(*from, bytes)),
            Self::Sync { from, next, bytes } => ViewReaderEvent::Sync { from: *from, next: *next, bytes },
            Self::Reading(rank, seq) => ViewReaderEvent::Reading(*rank, *seq),
            Self::Gap(rank, blocks) => ViewReaderEvent::Gap(*rank, *blocks),
            Self::Retracted(rank, blocks) => ViewReaderEvent::Retracted(*rank, *blocks),
            Self::Missed(id) => ViewReaderEvent::Missed(*id),
        };
        handler(&mut Caster::default(), event)
    }
}

impl Weigh for Kept {
    fn more(&self) -> usize {
        match self {
            Self::View(view) => size_of_val(view.members()),
            Self::Deliver(_, bytes) | Self::Sync { bytes, .. } => bytes.len(),
            Self::Reading(..) | Self::Gap(..) | Self::Retracted(..) | Self::Missed(_) => 0,
        }
    }
}
