//! What counters are walked into: once to name them, then to store them. One walk, so that names and numbers cannot part.

use super::histogram::{Histogram, SHAPE};
use super::label::{self, Kind, Metric};
use super::layout::Size;
use std::sync::atomic::{AtomicU64, Ordering};

/// Takes scopes, and the numbers of each behind it.
pub trait Sink {
    /// A scope begins. Its labels are only asked for where they are written down.
    fn scope(&mut self, name: &str, labels: impl FnOnce(&mut Vec<(&'static str, String)>));
    /// A number that only grows.
    fn counter(&mut self, metric: &'static Metric, value: u64);
    /// A number that goes up and down; [`NONE`](super::NONE) where there is none.
    fn gauge(&mut self, metric: &'static Metric, value: u64);
    /// Many numbers, by size.
    fn histogram(&mut self, metric: &'static Metric, values: &Histogram);
}

/// Something that has counters: the same ones in the same order, until it says that they have changed.
pub trait Walk {
    /// Names all, and says how they stand.
    fn walk(&self, sink: &mut impl Sink);
}

/// Names what there is, as far as there is room: the rest is left out from the first one on that does not fit.
#[derive(Debug, Default)]
pub(super) struct Labels {
    pub(super) bytes: Vec<u8>,
    pub(super) words: usize,
    pub(super) left_out: u64,
    is_full: bool,
    labels: Vec<(&'static str, String)>,
}

impl Labels {
    pub(super) fn of(walk: &impl Walk, size: Size) -> Self {
        let mut naming = Naming { size, labels: Self::default() };
        walk.walk(&mut naming);
        naming.labels
    }
}

struct Naming {
    size: Size,
    labels: Labels,
}

impl Naming {
    fn value(&mut self, metric: &'static Metric, kind: Kind) {
        let Self { size, labels } = self;
        if labels.is_full {
            labels.left_out += 1;
            return;
        }
        let (at, words) = (labels.bytes.len(), labels.words + kind.words());
        label::put_value(&mut labels.bytes, metric, kind);
        if labels.bytes.len() > size.label_bytes || words > size.value_words {
            labels.bytes.truncate(at);
            (labels.left_out, labels.is_full) = (1, true);
        } else {
            labels.words = words;
        }
    }
}

impl Sink for Naming {
    fn scope(&mut self, name: &str, labels: impl FnOnce(&mut Vec<(&'static str, String)>)) {
        let own = &mut self.labels;
        if own.is_full {
            return;
        }
        own.labels.clear();
        labels(&mut own.labels);
        let (at, texts) = (own.bytes.len(), own.labels.iter().map(|(name, value)| (*name, value.as_str())));
        label::put_scope(&mut own.bytes, name, &texts.collect::<Vec<_>>());
        if own.bytes.len() > self.size.label_bytes {
            own.bytes.truncate(at);
            own.is_full = true;
        }
    }

    fn counter(&mut self, metric: &'static Metric, _: u64) {
        self.value(metric, Kind::Counter);
    }

    fn gauge(&mut self, metric: &'static Metric, _: u64) {
        self.value(metric, Kind::Gauge);
    }

    fn histogram(&mut self, metric: &'static Metric, _: &Histogram) {
        self.value(metric, Kind::Histogram(SHAPE));
    }
}

/// Stores what there is into `words`: as many as there are labels for.
pub(super) struct Storing<'a> {
    pub(super) words: &'a [AtomicU64],
}

impl Storing<'_> {
    #[inline]
    fn take(&mut self, count: usize) -> &[AtomicU64] {
        match self.words.split_at_checked(count) {
            Some((own, rest)) => {
                self.words = rest;
                own
            }
            None => {
                self.words = &[];
                &[]
            }
        }
    }
}

impl Sink for Storing<'_> {
    fn scope(&mut self, _: &str, _: impl FnOnce(&mut Vec<(&'static str, String)>)) {}

    #[inline]
    fn counter(&mut self, _: &'static Metric, value: u64) {
        self.take(1).iter().for_each(|word| store(word, value));
    }

    #[inline]
    fn gauge(&mut self, _: &'static Metric, value: u64) {
        self.take(1).iter().for_each(|word| store(word, value));
    }

    fn histogram(&mut self, _: &'static Metric, values: &Histogram) {
        let own = self.take(1 + values.counts().len());
        let all = [values.sum()].into_iter().chain(values.counts().iter().copied());
        own.iter().zip(all).for_each(|(word, value)| store(word, value));
    }
}

#[inline]
pub(super) fn store(word: &AtomicU64, value: u64) {
    // Relaxed: the sequence around it orders it.
    word.store(value.to_le(), Ordering::Relaxed);
}
