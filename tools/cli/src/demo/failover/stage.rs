//! The parent of a failover: it starts the members, kills two, lets one join, and hears how all went.
//!
//! It waits without bound for nothing: a member that dies unbidden, fails or stands still ends the run, and none outlives it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::lines::{Had, Part, Say, Seen, Tell};
use crate::demo::options::Options;
use crate::demo::process::{Heard, Process};
use crate::demo::setup::{SOON, Setup};
use crate::demo::show::Show;
use crate::demo::source::Source;
use crate::refusal::Refusal;

/// The parent and its members: the publishers, the subscribers, the late one.
pub(super) struct Stage<'a> {
    options: &'a Options,
    setup: &'a Setup,
    members: Vec<Member>,
    say: Sender<(usize, Heard<Say>)>,
    heard: Receiver<(usize, Heard<Say>)>,
    has_started: bool,
    started_at: Option<Instant>,
    moved_at: Instant,
    show: Show,
}

/// How a run went, as far as it went.
pub(super) struct Outcome {
    pub(super) members: Vec<Evidence>,
    pub(super) seconds: f64,
    /// What broke the run off.
    pub(super) trouble: Option<String>,
}

/// What is known of a member.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    pub(super) name: String,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) medium: String,
    pub(super) joined_late: bool,
    pub(super) killed: bool,
    pub(super) messages: u64,
    pub(super) views: Vec<Seen>,
    pub(super) pauses: BTreeMap<u32, u64>,
    pub(super) had: Option<Had>,
}

/// Why a run ends before its end.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It could not start: bad input.
    Refused(String),
    /// It started, and broke.
    Broken(String),
}

struct Member {
    process: Process,
    evidence: Evidence,
    gone: bool,
}

impl Member {
    fn lives(&self) -> bool {
        !self.evidence.killed
    }

    /// The view that it was told of last.
    fn view(&self) -> Option<&Seen> {
        self.evidence.views.last()
    }
}

/// Two publish, one after the other.
const PUBLISHERS: usize = 2;
/// Messages that everybody must have before the next thing happens: the feed runs at its full speed then.
const IN_FULL_FLOW: u64 = 2_000;

impl<'a> Stage<'a> {
    /// Starts all but the late one, who open their nodes.
    pub(super) fn set(options: &'a Options, setup: &'a Setup, source: &Source) -> Result<Self, Refusal> {
        let (say, heard) = channel();
        let mut stage = Self {
            options,
            setup,
            members: Vec::new(),
            say,
            heard,
            has_started: false,
            started_at: None,
            moved_at: Instant::now(),
            show: Show::new(0, options.verbose),
        };
        stage.show.note(|| format!("seed {}", setup.seed()));
        for at in 0..PUBLISHERS {
            stage.add(format!("p{}", at + 1), Some(source))?;
        }
        for at in 0..options.members {
            stage.add(format!("s{}", at + 1), None)?;
        }
        Ok(stage)
    }

    fn add(&mut self, name: String, source: Option<&Source>) -> Result<(), Refusal> {
        let rank = self.members.len();
        let process = Process::spawn(("demo-failover-member", &name), rank, self.say.clone())
            .map_err(|error| Refusal::new(format_args!("{name} cannot be started: {error}")))?;
        self.show.note(|| format!("member {name} pid {}", process.pid()));
        let evidence = Evidence { name, ..Evidence::default() };
        self.members.push(Member { process, evidence, gone: false });
        let part = Part {
            place: self.setup.place(self.options, rank as u16, SOON),
            order: self.options.order,
            publishes: source.map(|source| (source.clone(), self.options.pace)),
        };
        self.members[rank].process.tell(&Tell::Open(part)).map_err(Refusal::new)
    }

    /// Waits until all have the view with all in it, and all have the state.
    pub(super) fn open(&mut self) -> Result<(), Trouble> {
        self.wait("open their nodes", |stage| stage.all(|member| member.evidence.endpoint.is_some()))?;
        let expected = self.members.len();
        for at in 0..expected {
            self.join(at, expected);
        }
        self.wait("find each other", |stage| stage.is_together(expected))
    }

    fn join(&mut self, at: usize, expected: usize) {
        let publishers = self.members[..PUBLISHERS].iter();
        let publishers = publishers.filter_map(|member| member.evidence.endpoint).collect();
        let most = PUBLISHERS + usize::from(self.options.members) + 1;
        // Who cannot be told is dead, and that will be heard, with its status.
        let _ = self.members[at].process.tell(&Tell::Join { expected, most, publishers });
    }

    /// Lets everything happen, unless `opened` says that there is nothing to wait for.
    pub(super) fn conduct(mut self, opened: Result<(), Trouble>) -> Outcome {
        let from = Instant::now();
        let trouble = opened.and_then(|()| self.play()).err().map(|trouble| match trouble {
            Trouble::Refused(why) | Trouble::Broken(why) => why,
        });
        self.show.finish();
        let seconds = self.started_at.unwrap_or(from).elapsed().as_secs_f64();
        // Dropping a process kills it, so from here on nobody is left.
        let members = self.members.into_iter().map(|member| member.evidence).collect();
        Outcome { members, seconds, trouble }
    }

    fn play(&mut self) -> Result<(), Trouble> {
        self.has_started = true;
        self.started_at = Some(Instant::now());
        self.tell_all(&Tell::Start);
        self.wait_for_flow()?;

        let victim = PUBLISHERS + usize::from(self.options.members) - 1;
        self.kill(victim)?;
        let count = self.members.len() - 1;
        self.wait("go on without a subscriber", |stage| stage.is_together(count))?;
        self.wait_for_flow()?;

        let late = self.members.len();
        self.add("late".to_owned(), None).map_err(|why| Trouble::Broken(why.to_string()))?;
        self.members[late].evidence.joined_late = true;
        self.wait("open its node", |stage| stage.members[late].evidence.endpoint.is_some())?;
        self.join(late, 1);
        self.wait("take the late one in", |stage| stage.is_together(count + 1))?;
        self.wait_for_flow()?;

        self.kill(0)?;
        self.wait("go on without the publisher", |stage| stage.is_together(count))?;
        self.wait_for_flow()?;

        self.tell_all(&Tell::Finish);
        self.wait_while_moving("have all of the feed", |stage| {
            stage.all(|member| member.evidence.had.is_some())
        })?;
        self.tell_all(&Tell::Stop);
        self.wait("go", |stage| stage.all(|member| member.gone))
    }

    /// Waits until everybody has been handed some more.
    fn wait_for_flow(&mut self) -> Result<(), Trouble> {
        let from: Vec<u64> = self.members.iter().map(|member| member.evidence.messages).collect();
        self.wait("be handed more", |stage| {
            let mut both = stage.members.iter().zip(&from).filter(|(member, _)| member.lives());
            both.all(|(member, from)| member.evidence.messages >= from + IN_FULL_FLOW)
        })
    }

    /// Kills it without a warning.
    fn kill(&mut self, at: usize) -> Result<(), Trouble> {
        let Member { process, evidence, .. } = &mut self.members[at];
        evidence.killed = true;
        self.show.note(|| format!("{} is killed", evidence.name));
        process
            .kill()
            .map_err(|error| Trouble::Broken(format!("{} cannot be killed: {error}", evidence.name)))
    }

    fn all(&self, is_so: impl Fn(&Member) -> bool) -> bool {
        self.members.iter().filter(|member| member.lives()).all(is_so)
    }

    /// All that live are in one view, of so many, and all have the state.
    fn is_together(&self, count: usize) -> bool {
        let mut views = self.members.iter().filter(|member| member.lives()).map(Member::view);
        let Some(Some(first)) = views.next() else { return false };
        let is_whole = first.members.len() == count && first.joining.is_empty();
        is_whole && views.all(|view| view.is_some_and(|view| view.number == first.number))
    }

    fn tell_all(&mut self, tell: &Tell) {
        self.moved_at = Instant::now();
        self.members.iter_mut().for_each(|member| drop(member.process.tell(tell)));
    }

    /// Waits for what must come soon, whatever moves meanwhile.
    fn wait(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<(), Trouble> {
        let from = Instant::now();
        self.wait_since(what, is_so, |_| from)
    }

    /// Waits as long as somebody moves.
    fn wait_while_moving(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<(), Trouble> {
        self.moved_at = Instant::now();
        self.wait_since(what, is_so, |stage| stage.moved_at)
    }

    fn wait_since(
        &mut self,
        what: &str,
        is_so: impl Fn(&Self) -> bool,
        since: impl Fn(&Self) -> Instant,
    ) -> Result<(), Trouble> {
        self.show.note(|| format!("waiting for all to {what}"));
        while !is_so(self) {
            match self.heard.recv_timeout(TICK) {
                Ok((rank, heard)) => self.handle(rank, heard)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Trouble::Broken("all members are gone".to_owned()));
                }
            }
            if since(self).elapsed() > self.options.patience {
                let seconds = self.options.patience.as_secs_f64();
                let stands = |member: &Member| {
                    let view = member.view().map_or(0, |view| view.number);
                    format!(
                        "{} in view {view} with {} messages",
                        member.evidence.name, member.evidence.messages
                    )
                };
                let stand: Vec<String> =
                    self.members.iter().filter(|member| member.lives()).map(stands).collect();
                let why =
                    format!("no progress for {seconds} s, waiting for all to {what}: {}", stand.join(", "));
                return Err(Trouble::Broken(why));
            }
        }
        Ok(())
    }

    fn handle(&mut self, rank: usize, heard: Heard<Say>) -> Result<(), Trouble> {
        let has_started = self.has_started;
        let Member { process, evidence, gone } = &mut self.members[rank];
        let name = &evidence.name;
        let say = match heard {
            Heard::Said(say) => say,
            Heard::Garbled(line) => return Err(Trouble::Broken(format!("{name} said {line:?}"))),
            Heard::Gone => {
                let status = process.reap();
                *gone = true;
                let is_bidden = evidence.killed || evidence.had.is_some();
                let is_well = evidence.killed || status.is_ok_and(|status| status.success());
                if is_bidden && is_well {
                    return Ok(());
                }
                return Err(Trouble::Broken(format!("{name} died: {}", process.obituary())));
            }
        };
        let was = evidence.messages;
        match say {
            Say::Failed { why } if !has_started => return Err(Trouble::Refused(why)),
            // What was on its way when it was killed.
            Say::Failed { .. } if evidence.killed => return Ok(()),
            Say::Failed { why } => return Err(Trouble::Broken(format!("{name}: {why}"))),
            Say::Opened { endpoint, medium } => {
                (evidence.endpoint, evidence.medium) = (Some(endpoint), medium);
            }
            Say::View(seen) => {
                self.show
                    .note(|| format!("{name} in view {} of {} members", seen.number, seen.members.len()));
                evidence.messages = evidence.messages.max(seen.messages);
                evidence.views.push(seen);
            }
            Say::Paused { view, ns } => _ = evidence.pauses.insert(view, ns),
            Say::Progress { messages } => {
                evidence.messages = messages;
                if messages == was {
                    return Ok(());
                }
                self.show.note_of(name, || format!("{name} at {messages}"));
            }
            Say::Ended(had) => {
                evidence.messages = had.messages;
                evidence.had = Some(*had);
            }
        }
        self.moved_at = Instant::now();
        Ok(())
    }
}

/// How often the parent looks at the time when nobody says anything.
const TICK: Duration = Duration::from_millis(50);
