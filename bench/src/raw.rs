//! The system calls that the benches need and no safe wrapper offers: all the unsafe code of the bench.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// From now on a send longer than `segment` bytes leaves as datagrams of `segment` bytes (UDP GSO).
pub(crate) fn set_udp_segment(socket: &UdpSocket, segment: u16) -> io::Result<()> {
    set_udp_option(socket, libc::UDP_SEGMENT, i32::from(segment))
}

/// From now on datagrams of one sender may arrive in one buffer (UDP GRO).
pub(crate) fn set_udp_gro(socket: &UdpSocket) -> io::Result<()> {
    set_udp_option(socket, libc::UDP_GRO, 1)
}

/// What a [`receive_coalesced`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Coalesced {
    /// Bytes received.
    pub(crate) len: usize,
    /// Bytes of each datagram in them, the last possibly shorter; `len` when there is only one.
    pub(crate) segment: usize,
}

/// Takes one buffer of coalesced datagrams without waiting, `None` when there is none.
pub(crate) fn receive_coalesced(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Option<Coalesced>> {
    let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = ControlBuffer([0; 8]);
    // SAFETY: msghdr is a C struct of integers and pointers, for which all zeroes is a valid value.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut iov;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<ControlBuffer>();
    // SAFETY: the descriptor is open while `socket` is borrowed; `message` points to one iovec over `buffer`, which is
    // borrowed mutably, and to `control`, each with its true length; all of them outlive the call.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let Ok(len) = usize::try_from(len) else {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
    };
    if message.msg_flags & libc::MSG_TRUNC != 0 {
        return Err(io::Error::other("a datagram was longer than its buffer"));
    }
    let segment = gro_segment(&message).filter(|segment| *segment > 0).unwrap_or(len.max(1));
    Ok(Some(Coalesced { len, segment }))
}

/// Moves the calling thread into a network namespace: what it opens from here on belongs there.
pub(crate) fn enter_network(namespace: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open while `namespace` is borrowed; only the calling thread is moved.
    let answer = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether this process may do what only root may.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Processor time, user and system, that the calling thread has used.
pub(crate) fn thread_cpu_time() -> Duration {
    cpu_time(libc::RUSAGE_THREAD)
}

/// The same of all threads, those that have ended among them.
pub(crate) fn process_cpu_time() -> Duration {
    cpu_time(libc::RUSAGE_SELF)
}

fn cpu_time(whose: libc::c_int) -> Duration {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: `usage` is room for one rusage, which the kernel fills.
    let answer = unsafe { libc::getrusage(whose, usage.as_mut_ptr()) };
    assert_eq!(answer, 0, "getrusage has no reason to fail");
    // SAFETY: the call above succeeded, so all of it is initialized.
    let usage = unsafe { usage.assume_init() };
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

/// Room for one control message with an int, aligned as cmsghdr must be (CMSG_SPACE(4) is 24 bytes).
#[repr(C)]
struct ControlBuffer([u64; 8]);

fn gro_segment(message: &libc::msghdr) -> Option<usize> {
    // SAFETY: recvmsg filled `message`, whose control buffer is alive in the caller and aligned for a cmsghdr.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a whole header inside of the control buffer.
        let found = unsafe { *header };
        if found.cmsg_level == libc::SOL_UDP && found.cmsg_type == libc::UDP_GRO {
            // SAFETY: `header` is valid as above; the data of a message lies right behind it.
            let data = unsafe { libc::CMSG_DATA(header) };
            // SAFETY: the data of a UDP_GRO message is one int; nothing is assumed about its alignment.
            let segment = unsafe { data.cast::<libc::c_int>().read_unaligned() };
            return usize::try_from(segment).ok();
        }
        // SAFETY: `header` is a valid header of `message`, which the kernel filled.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

fn set_udp_option(socket: &UdpSocket, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("4 fits");
    // SAFETY: the descriptor is open while `socket` is borrowed, and the option is read from one int of that length.
    let answer = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, option, (&raw const value).cast(), len)
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
}
