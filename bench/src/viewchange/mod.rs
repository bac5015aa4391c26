//! What a change of view costs those who go on: how long they may not cast, how long nothing is handed to them.
//!
//! All members are nodes of one thread, polled in turn: a pause is then the protocol's and not that of a scheduler that has fewer
//! cores than members. It is measured at the application, on loopback sockets, as the longest gap between two casts that were taken,
//! and between two deliveries, while the view changes. A turn of all members is the least that can be seen; it is told beside.

mod simulated;
pub(crate) mod steady;

use crate::Failure;
use crate::report::{probe_writable, write_rows};
use serde::Serialize;
use sistrum::{Config, Event, Group, Idle, JoinOptions, Node, Order, Refused};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Members that go on, and one that comes or goes.
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_values_t = [3, 5, 8], value_parser = members)]
    members: Vec<usize>,
    /// Changes of each kind.
    #[arg(long, value_name = "N", default_value_t = 20)]
    reps: usize,
    /// Silence after which a member is suspected.
    #[arg(long, value_name = "MS", default_value_t = 100)]
    suspect_after_ms: u64,
    /// Repetitions of what views cost while nothing changes, beside a static list; 0 leaves it out.
    #[arg(long, value_name = "N", default_value_t = 9)]
    steady: usize,
    /// Members of groups in virtual time, on a network of 100 us there and back.
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_values_t = [16, 64, 256], value_parser = crowd)]
    simulated: Vec<usize>,
    /// Writes the rows to PATH.
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
}

fn members(text: &str) -> Result<usize, String> {
    let count = text.parse().map_err(|_| format!("{text} is no number"))?;
    if (2..=15).contains(&count) { Ok(count) } else { Err("from 2 to 15 members".to_owned()) }
}

fn crowd(text: &str) -> Result<usize, String> {
    let count = text.parse().map_err(|_| format!("{text} is no number"))?;
    if (4..=256).contains(&count) { Ok(count) } else { Err("from 4 to 256 members".to_owned()) }
}

/// What changes the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Cause {
    Join,
    Leave,
    Crash,
}

/// Medians and worst of all changes of one kind, microseconds.
#[derive(Debug, Serialize)]
struct Row {
    members: usize,
    load: bool,
    cause: Cause,
    /// From the cause until somebody stopped for it: of a crash, the suspicion.
    detection_us: [f64; 2],
    /// From there until the last of those who go on was told of the view.
    agreement_us: [f64; 2],
    sender_pause_us: [f64; 2],
    receiver_pause_us: [f64; 2],
    /// One turn of all members.
    turn_us: f64,
    /// Sent to agree, by all together, a multicast once; the median of the changes.
    frames: u64,
    bytes: u64,
}

/// Measures all, and prints a table.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    options.json.as_deref().map_or(Ok(()), probe_writable)?;
    println!("microseconds, median and worst of {} changes; all members in one thread", options.reps);
    println!(
        "members load  cause    detection          agreement          casts stop         deliveries stop    turn   frames bytes"
    );
    let mut rows = Vec::new();
    for &members in &options.members {
        for load in [false, true] {
            for cause in [Cause::Join, Cause::Leave, Cause::Crash] {
                let row = measure(options, members, load, cause)?;
                print(&row);
                rows.push(row);
            }
        }
    }
    if options.steady > 0 {
        steady::run(options.steady)?;
    }
    simulated::run(&options.simulated)?;
    if let Some(path) = &options.json {
        write_rows(path, &rows)?;
    }
    Ok(())
}

fn print(row: &Row) {
    let pair = |[median, worst]: [f64; 2]| format!("{median:>8.0} {worst:>8.0}");
    println!(
        "{:>7} {:>4}  {:7} {}  {}  {}  {} {:>6.0} {:>7} {:>5}",
        row.members,
        if row.load { "yes" } else { "no" },
        format!("{:?}", row.cause).to_lowercase(),
        pair(row.detection_us),
        pair(row.agreement_us),
        pair(row.sender_pause_us),
        pair(row.receiver_pause_us),
        row.turn_us,
        row.frames,
        row.bytes
    );
}

/// One member, and when it was last let cast and handed something.
struct Member {
    node: Node,
    group: Group,
    told: usize,
    cast_at: Instant,
    handed_at: Instant,
    /// The longest gaps since the change began.
    cast_gap: Duration,
    handed_gap: Duration,
    was_stopped: bool,
}

/// The group that is measured.
struct Bench<'a> {
    options: &'a Options,
    name: String,
    load: bool,
    members: Vec<Member>,
    next_cast: Instant,
}

/// Casts of each member in a turn under load, and the distance of casts without.
const BURST: usize = 4;
const IDLE_CAST: Duration = Duration::from_micros(200);
/// No change takes longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two changes.
const REST: Duration = Duration::from_millis(20);

fn measure(options: &Options, members: usize, load: bool, cause: Cause) -> Result<Row, Failure> {
    let name = format!("viewchange {} {members} {load} {cause:?}", std::process::id());
    let mut bench = Bench { options, name, load, members: Vec::new(), next_cast: Instant::now() };
    // One more is there where one goes.
    let first = members + usize::from(cause != Cause::Join);
    for _ in 0..first {
        let member = bench.open()?;
        bench.members.push(member);
    }
    bench.until_together(first)?;
    let mut seen: [Vec<f64>; 4] = Default::default();
    let (mut frames, mut bytes) = (Vec::new(), Vec::new());
    for _ in 0..options.reps {
        bench.rest()?;
        let change = bench.change(cause)?;
        seen.iter_mut().zip(change.times).for_each(|(seen, time)| seen.push(time.as_secs_f64() * 1e6));
        frames.push(change.frames);
        bytes.push(change.bytes);
        bench.restore(cause, first)?;
    }
    let turn_us = bench.turn_us()?;
    let [detection_us, agreement_us, sender_pause_us, receiver_pause_us] = seen.map(median_and_worst);
    let middle = |mut all: Vec<u64>| {
        all.sort_unstable();
        all[all.len() / 2]
    };
    let (frames, bytes) = (middle(frames), middle(bytes));
    Ok(Row {
        members,
        load,
        cause,
        detection_us,
        agreement_us,
        sender_pause_us,
        receiver_pause_us,
        turn_us,
        frames,
        bytes,
    })
}

fn median_and_worst(mut all: Vec<f64>) -> [f64; 2] {
    all.sort_by(f64::total_cmp);
    [all[all.len() / 2], all[all.len() - 1]]
}

/// What one change took: detection, agreement, the senders' and the receivers' longest pause.
struct Change {
    times: [Duration; 4],
    frames: u64,
    bytes: u64,
}

impl Bench<'_> {
    fn open(&self) -> Result<Member, Failure> {
        let mut config = Config { idle: Idle::Spin, receive_buffer: 4 << 20, ..Config::loopback("bench") };
        config.pool_blocks = 8192;
        let mut node = Node::open(config)?;
        let options = JoinOptions::peer()
            .suspect_after(Duration::from_millis(self.options.suspect_after_ms))
            .multicast(format!("239.255.88.1:{}", 21_000 + std::process::id() % 9_000).parse()?);
        let group = node.join(&self.name, options)?;
        let now = Instant::now();
        let gap = Duration::ZERO;
        Ok(Member {
            node,
            group,
            told: 0,
            cast_at: now,
            handed_at: now,
            cast_gap: gap,
            handed_gap: gap,
            was_stopped: false,
        })
    }

    /// Polls all in turn; those who may, cast.
    fn turn(&mut self) -> Result<(), Failure> {
        let casts = self.load || Instant::now() >= self.next_cast;
        if casts {
            self.next_cast = Instant::now() + IDLE_CAST;
        }
        for member in &mut self.members {
            if casts {
                member.cast(if self.load { BURST } else { 1 })?;
            }
            member.poll()?;
        }
        Ok(())
    }

    fn rest(&mut self) -> Result<(), Failure> {
        let end = Instant::now() + REST;
        while Instant::now() < end {
            self.turn()?;
        }
        Ok(())
    }

    fn turn_us(&mut self) -> Result<f64, Failure> {
        let (begin, turns) = (Instant::now(), 1_000);
        for _ in 0..turns {
            self.turn()?;
        }
        Ok(begin.elapsed().as_secs_f64() * 1e6 / f64::from(turns))
    }

    fn until_together(&mut self, count: usize) -> Result<(), Failure> {
        let end = Instant::now() + PATIENCE;
        while self.members.iter().any(|member| member.told != count) {
            self.turn()?;
            if Instant::now() > end {
                return Err("the members do not come together".into());
            }
        }
        Ok(())
    }

    fn spent(&self) -> (u64, u64) {
        let all = self.members.iter().map(|member| member.node.spent_on_views(&member.group));
        all.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// One change, until all who go on were told of it.
    fn change(&mut self, cause: Cause) -> Result<Change, Failure> {
        let before = self.members.len();
        let joiner = if cause == Cause::Join { Some(self.open()?) } else { None };
        if cause == Cause::Crash {
            drop(self.members.pop());
        }
        let spent = self.spent();
        let begin = Instant::now();
        for member in &mut self.members {
            (member.cast_gap, member.handed_gap) = (Duration::ZERO, Duration::ZERO);
            member.was_stopped = false;
        }
        let mut leaver = None;
        if cause == Cause::Leave {
            let mut member = self.members.pop().ok_or("nobody is there to leave")?;
            let group = member.group;
            member.node.leave(&group);
            leaver = Some(member);
        }
        let staying = self.members.len();
        let count = if cause == Cause::Join { before + 1 } else { before - 1 };
        self.members.extend(joiner);
        let mut stopped_at = None;
        let end = begin + PATIENCE;
        while self.members[..staying].iter().any(|member| member.told != count) {
            self.turn()?;
            if let Some(leaver) = &mut leaver {
                leaver.poll()?;
            }
            if self.members[..staying].iter().any(|member| member.was_stopped) {
                stopped_at.get_or_insert_with(Instant::now);
            }
            if Instant::now() > end {
                return Err("a view does not come".into());
            }
        }
        let told = Instant::now();
        let stopped = stopped_at.unwrap_or(told);
        // The first casts and deliveries of the next view end the pause.
        self.until_flowing(begin, staying)?;
        let going = &self.members[..staying];
        let longest = |gap: fn(&Member) -> Duration| going.iter().map(gap).max().unwrap_or_default();
        let (pause, silence) = (longest(|member| member.cast_gap), longest(|member| member.handed_gap));
        let now = self.spent();
        if let Some(mut leaver) = leaver {
            while !leaver.node.has_left(&leaver.group) {
                leaver.poll()?;
                self.turn()?;
            }
        }
        Ok(Change {
            times: [stopped - begin, told - stopped, pause, silence],
            frames: now.0 - spent.0,
            bytes: now.1 - spent.1,
        })
    }

    /// Until all have cast and been handed something after `begin`'s change was told.
    fn until_flowing(&mut self, begin: Instant, staying: usize) -> Result<(), Failure> {
        let (told, end) = (Instant::now(), begin + 2 * PATIENCE);
        while self.members[..staying].iter().any(|member| member.cast_at < told || member.handed_at < told) {
            self.turn()?;
            if Instant::now() > end {
                return Err("nothing flows in the next view".into());
            }
        }
        Ok(())
    }

    /// As before the change.
    fn restore(&mut self, cause: Cause, first: usize) -> Result<(), Failure> {
        if cause == Cause::Join {
            let mut joined = self.members.pop().ok_or("nobody has joined")?;
            let group = joined.group;
            joined.node.leave(&group);
            while !joined.node.has_left(&group) {
                joined.poll()?;
                self.turn()?;
            }
        } else {
            let member = self.open()?;
            self.members.push(member);
        }
        self.until_together(first)
    }
}

impl Member {
    fn cast(&mut self, burst: usize) -> Result<(), Failure> {
        for _ in 0..burst {
            match self.node.cast(&self.group, Order::Fifo, &[0x5a; 64]) {
                Ok(()) => {
                    let now = Instant::now();
                    self.cast_gap = self.cast_gap.max(now - self.cast_at);
                    self.cast_at = now;
                }
                Err(Refused::ViewChanging) => {
                    self.was_stopped = true;
                    return Ok(());
                }
                Err(Refused::Full { .. } | Refused::NoView | Refused::Left) => return Ok(()),
                Err(other) => return Err(other.into()),
            }
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<(), Failure> {
        let Self { node, told, handed_at, handed_gap, .. } = self;
        node.poll(|_, event| {
            match event {
                Event::View(view) => *told = view.members().len(),
                Event::Deliver(_) => {
                    let now = Instant::now();
                    *handed_gap = (*handed_gap).max(now - *handed_at);
                    *handed_at = now;
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(())
    }
}
