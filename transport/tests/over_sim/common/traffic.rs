//! Messages whose lengths lie where it hurts, and whose bytes are known.

use fastrand::Rng;
use sistrum_transport::reliable::{Outbound, Sender};
use sistrum_transport::wire::{HEADER_LEN, MAX_FRAME_OVERHEAD};

/// One message with bytes that no other one has.
pub(crate) fn draw_message<O: Outbound<Class = ()>>(
    rng: &mut Rng,
    sender: &Sender<O>,
    block: usize,
) -> Vec<u8> {
    let len = draw_len(rng, sender, block);
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes);
    bytes
}

fn draw_len<O: Outbound<Class = ()>>(rng: &mut Rng, sender: &Sender<O>, block: usize) -> usize {
    let largest = sender.max_message();
    let room = block - HEADER_LEN;
    let len = match rng.u8(0..20) {
        0 => 0,
        1..=10 => rng.usize(1..64),
        // Around what one block holds, whatever the frame adds.
        11..=13 => room - rng.usize(0..MAX_FRAME_OVERHEAD + 4),
        14 => sender.max_claim(()) + rng.usize(0..3) - 1,
        15 => (2 * room + 8).saturating_sub(rng.usize(0..24)),
        16 => rng.usize(0..=largest.min(LARGE)),
        // All of what is allowed, though not where that is very much.
        17 if largest < LARGE || rng.u8(0..8) == 0 => largest - rng.usize(0..2),
        _ => rng.usize(64..room + 64),
    };
    len.min(largest.max(sender.max_claim(())))
}

/// Longer messages cost time and try nothing new.
const LARGE: usize = 32_000;
