//! What is sent to one member alone: it comes once, to that one, in the order of its sender, behind its causes; and what it caused
//! comes behind it.
//!
//! Causes are the causal and total casts, and the sends, that its sender had made or been handed, and their causes. A process is
//! only owed the sends to itself: how many of each sender's to each receiver lie in the past is one number.

use crate::sim::history::eras::Eras;
use crate::sim::history::{Event, History, Message, Process, Sent, What};
use std::rc::Rc;

/// A send that comes twice, out of its turn, to another one, or before its cause; or a cast before a send that caused it.
pub(super) fn order(history: &History) -> Option<String> {
    if history.sends.is_empty() {
        return None;
    }
    let mut walk = Walk::new(history);
    history.events.iter().find_map(|event| walk.step(event))
}

/// A send that did not come, though both live.
pub(super) fn termination(history: &History) -> Option<String> {
    let mut came = vec![false; history.sends.len()];
    for event in &history.events {
        if let What::Receive(sent) = event.what {
            came[sent.0 as usize] = true;
        }
    }
    let is_missing = |at: &usize| {
        let send = &history.sends[*at];
        !came[*at]
            && history.is_alive(send.by)
            && send.receiver.is_some_and(|to| history.is_alive(to) && !history.who(to).has_left)
    };
    let at = (0..came.len()).find(is_missing)?;
    Some(format!("{} never came", history.named_send(Sent(at as u32))))
}

/// What lies in the past of something: by process, its causal and total casts; by sender and receiver, the sends.
#[derive(Debug, Clone, PartialEq)]
struct Past {
    casts: Vec<u32>,
    sends: Vec<u32>,
}

struct Walk<'a> {
    history: &'a History,
    eras: Eras<'a>,
    count: usize,
    known: Vec<Rc<Past>>,
    of_cast: Vec<Option<Rc<Past>>>,
    of_send: Vec<Option<Rc<Past>>>,
    /// The causal and total casts of each process, and by process how many of each other's it was handed without a gap.
    casts: Vec<Vec<Message>>,
    whole: Vec<usize>,
    got: Vec<Vec<bool>>,
    /// By sender and receiver: sends that came.
    came: Vec<u32>,
    /// Who says goodbye: nobody holds anything back for those any more.
    leavers: Vec<Process>,
}

impl<'a> Walk<'a> {
    fn new(history: &'a History) -> Self {
        let count = history.processes.len();
        let nothing = Rc::new(Past { casts: vec![0; count], sends: vec![0; count * count] });
        Self {
            history,
            eras: Eras::of(history),
            count,
            known: vec![nothing; count],
            of_cast: vec![None; history.casts.len()],
            of_send: vec![None; history.sends.len()],
            casts: vec![Vec::new(); count],
            whole: vec![0; count * count],
            got: vec![vec![false; history.casts.len()]; count],
            came: vec![0; count * count],
            leavers: Vec::new(),
        }
    }

    fn step(&mut self, event: &Event) -> Option<String> {
        let me = usize::from(event.process.0);
        match event.what {
            What::Cast(message) => {
                self.of_cast[message.0 as usize] = Some(self.known[me].clone());
                let cast = self.history.cast_of(message);
                if cast.order.spans_senders() && !cast.is_sync {
                    self.casts[me].push(message);
                    // What I have cast lies in the past of what I send, delivered to me or not.
                    Rc::make_mut(&mut self.known[me]).casts[me] = self.casts[me].len() as u32;
                }
                self.note_delivery(event);
                None
            }
            What::Deliver(message) => {
                let past = self.of_cast[message.0 as usize].clone();
                self.note_delivery(event);
                let cast = self.history.cast_of(message);
                let past = past.filter(|_| cast.order.spans_senders() && !cast.is_sync)?;
                let missing = self.missing_send(event.process, &past);
                let by = usize::from(cast.by.0);
                let number =
                    self.casts[by].iter().position(|known| *known == message).map_or(0, |at| at as u32 + 1);
                let known = self.learn(me, &past);
                known.casts[by] = known.casts[by].max(number);
                let cause = missing.filter(|_| !self.leavers.contains(&event.process))?;
                let history = self.history;
                let (who, what) = (history.name(event.process), history.named(message));
                Some(format!("{who} delivered {what} before what {cause} sent it alone"))
            }
            What::Leaves => {
                self.leavers.push(event.process);
                None
            }
            What::Send(sent) => {
                self.of_send[sent.0 as usize] = Some(self.known[me].clone());
                let to = self.receiver(sent)?;
                Rc::make_mut(&mut self.known[me]).sends[me * self.count + to] += 1;
                None
            }
            What::Receive(sent) => self.receive(event.process, sent),
            _ => None,
        }
    }

    fn note_delivery(&mut self, event: &Event) {
        if let Some(message) = self.history.delivery(event) {
            self.got[usize::from(event.process.0)][message.0 as usize] = true;
        }
    }

    fn receiver(&self, sent: Sent) -> Option<usize> {
        self.history.sends[sent.0 as usize].receiver.map(|process| usize::from(process.0))
    }

    fn receive(&mut self, process: Process, sent: Sent) -> Option<String> {
        let (history, me) = (self.history, usize::from(process.0));
        let send = &history.sends[sent.0 as usize];
        let by = usize::from(send.by.0);
        let (who, what) = (history.name(process), history.named_send(sent));
        let Some(past) = self.of_send[sent.0 as usize].clone() else {
            return Some(format!("{who} was handed {what} too early"));
        };
        if self.receiver(sent) != Some(me) {
            return Some(format!("{who} was handed {what}"));
        }
        let at = by * self.count + me;
        let expected = past.sends[at];
        if self.came[at] != expected {
            return Some(format!(
                "{who} was handed {what} as the {}th of them, it is the {expected}th",
                self.came[at]
            ));
        }
        self.came[at] += 1;
        if let Some(cause) = self.missing_send(process, &past) {
            return Some(format!("{who} was handed {what} before what {cause} sent it alone"));
        }
        if let Some(cause) = self.missing_cast(me, &past) {
            return Some(format!("{who} was handed {what} before its cause {}", history.named(cause)));
        }
        let count = self.count;
        let known = self.learn(me, &past);
        known.sends[by * count + me] = known.sends[by * count + me].max(expected + 1);
        None
    }

    /// Who has sent something to `process` that lies in this past, and did not come.
    fn missing_send(&self, process: Process, past: &Past) -> Option<String> {
        if self.history.suspects_wrongly {
            return None;
        }
        let me = usize::from(process.0);
        let lacks = |by: &usize| past.sends[by * self.count + me] > self.came[by * self.count + me];
        (0..self.count).find(lacks).map(|by| self.history.name(Process(by as u16)))
    }

    fn missing_cast(&mut self, me: usize, past: &Past) -> Option<Message> {
        let (eras, process) = (&self.eras, Process(me as u16));
        (0..self.count).find_map(|by| {
            let whole = &mut self.whole[me * self.count + by];
            let is_there = |cast: &Message| self.got[me][cast.0 as usize] || eras.is_before(*cast, process);
            while self.casts[by].get(*whole).is_some_and(is_there) {
                *whole += 1;
            }
            let lacks = past.casts[by] as usize > *whole;
            lacks.then(|| self.casts[by][*whole])
        })
    }

    fn learn(&mut self, me: usize, past: &Past) -> &mut Past {
        let known = Rc::make_mut(&mut self.known[me]);
        known.casts.iter_mut().zip(&past.casts).for_each(|(known, past)| *known = (*known).max(*past));
        known.sends.iter_mut().zip(&past.sends).for_each(|(known, past)| *known = (*known).max(*past));
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::tests::Told;
    use sistrum_ordering::{Order, Rank};

    #[test]
    fn a_send_comes_behind_its_causes_and_before_its_effects() {
        let mut told = Told::of(3);
        let cause = told.cast(0, Order::Causal);
        let send = told.send(0, Rank(1));
        let effect = told.cast(0, Order::Causal);
        let mut good = [What::Deliver(cause), What::Receive(send), What::Deliver(effect)];
        let judge = |what: &[What]| {
            let mut told = Told(told.0.clone());
            what.iter().for_each(|what| told.push(1, what.clone()));
            order(&told.0)
        };
        assert_eq!(judge(&good), None);
        good.swap(0, 1);
        assert!(judge(&good).unwrap().contains("before its cause"));
        assert!(judge(&[What::Deliver(cause), What::Deliver(effect)]).unwrap().contains("sent it alone"));
        assert!(
            judge(&[What::Deliver(cause), What::Receive(send), What::Receive(send)])
                .unwrap()
                .contains("th of them")
        );
        assert!(termination(&told.0).is_some());
    }

    #[test]
    fn a_chain_of_sends_is_kept() {
        let mut told = Told::of(3);
        let first = told.send(0, Rank(2));
        let relay = told.send(0, Rank(1));
        told.push(1, What::Receive(relay));
        let last = told.send(1, Rank(2));
        let mut bad = Told(told.0.clone());
        bad.push(2, What::Receive(last));
        assert!(order(&bad.0).is_some());
        told.push(2, What::Receive(first));
        told.push(2, What::Receive(last));
        assert_eq!((order(&told.0), termination(&told.0)), (None, None));
        told.push(0, What::Receive(last));
        assert!(order(&told.0).is_some(), "it was not for this one");
    }
}
