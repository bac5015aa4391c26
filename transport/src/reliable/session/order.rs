//! Where an ordering layer meets the streams: it is shown what is held, and says how far each stream may be delivered.

use super::super::layer::{Blocks, Layer};
use super::super::stream::Stream;
use super::{Event, Message, Sender, Session};
use crate::id::{Rank, Seq};
use crate::log::{RxPool, SendLog};
use std::ops::ControlFlow;

/// What is held of all streams. My own blocks are in the log before they come back to me.
pub(super) struct Held<'a> {
    pub(super) streams: &'a [Option<Stream>],
    pub(super) pool: &'a RxPool,
    pub(super) me: Rank,
    pub(super) log: &'a SendLog,
    /// The end of my own stream: of what is sealed where frames are read, of what has come back where it is let through.
    pub(super) mine: Seq,
}

impl Blocks for Held<'_> {
    #[inline]
    fn block(&self, rank: Rank, seq: Seq) -> Option<&[u8]> {
        let held = self.streams.get(rank.0 as usize)?.as_ref()?.block(seq, self.pool);
        if rank == self.me { held.or_else(|| self.log.sealed(seq)) } else { held }
    }

    fn next(&self, rank: Rank) -> Seq {
        if rank == self.me {
            return self.mine;
        }
        self.streams.get(rank.0 as usize).and_then(Option::as_ref).map_or(Seq(0), Stream::shown)
    }
}

impl<L: Layer> Session<L> {
    /// Shows the layer what has come of the stream of `rank`.
    pub(super) fn show(&mut self, rank: Rank, pool: &RxPool) {
        let (log, out) = self.sender.split();
        let held = Held { streams: &self.streams, pool, me: self.config.me, log, mine: log.open() };
        self.layer.held(rank, &held, out);
        self.ready.insert(rank);
    }

    /// Takes what I have sealed into my own stream: totals come back to me in their place, the rest is passed over. All of it is read
    /// at once, whether there is a place for it or not: the order that I tell may be what makes room.
    pub(super) fn take_own(&mut self, pool: &mut RxPool) {
        let me = self.config.me;
        let Some(own) = &mut self.streams[me.0 as usize] else { return };
        let (before, open) = (own.held(), self.sender.open());
        let (log, _) = self.sender.split();
        self.own_waits = false;
        let mut is_plain = true;
        while own.held() < open {
            let (seq, order) = (own.held(), log.order(own.held()));
            let passed = order & L::COMES_BACK == 0 && own.pass();
            if !passed && !log.sealed(seq).is_some_and(|bytes| own.echo(bytes, pool)) {
                self.own_waits = true;
                break;
            }
            is_plain &= passed && self.layer.passes(me, seq, order);
        }
        let held = own.held();
        if held == before && open == self.shown {
            return;
        }
        self.shown = open;
        if is_plain && held == open {
            own.admit(held);
            self.layer.delivered(me, held);
        } else {
            self.show(me, pool);
            let (log, _) = self.sender.split();
            let gate = self.layer.admit(me, &Held { streams: &self.streams, pool, me, log, mine: held });
            self.streams[me.0 as usize].iter_mut().for_each(|own| own.admit(gate));
        }
        // Only now: what the others have delivered may be forgotten at once.
        self.sender.keep(held);
    }

    /// Whether something of mine has not come back to me yet, and could.
    pub(super) fn has_own_left(&self) -> bool {
        let own = self.streams[self.config.me.0 as usize].as_ref();
        L::ORDERS && !self.own_waits && own.is_some_and(|own| own.held() < self.sender.open())
    }

    /// Tells of those who are gone and have been delivered to their end, the layer first; returns of how many.
    pub(super) fn tell_departures<H>(&mut self, pool: &RxPool, handler: &mut H) -> usize
    where
        H: FnMut(&mut Sender<L::Outbound>, Event<'_>) -> ControlFlow<()>,
    {
        let Self { sender, streams, layer, departures, config, .. } = self;
        let streams = &*streams;
        departures.tell(streams, &mut |rank| {
            let (log, out) = sender.split();
            layer.departed(rank, &Held { streams, pool, me: config.me, log, mine: log.open() }, out);
            handler(sender, Event::Left(rank))
        })
    }

    /// Delivers what is ready, and what becomes ready by that, until the handler breaks.
    pub(super) fn deliver_ready<H>(
        &mut self,
        pool: &mut RxPool,
        delivered: &mut usize,
        handler: &mut H,
    ) -> ControlFlow<()>
    where
        H: FnMut(&mut Sender<L::Outbound>, Event<'_>) -> ControlFlow<()>,
    {
        loop {
            while let Some(rank) = self.layer.woken() {
                self.ready.insert(rank);
            }
            if let Some(rank) = self.deliver_round(pool, delivered, handler) {
                // The others have their turn before it. What they sent may be what frees the room that the handler waits for.
                self.ready.move_to_end(rank);
                return ControlFlow::Break(());
            }
            if !L::ORDERS || !self.layer.has_woken() {
                return ControlFlow::Continue(());
            }
        }
    }

    /// Looks once at every stream that is ready; returns the one whose event the handler refused.
    fn deliver_round<H>(&mut self, pool: &mut RxPool, delivered: &mut usize, handler: &mut H) -> Option<Rank>
    where
        H: FnMut(&mut Sender<L::Outbound>, Event<'_>) -> ControlFlow<()>,
    {
        let Self { sender, streams, layer, counters, config, ready, .. } = self;
        let mut broke_at = None;
        ready.retain(|rank| {
            if broke_at.is_some() {
                return true;
            }
            let has_gate = streams[rank.0 as usize].as_ref().is_some_and(Stream::has_gate);
            if L::ORDERS && has_gate {
                let (log, _) = sender.split();
                let mine = streams[config.me.0 as usize].as_ref().map_or(Seq(0), Stream::held);
                let gate = layer.admit(rank, &Held { streams, pool, me: config.me, log, mine });
                streams[rank.0 as usize].iter_mut().for_each(|stream| stream.admit(gate));
            }
            let Some(stream) = streams[rank.0 as usize].as_mut() else { return false };
            if L::ORDERS {
                sender.depend(rank, stream.limit());
            }
            let mut deliver = |message: Message<'_>| handler(sender, Event::Deliver(message));
            let broke = stream.deliver(pool, counters, delivered, &mut deliver).is_break();
            stream.release(pool);
            if L::ORDERS {
                layer.delivered(rank, stream.passed());
            }
            broke_at = broke.then_some(rank);
            broke
        });
        broke_at
    }
}
