//! How many sockets make io_uring worth it: round trips between two media that listen to 1, 2, .. sockets, by each way
//! of looking at them, and what a look costs that finds nothing.
//!
//! `cargo run --release -p sistrum-transport --example crossover [repetitions]`
//!
//! Both ends spin, pinned to cores of their own; one datagram of 96 bytes bounces on one multicast group. Each repetition
//! tries all ways in turn; a figure is the median over the repetitions, a round trip's is the median of their medians.

use sistrum_transport::id::Endpoint;
use sistrum_transport::log::{PoolConfig, RxPool};
use sistrum_transport::medium::{
    Arrival, Channel, FanOut, Looks, Medium, MediumError, Sockets, Udp, UdpConfig, Uring,
};
use sistrum_transport::protocol::Target;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SOCKETS: [u16; 9] = [1, 2, 3, 4, 5, 6, 8, 16, 64];
const SPAN: Duration = Duration::from_millis(150);
const EMPTY_LOOKS: u32 = 20_000;

/// A way to look, as a medium that does it.
#[derive(Debug, Clone, Copy)]
enum Way {
    Plain,
    Ring(Looks),
}

const WAYS: [Way; 3] = [Way::Plain, Way::Ring(Looks::OneShot), Way::Ring(Looks::Watch)];

fn main() -> Result<(), MediumError> {
    let repetitions = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(7);
    println!("sockets  way                  empty look ns   round trip p50 ns (min .. max of {repetitions})");
    for sockets in SOCKETS {
        let mut figures = WAYS.map(|_| (Vec::new(), Vec::new()));
        for _ in 0..repetitions {
            for (way, (empty, trips)) in WAYS.into_iter().zip(&mut figures) {
                let (look, trip) = on_two_threads(way, sockets)?;
                empty.push(look);
                trips.push(trip);
            }
        }
        for (way, (mut empty, mut trips)) in WAYS.into_iter().zip(figures) {
            let (look, trip) = (median(&mut empty), median(&mut trips));
            let (least, most) = (trips[0], trips[trips.len() - 1]);
            println!("{sockets:7}  {:20} {look:13}   {trip:6} ({least} .. {most})", format!("{way:?}"));
        }
    }
    Ok(())
}

/// One repetition: the cost of an empty look, and the median round trip.
fn on_two_threads(way: Way, sockets: u16) -> Result<(u64, u64), MediumError> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (opened, ready) = std::sync::mpsc::channel();
        let stop = &stop;
        scope.spawn(move || {
            pin(1);
            let mut end = match way {
                Way::Plain => End::open(Udp::open, sockets),
                Way::Ring(looks) => return ring_end(looks, sockets, |end| echo(end, &opened, stop)),
            }?;
            echo(&mut end, &opened, stop)
        });
        pin(0);
        let _ = ready.recv();
        let measured = match way {
            Way::Plain => End::open(Udp::open, sockets).and_then(|mut end| measure(&mut end)),
            Way::Ring(looks) => ring_end(looks, sockets, measure),
        };
        // Release: pairs with the Acquire of the echo.
        stop.store(true, Ordering::Release);
        measured
    })
}

fn ring_end<T>(
    looks: Looks,
    sockets: u16,
    with: impl FnOnce(&mut End<Uring>) -> Result<T, MediumError>,
) -> Result<T, MediumError> {
    with(&mut End::open(|config| Uring::open_looking(config, looks), sockets)?)
}

/// One end: a medium that listens to many groups and uses the first.
struct End<M> {
    medium: M,
    channel: Channel,
    pool: RxPool,
    inbox: Vec<Arrival>,
}

impl<M: Medium> End<M> {
    fn open(
        open: impl FnOnce(UdpConfig) -> Result<M, MediumError>,
        sockets: u16,
    ) -> Result<Self, MediumError> {
        let mut medium = open(UdpConfig { uniform_runs: true, ..UdpConfig::default() })?;
        let [.., high, low] = std::process::id().to_be_bytes();
        let group = SocketAddr::from((Ipv4Addr::new(239, 255, high, low), 0));
        let mut channel = Channel(0);
        for socket in 0..sockets {
            let mut group = group;
            group.set_port(23_000 + socket);
            channel = medium.open_channel(FanOut::multicast(Endpoint(group)))?;
        }
        let pool = PoolConfig { stride: 1408, strides: 1024, slabs: 128 };
        let pool = RxPool::new(pool).expect("there is memory for a pool");
        Ok(Self { medium, channel, pool, inbox: Vec::new() })
    }

    fn send(&mut self) -> Result<(), MediumError> {
        self.medium.send(Target::Channel(self.channel), &[7; 96], 96).map(|_| ())
    }

    /// Whether something came.
    fn look(&mut self) -> Result<bool, MediumError> {
        let taken = self.medium.receive(&mut self.pool, &mut self.inbox, Sockets::Data, 1)?;
        self.inbox.drain(..).for_each(|arrival| self.pool.release(arrival.block));
        Ok(taken > 0)
    }
}

fn echo<M: Medium>(
    end: &mut End<M>,
    opened: &std::sync::mpsc::Sender<()>,
    stop: &AtomicBool,
) -> Result<(), MediumError> {
    end.look()?;
    let _ = opened.send(());
    // Acquire: pairs with the Release of the end that measures.
    while !stop.load(Ordering::Acquire) {
        if end.look()? {
            end.send()?;
        }
    }
    Ok(())
}

fn measure<M: Medium>(end: &mut End<M>) -> Result<(u64, u64), MediumError> {
    let start = Instant::now();
    for _ in 0..EMPTY_LOOKS {
        end.look()?;
    }
    let empty = nanoseconds(start) / u64::from(EMPTY_LOOKS);
    let mut trips = Vec::new();
    let start = Instant::now();
    end.send()?;
    let mut sent_at = Instant::now();
    while start.elapsed() < SPAN {
        if end.look()? {
            trips.push(nanoseconds(sent_at));
        } else if sent_at.elapsed() < LOST {
            continue;
        }
        sent_at = Instant::now();
        end.send()?;
    }
    Ok((empty, median(&mut trips)))
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn median(figures: &mut [u64]) -> u64 {
    figures.sort_unstable();
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

fn pin(core: usize) {
    core_affinity::set_for_current(core_affinity::CoreId { id: core });
}

const LOST: Duration = Duration::from_millis(20);
