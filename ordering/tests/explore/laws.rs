//! What must hold, and what really happened before what.

use crate::model::{Message, State};
use sistrum_ordering::Order;
use std::collections::BTreeSet;

/// A promise that an interleaving may break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Law {
    /// Each sender's casts come in its order, without gaps, whatever they ask for.
    Fifo,
    /// Nothing comes before its cause.
    Causal,
    /// All members deliver prefixes of one order of total casts.
    Total,
    /// A stamp decodes to what its sender had been handed when it was written.
    TimestampTruth,
    /// When nothing can happen any more, all is delivered everywhere, and nothing goes round for ever.
    Progress,
    /// Nobody who keeps to the protocol is accused.
    Manners,
}

/// A set of messages.
pub(crate) type Set = u32;

/// What one member has been handed, as one who sees everything writes it down.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Knowledge {
    /// What is delivered here; my own casts that do not come back to me count from the beginning.
    pub(crate) have: Set,
    /// What my next cast is an effect of.
    pub(crate) known: Set,
    pub(crate) totals: Vec<Message>,
    /// The number of the next message of each sender.
    next: Vec<u8>,
}

impl Law {
    pub(crate) const ALL: [Self; 6] =
        [Self::Fifo, Self::Causal, Self::Total, Self::TimestampTruth, Self::Progress, Self::Manners];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fifo => "Fifo",
            Self::Causal => "Causal",
            Self::Total => "Total",
            Self::TimestampTruth => "TimestampTruth",
            Self::Progress => "Progress",
            Self::Manners => "Manners",
        }
    }
}

impl Knowledge {
    pub(crate) fn new(members: usize) -> Self {
        Self { have: 0, known: 0, totals: Vec::new(), next: vec![0; members] }
    }

    /// I cast `message`; returns what it is an effect of.
    pub(crate) fn cast(&mut self, message: Message) -> Set {
        let past = self.known;
        if message.order != Order::Fifo {
            self.known |= message.bit();
        }
        if message.order != Order::Total {
            self.have |= message.bit();
        }
        past
    }

    /// `message` with this past is delivered to `me`.
    pub(crate) fn deliver(&mut self, me: usize, message: Message, past: Set, broken: &mut BTreeSet<Law>) {
        let next = &mut self.next[message.from as usize];
        // Of my own, only the totals come.
        let is_next =
            if message.from as usize == me { *next <= message.number } else { *next == message.number };
        *next = message.number + 1;
        if !is_next || self.have & message.bit() != 0 {
            broken.insert(Law::Fifo);
        }
        self.have |= message.bit();
        if message.order != Order::Fifo {
            if past & !self.have != 0 {
                broken.insert(Law::Causal);
            }
            self.known |= past | message.bit();
        }
        if message.order == Order::Total {
            self.totals.push(message);
        }
    }
}

/// Whether each member's total casts are a prefix of the longest list.
pub(crate) fn has_one_order<L, O>(state: &State<L, O>) -> bool {
    let lists = || state.members.iter().map(|member| &member.knowledge.totals);
    let longest = lists().max_by_key(|list| list.len()).expect("a group has members");
    lists().all(|list| longest.starts_with(list))
}
