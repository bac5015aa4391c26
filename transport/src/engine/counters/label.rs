//! What counters are called: records of the labels, written and read.

use super::histogram::Shape;
use super::layout::{RECORD_HEAD, SCOPE, VALUE};

/// One number that is published: its name within its scope, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name, in words that a person reads: `sent_blocks`.
    pub name: &'static str,
    /// What it counts in.
    pub unit: Unit,
    /// One line that explains it.
    pub help: &'static str,
}

/// What a number is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// As the name says.
    Plain,
    /// Nanoseconds.
    Nanoseconds,
    /// Bytes.
    Bytes,
}

/// How a number behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, while its scope lives.
    Counter,
    /// It goes up and down, and may be [none](super::NONE).
    Gauge,
    /// Many, by size.
    Histogram(Shape),
}

impl Kind {
    /// How many words it has.
    #[must_use]
    pub fn words(self) -> usize {
        match self {
            Self::Counter | Self::Gauge => 1,
            Self::Histogram(shape) => 1 + shape.buckets(),
        }
    }
}

impl Unit {
    fn code(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Nanoseconds => 1,
            Self::Bytes => 2,
        }
    }

    fn of_code(code: u8) -> Self {
        match code {
            1 => Self::Nanoseconds,
            2 => Self::Bytes,
            _ => Self::Plain,
        }
    }
}

/// One record, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    Scope { name: String, labels: Vec<(String, String)> },
    Value { name: String, unit: Unit, kind: Kind },
}

/// Appends the record of a scope.
pub(super) fn put_scope(to: &mut Vec<u8>, name: &str, labels: &[(&str, &str)]) {
    put_record(to, SCOPE, 0, |to| {
        put_text(to, name);
        to.push(labels.len() as u8);
        for (name, value) in labels {
            put_text(to, name);
            put_text(to, value);
        }
    });
}

/// Appends the record of a value.
pub(super) fn put_value(to: &mut Vec<u8>, metric: &Metric, kind: Kind) {
    let code = match kind {
        Kind::Counter => 0,
        Kind::Gauge => 1,
        Kind::Histogram(_) => 2,
    };
    put_record(to, VALUE, code, |to| {
        to.push(metric.unit.code());
        if let Kind::Histogram(Shape { low, octaves, sub }) = kind {
            to.extend([low, octaves, sub]);
        }
        put_text(to, metric.name);
    });
}

fn put_record(to: &mut Vec<u8>, record: u8, kind: u8, rest: impl FnOnce(&mut Vec<u8>)) {
    let at = to.len();
    to.extend([record, kind, 0, 0]);
    rest(to);
    let len = (to.len() - at - RECORD_HEAD).min(usize::from(u16::MAX)) as u16;
    to.truncate(at + RECORD_HEAD + usize::from(len));
    to[at + 2..at + RECORD_HEAD].copy_from_slice(&len.to_le_bytes());
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    let mut len = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    to.extend((len as u16).to_le_bytes());
    to.extend(&text.as_bytes()[..len]);
}

/// Takes the first record of `bytes` off it: `None` inside where it is of a kind that is not known here, `Err` where it cannot be.
pub(super) fn take(bytes: &mut &[u8]) -> Result<Option<Record>, ()> {
    let (head, rest) = bytes.split_first_chunk::<RECORD_HEAD>().ok_or(())?;
    let len = usize::from(u16::from_le_bytes([head[2], head[3]]));
    let (mut own, next) = rest.split_at_checked(len).ok_or(())?;
    *bytes = next;
    let own = &mut own;
    match head[0] {
        SCOPE => {
            let name = take_text(own)?;
            let count = take_byte(own)?;
            let labels =
                (0..count).map(|_| Ok((take_text(own)?, take_text(own)?))).collect::<Result<_, ()>>()?;
            Ok(Some(Record::Scope { name, labels }))
        }
        VALUE => {
            let unit = Unit::of_code(take_byte(own)?);
            let kind = match head[1] {
                0 => Kind::Counter,
                1 => Kind::Gauge,
                2 => {
                    let (low, octaves, sub) = (take_byte(own)?, take_byte(own)?, take_byte(own)?);
                    let shape = Shape { low, octaves, sub };
                    Kind::Histogram(Some(shape).filter(|shape| shape.is_sound()).ok_or(())?)
                }
                _ => return Err(()),
            };
            Ok(Some(Record::Value { name: take_text(own)?, unit, kind }))
        }
        _ => Ok(None),
    }
}

fn take_byte(bytes: &mut &[u8]) -> Result<u8, ()> {
    let (first, rest) = bytes.split_first().ok_or(())?;
    *bytes = rest;
    Ok(*first)
}

/// Whoever shows it shows it on a terminal: what would steer that is replaced.
fn take_text(bytes: &mut &[u8]) -> Result<String, ()> {
    let (len, rest) = bytes.split_first_chunk::<2>().ok_or(())?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len))).ok_or(())?;
    *bytes = rest;
    let text = std::str::from_utf8(text).map_err(drop)?;
    Ok(text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect())
}

/// Bytes of a name or a label, at most: longer ones are cut.
const MAX_TEXT: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::super::histogram::SHAPE;
    use super::*;

    const METRIC: Metric = Metric { name: "waited", unit: Unit::Nanoseconds, help: "" };

    #[test]
    fn records_are_read_back() {
        let mut bytes = Vec::new();
        put_scope(&mut bytes, "peer", &[("group", "ticks"), ("rank", "3")]);
        put_value(&mut bytes, &METRIC, Kind::Counter);
        put_record(&mut bytes, 9, 0, |to| to.extend([1, 2, 3]));
        put_value(&mut bytes, &METRIC, Kind::Histogram(SHAPE));
        let bytes = &mut &bytes[..];
        let labels = vec![("group".into(), "ticks".into()), ("rank".into(), "3".into())];
        assert_eq!(take(bytes), Ok(Some(Record::Scope { name: "peer".into(), labels })));
        let value = |kind| Some(Record::Value { name: "waited".into(), unit: Unit::Nanoseconds, kind });
        assert_eq!(take(bytes), Ok(value(Kind::Counter)));
        assert_eq!(take(bytes), Ok(None), "of another kind");
        assert_eq!(take(bytes), Ok(value(Kind::Histogram(SHAPE))));
        assert_eq!((bytes.len(), take(bytes)), (0, Err(())));
    }

    #[test]
    fn what_steers_a_terminal_is_replaced_and_what_is_too_long_is_cut() {
        let mut bytes = Vec::new();
        put_scope(&mut bytes, "a\u{1b}[2J", &[("b", &"\u{e4}".repeat(1_000))]);
        let Ok(Some(Record::Scope { name, labels })) = take(&mut &bytes[..]) else { panic!("a scope") };
        assert_eq!((name.as_str(), labels[0].1.len()), ("a\u{fffd}[2J", MAX_TEXT));
    }
}
