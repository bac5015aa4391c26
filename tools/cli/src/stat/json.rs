//! All of it as JSON: every scope with its labels, every counter by its name.

use serde_json::{Map, Value as Json, json};
use sistrum::Instant;
use sistrum::counters::{Reading, Scope, Unit, Value};

use crate::nodes::Seen;

/// The nodes as one array; on several lines where it `is_pretty`.
pub(super) fn shown(nodes: &[Seen], now: Instant, is_pretty: bool) -> String {
    let all = Json::Array(nodes.iter().map(|seen| node(seen, now)).collect());
    if is_pretty { format!("{all:#}") } else { all.to_string() }
}

fn node(seen: &Seen, now: Instant) -> Json {
    let snapshot = &seen.snapshot;
    json!({
        "file": seen.path.display().to_string(),
        "process": snapshot.origin.process,
        "life": format!("{:?}", seen.life).to_lowercase(),
        "boot": snapshot.boot.0,
        "up_ns": snapshot.written.since_ns(snapshot.opened),
        "written_ago_ns": now.since_ns(snapshot.written),
        "left_out": snapshot.left_out,
        "scopes": snapshot.scopes.iter().map(scope).collect::<Vec<_>>(),
    })
}

fn scope(scope: &Scope) -> Json {
    let labels: Map<String, Json> =
        scope.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let values: Map<String, Json> = scope.values.iter().map(value).collect();
    json!({ "scope": scope.name, "labels": labels, "values": values })
}

/// A name says what it is in: of times `_ns`, of sizes `_bytes`.
fn value(value: &Value) -> (String, Json) {
    let unit = match value.unit {
        Unit::Plain => "",
        Unit::Nanoseconds => "_ns",
        Unit::Bytes => "_bytes",
    };
    let reading = match &value.reading {
        Reading::Counter(count) => json!(count),
        Reading::Gauge(gauge) => json!(gauge),
        Reading::Histogram { shape, sum, counts } => json!({
            "count": counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count)),
            "sum": sum,
            "p50": shape.quantile(counts, 0.5),
            "p99": shape.quantile(counts, 0.99),
            "p999": shape.quantile(counts, 0.999),
        }),
    };
    (format!("{}{unit}", value.name), reading)
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn everything_is_there_by_name() {
        let text = shown(&[sample::node(5_000, 40)], Instant(7_000), false);
        let all: Json = serde_json::from_str(&text).unwrap();
        let node = &all[0];
        assert_eq!((&node["process"], &node["written_ago_ns"]), (&json!(4_711), &json!(2_000)));
        let engine = &node["scopes"][0];
        assert_eq!((&engine["labels"]["node"], &engine["values"]["novel"]), (&json!("a\"b"), &json!(7)));
        let group = &node["scopes"][1]["values"];
        assert_eq!(
            (&group["view_age_ns"], &group["stable_time_ns"]["p50"]),
            (&json!(12_000_000_000_u64), &json!(2_048))
        );
        let stream = &node["scopes"][2]["values"];
        assert_eq!(
            (&stream["under_way_limit_bytes"], &stream["nothing_to_say"]),
            (&json!(300_000), &Json::Null)
        );
    }
}
