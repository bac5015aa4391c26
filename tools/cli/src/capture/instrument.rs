//! Which instrument, and what of it, a message of a capture is about: of each, the last message counts.

/// The name of it: of a market line the stream that it came by, of an ITCH message its type and its stock. A snapshot of a market has none,
/// and all of them have one name.
pub(crate) fn instrument(message: &[u8]) -> &[u8] {
    if !message.first().is_some_and(u8::is_ascii_digit) {
        return message.get(..3).unwrap_or(message);
    }
    // It stands first, right behind the time.
    let head = &message[..message.len().min(HEAD)];
    let begin = head.windows(STREAM.len()).position(|window| window == STREAM).map(|at| at + STREAM.len());
    let rest = begin.map_or(&[][..], |begin| &message[begin..]);
    let end = rest.iter().position(|byte| *byte == b'"');
    end.map_or(SNAPSHOT, |end| &rest[..end])
}

const STREAM: &[u8] = b"\"stream\":\"";
const HEAD: usize = 64;
const SNAPSHOT: &[u8] = b"snapshot";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_named_by_its_stream_and_an_itch_message_by_type_and_stock() {
        assert_eq!(instrument(br#"17 {"stream":"btcusdt@trade","data":{}}"#), b"btcusdt@trade");
        assert_eq!(instrument(br#"17 {"lastUpdateId":5}"#), b"snapshot");
        assert_eq!(instrument(br#"17 {"stream":"cut"#), b"snapshot");
        assert_eq!(instrument(b"A\x00\x07rest"), b"A\x00\x07");
        assert_eq!(instrument(b"A"), b"A");
    }
}
