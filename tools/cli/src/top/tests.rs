use super::*;
use crate::nodes::{Found, Seen};
use crate::stat::sample;
use ratatui::Terminal as Ratatui;
use ratatui::backend::TestBackend;
use sistrum::Instant;
use sistrum::counters::{Life, Scope};

const SECOND: u64 = 1_000_000_000;

/// What stands on a screen of 80 columns and 24 lines.
fn shown(screen: &mut Screen, model: &Model, now: u64) -> Vec<String> {
    shown_in(80, screen, model, now)
}

/// The same, of so many columns.
fn shown_in(columns: u16, screen: &mut Screen, model: &Model, now: u64) -> Vec<String> {
    let mut terminal = Ratatui::new(TestBackend::new(columns, 24)).unwrap();
    terminal.draw(|frame| screen.draw(frame, model, "no node publishes any in /run", Instant(now))).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..columns).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..24).map(line).collect()
}

fn found(nodes: Vec<Seen>) -> Found {
    Found { nodes, unreadable: Vec::new() }
}

/// Two looks, a second apart, at a node that handed over so many messages meanwhile.
fn model(messages: u64) -> Model {
    let mut model = Model::default();
    model.look(found(vec![sample::node(10 * SECOND, 1_000)]));
    model.look(found(vec![sample::node(11 * SECOND, 1_000 + messages)]));
    model
}

#[track_caller]
fn assert_has(lines: &[String], parts: &[&str]) {
    assert!(
        lines.iter().any(|line| parts.iter().all(|part| line.contains(part))),
        "no line with {parts:?} in\n{}",
        lines.join("\n")
    );
}

#[test]
fn the_list_has_what_matters() {
    let lines = shown(&mut Screen::default(), &model(12_300), 11 * SECOND + 5_000_000);
    assert_has(&lines, &[" sistrum top: 1 node", "? help  q quit"]);
    assert_has(&lines, &["PID", "NODE", "ENDPOINT", "GROUP", "VIEW", "MSG/S", "HELD BACK BY", "WRITTEN"]);
    assert_has(&lines, &["4711", "a\"b", "127.0.0.1:7000", "ticks", "v4 of 3", "12300", "r2 1.2 s", "5 ms"]);
    assert_has(&lines, &["ticks: 12300 messages a second"]);
    assert_has(&lines, &["latency", "p50", "p99", "p99.9"]);
    assert_has(&lines, &["sealed until held by all", "2.05 us", "4.1 us"]);
    assert_has(&lines, &["█"]);
}

#[test]
fn the_detail_names_who_holds_everybody_back() {
    let mut screen = Screen { page: Page::Detail, ..Screen::default() };
    let lines = shown(&mut screen, &model(400), 12 * SECOND);
    assert_has(&lines, &["ticks at 127.0.0.1:7000, process 4711"]);
    assert_has(&lines, &["r0 of 3 in v4, led by r0: steady"]);
    assert_has(&lines, &["views 4, the last change 13 s ago: 127.0.0.1:7003 was suspected"]);
    assert_has(
        &lines,
        &["RANK", "MEMBER", "STATE", "BEHIND", "SILENT", "REFUSED", "LOST n/o/i/p", "REPAIRED"],
    );
    assert_has(&lines, &["r0", "127.0.0.1:7000", "me"]);
    assert_has(&lines, &["127.0.0.1:7000 for r2 127.0.0.1:7002: 252 of 256 blocks, 1.2 s, 99 refused"]);
    assert_has(&lines, &["sealed until delivered by all", "2.05 us"]);
    assert_has(&lines, &["ticks: 400 messages a second"]);
    let mut node = sample::node(12 * SECOND, 1_000);
    let out = node.snapshot.scopes.iter().find(|scope| scope.name == "stream").cloned().unwrap();
    let labels = [("group", "ticks"), ("rank", "2"), ("member", "127.0.0.1:7002"), ("direction", "in")];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    node.snapshot.scopes.push(Scope { labels, ..out });
    let mut model = Model::default();
    model.look(found(vec![node]));
    let lines = shown_in(120, &mut screen, &model, 12 * SECOND);
    assert_has(&lines, &["RANK", "REPAIRED", "ALONE >/<"]);
    assert_has(&lines, &["r2", "127.0.0.1:7002", "70/80"]);
}

#[test]
fn members_have_their_losses_by_cause() {
    let mut model = model(0);
    let mut seen = sample::node(12 * SECOND, 1_000);
    // A stream of each member stands for it.
    let mut stream = seen.snapshot.scopes[2].clone();
    for (rank, member) in [("1", "127.0.0.1:7001"), ("2", "127.0.0.1:7002")] {
        for (name, value) in [("rank", rank), ("member", member), ("direction", "in")] {
            stream.labels.iter_mut().find(|(own, _)| own == name).unwrap().1 = value.to_owned();
        }
        seen.snapshot.scopes.push(stream.clone());
    }
    model.look(found(vec![seen]));
    let lines = shown(&mut Screen { page: Page::Detail, ..Screen::default() }, &model, 12 * SECOND);
    assert_has(&lines, &["r1", "127.0.0.1:7001", "alive", "1.5 ms", "3/4/5/6", "18"]);
    assert_has(&lines, &["r2", "127.0.0.1:7002", "suspected", "252", "99", "3/4/5/6"]);
}

#[test]
fn an_engine_that_stands_still_has_no_rate_and_an_age() {
    let mut model = model(100);
    model.look(found(vec![sample::node(11 * SECOND, 1_100)]));
    let lines = shown(&mut Screen::default(), &model, 20 * SECOND);
    assert_has(&lines, &["4711", "v4 of 3", " 0 ", "9 s"]);
    let mut gone = sample::node(11 * SECOND, 1_100);
    gone.life = Life::Dead;
    model.look(found(vec![gone]));
    assert_has(&shown(&mut Screen::default(), &model, 20 * SECOND), &["4711", "gone"]);
}

#[test]
fn without_a_node_it_says_where_it_looks() {
    let (mut screen, mut model) = (Screen::default(), model(100));
    model.look(found(Vec::new()));
    assert_has(&shown(&mut screen, &model, 0), &["no node publishes any in /run"]);
    screen.page = Page::Detail;
    assert_has(&shown(&mut screen, &model, 0), &["no node publishes any in /run"]);
}

#[test]
fn keys_lead_from_page_to_page() {
    let (mut screen, model) = (Screen::default(), model(100));
    let mut press = |code, modifiers| {
        let goes_on = screen.press(code, modifiers, &model);
        (goes_on, screen.page)
    };
    let none = KeyModifiers::NONE;
    assert_eq!(press(KeyCode::Enter, none), (true, Page::Detail));
    assert_eq!(press(KeyCode::Char('?'), none), (true, Page::Help));
    assert_eq!(press(KeyCode::Esc, none), (true, Page::List));
    assert_eq!(press(KeyCode::Down, none), (true, Page::List));
    assert!(!press(KeyCode::Char('q'), none).0);
    assert!(!press(KeyCode::Char('c'), KeyModifiers::CONTROL).0);
    assert!(!press(KeyCode::Esc, none).0);
    let lines = shown(&mut Screen { page: Page::Help, ..Screen::default() }, &model, 0);
    assert_has(&lines, &["HELD BACK BY"]);
}

#[test]
fn small_screens_do_not_break_it() {
    for (width, height) in [(1, 1), (10, 3), (40, 12), (200, 60)] {
        for page in [Page::List, Page::Detail, Page::Help] {
            let mut terminal = Ratatui::new(TestBackend::new(width, height)).unwrap();
            let mut screen = Screen { page, ..Screen::default() };
            terminal.draw(|frame| screen.draw(frame, &model(100), "", Instant(SECOND))).unwrap();
        }
    }
}
