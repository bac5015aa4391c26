//! Plain UDP sockets: multicast or unicast fan-out, with segmentation offload in both directions where the kernel has it.
//!
//! Everything is sent from the control socket, so that its (address, port) names this process. Data of a multicast
//! channel arrives on a socket of its own, which others on the host share; everything else arrives on the control socket.

pub(super) mod inlet;
mod outlet;
mod probe;

use super::{
    Arrival, Capabilities, Channel, FanOut, Medium, MediumCounters, MediumError, Sent, Sockets, true_size,
};
use crate::id::Endpoint;
use crate::log::RxPool;
use crate::protocol::Target;
use crate::sys::bpf::Filter;
use crate::sys::interface;
use crate::sys::message::{Destination, Waiter};
use crate::sys::socket::Socket;
use inlet::{Inlet, Intake, Runs};
use outlet::Outlet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

/// How to open [`Udp`]. The default stays on this host.
#[derive(Debug, Clone, PartialEq)]
pub struct UdpConfig {
    /// Address of the interface that everything goes by (IPv4).
    pub interface: IpAddr,
    /// Port of this process; 0 lets the kernel choose one.
    pub port: u16,
    /// How many routers a multicast datagram crosses; 0 stays on this host.
    pub ttl: u8,
    /// Bytes asked for each socket's receive buffer; the kernel doubles that, and may have a limit.
    pub receive_buffer: usize,
    /// Bytes of the largest block that will be sent.
    pub block_size: usize,
    /// Whether to use segmentation offload where there is any.
    pub offload: bool,
    /// Whether everybody sends blocks of `block_size` and no larger ones, so that the receiver need not ask for the segment
    /// size of what is coalesced on loopback: see [`Medium::send`].
    pub uniform_runs: bool,
    /// The share of received buffers that the socket filter loses on purpose, 0 to 1. The kernel draws it, unseeded.
    pub buffer_loss: f64,
}

impl Default for UdpConfig {
    fn default() -> Self {
        Self {
            interface: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            ttl: 0,
            receive_buffer: 4 << 20,
            block_size: 1408,
            offload: true,
            uniform_runs: false,
            buffer_loss: 0.0,
        }
    }
}

/// UDP sockets as a medium.
#[derive(Debug)]
pub struct Udp {
    config: UdpConfig,
    address: Ipv4Addr,
    local: Endpoint,
    pub(super) runs: Runs,
    pub(super) capabilities: Capabilities,
    pub(super) control: Inlet,
    pub(super) data: Vec<Inlet>,
    routes: Vec<Route>,
    /// Whether some channel's data arrives on the control socket.
    pub(super) data_by_control: bool,
    pub(super) intake: Intake,
    outlet: Outlet,
    waiter: Waiter,
}

/// Where a channel's datagrams go.
#[derive(Debug)]
enum Route {
    /// To a group; what it sends comes back to the inlet of this index in `data`, where the filter drops it.
    Group { destinations: [Destination; 1], inlet: usize },
    /// To each of the others.
    Each { destinations: Vec<Destination> },
}

impl Udp {
    /// Opens the control socket and finds out what the kernel can do. Nothing is sent but a probe to itself.
    ///
    /// # Errors
    /// An unknown interface, one whose packets are too small for the block size, a port in use, no permission; each
    /// names the address or the numbers.
    pub fn open(config: UdpConfig) -> Result<Self, MediumError> {
        let interface = probe::interface(&config)?;
        let wanted = Endpoint(SocketAddr::new(config.interface, config.port));
        let doing = |what: &str| failed(format!("cannot {what} UDP {wanted}"));
        let socket = Socket::open().map_err(doing("open"))?;
        let receive_buffer =
            socket.ask_receive_buffer(config.receive_buffer).map_err(doing("size the buffer of"))?;
        socket.attach(Filter { own: None, loss: config.buffer_loss }).map_err(doing("filter"))?;
        socket
            .send_multicast_by(interface.address, config.ttl.into())
            .map_err(doing("configure multicast for"))?;
        let segments = if config.offload { probe::segments() } else { 1 };
        socket.bind(wanted).map_err(doing("bind"))?;
        let local = socket.local().map_err(doing("name"))?;
        let runs = match segments {
            1 => Runs::None,
            _ if config.uniform_runs && interface.address.is_loopback() => {
                Runs::Known { block: config.block_size }
            }
            _ => Runs::Told,
        };
        let control = Inlet::new(socket, runs, config.buffer_loss > 0.0).map_err(doing("coalesce on"))?;
        let mut waiter = Waiter::default();
        waiter.add(control.socket());
        Ok(Self {
            capabilities: capabilities(&config, &interface, segments, receive_buffer),
            address: interface.address,
            local,
            runs,
            control,
            data: Vec::new(),
            routes: Vec::new(),
            data_by_control: false,
            intake: Intake::default(),
            outlet: Outlet::new(segments > 1),
            waiter,
            config,
        })
    }

    fn open_group(&mut self, group: Endpoint) -> Result<Channel, MediumError> {
        let (SocketAddr::V4(address), Some(to)) = (group.0, Destination::new(group)) else {
            return Err(MediumError::Unsupported(format!("{group}: only IPv4 groups are supported")));
        };
        if !address.ip().is_multicast() || address.port() == 0 {
            return Err(MediumError::Unsupported(format!("{group} is not a multicast address and port")));
        }
        // Opened twice, a group would deliver everything twice.
        let again = self.routes.iter().position(
            |route| matches!(route, Route::Group { destinations, .. } if destinations[0].endpoint() == group),
        );
        if let Some(at) = again {
            return Ok(channel(at));
        }
        let inlet = self.join(address)?;
        self.waiter.add(inlet.socket());
        self.data.push(inlet);
        self.routes.push(Route::Group { destinations: [to], inlet: self.data.len() - 1 });
        Ok(channel(self.routes.len() - 1))
    }

    /// A socket that receives `group`. Filter and options come before the address, so that nothing slips by.
    fn join(&self, group: SocketAddrV4) -> Result<Inlet, MediumError> {
        let doing = |what: &str| failed(format!("cannot {what} UDP {group} on {}", self.address));
        let socket = Socket::open().map_err(doing("open"))?;
        socket.share_address().map_err(doing("share"))?;
        socket.ask_receive_buffer(self.config.receive_buffer).map_err(doing("size the buffer of"))?;
        let filter = Filter { own: self.own(), loss: self.config.buffer_loss };
        socket.attach(filter).map_err(doing("filter"))?;
        socket.join(*group.ip(), self.address).map_err(doing("join"))?;
        socket.bind(Endpoint(group.into())).map_err(doing("bind"))?;
        Inlet::new(socket, self.runs, self.config.buffer_loss > 0.0).map_err(doing("coalesce on"))
    }

    fn open_list(&mut self, members: &[Endpoint]) -> Result<Channel, MediumError> {
        let others = members.iter().filter(|&&member| member != self.local);
        let unsupported =
            |member| MediumError::Unsupported(format!("{member}: only IPv4 members are supported"));
        let destinations: Result<_, _> =
            others.map(|&member| Destination::new(member).ok_or_else(|| unsupported(member))).collect();
        self.routes.push(Route::Each { destinations: destinations? });
        self.data_by_control = true;
        Ok(channel(self.routes.len() - 1))
    }

    /// Whether segmentation offload was not switched off.
    pub(super) fn wants_offload(&self) -> bool {
        self.config.offload
    }

    fn own(&self) -> Option<SocketAddrV4> {
        match self.local.0 {
            SocketAddr::V4(own) => Some(own),
            SocketAddr::V6(_) => None,
        }
    }
}

impl Medium for Udp {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn local(&self) -> Endpoint {
        self.local
    }

    fn open_channel(&mut self, fan_out: FanOut) -> Result<Channel, MediumError> {
        match fan_out {
            FanOut::Multicast(group) => self.open_group(group),
            FanOut::Unicast(members) => self.open_list(&members),
        }
    }

    fn receive(
        &mut self,
        pool: &mut RxPool,
        inbox: &mut Vec<Arrival>,
        sockets: Sockets,
        quota: usize,
    ) -> Result<usize, MediumError> {
        let mut taken = 0;
        for inlet in &self.data {
            taken += self.intake.drain(inlet, pool, inbox, quota)?.datagrams;
        }
        if sockets == Sockets::All || self.data_by_control {
            taken += self.intake.drain(&self.control, pool, inbox, quota)?.datagrams;
        }
        Ok(taken)
    }

    fn send(&mut self, to: Target, run: &[u8], segment: usize) -> Result<Sent, MediumError> {
        debug_assert!(segment > 0 && (run.len() <= segment || run.len() <= self.capabilities.max_run_bytes));
        debug_assert!(!self.config.uniform_runs || run.len() <= segment || segment == self.config.block_size);
        let from = self.control.socket();
        match to {
            Target::One(endpoint) if endpoint == self.local => Ok(Sent::Done),
            Target::One(endpoint) => match Destination::new(endpoint) {
                Some(one) => self.outlet.send(from, &to, &[one], (run, segment), |_| ()),
                None => Ok(self.outlet.refuse()),
            },
            Target::Channel(Channel(at)) => match &self.routes[usize::from(at)] {
                Route::Group { destinations, inlet } => {
                    let own = &mut self.data[*inlet];
                    self.outlet.send(from, &to, destinations, (run, segment), |blocks| own.expect_own(blocks))
                }
                Route::Each { destinations } => {
                    self.outlet.send(from, &to, destinations, (run, segment), |_| ())
                }
            },
        }
    }

    fn wait(&mut self, limit: Duration) {
        self.waiter.wait(limit);
    }

    /// Asks the kernel for the drops of every socket, a system call each.
    fn counters(&self) -> MediumCounters {
        let overflow = self.data.iter().chain([&self.control]).map(Inlet::overflow).sum();
        let MediumCounters { sends, sent_blocks, send_errors, .. } = self.outlet.counters();
        MediumCounters { overflow, sends, sent_blocks, send_errors, ..self.intake.counters() }
    }
}

fn capabilities(
    config: &UdpConfig,
    interface: &interface::Interface,
    segments: usize,
    receive_buffer: usize,
) -> Capabilities {
    // A run arrives as one buffer, and is charged as one: four of them always find room.
    let quarter = (receive_buffer / 4).saturating_sub(true_size(MAX_RUN) - MAX_RUN);
    Capabilities {
        name: "udp",
        max_block: if config.uniform_runs {
            config.block_size
        } else {
            MAX_PAYLOAD.min(interface.mtu - IP_AND_UDP_BYTES)
        },
        multicast: true,
        max_run_blocks: segments,
        max_run_bytes: quarter.min(if segments > 1 { MAX_RUN } else { MAX_PAYLOAD }).max(config.block_size),
        coalesces: segments > 1,
        receive_buffer,
    }
}

fn failed(what: String) -> impl FnOnce(io::Error) -> MediumError {
    move |source| MediumError::System { what, source }
}

fn channel(at: usize) -> Channel {
    Channel(u16::try_from(at).expect("a process has fewer than 65536 channels"))
}

/// The largest payload of a UDP datagram over IPv4.
const MAX_PAYLOAD: usize = 65_507;
/// The largest run that stays one buffer: with all its headers it must be shorter than a device's usual limit of 64 KiB,
/// or the kernel segments it at once.
const MAX_RUN: usize = 65_408;
/// An IPv4 header without options, and a UDP header.
const IP_AND_UDP_BYTES: usize = 28;

#[cfg(test)]
pub(super) mod tests;
