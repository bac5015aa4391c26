//! `--lag`: what becomes of what a late subscriber does not take in time, and how it went.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::api::{Eviction, Instant, Key, Lag, LagCounters};
use super::frame::Frame;
use super::rate;
use crate::capture::stream::Format;

/// What `--lag` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contract {
    /// `evict:BYTES,MS`
    Evict { bytes: u64, age: Duration },
    /// `conflate:BYTES`
    Conflate { bytes: u64 },
    /// `replay:BYTES`
    Replay { bytes: u64 },
}

impl Contract {
    /// What the library is told; what messages of this format are about is known here.
    pub(super) fn for_format(self, format: Format) -> Lag {
        match self {
            Self::Evict { bytes, age } => Lag::evict(size(bytes), age),
            Self::Replay { bytes } => Lag::replay(size(bytes)),
            Self::Conflate { bytes } => Lag::conflate(
                size(bytes),
                match format {
                    Format::Lines => quote_of_line,
                    Format::Itch => state_of_itch,
                    Format::Binary => |_| None,
                },
            ),
        }
    }
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evict { bytes, age } => write!(f, "evict:{bytes}B,{}", age.as_millis()),
            Self::Conflate { bytes } => write!(f, "conflate:{bytes}B"),
            Self::Replay { bytes } => write!(f, "replay:{bytes}B"),
        }
    }
}

/// A contract as people write it.
pub(super) fn contract(text: &str) -> Result<Contract, String> {
    let wanted = "evict:BYTES,MS or conflate:BYTES or replay:BYTES is wanted, such as evict:1MB,500";
    let (policy, rest) = text.split_once(':').ok_or(wanted)?;
    match policy {
        "evict" => {
            let (bytes, age) = rest.split_once(',').ok_or(wanted)?;
            let ms = age
                .trim()
                .parse()
                .map_err(|_| format!("{age}: whole milliseconds are wanted, 0 for no bound"))?;
            Ok(Contract::Evict { bytes: rate::size(bytes)?, age: Duration::from_millis(ms) })
        }
        "conflate" => Ok(Contract::Conflate { bytes: rate::size(rest)? }),
        "replay" => Ok(Contract::Replay { bytes: rate::size(rest)? }),
        _ => Err(wanted.to_owned()),
    }
}

/// The instrument of a best bid and offer, which supersedes the one before it. Trades and changes of the book supersede nothing.
fn quote_of_line(frame: &[u8]) -> Option<Key> {
    let Some(Frame::Data { message, .. }) = Frame::read(frame) else { return None };
    // The stream's name stands at the beginning: the rest is not looked at.
    let head = &message[..message.len().min(LINE_HEAD)];
    let at = head.windows(STREAM.len()).position(|bytes| bytes == STREAM)? + STREAM.len();
    let name = head[at..].split(|byte| *byte == b'"').next()?;
    Key::of(name.strip_suffix(b"@bookTicker")?)
}

/// The instrument and the kind of a message that tells a state: trading action, imbalance, short sale restriction. Orders and executions
/// change a book: each of them counts.
fn state_of_itch(frame: &[u8]) -> Option<Key> {
    match Frame::read(frame)? {
        Frame::Data { message: [kind @ (b'H' | b'I' | b'Y'), high, low, ..], .. } => {
            Some(Key::from(u64::from_be_bytes([0, 0, 0, 0, 0, *kind, *high, *low])))
        }
        _ => None,
    }
}

/// Takes so many messages a second at most.
#[derive(Debug)]
pub(super) struct Taking {
    per_second: u32,
    taken: u64,
    from: Option<Instant>,
}

impl Taking {
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second, taken: 0, from: None }
    }

    /// Whether one more may be taken now, which counts then.
    pub(super) fn takes(&mut self, now: Instant) -> bool {
        let passed = now.since(*self.from.get_or_insert(now)).as_secs_f64();
        let takes = (self.taken as f64) < 1.0 + passed * f64::from(self.per_second);
        self.taken += u64::from(takes);
        takes
    }
}

/// How a contract was kept, for the summary.
#[derive(Debug, Serialize)]
pub(super) struct Kept {
    contract: String,
    /// How often this process fell behind.
    lags: u64,
    /// Messages that came late, were left out for a later one of their key, and were dropped.
    late: u64,
    conflated: u64,
    dropped: u64,
    /// The most that was kept at any time.
    most_messages: u64,
    most_bytes: usize,
    /// Why it was cut off, where it was.
    evicted: Option<String>,
}

impl Kept {
    pub(super) fn new(contract: Contract, counters: &LagCounters, eviction: Option<&Eviction>) -> Self {
        Self {
            contract: contract.to_string(),
            lags: counters.lags,
            late: counters.late,
            conflated: counters.conflated,
            dropped: counters.lost,
            most_messages: counters.most_messages,
            most_bytes: counters.most_bytes,
            evicted: eviction.map(ToString::to_string),
        }
    }

    /// A line for people.
    pub(super) fn line(&self) -> String {
        let Self { contract, lags, late, conflated, dropped, most_messages, most_bytes, .. } = self;
        format!(
            "\n--lag {contract}: {lags} times behind, by {most_messages} messages, {most_bytes} bytes at most; {late} came late, \
             {conflated} were conflated, {dropped} dropped"
        )
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

const STREAM: &[u8] = b"\"stream\":\"";
/// The time, and what stands before the name.
const LINE_HEAD: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        Frame::Data { number: 7, message }.write(&mut frame);
        frame
    }

    #[test]
    fn contracts_are_read_as_they_are_written() {
        let texts = ["evict:1MB,500", "evict:64kB,0", "conflate:2MB", "replay:9000B"];
        let said = ["evict:1000000B,500", "evict:64000B,0", "conflate:2000000B", "replay:9000B"];
        assert_eq!(texts.map(|text| contract(text).unwrap().to_string()), said);
        for said in said {
            assert_eq!(contract(said).unwrap().to_string(), said);
        }
        for wrong in
            ["", "evict", "evict:1MB", "drop:1MB", "evict:1MB,-1", "evict:1MB,1.5", "replay:7", "conflate:"]
        {
            assert!(contract(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn quotes_are_known_by_their_instrument_and_trades_by_none() {
        let line = |stream: &str| framed(format!("17 {{\"stream\":\"{stream}\",\"data\":{{}}}}").as_bytes());
        let quote = |stream| quote_of_line(&line(stream));
        assert_eq!(quote("btcusdt@bookTicker"), Key::of(b"btcusdt"));
        assert_ne!(quote("btcusdt@bookTicker"), quote("ethusdt@bookTicker"));
        assert_eq!([quote("btcusdt@trade"), quote("btcusdt@depth@100ms")], [None; 2]);
        let mut end = Vec::new();
        Frame::End { ending: super::super::frame::Ending::Complete, messages: 1, hash: &"a".repeat(64) }
            .write(&mut end);
        assert_eq!([quote_of_line(&framed(b"")), quote_of_line(&end), state_of_itch(&end)], [None; 3]);
    }

    #[test]
    fn states_of_itch_are_known_by_kind_and_instrument() {
        let state = |message: &[u8]| state_of_itch(&framed(message));
        assert!(state(b"H\0\x01..").is_some() && state(b"H\0\x01..") == state(b"H\0\x01zz"));
        assert!(state(b"H\0\x01") != state(b"H\0\x02") && state(b"H\0\x01") != state(b"Y\0\x01"));
        assert_eq!([state(b"A\0\x01"), state(b"E\0\x01"), state(b"H\0"), state(b"")], [None; 4]);
    }

    #[test]
    fn so_many_are_taken_in_a_second() {
        let mut taking = Taking::new(10);
        let taken = |taking: &mut Taking, now| (0..100).filter(|_| taking.takes(Instant(now))).count();
        assert_eq!(taken(&mut taking, 5_000_000_000), 1);
        assert_eq!(taken(&mut taking, 5_500_000_000), 5);
        assert_eq!(taken(&mut taking, 7_000_000_000), 15);
    }
}
