//! The application of one process: it casts, and writes down all that it is handed.

use fastrand::Rng;
use sistrum_membership::{Caster, Event, Sighting, StateBlock};
use sistrum_ordering::{Order, Promise, Rank, View, ViewMember, ViewNumber};
use sistrum_transport::reliable::Refused;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// A message: its sender's n-th in this order.
pub(crate) type Name = (ViewMember, u32);

/// What one incarnation was handed in one view.
#[derive(Debug, Clone)]
pub(crate) struct Stay {
    pub(crate) view: View,
    pub(crate) handed: Vec<Name>,
    /// Of each sender, the last of them.
    pub(crate) last: BTreeMap<ViewMember, u32>,
    pub(crate) totals: Vec<Name>,
    /// Between this view and the one before it.
    pub(crate) syncs: Vec<(ViewMember, Vec<u8>)>,
    pub(crate) is_over: bool,
}

/// The state of a group whose members keep one: by incarnation, what it has cast.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) cast: BTreeMap<u64, Vec<u32>>,
    /// How often all of it came from another one.
    pub(crate) taken: u32,
    incoming: Vec<u8>,
}

impl State {
    pub(crate) fn add(&mut self, (sender, number): Name) {
        self.cast.entry(sender.boot.0).or_default().push(number);
    }

    /// All of it but what this incarnation has cast from a number on.
    fn write(&self, out: &mut Vec<u8>, mine: Option<(u64, u32)>) {
        for (boot, numbers) in &self.cast {
            let is_in = |number: &&u32| mine.is_none_or(|(me, from)| me != *boot || **number < from);
            for number in numbers.iter().filter(is_in) {
                out.extend(boot.to_le_bytes());
                out.extend(number.to_le_bytes());
            }
        }
    }

    pub(crate) fn take(&mut self, block: &StateBlock<'_>) {
        if block.domain != "cast" {
            return;
        }
        if block.is_first() {
            self.incoming.clear();
        }
        self.incoming.extend_from_slice(block.bytes);
        if block.is_last() {
            self.taken += 1;
            self.cast.clear();
            for entry in std::mem::take(&mut self.incoming).chunks_exact(12) {
                let boot = u64::from_le_bytes(entry[..8].try_into().expect("eight bytes"));
                let number = u32::from_le_bytes(entry[8..].try_into().expect("four bytes"));
                self.cast.entry(boot).or_default().push(number);
            }
        }
    }
}

/// What was cast: in which view, in which order, and what of each sender its caster had been handed in that view.
#[derive(Debug, Clone)]
pub(crate) struct Cast {
    pub(crate) name: Name,
    pub(crate) view: Option<ViewNumber>,
    pub(crate) order: Order,
    pub(crate) seen: BTreeMap<ViewMember, u32>,
}

/// See the module.
pub(crate) struct App {
    pub(crate) stays: Vec<Stay>,
    pub(crate) numbers: BTreeMap<ViewMember, u32>,
    pub(crate) casts: Vec<Cast>,
    pub(crate) state: State,
    /// Messages that it had been handed at each sync cast.
    pub(crate) handed_at_sync: Vec<usize>,
    pub(crate) wedged: u32,
    /// What was told of the group while it could not be joined.
    pub(crate) stuck: Vec<Sighting>,
    pub(crate) resumed: u32,
    pub(crate) excluded: Vec<ViewNumber>,
    pub(crate) conflicts: u32,
    /// Casts that were refused because the view changed.
    pub(crate) changing: u64,
    pub(crate) flushed: u64,
    pub(crate) directs: Vec<Name>,
    syncs: Vec<(ViewMember, Vec<u8>)>,
    pub(crate) me: Option<ViewMember>,
    /// The last event was refused: it is offered again.
    pub(crate) was_refused: bool,
    /// Bytes of the state beside what was cast.
    pub(crate) padding: usize,
    longest: usize,
    refusals: f64,
    /// It takes so many events each time, and how many more this time.
    pub(crate) takes: usize,
    pub(crate) takes_more: usize,
    rng: Rng,
}

impl App {
    pub(crate) fn new(seed: u64, longest: usize, refusals: f64) -> Self {
        Self {
            stays: Vec::new(),
            numbers: BTreeMap::new(),
            casts: Vec::new(),
            state: State::default(),
            handed_at_sync: Vec::new(),
            wedged: 0,
            stuck: Vec::new(),
            resumed: 0,
            excluded: Vec::new(),
            conflicts: 0,
            changing: 0,
            flushed: 0,
            directs: Vec::new(),
            syncs: Vec::new(),
            me: None,
            was_refused: false,
            padding: 0,
            longest,
            refusals,
            takes: usize::MAX,
            takes_more: usize::MAX,
            rng: Rng::with_seed(seed),
        }
    }

    /// The next message, cast by whoever this process is when it is told of it.
    pub(crate) fn message(&mut self, promise: Promise) -> Vec<u8> {
        let mut text = vec![promise.order as u8];
        let me = self.me.expect("it was told of a view");
        text.extend(me.boot.0.to_le_bytes());
        text.extend(self.numbers.get(&me).copied().unwrap_or(0).to_le_bytes());
        text.resize(text.len() + self.rng.usize(..self.longest), 7);
        text
    }

    /// It was taken.
    pub(crate) fn sent(&mut self, order: Order, view: Option<ViewNumber>) {
        let me = self.me.expect("a view");
        let stay = self.stays.last().expect("a view");
        let is_told = view == Some(stay.view.id().number);
        let seen = if is_told { stay.last.clone() } else { BTreeMap::new() };
        let name = (me, self.numbers.get(&me).copied().unwrap_or(0));
        // My totals come back to me.
        if order != Order::Total {
            self.state.add(name);
        }
        self.casts.push(Cast { name, view, order, seen });
        *self.numbers.entry(self.me.expect("a view")).or_default() += 1;
    }

    pub(crate) fn handle(&mut self, caster: &mut Caster<'_>, event: Event<'_>) -> ControlFlow<()> {
        self.was_refused = self.rng.f64() < self.refusals || self.takes_more == 0;
        if self.was_refused {
            return ControlFlow::Break(());
        }
        self.takes_more -= 1;
        match event {
            Event::View(view) => self.enter(view),
            Event::Deliver(message) => {
                self.take(message.from(), message.bytes());
                if self.rng.f64() < 0.02 && self.me.is_some() {
                    let promise = Promise::from(Order::Total);
                    let text = self.message(promise);
                    match caster.cast(promise, &text) {
                        Ok(()) => self.sent(promise.order, caster.view()),
                        Err(Refused::ViewChanging) => self.changing += 1,
                        Err(Refused::Full { .. } | Refused::Left) => {}
                        Err(refused) => panic!("{refused}"),
                    }
                }
            }
            Event::Direct(message) => {
                let (sender, number) = self.name(message.from(), message.bytes());
                self.directs.push((sender, number));
            }
            Event::Sync { from, bytes, .. } => {
                self.syncs.push((from, bytes.to_vec()));
                self.handed_at_sync.push(self.stays.iter().map(|stay| stay.handed.len()).sum());
            }
            Event::Wedged(heard) => {
                let members = self.stays.last().expect("a view").view.members().len();
                assert!(!heard.is_empty() && heard.len() <= members, "{heard:?} of {members}");
                self.wedged += 1;
            }
            Event::Resumed => self.resumed += 1,
            Event::Stuck(group) => self.stuck.push(group.clone()),
            Event::Excluded(number) => {
                self.excluded.push(number);
                self.me = None;
            }
            Event::Conflict(..) => self.conflicts += 1,
            Event::Flushed(_) => self.flushed += 1,
            Event::Snapshot(snapshot) => {
                let (view, me) = (snapshot.view(), self.me);
                // What I have cast ahead into the view of those who join is not in it.
                let is_ahead = |cast: &&Cast| Some(cast.name.0) == me && cast.view >= Some(view);
                let ahead = self.casts.iter().find(is_ahead).filter(|_| !snapshot.is_for_reader());
                let mine = ahead.map(|cast| (cast.name.0.boot.0, cast.name.1));
                if self.padding > 0 {
                    snapshot.domain("padding").resize(self.padding, 7);
                }
                self.state.write(snapshot.domain("cast"), mine);
            }
            Event::State(block) => self.state.take(&block),
            Event::TransferFailed(why) => panic!("{why}"),
            Event::Left(rank) => panic!("{rank} said goodbye"),
            Event::Letter { .. } => panic!("nobody writes"),
            Event::HeldBack(_) | Event::Released(..) => panic!("nobody asked who holds back"),
        }
        ControlFlow::Continue(())
    }

    fn enter(&mut self, view: &View) {
        let me = view.members()[view.me().0 as usize];
        if let Some(before) = self.stays.last_mut() {
            assert!(before.view.id() != view.id(), "told twice");
            if self.me == Some(me) {
                assert!(view.id().number > before.view.id().number, "views only grow");
                assert_eq!(view.id().instance, before.view.id().instance);
                before.is_over = true;
            }
        }
        self.me = Some(me);
        let syncs = std::mem::take(&mut self.syncs);
        self.stays.push(Stay {
            view: view.clone(),
            handed: Vec::new(),
            last: BTreeMap::new(),
            totals: Vec::new(),
            syncs,
            is_over: false,
        });
    }

    fn name(&self, from: Rank, bytes: &[u8]) -> Name {
        let stay = self.stays.last().expect("nothing is delivered before a view");
        let sender = *stay.view.member(from).expect("a member");
        let boot = u64::from_le_bytes(bytes[1..9].try_into().expect("eight bytes"));
        assert_eq!(boot, sender.boot.0, "{sender:?} is not the rank {from} of {}", stay.view);
        (sender, u32::from_le_bytes(bytes[9..13].try_into().expect("four bytes")))
    }

    fn take(&mut self, from: Rank, bytes: &[u8]) {
        let (sender, number) = self.name(from, bytes);
        let stay = self.stays.last_mut().expect("a view");
        let of_sender = stay.handed.iter().rev().find(|(who, _)| *who == sender);
        // What is held over a change is cast in the next view.
        if let Some((_, before)) = of_sender {
            assert!(number > *before, "{number} of {sender:?} after {before}");
        }
        stay.handed.push((sender, number));
        stay.last.insert(sender, number);
        self.state.add((sender, number));
        if bytes[0] == Order::Total as u8 {
            stay.totals.push((sender, number));
        }
    }
}
