//! What a change of view costs in messages where nothing is lost, against the counts of Ricciardi and Birman (1991).
//!
//! A multicast counts as so many messages as it has living addressees. Propose and Ack are counted apart: they belong to the flush,
//! which the paper does not have; but its reconfiguration proposes too, so there they count as well.

use crate::quiet::{NOW, Quiet, introduction};
use sistrum_membership::agreement::{Op, SyncCast};

#[test]
fn an_exclusion_costs_at_most_3n_5() {
    for n in 3..=16 {
        // The coordinator sees it itself, or one member tells it: the paper's count has room for one report.
        for detector in [0, 1] {
            let mut quiet = Quiet::new(n);
            quiet.members[n - 1] = None;
            quiet.suspect(detector, n as u16 - 1);
            quiet.run();
            quiet.assert_all_in(2, n - 1);
            assert_eq!(quiet.spoken(), 3 * (n - 2) + detector, "{:?}", quiet.counts);
            assert!(quiet.spoken() <= 3 * n - 5);
            assert_eq!((quiet.count("Propose"), quiet.count("Ack")), (n - 2, n - 2));
        }
    }
}

/// Where all see at once that somebody is silent, each of them reports it: the coordinator cannot tell them that it knows before
/// its invitation comes. So much more than in the paper, where one reports.
#[test]
fn every_detector_but_the_coordinator_costs_a_report() {
    for n in 3..=16 {
        let mut quiet = Quiet::new(n);
        quiet.members[n - 1] = None;
        (0..n - 1).for_each(|at| quiet.suspect(at, n as u16 - 1));
        quiet.run();
        quiet.assert_all_in(2, n - 1);
        assert_eq!(quiet.count("Waiting"), n - 2);
        assert_eq!(quiet.spoken(), 3 * (n - 2) + (n - 2), "{:?}", quiet.counts);
    }
}

#[test]
fn a_failure_of_the_coordinator_costs_at_most_5n_9() {
    for n in 3..=16 {
        for detector in [1, 2] {
            let mut quiet = Quiet::new(n);
            quiet.members[0] = None;
            quiet.suspect(detector, 0);
            quiet.run();
            quiet.assert_all_in(2, n - 1);
            // The paper's new manager asks, proposes and commits: Propose and Ack are in its count.
            let all = quiet.spoken() + quiet.count("Propose") + quiet.count("Ack");
            assert_eq!(all, 5 * (n - 2) + (detector - 1), "{:?}", quiet.counts);
            assert!(all <= 5 * n - 9);
        }
    }
}

/// The coordinator dies with an exclusion acknowledged and not decided. Its successor decides that first, and the coordinator's own
/// exclusion follows in a compressed round, whose invitation came with the decision.
#[test]
fn a_continuing_exclusion_costs_at_most_2n_3() {
    // Of four members, the two that are left after two deaths may not decide.
    for n in 5..=16 {
        let mut quiet = Quiet::new(n);
        quiet.members[n - 1] = None;
        quiet.suspect(0, n as u16 - 1);
        quiet.run_until_proposed();
        quiet.members[0] = None;
        quiet.run();
        quiet.counts.clear();
        quiet.suspect(1, 0);
        quiet.run();
        quiet.assert_all_in(3, n - 2);
        let others = n - 3;
        assert_eq!(quiet.count("Invite"), others, "the second round has none");
        // The round that continues, of a view of n - 1 with its suspect in it.
        let continuing = quiet.spoken() - 3 * others;
        assert_eq!(continuing, 2 * others, "{:?}", quiet.counts);
        assert!(continuing <= 2 * (n - 1) - 3);
    }
}

/// The count of a continuing round is that of an exclusion, whose suspect is neither asked nor told. Where all stay, as with a sync
/// cast or a join, there is one more to answer and one more to be told.
#[test]
fn a_continuing_round_of_all_costs_2n_2() {
    for n in 3..=16 {
        let mut quiet = Quiet::new(n);
        let by = introduction(0).member;
        let cast = |number| Op::Sync(SyncCast { by, number, bytes: vec![1] });
        quiet.with(0, |agreement, streams| agreement.request(NOW, cast(1), streams));
        quiet.run_until_proposed();
        quiet.with(0, |agreement, streams| agreement.request(NOW, cast(2), streams));
        quiet.run();
        quiet.assert_all_in(3, n);
        assert_eq!(quiet.count("Invite"), n - 1, "the second round has none");
        assert_eq!(quiet.spoken(), 3 * (n - 1) + 2 * (n - 1), "{:?}", quiet.counts);
    }
}
