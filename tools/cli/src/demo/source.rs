//! What each publisher publishes: a capture of its own, or its part of one that is dealt out by turn.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::options::Options;
use super::sample;
use crate::capture::Feed;
use crate::digest::Digest;
use crate::refusal::Refusal;

/// One publisher's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Source {
    /// The embedded sample when absent.
    pub(super) path: Option<PathBuf>,
    /// The messages at this place of every round of `of` are its own.
    pub(super) turn: usize,
    pub(super) of: usize,
    /// Nanoseconds from the beginning of the earliest capture to that of this one.
    pub(super) lead_ns: u64,
}

impl Source {
    /// What each publisher publishes, and the digest of it.
    ///
    /// # Errors
    /// When a file is no capture, or there are neither one file nor as many as publishers.
    pub(super) fn all(options: &Options) -> Result<Vec<(Self, Digest)>, Refusal> {
        let publishers = options.publishers();
        if options.file.len() > 1 && options.file.len() != publishers {
            let files = options.file.len();
            let why = format_args!(
                "{files} files for {publishers} publishers: one for all is wanted, or one for each"
            );
            return Err(Refusal::new(why));
        }
        let path = |at: usize| options.file.get(at).or(options.file.first()).cloned();
        let of = if options.file.len() > 1 { 1 } else { publishers };
        let sources = (0..publishers).map(|at| Self { path: path(at), turn: at % of, of, lead_ns: 0 });
        let loaded: Vec<_> =
            sources.map(|source| Ok((source.load()?, source))).collect::<Result<_, Refusal>>()?;
        // Captures that do not all say when they began begin together.
        let began = loaded.iter().map(|(feed, _)| feed.began_ns()).collect::<Option<Vec<u64>>>();
        let began = began.unwrap_or_else(|| vec![0; publishers]);
        let earliest = began.iter().min().copied().unwrap_or(0);
        let with_lead = loaded
            .into_iter()
            .zip(began)
            .map(|((feed, source), began)| (Self { lead_ns: began - earliest, ..source }, Digest::of(&feed)));
        Ok(with_lead.collect())
    }

    /// The messages.
    pub(super) fn load(&self) -> Result<Feed, Refusal> {
        let mut feed =
            match &self.path {
                None => sample::feed()
                    .map_err(|error| Refusal::new(format_args!("the embedded sample: {error}")))?,
                Some(path) => Feed::open(path)
                    .map_err(|error| Refusal::new(format_args!("{}: {error}", path.display())))?,
            };
        feed.deal(self.turn, self.of);
        Ok(feed)
    }
}
