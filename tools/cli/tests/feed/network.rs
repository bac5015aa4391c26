//! The feed over a network that is none of this host: two network namespaces and a pair of veth. As root; otherwise
//! skipped aloud.

use std::net::UdpSocket;
use std::process::Command;

use super::process::{Process, Ran, json_of};

/// Two namespaces, joined by a veth; dropped, they are removed.
struct Namespaces {
    names: [String; 2],
}

impl Namespaces {
    const ADDRESSES: [&str; 2] = ["10.71.0.1", "10.71.0.2"];

    /// `None` where this user or this machine cannot.
    fn new(test: &str) -> Option<Self> {
        let names = ["a", "b"].map(|end| format!("sfeed-{test}-{}-{end}", std::process::id()));
        let made = Self { names };
        let [a, b] = &made.names;
        let commands = [
            format!("netns add {a}"),
            format!("netns add {b}"),
            format!("-n {a} link add veth0 type veth peer name veth0 netns {b}"),
            format!("-n {a} addr add 10.71.0.1/24 dev veth0"),
            format!("-n {b} addr add 10.71.0.2/24 dev veth0"),
            format!("-n {a} link set veth0 up"),
            format!("-n {b} link set veth0 up"),
        ];
        commands.iter().all(|command| ip(command)).then_some(made)
    }

    fn feed(&self, end: usize, arguments: &[&str]) -> Process {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.names[end], env!("CARGO_BIN_EXE_sistrum"), "feed"])
            .args(arguments);
        Process::start(command)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.names {
            ip(&format!("netns del {name}"));
        }
    }
}

fn ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split(' ')).output().is_ok_and(|ran| ran.status.success())
}

fn assert_equal(publisher: &Ran, subscribers: &[Ran]) {
    assert_eq!(publisher.status, Some(0), "{}", publisher.err);
    for subscriber in subscribers {
        assert_eq!(subscriber.status, Some(0), "{}", subscriber.err);
        assert_eq!(json_of(subscriber)["digest"], json_of(publisher)["digest"]);
    }
}

#[test]
fn two_hosts_by_multicast_and_by_unicast() {
    let Some(hosts) = Namespaces::new("two") else {
        eprintln!("SKIPPED: network namespaces want root and `ip`");
        return;
    };
    let [a, b] = Namespaces::ADDRESSES;
    let members = format!("{a}:7001,{b}:7001");
    let common = ["--members", &members, "--insecure", "--json"];
    for more in [&[][..], &["--unicast"]] {
        let listed = hosts.feed(1, &[&["subscribe"], &common[..], more].concat());
        let publish = ["publish", "--interface", "veth0", "--file", "-"];
        let mut publisher = hosts.feed(0, &[&publish[..], &common, more].concat());
        publisher.wait_for("all are here");
        assert!(publisher.said().contains(&format!("interface veth0 {a}")), "{}", publisher.said());
        // Only by multicast can anybody be late.
        let late = more.is_empty().then(|| {
            let mut late =
                hosts.feed(1, &["subscribe", "--late", "--interface", "veth0", "--insecure", "--json"]);
            late.wait_for("came in at block 0");
            late
        });
        publisher.type_in(&super::lines(0, 500));
        publisher.end_input();
        let publisher = publisher.finish();
        let ran = [Some(listed.finish()), late.map(Process::finish)];
        assert_equal(&publisher, &ran.into_iter().flatten().collect::<Vec<_>>());
    }
}

#[test]
fn a_network_wants_its_danger_named() {
    // No datagram is sent: this only asks which address would be used.
    let route = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    let Ok(address) = route.map(|own| own.ip()) else {
        eprintln!("SKIPPED: this host has no network but loopback");
        return;
    };
    let members = format!("{address}:7001,192.0.2.1:7001");
    let ran =
        Process::start(super::feed("publish", &["--members", &members, "--file", super::MARKET])).finish();
    assert_eq!((ran.status, ran.err.lines().count()), (Some(2), 1), "{}", ran.err);
    assert!(ran.err.contains("is not loopback") && ran.err.contains("--insecure"), "{}", ran.err);
}
