//! Plain UDP sockets: multicast or unicast fan-out, with segmentation offload in both directions where the kernel has it.
//!
//! Everything is sent from one address and port, which name this process: from the control socket, or to a group from a
//! socket beside it that is connected there. Data of a group arrives on a socket of its own, which others on the host share;
//! everything else arrives on the control socket.

mod groups;
pub(super) mod inlet;
mod outlet;
mod probe;

use super::{
    Arrival, Capabilities, Channel, FanOut, Medium, MediumCounters, MediumError, Sent, Sockets, true_size,
};
use crate::id::{Endpoint, Family};
use crate::log::RxPool;
use crate::protocol::Target;
use crate::sys::bpf::Filter;
use crate::sys::interface::Interface;
use crate::sys::message::{Destination, Waiter};
use crate::sys::socket::Socket;
use groups::Group;
use inlet::{Inlet, Intake, Runs};
use outlet::Outlet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// How to open [`Udp`]. The default stays on this host.
#[derive(Debug, Clone, PartialEq)]
pub struct UdpConfig {
    /// Address of the interface that everything goes by. Its family is that of all members and groups.
    pub interface: IpAddr,
    /// Number of that interface, for a link-local address that several have; 0 leaves it open.
    pub interface_index: u32,
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
            interface_index: 0,
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
    interface: Interface,
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
    /// What the sockets that were closed have dropped.
    overflow: u64,
}

/// Where a channel's datagrams go.
#[derive(Debug)]
enum Route {
    /// To a group.
    Group(Group),
    /// To each of the others.
    Each { destinations: Vec<Destination> },
    /// Nowhere any more; the next one takes its place.
    Closed,
}

impl Udp {
    /// Opens the control socket and finds out what the kernel can do. Nothing is sent but a probe to itself.
    ///
    /// # Errors
    /// An unknown interface, one whose packets are too small for the block size, a port in use, no permission; each
    /// names the address or the numbers.
    pub fn open(config: UdpConfig) -> Result<Self, MediumError> {
        let interface = probe::interface(&config)?;
        let wanted = Endpoint(interface.at_port(config.port));
        let doing = |what: &str| failed(format!("cannot {what} UDP {wanted}"));
        let socket = Socket::open(interface.family()).map_err(doing("open"))?;
        let receive_buffer =
            socket.ask_receive_buffer(config.receive_buffer).map_err(doing("size the buffer of"))?;
        socket.attach(Filter { own: None, loss: config.buffer_loss }).map_err(doing("filter"))?;
        socket.send_multicast_by(&interface, config.ttl.into()).map_err(doing("configure multicast for"))?;
        let segments = if config.offload { probe::segments(interface.family()) } else { 1 };
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
            interface,
            local,
            runs,
            control,
            data: Vec::new(),
            routes: Vec::new(),
            data_by_control: false,
            intake: Intake::default(),
            outlet: Outlet::new(segments > 1),
            waiter,
            overflow: 0,
            config,
        })
    }

    fn open_list(&mut self, members: &[Endpoint]) -> Result<Channel, MediumError> {
        for &member in members {
            self.is_of_family("member", member)?;
        }
        let others = members.iter().filter(|&&member| member != self.local);
        let destinations = others.map(|&member| Destination::new(member)).collect();
        self.data_by_control = true;
        Ok(self.add(Route::Each { destinations }))
    }

    /// The channel of a route that is opened.
    fn add(&mut self, route: Route) -> Channel {
        let closed = self.routes.iter().position(|route| matches!(route, Route::Closed));
        let at = closed.unwrap_or(self.routes.len());
        match closed {
            Some(at) => self.routes[at] = route,
            None => self.routes.push(route),
        }
        channel(at)
    }

    /// A socket has one family, and so have all that it reaches.
    fn is_of_family(&self, what: &str, endpoint: Endpoint) -> Result<(), MediumError> {
        let (family, own) = (endpoint.family(), self.interface.family());
        if family == own {
            return Ok(());
        }
        let address = self.interface.address;
        Err(MediumError::Unsupported(format!(
            "{what} {endpoint} is {family}, but the interface's address {address} is {own}: a group has one family"
        )))
    }

    /// Whether segmentation offload was not switched off.
    pub(super) fn wants_offload(&self) -> bool {
        self.config.offload
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
            FanOut::Multicast { group, sources } => self.open_group(group, &sources),
            FanOut::Unicast(members) => self.open_list(&members),
        }
    }

    fn close_channel(&mut self, Channel(at): Channel) {
        match &mut self.routes[usize::from(at)] {
            Route::Group(group) if group.users > 1 => group.users -= 1,
            route => {
                if let Route::Group(group) = std::mem::replace(route, Route::Closed) {
                    self.close_inlet(group.inlet);
                }
                self.outlet.forget_unfinished();
            }
        }
    }

    fn relist(&mut self, Channel(at): Channel, others: &[Endpoint]) {
        let Route::Each { destinations } = &mut self.routes[usize::from(at)] else { return };
        destinations.clear();
        let others = others.iter().filter(|&&member| member != self.local);
        destinations.extend(others.map(|&member| Destination::new(member)));
        self.outlet.forget_unfinished();
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
            Target::One(endpoint) => {
                self.outlet.send(from, &to, &[Destination::new(endpoint)], (run, segment), |_| ())
            }
            Target::Channel(Channel(at)) => match &self.routes[usize::from(at)] {
                Route::Group(group) => {
                    let inlet = &mut self.data[group.inlet];
                    let hears_itself = group.hears_itself;
                    self.outlet.send(&group.sender, &to, &group.destinations, (run, segment), |blocks| {
                        if hears_itself {
                            inlet.expect_own(blocks);
                        }
                    })
                }
                Route::Each { destinations } => {
                    self.outlet.send(from, &to, destinations, (run, segment), |_| ())
                }
                Route::Closed => Ok(Sent::Done),
            },
        }
    }

    fn wait(&mut self, limit: Duration) {
        self.waiter.wait(limit);
    }

    /// Asks the kernel for the drops of every socket, a system call each.
    fn counters(&self) -> MediumCounters {
        let overflow = self.data.iter().chain([&self.control]).map(Inlet::overflow).sum::<u64>();
        MediumCounters { overflow: self.overflow + overflow, ..self.counted() }
    }

    fn counted(&self) -> MediumCounters {
        let MediumCounters { sends, sent_blocks, send_errors, .. } = self.outlet.counters();
        MediumCounters { sends, sent_blocks, send_errors, ..self.intake.counters() }
    }
}

fn capabilities(
    config: &UdpConfig,
    interface: &Interface,
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
            MAX_PAYLOAD.min(interface.mtu - headers(interface.family()))
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

/// Bytes of an IP header without options, and a UDP header.
const fn headers(family: Family) -> usize {
    match family {
        Family::V4 => 20 + 8,
        Family::V6 => 40 + 8,
    }
}

/// The largest payload of a UDP datagram over IPv4; over IPv6 a little more would fit.
const MAX_PAYLOAD: usize = 65_507;
/// The largest run that stays one buffer: with all its headers it must be shorter than a device's usual limit of 64 KiB,
/// or the kernel segments it at once.
const MAX_RUN: usize = 65_408;

#[cfg(test)]
pub(super) mod tests;
