//! What can go wrong in a run, how often it was drawn, and how often it took effect.

use std::fmt;

macro_rules! faults {
    ($($name:ident: $shown:literal,)*) => {
        /// Everything that a scenario can draw.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Fault {
            $($name,)*
        }

        impl Fault {
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            pub(crate) fn shown(self) -> &'static str {
                match self {
                    $(Self::$name => $shown,)*
                }
            }
        }
    };
}

faults! {
    Loss: "datagrams lost",
    Duplication: "datagrams doubled",
    Reordering: "datagrams overtaken",
    Tail: "datagrams very late",
    Corruption: "datagrams corrupted",
    Truncation: "datagrams cut short",
    BlockLoss: "blocks lost from runs",
    BlockDuplication: "blocks doubled",
    BlockCorruption: "blocks corrupted",
    OneWayCut: "datagrams lost to one-way cuts",
    Partition: "datagrams lost to partitions",
    Overflow: "receive buffers overflowed",
    Exhaustion: "blocks without a place in the pool",
    BusySend: "sends that found no room",
    ShortBatch: "batches cut short",
    Pause: "pauses",
    LongPause: "pauses longer than any timeout",
    Drift: "drifting clocks",
    Jump: "clocks that jumped",
    LateStart: "late starts",
    Wrap: "sequences beyond their low half",
    Refusal: "events that a handler refused",
    Stall: "readers that stopped for a while",
    Reply: "replies from inside a handler",
    Send: "messages to one member alone",
    Fragments: "messages in parts",
    Empty: "empty messages",
    Onlooker: "messages that a passive reader got",
    FullWindow: "casts that found the window full",
    Goodbye: "members that said goodbye and went",
    LostGoodbye: "goodbyes that somebody never heard",
    Crash: "crashes",
    Restart: "members that came back",
    Rebirth: "groups started again",
}

/// A count for each fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counts([u64; Fault::ALL.len()]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; Fault::ALL.len()])
    }
}

impl Counts {
    pub(crate) fn add(&mut self, fault: Fault, count: u64) {
        self.0[fault as usize] += count;
    }

    pub(crate) fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    pub(crate) fn add_all(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }
}

/// What was drawn in how many runs, and how often each took effect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    pub(crate) drawn: Counts,
    pub(crate) effective: Counts,
}

impl Histogram {
    pub(crate) fn add(&mut self, drawn: &Counts, effective: &Counts) {
        self.drawn.add_all(drawn);
        self.effective.add_all(effective);
    }

    /// What was drawn and never took effect: it was not tested.
    pub(crate) fn idle(&self) -> Vec<Fault> {
        let is_idle = |fault: &Fault| self.drawn.of(*fault) > 0 && self.effective.of(*fault) == 0;
        Fault::ALL.iter().copied().filter(is_idle).collect()
    }
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>12} {:>12}  fault", "drawn in", "took effect")?;
        Fault::ALL.iter().try_for_each(|&fault| {
            writeln!(f, "{:>12} {:>12}  {}", self.drawn.of(fault), self.effective.of(fault), fault.shown())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_drawn_and_never_happened_is_found() {
        let mut histogram = Histogram::default();
        let (mut drawn, mut effective) = (Counts::default(), Counts::default());
        drawn.add(Fault::Loss, 1);
        drawn.add(Fault::Crash, 1);
        effective.add(Fault::Loss, 17);
        histogram.add(&drawn, &effective);
        assert_eq!(histogram.idle(), [Fault::Crash]);
    }
}
