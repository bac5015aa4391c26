//! `throughput`: messages as fast as they are accepted from one member to another, beside the packed floors.

use crate::floor::Topology;
use crate::ours::{self, Setup};
use crate::packed::{BLOCK_BYTES, Flow, Packed};
use crate::pins::Pins;
use crate::place::Place;
use crate::report::{Series, Unit, ratio};
use crate::{Failure, Plan};
use sistrum::{Idle, MediumChoice};

/// Measures every size with every number of sockets, with and without offload unless only one was asked for, and once
/// more over a veth pair that segments.
pub(crate) fn run(plan: &Plan, pins: &Pins) -> Result<Vec<Series>, Failure> {
    let veth = plan.veth.then(Place::veth).and_then(|made| match made {
        Ok(place) => Some(place),
        Err(reason) => {
            eprintln!("SKIP throughput over veth: {reason}");
            None
        }
    });
    let sizes = if plan.sizes.is_empty() { &DEFAULT_SIZES[..] } else { &plan.sizes };
    let mut series = Vec::new();
    for &size in sizes {
        for &sockets in &plan.sockets {
            let mut lanes = Vec::new();
            // Offload on and off take turns within a repetition too, so that their figures belong on one line.
            for offload in plan.switches() {
                lanes.extend(Lane::open(size, sockets, offload, &Place::Loopback, plan.medium, pins)?);
            }
            if let Some(place) = veth.as_ref().filter(|_| sockets == 1) {
                lanes.extend(Lane::open(size, sockets, true, place, plan.medium, pins)?);
            }
            for rep in 1..=plan.reps {
                eprintln!("throughput {size} B, {sockets} sockets: repetition {rep} of {}", plan.reps);
                for lane in &mut lanes {
                    lane.measure(plan, pins)?;
                }
            }
            series.extend(lanes.iter().flat_map(Lane::series));
        }
    }
    Ok(series)
}

/// The variants of one size with offload on or off, at one place.
#[derive(Debug)]
struct Lane<'a> {
    setup: Setup<'a>,
    floor: (Packed, Vec<Flow>),
    /// Without own copies, and not a byte sent that no message fills.
    harder: (Packed, Vec<Flow>),
    own: Vec<ours::Stream>,
}

impl<'a> Lane<'a> {
    /// Finds the best floors; `None`, aloud, where our node does not take so many groups.
    fn open(
        size: usize,
        sockets: usize,
        offload: bool,
        place: &'a Place,
        medium: MediumChoice,
        pins: &Pins,
    ) -> Result<Option<Self>, Failure> {
        let setup = Setup { size, offload, medium, sockets, idle: Idle::Spin, place, pair: 0 };
        // Where there is only one socket, whatever is wrong ends the bench.
        if sockets > 1
            && let Err(reason) = setup.check()
        {
            eprintln!("SKIP throughput with {sockets} sockets: {reason}");
            return Ok(None);
        }
        let same_path =
            Packed { topology: Topology::SharedGroup, offload, size, block: BLOCK_BYTES, window_runs: 1 };
        let trimmed = Packed { topology: Topology::TwoGroups, block: same_path.filled(), ..same_path };
        Ok(Some(Self {
            setup,
            floor: (same_path.with_best_window(place, pins)?, Vec::new()),
            harder: (trimmed.with_best_window(place, pins)?, Vec::new()),
            own: Vec::new(),
        }))
    }

    fn measure(&mut self, plan: &Plan, pins: &Pins) -> Result<(), Failure> {
        let place = self.setup.place;
        self.floor.1.push(self.floor.0.run(place, plan.span, pins)?);
        self.own.push(ours::stream(&self.setup, plan.span, pins)?);
        self.harder.1.push(self.harder.0.run(place, plan.span, pins)?);
        Ok(())
    }

    fn series(&self) -> Vec<Series> {
        let (floor, harder) = (rates(&self.floor.1), rates(&self.harder.1));
        let flows: Vec<Flow> = self.own.iter().map(|stream| stream.flow).collect();
        let medium = &self.own.last().expect("at least one repetition").medium;
        let rows = [
            ("floor packed", "udp", &floor, floor_note(&self.floor)),
            ("floor packed, two groups, trimmed", "udp", &harder, floor_note(&self.harder)),
            ("ours", medium, &rates(&flows), self.own_note(&flows, &harder)),
        ];
        let place = match self.setup.place {
            Place::Loopback => "",
            Place::Veth(_) => ", veth that segments",
        };
        let row = |(variant, medium, values, note): (&str, &str, &Vec<f64>, String)| Series {
            bench: "throughput",
            variant: format!("{variant}{place}"),
            medium: medium.into(),
            size: self.setup.size,
            sockets: self.setup.sockets,
            offload: self.setup.offload,
            unit: Unit::MessagesPerSecond,
            values: values.clone(),
            floor: floor.clone(),
            note,
        };
        rows.into_iter().map(row).collect()
    }

    fn own_note(&self, flows: &[Flow], harder: &[f64]) -> String {
        let last = self.own.last().expect("at least one repetition");
        format!(
            "{:.3} of the trimmed floor; {}, {} repaired, window {} blocks, {:.1} blocks per send, {:.1} per receive, \
             Full {} times",
            ratio(&rates(flows), harder),
            flow_note(flows),
            self.own.iter().map(|stream| stream.repaired).sum::<u64>(),
            last.window,
            last.blocks_per_send,
            last.blocks_per_datagram,
            self.own.iter().map(|stream| stream.refused).sum::<u64>()
        )
    }
}

fn rates(flows: &[Flow]) -> Vec<f64> {
    flows.iter().map(|flow| flow.rate).collect()
}

fn floor_note((packed, flows): &(Packed, Vec<Flow>)) -> String {
    format!("window {} runs, blocks of {} B; {}", packed.window_runs, packed.block, flow_note(flows))
}

/// Loss and processor time over all repetitions.
fn flow_note(flows: &[Flow]) -> String {
    let sent: u64 = flows.iter().map(|flow| flow.sent_blocks).sum();
    let lost: u64 = flows.iter().map(|flow| flow.lost_blocks).sum();
    let [sender, receiver] =
        [0, 1].map(|end| flows.iter().map(|flow| flow.cpu[end].as_secs_f64()).sum::<f64>());
    let percent = 100.0 * lost as f64 / sent.max(1) as f64;
    format!("lost {lost} of {sent} blocks ({percent:.3} %), cpu {sender:.2} + {receiver:.2} s")
}

/// Bytes.
const DEFAULT_SIZES: [usize; 2] = [32, 1024];
