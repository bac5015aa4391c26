//! The options of `sistrum feed`, and the checks that need no system.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::api;
use super::lag::Contract;
use crate::capture::stream::Format;
use crate::demo::{Medium, Pace};
use crate::refusal::Refusal;

/// What `sistrum feed` was asked to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Publishes a file, or what comes by a pipe, message by message.
    #[command(after_help = PUBLISH_HELP)]
    Publish(Publish),
    /// Receives what a publisher publishes, complete and in order.
    #[command(after_help = SUBSCRIBE_HELP)]
    Subscribe(Subscribe),
}

/// What `sistrum feed publish` was asked to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Publish {
    /// What to publish, gzip or not; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub(super) file: PathBuf,

    /// How its messages lie in it.
    #[arg(long, value_enum, default_value_t = Format::Lines)]
    pub(super) format: Format,

    /// As fast as the group takes it, or so many times faster than it was captured.
    #[arg(long, value_name = "max|FACTOR", default_value = "max", value_parser = crate::demo::pace, allow_negative_numbers = true)]
    pub(super) pace: Pace,

    /// The most that is sent: bits a second, or bytes where B says so [default: as fast as the group takes it].
    #[arg(long, value_name = "100mbit|10MB", value_parser = super::rate::rate, allow_negative_numbers = true)]
    pub(super) rate: Option<u64>,

    /// How much of it may be sent at once.
    #[arg(long, value_name = "64kB", default_value = "64kB", value_parser = super::rate::size, requires = "rate", allow_negative_numbers = true)]
    pub(super) burst: u64,

    #[command(flatten)]
    pub(super) common: Common,
}

/// What `sistrum feed subscribe` was asked to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Subscribe {
    /// Comes to a running feed without standing in its list: holds nobody up, starts at the next whole message.
    #[arg(long, conflicts_with_all = ["members", "peers", "unicast", "source_specific", "wait"])]
    pub(super) late: bool,

    /// Who is late hears only what is sent from these addresses (source-specific multicast).
    #[arg(long, value_name = "ADDR,..", value_delimiter = ',')]
    pub(super) sources: Vec<IpAddr>,

    /// What becomes of what who is late does not take in time: it is cut off beyond so many bytes, or when the oldest waits for so many ms (0:
    /// no bound); of each instrument's quotes the latest is kept; or all is kept, and the oldest dropped beyond the bytes.
    #[arg(long, value_name = "evict:BYTES,MS|conflate:BYTES|replay:BYTES", value_parser = super::lag::contract)]
    pub(super) lag: Option<Contract>,

    /// Takes so many messages a second at most, to try --lag.
    #[arg(long, value_name = "N", requires = "lag", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) take: Option<u32>,

    /// Writes the messages to standard output.
    #[arg(long)]
    pub(super) write: bool,

    /// Writes the messages to FILE.
    #[arg(long, value_name = "FILE", conflicts_with = "write")]
    pub(super) out: Option<PathBuf>,

    /// How messages are written.
    #[arg(long, value_enum, default_value_t = Format::Lines)]
    pub(super) format: Format,

    #[command(flatten)]
    pub(super) common: Common,
}

/// What both have.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// Everybody, the publisher first: the same list for all.
    #[arg(long, value_name = "HOST:PORT,..", value_delimiter = ',', conflicts_with = "peers")]
    pub(super) members: Vec<String>,

    /// Everybody else, instead of --members; when subscribing, the publisher first.
    #[arg(long, value_name = "HOST:PORT,..", value_delimiter = ',', requires = "port")]
    pub(super) peers: Vec<String>,

    /// My own port: says which of the list I am [default: found by my addresses].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,

    /// My interface, by address or by name [default: that of my address in the list; with --peers, by the routes].
    #[arg(long, value_name = "ADDR|NAME")]
    pub(super) interface: Option<String>,

    /// Multicast group and port: the same for all [default: 239.255.71.71:7171, or [ff15::7171]:7171].
    #[arg(long, value_name = "ADDR:PORT", value_parser = group)]
    pub(super) group: Option<SocketAddr>,

    /// Lets in only what members of the list send to the group (source-specific multicast).
    #[arg(long, conflicts_with = "unicast")]
    pub(super) source_specific: bool,

    /// Sends to each subscriber by itself, for networks without multicast: the same for all.
    #[arg(long)]
    pub(super) unicast: bool,

    /// How many routers a multicast may pass [default: 0 on loopback, else 1].
    #[arg(long)]
    pub(super) ttl: Option<u8>,

    /// Takes a network without encryption and authentication: wanted for all but loopback.
    #[arg(long)]
    pub(super) insecure: bool,

    /// What carries the blocks.
    #[arg(long, value_enum, default_value_t = Medium::Auto)]
    pub(super) medium: Medium,

    /// After how long a silent member ends this process.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(super) limit: Duration,

    /// How long to wait for all members at the start [default: until Ctrl-C].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) wait: Option<Duration>,

    /// Loss to inject here, in percent of the received blocks (0 to 50).
    #[arg(long, value_name = "PCT", default_value = "0", value_parser = crate::demo::percent, allow_negative_numbers = true)]
    pub(super) loss: f64,

    /// Prints the summary as one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

impl Publish {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.format == Format::Binary && self.pace != Pace::Max {
            return Err(Refusal::new("messages of format binary carry no time: only --pace max is possible"));
        }
        Ok(())
    }

    /// What `--rate` and `--burst` ask for.
    pub(super) fn limit_of_sending(&self) -> Option<api::Pace> {
        self.rate.map(|rate| api::Pace { rate, burst: self.burst })
    }
}

impl Subscribe {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if !self.late && !self.sources.is_empty() {
            return Err(Refusal::new(
                "--sources goes with --late: who stands in the list hears it by --source-specific",
            ));
        }
        if !self.late && self.lag.is_some() {
            return Err(Refusal::new("--lag goes with --late: who stands in the list is waited for"));
        }
        if self.format == Format::Binary && matches!(self.lag, Some(Contract::Conflate { .. })) {
            return Err(Refusal::new(
                "--lag conflate: what messages of format binary are about is not known: take evict or replay",
            ));
        }
        if self.json && self.write {
            return Err(Refusal::new(
                "--json and --write both want standard output: write to a file with --out",
            ));
        }
        Ok(())
    }
}

impl std::ops::Deref for Publish {
    type Target = Common;

    fn deref(&self) -> &Common {
        &self.common
    }
}

impl std::ops::Deref for Subscribe {
    type Target = Common;

    fn deref(&self) -> &Common {
        &self.common
    }
}

fn group(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(group) if !group.ip().is_multicast() => Err(format!("{} is not a multicast address", group.ip())),
        Ok(group) if group.port() == 0 => Err("the group's port must not be 0".to_owned()),
        Ok(group) => Ok(group),
        Err(_) => {
            Err("a multicast address and a port are wanted, such as 239.255.1.2:7000 or [ff15::7]:7000"
                .to_owned())
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "seconds above 0 are wanted".to_owned())
}

const PUBLISH_HELP: &str = "\
Three terminals of one host, all with the same list, the publisher first:
  sistrum feed subscribe --members 127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003 --port 7002
  sistrum feed subscribe --members 127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003 --port 7003
  sistrum feed publish   --members 127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003 --file capture.gz

They may start in any order; publishing begins when all are there. The publisher is always the first of the
list. After it the order does not matter: all sort the others by address and port.

Exit status: 0, every listed subscriber that did not say goodbye has everything; 1, it went wrong; 2, bad
input; 128 + the signal's number after Ctrl-C (130) or SIGTERM (143), with goodbye and summary. A second
Ctrl-C ends at once.";

const SUBSCRIBE_HELP: &str = "\
Between hosts, the first in the list publishes:
  10.0.0.1 $ sistrum feed publish   --members 10.0.0.1:7001,10.0.0.2:7001 --insecure --file capture.gz
  10.0.0.2 $ sistrum feed subscribe --members 10.0.0.1:7001,10.0.0.2:7001 --insecure --out copy
Without standing in the list, at any time: sistrum feed subscribe --late

By --peers each names only the others: the publisher the subscribers, a subscriber the publisher first.

Exit status: 0, the publisher said goodbye and everything was delivered; 1, it went wrong; 2, bad input;
128 + the signal's number after Ctrl-C (130) or SIGTERM (143), with goodbye and summary. A second Ctrl-C ends
at once.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_of_either_family() {
        assert!(["239.255.1.2:7000", "[ff15::7]:7000"].iter().all(|text| group(text).is_ok()));
        let wrong =
            ["10.0.0.1:7", "239.255.1.2:0", "239.255.1.2", "[fd00::1]:7", "ff15::7:7000", "[ff15::7]"];
        assert!(wrong.iter().all(|text| group(text).is_err()));
    }

    #[test]
    fn times_of_nothing_are_refused() {
        assert!(["0", "-1", "NaN", "1e300", ""].iter().all(|text| seconds(text).is_err()));
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
    }
}
