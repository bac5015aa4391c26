//! The header of any bytes: it is refused, or sound, and then every part of the block can be reached. What was decoded is
//! encoded to the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sistrum_transport::wire::{HEADER_LEN, Header, Malformed};

fuzz_target!(|bytes: &[u8]| {
    // Of what was not checked, nothing harmful.
    let _ = (Header::data_of_checked(bytes).len(), Header::first_of_checked(bytes));
    match Header::decode(bytes) {
        Ok(header) => encodes_again(header, bytes),
        // Nobody guesses a checksum: the fuzzer is given it.
        Err(Malformed::Checksum) => {
            if let Some(header) = sound(bytes) {
                encodes_again(header, bytes);
            }
        }
        Err(_) => {}
    }
});

fn encodes_again(header: Header, bytes: &[u8]) {
    let mut block = bytes.to_vec();
    for check_payload in [false, true] {
        header.encode(&mut block, check_payload);
        assert_eq!(Header::decode(&block), Ok(header));
        assert_eq!(header.data(&block), Header::data_of_checked(&block));
        assert_eq!(header.first, Header::first_of_checked(&block));
        assert_eq!(
            HEADER_LEN + header.data(&block).len() + header.control(&block).len(),
            header.used as usize
        );
    }
}

/// The header that stands in `bytes`, but for its checksum.
fn sound(bytes: &[u8]) -> Option<Header> {
    use sistrum_transport::id::{GroupId, GroupInstance, Rank, ViewNumber};
    use sistrum_transport::wire::Kind;
    let word = |at| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let half = |at| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let kind = match bytes.get(1)? {
        1 => Kind::Data,
        2 => Kind::Control,
        3 => Kind::Setup,
        _ => return None,
    };
    let header =
        Header::new(kind, GroupId(word(4)), GroupInstance(word(8)), ViewNumber(word(12)), Rank(half(20)));
    Some(Header { seq: word(16), used: half(22), first: half(24), trailer: half(26), ..header })
}
