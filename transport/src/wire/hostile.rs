//! A million hostile inputs for every decoder: they may refuse, they may not panic.

use super::*;
use crate::id::{GroupId, GroupInstance, Rank, Seq, ViewNumber};

const INPUTS: usize = 1_000_000;

/// Walks everything that can be walked in `block`, as a receiver does.
fn walk(block: &[u8]) -> bool {
    let Ok(header) = Header::decode(block) else { return false };
    walk_data(header.data(block));
    walk_control(header.control(block));
    true
}

fn walk_data(data: &[u8]) -> usize {
    let mut frames = DataFrames::new(data);
    let mut bytes = 0;
    while let Ok(Some(frame)) = frames.next_frame() {
        bytes += frame.bytes.len();
    }
    assert!(bytes <= data.len());
    bytes
}

fn walk_control(trailer: &[u8]) -> usize {
    let mut frames = ControlFrames::new(trailer);
    let mut seen = 0;
    while let Ok(Some(frame)) = frames.next_frame() {
        seen += match frame {
            Control::Heartbeat(_) | Control::Setup(_) | Control::Goodbye(_) => 1,
            Control::Unavailable(_) | Control::Firm(_) => 1,
            Control::Status(status) => status.entries.iter().count(),
            Control::Nak(nak) | Control::Fetch(nak) => nak.ranges.iter().count(),
            Control::Order { body, .. } | Control::Chunk(Chunk { bytes: body, .. }) => body.len().min(1),
        };
    }
    seen
}

fn sound_block(rng: &mut fastrand::Rng, block: &mut [u8]) -> Header {
    let mut header =
        Header::new(Kind::Data, GroupId(rng.u32(..)), GroupInstance(rng.u32(..)), ViewNumber(1), Rank(1));
    let len = rng.usize(0..60);
    write_frame(&mut block[HEADER_LEN..], Part::Whole, len).fill(1);
    let trailer = HEADER_LEN + frame_len(Part::Whole, len);
    let mut writer = ControlWriter::new(&mut block[trailer..]);
    writer.heartbeat(Heartbeat { next: Seq(rng.u64(..)), stable: Seq(0), delivered: Seq(0) });
    writer.nak(Rank(2), 0, [(Seq(1), 1), (Seq(5), 2)].into_iter());
    writer.unavailable(Unavailable { origin: Rank(2), to: Seq(rng.u64(..)) });
    writer.firm(Firm { to: Seq(rng.u64(..)) });
    (header.first, header.trailer) = (HEADER_LEN as u16, trailer as u16);
    header.used = (trailer + writer.written()) as u16;
    header.encode(block, rng.bool());
    header
}

#[test]
fn a_million_hostile_inputs() {
    let mut rng = fastrand::Rng::with_seed(0x5157);
    let mut block = [0u8; 192];
    let (mut sound, mut mutants_accepted, mut frames) = (0, 0, 0);
    for round in 0..INPUTS {
        match round % 4 {
            // Noise, with a valid version often enough to get past the first test.
            0 => {
                rng.fill(&mut block);
                block[0] = if rng.bool() { 0x51 } else { block[0] };
                walk(&block[..rng.usize(0..block.len())]);
            }
            // A sound block with a few altered bytes.
            1 => {
                let used = sound_block(&mut rng, &mut block).used as usize;
                sound += usize::from(walk(&block));
                for _ in 0..rng.usize(1..4) {
                    block[rng.usize(0..used)] ^= rng.u8(1..);
                }
                mutants_accepted += usize::from(walk(&block));
            }
            // Hostile frames that a checksum would have stopped.
            2 => {
                rng.fill(&mut block);
                block[0] = [0x41, 0x81, 0xc1, 0x01][rng.usize(0..4)];
                frames += usize::from(walk_data(&block[..rng.usize(0..block.len())]) > 0);
            }
            _ => {
                rng.fill(&mut block);
                (block[0], block[2]) = (rng.u8(0..9), 0);
                frames += usize::from(walk_control(&block[..rng.usize(0..block.len())]) > 0);
            }
        }
    }
    assert_eq!(sound, INPUTS / 4, "every untouched block is accepted");
    assert!(frames > INPUTS / 20, "hostile frames reach the frame decoders: {frames}");
    // Unless the payload is covered, a change of it goes unseen: that is the `checksum` option's meaning.
    assert!(mutants_accepted < INPUTS / 4);
}
