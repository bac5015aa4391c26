//! What a run needs of this host: an interface, a group, a block size; each checked before anything starts.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use super::api::Interface;
use super::lines::{Place, Plan, Role};
use super::options::Options;
use crate::refusal::Refusal;

/// The host's part of a plan.
#[derive(Debug)]
pub(super) struct Setup {
    interface: Interface,
    group: SocketAddrV4,
    block_size: Option<usize>,
    seed: u64,
}

impl Setup {
    /// Checks what the options say about this host, and draws what they leave open.
    pub(super) fn check(options: &Options) -> Result<Self, Refusal> {
        let interface = Interface::find(&options.interface).map_err(Refusal::new)?;
        stays_here(&interface)?;
        let block_size = block_size(options.mtu, &interface)?;
        let group = match options.group {
            Some(group) => group,
            None => draw_group()?,
        };
        Ok(Self { interface, group, block_size, seed: options.seed.unwrap_or_else(random) })
    }

    /// The plan of the member with `rank`, whose part is `role`.
    pub(super) fn plan(&self, options: &Options, rank: u16, role: Role) -> Plan {
        // A member that only waits for a core is not to be taken for dead.
        let suspect_after = if options.kill.is_some() { SOON } else { LATE };
        Plan {
            place: self.place(options, rank, suspect_after),
            publishers: options.publishers() as u16,
            order: options.order,
            total: options.total,
            role,
        }
    }

    /// Where the member with `rank` opens its node.
    pub(super) fn place(&self, options: &Options, rank: u16, suspect_after: Duration) -> Place {
        Place {
            medium: options.medium,
            interface: self.interface.address,
            group: self.group,
            receive_buffer: options.rcvbuf.map(|bytes| bytes as usize),
            block_size: self.block_size,
            block_loss: options.block_loss(),
            buffer_loss: options.buffer_loss(),
            // Every member draws its own losses.
            seed: self.seed.wrapping_add(u64::from(rank)),
            suspect_after,
        }
    }

    /// What everybody should know before the first message.
    pub(super) fn first_line(&self) -> String {
        format!(
            "sistrum demo runs on loopback, {} {}, group {}, without a key: \
             any process here could read and forge it (security comes later)",
            self.interface.name, self.interface.address, self.group
        )
    }

    /// The seed of the injected loss.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }
}

/// The demo has no way to say that a network is used without a key, so it uses none.
fn stays_here(Interface { name, address, .. }: &Interface) -> Result<(), Refusal> {
    if address.is_loopback() && address.is_ipv6() {
        return Err(Refusal::new(format_args!(
            "interface {name} ({address}): the demo multicasts, and IPv6 has no multicast on loopback: take 127.0.0.1"
        )));
    }
    if address.is_loopback() {
        return Ok(());
    }
    Err(Refusal::new(format_args!(
        "interface {name} ({address}) is not loopback, and the demo stays on this host: there is no key yet"
    )))
}

/// Bytes of a block, or `None` for the library's default; nothing relies on IP fragmentation.
fn block_size(asked: Option<u32>, interface: &Interface) -> Result<Option<usize>, Refusal> {
    let carried = interface.mtu;
    let mtu = match asked.map(|mtu| mtu as usize) {
        Some(mtu) if mtu > LARGEST_PACKET => {
            return Err(Refusal::new(format_args!(
                "MTU {mtu} is larger than any IP packet ({LARGEST_PACKET})"
            )));
        }
        Some(mtu) if mtu > carried => {
            let name = &interface.name;
            return Err(Refusal::new(format_args!(
                "MTU too small: {name} carries {carried} bytes, not {mtu}"
            )));
        }
        Some(mtu) => mtu,
        None if carried < USUAL_MTU => carried,
        None => return Ok(None),
    };
    match mtu.checked_sub(IP_AND_UDP) {
        Some(block_size) if block_size > 0 => Ok(Some(block_size)),
        _ => {
            Err(Refusal::new(format_args!("MTU too small: {mtu} bytes hold nothing but IP and UDP headers")))
        }
    }
}

/// A group in the range for organisations, on a port below the ephemeral ones that nobody has now.
fn draw_group() -> Result<SocketAddrV4, Refusal> {
    for _ in 0..64 {
        let [x, y, low, high, ..] = random().to_le_bytes();
        let port = 20_000 + u16::from_le_bytes([low, high]) % 12_000;
        if UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(SocketAddrV4::new(Ipv4Addr::new(239, 255, x, y), port));
        }
    }
    Err(Refusal::new("no free UDP port was found between 20000 and 31999; name one by --group"))
}

fn random() -> u64 {
    // The standard library's only source of randomness: the keys of a new hasher.
    RandomState::new().hash_one(std::process::id())
}

/// Bytes of an IPv4 header without options and a UDP header.
const IP_AND_UDP: usize = 28;
const LARGEST_PACKET: usize = 65_535;
/// Interfaces that carry less than Ethernet does need a block size of their own.
const USUAL_MTU: usize = 1_500;

/// Silence after which a member is suspected: where one is killed, and where none is.
pub(super) const SOON: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(mtu: usize) -> Interface {
        Interface { name: "x0".to_owned(), address: Ipv4Addr::new(192, 0, 2, 1).into(), index: 7, mtu }
    }

    #[test]
    fn a_block_is_the_packet_without_its_headers() {
        assert_eq!(block_size(Some(1_400), &interface(1_500)), Ok(Some(1_372)));
        assert_eq!(block_size(Some(1_400), &interface(65_536)), Ok(Some(1_372)));
        assert_eq!(block_size(None, &interface(1_500)), Ok(None));
        assert_eq!(block_size(None, &interface(1_400)), Ok(Some(1_372)));
    }

    #[test]
    fn a_packet_that_is_not_carried_whole_is_refused() {
        for (asked, carried) in [(9_000, 1_500), (28, 1_500), (0, 65_536), (65_536, 65_536)] {
            assert!(block_size(Some(asked), &interface(carried)).is_err(), "{asked} was taken");
        }
    }

    #[test]
    fn only_loopback_is_taken() {
        let refused = stays_here(&interface(1_500)).expect_err("a network without a key");
        assert!(refused.to_string().starts_with("interface x0 (192.0.2.1) is not loopback"));
        let at = |address: &str| Interface { address: address.parse().expect("one"), ..interface(65_536) };
        assert_eq!(stays_here(&at("127.0.0.1")), Ok(()));
        let refused = stays_here(&at("::1")).expect_err("no multicast there");
        assert!(refused.to_string().contains("IPv6 has no multicast on loopback"), "{refused}");
    }

    #[test]
    fn groups_are_drawn_apart() {
        let (one, other) = (draw_group().expect("a port"), draw_group().expect("a port"));
        assert_ne!(one, other);
        assert!(one.ip().octets().starts_with(&[239, 255]) && (20_000..32_000).contains(&one.port()));
    }
}
