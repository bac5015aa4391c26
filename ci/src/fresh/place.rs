//! The temporary directory, what is copied into it, and whose it is.

use super::environment;
use crate::step::run as run_command;
use anyhow::{Context as _, Result, bail, ensure};
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The parts of a toolchain that compile; its documentation is more than half of its size.
const TOOLCHAIN: [&str; 4] = ["bin", "etc", "lib", "libexec"];

/// The commands of a toolchain, which are links to rustup where rustup is used.
const PROXIES: [&str; 8] =
    ["cargo", "cargo-clippy", "cargo-fmt", "clippy-driver", "rustc", "rustdoc", "rustfmt", "rustup"];

/// Who tries.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum User {
    /// We are an ordinary user already.
    Ourselves,
    /// We are root, and give up that.
    Nobody { uid: u32, gid: u32 },
}

impl User {
    /// The ordinary user that we can be.
    pub(super) fn ordinary() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Ourselves);
        }
        let users = fs::read_to_string("/etc/passwd").context("cannot read the list of users")?;
        nobody(&users).context("this machine has no user `nobody`")
    }

    /// The numbers to become, where that is to be done.
    pub(super) fn ids(&self) -> Option<(u32, u32)> {
        match *self {
            Self::Ourselves => None,
            Self::Nobody { uid, gid } => Some((uid, gid)),
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ourselves => to.write_str("the same user"),
            Self::Nobody { uid, gid } => write!(to, "nobody (user {uid}, group {gid})"),
        }
    }
}

fn nobody(users: &str) -> Option<User> {
    let fields = users.lines().find_map(|line| line.strip_prefix("nobody:"))?;
    let mut numbers = fields.split(':').skip(1);
    let uid = numbers.next()?.parse().ok()?;
    let gid = numbers.next()?.parse().ok()?;
    (uid != 0).then_some(User::Nobody { uid, gid })
}

/// The temporary directory, gone when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    root: PathBuf,
    keep: bool,
}

impl Place {
    /// Makes the directory where everybody can reach it.
    pub(super) fn take(keep: bool) -> Result<Self> {
        let candidates = [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()];
        let open = candidates.into_iter().find(|folder| is_reachable(folder));
        let folder = open.context("no temporary directory that other users can reach")?;
        let root = make_new(&folder)?;
        let place = Self { root, keep };
        for folder in [place.home(), place.cargo_home(), place.rustup_home(), place.temporary()] {
            fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(place)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn clone(&self) -> PathBuf {
        self.root.join("sistrum")
    }

    pub(super) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    pub(super) fn cargo_home(&self) -> PathBuf {
        self.root.join("cargo")
    }

    pub(super) fn rustup_home(&self) -> PathBuf {
        self.root.join("rustup")
    }

    pub(super) fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// A copy of ourselves, since the other user cannot read the original.
    pub(super) fn forbidding_program(&self) -> PathBuf {
        self.root.join("ci")
    }

    /// Copies the toolchain, the packages and ourselves.
    pub(super) fn furnish(&self) -> Result<()> {
        fs::copy("/proc/self/exe", self.forbidding_program()).context("cannot copy this program")?;
        let cargo_home = home("CARGO_HOME", ".cargo")?;
        copy(&cargo_home, &["config.toml", "config"], &self.cargo_home())?;
        // Cargo unpacks `src` again.
        let registry = self.cargo_home().join("registry");
        fs::create_dir(&registry)?;
        copy(&cargo_home.join("registry"), &["index", "cache"], &registry)?;
        let sysroot = environment::sysroot()?;
        let rustup_home = home("RUSTUP_HOME", ".rustup")?;
        if !sysroot.starts_with(rustup_home.join("toolchains")) {
            println!("    the toolchain is not rustup's: used where it is, {}", sysroot.display());
            return Ok(());
        }
        let bin = self.cargo_home().join("bin");
        fs::create_dir(&bin)?;
        copy(&cargo_home.join("bin"), &PROXIES, &bin)?;
        copy(&rustup_home, &["settings.toml"], &self.rustup_home())?;
        let name = sysroot.file_name().context("the toolchain has no name")?;
        let toolchain = self.rustup_home().join("toolchains").join(name);
        fs::create_dir_all(&toolchain)?;
        copy(&sysroot, &TOOLCHAIN, &toolchain)
    }

    /// Makes everything readable for `user`, and the rest theirs. The toolchain stays ours: nothing may change it.
    pub(super) fn give_to(&self, user: &User) -> Result<()> {
        run_command(Command::new("chmod").args(["-R", "a+rX,u+w"]).arg(&self.root))?;
        let Some((uid, gid)) = user.ids() else { return Ok(()) };
        let mut command = Command::new("chown");
        command.args(["-R", &format!("{uid}:{gid}")]);
        command.args([self.clone(), self.home(), self.cargo_home(), self.temporary()]);
        run_command(&mut command)?;
        run_command(Command::new("chown").arg(format!("{uid}:{gid}")).arg(self.rustup_home()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.keep {
            println!("kept: {}", self.root.display());
            return;
        }
        // A process that was killed may still be about to write its last file.
        for attempt in 1.. {
            match fs::remove_dir_all(&self.root) {
                Ok(()) => return,
                Err(_) if attempt < 10 => std::thread::sleep(Duration::from_millis(200)),
                Err(error) => return eprintln!("cargo ci: cannot remove {}: {error}", self.root.display()),
            }
        }
    }
}

/// A directory with a name that nobody has used: one that exists may be somebody's trap.
fn make_new(folder: &Path) -> Result<PathBuf> {
    for attempt in 0.. {
        let root = folder.join(format!("sistrum-fresh-{}-{attempt}", std::process::id()));
        match fs::DirBuilder::new().mode(0o755).create(&root) {
            Ok(()) => return Ok(root),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot make {}", root.display())),
        }
    }
    unreachable!("there are more names than files")
}

/// Whether every user can enter `folder` and all that lies above it.
fn is_reachable(folder: &Path) -> bool {
    folder.is_absolute()
        && folder.ancestors().all(|part| {
            fs::metadata(part).is_ok_and(|found| found.is_dir() && found.permissions().mode() & 0o001 != 0)
        })
}

/// Cargo's or rustup's own directory.
fn home(variable: &str, default: &str) -> Result<PathBuf> {
    match (std::env::var_os(variable), std::env::home_dir()) {
        (Some(folder), _) => Ok(folder.into()),
        (None, Some(home)) => Ok(home.join(default)),
        (None, None) => bail!("neither {variable} nor HOME is set"),
    }
}

/// Copies those of `names` that exist. Links stay links, and blocks are shared where the file system can.
fn copy(from: &Path, names: &[&str], to: &Path) -> Result<()> {
    let found: Vec<_> =
        names.iter().map(|name| from.join(name)).filter(|path| path.symlink_metadata().is_ok()).collect();
    if found.is_empty() {
        return Ok(());
    }
    let status = Command::new("cp")
        .args(["-a", "--reflink=auto", "--no-preserve=ownership"])
        .args(found)
        .arg(to)
        .status();
    ensure!(status.context("cp does not start")?.success(), "cannot copy from {}", from.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_found_by_name() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533:nobody:/nonexistent:/usr/sbin/nologin\n";
        assert_eq!(nobody(users), Some(User::Nobody { uid: 65534, gid: 65533 }));
        assert_eq!(nobody("root:x:0:0::/:/bin/sh\n"), None);
        assert_eq!(nobody("nobody:x:0:0::/:/bin/sh\n"), None, "root under another name is no ordinary user");
    }

    #[test]
    fn a_place_disappears() {
        let place = Place::take(false).unwrap();
        let root = place.root().to_path_buf();
        assert!(is_reachable(&place.home()));
        fs::write(place.home().join("file"), "x").unwrap();
        drop(place);
        assert!(!root.exists());
    }

    #[test]
    fn a_private_folder_is_not_reachable() {
        let place = Place::take(false).unwrap();
        let private = place.home();
        fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!is_reachable(&private.join("below")));
        assert!(!is_reachable(&private));
        assert!(!is_reachable("relative".as_ref()));
    }
}
