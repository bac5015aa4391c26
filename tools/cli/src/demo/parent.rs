//! The parent: starts the members, tells them what to do, and hears how it went.
//!
//! It waits without bound for nothing: a member that dies, fails or stands still ends the run, and no member outlives it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::api::Order;
use super::fault::DeliveryFault;
use super::lines::{Counted, Progress, Received, Role, Say, Tell};
use super::options::{Options, Victim};
use super::process::{Heard, Process};
use super::setup::Setup;
use super::show::Show;
use super::source::Source;
use super::verdict::Promise;
use crate::refusal::Refusal;

/// The parent and its members; the publishers are the first of them.
pub(super) struct Parent {
    publishers: usize,
    is_total: bool,
    members: Vec<Member>,
    heard: Receiver<(usize, Heard<Say>)>,
    started: bool,
    moved_at: Instant,
    patience: Duration,
    show: Show,
}

/// How a run went, as far as it went.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) publishers: Vec<Evidence>,
    /// Those that were not killed on purpose.
    pub(super) subscribers: Vec<Evidence>,
    /// The names of those that were.
    pub(super) killed: Vec<String>,
    /// From the first cast to the last subscriber's end of the stream.
    pub(super) seconds: f64,
    /// What broke the run off.
    pub(super) trouble: Option<String>,
}

/// What a member has said of itself.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    pub(super) name: String,
    pub(super) medium: String,
    pub(super) delivered: u64,
    pub(super) received: Option<Received>,
    pub(super) counted: Option<Counted>,
}

/// Why a run ends before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It could not start: bad input.
    Refused(String),
    /// It started, and broke.
    Broken(String),
}

struct Member {
    is_publisher: bool,
    process: Process,
    evidence: Evidence,
    endpoint: Option<std::net::SocketAddr>,
    ready: bool,
    last: Progress,
    settled_from_ns: Option<u64>,
    gone: bool,
    /// It was killed on purpose.
    killed: bool,
}

impl Member {
    /// Kills it, as was asked for.
    fn kill(&mut self) -> std::io::Result<()> {
        self.killed = true;
        self.process.kill()
    }
}

impl Parent {
    /// Starts the publishers of these sources and the subscribers, who open their nodes.
    pub(super) fn start(
        options: &Options,
        setup: &Setup,
        promise: &Promise,
        sources: Vec<Source>,
    ) -> Result<Self, Refusal> {
        let (say, heard) = channel();
        let (publishers, messages) = (sources.len(), promise.whole().messages);
        let subscribers = u64::from(options.members);
        let mut parent = Self {
            publishers,
            is_total: options.order == Order::Total,
            members: Vec::new(),
            heard,
            started: false,
            moved_at: Instant::now(),
            patience: options.patience,
            show: Show::new(messages * subscribers, options.verbose),
        };
        parent.show.note(|| format!("seed {}", setup.seed()));
        for role in roles(options, sources, messages) {
            let rank = parent.members.len();
            let plan = setup.plan(options, rank as u16, role);
            parent.add(rank, &Tell::Open(plan), &say)?;
        }
        Ok(parent)
    }

    fn add(&mut self, rank: usize, open: &Tell, say: &Sender<(usize, Heard<Say>)>) -> Result<(), Refusal> {
        let name = match rank.checked_sub(self.publishers) {
            Some(subscriber) => format!("s{}", subscriber + 1),
            None if self.publishers == 1 => "publisher".to_owned(),
            None => format!("p{}", rank + 1),
        };
        let process = Process::spawn(("demo-member", &name), rank, say.clone())
            .map_err(|error| Refusal::new(format_args!("{name} cannot be started: {error}")))?;
        self.show.note(|| format!("member {name} pid {}", process.pid()));
        let evidence = Evidence { name, ..Evidence::default() };
        let (endpoint, ready, last, settled_from_ns, gone, killed) = Default::default();
        let is_publisher = rank < self.publishers;
        self.members.push(Member {
            is_publisher,
            process,
            evidence,
            endpoint,
            ready,
            last,
            settled_from_ns,
            gone,
            killed,
        });
        self.members[rank].process.tell(open).map_err(Refusal::new)
    }

    /// Waits until every member has its node, its group and its view.
    pub(super) fn open(&mut self) -> Result<(), Trouble> {
        self.wait_for(|member| member.endpoint.is_some())?;
        let members = self.members.iter().filter_map(|member| member.endpoint).collect();
        self.tell_all(&Tell::Join { members })?;
        self.wait_for(|member| member.ready)
    }

    /// Has the capture published and waits for the end, unless `opened` says that there is nothing to wait for.
    pub(super) fn conduct(mut self, opened: Result<(), Trouble>) -> Outcome {
        let from = Instant::now();
        let trouble = opened.and_then(|()| self.play()).err().map(|trouble| match trouble {
            Trouble::Refused(why) | Trouble::Broken(why) => why,
        });
        self.show.finish();
        let seconds = self.seconds().unwrap_or_else(|| from.elapsed().as_secs_f64());
        // Dropping a process kills it, so from here on nobody is left.
        let (killed, members): (Vec<_>, Vec<_>) = self.members.into_iter().partition(|member| member.killed);
        let mut evidence = members.into_iter().map(|member| member.evidence);
        let publishers = evidence.by_ref().take(self.publishers).collect();
        let killed = killed.into_iter().map(|member| member.evidence.name).collect();
        Outcome { publishers, subscribers: evidence.collect(), killed, seconds, trouble }
    }

    fn play(&mut self) -> Result<(), Trouble> {
        self.started = true;
        self.tell_all(&Tell::Start)?;
        // A publisher says first what it got of others, then that it has settled.
        self.wait_for(|member| {
            member.settled_from_ns.is_some() || (!member.is_publisher && member.evidence.received.is_some())
        })?;
        self.tell_all(&Tell::Stop)?;
        self.wait_for(|member| member.evidence.counted.is_some() && member.gone)
    }

    fn tell_all(&mut self, tell: &Tell) -> Result<(), Trouble> {
        self.moved_at = Instant::now();
        // Who cannot be told is dead, and that will be heard, with its status.
        self.members.iter_mut().for_each(|member| drop(member.process.tell(tell)));
        Ok(())
    }

    /// Listens until every member is `done`.
    fn wait_for(&mut self, done: impl Fn(&Member) -> bool) -> Result<(), Trouble> {
        while !self.members.iter().all(|member| member.killed || done(member)) {
            match self.heard.recv_timeout(TICK) {
                Ok((rank, heard)) => self.handle(rank, heard)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Trouble::Broken("all members are gone".to_owned()));
                }
            }
            if self.moved_at.elapsed() > self.patience {
                return Err(self.stalled(&done));
            }
        }
        Ok(())
    }

    fn handle(&mut self, rank: usize, heard: Heard<Say>) -> Result<(), Trouble> {
        let starting = !self.started;
        let member = &mut self.members[rank];
        let name = &member.evidence.name;
        let say = match heard {
            Heard::Said(say) => say,
            Heard::Garbled(line) => return Err(Trouble::Broken(format!("{name} said {line:?}"))),
            Heard::Gone => return self.handle_gone(rank),
        };
        if let Say::Failed { why } = say {
            return Err(if starting {
                Trouble::Refused(why)
            } else {
                Trouble::Broken(format!("{name}: {why}"))
            });
        }
        if let Say::Progress(progress) = say {
            self.handle_progress(rank, progress);
            return Ok(());
        }
        self.moved_at = Instant::now();
        match say {
            Say::Opened { endpoint, medium } => {
                member.endpoint = Some(endpoint);
                member.evidence.medium = medium;
            }
            Say::Ready => member.ready = true,
            Say::Settled { started_ns } => member.settled_from_ns = Some(started_ns),
            Say::Ended(received) => {
                member.evidence.delivered = received.delivered;
                member.evidence.received = Some(received);
            }
            Say::Ripe => member
                .kill()
                .map_err(|error| Trouble::Broken(format!("a member cannot be killed: {error}")))?,
            Say::Counted(counted) => member.evidence.counted = Some(counted),
            Say::Failed { .. } | Say::Progress(_) => unreachable!("handled above"),
        }
        Ok(())
    }

    fn handle_progress(&mut self, rank: usize, progress: Progress) {
        let member = &mut self.members[rank];
        if progress.cast > member.last.cast || progress.delivered > member.last.delivered {
            self.moved_at = Instant::now();
        }
        let held = progress.held;
        member.evidence.delivered = progress.delivered;
        member.last = progress;
        let is_publisher = member.is_publisher;
        if is_publisher && self.is_caught_up() {
            // Asked only when a publisher speaks: one that is silent is not ahead of anything.
            self.moved_at = Instant::now();
        }
        let delivered = self.members[self.publishers..].iter().map(|member| member.last.delivered).sum();
        let holder = held.map(|held| (self.name(held.rank), held.age));
        let Member { evidence, last, .. } = &self.members[rank];
        let messages = if is_publisher { last.cast } else { last.delivered };
        self.show.progress(&evidence.name, is_publisher, messages, delivered, holder);
    }

    /// A member that has said its last word may go; any other has died.
    fn handle_gone(&mut self, rank: usize) -> Result<(), Trouble> {
        let member = &mut self.members[rank];
        let status = member.process.reap();
        member.gone = true;
        if member.killed {
            return Ok(());
        }
        if member.evidence.counted.is_some() && status.is_ok_and(|status| status.success()) {
            self.moved_at = Instant::now();
            return Ok(());
        }
        let how = member.process.obituary();
        Err(Trouble::Broken(format!("{} died: {how}", member.evidence.name)))
    }

    /// Whether nothing can move before the next message is due: everybody has what was published so far.
    fn is_caught_up(&self) -> bool {
        let (publishers, subscribers) = self.members.split_at(self.publishers);
        let cast: u64 = publishers.iter().map(|member| member.last.cast).sum();
        let own = |member: &Member| if self.is_total { 0 } else { member.last.cast };
        publishers.iter().all(|member| member.last.ahead && member.last.delivered + own(member) == cast)
            && subscribers.iter().all(|member| member.killed || member.last.delivered == cast)
    }

    fn stalled(&self, done: impl Fn(&Member) -> bool) -> Trouble {
        let seconds = self.patience.as_secs_f64();
        let held = self.members[..self.publishers].iter().find_map(|member| member.last.held);
        let what = match held {
            Some(held) if self.started => {
                format!("a publisher is held by {} for {:.1} s", self.name(held.rank), held.age.as_secs_f64())
            }
            _ => {
                let waited_for = self.members.iter().filter(|member| !member.killed && !done(member));
                let names: Vec<_> = waited_for.map(|member| member.evidence.name.as_str()).collect();
                format!("waiting for {}", names.join(", "))
            }
        };
        Trouble::Broken(format!("no progress for {seconds} s: {what}"))
    }

    fn name(&self, rank: u16) -> &str {
        self.members.get(usize::from(rank)).map_or("nobody", |member| &member.evidence.name)
    }

    fn seconds(&self) -> Option<f64> {
        let (publishers, subscribers) = self.members.split_at(self.publishers);
        let starts = publishers.iter().map(|member| member.settled_from_ns);
        let from = starts.collect::<Option<Vec<_>>>()?.into_iter().min()?;
        let ends = subscribers
            .iter()
            .filter(|member| !member.killed)
            .map(|member| member.evidence.received.as_ref().map(|r| r.ended_ns));
        let last = ends.collect::<Option<Vec<_>>>()?.into_iter().max()?;
        Some(last.saturating_sub(from) as f64 / 1e9)
    }
}

/// Everybody's part, by rank. The first subscriber is the one that cheats, in the middle of the streams.
fn roles(options: &Options, sources: Vec<Source>, messages: u64) -> impl Iterator<Item = Role> {
    let (pace, fault) = (options.pace, options.fault);
    let publishers =
        sources.into_iter().zip(0..).map(move |(source, rank)| Role::Publisher { rank, source, pace });
    let victim = options.kill.map(|Victim::Subscriber| options.members - 1);
    let subscribers = (0..options.members).map(move |at| Role::Subscriber {
        fault: fault.filter(|_| at == 0).map(|name| DeliveryFault { name, at: messages / 2 }),
        dies_at: (victim == Some(at)).then_some(messages / 2),
    });
    publishers.chain(subscribers)
}

/// How often the parent looks at the time when nobody says anything.
const TICK: Duration = Duration::from_millis(50);
