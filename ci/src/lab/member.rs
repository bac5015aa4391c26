//! One member of the lab: it casts at random, and writes down everything before it goes on.
//!
//! It listens to its standard input: `quiet` casts nothing more, `sync` casts between two views, `leave` leaves, `end` ends it where it
//! stands, and so does the end of all words. How it stands is shown in a file of its own, for whoever waits.

use super::standing::Standing;
use crate::sim::campaign::break_by_name;
use crate::sim::history::lines::{Gone, Identity, Line, Said, read};
use crate::sim::state::State;
use anyhow::{Context as _, Result};
use fastrand::Rng;
use sistrum::{
    Clock as _, Config, Event, Group, Idle, JoinOptions, Message, MonotonicClock, Node, Order, Pace, Rank,
    Reason, Refused, StateTuning, View, ViewMember, ViewNumber,
};
use std::fs::{self, File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

/// A burst of casts at this distance, on average.
const CAST_EVERY: Duration = Duration::from_millis(5);
/// What a message begins with: its number, and whether it is a sync cast.
const NAME: usize = 5;

/// How it joins.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    group: String,
    #[arg(long)]
    file: PathBuf,
    #[arg(long)]
    port: u16,
    #[arg(long)]
    suspect_after_ms: u64,
    /// So many make the group: who is cut off, or new, does not make another one.
    #[arg(long)]
    expected: usize,
    #[arg(long, value_delimiter = ',')]
    seeds: Vec<String>,
    /// It has a state, so many bytes more than it needs.
    #[arg(long)]
    state: Option<usize>,
    /// Breaks this of our own code.
    #[arg(long)]
    mutate: Option<String>,
    /// Its address in a network of its own.
    #[arg(long)]
    interface: Option<IpAddr>,
}

/// Lives until it is told to end.
pub(crate) fn run(options: &Options) -> Result<()> {
    options.mutate.iter().try_for_each(|name| break_by_name(name))?;
    // There are more members than cores: nobody waits by turning round.
    let mut config = Config {
        port: options.port,
        receive_buffer: 2 << 20,
        pool_blocks: 8192,
        idle: Idle::Park,
        ..Config::loopback("lab")
    };
    if let Some(interface) = options.interface {
        (config.interface, config.insecure, config.ttl) = (interface, true, 1);
    }
    let mut node = Node::open(config)?;
    let silence = Duration::from_millis(options.suspect_after_ms);
    let mut join = JoinOptions::peer().suspect_after(silence).expected_members(options.expected);
    if !options.seeds.is_empty() {
        join = join.seeds(options.seeds.clone());
    }
    if options.state.is_some() {
        // It takes a while: somebody may die meanwhile.
        let pace = Some(Pace { rate: STATE_RATE, burst: 64 * 1024 });
        join = join.keep_state(StateTuning { pace, ..StateTuning::default() });
    }
    let group = node.join(&options.group, join)?;
    let me = node.member(&group).context("a peer is somebody")?;
    let file = File::create(&options.file).context("the history cannot be written")?;
    let mut member = Member {
        log: Log { file, path: options.file.clone(), me, standing: Standing::default() },
        view: None,
        number: ViewNumber(0),
        has_cut: false,
        is_out: false,
        casts: 0,
        syncs: 0,
        owed_syncs: 0,
        rng: Rng::with_seed(me.boot.0),
        is_quiet: false,
        state: options.state.map(|padding| State::new(me, padding)),
    };
    member.log.say(Said::Starts)?;
    member.log.say(Said::Joins)?;
    member.live(&mut node, &group, &words())
}

/// Who was killed cannot say so itself.
pub(super) fn note_killed(path: &Path) -> Result<()> {
    let text = fs::read_to_string(path).context("the history of who was killed cannot be read")?;
    // The line that it was at may be cut off.
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    let Some(last) = whole.lines().next_back() else { return Ok(()) };
    let Some(last) = read(&format!("{last}\n"))?.pop() else { return Ok(()) };
    let line = Line { at_ns: MonotonicClock.now().0, what: Said::Killed, ..last };
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.set_len(whole.len() as u64)?;
    file.seek(SeekFrom::End(0))?;
    writeln!(file, "{}", serde_json::to_string(&line)?).context("its end cannot be written")
}

/// What is said to it, line by line.
fn words() -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        std::io::stdin().lines().map_while(Result::ok).try_for_each(|word| sender.send(word))
    });
    receiver
}

/// What it writes, each line at once.
struct Log {
    file: File,
    path: PathBuf,
    me: ViewMember,
    standing: Standing,
}

impl Log {
    fn say(&mut self, what: Said) -> Result<()> {
        let line = Line { at_ns: MonotonicClock.now().0, process: identity(self.me), what };
        let text = format!("{}\n", serde_json::to_string(&line)?);
        self.file.write_all(text.as_bytes()).context("the history cannot be written")
    }

    /// How it stands from now on.
    fn show(&mut self, change: impl FnOnce(&mut Standing)) -> Result<()> {
        let before = self.standing;
        change(&mut self.standing);
        if self.standing == before { Ok(()) } else { self.standing.show(&self.path) }
    }
}

struct Member {
    log: Log,
    view: Option<View>,
    /// Of the view that it is in: not each is told.
    number: ViewNumber,
    has_cut: bool,
    /// It was told that the others went on without it.
    is_out: bool,
    casts: u32,
    syncs: u32,
    /// Its own that have not come yet.
    owed_syncs: u32,
    rng: Rng,
    is_quiet: bool,
    state: Option<State>,
}

impl Member {
    fn live(&mut self, node: &mut Node, group: &Group, words: &Receiver<String>) -> Result<()> {
        let mut cast_at = node.now();
        loop {
            let word = words.try_recv();
            match word.as_deref() {
                Ok("quiet") => self.is_quiet = true,
                Ok("sync") => self.cast_sync(node, group)?,
                Ok("leave") => {
                    self.is_quiet = true;
                    self.log.say(Said::Leaves)?;
                    node.leave(group);
                }
                Ok("end") | Err(TryRecvError::Disconnected) => return Ok(()),
                _ => {}
            }
            if self.view.is_some() && !self.is_quiet && node.now() >= cast_at {
                cast_at = node.now().plus_ns(self.rng.u64(..2 * CAST_EVERY.as_nanos() as u64));
                for _ in 0..self.rng.u8(1..4) {
                    self.cast(node, group)?;
                }
            }
            node.poll_for(Duration::from_millis(1), |caster, event| {
                let place = (caster.view(), caster.is_ahead());
                self.handle(place, event).map_err(|error| sistrum::Error::handler(format!("{error:#}")))
            })?;
            self.renumber(node.reached(group))?;
            self.come_back(node, group)?;
            let is_settled = self.is_quiet && self.owed_syncs == 0 && node.settled(group);
            self.log.show(|standing| standing.is_settled = is_settled)?;
            if node.has_left(group) {
                return self.log.say(Said::Left);
            }
        }
    }

    fn cast(&mut self, node: &mut Node, group: &Group) -> Result<()> {
        if node.member(group) != Some(self.log.me) {
            return Ok(());
        }
        let order = Order::ALL[self.rng.usize(..Order::ALL.len())];
        let (number, len) = (self.casts, self.rng.usize(NAME..2_000));
        self.casts += 1;
        let said = Said::Casts { number, order: order.name().to_owned(), safe: false, len };
        self.log.say(said)?;
        // The view that takes it is the last one that is there, told or not.
        let view = node.view(group).map(|view| view.id().number.0);
        match (node.cast(group, order, &message(number, false, len)), view) {
            (Ok(()), Some(view)) => {
                if let Some(state) = self.state.as_mut().filter(|_| order != Order::Total) {
                    state.cast(Some(ViewNumber(view)), name_of(identity(self.log.me), number, false));
                }
                self.log.say(Said::Sealed { number, view })
            }
            _ => self.log.say(Said::Refused { number, sync: false }),
        }
    }

    fn cast_sync(&mut self, node: &mut Node, group: &Group) -> Result<()> {
        let (number, len) = (self.syncs, 100);
        self.syncs += 1;
        self.log.say(Said::CastsSync { number, len })?;
        match node.cast_sync(group, &message(number, true, len)) {
            Ok(()) => {
                self.owed_syncs += 1;
                Ok(())
            }
            Err(Refused::NoView | Refused::ViewChanging | Refused::Left) => {
                self.log.say(Said::Refused { number, sync: true })
            }
            Err(other) => Err(other.into()),
        }
    }

    fn handle(&mut self, (into, is_ahead): (Option<ViewNumber>, bool), event: Event<'_>) -> Result<()> {
        if is_ahead && !self.has_cut && self.view.is_some() {
            self.has_cut = true;
            self.log.say(Said::Cuts)?;
        }
        if !is_ahead && !matches!(event, Event::View(_)) {
            self.renumber(into)?;
        }
        match event {
            Event::View(view) => self.enter(view),
            Event::Deliver(message) => {
                let from = self.view.as_ref().and_then(|view| view.member(message.from())).copied();
                self.deliver(from, &message)
            }
            Event::Sync { from, bytes, .. } => {
                let number = u32::from_le_bytes(*bytes.first_chunk().context("it has a number")?);
                self.owed_syncs -= u32::from(from == self.log.me);
                let (from, len) = (identity(from), bytes.len());
                self.state.iter_mut().for_each(|state| state.deliver(name_of(from, number, true)));
                self.log.say(Said::Delivers { from, number, sync: true, len })
            }
            Event::Wedged(_) => self.log.say(Said::Wedged),
            Event::Resumed => self.log.say(Said::Resumed),
            Event::Stuck(_) => Ok(()),
            Event::Excluded(number) => {
                (self.view, self.is_out) = (None, true);
                self.state.iter_mut().for_each(State::forget);
                self.log.show(|standing| {
                    *standing = Standing { snapshots: standing.snapshots, ..Standing::default() }
                })?;
                self.log.say(Said::Excluded(number.0))
            }
            Event::Snapshot(snapshot) => {
                self.state.iter().for_each(|state| state.write(snapshot));
                self.log.show(|standing| standing.snapshots += 1)
            }
            Event::State(block) => match self.state.as_mut().is_some_and(|state| state.take(&block)) {
                true => self.log.say(Said::Restored),
                false => Ok(()),
            },
            Event::TransferFailed(why) => self.log.say(Said::TransferFailed(why.to_string())),
            Event::Conflict(_, why) => self.log.say(Said::Conflicts(why.to_string())),
            _ => Ok(()),
        }
    }

    fn deliver(&mut self, from: Option<ViewMember>, message: &Message<'_>) -> Result<()> {
        let (bytes, len) = (message.bytes(), message.len());
        let (Some(from), Some(number)) = (from, bytes.first_chunk()) else {
            return self.log.say(Said::Alien { from: message.from().0, len });
        };
        let (from, number) = (identity(from), u32::from_le_bytes(*number));
        let sync = bytes[NAME - 1] != 0;
        self.state.iter_mut().for_each(|state| state.deliver(name_of(from, number, sync)));
        self.log.say(Said::Delivers { from, number, sync, len })
    }

    fn enter(&mut self, view: &View) -> Result<()> {
        let id = view.id();
        let ranks = |ranks: &[Rank]| ranks.iter().map(|rank| rank.0).collect();
        let gone = view
            .gone()
            .iter()
            .map(|(member, reason)| Gone { member: identity(*member), left: *reason == Reason::Left });
        self.log.say(Said::Installs {
            group: id.group.0,
            instance: id.instance.0,
            number: id.number.0,
            members: view.members().iter().copied().map(identity).collect(),
            came: ranks(view.came()),
            gone: gone.collect(),
            joining: ranks(view.joining()),
            readied: ranks(view.readied()),
        })?;
        if let Some(state) = &mut self.state {
            let digest = state.enter(id.number);
            self.log.say(Said::State(digest))?;
        }
        (self.view, self.number, self.has_cut) = (Some(view.clone()), id.number, false);
        self.log.show(|standing| {
            (standing.number, standing.rank) = (id.number.0, view.me().0);
            (standing.members, standing.joining) = (view.members().len(), view.joining().len());
        })
    }

    /// It may have come to a view that has the same members.
    fn renumber(&mut self, number: Option<ViewNumber>) -> Result<()> {
        let Some(number) = number.filter(|number| *number > self.number && self.view.is_some()) else {
            return Ok(());
        };
        (self.number, self.has_cut) = (number, false);
        self.state.iter_mut().for_each(|state| _ = state.enter(number));
        self.log.say(Said::Renumbered(number.0))?;
        self.log.show(|standing| standing.number = number.0)
    }

    /// Who was excluded comes back as somebody new.
    fn come_back(&mut self, node: &Node, group: &Group) -> Result<()> {
        match node.member(group) {
            Some(me) if me != self.log.me && self.view.is_none() => {
                // Who never came in may be somebody new without having been told.
                if !std::mem::take(&mut self.is_out) {
                    self.log.say(Said::Excluded(0))?;
                }
                self.log.me = me;
                self.state.iter_mut().for_each(|state| state.begin_as(me));
                (self.casts, self.syncs, self.owed_syncs, self.number) = (0, 0, 0, ViewNumber(0));
                self.log.say(Said::Starts)?;
                self.log.say(Said::Joins)
            }
            _ => Ok(()),
        }
    }
}

fn identity(member: ViewMember) -> Identity {
    Identity { at: member.endpoint.0, boot: member.boot.0 }
}

fn message(number: u32, sync: bool, len: usize) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.push(u8::from(sync));
    bytes.resize(len, 0x5a);
    bytes
}

/// A number of its own for each message.
fn name_of(Identity { at, boot }: Identity, number: u32, sync: bool) -> u64 {
    let mixed =
        (u64::from(at.port()) << 32 | u64::from(number)) ^ boot.rotate_left(20) ^ u64::from(sync) << 63;
    let host = match at.ip() {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits() as u64,
    };
    mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ host
}

/// Bytes a second of the state.
const STATE_RATE: u64 = 4_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_killed_in_the_middle_of_a_line_is_noted_behind_the_one_before() {
        let path = std::env::temp_dir().join(format!("sistrum-lab-killed-{}.lines", std::process::id()));
        let line = |what| {
            let process = Identity { at: ([127, 0, 0, 1], 7).into(), boot: 5 };
            serde_json::to_string(&Line { at_ns: 1, process, what }).unwrap()
        };
        fs::write(&path, format!("{}\n{}\n{{\"at_ns\":17,\"pro", line(Said::Starts), line(Said::Joins)))
            .unwrap();
        note_killed(&path).unwrap();
        let said: Vec<_> =
            read(&fs::read_to_string(&path).unwrap()).unwrap().into_iter().map(|line| line.what).collect();
        assert_eq!(said, [Said::Starts, Said::Joins, Said::Killed]);
        // Who said nothing was nobody yet.
        fs::write(&path, "{\"at_ns\"").unwrap();
        note_killed(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"at_ns\"");
        fs::remove_file(&path).unwrap();
    }
}
