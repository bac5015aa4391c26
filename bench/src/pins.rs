//! Two threads on two cores: every bench is one end against another.

use crate::Failure;
use core_affinity::CoreId;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// The cores that the two ends run on, and how long they had to wait for them.
#[derive(Debug)]
pub(crate) struct Pins {
    cores: Option<[CoreId; 2]>,
    available: usize,
    /// Nanoseconds of all ends: in which one could have run and did not, and in all.
    waited: AtomicU64,
    lived: AtomicU64,
}

/// More of the time that ends wait for a core spoils the figures.
const MOST_WAITED: f64 = 0.05;

impl Pins {
    /// Takes the first two cores that this process may use.
    pub(crate) fn find() -> Self {
        let ids = core_affinity::get_core_ids().unwrap_or_default();
        let cores = match ids[..] {
            [left, right, ..] => Some([left, right]),
            _ => None,
        };
        Self { cores, available: ids.len(), waited: AtomicU64::new(0), lived: AtomicU64::new(0) }
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

    /// The part of their time that the ends have waited for a core since this was asked last; none where the system does not tell.
    pub(crate) fn waited(&self) -> Option<f64> {
        let [waited, lived] = [&self.waited, &self.lived].map(|sum| sum.swap(0, Ordering::Relaxed));
        (lived > 0).then(|| waited as f64 / lived as f64)
    }

    /// Says that, and aloud when it spoils the figures: others use the cores.
    pub(crate) fn judge(waited: Option<f64>) {
        let Some(part) = waited else { return };
        let percent = part * 100.0;
        if part > MOST_WAITED {
            eprintln!(
                "WARNING: the ends had to wait for a core for {percent:.1} % of their time: others use the cores. The figures above say \
                 little about the code."
            );
        } else {
            println!("the ends had to wait for a core for {percent:.2} % of their time");
        }
    }

    /// Adds what this thread has waited in this time.
    fn add(&self, waited_before: Option<u64>, since: Instant) {
        if let (Some(before), Some(after)) = (waited_before, core_wait_ns()) {
            self.waited.fetch_add(after.saturating_sub(before), Ordering::Relaxed);
            self.lived.fetch_add(since.elapsed().as_nanos() as u64, Ordering::Relaxed);
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
            let left = scope.spawn(move || self.run_end(left_core, stop, left));
            let right = scope.spawn(move || self.run_end(right_core, stop, right));
            let left = left.join().map_err(|_| Failure::from("the first end panicked"));
            let right = right.join().map_err(|_| Failure::from("the second end panicked"));
            Ok((left??, right??))
        })
    }

    fn run_end<T>(
        &self,
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
        let (waited, since) = (core_wait_ns(), Instant::now());
        let ended = end(stop);
        self.add(waited, since);
        ended
    }
}

/// Nanoseconds for which this thread could have run and had no core, where the system tells.
fn core_wait_ns() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().nth(1)?.parse().ok()
}

struct RaiseOnDrop<'a>(&'a AtomicBool);

impl Drop for RaiseOnDrop<'_> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire of the other end's look at its stop flag.
        self.0.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn spin(span: Duration) -> Result<(), Failure> {
        let since = Instant::now();
        while since.elapsed() < span {
            std::hint::spin_loop();
        }
        Ok(())
    }

    #[test]
    fn ends_that_share_a_core_have_waited_for_it() {
        if core_wait_ns().is_none() {
            eprintln!("SKIP: this system does not tell how long a thread has waited");
            return;
        }
        let mut pins = Pins::find();
        pins.cores = pins.cores.map(|[left, _]| [left, left]);
        pins.pair(|_| spin(Duration::from_millis(200)), |_| spin(Duration::from_millis(200)))
            .expect("both end");
        let waited = pins.waited().expect("it is told");
        assert!(waited > 0.2, "{waited} of the time");
        assert_eq!(pins.waited(), None, "it is told once");
    }
}
