//! Where a subscriber writes the messages, framed as they were read by the publisher.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::Path;

use crate::capture::stream::Format;
use crate::refusal::Refusal;

/// A file or standard output that messages are written to.
pub(super) struct Sink {
    to: BufWriter<Box<dyn Write>>,
    name: String,
    format: Format,
}

impl Sink {
    /// Writes to the file at `path`, or to standard output when there is none.
    pub(super) fn open(path: Option<&Path>, format: Format) -> Result<Self, Refusal> {
        let (to, name): (Box<dyn Write>, _) = match path {
            None => (Box::new(std::io::stdout()), "standard output".to_owned()),
            Some(path) => {
                let name = path.display().to_string();
                let file = File::create(path)
                    .map_err(|error| Refusal::new(format_args!("{name}: cannot be written: {error}")))?;
                (Box::new(file), name)
            }
        };
        Ok(Self { to: BufWriter::with_capacity(BUFFER, to), name, format })
    }

    /// Writes the next message; why it cannot be.
    pub(super) fn write(&mut self, message: &[u8]) -> Result<(), String> {
        let written = match self.format {
            Format::Lines => self.to.write_all(message).and_then(|()| self.to.write_all(b"\n")),
            Format::Itch => match u16::try_from(message.len()) {
                Ok(length) => {
                    self.to.write_all(&length.to_be_bytes()).and_then(|()| self.to.write_all(message))
                }
                Err(_) => Err(too_long(message)),
            },
            Format::Binary => match u32::try_from(message.len()) {
                Ok(length) => {
                    self.to.write_all(&length.to_le_bytes()).and_then(|()| self.to.write_all(message))
                }
                Err(_) => Err(too_long(message)),
            },
        };
        written.map_err(|error| self.why(&error))
    }

    /// Hands on what is still held back here; called when nothing more comes for a while.
    pub(super) fn flush(&mut self) -> Result<(), String> {
        self.to.flush().map_err(|error| self.why(&error))
    }

    fn why(&self, error: &std::io::Error) -> String {
        match error.kind() {
            ErrorKind::BrokenPipe => format!("{}: nobody reads it any more", self.name),
            _ => format!("{}: cannot be written: {error}", self.name),
        }
    }
}

fn too_long(message: &[u8]) -> std::io::Error {
    std::io::Error::other(format!("a message of {} bytes does not fit the format's length", message.len()))
}

const BUFFER: usize = 256 * 1024;
