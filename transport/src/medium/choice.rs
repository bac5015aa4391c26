//! Which interface to go by when nobody says.
//!
//! Multicast goes where the kernel's route to the group goes, unless that is an interface with no device behind it: a
//! bridge or a tunnel is seldom what was meant. A peer is reached by its route, whatever that goes by.

use crate::id::{Endpoint, Family};
use crate::sys::interface::{Described, Interface};
use crate::sys::socket::Socket;
use std::fmt;
use std::io;
use std::net::SocketAddr;

/// An interface that was chosen, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The interface.
    pub interface: Interface,
    /// Why it is this one.
    pub why: Why,
}

/// Why an interface was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// All peers are on loopback.
    Loopback,
    /// The kernel's route goes by it.
    Route {
        /// To this address.
        to: SocketAddr,
        /// Whether it has no device behind it, so that another would have been taken.
        only_virtual: bool,
    },
    /// It is the first one that can be used, a physical one if there is any.
    First {
        /// Whether there is a device behind it.
        physical: bool,
        /// The group that has no route, or none by a physical interface.
        no_route_to: Option<SocketAddr>,
    },
}

impl Way {
    /// The interface to reach `group`, if there is one, and `peers` by. Nothing is sent.
    ///
    /// # Errors
    /// `NotFound` when no interface can be used, or what the system says.
    pub fn to(group: Option<SocketAddr>, peers: &[SocketAddr]) -> io::Result<Self> {
        let Some(family) = group.or(peers.first().copied()).map(|to| Family::of(to.ip())) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no address to choose an interface for"));
        };
        let mut all = Interface::all()?;
        all.retain(|described| described.interface.family() == family);
        let route = |to: SocketAddr| Some(Route { to, from: route_to(to).ok()? });
        let group_route = group.and_then(route);
        let peer_route = peers.iter().copied().find(|peer| !peer.ip().is_loopback()).and_then(route);
        choose(&all, group, group_route, peers, peer_route).ok_or_else(|| {
            let why = format!("interface: none is up that has an {family} address and a network behind it");
            io::Error::new(io::ErrorKind::NotFound, why)
        })
    }
}

/// Where the kernel sends from, as its routes say.
#[derive(Debug, Clone, Copy)]
struct Route {
    to: SocketAddr,
    /// Port 0 here.
    from: SocketAddr,
}

fn route_to(to: SocketAddr) -> io::Result<SocketAddr> {
    let to = Endpoint(to);
    let mut from = Socket::open(to.family())?.route_to(to)?.0;
    from.set_port(0);
    Ok(from)
}

/// The rule, over interfaces of one family in the system's order.
fn choose(
    all: &[Described],
    group: Option<SocketAddr>,
    group_route: Option<Route>,
    peers: &[SocketAddr],
    peer_route: Option<Route>,
) -> Option<Way> {
    let way = |described: &Described, why| Some(Way { interface: described.interface.clone(), why });
    if !peers.is_empty() && peers.iter().all(|peer| peer.ip().is_loopback()) {
        let loopback = all.iter().find(|one| one.interface.address.is_loopback())?;
        return way(loopback, Why::Loopback);
    }
    let usable = |one: &&Described| {
        one.up && (one.multicast || group.is_none()) && !one.interface.address.is_loopback()
    };
    let usable: Vec<_> = all.iter().filter(usable).collect();
    let by = |route: Route| {
        usable.iter().find(|one| one.interface.at_port(0) == route.from).map(|&one| (one, route.to))
    };
    let (group_way, peer_way) = (group_route.and_then(by), peer_route.and_then(by));
    if let Some((one, to)) = group_way.filter(|(one, _)| one.physical).or(peer_way) {
        return way(one, Why::Route { to, only_virtual: false });
    }
    if let Some(one) = usable.iter().find(|one| one.physical) {
        return way(one, Why::First { physical: true, no_route_to: group });
    }
    if let Some((one, to)) = group_way {
        return way(one, Why::Route { to, only_virtual: true });
    }
    way(usable.first()?, Why::First { physical: false, no_route_to: group })
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("all peers are on loopback"),
            Self::Route { to, only_virtual } => {
                write!(f, "the route to {to} goes by it")?;
                f.write_str(if *only_virtual { ", and no physical interface is up" } else { "" })
            }
            Self::First { physical, no_route_to } => {
                f.write_str(if *physical {
                    "the first physical interface"
                } else {
                    "the first interface, none is physical"
                })?;
                match no_route_to {
                    Some(group) if *physical => write!(f, ": no physical one has the route to {group}"),
                    Some(group) => write!(f, ": there is no route to {group}"),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::tests::inside_a_namespace;

    const GROUP: &str = "239.255.71.71:7171";

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    /// `lo`, and one interface for each name, with the addresses 10.0.0.1, 10.0.1.1 and so on.
    fn host(names: &[&str]) -> Vec<Described> {
        let one = |name: &str, address: [u8; 4]| Described {
            interface: Interface { name: name.to_owned(), address: address.into(), index: 1, mtu: 1_500 },
            up: true,
            multicast: true,
            physical: name.starts_with("eth"),
        };
        let others = names.iter().zip(0..).map(|(name, at)| one(name, [10, 0, at, 1]));
        [one("lo", [127, 0, 0, 1])].into_iter().chain(others).collect()
    }

    /// The name of the choice and why, where the routes to the group and to the first peer go by these interfaces.
    fn chosen(
        all: &[Described],
        group: Option<(&str, Option<&str>)>,
        peer: Option<(&str, Option<&str>)>,
    ) -> Option<String> {
        let by = |to: &str, name: &str| {
            let by = all.iter().find(|one| one.interface.name == name).unwrap();
            Route { to: at(to), from: by.interface.at_port(0) }
        };
        let route = |to: Option<(&str, Option<&str>)>| to.and_then(|(to, name)| Some(by(to, name?)));
        let peers: Vec<_> = peer.iter().map(|(to, _)| at(to)).collect();
        let way = choose(all, group.map(|(to, _)| at(to)), route(group), &peers, route(peer))?;
        Some(format!("{}: {}", way.interface.name, way.why))
    }

    #[track_caller]
    fn assert_chosen(got: Option<String>, expected: &str) {
        assert_eq!(got.as_deref(), Some(expected));
    }

    #[test]
    fn the_route_counts_and_virtual_interfaces_come_last() {
        let all = host(&["docker0", "eth0", "eth1"]);
        let by_route = chosen(&all, Some((GROUP, Some("eth1"))), None);
        assert_chosen(by_route, "eth1: the route to 239.255.71.71:7171 goes by it");
        let by_docker = chosen(&all, Some((GROUP, Some("docker0"))), None);
        let first = "eth0: the first physical interface: no physical one has the route to 239.255.71.71:7171";
        assert_chosen(by_docker, first);
        assert_chosen(chosen(&all, Some((GROUP, None)), None), first);
        let all = host(&["docker0", "tun0"]);
        assert_chosen(
            chosen(&all, Some((GROUP, Some("tun0"))), None),
            "tun0: the route to 239.255.71.71:7171 goes by it, and no physical interface is up",
        );
        assert_chosen(
            chosen(&all, Some((GROUP, None)), None),
            "docker0: the first interface, none is physical: there is no route to 239.255.71.71:7171",
        );
    }

    #[test]
    fn a_peer_is_reached_by_its_route_whatever_that_goes_by() {
        let all = host(&["eth0", "tun0"]);
        let peer = Some(("10.9.0.1:7", Some("tun0")));
        assert_chosen(chosen(&all, None, peer), "tun0: the route to 10.9.0.1:7 goes by it");
        assert_chosen(chosen(&all, Some((GROUP, None)), peer), "tun0: the route to 10.9.0.1:7 goes by it");
        let group = Some((GROUP, Some("eth0")));
        assert_chosen(chosen(&all, group, peer), "eth0: the route to 239.255.71.71:7171 goes by it");
        assert_chosen(chosen(&all, None, Some(("10.9.0.1:7", None))), "eth0: the first physical interface");
    }

    #[test]
    fn loopback_is_taken_when_all_peers_are_there_and_never_otherwise() {
        let mut all = host(&["eth0"]);
        let loopback = Some(("127.0.0.5:7", Some("lo")));
        let group = Some((GROUP, Some("eth0")));
        assert_chosen(chosen(&all, group, loopback), "lo: all peers are on loopback");
        assert_chosen(chosen(&all, Some((GROUP, Some("lo"))), None).map(|way| way[..5].to_owned()), "eth0:");
        all[1].up = false;
        assert_eq!(chosen(&all, group, None), None);
        (all[1].up, all[1].multicast) = (true, false);
        assert_eq!(chosen(&all, group, None), None);
        assert!(chosen(&all, None, Some(("10.0.0.9:7", None))).is_some(), "unicast needs no multicast");
    }

    #[test]
    fn two_veths_and_one_route() {
        let commands = [
            "link add v0 type veth peer name p0",
            "link add v1 type veth peer name p1",
            "link set v0 up",
            "link set p0 up",
            "link set v1 up",
            "link set p1 up",
            "addr add 10.71.0.1/24 dev v0",
            "addr add 10.71.1.1/24 dev v1",
            "addr add fd71::1/64 dev v0 nodad",
            "addr add fd71:1::1/64 dev v1 nodad",
            "route add 239.255.71.0/24 dev v1",
            "route add ff15::7171/128 dev v1 table local metric 1",
        ];
        inside_a_namespace(&commands, concat!(module_path!(), "::two_veths_and_one_route"), || {
            let way = |group: Option<&str>, peers: &[&str]| {
                let peers: Vec<_> = peers.iter().map(|peer| at(peer)).collect();
                let way = Way::to(group.map(at), &peers).unwrap();
                format!("{} {}: {}", way.interface.name, way.interface.address, way.why)
            };
            let none = ", and no physical interface is up";
            assert_eq!(
                way(Some(GROUP), &[]),
                format!("v1 10.71.1.1: the route to 239.255.71.71:7171 goes by it{none}")
            );
            assert_eq!(
                way(Some("[ff15::7171]:7171"), &[]),
                format!("v1 fd71:1::1: the route to [ff15::7171]:7171 goes by it{none}")
            );
            let elsewhere = "the first interface, none is physical: there is no route to 239.255.72.1:7";
            assert_eq!(way(Some("239.255.72.1:7"), &[]), format!("v0 10.71.0.1: {elsewhere}"));
            for (peer, own) in [("10.71.1.9:7", "v1 10.71.1.1"), ("[fd71::9]:7", "v0 fd71::1")] {
                assert_eq!(way(None, &[peer]), format!("{own}: the route to {peer} goes by it"));
            }
            assert_eq!(
                way(None, &["127.0.0.1:7", "10.71.1.9:7"]),
                "v1 10.71.1.1: the route to 10.71.1.9:7 goes by it"
            );
            let refused = Way::to(None, &[at("127.0.0.1:7")]).map(|way| way.interface.name);
            assert_eq!(refused.ok().as_deref(), None, "lo is down here, without an address");
        });
    }
}
