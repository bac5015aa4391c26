//! What a group has from its view on: the streams of all, those of pairs, and what is handed over of them in which order.

use crate::flush::{FlushId, Flushes};
use crate::group::{Caster, Event, Sender, Session};
use crate::pairs::{self, Incoming, Outgoing};
use sistrum_ordering::{Endpoint, GroupId, Rank, View};
use sistrum_transport::log::{RxBlock, RxPool};
use sistrum_transport::mutated;
use sistrum_transport::protocol::{Protocol, Transmit};
use sistrum_transport::reliable::{self, Message};
use sistrum_transport::time::Instant;
use sistrum_transport::wire::Header;
use std::ops::ControlFlow;

/// See the module.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) view: View,
    pub(crate) told: bool,
    pub(crate) session: Session,
    pub(crate) outgoing: Outgoing,
    pub(crate) incoming: Incoming,
    /// By rank: its next cast could be handed over, and nothing that was sent to me alone can go before it.
    pub(crate) offered: Vec<bool>,
    /// I leave when what I sent to others alone has come to them.
    pub(crate) is_leaving: bool,
    pub(crate) flushes: Flushes,
}

impl Running {
    /// A flush that is over, and that the application has not been told of.
    #[inline]
    pub(crate) fn flushed(&self) -> Option<FlushId> {
        let (me, session) = (self.view.me().0 as usize, &self.session);
        self.flushes.over(|rank| match rank == me {
            true => session.stream().stable(),
            false => session.layer().causal().stable_up_to()[rank],
        })
    }

    pub(crate) fn handle_block(
        &mut self,
        now: Instant,
        (group, from): (GroupId, Endpoint),
        header: &Header,
        block: RxBlock,
        pool: &mut RxPool,
    ) {
        let Some(up) = pairs::direction(group, header.group) else {
            return self.session.handle_block(now, from, header, block, pool);
        };
        let Some(rank) = self.view.rank_of(from).filter(|rank| *rank != self.view.me()) else {
            return pool.release(block);
        };
        // The lower rank sends where it goes up.
        if (self.view.me() < rank) == up {
            self.outgoing.handle_block(now, (rank, from), header, block, pool);
        } else {
            self.incoming.handle_block(now, (rank, from), header, block, pool);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, pool: &mut RxPool) {
        self.session.handle_timeout(now, pool);
        self.outgoing.handle_timeout(now, pool);
        self.incoming.handle_timeout(now, pool);
        self.try_leave(now);
    }

    /// Says goodbye once nobody waits for what I sent him alone.
    pub(crate) fn try_leave(&mut self, now: Instant) {
        if self.is_leaving && self.outgoing.is_settled() {
            self.is_leaving = false;
            self.session.leave(now);
        }
    }

    /// The session that sends by this lane.
    pub(crate) fn transmit_bytes<'a>(&'a self, transmit: &Transmit, pool: &'a RxPool) -> (&'a [u8], usize) {
        let Some(lane) = transmit.lane.checked_sub(1) else {
            return self.session.transmit_bytes(transmit, pool);
        };
        let rank = Rank(lane / 2);
        let pair = if lane % 2 == 0 { self.outgoing.session(rank) } else { self.incoming.session(rank) };
        pair.map_or((&[], 1), |session| session.transmit_bytes(transmit, pool))
    }

    fn poll_incoming<H>(
        session: &mut Session,
        outgoing: &mut Outgoing,
        incoming: &mut Incoming,
        pool: &mut RxPool,
        handler: &mut H,
    ) -> usize
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        if !incoming.has_pending() {
            return 0;
        }
        let (sender, layer) = session.split();
        let delivered = layer.causal().delivered_up_to();
        incoming.poll_event(delivered, pool, &mut |message: Message<'_>| {
            handler(&mut Caster(Some((sender, outgoing))), Event::Direct(message))
        })
    }

    /// Hands over what has come to all, and to me alone.
    pub(crate) fn poll_event<H>(&mut self, pool: &mut RxPool, handler: &mut H) -> usize
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let Self { session, outgoing, incoming, offered, .. } = self;
        let (mut events, mut left) = (0, Vec::new());
        let mut broke = false;
        for _ in 0..MAX_LOOKS + offered.len() {
            let handed = Self::poll_incoming(session, outgoing, incoming, pool, handler);
            if handed > 0 {
                offered.fill(false);
            }
            events += handed;
            let mut again = false;
            broke = false;
            events += session.poll_event(pool, &mut |sender: &mut Sender, event: reliable::Event<'_>| {
                let event = match event {
                    reliable::Event::Left(rank) => {
                        left.push(rank);
                        Event::Left(rank)
                    }
                    reliable::Event::Deliver(message) => {
                        // A cast waits a moment where something waits that was sent to me alone: what may go now may be its cause.
                        let from = usize::from(message.from().0);
                        if incoming.has_pending() && !offered[from] && !mutated!(SendAtOnce) {
                            (offered[from], again) = (true, true);
                            return ControlFlow::Break(());
                        }
                        offered.fill(false);
                        Event::Deliver(message)
                    }
                };
                let flow = handler(&mut Caster(Some((sender, outgoing))), event);
                broke = flow.is_break();
                flow
            });
            if !again {
                break;
            }
        }
        events += Self::poll_incoming(session, outgoing, incoming, pool, handler);
        for rank in left {
            outgoing.depart(rank, pool);
            incoming.depart(rank, pool);
        }
        let (sender, _) = session.split();
        incoming.release(pool);
        outgoing.poll(pool);
        outgoing.release(sender);
        if broke { events } else { events + self.tell_flushed(handler) }
    }

    /// Tells of flushes that are over: what came of stability in this cycle counts in it.
    fn tell_flushed<H>(&mut self, handler: &mut H) -> usize
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        let mut events = 0;
        while let Some(flush) = self.flushed() {
            let caster = &mut Caster(Some((self.session.sender(), &mut self.outgoing)));
            if handler(caster, Event::Flushed(flush)).is_break() {
                break;
            }
            self.flushes.told();
            events += 1;
        }
        events
    }
}

/// Looks at what was sent to me alone in one cycle, beside one for each member: what is left is handed over in the next.
const MAX_LOOKS: usize = 32;
