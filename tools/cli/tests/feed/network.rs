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
            // So that a link has another number on either host, and there is more than one to choose from.
            format!("-n {b} link add x0 type veth peer name x1"),
            format!("-n {b} link set x0 up"),
            format!("-n {b} link set x1 up"),
            format!("-n {b} addr add 10.72.0.1/24 dev x0"),
            format!("-n {b} addr add fd72::1/64 dev x0 nodad"),
            format!("-n {a} link add veth0 type veth peer name veth0 netns {b}"),
            format!("-n {a} addr add 10.71.0.1/24 dev veth0"),
            format!("-n {b} addr add 10.71.0.2/24 dev veth0"),
            format!("-n {a} link set veth0 addrgenmode none"),
            format!("-n {b} link set veth0 addrgenmode none"),
            format!("-n {a} link set veth0 up"),
            format!("-n {b} link set veth0 up"),
            format!("-n {a} link set lo up"),
            format!("-n {b} link set lo up"),
            format!("-n {a} addr add fd71::1/64 dev veth0 nodad"),
            format!("-n {b} addr add fd71::2/64 dev veth0 nodad"),
            format!("-n {b} addr add fd71::3/64 dev veth0 nodad"),
            format!("-n {a} addr add fe80::1/64 dev veth0 nodad"),
            format!("-n {b} addr add fe80::2/64 dev veth0 nodad"),
            format!("-n {b} route add 239.255.0.0/16 dev veth0"),
        ];
        if commands.iter().all(|command| ip(command)) {
            return Some(made);
        }
        assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must run where network namespaces are");
        eprintln!("SKIPPED: network namespaces want root and `ip`");
        None
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
    let Some(hosts) = Namespaces::new("two") else { return };
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

/// Publishes from host a to host b, as `members` and `more` say; both must come to one digest.
fn published(hosts: &Namespaces, members: &str, more: &[&str]) -> [Ran; 2] {
    let common = [&["--members", members, "--insecure", "--json"], more].concat();
    let listed = hosts.feed(1, &[&["subscribe"], &common[..]].concat());
    let publisher = hosts.feed(0, &[&["publish", "--file", super::MARKET], &common[..]].concat()).finish();
    let listed = listed.finish();
    assert_equal(&publisher, std::slice::from_ref(&listed));
    [publisher, listed]
}

#[test]
fn two_hosts_by_ipv6() {
    let Some(hosts) = Namespaces::new("six") else { return };
    let members = "[fd71::1]:7001,[fd71::2]:7001";
    for more in [&[][..], &["--unicast"], &["--source-specific"], &["--medium", "uring", "--loss", "1"]] {
        if more.contains(&"uring") && !super::has_uring() {
            continue;
        }
        let [publisher, _] = published(&hosts, members, more);
        assert!(
            publisher.err.contains("interface veth0 fd71::1 (it has this process's address"),
            "{}",
            publisher.err
        );
        let group = if more.contains(&"--unicast") { "unicast to each" } else { "group [ff15::7171]:7171" };
        assert!(publisher.err.contains(group), "{}", publisher.err);
    }
    // A group in the range that routers know as source-specific.
    published(&hosts, members, &["--source-specific", "--group", "[ff35::7171]:7171"]);
}

#[test]
fn two_hosts_by_their_link() {
    let Some(hosts) = Namespaces::new("link") else { return };
    for more in [&["--group", "[ff12::7171]:7171"][..], &["--unicast"]] {
        let [publisher, listed] = published(&hosts, "[fe80::1%veth0]:7001,[fe80::2%veth0]:7001", more);
        let place = |ran: &Ran| json_of(ran)["endpoint"].as_str().expect("text").to_owned();
        let (here, there) = (place(&publisher), place(&listed));
        assert_ne!(here.split_once('%').expect("a link").1, there.split_once('%').expect("a link").1);
    }
}

#[test]
fn who_is_late_hears_the_sources_that_it_names() {
    let Some(hosts) = Namespaces::new("late") else { return };
    let members = "[fd71::1]:7001,[fd71::2]:7001";
    let common = ["--members", members, "--insecure", "--json"];
    let listed = hosts.feed(1, &[&["subscribe"], &common[..]].concat());
    let mut publisher = hosts.feed(0, &[&["publish", "--file", "-"], &common[..]].concat());
    publisher.wait_for("all are here");
    let late = ["subscribe", "--late", "--insecure", "--json", "--sources"];
    let mut hears = hosts.feed(1, &[&late[..], &["fd71::1,fd71::2"]].concat());
    hears.wait_for("came in at block 0");
    assert!(hears.said().contains("interface veth0 fd71::"), "{}", hears.said());
    assert!(hears.said().contains("(the route to [fd71::1]:7171 goes by it)"), "{}", hears.said());
    let mut deaf = hosts.feed(1, &[&late[..], &["fd71::3"]].concat());
    deaf.wait_for("waiting for a message in the group");
    publisher.type_in(&super::lines(0, 500));
    publisher.end_input();
    let publisher = publisher.finish();
    assert_equal(&publisher, &[listed.finish(), hears.finish()]);
    deaf.signal("-INT");
    let deaf = deaf.finish();
    assert_eq!((deaf.status, &json_of(&deaf)["messages"]), (Some(130), &0.into()), "{}", deaf.err);
    assert!(!deaf.err.contains("came in"), "{}", deaf.err);
}

#[test]
fn an_interface_is_chosen_by_the_routes() {
    let Some(hosts) = Namespaces::new("route") else { return };
    let publish =
        ["publish", "--peers", "10.71.0.2:7001", "--port", "7001", "--insecure", "--json", "--file", "-"];
    let subscribe = ["subscribe", "--peers", "10.71.0.1:7001", "--port", "7001", "--insecure", "--json"];
    let (mut publisher, mut listed) = (hosts.feed(0, &publish), hosts.feed(1, &subscribe));
    publisher.wait_for("all are here");
    listed.wait_for("interface veth0 10.71.0.2 (the route to 10.71.0.1:7001 goes by it)");
    let late = ["subscribe", "--late", "--insecure", "--json", "--group", "239.255.71.71:7171"];
    let mut late = hosts.feed(1, &late);
    late.wait_for(
        "interface veth0 10.71.0.2 (the route to 239.255.71.71:7171 goes by it, and no physical interface",
    );
    late.wait_for("came in at block 0");
    let mut home = hosts.feed(1, &["subscribe", "--late", "--json"]);
    home.wait_for("interface lo 127.0.0.1 (the default: a network wants --insecure,");
    home.signal("-INT");
    publisher.type_in(&super::lines(0, 100));
    publisher.end_input();
    let publisher = publisher.finish();
    assert_equal(&publisher, &[listed.finish(), late.finish()]);
    assert_eq!(home.finish().status, Some(130));
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
