//! A subscriber: hashes only what `poll` hands it, and stays after the end so that others can still be repaired.

use hdrhistogram::Histogram;

use super::api::{Clock, Event, MonotonicClock};
use super::fault::DeliveryFault;
use super::frame::Frame;
use super::lines::{Latency, Progress, Received, Say, Tell};
use super::member::{Seat, Stopped, WAIT};
use crate::digest::Digester;

/// Takes what is delivered until the parent says that it is over.
pub(super) fn subscribe(seat: &mut Seat<'_>, fault: Option<DeliveryFault>) -> Result<(), Stopped> {
    let mut tally = Tally::new(fault)?;
    let mut reported = false;
    loop {
        seat.node.poll_for(WAIT, |_, event| {
            if let Event::Deliver(message) = event {
                tally.deliver(message.from().0, message.bytes(), MonotonicClock.now().0);
            }
            Ok(())
        })?;
        if let Some(why) = tally.trouble.take() {
            return Err(Stopped::Failed(why));
        }
        if let (Some(received), false) = (tally.received(), reported) {
            seat.say(&Say::Ended(received))?;
            reported = true;
        }
        seat.report(|| Progress { messages: tally.delivered, held: None, ahead: false })?;
        match seat.told()? {
            None | Some(Tell::Start) => {}
            Some(Tell::Stop) => return seat.say_counted(),
            Some(tell) => return Err(Stopped::unexpected(&tell)),
        }
    }
}

/// What was delivered.
struct Tally {
    digester: Digester,
    delivered: u64,
    latency: Histogram<u64>,
    fault: Option<DeliveryFault>,
    /// Where a fault alters its copy of a message.
    copy: Vec<u8>,
    ended_ns: Option<u64>,
    trouble: Option<String>,
}

impl Tally {
    fn new(fault: Option<DeliveryFault>) -> Result<Self, Stopped> {
        let latency = Histogram::new_with_bounds(1, LONGEST_LATENCY_NS, 3)?;
        let digester = Digester::default();
        Ok(Self { digester, delivered: 0, latency, fault, copy: Vec::new(), ended_ns: None, trouble: None })
    }

    fn deliver(&mut self, from: u16, bytes: &[u8], now_ns: u64) {
        match Frame::read(bytes) {
            _ if from != 0 => self.trouble = Some(format!("a message of r{from}, who publishes nothing")),
            _ if self.ended_ns.is_some() => {
                self.trouble = Some("a message after the end of the stream".to_owned())
            }
            None => self.trouble = Some("a message that the publisher did not write".to_owned()),
            Some(Frame::End { .. }) => self.ended_ns = Some(now_ns),
            Some(Frame::Data { scheduled_ns, message }) => {
                self.latency.saturating_record(now_ns.saturating_sub(scheduled_ns));
                self.hash(message);
                self.delivered += 1;
            }
        }
    }

    fn hash(&mut self, message: &[u8]) {
        let message = match self.fault {
            None => Some(message),
            Some(fault) => fault.strike(self.delivered, message, &mut self.copy),
        };
        if let Some(message) = message {
            self.digester.add(message);
        }
    }

    /// What the parent compares, once the end was delivered.
    fn received(&self) -> Option<Received> {
        let at = |quantile| self.latency.value_at_quantile(quantile);
        Some(Received {
            ended_ns: self.ended_ns?,
            digest: self.digester.digest(),
            latency_ns: Latency { p50: at(0.5), p99: at(0.99), p999: at(0.999) },
        })
    }
}

const LONGEST_LATENCY_NS: u64 = 3_600 * 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::super::fault::FaultName;
    use super::*;

    fn framed(frame: Frame<'_>) -> Vec<u8> {
        let mut buffer = Vec::new();
        frame.write(&mut buffer);
        buffer
    }

    fn tally_of(messages: &[&[u8]], fault: Option<DeliveryFault>) -> Tally {
        let mut tally = Tally::new(fault).expect("fixed bounds");
        for message in messages {
            tally.deliver(0, &framed(Frame::Data { scheduled_ns: 100, message }), 1_100);
        }
        tally.deliver(0, &framed(Frame::End { messages: messages.len() as u64 }), 2_000);
        tally
    }

    #[test]
    fn what_was_delivered_is_what_is_hashed() {
        let mut digester = Digester::default();
        [b"a", b"b"].iter().for_each(|message| digester.add(*message));
        let received = tally_of(&[b"a", b"b"], None).received().expect("ended");
        assert_eq!((received.digest, received.ended_ns), (digester.digest(), 2_000));
        assert_eq!(received.latency_ns, Latency { p50: 1_000, p99: 1_000, p999: 1_000 });
    }

    #[test]
    fn every_fault_changes_the_digest() {
        let truth = tally_of(&[b"a", b"b", b"c"], None).received().expect("ended").digest;
        for (name, messages) in [(FaultName::FlipDelivered, 3), (FaultName::DropDelivered, 2)] {
            let fault = Some(DeliveryFault { name, at: 1 });
            let digest = tally_of(&[b"a", b"b", b"c"], fault).received().expect("ended").digest;
            assert_eq!(digest.messages, messages);
            assert_ne!(digest.hash, truth.hash);
        }
    }

    #[test]
    fn what_does_not_belong_is_trouble() {
        let data = framed(Frame::Data { scheduled_ns: 0, message: b"a" });
        let trouble = |from, bytes: &[u8], ended| {
            let mut tally = if ended { tally_of(&[], None) } else { Tally::new(None).expect("fixed bounds") };
            tally.deliver(from, bytes, 0);
            tally.trouble.is_some()
        };
        assert!(trouble(1, &data, false) && trouble(0, &data, true) && trouble(0, b"?", false));
        assert!(!trouble(0, &data, false));
    }
}
