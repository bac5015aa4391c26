//! Stand-in for the library while it is being written: TCP under the same names. Not for use; deleted on merge.
#![allow(dead_code)]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Error(String);
impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Error {}
impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Instant(pub(crate) u64);
impl Instant {
    pub(crate) fn plus_ns(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
pub(crate) trait Clock {
    fn now(&mut self) -> Instant;
}
pub(crate) struct MonotonicClock;
impl Clock for MonotonicClock {
    fn now(&mut self) -> Instant {
        // The real one is CLOCK_MONOTONIC; the wall clock, too, is shared by the processes of a host.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Instant(now.as_nanos() as u64)
    }
}

pub(crate) enum MediumChoice {
    Auto,
    Udp,
}
pub(crate) enum Idle {
    Auto,
}
pub(crate) enum Order {
    Fifo,
}
pub(crate) struct Faults {
    pub(crate) block_loss: f64,
    pub(crate) buffer_loss: f64,
    pub(crate) seed: u64,
}
pub(crate) struct Config {
    pub(crate) medium: MediumChoice,
    pub(crate) interface: IpAddr,
    pub(crate) receive_buffer: usize,
    pub(crate) block_size: usize,
    pub(crate) faults: Faults,
    pub(crate) idle: Idle,
}
impl Config {
    pub(crate) fn loopback(_: &str) -> Self {
        Self {
            medium: MediumChoice::Auto,
            interface: IpAddr::from([127, 0, 0, 1]),
            receive_buffer: 0,
            block_size: 1408,
            faults: Faults { block_loss: 0.0, buffer_loss: 0.0, seed: 0 },
            idle: Idle::Auto,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Endpoint(pub(crate) SocketAddr);
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rank(pub(crate) u16);
pub(crate) struct Group;
pub(crate) struct JoinOptions(Vec<Endpoint>, Option<SocketAddr>);
impl JoinOptions {
    pub(crate) fn members(members: Vec<Endpoint>) -> Self {
        Self(members, None)
    }
    pub(crate) fn multicast(self, group: SocketAddr) -> Self {
        Self(self.0, Some(group))
    }
}
#[derive(Debug)]
pub(crate) enum Refused {
    Full { held_by: Rank, age: Duration },
    TooLarge { len: usize, limit: usize },
}
impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}
impl std::error::Error for Refused {}
pub(crate) struct Message<'a>(&'a [u8]);
impl Message<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0
    }
    pub(crate) fn from(&self) -> Rank {
        Rank(0)
    }
}
pub(crate) enum Event<'a> {
    View(()),
    Deliver(Message<'a>),
}
#[derive(Default)]
pub(crate) struct MediumCounters {
    pub(crate) received_datagrams: u64,
    pub(crate) received_blocks: u64,
    pub(crate) sends: u64,
    pub(crate) sent_blocks: u64,
    pub(crate) overflow: u64,
    pub(crate) injected: u64,
}
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) medium: MediumCounters,
    pub(crate) repaired: u64,
}

struct Peer {
    stream: TcpStream,
    out: Vec<u8>,
    input: Vec<u8>,
    acked: u64,
}
pub(crate) struct Node {
    listener: TcpListener,
    loss: f64,
    rank: Option<usize>,
    peers: Vec<Peer>,
    viewed: bool,
    count: u64,
}

impl Node {
    pub(crate) fn open(config: Config) -> Result<Self, Error> {
        if config.block_size < 128 {
            return Err(Error(format!(
                "MTU too small: a block of {} bytes, at least 128",
                config.block_size
            )));
        }
        let listener = TcpListener::bind((config.interface, 0))?;
        let loss = config.faults.block_loss.max(config.faults.buffer_loss);
        Ok(Self { listener, loss, rank: None, peers: vec![], viewed: false, count: 0 })
    }
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint(self.listener.local_addr().expect("bound"))
    }
    pub(crate) fn medium(&self) -> String {
        "stub: TCP, because the library is not there yet".to_owned()
    }
    pub(crate) fn join(&mut self, _: &str, options: JoinOptions) -> Result<Group, Error> {
        let rank =
            options.0.iter().position(|e| *e == self.endpoint()).ok_or(Error("not a member".into()))?;
        self.rank = Some(rank);
        self.listener.set_nonblocking(true)?;
        if rank == 0 {
            let group = options.1.expect("given");
            UdpSocket::bind(group).map_err(|error| Error(format!("group {group}: {error}")))?;
            for member in &options.0[1..] {
                self.peer(TcpStream::connect(member.0)?)?;
            }
        }
        Ok(Group)
    }
    fn peer(&mut self, stream: TcpStream) -> Result<(), Error> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        self.peers.push(Peer { stream, out: vec![], input: vec![], acked: 0 });
        Ok(())
    }
    pub(crate) fn cast(&mut self, _: &Group, _: Order, bytes: &[u8]) -> Result<(), Refused> {
        if let Some(at) = self.peers.iter().position(|peer| peer.out.len() > 1 << 20) {
            return Err(Refused::Full { held_by: Rank(at as u16 + 1), age: Duration::from_millis(1) });
        }
        for peer in &mut self.peers {
            peer.out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            peer.out.extend_from_slice(bytes);
        }
        self.count += 1;
        Ok(())
    }
    pub(crate) fn settled(&self, _: &Group) -> bool {
        self.peers.iter().all(|peer| peer.acked == self.count)
    }
    pub(crate) fn counters(&self) -> Counters {
        let lost = (self.count as f64 * self.loss) as u64;
        let medium = MediumCounters {
            received_datagrams: self.count,
            received_blocks: self.count,
            sends: self.count / 10,
            sent_blocks: self.count,
            overflow: 0,
            injected: lost,
        };
        Counters { medium, repaired: lost }
    }
    pub(crate) fn poll_for<H>(&mut self, limit: Duration, handler: H) -> Result<usize, Error>
    where
        H: FnMut(&mut (), Event<'_>) -> Result<(), Error>,
    {
        let done = self.poll(handler)?;
        if done == 0 {
            std::thread::sleep(limit.min(Duration::from_micros(100)));
        }
        Ok(done)
    }
    pub(crate) fn poll<H>(&mut self, mut handler: H) -> Result<usize, Error>
    where
        H: FnMut(&mut (), Event<'_>) -> Result<(), Error>,
    {
        let mut done = 0;
        if let (Some(1..), Ok((stream, _))) = (self.rank, self.listener.accept()) {
            self.peer(stream)?;
        }
        if !self.viewed && !self.peers.is_empty() {
            self.viewed = true;
            handler(&mut (), Event::View(()))?;
        }
        for peer in &mut self.peers {
            match peer.stream.write(&peer.out) {
                Ok(count) => done += peer.out.drain(..count).count(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            let mut chunk = vec![0; 1 << 18];
            match peer.stream.read(&mut chunk) {
                Ok(count) => peer.input.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            let mut at = 0;
            if self.rank == Some(0) {
                while let Some(word) = peer.input[at..].first_chunk::<8>() {
                    peer.acked = u64::from_le_bytes(*word);
                    at += 8;
                }
            } else {
                while let Some(word) = peer.input[at..].first_chunk::<4>() {
                    let len = u32::from_le_bytes(*word) as usize;
                    let Some(bytes) = peer.input.get(at + 4..at + 4 + len) else { break };
                    handler(&mut (), Event::Deliver(Message(bytes)))?;
                    at += 4 + len;
                    self.count += 1;
                }
                if at > 0 {
                    peer.out.extend_from_slice(&self.count.to_le_bytes());
                }
            }
            peer.input.drain(..at);
            done += at;
        }
        Ok(done)
    }
}
