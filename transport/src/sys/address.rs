//! Socket addresses of both families, in the kernel's own form.

use crate::id::Endpoint;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// An address and port as the kernel reads and writes it. `family` is always written, and says which of the others is.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union RawAddress {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl RawAddress {
    #[inline]
    pub(super) fn of(endpoint: Endpoint) -> Self {
        match endpoint.0 {
            SocketAddr::V4(at) => Self {
                v4: libc::sockaddr_in {
                    sin_family: AF_INET,
                    sin_port: at.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: at.ip().to_bits().to_be() },
                    sin_zero: [0; 8],
                },
            },
            SocketAddr::V6(at) => Self {
                v6: libc::sockaddr_in6 {
                    sin6_family: AF_INET6,
                    sin6_port: at.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: at.ip().octets() },
                    sin6_scope_id: at.scope_id(),
                },
            },
        }
    }

    /// Bytes that are written.
    #[inline]
    pub(super) fn len(&self) -> libc::socklen_t {
        if self.is_v6() { V6_BYTES } else { V4_BYTES }
    }

    /// The same place as an endpoint.
    #[inline]
    pub(super) fn endpoint(&self) -> Endpoint {
        if self.is_v6() {
            // SAFETY: the family says that this is what was written.
            v6(unsafe { &self.v6 })
        } else {
            // SAFETY: as above.
            v4(unsafe { &self.v4 })
        }
    }

    #[inline]
    fn is_v6(&self) -> bool {
        // SAFETY: the family is always written.
        (unsafe { self.family }) == AF_INET6
    }
}

/// The endpoint in the first bytes of `bytes`, if there is one.
pub(super) fn endpoint_in(bytes: &[u8]) -> Option<Endpoint> {
    let family = libc::sa_family_t::from_ne_bytes(*bytes.first_chunk()?);
    if family == AF_INET && bytes.len() >= V4_BYTES as usize {
        // SAFETY: there are enough bytes, any of which make a valid sockaddr_in; nothing is asked of their alignment.
        return Some(v4(&unsafe { bytes.as_ptr().cast::<libc::sockaddr_in>().read_unaligned() }));
    }
    if family == AF_INET6 && bytes.len() >= V6_BYTES as usize {
        // SAFETY: as above, for a sockaddr_in6.
        return Some(v6(&unsafe { bytes.as_ptr().cast::<libc::sockaddr_in6>().read_unaligned() }));
    }
    None
}

/// The endpoint at `address`, if it is of either family.
///
/// # Safety
/// `address` is null, or points to a whole socket address of the family that it says; it need not be aligned.
pub(super) unsafe fn endpoint_at(address: *const libc::sockaddr) -> Option<Endpoint> {
    if address.is_null() {
        return None;
    }
    // SAFETY: not null, and every socket address begins with its family.
    match unsafe { address.cast::<libc::sa_family_t>().read_unaligned() } {
        // SAFETY: the family says what it is.
        AF_INET => Some(v4(&unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() })),
        // SAFETY: as above.
        AF_INET6 => Some(v6(&unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() })),
        _ => None,
    }
}

#[inline]
fn v4(at: &libc::sockaddr_in) -> Endpoint {
    let ip = Ipv4Addr::from_bits(u32::from_be(at.sin_addr.s_addr));
    Endpoint(SocketAddrV4::new(ip, u16::from_be(at.sin_port)).into())
}

#[inline]
fn v6(at: &libc::sockaddr_in6) -> Endpoint {
    let ip = Ipv6Addr::from(at.sin6_addr.s6_addr);
    Endpoint(SocketAddrV6::new(ip, u16::from_be(at.sin6_port), 0, at.sin6_scope_id).into())
}

/// Room for an address of either family.
pub(super) const ADDRESS_BYTES: libc::socklen_t = bytes_of::<RawAddress>();
const V4_BYTES: libc::socklen_t = bytes_of::<libc::sockaddr_in>();
const V6_BYTES: libc::socklen_t = bytes_of::<libc::sockaddr_in6>();

#[expect(clippy::cast_possible_truncation, reason = "16 and 28")]
const fn bytes_of<T>() -> libc::socklen_t {
    mem::size_of::<T>() as libc::socklen_t
}

#[expect(clippy::cast_possible_truncation, reason = "2")]
const AF_INET: libc::sa_family_t = libc::AF_INET as libc::sa_family_t;
#[expect(clippy::cast_possible_truncation, reason = "10")]
const AF_INET6: libc::sa_family_t = libc::AF_INET6 as libc::sa_family_t;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_survive_the_kernels_form() {
        for (text, len) in [("203.0.113.7:80", 16), ("[fd00::1]:80", 28), ("[fe80::1%3]:65535", 28)] {
            let endpoint = Endpoint(text.parse().unwrap());
            let raw = RawAddress::of(endpoint);
            assert_eq!((raw.endpoint(), raw.len()), (endpoint, len));
        }
    }

    #[test]
    fn bytes_that_are_no_whole_address_are_none() {
        let mut bytes = vec![0; 28];
        bytes[..2].copy_from_slice(&AF_INET6.to_ne_bytes());
        bytes[3] = 9;
        bytes[23] = 1;
        assert_eq!(endpoint_in(&bytes), Some(Endpoint("[::1]:9".parse().unwrap())));
        assert_eq!(endpoint_in(&bytes[..27]), None);
        bytes[..2].copy_from_slice(&AF_INET.to_ne_bytes());
        assert_eq!(endpoint_in(&bytes), Some(Endpoint("0.0.0.0:9".parse().unwrap())));
        assert_eq!((endpoint_in(&bytes[..15]), endpoint_in(&[1])), (None, None));
        bytes[..2].copy_from_slice(&[1, 0]);
        assert_eq!(endpoint_in(&bytes), None);
    }
}
