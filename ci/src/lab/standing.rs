//! How a member stands, in a file of its own beside its history, for whoever waits.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// See the module. Before its first view, and while it is out, all is zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    /// Of its view, those in it, and how many of them have not got the state yet.
    pub(super) number: u32,
    pub(super) members: usize,
    pub(super) joining: usize,
    /// Its own in that view.
    pub(super) rank: u16,
    /// How often it has written down the state for somebody.
    pub(super) snapshots: u32,
    /// It casts nothing more, and what it cast has been delivered by all.
    pub(super) is_settled: bool,
}

impl Standing {
    /// That of the member that writes this history.
    pub(super) fn of(history: &Path) -> Self {
        let text = fs::read_to_string(history.with_extension("standing"));
        text.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// Shows it, as a whole or not at all.
    pub(super) fn show(&self, history: &Path) -> Result<()> {
        let new = history.with_extension("new");
        fs::write(&new, serde_json::to_string(self)?)?;
        fs::rename(&new, history.with_extension("standing")).context("nobody can be shown how it stands")
    }
}
