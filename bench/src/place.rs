//! Where the two ends are: on loopback, or each in a network namespace of its own with a veth pair between them.
//!
//! On loopback nothing ever cuts a segmentation-offload send into packets; a network interface does. The veth pair is told
//! to take one segment at a time, so that the kernel cuts every run before it leaves the sender: what a card without
//! offload costs. The namespaces lose their names at once, so that they end with this process, however it ends.

use crate::{Failure, raw};
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::thread;

/// See the module.
#[derive(Debug)]
pub(crate) enum Place {
    /// 127.0.0.1, TTL 0.
    Loopback,
    /// The namespaces of both ends.
    Veth([File; 2]),
}

impl Place {
    /// Makes two namespaces and a veth pair between them that does not segment.
    pub(crate) fn veth() -> Result<Self, Failure> {
        if !raw::is_root() {
            return Err("only root may make network namespaces".into());
        }
        let names = ["l", "r"].map(|side| format!("sistrum-bench-{}-{side}", std::process::id()));
        let opened = make(&names);
        for name in &names {
            // What was not made cannot be removed; what was, lives on as long as its file is open.
            let _ = ip(&["netns", "del", name]);
        }
        opened.map(Self::Veth)
    }

    /// The address of one end.
    pub(crate) fn address(&self, side: usize) -> Ipv4Addr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST,
            Self::Veth(_) => ADDRESSES[side],
        }
    }

    /// How far a multicast goes.
    pub(crate) fn ttl(&self) -> u8 {
        match self {
            Self::Loopback => 0,
            Self::Veth(_) => 1,
        }
    }

    /// Moves the calling thread to one end: from here on it opens its sockets there.
    pub(crate) fn enter(&self, side: usize) -> io::Result<()> {
        match self {
            Self::Loopback => Ok(()),
            Self::Veth(namespaces) => raw::enter_network(&namespaces[side]),
        }
    }

    /// Opens something at one end, without moving the calling thread.
    pub(crate) fn inside<T: Send>(
        &self,
        side: usize,
        open: impl FnOnce() -> io::Result<T> + Send,
    ) -> Result<T, Failure> {
        let visit = || self.enter(side).and_then(|()| open());
        let opened = thread::scope(|scope| scope.spawn(visit).join());
        Ok(opened.map_err(|_| "opening an end panicked")??)
    }
}

fn make(names: &[String; 2]) -> Result<[File; 2], Failure> {
    let [left, right] = names;
    ip(&["netns", "add", left])?;
    ip(&["netns", "add", right])?;
    let opened = [File::open(path(left))?, File::open(path(right))?];
    ip(&["-n", left, "link", "add", DEVICE, "type", "veth", "peer", "name", DEVICE, "netns", right])?;
    for (name, address) in names.iter().zip(ADDRESSES) {
        ip(&["-n", name, "addr", "add", &format!("{address}/24"), "dev", DEVICE])?;
        ip(&["-n", name, "link", "set", DEVICE, "gso_max_segs", "1"])?;
        ip(&["-n", name, "link", "set", DEVICE, "up"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
    }
    Ok(opened)
}

fn path(name: &str) -> String {
    format!("/run/netns/{name}")
}

fn ip(args: &[&str]) -> Result<(), Failure> {
    let output = Command::new("ip").args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("ip does not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {}: {}", args.join(" "), error.trim()).into())
}

const DEVICE: &str = "veth-bench";
/// Of both ends; the namespaces are ours alone.
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 231, 0, 1), Ipv4Addr::new(10, 231, 0, 2)];
