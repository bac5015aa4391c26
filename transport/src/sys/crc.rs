//! CRC32C, made cheap for the few dozen bytes of a header.
//!
//! The crate `crc32c` is as fast as it gets from a kilobyte up: it computes three chains side by side. For that it cuts what
//! it is given into pieces, and for 28 bytes of header the cutting costs 100 instructions. So short pieces are fed to the
//! processor's instruction directly; whatever else there is, the crate does.

/// The checksum of `piece` behind what has the checksum `crc`; 0 when there is nothing before.
#[must_use]
#[inline]
pub fn append(crc: u32, piece: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if piece.len() < SHORT && std::arch::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has the instruction that the function is compiled for.
        return unsafe { append_short(crc, piece) };
    }
    crc32c::crc32c_append(crc, piece)
}

/// One chain, eight bytes at a time.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn append_short(crc: u32, piece: &[u8]) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u32, _mm_crc32_u64};
    let (words, rest) = piece.as_chunks::<8>();
    let state =
        words.iter().fold(u64::from(!crc), |state, word| _mm_crc32_u64(state, u64::from_le_bytes(*word)));
    #[expect(clippy::cast_possible_truncation, reason = "the instruction leaves the upper half empty")]
    let mut state = state as u32;
    let (half, rest) = rest.as_chunks::<4>();
    for half in half {
        state = _mm_crc32_u32(state, u32::from_le_bytes(*half));
    }
    for byte in rest {
        state = _mm_crc32_u8(state, *byte);
    }
    !state
}

/// Bytes from which on three chains are ahead of one.
#[cfg(target_arch = "x86_64")]
const SHORT: usize = 768;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_from_every_place_is_as_the_crate_has_it() {
        let bytes: Vec<u8> = (0..1024_u32).map(|at| (at * 31 + at / 7) as u8).collect();
        for start in 0..8 {
            for len in (0..100).chain([255, 766, 767, 768, 1000]) {
                let (piece, before) = (&bytes[start..start + len], 0x1234_5678 * start as u32);
                assert_eq!(append(before, piece), crc32c::crc32c_append(before, piece), "{len} from {start}");
            }
        }
    }
}
