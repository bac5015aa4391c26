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
        // The same for any number of sockets: the floor has one.
        let mut paths = Vec::new();
        for offload in plan.switches() {
            paths.push(Path::find(size, offload, &Place::Loopback, pins)?);
        }
        if let Some(place) = veth.as_ref().filter(|_| plan.sockets.contains(&1)) {
            paths.push(Path::find(size, true, place, pins)?);
        }
        for &sockets in &plan.sockets {
            // Offload on and off take turns within a repetition too, so that their figures belong on one line.
            let here = paths.iter().filter(|path| sockets == 1 || matches!(path.place, Place::Loopback));
            let mut lanes: Vec<_> = here.map(|path| Lane::open(path, sockets, &plan.media)).collect();
            lanes.retain(|lane| !lane.own.is_empty());
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

/// A way from one end to the other, with the best floors over it.
#[derive(Debug)]
struct Path<'a> {
    place: &'a Place,
    floor: Packed,
    /// Without own copies, and not a byte sent that no message fills.
    harder: Packed,
}

impl<'a> Path<'a> {
    fn find(size: usize, offload: bool, place: &'a Place, pins: &Pins) -> Result<Self, Failure> {
        let same_path =
            Packed { topology: Topology::SharedGroup, offload, size, block: BLOCK_BYTES, window_runs: 1 };
        let trimmed = Packed { topology: Topology::TwoGroups, block: same_path.filled(), ..same_path };
        Ok(Self {
            place,
            floor: same_path.with_best_window(place, pins)?,
            harder: trimmed.with_best_window(place, pins)?,
        })
    }
}

/// The variants of one size with offload on or off, at one place.
#[derive(Debug)]
struct Lane<'a> {
    setup: Setup<'a>,
    floor: (Packed, Vec<Flow>),
    harder: (Packed, Vec<Flow>),
    /// For each medium.
    own: Vec<(MediumChoice, Vec<ours::Stream>)>,
}

impl<'a> Lane<'a> {
    fn open(path: &Path<'a>, sockets: usize, media: &[MediumChoice]) -> Self {
        let Packed { size, offload, .. } = path.floor;
        let (medium, place) = (media[0], path.place);
        let setup = Setup { size, offload, medium, sockets, idle: Idle::Spin, place, pair: 0 };
        let own = setup.usable("throughput", media).into_iter().map(|medium| (medium, Vec::new()));
        Self { setup, floor: (path.floor, Vec::new()), harder: (path.harder, Vec::new()), own: own.collect() }
    }

    fn measure(&mut self, plan: &Plan, pins: &Pins) -> Result<(), Failure> {
        let place = self.setup.place;
        self.floor.1.push(self.floor.0.run(place, plan.span, pins)?);
        for (medium, streams) in &mut self.own {
            streams.push(ours::stream(&Setup { medium: *medium, ..self.setup }, plan.span, pins)?);
        }
        self.harder.1.push(self.harder.0.run(place, plan.span, pins)?);
        Ok(())
    }

    fn series(&self) -> Vec<Series> {
        let (floor, harder) = (rates(&self.floor.1), rates(&self.harder.1));
        let mut rows = vec![
            ("floor packed", "udp".to_owned(), floor.clone(), floor_note(&self.floor)),
            ("floor packed, two groups, trimmed", "udp".to_owned(), harder.clone(), floor_note(&self.harder)),
        ];
        for (_, streams) in &self.own {
            let flows: Vec<Flow> = streams.iter().map(|stream| stream.flow).collect();
            let medium = streams.last().map(|stream| stream.medium.clone()).unwrap_or_default();
            rows.push(("ours", medium, rates(&flows), own_note(streams, &flows, &harder)));
        }
        let place = match self.setup.place {
            Place::Loopback => "",
            Place::Veth(_) => ", veth that segments",
        };
        let row = |(variant, medium, values, note): (&str, String, Vec<f64>, String)| Series {
            bench: "throughput",
            variant: format!("{variant}{place}"),
            medium,
            size: self.setup.size,
            sockets: self.setup.sockets,
            offload: self.setup.offload,
            unit: Unit::MessagesPerSecond,
            values,
            floor: floor.clone(),
            note,
        };
        rows.into_iter().map(row).collect()
    }
}

fn own_note(streams: &[ours::Stream], flows: &[Flow], harder: &[f64]) -> String {
    let last = streams.last().expect("at least one repetition");
    format!(
        "{:.3} of the trimmed floor; {}, {} repaired, window {} blocks, {:.1} blocks per send, {:.1} per receive, \
             Full {} times",
        ratio(&rates(flows), harder),
        flow_note(flows),
        streams.iter().map(|stream| stream.repaired).sum::<u64>(),
        last.window,
        last.blocks_per_send,
        last.blocks_per_datagram,
        streams.iter().map(|stream| stream.refused).sum::<u64>()
    )
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
