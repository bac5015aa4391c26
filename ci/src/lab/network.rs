//! A network of its own for the members of a round: a namespace for each place, all on one bridge in another namespace, and links that
//! can be cut. It wants root, `ip` and `nft`.

use anyhow::{Context as _, Result, ensure};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

/// See the module. Dropped, all of it is gone.
pub(super) struct Network {
    hub: String,
    places: Vec<String>,
    is_cut: bool,
}

/// Why there can be none here, if so.
pub(super) fn lacking() -> Option<String> {
    let probe = format!("sistrum-probe-{}", std::process::id());
    let probed = ip(&format!("netns add {probe}")).and_then(|()| nft(&probe, "add table inet probe"));
    let removed = ip(&format!("netns del {probe}"));
    probed.and(removed).err().map(|error| format!("{error:#}"))
}

impl Network {
    /// For so many members.
    pub(super) fn new(places: usize, seed: u64) -> Result<Self> {
        let name = |what: &str| format!("sl-{}-{seed}-{what}", std::process::id());
        let names = (0..places).map(|place| name(&place.to_string())).collect();
        let network = Self { hub: name("hub"), places: names, is_cut: false };
        let hub = &network.hub;
        ip(&format!("netns add {hub}"))?;
        ip(&format!("-n {hub} link add br0 type bridge mcast_snooping 0"))?;
        ip(&format!("-n {hub} link set br0 up"))?;
        for (place, name) in network.places.iter().enumerate() {
            ip(&format!("netns add {name}"))?;
            ip(&format!("-n {name} link add eth0 type veth peer name v{place} netns {hub}"))?;
            ip(&format!("-n {hub} link set v{place} master br0 up"))?;
            ip(&format!("-n {name} addr add {}/24 dev eth0", address(place)))?;
            ip(&format!("-n {name} link set lo up"))?;
            ip(&format!("-n {name} link set eth0 up"))?;
        }
        Ok(network)
    }

    /// What starts `program` at this place.
    pub(super) fn command(&self, place: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.places[place]]).arg(program);
        command
    }

    /// Nothing goes between places of which this is so.
    pub(super) fn cut(&mut self, apart: impl Fn(usize, usize) -> bool) -> Result<()> {
        self.is_cut = true;
        for (place, name) in self.places.iter().enumerate() {
            nft(name, "add table inet cut")?;
            nft(name, "add chain inet cut input { type filter hook input priority 0 ; }")?;
            for other in (0..self.places.len()).filter(|other| apart(*other, place)) {
                nft(name, &format!("add rule inet cut input ip saddr {} drop", address(other)))?;
            }
        }
        Ok(())
    }

    /// All hear each other again.
    pub(super) fn heal(&mut self) -> Result<()> {
        if std::mem::take(&mut self.is_cut) {
            self.places.iter().try_for_each(|name| nft(name, "delete table inet cut"))?;
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in self.places.iter().chain([&self.hub]) {
            // One that was never made cannot be removed.
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

/// Where a place is.
pub(super) fn address(place: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 78, 0, 1 + place as u8)
}

fn ip(arguments: &str) -> Result<()> {
    run(Command::new("ip").args(arguments.split(' ')))
}

fn nft(namespace: &str, rule: &str) -> Result<()> {
    run(Command::new("ip").args(["netns", "exec", namespace, "nft", rule]))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?} does not start"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", error.trim());
    Ok(())
}
