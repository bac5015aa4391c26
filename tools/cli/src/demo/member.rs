//! A member of the demo: a process that the parent started, told what to do on standard input, answering on standard
//! output.
//!
//! It never outlives its parent: when standard input ends without a [`Tell::Stop`], it goes at once.

use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::api::{
    Clock, Config, Endpoint, Event, Faults, Group, Idle, Instant, JoinOptions, MediumChoice, MonotonicClock,
    Node, View,
};
use super::lines::{Counted, Place, Progress, Role, Say, Tell};
use super::options::Medium;
use super::tally::Tally;
use super::{publisher, subscriber};

/// A member's node, its group, and its line to the parent.
pub(super) struct Seat<'a> {
    pub(super) node: Node,
    pub(super) group: Group,
    link: &'a Link<Tell>,
    clock: MonotonicClock,
    /// When standard input is looked at next, and when progress is said next.
    listen_at: Instant,
    progress_at: Instant,
}

/// Why a member stops before its time.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The parent is gone.
    Orphaned,
    /// Something is wrong that the parent should hear.
    Failed(String),
}

/// Plays the part that the parent gives; the process's exit status.
pub(super) fn run() -> ExitCode {
    run_play(play, |why| Say::Failed { why })
}

/// Plays a part, and says it where that has `failed`; the process's exit status.
pub(super) fn run_play<T: DeserializeOwned + Send + 'static, S: Serialize>(
    play: impl FnOnce(&Link<T>) -> Result<(), Stopped>,
    failed: impl FnOnce(String) -> S,
) -> ExitCode {
    let link = Link::open();
    match play(&link) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stopped::Orphaned) => ExitCode::FAILURE,
        Err(Stopped::Failed(why)) => {
            // Whether the parent still hears it changes nothing here.
            let _ = link.say(&failed(why));
            ExitCode::FAILURE
        }
    }
}

fn play(link: &Link<Tell>) -> Result<(), Stopped> {
    let plan = match link.next()? {
        Tell::Open(plan) => plan,
        other => return Err(Stopped::unexpected(&other)),
    };
    let mut node = Node::open(config(&plan.place))?;
    link.say(&Say::Opened { endpoint: node.endpoint().0, medium: node.medium().to_owned() })?;
    let members = match link.next()? {
        Tell::Join { members } => members.into_iter().map(Endpoint).collect::<Vec<_>>(),
        other => return Err(Stopped::unexpected(&other)),
    };
    let options = JoinOptions::peer()
        .multicast(plan.place.group.into())
        .total(plan.total.into())
        .expected_members(members.len())
        .max_members(members.len())
        .suspect_after(plan.place.suspect_after);
    let group = node.join(GROUP, options)?;
    let mut seat = Seat::new(node, group, link);
    let view = seat.wait_for_view()?;
    let tally = |me, fault| {
        Tally::new(plan.order, usize::from(plan.publishers), me, fault)
            .map(|tally| tally.among(members, &view))
    };
    match &plan.role {
        Role::Publisher { rank, source, pace } => {
            publisher::publish(&mut seat, source, *pace, plan.order, tally(Some(*rank), None)?)
        }
        Role::Subscriber { fault, dies_at } => {
            subscriber::subscribe(&mut seat, tally(None, *fault)?, *dies_at)
        }
    }
}

/// What a node is opened with there.
pub(super) fn config(plan: &Place) -> Config {
    let mut config = Config::loopback("demo");
    config.medium = match plan.medium {
        Medium::Auto => MediumChoice::Auto,
        Medium::Udp => MediumChoice::Udp,
        Medium::Uring => MediumChoice::Uring,
    };
    config.interface = plan.interface;
    config.receive_buffer = plan.receive_buffer.unwrap_or(config.receive_buffer);
    config.block_size = plan.block_size.unwrap_or(config.block_size);
    config.faults = Faults { block_loss: plan.block_loss, buffer_loss: plan.buffer_loss, seed: plan.seed };
    config.idle = Idle::Auto;
    config
}

impl<'a> Seat<'a> {
    fn new(node: Node, group: Group, link: &'a Link<Tell>) -> Self {
        let (listen_at, progress_at) = Default::default();
        Self { node, group, link, clock: MonotonicClock, listen_at, progress_at }
    }

    /// The present moment.
    pub(super) fn now(&mut self) -> Instant {
        self.clock.now()
    }

    /// What the parent has told since; looked at once a millisecond at most, so that a busy loop stays cheap.
    pub(super) fn told(&mut self) -> Result<Option<Tell>, Stopped> {
        let now = self.now();
        if now < self.listen_at {
            return Ok(None);
        }
        self.listen_at = now.plus_ns(LISTEN_EVERY_NS);
        self.link.heard()
    }

    /// Says how far the member is, a few times a second; `progress` is only called when it is time.
    pub(super) fn report(&mut self, progress: impl FnOnce() -> Progress) -> Result<(), Stopped> {
        let now = self.now();
        if now < self.progress_at {
            return Ok(());
        }
        self.progress_at = now.plus_ns(PROGRESS_EVERY_NS);
        self.link.say(&Say::Progress(progress()))
    }

    /// Says a line to the parent.
    pub(super) fn say(&mut self, say: &Say) -> Result<(), Stopped> {
        self.link.say(say)
    }

    /// The last word: what the node has counted.
    pub(super) fn say_counted(&mut self) -> Result<(), Stopped> {
        let counted = Counted::of(&self.node);
        self.say(&Say::Counted(counted))
    }

    fn wait_for_view(&mut self) -> Result<View, Stopped> {
        let mut viewed = None;
        loop {
            self.node.poll_for(WAIT, |_, event| {
                if let Event::View(view) = event {
                    viewed = Some(view.clone());
                }
                Ok(())
            })?;
            if let Some(tell) = self.told()? {
                return Err(Stopped::unexpected(&tell));
            }
            if let Some(view) = viewed {
                self.say(&Say::Ready)?;
                return Ok(view);
            }
        }
    }
}

/// Standard input, read by a thread of its own so that the poll loop never blocks on it, and standard output.
pub(super) struct Link<T> {
    tells: Receiver<T>,
}

impl<T: DeserializeOwned + Send + 'static> Link<T> {
    pub(super) fn open() -> Self {
        let (told, tells) = channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                // A line that is no Tell ends the conversation, as the end of input does.
                let Ok(tell) = serde_json::from_str(&line) else { return };
                if told.send(tell).is_err() {
                    return;
                }
            }
        });
        Self { tells }
    }

    pub(super) fn next(&self) -> Result<T, Stopped> {
        self.tells.recv().map_err(|_| Stopped::Orphaned)
    }

    pub(super) fn heard(&self) -> Result<Option<T>, Stopped> {
        match self.tells.try_recv() {
            Ok(tell) => Ok(Some(tell)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Stopped::Orphaned),
        }
    }

    pub(super) fn say(&self, say: &impl Serialize) -> Result<(), Stopped> {
        let line = serde_json::to_string(say).map_err(|error| Stopped::Failed(error.to_string()))?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|_| Stopped::Orphaned)
    }
}

impl Stopped {
    /// The parent said something out of its order.
    pub(super) fn unexpected(tell: &impl std::fmt::Debug) -> Self {
        Self::Failed(format!("the parent said {tell:?} out of order"))
    }
}

impl<E: std::error::Error> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Failed(error.to_string())
    }
}

/// How long a cycle that found nothing to do may wait.
pub(super) const WAIT: Duration = Duration::from_millis(1);

const GROUP: &str = "ticks";
const LISTEN_EVERY_NS: u64 = 1_000_000;
const PROGRESS_EVERY_NS: u64 = 200_000_000;
