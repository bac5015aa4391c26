//! Network interfaces: found by name or by address, with what they are and the size of what they carry.

use super::address::endpoint_at;
use crate::id::Family;
use std::ffi::{CStr, CString};
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::path::Path;

/// One address of an interface of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name, for example `lo`.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its number on this host.
    pub index: u32,
    /// The largest IP packet that it carries, bytes.
    pub mtu: usize,
}

/// An address of an interface, and what the interface is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The interface.
    pub interface: Interface,
    /// Whether it is in operation.
    pub up: bool,
    /// Whether it carries multicast.
    pub multicast: bool,
    /// Whether there is a device behind it: bridges, tunnels and the ends of containers have none.
    pub physical: bool,
}

impl Interface {
    /// The interface that `wanted` names, by its name or by its address, whatever the family; a name means its first IPv4
    /// address, if it has one.
    ///
    /// # Errors
    /// As [`by_name`](Self::by_name) and [`by_address`](Self::by_address).
    pub fn find(wanted: &str) -> io::Result<Self> {
        Self::find_in(wanted, Family::V4).or_else(|refused| match refused.kind() {
            io::ErrorKind::NotFound => Self::find_in(wanted, Family::V6).map_err(|_| refused),
            _ => Err(refused),
        })
    }

    /// The interface that `wanted` names, by its name or by its address, where a name means its first address of `family`.
    /// A link-local address that several interfaces have is told apart by a number or a name: `fe80::1%eth0`.
    ///
    /// # Errors
    /// As [`by_name`](Self::by_name) and [`by_address`](Self::by_address).
    pub fn find_in(wanted: &str, family: Family) -> io::Result<Self> {
        let (address, zone) = wanted.split_once('%').unwrap_or((wanted, ""));
        match address.parse() {
            Ok(address) => Self::by_address(address, index_of(zone)?),
            Err(_) => Self::by_name(wanted, family),
        }
    }

    /// The interface that owns `address`; every address of 127.0.0.0/8 belongs to the loopback interface. `index` is that
    /// of the interface, for a link-local address that several have; 0 leaves it open.
    ///
    /// # Errors
    /// `NotFound` when no interface has this address, or several have a link-local one, or what the system says.
    pub fn by_address(address: IpAddr, index: u32) -> io::Result<Self> {
        let mut all = addresses()?;
        let is_loopback_v4 = |address: IpAddr| address.is_ipv4() && address.is_loopback();
        if is_loopback_v4(address) && !all.iter().any(|entry| entry.address == address) {
            all.retain(|entry| is_loopback_v4(entry.address));
        } else {
            all.retain(|entry| entry.address == address && (index == 0 || entry.index == index));
        }
        match &all[..] {
            [] => Err(unknown(format_args!("no interface has the address {address}"))),
            [one, other, ..] if one.is_link_local() => Err(unknown(format_args!(
                "{address} is on {one} and on {other}: say which, as in {address}%{one}",
                one = one.name,
                other = other.name
            ))),
            [found, ..] => Entry { address, ..found.clone() }.measured(),
        }
    }

    /// The interface called `name`, with its first address of `family`; one that is good beyond its link is preferred.
    ///
    /// # Errors
    /// `NotFound` when there is none, or it has no such address, or what the system says.
    pub fn by_name(name: &str, family: Family) -> io::Result<Self> {
        let mut all = addresses()?;
        all.retain(|entry| entry.name == name && Family::of(entry.address) == family);
        all.sort_by_key(Entry::is_link_local);
        let found = all.into_iter().next();
        found
            .ok_or_else(|| unknown(format_args!("{name} does not exist, or has no {family} address")))?
            .measured()
    }

    /// Every address of every interface, those that are good beyond their link first. What goes while it is looked at is
    /// left out.
    ///
    /// # Errors
    /// What the system says.
    pub fn all() -> io::Result<Vec<Described>> {
        let mut all = addresses()?;
        all.sort_by_key(Entry::is_link_local);
        let described = all.into_iter().filter_map(|entry| {
            let has = |flag: i32| entry.flags & flag.cast_unsigned() != 0;
            let (up, multicast) = (has(libc::IFF_UP) && has(libc::IFF_RUNNING), has(libc::IFF_MULTICAST));
            let physical = Path::new("/sys/class/net").join(&entry.name).join("device").exists();
            Some(Described { interface: entry.measured().ok()?, up, multicast, physical })
        });
        Ok(described.collect())
    }

    /// The family of its address.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// Its address with `port`; a link-local one says on which link.
    #[must_use]
    pub fn at_port(&self, port: u16) -> SocketAddr {
        match self.address {
            IpAddr::V6(address) if address.is_unicast_link_local() => {
                SocketAddrV6::new(address, port, 0, self.index).into()
            }
            address => SocketAddr::new(address, port),
        }
    }
}

fn unknown(what: std::fmt::Arguments<'_>) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("unknown interface: {what}"))
}

/// What the system lists: an address of an interface.
#[derive(Debug, Clone)]
struct Entry {
    name: String,
    address: IpAddr,
    index: u32,
    flags: u32,
}

impl Entry {
    fn is_link_local(&self) -> bool {
        matches!(self.address, IpAddr::V6(address) if address.is_unicast_link_local())
    }

    fn measured(self) -> io::Result<Interface> {
        let Self { name, address, index, .. } = self;
        Ok(Interface { mtu: mtu(&name)?, name, address, index })
    }
}

/// The index of the interface that `zone`, behind an address, names by a number or by its name; 0 where there is none.
fn index_of(zone: &str) -> io::Result<u32> {
    if zone.is_empty() {
        return Ok(0);
    }
    if let Ok(index) = zone.parse() {
        return Ok(index);
    }
    match CString::new(zone).map(|name| index(&name)) {
        Ok(index) if index > 0 => Ok(index),
        _ => Err(unknown(format_args!("{zone} does not exist"))),
    }
}

fn index(name: &CStr) -> u32 {
    // SAFETY: the name is a valid C string.
    unsafe { libc::if_nametoindex(name.as_ptr()) }
}

/// All addresses of all interfaces.
fn addresses() -> io::Result<Vec<Entry>> {
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
        // SAFETY: the address of an entry is null or a whole one, for as long as the list lives.
        if let Some(endpoint) = unsafe { endpoint_at(entry.ifa_addr) } {
            // SAFETY: the name of an entry is a valid C string for as long as the list lives.
            let name = unsafe { CStr::from_ptr(entry.ifa_name) };
            let (address, index, flags) = (endpoint.0.ip(), index(name), entry.ifa_flags);
            found.push(Entry { name: name.to_string_lossy().into_owned(), address, index, flags });
        }
        at = entry.ifa_next;
    }
    // SAFETY: `list` came from getifaddrs, and nothing that was borrowed from it is used after this line.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
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
    use std::net::Ipv4Addr;

    #[test]
    fn loopback_is_found_by_name_and_by_any_of_its_addresses() {
        let lo = Interface::by_name("lo", Family::V4).unwrap();
        assert!(lo.address.is_loopback() && lo.mtu >= 1500 && lo.index > 0);
        assert_eq!(Interface::find("127.0.0.1").unwrap().name, "lo");
        assert_eq!(Interface::by_address(Ipv4Addr::new(127, 1, 2, 3).into(), 0).unwrap().mtu, lo.mtu);
        let all = Interface::all().unwrap();
        let described = all
            .iter()
            .find(|all| all.interface == Interface { address: Ipv4Addr::LOCALHOST.into(), ..lo.clone() });
        assert!(described.is_some_and(|lo| lo.up && !lo.physical), "{all:?}");
    }

    #[test]
    fn loopback_has_an_ipv6_address_too() {
        if crate::sys::tests::has_ipv6() {
            let lo = Interface::find("::1").unwrap();
            assert_eq!(
                (lo.name.as_str(), lo.family(), lo.at_port(7).to_string()),
                ("lo", Family::V6, "[::1]:7".to_owned())
            );
            assert_eq!(Interface::find_in("lo", Family::V6).unwrap(), lo);
        }
    }

    #[test]
    fn what_does_not_exist_is_not_found() {
        for unknown in [
            "203.0.113.7",
            "no-such-interface",
            "../..",
            "2001:db8::7",
            "",
            "fe80::7%no-such-one",
            "::1%99999",
        ] {
            assert_eq!(Interface::find(unknown).unwrap_err().kind(), io::ErrorKind::NotFound, "{unknown}");
        }
    }

    #[test]
    fn a_link_local_address_of_two_interfaces_is_asked_about() {
        let commands = [
            "link add v0 type veth peer name v1",
            "link set v0 up",
            "link set v1 up",
            "addr add fe80::71/64 dev v0 nodad",
            "addr add fe80::71/64 dev v1 nodad",
        ];
        let this = concat!(module_path!(), "::a_link_local_address_of_two_interfaces_is_asked_about");
        crate::sys::tests::inside_a_namespace(&commands, this, || {
            let refused = Interface::find("fe80::71").unwrap_err().to_string();
            assert!(
                refused.contains("fe80::71 is on v") && refused.contains(": say which, as in fe80::71%v"),
                "{refused}"
            );
            let found = Interface::find("fe80::71%v1").unwrap();
            assert_eq!(found.name, "v1");
            assert_eq!(Interface::find(&format!("fe80::71%{}", found.index)).unwrap(), found);
        });
    }

    #[test]
    fn a_link_local_address_says_its_link() {
        let interface =
            Interface { name: "x0".to_owned(), address: "fe80::1".parse().unwrap(), index: 7, mtu: 1500 };
        assert_eq!(interface.at_port(9).to_string(), "[fe80::1%7]:9");
    }
}
