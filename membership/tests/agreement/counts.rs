//! What a change of view costs in messages where nothing is lost, against the counts of Ricciardi and Birman (1991).
//!
//! A multicast counts as so many messages as it has living addressees. Propose and Ack are counted apart: they belong to the flush,
//! which the paper does not have; but its reconfiguration proposes too, so there they count as well.

use crate::world::endpoint;
use sistrum_membership::agreement::{
    Agreement, AgreementTuning, Destination, Introduction, Message, Op, Outcome, Roster, Streams, SyncCast,
};
use sistrum_ordering::{BootId, GroupInstance, Rank, Seq, ViewMember, ViewNumber};
use sistrum_transport::time::Instant;
use std::collections::{BTreeMap, VecDeque};

const NOW: Instant = Instant(1);

/// Streams of so many members, in which nothing was cast.
struct Silent(usize);

impl Streams for Silent {
    fn may_change(&self) -> bool {
        true
    }
    fn freeze(&mut self) -> Vec<Seq> {
        vec![Seq(0); self.0]
    }
    fn fetch(&mut self, _: &[Seq], _: &[Rank]) {}
    fn holds(&self, _: &[Seq]) -> bool {
        true
    }
    fn suspect(&mut self, _: Rank) {}
    fn trust(&mut self, _: Rank) {}
}

/// Members, of whom some are dead, over a network that keeps its order and loses nothing.
struct Quiet {
    members: Vec<Option<Agreement>>,
    letters: VecDeque<(usize, usize, Message)>,
    /// By kind of message.
    counts: BTreeMap<&'static str, usize>,
}

fn introduction(at: usize) -> Introduction {
    let member = ViewMember { endpoint: endpoint(at), boot: BootId(1) };
    Introduction { member, start: Seq(0), window: 8, receive_buffer: 1 << 20, coalesces: false }
}

fn kind(message: &Message) -> &'static str {
    match message {
        Message::Invite { .. } => "Invite",
        Message::Ok { .. } => "Ok",
        Message::Propose { .. } => "Propose",
        Message::Ack { .. } => "Ack",
        Message::Commit { .. } => "Commit",
        Message::Waiting { .. } => "Waiting",
        _ => "other",
    }
}

impl Quiet {
    fn new(count: usize) -> Self {
        let roster = Roster { number: ViewNumber(1), members: (0..count).map(introduction).collect() };
        let member = |at: usize| {
            let me = Rank(at as u16);
            Some(Agreement::new(GroupInstance(1), roster.clone(), me, AgreementTuning::default(), 0))
        };
        let members = (0..count).map(member).collect();
        Self { members, letters: VecDeque::new(), counts: BTreeMap::new() }
    }

    fn with(&mut self, at: usize, act: impl FnOnce(&mut Agreement, &mut Silent)) {
        let Some(agreement) = &mut self.members[at] else { return };
        act(agreement, &mut Silent(agreement.roster().members.len()));
        self.settle(at);
    }

    fn settle(&mut self, at: usize) {
        while let Some((to, message)) = self.members[at].as_mut().and_then(Agreement::poll_send) {
            for other in 0..self.members.len() {
                let is_meant =
                    other != at && (to == Destination::All || to == Destination::One(endpoint(other)));
                if is_meant && self.members[other].is_some() {
                    *self.counts.entry(kind(&message)).or_default() += 1;
                    self.letters.push_back((at, other, message.clone()));
                }
            }
        }
        let mut has_installed = false;
        while let Some(outcome) = self.members[at].as_mut().and_then(Agreement::poll_outcome) {
            has_installed |= matches!(outcome, Outcome::Install(_));
        }
        if has_installed {
            self.with(at, |agreement, streams| agreement.progress(NOW, streams));
        }
    }

    fn suspect(&mut self, at: usize, rank: u16) {
        self.with(at, |agreement, streams| agreement.suspect(NOW, Rank(rank), streams));
    }

    /// Delivers one letter, and tells what it says.
    fn step(&mut self) -> Option<Message> {
        let (from, to, message) = self.letters.pop_front()?;
        let said = message.clone();
        self.with(to, |agreement, streams| agreement.handle_message(NOW, endpoint(from), message, streams));
        Some(said)
    }

    fn run(&mut self) {
        while self.step().is_some() {}
    }

    /// Runs until a proposal has come to somebody.
    fn run_until_proposed(&mut self) {
        while !matches!(self.step().expect("one comes"), Message::Propose { .. }) {}
    }

    /// Messages but for those of the flush.
    fn spoken(&self) -> usize {
        self.counts
            .iter()
            .filter(|(kind, _)| !["Propose", "Ack"].contains(kind))
            .map(|(_, count)| count)
            .sum()
    }

    fn count(&self, kind: &str) -> usize {
        self.counts.get(kind).copied().unwrap_or_default()
    }

    /// All who live are in view `number` of so many members.
    fn assert_all_in(&self, number: u32, members: usize) {
        for agreement in self.members.iter().flatten() {
            let roster = agreement.roster();
            assert_eq!((roster.number.0, roster.members.len()), (number, members), "{:?}", self.counts);
            assert!(!agreement.is_changing());
        }
    }
}

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
