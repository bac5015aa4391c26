//! UDP sockets with the options that group communication needs, and the kernel's word on what it granted.

use super::address::RawAddress;
use super::bpf::Filter;
use super::interface::Interface;
use crate::id::{Endpoint, Family};
use socket2::{Domain, Protocol, SockAddr, Type};
use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, RawFd};

/// A non-blocking UDP socket of one family: one of IPv6 has no part in IPv4.
#[derive(Debug)]
pub struct Socket {
    inner: socket2::Socket,
}

impl Socket {
    /// A socket that is bound to nothing.
    ///
    /// # Errors
    /// What the system says: no permission, too many files, no IPv6.
    pub fn open(family: Family) -> io::Result<Self> {
        let domain = match family {
            Family::V4 => Domain::IPV4,
            Family::V6 => Domain::IPV6,
        };
        let inner = socket2::Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        inner.set_nonblocking(true)?;
        if family == Family::V6 {
            inner.set_only_v6(true)?;
        }
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

    /// Lets several sockets of the host that all allow it bind the same address and port, or no longer. Each of them gets
    /// every datagram of a group; of what is sent to one host, only one does.
    ///
    /// # Errors
    /// What the system says.
    pub fn share_address(&self, shared: bool) -> io::Result<()> {
        self.inner.set_reuse_address(shared)
    }

    /// Sends to `to` alone from now on, and hears nobody else: the kernel finds the way once, and not for each datagram.
    ///
    /// # Errors
    /// No route, an address of the other family.
    pub fn connect(&self, to: Endpoint) -> io::Result<()> {
        self.inner.connect(&SockAddr::from(to.0))
    }

    /// The address that the kernel would send from to `to`, as its routes say. Nothing is sent.
    ///
    /// # Errors
    /// No route, an address of the other family.
    pub fn route_to(&self, to: Endpoint) -> io::Result<Endpoint> {
        self.connect(to)?;
        self.local()
    }

    /// Multicast leaves by `interface`, crosses `hops` routers (0: stays on this host), and reaches this host as well.
    ///
    /// # Errors
    /// What the system says.
    pub fn send_multicast_by(&self, interface: &Interface, hops: u32) -> io::Result<()> {
        match interface.address {
            IpAddr::V4(address) => {
                self.inner.set_multicast_if_v4(&address)?;
                self.inner.set_multicast_ttl_v4(hops)?;
                self.inner.set_multicast_loop_v4(true)
            }
            IpAddr::V6(_) => {
                self.inner.set_multicast_if_v6(interface.index)?;
                self.inner.set_multicast_hops_v6(hops)?;
                self.inner.set_multicast_loop_v6(true)
            }
        }
    }

    /// Receives what is sent to `group` by way of `interface`, and no group that only others on this host have joined.
    ///
    /// # Errors
    /// Not a multicast address, no such interface, too many groups; for IPv6 a kernel older than 4.20.
    pub fn join(&self, group: IpAddr, interface: &Interface) -> io::Result<()> {
        self.take_only_joined(group, interface)?;
        match (group, interface.address) {
            (IpAddr::V4(group), IpAddr::V4(address)) => self.inner.join_multicast_v4(&group, &address),
            (IpAddr::V6(group), _) => self.inner.join_multicast_v6(&group, interface.index),
            (IpAddr::V4(_), IpAddr::V6(_)) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// The same for what `source` sends, and nobody else but other sources that were joined so.
    ///
    /// # Errors
    /// As [`join`](Self::join); `ENOBUFS` beyond the system's limit of sources.
    pub fn join_source(&self, group: IpAddr, interface: &Interface, source: IpAddr) -> io::Result<()> {
        self.take_only_joined(group, interface)?;
        let level = if group.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
        // SAFETY: plain data for which all zeroes are valid.
        let mut request: libc::group_source_req = unsafe { mem::zeroed() };
        request.gsr_interface = interface.index;
        for (place, address) in [(&raw mut request.gsr_group, group), (&raw mut request.gsr_source, source)] {
            let address = RawAddress::of(Endpoint(SocketAddr::new(address, 0)));
            // SAFETY: a sockaddr_storage has room, and the alignment, for an address of any family.
            unsafe { place.cast::<RawAddress>().write(address) };
        }
        self.set(level, libc::MCAST_JOIN_SOURCE_GROUP, &request)
    }

    /// Closes the socket to groups that others on this host have joined, and to the same group by way of another interface.
    fn take_only_joined(&self, group: IpAddr, interface: &Interface) -> io::Result<()> {
        match group {
            IpAddr::V4(_) => self.inner.set_multicast_all_v4(false),
            IpAddr::V6(_) => {
                // Without it IPv6 compares groups only. A kernel older than 5.7 lets nobody but root have it; what comes by
                // another interface is then refused by who sent it.
                let _ = self.inner.bind_device_by_index_v6(NonZeroU32::new(interface.index));
                self.inner.set_multicast_all_v6(false)
            }
        }
    }

    /// Asks for a receive buffer of `bytes` (the kernel doubles that for its own bookkeeping) and returns what was
    /// granted, in true-size bytes. Beyond the system's limit where this process may go beyond it.
    ///
    /// # Errors
    /// What the system says.
    pub fn ask_receive_buffer(&self, bytes: usize) -> io::Result<usize> {
        let asked = i32::try_from(bytes).unwrap_or(i32::MAX / 2);
        if self.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &asked).is_err() {
            self.inner.set_recv_buffer_size(bytes)?;
        }
        self.inner.recv_buffer_size()
    }

    /// Lets runs of datagrams arrive in one buffer (UDP generic receive offload), or no longer.
    ///
    /// # Errors
    /// The kernel is older than 5.0.
    pub fn coalesce(&self, on: bool) -> io::Result<()> {
        self.set(libc::SOL_UDP, libc::UDP_GRO, &i32::from(on))
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

    /// Sets an option whose value is plain data without pointers.
    fn set<T>(&self, level: i32, option: i32, value: &T) -> io::Result<()> {
        let len = libc::socklen_t::try_from(mem::size_of::<T>()).expect("options are small");
        // SAFETY: `value` is valid and has `len` bytes for the whole call, which only reads it.
        let status =
            unsafe { libc::setsockopt(self.as_raw_fd(), level, option, (&raw const *value).cast(), len) };
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

    fn bound(address: &str) -> (Socket, Destination) {
        let at = Endpoint(address.parse().unwrap());
        let socket = Socket::open(at.family()).unwrap();
        socket.bind(at).unwrap();
        let to = Destination::new(socket.local().unwrap());
        (socket, to)
    }

    #[test]
    fn multicast_goes_by_the_interface_and_no_further_than_asked() {
        let (socket, _) = bound("127.0.0.1:0");
        let interface = Interface::find("127.0.0.1").unwrap();
        socket.send_multicast_by(&interface, 0).unwrap();
        assert_eq!(socket.inner.multicast_ttl_v4().unwrap(), 0);
        assert_eq!(socket.inner.multicast_if_v4().unwrap(), std::net::Ipv4Addr::LOCALHOST);
        assert!(socket.inner.multicast_loop_v4().unwrap());
        socket.join("239.255.0.1".parse().unwrap(), &interface).unwrap();
        assert!(!socket.inner.multicast_all_v4().unwrap());
    }

    #[test]
    fn multicast_by_ipv6_goes_by_the_index_of_the_interface() {
        if !crate::sys::tests::has_ipv6() {
            return;
        }
        let (socket, _) = bound("[::1]:0");
        let interface = Interface::find("::1").unwrap();
        socket.send_multicast_by(&interface, 3).unwrap();
        assert_eq!(socket.inner.multicast_hops_v6().unwrap(), 3);
        assert_eq!(socket.inner.multicast_if_v6().unwrap(), interface.index);
        assert!(socket.inner.multicast_loop_v6().unwrap() && socket.inner.only_v6().unwrap());
        socket.join("ff15::7171".parse().unwrap(), &interface).unwrap();
        assert!(!socket.inner.multicast_all_v6().unwrap());
    }

    #[test]
    fn a_route_is_asked_for_without_a_word_to_anybody() {
        let local = |to: &str| {
            let to = Endpoint(to.parse().unwrap());
            Socket::open(to.family()).unwrap().route_to(to)
        };
        assert!(local("127.0.0.1:9").unwrap().0.ip().is_loopback());
        let socket = Socket::open(Family::V4).unwrap();
        assert!(socket.route_to(Endpoint("[::1]:9".parse().unwrap())).is_err());
    }

    #[test]
    fn the_buffer_is_what_the_kernel_granted_and_drops_are_what_it_could_not_hold() {
        let (socket, to) = bound("127.0.0.1:0");
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
