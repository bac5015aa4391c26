//! What a session tells the others beside its blocks: NAKs, heartbeats, acks, goodbyes.

use super::super::layer::Layer;
use super::super::stream::Stream;
use super::{Session, Timer};
use crate::id::Rank;
use crate::mutated;
use crate::protocol::Target;
use crate::time::Instant;
use crate::wire::Goodbye;

impl<L: Layer> Session<L> {
    /// Sends the NAKs that are due, and finds the next time to look.
    pub(super) fn send_naks(&mut self, now: Instant) {
        self.timers[Timer::Nak as usize] = None;
        for rank in 0..self.streams.len() {
            let Some(stream) = &mut self.streams[rank] else { continue };
            // A single receiver asks the sender alone; several listen to each other.
            let to = match self.config.members.len() {
                0..=2 => Target::One(self.config.members[rank].endpoint),
                _ => self.config.to,
            };
            if let Some(ask) = stream.nak_due(now) {
                let holder = self.flush.holder(Rank(rank as u16), ask.attempt, self.config.me);
                let to =
                    holder.map_or(to, |holder| Target::One(self.config.members[holder.0 as usize].endpoint));
                let asked = stream.ask(now, ask, to, &mut self.control, &mut self.rng);
                self.counters.naks_sent += u64::from(asked);
            }
            let next = stream.nak_timeout();
            self.arm(Timer::Nak, next);
        }
    }

    /// Counts the senders that share the receivers' buffers: those heard since it was last counted, at least for a while.
    pub(super) fn count_senders(&mut self, now: Instant) {
        if now.since_ns(self.counted_at) < self.config.tuning.heartbeat_max_ns {
            return;
        }
        if self.counted_at == Instant::default() {
            // Nobody is silent before the view began.
            self.heard_at.iter_mut().for_each(|at| *at = now);
        }
        self.counted_at = now;
        self.sender.set_senders(1 + self.heard.len());
        self.heard.clear();
    }

    /// Sends a heartbeat when nothing else was sent for its time, and finds the next time to look.
    pub(super) fn send_heartbeat(&mut self, now: Instant) {
        if self.departures.is_leaving() && (self.sender.is_settled() || mutated!(LeaveUnsettled)) {
            return self.say_goodbye(now);
        }
        let tuning = &self.config.tuning;
        let waiting = self.sender.is_waiting_for_acks();
        let wait_ns = match (self.sender.has_news(), waiting) {
            // What has become stable frees the receivers' buffers: they hear of it soon.
            (true, _) => tuning.heartbeat_ns,
            (false, true) => self.heartbeat_wait_ns,
            (false, false) => tuning.heartbeat_max_ns,
        };
        let mut due = self.sender.last_sent_at().plus_ns(wait_ns);
        if due <= now {
            let (heartbeat, firm) = (self.sender.position(), self.sender.look_what_is_firm());
            let to = self.config.to;
            let queued = self.control.push(to, |writer| {
                writer.heartbeat(heartbeat);
                firm.into_iter().for_each(|firm| _ = writer.firm(firm));
            });
            if queued {
                self.sender.heartbeat_sent(now, heartbeat, firm);
            }
            self.heartbeat_wait_ns = (wait_ns * 2).min(tuning.heartbeat_max_ns);
            due = now.plus_ns(if waiting { self.heartbeat_wait_ns } else { tuning.heartbeat_max_ns });
        }
        self.timers[Timer::Heartbeat as usize] = Some(due);
    }

    /// Says it a few times, since it is not acknowledged.
    pub(super) fn say_goodbye(&mut self, now: Instant) {
        self.sender.retire();
        let (heartbeat, to) = (self.sender.position(), self.config.to);
        let queued = self.control.push(to, |writer| {
            writer.goodbye(Goodbye { end: heartbeat.next });
            writer.heartbeat(heartbeat);
        });
        if queued {
            self.departures.said();
        }
        let wait_ns = self.config.tuning.heartbeat_ns;
        self.timers[Timer::Heartbeat as usize] = (!self.has_left()).then(|| now.plus_ns(wait_ns));
    }

    /// Sends the acks that can wait no longer, and finds the next time to look.
    pub(super) fn send_acks(&mut self, now: Instant) {
        let mut next = None;
        let (mut due_ranks, mut last) = (0, Rank(0));
        for rank in self.news.iter() {
            let Some(stream) = &mut self.streams[rank.0 as usize] else { continue };
            match stream.update_ack(now) {
                Some(due) if due <= now => (due_ranks, last) = (due_ranks + 1, rank),
                Some(due) => next = Some(next.map_or(due, |before: Instant| before.min(due))),
                None => {}
            }
        }
        self.timers[Timer::Ack as usize] = next;
        if due_ranks == 0 {
            self.news.retain(|rank| {
                self.streams[rank.0 as usize].as_mut().is_some_and(|s| s.update_ack(now).is_some())
            });
            return;
        }
        let to = match due_ranks {
            1 => Target::One(self.config.members[last.0 as usize].endpoint),
            _ => self.config.to,
        };
        let only = (due_ranks == 1).then_some(last);
        let (streams, mut written) = (&self.streams, 0);
        let told = |rank: &Rank| only.is_none_or(|only| only == *rank);
        let queued = self.control.push(to, |writer| {
            let entries = self.news.iter().filter(told).filter_map(|rank| streams[rank.0 as usize].as_ref());
            written = writer.status(entries.map(Stream::status));
        });
        if queued {
            self.counters.acks_sent += 1;
            self.reported(written, only);
        }
    }

    /// The first `count` streams of which there was news (or the `only` one) have been acknowledged.
    pub(super) fn reported(&mut self, count: usize, only: Option<Rank>) {
        let (streams, mut left) = (&mut self.streams, count);
        self.news.retain(|rank| {
            if left == 0 || only.is_some_and(|only| only != rank) {
                return true;
            }
            left -= 1;
            if let Some(stream) = &mut streams[rank.0 as usize] {
                stream.reported();
            }
            false
        });
    }
}
