//! What the interface and the kernel can do, found out before anything depends on it.

use super::{IP_AND_UDP_BYTES, MAX_PAYLOAD, UdpConfig};
use crate::id::Endpoint;
use crate::medium::MediumError;
use crate::sys::interface::Interface;
use crate::sys::message::Destination;
use crate::sys::socket::Socket;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The interface that `config` names, if blocks of the configured size fit its packets.
pub(super) fn interface(config: &UdpConfig) -> Result<Interface, MediumError> {
    let IpAddr::V4(address) = config.interface else {
        return Err(MediumError::Unsupported(format!(
            "interface {}: only IPv4 is supported",
            config.interface
        )));
    };
    let found = Interface::by_address(address).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => MediumError::Unsupported(source.to_string()),
        _ => MediumError::System { what: format!("cannot look up {address}"), source },
    })?;
    fits(config, &found)?;
    Ok(found)
}

/// Whether blocks of the configured size travel whole by `interface`; nothing here relies on IP fragmentation.
pub(super) fn fits(config: &UdpConfig, interface: &Interface) -> Result<(), MediumError> {
    let block = config.block_size;
    let Interface { name, address, mtu } = interface;
    if block == 0 || block > MAX_PAYLOAD {
        return Err(MediumError::Unsupported(format!(
            "a block of {block} bytes is no UDP payload: 1 to {MAX_PAYLOAD} bytes"
        )));
    }
    let needed = block + IP_AND_UDP_BYTES;
    if needed > *mtu {
        return Err(MediumError::Unsupported(format!(
            "interface {name} ({address}) carries packets of {mtu} bytes, a block of {block} bytes needs {needed}"
        )));
    }
    Ok(())
}

/// How many datagrams one send may carry: 128 since kernel 6.9, 64 since 4.18; 1 when either direction lacks offload.
///
/// No option tells the limit, so a socket sends to itself over loopback and sees what is refused.
pub(super) fn segments() -> usize {
    [128, 64].into_iter().find(|&segments| carries(segments).is_ok()).unwrap_or(1)
}

fn carries(segments: usize) -> io::Result<()> {
    let socket = Socket::open()?;
    socket.bind(Endpoint(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))?;
    socket.coalesce(true)?;
    let to = Destination::new(socket.local()?).ok_or(io::ErrorKind::Unsupported)?;
    socket.send_run(&to, &[0; 128][..segments], 1)
}
