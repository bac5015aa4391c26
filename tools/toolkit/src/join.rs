//! What a group is joined with: who is in it, and how a cast reaches them.

use crate::{Endpoint, Error, Result, TotalMode};
use sistrum_transport::medium::FanOut;
use std::net::{IpAddr, SocketAddr};

/// Who is in a group, and how a cast reaches them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinOptions {
    /// `None` for a reader, who is in no list.
    pub(crate) members: Option<Vec<Endpoint>>,
    pub(crate) fan_out: Reach,
    pub(crate) sources: Sources,
    pub(crate) total: TotalMode,
    /// Whether a reader is handed everything in causal order.
    pub(crate) is_causal: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    Multicast(Endpoint),
    Unicast,
}

/// Who is heard in a multicast group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sources {
    /// Everybody who sends to it.
    All,
    /// The members of the list.
    Members,
    /// These.
    Named(Vec<IpAddr>),
}

impl JoinOptions {
    /// A static list: each member's rank is its position, and all are given the same list. By default each cast is sent to
    /// every member by unicast.
    #[must_use]
    pub fn members(members: Vec<Endpoint>) -> Self {
        Self::with(Some(members))
    }

    /// Not in the list: a reader gets what is cast from now on, from each member's next whole message, asks for what it
    /// misses, and holds nobody back. What it cannot get any more it loses aloud. It needs the group's multicast address.
    #[must_use]
    pub fn reader() -> Self {
        Self::with(None)
    }

    /// A reader that is handed no effect before its cause. It enters a member's stream at its next full stamp, one in some sixteen blocks of
    /// causal and total casts (in a hundred, of large groups): what stands before it, and a stream that has none of them, it does not
    /// read. What it waits for in vain it loses aloud. Total casts come in causal order too, not in one order.
    #[must_use]
    pub fn causal_reader() -> Self {
        Self { is_causal: true, ..Self::with(None) }
    }

    const fn with(members: Option<Vec<Endpoint>>) -> Self {
        Self {
            members,
            fan_out: Reach::Unicast,
            sources: Sources::All,
            total: TotalMode::Token,
            is_causal: false,
        }
    }

    /// One datagram to this multicast address and port reaches all members.
    #[must_use]
    pub fn multicast(mut self, group: SocketAddr) -> Self {
        self.fan_out = Reach::Multicast(Endpoint(group));
        self
    }

    /// How the order of total casts is found: all members alike.
    #[must_use]
    pub fn total(mut self, mode: TotalMode) -> Self {
        self.total = mode;
        self
    }

    /// One datagram to each other member: for networks without multicast.
    #[must_use]
    pub fn unicast(mut self) -> Self {
        self.fan_out = Reach::Unicast;
        self
    }

    /// The multicast is source-specific (RFC 4607): only what members of the list send is let in, by the routers of the
    /// network too. Groups of 232.0.0.0/8 and FF3x::/32 want that. Members may use it or not, each for itself.
    #[must_use]
    pub fn source_specific(mut self) -> Self {
        self.sources = Sources::Members;
        self
    }

    /// The same for a reader, which knows no list: it hears what is sent from these addresses, and nobody else.
    #[must_use]
    pub fn sources(mut self, sources: Vec<IpAddr>) -> Self {
        self.sources = Sources::Named(sources);
        self
    }

    /// How casts from `local` reach the others.
    ///
    /// # Errors
    /// When an address or the sources cannot be.
    pub(crate) fn fan_out_from(&self, local: Endpoint) -> Result<FanOut> {
        self.check(local)?;
        let sources = self.heard()?;
        Ok(match self.fan_out {
            Reach::Multicast(group) => FanOut::Multicast { group, sources },
            Reach::Unicast => {
                let members = self.members.iter().flatten().map(|member| member.seen_from(local));
                FanOut::Unicast(members.filter(|member| *member != local).collect())
            }
        })
    }

    /// The addresses that a multicast is heard from; none for all.
    ///
    /// # Errors
    /// When the sources cannot be known, or are of no use.
    fn heard(&self) -> Result<Vec<IpAddr>> {
        let refuse = |why: &str| Err(Error::Config { key: "sources", why: why.to_owned() });
        if self.sources != Sources::All && self.fan_out == Reach::Unicast {
            return refuse("there are none without a multicast group");
        }
        match (&self.sources, &self.members) {
            (Sources::All, _) => Ok(Vec::new()),
            (Sources::Members, Some(members)) => Ok(members.iter().map(|member| member.0.ip()).collect()),
            (Sources::Members, None) => refuse("a reader knows no list: name them by sources(..)"),
            (Sources::Named(_), Some(_)) => {
                refuse("a member hears its list: ask for that by source_specific()")
            }
            (Sources::Named(named), None) if named.is_empty() => refuse("nobody would be heard"),
            (Sources::Named(named), None) => Ok(named.clone()),
        }
    }

    /// Whether all addresses are of the family of `local`, and can be sent to from there.
    fn check(&self, local: Endpoint) -> Result<()> {
        let members = self.members.iter().flatten().map(|&member| ("members", member));
        let group = match self.fan_out {
            Reach::Multicast(group) => Some(("multicast", group)),
            Reach::Unicast => None,
        };
        for (key, endpoint) in members.chain(group) {
            if endpoint.0.ip() != endpoint.0.ip().to_canonical() {
                let why = format!("{endpoint} is an IPv4 address in the dress of IPv6: write it as IPv4");
                return Err(Error::Config { key, why });
            }
            let (family, own) = (endpoint.family(), local.family());
            if family != own {
                let why = format!(
                    "{endpoint} is {family}, this node {local} is {own}: a group has one address family"
                );
                return Err(Error::Config { key, why });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_members_or_named() {
        let list = || {
            JoinOptions::members(vec![
                Endpoint(([10, 0, 0, 1], 7).into()),
                Endpoint(([10, 0, 0, 2], 7).into()),
            ])
        };
        let group = ([232, 1, 1, 1], 7).into();
        let named: Vec<IpAddr> = vec![[10, 0, 0, 9].into()];
        assert_eq!(list().multicast(group).heard().unwrap(), Vec::<IpAddr>::new());
        let both: Vec<IpAddr> = vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        assert_eq!(list().multicast(group).source_specific().heard().unwrap(), both);
        assert_eq!(JoinOptions::reader().multicast(group).sources(named.clone()).heard().unwrap(), named);
        let refusal = |options: JoinOptions| options.heard().expect_err("must be refused").to_string();
        for (options, why) in [
            (list().source_specific(), "sources: there are none without"),
            (list().multicast(group).sources(named), "sources: a member hears its list"),
            (JoinOptions::reader().multicast(group).source_specific(), "sources: a reader knows no list"),
            (JoinOptions::reader().multicast(group).sources(Vec::new()), "sources: nobody would be heard"),
        ] {
            assert!(refusal(options.clone()).starts_with(why), "{options:?}");
        }
    }
}
