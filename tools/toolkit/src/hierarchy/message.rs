//! What is asked of a root, and what its members tell each other. Little-endian; texts are short.
//!
//! ```text
//!   Map     1                              answered by the map
//!   Add     2 | text | seeds u8 | text*    answered by nothing, or ended with the reason
//!   Remove  3 | text
//!   Up      4 | text                       cast by the eldest member, and asked by nobody
//!   Down    5 | text
//! ```

use super::map::{read_text, write_text};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// Which leaves are there?
    Map,
    /// There is this one, too.
    Add { name: String, seeds: Vec<String> },
    /// Forget this one.
    Remove { name: String },
    /// It is in sight, or not any more.
    Sight { name: String, is_up: bool },
}

impl Message {
    /// # Panics
    /// When a text is too long, which [`LeafMap::check`](super::map::LeafMap::check) sees.
    pub(super) fn encode(&self) -> Vec<u8> {
        let (tag, name) = match self {
            Self::Map => return vec![1],
            Self::Add { name, .. } => (2, name),
            Self::Remove { name } => (3, name),
            Self::Sight { name, is_up: true } => (4, name),
            Self::Sight { name, is_up: false } => (5, name),
        };
        let mut out = vec![tag];
        write_text(name, &mut out);
        if let Self::Add { seeds, .. } = self {
            out.push(seeds.len() as u8);
            seeds.iter().for_each(|seed| write_text(seed, &mut out));
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&tag, rest) = bytes.split_first()?;
        if tag == 1 {
            return rest.is_empty().then_some(Self::Map);
        }
        let (name, mut rest) = read_text(rest)?;
        let name = name.to_owned();
        let message = match tag {
            2 => {
                let (&count, mut behind) = rest.split_first()?;
                let mut seeds = Vec::new();
                for _ in 0..count {
                    let (seed, next) = read_text(behind)?;
                    seeds.push(seed.to_owned());
                    behind = next;
                }
                rest = behind;
                Self::Add { name, seeds }
            }
            3 => Self::Remove { name },
            4 | 5 => Self::Sight { name, is_up: tag == 4 },
            _ => return None,
        };
        rest.is_empty().then_some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nonsense_is_refused() {
        let name = || "leaf".to_owned();
        for message in [
            Message::Map,
            Message::Add { name: name(), seeds: vec!["127.0.0.1:9".to_owned(), "host:10".to_owned()] },
            Message::Add { name: name(), seeds: Vec::new() },
            Message::Remove { name: name() },
            Message::Sight { name: name(), is_up: true },
            Message::Sight { name: name(), is_up: false },
        ] {
            let bytes = message.encode();
            assert_eq!(Message::decode(&bytes).as_ref(), Some(&message));
            assert_eq!(Message::decode(&[&bytes[..], &[0]].concat()), None);
            (0..bytes.len()).for_each(|len| assert_eq!(Message::decode(&bytes[..len]), None, "{message:?}"));
        }
        assert_eq!(Message::decode(&[9, 1, b'x']), None);
        assert_eq!(Message::decode(&[3, 1, 0xff]), None);
    }
}
