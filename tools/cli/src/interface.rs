//! Which interface a user means: by its address or by its name.

use std::net::{IpAddr, Ipv4Addr};

use crate::refusal::Refusal;

/// An interface of this host that can carry IPv4 multicast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    /// Its name, such as `lo`.
    pub(crate) name: String,
    /// The address by which the sockets choose it.
    pub(crate) address: Ipv4Addr,
    /// The largest IP packet it carries unfragmented, in bytes, where the system says so.
    pub(crate) mtu: Option<usize>,
}

impl Interface {
    /// Finds the interface that `wanted` names, or whose IPv4 address it is.
    ///
    /// # Errors
    /// When no interface of the host is meant, or it has no IPv4 address.
    pub(crate) fn find(wanted: &str) -> Result<Self, Refusal> {
        let list = if_addrs::get_if_addrs()
            .map_err(|error| Refusal::new(format_args!("the host's interfaces cannot be listed: {error}")))?;
        match wanted.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => list
                .iter()
                .find(|interface| answers_to(interface, address))
                .map(|interface| Self::new(&interface.name, address))
                .ok_or_else(|| {
                    Refusal::new(format_args!("unknown interface: none has the address {address}"))
                }),
            Ok(IpAddr::V6(address)) => {
                Err(Refusal::new(format_args!("interface {address}: the demo's group is IPv4, this is IPv6")))
            }
            Err(_) => Self::by_name(wanted, &list),
        }
    }

    fn by_name(name: &str, list: &[if_addrs::Interface]) -> Result<Self, Refusal> {
        let mut of_name = list.iter().filter(|interface| interface.name == name);
        let v4 = of_name.find_map(|interface| match interface.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        });
        match v4 {
            Some(address) => Ok(Self::new(name, address)),
            None if exists(name) => Err(Refusal::new(format_args!("interface {name} has no IPv4 address"))),
            None => Err(Refusal::new(format_args!("unknown interface: {name}"))),
        }
    }

    fn new(name: &str, address: Ipv4Addr) -> Self {
        let mtu = std::fs::read_to_string(format!("/sys/class/net/{name}/mtu"));
        Self { name: name.to_owned(), address, mtu: mtu.ok().and_then(|text| text.trim().parse().ok()) }
    }
}

/// The loopback interface answers to all of 127.0.0.0/8, the others only to the address that is listed.
fn answers_to(interface: &if_addrs::Interface, address: Ipv4Addr) -> bool {
    interface.ip() == IpAddr::V4(address)
        || (interface.is_loopback() && interface.ip().is_ipv4() && address.is_loopback())
}

fn exists(name: &str) -> bool {
    // A name with a slash would leave the folder.
    !name.contains('/') && std::path::Path::new("/sys/class/net").join(name).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_found_by_address_and_by_name() {
        let found = Interface::find("127.0.0.1").expect("every host has it");
        assert_eq!(found.address, Ipv4Addr::LOCALHOST);
        assert_eq!(Interface::find(&found.name), Ok(found));
    }

    #[test]
    fn what_the_host_has_not_is_refused_by_name() {
        for unknown in ["203.0.113.7", "nosuch0", "../..", "::1", ""] {
            assert!(Interface::find(unknown).is_err(), "{unknown:?} was accepted");
        }
    }
}
