//! Who takes part: the same list at everybody, whether it was given whole or without oneself.
//!
//! The publisher is the first. All others are sorted by address and port, so that nobody has to keep an order.

use std::net::{IpAddr, SocketAddr};

use super::named::Named;

/// The list, and which of it is this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Members {
    pub(super) list: Vec<SocketAddr>,
    pub(super) me: usize,
}

/// What this process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Publishes, as the first of the list.
    Publisher,
    /// Stands in the list.
    Subscriber,
    /// Stands in no list.
    Late,
}

/// What says which of the list this process is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own<F> {
    /// By `--port`.
    pub(super) port: Option<u16>,
    /// By `--interface`, or by the route to the peers.
    pub(super) address: Option<IpAddr>,
    /// Whether an address is one of this host.
    pub(super) is_here: F,
}

impl Members {
    /// The list of what is named.
    pub(super) fn of(
        named: &Named,
        role: Role,
        own: &Own<impl Fn(SocketAddr) -> bool>,
    ) -> Result<Self, String> {
        if role == Role::Late {
            return Ok(Self { list: Vec::new(), me: 0 });
        }
        let (members, peers) = (named.members.clone(), named.peers.clone());
        let (mut list, me) = match (members.is_empty(), peers.is_empty()) {
            (true, true) => {
                return Err(
                    "who takes part is wanted: --members HOST:PORT,.. with the publisher first, the same \
                            list for all; only `subscribe --late` stands in no list"
                        .to_owned(),
                );
            }
            (false, _) => {
                let me = own.find(&members, role)?;
                (members, me)
            }
            (true, false) => own.join(peers, role)?,
        };
        list[1..].sort_unstable();
        if let Some(twice) = (1..list.len()).find(|&at| list[..at].contains(&list[at])) {
            return Err(format!("{} stands in the list twice", list[twice]));
        }
        if list.len() < 2 {
            return Err(format!("{} is alone in the list: a feed has at least one subscriber", list[0]));
        }
        let me =
            list.iter().position(|&member| member == me).expect("it was found in the list, or put there");
        Ok(Self { list, me })
    }

    /// The list for people.
    pub(super) fn to_text(&self) -> String {
        let names = self.list.iter().enumerate().map(|(rank, member)| {
            let publisher = if rank == 0 { " publisher" } else { "" };
            let me = if rank == self.me { " (this one)" } else { "" };
            format!("r{rank} {member}{publisher}{me}")
        });
        names.collect::<Vec<_>>().join(", ")
    }
}

impl<F: Fn(SocketAddr) -> bool> Own<F> {
    /// Which of `members` this process is.
    fn find(&self, members: &[SocketAddr], role: Role) -> Result<SocketAddr, String> {
        let (publisher, subscribers) = (&members[..1], &members[1..]);
        let (candidates, what) = match role {
            Role::Publisher => (publisher, "the publisher, first in the list,"),
            Role::Subscriber | Role::Late => (subscribers, "a subscriber of the list"),
        };
        let mine: Vec<_> = candidates.iter().filter(|member| self.may_be(member)).collect();
        match mine[..] {
            [me] => Ok(*me),
            [] if role == Role::Publisher => Err(format!(
                "the publisher, first in the list, is {}, but this process is at {self}",
                members[0]
            )),
            [] => Err(format!("none of --members but the first can be this process, which is at {self}")),
            [one, other, ..] => {
                Err(format!("--port is wanted: {what} on this host could be {one} or {other}"))
            }
        }
    }

    fn may_be(&self, member: &SocketAddr) -> bool {
        let by_port = self.port.is_none_or(|port| port == member.port());
        by_port && self.address.map_or_else(|| (self.is_here)(*member), |address| address == member.ip())
    }

    /// `peers` and this process as one list, the publisher first.
    fn join(&self, peers: Vec<SocketAddr>, role: Role) -> Result<(Vec<SocketAddr>, SocketAddr), String> {
        let address = self.address.ok_or("--peers want an interface, by which they reach me")?;
        let port = self.port.ok_or("--peers want --port, by which they reach me")?;
        let me = SocketAddr::new(address, port);
        let mut list = peers;
        let at = if role == Role::Publisher { 0 } else { list.len() };
        list.insert(at, me);
        Ok((list, me))
    }
}

impl<F> std::fmt::Display for Own<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.address {
            Some(address) => write!(f, "{address}")?,
            None => f.write_str("an address of this host")?,
        }
        match self.port {
            Some(port) => write!(f, ", port {port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::api::Family;

    fn addresses(text: &str) -> Vec<SocketAddr> {
        text.split_whitespace().map(|one| one.parse().expect("an address")).collect()
    }

    fn own(port: Option<u16>, address: Option<&str>) -> Own<impl Fn(SocketAddr) -> bool> {
        let address = address.map(|address| address.parse().expect("an address"));
        Own { port, address, is_here: |address: SocketAddr| address.ip().is_loopback() }
    }

    fn named(members: &str, peers: &str) -> Named {
        let (members, peers, sources) = (addresses(members), addresses(peers), Vec::new());
        Named { members, peers, sources, family: Family::V4, group: None }
    }

    fn members(text: &str, role: Role, port: Option<u16>) -> Result<Members, String> {
        Members::of(&named(text, ""), role, &own(port, None))
    }

    fn peers(text: &str, role: Role, port: u16) -> Result<Members, String> {
        Members::of(&named("", text), role, &own(Some(port), Some("127.0.0.1")))
    }

    #[test]
    fn members_and_peers_come_to_one_list() {
        let list = addresses("127.0.0.1:9 127.0.0.1:7 127.0.0.1:8");
        let (p, s, t) = ("127.0.0.1:9", "127.0.0.1:7", "127.0.0.1:8");
        let all = format!("{p} {t} {s}");
        for (got, me) in [
            (members(&all, Role::Publisher, None), 0),
            (members(&all, Role::Subscriber, Some(7)), 1),
            (peers(&format!("{t} {s}"), Role::Publisher, 9), 0),
            (peers(&format!("{p} {t}"), Role::Subscriber, 7), 1),
            (peers(&format!("{p} {s}"), Role::Subscriber, 8), 2),
        ] {
            assert_eq!(got, Ok(Members { list: list.clone(), me }));
        }
    }

    #[test]
    fn a_process_knows_itself_when_there_is_no_doubt() {
        assert_eq!(
            members("10.0.0.1:7 127.0.0.1:7", Role::Subscriber, None).map(|members| members.me),
            Ok(1)
        );
        let error = |text, role, port| members(text, role, port).expect_err("in doubt");
        assert!(
            error("127.0.0.1:1 127.0.0.1:7 127.0.0.1:8", Role::Subscriber, None)
                .contains("could be 127.0.0.1:7 or 127.0.0.1:8")
        );
        assert!(error("127.0.0.1:1 127.0.0.1:7", Role::Subscriber, Some(1)).starts_with("none of"));
        assert!(error("10.0.0.1:1 127.0.0.1:7", Role::Publisher, None).contains("is 10.0.0.1:1"));
        assert!(error("127.0.0.1:1 127.0.0.1:7", Role::Publisher, Some(7)).contains("port 7"));
        let by_interface = own(None, Some("10.0.0.2"));
        let list = named("10.0.0.1:7 10.0.0.2:7 10.0.0.3:7", "");
        assert!(Members::of(&list, Role::Subscriber, &by_interface).is_ok_and(|members| members.me == 1));
    }

    #[test]
    fn lists_that_are_no_feed_are_refused() {
        assert!(members("127.0.0.1:1", Role::Publisher, None).is_err());
        assert!(members("127.0.0.1:1 127.0.0.1:2 127.0.0.1:2", Role::Publisher, None).is_err());
        assert!(members("", Role::Publisher, None).is_err());
        assert!(peers("127.0.0.1:7", Role::Publisher, 7).is_err());
    }
}
