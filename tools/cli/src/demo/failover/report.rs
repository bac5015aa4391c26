//! What a failover came to: the views, what each cost, and what every member had in the end; the same as JSON for programs.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

use super::book::Book;
use super::lines::Seen;
use super::stage::{Evidence, Outcome};
use crate::demo::lines::Latency;
use crate::demo::options::Options;
use crate::demo::report::{micros, number, short};
use crate::demo::source::Source;
use crate::refusal::Refusal;

/// See the module. As JSON it has exactly these fields, but for the reasons.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) ok: bool,
    messages: u64,
    bytes: u64,
    seconds: f64,
    /// What the capture amounts to, published as often as it was.
    digest: Option<String>,
    state_digest: Option<String>,
    medium: String,
    order: &'static str,
    publishers: usize,
    views: Vec<View>,
    members: Vec<Row>,
    #[serde(skip)]
    reasons: Vec<String>,
}

/// A view, why it came, and how long the feed stood still for those to whom it stood still longest.
#[derive(Debug, Serialize)]
struct View {
    id: u32,
    members: Vec<String>,
    cause: String,
    /// Null where nothing was published yet, or nothing more.
    pause_ns: Option<u64>,
}

/// A member. What it did not live to say is null.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    delivered: u64,
    digest: Option<String>,
    state_digest: Option<String>,
    joined_late: bool,
    killed: bool,
    repaired: Option<u64>,
    dropped: Option<u64>,
    overflow: Option<u64>,
    latency_ns: Option<Latency>,
}

impl Report {
    /// Judges a run of this source.
    ///
    /// # Errors
    /// When the capture cannot be read again.
    pub(super) fn judge(options: &Options, source: &Source, outcome: &Outcome) -> Result<Self, Refusal> {
        let survivors = || outcome.members.iter().filter(|member| !member.killed);
        let messages = survivors().filter_map(|member| member.had.as_ref()).map(|had| had.messages).max();
        let truth = messages.map(|messages| truth(source, messages)).transpose()?;
        let reasons = reasons(truth.as_ref(), outcome);
        let book = truth.unwrap_or_default();
        let is_whole = messages.is_some();
        Ok(Self {
            ok: reasons.is_empty(),
            messages: book.messages(),
            bytes: book.bytes(),
            seconds: outcome.seconds,
            digest: is_whole.then(|| book.chain()),
            state_digest: is_whole.then(|| book.digest()),
            medium: outcome.members[0].medium.clone(),
            order: options.order.name(),
            publishers: 2,
            views: views(&outcome.members),
            members: outcome.members.iter().map(Row::of).collect(),
            reasons,
        })
    }

    /// The report as one line of JSON.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }

    /// The report for people.
    pub(super) fn to_text(&self) -> String {
        let head = ["view", "pause ms", "members", "cause"].map(str::to_owned);
        let rows = self.views.iter().map(View::cells);
        let views = aligned(std::iter::once(head).chain(rows).collect());
        let head =
            ["member", "messages", "digest", "state", "repaired", "dropped", "queueing us p50", "p99", ""];
        let rows = self.members.iter().map(Row::cells);
        let members = aligned(std::iter::once(head.map(str::to_owned)).chain(rows).collect());
        format!("{views}\n{members}{}\nmedium {}", self.verdict(), self.medium)
    }

    fn verdict(&self) -> String {
        if !self.ok {
            return format!("FAILED: {}", self.reasons.join("; "));
        }
        let Self { messages, bytes, seconds, .. } = self;
        let survivors = self.members.iter().filter(|member| !member.killed).count();
        format!(
            "ok: {survivors} survivors have all {messages} messages ({bytes} bytes) once and in order, and the same state {}, in {seconds:.3} s",
            short(self.state_digest.as_ref())
        )
    }
}

/// The book of the first so many messages that are published.
fn truth(source: &Source, messages: u64) -> Result<Book, Refusal> {
    let feed = source.load()?;
    let mut book = Book::default();
    for at in 0..messages {
        if let Some(message) = feed.get((at % feed.len() as u64) as usize) {
            book.add(message.bytes);
        }
    }
    Ok(book)
}

/// Why a run has failed: nothing for one that has not.
fn reasons(truth: Option<&Book>, outcome: &Outcome) -> Vec<String> {
    let mut reasons: Vec<String> = outcome.trouble.iter().cloned().collect();
    let Some(truth) = truth else {
        reasons.push("nobody came to the end of the feed".to_owned());
        return reasons;
    };
    for Evidence { name, had, .. } in outcome.members.iter().filter(|member| !member.killed) {
        let Some(had) = had else {
            reasons.push(format!("{name} did not come to the end of the feed"));
            continue;
        };
        if had.messages != truth.messages() || had.digest != truth.chain() {
            let (has, all) = (had.messages, truth.messages());
            reasons
                .push(format!("{name} has {has} messages of {all}, and they are not those of the capture"));
        } else if had.state_digest != truth.digest() {
            reasons.push(format!("{name} has another state than the capture gives"));
        }
    }
    let of = |is_so: fn(&Evidence) -> bool| outcome.members.iter().filter(|member| is_so(member)).count();
    if (of(|member| member.killed), of(|member| member.joined_late)) != (2, 1) {
        reasons.push("not everything happened that was to happen".to_owned());
    }
    reasons
}

/// All views that anybody was told of, with what led to each.
fn views(members: &[Evidence]) -> Vec<View> {
    let name = |at: &SocketAddr| {
        let member = members.iter().find(|member| member.endpoint == Some(*at));
        member.map_or_else(|| at.to_string(), |member| member.name.clone())
    };
    let names = |all: &[SocketAddr]| all.iter().map(name).collect::<Vec<_>>();
    let mut seen: BTreeMap<u32, &Seen> = BTreeMap::new();
    for view in members.iter().flat_map(|member| &member.views) {
        // Whoever was there before knows what has changed.
        let known = seen.entry(view.number).or_insert(view);
        if view.came.len() < known.came.len() {
            *known = view;
        }
    }
    let pause = |number: u32| {
        let pauses =
            members.iter().filter(|member| !member.killed).filter_map(|member| member.pauses.get(&number));
        pauses.max().copied()
    };
    seen.into_iter()
        .map(|(number, view)| {
            let changes = [
                (names(&view.gone), "failed"),
                (names(&view.came), if view.came.len() == view.members.len() { "began" } else { "joined" }),
                (
                    names(&view.readied),
                    if view.readied.len() == 1 { "has the state" } else { "have the state" },
                ),
            ];
            let told = changes.iter().filter(|(who, _)| !who.is_empty());
            let cause: Vec<String> = told.map(|(who, what)| format!("{} {what}", who.join(" "))).collect();
            View {
                id: number,
                members: names(&view.members),
                cause: cause.join(", "),
                pause_ns: pause(number),
            }
        })
        .collect()
}

impl View {
    fn cells(&self) -> [String; 4] {
        let pause = self.pause_ns.map_or_else(|| "-".to_owned(), |ns| format!("{:.2}", ns as f64 / 1e6));
        [self.id.to_string(), pause, self.members.join(" "), self.cause.clone()]
    }
}

impl Row {
    fn of(member: &Evidence) -> Self {
        let (had, counted) = (member.had.as_ref(), member.had.as_ref().map(|had| had.counted));
        Self {
            name: member.name.clone(),
            delivered: member.messages,
            digest: had.map(|had| had.digest.clone()),
            state_digest: had.map(|had| had.state_digest.clone()),
            joined_late: member.joined_late,
            killed: member.killed,
            repaired: counted.map(|counted| counted.repaired),
            dropped: counted.map(|counted| counted.dropped),
            overflow: counted.map(|counted| counted.overflow),
            latency_ns: had.and_then(|had| had.latency_ns),
        }
    }

    fn cells(&self) -> [String; 9] {
        let fate = match (self.killed, self.joined_late) {
            (true, _) => "killed",
            (_, true) => "joined late",
            _ => "",
        };
        [
            self.name.clone(),
            self.delivered.to_string(),
            short(self.digest.as_ref()).to_owned(),
            short(self.state_digest.as_ref()).to_owned(),
            number(self.repaired),
            number(self.dropped),
            micros(self.latency_ns.map(|latency| latency.p50)),
            micros(self.latency_ns.map(|latency| latency.p99)),
            fate.to_owned(),
        ]
    }
}

/// The rows as lines, every column as wide as its widest cell, the last one as it is.
fn aligned<const COLUMNS: usize>(rows: Vec<[String; COLUMNS]>) -> String {
    let width: [usize; COLUMNS] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    let line = |row: &[String; COLUMNS]| {
        let cells = row.iter().zip(width).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
