//! The floor: a datagram to a multicast group, that each other end hears and sends back to the caller alone. As many requests as are due and
//! fit into a block of ours ride in one. No code of ours is in it.

use super::{Calls as Counted, Setup};
use crate::Failure;
use crate::floor::{Trips, group_address};
use crate::pins::Pins;
use sistrum_bench::BLOCK;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Calls for a repetition.
pub(super) fn run(setup: &Setup, pins: &Pins) -> Result<Counted, Failure> {
    let caller = unicast()?;
    let others = (0..setup.members).map(|_| End::open()).collect::<io::Result<Vec<_>>>()?;
    let (counted, ()) = pins.pair(|_| call(&caller, setup), |stop| answer(&others, setup, stop))?;
    Ok(counted)
}

/// Who answers: what it hears by, and what it sends from.
struct End {
    data: UdpSocket,
    sender: UdpSocket,
}

impl End {
    fn open() -> io::Result<Self> {
        let data = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        data.set_nonblocking(true)?;
        data.set_reuse_address(true)?;
        data.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
        let group = group_address(GROUP);
        data.bind(&group.into())?;
        data.join_multicast_v4(group.ip(), &Ipv4Addr::LOCALHOST)?;
        Ok(Self { data: data.into(), sender: unicast()? })
    }
}

fn unicast() -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST)?;
    socket.set_multicast_ttl_v4(0)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into())?;
    Ok(socket.into())
}

/// Sends, and tries again while the kernel has no room.
fn send(socket: &UdpSocket, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
    loop {
        match socket.send_to(bytes, to) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::hint::spin_loop(),
            Err(error) => return Err(error),
        }
    }
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
    match socket.recv_from(buffer) {
        Ok(received) => Ok(Some(received)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

impl Setup {
    /// For as many messages as ride together.
    fn buffer(&self) -> Vec<u8> {
        vec![0; (BLOCK / self.size).max(1) * self.size]
    }
}

/// A call that is open.
struct Open {
    serial: u64,
    missing: usize,
    called_at: Instant,
}

fn call(socket: &UdpSocket, setup: &Setup) -> Result<Counted, Failure> {
    let (mut trips, mut count, span) = (Trips::new(), 0_u64, setup.span);
    let (mut request, mut reply) = (setup.buffer(), setup.buffer());
    let group = SocketAddr::from(group_address(GROUP));
    let mut open: Vec<Open> = Vec::new();
    let (mut serial, mut empty) = (0_u64, 0);
    let start = Instant::now();
    loop {
        while open.len() < setup.window {
            let called_at = Instant::now();
            let room = setup.window - open.len();
            let mut len = 0;
            for message in request.chunks_exact_mut(setup.size).take(room) {
                message[..8].copy_from_slice(&serial.to_le_bytes());
                open.push(Open { serial, missing: setup.replies(), called_at });
                (serial, len) = (serial + 1, len + setup.size);
            }
            send(socket, &request[..len], group)?;
        }
        empty += 1;
        while let Some((len, _)) = receive(socket, &mut reply)? {
            empty = 0;
            for message in reply[..len].chunks_exact(setup.size) {
                let told = message.first_chunk().map(|serial| u64::from_le_bytes(*serial));
                let is_told = |open: &&mut Open| Some(open.serial) == told && open.missing > 0;
                open.iter_mut().find(is_told).into_iter().for_each(|open| open.missing -= 1);
            }
            if setup.window == 1 && open[0].missing == 0 {
                break;
            }
        }
        let now = Instant::now();
        let is_counting = now - start >= span.warm_up;
        for done in open.extract_if(.., |open| open.missing == 0).filter(|_| is_counting) {
            count += 1;
            trips.record(now - done.called_at);
        }
        if empty > EMPTY_POLLS_UNTIL_LOST {
            trips.lost += open.len() as u64;
            open.clear();
            empty = 0;
        }
        if now - start >= span.warm_up + span.measure {
            break;
        }
    }
    let counted = start.elapsed().saturating_sub(span.warm_up);
    Ok(Counted { trips, rate: count as f64 / counted.as_secs_f64() })
}

fn answer(ends: &[End], setup: &Setup, stop: &AtomicBool) -> Result<(), Failure> {
    let mut message = setup.buffer();
    // Acquire: pairs with the Release of the caller's end.
    while !stop.load(Ordering::Acquire) {
        for end in ends {
            if let Some((len, caller)) = receive(&end.data, &mut message)?
                && setup.replies() > 0
            {
                send(&end.sender, &message[..len], caller)?;
            }
        }
    }
    Ok(())
}

/// Asked of the kernel, which caps it at rmem_max and wmem_max.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// About a second of polls.
const EMPTY_POLLS_UNTIL_LOST: u32 = 5_000_000;
/// Which of the bench's groups this is.
const GROUP: u8 = 142;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_hears_the_request_and_its_reply_comes_to_the_caller() {
        let (caller, ends) = (unicast().unwrap(), [End::open().unwrap(), End::open().unwrap()]);
        send(&caller, b"12345678", group_address(GROUP).into()).unwrap();
        let mut buffer = [0; 64];
        for end in &ends {
            let (len, from) = (0..1_000_000).find_map(|_| receive(&end.data, &mut buffer).unwrap()).unwrap();
            assert_eq!((len, from), (8, caller.local_addr().unwrap()));
            send(&end.sender, &buffer[..len], from).unwrap();
            let back = (0..1_000_000).find_map(|_| receive(&caller, &mut buffer).unwrap());
            assert_eq!(back, Some((8, end.sender.local_addr().unwrap())));
        }
        assert_eq!(receive(&caller, &mut buffer).unwrap(), None);
    }
}
