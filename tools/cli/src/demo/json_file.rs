//! The JSON report's file: refused before the run when it cannot be written, and never half written.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::refusal::Refusal;

/// A file that will be written. Dropped without a commit, it leaves nothing behind and an older report untouched.
#[derive(Debug)]
pub(super) struct JsonFile {
    path: PathBuf,
    file: File,
    /// The name under which it is written first, beside `path`; `None` when `path` is a device or a pipe.
    partial: Option<PathBuf>,
}

impl JsonFile {
    /// Makes sure that `path` can be written.
    pub(super) fn prepare(path: &Path) -> Result<Self, Refusal> {
        Self::create(path)
            .map_err(|error| Refusal::new(format_args!("{}: cannot be written: {error}", path.display())))
    }

    fn create(path: &Path) -> std::io::Result<Self> {
        let existing = OpenOptions::new().write(true).open(path);
        match existing {
            Ok(file) if !file.metadata()?.is_file() => {
                return Ok(Self { path: path.to_owned(), file, partial: None });
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            // The older report stays until the new one is complete.
            Ok(_) | Err(_) => {}
        }
        let name = path.file_name().ok_or(std::io::ErrorKind::IsADirectory)?;
        let partial = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&partial)?;
        Ok(Self { path: path.to_owned(), file, partial: Some(partial) })
    }

    /// Writes the report and gives it its name.
    pub(super) fn commit(mut self, json: &str) -> Result<(), Refusal> {
        let written = writeln!(self.file, "{json}").and_then(|()| match self.partial.take() {
            Some(partial) => {
                std::fs::rename(&partial, &self.path).inspect_err(|_| self.partial = Some(partial))
            }
            None => Ok(()),
        });
        written.map_err(|error| {
            Refusal::new(format_args!("{}: cannot be written: {error}", self.path.display()))
        })
    }
}

impl Drop for JsonFile {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // What cannot be removed any more is not ours any more.
            let _ = std::fs::remove_file(partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_replaces_the_older_one_only_when_it_is_complete() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("report.json");
        std::fs::write(&path, "old").expect("to write");
        drop(JsonFile::prepare(&path).expect("writable"));
        assert_eq!(std::fs::read_to_string(&path).expect("to read"), "old");
        JsonFile::prepare(&path).expect("writable").commit("{}").expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("to read"), "{}\n");
        assert_eq!(std::fs::read_dir(folder.path()).expect("to list").count(), 1);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_refused() {
        for place in ["/nonexistent/report.json", "/", "/proc/report.json", ".."] {
            assert!(JsonFile::prepare(Path::new(place)).is_err(), "{place} was taken");
        }
    }
}
