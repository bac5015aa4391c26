//! One member: it casts what it is told to, and says what it is handed.

use std::io::BufRead as _;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use sistrum::{Config, Error, Event, Group, JoinOptions, Node, Order, Rank, Reason, Refused, View};

use super::options::Common;
use crate::print;
use crate::refusal::Refusal;
use crate::signals::Signals;

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
    node: Node,
    group: Group,
    /// The view that ranks are of.
    told: Option<View>,
    voice: Voice,
    lines: Receiver<String>,
    /// What is to be cast next, and was refused so far.
    next: Option<String>,
    is_over: bool,
    signals: Signals,
}

impl Member {
    /// Joins the group; nothing waits for anybody yet.
    pub(super) fn open(common: &Common, voice: Voice) -> Result<Self, Refusal> {
        let config = Config { port: common.port, ..Config::loopback("group") };
        let options =
            JoinOptions::peer().expected_members(common.expected).suspect_after(common.suspect_after);
        let options = common.place.apply(options);
        let mut node = Node::open(config).map_err(Refusal::new)?;
        let group = node.join(&common.name, options).map_err(Refusal::new)?;
        eprintln!("I am {}, and look for {}", node.endpoint(), common.name);
        let (lines, next) = match &voice {
            Voice::Once(_, message) => (sync_channel(1).1, Some(message.clone())),
            Voice::Lines(_) => (lines(), None),
            Voice::Silent => (sync_channel(1).1, None),
        };
        let (told, is_over, signals) = (None, false, Signals::listen()?);
        Ok(Self { node, group, told, voice, lines, next, is_over, signals })
    }

    /// Until it has said all, or is stopped; then it leaves.
    pub(super) fn live(mut self) -> Result<(), Error> {
        loop {
            if self.signals.take().is_some() {
                self.is_over = true;
            }
            self.speak()?;
            let told = &mut self.told;
            self.node.poll_for(Duration::from_millis(20), |_, event| {
                if let Event::View(view) = &event {
                    *told = Some((*view).clone());
                }
                tell(told.as_ref(), &event);
                Ok(())
            })?;
            let is_said = self.next.is_none() && self.node.settled(&self.group);
            if self.is_over && (is_said || self.node.view(&self.group).is_none()) {
                break;
            }
        }
        self.node.leave(&self.group);
        while !self.node.has_left(&self.group) && self.signals.take().is_none() {
            self.node.poll_for(Duration::from_millis(20), |_, _| Ok(()))?;
        }
        Ok(())
    }

    /// Casts what is next, as far as that is taken.
    fn speak(&mut self) -> Result<(), Error> {
        let order = match self.voice {
            Voice::Silent => return Ok(()),
            Voice::Lines(order) | Voice::Once(order, _) => order,
        };
        while self.node.reached(&self.group).is_some() {
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
            match self.node.cast(&self.group, order, next.as_bytes()) {
                Ok(()) => self.next = None,
                // It is tried again.
                Err(Refused::Full { .. } | Refused::Paced { .. } | Refused::ViewChanging) => return Ok(()),
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

pub(super) fn tell(view: Option<&View>, event: &Event<'_>) {
    let place = |rank: Rank| {
        let member = view.and_then(|view| view.member(rank));
        member.map_or_else(|| rank.to_string(), |member| member.endpoint.to_string())
    };
    match event {
        Event::View(view) => eprintln!("{}", shown(view)),
        Event::Deliver(message) => {
            print(&format!("{}: {}", place(message.from()), String::from_utf8_lossy(message.bytes())));
        }
        Event::Sync { from, bytes, .. } => {
            print(&format!("{}: {}", from.endpoint, String::from_utf8_lossy(bytes)));
        }
        Event::Wedged(heard) => {
            let heard: Vec<String> = heard.iter().copied().map(place).collect();
            eprintln!("cannot go on, hears only: {}", heard.join(", "));
        }
        Event::Resumed => eprintln!("goes on again"),
        Event::Excluded(number) => eprintln!("the others went on without me, to {number}: I come back"),
        Event::Conflict(endpoint, why) => eprintln!("{endpoint}: {why}"),
        _ => {}
    }
}

/// A view as one line: its members by age, who came, who is gone and why.
fn shown(view: &View) -> String {
    let members: Vec<String> = view.members().iter().map(|member| member.endpoint.to_string()).collect();
    let came = view.came().iter().map(|rank| format!(", {} came", members[usize::from(rank.0)]));
    let gone = view.gone().iter().map(|(member, why)| {
        let how = if *why == Reason::Left { "left" } else { "is gone" };
        format!(", {} {how}", member.endpoint)
    });
    let changes: String = came.chain(gone).collect();
    format!("{} of {}: {}{changes}", view.id().number, members.len(), members.join(" "))
}
