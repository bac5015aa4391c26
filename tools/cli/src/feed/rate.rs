//! Rates and sizes as people write them: `100mbit`, `10MB`, `64kb`.
//!
//! Prefixes are decimal, as on a network. `bit`, `kbit`, `mbit` and `gbit` are bits a second; `B`, `kB`, `MB` and `GB` are
//! bytes, a second for a rate. Case does not matter: `kb` is kilobytes too.

/// Bytes a second.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    let bytes = parse(text, &[BITS, BYTES].concat())
        .ok_or("a rate is wanted, such as 100mbit, 1.5gbit, 10MB (bytes) or 500kB".to_owned())?;
    at_least_one(bytes, "a rate of nothing would never send anything")
}

/// Bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let bytes =
        parse(text, BYTES).ok_or("a size in bytes is wanted, such as 64kB, 1MB or 9000B".to_owned())?;
    at_least_one(bytes, "a burst of nothing would never send anything")
}

/// Bytes of one of each unit.
type Unit = (&'static str, f64);
const BITS: &[Unit] = &[("gbit", 1e9 / 8.0), ("mbit", 1e6 / 8.0), ("kbit", 1e3 / 8.0), ("bit", 1.0 / 8.0)];
const BYTES: &[Unit] = &[("gb", 1e9), ("mb", 1e6), ("kb", 1e3), ("b", 1.0)];
/// More than any network carries: what is larger was mistyped.
const MOST: f64 = 1e15;

fn parse(text: &str, units: &[Unit]) -> Option<f64> {
    let text = text.to_ascii_lowercase();
    let text = text.strip_suffix("/s").unwrap_or(&text);
    let (number, worth) =
        units.iter().find_map(|(unit, worth)| text.strip_suffix(unit).map(|number| (number, worth)))?;
    let bytes = number.trim().parse::<f64>().ok()? * worth;
    (0.0..MOST).contains(&bytes).then_some(bytes)
}

fn at_least_one(bytes: f64, why: &str) -> Result<u64, String> {
    if bytes < 1.0 { Err(why.to_owned()) } else { Ok(bytes as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_decimal_and_bits_are_not_bytes() {
        let rates = ["8bit", "100mbit", "1.5gbit", "64kbit", "10MB", "10mb/s", "500kB", "9000B"];
        let bytes = [1, 12_500_000, 187_500_000, 8_000, 10_000_000, 10_000_000, 500_000, 9_000];
        assert!(rates.iter().map(|text| rate(text).unwrap()).eq(bytes));
        assert_eq!((size("64kb"), size("1MB"), size("1408B")), (Ok(64_000), Ok(1_000_000), Ok(1_408)));
    }

    #[test]
    fn what_is_unclear_is_refused() {
        for text in ["100", "", "mbit", "-1mbit", "NaNmbit", "infgbit", "1e300gb", "fast", "10 mile"] {
            assert!(rate(text).unwrap_err().contains("such as 100mbit"), "{text}");
        }
        for text in ["64", "64kbit", "-1kB"] {
            assert!(size(text).unwrap_err().contains("such as 64kB"), "{text}");
        }
        assert!(rate("0mbit").unwrap_err().contains("never") && size("0B").unwrap_err().contains("never"));
    }
}
