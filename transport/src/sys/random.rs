//! Randomness from the system, for boot ids and seeds: drawn once, at the start.

/// Eight random bytes.
///
/// # Errors
/// When the kernel has no generator.
pub fn seed() -> std::io::Result<u64> {
    let mut bytes = [0u8; 8];
    // SAFETY: `bytes` is writable for its whole length during the call.
    let filled = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    // A request this small is answered whole or not at all.
    if filled == bytes.len() as isize {
        Ok(u64::from_ne_bytes(bytes))
    } else {
        Err(std::io::Error::last_os_error())
    }
}
