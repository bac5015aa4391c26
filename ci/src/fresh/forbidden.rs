//! A command that may not use io_uring: the filter is inherited by everything that it starts.
//!
//! This is what containers and hardened kernels do, so the fallback of `medium = "auto"` is tried and not merely
//! written. `io_uring_setup`, `_enter` and `_register` return EPERM.

use anyhow::{Context as _, Error, Result, ensure};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The system calls of io_uring; their numbers are the same on every architecture that the filter knows.
const IO_URING: [i64; 3] = [425, 426, 427];

/// What the kernel says to them.
const EPERM: u32 = 1;

/// Becomes `command`, without io_uring. Returns only when that fails.
pub(crate) fn exec(command: &[OsString]) -> Result<()> {
    let (program, args) = command.split_first().context("no command given")?;
    forbid()?;
    let status = std::fs::read_to_string("/proc/thread-self/status").context("no /proc")?;
    ensure!(status.lines().any(is_filtered), "the kernel took the filter and does not show it");
    let error = Command::new(program).args(args).exec();
    Err(Error::new(error).context(format!("`{}` does not start", program.to_string_lossy())))
}

/// Installs the filter on this thread, for ever.
fn forbid() -> Result<()> {
    let arch = std::env::consts::ARCH.try_into().context("no filter for this architecture")?;
    let rules = IO_URING.into_iter().map(|call| (call, Vec::new())).collect();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(EPERM), arch)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program).context("the kernel refuses the filter")
}

fn is_filtered(line: &str) -> bool {
    line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_uring_is_forbidden_and_nothing_else_is() {
        // The filter stays on its thread.
        let tried = std::thread::spawn(|| {
            forbid().unwrap();
            (io_uring::IoUring::new(8).err(), std::fs::read_to_string("/proc/thread-self/status"))
        });
        let (error, status) = tried.join().unwrap();
        assert_eq!(error.and_then(|error| error.raw_os_error()), Some(EPERM.cast_signed()));
        assert!(status.unwrap().lines().any(is_filtered));
    }

    #[test]
    fn no_filter_is_seen_as_none() {
        assert!(!is_filtered("Seccomp:\t0"));
        assert!(!is_filtered("Seccomp_filters:\t2"));
    }
}
