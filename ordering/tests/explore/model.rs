//! A group on reliable streams: each block that is sealed comes to each other member, in its stream's order, at any time.

use crate::laws::{Knowledge, Law, Set, has_one_order};
use crate::member::Member;
use sistrum_ordering::causal::Stamper;
use sistrum_ordering::delay::DelayQueue;
use sistrum_ordering::total::Sequenced;
use sistrum_ordering::{Causal, CausalOrder, Order, Promise, Rank, Seq, Total, TotalOptions};
use sistrum_transport::reliable::{Layer, Outbound};
use stateright::Property;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;

/// A layer that can be explored.
pub(crate) trait Subject:
    Layer<Outbound = Self::Out> + Clone + Eq + Hash + Send + Sync + 'static
{
    type Out: Outbound<Class: TryFrom<Promise, Error: Debug>> + Clone + Eq + Hash + Send + Sync;
    fn halves(me: Rank, starts: &[Seq], options: TotalOptions) -> (Self, Self::Out);
    fn queue(&self) -> &DelayQueue;
}

impl Subject for Causal {
    type Out = Stamper;
    fn halves(me: Rank, starts: &[Seq], options: TotalOptions) -> (Self, Stamper) {
        Self::halves(me, starts, options.stamps)
    }
    fn queue(&self) -> &DelayQueue {
        CausalOrder::queue(self)
    }
}

impl Subject for Total {
    type Out = Sequenced;
    fn halves(me: Rank, starts: &[Seq], options: TotalOptions) -> (Self, Sequenced) {
        Self::halves(me, starts, UNSTABLE, options)
    }
    fn queue(&self) -> &DelayQueue {
        CausalOrder::queue(self.causal())
    }
}

/// More blocks than any script makes.
const UNSTABLE: usize = 64;

/// How finely the steps of a member are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Casting, sealing, receiving and delivering are steps of their own.
    Fine,
    /// A cast is sealed at once, and what has come is delivered at once.
    Coarse,
    /// As finely as `Fine`, and what is cast fills its block: there is no room in it but for its stamp.
    Full,
}

/// Something that is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The first stamp of member 1 is lost on the way.
    LostStamp,
    /// What has come is delivered, whether it is its turn or not.
    DeliverOnReceipt,
    /// A stream that may go on is not looked at again.
    LostWake,
    /// What is delivered is delivered again with the next block.
    Twice,
    /// The frames of order of the first block of member 0 are lost on the way.
    Jump,
}

/// One cast of the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Message {
    pub(crate) from: u8,
    pub(crate) number: u8,
    pub(crate) order: Order,
    index: u8,
}

impl Message {
    pub(crate) fn bit(self) -> Set {
        1 << self.index
    }
}

/// A sealed block.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Block {
    pub(crate) bytes: Vec<u8>,
    pub(crate) messages: Vec<Message>,
    /// If it is stamped: how far its sender had been handed each stream.
    pub(crate) truth: Option<Vec<Seq>>,
}

/// All that there is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State<L, O> {
    pub(crate) members: Vec<Member<L, O>>,
    pub(crate) streams: Vec<Vec<Arc<Block>>>,
    /// What each message is an effect of, by index.
    pub(crate) pasts: Vec<Set>,
    pub(crate) broken: BTreeSet<Law>,
}

/// What may happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Cast(usize),
    Seal(usize),
    Receive {
        to: usize,
        from: usize,
    },
    Poll(usize),
    /// It casts nothing more, and wants to go.
    Leave(usize),
    /// It says goodbye and is gone.
    Go(usize),
    /// The goodbye has come, after the end of the stream.
    Told {
        to: usize,
        from: usize,
    },
}

/// What is explored.
#[derive(Debug)]
pub(crate) struct Group<L> {
    options: TotalOptions,
    pub(crate) pace: Pace,
    script: Vec<Vec<Message>>,
    pub(crate) fault: Option<Fault>,
    /// Who leaves when it has cast everything.
    leavers: Vec<usize>,
    layer: PhantomData<fn() -> L>,
}

impl<L: Subject> Group<L> {
    pub(crate) fn new(options: TotalOptions, pace: Pace, script: Vec<Vec<Order>>) -> Self {
        let mut index = 0..;
        let mut message = |from: usize, (number, order): (usize, Order)| Message {
            from: from as u8,
            number: number as u8,
            order,
            index: index.next().expect("a short script"),
        };
        let script = script
            .into_iter()
            .enumerate()
            .map(|(from, casts)| casts.into_iter().enumerate().map(|cast| message(from, cast)).collect())
            .collect();
        Self { options, pace, script, fault: None, leavers: Vec::new(), layer: PhantomData }
    }

    pub(crate) fn broken_by(self, fault: Fault) -> Self {
        Self { fault: Some(fault), ..self }
    }

    pub(crate) fn left_by(self, leavers: &[usize]) -> Self {
        Self { leavers: leavers.to_vec(), ..self }
    }

    /// The first sequence of a member's stream: another one for each, and long on the wire.
    pub(crate) fn start(rank: usize) -> Seq {
        Seq((rank as u64 + 1) << 48)
    }

    fn all(&self) -> usize {
        self.script.len()
    }

    /// Everything that was cast is delivered at everybody who is still there.
    fn is_complete(&self, state: &State<L, L::Out>) -> bool {
        let cast = self.script.iter().flatten().fold(0, |set, message| set | message.bit());
        let is_through = |(at, member): (usize, &Member<L, L::Out>)| {
            member.is_gone || (member.knowledge.have == cast && !self.leavers.contains(&at))
        };
        state.members.iter().enumerate().all(is_through)
    }

    fn may_go(&self, state: &State<L, L::Out>, at: usize) -> bool {
        let member = &state.members[at];
        let is_settled = (0..self.all())
            .filter(|&other| other != at && !member.told[other])
            .all(|other| state.members[other].passed[at] == state.streams[at].len() as u64);
        member.is_leaving && is_settled && member.open.is_empty()
    }
}

impl<L: Subject> stateright::Model for Group<L> {
    type State = State<L, L::Out>;
    type Action = Action;

    fn init_states(&self) -> Vec<Self::State> {
        let starts: Vec<Seq> = (0..self.all()).map(Self::start).collect();
        let member = |at: usize| {
            let (layer, out) = L::halves(Rank(at as u16), &starts, self.options);
            Member::new(layer, out, Knowledge::new(starts.len()), starts.len())
        };
        vec![State {
            members: (0..self.all()).map(member).collect(),
            streams: vec![Vec::new(); self.all()],
            pasts: vec![0; self.script.iter().flatten().count()],
            broken: BTreeSet::new(),
        }]
    }

    fn actions(&self, state: &Self::State, actions: &mut Vec<Action>) {
        let is_fine = self.pace != Pace::Coarse;
        for (at, member) in state.members.iter().enumerate().filter(|(_, member)| !member.is_gone) {
            let has_cast_all = member.cast as usize == self.script[at].len();
            if !has_cast_all {
                actions.push(Action::Cast(at));
            }
            if is_fine && !member.open.is_empty() {
                actions.push(Action::Seal(at));
            }
            if is_fine && member.has_work(at, &state.streams) {
                actions.push(Action::Poll(at));
            }
            if has_cast_all && self.leavers.contains(&at) && !member.is_leaving {
                actions.push(Action::Leave(at));
            }
            if self.may_go(state, at) {
                actions.push(Action::Go(at));
            }
            for from in (0..self.all()).filter(|&from| from != at) {
                let (held, all) = (member.held[from], state.streams[from].len() as u64);
                if held < all {
                    actions.push(Action::Receive { to: at, from });
                }
                if state.members[from].is_gone && member.passed[from] == all && !member.told[from] {
                    actions.push(Action::Told { to: at, from });
                }
            }
        }
    }

    fn next_state(&self, last: &Self::State, action: Action) -> Option<Self::State> {
        let mut state = last.clone();
        let actor = match action {
            Action::Cast(at) => {
                let message = self.script[at][state.members[at].cast as usize];
                self.cast(&mut state, at, message);
                if self.pace == Pace::Coarse {
                    self.seal(&mut state, at);
                }
                at
            }
            Action::Seal(at) => {
                self.seal(&mut state, at);
                at
            }
            Action::Receive { to, from } => {
                state.members[to].held[from] += 1;
                self.show(&mut state, to, from);
                to
            }
            Action::Poll(at) => {
                self.poll(&mut state, at);
                at
            }
            Action::Leave(at) => {
                state.members[at].is_leaving = true;
                at
            }
            Action::Go(at) => {
                state.members[at].out.retire();
                state.members[at].is_gone = true;
                return Some(state);
            }
            Action::Told { to, from } => {
                self.told(&mut state, to, from);
                to
            }
        };
        if self.pace == Pace::Coarse {
            self.poll(&mut state, actor);
        }
        if state.members[actor].layer.misbehaved() > 0 {
            state.broken.insert(Law::Manners);
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let kept = |law: Law, holds: fn(&Self, &Self::State) -> bool| Property::always(law.name(), holds);
        vec![
            kept(Law::Fifo, |_, state| !state.broken.contains(&Law::Fifo)),
            kept(Law::Causal, |_, state| !state.broken.contains(&Law::Causal)),
            kept(Law::Total, |_, state| has_one_order(state)),
            kept(Law::TimestampTruth, |_, state| !state.broken.contains(&Law::TimestampTruth)),
            kept(Law::Manners, |_, state| !state.broken.contains(&Law::Manners)),
            kept(Law::Progress, |group, state| {
                let mut actions = Vec::new();
                group.actions(state, &mut actions);
                let is_over = actions.is_empty();
                !state.broken.contains(&Law::Progress) && (!is_over || group.is_complete(state))
            }),
        ]
    }
}
