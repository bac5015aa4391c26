//! Ctrl-C and SIGTERM: the first asks for a goodbye, the second ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::refusal::Refusal;

/// Which signal has come.
#[derive(Debug)]
pub(crate) struct Signals {
    number: Arc<AtomicUsize>,
    heeded: bool,
}

impl Signals {
    /// Listens from here on.
    pub(crate) fn listen() -> Result<Self, Refusal> {
        let (number, again) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        for signal in [SIGINT, SIGTERM] {
            let code = usize::try_from(signal).expect("signals are positive");
            // In this order: the first signal finds `again` unset, and sets it.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&again))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&again)))
                .and_then(|_| signal_hook::flag::register_usize(signal, Arc::clone(&number), code))
                .map_err(|error| Refusal::new(format_args!("cannot listen for signals: {error}")))?;
        }
        Ok(Self { number, heeded: false })
    }

    /// The signal that has come and was not told yet.
    pub(crate) fn take(&mut self) -> Option<u8> {
        if self.heeded {
            return None;
        }
        let number = u8::try_from(self.number.load(Ordering::Relaxed)).ok().filter(|&number| number > 0)?;
        self.heeded = true;
        Some(number)
    }
}
