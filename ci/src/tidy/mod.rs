//! `cargo ci tidy`: the promises of the documents that can be checked by reading the source.
//!
//! What is checked, on every file below the root that is not hidden and not in a `target` folder:
//! - **unsafe-home**: the word `unsafe`, or permission for it, stands in `transport/src/sys/` or in a place that
//!   [`rules::UNSAFE_HOMES`] lists with its reason; a listed place without any `unsafe` is itself a finding.
//! - **safety**: every `unsafe` block and `unsafe impl` has a `SAFETY:` comment at most three lines of code above it.
//! - **forbid-unsafe**: the roots of `ordering` and `membership` say `#![forbid(unsafe_code)]`.
//! - **ambient**: `ordering`, `membership` and the pure rooms of `transport` name no clock, thread, socket, file,
//!   environment, ambient generator, or map whose iteration order is drawn at random.
//! - **downwards**: our crates depend only on crates below them.
//! - **global-random**: nobody calls fastrand's global generator, or seeds one from it.
//! - **room**: no source file is longer than 600 lines, its tests not counted.
//! - **leftover**: no note that says that something is yet to be done.
//!
//! Not checked: what a macro expands to, and what a dependency does.

mod code;
mod rules;

use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::Path;

/// What kinds of files are read.
const KINDS: [&str; 5] = ["rs", "toml", "md", "sh", "yml"];

/// One file, as the rules see it. Paths are relative to the root.
#[derive(Debug)]
struct Source {
    path: String,
    text: String,
    /// The same text without comments and literals; empty for files that are not Rust.
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { code::only(text) } else { String::new() };
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }
}

/// A broken promise.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    rule: &'static str,
    what: String,
}

/// Reads everything below `root` and prints what breaks a promise.
///
/// # Errors
/// When there is a finding, or a file cannot be read.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut sources = Vec::new();
    read(root, "", &mut sources)?;
    let findings = rules::all(&sources);
    for Finding { path, line, rule, what } in &findings {
        println!("{path}:{line}: {rule}: {what}");
    }
    match findings.len() {
        0 => println!("    {} files read", sources.len()),
        count => bail!("{count} findings in {} files", sources.len()),
    }
    Ok(())
}

fn read(root: &Path, below: &str, sources: &mut Vec<Source>) -> Result<()> {
    let folder = root.join(below);
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut entries: Vec<_> = entries.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        let kind = entry.file_type()?;
        if kind.is_dir() && !name.starts_with('.') && name != "target" {
            read(root, &path, sources)?;
        } else if kind.is_file() && name.rsplit_once('.').is_some_and(|(_, end)| KINDS.contains(&end)) {
            let text = fs::read_to_string(root.join(&path)).with_context(|| format!("cannot read {path}"))?;
            sources.push(Source::new(&path, &text));
        }
    }
    Ok(())
}
