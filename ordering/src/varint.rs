//! Numbers in as few bytes as they need: seven bits a byte, the low ones first, the high bit says that more follow (LEB128).

/// Bytes that `value` takes.
pub const fn len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Writes `value` at the beginning of `out` and returns its bytes, or `None` when it does not fit.
pub fn write(out: &mut [u8], mut value: u64) -> Option<usize> {
    let len = len(value);
    let (last, before) = out.get_mut(..len)?.split_last_mut()?;
    for byte in before {
        *byte = 0x80 | value as u8;
        value >>= 7;
    }
    *last = value as u8;
    Some(len)
}

/// Takes the number that `bytes` begin with, or `None` when they end in it or it exceeds 64 bits.
pub fn read(bytes: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        let bits = u64::from(byte & 0x7f);
        if shift > 63 || (bits << shift) >> shift != bits {
            return None;
        }
        *bytes = rest;
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_vectors() {
        let mut out = [0; 10];
        for (value, bytes) in [(0, &[0][..]), (127, &[0x7f]), (128, &[0x80, 1]), (300, &[0xac, 2])] {
            assert_eq!(write(&mut out, value), Some(bytes.len()));
            assert_eq!(&out[..bytes.len()], bytes);
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_never_past_the_end() {
        for shift in 0..64 {
            for value in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let mut out = [0xff; 10];
                let len = write(&mut out, value).unwrap();
                assert_eq!(len, super::len(value));
                assert_eq!(read(&mut &out[..len]), Some(value));
                assert_eq!(read(&mut &out[..len - 1]), None);
                assert_eq!(write(&mut out[..len - 1], value), None);
            }
        }
        assert_eq!(read(&mut &[0xff; 11][..]), None, "more than 64 bits");
    }
}
