//! What the interface and the kernel can do, found out before anything depends on it.

use super::{MAX_PAYLOAD, UdpConfig, headers};
use crate::id::{Endpoint, Family};
use crate::medium::MediumError;
use crate::sys::interface::Interface;
use crate::sys::message::Destination;
use crate::sys::socket::Socket;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The interface that `config` names, if blocks of the configured size fit its packets.
pub(super) fn interface(config: &UdpConfig) -> Result<Interface, MediumError> {
    let address = config.interface;
    let found =
        Interface::by_address(address, config.interface_index).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => MediumError::Unsupported(source.to_string()),
            _ => MediumError::System { what: format!("cannot look up {address}"), source },
        })?;
    fits(config, &found)?;
    Ok(found)
}

/// Whether blocks of the configured size travel whole by `interface`; nothing here relies on IP fragmentation.
pub(super) fn fits(config: &UdpConfig, interface: &Interface) -> Result<(), MediumError> {
    let block = config.block_size;
    let Interface { name, address, mtu, .. } = interface;
    if block == 0 || block > MAX_PAYLOAD {
        return Err(MediumError::Unsupported(format!(
            "a block of {block} bytes is no UDP payload: 1 to {MAX_PAYLOAD} bytes"
        )));
    }
    let needed = block + headers(interface.family());
    if needed > *mtu {
        return Err(MediumError::Unsupported(format!(
            "interface {name} ({address}) carries packets of {mtu} bytes, a block of {block} bytes needs {needed}"
        )));
    }
    Ok(())
}

/// Whether multicast to `group` has a way out by `interface`. IPv4 needs no route where the interface is named; IPv6 does,
/// and loopback has none.
pub(super) fn multicast(interface: &Interface, group: Endpoint) -> Result<(), MediumError> {
    if interface.family() == Family::V4 {
        return Ok(());
    }
    let route = || {
        let socket = Socket::open(Family::V6)?;
        socket.send_multicast_by(interface, 0)?;
        socket.route_to(group)
    };
    let Err(source) = route() else { return Ok(()) };
    let Interface { name, address, .. } = interface;
    let interface = format!("{name} ({address})");
    if source.raw_os_error() == Some(libc::ENETUNREACH) {
        return Err(MediumError::NoMulticast { interface, group });
    }
    Err(MediumError::System { what: format!("cannot multicast to {group} by {interface}"), source })
}

/// How many datagrams one send may carry: 128 since kernel 6.9, 64 since 4.18; 1 when either direction lacks offload.
///
/// No option tells the limit, so a socket sends to itself over loopback and sees what is refused.
pub(super) fn segments(family: Family) -> usize {
    [128, 64].into_iter().find(|&segments| carries(segments, family).is_ok()).unwrap_or(1)
}

fn carries(segments: usize, family: Family) -> io::Result<()> {
    let loopback = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    let socket = Socket::open(family)?;
    socket.bind(Endpoint(SocketAddr::new(loopback, 0)))?;
    socket.coalesce(true)?;
    let to = Destination::new(socket.local()?);
    socket.send_run(&to, &[0; 128][..segments], 1)
}
