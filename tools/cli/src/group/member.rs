//! One member: it casts what it is told to, and says what it is handed.

use std::io::{self, BufRead as _};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use sistrum::{Error, Order, Refused};

use super::LEAVES_WITHIN;
use super::options::Common;
use super::seat::{Hears, Seat};
use crate::refusal::Refusal;

/// What it casts.
#[derive(Debug, Clone)]
pub(super) enum Voice {
    Silent,
    /// Each line of standard input.
    Lines(Order),
    Once(Order, String),
}

/// Lines that are read ahead.
const AHEAD: usize = 1_024;
/// Who has waited for so long to leave says so.
const WAITS_ALOUD: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Member {
    seat: Seat,
    voice: Voice,
    lines: Receiver<io::Result<Vec<u8>>>,
    /// What is to be cast next, and was refused so far.
    next: Option<Vec<u8>>,
    /// Lines that were taken from the input.
    taken: u64,
    /// Something could not be cast or read, and will never be.
    has_failed: bool,
    is_over: bool,
}

impl Member {
    /// Joins the group; nothing waits for anybody yet.
    pub(super) fn open(common: &Common, voice: Voice, hears: Hears) -> Result<Self, Refusal> {
        if let (true, Voice::Lines(order) | Voice::Once(order, _)) = (common.state, &voice)
            && *order != Order::Total
        {
            return Err(Refusal::new(
                "--state wants --order total: what I cast has to come back to me in its place",
            ));
        }
        let seat = Seat::open(common, hears)?;
        let (lines, next) = match &voice {
            Voice::Once(_, message) => (sync_channel(1).1, Some(message.clone().into_bytes())),
            Voice::Lines(_) => (lines(), None),
            Voice::Silent => (sync_channel(1).1, None),
        };
        Ok(Self { seat, voice, lines, next, taken: 0, has_failed: false, is_over: false })
    }

    /// Until it has said all, or is stopped; then it leaves, whatever has ended it. Tells whether all could be said.
    pub(super) fn live(mut self) -> Result<bool, Error> {
        let lived = self.go_on();
        let left = self.seat.leave(*lived.as_ref().unwrap_or(&LEAVES_WITHIN));
        lived.and(left)?;
        Ok(!self.has_failed)
    }

    /// Until it is over; how long it may take to leave.
    fn go_on(&mut self) -> Result<Duration, Error> {
        let (mut over_since, mut is_told) = (None, false);
        loop {
            if self.seat.signals.take().is_some() {
                if self.is_over {
                    return Ok(LEAVES_WITHIN);
                }
                self.is_over = true;
            }
            self.speak()?;
            self.seat.poll()?;
            let Seat { node, group, .. } = &self.seat;
            let is_said = self.next.is_none() && node.settled(group);
            if self.is_over && (is_said || node.view(group).is_none()) {
                return Ok(Duration::MAX);
            }
            if self.is_over
                && !is_told
                && over_since.get_or_insert_with(Instant::now).elapsed() >= WAITS_ALOUD
            {
                eprintln!("not all have what was said: I leave when they do; Ctrl-C ends that");
                is_told = true;
            }
        }
    }

    /// Casts what is next, as far as that is taken. What never will be is told of, and left out.
    fn speak(&mut self) -> Result<(), Error> {
        let order = match self.voice {
            Voice::Silent => return Ok(()),
            Voice::Lines(order) | Voice::Once(order, _) => order,
        };
        while self.seat.node.reached(&self.seat.group).is_some() {
            if self.next.is_none() && !self.is_over {
                self.next = self.take_line();
            }
            let Some(next) = &self.next else { return Ok(()) };
            match self.seat.cast(order, next) {
                Ok(()) => self.next = None,
                // It is tried again, in vain where I leave because I could not take the state over.
                Err(refused) if refused.is_for_now() => return Ok(()),
                Err(refused @ (Refused::TooLarge { .. } | Refused::Unordered { .. })) => {
                    let line = if self.taken > 0 { format!("line {}: ", self.taken) } else { String::new() };
                    eprintln!("sistrum: {line}not cast: {refused}");
                    (self.next, self.has_failed) = (None, true);
                }
                Err(refused) => return Err(refused.into()),
            }
            self.is_over |= matches!(self.voice, Voice::Once(..));
        }
        Ok(())
    }

    /// The next line of the input, if it has come.
    fn take_line(&mut self) -> Option<Vec<u8>> {
        match self.lines.try_recv() {
            Ok(Ok(line)) => {
                self.taken += 1;
                return Some(line);
            }
            Ok(Err(why)) => {
                eprintln!("sistrum: standard input: {why}");
                (self.has_failed, self.is_over) = (true, true);
            }
            Err(TryRecvError::Disconnected) => self.is_over = true,
            Err(TryRecvError::Empty) => {}
        }
        None
    }
}

/// What comes by standard input, read beside the engine: lines of bytes, whatever these are.
fn lines() -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = sync_channel(AHEAD);
    std::thread::spawn(move || {
        io::stdin().lock().split(b'\n').try_for_each(|line| {
            let is_last = line.is_err();
            sender.send(line).ok().filter(|()| !is_last)
        })
    });
    receiver
}
