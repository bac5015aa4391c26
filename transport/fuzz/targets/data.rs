//! Data frames of any bytes: every frame lies within them, and what was read is written to the same length again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sistrum_transport::wire::{DataFrames, MAX_FRAME_OVERHEAD, frame_len, write_frame};

fuzz_target!(|bytes: &[u8]| {
    let mut frames = DataFrames::new(bytes);
    let mut out = Vec::new();
    while let Ok(Some(frame)) = frames.next_frame() {
        let len = frame_len(frame.part, frame.bytes.len());
        assert!(len <= frame.bytes.len() + MAX_FRAME_OVERHEAD);
        out.clear();
        out.resize(len, 0);
        write_frame(&mut out, frame.part, frame.bytes.len()).copy_from_slice(frame.bytes);
        assert_eq!(DataFrames::new(&out).next_frame(), Ok(Some(frame)));
    }
});
