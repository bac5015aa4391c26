//! Counters in a mapped file: other processes read what a node counts, and the node does not notice.
//!
//! ```text
//!  node:    plain counters --- copied now and then, by the cycle's clock ---> words of a mapping
//!                                                                                    | the same pages
//!  others:  stat, top, a scraper                     a Snapshot  <--- read ---   a file, one for each node
//! ```
//! The engine counts in plain fields, as it would without all this. A [`Publisher`] walks them and stores them, a few
//! hundred words every 20 ms; it never waits, and makes no system call. Whoever reads, reads the file, not a mapping of it: a
//! file that is cut short under a mapping ends the process that looks. Nothing is ever written by a reader.
//!
//! The file says what is in it ([`layout`]): names and labels come first, numbers behind them, so that a reader shows
//! counters that it has never heard of.

mod file;
mod histogram;
mod label;
pub mod layout;
mod origin;
mod place;
mod sink;
mod snapshot;

pub use file::Publisher;
pub use histogram::{BUCKETS, Histogram, Shape};
pub use label::{Kind, Metric, Unit};
pub use layout::Size;
pub use origin::{Life, Origin};
pub use place::{Place, Unpublished, clean, files, places};
pub use sink::{Sink, Walk};
pub use snapshot::{Reading, Scope, Snapshot, Unreadable, Value};

/// A gauge that says nothing at present: there is no such member, or nothing has happened yet.
pub const NONE: u64 = u64::MAX;
