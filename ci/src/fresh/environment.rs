//! What that user finds in the environment, and what not.

use super::place::Place;
use anyhow::{Context as _, Result};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Families of variables that may pass: how to reach a network, how to speak, what cargo and rustup are told to do.
const PASSING: [&str; 9] = [
    "CARGO_BUILD_JOBS",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
    "LC_",
    "RUSTUP_",
    "SSL_CERT_",
];

/// Single variables that may pass.
const PASSING_NAMES: [&str; 11] = [
    "ALL_PROXY",
    "CI",
    "CLICOLOR",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LANG",
    "NO_COLOR",
    "NO_PROXY",
    "RUST_BACKTRACE",
    "TERM",
    "TZ",
];

/// The environment for `place`, out of our own.
pub(super) fn of(
    place: &Place,
    ours: impl Iterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    let mut theirs: Vec<_> = ours.filter(|(name, _)| name.to_str().is_some_and(passes)).collect();
    let folders = [
        ("HOME", place.home()),
        ("CARGO_HOME", place.cargo_home()),
        ("RUSTUP_HOME", place.rustup_home()),
        ("TMPDIR", place.temporary()),
    ];
    theirs.extend(folders.map(|(name, path)| (name.into(), path.into())));
    theirs.push(("CARGO_NET_OFFLINE".into(), "true".into()));
    theirs.push(("PATH".into(), path(place)));
    theirs
}

/// Whether a variable of ours passes. Secrets never do, nor what points into our own build.
fn passes(name: &str) -> bool {
    let is_secret = name.ends_with("_TOKEN") || name.contains("CREDENTIAL");
    let passing = PASSING_NAMES.contains(&name.to_ascii_uppercase().as_str())
        || PASSING.iter().any(|family| name.starts_with(family));
    passing && !is_secret
}

/// The copied tools first, then the system's, without what belongs to us alone.
fn path(place: &Place) -> OsString {
    let ours: Vec<_> = ["HOME", "CARGO_HOME", "RUSTUP_HOME"]
        .iter()
        .filter_map(std::env::var_os)
        .map(PathBuf::from)
        .collect();
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    joined(&place.cargo_home().join("bin"), &inherited, &ours)
}

fn joined(first: &Path, inherited: &OsStr, ours: &[PathBuf]) -> OsString {
    let is_ours = |folder: &PathBuf| ours.iter().any(|our| folder.starts_with(our));
    let rest = std::env::split_paths(inherited).filter(|folder| folder.is_absolute() && !is_ours(folder));
    let folders = std::iter::once(first.to_path_buf()).chain(rest);
    std::env::join_paths(folders).expect("they were parts of a path before")
}

/// The name of the machine's architecture and system, as the compiler says it.
pub(super) fn host() -> Result<String> {
    let version = rustc(&["-vV"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say its host")
}

/// Where the active toolchain lies.
pub(super) fn sysroot() -> Result<PathBuf> {
    Ok(rustc(&["--print", "sysroot"])?.trim().into())
}

fn rustc(args: &[&str]) -> Result<String> {
    let program = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(program).args(args).output().context("rustc does not start")?;
    anyhow::ensure!(output.status.success(), "rustc {} ended with {}", args.join(" "), output.status);
    String::from_utf8(output.stdout).context("rustc does not speak UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_the_network_passes_and_nothing_private_does() {
        for name in [
            "CARGO_HTTP_CAINFO",
            "https_proxy",
            "RUSTUP_TOOLCHAIN",
            "CI",
            "LC_ALL",
            "CARGO_SOURCE_A_REPLACE_WITH",
        ] {
            assert!(passes(name), "{name}");
        }
        for name in [
            "CARGO_REGISTRIES_A_TOKEN",
            "CARGO_TARGET_DIR",
            "CARGO_PKG_NAME",
            "CARGO",
            "RUSTFLAGS",
            "SSH_AUTH_SOCK",
        ] {
            assert!(!passes(name), "{name}");
        }
    }

    #[test]
    fn our_own_tools_are_not_on_the_path() {
        let path = joined(
            "/new/bin".as_ref(),
            "/home/me/.cargo/bin:/usr/bin:relative:/opt/rust/bin".as_ref(),
            &["/home/me".into(), "/opt/rust".into()],
        );
        assert_eq!(path, "/new/bin:/usr/bin");
    }
}
