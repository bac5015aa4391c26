//! One member: both halves of a layer, driven as `transport/src/reliable/session/order.rs` and the sender drive them.

use crate::laws::{Knowledge, Law};
use crate::model::{Block, Fault, Group, Message, Pace, State, Subject};
use sistrum_ordering::{GroupId, GroupInstance, Order, Promise, Rank, Seq, ViewNumber};
use sistrum_transport::reliable::{Blocks, Outbound};
use sistrum_transport::wire::{ControlWriter, HEADER_LEN, Header, Kind};
use std::fmt::Debug;
use std::sync::Arc;

/// See the module. Sequences count from the beginning of each stream here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Member<L, O> {
    pub(crate) layer: L,
    pub(crate) out: O,
    /// Streams that may have something to deliver.
    ready: Vec<usize>,
    pub(crate) held: Vec<u64>,
    pub(crate) passed: Vec<u64>,
    pub(crate) cast: u8,
    pub(crate) open: Vec<Message>,
    /// Bytes that the open block keeps free.
    reserve: usize,
    pub(crate) knowledge: Knowledge,
    pub(crate) is_leaving: bool,
    pub(crate) is_gone: bool,
    /// Whose goodbye has come.
    pub(crate) told: Vec<bool>,
}

/// What a member still holds of the streams.
struct Held<'a> {
    streams: &'a [Vec<Arc<Block>>],
    starts: fn(usize) -> Seq,
    me: usize,
    held: &'a [u64],
    /// Blocks before it are delivered here and held by all: they are forgotten.
    forgotten: &'a [u64],
}

impl Blocks for Held<'_> {
    fn block(&self, rank: Rank, seq: Seq) -> Option<&[u8]> {
        let (at, number) = (rank.0 as usize, seq.since((self.starts)(rank.0 as usize)));
        let is_held = number < self.held[at] && (at == self.me || number >= self.forgotten[at]);
        is_held.then(|| &self.streams[at][number as usize].bytes[..])
    }

    fn next(&self, rank: Rank) -> Seq {
        (self.starts)(rank.0 as usize).plus(self.held[rank.0 as usize])
    }
}

impl<L, O> Member<L, O> {
    pub(crate) fn new(layer: L, out: O, knowledge: Knowledge, members: usize) -> Self {
        Self {
            layer,
            out,
            ready: Vec::new(),
            held: vec![0; members],
            passed: vec![0; members],
            cast: 0,
            open: Vec::new(),
            reserve: 0,
            knowledge,
            is_leaving: false,
            is_gone: false,
            told: vec![false; members],
        }
    }

    fn look_at(&mut self, rank: usize) {
        if !self.ready.contains(&rank) {
            self.ready.push(rank);
        }
    }
}

impl<L: Subject> Member<L, L::Out> {
    /// Whether a poll would do anything.
    pub(crate) fn has_work(&self, me: usize, streams: &[Vec<Arc<Block>>]) -> bool {
        let has_own = self.held[me] < streams[me].len() as u64;
        has_own || !self.ready.is_empty() || self.layer.has_woken() || self.out.wants_block()
    }
}

impl<L: Subject> Group<L> {
    /// Calls `act` with both halves of member `me` and what it holds.
    fn with<R>(
        &self,
        state: &mut State<L, L::Out>,
        me: usize,
        act: impl FnOnce(&mut L, &mut L::Out, &Held<'_>) -> R,
    ) -> R {
        let least = |at: usize| state.members.iter().map(|member| member.held[at]).min().unwrap_or(0);
        let passed = &state.members[me].passed;
        let forgotten: Vec<u64> =
            passed.iter().enumerate().map(|(at, passed)| least(at).min(*passed)).collect();
        let Member { layer, out, held, .. } = &mut state.members[me];
        let held = Held { streams: &state.streams, starts: Self::start, me, held, forgotten: &forgotten };
        act(layer, out, &held)
    }

    pub(crate) fn cast(&self, state: &mut State<L, L::Out>, me: usize, message: Message) {
        let is_full = self.pace == Pace::Full || !state.members[me].out.joins(class_of(message.order));
        if !state.members[me].open.is_empty() && is_full {
            self.seal(state, me);
        }
        let member = &mut state.members[me];
        if member.open.is_empty() {
            member.reserve = member.out.open(class_of(message.order));
        }
        member.open.push(message);
        member.cast += 1;
        state.pasts[message.bit().trailing_zeros() as usize] = member.knowledge.cast(message);
    }

    /// Seals the open block, or a bare one.
    pub(crate) fn seal(&self, state: &mut State<L, L::Out>, me: usize) {
        let member = &mut state.members[me];
        let messages = std::mem::take(&mut member.open);
        let room = match self.pace {
            Pace::Full if !messages.is_empty() => member.reserve,
            _ => ROOM,
        };
        let mut bytes = vec![0; HEADER_LEN + room];
        let mut writer = ControlWriter::new(&mut bytes[HEADER_LEN..]);
        let seq = Self::start(me).plus(state.streams[me].len() as u64);
        let order = member.out.seal(seq, messages.is_empty(), &mut writer);
        let is_lost = match self.fault {
            Some(Fault::LostStamp) => me == 1 && state.streams[1].is_empty(),
            Some(Fault::Jump) => me == 0 && state.streams[0].is_empty(),
            _ => false,
        };
        let used = HEADER_LEN + if is_lost { 0 } else { writer.written() };
        bytes.truncate(used);
        let view = (GroupId(1), GroupInstance(1), ViewNumber(1));
        let header = Header::new(Kind::Data, view.0, view.1, view.2, Rank(me as u16));
        Header { used: used as u16, order, ..header }.encode(&mut bytes, false);
        let is_stamped = messages.iter().any(|message| message.order != Order::Fifo);
        let passed = member.passed.iter().enumerate().map(|(at, passed)| Self::start(at).plus(*passed));
        let truth = is_stamped.then(|| passed.collect());
        state.streams[me].push(Arc::new(Block { bytes, messages, truth }));
    }

    /// More of the stream of `from` is held.
    pub(crate) fn show(&self, state: &mut State<L, L::Out>, me: usize, from: usize) {
        self.with(state, me, |layer, out, held| layer.held(Rank(from as u16), held, out));
        state.members[me].look_at(from);
    }

    /// `from` is gone, and its stream has come to its end.
    pub(crate) fn told(&self, state: &mut State<L, L::Out>, me: usize, from: usize) {
        state.members[me].told[from] = true;
        self.with(state, me, |layer, out, held| layer.departed(Rank(from as u16), held, out));
    }

    /// Takes what is mine, delivers what is ready, and seals what others wait for.
    pub(crate) fn poll(&self, state: &mut State<L, L::Out>, me: usize) {
        for _ in 0..MANY {
            let sealed = state.streams[me].len() as u64;
            if state.members[me].held[me] < sealed {
                state.members[me].held[me] = sealed;
                self.show(state, me, me);
            }
            self.deliver_ready(state, me);
            if !state.members[me].out.wants_block() {
                return;
            }
            self.seal(state, me);
        }
        state.broken.insert(Law::Progress);
    }

    fn deliver_ready(&self, state: &mut State<L, L::Out>, me: usize) {
        for _ in 0..MANY {
            while let Some(rank) = state.members[me].layer.woken() {
                if self.fault != Some(Fault::LostWake) {
                    state.members[me].look_at(rank.0 as usize);
                }
            }
            for from in std::mem::take(&mut state.members[me].ready) {
                self.deliver(state, me, from);
            }
            if !state.members[me].layer.has_woken() {
                return;
            }
        }
        state.broken.insert(Law::Progress);
    }

    /// Delivers what may be delivered of one stream.
    fn deliver(&self, state: &mut State<L, L::Out>, me: usize, from: usize) {
        let (rank, start) = (Rank(from as u16), Self::start(from));
        let mut gate = self.with(state, me, |layer, _, held| layer.admit(rank, held));
        self.compare_stamps(state, me, from, gate);
        if self.fault == Some(Fault::DeliverOnReceipt) {
            gate = start.plus(state.members[me].held[from]);
        }
        if from != me {
            if !state.members[me].open.is_empty() && !state.members[me].out.fits(rank, gate) {
                self.seal(state, me);
            }
            state.members[me].out.depend(rank, gate);
        }
        let passed = state.members[me].passed[from];
        let first = if self.fault == Some(Fault::Twice) { passed.saturating_sub(1) } else { passed };
        for number in first..gate.since(start) {
            let block = Arc::clone(&state.streams[from][number as usize]);
            let comes = |message: &&Message| from != me || message.order == Order::Total;
            for &message in block.messages.iter().filter(comes) {
                let past = state.pasts[message.bit().trailing_zeros() as usize];
                state.members[me].knowledge.deliver(me, message, past, &mut state.broken);
            }
        }
        let member = &mut state.members[me];
        member.passed[from] = member.passed[from].max(gate.since(start));
        member.layer.delivered(rank, gate);
    }

    /// The vector that was decoded last is what the sender of that stamp had been handed.
    fn compare_stamps(&self, state: &mut State<L, L::Out>, me: usize, from: usize, gate: Seq) {
        if from == me {
            return;
        }
        let (start, held) = (Self::start(from), state.members[me].held[from]);
        // The block that waits may have been read; then it is the last one.
        let before =
            |end: u64| state.streams[from][..end as usize].iter().rev().find_map(|b| b.truth.as_ref());
        let told = |truth: Option<&Vec<Seq>>| {
            let vector = state.members[me].layer.queue().vector(Rank(from as u16));
            (0..vector.len())
                .filter(|&at| at != from)
                .all(|at| vector[at] == truth.map_or(Self::start(at), |truth| truth[at]))
        };
        let passed = gate.since(start);
        if !told(before(passed)) && !told(before((passed + 1).min(held))) {
            state.broken.insert(Law::TimestampTruth);
        }
    }
}

/// Room for control in a block that is not full.
const ROOM: usize = 200;
/// More rounds than any poll has an end for.
const MANY: u32 = 100;

/// What a layer is asked for, which it keeps.
fn class_of<C: TryFrom<Promise, Error: Debug>>(order: Order) -> C {
    Promise::from(order).try_into().expect("only what a layer keeps is asked of it")
}
