//! Who looks at a group from outside, and is told who is in it. It gates nobody.

use crate::event::Caster;
use crate::looking::{Looking, News, ObserverConfig, Sighting};
use sistrum_ordering::{Endpoint, GroupId, ViewId, ViewNumber};
use sistrum_transport::log::{RxBlock, RxPool};
use sistrum_transport::medium::Channel;
use sistrum_transport::protocol::{Payload, Protocol, Transmit};
use sistrum_transport::time::Instant;
use sistrum_transport::wire::{Header, Kind};
use std::ops::ControlFlow;

/// It asks again after this time, or up to half as much more.
const ASK_EVERY_NS: u64 = 80_000_000;

/// What an observer is told.
#[derive(Debug)]
#[non_exhaustive]
pub enum ObserverEvent<'a> {
    /// The group is there, or has changed since it was last told.
    Seen(&'a Sighting),
    /// Nobody answers any more who was in this view.
    Unseen(ViewId),
}

/// See the module.
#[derive(Debug)]
pub struct Observer {
    looking: Looking,
    has_left: bool,
}

impl Observer {
    /// Begins to look.
    #[must_use]
    pub fn new(config: ObserverConfig) -> Self {
        Self { looking: Looking::new(config, ASK_EVERY_NS), has_left: false }
    }

    /// Looks no more: nothing is said, asked or told from now on. Returns the channel that it has no use for.
    pub fn leave(&mut self) -> Option<Channel> {
        self.has_left = true;
        self.looking.stop()
    }

    /// Whether it looks no more.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.has_left
    }

    /// The group's id.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.looking.id
    }

    /// Where the group may be found, from now on.
    pub fn set_seeds(&mut self, seeds: Vec<Endpoint>) {
        self.looking.config.seeds = seeds;
    }

    /// Takes a block of the group.
    pub fn handle_block(&mut self, from: Endpoint, header: &Header, block: RxBlock, pool: &mut RxPool) {
        let message = match header.kind {
            Kind::Agreement if !self.has_left => self.looking.receive(from, header, pool.bytes(&block)),
            _ => None,
        };
        pool.release(block);
        if let Some(message) = message {
            self.looking.handle(from, header, &message);
        }
    }
}

impl Protocol for Observer {
    type Event<'a> = ObserverEvent<'a>;
    type Caster<'a> = Caster<'a>;

    fn handle_datagram(&mut self, _: Instant, from: Endpoint, block: RxBlock, pool: &mut RxPool) {
        match Header::decode(pool.bytes(&block)) {
            Ok(header) if header.group == self.id() => self.handle_block(from, &header, block, pool),
            _ => pool.release(block),
        }
    }

    fn handle_timeout(&mut self, now: Instant, _: &mut RxPool) {
        if !self.has_left {
            self.looking.handle_timeout(now);
        }
    }

    fn poll_event<H>(&mut self, _: &mut RxPool, handler: &mut H) -> usize
    where
        H: FnMut(&mut Caster<'_>, ObserverEvent<'_>) -> ControlFlow<()>,
    {
        let mut events = 0;
        while let Some(news) = self.looking.news() {
            let event = match news {
                News::Seen(sighting) => ObserverEvent::Seen(sighting),
                News::Unseen(view) => ObserverEvent::Unseen(*view),
            };
            if handler(&mut Caster::default(), event).is_break() {
                break;
            }
            self.looking.told();
            events += 1;
        }
        events
    }

    fn seal(&mut self, _: Instant) {}

    fn poll_transmit(&mut self, _: Instant) -> Option<Transmit> {
        let to = self.looking.take_block()?;
        let (group, view, payload) = (self.looking.config.index, ViewNumber(0), Payload::Setup { slot: 0 });
        Some(Transmit { to, group, view, lane: 0, payload })
    }

    fn transmit_bytes<'a>(&'a self, _: &Transmit, _: &'a RxPool) -> (&'a [u8], usize) {
        let bytes = self.looking.bytes();
        (bytes, bytes.len())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (!self.has_left).then(|| self.looking.poll_timeout())
    }

    fn awaits_control(&self) -> bool {
        false
    }
}
