//! What has become of a question, for people and for other programs.

use std::process::ExitCode;

use serde::Serialize;
use sistrum::{Status, ViewMember};

use crate::print;

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Enough,
    /// Nobody is left who could reply, or one has ended the call.
    NotEnough,
    NotOver,
    /// No group of that name was found in time.
    Nobody,
    /// I was struck off as a client, or the leaf is gone: it may have been done or not.
    Unknown,
}

impl From<sistrum::Outcome> for Outcome {
    fn from(outcome: sistrum::Outcome) -> Self {
        match outcome {
            sistrum::Outcome::Enough => Self::Enough,
            sistrum::Outcome::NotEnough => Self::NotEnough,
            sistrum::Outcome::Unknown => Self::Unknown,
        }
    }
}

impl Outcome {
    /// The exit status that tells it.
    pub(super) fn code(self) -> ExitCode {
        match self {
            Self::Enough => ExitCode::SUCCESS,
            Self::NotEnough => ExitCode::FAILURE,
            Self::NotOver | Self::Nobody | Self::Unknown => ExitCode::from(3),
        }
    }
}

/// What is printed at the end, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    /// Who was asked.
    #[serde(skip)]
    name: &'a str,
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
    Unsent { bytes: usize },
}

impl<'a> Report<'a> {
    pub(super) fn new(name: &'a str, outcome: Outcome, replies: &[(ViewMember, Status)]) -> Self {
        Self { name, outcome, destinations: replies.iter().map(Destination::of).collect() }
    }

    /// Says it to people, or to other programs.
    pub(super) fn show(&self, is_json: bool) {
        match is_json {
            true => print(&serde_json::to_string(self).expect("plain data")),
            false => self.tell(),
        }
    }

    fn tell(&self) {
        for Destination { member, status } in &self.destinations {
            match status {
                Shown::Waiting => eprintln!("{member} has not answered"),
                Shown::Replied { .. } => eprintln!("{member} has replied"),
                Shown::Null => eprintln!("{member} does not reply"),
                Shown::Aborted { why } => eprintln!("{member} has ended the call: {why}"),
                Shown::Forwarded { to } => eprintln!("{member} has handed it on to {to}"),
                Shown::Dead => eprintln!("{member} is gone"),
                Shown::Unsent { bytes } => {
                    eprintln!("{member} has replied with {bytes} bytes, for which there was no room");
                }
            }
        }
        match self.outcome {
            Outcome::Enough => eprintln!("enough have replied"),
            Outcome::NotEnough => eprintln!("not enough have replied"),
            Outcome::NotOver => eprintln!("it is not over"),
            Outcome::Nobody => eprintln!("nobody answers for {}", self.name),
            Outcome::Unknown => eprintln!("it may have been done or not"),
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
            Status::Unsent(bytes) => Shown::Unsent { bytes: *bytes },
        };
        Self { member: who.endpoint.to_string(), status }
    }
}
