//! The application of one member in one view: it casts, refuses, replies, and judges what it is handed.

use crate::plan::{Kind, Plan};
use fastrand::Rng;
use sistrum_ordering::{Order, Promise};
use sistrum_transport::reliable::{Layer, Message, Refused, Sender};
use std::ops::ControlFlow;

/// The sending half of a layer's streams.
pub(crate) type Stream<L> = Sender<<L as Layer>::Outbound>;

/// See the module. Ranks are those of the view.
pub(crate) struct App {
    pub(crate) me: u16,
    pub(crate) left: u32,
    /// What was cast, in order.
    pub(crate) cast: Vec<Promise>,
    /// Messages of each that were delivered.
    pub(crate) seen: Vec<u32>,
    /// Total messages as they were delivered, and those of them that are safe.
    pub(crate) totals: Vec<(u16, u32)>,
    pub(crate) safe_totals: usize,
    /// Of each, the last message before which everything was delivered as safe.
    pub(crate) safe: Vec<u32>,
    /// How often a cast was refused because the view was about to change.
    pub(crate) frozen_out: u32,
    rng: Rng,
}

impl App {
    pub(crate) fn new(plan: &Plan, members: usize, me: u16, seed: u64) -> Self {
        Self {
            me,
            left: plan.casts,
            cast: Vec::new(),
            seen: vec![0; members],
            totals: Vec::new(),
            safe_totals: 0,
            safe: vec![0; members],
            frozen_out: 0,
            rng: Rng::with_seed(seed),
        }
    }

    fn message(&mut self, promise: Promise, longest: usize) -> Vec<u8> {
        let mut text = vec![promise.order as u8 | if promise.safe { 0x80 } else { 0 }];
        text.extend((self.cast.len() as u32).to_le_bytes());
        self.seen.iter().for_each(|seen| text.extend(seen.to_le_bytes()));
        let len = text.len() + self.rng.usize(..longest);
        text.resize(len, 7);
        text
    }

    /// Casts one message; `false` when it is refused.
    pub(crate) fn try_cast<L: Kind>(&mut self, plan: &Plan, sender: &mut Stream<L>) -> bool {
        let order = plan.orders[self.rng.usize(..plan.orders.len())];
        let promise = Promise { order, safe: order != Order::Fifo && self.rng.f64() < plan.safe };
        let message = self.message(promise, plan.longest);
        match sender.cast_as(L::class(promise), &message) {
            Ok(()) => {
                self.cast.push(promise);
                self.left -= 1;
                true
            }
            Err(Refused::Full { .. }) => false,
            Err(Refused::ViewChanging) => {
                self.frozen_out += 1;
                false
            }
            Err(refused) => panic!("{refused}"),
        }
    }

    /// Casts a few now and then.
    pub(crate) fn begin_cycle<L: Kind>(&mut self, plan: &Plan, sender: &mut Stream<L>) -> usize {
        let mut work = 0;
        while self.left > 0 && self.rng.u8(..3) > 0 && self.try_cast::<L>(plan, sender) {
            work += 1;
        }
        work
    }

    /// Takes and judges one message, or refuses it.
    pub(crate) fn deliver<L: Kind>(
        &mut self,
        plan: &Plan,
        sender: &mut Stream<L>,
        message: &Message<'_>,
    ) -> ControlFlow<()> {
        if self.rng.f64() < plan.refusals {
            return ControlFlow::Break(());
        }
        let (from, bytes) = (message.from().0, message.bytes());
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (order, is_safe) = (Order::ALL[usize::from(bytes[0] & 0x7f)], bytes[0] & 0x80 != 0);
        let number = word(1);
        if from == self.me {
            assert_eq!(order, Order::Total, "only totals come back");
            let before = &self.cast[..number as usize];
            let totals = before.iter().filter(|promise| promise.order == Order::Total).count();
            assert_eq!(totals, self.own_totals(), "my own totals come back in order");
        } else {
            assert_eq!(number, self.seen[from as usize], "{} has {number} of {from}", self.me);
        }
        if order != Order::Fifo {
            for other in (0..self.seen.len()).filter(|other| *other != from as usize) {
                let named = word(5 + 4 * other);
                let is_there = other == self.me as usize || self.seen[other] >= named;
                assert!(is_there, "{} has {number} of {from} before {named} of {other}", self.me);
            }
        }
        if self.left > 0 && self.rng.f64() < plan.replies && !self.try_cast::<L>(plan, sender) {
            return ControlFlow::Break(());
        }
        self.seen[from as usize] = number + 1;
        if order == Order::Total {
            self.totals.push((from, number));
        }
        if is_safe && order == Order::Total {
            self.safe_totals = self.totals.len();
        }
        if is_safe {
            self.safe[from as usize] = number + 1;
        }
        ControlFlow::Continue(())
    }

    fn own_totals(&self) -> usize {
        self.totals.iter().filter(|(from, _)| *from == self.me).count()
    }

    /// Everything that this member cast and that comes back has.
    pub(crate) fn has_own(&self) -> bool {
        self.own_totals() == self.cast.iter().filter(|promise| promise.order == Order::Total).count()
    }
}
