//! Rust source without its comments and literals, so that a rule about code never fires on prose.

/// `text` with every comment and every string or character literal replaced by spaces. Lines stay where they are.
pub(super) fn only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + blank_length(bytes, at);
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(code).expect("literals and comments are blanked whole")
}

/// How many bytes at `at` are a comment or a literal; 0 for code.
fn blank_length(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => quoted(rest, b'"'),
        [b'r', ..] if starts_word(bytes, at) => raw_string(rest),
        [b'b' | b'c', b'r', ..] if starts_word(bytes, at) => match raw_string(&rest[1..]) {
            0 => 0,
            length => length + 1,
        },
        [b'\'', ..] => character(rest),
        _ => 0,
    }
}

fn starts_word(bytes: &[u8], at: usize) -> bool {
    at == 0 || !is_word(bytes[at - 1])
}

/// Whether a byte can be part of an identifier.
pub(super) fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric() || !byte.is_ascii()
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let close = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
    let body = &rest[2 + hashes..];
    let end = body.windows(close.len()).position(|window| window == close);
    end.map_or(rest.len(), |end| 2 + hashes + end + close.len())
}

/// A character literal; a lifetime is code.
fn character(rest: &[u8]) -> usize {
    let text = String::from_utf8_lossy(&rest[1..rest.len().min(6)]);
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some('\\'), _) => quoted(rest, b'\''),
        (Some(one), Some('\'')) => one.len_utf8() + 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        only(text).split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn comments_go() {
        assert_eq!(words("a // unsafe\nb /* x /* y */ z */ c //! d"), ["a", "b", "c"]);
    }

    #[test]
    fn strings_go() {
        assert_eq!(words(r#"a "x \" // y" b b"z" c"#), ["a", "b", "b", "c"]);
        assert_eq!(words(r###"a r"x\" b r#"y " z"# c br##"w"# "## d"###), ["a", "b", "c", "d"]);
    }

    #[test]
    fn characters_go_and_lifetimes_stay() {
        assert_eq!(words(r"a '\'' b '\u{1F600}' c 'é' d '/' e"), ["a", "b", "c", "d", "e"]);
        assert_eq!(
            words("fn f<'a>(x: &'a str, y: &'static str)"),
            ["fn", "f<'a>(x:", "&'a", "str,", "y:", "&'static", "str)"]
        );
        assert_eq!(words("'\"' a '\"'"), ["a"]);
    }

    #[test]
    fn raw_identifiers_and_words_that_end_in_r_stay() {
        assert_eq!(words("r#type bar\"x\" r"), ["r#type", "bar", "r"]);
    }

    #[test]
    fn lines_stay_where_they_are() {
        let text = "a\n/* b\nc */\n\"d\ne\"\nf";
        assert_eq!(only(text).lines().count(), text.lines().count());
        assert_eq!(only(text).lines().last(), Some("f"));
    }

    #[test]
    fn what_never_closes_ends_with_the_file() {
        for text in ["a /* b", "a \"b", "a r#\"b", "a '\\", "a \"b\\", "a '"] {
            assert_eq!(only(text).len(), text.len());
        }
    }
}
