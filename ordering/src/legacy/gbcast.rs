//! A message that is ordered against everything, between causal ones.
//!
//= birman87 (GBCAST): all stop casting, what is under way is flushed, and the message is committed at one point.
//!
//! Ours has a fixed coordinator, rank 0, which takes one at a time. Everybody answers its `Block` with how much it has cast, and
//! casts nothing more; `Commit` carries these numbers, and each delivers the message behind exactly as much. Causal messages
//! are those of [`Cbcast`], with the number of commits that their sender had delivered; who has delivered fewer lets them wait.

use super::{Cbcast, Effects, Member, Message, cbcast};
use crate::{Order, Rank};
use std::collections::VecDeque;

/// See the module.
#[derive(Debug, Clone)]
pub struct Gbcast {
    me: Rank,
    members: usize,
    causal: Cbcast,
    /// Causal messages of each that were delivered, and of mine that were cast.
    delivered: Vec<u32>,
    /// Messages that were committed and delivered.
    point: u64,
    /// Casts that wait for the one under way.
    held_back: VecDeque<(Message, Order)>,
    /// Why: somebody's message is between `Block` and its delivery, or mine was asked for.
    is_blocked: bool,
    asked: Option<Message>,
    committed: Option<(Message, Vec<u32>)>,
    /// The next `Block` has come before the last commit could be delivered.
    block_waits: bool,
    /// Packets from behind the next point.
    early: Vec<(Rank, u64, cbcast::Packet)>,
    coordinator: Coordinator,
}

/// What rank 0 keeps.
#[derive(Debug, Clone, Default)]
struct Coordinator {
    waiting: VecDeque<Message>,
    /// The one under way, and how much everybody has cast.
    flushing: Option<(Message, Vec<Option<u32>>)>,
}

/// What members send each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// A packet of causal messages, and how many commits its sender had delivered.
    Causal(u64, cbcast::Packet),
    /// To the coordinator: this one, please.
    Ask(Message),
    /// Cast nothing more, and say how much you have cast.
    Block,
    /// So much.
    Flushed(u32),
    /// Deliver this behind so many of each.
    Commit(Message, Vec<u32>),
}

impl Member for Gbcast {
    type Packet = Packet;

    fn new(me: Rank, members: usize) -> Self {
        Self {
            me,
            members,
            causal: Cbcast::new(me, members),
            delivered: vec![0; members],
            point: 0,
            held_back: VecDeque::new(),
            is_blocked: false,
            asked: None,
            committed: None,
            block_waits: false,
            early: Vec::new(),
            coordinator: Coordinator::default(),
        }
    }

    fn cast(&mut self, message: Message, order: Order, out: &mut Effects<Packet>) {
        self.held_back.push_back((message, order));
        self.go_on(out);
    }

    fn receive(&mut self, from: Rank, packet: Packet, out: &mut Effects<Packet>) {
        match packet {
            Packet::Causal(point, packet) => {
                self.early.push((from, point, packet));
                self.take_causal(out);
            }
            Packet::Ask(message) => {
                self.coordinator.waiting.push_back(message);
                self.begin(out);
            }
            Packet::Block if self.committed.is_some() => self.block_waits = true,
            Packet::Block => self.flush(out),
            Packet::Flushed(count) => self.flushed(from, count, out),
            Packet::Commit(message, cut) => self.committed = Some((message, cut)),
        }
        self.deliver_committed(out);
    }

    fn kept(&self) -> usize {
        self.causal.kept() + self.held_back.len() + self.early.len() + usize::from(self.committed.is_some())
    }
}

impl Gbcast {
    /// Sends a packet, to me at once.
    fn tell(&mut self, to: Rank, packet: Packet, out: &mut Effects<Packet>) {
        if to == self.me { self.receive(to, packet, out) } else { out.sends.push((to, packet)) }
    }

    /// Casts what was held back, until something total is under way.
    fn go_on(&mut self, out: &mut Effects<Packet>) {
        while !self.is_blocked && self.asked.is_none() {
            let Some((message, order)) = self.held_back.pop_front() else { return };
            if order == Order::Total {
                self.asked = Some(message);
                self.tell(COORDINATOR, Packet::Ask(message), out);
            } else {
                self.with_causal(out, |causal, out| causal.cast(message, order, out));
            }
        }
    }

    fn with_causal(
        &mut self,
        out: &mut Effects<Packet>,
        step: impl FnOnce(&mut Cbcast, &mut Effects<cbcast::Packet>),
    ) {
        let mut inner = Effects::default();
        step(&mut self.causal, &mut inner);
        inner.delivers.iter().for_each(|message| self.delivered[message.from.0 as usize] += 1);
        out.delivers.extend(inner.delivers);
        let point = self.point;
        out.sends.extend(inner.sends.into_iter().map(|(to, packet)| (to, Packet::Causal(point, packet))));
    }

    /// Takes the causal packets from before the next point, in the order of their channels.
    fn take_causal(&mut self, out: &mut Effects<Packet>) {
        let point = self.point;
        let (due, early) = std::mem::take(&mut self.early).into_iter().partition(|(_, at, _)| *at <= point);
        self.early = early;
        let due: Vec<(Rank, u64, cbcast::Packet)> = due;
        for (from, _, packet) in due {
            self.with_causal(out, |causal, out| causal.receive(from, packet, out));
        }
    }

    /// Casts nothing more, and says how much that was.
    fn flush(&mut self, out: &mut Effects<Packet>) {
        self.is_blocked = true;
        self.tell(COORDINATOR, Packet::Flushed(self.delivered[self.me.0 as usize]), out);
    }

    /// Delivers what was committed, once as much of everybody is delivered as it says.
    fn deliver_committed(&mut self, out: &mut Effects<Packet>) {
        let Some((message, cut)) = &self.committed else { return };
        if self.delivered != *cut {
            return;
        }
        out.delivers.push(*message);
        self.asked = self.asked.filter(|asked| asked != message);
        (self.committed, self.is_blocked, self.point) = (None, false, self.point + 1);
        self.take_causal(out);
        if std::mem::take(&mut self.block_waits) {
            self.flush(out);
        }
        self.go_on(out);
    }

    /// The coordinator begins with the next message, if none is under way.
    fn begin(&mut self, out: &mut Effects<Packet>) {
        if self.coordinator.flushing.is_some() {
            return;
        }
        let Some(message) = self.coordinator.waiting.pop_front() else { return };
        self.coordinator.flushing = Some((message, vec![None; self.members]));
        out.send_all(self.me, self.members, &Packet::Block);
        self.receive(self.me, Packet::Block, out);
    }

    /// A member casts nothing more; when that is true of all, the message is committed.
    fn flushed(&mut self, from: Rank, count: u32, out: &mut Effects<Packet>) {
        let Some((message, counts)) = &mut self.coordinator.flushing else { return };
        counts[from.0 as usize] = Some(count);
        let Some(cut) = counts.iter().copied().collect::<Option<Vec<u32>>>() else { return };
        let commit = Packet::Commit(*message, cut);
        self.coordinator.flushing = None;
        out.send_all(self.me, self.members, &commit);
        self.receive(self.me, commit, out);
        self.begin(out);
    }
}

/// Who takes the messages one by one.
const COORDINATOR: Rank = Rank(0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_comes_before_and_what_was_held_back_after() {
        let mut members: Vec<Gbcast> = (0..2).map(|rank| Gbcast::new(Rank(rank), 2)).collect();
        let message = |from, number| Message { from: Rank(from), number };
        let (mut at_0, mut at_1) = <(Effects<_>, Effects<_>)>::default();
        members[1].cast(message(1, 0), Order::Causal, &mut at_1);
        members[0].cast(message(0, 0), Order::Total, &mut at_0);
        let block = at_0.sends.remove(0).1;
        members[1].receive(Rank(0), block, &mut at_1);
        members[1].cast(message(1, 1), Order::Causal, &mut at_1);
        assert_eq!(at_1.delivers, [message(1, 0)], "the second one is held back");

        let (before, flushed) = (at_1.sends.remove(0).1, at_1.sends.remove(0).1);
        assert_eq!(flushed, Packet::Flushed(1));
        members[0].receive(Rank(1), before, &mut at_0);
        members[0].receive(Rank(1), flushed, &mut at_0);
        assert_eq!(at_0.delivers, [message(1, 0), message(0, 0)]);

        let is_commit = |(_, packet): &(Rank, Packet)| matches!(packet, Packet::Commit(..));
        let commit = at_0.sends.iter().find(|sent| is_commit(sent)).unwrap().1.clone();
        members[1].receive(Rank(0), commit, &mut at_1);
        assert_eq!(at_1.delivers, [message(1, 0), message(0, 0), message(1, 1)]);
    }
}
