//! The publisher: casts a capture at its scheduled times and stays until everybody has all of it.
//!
//! A message has the send time that the capture gives it, however late the publisher is: what a full window costs is
//! seen in the latency, not hidden by sending later (no coordinated omission).

use std::path::Path;
use std::time::Duration;

use super::api::{Instant, Order, Refused};
use super::frame::Frame;
use super::lines::{Held, Progress, Say, Tell};
use super::member::{Seat, Stopped, WAIT};
use super::options::Pace;
use crate::capture::Feed;

/// Publishes the capture at `path`, or the embedded sample, once the parent says so.
pub(super) fn publish(seat: &mut Seat<'_>, path: Option<&Path>, pace: Pace) -> Result<(), Stopped> {
    let feed = super::load(path).map_err(|refusal| Stopped::Failed(refusal.to_string()))?;
    await_tell(seat, &Tell::Start)?;
    let started = seat.now();
    let mut publisher = Publisher::new(&feed, pace, started);
    while !(publisher.is_done() && seat.node.settled(&seat.group)) {
        let turn = publisher.cast_due(seat)?;
        match turn {
            Turn::Burst => seat.node.poll(|_, _| Ok(()))?,
            Turn::Ahead { wait } => seat.node.poll_for(wait.min(WAIT), |_, _| Ok(()))?,
            Turn::Held(_) | Turn::Done => seat.node.poll_for(WAIT, |_, _| Ok(()))?,
        };
        seat.report(|| publisher.progress(&turn))?;
        if let Some(tell) = seat.told()? {
            return Err(Stopped::unexpected(&tell));
        }
    }
    seat.say(&Say::Settled { started_ns: started.0 })?;
    await_tell(seat, &Tell::Stop)?;
    seat.say_counted()
}

/// Keeps the node going until the parent says `wanted`.
fn await_tell(seat: &mut Seat<'_>, wanted: &Tell) -> Result<(), Stopped> {
    loop {
        seat.node.poll_for(WAIT, |_, _| Ok(()))?;
        match seat.told()? {
            None => {}
            Some(tell) if tell == *wanted => return Ok(()),
            Some(tell) => return Err(Stopped::unexpected(&tell)),
        }
    }
}

/// Where the publisher is in its capture.
struct Publisher<'a> {
    feed: &'a Feed,
    pace: Pace,
    started: Instant,
    /// The next message; one past the last is the end of the stream, two past it is nothing.
    next: usize,
    /// The next frame, once its time has come: it keeps its scheduled time while it waits for room.
    frame: Vec<u8>,
    framed: bool,
}

/// What the publisher came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// There is more to cast now; the node gets its turn in between.
    Burst,
    /// The next message is not due for so long.
    Ahead { wait: Duration },
    /// There is no room.
    Held(Held),
    /// Everything was cast.
    Done,
}

impl<'a> Publisher<'a> {
    fn new(feed: &'a Feed, pace: Pace, started: Instant) -> Self {
        Self { feed, pace, started, next: 0, frame: Vec::new(), framed: false }
    }

    fn is_done(&self) -> bool {
        self.next > self.feed.len()
    }

    /// Casts what is due, up to a burst.
    fn cast_due(&mut self, seat: &mut Seat<'_>) -> Result<Turn, Stopped> {
        let mut burst = 0;
        while burst < BURST {
            if self.is_done() {
                return Ok(Turn::Done);
            }
            let now = seat.now();
            if let Err(wait) = self.frame_next(now) {
                return Ok(Turn::Ahead { wait });
            }
            match seat.node.cast(&seat.group, Order::Fifo, &self.frame) {
                Ok(()) => {}
                Err(Refused::Full { held_by, age }) => return Ok(Turn::Held(Held { rank: held_by.0, age })),
                Err(refused) => return Err(Stopped::Failed(format!("message {}: {refused}", self.next + 1))),
            }
            burst += self.frame.len();
            self.framed = false;
            self.next += 1;
        }
        Ok(Turn::Burst)
    }

    /// Writes the next frame, or says how long it is until its time.
    fn frame_next(&mut self, now: Instant) -> Result<(), Duration> {
        if self.framed {
            return Ok(());
        }
        let frame = match self.feed.get(self.next) {
            None => Frame::End { messages: self.feed.len() as u64 },
            Some(message) => {
                let scheduled = scheduled(self.pace, self.started, message.at_ns, now);
                if scheduled > now {
                    return Err(scheduled.since(now));
                }
                Frame::Data { scheduled_ns: scheduled.0, message: message.bytes }
            }
        };
        frame.write(&mut self.frame);
        self.framed = true;
        Ok(())
    }

    fn progress(&self, turn: &Turn) -> Progress {
        let held = match turn {
            Turn::Held(held) => Some(*held),
            _ => None,
        };
        let messages = self.next.min(self.feed.len()) as u64;
        Progress { messages, held, ahead: matches!(turn, Turn::Ahead { .. }) }
    }
}

/// When a message that came `at_ns` after the first is to be sent: at max pace, when it is first offered.
fn scheduled(pace: Pace, started: Instant, at_ns: u64, now: Instant) -> Instant {
    match pace {
        Pace::Max => now,
        // The fraction of a nanosecond is nobody's; a time beyond all clocks saturates.
        Pace::Times(factor) => started.plus_ns((at_ns as f64 / factor) as u64),
    }
}

/// Bytes to cast before the node gets its turn: a full segmentation-offload send.
const BURST: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_publisher_does_not_reschedule() {
        let (started, now) = (Instant(1_000), Instant(9_000));
        assert_eq!(scheduled(Pace::Times(2.0), started, 500, now), Instant(1_250));
        assert_eq!(scheduled(Pace::Times(0.5), started, 500, now), Instant(2_000));
        assert_eq!(scheduled(Pace::Max, started, 500, now), now);
    }

    #[test]
    fn a_frame_that_waits_for_room_keeps_its_time() {
        let feed = Feed::parse(b"10 a\n30 b".to_vec()).expect("well formed");
        let mut publisher = Publisher::new(&feed, Pace::Max, Instant(0));
        assert_eq!(publisher.frame_next(Instant(5)), Ok(()));
        assert_eq!(publisher.frame_next(Instant(50)), Ok(()));
        assert_eq!(Frame::read(&publisher.frame), Some(Frame::Data { scheduled_ns: 5, message: b"10 a" }));
    }

    #[test]
    fn what_is_not_due_waits_and_the_end_comes_last() {
        let feed = Feed::parse(b"10 a\n30 b".to_vec()).expect("well formed");
        let mut publisher = Publisher::new(&feed, Pace::Times(1.0), Instant(100));
        publisher.next = 1;
        assert_eq!(publisher.frame_next(Instant(105)), Err(Duration::from_nanos(15)));
        publisher.next = 2;
        assert_eq!(publisher.frame_next(Instant(105)), Ok(()));
        assert_eq!(Frame::read(&publisher.frame), Some(Frame::End { messages: 2 }));
    }
}
