//! What was delivered to a member: hashed as `poll` handed it over, and checked against what the order promises.
//!
//! Each publisher's messages are hashed by themselves. In total order all of them are hashed once more, as one sequence. And
//! where there are several publishers, each message says what its publisher had been handed before: in causal and total order, the
//! member must have been handed all of that.

use hdrhistogram::Histogram;

use super::api::{Clock, Endpoint, Event, MonotonicClock, Order, View};
use super::fault::{Cheat, DeliveryFault, Taken};
use super::frame::Frame;
use super::lines::{Latency, Received};
use super::member::Stopped;
use crate::digest::Digester;

/// What was delivered.
pub(super) struct Tally {
    order: Order,
    /// My place among the publishers, if I am one.
    me: Option<u16>,
    streams: Vec<Digester>,
    sequence: Digester,
    /// Messages of each publisher that were taken; of my own, those that I cast.
    handed: Vec<u32>,
    ended: Vec<bool>,
    ended_ns: Option<u64>,
    delivered: u64,
    /// What came from publishers other than me: messages and ends.
    heard: u64,
    latency: Histogram<u64>,
    cheat: Option<Cheat>,
    /// What the last message of each publisher said.
    told: Vec<Vec<u32>>,
    dependent: u64,
    violations: u64,
    violation: Option<String>,
    trouble: Option<String>,
    /// All members by their places, and places by rank in the present view.
    members: Vec<Endpoint>,
    places: Vec<u16>,
}

impl Tally {
    /// For a member that so many publishers cast to in this order; `me` is its own place among them.
    pub(super) fn new(
        order: Order,
        publishers: usize,
        me: Option<u16>,
        fault: Option<DeliveryFault>,
    ) -> Result<Self, Stopped> {
        let mut ended = vec![false; publishers];
        if let Some(me) = me
            && order != Order::Total
        {
            // My own stream does not come back to me.
            ended[usize::from(me)] = true;
        }
        Ok(Self {
            order,
            me,
            streams: (0..publishers).map(|_| Digester::default()).collect(),
            sequence: Digester::default(),
            handed: vec![0; publishers],
            ended,
            ended_ns: None,
            delivered: 0,
            heard: 0,
            latency: Histogram::new_with_bounds(1, LONGEST_LATENCY_NS, 3)?,
            cheat: fault.map(|fault| Cheat::new(fault, order, publishers)),
            told: vec![vec![0; publishers]; publishers],
            dependent: 0,
            violations: 0,
            violation: None,
            trouble: None,
            members: Vec::new(),
            places: Vec::new(),
        })
    }

    /// Takes what `poll` hands over.
    pub(super) fn handle(&mut self, event: &Event<'_>) {
        match event {
            Event::Deliver(message) => {
                let from = self.place(message.from().0);
                self.deliver(from, message.bytes(), MonotonicClock.now().0);
            }
            Event::View(view) => self.rank(view),
            Event::Excluded(view) => self.trouble = Some(format!("the others went on without me, to {view}")),
            _ => {}
        }
    }

    /// Ranks are those of this view from now on; `members` are all, by their places.
    pub(super) fn among(self, members: Vec<Endpoint>, view: &View) -> Self {
        let mut tally = Self { members, ..self };
        tally.rank(view);
        tally
    }

    fn rank(&mut self, view: &View) {
        let place = |endpoint| self.members.iter().position(|member| *member == endpoint);
        let places =
            view.members().iter().map(|member| place(member.endpoint).map_or(u16::MAX, |at| at as u16));
        self.places = places.collect();
    }

    /// The place of who has this rank: publishers come first.
    pub(super) fn place(&self, rank: u16) -> u16 {
        self.places.get(usize::from(rank)).copied().unwrap_or(rank)
    }

    /// I have cast a message of my own; in total order it counts when it comes back.
    pub(super) fn cast(&mut self, message: &[u8]) {
        let Some(me) = self.me.map(usize::from) else { return };
        self.handed[me] += 1;
        if self.order != Order::Total && self.streams.len() > 1 {
            self.streams[me].add(message);
        }
    }

    /// How many messages of each publisher were handed to me, or cast by me.
    pub(super) fn handed(&self) -> &[u32] {
        &self.handed
    }

    /// Messages that were delivered.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// How much has come from other publishers, messages and ends.
    pub(super) fn heard(&self) -> u64 {
        self.heard
    }

    /// Whether another publisher may still cast something.
    pub(super) fn awaits_others(&self) -> bool {
        (0..).zip(&self.ended).any(|(publisher, ended)| Some(publisher) != self.me && !ended)
    }

    /// Whether every stream that comes to me has come to its end.
    pub(super) fn is_complete(&self) -> bool {
        self.ended.iter().all(|ended| *ended)
    }

    /// What cannot be, if there was any.
    pub(super) fn check(&mut self) -> Result<(), Stopped> {
        self.trouble.take().map_or(Ok(()), |why| Err(Stopped::Failed(why)))
    }

    fn deliver(&mut self, from: u16, bytes: &[u8], now_ns: u64) {
        let frame = Frame::read(bytes, self.streams.len());
        self.heard += u64::from(Some(from) != self.me);
        match (self.ended.get(usize::from(from)), frame) {
            (None, _) => self.trouble = Some(format!("a message of r{from}, who publishes nothing")),
            (Some(true), _) => self.trouble = Some("a message after the end of the stream".to_owned()),
            (_, None) => self.trouble = Some("a message that no publisher wrote".to_owned()),
            (_, Some(Frame::End { .. })) => self.end(from, now_ns),
            (_, Some(Frame::Data { scheduled_ns, handed, message })) => {
                self.latency.saturating_record(now_ns.saturating_sub(scheduled_ns));
                self.delivered += 1;
                self.pass(Taken { from, handed, message });
            }
        }
    }

    fn end(&mut self, from: u16, now_ns: u64) {
        self.ended[usize::from(from)] = true;
        if !self.is_complete() {
            return;
        }
        self.ended_ns = Some(now_ns);
        if let Some(mut cheat) = self.cheat.take() {
            cheat.finish(|taken| self.take(taken));
        }
    }

    fn pass(&mut self, delivered: Taken<'_>) {
        let Some(mut cheat) = self.cheat.take() else { return self.take(delivered) };
        let before = self.handed[usize::from(delivered.from)];
        cheat.strike(delivered, before, |taken| self.take(taken));
        self.cheat = Some(cheat);
    }

    fn take(&mut self, taken: Taken<'_>) {
        let Taken { from, handed, message } = taken;
        self.streams[usize::from(from)].add(message);
        if self.order == Order::Total {
            self.sequence.add_of(from, message);
        }
        let mut depends = false;
        for (other, seen) in (0..).zip(handed.counts()).filter(|(other, _)| *other != from) {
            let told = &mut self.told[usize::from(from)][usize::from(other)];
            depends |= seen > std::mem::replace(told, seen);
            let here = self.handed[usize::from(other)];
            if self.order.spans_senders() && Some(other) != self.me && here < seen {
                self.violations += 1;
                let number = self.handed[usize::from(from)] + 1;
                self.violation.get_or_insert_with(|| {
                    format!(
                        "message {number} of p{} needs {seen} of p{}, {here} were there",
                        from + 1,
                        other + 1
                    )
                });
            }
        }
        self.dependent += u64::from(depends);
        if Some(from) != self.me {
            self.handed[usize::from(from)] += 1;
        }
    }

    /// What the parent judges, once every end was delivered.
    pub(super) fn received(&self) -> Option<Received> {
        let at = |quantile| self.latency.value_at_quantile(quantile);
        Some(Received {
            ended_ns: self.ended_ns?,
            delivered: self.delivered,
            streams: self.streams.iter().map(Digester::digest).collect(),
            sequence: (self.order == Order::Total).then(|| self.sequence.digest()),
            dependent: self.dependent,
            violations: self.violations,
            violation: self.violation.clone(),
            latency_ns: Latency { p50: at(0.5), p99: at(0.99), p999: at(0.999) },
        })
    }
}

const LONGEST_LATENCY_NS: u64 = 3_600 * 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::super::fault::FaultName;
    use super::super::frame::{write_data, write_end};
    use super::*;

    /// A message of one of two publishers, and what it had been handed.
    type Cast<'a> = (u16, [u32; 2], &'a [u8]);

    fn tally_of(order: Order, casts: &[Cast<'_>], fault: Option<DeliveryFault>) -> Tally {
        let mut tally = Tally::new(order, 2, None, fault).expect("fixed bounds");
        let mut frame = Vec::new();
        for (from, handed, message) in casts {
            write_data(&mut frame, 100, handed, message);
            tally.deliver(*from, &frame, 1_100);
        }
        for from in 0..2 {
            write_end(&mut frame, 0);
            tally.deliver(from, &frame, 2_000);
        }
        tally
    }

    fn received(order: Order, casts: &[Cast<'_>], fault: Option<DeliveryFault>) -> Received {
        tally_of(order, casts, fault).received().expect("ended")
    }

    const CAUSE: Cast<'_> = (0, [0, 0], b"cause");
    const EFFECT: Cast<'_> = (1, [1, 0], b"effect");

    #[test]
    fn what_was_delivered_is_what_is_hashed() {
        let received = received(Order::Fifo, &[CAUSE, (0, [1, 0], b"b"), EFFECT], None);
        let mut digester = Digester::default();
        [&b"cause"[..], b"b"].iter().for_each(|message| digester.add(message));
        assert_eq!((&received.streams[0], received.ended_ns), (&digester.digest(), 2_000));
        assert_eq!((received.streams[1].messages, received.sequence), (1, None));
        assert_eq!(received.latency_ns, Latency { p50: 1_000, p99: 1_000, p999: 1_000 });
    }

    #[test]
    fn an_effect_before_its_cause_is_seen_where_causes_count() {
        let both = |order, casts: [Cast<'_>; 2]| {
            let received = received(order, &casts, None);
            (received.violations, received.dependent)
        };
        assert_eq!(both(Order::Causal, [CAUSE, EFFECT]), (0, 1));
        assert_eq!(both(Order::Causal, [EFFECT, CAUSE]), (1, 1));
        assert_eq!(both(Order::Total, [EFFECT, CAUSE]), (1, 1));
        assert_eq!(both(Order::Fifo, [EFFECT, CAUSE]), (0, 1));
    }

    #[test]
    fn the_sequence_is_that_of_all_together() {
        let apart = [CAUSE, (1, [0, 0], b"apart")];
        let [one, other] =
            [[apart[0], apart[1]], [apart[1], apart[0]]].map(|casts| received(Order::Total, &casts, None));
        assert_eq!(one.streams, other.streams);
        assert_ne!(one.sequence, other.sequence);
    }

    #[test]
    fn every_fault_shows() {
        let casts = [CAUSE, (0, [1, 0], b"more"), EFFECT, (1, [2, 1], b"last")];
        let struck = |order, name, at| received(order, &casts, Some(DeliveryFault { name, at }));
        let truth = received(Order::Total, &casts, None);
        for name in [FaultName::FlipDelivered, FaultName::DropDelivered, FaultName::SwapDelivered] {
            assert_ne!(struck(Order::Total, name, 1).sequence, truth.sequence);
            assert_ne!(struck(Order::Fifo, name, 0).streams, truth.streams);
        }
        let swapped = struck(Order::Causal, FaultName::SwapDelivered, 0);
        assert_eq!((swapped.streams, swapped.violations), (truth.streams, 1), "only causality is broken");
    }

    #[test]
    fn what_does_not_belong_is_trouble() {
        let mut data = Vec::new();
        write_data(&mut data, 0, &[0, 0], b"a");
        let is_trouble = |from, bytes: &[u8], ended| {
            let mut tally = if ended {
                tally_of(Order::Fifo, &[], None)
            } else {
                Tally::new(Order::Fifo, 2, None, None).expect("fixed bounds")
            };
            tally.deliver(from, bytes, 0);
            tally.check().is_err()
        };
        assert!(is_trouble(2, &data, false) && is_trouble(0, &data, true) && is_trouble(0, b"?", false));
        assert!(!is_trouble(0, &data, false));
    }

    #[test]
    fn a_publisher_awaits_its_own_stream_only_where_it_comes_back() {
        for (order, own) in [(Order::Fifo, 1), (Order::Causal, 1), (Order::Total, 0)] {
            let mut tally = Tally::new(order, 2, Some(0), None).expect("fixed bounds");
            tally.cast(b"own");
            assert_eq!((tally.handed()[0], tally.streams[0].digest().messages), (1, own));
            let mut end = Vec::new();
            write_end(&mut end, 0);
            tally.deliver(1, &end, 0);
            assert_eq!(tally.is_complete(), order != Order::Total);
            assert_eq!((tally.heard(), tally.awaits_others()), (1, false));
        }
    }
}
