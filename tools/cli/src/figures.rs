//! Numbers as people read them.

/// A time: three digits and a unit.
pub(crate) fn time(ns: u64) -> String {
    let ns = ns as f64;
    let (value, unit) = match ns {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "us"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns if ns < 120e9 => (ns / 1e9, "s"),
        ns if ns < 7_200e9 => (ns / 60e9, "min"),
        ns => (ns / 3_600e9, "h"),
    };
    format!("{} {unit}", three(value))
}

/// A count: all digits while they are few, then three and a letter.
pub(crate) fn count(count: u64) -> String {
    let value = count as f64;
    match value {
        value if value < 1e5 => count.to_string(),
        value if value < 1e6 => format!("{}k", three(value / 1e3)),
        value if value < 1e9 => format!("{}M", three(value / 1e6)),
        value => format!("{}G", three(value / 1e9)),
    }
}

/// Bytes: all digits while they are few, then three and a unit.
pub(crate) fn bytes(bytes: u64) -> String {
    let value = bytes as f64;
    match value {
        value if value < 1e5 => format!("{bytes} B"),
        value if value < 1e6 => format!("{} kB", three(value / 1e3)),
        value if value < 1e9 => format!("{} MB", three(value / 1e6)),
        value => format!("{} GB", three(value / 1e9)),
    }
}

fn three(value: f64) -> String {
    let digits = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    // No zeros that say nothing.
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        let times = [0, 999, 1_500, 12_340_000, 3_000_000_000, 240_000_000_000, 7_200_000_000_000];
        assert_eq!(times.map(time), ["0 ns", "999 ns", "1.5 us", "12.3 ms", "3 s", "4 min", "2 h"]);
        assert_eq!([0, 99_999, 1_180_000].map(bytes), ["0 B", "99999 B", "1.18 MB"]);
        assert_eq!([0, 99_999, 123_456, 36_000_000].map(count), ["0", "99999", "123k", "36M"]);
    }
}
