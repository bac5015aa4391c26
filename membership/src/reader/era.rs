//! One view as a reader has it: its members, their streams, and how it began.

use super::ViewReaderConfig;
use crate::agreement::{Roster, SyncCast, Value};
use sistrum_ordering::{Change, GroupId, GroupInstance, Rank, Reading, View, ViewId, ViewNumber};
use sistrum_transport::log::RxPool;
use sistrum_transport::reliable::{Entry, Member, Reader, ReaderConfig, ReaderView};
use sistrum_transport::time::Instant;
use std::collections::VecDeque;

/// See the module.
#[derive(Debug)]
pub(super) struct Era {
    pub(super) roster: Roster,
    pub(super) view: View,
    pub(super) reader: Reader<Reading>,
    /// What was cast between the view before and this one, as far as it was not told.
    pub(super) syncs: VecDeque<SyncCast>,
    /// The application is to be told of the view, before its first message.
    pub(super) is_to_tell: bool,
    /// Nothing of it is told before the state is there.
    pub(super) awaits_state: bool,
    pub(super) end: End,
    /// How much of whom was taken back, or is lost: what is left to be told of that.
    pub(super) last_words: Option<VecDeque<(Rank, u64)>>,
}

/// What is known of the end of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Unknown,
    /// It was decided.
    Decided,
    /// Nobody tells.
    Missed,
}

impl Era {
    /// A view that is entered in mid-flow.
    pub(super) fn live(config: &ViewReaderConfig, instance: GroupInstance, roster: Roster) -> Self {
        let came = roster.ranks().collect();
        let change = Change { came, ..Change::default() };
        Self::new(config, instance, roster, change, Vec::new(), Entry::Live)
    }

    /// The view behind this one, that `value` has made of it; nobody may be in it.
    pub(super) fn next(&self, config: &ViewReaderConfig, value: Value) -> Option<Self> {
        let roster = self.roster.after(&value);
        if roster.members.is_empty() {
            return None;
        }
        let came = roster.ranks().skip(roster.members.len() - value.joined.len()).collect();
        let gone = value.removed.iter().map(|(rank, reason)| (self.view.members()[rank.0 as usize], *reason));
        let readied = roster.readied(|member| self.roster.is_joining_member(member));
        let change = Change { came, gone: gone.collect(), readied };
        let instance = self.view.id().instance;
        Some(Self::new(config, instance, roster, change, value.syncs, Entry::Start))
    }

    fn new(
        config: &ViewReaderConfig,
        instance: GroupInstance,
        roster: Roster,
        change: Change,
        syncs: Vec<SyncCast>,
        entry: Entry,
    ) -> Self {
        let group = GroupId::of(&config.name);
        let id = ViewId { group, instance, number: roster.number };
        let members = roster.members.iter().map(|known| known.member).collect();
        let view = View::read(id, members, change)
            .with_joining(roster.joining.clone())
            .with_stateless(roster.stateless().collect());
        let streams: Vec<Member> = roster
            .members
            .iter()
            .map(|known| Member {
                endpoint: known.member.endpoint,
                start: known.start,
                entry,
                window: known.window as usize,
                receive_buffer: known.receive_buffer as usize,
                coalesces: known.coalesces,
            })
            .collect();
        // What is told of stability comes a little later than a window: twice as much may lie here.
        let widest = streams.iter().map(|member| member.window).max().unwrap_or(1);
        let mut tuning = config.tuning;
        tuning.window = tuning.window.max((2 * widest).next_power_of_two().min(MAX_WINDOW));
        let seed = config.seed ^ u64::from(roster.number.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let reader = ReaderConfig { group, index: config.index, block: config.block, tuning, seed };
        let order = if config.is_causal { Reading::causal() } else { Reading::default() };
        let order = if config.is_eager { order.eager() } else { order };
        let known = ReaderView { instance, number: roster.number, members: streams };
        Self {
            reader: Reader::of_view(reader, order, known),
            is_to_tell: !view.is_same(),
            awaits_state: false,
            roster,
            view,
            syncs: syncs.into(),
            end: End::Unknown,
            last_words: None,
        }
    }

    /// It is decided where it ends.
    pub(super) fn end(&mut self, now: Instant, value: &Value, holders: Vec<Rank>, pool: &mut RxPool) {
        let gone = value.removed.iter().map(|(rank, _)| *rank).collect();
        self.reader.end(now, &value.cut, holders, gone, pool);
        self.end = End::Decided;
    }

    pub(super) fn number(&self) -> ViewNumber {
        self.view.id().number
    }

    pub(super) fn is(&self, instance: GroupInstance, number: ViewNumber) -> bool {
        self.view.id().instance == instance && self.number() == number
    }
}

/// Blocks of a stream's window at most, whatever its sender says of its own.
const MAX_WINDOW: usize = 1 << 14;
