//! What a session has counted, and what it can tell of losses, on both ends.

use super::super::gaps::{Gap, PeerLosses};
use super::super::layer::Layer;
use super::super::stream::Stream;
use super::super::{Cause, Session, SessionCounters};
use super::Timer;
use crate::id::Rank;

impl<L: Layer> Session<L> {
    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> SessionCounters {
        let malformed_frames = self.counters.malformed_frames + self.layer.misbehaved();
        let (_, reductions, reductions_undone) = self.sender.congestion();
        SessionCounters {
            repairs_sent: self.sender.repairs(),
            malformed_frames,
            reductions,
            reductions_undone,
            ..self.counters
        }
    }

    /// The open and the recent gaps: first what others have lost of my stream, then what I have lost of theirs.
    pub fn gaps(&self) -> impl Iterator<Item = Gap> + '_ {
        let me = self.config.me;
        self.sender.gaps().chain(self.others().flat_map(move |(_, stream)| stream.gaps(me)))
    }

    /// The losses between me and each other member, as far as I know of them.
    pub fn losses(&self) -> impl Iterator<Item = (Rank, PeerLosses)> + '_ {
        self.others().map(|(rank, stream)| (rank, self.sender.losses(rank, stream.losses())))
    }

    /// Whether a gap was noticed whose cause [`explain`](Self::explain) should say: one look while nothing is missing.
    #[inline]
    #[must_use]
    pub fn is_unexplained(&self) -> bool {
        self.timers[Timer::Nak as usize].is_some() && self.others().any(|(_, stream)| stream.is_unexplained())
    }

    /// What was noticed to be missing was most likely lost by `cause`: the driver knows what its medium has lost.
    pub fn explain(&mut self, cause: Cause) {
        self.streams.iter_mut().flatten().for_each(|stream| stream.explain(cause));
    }

    fn others(&self) -> impl Iterator<Item = (Rank, &Stream)> {
        let ranked = (0..).map(Rank).zip(&self.streams);
        ranked
            .filter(|(rank, _)| *rank != self.config.me)
            .filter_map(|(rank, stream)| Some((rank, stream.as_ref()?)))
    }
}
