//! The options of `sistrum demo`, and the checks that need no system.

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::api::{Order, TotalMode};
use super::fault::FaultName;

/// What `sistrum demo` was asked to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many subscribers, each a process of its own.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) members: u16,

    /// How many publishers, each a process of its own, to all members [default: one for each --file, or 1].
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(super) publishers: Option<u16>,

    /// In which order the messages of all publishers are delivered: unordered, fifo, causal or total.
    #[arg(long, value_name = "NAME", default_value_t = Order::Fifo)]
    pub(super) order: Order,

    /// How a total order is found: by the holder of a token, or in rounds.
    #[arg(long, value_enum, default_value_t = TotalBy::Token)]
    pub(super) total: TotalBy,

    /// What carries the blocks.
    #[arg(long, value_enum, default_value_t = Medium::Auto)]
    pub(super) medium: Medium,

    /// Loss to inject at every member, in percent (0 to 50).
    #[arg(long, value_name = "PCT", default_value = "1", value_parser = percent, allow_negative_numbers = true)]
    pub(super) loss: f64,

    /// What is lost at once: a block, a whole coalesced receive buffer, or each by itself.
    #[arg(long, value_enum, default_value_t = LossModel::Both)]
    pub(super) loss_model: LossModel,

    /// A capture to publish (market lines or ITCH 5.0, gzip or not) instead of the embedded sample; dealt out to the
    /// publishers by turn, or given once for each of them.
    #[arg(long, value_name = "PATH")]
    pub(super) file: Vec<PathBuf>,

    /// As fast as it goes, or so many times faster than the capture was.
    #[arg(long, value_name = "max|FACTOR", default_value = "max", value_parser = pace, allow_negative_numbers = true)]
    pub(super) pace: Pace,

    /// Receive buffer to ask for, for each socket [default: 8 MiB].
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rcvbuf: Option<u32>,

    /// Lets the first subscriber cheat with a message that was delivered to it, to see the verdict fail.
    #[arg(long, value_name = "NAME", value_enum)]
    pub(super) fault: Option<FaultName>,

    /// Kills the last subscriber in mid-feed, and goes on without it: the others must have everything all the same.
    #[arg(long, value_name = "subscriber", value_enum)]
    pub(super) kill: Option<Victim>,

    /// Two publishers, one of them standing by: in mid-feed a subscriber is killed, one joins late, and the publisher is killed. Publishes the
    /// capture again and again until all that has happened.
    #[arg(long, conflicts_with_all = ["publishers", "kill", "fault"])]
    pub(super) failover: bool,

    /// Writes the report to PATH as JSON, too.
    #[arg(long, value_name = "PATH")]
    pub(super) json: Option<PathBuf>,

    /// Multicast group and port [default: drawn at random from 239.255.0.0/16].
    #[arg(long, value_name = "ADDR:PORT", value_parser = group)]
    pub(super) group: Option<SocketAddrV4>,

    /// Loopback interface, by address or by name; no other is taken, since there is no key yet.
    #[arg(long, value_name = "ADDR|NAME", default_value = "127.0.0.1")]
    pub(super) interface: String,

    /// Largest IP packet to send; a block is 28 bytes smaller [default: what the library and the interface allow].
    #[arg(long, value_name = "BYTES")]
    pub(super) mtu: Option<u32>,

    /// Seed of the injected block loss [default: drawn at random].
    #[arg(long)]
    pub(super) seed: Option<u64>,

    /// Says on standard error which processes take part, and how far they are.
    #[arg(long, short)]
    pub(super) verbose: bool,

    /// After how long without progress the run has failed.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = patience, hide = true)]
    pub(super) patience: Duration,
}

/// The medium, by the names that the library knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Medium {
    /// The best that works here.
    Auto,
    /// Plain sockets.
    Udp,
    /// Sockets that are received from by io_uring.
    Uring,
}

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Victim {
    /// The last subscriber, when it has half of the messages.
    Subscriber,
}

/// How a total order is found, by the names that the library knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TotalBy {
    /// One member numbers the messages of all.
    Token,
    /// All take turns.
    Rotating,
}

impl From<TotalBy> for TotalMode {
    fn from(by: TotalBy) -> Self {
        match by {
            TotalBy::Token => Self::Token,
            TotalBy::Rotating => Self::Rotating,
        }
    }
}

/// What the injected loss takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LossModel {
    /// Single blocks.
    Block,
    /// Whole receive buffers, each of many blocks.
    Buffer,
    /// Single blocks and, drawn apart, whole buffers.
    Both,
}

/// How fast the capture is published.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pace {
    /// As fast as the group takes it.
    Max,
    /// So many times faster than it was captured.
    Times(f64),
}

impl Options {
    /// How many publishers there are.
    pub(super) fn publishers(&self) -> usize {
        self.publishers.map_or(self.file.len().max(1), usize::from)
    }

    /// Probability that a block is dropped by itself.
    pub(super) fn block_loss(&self) -> f64 {
        if self.loss_model == LossModel::Buffer { 0.0 } else { self.loss / 100.0 }
    }

    /// Probability that a receive buffer is dropped.
    pub(super) fn buffer_loss(&self) -> f64 {
        if self.loss_model == LossModel::Block { 0.0 } else { self.loss / 100.0 }
    }
}

pub(crate) fn percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..=50.0).contains(&percent) => Ok(percent),
        _ => Err("a percentage from 0 to 50 is wanted".to_owned()),
    }
}

pub(crate) fn pace(text: &str) -> Result<Pace, String> {
    match text.parse::<f64>() {
        _ if text == "max" => Ok(Pace::Max),
        Ok(factor) if factor.is_finite() && factor > 0.0 => Ok(Pace::Times(factor)),
        _ => Err("`max` or a factor above 0 is wanted".to_owned()),
    }
}

fn group(text: &str) -> Result<SocketAddrV4, String> {
    match text.parse::<SocketAddrV4>() {
        Ok(group) if !group.ip().is_multicast() => Err(format!("{} is not a multicast address", group.ip())),
        Ok(group) if group.port() == 0 => Err("the group's port must not be 0".to_owned()),
        Ok(group) => Ok(group),
        Err(_) => Err("an IPv4 multicast address and a port are wanted, such as 239.255.1.2:7000".to_owned()),
    }
}

fn patience(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|patience| !patience.is_zero())
        .ok_or_else(|| "seconds above 0 are wanted".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_refused() {
        assert!(["-1", "91", "NaN", "inf", ""].iter().all(|text| percent(text).is_err()));
        assert!(["0", "-2", "NaN", "inf", "fast"].iter().all(|text| pace(text).is_err()));
        assert!(
            ["10.0.0.1:7000", "239.255.1.2:0", "239.255.1.2", "[ff02::1]:1"]
                .iter()
                .all(|text| group(text).is_err())
        );
        assert!(["0", "-1", "NaN", "1e300"].iter().all(|text| patience(text).is_err()));
    }

    #[test]
    fn values_in_range_are_taken() {
        assert_eq!((percent("0"), percent("0.5"), percent("50")), (Ok(0.0), Ok(0.5), Ok(50.0)));
        assert_eq!((pace("max"), pace("0.25")), (Ok(Pace::Max), Ok(Pace::Times(0.25))));
        assert!(group("239.255.1.2:7000").is_ok());
    }
}
