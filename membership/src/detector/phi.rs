//! How unlikely a silence is, given the times between signs of life before it.

/// Times that are kept.
const KEPT: usize = 64;
/// Before there are so many, nothing can be said.
const LEAST: usize = 8;

/// The last times between two signs of life of one member, as they were seen at looks.
#[derive(Debug, Clone, Default)]
pub(super) struct Intervals {
    /// Milliseconds; a ring.
    kept: Vec<f32>,
    next: usize,
}

impl Intervals {
    /// Notes a time of `ns`. What comes in bursts of data says nothing of the silence after them: a time counts as that between two
    /// heartbeats at least.
    pub(super) fn note(&mut self, ns: u64, heartbeat_ns: u64) {
        let ms = ns.max(heartbeat_ns) as f32 / 1e6;
        if self.kept.len() < KEPT {
            self.kept.push(ms);
        } else {
            self.kept[self.next] = ms;
        }
        self.next = (self.next + 1) % KEPT;
    }

    /// −log₁₀ of the probability that a silence is longer, if the times are normally distributed; `None` while too few are known.
    ///
    /// The normal distribution by its logistic approximation (Bowling et al. 2009), as Akka and Cassandra have it.
    pub(super) fn phi(&self, silence_ns: u64) -> Option<f64> {
        if self.kept.len() < LEAST {
            return None;
        }
        let count = self.kept.len() as f64;
        let mean = self.kept.iter().map(|ms| f64::from(*ms)).sum::<f64>() / count;
        let variance = self.kept.iter().map(|ms| (f64::from(*ms) - mean).powi(2)).sum::<f64>() / count;
        // All of one length would make a silence that is a little longer infinitely unlikely.
        let deviation = variance.sqrt().max(mean / 2.0);
        let y = (silence_ns as f64 / 1e6 - mean) / deviation;
        let e = (-y * (1.5976 + 0.070566 * y * y)).exp();
        let longer = if y > 0.0 { e / (1.0 + e) } else { 1.0 - 1.0 / (1.0 + e) };
        Some(-longer.max(f64::MIN_POSITIVE).log10())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_silence_is_less_likely() {
        let mut intervals = Intervals::default();
        assert_eq!(intervals.phi(1), None);
        (0..100).for_each(|at| intervals.note(90_000_000 + at % 3 * 10_000_000, 100_000));
        assert_eq!(intervals.kept.len(), KEPT);
        let phis: Vec<f64> = (0..20).map(|at| intervals.phi(at * 25_000_000).unwrap()).collect();
        assert!(phis.windows(2).all(|two| two[0] <= two[1]), "{phis:?}");
        assert!(phis[4] < 0.5 && phis[8] > 1.5 && phis[19] > 8.0, "{phis:?}");
    }
}
