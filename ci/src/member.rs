//! The member that `cargo ci syscalls` looks at: two nodes in one thread, one of which echoes what the other casts.
//!
//! Everything that may take memory, open files or ask the system happens before the first marker.

use crate::syscalls::trace::{BEGIN, END};
use anyhow::{Context as _, Result, ensure};
use sistrum::{Config, Event, Group, Idle, JoinOptions, Node, Order, Refused};
use std::io::Write as _;
use std::time::{Duration, Instant};

/// Messages there and back before the markers.
const WARM_UP: u64 = 4_000;

/// Messages there and back between the markers.
const MEASURED: u64 = 4_000;

/// Messages that are on their way at once.
const WINDOW: u64 = 16;

/// Cycles in which nothing is cast, so that the idle strategy is seen at work.
const IDLE: u64 = 600;

/// How long a pause of the idle strategy may last.
const PAUSE: Duration = Duration::from_millis(1);

/// How the member idles, and whether it keeps the rules.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The idle strategy of both nodes.
    #[arg(long, value_enum)]
    idle: Strategy,
    /// Reads a file between the markers.
    #[arg(long)]
    misbehave: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Strategy {
    Spin,
    SpinYield,
    Park,
    Auto,
}

/// Runs the member to its end.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut asker = open("asker", options.idle)?;
    let mut echoer = open("echoer", options.idle)?;
    let members = vec![asker.endpoint(), echoer.endpoint()];
    let join = || -> Result<JoinOptions> {
        Ok(JoinOptions::members(members.clone()).multicast("239.255.77.1:47701".parse()?))
    };
    let asking = asker.join("syscalls", join()?).context("the asker cannot join")?;
    let echoing = echoer.join("syscalls", join()?).context("the echoer cannot join")?;
    let mut pair = Pair { asker, echoer, asking, echoing };
    pair.exchange(WARM_UP)?;
    // One write each, without a buffer between: they are what the trace is cut at.
    std::io::stderr().write_all(BEGIN.as_bytes())?;
    pair.exchange(MEASURED)?;
    pair.rest()?;
    if options.misbehave {
        std::fs::metadata("/")?;
    }
    std::io::stderr().write_all(END.as_bytes())?;
    Ok(())
}

fn open(name: &str, strategy: Strategy) -> Result<Node> {
    let mut config = Config::loopback(name);
    config.idle = match strategy {
        Strategy::Spin => Idle::Spin,
        Strategy::SpinYield => Idle::SpinYield,
        Strategy::Park => Idle::Park,
        Strategy::Auto => Idle::Auto,
    };
    Node::open(config).with_context(|| format!("cannot open {name}"))
}

/// The asker and the echoer.
struct Pair {
    asker: Node,
    echoer: Node,
    asking: Group,
    echoing: Group,
}

impl Pair {
    /// `count` messages there and back. Both nodes are polled in turn; the asker, and only when nothing has happened,
    /// idles.
    fn exchange(&mut self, count: u64) -> Result<()> {
        let started = Instant::now();
        let (mut asked, mut answered) = (0, 0);
        while answered < count {
            while asked < count && asked - answered < WINDOW {
                match self.asker.cast(&self.asking, Order::Fifo, &asked.to_le_bytes()) {
                    Ok(()) => asked += 1,
                    // Full, or the view is not there yet.
                    Err(Refused::Full { .. } | Refused::NoView) => break,
                    Err(refused) => return Err(refused).context("cannot cast"),
                }
            }
            let echoing = &self.echoing;
            let work = self.echoer.poll(|cx, event| match event {
                Event::Deliver(m) => Ok(cx.cast(echoing, Order::Fifo, m.bytes())?),
                _ => Ok(()),
            })?;
            let mut receive = |event: Event<'_>| {
                answered += u64::from(matches!(event, Event::Deliver(_)));
                Ok(())
            };
            if work == 0 {
                self.asker.poll_for(PAUSE, |_, event| receive(event))?;
            } else {
                self.asker.poll(|_, event| receive(event))?;
            }
            ensure!(started.elapsed() < Duration::from_secs(30), "{answered} of {count} answers in 30 s");
        }
        Ok(())
    }

    /// Idles as the strategy says.
    fn rest(&mut self) -> Result<()> {
        for _ in 0..IDLE {
            self.echoer.poll(|_, _| Ok(()))?;
            self.asker.poll_for(PAUSE, |_, _| Ok(()))?;
        }
        Ok(())
    }
}
