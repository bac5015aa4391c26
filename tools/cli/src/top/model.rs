//! What was seen of the nodes so far, and what follows from two looks: rates, and latencies of late.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use sistrum::BootId;
use sistrum::counters::{Life, Reading, Scope, Shape, Snapshot};

use crate::nodes::{Found, Seen};

/// Looks that are kept: latencies are those between the first and the last of them.
const LOOKS: usize = 20;
/// Rates that are kept: the width of a screen.
const RATES: usize = 120;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Model {
    nodes: Vec<Node>,
    rows: Vec<Row>,
    /// Files that cannot be read, and why.
    pub(super) unreadable: Vec<String>,
}

/// One node.
#[derive(Debug)]
pub(super) struct Node {
    path: PathBuf,
    boot: BootId,
    pub(super) life: Life,
    looks: VecDeque<Snapshot>,
    /// Of each of its groups: messages a second, the newest last.
    rates: Vec<(String, VecDeque<u64>)>,
}

/// One line of the list: a group of a node, or a node without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) node: usize,
    pub(super) group: Option<String>,
}

impl Model {
    /// Takes in what there is now.
    pub(super) fn look(&mut self, found: Found) {
        let is_there = |path: &Path, boot| {
            found.nodes.iter().any(|seen| seen.path == path && seen.snapshot.boot == boot)
        };
        self.nodes.retain(|node| is_there(&node.path, node.boot));
        for seen in found.nodes {
            match self.nodes.iter_mut().find(|node| node.path == seen.path) {
                Some(node) => node.look(seen),
                None => self.nodes.push(Node::new(seen)),
            }
        }
        self.nodes.sort_by(|one, other| one.path.cmp(&other.path));
        self.unreadable =
            found.unreadable.iter().map(|(path, why)| format!("{}: {why}", path.display())).collect();
        self.rows.clear();
        for (at, node) in self.nodes.iter().enumerate() {
            let groups = node.last().scopes("group").map(|group| Some(group.label("group").to_owned()));
            let before = self.rows.len();
            self.rows.extend(groups.map(|group| Row { node: at, group }));
            if self.rows.len() == before {
                self.rows.push(Row { node: at, group: None });
            }
        }
    }

    /// All lines of the list.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The node of a line, and its group.
    pub(super) fn of(&self, row: &Row) -> (&Node, Option<&Scope>) {
        let node = &self.nodes[row.node];
        (node, row.group.as_deref().and_then(|group| node.group(group)))
    }

    /// How many nodes there are.
    pub(super) fn count(&self) -> usize {
        self.nodes.len()
    }

    /// All nodes that are in this group.
    pub(super) fn nodes_in(&self, group: &str) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.group(group).is_some())
    }
}

impl Node {
    fn new(seen: Seen) -> Self {
        let Seen { path, snapshot, life } = seen;
        Self { path, boot: snapshot.boot, life, looks: VecDeque::from([snapshot]), rates: Vec::new() }
    }

    fn look(&mut self, seen: Seen) {
        self.life = seen.life;
        let groups: Vec<_> =
            seen.snapshot.scopes("group").map(|group| group.label("group").to_owned()).collect();
        self.looks.push_back(seen.snapshot);
        if self.looks.len() > LOOKS {
            self.looks.pop_front();
        }
        for group in groups {
            let rate = self.rate(&group, "delivered_messages").unwrap_or(0);
            let at = self.rates.iter().position(|(name, _)| *name == group).unwrap_or_else(|| {
                self.rates.push((group, VecDeque::new()));
                self.rates.len() - 1
            });
            let rates = &mut self.rates[at].1;
            rates.push_back(rate);
            if rates.len() > RATES {
                rates.pop_front();
            }
        }
    }

    /// As it was seen last.
    pub(super) fn last(&self) -> &Snapshot {
        self.looks.back().expect("there is one from the first look on")
    }

    /// One of its groups.
    pub(super) fn group(&self, group: &str) -> Option<&Scope> {
        group_of(self.last(), group)
    }

    /// Messages a second that were handed over in a group, the newest last.
    pub(super) fn rates(&self, group: &str) -> impl DoubleEndedIterator<Item = u64> + ExactSizeIterator {
        static NONE: VecDeque<u64> = VecDeque::new();
        let own = self.rates.iter().find(|(name, _)| name == group);
        own.map_or(&NONE, |(_, rates)| rates).iter().copied()
    }

    /// How much a counter of a group grew by in a second, between the last two looks; 0 where the node stands still.
    pub(super) fn rate(&self, group: &str, name: &str) -> Option<u64> {
        self.growth(name, |snapshot| group_of(snapshot, group))
    }

    /// Likewise of its engine.
    pub(super) fn engine_rate(&self, name: &str) -> Option<u64> {
        self.growth(name, |snapshot| snapshot.scope("engine"))
    }

    fn growth<'a>(&'a self, name: &str, of: impl Fn(&'a Snapshot) -> Option<&'a Scope>) -> Option<u64> {
        let [before, last] = [self.looks.get(self.looks.len().checked_sub(2)?)?, self.last()];
        let grown = of(last)?.number(name)?.saturating_sub(of(before)?.number(name)?);
        let ns = last.written.since_ns(before.written);
        Some(if ns == 0 { 0 } else { (grown as f64 * 1e9 / ns as f64) as u64 })
    }

    /// The median, 99 and 99.9 of a hundred of a group's times: those that came between the looks that are kept, or all where none did.
    pub(super) fn times(&self, group: &str, name: &str) -> Option<[u64; 3]> {
        self.late(name, |snapshot| group_of(snapshot, group))
    }

    /// Likewise of its engine.
    pub(super) fn engine_times(&self, name: &str) -> Option<[u64; 3]> {
        self.late(name, |snapshot| snapshot.scope("engine"))
    }

    fn late<'a>(&'a self, name: &str, of: impl Fn(&'a Snapshot) -> Option<&'a Scope>) -> Option<[u64; 3]> {
        let (shape, last) = buckets(of(self.last())?, name)?;
        let first = self.looks.front().and_then(|first| buckets(of(first)?, name)).map(|(_, counts)| counts);
        let first = first.filter(|first| first.len() == last.len()).unwrap_or(&[]);
        let before = first.iter().copied().chain(std::iter::repeat(0));
        let late: Vec<u64> =
            last.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect();
        let counts = if late.iter().any(|count| *count > 0) { &late[..] } else { last };
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|part| shape.quantile(counts, part));
        Some([p50?, p99?, p999?])
    }
}

fn group_of<'a>(snapshot: &'a Snapshot, group: &str) -> Option<&'a Scope> {
    snapshot.scopes("group").find(|scope| scope.label("group") == group)
}

fn buckets<'a>(scope: &'a Scope, name: &str) -> Option<(Shape, &'a [u64])> {
    match scope.reading(name)? {
        Reading::Histogram { shape, counts, .. } => Some((*shape, counts)),
        Reading::Counter(_) | Reading::Gauge(_) => None,
    }
}
