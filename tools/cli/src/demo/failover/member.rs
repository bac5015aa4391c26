//! One process of a failover: all keep the same book. Of the publishers, the first one that is in the view publishes; where that changes,
//! the next one goes on behind what it has been handed, which is what all the others have been handed.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::book::{Book, Coming};
use super::frame::Frame;
use super::lines::{Had, Part, Say, Seen, Tell};
use crate::capture::Feed;
use crate::demo::api::{
    Clock, Endpoint, Event, Group, Instant, JoinOptions, MonotonicClock, Node, Order, Rank, Refused,
    StateTuning, View,
};
use crate::demo::lines::{Counted, Latency};
use crate::demo::member::{Link, Stopped, WAIT, config, run_play};
use crate::demo::options::Pace;

/// Plays the part that the parent gives; the process's exit status.
pub(crate) fn run() -> ExitCode {
    run_play(play, |why| Say::Failed { why })
}

fn play(link: &Link<Tell>) -> Result<(), Stopped> {
    let part = match link.next()? {
        Tell::Open(part) => part,
        other => return Err(Stopped::unexpected(&other)),
    };
    let Part { place, order, publishes } = &part;
    let feed = match publishes {
        Some((source, pace)) => {
            Some((source.load().map_err(|refusal| Stopped::Failed(refusal.to_string()))?, *pace))
        }
        None => None,
    };
    let mut node = Node::open(config(place))?;
    link.say(&Say::Opened { endpoint: node.endpoint().0, medium: node.medium().to_owned() })?;
    let (expected, most, publishers) = match link.next()? {
        Tell::Join { expected, most, publishers } => (expected, most, publishers),
        other => return Err(Stopped::unexpected(&other)),
    };
    let options = JoinOptions::peer()
        .multicast(place.group.into())
        .expected_members(expected)
        .max_members(most)
        .suspect_after(place.suspect_after)
        .keep_state(StateTuning::default());
    let group = node.join("ticks", options)?;
    Player::new(node, group, (link, *order), publishers, feed)?.live()
}

/// A member at work.
struct Player<'a> {
    node: Node,
    group: Group,
    link: &'a Link<Tell>,
    order: Order,
    publishers: Vec<SocketAddr>,
    publisher: Option<Publisher>,
    keeper: Keeper,
    listen_at: Instant,
    progress_at: Instant,
    has_ended: bool,
}

/// What a publisher has to publish.
struct Publisher {
    feed: Feed,
    pace: Pace,
    is_started: bool,
    is_finishing: bool,
    /// The number of the next message, where I am the one to publish, and when the first of mine was due.
    next: Option<(u64, Instant)>,
    /// It has cast the end.
    is_done: bool,
    frame: Vec<u8>,
}

/// What is handed over, and what becomes of it.
struct Keeper {
    book: Book,
    coming: Coming,
    view: Option<View>,
    /// Messages cast by others were delivered last then.
    heard_at: Instant,
    /// A view has come, and no message of another since.
    waits: Option<u32>,
    latency: Histogram<u64>,
    says: Vec<Say>,
    has_end: bool,
    trouble: Option<String>,
}

impl<'a> Player<'a> {
    fn new(
        node: Node,
        group: Group,
        (link, order): (&'a Link<Tell>, Order),
        publishers: Vec<SocketAddr>,
        feed: Option<(Feed, Pace)>,
    ) -> Result<Self, Stopped> {
        let publisher = feed.map(|(feed, pace)| Publisher {
            feed,
            pace,
            is_started: false,
            is_finishing: false,
            next: None,
            is_done: false,
            frame: Vec::new(),
        });
        let keeper = Keeper {
            book: Book::default(),
            coming: Coming::default(),
            view: None,
            heard_at: Instant::default(),
            waits: None,
            latency: Histogram::new_with_bounds(1, LONGEST_LATENCY_NS, 3)?,
            says: Vec::new(),
            has_end: false,
            trouble: None,
        };
        let (listen_at, progress_at, has_ended) = Default::default();
        Ok(Self {
            node,
            group,
            link,
            order,
            publishers,
            publisher,
            keeper,
            listen_at,
            progress_at,
            has_ended,
        })
    }

    fn live(mut self) -> Result<(), Stopped> {
        loop {
            let wait = self.publish()?;
            let keeper = &mut self.keeper;
            let before = keeper.book.messages();
            self.node.poll_for(wait, |_, event| {
                keeper.handle(event);
                Ok(())
            })?;
            let now = MonotonicClock.now();
            if keeper.book.messages() > before {
                keeper.heard_at = now;
            }
            if let Some(why) = keeper.trouble.take() {
                return Err(Stopped::Failed(why));
            }
            for say in keeper.says.drain(..) {
                self.link.say(&say)?;
            }
            self.end(now)?;
            if now >= self.progress_at {
                self.progress_at = now.plus_ns(PROGRESS_EVERY_NS);
                self.link.say(&Say::Progress { messages: self.keeper.book.messages() })?;
            }
            if now >= self.listen_at {
                self.listen_at = now.plus_ns(LISTEN_EVERY_NS);
                match (self.link.heard()?, &mut self.publisher) {
                    (Some(Tell::Stop), _) => return Ok(()),
                    (Some(Tell::Start), Some(publisher)) => publisher.is_started = true,
                    (Some(Tell::Finish), Some(publisher)) => publisher.is_finishing = true,
                    (None | Some(Tell::Start | Tell::Finish), _) => {}
                    (Some(tell), _) => return Err(Stopped::unexpected(&tell)),
                }
            }
        }
    }

    /// Whether I am the one to publish, in the view that I have come to.
    fn is_active(&self) -> bool {
        let Some(view) = &self.keeper.view else { return false };
        let mut first = self.publishers.iter().filter(|at| view.rank_of(Endpoint(**at)).is_some());
        first.next() == Some(&self.node.endpoint().0)
    }

    /// Casts what is due, up to a burst; tells how long there is nothing to do.
    fn publish(&mut self) -> Result<Duration, Stopped> {
        let is_active = self.is_active();
        let Self { node, group, publisher, keeper, order, .. } = self;
        let Some(publisher) = publisher.as_mut().filter(|publisher| publisher.is_started) else {
            return Ok(WAIT);
        };
        if !is_active || publisher.is_done || keeper.has_end {
            return Ok(WAIT);
        }
        // What is cast belongs to a view that I have come to: so it is in my state, or behind it, for those who join.
        let number = node.view(group).map(|view| view.id().number);
        if node.reached(group) != number {
            return Ok(WAIT);
        }
        let now = MonotonicClock.now();
        let (next, started) = publisher.next.get_or_insert((keeper.book.messages(), now));
        let first = *next;
        let mut burst = 0;
        while burst < BURST {
            let at = (*next % publisher.feed.len() as u64) as usize;
            // A capture that has begun is published to its end.
            let is_end = publisher.is_finishing && at == 0 && *next > 0;
            let message = publisher.feed.get(at).filter(|_| !is_end);
            if let (Some(message), Pace::Times(factor)) = (message, publisher.pace) {
                let rounds = (*next / publisher.feed.len() as u64) - (first / publisher.feed.len() as u64);
                let length = publisher.feed.get(publisher.feed.len() - 1).map_or(0, |last| last.at_ns);
                let due = started.plus_ns(((rounds * length + message.at_ns) as f64 / factor) as u64);
                if due > now {
                    return Ok(due.since(now).min(WAIT));
                }
            }
            let frame =
                Frame { number: *next, sent_ns: now.0, message: message.map(|message| message.bytes) };
            frame.write(&mut publisher.frame);
            match node.cast(group, *order, &publisher.frame) {
                Ok(()) => {}
                Err(
                    Refused::Full { .. } | Refused::Paced { .. } | Refused::ViewChanging | Refused::NoView,
                ) => {
                    return Ok(WAIT);
                }
                Err(refused) => return Err(Stopped::Failed(format!("message {next}: {refused}"))),
            }
            // In total order my own come back to me.
            if *order != Order::Total {
                keeper.take(&publisher.frame);
            }
            publisher.is_done = is_end;
            if is_end {
                return Ok(Duration::ZERO);
            }
            *next += 1;
            burst += publisher.frame.len();
        }
        Ok(Duration::ZERO)
    }

    /// Says what it has when it has all, once.
    fn end(&mut self, now: Instant) -> Result<(), Stopped> {
        let is_whole = self.keeper.has_end && self.node.settled(&self.group);
        if !is_whole || std::mem::replace(&mut self.has_ended, true) {
            return Ok(());
        }
        let Keeper { book, latency, .. } = &self.keeper;
        let at = |quantile| latency.value_at_quantile(quantile);
        let had = Had {
            messages: book.messages(),
            bytes: book.bytes(),
            digest: book.chain(),
            state_digest: book.digest(),
            latency_ns: (!latency.is_empty()).then(|| Latency {
                p50: at(0.5),
                p99: at(0.99),
                p999: at(0.999),
            }),
            ended_ns: now.0,
            counted: Counted::of(&self.node),
        };
        self.link.say(&Say::Ended(Box::new(had)))
    }
}

impl Keeper {
    fn handle(&mut self, event: Event<'_>) {
        match event {
            Event::Deliver(message) => {
                let now = MonotonicClock.now();
                if let Some(view) = self.waits.take() {
                    self.says.push(Say::Paused { view, ns: now.0.saturating_sub(self.heard_at.0) });
                }
                let Some(frame) = Frame::read(message.bytes()) else {
                    self.trouble = Some(format!("{} cast no message of a feed", message.from()));
                    return;
                };
                let late = now.0.saturating_sub(frame.sent_ns);
                self.latency.saturating_record(late.max(1));
                self.take(message.bytes());
            }
            Event::Snapshot(snapshot) => self.book.write(snapshot),
            Event::State(block) => {
                if let Err(why) = self.coming.take(&block, &mut self.book) {
                    self.trouble = Some(why);
                }
            }
            Event::View(view) => self.see(view),
            Event::TransferFailed(why) => self.trouble = Some(why.to_string()),
            Event::Excluded(view) => {
                self.trouble = Some(format!("the others went on without me, to {view}"));
            }
            _ => {}
        }
    }

    /// A message of the feed: the next one, and no other.
    fn take(&mut self, bytes: &[u8]) {
        let Some(frame) = Frame::read(bytes) else { return };
        let messages = self.book.messages();
        if frame.number != messages || self.has_end {
            self.trouble.get_or_insert_with(|| {
                format!("message {} came where {messages} was the next", frame.number)
            });
            return;
        }
        match frame.message {
            Some(message) => self.book.add(message),
            None => self.has_end = true,
        }
    }

    fn see(&mut self, view: &View) {
        let at = |rank: &Rank| view.member(*rank).map(|member| member.endpoint.0);
        let all = |ranks: &[Rank]| ranks.iter().filter_map(at).collect();
        let seen = Seen {
            number: view.id().number.0,
            members: view.members().iter().map(|member| member.endpoint.0).collect(),
            joining: all(view.joining()),
            came: all(view.came()),
            readied: all(view.readied()),
            gone: view.gone().iter().map(|(member, _)| member.endpoint.0).collect(),
            messages: self.book.messages(),
        };
        self.says.push(Say::View(seen));
        if self.book.messages() > 0 && self.view.is_some() {
            self.waits = Some(view.id().number.0);
        }
        self.view = Some(view.clone());
    }
}

/// Bytes to cast before the node gets its turn: a full segmentation-offload send.
const BURST: usize = 64 * 1024;
const LISTEN_EVERY_NS: u64 = 1_000_000;
const PROGRESS_EVERY_NS: u64 = 50_000_000;
const LONGEST_LATENCY_NS: u64 = 60_000_000_000;
