//! The aims that the project set itself, and what a run reached of them. Computed from the rows: printed, never asserted.

use crate::order;
use crate::report::Series;
use std::fmt::Write as _;

/// One aim: a bound for the ratio of ours to the floor, or of an order to fifo, with one socket.
#[derive(Debug)]
struct Aim {
    what: &'static str,
    bench: &'static str,
    variant: &'static str,
    size: usize,
    offload: bool,
    /// What must have carried it; orders are compared over whichever medium is the first.
    medium: Option<&'static str>,
    bound: Bound,
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// The section of the report: a line for each aim, and behind it the profile that says where the rest goes.
pub(crate) fn section(series: &[Series]) -> String {
    let text = lines(against_the_floor().chain(between_orders()), series);
    format!("## Aims\n\n{text}\n{}", include_str!("../PROFILE.md"))
}

/// Prints the aims of the orders, and what came of them.
pub(crate) fn print_orders(series: &[Series]) {
    println!("\n{}", lines(between_orders(), series));
}

fn lines(aims: impl Iterator<Item = Aim>, series: &[Series]) -> String {
    let mut text = "| aim | medium | ratio wanted | reached | |\n|---|---|--:|--:|---|\n".to_owned();
    for aim in aims {
        writeln!(text, "{}", aim.line(series)).expect("a string takes everything");
    }
    text
}

impl Aim {
    fn line(&self, series: &[Series]) -> String {
        let (what, wanted) = (self.what, self.bound.show());
        let Some(row) = series.iter().find(|row| self.is_about(row)) else {
            let medium = self.medium.unwrap_or("-");
            return format!("| {what} | {medium} | {wanted} | - | not measured in this run |");
        };
        let ratio = row.ratio_to_floor();
        let verdict = if self.bound.holds(ratio) { "reached" } else { "**short**" };
        format!("| {what} | {} | {wanted} | {ratio:.3} | {verdict} |", row.carrier())
    }

    fn is_about(&self, row: &Series) -> bool {
        row.variant == self.variant
            && row.sockets == 1
            && (row.bench, row.size, row.offload) == (self.bench, self.size, self.offload)
            && self.medium.is_none_or(|medium| row.carrier() == medium)
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

/// Of ours, to what plain sockets do.
fn against_the_floor() -> impl Iterator<Item = Aim> {
    let aim = |what, bench, size, offload, medium, bound| Aim {
        what,
        bench,
        variant: "ours",
        size,
        offload,
        medium: Some(medium),
        bound,
    };
    let trip =
        |medium, most| aim("round trip of 64 B, p50", "rtt_p50", 64, true, medium, Bound::AtMost(most));
    let rate = |what, size, offload, least| {
        MEDIA.map(|medium| aim(what, "throughput", size, offload, medium, Bound::AtLeast(least)))
    };
    let rates = [
        rate("32 B messages a second", 32, true, 0.3),
        rate("1 KiB messages a second", 1024, true, 0.6),
        rate("32 B messages a second, offload off", 32, false, 0.7),
        rate("1 KiB messages a second, offload off", 1024, false, 0.7),
    ];
    [trip(MEDIA[0], 1.15), trip(MEDIA[1], 1.25)].into_iter().chain(rates.into_iter().flatten())
}

/// Of the other orders, to fifo in the same repetition.
fn between_orders() -> impl Iterator<Item = Aim> {
    let aim = |what, bench, variant, bound| Aim {
        what,
        bench,
        variant,
        size: order::DEFAULT_SIZE,
        offload: true,
        medium: None,
        bound,
    };
    let rate = |what, variant, least| aim(what, "order_throughput", variant, Bound::AtLeast(least));
    let trip = |what, variant| aim(what, "order_rtt_p50", variant, Bound::AtMost(1.05));
    [
        rate("causal to fifo, messages a second", "causal, 3 publishers", 0.9),
        rate(
            "causal to fifo, each block after another's",
            "causal, 3 publishers, each block after another's",
            0.9,
        ),
        trip("causal to fifo, round trip of 2", "causal, 2 publishers in turn"),
        trip("causal to fifo, round trip of 3", "causal, 3 publishers in turn"),
        rate("total by token to fifo, messages a second", "total by token, 3 publishers", 0.5),
        rate("total by rounds to fifo, messages a second", "total by rounds, 3 publishers", 0.5),
    ]
    .into_iter()
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
        assert_eq!(text.matches(" to fifo, ").count(), 6, "{text}");
        assert!(text.contains("| udp | at most 1.15 | 1.100 | reached |"), "{text}");
        assert!(text.contains("| uring | at most 1.25 | 1.300 | **short**"), "{text}");
        assert!(text.contains("| 32 B messages a second | udp | at least 0.3 | - | not measured"), "{text}");
    }

    #[test]
    fn orders_are_compared_over_any_medium() {
        let causal = Series {
            bench: "order_throughput",
            variant: "causal, 3 publishers".into(),
            unit: Unit::MessagesPerSecond,
            ..row("auto", 0.89)
        };
        let text = section(&[causal]);
        let line = "| causal to fifo, messages a second | auto | at least 0.9 | 0.890 | **short**";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("round trip of 3 | - | at most 1.05 | - | not measured"), "{text}");
    }
}
