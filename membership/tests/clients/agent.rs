//! A process that asks: it starts anew, falls silent, and says goodbye.

use crate::book::{Asked, Book};
use fastrand::Rng;
use sistrum_membership::{AskError, AskId, ClientEnd, ClientEvent, ClientTuning, Dest, Want};
use sistrum_ordering::{BootId, Endpoint, ViewMember};
use sistrum_transport::time::Instant;
use std::collections::BTreeMap;

pub(crate) struct Agent {
    pub(crate) endpoint: Endpoint,
    tuning: ClientTuning,
    pub(crate) end: Option<ClientEnd>,
    /// Who it was when it was looked at last.
    pub(crate) me: ViewMember,
    /// It is silent, and hears nothing.
    pub(crate) wakes: u64,
    /// What it has asked, by name, oldest first.
    asks: BTreeMap<AskId, u64>,
    is_leaving: bool,
    /// How often it was attached, and which host has heard it since, and when.
    pub(crate) attached: u64,
    pub(crate) heard: Vec<(ViewMember, u64)>,
}

impl Agent {
    pub(crate) fn new(at: u16, tuning: ClientTuning) -> Self {
        let endpoint = Endpoint(([10, 0, 1, 1], 100 + at).into());
        let me = ViewMember { endpoint, boot: BootId(0) };
        Self {
            endpoint,
            tuning,
            end: None,
            me,
            wakes: 0,
            asks: BTreeMap::new(),
            is_leaving: false,
            attached: 0,
            heard: Vec::new(),
        }
    }

    /// Starts anew, whatever became of it before.
    pub(crate) fn start(&mut self, rng: &mut Rng, book: &mut Book) {
        if self.end.is_some() {
            book.count("restarts");
            book.over.insert(self.me);
        }
        self.me.boot = BootId(self.me.boot.0 + rng.u64(1..4));
        self.end = Some(ClientEnd::new(self.me, self.tuning, rng.u64(..)));
        (self.is_leaving, self.wakes) = (false, 0);
        self.asks.clear();
    }

    /// Its process is gone without a word.
    pub(crate) fn crash(&mut self, book: &mut Book) {
        book.over.insert(self.me);
        self.end = None;
    }

    /// What stands for a letter that it says as one that is attached: to whom, and which time.
    pub(crate) fn stamp(&self) -> Option<(ViewMember, u64)> {
        Some((self.end.as_ref()?.host()?, self.attached))
    }

    pub(crate) fn is_awake(&self, now: u64) -> bool {
        self.end.is_some() && self.wakes <= now
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    pub(crate) fn leave(&mut self, now: u64, book: &mut Book) {
        let Some(end) = &mut self.end else { return };
        book.over.insert(self.me);
        self.is_leaving = true;
        end.leave(Instant(now));
        book.count("goodbyes");
    }

    pub(crate) fn ask(&mut self, now: u64, rng: &mut Rng, book: &mut Book) {
        let Some(end) = &mut self.end else { return };
        let wants = [Want::None, Want::N(1), Want::N(2), Want::N(99), Want::All, Want::Majority];
        let want = wants[rng.usize(..wants.len())];
        let dest = if rng.u8(..4) == 0 { Dest::Any } else { Dest::All };
        let name = book.asked.len() as u64;
        let request = [b"ask:", &name.to_le_bytes()[..]].concat();
        match end.ask(Instant(now), dest, want, &request) {
            Ok(ask) => {
                book.asked.insert(name, Asked { want, dest, is_over: false });
                self.asks.insert(ask, name);
                book.count(if dest == Dest::Any { "any" } else { "asks" });
            }
            Err(AskError::Full { .. }) => {
                assert!(!self.asks.is_empty(), "nothing is open, and no more may be");
                book.count("window full");
            }
            Err(AskError::Left) => assert!(self.is_leaving, "it has not left"),
            Err(other) => panic!("{other}"),
        }
    }

    /// It gives up one of its requests, which is then executed only where it was said.
    pub(crate) fn give_up(&mut self, rng: &mut Rng, book: &mut Book) {
        let Some((ask, name)) = rng.choice(&self.asks).map(|(ask, name)| (*ask, *name)) else { return };
        let was_said = self.end.as_mut().and_then(|end| end.give_up(ask));
        self.asks.remove(&ask);
        book.give_up(name, was_said.expect("it was not over"));
    }

    /// What it was told is compared with what is so. `is_dropped` says whether somebody has struck this client.
    pub(crate) fn listen(&mut self, book: &mut Book, is_dropped: impl Fn(&Book, ViewMember) -> bool) {
        let Some(end) = &mut self.end else { return };
        let mut is_lost = self.is_leaving;
        while let Some(event) = end.poll_event() {
            match event {
                ClientEvent::Attached(_) => {
                    self.attached += 1;
                    self.heard.clear();
                    book.count("attached");
                }
                ClientEvent::Detached(_) => book.count("detached"),
                ClientEvent::Full => book.count("clients full"),
                ClientEvent::Dropped => {
                    assert!(is_dropped(book, self.me), "{:?} is told that it was struck", self.me);
                    book.count("dropped");
                    is_lost = true;
                }
                ClientEvent::Done { ask, outcome, replies } => {
                    let name = self.asks.remove(&ask).expect("it was asked");
                    book.judge(self.me, name, outcome, &replies, is_lost);
                }
                _ => {}
            }
        }
        self.me = end.me();
    }
}
