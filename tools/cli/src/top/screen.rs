//! The pages: a list of nodes and groups, one group in detail, and help.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style, Stylize as _};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row as Cells, Sparkline, Table, TableState};
use sistrum::Instant;
use sistrum::counters::{Life, Scope};

use super::detail;
use super::model::{Model, Node, Row};
use crate::figures::{count, time};

/// Which page is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Page {
    #[default]
    List,
    Detail,
    Help,
}

/// What is shown, and which line is chosen.
#[derive(Debug, Default)]
pub(super) struct Screen {
    pub(super) page: Page,
    pub(super) chosen: usize,
}

/// An engine that has not written for so long stands still: it writes every 20 ms while it is polled.
const STALLED_NS: u64 = 1_000_000_000;

impl Screen {
    /// Chooses another line.
    pub(super) fn go(&mut self, model: &Model, by: isize) {
        let last = model.rows().len().saturating_sub(1);
        self.chosen = self.chosen.min(last).saturating_add_signed(by).min(last);
    }

    /// Draws the page. Where nothing is found, it was looked in `place`.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>, model: &Model, place: &str, now: Instant) {
        let [title, body, foot] =
            Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)])
                .areas(frame.area());
        let keys = match self.page {
            Page::List => "enter detail  ? help  q quit",
            Page::Detail => "esc back  ? help  q quit",
            Page::Help => "esc back  q quit",
        };
        let nodes = if model.count() == 1 { "1 node".to_owned() } else { format!("{} nodes", model.count()) };
        frame.render_widget(Line::from(format!(" sistrum top: {nodes}")).bold().reversed(), title);
        frame.render_widget(Line::from(format!("{keys} ")).right_aligned().reversed(), title);
        if let Some(unreadable) = model.unreadable.first() {
            frame.render_widget(Line::from(format!(" {unreadable}")).yellow(), foot);
        }
        self.go(model, 0);
        let row = model.rows().get(self.chosen);
        match (self.page, row) {
            (Page::Help, _) => frame.render_widget(Paragraph::new(Text::from_iter(HELP)), body),
            (_, None) => {
                let lines = [Line::from(" no counters:"), Line::from(format!(" {place}"))];
                frame.render_widget(Paragraph::new(lines.to_vec()).wrap(Default::default()), body);
            }
            (Page::List, Some(row)) => self.draw_list(frame, body, model, row, now),
            (Page::Detail, Some(row)) => {
                if let (node, Some(group)) = model.of(row) {
                    detail::draw(frame, body, model, node, group, now);
                } else {
                    self.page = Page::List;
                }
            }
        }
    }

    fn draw_list(&self, frame: &mut Frame<'_>, area: Rect, model: &Model, row: &Row, now: Instant) {
        let [list, below] = Layout::vertical([Constraint::Fill(1), Constraint::Length(10)]).areas(area);
        let head = ["PID", "NODE", "ENDPOINT", "GROUP", "VIEW", "MSG/S", "HELD BACK BY", "WRITTEN"];
        let lines = model.rows().iter().map(|row| line(model, row, now));
        // The port of an IPv4 address is seen on loopback, and of any where there is room for it.
        let endpoint = if area.width < 100 { 15 } else { 47.min(area.width - 79) };
        let widths = [
            Constraint::Length(7),
            Constraint::Length(8),
            Constraint::Length(endpoint),
            Constraint::Fill(1),
            Constraint::Length(8),
            Constraint::Length(6),
            Constraint::Length(12),
            Constraint::Length(7),
        ];
        let table = Table::new(lines, widths)
            .header(Cells::new(head).style(Style::new().add_modifier(Modifier::BOLD)))
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        frame.render_stateful_widget(table, list, &mut TableState::new().with_selected(self.chosen));
        let (node, group) = model.of(row);
        let name = row.group.as_deref().unwrap_or_default();
        let [flow, times] = Layout::vertical([Constraint::Length(5), Constraint::Length(5)]).areas(below);
        draw_flow(frame, flow, node, name);
        draw_times(frame, times, node, group);
    }
}

/// Messages a second, as a line of bars.
pub(super) fn draw_flow(frame: &mut Frame<'_>, area: Rect, node: &Node, group: &str) {
    let rates: Vec<u64> = node.rates(group).rev().take(usize::from(area.width)).collect();
    let now = rates.first().copied().unwrap_or(0);
    let most = rates.iter().copied().max().unwrap_or(0);
    let title = format!(" {group}: {} messages a second, at most {} of late ", count(now), count(most));
    let block = Block::new().borders(Borders::TOP).title(title);
    let bars = Sparkline::default().block(block).data(rates.into_iter().rev().collect::<Vec<_>>());
    frame.render_widget(bars, area);
}

/// Latencies, by quantile.
pub(super) fn draw_times(frame: &mut Frame<'_>, area: Rect, node: &Node, group: Option<&Scope>) {
    let name = group.map_or("", |group| group.label("group"));
    let all = [
        ("sealed until held by all", node.times(name, "stable_time")),
        ("sealed until delivered by all", node.times(name, "delivered_time")),
        ("one busy cycle to the next", node.engine_times("cycle_time")),
        ("pause of a view change", node.times(name, "view_change_pause")),
    ];
    let lines = all.into_iter().map(|(what, times)| {
        let times = times.map_or(["-"; 3].map(str::to_owned), |times| times.map(time));
        Cells::new([what.to_owned()].into_iter().chain(times))
    });
    let widths =
        [Constraint::Fill(1), Constraint::Length(10), Constraint::Length(10), Constraint::Length(10)];
    let head =
        Cells::new([" latency", "p50", "p99", "p99.9"]).style(Style::new().add_modifier(Modifier::BOLD));
    frame.render_widget(Table::new(lines, widths).header(head), area);
}

fn line<'a>(model: &Model, row: &Row, now: Instant) -> Cells<'a> {
    let (node, group) = model.of(row);
    let snapshot = node.last();
    let engine = snapshot.scope("engine");
    let of_engine = |name| engine.map_or("", |engine| engine.label(name)).to_owned();
    let age = now.since_ns(snapshot.written);
    let written = match node.life {
        Life::Dead => Cell::new("gone").red(),
        _ if age > STALLED_NS => Cell::new(time(age)).red(),
        _ => Cell::new(time(age)),
    };
    let name = row.group.as_deref().unwrap_or("-");
    Cells::new([
        Cell::new(snapshot.origin.process.to_string()),
        Cell::new(of_engine("node")),
        Cell::new(of_engine("endpoint")),
        Cell::new(name.to_owned()),
        group.map_or(Cell::new("-"), view),
        Cell::new(node.rate(name, "delivered_messages").map_or("-".to_owned(), count)),
        held(node, name),
        written,
    ])
}

fn view<'a>(group: &Scope) -> Cell<'a> {
    let (Some(view), Some(members)) = (group.number("view"), group.number("members")) else {
        return Cell::new(if group.label("role") == "member" { "none" } else { "-" });
    };
    let text = format!("v{view} of {members}");
    if group.number("wedged") == Some(1) {
        Cell::new(text).red()
    } else if group.number("view_changing") == Some(1)
        || group.number("suspects").is_some_and(|some| some > 0)
    {
        Cell::new(text).yellow()
    } else {
        Cell::new(text)
    }
}

fn held<'a>(node: &Node, group: &str) -> Cell<'a> {
    match detail::HeldBack::of(node, group) {
        Some(held) => {
            let text = format!("r{} {}", held.rank, time(held.age));
            if held.is_bad() { Cell::new(text).red() } else { Cell::new(text) }
        }
        None => Cell::new("-"),
    }
}

const HELP: [&str; 18] = [
    "",
    " up, down, j, k    another line",
    " enter, right      the group of that line in detail",
    " esc, left         back",
    " q, ctrl-c         quit",
    "",
    " MSG/S             messages handed to the application in a second",
    " HELD BACK BY      who has delivered least of this node's stream, and how long it moved nothing;",
    "                   red when half of the window waits for it, or 100 ms have passed",
    " WRITTEN           how long ago the node wrote its counters: every 20 ms while it is polled",
    " BEHIND            blocks of this node's stream that the member has not delivered",
    " REFUSED           casts that were refused because of it, in this view",
    " LOST n/o/i/p      blocks lost of its stream: by the network, by overflow of my socket, on purpose,",
    "                   for want of receive buffers; suspected, in this view",
    "",
    " Latencies are those of the last ten seconds, or all since the node was opened where none came.",
    " Sealed until ..: from the cycle that sealed a block; what is known here, so heartbeats count.",
    " One busy cycle to the next: what the application does between two polls is in it.",
];
