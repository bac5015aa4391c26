//! The verdict: every reason for which a run has failed; none means that everything arrived, through real losses.

use super::digest::Digest;
use super::lines::Counted;
use super::parent::{Evidence, Outcome};

/// The loss that was asked for, as probabilities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct AskedLoss {
    /// Of each block.
    pub(super) block: f64,
    /// Of each receive buffer.
    pub(super) buffer: f64,
}

/// Judges a run of a capture whose digest is `truth`; the reasons why it failed.
pub(super) fn reasons(truth: &Digest, loss: AskedLoss, outcome: &Outcome) -> Vec<String> {
    if let Some(trouble) = &outcome.trouble {
        // Broken off: whatever else is missing follows from it, but not a wrong digest.
        let differing = outcome.subscribers.iter().filter(|member| member.received.is_some());
        let differing = differing.filter_map(|member| differs(truth, member));
        return std::iter::once(trouble.clone()).chain(differing).collect();
    }
    let differing = outcome.subscribers.iter().filter_map(|member| differs(truth, member));
    differing.chain(loss_unproven(loss, &outcome.subscribers)).collect()
}

fn differs(truth: &Digest, member: &Evidence) -> Option<String> {
    let name = &member.name;
    match member.received.as_ref().map(|received| &received.digest) {
        None => Some(format!("{name} did not come to the end")),
        Some(digest) if digest == truth => None,
        Some(digest) => Some(format!(
            "{name} has another stream: digest {} is not {}, {} of {} messages",
            digest.short(),
            truth.short(),
            digest.messages,
            truth.messages
        )),
    }
}

/// A demo of repair in which nothing was lost, or nothing repaired, has shown nothing.
///
/// Only subscribers count: the publisher receives control alone, and control is not repaired.
fn loss_unproven(loss: AskedLoss, subscribers: &[Evidence]) -> Option<String> {
    let counted = || subscribers.iter().filter_map(|member| member.counted.as_ref());
    let expected: f64 = counted().map(|counted| expected_drops(loss, counted)).sum();
    if expected < DROPS_TO_EXPECT {
        return None;
    }
    let dropped: u64 = counted().map(|counted| counted.dropped).sum();
    let repaired: u64 = counted().map(|counted| counted.repaired).sum();
    let what = match (dropped, repaired) {
        (0, _) => "nothing was dropped",
        (_, 0) => "nothing was repaired",
        _ => return None,
    };
    Some(format!("{what}, where the loss asked for makes {expected:.0} drops expected"))
}

fn expected_drops(loss: AskedLoss, counted: &Counted) -> f64 {
    loss.block * counted.received_blocks as f64 + loss.buffer * counted.received_buffers as f64
}

/// Below this, no drop at all is too likely to be held against a run.
const DROPS_TO_EXPECT: f64 = 20.0;

#[cfg(test)]
mod tests {
    use super::super::lines::{Latency, Received};
    use super::*;

    const NO_LOSS: AskedLoss = AskedLoss { block: 0.0, buffer: 0.0 };

    fn truth() -> Digest {
        Digest { messages: 2, bytes: 3, hash: "a".repeat(64) }
    }

    fn member(digest: Digest, counted: Counted) -> Evidence {
        let latency_ns = Latency { p50: 1, p99: 2, p999: 3 };
        let received = Some(Received { digest, ended_ns: 1, latency_ns });
        Evidence { name: "s1".to_owned(), received, counted: Some(counted), ..Evidence::default() }
    }

    fn outcome(subscribers: Vec<Evidence>) -> Outcome {
        Outcome { publisher: Evidence::default(), subscribers, seconds: 1.0, trouble: None }
    }

    fn counted(received_blocks: u64, received_buffers: u64, dropped: u64, repaired: u64) -> Counted {
        Counted { received_blocks, received_buffers, dropped, repaired, ..Counted::default() }
    }

    #[test]
    fn equal_digests_without_loss_are_enough() {
        let run = outcome(vec![member(truth(), Counted::default()), member(truth(), Counted::default())]);
        assert!(reasons(&truth(), NO_LOSS, &run).is_empty());
    }

    #[test]
    fn one_other_digest_fails_the_run() {
        for other in [Digest { hash: "b".repeat(64), ..truth() }, Digest { messages: 1, ..truth() }] {
            let run = outcome(vec![member(truth(), Counted::default()), member(other, Counted::default())]);
            assert_eq!(reasons(&truth(), NO_LOSS, &run).len(), 1);
        }
        let run = outcome(vec![Evidence::default()]);
        assert_eq!(reasons(&truth(), NO_LOSS, &run).len(), 1);
    }

    #[test]
    fn trouble_fails_a_run_whose_digests_are_right() {
        let mut run = outcome(vec![member(truth(), Counted::default())]);
        run.trouble = Some("s1 died".to_owned());
        assert_eq!(reasons(&truth(), NO_LOSS, &run), ["s1 died"]);
    }

    #[test]
    fn a_loss_that_was_asked_for_must_be_seen_and_repaired() {
        let loss = AskedLoss { block: 0.01, buffer: 0.1 };
        let failed = |members: Vec<Counted>| {
            let members = members.into_iter().map(|counted| member(truth(), counted)).collect();
            !reasons(&truth(), loss, &outcome(members)).is_empty()
        };
        assert!(!failed(vec![counted(1_000, 90, 0, 0)]), "19 drops expected: no proof either way");
        assert!(failed(vec![counted(1_000, 100, 0, 0)]), "20 drops expected, none seen");
        assert!(failed(vec![counted(500, 50, 0, 7), counted(500, 50, 0, 7)]), "expected by all together");
        assert!(failed(vec![counted(1_000, 100, 9, 0)]), "drops, but no repair");
        assert!(!failed(vec![counted(1_000, 100, 1, 1)]));
    }
}
