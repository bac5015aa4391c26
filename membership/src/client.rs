//! A client of a group: it looks who is in it, and asks by whichever member answers. It is in no view and gates nobody.
//!
//! What it does and says is up to [`ClientEnd`](crate::clients::ClientEnd); here is what brings it to the network. It asks often who is in the group as
//! long as no member has taken it in, and seldom from then on: members have many clients.

use crate::agreement::{Letter, Message};
use crate::call::Want;
use crate::clients::{AskError, AskId, ClientEnd, ClientEvent, ClientTuning, Dest};
use crate::event::Caster;
use crate::looking::{Looking, ObserverConfig};
use crate::mail::Mail;
use sistrum_ordering::{BootId, Endpoint, GroupId, GroupInstance, Rank, ViewMember, ViewNumber};
use sistrum_transport::log::{RxBlock, RxPool};
use sistrum_transport::protocol::{Payload, Protocol, Transmit};
use sistrum_transport::time::Instant;
use sistrum_transport::wire::{Header, Kind};
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// It asks again after this time, or up to half as much more, while it has no member to ask by, and once it has one.
const ASK_EVERY_NS: u64 = 80_000_000;
const ASK_SELDOM_NS: u64 = 2_000_000_000;
/// Where it knows of nobody, the first answer counts after this time.
const FIRST_WAIT_NS: u64 = 2_000_000;
/// Letters go out of another slot than questions.
const LETTERS: u16 = 1;

/// See the module.
#[derive(Debug)]
pub struct Client {
    looking: Looking,
    mail: Mail,
    end: ClientEnd,
    /// The life of the group that I ask, and who is in it.
    life: Option<GroupInstance>,
    members: Vec<ViewMember>,
    news: VecDeque<ClientEvent>,
}

impl Client {
    /// Begins to look for the group, as this incarnation.
    #[must_use]
    pub fn new(config: ObserverConfig, boot: BootId, tuning: ClientTuning) -> Self {
        let me = ViewMember { endpoint: config.local, boot };
        Self {
            mail: Mail::new(config.local, config.block),
            end: ClientEnd::new(me, tuning, config.seed),
            looking: Looking::new(config, ASK_EVERY_NS),
            life: None,
            members: Vec::new(),
            news: VecDeque::new(),
        }
    }

    /// The group's id.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.looking.id
    }

    /// Who I am now: somebody new whenever the group has struck me off.
    #[must_use]
    pub fn me(&self) -> ViewMember {
        self.end.me()
    }

    /// Where the group may be found, from now on.
    pub fn set_seeds(&mut self, seeds: Vec<Endpoint>) {
        self.looking.config.seeds = seeds;
    }

    /// Asks all of the group, or one of it; [`ClientEvent::Done`] tells what has become of it.
    ///
    /// # Errors
    /// When nothing has come of it.
    pub fn ask(&mut self, now: Instant, dest: Dest, want: Want, request: &[u8]) -> Result<AskId, AskError> {
        let ask = self.end.ask(now, dest, want, request);
        self.drain();
        ask
    }

    /// Says goodbye; what is open ends.
    pub fn leave(&mut self, now: Instant) {
        self.end.leave(now);
        self.drain();
    }

    /// Whether that was heard, or nobody answers.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.end.is_over()
    }

    /// Takes a block of the group.
    pub fn handle_block(
        &mut self,
        now: Instant,
        from: Endpoint,
        header: &Header,
        block: RxBlock,
        pool: &mut RxPool,
    ) {
        let is_sighted = self.members.iter().any(|member| member.endpoint == from);
        let message = match header.kind {
            // Nobody else takes the room of what members say.
            Kind::Agreement if is_sighted => self.mail.receive(from, header, pool.bytes(&block)),
            Kind::Agreement => self.looking.receive(from, header, pool.bytes(&block)),
            _ => None,
        };
        pool.release(block);
        match message {
            Some(Message::Letter(Letter(bytes))) if is_sighted && self.life == Some(header.instance) => {
                self.end.handle(now, from, &bytes);
                self.drain();
            }
            Some(message @ Message::Found { .. }) => {
                self.looking.handle(from, header, &message);
                if self.life.is_none() {
                    self.looking.ask_by(now.plus_ns(FIRST_WAIT_NS));
                }
            }
            _ => {}
        }
    }

    /// Takes who was seen: of the lives of the group that goes on, and is the present one, and is the largest.
    fn look(&mut self, now: Instant) {
        let mut has_news = false;
        while self.looking.news().is_some() {
            self.looking.told();
            has_news = true;
        }
        if !has_news {
            return;
        }
        let life = self.life;
        let best = self
            .looking
            .known()
            .max_by_key(|seen| (!seen.is_wedged, life == Some(seen.view.instance), seen.members.len()));
        match best {
            Some(seen) => {
                self.life = Some(seen.view.instance);
                self.members.clone_from(&seen.members);
                self.end.see(now, &self.members);
            }
            None => {
                (self.life, self.members) = (None, Vec::new());
                self.end.unseen(now);
            }
        }
    }

    /// Takes what the end has to say and to tell.
    fn drain(&mut self) {
        let names = (self.looking.id, self.life.unwrap_or_default(), ViewNumber(0), Rank(0));
        while let Some((to, bytes)) = self.end.poll_letter() {
            // What there is no room for is said again.
            self.mail.send(to, names, bytes);
        }
        self.news.extend(std::iter::from_fn(|| self.end.poll_event()));
    }
}

impl Protocol for Client {
    type Event<'a> = &'a ClientEvent;
    type Caster<'a> = Caster<'a>;

    fn handle_datagram(&mut self, now: Instant, from: Endpoint, block: RxBlock, pool: &mut RxPool) {
        match Header::decode(pool.bytes(&block)) {
            Ok(header) if header.group == self.id() => self.handle_block(now, from, &header, block, pool),
            _ => pool.release(block),
        }
    }

    fn handle_timeout(&mut self, now: Instant, _: &mut RxPool) {
        self.looking.handle_timeout(now);
        self.look(now);
        if self.end.poll_timeout().is_some_and(|due| due <= now) {
            self.end.handle_timeout(now);
        }
        self.drain();
        let is_settled = self.end.host().is_some() || self.end.is_over();
        self.looking.set_pace(now, if is_settled { ASK_SELDOM_NS } else { ASK_EVERY_NS });
    }

    fn poll_event<H>(&mut self, _: &mut RxPool, handler: &mut H) -> usize
    where
        H: FnMut(&mut Caster<'_>, &ClientEvent) -> ControlFlow<()>,
    {
        let mut events = 0;
        while let Some(event) = self.news.front() {
            if handler(&mut Caster::default(), event).is_break() {
                break;
            }
            self.news.pop_front();
            events += 1;
        }
        events
    }

    fn seal(&mut self, _: Instant) {}

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        let (group, view, lane) = (self.looking.config.index, ViewNumber(0), 0);
        if let Some(to) = self.looking.take_block() {
            return Some(Transmit { to, group, view, lane, payload: Payload::Setup { slot: 0 } });
        }
        let to = self.mail.take(now)?;
        Some(Transmit { to, group, view, lane, payload: Payload::Setup { slot: LETTERS } })
    }

    fn transmit_bytes<'a>(&'a self, transmit: &Transmit, _: &'a RxPool) -> (&'a [u8], usize) {
        let bytes = match transmit.payload {
            Payload::Setup { slot: LETTERS } => self.mail.bytes(),
            _ => self.looking.bytes(),
        };
        (bytes, bytes.len())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let letters = self.mail.poll_timeout().into_iter().chain(self.end.poll_timeout());
        letters.chain([self.looking.poll_timeout()]).min()
    }

    fn awaits_control(&self) -> bool {
        false
    }
}
