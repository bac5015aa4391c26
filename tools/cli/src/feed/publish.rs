//! The publisher: casts its input, waits until all that hold it up have everything, and says goodbye.

use std::process::ExitCode;
use std::time::Duration;

use super::Stop;
use super::api::{Instant, Order, Rank, Refused};
use super::frame::{Ending, Frame};
use super::members::Role;
use super::options::Publish;
use super::seat::{Seat, WAIT};
use super::summary::{Holds, Summary, Tallied};
use crate::capture::stream::{Head, Stream};
use crate::demo::Pace;
use crate::digest::Digester;
use crate::refusal::Refusal;

/// Publishes what the options name; the process's exit status.
pub(super) fn run(options: &Publish) -> Result<ExitCode, Refusal> {
    options.check()?;
    let name = options.file.display();
    let mut stream = Stream::open(&options.file, options.format)
        .map_err(|error| Refusal::new(format_args!("{name}: {error}")))?;
    // What is known of a file at once is said before anybody is bothered; a pipe may take its time.
    if stream.size().is_some() {
        match stream.wait_for_head() {
            Head::Bad(why) => return Err(Refusal::new(format_args!("{name}: {why}"))),
            Head::End => {
                return Err(Refusal::new(format_args!("{name}: empty: there is no message to publish")));
            }
            Head::Message | Head::Waiting => {}
        }
    }
    let seat = Seat::open(options, Role::Publisher, &[], (options.limit_of_sending(), None))?;
    seat.announce();
    if let Some(size) = stream.size() {
        seat.bar.set_length(size);
    }
    let mut publisher = Publisher::new(seat, stream, options.pace);
    let stop = publisher.play().err();
    Ok(publisher.finish(stop, options))
}

/// Where the publisher is in its input.
struct Publisher {
    seat: Seat,
    stream: Stream,
    pace: Pace,
    /// When the first message could be cast, and when all was delivered.
    started: Option<Instant>,
    settled: Option<Instant>,
    digester: Digester,
    cast: u64,
    /// The next frame: it waits here for room.
    frame: Vec<u8>,
    framed: bool,
    ended: bool,
    holds: Holds,
    show_at: Instant,
}

/// What the publisher came to.
enum Turn {
    /// There is more to cast now; the node gets its turn in between.
    Burst,
    /// The next message is not due for so long, or has not come yet, or `--rate` holds it back.
    Ahead { wait: Duration },
    /// There is no room: this member holds it up.
    Held(Rank),
    /// The input is over.
    Done,
}

impl Publisher {
    fn new(seat: Seat, stream: Stream, pace: Pace) -> Self {
        let (started, settled, show_at, cast, frame, framed, ended) = Default::default();
        let (digester, holds) = Default::default();
        Self { seat, stream, pace, started, settled, digester, cast, frame, framed, ended, holds, show_at }
    }

    /// Publishes all of the input and its end.
    fn play(&mut self) -> Result<(), Stop> {
        self.seat.await_view(|_| {})?;
        self.started = Some(self.seat.now());
        let (ending, stop) = match self.publish() {
            Ok(()) => (Ending::Complete, None),
            Err(Stop::Signal(signal)) => {
                // At a low rate, or with a slow subscriber, that takes its time.
                self.seat.note("interrupted: what was cast is delivered before the goodbye; a second Ctrl-C ends at once");
                (Ending::Interrupted, Some(Stop::Signal(signal)))
            }
            Err(Stop::BadInput(why)) => (Ending::BrokenOff, Some(Stop::BadInput(why))),
            Err(wrong) => {
                self.break_off();
                return Err(wrong);
            }
        };
        self.end(ending)?;
        stop.map_or(Ok(()), Err)
    }

    fn publish(&mut self) -> Result<(), Stop> {
        loop {
            let turn = self.cast_due()?;
            let (holder, wait) = match turn {
                Turn::Burst => (None, Duration::ZERO),
                Turn::Ahead { wait } => (None, wait.min(WAIT)),
                Turn::Held(rank) => (Some(rank), WAIT),
                Turn::Done => return Ok(()),
            };
            self.turn(holder, wait)?;
        }
    }

    /// Casts the end, and stays until all that hold this process up have delivered it.
    fn end(&mut self, ending: Ending) -> Result<(), Stop> {
        let digest = self.digester.digest();
        self.framed = true;
        // What waits for room here was interrupted: it is not in the digest.
        Frame::End { ending, messages: self.cast, hash: &digest.hash }.write(&mut self.frame);
        while !(self.ended && self.seat.is_settled()) {
            let mut holder = None;
            if !self.ended {
                match self.seat.node.cast(&self.seat.group, Order::Fifo, &self.frame) {
                    Ok(()) => self.ended = true,
                    Err(Refused::Full { held_by, .. }) => holder = Some(held_by),
                    Err(Refused::Paced { .. }) => {}
                    Err(refused) => return Err(Stop::wrong(refused)),
                }
            }
            // A second signal ends the process where it is; the first was heeded by now.
            match self.turn(holder, WAIT) {
                Err(Stop::Signal(_)) | Ok(()) => {}
                Err(stop) => return Err(stop),
            }
        }
        self.settled = Some(self.seat.now());
        self.seat.linger();
        Ok(())
    }

    /// Tells those who still listen, if there is room to tell them: whoever is silent will not make any.
    fn break_off(&mut self) {
        let digest = self.digester.digest();
        Frame::End { ending: Ending::BrokenOff, messages: self.cast, hash: &digest.hash }
            .write(&mut self.frame);
        if self.seat.node.cast(&self.seat.group, Order::Fifo, &self.frame).is_ok() {
            self.seat.linger();
        }
    }

    fn turn(&mut self, holder: Option<Rank>, wait: Duration) -> Result<(), Stop> {
        self.seat.cycle(wait, |_| {})?;
        let now = self.seat.node.now();
        self.holds.note(holder, now);
        if now >= self.show_at {
            self.show_at = now.plus_ns(SHOW_EVERY_NS);
            let held = holder.map(|rank| format!(", held up by {}", self.seat.name(rank)));
            self.seat.bar.set_message(format!("{} messages{}", self.cast, held.unwrap_or_default()));
            self.seat.show(self.stream.bytes_read());
            self.seat.watch_losses();
        }
        Ok(())
    }

    /// Casts what is due, up to a burst.
    fn cast_due(&mut self) -> Result<Turn, Stop> {
        let mut burst = 0;
        while burst < BURST {
            if !self.framed {
                match self.stream.head() {
                    Head::Message => {}
                    Head::Waiting => return Ok(Turn::Ahead { wait: WAIT }),
                    Head::End => return Ok(Turn::Done),
                    Head::Bad(why) => return Err(Stop::BadInput(why)),
                }
                if let Some(wait) = self.frame_next() {
                    return Ok(Turn::Ahead { wait });
                }
            }
            match self.seat.node.cast(&self.seat.group, Order::Fifo, &self.frame) {
                Ok(()) => {}
                Err(Refused::Full { held_by, .. }) => return Ok(Turn::Held(held_by)),
                Err(Refused::Paced { wait }) => return Ok(Turn::Ahead { wait }),
                Err(refused) => {
                    return Err(Stop::BadInput(format!("message {}: {refused}", self.cast)));
                }
            }
            burst += self.frame.len();
            self.count();
        }
        Ok(Turn::Burst)
    }

    /// Writes the next frame, or says how long it is until its time.
    fn frame_next(&mut self) -> Option<Duration> {
        let message = self.stream.message()?;
        if let Pace::Times(factor) = self.pace {
            // The fraction of a nanosecond is nobody's; a time beyond all clocks saturates.
            let due = self.started.unwrap_or_default().plus_ns((message.at_ns as f64 / factor) as u64);
            let now = self.seat.now();
            if due > now {
                return Some(due.since(now));
            }
        }
        let message = self.stream.message()?;
        Frame::Data { number: self.cast, message: message.bytes }.write(&mut self.frame);
        self.framed = true;
        None
    }

    /// The message at the head was cast.
    fn count(&mut self) {
        if let Some(message) = self.stream.message() {
            self.digester.add(message.bytes);
        }
        self.stream.advance();
        self.cast += 1;
        self.framed = false;
    }

    /// Says goodbye and the summary.
    fn finish(mut self, stop: Option<Stop>, options: &Publish) -> ExitCode {
        let now = self.seat.now();
        self.seat.say_goodbye();
        self.seat.bar.finish_and_clear();
        let tallied = Tallied {
            digest: self.digester.digest(),
            from_message: (self.cast > 0).then_some(0),
            lost_blocks: 0,
            took: self.started.map_or(Duration::ZERO, |from| self.settled.unwrap_or(now).since(from)),
            holds: self.holds,
            kept: None,
        };
        let summary = Summary::new(&self.seat, &tallied, stop.as_ref());
        super::end(&summary, stop, options.json, false)
    }
}

/// Bytes to cast before the node gets its turn: a full segmentation-offload send.
const BURST: usize = 64 * 1024;
const SHOW_EVERY_NS: u64 = 100_000_000;
