//! Asks a group as its client, who is no member: whoever dies there meanwhile, it is answered once.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sistrum::{
    AskError, AskId, ClientEvent, Config, Dest, Error, Event, Group, JoinOptions, Node, Status, ViewMember,
};

use super::options::{Inquiry, Place};
use super::outcome::{Outcome, Report};
use super::seat::say;
use super::see_off;
use crate::refusal::Refusal;
use crate::signals::Signals;

/// What has become of a question, and where.
type Ended = (Outcome, Vec<(ViewMember, Status)>);

/// Asks all that is to be asked, and says goodbye; the exit status is that of the first that did not go well.
pub(super) fn run(name: &str, place: &Place, inquiry: &Inquiry) -> Result<ExitCode, Refusal> {
    let mut node = Node::open(Config::loopback("ask")).map_err(Refusal::new)?;
    let group = node.join(name, place.apply(JoinOptions::client())).map_err(Refusal::new)?;
    eprintln!("I am {}, and look for {name}", node.endpoint());
    let (signals, asked, ended) = (Signals::listen()?, Vec::new(), BTreeMap::new());
    let mut asker = Asker { node, group, inquiry, signals, has_found: false, asked, ended };
    let refused = asker.ask().err();
    let mut code = ExitCode::SUCCESS;
    for at in (0..inquiry.messages.len()).rev() {
        let ended = asker.asked.get(at).and_then(|ask| asker.ended.get(ask));
        let outcome = ended.map_or(asker.unended(), |(outcome, _)| *outcome);
        if outcome != Outcome::Enough {
            code = outcome.code();
        }
    }
    let shown = if refused.is_some() { asker.asked.len() } else { inquiry.messages.len() };
    for at in 0..shown {
        let ended = asker.asked.get(at).and_then(|ask| asker.ended.remove(ask));
        let (outcome, replies) = ended.unwrap_or((asker.unended(), Vec::new()));
        Report::new(name, outcome, &replies).show(inquiry.json);
    }
    let left = asker.leave().map_err(Refusal::new);
    refused.map_or(left, Err)?;
    Ok(code)
}

struct Asker<'a> {
    node: Node,
    group: Group,
    inquiry: &'a Inquiry,
    signals: Signals,
    /// Somebody of the group has answered.
    has_found: bool,
    /// What was asked so far, in its order.
    asked: Vec<AskId>,
    ended: BTreeMap<AskId, Ended>,
}

impl Asker<'_> {
    /// Asks, until all is over or it was waited long enough. One that cannot be asked ends that, once those before it are over.
    fn ask(&mut self) -> Result<(), Refusal> {
        let (began, Inquiry { messages, want, any, timeout, .. }) = (Instant::now(), self.inquiry);
        let dest = if *any { Dest::Any } else { Dest::All };
        let mut refused = None;
        while self.ended.len() < if refused.is_some() { self.asked.len() } else { messages.len() } {
            let is_late = timeout.is_some_and(|timeout| began.elapsed() >= timeout);
            if is_late || self.signals.take().is_some() {
                break;
            }
            while let Some(message) = messages.get(self.asked.len()).filter(|_| refused.is_none()) {
                match self.node.ask(&self.group, dest, *want, message.as_bytes()) {
                    Ok(ask) => self.asked.push(ask),
                    // There is room for it when others are over.
                    Err(AskError::Full { .. }) => break,
                    Err(why) => refused = Some(Refusal::new(why)),
                }
            }
            self.poll().map_err(Refusal::new)?;
        }
        refused.map_or(Ok(()), Err)
    }

    fn poll(&mut self) -> Result<(), Error> {
        let Self { node, ended, inquiry, has_found, .. } = self;
        node.poll_for(Duration::from_millis(20), |_, event| {
            let Event::Client(event) = event else { return Ok(()) };
            *has_found |= !matches!(event, ClientEvent::Detached(_) | ClientEvent::Done { .. });
            match event {
                ClientEvent::Attached(host) => eprintln!("I ask by {}", host.endpoint),
                ClientEvent::Detached(host) => {
                    eprintln!("{} does not answer: I look for another", host.endpoint);
                }
                ClientEvent::Full => eprintln!("the group has as many clients as it takes: I wait"),
                ClientEvent::Dropped => eprintln!("the group took me for gone: I come back as somebody new"),
                ClientEvent::Done { ask, outcome, replies } => {
                    for (who, status) in replies {
                        if let (Status::Replied(reply), false) = (status, inquiry.json) {
                            say(&who.endpoint.to_string(), reply);
                        }
                    }
                    ended.insert(*ask, (Outcome::from(*outcome), replies.clone()));
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(())
    }

    /// How a question stands that is not over.
    fn unended(&self) -> Outcome {
        if self.has_found { Outcome::NotOver } else { Outcome::Nobody }
    }

    /// Says goodbye, so that nobody has to find out.
    fn leave(mut self) -> Result<(), Error> {
        self.node.leave(&self.group);
        see_off(&mut self.node, |node| node.has_left(&self.group))
    }
}
