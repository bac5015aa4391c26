//! The report: a table with a row a subscriber and the verdict for people, the same as JSON for programs.

use serde::Serialize;

use super::api::Order;
use super::lines::Latency;
use super::options::{Options, Pace};
use super::parent::{Evidence, Outcome};
use super::verdict::{self, AskedLoss, Promise};

/// How a run went. As JSON it has exactly these fields, but for the reasons.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) ok: bool,
    messages: u64,
    bytes: u64,
    seconds: f64,
    /// What every member must have; of a total order of several publishers, what the first one has.
    digest: Option<String>,
    medium: String,
    segments_per_send: f64,
    order: &'static str,
    publishers: usize,
    members: Vec<Row>,
    /// Subscribers that were killed on purpose.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    killed: Vec<String>,
    #[serde(skip)]
    reasons: Vec<String>,
    /// Messages that depend on other publishers'.
    #[serde(skip)]
    dependent: u64,
}

/// A member to whom streams come. What it did not live to say is null.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    delivered: u64,
    digest: Option<String>,
    repaired: Option<u64>,
    dropped: Option<u64>,
    overflow: Option<u64>,
    latency_ns: Option<Latency>,
    #[serde(skip)]
    bytes: Option<u64>,
}

impl Report {
    /// Judges a run.
    pub(super) fn judge(options: &Options, promise: &Promise, outcome: &Outcome) -> Self {
        let loss = AskedLoss {
            block: options.block_loss(),
            buffer: options.buffer_loss(),
            largest_block: options.mtu.map_or(USUAL_PACKET, |mtu| mtu as usize),
        };
        let (reasons, truth) = (verdict::reasons(promise, loss, outcome), promise.whole());
        let members: Vec<_> = promise.receivers(outcome).map(|member| Row::new(promise, member)).collect();
        let is_given = promise.order != Order::Total || promise.truth.len() == 1;
        Self {
            ok: reasons.is_empty(),
            messages: truth.messages,
            bytes: truth.bytes,
            seconds: outcome.seconds,
            digest: if is_given { Some(truth.hash) } else { members[0].digest.clone() },
            medium: outcome.publishers[0].medium.clone(),
            segments_per_send: segments_per_send(&outcome.publishers),
            order: promise.order.name(),
            publishers: promise.truth.len(),
            members,
            killed: outcome.killed.clone(),
            dependent: verdict::dependent(promise, outcome),
            reasons,
        }
    }

    /// The report as one line of JSON.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }

    /// The report for people: the table, the verdict, and how the blocks were carried.
    pub(super) fn to_text(&self, options: &Options) -> String {
        let latency = if options.pace == Pace::Max { "queueing" } else { "latency" };
        let (table, verdict, medium) = (self.table(latency), self.verdict(), &self.medium);
        let killed: String =
            self.killed.iter().map(|name| format!("{name} was killed in mid-feed\n")).collect();
        format!("{table}{killed}{verdict}\nmedium {medium}; {:.1} segments per send", self.segments_per_send)
    }

    fn table(&self, latency: &str) -> String {
        let p50 = format!("{latency} us p50");
        let head = [
            "member", "messages", "bytes", "digest", "repaired", "dropped", "overflow", &p50, "p99", "p99.9",
        ];
        let rows = self.members.iter().map(Row::cells);
        aligned(std::iter::once(head.map(str::to_owned)).chain(rows).collect())
    }

    fn verdict(&self) -> String {
        if !self.ok {
            return format!("FAILED: {}", self.reasons.join("; "));
        }
        let (members, messages, bytes, seconds) =
            (self.members.len(), self.messages, self.bytes, self.seconds);
        let digest = short(self.digest.as_ref());
        let what = self.what();
        format!(
            "ok: {members} of {members} {what}: {messages} messages, {bytes} bytes, digest {digest}, in {seconds:.3} s"
        )
    }

    /// Who has what, in which order.
    fn what(&self) -> String {
        let Self { publishers, dependent, order, .. } = self;
        if *publishers == 1 {
            let who = if *order == Order::Total.name() { "members" } else { "subscribers" };
            return format!("{who} have all of the file, in order");
        }
        let how = if *order == Order::Total.name() {
            format!("and in one order; {dependent} messages depend on another publisher's")
        } else if *order == Order::Causal.name() {
            format!("and after its causes; {dependent} messages depend on another publisher's")
        } else {
            "with no order between them".to_owned()
        };
        format!("members have all of {publishers} publishers, each in order, {how}")
    }
}

impl Row {
    fn new(promise: &Promise, member: &Evidence) -> Self {
        let received = member.received.as_ref();
        let digest = received.map(|received| promise.digest(received));
        let counted = member.counted.as_ref();
        Self {
            name: member.name.clone(),
            delivered: member.delivered,
            repaired: counted.map(|counted| counted.repaired),
            dropped: counted.map(|counted| counted.dropped),
            overflow: counted.map(|counted| counted.overflow),
            latency_ns: received.map(|received| received.latency_ns),
            bytes: digest.as_ref().map(|digest| digest.bytes),
            digest: digest.map(|digest| digest.hash),
        }
    }

    fn cells(&self) -> [String; COLUMNS] {
        let time = |pick: fn(Latency) -> u64| micros(self.latency_ns.map(pick));
        [
            self.name.clone(),
            self.delivered.to_string(),
            number(self.bytes),
            short(self.digest.as_ref()).to_owned(),
            number(self.repaired),
            number(self.dropped),
            number(self.overflow),
            time(|latency| latency.p50),
            time(|latency| latency.p99),
            time(|latency| latency.p999),
        ]
    }
}

/// A number as a cell.
pub(super) fn number(value: Option<u64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Nanoseconds as microseconds in a cell.
pub(super) fn micros(ns: Option<u64>) -> String {
    ns.map_or_else(|| "-".to_owned(), |ns| format!("{:.1}", ns as f64 / 1e3))
}

/// The first 16 hex digits of a hash, for people.
pub(super) fn short(hash: Option<&String>) -> &str {
    hash.map_or("-", |hash| hash.get(..16).unwrap_or(hash))
}

fn segments_per_send(publishers: &[Evidence]) -> f64 {
    let counted = || publishers.iter().filter_map(|publisher| publisher.counted);
    let (sends, blocks) =
        (counted().map(|c| c.sends).sum::<u64>(), counted().map(|c| c.sent_blocks).sum::<u64>());
    if sends == 0 { 0.0 } else { blocks as f64 / sends as f64 }
}

/// The rows as lines: every column as wide as its widest cell, the first one to the left, the others to the right.
fn aligned(rows: Vec<[String; COLUMNS]>) -> String {
    let width: [usize; COLUMNS] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    let mut text = String::new();
    for row in rows {
        text.push_str(&format!("{:<1$}", row[0], width[0]));
        for (cell, width) in row.iter().zip(width).skip(1) {
            text.push_str(&format!("  {cell:>width$}"));
        }
        text.push('\n');
    }
    text
}

const COLUMNS: usize = 10;
/// Bytes of the packets that the library's default block fits in.
const USUAL_PACKET: usize = 1_500;

#[cfg(test)]
mod tests {
    use super::super::lines::{Counted, Received};
    use super::*;
    use crate::digest::Digest;

    fn promise() -> Promise {
        Promise { order: Order::Fifo, truth: vec![Digest { messages: 2, bytes: 3, hash: "ff".to_owned() }] }
    }

    fn row(name: &str, hash: &str) -> Row {
        let digest = Digest { messages: 2, bytes: 3, hash: hash.to_owned() };
        let latency_ns = Latency { p50: 1_500, p99: 20_000, p999: 1_234_567 };
        let (sequence, dependent, violations, violation) = Default::default();
        let streams = vec![digest];
        let delivered = 2;
        let received = Received {
            delivered,
            streams,
            sequence,
            dependent,
            violations,
            violation,
            ended_ns: 0,
            latency_ns,
        };
        let counted = Counted { repaired: 5, dropped: 6, overflow: 0, ..Counted::default() };
        let evidence = Evidence {
            name: name.to_owned(),
            medium: String::new(),
            delivered,
            received: Some(received),
            counted: Some(counted),
        };
        Row::new(&promise(), &evidence)
    }

    fn report(members: Vec<Row>) -> Report {
        Report {
            ok: true,
            messages: 2,
            bytes: 3,
            seconds: 0.5,
            digest: Some("0123456789abcdef01".to_owned()),
            medium: "udp: plain".to_owned(),
            segments_per_send: 9.5,
            order: "fifo",
            publishers: 1,
            dependent: 0,
            members,
            killed: Vec::new(),
            reasons: Vec::new(),
        }
    }

    #[test]
    fn the_json_has_exactly_its_fields() {
        let json = report(vec![
            row("s1", "ff"),
            Row::new(&promise(), &Evidence { name: "s2".to_owned(), ..Evidence::default() }),
        ]);
        assert_eq!(
            json.to_json(),
            concat!(
                r#"{"ok":true,"messages":2,"bytes":3,"seconds":0.5,"digest":"0123456789abcdef01","#,
                r#""medium":"udp: plain","segments_per_send":9.5,"order":"fifo","publishers":1,"members":["#,
                r#"{"name":"s1","delivered":2,"digest":"ff","repaired":5,"dropped":6,"overflow":0,"#,
                r#""latency_ns":{"p50":1500,"p99":20000,"p999":1234567}},"#,
                r#"{"name":"s2","delivered":0,"digest":null,"repaired":null,"dropped":null,"overflow":null,"#,
                r#""latency_ns":null}]}"#
            )
        );
    }

    #[test]
    fn the_table_has_a_row_a_member_and_names_what_was_measured() {
        let table = report(vec![row("s1", "0123456789abcdef01"), row("s10", "ab")]).table("queueing");
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].contains("queueing us p50"));
        assert!(
            lines[1].starts_with("s1 ")
                && lines[1].contains(" 0123456789abcdef ")
                && lines[1].ends_with("1234.6")
        );
        assert!(lines.iter().all(|line| line.len() == lines[0].len()));
    }

    #[test]
    fn a_failed_report_says_why() {
        let mut failed = report(vec![]);
        (failed.ok, failed.reasons) = (false, vec!["s1 died".to_owned(), "s2 too".to_owned()]);
        assert_eq!(failed.verdict(), "FAILED: s1 died; s2 too");
        assert!(report(vec![row("s1", "ff")]).verdict().starts_with("ok: 1 of 1 subscribers"));
    }

    #[test]
    fn segments_per_send_is_the_publishers() {
        let counted = Some(Counted { sends: 4, sent_blocks: 38, ..Counted::default() });
        assert_eq!(
            segments_per_send(&[Evidence { counted, ..Evidence::default() }, Evidence::default()]),
            9.5
        );
        assert_eq!(segments_per_send(&[Evidence::default()]), 0.0);
    }
}
