//! All of it in the text format of Prometheus, version 0.0.4: families with HELP and TYPE, base units in names.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sistrum::Instant;
use sistrum::counters::{Reading, Scope, Shape, Unit, Value, help};

use crate::nodes::Seen;

/// All samples of one name.
#[derive(Debug)]
struct Family {
    kind: &'static str,
    help: String,
    samples: String,
}

/// Families, by name.
#[derive(Debug, Default)]
struct Families(BTreeMap<String, Family>);

/// The nodes as one page. Each sample says which node it is of: by name, process and endpoint.
pub(super) fn shown(nodes: &[Seen], now: Instant) -> String {
    let mut families = Families::default();
    nodes.iter().for_each(|seen| families.node(seen, now));
    let mut page = String::new();
    for (name, Family { kind, help, samples }) in &families.0 {
        let _ = write!(page, "# HELP {name} {}\n# TYPE {name} {kind}\n{samples}", escaped(help, false));
    }
    page
}

impl Families {
    fn node(&mut self, seen: &Seen, now: Instant) {
        let snapshot = &seen.snapshot;
        let engine = snapshot.scope("engine");
        let of_engine = |name| engine.map_or("", |engine| engine.label(name)).to_owned();
        let own = vec![
            ("node".to_owned(), of_engine("node")),
            ("pid".to_owned(), snapshot.origin.process.to_string()),
            ("endpoint".to_owned(), of_engine("endpoint")),
        ];
        let age = seconds(now.since_ns(snapshot.written));
        let what = "Since the node last wrote its counters: an engine that is not polled stops to.";
        self.add("sistrum_node_written_age_seconds", "gauge", what).sample("", &own, None, &age);
        let what = "Counters that the node's file had no room for.";
        let left_out = snapshot.left_out.to_string();
        self.add("sistrum_node_left_out_counters", "gauge", what).sample("", &own, None, &left_out);
        for scope in &snapshot.scopes {
            self.scope(scope, &own);
        }
    }

    fn scope(&mut self, scope: &Scope, own: &[(String, String)]) {
        let mut labels = own.to_vec();
        for (name, value) in &scope.labels {
            // What is said in words is no part of a series' name.
            if name != "about" && !labels.iter().any(|(known, _)| known == name) {
                labels.push((word(name), value.clone()));
            }
        }
        let prefix = format!("sistrum_{}", word(&scope.name));
        if !scope.label("about").is_empty() {
            let about = [("about".to_owned(), scope.label("about").to_owned())];
            let labels = [&labels[..], &about].concat();
            self.add(&format!("{prefix}_info"), "gauge", "What is said of it in words.")
                .sample("", &labels, None, "1");
        }
        for value in &scope.values {
            self.value(&prefix, &labels, value);
        }
    }

    fn value(&mut self, prefix: &str, labels: &[(String, String)], value: &Value) {
        let unit = match value.unit {
            Unit::Plain => "",
            Unit::Nanoseconds => "_seconds",
            Unit::Bytes => "_bytes",
        };
        let number =
            |number: u64| if value.unit == Unit::Nanoseconds { seconds(number) } else { number.to_string() };
        let name = format!("{prefix}_{}{unit}", word(&value.name));
        let help = help(&value.name)
            .map_or_else(|| format!("{} (not known to this version).", value.name), str::to_owned);
        match &value.reading {
            Reading::Counter(count) => {
                self.add(&format!("{name}_total"), "counter", &help).sample(
                    "",
                    labels,
                    None,
                    &number(*count),
                );
            }
            Reading::Gauge(Some(gauge)) => {
                self.add(&name, "gauge", &help).sample("", labels, None, &number(*gauge))
            }
            Reading::Gauge(None) => {}
            Reading::Histogram { shape, sum, counts } => {
                let mut family = self.add(&name, "histogram", &help);
                let all = counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count)).to_string();
                for (bound, below) in bounds(*shape, counts) {
                    family.sample("_bucket", labels, Some(&number(bound)), &below.to_string());
                }
                family.sample("_bucket", labels, Some("+Inf"), &all);
                family.sample("_sum", labels, None, &number(*sum));
                family.sample("_count", labels, None, &all);
            }
        }
    }

    fn add(&mut self, name: &str, kind: &'static str, help: &str) -> Samples<'_> {
        let new = || Family { kind, help: help.to_owned(), samples: String::new() };
        let family = self.0.entry(name.to_owned()).or_insert_with(new);
        // Two nodes of different versions may differ in what a name is: the first one is believed.
        let samples = (family.kind == kind).then_some(&mut family.samples);
        Samples { name: name.to_owned(), samples }
    }
}

/// Where the samples of one family go.
struct Samples<'a> {
    name: String,
    samples: Option<&'a mut String>,
}

impl Samples<'_> {
    fn sample(&mut self, suffix: &str, labels: &[(String, String)], bound: Option<&str>, value: &str) {
        let Some(samples) = &mut self.samples else { return };
        let mut pairs: Vec<_> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value, true))).collect();
        pairs.extend(bound.map(|bound| format!("le=\"{bound}\"")));
        let _ = writeln!(samples, "{}{suffix}{{{}}} {value}", self.name, pairs.join(","));
    }
}

/// How many are below each power of two.
fn bounds(shape: Shape, counts: &[u64]) -> impl Iterator<Item = (u64, u64)> + '_ {
    let mut below = 0_u64;
    counts.iter().enumerate().filter_map(move |(bucket, count)| {
        below = below.saturating_add(*count);
        let bound = shape.bound(bucket)?;
        bound.is_power_of_two().then_some((bound, below))
    })
}

fn seconds(ns: u64) -> String {
    (ns as f64 / 1e9).to_string()
}

/// Letters, digits and underscores.
fn word(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn escaped(text: &str, is_label: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if is_label { text.replace('"', "\\\"") } else { text }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_page_is_valid_and_says_all() {
        let page = shown(&[sample::node(5_000, 40), sample::node(6_000, 80)], Instant(7_000));
        assert_valid(&page);
        for line in [
            "# TYPE sistrum_engine_cycles_total counter",
            "# HELP sistrum_engine_cycles_total Duty cycles.",
            r#"sistrum_engine_novel_total{node="a\"b",pid="4711",endpoint="127.0.0.1:7000"} 7"#,
            r#"sistrum_group_view{node="a\"b",pid="4711",endpoint="127.0.0.1:7000",group="ticks",role="member"} 4"#,
            r#"sistrum_stream_held_age_seconds{node="a\"b",pid="4711",endpoint="127.0.0.1:7000",group="ticks",rank="0",member="127.0.0.1:7000",direction="out"} 1.2"#,
            "# TYPE sistrum_group_stable_time_seconds histogram",
        ] {
            assert!(page.lines().any(|known| known == line), "{line} in {page}");
        }
        assert!(page.contains(r#"le="0.000002048"} 3"#) && page.contains(r#"le="+Inf"} 4"#), "{page}");
        assert!(!page.contains("nothing_to_say"));
    }

    /// The rules of the exposition format that a scraper fails by.
    pub(crate) fn assert_valid(page: &str) {
        let mut families = Vec::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let name = rest.split(' ').next().unwrap();
                assert!(!families.contains(&name), "{name} comes twice");
                families.push(name);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(families.last(), Some(&name), "TYPE follows HELP");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            } else {
                let (name, rest) = line.split_once('{').unwrap();
                let family = families.last().unwrap();
                let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{line} is not of {family}"));
                assert!(["", "_bucket", "_sum", "_count"].contains(&suffix), "{line}");
                let (_, value) = rest.rsplit_once("} ").unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
        assert!(!families.is_empty());
    }
}
