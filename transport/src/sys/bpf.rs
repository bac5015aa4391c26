//! The one classic filter of a socket: own datagrams go, and a share of the others is lost on purpose.
//!
//! A socket has a single filter, so both wishes are composed into one program. Own datagrams are dropped (the kernel
//! counts them as drops of the socket). An injected loss is *not* dropped: it is cut down to its UDP header, so that user
//! space receives an empty datagram and counts the loss exactly. What the kernel counts beyond the own datagrams is
//! then overflow and nothing else.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The instructions of a filter, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Program(Vec<Instruction>);

/// What a socket's filter is to do.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Filter {
    /// Datagrams from this address *and* port are dropped.
    pub own: Option<SocketAddr>,
    /// The share of the other datagrams that is emptied, 0 to 1; drawn by the kernel, which has no seed.
    pub loss: f64,
}

impl Filter {
    /// The program that does it, or `None` when there is nothing to do.
    ///
    /// A UDP socket's filter sees the UDP header at offset 0 and the payload at offset 8.
    #[must_use]
    pub fn compose(self) -> Option<Program> {
        let mut program = Vec::new();
        if let Some(own) = self.own {
            let tests = source_tests(own);
            for (at, &(load, value)) in tests.iter().enumerate() {
                // To the first instruction behind the return below.
                let no = u8::try_from(2 * (tests.len() - 1 - at) + 1).expect("a few tests");
                program.extend([load, Instruction::JumpIfEqual { value, yes: 0, no }]);
            }
            program.push(Instruction::Return(DROP));
        }
        if self.loss >= 1.0 {
            program.push(Instruction::Return(EMPTY));
        } else if self.loss > 0.0 {
            program.extend([
                Instruction::LoadWord(RANDOM),
                Instruction::JumpIfAtLeast { value: threshold(self.loss), yes: 1, no: 0 },
                Instruction::Return(EMPTY),
            ]);
        }
        if program.is_empty() {
            return None;
        }
        program.push(Instruction::Return(WHOLE));
        Some(Program(program))
    }
}

/// What is loaded from a datagram of `own`, and what it is then.
fn source_tests(own: SocketAddr) -> Vec<(Instruction, u32)> {
    let mut tests = vec![(Instruction::LoadHalf(UDP_SOURCE_PORT), own.port().into())];
    match own.ip() {
        IpAddr::V4(address) => tests.push((Instruction::LoadWord(IPV4_SOURCE_ADDRESS), address.to_bits())),
        IpAddr::V6(address) => {
            let words = address.octets();
            let words =
                words.chunks_exact(4).map(|word| u32::from_be_bytes(*word.first_chunk().expect("4 bytes")));
            let loads = (IPV6_SOURCE_ADDRESS..).step_by(4).map(Instruction::LoadWord);
            tests.extend(loads.zip(words));
        }
    }
    tests
}

impl Program {
    /// The program as the kernel wants it.
    #[must_use]
    pub fn encode(&self) -> Vec<socket2::SockFilter> {
        self.0.iter().map(|instruction| instruction.encode()).collect()
    }
}

/// The few instructions that filters here are made of. Jumps are relative to the next instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Instruction {
    LoadHalf(u32),
    LoadWord(u32),
    JumpIfEqual { value: u32, yes: u8, no: u8 },
    JumpIfAtLeast { value: u32, yes: u8, no: u8 },
    Return(u32),
}

impl Instruction {
    fn encode(self) -> socket2::SockFilter {
        let (code, jt, jf, k) = match self {
            Self::LoadHalf(at) => (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, at),
            Self::LoadWord(at) => (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at),
            Self::JumpIfEqual { value, yes, no } => {
                (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, yes, no, value)
            }
            Self::JumpIfAtLeast { value, yes, no } => {
                (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, yes, no, value)
            }
            Self::Return(bytes) => (libc::BPF_RET | libc::BPF_K, 0, 0, bytes),
        };
        #[expect(clippy::cast_possible_truncation, reason = "the opcodes of classic BPF have 16 bits")]
        socket2::SockFilter::new(code as u16, jt, jf, k)
    }
}

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoadHalf(at) => write!(f, "ldh [{at}]"),
            Self::LoadWord(RANDOM) => write!(f, "ld rand"),
            Self::LoadWord(at) if *at >= NET => write!(f, "ld [net+{}]", at - NET),
            Self::LoadWord(at) => write!(f, "ld [{at}]"),
            Self::JumpIfEqual { value, yes, no } => write!(f, "jeq #{value:#x} +{yes} +{no}"),
            Self::JumpIfAtLeast { value, yes, no } => write!(f, "jge #{value:#x} +{yes} +{no}"),
            Self::Return(bytes) => write!(f, "ret #{bytes:#x}"),
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|instruction| writeln!(f, "{instruction}"))
    }
}

/// A uniform 32-bit number is below this with probability `loss`, which is within (0, 1).
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates at both ends")]
fn threshold(loss: f64) -> u32 {
    ((loss * 4_294_967_296.0) as u32).max(1)
}

const UDP_SOURCE_PORT: u32 = 0;
const UDP_HEADER_BYTES: u32 = 8;
/// Where the IP header begins: negative offsets reach it from a UDP socket.
const NET: u32 = libc::SKF_NET_OFF.cast_unsigned();
const IPV4_SOURCE_ADDRESS: u32 = NET + 12;
/// Extension headers come behind it.
const IPV6_SOURCE_ADDRESS: u32 = NET + 8;
const RANDOM: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM).cast_unsigned();
const DROP: u32 = 0;
const EMPTY: u32 = UDP_HEADER_BYTES;
const WHOLE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const OWN: Option<SocketAddr> = Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0x1234));

    fn lines(own: Option<SocketAddr>, loss: f64) -> Vec<String> {
        let program = Filter { own, loss }.compose().unwrap();
        program.to_string().lines().map(str::to_owned).collect()
    }

    /// What the program returns for a datagram from there, when the kernel draws `random`; as the kernel would run it.
    fn run(filter: Filter, from: SocketAddr, random: u32) -> u32 {
        let net = match from.ip() {
            IpAddr::V4(address) => [&[0; 12][..], &address.octets()].concat(),
            IpAddr::V6(address) => [&[0; 8][..], &address.octets()].concat(),
        };
        let word = |at: u32| match at {
            RANDOM => random,
            at => u32::from_be_bytes(*net[(at - NET) as usize..].first_chunk().unwrap()),
        };
        let Program(program) = filter.compose().unwrap();
        let (mut at, mut loaded) = (0, 0);
        loop {
            let jump = match program[at] {
                Instruction::LoadHalf(UDP_SOURCE_PORT) => {
                    loaded = from.port().into();
                    0
                }
                Instruction::LoadHalf(at) => panic!("nothing is at {at}"),
                Instruction::LoadWord(at) => {
                    loaded = word(at);
                    0
                }
                Instruction::JumpIfEqual { value, yes, no } => {
                    if loaded == value {
                        yes
                    } else {
                        no
                    }
                }
                Instruction::JumpIfAtLeast { value, yes, no } => {
                    if loaded >= value {
                        yes
                    } else {
                        no
                    }
                }
                Instruction::Return(bytes) => return bytes,
            };
            at += 1 + usize::from(jump);
        }
    }

    #[test]
    fn only_the_very_own_address_and_port_is_dropped_and_loss_strikes_the_rest() {
        let six = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 6);
        for own in [OWN.unwrap(), SocketAddr::new(six.into(), 0x1234)] {
            let filter = Filter { own: Some(own), loss: 0.25 };
            assert_eq!((run(filter, own, 0), run(filter, own, u32::MAX)), (DROP, DROP));
            let mut others = vec![SocketAddr::new(own.ip(), 0x1235)];
            others.extend((0..128).filter_map(|bit| {
                let ip = match own.ip() {
                    IpAddr::V4(_) if bit >= 32 => return None,
                    IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() ^ 1 << bit)),
                    IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() ^ 1 << bit)),
                };
                Some(SocketAddr::new(ip, own.port()))
            }));
            for other in others {
                let drawn = [0, 0x3fff_ffff, 0x4000_0000, u32::MAX].map(|random| run(filter, other, random));
                assert_eq!(drawn, [EMPTY, EMPTY, WHOLE, WHOLE], "{other}");
            }
        }
    }

    #[test]
    fn all_of_an_ipv6_address_is_compared() {
        let own = Some("[2001:db8::7]:4660".parse().unwrap());
        let golden = [
            "ldh [0]",
            "jeq #0x1234 +0 +9",
            "ld [net+8]",
            "jeq #0x20010db8 +0 +7",
            "ld [net+12]",
            "jeq #0x0 +0 +5",
            "ld [net+16]",
            "jeq #0x0 +0 +3",
            "ld [net+20]",
            "jeq #0x7 +0 +1",
            "ret #0x0",
            "ret #0xffffffff",
        ];
        assert_eq!(lines(own, 0.0), golden);
    }

    #[test]
    fn own_datagrams_are_dropped_before_any_loss_is_drawn() {
        let golden = [
            "ldh [0]",
            "jeq #0x1234 +0 +3",
            "ld [net+12]",
            "jeq #0x7f000001 +0 +1",
            "ret #0x0",
            "ld rand",
            "jge #0x40000000 +1 +0",
            "ret #0x8",
            "ret #0xffffffff",
        ];
        assert_eq!(lines(OWN, 0.25), golden);
    }

    #[test]
    fn without_loss_nothing_is_drawn() {
        let golden = [
            "ldh [0]",
            "jeq #0x1234 +0 +3",
            "ld [net+12]",
            "jeq #0x7f000001 +0 +1",
            "ret #0x0",
            "ret #0xffffffff",
        ];
        assert_eq!(lines(OWN, 0.0), golden);
    }

    #[test]
    fn loss_alone_and_certain_loss() {
        assert_eq!(lines(None, 0.5), ["ld rand", "jge #0x80000000 +1 +0", "ret #0x8", "ret #0xffffffff"]);
        assert_eq!(lines(None, 1.0), ["ret #0x8", "ret #0xffffffff"]);
        assert_eq!(Filter::default().compose(), None);
    }

    #[test]
    fn the_smallest_loss_is_not_rounded_to_none() {
        assert_eq!(threshold(1e-30), 1);
    }
}
