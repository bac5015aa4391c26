//! The publisher: casts a capture at its scheduled times and stays until everybody has all of it.
//!
//! Publishers of a causal or total order listen to each other: at max pace, each casts a little and goes on when it has heard of
//! another, so that nearly every burst depends on others'.
//!
//! A message has the send time that the capture gives it, however late the publisher is: what a full window costs is
//! seen in the latency, not hidden by sending later (no coordinated omission).

use std::time::Duration;

use super::api::{Caster, Event, Instant, Order, Refused};
use super::frame::{write_data, write_end};
use super::lines::{Held, Progress, Say, Tell};
use super::member::{Seat, Stopped, WAIT};
use super::options::Pace;
use super::source::Source;
use super::tally::Tally;
use crate::capture::Feed;

/// Publishes `source` in this order once the parent says so, and takes what the other publishers cast.
pub(super) fn publish(
    seat: &mut Seat<'_>,
    source: &Source,
    pace: Pace,
    order: Order,
    mut tally: Tally,
) -> Result<(), Stopped> {
    let feed = source.load().map_err(|refusal| Stopped::Failed(refusal.to_string()))?;
    // The others may have been told to start before me.
    await_tell(seat, &Tell::Start, &mut tally)?;
    let started = seat.now();
    let mut publisher = Publisher::new(&feed, pace, order, started, source.lead_ns);
    while !(publisher.is_done() && seat.node.settled(&seat.group) && tally.is_complete()) {
        let turn = publisher.cast_due(seat, &mut tally)?;
        let mut handler = |_: &mut Caster<'_>, event: Event<'_>| {
            tally.handle(&event);
            Ok(())
        };
        match turn {
            Turn::Burst => seat.node.poll(&mut handler)?,
            Turn::Ahead { wait } => seat.node.poll_for(wait.min(WAIT), &mut handler)?,
            Turn::Held(_) | Turn::Listening | Turn::Done => seat.node.poll_for(WAIT, &mut handler)?,
        };
        tally.check()?;
        seat.report(|| publisher.progress(&turn, &tally))?;
        if let Some(tell) = seat.told()? {
            return Err(Stopped::unexpected(&tell));
        }
    }
    if let Some(received) = tally.received() {
        seat.say(&Say::Ended(received))?;
    }
    seat.say(&Say::Settled { started_ns: started.0 })?;
    await_tell(seat, &Tell::Stop, &mut tally)?;
    seat.say_counted()
}

/// Keeps the node going until the parent says `wanted`.
fn await_tell(seat: &mut Seat<'_>, wanted: &Tell, tally: &mut Tally) -> Result<(), Stopped> {
    loop {
        seat.node.poll_for(WAIT, |_, event| {
            tally.handle(&event);
            Ok(())
        })?;
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
    order: Order,
    started: Instant,
    /// The capture begins so long after the earliest one.
    lead_ns: u64,
    /// The next message; one past the last is the end of the stream, two past it is nothing.
    next: usize,
    /// The next frame, once its time has come: it keeps its scheduled time while it waits for room.
    frame: Vec<u8>,
    framed: bool,
    /// Whether I go on only when I have heard something new, while there are others to hear.
    listens: bool,
    /// What I had heard at the end of the last burst.
    heard: Option<u64>,
}

/// What the publisher came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// There is more to cast now; the node gets its turn in between.
    Burst,
    /// The others have not been heard since the last burst.
    Listening,
    /// The next message is not due for so long.
    Ahead { wait: Duration },
    /// There is no room.
    Held(Held),
    /// Everything was cast.
    Done,
}

impl<'a> Publisher<'a> {
    fn new(feed: &'a Feed, pace: Pace, order: Order, started: Instant, lead_ns: u64) -> Self {
        Self {
            feed,
            pace,
            order,
            started,
            lead_ns,
            next: 0,
            frame: Vec::new(),
            framed: false,
            listens: pace == Pace::Max && order.spans_senders(),
            heard: None,
        }
    }

    fn is_done(&self) -> bool {
        self.next > self.feed.len()
    }

    /// Casts what is due, up to a burst.
    fn cast_due(&mut self, seat: &mut Seat<'_>, tally: &mut Tally) -> Result<Turn, Stopped> {
        let listens = self.listens && tally.awaits_others();
        if listens && self.heard == Some(tally.heard()) {
            return Ok(Turn::Listening);
        }
        let (mut burst, most) = (0, if listens { LISTENING_BURST } else { BURST });
        while burst < most {
            if self.is_done() {
                return Ok(Turn::Done);
            }
            let now = seat.now();
            if let Err(wait) = self.frame_next(now, tally.handed()) {
                return Ok(Turn::Ahead { wait });
            }
            match seat.node.cast(&seat.group, self.order, &self.frame) {
                Ok(()) => {}
                Err(Refused::Full { held_by, age, .. }) => {
                    return Ok(Turn::Held(Held { rank: tally.place(held_by.0), age }));
                }
                Err(Refused::ViewChanging) => return Ok(Turn::Listening),
                Err(refused) => return Err(Stopped::Failed(format!("message {}: {refused}", self.next + 1))),
            }
            burst += self.frame.len();
            self.feed.get(self.next).iter().for_each(|message| tally.cast(message.bytes));
            self.framed = false;
            self.next += 1;
        }
        self.heard = Some(tally.heard());
        Ok(Turn::Burst)
    }

    /// Writes the next frame, or says how long it is until its time.
    ///
    /// One that has waited for room says what was handed to me when it was offered first.
    fn frame_next(&mut self, now: Instant, handed: &[u32]) -> Result<(), Duration> {
        if self.framed {
            return Ok(());
        }
        match self.feed.get(self.next) {
            None => write_end(&mut self.frame, self.feed.len() as u64),
            Some(message) => {
                let scheduled = scheduled(self.pace, self.started, self.lead_ns + message.at_ns, now);
                if scheduled > now {
                    return Err(scheduled.since(now));
                }
                write_data(&mut self.frame, scheduled.0, handed, message.bytes);
            }
        }
        self.framed = true;
        Ok(())
    }

    fn progress(&self, turn: &Turn, tally: &Tally) -> Progress {
        let held = match turn {
            Turn::Held(held) => Some(*held),
            _ => None,
        };
        let cast = self.next.min(self.feed.len()) as u64;
        Progress { cast, delivered: tally.delivered(), held, ahead: matches!(turn, Turn::Ahead { .. }) }
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

/// Bytes to cast before others must be heard again.
const LISTENING_BURST: usize = 8 * 1024;
/// Bytes to cast before the node gets its turn: a full segmentation-offload send.
const BURST: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::super::frame::{Frame, Handed};
    use super::*;

    fn publisher_of(feed: &Feed, pace: Pace, started: Instant) -> Publisher<'_> {
        Publisher::new(feed, pace, Order::Fifo, started, 0)
    }

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
        let mut publisher = publisher_of(&feed, Pace::Max, Instant(0));
        assert_eq!(publisher.frame_next(Instant(5), &[0]), Ok(()));
        assert_eq!(publisher.frame_next(Instant(50), &[0]), Ok(()));
        let frame = Frame::Data { scheduled_ns: 5, handed: Handed(&[]), message: b"10 a" };
        assert_eq!(Frame::read(&publisher.frame, 1), Some(frame));
    }

    #[test]
    fn what_is_not_due_waits_and_the_end_comes_last() {
        let feed = Feed::parse(b"10 a\n30 b".to_vec()).expect("well formed");
        let mut publisher = publisher_of(&feed, Pace::Times(1.0), Instant(100));
        publisher.next = 1;
        assert_eq!(publisher.frame_next(Instant(105), &[0]), Err(Duration::from_nanos(15)));
        publisher.next = 2;
        assert_eq!(publisher.frame_next(Instant(105), &[0]), Ok(()));
        assert_eq!(Frame::read(&publisher.frame, 1), Some(Frame::End { messages: 2 }));
    }
}
