//! Medians with their spread, as a table for people and as JSON for machines.

use crate::Failure;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::path::Path;

/// One variant of one bench: a value per repetition.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    /// Name of the bench, and of the quantile where there is one.
    pub(crate) bench: &'static str,
    /// `floor ..` or `ours`.
    pub(crate) variant: String,
    /// What carried it.
    pub(crate) medium: String,
    /// Bytes of a message.
    pub(crate) size: usize,
    /// Groups that the receiver listens to.
    pub(crate) sockets: usize,
    /// Whether segmentation offload was on.
    pub(crate) offload: bool,
    /// What is counted.
    pub(crate) unit: Unit,
    /// One for each repetition, in their order.
    pub(crate) values: Vec<f64>,
    /// The values of the floor in the same repetitions.
    pub(crate) floor: Vec<f64>,
    /// What else a reader of the figure must know.
    pub(crate) note: String,
}

/// What a series counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Unit {
    /// Nanoseconds.
    #[serde(rename = "ns")]
    Nanoseconds,
    /// Messages per second, at the receiver.
    #[serde(rename = "msg/s")]
    MessagesPerSecond,
    /// Calls per second, at the caller.
    #[serde(rename = "call/s")]
    CallsPerSecond,
    /// Processor time per time.
    #[serde(rename = "cores")]
    Cores,
    /// Bytes.
    #[serde(rename = "B")]
    Bytes,
}

/// One row of the report, as it is published.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row<'a> {
    pub(crate) bench: Cow<'a, str>,
    pub(crate) variant: Cow<'a, str>,
    medium: Cow<'a, str>,
    pub(crate) size: usize,
    pub(crate) sockets: usize,
    pub(crate) offload: Cow<'a, str>,
    pub(crate) unit: Unit,
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    runs: usize,
    ratio_to_floor: f64,
}

impl Series {
    /// Whether the two differ in nothing but offload.
    fn is_same_as(&self, other: &Self) -> bool {
        let key = |series: &Self| (series.bench, series.size, series.sockets);
        key(self) == key(other) && self.variant == other.variant && self.carrier() == other.carrier()
    }

    /// The medium without its reason, which stands below the table.
    pub(crate) fn carrier(&self) -> &str {
        self.medium.split(' ').next().unwrap_or_default()
    }

    /// The median of the ratios to the floor.
    pub(crate) fn ratio_to_floor(&self) -> f64 {
        ratio(&self.values, &self.floor)
    }

    fn row(&self) -> Row<'_> {
        Row {
            bench: self.bench.into(),
            variant: self.variant.as_str().into(),
            medium: self.carrier().into(),
            size: self.size,
            sockets: self.sockets,
            offload: if self.offload { "on" } else { "off" }.into(),
            unit: self.unit,
            median: median(&self.values),
            min: self.values.iter().copied().fold(f64::INFINITY, f64::min),
            max: self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            runs: self.values.len(),
            ratio_to_floor: self.ratio_to_floor(),
        }
    }
}

/// The median of the ratios of each repetition: what disturbs a repetition disturbs both of its halves.
pub(crate) fn ratio(values: &[f64], floor: &[f64]) -> f64 {
    assert_eq!(values.len(), floor.len(), "the variants of a repetition belong together");
    let ratios: Vec<f64> = values.iter().zip(floor).map(|(value, floor)| value / floor).collect();
    median(&ratios)
}

/// The median; of an even number of values the mean of the middle two.
pub(crate) fn median(values: &[f64]) -> f64 {
    assert!(!values.is_empty(), "nothing has no median");
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// The table, for a terminal: what was measured without offload stands on the line of the same variant with it, and
/// the notes below.
pub(crate) fn print_table(series: &[Series]) {
    println!("\n{}", table(series, false));
}

/// The table as lines, each cell as wide as its column; `markdown` adds bars.
pub(crate) fn table(series: &[Series], markdown: bool) -> String {
    let lines = lines(series);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let bar = if markdown { "| " } else { "" };
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| match column {
            0 | 1 => format!("{bar}{cell:<width$} "),
            _ => format!("{bar}{cell:>width$} "),
        });
        let row: String = cells.collect();
        text += row.trim_end();
        text += if markdown { " |\n" } else { "\n" };
        if markdown && at == 0 {
            text += &format!("|---|---{}|\n", "|--:".repeat(COLUMNS - 2));
        }
    }
    text + "\n" + &notes(series)
}

/// Loss, repairs, processor time, windows: one line for each series that has something to say, and what carried ours.
fn notes(series: &[Series]) -> String {
    let mut text = String::new();
    for series in series.iter().filter(|series| !series.note.is_empty()) {
        let (Series { bench, variant, size, sockets, note, .. }, carrier) = (series, series.carrier());
        let offload = if series.offload { "on" } else { "off" };
        text += &format!(
            "- {bench}, {variant} ({carrier}), {size} B, sockets {sockets}, offload {offload}: {note}\n"
        );
    }
    let mut media: Vec<_> = series.iter().map(|series| series.medium.as_str()).collect();
    media.sort_unstable();
    media.dedup();
    media.retain(|medium| medium.contains(' '));
    media.iter().for_each(|medium| text += &format!("- medium: {medium}\n"));
    text
}

/// Heading and rows. A series without offload has no row of its own where there is the same with it.
fn lines(series: &[Series]) -> Vec<[String; COLUMNS]> {
    let mut lines = vec![HEADING.map(str::to_owned)];
    for one in series {
        if !one.offload && series.iter().any(|other| other.offload && one.is_same_as(other)) {
            continue;
        }
        let without = series.iter().find(|other| one.offload && !other.offload && one.is_same_as(other));
        let without = without.map(|other| {
            let row = other.row();
            [row.unit.show(row.median), format!("{:.3}", row.ratio_to_floor)]
        });
        let [off, off_ratio] = without.unwrap_or_else(|| ["-".to_owned(), "-".to_owned()]);
        let row = one.row();
        lines.push([
            row.bench.clone().into(),
            row.variant.clone().into(),
            row.medium.clone().into(),
            row.size.to_string(),
            row.sockets.to_string(),
            row.offload.clone().into(),
            row.unit.show(row.median),
            row.unit.show(row.min),
            row.unit.show(row.max),
            row.runs.to_string(),
            format!("{:.3}", row.ratio_to_floor),
            off,
            off_ratio,
        ]);
    }
    lines
}

const COLUMNS: usize = 13;
const HEADING: [&str; COLUMNS] = [
    "bench",
    "variant",
    "medium",
    "size",
    "sockets",
    "offload",
    "median",
    "min",
    "max",
    "runs",
    "to floor",
    "offload off",
    "to its floor",
];

/// Fails now, not after minutes of measuring, where the report cannot be written.
pub(crate) fn probe_writable(path: &Path) -> Result<(), Failure> {
    let opened = std::fs::File::options().create(true).append(true).open(path);
    opened.map(drop).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Reads what [`write_json`] wrote.
pub(crate) fn read_json(path: &Path) -> Result<Vec<Row<'static>>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Writes the rows of a table as a JSON array.
pub(crate) fn write_json(path: &Path, series: &[Series]) -> Result<(), Failure> {
    let rows: Vec<Row<'_>> = series.iter().map(Series::row).collect();
    write_rows(path, &rows)
}

/// Writes any rows as a JSON array.
pub(crate) fn write_rows(path: &Path, rows: &[impl Serialize]) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(rows)?;
    text.push('\n');
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()).into())
}

impl Unit {
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::Nanoseconds => format!("{value:.0} ns"),
            Self::MessagesPerSecond => format!("{:.2} M/s", value / 1e6),
            Self::CallsPerSecond => format!("{:.1} k/s", value / 1e3),
            Self::Cores => format!("{value:.3} cores"),
            Self::Bytes => format!("{value:.2} B"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(offload: bool, value: f64) -> Series {
        Series {
            bench: "rtt_p50",
            variant: "ours".into(),
            medium: "udp (as asked)".into(),
            size: 64,
            sockets: 1,
            offload,
            unit: Unit::Nanoseconds,
            values: vec![value],
            floor: vec![1.0],
            note: String::new(),
        }
    }

    #[test]
    fn what_was_measured_without_offload_stands_on_the_line_with_it() {
        let both = table(&[series(true, 2.0), series(false, 3.0)], false);
        let rows: Vec<_> = both.lines().skip(1).filter(|line| line.starts_with("rtt")).collect();
        assert_eq!(rows.len(), 1);
        assert!(rows[0].ends_with("3 ns        3.000") && rows[0].contains("2 ns"), "{}", rows[0]);
        let alone = table(&[series(false, 3.0)], true);
        assert!(alone.contains("| off") && alone.contains("- medium: udp (as asked)"), "{alone}");
    }

    #[test]
    fn median_of_odd_and_even() {
        assert_eq!(median(&[3.0, 1.0, 2.0]).to_bits(), 2.0_f64.to_bits());
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]).to_bits(), 2.5_f64.to_bits());
    }

    #[test]
    fn a_ratio_pairs_the_repetitions() {
        // The second repetition was disturbed for both: the ratio does not see it.
        assert_eq!(ratio(&[2.0, 20.0, 2.0], &[1.0, 10.0, 1.0]).to_bits(), 2.0_f64.to_bits());
    }

    #[test]
    fn the_json_row_has_exactly_the_published_fields() {
        let text = serde_json::to_string(&series(true, 2.0).row()).unwrap();
        assert_eq!(
            text,
            r#"{"bench":"rtt_p50","variant":"ours","medium":"udp","size":64,"sockets":1,"offload":"on","unit":"ns","median":2.0,"min":2.0,"max":2.0,"runs":1,"ratio_to_floor":2.0}"#
        );
    }
}
