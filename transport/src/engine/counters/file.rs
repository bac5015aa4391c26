//! The file of one node, as its engine writes it.

use super::layout::{self, MAGIC, Size, VERSION, WORD};
use super::origin::Origin;
use super::place::{self, EXTENSION, NEW, Place, Unpublished};
use super::sink::{Labels, Storing, Walk, store};
use crate::id::BootId;
use crate::sys::words::Words;
use crate::time::Instant;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering, fence};

/// From one copy of the counters to the next.
const EVERY_NS: u64 = 20_000_000;
/// Names that are tried.
const MAX_NODES: usize = 1_000;
/// Nodes of this process so far: each has a name of its own.
static NODES: AtomicUsize = AtomicUsize::new(0);

/// Copies counters into a file, which goes when this does.
#[derive(Debug)]
pub struct Publisher {
    words: Words,
    size: Size,
    path: PathBuf,
    process: u32,
    /// When it is to be written again.
    due: Instant,
    sequence: u64,
    generation: u64,
    /// Words of values that there are labels for.
    used: usize,
}

impl Publisher {
    /// Makes the file of a node of this incarnation, and removes those of processes that are gone. There are no counters in it before
    /// [`publish`](Self::publish).
    ///
    /// # Errors
    /// Why it cannot be: nothing is left behind.
    pub fn create(place: &Place, size: Size, boot: BootId, now: Instant) -> Result<Self, Unpublished> {
        let folder = place::open(place)?;
        place::clean(&folder);
        let origin = Origin::here();
        let (path, file) = make(&folder, origin.process)?;
        let new = path.with_extension(NEW);
        let failed = |error: io::Error| {
            let _ = fs::remove_file(&new);
            Unpublished::NoFile { path: path.clone(), why: error.to_string() }
        };
        let words = fill(file, size.bytes()).and_then(|file| Words::map(&file)).map_err(failed)?;
        let header = [
            (layout::AT_MAGIC, MAGIC),
            (layout::AT_VERSION, u64::from(VERSION) | (layout::HEADER_WORDS as u64) << 32),
            (layout::AT_LENGTH, size.bytes() as u64),
            (layout::AT_PROCESS, u64::from(origin.process)),
            (layout::AT_BEGAN, origin.began),
            (layout::AT_HOST, origin.host),
            (layout::AT_NAMESPACE, origin.namespace),
            (layout::AT_BOOT, boot.0),
            (layout::AT_OPENED, now.0),
            (layout::AT_WRITTEN, now.0),
            (layout::AT_VALUES, size.values_at() as u64),
        ];
        header.into_iter().for_each(|(at, value)| store(&words.all()[at], value));
        // Under its own name it is whole: nobody sees it without a header. A link takes nobody's name away.
        fs::hard_link(&new, &path).and_then(|()| fs::remove_file(&new)).map_err(failed)?;
        let process = origin.process;
        Ok(Self { words, size, path, process, due: now, sequence: 0, generation: 0, used: 0 })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is time to publish again.
    #[inline]
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    /// Copies everything. Where `is_changed`, or for the first time, what there is is named anew, which takes memory.
    pub fn publish(&mut self, now: Instant, walk: &impl Walk, is_changed: bool) {
        self.due = now.plus_ns(EVERY_NS);
        let labels = (is_changed || self.generation == 0).then(|| Labels::of(walk, self.size));
        let words = self.words.all();
        words[layout::AT_SEQUENCE].store((self.sequence + 1).to_le(), Ordering::Relaxed);
        // Release: whoever sees a word that is stored behind it sees an odd sequence, or a later one.
        fence(Ordering::Release);
        if let Some(labels) = labels {
            self.generation += 1;
            self.used = labels.words;
            let chunks = labels.bytes.chunks(WORD);
            for (word, chunk) in words[layout::LABELS / WORD..].iter().zip(chunks) {
                let mut bytes = [0; WORD];
                bytes[..chunk.len()].copy_from_slice(chunk);
                store(word, u64::from_le_bytes(bytes));
            }
            store(&words[layout::AT_GENERATION], self.generation);
            store(&words[layout::AT_LABEL_BYTES], labels.bytes.len() as u64);
            store(&words[layout::AT_VALUE_WORDS], labels.words as u64);
            store(&words[layout::AT_LEFT_OUT], labels.left_out);
        }
        let values = self.size.values_at() / WORD;
        walk.walk(&mut Storing { words: &words[values..values + self.used] });
        store(&words[layout::AT_WRITTEN], now.0);
        self.sequence += 2;
        // Release: pairs with the fence between the two looks of `Snapshot::read`.
        words[layout::AT_SEQUENCE].store(self.sequence.to_le(), Ordering::Release);
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // A process that was forked off has the mapping, and not the node.
        if std::process::id() == self.process {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A file of a name that nobody has, still without its extension.
fn make(folder: &Path, process: u32) -> Result<(PathBuf, File), Unpublished> {
    for _ in 0..MAX_NODES {
        let number = NODES.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{process}-{number}.{EXTENSION}"));
        if path.exists() {
            continue;
        }
        let new = path.with_extension(NEW);
        match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&new) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Unpublished::NoFile { path: new, why: error.to_string() }),
        }
    }
    let why = format!("it has {MAX_NODES} files of an earlier process {process}");
    Err(Unpublished::NoFile { path: folder.to_owned(), why })
}

/// Every byte is written once: where there is no room for it, that is told now, and not by a signal later.
fn fill(mut file: File, bytes: usize) -> io::Result<File> {
    file.write_all(&vec![0; bytes])?;
    Ok(file)
}
