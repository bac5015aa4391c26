//! Ours: the same two benches through `Node::cast` and `Node::poll`. The only file that knows the library.
//!
//! Each end opens its node in its own thread (a node stays there), tells the other its endpoint, and joins the group
//! of both. Both ends run inline with the spinning idle strategy, reliable FIFO. A message starts with a u64: its
//! serial number, which the receiver verifies.

use crate::floor::{Trips, group_address};
use crate::packed::{FRAME_HEADER_BYTES, Flow, MAX_RUN_BYTES};
use crate::pins::Pins;
use crate::place::Place;
use crate::{Failure, Span, raw};
use sistrum::{
    Caster, Config, Endpoint, Event, Group, Idle, JoinOptions, MediumChoice, Node, Order, Refused,
};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// What one repetition through `cast` and `poll` counted.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    /// The figures that the floor has as well; a block that had to be repaired counts as lost.
    pub(crate) flow: Flow,
    /// Blocks that the receiver got by repair.
    pub(crate) repaired: u64,
    /// How often `cast` answered `Full`.
    pub(crate) refused: u64,
    /// Blocks of the sender's window.
    pub(crate) window: usize,
    /// Blocks sent per send call.
    pub(crate) blocks_per_send: f64,
    /// Blocks received per datagram or coalesced buffer.
    pub(crate) blocks_per_datagram: f64,
    /// What carried it.
    pub(crate) medium: String,
}

/// How the members are opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup<'a> {
    /// Bytes of a message.
    pub(crate) size: usize,
    /// Segmentation offload.
    pub(crate) offload: bool,
    /// What carries it.
    pub(crate) medium: MediumChoice,
    /// Groups that each member joins, each with a socket of its own; only the first is used.
    pub(crate) sockets: usize,
    /// How the members wait.
    pub(crate) idle: Idle,
    /// Where they are.
    pub(crate) place: &'a Place,
    /// Which of several pairs side by side this is.
    pub(crate) pair: u8,
}

impl Setup<'_> {
    /// Those of `media` that there are here and that take so many groups, before anything is measured; what is left out is
    /// said aloud.
    pub(crate) fn usable(&self, bench: &str, media: &[MediumChoice]) -> Vec<MediumChoice> {
        // What fits in the pool is the same wherever the ends are.
        let here = Setup { place: &Place::Loopback, ..*self };
        let is_usable = |medium: &MediumChoice| match (Setup { medium: *medium, ..here }).check() {
            Ok(()) => true,
            Err(reason) => {
                eprintln!("SKIP {bench} over {medium} with {} sockets: {reason}", self.sockets);
                false
            }
        };
        media.iter().copied().filter(is_usable).collect()
    }

    fn check(&self) -> Result<(), Failure> {
        let mut node = Node::open(self.config(0))?;
        let mine = node.endpoint();
        self.groups(&mut node, &[mine, mine_with_port(mine, 1)]).map(drop)
    }

    fn config(&self, rank: usize) -> Config {
        let mut config = Config::loopback("bench");
        config.idle = self.idle;
        config.offload = self.offload;
        config.medium = self.medium;
        config.interface = self.place.address(rank).into();
        config.ttl = self.place.ttl();
        config.groups = self.sockets;
        // The veth pair is our own, and nobody else is on it.
        config.insecure = !config.interface.is_loopback();
        config
    }

    /// Joins all groups.
    fn groups(&self, node: &mut Node, members: &[Endpoint]) -> Result<Vec<Group>, Failure> {
        let join = |index: usize| {
            let address = SocketAddr::from(group_address(2 + self.pair + u8::try_from(index)?));
            let options = JoinOptions::members(members.to_vec()).multicast(address);
            Ok(node.join(&format!("bench {index}"), options)?)
        };
        (0..self.sockets).map(join).collect()
    }
}

/// An endpoint beside this one, of nobody.
fn mine_with_port(Endpoint(mut address): Endpoint, port: u16) -> Endpoint {
    address.set_port(port);
    Endpoint(address)
}

/// Bounces one message between two members for a repetition; the reply is cast from the handler.
pub(crate) fn ping_pong(setup: &Setup<'_>, span: Span, pins: &Pins) -> Result<(Trips, String), Failure> {
    let [left, right] = introductions();
    let (trips, ()) = pins.pair(
        move |stop| Member::join(left, 0, setup)?.ping(setup.size, span, stop),
        move |stop| Member::join(right, 1, setup)?.echo(stop),
    )?;
    Ok(trips)
}

/// Lets two members wait for each other for a repetition, with nothing to do; returns how many cores that takes.
pub(crate) fn quiet(setup: &Setup<'_>, span: Span, pins: &Pins) -> Result<f64, Failure> {
    let [left, right] = introductions();
    let (left, right) = pins.pair(
        move |_| Member::join(left, 0, setup)?.rest(span),
        move |_| Member::join(right, 1, setup)?.rest(span),
    )?;
    Ok(left + right)
}

/// Casts messages as fast as they are accepted, for a repetition.
pub(crate) fn stream(setup: &Setup<'_>, span: Span, pins: &Pins) -> Result<Stream, Failure> {
    let [left, right] = introductions();
    let (sent, received) = pins.pair(
        move |stop| Member::join(left, 0, setup)?.cast_all(setup.size, stop),
        move |stop| Member::join(right, 1, setup)?.receive_all(setup.size, span, stop),
    )?;
    Ok(Stream {
        flow: Flow {
            rate: received.rate,
            sent_blocks: sent.blocks,
            lost_blocks: received.repaired,
            cpu: [sent.cpu, received.cpu],
        },
        repaired: received.repaired,
        refused: sent.refused,
        window: sent.window,
        blocks_per_datagram: received.blocks_per_datagram,
        blocks_per_send: sent.blocks as f64 / sent.sends.max(1) as f64,
        medium: received.medium,
    })
}

/// One end: a node that has joined the group of both.
struct Member {
    node: Node,
    group: Group,
    idle: Idle,
    window: usize,
    cpu_before: Duration,
}

impl Member {
    fn join(introduction: Introduction, rank: usize, setup: &Setup<'_>) -> Result<Self, Failure> {
        let cpu_before = raw::thread_cpu_time();
        setup.place.enter(rank)?;
        let mut node = Node::open(setup.config(rank))?;
        let mine = node.endpoint();
        introduction.mine.send(mine)?;
        let theirs = introduction.theirs.recv().map_err(|_| "the other end did not open")?;
        let members = if rank == 0 { vec![mine, theirs] } else { vec![theirs, mine] };
        let groups = setup.groups(&mut node, &members)?;
        let started = Instant::now();
        // Events are dropped here, so nobody casts before the second end is ready, and only the first end begins.
        let mut waits_for_other = rank == 0;
        while waits_for_other || groups.iter().any(|group| node.view(group).is_none()) {
            turn(&mut node, setup.idle, |_, _| Ok(()))?;
            waits_for_other = waits_for_other && introduction.theirs.try_recv().is_err();
            if started.elapsed() > STUCK {
                return Err(stuck(&node, rank, "has no view"));
            }
        }
        if rank == 1 {
            introduction.mine.send(mine)?;
        }
        let window = node.window(&groups[0]).unwrap_or(0);
        Ok(Self { node, group: groups[0], idle: setup.idle, window, cpu_before })
    }

    fn rest(self, span: Span) -> Result<f64, Failure> {
        let Self { mut node, idle, .. } = self;
        let start = Instant::now();
        let mut cpu_before = None;
        while start.elapsed() < span.warm_up + span.measure {
            if start.elapsed() >= span.warm_up {
                cpu_before.get_or_insert_with(raw::thread_cpu_time);
            }
            turn(&mut node, idle, |_, _| Ok(()))?;
        }
        let used = raw::thread_cpu_time() - cpu_before.unwrap_or_default();
        Ok(used.as_secs_f64() / (start.elapsed() - span.warm_up).as_secs_f64())
    }

    fn ping(self, size: usize, span: Span, stop: &AtomicBool) -> Result<(Trips, String), Failure> {
        let Self { mut node, group, idle, .. } = self;
        let mut trips = Trips::new();
        let mut message = vec![0; size];
        let mut exchange = 0_u64;
        let mut wrong = None;
        let start = Instant::now();
        let mut sent_at = start;
        let mut age = Duration::ZERO;
        write_number(&mut message, Leg::Ping.number(exchange));
        node.cast(&group, Order::Fifo, &message)?;
        while age < span.warm_up + span.measure {
            turn(&mut node, idle, |cx, event| {
                let Event::Deliver(delivery) = event else { return Ok(()) };
                let number = read_number(delivery.bytes());
                if Leg::of(number) == Leg::Ping {
                    return Ok(());
                }
                if number != Leg::Pong.number(exchange) || delivery.bytes().len() != size {
                    wrong = Some(format!("ours: reply {number} instead of {}", Leg::Pong.number(exchange)));
                    return Ok(());
                }
                let now = Instant::now();
                age = now - start;
                if age >= span.warm_up {
                    trips.record(now - sent_at);
                }
                sent_at = now;
                exchange += 1;
                write_number(&mut message, Leg::Ping.number(exchange));
                cx.cast(&group, Order::Fifo, &message)?;
                Ok(())
            })?;
            if let Some(wrong) = wrong {
                return Err(wrong.into());
            }
            // Acquire: pairs with the Release of an echo that failed.
            if stop.load(Ordering::Acquire) {
                return Err("ours: the echo stopped early".into());
            }
            if sent_at.elapsed() > STUCK {
                return Err(stuck(&node, 0, "waits for a reply"));
            }
        }
        Ok((trips, node.medium().to_owned()))
    }

    fn echo(self, stop: &AtomicBool) -> Result<(), Failure> {
        let Self { mut node, group, idle, .. } = self;
        let mut reply = Vec::new();
        // Acquire: pairs with the Release of the ending ping.
        while !stop.load(Ordering::Acquire) {
            turn(&mut node, idle, |cx, event| {
                let Event::Deliver(delivery) = event else { return Ok(()) };
                let number = read_number(delivery.bytes());
                if Leg::of(number) == Leg::Ping {
                    reply.clear();
                    reply.extend_from_slice(delivery.bytes());
                    write_number(&mut reply, number | 1);
                    cx.cast(&group, Order::Fifo, &reply)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn cast_all(self, size: usize, stop: &AtomicBool) -> Result<Sent, Failure> {
        let Self { mut node, group, window, cpu_before, .. } = self;
        let burst = (MAX_RUN_BYTES / (size + FRAME_HEADER_BYTES)).max(1);
        let mut message = vec![0x5a; size];
        let mut serial = 0_u64;
        let mut refused = 0;
        // Acquire: pairs with the Release of the ending receiver.
        while !stop.load(Ordering::Acquire) {
            for _ in 0..burst {
                write_number(&mut message, serial);
                match node.cast(&group, Order::Fifo, &message) {
                    Ok(()) => serial += 1,
                    Err(Refused::Full { .. }) => {
                        refused += 1;
                        break;
                    }
                    Err(other) => return Err(other.into()),
                }
            }
            node.poll(|_, _| Ok(()))?;
        }
        let medium = node.counters().medium;
        let cpu = raw::thread_cpu_time() - cpu_before;
        Ok(Sent { blocks: medium.sent_blocks, sends: medium.sends, refused, window, cpu })
    }

    fn receive_all(self, size: usize, span: Span, stop: &AtomicBool) -> Result<Received, Failure> {
        let Self { mut node, cpu_before, .. } = self;
        let mut expected = 0_u64;
        let mut wrong = None;
        let start = Instant::now();
        let mut counted_from = None;
        let (seconds, messages) = loop {
            node.poll(|_, event| {
                if let Event::Deliver(delivery) = event {
                    let number = read_number(delivery.bytes());
                    if number != expected || delivery.bytes().len() != size {
                        wrong.get_or_insert((number, expected, delivery.bytes().len()));
                    }
                    expected += 1;
                }
                Ok(())
            })?;
            if let Some((number, expected, len)) = wrong {
                return Err(format!("ours: message {number} of {len} bytes instead of {expected}").into());
            }
            // Acquire: pairs with the Release of a sender that failed.
            if stop.load(Ordering::Acquire) {
                return Err("ours: the sender stopped early".into());
            }
            let now = Instant::now();
            match counted_from {
                None if now - start >= span.warm_up => counted_from = Some((now, expected)),
                Some((since, before)) if now - since >= span.measure => {
                    break ((now - since).as_secs_f64(), expected - before);
                }
                _ => {}
            }
        };
        let cpu = raw::thread_cpu_time() - cpu_before;
        let counters = node.counters();
        let medium = counters.medium;
        Ok(Received {
            rate: messages as f64 / seconds,
            repaired: counters.repaired,
            blocks_per_datagram: medium.received_blocks as f64 / medium.received_datagrams.max(1) as f64,
            cpu,
            medium: node.medium().to_owned(),
        })
    }
}

/// One duty cycle, and where the strategy is to wait, that too.
#[inline]
fn turn<H>(node: &mut Node, idle: Idle, handler: H) -> sistrum::Result<usize>
where
    H: FnMut(&mut Caster<'_>, Event<'_>) -> sistrum::Result<()>,
{
    if idle == Idle::Spin { node.poll(handler) } else { node.poll_for(LONGEST_PAUSE, handler) }
}

/// An end that does not get on, with everything that it counted.
fn stuck(node: &Node, rank: usize, what: &str) -> Failure {
    format!("ours: end {rank} {what} after {} s: {:?}", STUCK.as_secs(), node.counters()).into()
}

/// How an end learns the endpoint of the other.
struct Introduction {
    mine: Sender<Endpoint>,
    theirs: Receiver<Endpoint>,
}

fn introductions() -> [Introduction; 2] {
    let (to_right, from_left) = channel();
    let (to_left, from_right) = channel();
    [Introduction { mine: to_right, theirs: from_right }, Introduction { mine: to_left, theirs: from_left }]
}

/// Where a bouncing message goes: the lowest bit of its number, so that nobody takes an own delivery for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leg {
    Ping,
    Pong,
}

impl Leg {
    fn of(number: u64) -> Self {
        if number & 1 == 0 { Self::Ping } else { Self::Pong }
    }

    fn number(self, exchange: u64) -> u64 {
        exchange << 1 | u64::from(self == Self::Pong)
    }
}

/// What the sender counted.
#[derive(Debug)]
struct Sent {
    blocks: u64,
    sends: u64,
    refused: u64,
    window: usize,
    cpu: Duration,
}

/// What the receiver counted.
#[derive(Debug)]
struct Received {
    rate: f64,
    repaired: u64,
    blocks_per_datagram: f64,
    cpu: Duration,
    medium: String,
}

fn write_number(message: &mut [u8], number: u64) {
    message[..8].copy_from_slice(&number.to_le_bytes());
}

/// The number of a message; one that is too short has one that nobody expects.
fn read_number(message: &[u8]) -> u64 {
    message.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes))
}

/// Nothing that is under way takes as long, however many ends share a core.
const STUCK: Duration = Duration::from_secs(10);
/// After such a pause an end looks whether the bench is over.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);
