//! One member: it casts what it is told to, and says what it is handed.

use std::io::BufRead as _;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use sistrum::{Error, Order, Refused};

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

/// See the module.
pub(super) struct Member {
    seat: Seat,
    voice: Voice,
    lines: Receiver<String>,
    /// What is to be cast next, and was refused so far.
    next: Option<String>,
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
            Voice::Once(_, message) => (sync_channel(1).1, Some(message.clone())),
            Voice::Lines(_) => (lines(), None),
            Voice::Silent => (sync_channel(1).1, None),
        };
        Ok(Self { seat, voice, lines, next, is_over: false })
    }

    /// Until it has said all, or is stopped; then it leaves.
    pub(super) fn live(mut self) -> Result<(), Error> {
        loop {
            if self.seat.signals.take().is_some() {
                self.is_over = true;
            }
            self.speak()?;
            self.seat.poll()?;
            let Seat { node, group, .. } = &self.seat;
            let is_said = self.next.is_none() && node.settled(group);
            if self.is_over && (is_said || node.view(group).is_none()) {
                break;
            }
        }
        self.seat.leave(Duration::MAX)
    }

    /// Casts what is next, as far as that is taken.
    fn speak(&mut self) -> Result<(), Error> {
        let order = match self.voice {
            Voice::Silent => return Ok(()),
            Voice::Lines(order) | Voice::Once(order, _) => order,
        };
        while self.seat.node.reached(&self.seat.group).is_some() {
            if self.next.is_none() && !self.is_over {
                self.next = match self.lines.try_recv() {
                    Ok(line) => Some(line),
                    Err(TryRecvError::Empty) => None,
                    Err(TryRecvError::Disconnected) => {
                        self.is_over = true;
                        None
                    }
                };
            }
            let Some(next) = &self.next else { return Ok(()) };
            match self.seat.cast(order, next) {
                Ok(()) => self.next = None,
                // It is tried again, in vain where I leave because I could not take the state over.
                Err(Refused::Full { .. } | Refused::Paced { .. } | Refused::ViewChanging | Refused::Left) => {
                    return Ok(());
                }
                Err(refused) => return Err(refused.into()),
            }
            self.is_over |= matches!(self.voice, Voice::Once(..));
        }
        Ok(())
    }
}

/// What comes by standard input, read beside the engine.
fn lines() -> Receiver<String> {
    let (sender, receiver) = sync_channel(AHEAD);
    std::thread::spawn(move || {
        std::io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    receiver
}
