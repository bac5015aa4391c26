//! Asks a group something, and says what has come of it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;
use sistrum::{CallId, Error, Refused, Status, ViewMember};

use super::options::{Common, Question, To};
use super::seat::{Hears, Seat, line};
use crate::print;
use crate::refusal::Refusal;

/// Who cannot leave for so long just goes: the others find out.
const LEAVES_WITHIN: Duration = Duration::from_secs(2);

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Enough,
    /// Nobody is left who could reply, or one has ended the call.
    NotEnough,
    NotOver,
}

/// What is printed at the end, as JSON.
#[derive(Debug, Serialize)]
struct Report {
    outcome: Outcome,
    destinations: Vec<Destination>,
}

#[derive(Debug, Serialize)]
struct Destination {
    member: String,
    #[serde(flatten)]
    status: Shown,
}

/// A [`Status`], for people and for JSON.
#[derive(Debug, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum Shown {
    Waiting,
    Replied { reply: String },
    Null,
    Aborted { why: String },
    Forwarded { to: String },
    Dead,
}

/// Joins, asks, and leaves; the exit status tells the outcome.
pub(super) fn run(common: &Common, question: &Question) -> Result<ExitCode, Refusal> {
    let mut caller =
        Caller { seat: Seat::open(common, Hears::Replies)?, question, call: None, printed: Vec::new() };
    let (outcome, replies) = caller.ask()?;
    caller.print(&replies);
    let report = Report { outcome, destinations: replies.iter().map(Destination::of).collect() };
    match question.json {
        true => print(&serde_json::to_string(&report).expect("plain data")),
        false => report.tell(),
    }
    caller.leave().map_err(Refusal::new)?;
    Ok(match outcome {
        Outcome::Enough => ExitCode::SUCCESS,
        Outcome::NotEnough => ExitCode::FAILURE,
        Outcome::NotOver => ExitCode::from(3),
    })
}

struct Caller<'a> {
    seat: Seat,
    question: &'a Question,
    call: Option<CallId>,
    /// Whose replies were printed.
    printed: Vec<ViewMember>,
}

impl Caller<'_> {
    /// Asks as soon as the group is there, and waits for the end of it.
    fn ask(&mut self) -> Result<(Outcome, Vec<(ViewMember, Status)>), Refusal> {
        let began = Instant::now();
        loop {
            let is_late = self.question.timeout.is_some_and(|timeout| began.elapsed() >= timeout);
            if is_late || self.seat.signals.take().is_some() {
                return Ok((Outcome::NotOver, self.so_far()));
            }
            if self.call.is_none() && !self.begin()? {
                return Ok((Outcome::NotEnough, Vec::new()));
            }
            match self.seat.poll().map_err(Refusal::new)? {
                Some((true, replies)) => return Ok((Outcome::Enough, replies)),
                Some((false, replies)) => return Ok((Outcome::NotEnough, replies)),
                None => {}
            }
            self.print(&self.so_far());
        }
    }

    /// Tells whether there is anybody to be asked, as far as that is known.
    fn begin(&mut self) -> Result<bool, Refusal> {
        let Seat { node, group, calls, told, .. } = &mut self.seat;
        let (Some(_), Some(view)) = (node.reached(group), told) else { return Ok(true) };
        let (want, request) = (self.question.want, self.question.message.as_bytes());
        let Some(to) = self.question.to else {
            return match calls.call_others(node, self.question.order, want, request) {
                Ok(call) => {
                    self.call = Some(call);
                    Ok(true)
                }
                // It is tried again.
                Err(
                    Refused::Full { .. } | Refused::Paced { .. } | Refused::ViewChanging | Refused::NoView,
                ) => Ok(true),
                Err(refused) => Err(Refusal::new(refused)),
            };
        };
        let found = match to {
            To::Rank(rank) => view.member(rank),
            To::Place(place) => view.members().iter().find(|member| member.endpoint == place),
        };
        match found {
            Some(member) => self.call = Some(calls.call_one(*member, want, request)),
            None => eprintln!("{to} is no member of {view}"),
        }
        Ok(found.is_some())
    }

    /// Leaves, when all have the request; nobody waits long for that.
    fn leave(mut self) -> Result<(), Error> {
        let began = Instant::now();
        while !self.seat.node.settled(&self.seat.group) && began.elapsed() < LEAVES_WITHIN {
            self.seat.poll()?;
        }
        self.seat.leave(LEAVES_WITHIN)
    }

    fn so_far(&self) -> Vec<(ViewMember, Status)> {
        let replies = self.call.and_then(|call| self.seat.calls.replies(call));
        replies.map(<[_]>::to_vec).unwrap_or_default()
    }

    /// Prints replies that were not there before.
    fn print(&mut self, replies: &[(ViewMember, Status)]) {
        for (who, status) in replies {
            if let Status::Replied(reply) = status
                && !self.question.json
                && !self.printed.contains(who)
            {
                print(&line(*who, reply));
                self.printed.push(*who);
            }
        }
    }
}

impl Report {
    /// Says it to people.
    fn tell(&self) {
        for Destination { member, status } in &self.destinations {
            match status {
                Shown::Waiting => eprintln!("{member} has not answered"),
                Shown::Replied { .. } => eprintln!("{member} has replied"),
                Shown::Null => eprintln!("{member} does not reply"),
                Shown::Aborted { why } => eprintln!("{member} has ended the call: {why}"),
                Shown::Forwarded { to } => eprintln!("{member} has handed it on to {to}"),
                Shown::Dead => eprintln!("{member} is gone"),
            }
        }
        match self.outcome {
            Outcome::Enough => eprintln!("enough have replied"),
            Outcome::NotEnough => eprintln!("not enough have replied"),
            Outcome::NotOver => eprintln!("it is not over"),
        }
    }
}

impl Destination {
    fn of((who, status): &(ViewMember, Status)) -> Self {
        let status = match status {
            Status::Waiting => Shown::Waiting,
            Status::Replied(reply) => Shown::Replied { reply: String::from_utf8_lossy(reply).into_owned() },
            Status::Null => Shown::Null,
            Status::Aborted(why) => Shown::Aborted { why: why.clone() },
            Status::Forwarded(to) => Shown::Forwarded { to: to.endpoint.to_string() },
            Status::Dead => Shown::Dead,
        };
        Self { member: who.endpoint.to_string(), status }
    }
}
