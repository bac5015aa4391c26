//! Throughput of several publishers: what one member that only listens is handed in a time.

use super::crew::{Member, STUCK, Setup, run as run_crew, turn};
use crate::Failure;
use crate::packed::{FRAME_HEADER_BYTES, MAX_RUN_BYTES};
use crate::pins::Pins;
use sistrum::{Event, Refused};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// When publishers cast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Traffic {
    /// As fast as the group takes it.
    Free,
    /// A block, or what is left of its room, after each look at what has come of another publisher: every block depends on a
    /// delivery that none before it of the same publisher depends on.
    Chained,
}

/// Messages a second at the listener, the last member.
pub(super) fn rate(setup: &Setup, traffic: Traffic, pins: &Pins) -> Result<f64, Failure> {
    let publishers = setup.members - 1;
    let ((), rate) = run_crew(
        setup,
        pins,
        // Acquire: pairs with the Release of the thread that has ended.
        |members, stop| {
            Crew::new(members, setup, traffic)
                .go_on(|_| Ok((!stop.load(Ordering::Acquire)).then_some(None::<()>)))?;
            Ok(())
        },
        |members, stop| measure(Crew::new(members, setup, traffic), publishers, setup, stop),
    )?;
    Ok(rate)
}

/// Counts from the end of the warm-up on.
fn measure(crew: Crew, publishers: usize, setup: &Setup, stop: &AtomicBool) -> Result<f64, Failure> {
    let (start, span) = (Instant::now(), setup.span);
    let mut counted_from = None;
    let mut moved = (start, 0);
    let rate = crew.go_on(|crew| {
        let (now, handed) = (Instant::now(), crew.listened);
        // Acquire: pairs with the Release of a thread that failed.
        if stop.load(Ordering::Acquire) {
            return Err("order: a publisher stopped early".into());
        }
        if handed > moved.1 {
            moved = (now, handed);
        } else if now - moved.0 > STUCK {
            return Err(
                format!("order: nothing of {publishers} publishers came for {} s", STUCK.as_secs()).into()
            );
        }
        match counted_from {
            None if now - start >= span.warm_up => counted_from = Some((now, handed)),
            Some((since, before)) if now - since >= span.measure => {
                return Ok(Some(Some((handed - before) as f64 / (now - since).as_secs_f64())));
            }
            _ => {}
        }
        Ok(Some(None))
    })?;
    rate.ok_or_else(|| "order: measured nothing".into())
}

/// The members of one thread.
struct Crew {
    members: Vec<Member>,
    /// What each of them does, if it publishes.
    publishers: Vec<Option<Publisher>>,
    setup: Setup,
    traffic: Traffic,
    /// The next number of each publisher, at the listener.
    expected: Vec<u64>,
    listened: u64,
}

struct Publisher {
    next: u64,
    message: Vec<u8>,
    /// Something of another publisher has come since the last burst.
    has_heard: bool,
}

impl Crew {
    fn new(members: Vec<Member>, setup: &Setup, traffic: Traffic) -> Self {
        let last = setup.members - 1;
        let publisher = |member: &Member| {
            (member.rank < last).then(|| Publisher {
                next: 0,
                message: vec![0x5a; setup.size],
                has_heard: true,
            })
        };
        let publishers = members.iter().map(publisher).collect();
        Self { members, publishers, setup: *setup, traffic, expected: vec![0; last], listened: 0 }
    }

    /// Casts and polls until `look` says a result, or nothing any more.
    fn go_on<T>(
        mut self,
        mut look: impl FnMut(&Self) -> Result<Option<Option<T>>, Failure>,
    ) -> Result<Option<T>, Failure> {
        loop {
            match look(&self)? {
                None => return Ok(None),
                Some(Some(result)) => return Ok(Some(result)),
                Some(None) => {}
            }
            self.cast()?;
            self.poll()?;
        }
    }

    fn cast(&mut self) -> Result<(), Failure> {
        let frame = self.setup.size + FRAME_HEADER_BYTES;
        let burst = match self.traffic {
            Traffic::Free => MAX_RUN_BYTES / frame,
            Traffic::Chained => BLOCK_ROOM / frame,
        };
        for (member, publisher) in self.members.iter_mut().zip(&mut self.publishers) {
            let Some(publisher) = publisher else { continue };
            if self.traffic == Traffic::Chained && !publisher.has_heard {
                continue;
            }
            for _ in 0..burst.max(1) {
                publisher.message[..8].copy_from_slice(&publisher.next.to_le_bytes());
                match member.node.cast(&member.group, self.setup.order, &publisher.message) {
                    Ok(()) => (publisher.next, publisher.has_heard) = (publisher.next + 1, false),
                    Err(Refused::Full { .. }) => break,
                    Err(refused) => return Err(refused.into()),
                }
            }
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<(), Failure> {
        let Self { members, publishers, expected, listened, setup, .. } = self;
        let (first, mut wrong) = (members[0].rank, None);
        turn(members, |rank, _, _, event| {
            let Event::Deliver(message) = event else { return Ok(()) };
            let from = usize::from(message.from().0);
            match &mut publishers[rank - first] {
                Some(publisher) => publisher.has_heard |= from != rank,
                None => {
                    let bytes = message.bytes();
                    let number = bytes.first_chunk::<8>().map(|number| u64::from_le_bytes(*number));
                    if number != Some(expected[from]) || bytes.len() != setup.size {
                        wrong.get_or_insert((from, number, expected[from]));
                    }
                    expected[from] += 1;
                    *listened += 1;
                }
            }
            Ok(())
        })?;
        match wrong {
            None => Ok(()),
            Some((from, number, expected)) => {
                Err(format!("order: message {number:?} of r{from} instead of {expected}").into())
            }
        }
    }
}

/// Bytes of messages that fit in a block beside a stamp.
const BLOCK_ROOM: usize = 1_300;
