//! The sender's window: who has acknowledged what, and how much may be under way.
//!
//! Two bounds hold. The *log* is bounded in blocks: a block is kept until every other member has delivered it, and when
//! the log is full `cast` is refused with the name of whoever holds it. What is *under way* is bounded in true-size
//! bytes: sent and not yet known to be received by all, it must fit in the smallest receive buffer, or the kernel drops it.

use crate::id::{Rank, Seq};
use crate::medium::true_size;
use crate::reliable::sender::Blame;
use crate::time::Instant;
use std::time::Duration;

/// Why a cast was not accepted. Nothing of it was sent; the caller may try again, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The window is full.
    #[error("the window is full: {held_by} has not delivered {behind} blocks, the oldest for {age:?} now")]
    Full {
        /// The member that has delivered least.
        held_by: Rank,
        /// Blocks that it has not delivered.
        behind: u64,
        /// How long the oldest block has been waited for.
        age: Duration,
    },
    /// The window is full of what the pace holds back; nobody else does.
    #[error("the window is full: the pace lets the next block go in {wait:?}")]
    Paced {
        /// How long until then.
        wait: Duration,
    },
    /// The message can never fit: it is longer than half the window, or than a block where it is claimed in place.
    #[error("a message of {len} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Bytes of the message.
        len: usize,
        /// The most bytes that a message may have.
        limit: usize,
    },
    /// A block has no room for what such an order needs among so many members.
    #[error(
        "a block has no room for the order of a cast among so many members: {needed} bytes, at most {limit}"
    )]
    Unordered {
        /// Bytes that the frames of order may take.
        needed: usize,
        /// Bytes of a block that they may have.
        limit: usize,
    },
    /// There is no view to send it in: not yet, or I am a reader.
    #[error("there is no view to send it in")]
    NoView,
    /// The view is about to change: what is cast goes into the next one.
    #[error("the view is changing: cast again in the next one")]
    ViewChanging,
    /// This member has said goodbye.
    #[error("this member has said goodbye")]
    Left,
    /// It cannot be sent to alone: it is no other member, or has said goodbye.
    #[error("{0} is no other member that is still there")]
    NoMember(Rank),
}

impl Refused {
    /// Whether nothing is wrong with the message: it is tried again, in vain where I leave.
    #[must_use]
    pub const fn is_for_now(&self) -> bool {
        matches!(
            self,
            Self::Full { .. } | Self::Paced { .. } | Self::ViewChanging | Self::NoView | Self::Left
        )
    }
}

/// What the other members have said of my stream, and what is under way to them.
#[derive(Debug)]
pub(super) struct Flow {
    me: Rank,
    acks: Vec<Ack>,
    /// Minimum over the other members: all hold, and all have delivered, everything before it.
    stable: Seq,
    delivered: Seq,
    /// All members that are not suspected hold everything before it: what they have not taken is under way.
    taken: Seq,
    /// Somebody is suspected.
    suspects: bool,
    start: Seq,
    slowest: Rank,
    moved_at: Instant,
    /// True-size bytes sent up to and including each block, by ring slot, and in all.
    charged: Vec<u64>,
    total: u64,
    /// The most true-size bytes under way, before they are shared with other senders.
    limit: u64,
    /// Whether every receiver takes a run in one buffer, or at least one is charged block by block.
    coalesced: bool,
    blame: Blame,
}

#[derive(Debug, Clone, Copy)]
struct Ack {
    received: Seq,
    delivered: Seq,
    /// It has said goodbye: it gates nobody.
    is_gone: bool,
    /// Nothing is under way to it. It still keeps the log from being freed: it may be trusted again.
    is_suspected: bool,
    /// Casts that were refused because of it.
    refusals: u64,
}

impl Flow {
    /// For a log of `capacity` blocks, sent by `me` to the other `members - 1`, the smallest of whose receive buffers takes
    /// `receive_buffer` true-size bytes.
    pub(super) fn new(
        me: Rank,
        members: usize,
        capacity: usize,
        start: Seq,
        receive_buffer: usize,
        coalesced: bool,
    ) -> Self {
        // Before the first ack it is any other, and where there is none, I.
        let slowest = if members == 1 { me } else { Rank(u16::from(me.0 == 0)) };
        Self {
            me,
            acks: vec![
                Ack {
                    received: start,
                    delivered: start,
                    is_gone: false,
                    is_suspected: false,
                    refusals: 0
                };
                members
            ],
            stable: start,
            delivered: start,
            taken: start,
            suspects: false,
            start,
            slowest,
            moved_at: Instant::default(),
            charged: vec![0; capacity],
            total: 0,
            // A quarter stays free for repairs, control and what the model of true sizes does not see.
            limit: receive_buffer as u64 * 3 / 4,
            coalesced,
            blame: Blame::new(members),
        }
    }

    /// All other members hold everything before it.
    pub(super) fn stable(&self) -> Seq {
        self.stable
    }

    /// All other members have delivered everything before it.
    pub(super) fn delivered(&self) -> Seq {
        self.delivered
    }

    /// What one member has received contiguously.
    pub(super) fn received_by(&self, rank: Rank) -> Seq {
        self.acks[rank.0 as usize].received
    }

    /// What one member has delivered.
    pub(super) fn delivered_by(&self, rank: Rank) -> Seq {
        self.acks[rank.0 as usize].delivered
    }

    /// Casts that were refused because `rank` held the log.
    pub(super) fn refusals(&self, rank: Rank) -> u64 {
        self.acks[rank.0 as usize].refusals
    }

    /// The member that has delivered least, and since when nothing has moved.
    pub(super) fn slowest(&self) -> (Rank, Instant) {
        (self.slowest, self.moved_at)
    }

    /// Takes an ack of `rank`; acks are monotone, an old one changes nothing. `sent` bounds what can be true.
    ///
    /// Returns whether stability or delivery moved.
    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        rank: Rank,
        received: Seq,
        delivered: Seq,
        sent: Seq,
    ) -> bool {
        if received > sent || rank == self.me {
            return false;
        }
        let Some(ack) = self.acks.get_mut(rank.0 as usize) else { return false };
        let before = *ack;
        ack.received = ack.received.max(received);
        ack.delivered = ack.delivered.max(delivered);
        // Only the member that held a minimum back can move it.
        let is_minimum = before.received == self.stable
            || before.delivered == self.delivered
            || before.received == self.taken;
        if !is_minimum {
            return false;
        }
        self.recompute(now, sent)
    }

    /// A member has said goodbye: nobody waits for it. Returns whether stability or delivery moved.
    pub(super) fn excuse(&mut self, now: Instant, rank: Rank, sent: Seq) -> bool {
        let Some(ack) = self.acks.get_mut(rank.0 as usize) else { return false };
        ack.is_gone = true;
        self.recompute(now, sent)
    }

    /// Nothing is under way to `rank` while it is suspected.
    pub(super) fn suspect(&mut self, now: Instant, rank: Rank, is_suspected: bool, sent: Seq) {
        if let Some(ack) = self.acks.get_mut(rank.0 as usize) {
            ack.is_suspected = is_suspected;
            self.suspects = self.acks.iter().any(|ack| ack.is_suspected);
            self.recompute(now, sent);
        }
    }

    /// With nobody who gates, what is sent is at once received by all.
    pub(super) fn settle_alone(&mut self, now: Instant, sent: Seq) -> bool {
        self.gating().next().is_none() && self.recompute(now, sent)
    }

    /// The other members that have not said goodbye.
    pub(super) fn gating(&self) -> impl Iterator<Item = Rank> + '_ {
        self.gating_acks().map(|(rank, _)| rank)
    }

    fn gating_acks(&self) -> impl Iterator<Item = (Rank, &Ack)> + '_ {
        let acks = self.acks.iter().enumerate().map(|(rank, ack)| (Rank(rank as u16), ack));
        acks.filter(|(rank, ack)| *rank != self.me && !ack.is_gone)
    }

    /// Charges a run that is about to be sent, the last of whose blocks has `last_bytes` bytes.
    pub(super) fn charge(&mut self, first: Seq, count: u32, stride: usize, last_bytes: usize) {
        let mask = self.charged.len() as u64 - 1;
        let size = self.run_size(count, stride, last_bytes);
        for at in 0..count {
            // A coalesced run leaves the socket as a whole, other blocks leave it one by one.
            let charge =
                if self.coalesced || at + 1 == count { size } else { self.run_size(at + 1, stride, stride) };
            self.charged[(first.plus(u64::from(at)).0 & mask) as usize] = self.total + charge;
        }
        self.total += size;
    }

    /// How many more true-size bytes may be sent, when `senders` share the receivers' buffers.
    ///
    /// At least one run may always be under way, whatever its size.
    pub(super) fn allowance(&self, senders: usize) -> u64 {
        let under_way = self.total - self.received_charge();
        if under_way == 0 { u64::MAX } else { (self.limit / senders.max(1) as u64).saturating_sub(under_way) }
    }

    /// The most true-size bytes under way, before they are shared with other senders.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Changes it.
    pub(super) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// True-size bytes that a run costs the receiver that is charged most.
    pub(super) fn run_size(&self, count: u32, stride: usize, last_bytes: usize) -> u64 {
        let full = count as usize - 1;
        let size = if self.coalesced {
            true_size(full * stride + last_bytes)
        } else {
            full * true_size(stride) + true_size(last_bytes)
        };
        size as u64
    }

    /// The refusal of a cast for which the log has no room, since so many blocks are kept: held by the slowest, or by `instead`.
    pub(super) fn full(&mut self, now: Instant, instead: Option<Rank>, behind: u64) -> Refused {
        let held_by = instead.unwrap_or(self.slowest);
        self.acks[held_by.0 as usize].refusals += 1;
        self.blame.refuse(now, held_by);
        Refused::Full { held_by, behind, age: now.since(self.moved_at) }
    }

    /// A cast has found room in a block that was not open yet.
    #[inline]
    pub(super) fn accept(&mut self, now: Instant) {
        self.blame.accept(now);
    }

    /// Whom refusals are put down to.
    pub(super) fn blame(&self) -> &Blame {
        &self.blame
    }

    /// The clock of [`Refused::Full::age`] starts when something is outstanding again.
    pub(super) fn begin(&mut self, now: Instant) {
        self.moved_at = now;
    }

    fn received_charge(&self) -> u64 {
        let mask = self.charged.len() as u64 - 1;
        if self.taken == self.start { 0 } else { self.charged[((self.taken.0 - 1) & mask) as usize] }
    }

    #[cold]
    fn taken_by_trusted(&self, sent: Seq) -> Seq {
        let trusted = self.gating_acks().filter(|(_, ack)| !ack.is_suspected);
        trusted.map(|(_, ack)| ack.received).min().unwrap_or(sent)
    }

    fn recompute(&mut self, now: Instant, sent: Seq) -> bool {
        let (mut stable, mut delivered, mut slowest) = (sent, sent, self.me);
        for (rank, ack) in self.gating_acks() {
            stable = stable.min(ack.received);
            if slowest == self.me || ack.delivered < delivered {
                (delivered, slowest) = (ack.delivered, rank);
            }
        }
        let moved = stable > self.stable || delivered > self.delivered;
        if delivered > self.delivered {
            self.moved_at = now;
        }
        (self.stable, self.delivered, self.slowest) = (stable, delivered, slowest);
        self.taken = if self.suspects { self.taken_by_trusted(sent) } else { stable };
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_member_sets_the_pace_and_is_named() {
        let mut flow = Flow::new(Rank(0), 3, 16, Seq(0), 1 << 20, true);
        assert!(!flow.on_ack(Instant(5), Rank(1), Seq(9), Seq(9), Seq(10)), "rank 2 still holds");
        assert!(flow.on_ack(Instant(7), Rank(2), Seq(8), Seq(4), Seq(10)));
        assert_eq!((flow.stable(), flow.delivered()), (Seq(8), Seq(4)));
        assert_eq!(
            flow.full(Instant(17), None, 6),
            Refused::Full { held_by: Rank(2), behind: 6, age: Duration::from_nanos(10) }
        );
    }

    #[test]
    fn refusals_are_counted_by_who_is_named() {
        let mut flow = Flow::new(Rank(0), 3, 16, Seq(0), 1 << 20, true);
        flow.on_ack(Instant(5), Rank(1), Seq(9), Seq(9), Seq(10));
        flow.full(Instant(6), None, 1);
        flow.full(Instant(7), None, 1);
        flow.full(Instant(8), Some(Rank(0)), 1);
        assert_eq!([0, 1, 2].map(|rank| flow.refusals(Rank(rank))), [1, 0, 2]);
        let mut alone = Flow::new(Rank(0), 1, 16, Seq(0), 1 << 20, true);
        let refused = alone.full(Instant(9), None, 1);
        assert!(matches!(refused, Refused::Full { held_by: Rank(0), .. }), "{refused}");
    }

    #[test]
    fn who_has_said_goodbye_gates_nobody() {
        let mut flow = Flow::new(Rank(0), 3, 16, Seq(0), 1 << 20, true);
        flow.on_ack(Instant(1), Rank(1), Seq(9), Seq(9), Seq(10));
        assert!(flow.excuse(Instant(2), Rank(2), Seq(10)));
        assert_eq!((flow.stable(), flow.delivered()), (Seq(9), Seq(9)));
        assert!(flow.gating().eq([Rank(1)]));
        assert!(flow.excuse(Instant(3), Rank(1), Seq(10)));
        assert!(flow.settle_alone(Instant(4), Seq(12)));
        assert_eq!(flow.delivered(), Seq(12));
    }

    #[test]
    fn nothing_is_under_way_to_who_is_suspected_and_the_log_keeps_what_it_lacks() {
        let mut flow = Flow::new(Rank(0), 3, 64, Seq(0), 400_000, true);
        flow.charge(Seq(0), 46, 1408, 1408);
        flow.on_ack(Instant(1), Rank(1), Seq(46), Seq(46), Seq(46));
        assert!(flow.allowance(1) < 300_000, "rank 2 has not taken it");
        flow.suspect(Instant(2), Rank(2), true, Seq(46));
        assert_eq!(flow.allowance(1), u64::MAX);
        assert_eq!((flow.stable(), flow.delivered()), (Seq(0), Seq(0)));
        flow.suspect(Instant(3), Rank(2), false, Seq(46));
        assert!(flow.allowance(1) < 300_000, "it is trusted again");
    }

    #[test]
    fn old_and_impossible_acks_change_nothing() {
        let mut flow = Flow::new(Rank(0), 2, 16, Seq(0), 1 << 20, true);
        assert!(flow.on_ack(Instant(1), Rank(1), Seq(5), Seq(5), Seq(5)));
        assert!(!flow.on_ack(Instant(2), Rank(1), Seq(3), Seq(2), Seq(5)), "old");
        assert!(!flow.on_ack(Instant(2), Rank(1), Seq(6), Seq(6), Seq(5)), "never sent");
        assert!(!flow.on_ack(Instant(2), Rank(0), Seq(5), Seq(5), Seq(5)), "my own");
        assert!(!flow.on_ack(Instant(2), Rank(9), Seq(5), Seq(5), Seq(5)), "no member");
        assert_eq!(flow.stable(), Seq(5));
    }

    #[test]
    fn what_is_under_way_is_charged_by_true_size_until_all_have_it() {
        let mut flow = Flow::new(Rank(1), 2, 64, Seq(0), 4 * 100_000, true);
        assert_eq!(flow.allowance(1), u64::MAX, "one run is always allowed");
        flow.charge(Seq(0), 46, 1408, 1408);
        let run = true_size(46 * 1408) as u64;
        assert_eq!(flow.allowance(1), 300_000 - run);
        assert_eq!(flow.allowance(3), 100_000 - run);
        flow.on_ack(Instant(1), Rank(0), Seq(45), Seq(0), Seq(46));
        assert_eq!(flow.allowance(1), u64::MAX, "its buffer has been taken from the socket");
        let mut plain = Flow::new(Rank(1), 2, 64, Seq(0), 400_000, false);
        plain.charge(Seq(0), 46, 1408, 100);
        let (whole, last) = (true_size(1408) as u64, true_size(100) as u64);
        assert_eq!(plain.allowance(1), 300_000 - 45 * whole - last);
        plain.on_ack(Instant(1), Rank(0), Seq(1), Seq(0), Seq(46));
        assert_eq!(plain.allowance(1), 300_000 - 44 * whole - last, "the others still lie in the socket");
    }
}
