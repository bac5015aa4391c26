//! Faults of a subscriber, asked for by name: a verdict that cannot fail proves nothing.

use serde::{Deserialize, Serialize};

use super::api::Order;
use super::frame::Handed;

/// What a subscriber does to what was delivered to it, before it hashes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "they are what the option is told")]
pub(super) enum FaultName {
    /// Flips one bit of a message.
    FlipDelivered,
    /// Leaves a message out.
    DropDelivered,
    /// Takes a message after one that must not come before it, as far as the order promises.
    SwapDelivered,
}

/// A fault and the message that it strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DeliveryFault {
    pub(super) name: FaultName,
    /// The message, counted from 0.
    pub(super) at: u64,
}

/// A message as it is taken: whose, what its publisher had been handed, and the capture's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken<'a> {
    pub(super) from: u16,
    pub(super) handed: Handed<'a>,
    pub(super) message: &'a [u8],
}

/// A subscriber that cheats once.
#[derive(Debug)]
pub(super) struct Cheat {
    fault: DeliveryFault,
    /// Whether only messages of one publisher are swapped: across publishers, nothing is promised.
    within_stream: bool,
    order: Order,
    index: u64,
    held: Option<HeldBack>,
}

/// A publisher's messages that are held back, from one on.
#[derive(Debug)]
struct HeldBack {
    from: u16,
    /// Messages of the same publisher before the first of them.
    before: u32,
    messages: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Cheat {
    /// One that strikes what so many publishers cast in this order.
    pub(super) fn new(fault: DeliveryFault, order: Order, publishers: usize) -> Self {
        let within_stream = publishers == 1 || !order.spans_senders();
        Self { fault, within_stream, order, index: 0, held: None }
    }

    /// Gives to `take` what the subscriber takes in the place of `delivered`, before which so many messages of its publisher came.
    pub(super) fn strike(&mut self, delivered: Taken<'_>, before: u32, mut take: impl FnMut(Taken<'_>)) {
        let is_struck = self.index == self.fault.at;
        self.index += 1;
        match self.fault.name {
            FaultName::SwapDelivered => self.swap(delivered, before, is_struck, take),
            _ if !is_struck => take(delivered),
            FaultName::DropDelivered => {}
            FaultName::FlipDelivered => {
                let mut copy = delivered.message.to_vec();
                let middle = copy.len() / 2;
                copy.get_mut(middle).into_iter().for_each(|byte| *byte ^= 1);
                take(Taken { message: &copy, ..delivered });
            }
        }
    }

    /// Gives what is still held back: nothing more comes.
    pub(super) fn finish(&mut self, mut take: impl FnMut(Taken<'_>)) {
        let Some(HeldBack { from, messages, .. }) = self.held.take() else { return };
        messages.iter().for_each(|(handed, message)| take(Taken { from, handed: Handed(handed), message }));
    }

    /// Holds a publisher's stream back until something has come that must not overtake it.
    fn swap(&mut self, delivered: Taken<'_>, before: u32, is_struck: bool, mut take: impl FnMut(Taken<'_>)) {
        let copy = || (delivered.handed.0.to_vec(), delivered.message.to_vec());
        if is_struck {
            self.held = Some(HeldBack { from: delivered.from, before, messages: vec![copy()] });
            return;
        }
        match &mut self.held {
            Some(held) if held.from == delivered.from && !self.within_stream => held.messages.push(copy()),
            Some(held) => {
                let is_behind = match self.order {
                    _ if self.within_stream => held.from == delivered.from,
                    Order::Causal => {
                        let seen = delivered.handed.counts().nth(usize::from(held.from));
                        seen.is_some_and(|seen| seen > held.before)
                    }
                    Order::Unordered | Order::Fifo | Order::Total => true,
                };
                take(delivered);
                if is_behind {
                    self.finish(take);
                }
            }
            None => take(delivered),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is taken of messages (publisher, what it had been handed of the other, text).
    fn taken(name: FaultName, order: Order, messages: &[(u16, [u32; 2], &str)]) -> String {
        let mut cheat = Cheat::new(DeliveryFault { name, at: 1 }, order, 2);
        let (mut text, mut before) = (String::new(), [0; 2]);
        let mut take = |taken: Taken<'_>| text.push_str(std::str::from_utf8(taken.message).expect("text"));
        for (from, handed, message) in messages {
            let handed: Vec<u8> = handed.iter().flat_map(|count| count.to_le_bytes()).collect();
            let taken = Taken { from: *from, handed: Handed(&handed), message: message.as_bytes() };
            cheat.strike(taken, before[usize::from(*from)], &mut take);
            before[usize::from(*from)] += 1;
        }
        cheat.finish(&mut take);
        text
    }

    #[test]
    fn a_fault_strikes_one_message_and_no_other() {
        let messages = [(0, [0, 0], "a"), (0, [1, 0], "b"), (0, [2, 0], "c")];
        assert_eq!(taken(FaultName::FlipDelivered, Order::Fifo, &messages), "acc");
        assert_eq!(taken(FaultName::DropDelivered, Order::Fifo, &messages), "ac");
    }

    #[test]
    fn a_swap_breaks_what_the_order_promises_and_nothing_else() {
        // e is the first message of the other publisher that depends on b.
        let messages =
            [(0, [0, 0], "a"), (0, [1, 0], "b"), (1, [1, 0], "d"), (0, [2, 0], "c"), (1, [2, 1], "e")];
        let swapped = |order| taken(FaultName::SwapDelivered, order, &messages);
        assert_eq!(swapped(Order::Fifo), "adcbe", "within its stream");
        assert_eq!(swapped(Order::Total), "adbce", "across streams");
        assert_eq!(swapped(Order::Causal), "adebc", "an effect before its cause");
    }
}
