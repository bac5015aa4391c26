//! The state of an application: which messages have taken effect, in a form that does not depend on how those of one view were ordered.

use sistrum_membership::{Snapshot, StateBlock};
use sistrum_ordering::{ViewMember, ViewNumber};

/// See the module.
pub(crate) struct State {
    /// All messages that have taken effect, by numbers of their own.
    taken: Vec<u64>,
    /// What I have cast, and in which view: it takes effect there.
    mine: Vec<(Option<ViewNumber>, u64)>,
    number: ViewNumber,
    padding: usize,
    /// Members write down the same in different orders.
    salt: u64,
    /// What has come of the domain that is being given.
    coming: Vec<u8>,
}

/// Its domains, in their order.
const DOMAINS: [&str; 3] = ["messages", "nothing", "padding"];

impl State {
    pub(crate) fn new(me: ViewMember, padding: usize) -> Self {
        let (taken, mine, coming) = (Vec::new(), Vec::new(), Vec::new());
        Self { taken, mine, number: ViewNumber(0), padding, salt: me.boot.0 / 1_000, coming }
    }

    /// What I have had counts for nothing.
    pub(crate) fn forget(&mut self) {
        (self.taken, self.mine, self.coming) = (Vec::new(), Vec::new(), Vec::new());
    }

    /// Whether it has anything.
    pub(crate) fn has_any(&self) -> bool {
        !self.taken.is_empty() || !self.coming.is_empty()
    }

    /// Somebody new, who has nothing.
    pub(crate) fn begin_as(&mut self, me: ViewMember) {
        assert!(!self.has_any(), "who had something was told that it is lost");
        *self = Self::new(me, self.padding);
    }

    /// What is handed over takes effect.
    pub(crate) fn deliver(&mut self, message: u64) {
        self.taken.push(message);
    }

    /// So does what I cast and am not handed, in the view that it goes into.
    pub(crate) fn cast(&mut self, number: Option<ViewNumber>, message: u64) {
        self.mine.push((number, message));
        self.settle();
    }

    fn settle(&mut self) {
        let number = self.number;
        let due = self.mine.extract_if(.., |(into, _)| into.is_none_or(|into| into <= number));
        self.taken.extend(due.map(|(_, message)| message));
    }

    /// A view begins; tells what the state is there, in short.
    pub(crate) fn enter(&mut self, number: ViewNumber) -> u64 {
        let digest = self.digest();
        self.number = number;
        self.settle();
        digest
    }

    /// The number of messages, and their sum and exclusive or, each well mixed.
    fn digest(&self) -> u64 {
        let mixed = |number: &u64| number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        let sum = self.taken.iter().map(mixed).fold(self.taken.len() as u64, u64::wrapping_add);
        self.taken.iter().map(mixed).fold(sum, |all, one| all ^ one.wrapping_mul(0xbf58_476d_1ce4_e5b9))
    }

    pub(crate) fn write(&self, snapshot: &mut Snapshot) {
        let mut taken = self.taken.clone();
        fastrand::Rng::with_seed(self.salt).shuffle(&mut taken);
        let messages = snapshot.domain(DOMAINS[0]);
        taken.iter().for_each(|number| messages.extend_from_slice(&number.to_le_bytes()));
        snapshot.domain(DOMAINS[1]);
        snapshot.domain(DOMAINS[2]).resize(self.padding, self.salt as u8);
    }

    /// Takes a block; tells whether it was the last one.
    pub(crate) fn take(&mut self, block: &StateBlock<'_>) -> bool {
        if block.is_first() {
            self.coming.clear();
        }
        assert_eq!(self.coming.len() as u64, block.offset, "blocks of a domain follow each other");
        self.coming.extend_from_slice(block.bytes);
        if !block.is_last() {
            return false;
        }
        if block.domain == DOMAINS[0] {
            let (numbers, rest) = self.coming.as_chunks::<8>();
            assert!(rest.is_empty(), "whole numbers");
            self.taken = numbers.iter().map(|number| u64::from_le_bytes(*number)).collect();
        } else if block.domain == DOMAINS[2] {
            let is_whole =
                self.coming.len() == self.padding && self.coming.iter().all(|byte| *byte == self.coming[0]);
            assert!(is_whole, "padding of one member");
        }
        block.domain == DOMAINS[2]
    }
}
