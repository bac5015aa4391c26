//! What a group is joined with: who is in it, and how a cast reaches them.

use crate::seeds::Seeds;
use crate::{
    ClientTuning, DetectorTuning, Endpoint, Error, Family, GroupId, Lag, Result, StateTuning, Suspicion,
    TotalMode,
};
use sistrum_membership::Peers;
use sistrum_membership::agreement::{AgreementTuning, MAX_MEMBERS};
use sistrum_transport::medium::FanOut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Who is in a group, and how a cast reaches them.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinOptions {
    pub(crate) who: Who,
    pub(crate) fan_out: Reach,
    pub(crate) sources: Sources,
    pub(crate) total: TotalMode,
    pub(crate) lag: Option<Lag>,
}

/// Who is in the group, and as what I join.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Who {
    /// As one of this list.
    Members(Vec<Endpoint>),
    /// As one of those who come and go.
    Peer(Peer),
    /// Not at all: I only see who is in it.
    Observer(Peer),
    /// Not at all: I ask it.
    Client(Peer, ClientTuning),
    /// As a reader, who is in no view.
    Reader(Reads),
}

/// How a reader reads.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Reads {
    pub(crate) is_causal: bool,
    /// The group is one of peers: its views are followed.
    pub(crate) of_peers: bool,
    pub(crate) is_eager: bool,
    pub(crate) state: Option<StateTuning>,
    pub(crate) cluster: String,
}

/// How peers find each other, and how long they wait for each other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Peer {
    pub(crate) cluster: String,
    pub(crate) seeds: Vec<String>,
    pub(crate) expected: usize,
    pub(crate) most: usize,
    pub(crate) detector: DetectorTuning,
    pub(crate) held_casts: usize,
    pub(crate) state: Option<StateTuning>,
    pub(crate) rejoins: bool,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            cluster: String::new(),
            seeds: Vec::new(),
            expected: 2,
            most: 16,
            detector: DetectorTuning::default(),
            held_casts: 0,
            state: None,
            rejoins: true,
        }
    }
}

impl Peer {
    /// What a group is told of peers.
    pub(crate) fn into_peers(self, is_multicast: bool, local: Endpoint) -> Result<Peers> {
        let refuse = |key, why: String| Err(Error::Config { key, why });
        if !(1..=MAX_MEMBERS).contains(&self.most) {
            return refuse("max_members", format!("{} is not between 1 and {MAX_MEMBERS}", self.most));
        }
        if !(1..=self.most).contains(&self.expected) {
            let why = format!("{} is not between 1 and max_members, {}", self.expected, self.most);
            return refuse("expected_members", why);
        }
        self.check_seeds(is_multicast)?;
        if self.held_casts > 0 && self.state.is_some() {
            // What is held is in the state of whoever casts it, and goes into the view of those who take that over.
            return refuse("hold_casts", "a group that keeps a state casts again itself".to_owned());
        }
        if let Err(why) = self.detector.check() {
            return refuse("suspect_after", why.to_string());
        }
        let agreement = AgreementTuning { max_members: self.most, ..AgreementTuning::default() };
        Ok(Peers {
            seeds: Seeds::literal(&self.seeds, local),
            is_multicast,
            expected: self.expected,
            detector: self.detector,
            agreement,
            held_casts: self.held_casts,
            state: self.state,
            rejoins: self.rejoins,
        })
    }

    /// Whether somebody may be found.
    pub(crate) fn check_seeds(&self, is_multicast: bool) -> Result<()> {
        let refuse = |why: String| Err(Error::Config { key: "seeds", why });
        if self.seeds.is_empty() && !is_multicast {
            return refuse("by unicast nobody is found without any".to_owned());
        }
        if let Some(seed) = self.seeds.iter().find(|seed| !has_port(seed)) {
            return refuse(format!("{seed} has no port: write host:port, with a port between 1 and 65535"));
        }
        Ok(())
    }
}

/// Bytes of the name of a group, or of a cluster.
pub(crate) const MAX_NAME: usize = 100;

/// Whether it is written as `host:port`, where somebody can be: nobody is at port 0.
pub(crate) fn has_port(seed: &str) -> bool {
    seed.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// By the multicast address that follows from the group's name.
    Named,
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
    /// Members come and go, and agree on each [view](crate::View): who fails or leaves is out of the next one, who joins is in it. By
    /// default they find each other by a multicast address that follows from the group's name; [`seeds`](Self::seeds) name places
    /// instead. A view is told once [two](Self::expected_members) are in it.
    #[must_use]
    pub fn peer() -> Self {
        Self { fan_out: Reach::Named, ..Self::with(Who::Peer(Peer::default())) }
    }

    /// In no view, and handed nothing that is cast: an observer sees who is in a group of [peers](Self::peer), and gates nobody. It asks ten
    /// times a second; where to ask is said as for a peer.
    #[must_use]
    pub fn observer() -> Self {
        Self { fan_out: Reach::Named, ..Self::with(Who::Observer(Peer::default())) }
    }

    /// In no view, and handed nothing that is cast: a client asks a group of [peers](Self::peer) that has a [service](crate::Service) by
    /// [`Node::ask`](crate::Node::ask), and gates nobody. Where the group is, is said as for a peer.
    #[must_use]
    pub fn client() -> Self {
        Self { fan_out: Reach::Named, ..Self::with(Who::Client(Peer::default(), ClientTuning::default())) }
    }

    /// Other sizes and times of a [client](Self::client): the same as those of the members' [services](crate::Service::with).
    #[must_use]
    pub fn client_tuning(mut self, tuning: ClientTuning) -> Self {
        if let Who::Client(_, known) = &mut self.who {
            *known = tuning;
        }
        self
    }

    /// A static list: each member's rank is its position, and all are given the same list. By default each cast is sent to
    /// every member by unicast.
    #[must_use]
    pub fn members(members: Vec<Endpoint>) -> Self {
        Self::with(Who::Members(members))
    }

    /// Not in the list: a reader gets what is cast from now on, from each member's next whole message, asks for what it
    /// misses, and holds nobody back. What it cannot get any more it loses aloud. It needs the group's multicast address.
    #[must_use]
    pub fn reader() -> Self {
        Self::with(Who::Reader(Reads::default()))
    }

    /// A reader that is handed no effect before its cause. It enters a member's stream at its next full stamp, one in some sixteen blocks of
    /// causal and total casts (in a hundred, of large groups): what stands before it, and a stream that has none of them, it does not
    /// read. What it waits for in vain it loses aloud. Total casts come in causal order too, not in one order.
    #[must_use]
    pub fn causal_reader() -> Self {
        Self::with(Who::Reader(Reads { is_causal: true, ..Reads::default() }))
    }

    /// The group that is read is one of [peers](Self::peer): the reader follows its views. It is told each ([`View`](crate::Event::View), in
    /// which its rank is [`Rank::READER`](crate::Rank::READER)), and handed all of it up to where it ends before it comes to the next one. It is handed nothing
    /// that the group may yet lose with a member: a message waits until all members hold it, about a heartbeat. The group is found by
    /// its name, as peers find each other, unless [`multicast`](Self::multicast) is said after it.
    #[must_use]
    pub fn of_peers(mut self) -> Self {
        if self.fan_out == Reach::Unicast {
            self.fan_out = Reach::Named;
        }
        self.of_reader(|reads| reads.of_peers = true)
    }

    /// A reader [of peers](Self::of_peers) that is handed everything at once. What a view then ends without is taken back, as
    /// [`Retracted`](crate::Event::Retracted).
    #[must_use]
    pub fn eager(self) -> Self {
        self.of_peers().of_reader(|reads| reads.is_eager = true)
    }

    fn of_reader(mut self, change: impl FnOnce(&mut Reads)) -> Self {
        if let Who::Reader(reads) = &mut self.who {
            change(reads);
        }
        self
    }

    const fn with(who: Who) -> Self {
        Self { who, fan_out: Reach::Unicast, sources: Sources::All, total: TotalMode::Token, lag: None }
    }

    fn of_peer(mut self, change: impl FnOnce(&mut Peer)) -> Self {
        if let Who::Peer(peer) | Who::Observer(peer) | Who::Client(peer, _) = &mut self.who {
            change(peer);
        }
        self
    }

    /// Where somebody of the group may be found: `host:port`, names or addresses. Names are resolved again as long as there is no view.
    /// Where there is no group, one of these makes it. Casts go by unicast then, unless [`multicast`](Self::multicast) is said after it.
    #[must_use]
    pub fn seeds<S: Into<String>>(mut self, seeds: impl IntoIterator<Item = S>) -> Self {
        self.fan_out = Reach::Unicast;
        self.of_peer(|peer| peer.seeds = seeds.into_iter().map(Into::into).collect())
    }

    /// The first view is told when so many are in it: nobody is alone by accident. A group that once had as many goes on with fewer.
    #[must_use]
    pub fn expected_members(self, count: usize) -> Self {
        self.of_peer(|peer| peer.expected = count)
    }

    /// So many are in a view at most: windows and buffers are shared out among so many.
    #[must_use]
    pub fn max_members(self, count: usize) -> Self {
        self.of_peer(|peer| peer.most = count)
    }

    /// Groups of the same name in different clusters have nothing to do with each other.
    #[must_use]
    pub fn cluster(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.of_reader(|reads| reads.cluster.clone_from(&name)).of_peer(|peer| peer.cluster = name)
    }

    /// A member that was not heard for so long is suspected, and the others go on without it.
    #[must_use]
    pub fn suspect_after(self, silence: Duration) -> Self {
        let ns = u64::try_from(silence.as_nanos()).unwrap_or(u64::MAX);
        self.of_peer(|peer| peer.detector.suspect_after_ns = ns)
    }

    /// How silence is judged.
    #[must_use]
    pub fn suspicion(self, suspicion: Suspicion) -> Self {
        self.of_peer(|peer| peer.detector.suspicion = suspicion)
    }

    /// Holds so many bytes of casts while the view changes, and casts them first in the next one, in their order; otherwise those are
    /// refused as [`ViewChanging`](crate::Refused::ViewChanging), and so is what a fresh window has no room for, or half of one of its blocks.
    /// What is held is lost where I am [excluded](crate::Event::Excluded). Sync casts, flushes and my leaving come behind it.
    #[must_use]
    pub fn hold_casts(self, bytes: usize) -> Self {
        self.of_peer(|peer| peer.held_casts = bytes)
    }

    /// Keeps the group's state: takes it over before the first view is told ([`Event::State`](crate::Event::State)), and gives it to those
    /// who join later ([`Event::Snapshot`](crate::Event::Snapshot)). All members say the same; who does not is handed
    /// messages only, and is asked by no call and no client.
    ///
    /// A reader is given the state as one member has it between two events, and then exactly what is behind that; it is
    /// [of peers](Self::of_peers). What is cast while the state comes is kept up to [`StateTuning::spool`] bytes. Where that is too little,
    /// nobody keeps a state, or nobody gives it, it is [told](crate::Event::TransferFailed) and reads on without.
    #[must_use]
    pub fn keep_state(self, state: StateTuning) -> Self {
        let reads = if let Who::Reader(_) = self.who { self.of_peers() } else { self };
        reads.of_reader(|reads| reads.state = Some(state)).of_peer(|peer| peer.state = Some(state))
    }

    /// Does not join again by itself when the others go on without me.
    #[must_use]
    pub fn stay_out(self) -> Self {
        self.of_peer(|peer| peer.rejoins = false)
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

    /// What becomes of what a reader's handler refuses, as busy: it counts as delivered all the same, and is kept and handed over later,
    /// within what the contract allows. Without one, it is offered again until it is taken, and what comes meanwhile is lost once the window
    /// is full. A handler that is busy for long says so with [`Error::Busy`], and the node is polled on.
    #[must_use]
    pub fn lag(mut self, lag: Lag) -> Self {
        self.lag = Some(lag);
        self
    }

    /// Whether the lag contract can be kept to.
    ///
    /// # Errors
    /// When it cannot, or would be a member's.
    pub(crate) fn check_lag(&self) -> Result<()> {
        let refuse = |why| Err(Error::Config { key: "lag", why });
        match (&self.lag, &self.who) {
            (None, _) => Ok(()),
            (Some(lag), Who::Reader(_)) => lag.check().or_else(refuse),
            (Some(_), _) => {
                refuse("only a reader may lag: all wait for a member, by what it has taken".to_owned())
            }
        }
    }

    /// Whether a group of this name, and its cluster, can be joined.
    pub(crate) fn check_names(&self, name: &str) -> Result<()> {
        let refuse = |key, why| Err(Error::Config { key, why });
        let cluster = self.cluster_name();
        if !(1..=MAX_NAME).contains(&name.len()) {
            return refuse(
                "group",
                format!("a name of {} bytes: it has between 1 and {MAX_NAME}", name.len()),
            );
        }
        if cluster.len() > MAX_NAME {
            return refuse(
                "cluster",
                format!("a name of {} bytes: it has at most {MAX_NAME}", cluster.len()),
            );
        }
        Ok(())
    }

    fn cluster_name(&self) -> &str {
        match &self.who {
            Who::Peer(Peer { cluster, .. })
            | Who::Observer(Peer { cluster, .. })
            | Who::Client(Peer { cluster, .. }, _)
            | Who::Reader(Reads { cluster, .. }) => cluster,
            Who::Members(_) => "",
        }
    }

    /// The name that the group has on the wire.
    pub(crate) fn full_name(&self, name: &str) -> String {
        let cluster = self.cluster_name();
        if cluster.is_empty() { name.to_owned() } else { format!("{cluster}/{name}") }
    }

    /// How casts from `local` in the group of this name reach the others; by unicast, members that come and go are not known yet.
    ///
    /// # Errors
    /// When an address or the sources cannot be.
    pub(crate) fn fan_out_from(&self, name: &str, local: Endpoint) -> Result<FanOut> {
        self.check(local)?;
        let sources = self.heard()?;
        Ok(match self.fan_out {
            Reach::Named => FanOut::Multicast { group: multicast_of(name, local.family()), sources },
            Reach::Multicast(group) => FanOut::Multicast { group, sources },
            Reach::Unicast => {
                let members = self.listed().iter().map(|member| member.seen_from(local));
                FanOut::Unicast(members.filter(|member| *member != local).collect())
            }
        })
    }

    /// Whether one datagram reaches all.
    pub(crate) fn is_multicast(&self) -> bool {
        self.fan_out != Reach::Unicast
    }

    fn listed(&self) -> &[Endpoint] {
        if let Who::Members(members) = &self.who { members } else { &[] }
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
        match (&self.sources, &self.who) {
            (Sources::All, _) => Ok(Vec::new()),
            (_, Who::Peer(_) | Who::Observer(_) | Who::Client(..)) => {
                refuse("who comes is not known: it could not be heard")
            }
            (Sources::Members, Who::Members(members)) => {
                Ok(members.iter().map(|member| member.0.ip()).collect())
            }
            (Sources::Members, Who::Reader(_)) => refuse("a reader knows no list: name them by sources(..)"),
            (Sources::Named(_), Who::Members(_)) => {
                refuse("a member hears its list: ask for that by source_specific()")
            }
            (Sources::Named(named), Who::Reader(_)) if named.is_empty() => refuse("nobody would be heard"),
            (Sources::Named(named), Who::Reader(_)) => Ok(named.clone()),
        }
    }

    /// Whether all addresses are of the family of `local`, and can be sent to from there.
    fn check(&self, local: Endpoint) -> Result<()> {
        let members = self.listed().iter().map(|&member| ("members", member));
        let group = match self.fan_out {
            Reach::Multicast(group) => Some(("multicast", group)),
            Reach::Named | Reach::Unicast => None,
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

/// The multicast address and port of a group of this name, in a range that routers keep within an organisation (RFC 2365, RFC 4291).
fn multicast_of(name: &str, family: Family) -> Endpoint {
    let GroupId(hash) = GroupId::of(name);
    let [_, _, high, low] = hash.to_be_bytes();
    let ip: IpAddr = match family {
        Family::V4 => Ipv4Addr::new(239, 255, high, low).into(),
        Family::V6 => Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0x5157, (hash >> 16) as u16, hash as u16).into(),
    };
    Endpoint(SocketAddr::new(ip, FIRST_PORT + (hash >> 16) as u16 % PORTS))
}

/// Ports of groups that are found by their names: below those that a system gives out.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 10_000;

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
