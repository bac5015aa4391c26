//! All unsafe system code, one file per facility. Everything else in the house is safe Rust.
#![allow(unsafe_code)]

mod address;
pub mod bpf;
pub mod clock;
pub mod crc;
pub mod interface;
pub mod message;
pub mod process;
pub mod random;
pub mod socket;
pub mod uring;
pub mod words;

#[cfg(test)]
pub(crate) mod tests {
    use std::process::Command;

    /// Whether this host has IPv6 on loopback; says so aloud when not, and fails where everything must be tested.
    pub(crate) fn has_ipv6() -> bool {
        let Err(refused) = std::net::UdpSocket::bind("[::1]:0") else { return true };
        assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must run where ::1 is: {refused}");
        eprintln!("SKIP: no IPv6 on loopback: {refused}");
        false
    }

    /// Says to the child that it is in the namespace.
    const INSIDE: &str = "SISTRUM_TEST_NAMESPACE";

    /// Does `tried` in a network namespace of its own, which `ip` has prepared by `commands` and which ends with it: in a
    /// child process, this test binary again, that does nothing but `test`, the one that calls this.
    pub(crate) fn inside_a_namespace(commands: &[&str], test: &str, tried: impl FnOnce()) {
        if std::env::var(INSIDE).as_deref() == Ok(test) {
            return tried();
        }
        let unshare = |script: &str| {
            Command::new("unshare").args(["--map-root-user", "--net", "sh", "-ec", script]).output()
        };
        let prepare: String = commands.iter().map(|command| format!("ip {command}; ")).collect();
        if !unshare(&prepare).is_ok_and(|ran| ran.status.success()) {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must run where network namespaces are");
            eprintln!("SKIP: network namespaces want `unshare` and `ip`, and the permission to use them");
            return;
        }
        let this = std::env::current_exe().unwrap();
        let (_, name) = test.split_once("::").unwrap();
        let run = format!("{prepare} {INSIDE}={test} exec '{}' --exact {name} --nocapture", this.display());
        let ran = unshare(&run).unwrap();
        let said = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    }
}
