//! A counters file as another process reads it: whatever its bytes are.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sistrum_transport::engine::counters::{Reading, Snapshot};

fuzz_target!(|bytes: &[u8]| {
    let Ok(seen) = Snapshot::decode(bytes) else { return };
    for value in seen.scopes.iter().flat_map(|scope| &scope.values) {
        if let Reading::Histogram { shape, counts, .. } = &value.reading {
            let _ = shape.quantile(counts, 0.99);
            (0..counts.len()).for_each(|bucket| _ = shape.bound(bucket));
        }
    }
});
