//! Multicast groups: each has a socket of its own, which hears everybody or the sources that were named.

use super::inlet::Inlet;
use super::{Route, Udp, channel, failed, probe};
use crate::id::Endpoint;
use crate::medium::{Channel, MediumError};
use crate::sys::bpf::Filter;
use crate::sys::message::Destination;
use crate::sys::socket::Socket;
use std::io;
use std::net::IpAddr;

/// A group that was opened.
#[derive(Debug)]
pub(super) struct Group {
    /// Sends to it, and hears nothing.
    pub(super) sender: Socket,
    /// The group itself.
    pub(super) destinations: [Destination; 1],
    /// Index in `data` of the inlet that hears it.
    pub(super) inlet: usize,
    /// Whether what this process sends comes back to that inlet, where the filter drops it.
    pub(super) hears_itself: bool,
    /// How often it was opened, and not closed.
    pub(super) users: usize,
    /// Who is heard; empty for everybody.
    sources: Vec<IpAddr>,
}

impl Udp {
    /// Opens `group`, where `sources` are heard, or everybody if there are none.
    pub(super) fn open_group(&mut self, group: Endpoint, sources: &[IpAddr]) -> Result<Channel, MediumError> {
        self.check_group(group, sources)?;
        let group = if is_of_a_link(group) { group.on_link(self.interface.index) } else { group };
        // Opened twice, a group would deliver everything twice.
        let again = self.routes.iter().position(
            |route| matches!(route, Route::Group(known) if known.destinations[0].endpoint() == group),
        );
        if let Some(at) = again {
            self.widen(at, group, sources)?;
            if let Route::Group(known) = &mut self.routes[at] {
                known.users += 1;
            }
            return Ok(channel(at));
        }
        probe::multicast(&self.interface, group)?;
        let (sender, inlet) = (self.sender(group)?, self.join(group, sources)?);
        self.waiter.add(inlet.socket());
        self.data.push(inlet);
        Ok(self.add(Route::Group(Group {
            sender,
            destinations: [Destination::connected(group)],
            inlet: self.data.len() - 1,
            hears_itself: sources.is_empty() || sources.contains(&self.interface.address),
            users: 1,
            sources: sources.to_vec(),
        })))
    }

    /// Closes the socket that hears a group which nobody wants any more. The later ones move up.
    pub(super) fn close_inlet(&mut self, at: usize) {
        let inlet = self.data.remove(at);
        self.waiter.remove(inlet.socket());
        self.overflow += inlet.overflow();
        for route in &mut self.routes {
            if let Route::Group(group) = route
                && group.inlet > at
            {
                group.inlet -= 1;
            }
        }
    }

    /// Whether a group can be opened at this address and port, with these sources.
    fn check_group(&self, group: Endpoint, sources: &[IpAddr]) -> Result<(), MediumError> {
        if !group.0.ip().is_multicast() || group.0.port() == 0 {
            return Err(MediumError::Unsupported(format!("{group} is not a multicast address and port")));
        }
        self.is_of_family("group", group)?;
        if sources.is_empty() && group.is_source_specific() {
            return Err(MediumError::Unsupported(format!(
                "group {group} lies in the range of source-specific multicast: say which sources are heard"
            )));
        }
        for &source in sources {
            self.is_of_family("source", Endpoint((source, 0).into()))?;
            if source.is_multicast() || source.is_unspecified() {
                return Err(MediumError::Unsupported(format!(
                    "source {source} is no address that anybody sends from"
                )));
            }
        }
        Ok(())
    }

    /// Hears more sources by a group that is open already.
    fn widen(&mut self, at: usize, group: Endpoint, sources: &[IpAddr]) -> Result<(), MediumError> {
        let Route::Group(known) = &mut self.routes[at] else { return Ok(()) };
        if known.sources.is_empty() != sources.is_empty() {
            return Err(MediumError::Unsupported(format!(
                "group {group} is open already: it hears either everybody or named sources, not both"
            )));
        }
        for &source in sources {
            if !known.sources.contains(&source) {
                let socket = self.data[known.inlet].socket();
                socket.join_source(group.0.ip(), &self.interface, source).map_err(refused(group, source))?;
                known.sources.push(source);
                known.hears_itself |= source == self.interface.address;
            }
        }
        Ok(())
    }

    /// A socket that is connected to `group` and sends from the address and port of the control socket, by which all know us.
    ///
    /// To look for the way there at each send would cost 0.14 us (of 3). What others send to us by unicast is not for this
    /// socket, since it is connected to somebody else; but what comes between the two calls may be lost in it, and is
    /// repaired. Nobody else can share the address: all who have it must allow that, and the control socket does so no longer
    /// than it takes to bind.
    fn sender(&self, group: Endpoint) -> Result<Socket, MediumError> {
        let doing = |what: &str| failed(format!("cannot {what} a sender to UDP {group} from {}", self.local));
        let (socket, control) =
            (Socket::open(self.interface.family()).map_err(doing("open"))?, self.control.socket());
        socket
            .send_multicast_by(&self.interface, self.config.ttl.into())
            .map_err(doing("configure multicast for"))?;
        socket.share_address(true).map_err(doing("share the address of"))?;
        control.share_address(true).map_err(doing("share the address of"))?;
        let bound = socket.bind(self.local);
        control.share_address(false).map_err(doing("keep the address of"))?;
        bound.map_err(doing("bind"))?;
        socket.connect(group).map_err(doing("connect"))?;
        Ok(socket)
    }

    /// A socket that receives `group`. Filter and options come before the address, so that nothing slips by.
    fn join(&self, group: Endpoint, sources: &[IpAddr]) -> Result<Inlet, MediumError> {
        let (interface, loss) = (&self.interface, self.config.buffer_loss);
        let doing = |what: &str| failed(format!("cannot {what} UDP {group} on {}", interface.address));
        let socket = Socket::open(interface.family()).map_err(doing("open"))?;
        socket.share_address(true).map_err(doing("share"))?;
        socket.ask_receive_buffer(self.config.receive_buffer).map_err(doing("size the buffer of"))?;
        socket.attach(Filter { own: Some(self.local.0), loss }).map_err(doing("filter"))?;
        if sources.is_empty() {
            socket.join(group.0.ip(), interface).map_err(doing("join"))?;
        }
        for (at, source) in sources.iter().enumerate() {
            if !sources[..at].contains(source) {
                socket.join_source(group.0.ip(), interface, *source).map_err(refused(group, *source))?;
            }
        }
        socket.bind(group).map_err(doing("bind"))?;
        Inlet::new(socket, self.runs, loss > 0.0).map_err(doing("coalesce on"))
    }
}

fn refused(group: Endpoint, source: IpAddr) -> impl FnOnce(io::Error) -> MediumError {
    let limit = if source.is_ipv4() { "net.ipv4.igmp_max_msf" } else { "net.ipv6.mld_max_msf" };
    move |error| {
        let what = match error.raw_os_error() {
            Some(libc::ENOBUFS) => {
                format!("cannot hear source {source} in {group}: more sources than {limit} allows")
            }
            _ => format!("cannot hear source {source} in {group}"),
        };
        MediumError::System { what, source: error }
    }
}

/// Whether `group` means another one on each link: its scope is an interface or a link (RFC 4291 §2.7).
fn is_of_a_link(group: Endpoint) -> bool {
    matches!(group.0.ip(), IpAddr::V6(address) if address.is_multicast() && matches!(address.octets()[1] & 0xf, 1 | 2))
}
