//! The state as it comes to a reader: first where each stream goes on behind it, then its blocks.

use super::lending::Begin;
use super::message::Message;
use super::stream::{Ends, Stream};
use super::taker::Taking;
use crate::agreement::Introduction;
use crate::config::GroupConfig;
use crate::event::{Caster, Event};
use sistrum_ordering::{Endpoint, GroupInstance, Rank, Seq, ViewNumber};
use sistrum_transport::log::{RxBlock, RxPool};
use sistrum_transport::protocol::{Protocol as _, Transmit};
use sistrum_transport::time::Instant;
use sistrum_transport::wire::Header;
use std::ops::ControlFlow;

/// See the module.
#[derive(Debug)]
pub(crate) struct Borrowed {
    taking: Taking,
    giver: Endpoint,
    stream_id: GroupInstance,
    /// All of where the streams go on has come.
    is_begun: bool,
}

impl Borrowed {
    /// From `giver`, as `config` says of me, in the view `number` and by a stream that I have named.
    pub(crate) fn new(
        config: &GroupConfig,
        (number, stream_id): (ViewNumber, GroupInstance),
        giver: Introduction,
        lane: u16,
    ) -> Self {
        let taker = config.introduction();
        let ends = Ends { instance: stream_id, cut: number, giver, taker, i_give: false, lane };
        let mut taking = Taking::new(number, taker, vec![giver], 0);
        taking.stream = Some(Stream::new(config, &ends));
        Self { taking, giver: giver.member.endpoint, stream_id, is_begun: false }
    }

    /// The view that it is of.
    pub(crate) fn view(&self) -> ViewNumber {
        self.taking.cut
    }

    pub(crate) fn handle_block(
        &mut self,
        (now, from): (Instant, Endpoint),
        header: &Header,
        block: RxBlock,
        pool: &mut RxPool,
    ) {
        let stream = self.taking.stream.as_mut();
        match stream.filter(|_| (from, header.instance) == (self.giver, self.stream_id)) {
            Some(stream) => stream.session.handle_block(now, from, header, block, pool),
            None => pool.release(block),
        }
    }

    /// Adds to `begins` where the streams go on; whether anything has come.
    pub(crate) fn poll_begins(&mut self, begins: &mut Vec<Begin>, pool: &mut RxPool) -> bool {
        let Some(stream) = self.taking.stream.as_mut().filter(|_| !self.is_begun) else { return false };
        let (before, is_begun) = (begins.len(), &mut self.is_begun);
        stream.poll(pool, |message| match message {
            Message::From { rank, seq, at, next, is_read, vector } => {
                let (rank, seq, next) = (Rank(rank), Seq(seq), Seq(next));
                begins.push(Begin { rank, seq, at, next, is_read, vector: vector.to_vec() });
                ControlFlow::Continue(())
            }
            // What follows is the state.
            _ => {
                *is_begun = true;
                ControlFlow::Break(())
            }
        });
        *is_begun || begins.len() > before
    }

    /// Whether the state may come, or why it does not.
    pub(crate) fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// Hands the state over as it comes; counts the events.
    pub(crate) fn poll<H>(&mut self, pool: &mut RxPool, handler: &mut H) -> usize
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let events = self.taking.poll(pool, handler);
        events + self.taking.tell_failure(handler)
    }

    /// Whether it is whole, or will not come and that was told.
    pub(crate) fn is_over(&self) -> bool {
        self.taking.is_loaded() || self.taking.is_told_failed()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, pool: &mut RxPool) {
        if let Some(stream) = &mut self.taking.stream {
            stream.session.handle_timeout(now, pool);
        }
    }

    pub(crate) fn seal(&mut self, now: Instant) {
        if let Some(stream) = &mut self.taking.stream {
            stream.session.seal(now);
        }
    }

    pub(crate) fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        self.taking.stream.as_mut()?.session.poll_transmit(now)
    }

    pub(crate) fn transmit_bytes<'a>(&'a self, transmit: &Transmit, pool: &'a RxPool) -> (&'a [u8], usize) {
        let stream = self.taking.stream.as_ref();
        stream.map_or((&[], 1), |stream| stream.session.transmit_bytes(transmit, pool))
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.taking.stream.as_ref()?.session.poll_timeout()
    }

    pub(crate) fn retire(self, pool: &mut RxPool) {
        self.taking.stream.into_iter().for_each(|stream| stream.retire(pool));
    }
}
