//! Which interface a process of the feed goes by, and why.

use std::net::SocketAddr;

use super::api::{Interface, Way};
use super::members::Role;
use super::named::Named;
use super::options::Common;
use crate::refusal::Refusal;

/// An interface, and why it is this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) interface: Interface,
    pub(super) why: String,
}

impl Place {
    /// The interface that is known before it is known which of the list this process is.
    pub(super) fn before_list(options: &Common, role: Role, named: &Named) -> Result<Option<Self>, Refusal> {
        if let Some(wanted) = &options.interface {
            let interface = Interface::find_in(wanted, named.family).map_err(Refusal::new)?;
            if interface.family() != named.family {
                let (own, family) = (interface.family(), named.family);
                return Err(Refusal::new(format_args!(
                    "--interface {wanted} is {own}, the group is {family}"
                )));
            }
            return Ok(Some(Self { interface, why: "as asked".to_owned() }));
        }
        if role == Role::Late {
            return Self::of_late(options, named).map(Some);
        }
        if named.peers.is_empty() {
            return Ok(None);
        }
        Self::by_route(named.group, &named.peers).map(Some)
    }

    /// The interface that has the address of this process in the list.
    pub(super) fn of_list(me: SocketAddr) -> Result<Self, Refusal> {
        let interface = Interface::by_address(me.ip(), scope(me)).map_err(Refusal::new)?;
        Ok(Self { interface, why: "it has this process's address of the list".to_owned() })
    }

    /// Who is late names nobody, so that nothing leaves this host unless a group or a source beyond it was written, and
    /// the danger was.
    fn of_late(options: &Common, named: &Named) -> Result<Self, Refusal> {
        let port = named.group.map_or(0, |group| group.port());
        let sources: Vec<_> = named.sources.iter().map(|&source| SocketAddr::new(source, port)).collect();
        let beyond = sources.iter().any(|source| !source.ip().is_loopback());
        if options.insecure && (beyond || sources.is_empty() && options.group.is_some()) {
            return Self::by_route(named.group, &sources);
        }
        let interface = Interface::find_in("lo", named.family).map_err(Refusal::new)?;
        let why = "the default: a network wants --insecure, and --interface, --group or --sources".to_owned();
        Ok(Self { interface, why })
    }

    fn by_route(group: Option<SocketAddr>, peers: &[SocketAddr]) -> Result<Self, Refusal> {
        let Way { interface, why } = Way::to(group, peers).map_err(Refusal::new)?;
        Ok(Self { interface, why: why.to_string() })
    }
}

/// Whether `address` is one of this host.
pub(super) fn is_here(address: SocketAddr) -> bool {
    Interface::by_address(address.ip(), scope(address)).is_ok()
}

fn scope(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    }
}
