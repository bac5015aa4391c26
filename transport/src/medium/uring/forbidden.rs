//! Where io_uring is forbidden: tried in a child process, this test binary again, behind a seccomp filter that it puts on itself.

use crate::medium::{FanOut, Medium, MediumChoice, Sockets, UdpConfig, auto};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::process::Command;

/// Says to the child what the filter answers to it.
const ERRNO: &str = "SISTRUM_TEST_FORBIDDEN";
/// The system calls of io_uring; their numbers are the same on every architecture that the filter knows.
const IO_URING: [i64; 3] = [425, 426, 427];

fn forbid(errno: i32) {
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let rules = IO_URING.into_iter().map(|call| (call, Vec::new())).collect();
    let answer = SeccompAction::Errno(errno.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, arch).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

/// Has this binary run the test `behind_a_filter` with a filter that answers `errno`.
fn child_passes(errno: i32) {
    let this = std::env::current_exe().unwrap();
    let test = concat!(module_path!(), "::behind_a_filter");
    let (_, test) = test.split_once("::").unwrap();
    let mut child = Command::new(this);
    child.args(["--exact", test, "--nocapture"]).env(ERRNO, errno.to_string());
    let ran = child.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn forbidden_by_eperm_uring_says_so_and_auto_takes_udp() {
    child_passes(libc::EPERM);
}

#[test]
fn forbidden_by_enosys_uring_says_so_and_auto_takes_udp() {
    child_passes(libc::ENOSYS);
}

/// Does nothing unless it is the child of one of the tests above.
#[test]
fn behind_a_filter() {
    let Ok(errno) = std::env::var(ERRNO) else { return };
    let errno: i32 = errno.parse().unwrap();
    forbid(errno);
    let why = if errno == libc::EPERM { "it is forbidden here" } else { "there is none here" };
    let refused = auto::open(MediumChoice::Uring, UdpConfig::default()).unwrap_err().to_string();
    assert!(refused.starts_with("cannot use io_uring: ") && refused.contains(why), "{refused}");
    assert!(!refused.contains('\n'));

    let mut auto = auto::open(MediumChoice::Auto, UdpConfig::default()).unwrap();
    assert!(
        auto.description().starts_with("udp (") && auto.description().contains(why),
        "{}",
        auto.description()
    );
    for _ in 0..20 {
        auto.open_channel(FanOut::multicast(crate::medium::udp::tests::fresh_group())).unwrap();
    }
    assert_eq!(auto.capabilities().name, "udp");
    let mut pool = super::tests::pool(2);
    assert_eq!(auto.receive(&mut pool, &mut Vec::new(), Sockets::All, 8).unwrap(), 0);
}
