//! `sistrum stat`: what the nodes of this user count, read from their files. No node notices.

mod json;
mod prometheus;
mod table;

use std::process::ExitCode;
use std::time::Duration;

use sistrum::{Clock as _, MonotonicClock};

use crate::nodes::Choice;
use crate::print;
use crate::refusal::Refusal;

/// What `sistrum stat` was asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    choice: Choice,

    /// As JSON.
    #[arg(long, conflicts_with = "prometheus")]
    json: bool,

    /// In the text format of Prometheus.
    #[arg(long)]
    prometheus: bool,

    /// Prints it again at this distance, until it is stopped; JSON on one line then.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "prometheus")]
    watch: Option<Duration>,
}

/// Prints it, once or until it is stopped. 1 where there is nothing to print, or not all of the node that was asked for; other files that cannot be
/// read are only told of.
pub(crate) fn run(options: &Options) -> Result<ExitCode, Refusal> {
    loop {
        let code = show(options);
        let Some(distance) = options.watch else { return Ok(code) };
        std::thread::sleep(distance);
    }
}

fn show(options: &Options) -> ExitCode {
    let found = options.choice.find();
    for (path, why) in &found.unreadable {
        eprintln!("sistrum: {}: {why}", path.display());
    }
    if found.nodes.is_empty() && found.unreadable.is_empty() {
        eprintln!("sistrum: no counters: {}", options.choice.place());
    }
    if found.nodes.is_empty() {
        return ExitCode::FAILURE;
    }
    let now = MonotonicClock.now();
    print(
        match () {
            () if options.prometheus => prometheus::shown(&found.nodes, now),
            () if options.json => json::shown(&found.nodes, now, options.watch.is_none()),
            () => table::shown(&found.nodes, now),
        }
        .trim_end(),
    );
    let lacks_some = options.choice.node.is_some() && !found.unreadable.is_empty();
    if lacks_some { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// A time of more than nothing.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text} is no number"))?;
    if (0.05..=86_400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("{text} is not between 0.05 and 86400"))
    }
}

#[cfg(test)]
pub(crate) mod sample {
    //! A made node, for tests of what is shown of it.

    use std::path::PathBuf;

    use sistrum::counters::{Life, Origin, Reading, Scope, Shape, Snapshot, Unit, Value};
    use sistrum::{BootId, Instant};

    use crate::nodes::Seen;

    /// Two buckets of finite size and a last one.
    const SHAPE: Shape = Shape { low: 10, octaves: 2, sub: 0 };

    fn value(name: &str, unit: Unit, reading: Reading) -> Value {
        Value { name: name.to_owned(), unit, reading }
    }

    fn counter(name: &str, count: u64) -> Value {
        value(name, Unit::Plain, Reading::Counter(count))
    }

    fn gauge(name: &str, gauge: u64) -> Value {
        value(name, Unit::Plain, Reading::Gauge(Some(gauge)))
    }

    fn age(name: &str, ns: u64) -> Value {
        value(name, Unit::Nanoseconds, Reading::Gauge(Some(ns)))
    }

    fn times(name: &str) -> Value {
        let reading = Reading::Histogram { shape: SHAPE, sum: 5_000, counts: vec![1, 2, 1, 0] };
        value(name, Unit::Nanoseconds, reading)
    }

    fn scope(name: &str, labels: &[(&str, &str)], values: Vec<Value>) -> Scope {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Scope { name: name.to_owned(), labels, values }
    }

    fn peer(rank: &str, member: &str, behind: u64, refused: u64) -> Scope {
        let values = vec![
            gauge("suspected", u64::from(behind > 0)),
            age("silence", 1_500_000),
            gauge("behind_blocks", behind),
            counter("refused_casts", refused),
            counter("lost_network_blocks", 3),
            counter("lost_overflow_blocks", 4),
            counter("lost_injected_blocks", 5),
            counter("lost_pool_blocks", 6),
            gauge("missing_blocks", 0),
            counter("repaired_blocks", 18),
            counter("sent_alone_messages", 70),
            counter("handed_alone_messages", 80),
        ];
        scope("peer", &[("group", "ticks"), ("rank", rank), ("member", member)], values)
    }

    /// A node of three members, one of which holds it back; at `written`, when it had delivered so many messages.
    pub(crate) fn node(written: u64, delivered: u64) -> Seen {
        let engine = vec![
            counter("cycles", 1_000),
            counter("sent_blocks", delivered / 40),
            counter("empty_cycles", 0),
            counter("overflow_datagrams", 2),
            counter("novel", 7),
            times("cycle_time"),
        ];
        let group = vec![
            gauge("members", 3),
            gauge("rank", 0),
            gauge("view", 4),
            gauge("coordinator_rank", 0),
            gauge("view_changing", 0),
            gauge("wedged", 0),
            gauge("suspects", 1),
            counter("views", 4),
            age("view_age", 12_000_000_000),
            counter("delivered_messages", delivered),
            counter("lost_network_blocks", 6),
            counter("lost_overflow_blocks", 8),
            counter("lost_injected_blocks", 10),
            counter("lost_pool_blocks", 12),
            gauge("missing_blocks", 0),
            times("view_change_pause"),
            times("stable_time"),
            times("delivered_time"),
        ];
        let out = vec![
            gauge("window_blocks", 256),
            gauge("held_by_rank", 2),
            age("held_age", 1_200_000_000),
            gauge("held_blocks", 252),
            value("under_way_limit", Unit::Bytes, Reading::Gauge(Some(300_000))),
            value("nothing_to_say", Unit::Plain, Reading::Gauge(None)),
        ];
        let stream = [("group", "ticks"), ("rank", "0"), ("member", "127.0.0.1:7000"), ("direction", "out")];
        let scopes = vec![
            scope(
                "engine",
                &[("node", "a\"b"), ("endpoint", "127.0.0.1:7000"), ("about", "udp (fast)")],
                engine,
            ),
            scope(
                "group",
                &[("group", "ticks"), ("role", "member"), ("about", "127.0.0.1:7003 was suspected")],
                group,
            ),
            scope("stream", &stream, out),
            peer("1", "127.0.0.1:7001", 0, 0),
            peer("2", "127.0.0.1:7002", 252, 99),
        ];
        let origin = Origin { process: 4_711, began: 1, host: 2, namespace: 3 };
        let snapshot = Snapshot {
            origin,
            boot: BootId(1),
            opened: Instant(0),
            written: Instant(written),
            generation: 1,
            left_out: 0,
            scopes,
        };
        Seen { path: PathBuf::from("/run/4711-0.counters"), snapshot, life: Life::Alive }
    }
}
