//! The aims that the project set itself, and what a run reached of them. Computed from the rows: printed, never asserted.

use crate::report::Series;
use std::fmt::Write as _;

/// One aim: a bound for the ratio of ours to the floor, with one socket.
#[derive(Debug)]
struct Aim {
    what: &'static str,
    bench: &'static str,
    size: usize,
    offload: bool,
    medium: &'static str,
    bound: Bound,
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// The section of the report: a line for each aim, and behind it the profile that says where the rest goes.
pub(crate) fn section(series: &[Series]) -> String {
    let mut text = "| aim | medium | ratio wanted | reached | |\n|---|---|--:|--:|---|\n".to_owned();
    for aim in aims() {
        writeln!(text, "{}", aim.line(series)).expect("a string takes everything");
    }
    format!("## Aims\n\n{text}\n{}", include_str!("../PROFILE.md"))
}

impl Aim {
    fn line(&self, series: &[Series]) -> String {
        let Self { what, medium, bound, .. } = self;
        let (wanted, reached) = (bound.show(), self.reached(series));
        match reached {
            Some(ratio) => {
                let verdict = if bound.holds(ratio) { "reached" } else { "**short**: see below" };
                format!("| {what} | {medium} | {wanted} | {ratio:.3} | {verdict} |")
            }
            None => format!("| {what} | {medium} | {wanted} | - | not measured in this run |"),
        }
    }

    /// The ratio of the row that the aim is about.
    fn reached(&self, series: &[Series]) -> Option<f64> {
        let is_it = |row: &&Series| {
            row.variant == "ours"
                && row.sockets == 1
                && (row.bench, row.size, row.offload) == (self.bench, self.size, self.offload)
                && row.carrier() == self.medium
        };
        series.iter().find(is_it).map(Series::ratio_to_floor)
    }
}

impl Bound {
    fn holds(self, ratio: f64) -> bool {
        match self {
            Self::AtMost(most) => ratio <= most,
            Self::AtLeast(least) => ratio >= least,
        }
    }

    fn show(self) -> String {
        match self {
            Self::AtMost(most) => format!("at most {most}"),
            Self::AtLeast(least) => format!("at least {least}"),
        }
    }
}

fn aims() -> impl Iterator<Item = Aim> {
    let trip = |medium, most| Aim {
        what: "round trip of 64 B, p50",
        bench: "rtt_p50",
        size: 64,
        offload: true,
        medium,
        bound: Bound::AtMost(most),
    };
    let rate = |what, size, offload, least| {
        MEDIA.map(|medium| Aim {
            what,
            bench: "throughput",
            size,
            offload,
            medium,
            bound: Bound::AtLeast(least),
        })
    };
    let rates = [
        rate("32 B messages a second", 32, true, 0.3),
        rate("1 KiB messages a second", 1024, true, 0.6),
        rate("32 B messages a second, offload off", 32, false, 0.7),
        rate("1 KiB messages a second, offload off", 1024, false, 0.7),
    ];
    [trip(MEDIA[0], 1.15), trip(MEDIA[1], 1.25)].into_iter().chain(rates.into_iter().flatten())
}

const MEDIA: [&str; 2] = ["udp", "uring"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Unit;

    fn row(medium: &str, ratio: f64) -> Series {
        Series {
            bench: "rtt_p50",
            variant: "ours".into(),
            medium: medium.into(),
            size: 64,
            sockets: 1,
            offload: true,
            unit: Unit::Nanoseconds,
            values: vec![ratio],
            floor: vec![1.0],
            note: String::new(),
        }
    }

    #[test]
    fn every_aim_has_a_line_with_what_was_reached() {
        let text = section(&[row("udp (as asked)", 1.1), row("uring", 1.3)]);
        let lines: Vec<_> = text
            .lines()
            .filter(|line| line.contains(" ratio ") || line.contains("| udp ") || line.contains("| uring "))
            .collect();
        assert_eq!(lines.len(), 1 + 10, "{text}");
        assert!(text.contains("| udp | at most 1.15 | 1.100 | reached |"), "{text}");
        assert!(text.contains("| uring | at most 1.25 | 1.300 | **short**"), "{text}");
        assert!(text.contains("| 32 B messages a second | udp | at least 0.3 | - | not measured"), "{text}");
    }
}
