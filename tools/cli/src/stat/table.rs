//! All of it for people: what is not zero, by its name, and above it what matters most.

use std::fmt::Write as _;

use sistrum::Instant;
use sistrum::counters::{Life, Reading, Scope, Snapshot, Unit, Value};

use crate::figures::{bytes, count, time};
use crate::nodes::Seen;

/// Columns of a page.
const WIDTH: usize = 110;

/// The nodes, one below the other.
pub(super) fn shown(nodes: &[Seen], now: Instant) -> String {
    let mut page = String::new();
    for seen in nodes {
        node(&mut page, seen, now);
        page.push('\n');
    }
    page
}

fn node(page: &mut String, seen: &Seen, now: Instant) {
    let snapshot = &seen.snapshot;
    let engine = snapshot.scope("engine");
    let of_engine = |name| engine.map_or("", |engine| engine.label(name));
    let life = match seen.life {
        Life::Alive => "",
        Life::Dead => ", which is gone",
        Life::Unknown => ", of another namespace",
    };
    let _ = writeln!(
        page,
        "{}  {}  process {}{life}, up {}, written {} ago",
        of_engine("node"),
        of_engine("endpoint"),
        snapshot.origin.process,
        time(now.since_ns(snapshot.opened)),
        time(now.since_ns(snapshot.written))
    );
    if snapshot.left_out > 0 {
        let _ =
            writeln!(page, "  {} counters are left out: its file has no room for them", snapshot.left_out);
    }
    for scope in &snapshot.scopes {
        heading(page, snapshot, scope);
        wrapped(page, &scope.values);
    }
}

fn heading(page: &mut String, snapshot: &Snapshot, scope: &Scope) {
    let about = scope.label("about");
    let _ = match &scope.name[..] {
        "engine" => writeln!(page, "  {about}"),
        "group" => {
            let state = match (scope.number("wedged"), scope.number("view_changing")) {
                (Some(1), _) => ", cannot go on",
                (_, Some(1)) => ", the view changes",
                _ => "",
            };
            let view = match (scope.number("view"), scope.number("members"), scope.number("rank")) {
                (Some(view), Some(members), Some(rank)) => {
                    format!(", r{rank} of {members} in v{view}{state}")
                }
                _ => ", in no view".to_owned(),
            };
            let why = if about.is_empty() { String::new() } else { format!("; last: {about}") };
            writeln!(page, "  group {} as {}{view}{why}", scope.label("group"), scope.label("role"))
        }
        "stream" if scope.label("direction") == "out" => {
            writeln!(page, "  own stream in {}{}", scope.label("group"), held(snapshot, scope))
        }
        name => {
            let labels: Vec<_> = scope.labels.iter().map(|(_, value)| value.as_str()).collect();
            writeln!(page, "  {name} {}", labels.join(" "))
        }
    };
}

/// Who holds this stream back, and the number that says so.
fn held(snapshot: &Snapshot, scope: &Scope) -> String {
    let numbers = (scope.number("held_by_rank"), scope.number("held_blocks"), scope.number("held_age"));
    let (Some(rank), Some(blocks), Some(age)) = numbers else { return String::new() };
    let mut members = snapshot.scopes("stream").chain(snapshot.scopes("peer"));
    let is_it = |other: &&Scope| {
        other.label("group") == scope.label("group") && other.label("rank") == rank.to_string()
    };
    let who = members.find(is_it).map_or("", |member| member.label("member"));
    let window = scope.number("window_blocks").unwrap_or(0);
    format!(": r{rank} {who} is {blocks} of {window} blocks behind, for {}", time(age))
}

/// What is not zero, as many as fit on a line; what has many values has a line of its own.
fn wrapped(page: &mut String, values: &[Value]) {
    let mut line = String::new();
    for value in values {
        let Some(text) = shown_value(value) else { continue };
        if line.len() + text.len() > WIDTH && !line.is_empty() {
            let _ = writeln!(page, "    {}", line.trim_end_matches(", "));
            line.clear();
        }
        line += &text;
        line += ", ";
    }
    if !line.is_empty() {
        let _ = writeln!(page, "    {}", line.trim_end_matches(", "));
    }
}

fn shown_value(value: &Value) -> Option<String> {
    let name = value.name.replace('_', " ");
    let number = |number| match value.unit {
        Unit::Nanoseconds => time(number),
        Unit::Bytes => bytes(number),
        Unit::Plain => count(number),
    };
    match &value.reading {
        Reading::Counter(0) | Reading::Gauge(Some(0) | None) => None,
        Reading::Counter(count) | Reading::Gauge(Some(count)) => Some(format!("{name} {}", number(*count))),
        Reading::Histogram { shape, counts, .. } => {
            let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|part| shape.quantile(counts, part));
            let all = counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
            Some(format!(
                "{name} p50 {} p99 {} p99.9 {} of {}",
                number(p50?),
                number(p99?),
                number(p999?),
                count(all)
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_page_says_what_matters_first() {
        let page = shown(&[sample::node(5_000_000, 40)], Instant(7_000_000));
        for line in [
            "a\"b  127.0.0.1:7000  process 4711, up 7 ms, written 2 ms ago",
            "  udp (fast)",
            "  group ticks as member, r0 of 3 in v4; last: 127.0.0.1:7003 was suspected",
            "  own stream in ticks: r2 127.0.0.1:7002 is 252 of 256 blocks behind, for 1.2 s",
            "  peer ticks 2 127.0.0.1:7002",
        ] {
            assert!(page.lines().any(|known| known == line), "{line} in\n{page}");
        }
        assert!(page.contains("novel 7") && page.contains("stable time p50 2.05 us p99 4.1 us"), "{page}");
        assert!(!page.contains("empty cycles"), "what is zero is left out");
        assert!(page.lines().all(|line| line.len() <= WIDTH + 4), "{page}");
    }
}
