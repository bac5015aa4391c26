//! Control frames of any bytes: what was read is written and read to the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sistrum_transport::wire::{Control, ControlFrames, ControlWriter};

fuzz_target!(|bytes: &[u8]| {
    let mut out = vec![0; bytes.len() + 64];
    let mut frames = ControlFrames::new(bytes);
    while let Ok(Some(frame)) = frames.next_frame() {
        let mut writer = ControlWriter::new(&mut out);
        let entries = match frame {
            Control::Heartbeat(heartbeat) => usize::from(writer.heartbeat(heartbeat)),
            Control::Setup(setup) => usize::from(writer.setup(&setup)),
            Control::Goodbye(goodbye) => usize::from(writer.goodbye(goodbye)),
            Control::Unavailable(unavailable) => usize::from(writer.unavailable(unavailable)),
            Control::Firm(firm) => usize::from(writer.firm(firm)),
            Control::Status(status) => writer.status(status.entries.iter()),
            Control::Nak(nak) => writer.nak(nak.origin, nak.attempt, nak.ranges.iter()),
            Control::Fetch(nak) => writer.fetch(nak.origin, nak.attempt, nak.ranges.iter()),
            Control::Chunk(chunk) => usize::from(writer.chunk(&chunk)),
            Control::Order { kind, body } => {
                writer.order(kind, |out| {
                    out[..body.len()].copy_from_slice(body);
                    body.len()
                });
                usize::from(!body.is_empty())
            }
        };
        let written = writer.written();
        let again = ControlFrames::new(&out[..written]).next_frame();
        match (frame, again) {
            // Flags that this version does not know are not kept, and of many entries those that a frame has at most.
            (
                Control::Heartbeat(_)
                | Control::Setup(_)
                | Control::Goodbye(_)
                | Control::Chunk(_)
                | Control::Unavailable(_)
                | Control::Firm(_),
                again,
            ) => assert_eq!(again, Ok(Some(frame))),
            (Control::Order { .. }, Ok(Some(again))) => assert_eq!(frame, again),
            (Control::Status(status), Ok(Some(Control::Status(again)))) => {
                assert!(again.entries.iter().eq(status.entries.iter().take(entries)));
            }
            (Control::Nak(nak), Ok(Some(Control::Nak(again))))
            | (Control::Fetch(nak), Ok(Some(Control::Fetch(again)))) => {
                assert!(again.ranges.iter().eq(nak.ranges.iter().take(entries)));
            }
            (_, again) => assert_eq!((entries, again), (0, Ok(None)), "only empty lists are not written"),
        }
    }
});
