//! Round trips: one message at a time, each cast by the member whose turn it is from inside the handler of the one before.
//!
//! The ring runs against the order of the ranks: the way of the rounds would be the best case of the total order by rounds.

use super::crew::{Member, STUCK, Setup, run as run_crew, turn};
use crate::Failure;
use crate::floor::Trips;
use crate::pins::Pins;
use sistrum::{Event, Group, Order};
use std::sync::atomic::Ordering as Atomic;
use std::time::Instant;

/// What one repetition came to, p50 in nanoseconds.
#[derive(Debug, Clone)]
pub(super) struct Ring {
    /// Of two legs: a round trip, or the mean two legs of a longer ring.
    pub(super) trip: f64,
    /// The same, p99.
    pub(super) trip_p99: f64,
    /// From the cast of a total to its delivery at its sender, by rank; empty for other orders.
    pub(super) place: Vec<f64>,
}

/// Lets a message go round for a repetition.
pub(super) fn run(setup: &Setup, pins: &Pins) -> Result<Ring, Failure> {
    let (left, right) = run_crew(
        setup,
        pins,
        |members, stop| {
            let mut side = Side::new(members, setup);
            side.cast(0, 0)?;
            let (start, span) = (Instant::now(), setup.span);
            while start.elapsed() < span.warm_up + span.measure {
                side.is_counting = start.elapsed() >= span.warm_up;
                side.poll()?;
                // Acquire: pairs with the Release of a thread that failed.
                if stop.load(Atomic::Acquire) || side.cast_at[0].elapsed() > STUCK {
                    return Err("order: the ring stands still".into());
                }
            }
            Ok(side)
        },
        |members, stop| {
            let mut side = Side::new(members, setup);
            side.is_counting = true;
            // Acquire: pairs with the Release of the other thread's end.
            while !stop.load(Atomic::Acquire) {
                side.poll()?;
            }
            Ok(side)
        },
    )?;
    let legs = 2.0 / setup.members as f64;
    let at = |quantile| left.circles.histogram.value_at_quantile(quantile) as f64 * legs;
    let places = left.places.iter().chain(&right.places);
    let place = places.map(|trips| trips.histogram.value_at_quantile(0.5) as f64).collect();
    let place = if setup.order == Order::Total { place } else { Vec::new() };
    Ok(Ring { trip: at(0.5), trip_p99: at(0.99), place })
}

/// The members of one thread.
struct Side {
    members: Vec<Member>,
    setup: Setup,
    /// When each of them cast last.
    cast_at: Vec<Instant>,
    is_counting: bool,
    /// From a cast of the first of them to its next one.
    circles: Trips,
    places: Vec<Trips>,
}

impl Side {
    fn new(members: Vec<Member>, setup: &Setup) -> Self {
        let cast_at = vec![Instant::now(); members.len()];
        let places = members.iter().map(|_| Trips::new()).collect();
        Self { members, setup: *setup, cast_at, is_counting: false, circles: Trips::new(), places }
    }

    /// The first message, of the member at `at`.
    fn cast(&mut self, at: usize, number: u64) -> Result<(), Failure> {
        self.cast_at[at] = Instant::now();
        let Member { node, group, .. } = &mut self.members[at];
        node.cast(group, self.setup.order, &message(number, self.setup.size))?;
        Ok(())
    }

    fn poll(&mut self) -> Result<(), Failure> {
        let Self { members, setup, cast_at, is_counting, circles, places } = self;
        let (first, count) = (members[0].rank, setup.members as u64);
        turn(members, |rank, group: &Group, caster, event| {
            let Event::Deliver(delivery) = event else { return Ok(()) };
            let number = delivery.bytes().first_chunk::<8>().map_or(0, |number| u64::from_le_bytes(*number));
            let at = rank - first;
            if usize::from(delivery.from().0) == rank {
                if *is_counting {
                    places[at].record(cast_at[at].elapsed());
                }
                return Ok(());
            }
            // Message n is cast by rank -n.
            if !(number + 1 + rank as u64).is_multiple_of(count) {
                return Ok(());
            }
            let now = Instant::now();
            if at == 0 && *is_counting {
                circles.record(now - cast_at[at]);
            }
            cast_at[at] = now;
            caster.cast(group, setup.order, &message(number + 1, setup.size))?;
            Ok(())
        })
    }
}

fn message(number: u64, size: usize) -> Vec<u8> {
    let mut message = vec![0; size];
    message[..8].copy_from_slice(&number.to_le_bytes());
    message
}
