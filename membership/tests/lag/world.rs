//! Two members that cast, and a reader with an application, on the simulated network.

use crate::app::{App, HEAD, PLAIN};
use crate::feed::Feed;
use fastrand::Rng;
use sistrum_membership::lag::LagCounters;
use sistrum_membership::{Caster, Event, Group};
use sistrum_ordering::{Order, Seq};
use sistrum_transport::engine::Cycle;
use sistrum_transport::medium::{Network, Sim, SimOptions};
use sistrum_transport::reliable::{OwnOrder, Reader, ReaderEvent, SessionCounters};
use sistrum_transport::time::{Clock, Instant, ManualClock};
use std::ops::ControlFlow;

const MEMBERS: usize = 2;
const WINDOW: usize = 256;
const CASTS: u32 = 300;
const KEYS: u8 = 6;

/// What became of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What was wrong first.
    pub(crate) wrong: Option<String>,
    pub(crate) counters: LagCounters,
    /// Casts that were refused.
    pub(crate) refused: u32,
    pub(crate) members: Vec<SessionCounters>,
    /// By sender: what was delivered to the reader.
    pub(crate) delivered: Vec<Vec<u32>>,
}

struct Member {
    group: Group,
    cycle: Cycle<Sim, ManualClock>,
    has_view: bool,
    cast: u32,
    refused: u32,
}

struct Audience {
    reader: Reader,
    cycle: Cycle<Sim, ManualClock>,
    app: App,
}

fn member(feed: &Feed<'_>, me: u16, seed: u64) -> Member {
    let (group, cycle) = feed.member(me, Seq(0), seed);
    Member { group, cycle, has_view: false, cast: 0, refused: 0 }
}

fn audience(feed: &Feed<'_>, app: App) -> Audience {
    let (reader, cycle) = feed.reader(OwnOrder);
    Audience { reader, cycle, app }
}

impl Member {
    /// Casts now and then, about this key or another.
    fn turn(&mut self, (hot, often): (u8, u8), rng: &mut Rng) {
        let Self { group, cycle, has_view, cast, refused } = self;
        let (goes, key, len) = (rng.u8(..3) == 0, rng.u8(..KEYS + 1), rng.usize(..200));
        let key = match key {
            KEYS => PLAIN,
            _ if rng.u8(..10) < often => hot,
            key => key,
        };
        let is_long = rng.u8(..40) == 0;
        if *has_view && *cast < CASTS && goes {
            let mut text = [&cast.to_le_bytes()[..], &[key]].concat();
            text.resize(HEAD + if is_long { 10 * len } else { len }, *cast as u8);
            match group.sender().unwrap().cast_as(Order::Fifo.into(), &text) {
                Ok(()) => *cast += 1,
                Err(_) => *refused += 1,
            }
        }
        let mut handler = |_: &mut Caster<'_>, event: Event<'_>| {
            *has_view |= matches!(event, Event::View(_));
            ControlFlow::Continue(())
        };
        cycle.turn(group, &mut handler).unwrap();
    }
}

impl Audience {
    fn turn(&mut self, now: Instant, rng: &mut Rng) {
        let Self { reader, cycle, app } = self;
        app.begin(now, rng);
        let mut handler = |(): &mut (), event: ReaderEvent<'_>| {
            app.deliver(event);
            ControlFlow::Continue(())
        };
        cycle.turn(reader, &mut handler).unwrap();
        if rng.u8(..60) == 0 {
            app.come_back();
        }
    }
}

/// Runs a feed with a reader whose application is slow, or takes everything.
pub(crate) fn run(seed: u64, is_slow: bool) -> Outcome {
    let rng = &mut Rng::with_seed(seed);
    // What the application does leaves the network as it is.
    let moods = &mut rng.fork();
    let mut clock = ManualClock::default();
    clock.advance_ns(1);
    let loss = [0.0, 0.02, 0.05][rng.usize(..3)];
    let storm = SimOptions { loss, delay_ns: 1_000..1_000 + rng.u64(1..100_000), ..SimOptions::default() };
    let network = Network::new(seed, clock.clone(), storm);
    let heat = (rng.u8(..KEYS), [0, 5, 9][rng.usize(..3)]);
    let feed = Feed { network: &network, clock: &clock, members: MEMBERS, window: WINDOW };
    let mut audience = audience(&feed, App::new(moods, is_slow));
    let mut members: Vec<_> = (0..MEMBERS as u16).map(|me| member(&feed, me, seed)).collect();
    let mut rest = 400;
    while rest > 0 {
        members.iter_mut().for_each(|member| member.turn(heat, rng));
        audience.turn(clock.now(), moods);
        clock.advance_ns(rng.u64(500..40_000));
        let is_over = members.iter().all(|member| member.cast == CASTS && member.group.is_settled());
        rest -= u32::from(is_over);
    }
    let wrong = audience.app.end();
    Outcome {
        wrong,
        counters: audience.app.backlog.standing().counters,
        refused: members.iter().map(|member| member.refused).sum(),
        members: members.iter().map(|member| member.group.counters()).collect(),
        delivered: audience.app.delivered(),
    }
}
