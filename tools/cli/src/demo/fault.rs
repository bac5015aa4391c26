//! Faults of a subscriber, asked for by name: a verdict that cannot fail proves nothing.

use serde::{Deserialize, Serialize};

/// What a subscriber does to one message that was delivered to it, before it hashes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(super) enum FaultName {
    /// Flips one bit of the message.
    FlipDelivered,
    /// Leaves the message out.
    DropDelivered,
}

/// A fault and the message that it strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DeliveryFault {
    pub(super) name: FaultName,
    /// The message, counted from 0.
    pub(super) at: u64,
}

impl DeliveryFault {
    /// What the subscriber hashes in the place of `message`, the `index`th that was delivered; `None` for nothing.
    pub(super) fn strike<'a>(self, index: u64, message: &'a [u8], copy: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        if index != self.at {
            return Some(message);
        }
        match self.name {
            FaultName::DropDelivered => None,
            FaultName::FlipDelivered => {
                copy.clear();
                copy.extend_from_slice(message);
                let middle = copy.len() / 2;
                copy.get_mut(middle).into_iter().for_each(|byte| *byte ^= 1);
                Some(copy)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_one_message_and_no_other() {
        let mut copy = Vec::new();
        let flip = DeliveryFault { name: FaultName::FlipDelivered, at: 3 };
        assert_eq!(flip.strike(2, b"abc", &mut copy), Some(&b"abc"[..]));
        assert_eq!(flip.strike(3, b"abc", &mut copy), Some(&b"acc"[..]));
        let drop = DeliveryFault { name: FaultName::DropDelivered, at: 0 };
        assert_eq!(drop.strike(0, b"abc", &mut copy), None);
        assert_eq!(drop.strike(1, b"abc", &mut copy), Some(&b"abc"[..]));
    }
}
