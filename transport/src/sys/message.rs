//! The system calls of the hot path: one datagram or one run of them in, one out, and the wait for more.
//!
//! Nothing here allocates, waits (but [`Waiter`]) or clears memory that the kernel is about to fill.

use super::address::{ADDRESS_BYTES, RawAddress};
use super::socket::Socket;
use crate::id::Endpoint;
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// One receive: a datagram, or several of one size (the last possibly shorter) in one buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes that were written to the buffer.
    pub len: usize,
    /// Who sent them.
    pub from: Endpoint,
    /// Bytes of each datagram when several arrived in one buffer.
    pub segment: Option<usize>,
    /// Whether the buffer was too small, so that the rest is lost.
    pub truncated: bool,
}

impl Socket {
    /// Takes one datagram without waiting; `None` when there is none.
    ///
    /// A run that was [coalesced](Socket::coalesce) comes whole, and nothing tells the size of its segments. It is cheaper
    /// than [`receive_run`](Self::receive_run) by 0.1 us.
    ///
    /// # Errors
    /// What the system says, pending errors of the network included.
    #[inline]
    pub fn receive_one(&self, into: &mut [u8]) -> io::Result<Option<Received>> {
        let mut from = MaybeUninit::<RawAddress>::uninit();
        let mut from_len = ADDRESS_BYTES;
        // SAFETY: the kernel writes at most `into.len()` bytes of data and `from_len` bytes of address to memory that is
        // valid and exclusively borrowed for the call.
        let len = unsafe {
            libc::recvfrom(
                self.as_raw_fd(),
                into.as_mut_ptr().cast(),
                into.len(),
                libc::MSG_DONTWAIT | libc::MSG_TRUNC,
                from.as_mut_ptr().cast(),
                &raw mut from_len,
            )
        };
        let Ok(len) = usize::try_from(len) else { return none_or_error() };
        // SAFETY: the call succeeded on a UDP socket, so the kernel has written a whole source address of its family.
        let from = unsafe { from.assume_init_ref() }.endpoint();
        // With MSG_TRUNC the kernel returns the datagram's real length.
        Ok(Some(Received { len: len.min(into.len()), from, segment: None, truncated: len > into.len() }))
    }

    /// Takes one datagram or one coalesced run without waiting; `None` when there is none.
    ///
    /// # Errors
    /// What the system says, pending errors of the network included.
    #[inline]
    pub fn receive_run(&self, into: &mut [u8]) -> io::Result<Option<Received>> {
        let mut from = MaybeUninit::<RawAddress>::uninit();
        let mut control = MaybeUninit::<ControlBuffer>::uninit();
        let mut data = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
        let mut message = header(&mut data);
        message.msg_name = from.as_mut_ptr().cast();
        message.msg_namelen = ADDRESS_BYTES;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = mem::size_of::<ControlBuffer>() as _;
        // SAFETY: the message points to `from`, `control` and, through `data`, to `into`, with their sizes; all are valid
        // and exclusively borrowed for the call.
        let len = unsafe { libc::recvmsg(self.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
        let Ok(len) = usize::try_from(len) else { return none_or_error() };
        // SAFETY: the call succeeded on a UDP socket, so the kernel has written a whole source address of its family.
        let from = unsafe { from.assume_init_ref() }.endpoint();
        let truncated = message.msg_flags & libc::MSG_TRUNC != 0;
        Ok(Some(Received { len, from, segment: segment_of(&message), truncated }))
    }

    /// Sends one datagram without waiting.
    ///
    /// # Errors
    /// What the system says; `WouldBlock` when the send buffer is full.
    #[inline]
    pub fn send_one(&self, to: &Destination, datagram: &[u8]) -> io::Result<()> {
        // SAFETY: the kernel reads `datagram` and the address, both valid for the call, within the lengths given.
        let sent = unsafe {
            libc::sendto(
                self.as_raw_fd(),
                datagram.as_ptr().cast(),
                datagram.len(),
                libc::MSG_DONTWAIT,
                to.name().cast(),
                to.name_len(),
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Sends `run` as datagrams of `segment` bytes, the last possibly shorter, in one call without waiting.
    ///
    /// # Errors
    /// What the system says; `WouldBlock` when the send buffer is full, `InvalidInput` for too many segments.
    pub fn send_run(&self, to: &Destination, run: &[u8], segment: u16) -> io::Result<()> {
        let mut control = ControlBuffer::default();
        let mut data = libc::iovec { iov_base: run.as_ptr().cast_mut().cast(), iov_len: run.len() };
        let mut message = header(&mut data);
        message.msg_namelen = to.name_len();
        message.msg_name = to.name().cast_mut().cast();
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = SEGMENT_SPACE as _;
        write_segment(&message, segment);
        // SAFETY: the message points to the address in `to` (or has none), `control` and, through `data`, to `run`, with their
        // sizes; all are valid for the call, which only reads them.
        let sent = unsafe { libc::sendmsg(self.as_raw_fd(), &raw const message, libc::MSG_DONTWAIT) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// Where a datagram goes, in the kernel's own form.
#[derive(Clone, Copy)]
pub struct Destination {
    address: RawAddress,
    /// Whether the sending socket is connected to it: then the kernel has the address already, and the way there.
    connected: bool,
}

impl Destination {
    /// The form of `to`. A socket of the other family refuses to send there.
    #[must_use]
    #[inline]
    pub fn new(to: Endpoint) -> Self {
        Self { address: RawAddress::of(to), connected: false }
    }

    /// The same for a socket that is [connected](Socket::connect) to `to`.
    #[must_use]
    pub fn connected(to: Endpoint) -> Self {
        Self { connected: true, ..Self::new(to) }
    }

    /// The address as a send wants it: none for a connected socket.
    #[inline]
    fn name(&self) -> *const RawAddress {
        if self.connected { std::ptr::null() } else { &raw const self.address }
    }

    #[inline]
    fn name_len(&self) -> libc::socklen_t {
        if self.connected { 0 } else { self.address.len() }
    }

    /// The same place as an endpoint.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.address.endpoint()
    }
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.endpoint(), f)
    }
}

/// The sockets whose data ends a wait.
#[derive(Default)]
pub struct Waiter {
    sockets: Vec<libc::pollfd>,
}

impl Waiter {
    /// Waits for `socket` too. It must stay open as long as the waiter is used, or waits end early.
    pub fn add(&mut self, socket: &Socket) {
        self.sockets.push(libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    }

    /// Waits for `socket` no more, which is about to be closed.
    pub fn remove(&mut self, socket: &Socket) {
        self.sockets.retain(|known| known.fd != socket.as_raw_fd());
    }

    /// Waits until one of the sockets has data, a signal arrives, or `limit` has passed.
    pub fn wait(&mut self, limit: Duration) {
        let limit = libc::timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        // SAFETY: the pointer and the count describe our vector, `limit` is a valid timespec, and a null signal mask
        // leaves the mask as it is. A failure (a signal) ends the wait, which is what waiting may always do.
        unsafe {
            libc::ppoll(
                self.sockets.as_mut_ptr(),
                self.sockets.len() as libc::nfds_t,
                &raw const limit,
                std::ptr::null(),
            )
        };
    }
}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.sockets.iter().map(|socket| socket.fd)).finish()
    }
}

/// Room for the one control message that each direction uses, aligned as the kernel wants it.
#[repr(C, align(8))]
#[derive(Default)]
pub(super) struct ControlBuffer(pub(super) [u8; 32]);

/// A message of one buffer, without address or control.
pub(super) fn header(data: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: a msghdr is plain data for which all zeroes are valid (null pointers, no lengths).
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = data;
    message.msg_iovlen = 1;
    message
}

/// The segment size that the kernel reports for a coalesced run; its only control message that was asked for.
#[inline]
pub(super) fn segment_of(message: &libc::msghdr) -> Option<usize> {
    // SAFETY: the message was filled by a recvmsg that succeeded, so its control fields describe a valid buffer.
    let first = unsafe { libc::CMSG_FIRSTHDR(message) };
    if first.is_null() {
        return None;
    }
    // SAFETY: not null, hence a whole header inside the control buffer, which is aligned for it.
    let found = unsafe { *first };
    if found.cmsg_level != libc::SOL_UDP || found.cmsg_type != libc::UDP_GRO {
        return None;
    }
    // SAFETY: `first` is a valid header, as above.
    let value = unsafe { libc::CMSG_DATA(first) };
    // SAFETY: the data of a UDP_GRO message is an int, wholly inside the control buffer.
    let segment = unsafe { value.cast::<i32>().read_unaligned() };
    usize::try_from(segment).ok().filter(|&segment| segment > 0)
}

/// Fills the control buffer of `message` with the segment size.
fn write_segment(message: &libc::msghdr, segment: u16) {
    // SAFETY: the control fields of `message` describe a valid, aligned buffer of SEGMENT_SPACE bytes.
    let first = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: SEGMENT_SPACE is large enough for one header, so `first` is not null and exclusively ours.
    let header = unsafe { &mut *first };
    header.cmsg_level = libc::SOL_UDP;
    header.cmsg_type = libc::UDP_SEGMENT;
    header.cmsg_len = SEGMENT_LEN as _;
    // SAFETY: `first` is a valid header, as above.
    let value = unsafe { libc::CMSG_DATA(first) };
    // SAFETY: SEGMENT_SPACE leaves room for two bytes behind the header.
    unsafe { value.cast::<u16>().write_unaligned(segment) };
}

/// What a failed receive means: nothing there, or an error.
#[inline]
fn none_or_error() -> io::Result<Option<Received>> {
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
        _ => Err(error),
    }
}

// SAFETY: CMSG_SPACE is unsafe only because it once was a C macro; it computes with its argument.
const SEGMENT_SPACE: u32 = unsafe { libc::CMSG_SPACE(2) };
// SAFETY: as above, for CMSG_LEN.
const SEGMENT_LEN: u32 = unsafe { libc::CMSG_LEN(2) };
const _: () = assert!(SEGMENT_SPACE as usize <= mem::size_of::<ControlBuffer>());

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn bound() -> (Socket, Destination) {
        bound_to("127.0.0.1:0")
    }

    fn bound_to(address: &str) -> (Socket, Destination) {
        let at = Endpoint(address.parse().unwrap());
        let socket = Socket::open(at.family()).unwrap();
        socket.bind(at).unwrap();
        let to = Destination::new(socket.local().unwrap());
        (socket, to)
    }

    #[test]
    fn a_datagram_comes_with_its_sender_and_an_empty_socket_says_none() {
        comes_with_its_sender("127.0.0.1:0");
        if crate::sys::tests::has_ipv6() {
            comes_with_its_sender("[::1]:0");
        }
    }

    fn comes_with_its_sender(address: &str) {
        let ((from, _), (into, to)) = (bound_to(address), bound_to(address));
        let mut buffer = [0; 64];
        assert_eq!(into.receive_one(&mut buffer).unwrap(), None);
        assert_eq!(into.receive_run(&mut buffer).unwrap(), None);
        let expected = Received { len: 5, from: from.local().unwrap(), segment: None, truncated: false };
        from.send_one(&to, b"hello").unwrap();
        assert_eq!(into.receive_one(&mut buffer).unwrap(), Some(expected));
        from.send_one(&to, b"again").unwrap();
        assert_eq!(into.receive_run(&mut buffer).unwrap(), Some(expected));
        assert_eq!(&buffer[..5], b"again");
    }

    #[test]
    fn a_buffer_that_is_too_small_is_told() {
        let (socket, to) = bound();
        let from = socket.local().unwrap();
        let cut = Received { len: 3, from, segment: None, truncated: true };
        for _ in 0..2 {
            socket.send_one(&to, b"long").unwrap();
        }
        assert_eq!(socket.receive_one(&mut [0; 3]).unwrap(), Some(cut));
        assert_eq!(socket.receive_run(&mut [0; 3]).unwrap(), Some(cut));
    }

    #[test]
    fn a_run_arrives_whole_where_it_is_welcome_and_in_pieces_where_not() {
        let (socket, to) = bound();
        let from = socket.local().unwrap();
        if socket.coalesce(true).is_err() || socket.send_run(&to, b"aabbc", 2).is_err() {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must run on a kernel with offload");
            eprintln!("SKIP: this kernel has no UDP segmentation offload");
            return;
        }
        let whole = Received { len: 5, from, segment: Some(2), truncated: false };
        assert_eq!(socket.receive_run(&mut [0; 64]).unwrap(), Some(whole));
        socket.coalesce(false).unwrap();
        socket.send_run(&to, b"aabbc", 2).unwrap();
        for piece in [b"aa".as_slice(), b"bb", b"c"] {
            let mut buffer = [0; 64];
            let received = socket.receive_one(&mut buffer).unwrap().unwrap();
            assert_eq!(&buffer[..received.len], piece);
        }
    }

    #[test]
    fn a_wait_ends_at_its_limit() {
        let (socket, _) = bound();
        let mut waiter = Waiter::default();
        waiter.add(&socket);
        let start = Instant::now();
        waiter.wait(Duration::from_millis(5));
        assert!(start.elapsed() >= Duration::from_millis(5));
    }
}
