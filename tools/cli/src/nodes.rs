//! The nodes of this user that publish counters, as `stat` and `top` find them.

use std::path::{Path, PathBuf};

use sistrum::counters::{Life, Origin, Snapshot, Unreadable, clean, files, places};

/// Which nodes to look at.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Choice {
    /// Only the nodes of one process, or the one that writes this file.
    #[arg(long, value_name = "PID|FILE")]
    pub(crate) node: Option<String>,

    /// The folder that nodes publish in, where their configuration names one.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
}

/// One node, as it was last written.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: PathBuf,
    pub(crate) snapshot: Snapshot,
    pub(crate) life: Life,
}

/// What there is.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) nodes: Vec<Seen>,
    /// Files that cannot be read, and why.
    pub(crate) unreadable: Vec<(PathBuf, Unreadable)>,
}

impl Choice {
    /// Looks for nodes, and removes what is left of those whose processes are gone.
    pub(crate) fn find(&self) -> Found {
        let here = Origin::here();
        let process = self.node.as_deref().map(str::parse::<u32>);
        let mut found = Found::default();
        if let (Some(file), Some(Err(_))) = (&self.node, &process) {
            // Who names a file wants to see it, whoever wrote it.
            found.add(Path::new(file), &here);
            return found;
        }
        for folder in self.folders() {
            clean(&folder);
            files(&folder).iter().for_each(|path| found.add(path, &here));
        }
        // A node that was closed meanwhile is no node.
        found.unreadable.retain(|(path, _)| path.exists());
        if let Some(Ok(process)) = process {
            found.nodes.retain(|seen| seen.snapshot.origin.process == process);
            found.unreadable.retain(|(path, _)| is_of(path, process));
        }
        found
    }

    /// Where it was looked, for whoever found nothing.
    pub(crate) fn place(&self) -> String {
        let folders: Vec<_> = self.folders().iter().map(|folder| folder.display().to_string()).collect();
        let place = folders.join(", ");
        match &self.node {
            Some(node) if node.parse::<u32>().is_ok() => format!("process {node} publishes none in {place}"),
            _ => format!("no node publishes any in {place}"),
        }
    }

    fn folders(&self) -> Vec<PathBuf> {
        self.folder.clone().map_or_else(places, |folder| vec![folder])
    }
}

impl Found {
    fn add(&mut self, path: &Path, here: &Origin) {
        match Snapshot::read(path) {
            Ok(snapshot) => {
                let life = snapshot.origin.life(here);
                self.nodes.push(Seen { path: path.to_owned(), snapshot, life });
            }
            Err(why) => self.unreadable.push((path.to_owned(), why)),
        }
    }
}

/// Names begin with the process.
fn is_of(path: &Path, process: u32) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.split('-').next().is_some_and(|first| first.parse() == Ok(process))
}
