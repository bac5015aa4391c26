//! Asks a group something, and says what has come of it.

use std::process::ExitCode;
use std::time::Instant;

use sistrum::{CallId, Error, Refused, Status, ViewMember};

use super::LEAVES_WITHIN;
use super::options::{Common, Question, To};
use super::outcome::{Outcome, Report};
use super::seat::{Hears, Seat, say};
use crate::refusal::Refusal;

/// Joins, asks, and leaves; the exit status tells the outcome.
pub(super) fn run(common: &Common, question: &Question) -> Result<ExitCode, Refusal> {
    let mut caller =
        Caller { seat: Seat::open(common, Hears::Replies)?, question, call: None, printed: Vec::new() };
    let asked = caller.ask();
    if let Ok((outcome, replies)) = &asked {
        caller.print(replies);
        Report::new(&common.name, *outcome, replies).show(question.json);
    }
    let left = caller.leave().map_err(Refusal::new);
    let (outcome, _) = asked?;
    left?;
    Ok(outcome.code())
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
                let is_found = self.seat.told.is_some();
                return Ok((if is_found { Outcome::NotOver } else { Outcome::Nobody }, self.so_far()));
            }
            if self.call.is_none() && !self.begin()? {
                return Ok((Outcome::NotEnough, Vec::new()));
            }
            match self.seat.poll().map_err(Refusal::new)? {
                Some((true, replies)) => return Ok((Outcome::Enough, replies)),
                Some((false, replies)) => return Ok((Outcome::NotEnough, replies)),
                None => {}
            }
            let so_far = self.so_far();
            self.print(&so_far);
        }
    }

    /// Tells whether there is anybody to be asked, as far as that is known.
    fn begin(&mut self) -> Result<bool, Refusal> {
        let Seat { node, group, service, told, .. } = &mut self.seat;
        let (Some(_), Some(view)) = (node.reached(group), told) else { return Ok(true) };
        let (want, request) = (self.question.want, self.question.message.as_bytes());
        let Some(to) = self.question.to else {
            return match service.calls().call_others(node, self.question.order, want, request) {
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
            Some(member) => self.call = Some(service.calls().call_one(*member, want, request)),
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

    fn so_far(&mut self) -> Vec<(ViewMember, Status)> {
        let replies = self.call.and_then(|call| self.seat.service.calls().replies(call));
        replies.map(<[_]>::to_vec).unwrap_or_default()
    }

    /// Prints replies that were not there before.
    fn print(&mut self, replies: &[(ViewMember, Status)]) {
        for (who, status) in replies {
            if let Status::Replied(reply) = status
                && !self.question.json
                && !self.printed.contains(who)
            {
                say(&who.endpoint.to_string(), reply);
                self.printed.push(*who);
            }
        }
    }
}
