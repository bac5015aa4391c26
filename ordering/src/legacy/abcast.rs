//! Total order by priorities in two phases.
//!
//= birman87 (ABCAST): receivers propose a priority above all that they have seen, ties broken by the proposer's rank.
//= birman87 (ABCAST): the sender commits the largest; what is committed is delivered when nothing can get a smaller one.

use super::{Effects, Member, Message};
use crate::{Order, Rank};
use std::collections::BTreeMap;

/// A place in the order; no two members propose the same.
type Priority = (u64, Rank);

/// See the module.
#[derive(Debug, Clone)]
pub struct Abcast {
    me: Rank,
    members: usize,
    highest: u64,
    /// What is not delivered, by priority as far as it is known, and whether that is committed.
    queue: BTreeMap<Priority, (Message, bool)>,
    /// My own messages: the largest proposal, and how many are still to come.
    collecting: BTreeMap<Message, (Priority, usize)>,
}

/// What members send each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// A new message: which priority may it have?
    Ask(Message),
    /// This one, says the receiver.
    Propose(Message, u64, Rank),
    /// It has this one.
    Commit(Message, u64, Rank),
}

impl Member for Abcast {
    type Packet = Packet;

    fn new(me: Rank, members: usize) -> Self {
        Self { me, members, highest: 0, queue: BTreeMap::new(), collecting: BTreeMap::new() }
    }

    fn cast(&mut self, message: Message, _order: Order, out: &mut Effects<Packet>) {
        let mine = self.propose(message);
        self.collecting.insert(message, (mine, self.members - 1));
        out.send_all(self.me, self.members, &Packet::Ask(message));
        self.commit_complete(message, out);
    }

    fn receive(&mut self, from: Rank, packet: Packet, out: &mut Effects<Packet>) {
        match packet {
            Packet::Ask(message) => {
                let (priority, me) = self.propose(message);
                out.sends.push((from, Packet::Propose(message, priority, me)));
            }
            Packet::Propose(message, priority, proposer) => {
                if let Some((largest, left)) = self.collecting.get_mut(&message) {
                    (*largest, *left) = ((priority, proposer).max(*largest), *left - 1);
                }
                self.commit_complete(message, out);
            }
            Packet::Commit(message, priority, proposer) => self.commit(message, (priority, proposer), out),
        }
    }

    fn kept(&self) -> usize {
        self.queue.len()
    }
}

impl Abcast {
    fn propose(&mut self, message: Message) -> Priority {
        self.highest += 1;
        let mine = (self.highest, self.me);
        self.queue.insert(mine, (message, false));
        mine
    }

    /// Commits `message` of mine when all have proposed.
    fn commit_complete(&mut self, message: Message, out: &mut Effects<Packet>) {
        let Some(&(largest, 0)) = self.collecting.get(&message) else { return };
        self.collecting.remove(&message);
        out.send_all(self.me, self.members, &Packet::Commit(message, largest.0, largest.1));
        self.commit(message, largest, out);
    }

    /// `message` has its place; delivers what is committed in front of all that is not.
    fn commit(&mut self, message: Message, priority: Priority, out: &mut Effects<Packet>) {
        self.queue.retain(|_, (queued, _)| *queued != message);
        self.queue.insert(priority, (message, true));
        self.highest = self.highest.max(priority.0);
        while let Some(first) = self.queue.first_entry().filter(|first| first.get().1) {
            out.delivers.push(first.remove().0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_proposal_counts_and_ties_go_by_rank() {
        let mut members: Vec<Abcast> = (0..2).map(|rank| Abcast::new(Rank(rank), 2)).collect();
        let [a, b] = [Message { from: Rank(0), number: 0 }, Message { from: Rank(1), number: 0 }];
        let (mut at_0, mut at_1) = <(Effects<_>, Effects<_>)>::default();
        members[0].cast(a, Order::Total, &mut at_0);
        members[1].cast(b, Order::Total, &mut at_1);
        let (ask_a, ask_b) = (at_0.sends.remove(0).1, at_1.sends.remove(0).1);
        members[1].receive(Rank(0), ask_a, &mut at_1);
        members[0].receive(Rank(1), ask_b, &mut at_0);
        assert_eq!(at_1.sends[0].1, Packet::Propose(a, 2, Rank(1)));
        assert_eq!(at_0.sends[0].1, Packet::Propose(b, 2, Rank(0)));
        let (for_a, for_b) = (at_1.sends.remove(0).1, at_0.sends.remove(0).1);
        members[0].receive(Rank(1), for_a, &mut at_0);
        members[1].receive(Rank(0), for_b, &mut at_1);
        assert_eq!(at_0.delivers, [], "b may still come first");
        let (commit_a, commit_b) = (at_0.sends.remove(0).1, at_1.sends.remove(0).1);
        members[0].receive(Rank(1), commit_b, &mut at_0);
        members[1].receive(Rank(0), commit_a, &mut at_1);
        assert_eq!((at_0.delivers, at_1.delivers), (vec![b, a], vec![b, a]), "both have 2, b of rank 0");
        assert_eq!(members[0].kept(), 0);
    }
}
