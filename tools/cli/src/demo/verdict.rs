//! The verdict: every reason for which a run has failed; none means that everything arrived, through real losses.

use super::lines::Counted;
use super::parent::{Evidence, Outcome};
use crate::digest::Digest;

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

/// Judges a run of a capture whose digest is `truth`; the reasons why it failed.
pub(super) fn reasons(truth: &Digest, loss: AskedLoss, outcome: &Outcome) -> Vec<String> {
    if let Some(trouble) = &outcome.trouble {
        // Broken off: whatever else is missing follows from it, but not a wrong digest.
        let differing = outcome.subscribers.iter().filter(|member| member.received.is_some());
        let differing = differing.filter_map(|member| differs(truth, member));
        return std::iter::once(trouble.clone()).chain(differing).collect();
    }
    let differing = outcome.subscribers.iter().filter_map(|member| differs(truth, member));
    differing.chain(loss_unproven(truth, loss, &outcome.subscribers)).collect()
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

/// Below this, that nothing at all was hit is too likely to be held against a run.
const ENOUGH_TO_EXPECT: f64 = 20.0;
/// Bytes that no UDP payload exceeds, coalesced or not.
const LARGEST_BUFFER: f64 = 65_536.0;

#[cfg(test)]
mod tests {
    use super::super::lines::{Latency, Received};
    use super::*;

    const NO_LOSS: AskedLoss = AskedLoss { block: 0.0, buffer: 0.0, largest_block: 1_000 };

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
        let loss = AskedLoss { block: 0.01, buffer: 0.1, largest_block: 1_000 };
        let failed = |bytes: u64, members: Vec<Counted>| {
            let truth = Digest { bytes, ..truth() };
            let members = members.into_iter().map(|counted| member(truth.clone(), counted)).collect();
            !reasons(&truth, loss, &outcome(members)).is_empty()
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
