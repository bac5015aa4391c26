//! Who has said goodbye, and whether I have.

use super::layer::Outbound;
use super::sender::Sender;
use super::stream::Stream;
use crate::id::{Rank, Seq};
use crate::wire::Goodbye;
use std::ops::ControlFlow;

/// A goodbye is not acknowledged, so it is said as often as this.
const GOODBYES: u32 = 4;

/// The goodbyes of one view.
#[derive(Debug, Default)]
pub(super) struct Departures {
    /// Those who have said goodbye, where their streams end, and whether the application has been told.
    departed: Vec<(Rank, Seq, bool)>,
    /// How often I still have to say it, once I want to leave.
    to_say: Option<u32>,
}

impl Departures {
    /// `rank` has said goodbye: it gates nobody from now on.
    pub(super) fn note<O: Outbound>(&mut self, rank: Rank, goodbye: Goodbye, sender: &mut Sender<O>) {
        if self.departed.iter().all(|(known, ..)| *known != rank) {
            self.departed.push((rank, goodbye.end, false));
            sender.excuse(rank);
        }
    }

    /// Tells of those whose streams have been delivered to their end, until the handler breaks; returns of how many.
    pub(super) fn tell(
        &mut self,
        streams: &[Option<Stream>],
        handler: &mut impl FnMut(Rank) -> ControlFlow<()>,
    ) -> usize {
        let mut events = 0;
        for (rank, end, told) in self.departed.iter_mut().filter(|(.., told)| !told) {
            let stream = streams.get(rank.0 as usize).and_then(Option::as_ref);
            if stream.is_none_or(|stream| stream.status().delivered >= *end) {
                if handler(*rank).is_break() {
                    return events;
                }
                *told = true;
                events += 1;
            }
        }
        events
    }

    pub(super) fn leave(&mut self) {
        self.to_say.get_or_insert(GOODBYES);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.to_say.is_some()
    }

    pub(super) fn has_left(&self) -> bool {
        self.to_say == Some(0)
    }

    pub(super) fn said(&mut self) {
        self.to_say = self.to_say.map(|left| left.saturating_sub(1));
    }
}
