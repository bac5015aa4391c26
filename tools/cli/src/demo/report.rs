//! The report: a table with a row a subscriber and the verdict for people, the same as JSON for programs.

use serde::Serialize;

use super::lines::Latency;
use super::options::{Options, Pace};
use super::parent::{Evidence, Outcome};
use super::verdict::{self, AskedLoss};
use crate::digest::Digest;

/// How a run went. As JSON it has exactly these fields, but for the reasons.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) ok: bool,
    messages: u64,
    bytes: u64,
    seconds: f64,
    digest: String,
    medium: String,
    segments_per_send: f64,
    members: Vec<Row>,
    #[serde(skip)]
    reasons: Vec<String>,
}

/// A subscriber. What it did not live to say is null.
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
    /// Judges a run of the capture whose digest is `truth`.
    pub(super) fn judge(options: &Options, truth: &Digest, outcome: &Outcome) -> Self {
        let loss = AskedLoss {
            block: options.block_loss(),
            buffer: options.buffer_loss(),
            largest_block: options.mtu.map_or(USUAL_PACKET, |mtu| mtu as usize),
        };
        let reasons = verdict::reasons(truth, loss, outcome);
        Self {
            ok: reasons.is_empty(),
            messages: truth.messages,
            bytes: truth.bytes,
            seconds: outcome.seconds,
            digest: truth.hash.clone(),
            medium: outcome.publisher.medium.clone(),
            segments_per_send: segments_per_send(&outcome.publisher),
            members: outcome.subscribers.iter().map(Row::new).collect(),
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
        format!("{table}{verdict}\nmedium {medium}; {:.1} segments per send", self.segments_per_send)
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
        let digest = self.digest.get(..16).unwrap_or(&self.digest);
        format!(
            "ok: {members} of {members} subscribers have all of the file, in order: {messages} messages, {bytes} bytes, \
             digest {digest}, in {seconds:.3} s"
        )
    }
}

impl Row {
    fn new(member: &Evidence) -> Self {
        let received = member.received.as_ref();
        let counted = member.counted.as_ref();
        Self {
            name: member.name.clone(),
            delivered: member.progress,
            digest: received.map(|received| received.digest.hash.clone()),
            repaired: counted.map(|counted| counted.repaired),
            dropped: counted.map(|counted| counted.dropped),
            overflow: counted.map(|counted| counted.overflow),
            latency_ns: received.map(|received| received.latency_ns),
            bytes: received.map(|received| received.digest.bytes),
        }
    }

    fn cells(&self) -> [String; COLUMNS] {
        let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let micros = |pick: fn(Latency) -> u64| {
            self.latency_ns
                .map_or_else(|| "-".to_owned(), |latency| format!("{:.1}", pick(latency) as f64 / 1e3))
        };
        [
            self.name.clone(),
            self.delivered.to_string(),
            number(self.bytes),
            self.digest.as_ref().map_or("-", |hash| hash.get(..16).unwrap_or(hash)).to_owned(),
            number(self.repaired),
            number(self.dropped),
            number(self.overflow),
            micros(|latency| latency.p50),
            micros(|latency| latency.p99),
            micros(|latency| latency.p999),
        ]
    }
}

fn segments_per_send(publisher: &Evidence) -> f64 {
    match publisher.counted {
        Some(counted) if counted.sends > 0 => counted.sent_blocks as f64 / counted.sends as f64,
        _ => 0.0,
    }
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

    fn row(name: &str, hash: &str) -> Row {
        let digest = Digest { messages: 2, bytes: 3, hash: hash.to_owned() };
        let latency_ns = Latency { p50: 1_500, p99: 20_000, p999: 1_234_567 };
        Row::new(&Evidence {
            name: name.to_owned(),
            medium: String::new(),
            progress: 2,
            received: Some(Received { digest, ended_ns: 0, latency_ns }),
            counted: Some(Counted { repaired: 5, dropped: 6, overflow: 0, ..Counted::default() }),
        })
    }

    fn report(members: Vec<Row>) -> Report {
        Report {
            ok: true,
            messages: 2,
            bytes: 3,
            seconds: 0.5,
            digest: "0123456789abcdef01".to_owned(),
            medium: "udp: plain".to_owned(),
            segments_per_send: 9.5,
            members,
            reasons: Vec::new(),
        }
    }

    #[test]
    fn the_json_has_exactly_its_fields() {
        let json = report(vec![
            row("s1", "ff"),
            Row::new(&Evidence { name: "s2".to_owned(), ..Evidence::default() }),
        ]);
        assert_eq!(
            json.to_json(),
            concat!(
                r#"{"ok":true,"messages":2,"bytes":3,"seconds":0.5,"digest":"0123456789abcdef01","#,
                r#""medium":"udp: plain","segments_per_send":9.5,"members":["#,
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
        assert_eq!(segments_per_send(&Evidence { counted, ..Evidence::default() }), 9.5);
        assert_eq!(segments_per_send(&Evidence::default()), 0.0);
    }
}
