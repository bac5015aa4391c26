//! `throughput`: messages as fast as they are accepted from one member to another, beside the packed floors.

use crate::floor::Topology;
use crate::packed::{BLOCK_BYTES, Flow, Packed};
use crate::pins::Pins;
use crate::report::{Series, Unit, ratio};
use crate::{Failure, Plan, ours};

/// Measures every size, with and without offload unless only one was asked for.
pub(crate) fn run(plan: &Plan, pins: &Pins) -> Result<Vec<Series>, Failure> {
    let sizes = if plan.sizes.is_empty() { &DEFAULT_SIZES[..] } else { &plan.sizes };
    let mut series = Vec::new();
    for &size in sizes {
        // Offload on and off take turns within a repetition too, so that their figures belong on one line.
        let switches = plan.offload.map_or(vec![true, false], |offload| vec![offload]);
        let mut lanes = switches
            .into_iter()
            .map(|offload| Lane::new(size, offload, pins))
            .collect::<Result<Vec<_>, _>>()?;
        for rep in 1..=plan.reps {
            eprintln!("throughput {size} B: repetition {rep} of {}", plan.reps);
            for lane in &mut lanes {
                lane.measure(plan, pins)?;
            }
        }
        series.extend(lanes.iter().flat_map(Lane::series));
    }
    Ok(series)
}

/// The variants of one size with offload on or off.
#[derive(Debug)]
struct Lane {
    size: usize,
    offload: bool,
    floor: (Packed, Vec<Flow>),
    harder: (Packed, Vec<Flow>),
    own: Vec<ours::Stream>,
}

impl Lane {
    fn new(size: usize, offload: bool, pins: &Pins) -> Result<Self, Failure> {
        let same_path =
            Packed { topology: Topology::SharedGroup, offload, size, block: BLOCK_BYTES, window_runs: 1 };
        // Harder: no own copies, and not a byte sent that no message fills.
        let trimmed = Packed { topology: Topology::TwoGroups, block: same_path.filled(), ..same_path };
        Ok(Self {
            size,
            offload,
            floor: (same_path.with_best_window(pins)?, Vec::new()),
            harder: (trimmed.with_best_window(pins)?, Vec::new()),
            own: Vec::new(),
        })
    }

    fn measure(&mut self, plan: &Plan, pins: &Pins) -> Result<(), Failure> {
        self.floor.1.push(self.floor.0.run(plan.span, pins)?);
        self.own.push(ours::stream(self.size, self.offload, plan.span, pins)?);
        self.harder.1.push(self.harder.0.run(plan.span, pins)?);
        Ok(())
    }

    fn series(&self) -> Vec<Series> {
        let floor = rates(&self.floor.1);
        let harder = rates(&self.harder.1);
        let kind = if self.offload { "packed" } else { "packed plain" };
        let row = |variant: String, medium: &str, values: &[f64], note: String| Series {
            bench: "throughput",
            variant,
            medium: medium.into(),
            size: self.size,
            sockets: 1,
            offload: self.offload,
            unit: Unit::MessagesPerSecond,
            values: values.to_vec(),
            floor: floor.clone(),
            note,
        };
        let mut rows = vec![
            row(format!("floor {kind}"), "udp", &floor, floor_note(&self.floor)),
            row(format!("floor {kind}, two groups, trimmed"), "udp", &harder, floor_note(&self.harder)),
        ];
        let flows: Vec<Flow> = self.own.iter().map(|stream| stream.flow).collect();
        let own = rates(&flows);
        let last = self.own.last().expect("at least one repetition");
        let note = format!(
            "{:.3} of the trimmed floor; {}, {} repaired, {:.1} blocks per send, Full {} times",
            ratio(&own, &harder),
            flow_note(&flows),
            self.own.iter().map(|stream| stream.repaired).sum::<u64>(),
            last.blocks_per_send,
            self.own.iter().map(|stream| stream.refused).sum::<u64>()
        );
        rows.push(row("ours".into(), &last.medium, &own, note));
        rows
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
