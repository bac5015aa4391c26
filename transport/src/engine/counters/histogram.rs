//! Times by size: four buckets for each power of two, so that a quantile is right to a quarter.

use super::layout::WORD;

/// The buckets of a histogram: below `2^low` ns one, then `2^sub` for each of `octaves` powers of two, then one for the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The exponent of the first bound.
    pub low: u8,
    /// Powers of two that are told apart.
    pub octaves: u8,
    /// The exponent of how finely.
    pub sub: u8,
}

/// From 128 ns to 68 s.
pub(super) const SHAPE: Shape = Shape { low: 7, octaves: 29, sub: 2 };

/// Buckets of it.
pub const BUCKETS: usize = 2 + (29 << 2);

/// Counts of times, nanoseconds.
#[derive(Debug, Clone)]
pub struct Histogram {
    sum: u64,
    counts: [u64; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { sum: 0, counts: [0; BUCKETS] }
    }
}

impl Histogram {
    /// Counts one time.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.sum = self.sum.wrapping_add(ns);
        self.counts[SHAPE.bucket(ns)] += 1;
    }

    /// The sum of all times.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// How many were counted in each bucket.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }
}

impl Shape {
    /// Whether its bounds are numbers of 64 bits.
    #[must_use]
    pub fn is_sound(self) -> bool {
        self.sub <= self.low && self.low < 63 && self.octaves <= 63 - self.low && usize::from(self.sub) < WORD
    }

    /// How many buckets it has.
    #[must_use]
    pub fn buckets(self) -> usize {
        2 + (usize::from(self.octaves) << self.sub)
    }

    /// Where `value` is counted.
    #[inline]
    #[must_use]
    pub fn bucket(self, value: u64) -> usize {
        if value < 1 << self.low {
            return 0;
        }
        let top = value.ilog2();
        let octave = top - u32::from(self.low);
        if octave >= u32::from(self.octaves) {
            return self.buckets() - 1;
        }
        let within = (value >> (top - u32::from(self.sub))) & ((1 << self.sub) - 1);
        1 + ((octave as usize) << self.sub) + within as usize
    }

    /// What every value of a bucket is below; none where there is no bound.
    #[must_use]
    pub fn bound(self, bucket: usize) -> Option<u64> {
        let Some(at) = bucket.checked_sub(1) else { return Some(1 << self.low) };
        let (octave, within) = (at >> self.sub, at & ((1 << self.sub) - 1));
        let shift = usize::from(self.low) + octave - usize::from(self.sub);
        (octave < usize::from(self.octaves)).then(|| ((1 << self.sub) + within as u64 + 1) << shift)
    }

    /// The bound that a part `quantile` of all are below; where the last bucket has no bound, where it begins. None of nothing.
    #[must_use]
    pub fn quantile(self, counts: &[u64], quantile: f64) -> Option<u64> {
        let all = counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        let rank = ((all as f64 * quantile).ceil() as u64).clamp(1, all.max(1));
        let mut below = 0_u64;
        let bucket = counts.iter().position(|count| {
            below = below.saturating_add(*count);
            below >= rank
        })?;
        self.bound(bucket).or_else(|| self.bound(bucket.saturating_sub(1)))
    }
}

const _: () = assert!(BUCKETS == 2 + ((SHAPE.octaves as usize) << SHAPE.sub));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_below_the_bound_of_its_bucket_and_not_below_the_one_before() {
        let mut value = 1_u64;
        while value < 1 << 37 {
            for value in [value - 1, value, value + value / 3] {
                let bucket = SHAPE.bucket(value);
                assert!(SHAPE.bound(bucket).is_none_or(|bound| value < bound), "{value} in {bucket}");
                let before = bucket.checked_sub(1).and_then(|before| SHAPE.bound(before));
                assert!(before.is_none_or(|bound| value >= bound), "{value} in {bucket}");
            }
            value *= 2;
        }
        assert_eq!((SHAPE.bucket(0), SHAPE.bucket(u64::MAX)), (0, BUCKETS - 1));
        assert!(SHAPE.is_sound());
    }

    #[test]
    fn a_quantile_is_right_to_a_quarter() {
        let mut histogram = Histogram::default();
        (1..=1_000).for_each(|at| histogram.record(at * 1_000));
        for (quantile, exact) in [(0.5, 500_000.0), (0.99, 990_000.0), (0.999, 999_000.0)] {
            let found = SHAPE.quantile(histogram.counts(), quantile).unwrap() as f64;
            assert!((exact..exact * 1.25).contains(&found), "{quantile}: {found}");
        }
        assert_eq!(histogram.sum(), 500_500_000);
        assert_eq!(SHAPE.quantile(&[0; BUCKETS], 0.5), None);
        let mut rest = Histogram::default();
        rest.record(u64::MAX);
        assert_eq!(SHAPE.quantile(rest.counts(), 0.5), Some(1 << 36));
    }
}
