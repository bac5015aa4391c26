//! Causal order by piggybacking.
//!
//= birman87 (CBCAST): a message takes along every message that precedes it and is not known to have arrived where it goes.
//= birman87 (CBCAST): what has arrived everywhere is collected, and all are told.
//!
//! So a message can be delivered as soon as it comes: whatever it needs has come before, or comes with it. The store is kept by
//! name, in the order of arrival; the sender of a message hears who has it, and tells all when everybody has.

use super::{Effects, Member, Message, others};
use crate::{Order, Rank};

/// See the module.
#[derive(Debug, Clone)]
pub struct Cbcast {
    me: Rank,
    members: usize,
    /// What may be missing somewhere, in an order that extends causality.
    store: Vec<Stored>,
    /// Everything of each before this number has come.
    arrived: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Stored {
    message: Message,
    /// Who is known to have it.
    at: Vec<bool>,
}

/// What members send each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// Messages, each behind what precedes it, and who is known to have them.
    Carry(Vec<(Message, Vec<bool>)>),
    /// These messages of yours have arrived here.
    Arrived(Vec<Message>),
    /// This message of mine has arrived everywhere.
    Collect(Message),
}

impl Member for Cbcast {
    type Packet = Packet;

    fn new(me: Rank, members: usize) -> Self {
        Self { me, members, store: Vec::new(), arrived: vec![0; members] }
    }

    fn cast(&mut self, message: Message, _order: Order, out: &mut Effects<Packet>) {
        self.arrived[self.me.0 as usize] = message.number + 1;
        out.delivers.push(message);
        self.keep(message, vec![false; self.members]);
        for to in others(self.me, self.members) {
            let may_miss = self.store.iter().filter(|stored| !stored.at[to.0 as usize]);
            let carried = may_miss.map(|stored| (stored.message, stored.at.clone())).collect();
            out.sends.push((to, Packet::Carry(carried)));
        }
    }

    fn receive(&mut self, from: Rank, packet: Packet, out: &mut Effects<Packet>) {
        match packet {
            Packet::Carry(carried) => self.take(from, carried, out),
            Packet::Arrived(messages) => {
                messages.into_iter().for_each(|message| self.note(message, from, out));
            }
            Packet::Collect(message) => self.store.retain(|stored| stored.message != message),
        }
    }

    fn kept(&self) -> usize {
        self.store.len()
    }
}

impl Cbcast {
    /// Delivers what is new of `carried`, and tells the senders that it has come.
    fn take(&mut self, from: Rank, carried: Vec<(Message, Vec<bool>)>, out: &mut Effects<Packet>) {
        for (message, mut at) in carried {
            at[from.0 as usize] = true;
            let arrived = &mut self.arrived[message.from.0 as usize];
            if message.number < *arrived {
                // It may have been collected: then nothing of it is kept any more.
                if let Some(stored) = self.store.iter_mut().find(|stored| stored.message == message) {
                    stored.at.iter_mut().zip(at).for_each(|(known, told)| *known |= told);
                }
                continue;
            }
            *arrived = message.number + 1;
            out.delivers.push(message);
            self.keep(message, at);
            out.sends.push((message.from, Packet::Arrived(vec![message])));
        }
    }

    fn keep(&mut self, message: Message, mut at: Vec<bool>) {
        at[self.me.0 as usize] = true;
        at[message.from.0 as usize] = true;
        self.store.push(Stored { message, at });
    }

    /// `message` of mine has arrived at `rank`.
    fn note(&mut self, message: Message, rank: Rank, out: &mut Effects<Packet>) {
        let Some(at) = self.store.iter().position(|stored| stored.message == message) else { return };
        self.store[at].at[rank.0 as usize] = true;
        if self.store[at].at.iter().all(|has| *has) {
            self.store.remove(at);
            out.send_all(self.me, self.members, &Packet::Collect(message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(from: u16, number: u32) -> Message {
        Message { from: Rank(from), number }
    }

    /// The packet among `effects` that goes to `to`.
    fn to(effects: &Effects<Packet>, to: u16) -> Packet {
        effects.sends.iter().find(|(rank, _)| *rank == Rank(to)).unwrap().1.clone()
    }

    #[test]
    fn an_effect_brings_its_cause_along_until_that_is_everywhere() {
        let mut members: Vec<Cbcast> = (0..3).map(|rank| Cbcast::new(Rank(rank), 3)).collect();
        let (mut cause, mut answer, mut effect) = <(Effects<_>, Effects<_>, Effects<_>)>::default();
        members[0].cast(message(0, 0), Order::Causal, &mut cause);
        members[1].receive(Rank(0), to(&cause, 1), &mut answer);
        members[1].cast(message(1, 0), Order::Causal, &mut effect);
        let mut at_2 = Effects::default();
        members[2].receive(Rank(1), to(&effect, 2), &mut at_2);
        assert_eq!(at_2.delivers, [message(0, 0), message(1, 0)]);
        members[2].receive(Rank(0), to(&cause, 2), &mut at_2);
        assert_eq!(at_2.delivers.len(), 2, "once");

        let mut collected = Effects::default();
        members[0].receive(Rank(1), to(&answer, 0), &mut collected);
        assert_eq!(collected.sends, []);
        members[0].receive(Rank(2), to(&at_2, 0), &mut collected);
        assert_eq!(members[0].kept(), 0);
        assert_eq!(to(&collected, 1), Packet::Collect(message(0, 0)));
        members[1].receive(Rank(0), to(&collected, 1), &mut Effects::default());
        assert_eq!(members[1].kept(), 1, "its own is not known to be everywhere");
    }
}
