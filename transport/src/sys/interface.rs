//! Network interfaces: found by name or by address, with the size of what they carry.

use std::ffi::{CStr, CString};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

/// One IPv4 address of an interface of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name, for example `lo`.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// The largest IP packet that it carries, bytes.
    pub mtu: usize,
}

impl Interface {
    /// The interface that `wanted` names, by its name or by its IPv4 address.
    ///
    /// # Errors
    /// As [`by_name`](Self::by_name) and [`by_address`](Self::by_address).
    pub fn find(wanted: &str) -> io::Result<Self> {
        match wanted.parse() {
            Ok(address) => Self::by_address(address),
            Err(_) => Self::by_name(wanted),
        }
    }

    /// The interface that owns `address`; every address of 127.0.0.0/8 belongs to the loopback interface.
    ///
    /// # Errors
    /// `NotFound` when no interface has this address, or what the system says.
    pub fn by_address(address: Ipv4Addr) -> io::Result<Self> {
        let all = addresses()?;
        let exact = all.iter().find(|(_, found)| *found == address);
        let found =
            exact.or_else(|| all.iter().find(|(_, found)| found.is_loopback() && address.is_loopback()));
        let (name, _) =
            found.ok_or_else(|| unknown(format_args!("no interface has the address {address}")))?;
        Ok(Self { name: name.clone(), address, mtu: mtu(name)? })
    }

    /// The interface called `name`, with its first IPv4 address.
    ///
    /// # Errors
    /// `NotFound` when there is none, or it has no IPv4 address, or what the system says.
    pub fn by_name(name: &str) -> io::Result<Self> {
        let found = addresses()?.into_iter().find(|(found, _)| found == name);
        let (name, address) =
            found.ok_or_else(|| unknown(format_args!("{name} does not exist, or has no IPv4 address")))?;
        Ok(Self { mtu: mtu(&name)?, name, address })
    }
}

fn unknown(what: std::fmt::Arguments<'_>) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("unknown interface: {what}"))
}

/// Names and IPv4 addresses of all interfaces.
fn addresses() -> io::Result<Vec<(String, Ipv4Addr)>> {
    let mut list = std::ptr::null_mut();
    // SAFETY: `list` is a valid place for the head of the list, which is freed below.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let mut at = list;
    while !at.is_null() {
        // SAFETY: `at` is not null, hence an entry of the list that getifaddrs made and that is not freed yet.
        let entry = unsafe { &*at };
        if let Some(address) = ipv4_of(entry) {
            // SAFETY: the name of an entry is a valid C string for as long as the list lives.
            let name = unsafe { CStr::from_ptr(entry.ifa_name) };
            found.push((name.to_string_lossy().into_owned(), address));
        }
        at = entry.ifa_next;
    }
    // SAFETY: `list` came from getifaddrs, and nothing that was borrowed from it is used after this line.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

fn ipv4_of(entry: &libc::ifaddrs) -> Option<Ipv4Addr> {
    if entry.ifa_addr.is_null() {
        return None;
    }
    // SAFETY: not null, and every socket address begins with its family.
    let family = unsafe { (*entry.ifa_addr).sa_family };
    if i32::from(family) != libc::AF_INET {
        return None;
    }
    // SAFETY: the family says that this is an IPv4 address; nothing promises its alignment, and none is needed.
    let address = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned() };
    Some(Ipv4Addr::from_bits(u32::from_be(address.sin_addr.s_addr)))
}

fn mtu(name: &str) -> io::Result<usize> {
    let name = CString::new(name)?;
    let bytes = name.as_bytes_with_nul();
    let any = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    let mut ask =
        libc::ifreq { ifr_name: [0; libc::IFNAMSIZ], ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_mtu: 0 } };
    if bytes.len() > ask.ifr_name.len() {
        return Err(io::ErrorKind::NotFound.into());
    }
    for (to, &from) in ask.ifr_name.iter_mut().zip(bytes) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    // SAFETY: SIOCGIFMTU reads the name, which ends with a zero, and writes the MTU; `ask` outlives the call.
    let status = unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCGIFMTU as _, &raw mut ask) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: SIOCGIFMTU succeeded, so it has written this field.
    let mtu = unsafe { ask.ifr_ifru.ifru_mtu };
    Ok(usize::try_from(mtu).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_found_by_name_and_by_any_of_its_addresses() {
        let lo = Interface::by_name("lo").unwrap();
        assert!(lo.address.is_loopback() && lo.mtu >= 1500);
        assert_eq!(Interface::by_address(Ipv4Addr::LOCALHOST).unwrap().name, "lo");
        assert_eq!(Interface::by_address(Ipv4Addr::new(127, 1, 2, 3)).unwrap().mtu, lo.mtu);
    }

    #[test]
    fn what_does_not_exist_is_not_found() {
        for unknown in ["203.0.113.7", "no-such-interface", "../..", "::1", ""] {
            assert_eq!(Interface::find(unknown).unwrap_err().kind(), io::ErrorKind::NotFound, "{unknown}");
        }
    }
}
