//! How fast state is taken over, and what that costs those who are there: the latency of what is cast meanwhile.
//!
//! Three members and one who joins are nodes of one thread, polled in turn: what is seen is the protocol's share of the processor, and
//! not that of a scheduler that has fewer cores than members. One member casts at a fixed rate, another one takes the time of each message.
//! The floor of the rate is a plain stream of messages of a block each between two such nodes, in the same run.

use crate::Failure;
use crate::report::{probe_writable, write_rows};
use hdrhistogram::Histogram;
use serde::Serialize;
use sistrum::{Config, Event, Group, Idle, JoinOptions, Node, Order, Pace, Refused, StateTuning};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Bytes of the state.
    #[arg(long, value_name = "BYTES,..", value_delimiter = ',', default_values_t = [1 << 20, 64 << 20])]
    state: Vec<usize>,
    /// Bytes a second at which it is given; 0 for as fast as it goes.
    #[arg(long, value_name = "BYTES,..", value_delimiter = ',', default_values_t = [0, 50_000_000])]
    pace: Vec<u64>,
    /// Messages a second that are cast meanwhile.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// Transfers of each kind.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    reps: u32,
    /// Writes the rows to PATH.
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
}

/// Medians of all transfers of one kind, with the least and the most where that is told.
#[derive(Debug, Serialize)]
struct Row {
    state_bytes: usize,
    pace: Option<u64>,
    /// From the request to join until the application has all of the state: least, median, most.
    seconds: [f64; 3],
    /// Bytes a second of that, to those of a plain stream.
    to_floor: f64,
    /// Of messages that are cast in the same group, without a transfer and during it, microseconds.
    quiet_us: [f64; 2],
    during_us: [f64; 2],
}

/// Measures all, and prints a table.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let Options { rate, reps, json, .. } = options;
    json.as_deref().map_or(Ok(()), probe_writable)?;
    println!(
        "{reps} transfers each; {rate} messages of 64 bytes a second meanwhile; all members in one thread"
    );
    println!(
        "state MB   pace MB/s  seconds: least, median, most     MB/s  to floor  us p50, p99 without      during"
    );
    let mut rows = Vec::new();
    for &state in &options.state {
        for &pace in &options.pace {
            let row = measure(options, state, (pace > 0).then_some(pace))?;
            print(&row);
            rows.push(row);
        }
    }
    if let Some(path) = &options.json {
        write_rows(path, &rows)?;
    }
    Ok(())
}

fn print(row: &Row) {
    let Row { state_bytes, pace, seconds, to_floor, quiet_us, during_us } = row;
    let mega = |bytes: f64| bytes / 1e6;
    println!(
        "{:>8.1} {:>11}  {:>8.4} {:>8.4} {:>8.4}  {:>12.1} {to_floor:>9.3}  {:>8.1} {:>8.1}  {:>9.1} {:>8.1}",
        mega(*state_bytes as f64),
        pace.map_or_else(|| "-".to_owned(), |pace| format!("{:.1}", mega(pace as f64))),
        seconds[0],
        seconds[1],
        seconds[2],
        mega(*state_bytes as f64) / seconds[1],
        quiet_us[0],
        quiet_us[1],
        during_us[0],
        during_us[1],
    );
}

fn measure(options: &Options, state: usize, pace: Option<u64>) -> Result<Row, Failure> {
    let (mut seconds, mut ratios) = (Vec::new(), Vec::new());
    let histogram = || Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3);
    let (mut quiet, mut during) = (histogram()?, histogram()?);
    for rep in 0..options.reps {
        let mut crew = Crew::open(options.rate, state, pace, rep)?;
        let floor = crew.floor()?;
        crew.live(QUIET, &mut quiet)?;
        let took = crew.transfer(&mut during)?;
        seconds.push(took);
        ratios.push(state as f64 / took / floor);
    }
    seconds.sort_by(f64::total_cmp);
    ratios.sort_by(f64::total_cmp);
    let micros = |all: &Histogram<u64>| [0.5, 0.99].map(|at| all.value_at_quantile(at) as f64 / 1e3);
    Ok(Row {
        state_bytes: state,
        pace,
        seconds: [seconds[0], seconds[seconds.len() / 2], seconds[seconds.len() - 1]],
        to_floor: ratios[ratios.len() / 2],
        quiet_us: micros(&quiet),
        during_us: micros(&during),
    })
}

/// One node, and what it was handed.
struct Member {
    node: Node,
    group: Group,
    is_told: bool,
    /// Bytes of the state that came.
    taken: usize,
    messages: u64,
    bytes: u64,
}

/// All nodes; the first one casts, the second one takes the time.
struct Crew {
    members: Vec<Member>,
    name: String,
    state: Vec<u8>,
    pace: Option<Pace>,
    gap: Duration,
    began: Instant,
    due: Instant,
}

impl Crew {
    fn open(rate: u64, state: usize, pace: Option<u64>, rep: u32) -> Result<Self, Failure> {
        let now = Instant::now();
        let name = format!("transfer {} {state} {pace:?} {rep}", std::process::id());
        let pace = pace.map(|rate| Pace { rate, burst: 64 * 1024 });
        let gap = Duration::from_nanos(1_000_000_000 / rate);
        let state = vec![0x5a; state];
        let mut crew = Self { members: Vec::new(), name, state, pace, gap, began: now, due: now };
        // One after the other, so that it is known who was there first, and who has to take the state over.
        for count in 1..=THERE {
            crew.join()?;
            crew.until("they are ready", |crew| crew.is_ready(count))?;
        }
        Ok(crew)
    }

    fn join(&mut self) -> Result<(), Failure> {
        let mut node = Node::open(Config { idle: Idle::Spin, ..Config::loopback("transfer") })?;
        let options = JoinOptions::peer()
            .expected_members(1)
            .max_members(THERE + 1)
            .keep_state(StateTuning { pace: self.pace, ..StateTuning::default() });
        let group = node.join(&self.name, options)?;
        let (is_told, taken, messages, bytes) = Default::default();
        self.members.push(Member { node, group, is_told, taken, messages, bytes });
        Ok(())
    }

    fn is_ready(&self, count: usize) -> bool {
        let is_in = |member: &Member| {
            let view = member.node.view(&member.group);
            member.is_told
                && view.is_some_and(|view| view.members().len() == count && view.joining().is_empty())
        };
        self.members.iter().all(is_in)
    }

    /// One turn of all; what the second one is handed goes into `times`.
    fn turn(&mut self, mut times: Option<&mut Histogram<u64>>) -> Result<(), Failure> {
        let Self { members, state, began, .. } = self;
        for (at, Member { node, is_told, taken, messages, bytes, .. }) in members.iter_mut().enumerate() {
            node.poll(|_, event| {
                match event {
                    Event::View(_) => *is_told = true,
                    Event::State(block) => *taken += block.bytes.len(),
                    Event::Snapshot(snapshot) => snapshot.domain("bytes").extend_from_slice(state),
                    Event::Deliver(message) => {
                        *messages += 1;
                        *bytes += message.len() as u64;
                        if let (1, Some(times), Some(sent)) =
                            (at, times.as_deref_mut(), message.bytes().first_chunk())
                        {
                            let now = began.elapsed().as_nanos() as u64;
                            times.saturating_record(now.saturating_sub(u64::from_le_bytes(*sent)).max(1));
                        }
                    }
                    _ => {}
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Casts what is due by now: it says when it was due.
    fn cast_due(&mut self) -> Result<(), Failure> {
        let Self { members, gap, began, due, .. } = self;
        let first = &mut members[0];
        while Instant::now() >= *due {
            let mut message = [0x5a; 64];
            let at = due.saturating_duration_since(*began).as_nanos() as u64;
            message[..8].copy_from_slice(&at.to_le_bytes());
            match first.node.cast(&first.group, Order::Fifo, &message) {
                Ok(()) => *due += *gap,
                Err(Refused::Full { .. } | Refused::ViewChanging) => break,
                Err(other) => return Err(other.into()),
            }
        }
        Ok(())
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<(), Failure> {
        let end = Instant::now() + PATIENCE;
        while !is_so(self) {
            self.turn(None)?;
            if Instant::now() > end {
                return Err(format!("never: {what}").into());
            }
        }
        Ok(())
    }

    /// Bytes a second of a plain stream between those who are there.
    fn floor(&mut self) -> Result<f64, Failure> {
        let (begin, before) = (Instant::now(), self.members[1].bytes);
        let message = [0x5a; BLOCK];
        while begin.elapsed() < FLOW {
            for _ in 0..32 {
                let first = &mut self.members[0];
                match first.node.cast(&first.group, Order::Fifo, &message) {
                    Ok(()) => {}
                    Err(Refused::Full { .. }) => break,
                    Err(other) => return Err(other.into()),
                }
            }
            self.turn(None)?;
        }
        let rate = (self.members[1].bytes - before) as f64 / begin.elapsed().as_secs_f64();
        // Nothing of it is under way any more.
        self.until("it is over", |crew| crew.members[0].node.settled(&crew.members[0].group))?;
        Ok(rate)
    }

    fn live(&mut self, span: Duration, times: &mut Histogram<u64>) -> Result<(), Failure> {
        let end = Instant::now() + span;
        self.due = Instant::now();
        while Instant::now() < end {
            self.cast_due()?;
            self.turn(Some(times))?;
        }
        Ok(())
    }

    /// One more joins; seconds until it has the state.
    fn transfer(&mut self, times: &mut Histogram<u64>) -> Result<f64, Failure> {
        self.join()?;
        let (begin, last) = (Instant::now(), self.members.len() - 1);
        self.due = begin;
        while self.members[last].taken < self.state.len() {
            self.cast_due()?;
            self.turn(Some(times))?;
            if begin.elapsed() > PATIENCE {
                return Err("the state does not come".into());
            }
        }
        let took = begin.elapsed().as_secs_f64();
        self.until("it is ready", |crew| crew.is_ready(THERE + 1))?;
        Ok(took)
    }
}

/// Members that are there before the one who is looked at.
const THERE: usize = 3;
const QUIET: Duration = Duration::from_millis(300);
const FLOW: Duration = Duration::from_millis(200);
/// What fits in a block of the usual size.
const BLOCK: usize = 1_300;
const PATIENCE: Duration = Duration::from_secs(60);
