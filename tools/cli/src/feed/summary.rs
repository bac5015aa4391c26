//! How it went: lines for people, one JSON object for programs.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use serde::Serialize;

use super::Stop;
use super::api::{Eviction, Instant, Rank};
use super::lag::{Contract, Kept};
use super::losses::{self, Losses};
use super::members::Role;
use super::seat::Seat;
use crate::digest::Digest;

/// What a process of the feed did, from its first message to its end.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    ok: bool,
    role: &'static str,
    /// Why it is not ok, or ended early.
    why: Option<String>,
    messages: u64,
    bytes: u64,
    /// BLAKE3, in hex, over (length as 32 bits little-endian, bytes) of every message from `from_message` on.
    digest: String,
    /// Number of the first message, counted from 0; `null` when none came.
    from_message: Option<u64>,
    /// Blocks that were lost for good; only who is late loses any.
    lost_blocks: u64,
    seconds: f64,
    messages_per_second: f64,
    bytes_per_second: f64,
    repaired: u64,
    repairs_sent: u64,
    overflow: u64,
    injected: u64,
    medium: String,
    interface: String,
    group: Option<String>,
    endpoint: String,
    members: Vec<Row>,
    /// What was lost between this process and each other member, and by what, as far as it can tell.
    losses: Vec<Losses>,
    /// How often less was sent at a time because losses repeated, without those that did not help.
    reductions: u64,
    /// How the lag contract was kept, of who has one.
    lag: Option<Kept>,
}

/// A member of the list.
#[derive(Debug, Serialize)]
struct Row {
    rank: u16,
    endpoint: String,
    /// Whether it said goodbye before this process ended.
    left: bool,
    /// How long it has held the publisher up, all times together and the longest.
    held_seconds: f64,
    held_longest_seconds: f64,
}

/// What a process has counted itself.
#[derive(Debug)]
pub(super) struct Tallied {
    pub(super) digest: Digest,
    pub(super) from_message: Option<u64>,
    pub(super) lost_blocks: u64,
    /// From the first message to the last.
    pub(super) took: Duration,
    pub(super) holds: Holds,
    /// The lag contract, and why this process was cut off.
    pub(super) kept: Option<(Contract, Option<Eviction>)>,
}

/// Who has held the publisher up, and for how long.
#[derive(Debug, Default)]
pub(super) struct Holds {
    by: BTreeMap<u16, Held>,
    current: Option<(Rank, Instant, Instant)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Held {
    total_ns: u64,
    longest_ns: u64,
}

impl Holds {
    /// The publisher is held by `holder` at `now`, or by nobody.
    pub(super) fn note(&mut self, holder: Option<Rank>, now: Instant) {
        if let Some((rank, from, until)) = self.current.take() {
            let held = self.by.entry(rank.0).or_default();
            held.total_ns += now.since_ns(until);
            held.longest_ns = held.longest_ns.max(now.since_ns(from));
            if holder == Some(rank) {
                self.current = Some((rank, from, now));
                return;
            }
        }
        self.current = holder.map(|rank| (rank, now, now));
    }

    fn of(&self, rank: u16) -> Held {
        self.by.get(&rank).copied().unwrap_or_default()
    }
}

impl Summary {
    /// Sums up what `seat` did, and whether `stop` cut it short.
    pub(super) fn new(seat: &Seat, tallied: &Tallied, stop: Option<&Stop>) -> Self {
        let why = stop.map(|stop| match stop {
            Stop::Signal(number) => format!("interrupted by signal {number}"),
            Stop::Wrong(why) | Stop::BadInput(why) => why.clone(),
        });
        let (counters, seconds) = (seat.node.counters(), tallied.took.as_secs_f64());
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let Digest { messages, bytes, hash } = tallied.digest.clone();
        Self {
            ok: matches!(stop, None | Some(Stop::Signal(_))),
            role: match seat.role {
                Role::Publisher => "publisher",
                Role::Subscriber => "subscriber",
                Role::Late => "late subscriber",
            },
            why,
            messages,
            bytes,
            digest: hash,
            from_message: tallied.from_message,
            lost_blocks: tallied.lost_blocks,
            seconds,
            messages_per_second: rate(messages),
            bytes_per_second: rate(bytes),
            repaired: counters.repaired,
            repairs_sent: counters.session.repairs_sent,
            overflow: counters.medium.overflow,
            injected: counters.medium.injected,
            medium: seat.medium.clone(),
            interface: format!("{} {}", seat.interface.name, seat.interface.address),
            group: seat.multicast.map(|group| group.to_string()),
            endpoint: seat.node.endpoint().to_string(),
            members: rows(seat, &tallied.holds),
            losses: seat.losses(),
            reductions: counters.session.reductions - counters.session.reductions_undone,
            lag: tallied.kept.as_ref().zip(seat.node.lag(&seat.group)).map(
                |((contract, eviction), standing)| {
                    Kept::new(*contract, &standing.counters, eviction.as_ref())
                },
            ),
        }
    }

    /// Says it: as JSON on standard output; as text there, or on standard error when the messages went there.
    pub(super) fn print(&self, json: bool, stdout_is_taken: bool) {
        let text = if json { serde_json::to_string(self).expect("plain data") } else { self.to_text() };
        if stdout_is_taken {
            eprintln!("{text}");
        } else {
            // That nobody reads it (a closed pipe) does not change how it went.
            let _ = writeln!(std::io::stdout(), "{text}");
        }
    }

    fn to_text(&self) -> String {
        let Self { messages, bytes, seconds, repaired, overflow, injected, .. } = self;
        let from = match self.from_message {
            Some(from) if from > 0 => format!(" from message {from} on"),
            _ => String::new(),
        };
        let verdict = match (&self.why, self.ok) {
            (None, _) => "ok",
            (Some(_), true) => "interrupted",
            (Some(_), false) => "FAILED",
        };
        let digest = self.digest.get(..16).unwrap_or(&self.digest);
        let mut text = format!(
            "{verdict}: {messages} messages{from}, {bytes} bytes, digest {digest}, in {seconds:.3} s: \
             {:.0} messages/s, {:.1} MB/s\nblocks repaired here {repaired}, sent again {}, lost to overflow {overflow}, \
             to injection {injected}",
            self.messages_per_second,
            self.bytes_per_second / 1e6,
            self.repairs_sent,
        );
        if self.lost_blocks > 0 {
            text.push_str(&format!(", for good {}", self.lost_blocks));
        }
        text.extend(self.lag.as_ref().map(Kept::line));
        for row in self.members.iter().filter(|row| row.held_seconds > 0.0) {
            text.push_str(&format!(
                "\nheld up by r{} {} for {:.3} s, at most {:.3} s at once",
                row.rank, row.endpoint, row.held_seconds, row.held_longest_seconds
            ));
        }
        text + &losses::table(&self.losses)
    }
}

fn rows(seat: &Seat, holds: &Holds) -> Vec<Row> {
    let row = |(rank, endpoint): (u16, &std::net::SocketAddr)| {
        let held = holds.of(rank);
        Row {
            rank,
            endpoint: endpoint.to_string(),
            left: seat.left.contains(&Rank(rank)),
            held_seconds: held.total_ns as f64 / 1e9,
            held_longest_seconds: held.longest_ns as f64 / 1e9,
        }
    };
    (0..).zip(&seat.members.list).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_are_summed_for_each_holder() {
        let mut holds = Holds::default();
        for (holder, now) in
            [(Some(1), 10), (Some(1), 20), (Some(2), 25), (None, 45), (Some(1), 50), (None, 53)]
        {
            holds.note(holder.map(Rank), Instant(now));
        }
        let of = |rank| (holds.of(rank).total_ns, holds.of(rank).longest_ns);
        assert_eq!((of(1), of(2), of(3)), ((18, 15), (20, 20), (0, 0)));
    }
}
