//! A process of the feed in its group: what was opened, who is there, who is gone, who is silent.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Stop;
use super::api::{
    self, Clock, Config, Endpoint, Error, Event, Faults, Group, Happening, Instant, Interface, JoinOptions,
    Lag, MediumChoice, MediumError, MonotonicClock, Node, Pace, Rank,
};
use super::lag::Taking;
use super::losses::{Losses, Watch};
use super::members::{Members, Own, Role};
use super::named::Named;
use super::options::Common;
use super::place::{self, Place};
use crate::demo::Medium;
use crate::refusal::Refusal;
use crate::signals::Signals;

/// A node, its group, and what is known of the others.
pub(super) struct Seat {
    pub(super) node: Node,
    pub(super) group: Group,
    pub(super) members: Members,
    pub(super) role: Role,
    pub(super) medium: String,
    pub(super) interface: Interface,
    /// Why it is this interface.
    why: String,
    /// Where everybody sends to; `None` when each is sent to by itself.
    pub(super) multicast: Option<SocketAddr>,
    /// Who said goodbye.
    pub(super) left: Vec<Rank>,
    pub(super) bar: ProgressBar,
    signals: Signals,
    clock: MonotonicClock,
    limit: Duration,
    wait: Option<Duration>,
    /// What stops this process, as the last cycle heard it.
    stop: Option<String>,
    viewed: bool,
    look_at: Instant,
    /// Blocks received so far, and since when there are no more.
    sign: (u64, Instant),
    watch: Watch,
    /// Messages are taken at a rate; all of them when there is none.
    pub(super) taking: Option<Taking>,
}

impl Seat {
    /// Opens the node, which sends at this pace, and joins the group. Nothing waits for anybody yet. Who is late may hear
    /// `sources` only, and have a lag contract.
    pub(super) fn open(
        options: &Common,
        role: Role,
        sources: &[IpAddr],
        (pace, lag): (Option<Pace>, Option<Lag>),
    ) -> Result<Self, Refusal> {
        let named = Named::by(options, sources)?;
        let place = Place::before_list(options, role, &named)?;
        let address = place.as_ref().map(|place| place.interface.address);
        let own = Own { port: options.port, address, is_here: place::is_here };
        let members = Members::of(&named, role, &own).map_err(Refusal::new)?;
        let place = match place {
            Some(place) => place,
            None => Place::of_list(members.list[members.me])?,
        };
        let Place { interface, why } = place;
        let port = members.list.get(members.me).map_or(options.port.unwrap_or(0), SocketAddr::port);
        let signals = Signals::listen()?;
        let mut config = config(options, role, &interface, port);
        config.tuning.pace = pace;
        let mut node = Node::open(config).map_err(|error| refused(&error, options, &interface))?;
        let multicast = named.group;
        let joining = joining(role, &members, options, &named);
        let joining = if let Some(lag) = lag { joining.lag(lag) } else { joining };
        let group = node.join(GROUP, joining).map_err(|error| not_joined(&error))?;
        let (viewed, look_at, stop, left, sign, watch) = Default::default();
        let taking = None;
        let (bar, clock) = (bar(role), MonotonicClock);
        let (medium, limit, wait) = (node.medium().to_owned(), options.limit, options.wait);
        Ok(Self {
            node,
            group,
            members,
            role,
            medium,
            interface,
            why,
            multicast,
            left,
            bar,
            signals,
            clock,
            limit,
            wait,
            stop,
            viewed,
            look_at,
            sign,
            watch,
            taking,
        })
    }

    /// Says every address in use, and what protects it.
    pub(super) fn announce(&self) {
        let (name, address, own) = (&self.interface.name, self.interface.address, self.node.endpoint());
        let reach = match self.multicast {
            Some(group) => format!("group {group}"),
            None => "unicast to each".to_owned(),
        };
        self.note(format!("medium {}", self.medium));
        self.note(format!("interface {name} {address} ({}), {reach}, this process {own}", self.why));
        if self.role != Role::Late {
            self.note(format!("members {}", self.members.to_text()));
        }
        self.note("without a key: whoever reaches these addresses can read and forge (security comes later)");
    }

    /// Waits until all of the list are here. The first messages may come in the same cycle: `take` is given them.
    pub(super) fn await_view(&mut self, mut take: impl FnMut(Happening<'_>)) -> Result<(), Stop> {
        let (others, from) = (self.members.list.len() - 1, self.now());
        self.note(format!("waiting for {others} other{}", if others == 1 { "" } else { "s" }));
        while !self.viewed {
            if let Err(stop) = self.cycle(WAIT, &mut take) {
                // Who has a conflict with me is to hear of it, too.
                self.linger();
                return Err(stop);
            }
            let waited = self.now().since(from);
            if let Some(wait) = self.wait.filter(|&wait| waited > wait) {
                let seconds = wait.as_secs_f64();
                return Err(Stop::Wrong(format!("not all others have come within {seconds} s (--wait)")));
            }
        }
        self.note("all are here");
        Ok(())
    }

    /// One cycle of the node; `take` is given what the seat does not see to by itself.
    pub(super) fn cycle(
        &mut self,
        wait: Duration,
        mut take: impl FnMut(Happening<'_>),
    ) -> Result<usize, Stop> {
        let Self { node, members, left, bar, stop, viewed, taking, clock, .. } = self;
        let polled = node.poll_for(wait, |_, event| {
            if let (Some(taking), Event::Deliver(_)) = (&mut *taking, &event)
                && !taking.takes(clock.now())
            {
                return Err(Error::Busy);
            }
            api::tell(&event, |happening| match happening {
                Happening::View => *viewed = true,
                Happening::Conflict(who, conflict) => *stop = Some(format!("{who}: {conflict}")),
                Happening::Left(rank) => {
                    left.push(rank);
                    bar.suspend(|| eprintln!("{} said goodbye", name(members, rank)));
                    take(Happening::Left(rank));
                }
                Happening::HeldBack(holdup) => {
                    let (who, lasts) = (name(members, holdup.by), holdup.lasts.as_secs_f64());
                    let behind = holdup.behind;
                    bar.suspend(|| eprintln!("held up by {who} for {lasts:.1} s: {behind} blocks behind"));
                }
                Happening::Released(rank, lasted) => {
                    let (who, lasted) = (name(members, rank), lasted.as_secs_f64());
                    bar.suspend(|| eprintln!("no longer held up by {who}: it was for {lasted:.1} s"));
                }
                other => take(other),
            });
            Ok(())
        });
        let work = match polled {
            Err(Error::Busy) => {
                // What takes at a rate has time.
                std::thread::sleep(REFUSED_WAIT);
                0
            }
            polled => polled.map_err(Stop::wrong)?,
        };
        if let Some(why) = self.stop.take() {
            return Err(Stop::Wrong(why));
        }
        if let Some(signal) = self.signals.take() {
            return Err(Stop::Signal(signal));
        }
        self.look_for_silence()?;
        Ok(work)
    }

    /// A silent publisher ends everybody, a silent subscriber ends the publisher. Of a subscriber that is silent another
    /// learns from the publisher; when that does not come either, both are gone.
    fn look_for_silence(&mut self) -> Result<(), Stop> {
        let now = self.node.now();
        if now < self.look_at {
            return Ok(());
        }
        self.look_at = now.plus_ns(LOOK_EVERY_NS);
        if let Some((rank, age)) = self.node.silence(&self.group) {
            let matters = self.role == Role::Publisher || rank == Rank(0);
            let limit = if matters { self.limit } else { self.limit * 2 };
            if age > limit {
                return Err(self.silent(&self.name(rank), age));
            }
        }
        self.look_for_any_sign(now)
    }

    /// Who is late is in no view, and a silent publisher hides behind a subscriber that is silent for longer: what is known
    /// then is whether anything comes at all. Every member is heard every 100 ms.
    fn look_for_any_sign(&mut self, now: Instant) -> Result<(), Stop> {
        let received = self.node.counters().medium.received_blocks;
        let (before, since) = self.sign;
        let is_behind = self.node.lag(&self.group).is_some_and(|standing| standing.behind.messages > 0);
        let waits = !self.viewed && self.role != Role::Late || is_behind;
        if self.role == Role::Publisher || waits || received == 0 || received != before {
            self.sign = (received, now);
            return Ok(());
        }
        match now.since(since) {
            age if age > self.limit => Err(self.silent("everybody, the publisher too,", age)),
            _ => Ok(()),
        }
    }

    fn silent(&self, who: &str, age: Duration) -> Stop {
        let (age, limit) = (age.as_secs_f64(), self.limit.as_secs_f64());
        Stop::Wrong(format!("{who} has been silent for {age:.1} s (--limit {limit})"))
    }

    /// Says goodbye, and polls until it is said; never long.
    pub(super) fn say_goodbye(&mut self) {
        self.node.leave(&self.group);
        let from = self.now();
        while !self.node.has_left(&self.group) && self.now().since(from) < LONGEST_GOODBYE {
            if self.node.poll_for(WAIT, |_, _| Ok(())).is_err() {
                return;
            }
        }
    }

    /// Keeps answering for a while, so that who holds nobody up can still have the tail repaired.
    pub(super) fn linger(&mut self) {
        let from = self.now();
        while self.now().since(from) < LINGER && self.node.poll_for(WAIT, |_, _| Ok(())).is_ok() {}
    }

    /// Everything is delivered by all that hold this process up.
    pub(super) fn is_settled(&self) -> bool {
        self.node.settled(&self.group)
    }

    /// The present moment.
    pub(super) fn now(&mut self) -> Instant {
        self.clock.now()
    }

    /// Shows how far it is, on a terminal; nothing is shown before there is something.
    pub(super) fn show(&self, position: u64) {
        if position > 0 && self.bar.is_hidden() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_position(position);
    }

    /// Says what has been missing for long, if anything has.
    pub(super) fn watch_losses(&mut self) {
        let gaps = self.node.gaps(&self.group);
        if let Some(line) = self.watch.look(self.node.now(), &gaps, |rank| name(&self.members, rank)) {
            self.note(line);
        }
    }

    /// The losses between this process and each other member.
    pub(super) fn losses(&self) -> Vec<Losses> {
        let all = self.node.losses(&self.group);
        all.iter().map(|(rank, of)| Losses::new(*rank, self.name(*rank), of)).collect()
    }

    /// A member for people.
    pub(super) fn name(&self, rank: Rank) -> String {
        name(&self.members, rank)
    }

    /// Says a line to people.
    pub(super) fn note(&self, line: impl AsRef<str>) {
        self.bar.suspend(|| eprintln!("{}", line.as_ref()));
    }
}

fn joining(role: Role, members: &Members, options: &Common, named: &Named) -> JoinOptions {
    let joining = match role {
        Role::Late => JoinOptions::reader(),
        _ => JoinOptions::members(members.list.iter().copied().map(Endpoint).collect()),
    };
    let joining = match named.group {
        Some(group) => joining.multicast(group),
        None => joining.unicast(),
    };
    match role {
        Role::Late if !named.sources.is_empty() => joining.sources(named.sources.clone()),
        _ if options.source_specific => joining.source_specific(),
        _ => joining,
    }
}

fn name(members: &Members, rank: Rank) -> String {
    let role = if rank == Rank(0) { "publisher" } else { "subscriber" };
    match members.list.get(usize::from(rank.0)) {
        Some(member) => format!("{role} {member} ({rank})"),
        None => format!("{role} {rank}"),
    }
}

fn config(options: &Common, role: Role, interface: &Interface, port: u16) -> Config {
    let mut config = Config::loopback("feed");
    config.medium = match options.medium {
        Medium::Auto => MediumChoice::Auto,
        Medium::Udp => MediumChoice::Udp,
        Medium::Uring => MediumChoice::Uring,
    };
    (config.interface, config.interface_index) = (interface.address, interface.index);
    config.port = port;
    config.ttl = options.ttl.unwrap_or(if interface.address.is_loopback() { 0 } else { 1 });
    config.insecure = options.insecure;
    if role == Role::Late {
        // Nobody waits for it: more may come at once than a sender has under way.
        config.tuning.window = LATE_WINDOW;
    }
    let seed = u64::from(std::process::id());
    config.faults = Faults { block_loss: options.loss / 100.0, seed, ..Faults::default() };
    config
}

/// The library's refusal, with the option that lifts it.
fn refused(error: &dyn std::fmt::Display, options: &Common, interface: &Interface) -> Refusal {
    if interface.address.is_loopback() || options.insecure {
        return Refusal::new(error);
    }
    Refusal::new(format_args!("{error} (here: --insecure)"))
}

/// The same for a group.
fn not_joined(error: &Error) -> Refusal {
    match error {
        Error::Medium(MediumError::NoMulticast { .. }) => {
            Refusal::new(format_args!("{error} (here: --unicast)"))
        }
        _ => Refusal::new(error),
    }
}

fn bar(role: Role) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    let template = match role {
        Role::Publisher => "{wide_bar} {bytes}/{total_bytes} {msg}",
        Role::Subscriber | Role::Late => "{human_pos} messages, {per_sec}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// How long a cycle that found nothing to do may wait.
pub(super) const WAIT: Duration = Duration::from_millis(1);

const REFUSED_WAIT: Duration = Duration::from_micros(200);

/// Blocks that who is late can hold of the publisher's stream.
const LATE_WINDOW: usize = 8 * 1024;
const GROUP: &str = "feed";
const LOOK_EVERY_NS: u64 = 10_000_000;
const LONGEST_GOODBYE: Duration = Duration::from_secs(1);
const LINGER: Duration = Duration::from_millis(150);
