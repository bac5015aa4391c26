//! Where the files lie: a folder of each user, that nobody else may enter.

use super::origin::{Life, Origin};
use super::snapshot::Snapshot;
use crate::sys::process;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a node's counters are published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Place {
    /// In the user's own folder: the first of [`places`] that can be used.
    #[default]
    PerUser,
    /// In this folder, which is made if it is not there.
    In(PathBuf),
    /// Nowhere.
    Off,
}

/// Why a node's counters are not published. The node works as ever.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unpublished {
    /// The configuration says so.
    #[error("counters: they are off")]
    Off,
    /// No folder can be used.
    #[error("counters: {why}")]
    NoPlace {
        /// What is wrong with each that was tried.
        why: String,
    },
    /// The file cannot be made.
    #[error("counters: {}: {why}", path.display())]
    NoFile {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
}

/// The folders of this user, best first: `$XDG_RUNTIME_DIR/sistrum`, `/dev/shm/sistrum-<user>`, and one below the folder for temporary
/// files.
#[must_use]
pub fn places() -> Vec<PathBuf> {
    let own = format!("sistrum-{}", process::user());
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let mut places: Vec<_> = runtime.map(|path| path.join("sistrum")).into_iter().collect();
    places.extend([Path::new("/dev/shm").join(&own), std::env::temp_dir().join(&own)]);
    places
}

/// The folder to publish in, made where it is not there.
pub(super) fn open(place: &Place) -> Result<PathBuf, Unpublished> {
    let mut wrong = Vec::new();
    let candidates = match place {
        Place::Off => return Err(Unpublished::Off),
        Place::In(path) => vec![path.clone()],
        Place::PerUser => places(),
    };
    for path in candidates {
        match make(&path) {
            Ok(()) => return Ok(path),
            Err(why) => wrong.push(format!("{}: {why}", path.display())),
        }
    }
    Err(Unpublished::NoPlace { why: wrong.join("; ") })
}

/// Makes the folder, or sees that it is this user's and closed to others: in a folder for all, anybody could have made it.
fn make(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    check(path)
}

fn check(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    let refuse = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    if !found.is_dir() {
        return refuse("it is no folder".to_owned());
    }
    if found.uid() != process::user() {
        return refuse(format!("it belongs to user {}", found.uid()));
    }
    if found.permissions().mode() & 0o077 != 0 {
        return refuse(format!("others may enter it: its mode is {:o}, not 700", found.mode() & 0o777));
    }
    Ok(())
}

/// The files in a folder, by name. One that is not there, or that others may write to, has none.
#[must_use]
pub fn files(folder: &Path) -> Vec<PathBuf> {
    named(folder, EXTENSION)
}

/// Removes the files in a folder whose processes are gone, and says how many those were. What cannot be read is left alone.
pub fn clean(folder: &Path) -> usize {
    let here = Origin::here();
    let is_dead =
        |path: &PathBuf| Snapshot::origin(path).is_ok_and(|origin| origin.life(&here) == Life::Dead);
    // Whoever ended before its file was whole.
    let age = |path: &PathBuf| fs::metadata(path).and_then(|found| found.modified()).ok()?.elapsed().ok();
    let is_old = |path: &PathBuf| age(path).is_some_and(|age| age > UNFINISHED);
    let dead = files(folder).into_iter().filter(is_dead);
    let left = dead.chain(named(folder, NEW).into_iter().filter(is_old));
    left.filter(|path| fs::remove_file(path).is_ok()).count()
}

fn named(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = check(folder).and_then(|()| fs::read_dir(folder)) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<_> = paths.filter(|path| path.extension() == Some(OsStr::new(extension))).collect();
    files.sort();
    files
}

/// What the names of the files end in, once they are whole, and before.
pub(super) const EXTENSION: &str = "counters";
/// See [`EXTENSION`].
pub(super) const NEW: &str = "new";
/// A file is made in less.
const UNFINISHED: Duration = Duration::from_secs(60);

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A folder of its own for a test, gone when it is forgotten.
    pub(in super::super) struct Folder(pub(in super::super) PathBuf);

    impl Folder {
        pub(in super::super) fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("sistrum-test-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_folder_is_made_for_its_user_alone() {
        let folder = Folder::new("made");
        let place = Place::In(folder.0.clone());
        assert_eq!(open(&place), Ok(folder.0.clone()));
        assert_eq!(fs::metadata(&folder.0).unwrap().mode() & 0o777, 0o700);
        assert_eq!(open(&place), Ok(folder.0.clone()), "it is there");
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).unwrap();
        let refused = open(&place).unwrap_err().to_string();
        assert!(refused.contains("others may enter it: its mode is 755"), "{refused}");
        assert!(files(&folder.0).is_empty());
        assert_eq!(open(&Place::Off), Err(Unpublished::Off));
    }

    #[test]
    fn what_is_no_folder_of_mine_is_refused() {
        let folder = Folder::new("linked");
        fs::create_dir(&folder.0).unwrap();
        let link = folder.0.join("link");
        std::os::unix::fs::symlink("/tmp", &link).unwrap();
        let refused = open(&Place::In(link)).unwrap_err().to_string();
        assert!(refused.ends_with("it is no folder"), "{refused}");
        let refused = open(&Place::In("/nowhere/at/all".into())).unwrap_err().to_string();
        assert!(refused.starts_with("counters: /nowhere/at/all: "), "{refused}");
    }
}
