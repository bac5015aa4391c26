//! Large groups, in virtual time over a network in memory: what a change takes where nothing but the network takes time.

use crate::Failure;
use sistrum_membership::agreement::AgreementTuning;
use sistrum_membership::{Caster, Entry, Event, Group, GroupConfig, Peers};
use sistrum_ordering::{BootId, Endpoint, Seq, TotalOptions};
use sistrum_transport::engine::{Cycle, Idle};
use sistrum_transport::log::PoolConfig;
use sistrum_transport::medium::sim::endpoint_of;
use sistrum_transport::medium::{FanOut, Medium, Network, Sim, SimOptions};
use sistrum_transport::protocol::Protocol;
use sistrum_transport::reliable::{RunLimits, Tuning};
use sistrum_transport::time::{Instant, ManualClock};
use std::ops::ControlFlow;

/// One way of the network.
const ONE_WAY_NS: u64 = 50_000;
const BLOCK: usize = 1_400;
const WINDOW: usize = 8;
/// Virtual time within which a group has to come to a view.
const PATIENCE_NS: u64 = 60_000_000_000;

struct Member {
    place: u16,
    group: Group,
    cycle: Cycle<Sim, ManualClock>,
    /// Members of the view that it was told of, and when.
    told: usize,
    told_at: Instant,
    did: usize,
}

struct World {
    clock: ManualClock,
    network: Network,
    members: Vec<Member>,
}

/// Prints what a leave and a crash take, agreement alone.
pub(super) fn run(sizes: &[usize]) -> Result<(), Failure> {
    println!(
        "simulated, {} us round trip: from the first who stops to the last who is told, frames and bytes of all",
        ONE_WAY_NS / 500
    );
    for &size in sizes {
        let mut world = World::new(size)?;
        world.until(|world| world.members.iter().all(|member| member.told == size))?;
        let leaver = world.members.len() - 1;
        let now = world.clock.peek();
        world.members[leaver].group.leave(now);
        world.report("leave", leaver)?;
        world.members.truncate(leaver);
        world.pass(200_000_000)?;
        world.members.truncate(leaver - 1);
        world.report("crash", leaver - 1)?;
    }
    Ok(())
}

impl World {
    fn new(size: usize) -> Result<Self, Failure> {
        let clock = ManualClock::default();
        clock.advance_ns(1_000_000_000);
        let options = SimOptions { delay_ns: ONE_WAY_NS..ONE_WAY_NS + 1, ..SimOptions::default() };
        let network = Network::new(1, clock.clone(), options);
        let members = (0..size as u16).map(|place| Member::new(&network, &clock, place, size));
        Ok(Self { members: members.collect::<Result<_, Failure>>()?, clock, network })
    }

    /// One change, after which `staying` are left.
    fn report(&mut self, what: &str, staying: usize) -> Result<(), Failure> {
        let spent = |world: &Self| {
            let all = world.members[..staying].iter().map(|member| member.group.spent_on_views());
            all.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
        };
        let before = spent(self);
        let is_changing =
            |member: &Member| member.group.agreement().is_some_and(|agreement| agreement.is_changing());
        self.until(|world| world.members[..staying].iter().any(is_changing))?;
        let begin = self.clock.peek();
        self.until(|world| world.members[..staying].iter().all(|member| member.told == staying))?;
        let last = self.members[..staying].iter().map(|member| member.told_at).max().unwrap_or(begin);
        let after = spent(self);
        println!(
            "{:>5} members  {what}  {:>8.2} ms {:>8} frames {:>10} bytes",
            staying,
            last.since_ns(begin) as f64 / 1e6,
            after.0 - before.0,
            after.1 - before.1
        );
        Ok(())
    }

    fn pass(&mut self, ns: u64) -> Result<(), Failure> {
        let end = self.clock.peek().plus_ns(ns);
        self.until(|world| world.clock.peek() >= end)
    }

    fn until(&mut self, is_so: impl Fn(&Self) -> bool) -> Result<(), Failure> {
        let end = self.clock.peek().plus_ns(PATIENCE_NS);
        while !is_so(self) {
            let now = self.clock.peek();
            if now > end {
                return Err("a view does not come".into());
            }
            let mut next = now.plus_ns(10_000_000);
            for member in &mut self.members {
                let wakes = |member: &Member| {
                    let wakes = [member.group.poll_timeout(), self.network.next_arrival_at(member.place)];
                    wakes.into_iter().flatten().min().unwrap_or(Instant(u64::MAX))
                };
                if member.did > 0 || wakes(member) <= now {
                    member.turn(now)?;
                }
                next = next.min(if member.did > 0 { now } else { wakes(member) });
            }
            self.clock.advance_ns(next.since_ns(now).max(1_000));
        }
        Ok(())
    }
}

impl Member {
    fn new(network: &Network, clock: &ManualClock, place: u16, size: usize) -> Result<Self, Failure> {
        let mut medium = network.endpoint(place);
        let channel = medium.open_channel(FanOut::multicast(Endpoint(([239, 255, 0, 1], 9).into())))?;
        let able = medium.capabilities().clone();
        let agreement = AgreementTuning { retry_ns: 20_000_000, ..AgreementTuning::default() };
        let peers = Peers { expected: size, agreement, ..Peers::default() };
        let config = GroupConfig {
            name: "simulated".into(),
            local: endpoint_of(place),
            entry: Entry::Peers(peers),
            boot: BootId(1_000 + u64::from(place)),
            channel,
            index: 0,
            block: BLOCK,
            limits: RunLimits { blocks: able.max_run_blocks, bytes: able.max_run_bytes },
            receive_buffer: able.receive_buffer,
            coalesces: able.coalesces,
            max_window: WINDOW,
            pair_window: WINDOW,
            tuning: Tuning { window: WINDOW, ..Tuning::loopback() },
            order: TotalOptions::default(),
            start: Seq(0),
            seed: u64::from(place),
        };
        let pool = PoolConfig { stride: BLOCK, strides: 4_096, slabs: 16 };
        let cycle = Cycle::new(medium, clock.clone(), pool, Idle::Spin)?;
        Ok(Self { place, group: Group::new(config), cycle, told: 0, told_at: Instant::default(), did: 1 })
    }

    fn turn(&mut self, now: Instant) -> Result<(), Failure> {
        let (told, told_at) = (&mut self.told, &mut self.told_at);
        self.did = self.cycle.turn(&mut self.group, &mut |_: &mut Caster<'_>, event: Event<'_>| {
            if let Event::View(view) = event {
                (*told, *told_at) = (view.members().len(), now);
            }
            ControlFlow::Continue(())
        })?;
        Ok(())
    }
}
