//! Members that agree on views over a network that keeps its order and loses nothing: what is said can be counted.

use crate::world::endpoint;
use sistrum_membership::agreement::{
    Agreement, AgreementTuning, Destination, Introduction, Message, Outcome, Roster, Streams,
};
use sistrum_ordering::{BootId, GroupInstance, Rank, Seq, ViewMember, ViewNumber};
use sistrum_transport::time::Instant;
use std::collections::{BTreeMap, VecDeque};

pub(crate) const NOW: Instant = Instant(1);

/// Streams of so many members, in which nothing was cast.
pub(crate) struct Silent(usize);

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
pub(crate) struct Quiet {
    pub(crate) members: Vec<Option<Agreement>>,
    letters: VecDeque<(usize, usize, Message)>,
    /// By kind of message.
    pub(crate) counts: BTreeMap<&'static str, usize>,
    /// What has become of the views, of all members.
    pub(crate) outcomes: Vec<Outcome>,
}

pub(crate) fn introduction(at: usize) -> Introduction {
    let member = ViewMember { endpoint: endpoint(at), boot: BootId(1) };
    Introduction {
        member,
        start: Seq(0),
        window: 8,
        receive_buffer: 1 << 20,
        coalesces: false,
        block: 256,
        rotating: false,
        keeps_state: false,
    }
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
    pub(crate) fn new(count: usize) -> Self {
        let roster = Roster {
            number: ViewNumber(1),
            members: (0..count).map(introduction).collect(),
            joining: Vec::new(),
        };
        let member = |at: usize| {
            let me = Rank(at as u16);
            Some(Agreement::new(GroupInstance(1), roster.clone(), me, AgreementTuning::default(), 0))
        };
        let members = (0..count).map(member).collect();
        Self { members, letters: VecDeque::new(), counts: BTreeMap::new(), outcomes: Vec::new() }
    }

    pub(crate) fn with(&mut self, at: usize, act: impl FnOnce(&mut Agreement, &mut Silent)) {
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
            self.outcomes.push(outcome);
        }
        if has_installed {
            self.with(at, |agreement, streams| agreement.progress(NOW, streams));
        }
    }

    pub(crate) fn suspect(&mut self, at: usize, rank: u16) {
        self.with(at, |agreement, streams| agreement.suspect(NOW, Rank(rank), streams));
    }

    /// This comes to `to`.
    pub(crate) fn tell(&mut self, to: usize, from: usize, message: Message) {
        self.with(to, |agreement, streams| agreement.handle_message(NOW, endpoint(from), message, streams));
    }

    /// Delivers one letter, and tells what it says.
    fn step(&mut self) -> Option<Message> {
        let (from, to, message) = self.letters.pop_front()?;
        self.tell(to, from, message.clone());
        Some(message)
    }

    pub(crate) fn run(&mut self) {
        while self.step().is_some() {}
    }

    /// Runs until a proposal has come to somebody.
    pub(crate) fn run_until_proposed(&mut self) {
        while !matches!(self.step().expect("one comes"), Message::Propose { .. }) {}
    }

    /// Messages but for those of the flush.
    pub(crate) fn spoken(&self) -> usize {
        self.counts
            .iter()
            .filter(|(kind, _)| !["Propose", "Ack"].contains(kind))
            .map(|(_, count)| count)
            .sum()
    }

    pub(crate) fn count(&self, kind: &str) -> usize {
        self.counts.get(kind).copied().unwrap_or_default()
    }

    /// All who live are in view `number` of so many members.
    pub(crate) fn assert_all_in(&self, number: u32, members: usize) {
        for agreement in self.members.iter().flatten() {
            let roster = agreement.roster();
            assert_eq!((roster.number.0, roster.members.len()), (number, members), "{:?}", self.counts);
            assert!(!agreement.is_changing());
        }
    }
}
