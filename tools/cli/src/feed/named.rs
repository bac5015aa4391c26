//! The addresses that the options name: all of one family.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use super::api::{Endpoint, Family};
use super::options::Common;
use crate::refusal::Refusal;

/// What is named, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) members: Vec<SocketAddr>,
    pub(super) peers: Vec<SocketAddr>,
    /// Who a late subscriber hears; empty for everybody.
    pub(super) sources: Vec<IpAddr>,
    pub(super) family: Family,
    /// Where everybody sends to; `None` when each is sent to by itself.
    pub(super) group: Option<SocketAddr>,
}

impl Named {
    /// What `options` name, with the `sources` of who is late.
    pub(super) fn by(options: &Common, sources: &[IpAddr]) -> Result<Self, Refusal> {
        let wanted = wanted(options, sources);
        let names = [&options.members[..], &options.peers].concat();
        let found: Vec<_> =
            names.iter().map(|name| Ok((name, resolve(name)?))).collect::<Result<_, Refusal>>()?;
        let (family, mut members) = of_one_family(&found, wanted).map_err(Refusal::new)?;
        if let Some(other) = sources.iter().find(|source| Family::of(**source) != family) {
            return Err(Refusal::new(format_args!(
                "--sources: {other} is not {family}, as the group or the interface is"
            )));
        }
        let peers = members.split_off(options.members.len());
        let group = (!options.unicast).then(|| options.group.unwrap_or(default_group(family)));
        if let Some(group) = group
            && Endpoint(group).is_source_specific()
            && !options.source_specific
            && sources.is_empty()
        {
            return Err(Refusal::new(format_args!(
                "--group {group} lies in the range of source-specific multicast: --source-specific is wanted, or with \
                 --late --sources"
            )));
        }
        Ok(Self { members, peers, sources: sources.to_vec(), family, group })
    }
}

/// The family that an address of the options leaves no choice about, and what that is.
fn wanted(options: &Common, sources: &[IpAddr]) -> Option<(Family, String)> {
    let interface = || options.interface.as_deref()?.split('%').next()?.parse::<IpAddr>().ok();
    let group = options.group.filter(|_| !options.unicast);
    let by_group = group.map(|group| (Family::of(group.ip()), format!("--group {group}")));
    let by_interface = || interface().map(|address| (Family::of(address), format!("--interface {address}")));
    let by_source = || sources.first().map(|source| (Family::of(*source), format!("--sources {source}")));
    by_group.or_else(by_interface).or_else(by_source)
}

/// The first address that each name has of a family that all of them have; IPv4, where there is a choice.
fn of_one_family(
    found: &[(&String, Vec<SocketAddr>)],
    wanted: Option<(Family, String)>,
) -> Result<(Family, Vec<SocketAddr>), String> {
    let first = |family, (_, found): &(&String, Vec<SocketAddr>)| {
        found.iter().copied().find(|address| Family::of(address.ip()) == family)
    };
    let lacking = |family| found.iter().find(|one| first(family, one).is_none()).map(|(name, _)| *name);
    let families = wanted.as_ref().map_or(vec![Family::V4, Family::V6], |(family, _)| vec![*family]);
    if let Some(&family) = families.iter().find(|&&family| lacking(family).is_none()) {
        return Ok((family, found.iter().filter_map(|one| first(family, one)).collect()));
    }
    let name = |family| lacking(family).map_or("", String::as_str);
    Err(match wanted {
        Some((family, by)) => format!("member {:?} has no {family} address, which {by} wants", name(family)),
        None => format!(
            "member {:?} has no IPv4 address and member {:?} no IPv6 one: all of a feed have one address family",
            name(Family::V4),
            name(Family::V6)
        ),
    })
}

/// All addresses of `HOST:PORT`.
fn resolve(name: &str) -> Result<Vec<SocketAddr>, Refusal> {
    let wrong = |why: &dyn Display| Refusal::new(format_args!("member {name:?}: {why}"));
    let (host, port) = name.rsplit_once(':').unwrap_or_default();
    let port = port.parse::<u16>().unwrap_or(0);
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if port == 0 || host.is_empty() || inner.is_some() != host.contains(':') {
        return Err(wrong(&"HOST:PORT is wanted, such as 127.0.0.1:7001 or [::1]:7001"));
    }
    let found = (inner.unwrap_or(host), port).to_socket_addrs().map_err(|error| wrong(&error))?;
    let found: Vec<_> = found.collect();
    if found.iter().any(|one| one.ip() != one.ip().to_canonical()) {
        return Err(wrong(&"it is an IPv4 address in the dress of IPv6: write it as IPv4"));
    }
    Ok(found)
}

fn default_group(family: Family) -> SocketAddr {
    match family {
        Family::V4 => ([239, 255, 71, 71], GROUP_PORT).into(),
        Family::V6 => ([0xff15, 0, 0, 0, 0, 0, 0, 0x7171], GROUP_PORT).into(),
    }
}

const GROUP_PORT: u16 = 7171;

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(names: &[(&str, &[&str])], wanted: Option<Family>) -> Result<Vec<String>, String> {
        let names: Vec<_> = names.iter().map(|(name, found)| (name.to_string(), found)).collect();
        let found: Vec<_> = names
            .iter()
            .map(|(name, found)| (name, found.iter().map(|one| one.parse().expect("an address")).collect()))
            .collect();
        let wanted = wanted.map(|family| (family, "--group G".to_owned()));
        Ok(of_one_family(&found, wanted)?.1.iter().map(SocketAddr::to_string).collect())
    }

    #[test]
    fn all_names_come_to_one_family() {
        let both: (&str, &[&str]) = ("both", &["[fd00::1]:7", "10.0.0.1:7", "10.0.0.2:7"]);
        let four: (&str, &[&str]) = ("four", &["10.0.0.4:7"]);
        let six: (&str, &[&str]) = ("six", &["[fd00::6]:7"]);
        let expect = |addresses: &[&str]| Ok(addresses.iter().map(ToString::to_string).collect());
        assert_eq!(resolved(&[both, both], None), expect(&["10.0.0.1:7", "10.0.0.1:7"]));
        assert_eq!(resolved(&[both, four], None), expect(&["10.0.0.1:7", "10.0.0.4:7"]));
        assert_eq!(resolved(&[both, six], None), expect(&["[fd00::1]:7", "[fd00::6]:7"]));
        assert_eq!(resolved(&[both], Some(Family::V6)), expect(&["[fd00::1]:7"]));
        assert_eq!(
            resolved(&[four, both, six], None).expect_err("mixed"),
            "member \"six\" has no IPv4 address and member \"four\" no IPv6 one: all of a feed have one address family"
        );
        assert_eq!(
            resolved(&[both, four], Some(Family::V6)).expect_err("no IPv6"),
            "member \"four\" has no IPv6 address, which --group G wants"
        );
    }

    #[test]
    fn a_member_is_a_host_and_a_port() {
        for name in [
            "a",
            "127.0.0.1",
            "127.0.0.1:0",
            "127.0.0.1:70000",
            "",
            ":7",
            "::1:7",
            "[::1]",
            "[a]:7",
            "[::1:7",
        ] {
            assert!(resolve(name).is_err(), "{name}");
        }
        assert_eq!(resolve("[::1]:7").expect("an address"), ["[::1]:7".parse().expect("an address")]);
        assert_eq!(resolve("[fe80::1%1]:7").expect("an address")[0].to_string(), "[fe80::1%1]:7");
    }
}
