//! Medians with their spread, as a table for people and as JSON for machines.

use crate::Failure;
use serde::Serialize;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Unit {
    /// Nanoseconds.
    #[serde(rename = "ns")]
    Nanoseconds,
    /// Messages per second, at the receiver.
    #[serde(rename = "msg/s")]
    MessagesPerSecond,
}

/// One row of the report.
#[derive(Debug, Serialize)]
struct Row<'a> {
    bench: &'a str,
    variant: &'a str,
    medium: &'a str,
    size: usize,
    sockets: usize,
    offload: &'a str,
    unit: Unit,
    median: f64,
    min: f64,
    max: f64,
    runs: usize,
    ratio_to_floor: f64,
}

impl Series {
    fn row(&self) -> Row<'_> {
        Row {
            bench: self.bench,
            variant: &self.variant,
            medium: &self.medium,
            size: self.size,
            sockets: self.sockets,
            offload: if self.offload { "on" } else { "off" },
            unit: self.unit,
            median: median(&self.values),
            min: self.values.iter().copied().fold(f64::INFINITY, f64::min),
            max: self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            runs: self.values.len(),
            ratio_to_floor: ratio(&self.values, &self.floor),
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

/// Prints the table, a note below each row that has one.
pub(crate) fn print_table(series: &[Series]) {
    let variant_width =
        series.iter().map(|series| series.variant.len()).max().unwrap_or(0).max("variant".len());
    println!(
        "\n{:<10} {:<variant_width$} {:>6} {:>7} {:>10} {:>10} {:>10} {:>4} {:>9}  note",
        "bench", "variant", "size", "offload", "median", "min", "max", "runs", "to floor"
    );
    for series in series {
        let row = series.row();
        let line = format!(
            "{:<10} {:<variant_width$} {:>6} {:>7} {:>10} {:>10} {:>10} {:>4} {:>9.3}  {}",
            row.bench,
            row.variant,
            row.size,
            row.offload,
            row.unit.show(row.median),
            row.unit.show(row.min),
            row.unit.show(row.max),
            row.runs,
            row.ratio_to_floor,
            series.note
        );
        println!("{}", line.trim_end());
    }
}

/// Fails now, not after minutes of measuring, where the report cannot be written.
pub(crate) fn probe_writable(path: &Path) -> Result<(), Failure> {
    let opened = std::fs::File::options().create(true).append(true).open(path);
    opened.map(drop).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Writes the rows as a JSON array.
pub(crate) fn write_json(path: &Path, series: &[Series]) -> Result<(), Failure> {
    let rows: Vec<Row<'_>> = series.iter().map(Series::row).collect();
    let mut text = serde_json::to_string_pretty(&rows)?;
    text.push('\n');
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()).into())
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Nanoseconds => format!("{value:.0} ns"),
            Self::MessagesPerSecond => format!("{:.2} M/s", value / 1e6),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let series = Series {
            bench: "rtt_p50",
            variant: "ours".into(),
            medium: "udp".into(),
            size: 64,
            sockets: 1,
            offload: true,
            unit: Unit::Nanoseconds,
            values: vec![2.0],
            floor: vec![1.0],
            note: String::new(),
        };
        let text = serde_json::to_string(&series.row()).unwrap();
        assert_eq!(
            text,
            r#"{"bench":"rtt_p50","variant":"ours","medium":"udp","size":64,"sockets":1,"offload":"on","unit":"ns","median":2.0,"min":2.0,"max":2.0,"runs":1,"ratio_to_floor":2.0}"#
        );
    }
}
