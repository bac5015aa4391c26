//! The way into the kernel: io_uring_enter, by the ring's descriptor or by its place in the thread's table of rings.
//!
//! The io-uring crate knows such places too, but forgets them with the borrow of the ring that asked for one.

use io_uring::IoUring;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// What io_uring_enter is called with: the ring's descriptor, or its place in the thread's own table of rings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entrance {
    fd: RawFd,
    flags: u32,
}

impl Entrance {
    /// The entrance that is good on every thread.
    pub(super) fn of(ring: &IoUring) -> Self {
        Self { fd: ring.as_raw_fd(), flags: 0 }
    }

    /// An entrance to the same ring by this thread's table, or this one where its 16 places are taken.
    pub(super) fn registered(self) -> Self {
        let fd = self.fd;
        let mut place = RingPlace { offset: u32::MAX, reserved: 0, data: u64::from(fd.cast_unsigned()) };
        // SAFETY: the kernel reads and writes one structure of this form, which outlives the call.
        let status =
            unsafe { libc::syscall(libc::SYS_io_uring_register, fd, REGISTER_RING_FDS, &raw mut place, 1) };
        if status == 1 { Self { fd: place.offset.cast_signed(), flags: ENTER_REGISTERED_RING } } else { self }
    }

    /// Gives the place in the table back, on the thread whose it is.
    pub(super) fn unregister(self, ring: &IoUring) {
        if self.flags & ENTER_REGISTERED_RING == 0 {
            return;
        }
        let mut place = RingPlace { offset: self.fd.cast_unsigned(), reserved: 0, data: 0 };
        // SAFETY: as in `registered`.
        unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                ring.as_raw_fd(),
                UNREGISTER_RING_FDS,
                &raw mut place,
                1,
            )
        };
    }

    /// The system call, without a signal mask.
    #[inline]
    pub(super) fn enter(self, queued: u32, want: u32, flags: u32) -> io::Result<()> {
        let (null, size) = (std::ptr::null::<libc::sigset_t>(), 0_usize);
        // SAFETY: whoever queued an entry has promised that its pointers are valid; the call has none of its own.
        let status = unsafe {
            libc::syscall(libc::SYS_io_uring_enter, self.fd, queued, want, self.flags | flags, null, size)
        };
        if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// What the kernel reads to put a ring into a thread's table, its io_uring_rsrc_update.
#[repr(C)]
struct RingPlace {
    offset: u32,
    reserved: u32,
    data: u64,
}

const ENTER_REGISTERED_RING: u32 = 1 << 4;
const REGISTER_RING_FDS: u32 = 20;
const UNREGISTER_RING_FDS: u32 = 21;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let Ok(ring) = IoUring::new(8) else { return };
        for _ in 0..100 {
            let by_place = Entrance::of(&ring).registered();
            assert_eq!(by_place.flags, ENTER_REGISTERED_RING);
            by_place.enter(0, 0, 0).unwrap();
            by_place.unregister(&ring);
        }
    }
}
