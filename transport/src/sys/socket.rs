//! UDP sockets with the options that group communication needs, and the kernel's word on what it granted.

use super::bpf::Filter;
use crate::id::Endpoint;
use socket2::{Domain, Protocol, SockAddr, Type};
use std::io;
use std::mem;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, RawFd};

/// A non-blocking IPv4 UDP socket.
#[derive(Debug)]
pub struct Socket {
    inner: socket2::Socket,
}

impl Socket {
    /// A socket that is bound to nothing.
    ///
    /// # Errors
    /// What the system says: no permission, too many files.
    pub fn open() -> io::Result<Self> {
        let inner = socket2::Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        inner.set_nonblocking(true)?;
        Ok(Self { inner })
    }

    /// Gives the socket its address; port 0 lets the kernel choose one.
    ///
    /// # Errors
    /// Address in use, not an address of this host, no permission.
    pub fn bind(&self, at: Endpoint) -> io::Result<()> {
        self.inner.bind(&SockAddr::from(at.0))
    }

    /// The address that the socket is bound to.
    ///
    /// # Errors
    /// What the system says.
    pub fn local(&self) -> io::Result<Endpoint> {
        let address = self.inner.local_addr()?.as_socket();
        address.map(Endpoint).ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// Lets several sockets of the host bind the same group and port; each of them gets every datagram of the group.
    ///
    /// # Errors
    /// What the system says.
    pub fn share_address(&self) -> io::Result<()> {
        self.inner.set_reuse_address(true)
    }

    /// Multicast leaves by `interface`, crosses `ttl` routers (0: stays on this host), and reaches this host as well.
    ///
    /// # Errors
    /// What the system says.
    pub fn send_multicast_by(&self, interface: Ipv4Addr, ttl: u32) -> io::Result<()> {
        self.inner.set_multicast_if_v4(&interface)?;
        self.inner.set_multicast_ttl_v4(ttl)?;
        self.inner.set_multicast_loop_v4(true)
    }

    /// Receives what is sent to `group` by way of `interface`, and no group that only others on this host have joined.
    ///
    /// # Errors
    /// Not a multicast address, no such interface, too many groups.
    pub fn join(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.inner.set_multicast_all_v4(false)?;
        self.inner.join_multicast_v4(&group, &interface)
    }

    /// Asks for a receive buffer of `bytes` (the kernel doubles that for its own bookkeeping) and returns what was
    /// granted, in true-size bytes. Beyond the system's limit where this process may go beyond it.
    ///
    /// # Errors
    /// What the system says.
    pub fn ask_receive_buffer(&self, bytes: usize) -> io::Result<usize> {
        let asked = i32::try_from(bytes).unwrap_or(i32::MAX / 2);
        if self.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, asked).is_err() {
            self.inner.set_recv_buffer_size(bytes)?;
        }
        self.inner.recv_buffer_size()
    }

    /// Lets runs of datagrams arrive in one buffer (UDP generic receive offload), or no longer.
    ///
    /// # Errors
    /// The kernel is older than 5.0.
    pub fn coalesce(&self, on: bool) -> io::Result<()> {
        self.set(libc::SOL_UDP, libc::UDP_GRO, i32::from(on))
    }

    /// Puts the program of `filter` in front of the socket, in place of any earlier one; a filter that wants nothing
    /// changes nothing.
    ///
    /// # Errors
    /// What the system says.
    pub fn attach(&self, filter: Filter) -> io::Result<()> {
        match filter.compose() {
            Some(program) => self.inner.attach_filter(&program.encode()),
            None => Ok(()),
        }
    }

    /// What the kernel keeps for the socket at this moment.
    ///
    /// # Errors
    /// The kernel is older than 4.12.
    pub fn memory(&self) -> io::Result<SocketMemory> {
        let mut words = [0_u32; MEMORY_WORDS];
        let mut len = libc::socklen_t::try_from(mem::size_of_val(&words)).expect("36 bytes fit");
        // SAFETY: `words` and `len` are valid for the call to fill, and `len` says how large `words` is.
        let status = unsafe {
            libc::getsockopt(
                self.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                words.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        if status != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(SocketMemory { charged: words[MEMORY_CHARGED] as usize, drops: words[MEMORY_DROPS] })
    }

    fn set(&self, level: i32, option: i32, value: i32) -> io::Result<()> {
        let len = libc::socklen_t::try_from(mem::size_of_val(&value)).expect("4 bytes fit");
        // SAFETY: `value` is a valid int of `len` bytes for the whole call, which only reads it.
        let status =
            unsafe { libc::setsockopt(self.as_raw_fd(), level, option, (&raw const value).cast(), len) };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

/// What the kernel keeps for a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketMemory {
    /// True-size bytes of the datagrams that wait in the receive buffer.
    pub charged: usize,
    /// Datagrams that were dropped at this socket since it was opened, by its filter or for want of space; wraps.
    pub drops: u32,
}

const MEMORY_WORDS: usize = 9;
const MEMORY_CHARGED: usize = libc::SK_MEMINFO_RMEM_ALLOC as usize;
const MEMORY_DROPS: usize = libc::SK_MEMINFO_DROPS as usize;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::message::Destination;

    fn bound() -> (Socket, Destination) {
        let socket = Socket::open().unwrap();
        socket.bind(Endpoint("127.0.0.1:0".parse().unwrap())).unwrap();
        let to = Destination::new(socket.local().unwrap()).unwrap();
        (socket, to)
    }

    #[test]
    fn multicast_goes_by_the_interface_and_no_further_than_asked() {
        let (socket, _) = bound();
        socket.send_multicast_by(Ipv4Addr::LOCALHOST, 0).unwrap();
        assert_eq!(socket.inner.multicast_ttl_v4().unwrap(), 0);
        assert_eq!(socket.inner.multicast_if_v4().unwrap(), Ipv4Addr::LOCALHOST);
        assert!(socket.inner.multicast_loop_v4().unwrap());
        socket.join(Ipv4Addr::new(239, 255, 0, 1), Ipv4Addr::LOCALHOST).unwrap();
        assert!(!socket.inner.multicast_all_v4().unwrap());
    }

    #[test]
    fn the_buffer_is_what_the_kernel_granted_and_drops_are_what_it_could_not_hold() {
        let (socket, to) = bound();
        assert_eq!(socket.ask_receive_buffer(10_000).unwrap(), 20_000);
        let before = socket.memory().unwrap();
        assert_eq!((before.charged, before.drops), (0, 0));
        for _ in 0..100 {
            socket.send_one(&to, &[0; 1_000]).unwrap();
        }
        let memory = socket.memory().unwrap();
        let mut held = 0;
        while socket.receive_one(&mut [0; 2_048]).unwrap().is_some() {
            held += 1;
        }
        assert!(memory.charged > 0 && memory.drops > 0, "{memory:?}");
        assert_eq!(memory.drops + held, 100);
    }
}
