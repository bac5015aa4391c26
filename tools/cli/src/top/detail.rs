//! One group of a node: its members, who holds whom back, and how long things take.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style, Stylize as _};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row as Cells, Table};
use sistrum::Instant;
use sistrum::counters::{Scope, Snapshot};

use super::model::{Model, Node};
use super::screen::{draw_flow, draw_times};
use crate::figures::{count, time};

/// Who holds the stream of a node back, and the numbers that say so.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HeldBack {
    pub(super) rank: u64,
    pub(super) member: String,
    pub(super) blocks: u64,
    pub(super) window: u64,
    pub(super) age: u64,
    refused: u64,
}

/// Who has moved nothing for so long holds back, however little waits.
const BAD_AGE_NS: u64 = 100_000_000;
/// Lines of who holds whom back, at most.
const HELD_LINES: usize = 4;

impl HeldBack {
    /// The one that a node waits for in a group.
    pub(super) fn of(node: &Node, group: &str) -> Option<Self> {
        let snapshot = node.last();
        let out = streams(snapshot, group).find(|stream| stream.label("direction") == "out")?;
        let rank = out.number("held_by_rank")?;
        let is_it = |scope: &&Scope| scope.label("rank") == rank.to_string();
        let peer = peers(snapshot, group).find(is_it);
        Some(Self {
            rank,
            member: peer.unwrap_or(out).label("member").to_owned(),
            blocks: out.number("held_blocks").unwrap_or(0),
            window: out.number("window_blocks").unwrap_or(0),
            age: out.number("held_age").unwrap_or(0),
            refused: peer.and_then(|peer| peer.number("refused_casts")).unwrap_or(0),
        })
    }

    /// Whether that is more than what is always on its way.
    pub(super) fn is_bad(&self) -> bool {
        self.age > BAD_AGE_NS || 2 * self.blocks >= self.window.max(1)
    }
}

/// Draws the group of this node.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    model: &Model,
    node: &Node,
    group: &Scope,
    now: Instant,
) {
    let name = group.label("group");
    let held: Vec<_> = held_lines(model, name).collect();
    let areas = [
        Constraint::Length(3),
        Constraint::Fill(1),
        Constraint::Length(1 + held.len() as u16),
        Constraint::Length(5),
        Constraint::Length(4),
    ];
    let [head, members, back, times, flow] = Layout::vertical(areas).areas(area);
    frame.render_widget(Paragraph::new(heading(node, group, now)), head);
    draw_members(frame, members, node, name);
    let title = Line::from(" who waits for whom, of the nodes of this host").bold();
    frame.render_widget(Paragraph::new([vec![title], held].concat()), back);
    draw_times(frame, times, node, Some(group));
    draw_flow(frame, flow, node, name);
}

fn heading<'a>(node: &Node, group: &Scope, now: Instant) -> Vec<Line<'a>> {
    let snapshot = node.last();
    let of_engine = |name| snapshot.scope("engine").map_or("", |engine| engine.label(name));
    let first = format!(
        " {} at {}, process {}, {}",
        group.label("group"),
        of_engine("endpoint"),
        snapshot.origin.process,
        of_engine("node")
    );
    let sent = node
        .engine_rate("sent_blocks")
        .map_or_else(String::new, |rate| format!(", {} blocks/s sent", count(rate)));
    let second = match (group.number("view"), group.number("members"), group.number("rank")) {
        (Some(view), Some(members), Some(rank)) => {
            let state = match (group.number("wedged"), group.number("view_changing")) {
                (Some(1), _) => "cannot go on",
                (_, Some(1)) => "the view changes",
                _ => "steady",
            };
            let led =
                group.number("coordinator_rank").map_or_else(String::new, |rank| format!(", led by r{rank}"));
            format!(" r{rank} of {members} in v{view}{led}: {state}{sent}")
        }
        _ => format!(" {} in no view{sent}", group.label("role")),
    };
    let third = match group.number("view_age") {
        // Since it was written, it has grown older.
        Some(age) => {
            let age = time(age.saturating_add(now.since_ns(snapshot.written)));
            let views = group.number("views").unwrap_or(0);
            format!(" views {views}, the last change {age} ago: {}", group.label("about"))
        }
        None => " no view so far".to_owned(),
    };
    vec![Line::from(first).bold(), Line::from(second), Line::from(third)]
}

fn draw_members(frame: &mut Frame<'_>, area: Rect, node: &Node, group: &str) {
    let snapshot = node.last();
    let head =
        ["RANK", "MEMBER", "STATE", "BEHIND", "SILENT", "REFUSED", "LOST n/o/i/p", "REPAIRED", "ALONE >/<"];
    let length = Constraint::Length;
    let widths =
        [length(4), Constraint::Fill(1), length(9), length(6), length(7), length(7), length(12), length(8)];
    // What is sent to one alone is told where there is room for it.
    let shown = if area.width >= WIDE { head.len() } else { widths.len() };
    let widths = widths.into_iter().chain([length(11)]).take(shown);
    let lines = streams(snapshot, group).map(|stream| {
        let rank = stream.label("rank");
        let peer = peers(snapshot, group).find(|peer| peer.label("rank") == rank);
        let first = [format!("r{rank}"), stream.label("member").to_owned()].map(Cell::new);
        Cells::new(first.into_iter().chain(peer.map_or_else(own, of_peer)).take(shown))
    });
    let head = Cells::new(head.into_iter().take(shown)).style(Style::new().add_modifier(Modifier::BOLD));
    frame.render_widget(Table::new(lines, widths).header(head), area);
}

fn own<'a>() -> Vec<Cell<'a>> {
    vec![Cell::new("me").dim()]
}

fn of_peer<'a>(peer: &Scope) -> Vec<Cell<'a>> {
    let number = |name: &str| peer.number(name).unwrap_or(0);
    let is_suspected = number("suspected") == 1;
    let state = if is_suspected { Cell::new("suspected").red() } else { Cell::new("alive") };
    let lost = ["network", "overflow", "injected", "pool"]
        .map(|cause| count(number(&format!("lost_{cause}_blocks"))));
    let marked = |name: &str| {
        let text = count(number(name));
        if number(name) > 0 { Cell::new(text).yellow() } else { Cell::new(text) }
    };
    vec![
        state,
        marked("behind_blocks"),
        Cell::new(peer.number("silence").map_or("-".to_owned(), time)),
        marked("refused_casts"),
        Cell::new(lost.join("/")),
        Cell::new(count(number("repaired_blocks"))),
        Cell::new(["sent_alone_messages", "handed_alone_messages"].map(|name| count(number(name))).join("/")),
    ]
}

/// Columns of a screen that has room for all.
const WIDE: u16 = 100;

/// Whom each node of this host waits for in a group, the worst first.
fn held_lines<'a>(model: &Model, group: &str) -> impl Iterator<Item = Line<'a>> {
    let mut all: Vec<_> =
        model.nodes_in(group).filter_map(|node| Some((node, HeldBack::of(node, group)?))).collect();
    all.sort_by_key(|(_, held)| std::cmp::Reverse((held.is_bad(), held.age)));
    let lines = all.into_iter().take(HELD_LINES).map(|(node, held)| {
        let waiter = node.last().scope("engine").map_or("", |engine| engine.label("endpoint"));
        let HeldBack { rank, member, blocks, window, age, refused } = &held;
        let refused = if *refused > 0 { format!(", {} refused", count(*refused)) } else { String::new() };
        let text =
            format!(" {waiter} for r{rank} {member}: {blocks} of {window} blocks, {}{refused}", time(*age));
        if held.is_bad() { Line::from(text).red() } else { Line::from(text) }
    });
    let lines: Vec<_> = lines.collect();
    let none = lines.is_empty().then(|| Line::from(" nobody for anybody"));
    lines.into_iter().chain(none)
}

fn streams<'a>(snapshot: &'a Snapshot, group: &str) -> impl Iterator<Item = &'a Scope> {
    snapshot.scopes("stream").filter(move |scope| scope.label("group") == group)
}

fn peers<'a>(snapshot: &'a Snapshot, group: &str) -> impl Iterator<Item = &'a Scope> {
    snapshot.scopes("peer").filter(move |scope| scope.label("group") == group)
}
