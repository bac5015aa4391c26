//! Two threads on two cores: every bench is one end against another.

use crate::Failure;
use core_affinity::CoreId;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// The cores that the two ends run on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pins {
    cores: Option<[CoreId; 2]>,
    available: usize,
}

impl Pins {
    /// Takes the first two cores that this process may use.
    pub(crate) fn find() -> Self {
        let ids = core_affinity::get_core_ids().unwrap_or_default();
        let cores = match ids[..] {
            [left, right, ..] => Some([left, right]),
            _ => None,
        };
        Self { cores, available: ids.len() }
    }

    /// Says where the ends run, and aloud when that spoils every figure.
    pub(crate) fn announce(&self) {
        match self.cores {
            Some([left, right]) => println!("ends pinned to cores {} and {}", left.id, right.id),
            None => eprintln!(
                "WARNING: {} usable core(s), 2 are needed: both ends spin on one core and wait for each other's time \
                 slices. The figures below say nothing about the code.",
                self.available
            ),
        }
    }

    /// Runs both ends to their return. The flag they are handed is raised when either returns or panics; an end
    /// that waits for the other looks at it.
    pub(crate) fn pair<L: Send, R: Send>(
        &self,
        left: impl FnOnce(&AtomicBool) -> Result<L, Failure> + Send,
        right: impl FnOnce(&AtomicBool) -> Result<R, Failure> + Send,
    ) -> Result<(L, R), Failure> {
        let stop = AtomicBool::new(false);
        let stop = &stop;
        let [left_core, right_core] = self.cores.map_or([None, None], |cores| cores.map(Some));
        thread::scope(|scope| {
            let left = scope.spawn(move || run_end(left_core, stop, left));
            let right = scope.spawn(move || run_end(right_core, stop, right));
            let left = left.join().map_err(|_| Failure::from("the first end panicked"));
            let right = right.join().map_err(|_| Failure::from("the second end panicked"));
            Ok((left??, right??))
        })
    }
}

fn run_end<T>(
    core: Option<CoreId>,
    stop: &AtomicBool,
    end: impl FnOnce(&AtomicBool) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let _raise = RaiseOnDrop(stop);
    if let Some(core) = core
        && !core_affinity::set_for_current(core)
    {
        return Err(format!("cannot pin to core {}", core.id).into());
    }
    end(stop)
}

struct RaiseOnDrop<'a>(&'a AtomicBool);

impl Drop for RaiseOnDrop<'_> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire of the other end's look at its stop flag.
        self.0.store(true, Ordering::Release);
    }
}
