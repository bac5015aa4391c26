//! What a message that is sent to one begins with: how far its sender had come in each stream, as distances from what it told last.

use sistrum_ordering::{Rank, Seq, varint};

/// Appends how `value` of each rank differs from what was `told` last: a count, then (rank distance, value distance).
pub(super) fn write(out: &mut Vec<u8>, told: &[Seq], value: &[Seq]) {
    let changed = || told.iter().zip(value).enumerate().filter(|(_, (told, value))| value > told);
    write_number(out, changed().count() as u64);
    let mut last = 0;
    for (rank, (told, value)) in changed() {
        write_number(out, (rank - last) as u64);
        write_number(out, value.since(*told));
        last = rank;
    }
}

/// Adds what a message begins with to what was `heard` last, and returns the bytes that it takes; `None` when it cannot be read.
pub(super) fn read(bytes: &[u8], heard: &mut [Seq]) -> Option<usize> {
    let mut rest = bytes;
    let mut rank = 0_u64;
    for _ in 0..varint::read(&mut rest)? {
        rank = rank.checked_add(varint::read(&mut rest)?)?;
        let value = heard.get_mut(usize::try_from(rank).ok()?)?;
        *value = Seq(value.0.checked_add(varint::read(&mut rest)?)?);
    }
    Some(bytes.len() - rest.len())
}

/// The rank that a session of two gives to the sender has no meaning outside: the view's is told here.
pub(super) fn rank_of(at: usize) -> Rank {
    Rank(u16::try_from(at).expect("ranks are 16 bits"))
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    let at = out.len();
    out.resize(at + varint::len(number), 0);
    let written = varint::write(&mut out[at..], number);
    debug_assert_eq!(written, Some(out.len() - at));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_heard_and_a_burst_costs_a_byte() {
        let (mut told, mut heard) = (vec![Seq(0); 70], vec![Seq(0); 70]);
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..1_000 {
            let mut value = told.clone();
            for _ in 0..rng.usize(0..5) {
                value[rng.usize(..70)].0 += rng.u64(0..1 << 40);
            }
            let mut out = Vec::new();
            write(&mut out, &told, &value);
            out.extend_from_slice(b"body");
            let head = read(&out, &mut heard).unwrap();
            assert_eq!((&out[head..], &heard), (&b"body"[..], &value));
            told = value;
        }
        let mut out = Vec::new();
        write(&mut out, &told, &told);
        assert_eq!(out, [0]);
    }

    #[test]
    fn nonsense_is_refused() {
        let heard = &mut [Seq(1); 2];
        for bytes in [&[][..], &[1], &[1, 2, 1], &[2, 1, 1, 1, 1], &[0x80], &[1, 0, 0xff]] {
            assert_eq!(read(bytes, heard), None, "{bytes:?}");
        }
        assert_eq!(
            read(&[1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], heard),
            None,
            "overflow"
        );
    }
}
