//! What having views at all costs while nothing changes: the same two nodes with a static list and as peers, in turn.

use crate::Failure;
use sistrum::{Config, Event, Group, Idle, JoinOptions, Node, Order, Refused};
use std::time::{Duration, Instant};

/// Round trips, and time of throughput, of each repetition.
const TRIPS: u32 = 20_000;
const FLOW: Duration = Duration::from_millis(400);
const MESSAGE: [u8; 32] = [0x5a; 32];
const PATIENCE: Duration = Duration::from_secs(20);

/// Two nodes of one thread in one group.
pub(crate) struct Pair {
    nodes: [Node; 2],
    groups: [Group; 2],
    heard: [u64; 2],
}

/// Prints both ratios: views to a static list, round trips by time and throughput by rate.
pub(super) fn run(reps: usize) -> Result<(), Failure> {
    let (mut trips, mut flows) = (Vec::new(), Vec::new());
    for rep in 0..reps {
        // Who goes first is the other each time.
        let order = if rep % 2 == 0 { [false, true] } else { [true, false] };
        let mut seen = [(0.0, 0.0); 2];
        for views in order {
            let config = Config { idle: Idle::Spin, ..Config::loopback("steady") };
            let mut pair = Pair::open(views, &config, rep)?;
            seen[usize::from(views)] = (pair.round_trips(TRIPS)?, pair.flow(&MESSAGE, FLOW)?);
        }
        trips.push(seen[1].0 / seen[0].0);
        flows.push(seen[1].1 / seen[0].1);
    }
    for (what, mut ratios) in [("round trip", trips), ("32-byte messages a second", flows)] {
        ratios.sort_by(f64::total_cmp);
        let (least, middle, most) = (ratios[0], ratios[ratios.len() / 2], ratios[ratios.len() - 1]);
        println!(
            "steady, views to static list, {what}: median {middle:.3}, from {least:.3} to {most:.3} of {reps}"
        );
    }
    Ok(())
}

impl Pair {
    /// Opens both as `config` says; `rep` tells them from all others of this process.
    pub(crate) fn open(views: bool, config: &Config, rep: usize) -> Result<Self, Failure> {
        let open = || Node::open(config.clone());
        let mut nodes = [open()?, open()?];
        let members = nodes.each_ref().map(Node::endpoint).to_vec();
        let address =
            format!("239.255.89.{}:{}", 1 + rep % 200, 21_000 + std::process::id() % 9_000).parse()?;
        let options = if views { JoinOptions::peer().max_members(2) } else { JoinOptions::members(members) };
        let name = format!("steady {} {rep} {views}", std::process::id());
        let [one, other] = &mut nodes;
        let groups = [
            one.join(&name, options.clone().multicast(address))?,
            other.join(&name, options.multicast(address))?,
        ];
        let mut pair = Self { nodes, groups, heard: [0; 2] };
        let end = Instant::now() + PATIENCE;
        while (0..2).any(|at| pair.nodes[at].reached(&pair.groups[at]).is_none()) {
            (0..2).try_for_each(|at| pair.poll(at))?;
            if Instant::now() > end {
                return Err("the two do not come together".into());
            }
        }
        Ok(pair)
    }

    /// Messages that the second node was handed.
    pub(crate) fn heard(&self) -> u64 {
        self.heard[1]
    }

    /// Until nothing is on its way.
    pub(crate) fn settle(&mut self) -> Result<(), Failure> {
        let end = Instant::now() + PATIENCE;
        while !(0..2).all(|at| self.nodes[at].settled(&self.groups[at])) {
            (0..2).try_for_each(|at| self.poll(at))?;
            if Instant::now() > end {
                return Err("what was cast does not come to its end".into());
            }
        }
        Ok(())
    }

    /// Nanoseconds of a cycle that finds nothing to do, on average.
    pub(crate) fn empty_cycles(&mut self, cycles: u32) -> Result<f64, Failure> {
        let begin = Instant::now();
        (0..cycles).try_for_each(|_| self.poll(0))?;
        Ok(begin.elapsed().as_nanos() as f64 / f64::from(cycles))
    }

    fn poll(&mut self, at: usize) -> Result<(), Failure> {
        let heard = &mut self.heard[at];
        self.nodes[at].poll(|_, event| {
            *heard += u64::from(matches!(event, Event::Deliver(_)));
            Ok(())
        })?;
        Ok(())
    }

    /// Nanoseconds of a round trip, on average.
    pub(crate) fn round_trips(&mut self, trips: u32) -> Result<f64, Failure> {
        let begin = Instant::now();
        for _ in 0..trips {
            for at in [0, 1] {
                let before = self.heard[1 - at];
                self.nodes[at].cast(&self.groups[at], Order::Fifo, &MESSAGE)?;
                while self.heard[1 - at] == before {
                    self.poll(at)?;
                    self.poll(1 - at)?;
                }
            }
        }
        Ok(begin.elapsed().as_nanos() as f64 / f64::from(trips))
    }

    /// Messages a second that arrive.
    pub(crate) fn flow(&mut self, message: &[u8], time: Duration) -> Result<f64, Failure> {
        let (begin, before) = (Instant::now(), self.heard[1]);
        while begin.elapsed() < time {
            for _ in 0..256 {
                match self.nodes[0].cast(&self.groups[0], Order::Fifo, message) {
                    Ok(()) => {}
                    Err(Refused::Full { .. }) => break,
                    Err(other) => return Err(other.into()),
                }
            }
            self.poll(0)?;
            self.poll(1)?;
        }
        Ok((self.heard[1] - before) as f64 / begin.elapsed().as_secs_f64())
    }
}
