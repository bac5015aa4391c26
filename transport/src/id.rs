//! Identifiers: each is its own type, so that a rank is never taken for a sequence.

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// Where a process sends from and is reached at: (address, port) names a member on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint(pub SocketAddr);

/// A family of addresses. All members of a group have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Position of a member in its view, by age: 0 is the oldest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Rank(pub u16);

/// Number of a block in its sender's stream: the first block of a view is 0, and it never wraps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Seq(pub u64);

/// A group by name: CRC32C of it, the same at every member.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub u32);

/// One life of a group, drawn from its creator's boot id: a restarted group of the same name is another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct GroupInstance(pub u32);

/// Number of a view of one group instance; views only grow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ViewNumber(pub u32);

/// One life of a process: random at start, so that a restarted process is a new incarnation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BootId(pub u64);

impl Endpoint {
    /// The family of its address.
    #[must_use]
    pub const fn family(self) -> Family {
        if self.0.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// Whether it is a group in the ranges that routers know as source-specific (RFC 4607 §1): 232.0.0.0/8 and FF3x::/32.
    #[must_use]
    pub const fn is_source_specific(self) -> bool {
        match self.0 {
            SocketAddr::V4(group) => group.ip().octets()[0] == 232,
            SocketAddr::V6(group) => matches!(group.ip().segments(), [0xff30..=0xff3f, 0, ..]),
        }
    }

    /// The same place as everybody may write it: the number of a link means something on one host only.
    #[must_use]
    pub fn unscoped(self) -> Self {
        self.on_link(0)
    }

    /// The same place as a process names it whose own is `local`: when both are link-local, they share its link.
    #[must_use]
    pub fn seen_from(self, local: Self) -> Self {
        match local.0 {
            SocketAddr::V6(local)
                if is_link_local(local) && matches!(self.0, SocketAddr::V6(own) if is_link_local(own)) =>
            {
                self.on_link(local.scope_id())
            }
            _ => self,
        }
    }

    /// With this number of a link; IPv4 has none.
    #[must_use]
    pub fn on_link(self, scope: u32) -> Self {
        match self.0 {
            SocketAddr::V4(_) => self,
            SocketAddr::V6(at) => Self(SocketAddrV6::new(*at.ip(), at.port(), 0, scope).into()),
        }
    }
}

fn is_link_local(address: SocketAddrV6) -> bool {
    address.ip().is_unicast_link_local()
}

impl Family {
    /// The family of `address`.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

impl Rank {
    /// The rank of a reader: it is no member, and has none.
    pub const READER: Self = Self(u16::MAX);
}

impl Seq {
    /// No sequence lies beyond it: a decoder refuses what does, so that a sequence and a window always have a sum.
    pub const LIMIT: Self = Self(1 << 62);

    /// The sequence `count` blocks later.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0 + count)
    }

    /// Blocks from `earlier` to here; 0 when `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The full sequence whose low half is `low` and that lies nearest to `self`.
    ///
    /// A window is far smaller than 2^31 blocks, so the nearest candidate is the right one. Before the start of
    /// the stream there is nothing: the result is `None` when the nearest candidate would be negative.
    #[must_use]
    pub const fn nearest(self, low: u32) -> Option<Self> {
        let ahead = low.wrapping_sub(self.0 as u32).cast_signed() as i64;
        match self.0.checked_add_signed(ahead) {
            Some(seq) => Some(Self(seq)),
            None => None,
        }
    }
}

impl GroupId {
    /// The id of the group called `name`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(crc32c::crc32c(name.as_bytes()))
    }
}

impl BootId {
    /// The instance of a group that this incarnation creates; never 0, which means "not known yet".
    #[must_use]
    pub fn instance(self) -> GroupInstance {
        GroupInstance(crc32c::crc32c(&self.0.to_le_bytes()).max(1))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

macro_rules! shown_as {
    ($($name:ident: $form:literal),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $form, self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $form, self.0)
            }
        }
    )*};
}
shown_as!(Rank: "r{}", Seq: "#{}", GroupId: "g{:08x}", GroupInstance: "i{:08x}", ViewNumber: "v{}", BootId: "b{:016x}");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_recovers_the_high_half_on_both_sides_of_a_wrap() {
        let near = Seq(0x1_0000_0005);
        assert_eq!(near.nearest(0xffff_fffe), Some(Seq(0xffff_fffe)));
        assert_eq!(near.nearest(7), Some(Seq(0x1_0000_0007)));
        assert_eq!(Seq(3).nearest(0), Some(Seq(0)));
        assert_eq!(Seq(3).nearest(u32::MAX), None);
    }

    #[test]
    fn two_ranges_are_source_specific() {
        let is = |text: &str| Endpoint(text.parse().unwrap()).is_source_specific();
        assert!(
            ["232.0.0.1:1", "232.255.255.255:1", "[ff30::1]:1", "[ff3e:0:1::1]:1"]
                .iter()
                .all(|group| is(group))
        );
        assert!(
            !["231.0.0.1:1", "239.232.0.1:1", "[ff15::1]:1", "[ff3e:1::1]:1", "[fe30::]:1"]
                .iter()
                .any(|group| is(group))
        );
    }

    #[test]
    fn a_link_has_a_number_on_its_host_only() {
        let at = |text: &str| Endpoint(text.parse().unwrap());
        let (here, there) = (at("[fe80::1%7]:1"), at("[fe80::2%3]:2"));
        assert_eq!(there.seen_from(here), at("[fe80::2%7]:2"));
        assert_eq!(there.unscoped(), at("[fe80::2]:2"));
        for same in ["10.0.0.1:2", "[fd00::2]:2"] {
            assert_eq!(at(same).seen_from(here), at(same));
        }
        assert_eq!(there.seen_from(at("[fd00::1]:1")), there);
    }

    #[test]
    fn names_give_distinct_groups_and_instances_are_never_zero() {
        assert_ne!(GroupId::of("ticks"), GroupId::of("orders"));
        assert!((0..10_000).all(|boot| BootId(boot).instance().0 != 0));
    }
}
