//! The verdict: every reason for which a run has failed; none means that everything arrived, in the order that was promised and
//! through real losses.

use super::api::Order;
use super::lines::{Counted, Received};
use super::parent::{Evidence, Outcome};
use crate::digest::Digest;

/// What was promised: to every member all of each publisher's stream, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Promise {
    pub(super) order: Order,
    /// The digests of the publishers' captures, by rank.
    pub(super) truth: Vec<Digest>,
}

/// The loss that was asked for, as probabilities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct AskedLoss {
    /// Of each block.
    pub(super) block: f64,
    /// Of each receive buffer.
    pub(super) buffer: f64,
    /// Bytes that no block exceeds: the capture takes so many blocks at least.
    pub(super) largest_block: usize,
}

impl Promise {
    /// The digest of all streams.
    pub(super) fn whole(&self) -> Digest {
        Digest::of_all(&self.truth)
    }

    /// The members to whom streams come: a publisher hears the other publishers, and in total order itself.
    pub(super) fn receivers<'a>(&self, outcome: &'a Outcome) -> impl Iterator<Item = &'a Evidence> + Clone {
        let publishers =
            if self.are_many() || self.order == Order::Total { &outcome.publishers[..] } else { &[] };
        publishers.iter().chain(&outcome.subscribers)
    }

    /// The digest of what a member got: of the sequence where there is one for all, otherwise of the streams.
    pub(super) fn digest(&self, received: &Received) -> Digest {
        match &received.sequence {
            Some(sequence) if self.are_many() => sequence.clone(),
            _ => Digest::of_all(&received.streams),
        }
    }

    fn are_many(&self) -> bool {
        self.truth.len() > 1
    }
}

/// Judges a run; the reasons why it failed.
pub(super) fn reasons(promise: &Promise, loss: AskedLoss, outcome: &Outcome) -> Vec<String> {
    let receivers = promise.receivers(outcome);
    let wrong = receivers.clone().flat_map(|member| wrongs(promise, member)).chain(apart(promise, receivers));
    if let Some(trouble) = &outcome.trouble {
        // Broken off: whatever else is missing follows from it, but not what is wrong.
        return std::iter::once(trouble.clone()).chain(wrong).collect();
    }
    let absent = promise.receivers(outcome).filter(|member| member.received.is_none());
    let absent = absent.map(|member| format!("{} did not come to the end", member.name));
    let unproven =
        [loss_unproven(&promise.whole(), loss, &outcome.subscribers), order_unproven(promise, outcome)];
    absent.chain(wrong).chain(unproven.into_iter().flatten()).collect()
}

/// What is wrong with what a member got by itself.
fn wrongs(promise: &Promise, member: &Evidence) -> Vec<String> {
    let Some(received) = &member.received else { return Vec::new() };
    let name = &member.name;
    let streams =
        promise.truth.iter().zip(&received.streams).zip(1..).filter(|((truth, got), _)| truth != got);
    let streams = streams.map(|((truth, got), publisher)| {
        let of = if promise.are_many() { format!(" of p{publisher}") } else { String::new() };
        format!(
            "{name} has another stream{of}: digest {} is not {}, {} of {} messages",
            got.short(),
            truth.short(),
            got.messages,
            truth.messages
        )
    });
    let caused = (received.violations > 0).then(|| {
        let first = received.violation.as_deref().unwrap_or_default();
        format!("{name} was handed messages before their causes, {} times: {first}", received.violations)
    });
    streams.chain(caused).collect()
}

/// In total order, who has another sequence than the first.
fn apart<'a>(promise: &Promise, receivers: impl Iterator<Item = &'a Evidence>) -> Vec<String> {
    let mut sequences =
        receivers.filter_map(|member| Some((&member.name, member.received.as_ref()?.sequence.as_ref()?)));
    let Some((first, reference)) = sequences.next().filter(|_| promise.are_many()) else { return Vec::new() };
    let other = sequences.filter(|(_, sequence)| *sequence != reference);
    let line = |(name, sequence): (&String, &Digest)| {
        format!(
            "{name} has another order than {first}: digest {} is not {}",
            sequence.short(),
            reference.short()
        )
    };
    other.map(line).collect()
}

/// A demo of causes in which no message has one has shown nothing.
fn order_unproven(promise: &Promise, outcome: &Outcome) -> Option<String> {
    let is_large = promise.truth.iter().all(|stream| stream.messages >= ENOUGH_TO_DEPEND);
    if !promise.order.spans_senders() || !promise.are_many() || !is_large || dependent(promise, outcome) > 0 {
        return None;
    }
    Some("no message depended on another publisher's, so that no order was tried".to_owned())
}

/// Messages that depend on other publishers' messages, as whoever saw most of them counted.
pub(super) fn dependent(promise: &Promise, outcome: &Outcome) -> u64 {
    let received = promise.receivers(outcome).filter_map(|member| member.received.as_ref());
    received.map(|received| received.dependent).max().unwrap_or(0)
}

/// A demo of repair in which nothing was lost, or nothing repaired, has shown nothing.
///
/// Drops may strike control as well, which is not repaired: repairs are only wanted for what the capture itself must have
/// lost. Only subscribers count: the publisher receives control alone.
fn loss_unproven(truth: &Digest, loss: AskedLoss, subscribers: &[Evidence]) -> Option<String> {
    let counted = || subscribers.iter().filter_map(|member| member.counted.as_ref());
    let drops: f64 = counted().map(|counted| expected_drops(loss, counted)).sum();
    let losses = counted().count() as f64 * expected_losses(loss, truth);
    let dropped: u64 = counted().map(|counted| counted.dropped).sum();
    let repaired: u64 = counted().map(|counted| counted.repaired).sum();
    if drops >= ENOUGH_TO_EXPECT && dropped == 0 {
        return Some(format!(
            "nothing was dropped, where the loss asked for makes {drops:.0} drops expected"
        ));
    }
    if losses >= ENOUGH_TO_EXPECT && repaired == 0 {
        return Some(format!(
            "nothing was repaired, where the loss asked for takes {losses:.0} blocks at least"
        ));
    }
    None
}

fn expected_drops(loss: AskedLoss, counted: &Counted) -> f64 {
    loss.block * counted.received_blocks as f64 + loss.buffer * counted.received_buffers as f64
}

/// Blocks of the capture that one subscriber must expect to lose, at least; a buffer counts as one.
fn expected_losses(loss: AskedLoss, truth: &Digest) -> f64 {
    let bytes = truth.bytes as f64;
    loss.block * bytes / loss.largest_block as f64 + loss.buffer * bytes / LARGEST_BUFFER
}

/// Publishers of so many messages each go on long enough to hear each other.
const ENOUGH_TO_DEPEND: u64 = 1_000;
/// Below this, that nothing at all was hit is too likely to be held against a run.
const ENOUGH_TO_EXPECT: f64 = 20.0;
/// Bytes that no UDP payload exceeds, coalesced or not.
const LARGEST_BUFFER: f64 = 65_536.0;

#[cfg(test)]
mod tests {
    use super::super::lines::Latency;
    use super::*;

    const NO_LOSS: AskedLoss = AskedLoss { block: 0.0, buffer: 0.0, largest_block: 1_000 };

    fn truth() -> Digest {
        Digest { messages: 2, bytes: 3, hash: "a".repeat(64) }
    }

    fn other(from: &Digest) -> Digest {
        Digest { hash: "b".repeat(64), ..from.clone() }
    }

    fn promise(order: Order, publishers: usize) -> Promise {
        Promise { order, truth: vec![truth(); publishers] }
    }

    fn one() -> Promise {
        promise(Order::Fifo, 1)
    }

    fn received(streams: Vec<Digest>) -> Received {
        let latency_ns = Latency { p50: 1, p99: 2, p999: 3 };
        let (sequence, violation) = Default::default();
        let (delivered, dependent, violations) = (0, 1, 0);
        Received { delivered, streams, sequence, dependent, violations, violation, ended_ns: 1, latency_ns }
    }

    fn evidence(name: &str, received: Received, counted: Counted) -> Evidence {
        let (received, counted) = (Some(received), Some(counted));
        Evidence { name: name.to_owned(), received, counted, ..Evidence::default() }
    }

    fn member(digest: Digest, counted: Counted) -> Evidence {
        evidence("s1", received(vec![digest]), counted)
    }

    fn outcome(subscribers: Vec<Evidence>) -> Outcome {
        Outcome {
            publishers: vec![Evidence::default()],
            subscribers,
            killed: Vec::new(),
            seconds: 1.0,
            trouble: None,
        }
    }

    /// Two publishers and a subscriber, each with what `change` makes of what it got.
    fn three(order: Order, change: impl Fn(usize, &mut Received)) -> Vec<String> {
        let truth = vec![Digest { messages: ENOUGH_TO_DEPEND, ..truth() }; 2];
        let member = |at: usize| {
            let mut received = received(truth.clone());
            received.sequence = (order == Order::Total).then(|| truth[0].clone());
            change(at, &mut received);
            evidence(["p1", "p2", "s1"][at], received, Counted::default())
        };
        let run = Outcome { publishers: vec![member(0), member(1)], ..outcome(vec![member(2)]) };
        reasons(&Promise { order, truth: truth.clone() }, NO_LOSS, &run)
    }

    fn counted(received_blocks: u64, received_buffers: u64, dropped: u64, repaired: u64) -> Counted {
        Counted { received_blocks, received_buffers, dropped, repaired, ..Counted::default() }
    }

    #[test]
    fn equal_digests_without_loss_are_enough() {
        let run = outcome(vec![member(truth(), Counted::default()), member(truth(), Counted::default())]);
        assert!(reasons(&one(), NO_LOSS, &run).is_empty());
        for order in Order::ALL {
            assert!(three(order, |_, _| ()).is_empty(), "{order}");
        }
    }

    #[test]
    fn one_other_digest_fails_the_run() {
        for other in [other(&truth()), Digest { messages: 1, ..truth() }] {
            let run = outcome(vec![member(truth(), Counted::default()), member(other, Counted::default())]);
            assert_eq!(reasons(&one(), NO_LOSS, &run).len(), 1);
        }
        let run = outcome(vec![Evidence::default()]);
        assert_eq!(reasons(&one(), NO_LOSS, &run).len(), 1);
    }

    #[test]
    fn with_several_publishers_each_member_and_each_stream_counts() {
        for at in 0..3 {
            let wrong = three(Order::Fifo, |member, received| {
                let stream = &mut received.streams[1];
                *stream = if member == at { other(stream) } else { stream.clone() };
            });
            let name = ["p1", "p2", "s1"][at];
            assert_eq!(wrong.len(), 1);
            assert!(wrong[0].starts_with(&format!("{name} has another stream of p2: ")), "{wrong:?}");
        }
    }

    #[test]
    fn another_sequence_fails_a_total_order() {
        let wrong = three(Order::Total, |member, received| {
            received.sequence = Some(if member == 2 { other(&truth()) } else { truth() });
        });
        assert!(wrong.len() == 1 && wrong[0].starts_with("s1 has another order than p1: "), "{wrong:?}");
    }

    #[test]
    fn an_effect_before_its_cause_fails_the_run_and_so_does_none_that_depends() {
        let wrong = three(Order::Causal, |member, received| {
            (received.violations, received.violation) =
                if member == 2 { (3, Some("why".to_owned())) } else { (0, None) };
        });
        assert_eq!(wrong, ["s1 was handed messages before their causes, 3 times: why"]);
        assert_eq!(three(Order::Causal, |_, received| received.dependent = 0).len(), 1);
        assert!(three(Order::Fifo, |_, received| received.dependent = 0).is_empty());
    }

    #[test]
    fn trouble_fails_a_run_whose_digests_are_right() {
        let mut run = outcome(vec![member(truth(), Counted::default())]);
        run.trouble = Some("s1 died".to_owned());
        assert_eq!(reasons(&one(), NO_LOSS, &run), ["s1 died"]);
    }

    #[test]
    fn a_loss_that_was_asked_for_must_be_seen_and_repaired() {
        let loss = AskedLoss { block: 0.01, buffer: 0.1, largest_block: 1_000 };
        let failed = |bytes: u64, members: Vec<Counted>| {
            let truth = Digest { bytes, ..truth() };
            let members = members.into_iter().map(|counted| member(truth.clone(), counted)).collect();
            let promise = Promise { order: Order::Fifo, truth: vec![truth.clone()] };
            !reasons(&promise, loss, &outcome(members)).is_empty()
        };
        let large = 2_000_000;
        assert!(!failed(large, vec![counted(1_000, 90, 0, 1)]), "19 drops expected: no proof either way");
        assert!(failed(large, vec![counted(1_000, 100, 0, 1)]), "20 drops expected, none seen");
        let both = counted(500, 50, 0, 7);
        assert!(failed(large, vec![both, both]), "expected by all together");
        assert!(failed(large, vec![counted(1_000, 100, 9, 0)]), "drops, but no repair");
        assert!(!failed(large, vec![counted(1_000, 100, 1, 1)]));
        assert!(!failed(30_000, vec![counted(1_000, 100, 9, 0)]), "the drops may all have struck control");
    }
}
