//! Who has the state gives it to those who join: as it was when the view before theirs had been handed over to its end.
//!
//! Two take that snapshot: one gives, the other stands by. Who takes asks one after the other, and says where it is.

use super::message::{Message, Place, Print};
use super::stream::{Ends, Stream};
use super::{Snapshot, shape_of};
use crate::agreement::{Introduction, Roster};
use crate::config::GroupConfig;
use crate::event::{Caster, Event};
use crate::step::{Step, reached};
use sistrum_ordering::{Endpoint, GroupInstance, Rank, ViewNumber};
use sistrum_transport::log::RxPool;
use sistrum_transport::mutated;
use sistrum_transport::reliable::Refused;
use sistrum_transport::wire::checksum;
use std::ops::ControlFlow;

/// Messages of all transfers that one cycle casts: what the members say to each other has its turn.
pub(super) const MESSAGES_A_CYCLE: usize = 16;

/// What is given to those who have joined in one view.
#[derive(Debug)]
pub(super) struct Giving {
    pub(super) cut: ViewNumber,
    takers: Vec<Introduction>,
    snapshot: Option<Taken>,
    flows: Vec<Flow>,
}

/// A snapshot, and what its domains are recognised by.
#[derive(Debug)]
pub(super) struct Taken {
    snapshot: Snapshot,
    /// Why it is given to nobody.
    refusal: Option<String>,
    prints: Vec<Print>,
}

/// What goes to one of them.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) stream: Stream,
    pub(super) at: At,
}

/// How far a flow is.
#[derive(Debug, Clone, Copy)]
pub(super) enum At {
    /// Nothing was asked for.
    Start,
    /// It was asked to begin here.
    Asked(Place, Print),
    /// A domain is to be announced, or the end.
    Announcing(Place),
    /// A block is to follow.
    Giving(Place),
    Done,
}

/// Those who give in this view, first the one who is asked first: the youngest who have the state, so that the elder ones, on whom more
/// depends, have less to do.
pub(super) fn givers(roster: &Roster) -> impl Iterator<Item = &Introduction> {
    let has_state = |rank: &Rank| !roster.is_joining(*rank) && roster.members[rank.0 as usize].keeps_state;
    let mut ranks: Vec<Rank> = roster.ranks().filter(has_state).collect();
    ranks.reverse();
    ranks.into_iter().take(GIVERS).map(|rank| &roster.members[rank.0 as usize])
}

/// One who gives, and one who stands by.
const GIVERS: usize = 2;

impl Giving {
    /// To `takers`, who have joined in the view `cut`.
    pub(super) fn new(cut: ViewNumber, takers: Vec<Introduction>) -> Self {
        Self { cut, takers, snapshot: None, flows: Vec::new() }
    }

    /// Asks the application for its state, if it has not given it.
    pub(super) fn ask<H>(&mut self, handler: &mut H) -> ControlFlow<()>
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> ControlFlow<()>,
    {
        if self.snapshot.is_some() {
            return ControlFlow::Continue(());
        }
        let mut snapshot = Snapshot::new(self.cut, false);
        handler(&mut Caster::default(), Event::Snapshot(&mut snapshot))?;
        reached(Step::SnapshotTaken);
        if !snapshot.is_put_off() {
            self.snapshot = Some(Taken::new(snapshot));
        }
        ControlFlow::Continue(())
    }

    /// Forgets those who need nothing any more; whether anybody is left.
    pub(super) fn keep_for(&mut self, roster: &Roster, pool: &mut RxPool) -> bool {
        self.takers.retain(|taker| roster.is_joining_member(taker.member));
        for flow in self.flows.extract_if(.., |flow| !roster.is_joining_member(flow.stream.peer)) {
            flow.stream.retire(pool);
        }
        !self.takers.is_empty()
    }

    /// The stream to whoever sends from here, which begins with its first block.
    pub(super) fn stream_to(
        &mut self,
        config: &GroupConfig,
        (instance, giver): (GroupInstance, &Introduction),
        from: Endpoint,
        lane: impl FnOnce() -> u16,
    ) -> Option<&mut Stream> {
        let at = match self.flows.iter().position(|flow| flow.stream.peer.endpoint == from) {
            Some(at) => at,
            None => {
                let taker = *self.takers.iter().find(|taker| taker.member.endpoint == from)?;
                let ends = Ends { instance, cut: self.cut, giver: *giver, taker, i_give: true, lane: lane() };
                self.flows.push(Flow { stream: Stream::new(config, &ends), at: At::Start });
                self.flows.len() - 1
            }
        };
        Some(&mut self.flows[at].stream)
    }

    pub(super) fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.flows.iter().map(|flow| &flow.stream)
    }

    pub(super) fn streams_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.flows.iter_mut().map(|flow| &mut flow.stream)
    }

    /// Takes what was asked for.
    pub(super) fn poll(&mut self, pool: &mut RxPool) -> usize {
        let mut events = 0;
        for Flow { stream, at } in &mut self.flows {
            events += stream.poll(pool, |message| {
                if let Message::Want { place, begun } = message {
                    *at = At::Asked(place, begun);
                }
                ControlFlow::Continue(())
            });
        }
        events
    }

    /// Gives what the streams take, at most `left` messages.
    pub(super) fn give(&mut self, left: &mut usize) {
        let Some(taken) = &self.snapshot else { return };
        for flow in &mut self.flows {
            while *left > 0 && !matches!(flow.at, At::Start | At::Done) {
                if flow.step(taken).is_err() {
                    break;
                }
                *left -= 1;
            }
        }
    }

    pub(super) fn retire(self, pool: &mut RxPool) {
        self.flows.into_iter().for_each(|flow| flow.stream.retire(pool));
    }
}

impl Flow {
    /// Gives one message more.
    pub(super) fn step(&mut self, taken: &Taken) -> Result<(), Refused> {
        self.at = match self.at {
            At::Start | At::Done => self.at,
            At::Asked(..) if taken.refusal.is_some() => {
                let why = shortened(taken.refusal.as_deref().unwrap_or_default(), self.stream.room());
                self.stream.send(&Message::Refuse { why })?;
                At::Done
            }
            At::Asked(place, begun) => At::Announcing(taken.resume(place, begun)),
            At::Announcing(place) => {
                let domain = usize::from(place.domain);
                let Some((name, bytes)) = taken.snapshot.domains().get(domain) else {
                    self.stream.send(&Message::End { domains: place.domain })?;
                    self.at = At::Done;
                    return Ok(());
                };
                self.stream.send(&Message::Begin { place, print: taken.prints[domain], name })?;
                if bytes.is_empty() { At::Announcing(place.next_domain()) } else { At::Giving(place) }
            }
            At::Giving(place) => {
                let (_, bytes) = &taken.snapshot.domains()[usize::from(place.domain)];
                let from = place.offset as usize;
                let to = bytes.len().min(from + self.stream.room());
                self.stream.send(&Message::Block { place, bytes: &bytes[from..to] })?;
                if to == bytes.len() {
                    At::Announcing(place.next_domain())
                } else {
                    At::Giving(Place { offset: to as u64, ..place })
                }
            }
        };
        Ok(())
    }
}

impl Taken {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        let shape = shape_of(snapshot.domains());
        let print = |bytes: &Vec<u8>| Print { len: bytes.len() as u64, digest: checksum(bytes), shape };
        let prints = snapshot.domains().iter().map(|(_, bytes)| print(bytes)).collect();
        let refusal = snapshot.refusal().map(str::to_owned).or_else(|| unfit(snapshot.domains()));
        Self { snapshot, refusal, prints }
    }

    /// Where it goes on for one who has come so far with a domain that `begun` so.
    fn resume(&self, place: Place, begun: Print) -> Place {
        let print = self.prints.get(usize::from(place.domain));
        let knows_domains = begun == Print::default() || begun.shape == shape_of(self.snapshot.domains());
        if !knows_domains {
            return Place::default();
        }
        let is_same = print == Some(&begun) && place.offset < begun.len;
        if is_same || mutated!(ResumeAnything) { place } else { Place { offset: 0, ..place } }
    }
}

/// What cannot be given at all, and why.
fn unfit(domains: &[(String, Vec<u8>)]) -> Option<String> {
    let long = domains.iter().find(|(name, _)| name.len() > MAX_NAME);
    let too_many = domains.len() > MAX_DOMAINS;
    match long {
        Some((name, _)) => {
            Some(format!("the name of a domain has {} bytes, {MAX_NAME} are allowed", name.len()))
        }
        None => too_many.then(|| format!("there are {} domains, {MAX_DOMAINS} are allowed", domains.len())),
    }
}

/// As much of a text as has so many bytes at most.
fn shortened(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

/// Bytes of the name of a domain, at most: a block holds it, however small.
const MAX_NAME: usize = 64;
const MAX_DOMAINS: usize = 4096;
