//! The floor of a round trip: spinning non-blocking `recv` and plain `send`, nothing else, and the two ends that all
//! floors run between. No code of ours is in it.
//!
//! **Same path**: one multicast group that both ends have joined, on loopback or over a veth pair. Each end sends from its
//! own unicast socket and keeps its own copies away with a classic filter, as our medium does; the kernel makes those
//! copies all the same.
//! **Harder**: a group for each direction, so that no own copy is made. No protocol whose members all hear one
//! group can have this; it shows what that choice costs.

use crate::pins::Pins;
use crate::place::Place;
use crate::{Failure, Span};
use hdrhistogram::Histogram;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::hint::spin_loop;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Round trip times of one repetition.
#[derive(Debug)]
pub(crate) struct Trips {
    /// Nanoseconds.
    pub(crate) histogram: Histogram<u64>,
    /// Trips that did not come back and were started again.
    pub(crate) lost: u64,
}

impl Trips {
    /// No trips yet.
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_TRIP_NS, 3).expect("constant bounds are valid");
        Self { histogram, lost: 0 }
    }

    /// Counts one trip.
    pub(crate) fn record(&mut self, trip: Duration) {
        self.histogram.saturating_record(u64::try_from(trip.as_nanos()).unwrap_or(LONGEST_TRIP_NS));
    }
}

/// How the two ends hear each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topology {
    /// Both in one group, own copies filtered: the same path as ours.
    SharedGroup,
    /// Each in a group of its own: the harder floor.
    TwoGroups,
}

/// One end: what it hears by, and what it sends from.
#[derive(Debug)]
pub(crate) struct End {
    /// Bound to the group it listens to.
    pub(crate) data: UdpSocket,
    /// Bound to an own address and connected to the group it sends to.
    pub(crate) sender: UdpSocket,
}

/// Opens both ends.
pub(crate) fn open_ends(topology: Topology, place: &Place) -> Result<[End; 2], Failure> {
    let left_hears = group_address(0);
    let right_hears = match topology {
        Topology::SharedGroup => left_hears,
        Topology::TwoGroups => group_address(1),
    };
    Ok([
        place.inside(0, || End::open(left_hears, right_hears, place, 0))?,
        place.inside(1, || End::open(right_hears, left_hears, place, 1))?,
    ])
}

/// An administratively scoped group that is this process's own, so that benches side by side do not meet.
pub(crate) fn group_address(index: u8) -> SocketAddrV4 {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    SocketAddrV4::new(Ipv4Addr::new(239, 192 | (high & 0x3f), middle, low), FIRST_PORT + u16::from(index))
}

/// Bounces one message of `size` bytes between two ends for a repetition.
pub(crate) fn ping_pong(topology: Topology, size: usize, span: Span, pins: &Pins) -> Result<Trips, Failure> {
    let [left, right] = open_ends(topology, &Place::Loopback)?;
    let (trips, ()) = pins.pair(|_| ping(&left, size, span), |stop| echo(&right, size, stop))?;
    Ok(trips)
}

impl End {
    fn open(hears: SocketAddrV4, sends_to: SocketAddrV4, place: &Place, side: usize) -> io::Result<Self> {
        let interface = place.address(side);
        let sender = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        sender.set_nonblocking(true)?;
        sender.set_multicast_if_v4(&interface)?;
        sender.set_multicast_ttl_v4(place.ttl().into())?;
        sender.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
        sender.bind(&SocketAddrV4::new(interface, 0).into())?;
        sender.connect(&sends_to.into())?;
        let own = sender.local_addr()?.as_socket_ipv4().ok_or_else(|| io::Error::other("not IPv4"))?;

        let data = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        data.set_nonblocking(true)?;
        data.set_reuse_address(true)?;
        data.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
        data.attach_filter(&drop_own(own))?;
        data.bind(&hears.into())?;
        data.join_multicast_v4(hears.ip(), &interface)?;
        Ok(Self { data: data.into(), sender: sender.into() })
    }

    /// Sends, and tries again while the kernel has no room.
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        loop {
            match self.sender.send(bytes) {
                Ok(sent) if sent == bytes.len() => return Ok(()),
                Ok(sent) => return Err(io::Error::other(format!("{sent} of {} bytes sent", bytes.len()))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => spin_loop(),
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes one datagram without waiting, `None` when there is none.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.data.recv(buffer) {
            Ok(len) => Ok(Some(len)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Drops what comes from `own` and passes everything else.
fn drop_own(own: SocketAddrV4) -> [SockFilter; 6] {
    // A socket's filter sees the UDP header first; SKF_NET_OFF reaches back to the IP header, source at offset 12.
    const LOAD_HALF: u16 = 0x28;
    const LOAD_WORD: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const IP_SOURCE: u32 = 0xfff0_0000 + 12;
    [
        SockFilter::new(LOAD_HALF, 0, 0, 0),
        SockFilter::new(JUMP_EQUAL, 0, 3, u32::from(own.port())),
        SockFilter::new(LOAD_WORD, 0, 0, IP_SOURCE),
        SockFilter::new(JUMP_EQUAL, 0, 1, u32::from(*own.ip())),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}

fn ping(end: &End, size: usize, span: Span) -> Result<Trips, Failure> {
    let mut trips = Trips::new();
    let mut message = vec![0; size];
    let mut answer = vec![0; size];
    let start = Instant::now();
    let mut sent_at = start;
    for serial in 0_u64.. {
        message[..8].copy_from_slice(&serial.to_le_bytes());
        end.send(&message)?;
        while !await_answer(end, &message, &mut answer)? {
            trips.lost += 1;
            if trips.lost > MOST_LOST {
                return Err("the floor's round trips do not come back".into());
            }
            sent_at = Instant::now();
            end.send(&message)?;
        }
        let now = Instant::now();
        let age = now - start;
        if age >= span.warm_up {
            trips.record(now - sent_at);
        }
        if age >= span.warm_up + span.measure {
            break;
        }
        sent_at = now;
    }
    Ok(trips)
}

/// Spins until the answer is there; false when it must have been lost.
fn await_answer(end: &End, message: &[u8], answer: &mut [u8]) -> io::Result<bool> {
    let mut empty = 0_u32;
    while empty < EMPTY_POLLS_UNTIL_LOST {
        match end.receive(answer)? {
            Some(len) if answer[..len] == *message => return Ok(true),
            Some(_) => {}
            None => empty += 1,
        }
    }
    Ok(false)
}

fn echo(end: &End, size: usize, stop: &AtomicBool) -> Result<(), Failure> {
    let mut message = vec![0; size];
    // Acquire: pairs with the Release of the ending ping.
    while !stop.load(Ordering::Acquire) {
        if let Some(len) = end.receive(&mut message)? {
            end.send(&message[..len])?;
        }
    }
    Ok(())
}

/// Asked of the kernel, which caps it at rmem_max and wmem_max.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Below the ephemeral range.
const FIRST_PORT: u16 = 27_600;
/// About a second of polls.
const EMPTY_POLLS_UNTIL_LOST: u32 = 5_000_000;
/// More than this is not noise but a broken path.
const MOST_LOST: u64 = 10;
/// Longer trips count as this long.
const LONGEST_TRIP_NS: u64 = 10_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_end_hears_and_the_own_copy_is_filtered() {
        for topology in [Topology::SharedGroup, Topology::TwoGroups] {
            let [left, right] = open_ends(topology, &Place::Loopback).unwrap();
            for (from, to) in [(&left, &right), (&right, &left)] {
                from.send(b"12345678").unwrap();
                let mut buffer = [0; 64];
                let len = (0..1_000_000).find_map(|_| to.receive(&mut buffer).unwrap());
                assert_eq!(len, Some(8), "{topology:?}");
                assert_eq!(from.receive(&mut buffer).unwrap(), None, "{topology:?}");
            }
        }
    }
}
