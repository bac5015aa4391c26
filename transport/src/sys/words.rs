//! A file mapped as words that this process alone writes, and others read by reading the file.

use memmap2::MmapMut;
use std::fs::File;
use std::io;
use std::sync::atomic::AtomicU64;

/// The words of a file, from its beginning to its end.
#[derive(Debug)]
pub struct Words(MmapMut);

impl Words {
    /// Maps `file`, which must have whole words, and whose bytes are there already: a hole that cannot be filled would
    /// end the process at the first store.
    ///
    /// # Errors
    /// When the file has no whole words, or cannot be mapped.
    pub fn map(file: &File) -> io::Result<Self> {
        // SAFETY: nobody shortens the file while it is mapped: it is new, of a name that only this process uses, in a folder
        // that only this user may write to. All access is by atomics, so that changes from outside are no data races.
        let map = unsafe { MmapMut::map_mut(file) }?;
        if map.is_empty() || !map.len().is_multiple_of(size_of::<AtomicU64>()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a file of no whole words"));
        }
        Ok(Self(map))
    }

    /// All words.
    #[must_use]
    pub fn all(&self) -> &[AtomicU64] {
        let count = self.0.len() / size_of::<AtomicU64>();
        // SAFETY: a mapping begins at a page, so its words are aligned; they are all within it, live as long as `self` is
        // borrowed, are writable, and any bytes are a word. Nothing makes another reference to them.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast::<AtomicU64>(), count) }
    }
}
