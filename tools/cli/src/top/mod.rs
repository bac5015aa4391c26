//! `sistrum top`: the nodes of this user, their groups and members, as they are at work. Read from their files: no node notices.
//!
//! ```text
//!   files --- read every half second ---> Model: looks, rates ---> rows ---> screen
//!   keys  -----------------------------------------------------^
//! ```

mod detail;
mod model;
mod screen;
mod terminal;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use sistrum::{Clock as _, MonotonicClock};

use crate::nodes::Choice;
use crate::refusal::Refusal;
use crate::signals::Signals;
use crate::stat::seconds;
use model::Model;
use screen::{Page, Screen};
use terminal::Terminal;

/// What `sistrum top` was asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    choice: Choice,

    /// From one look to the next.
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = seconds)]
    every: Duration,
}

/// A key is answered within this time.
const KEYS: Duration = Duration::from_millis(100);

/// Shows it until it is ended.
pub(crate) fn run(options: &Options) -> Result<ExitCode, Refusal> {
    if !std::io::stdout().is_terminal() {
        return Err(Refusal::new(
            "standard output is no terminal: `sistrum stat --watch 1` prints the same numbers",
        ));
    }
    let mut signals = Signals::listen()?;
    let failed = |error| Refusal::new(format_args!("the terminal: {error}"));
    let mut terminal = Terminal::open().map_err(failed)?;
    let (mut model, mut screen) = (Model::default(), Screen::default());
    let mut due = Instant::now();
    while signals.take().is_none() {
        if Instant::now() >= due {
            model.look(options.choice.find());
            due = Instant::now() + options.every;
        }
        let now = MonotonicClock.now();
        terminal.draw(|frame| screen.draw(frame, &model, &options.choice.place(), now)).map_err(failed)?;
        if event::poll(due.saturating_duration_since(Instant::now()).min(KEYS)).map_err(failed)?
            && let Event::Key(key) = event::read().map_err(failed)?
            && key.kind != KeyEventKind::Release
            && !screen.press(key.code, key.modifiers, &model)
        {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Screen {
    /// Does what a key says. `false` where that is to end.
    fn press(&mut self, code: KeyCode, modifiers: KeyModifiers, model: &Model) -> bool {
        match (code, self.page) {
            (KeyCode::Char('c'), _) if modifiers.contains(KeyModifiers::CONTROL) => return false,
            (KeyCode::Char('q'), _) => return false,
            (KeyCode::Esc | KeyCode::Backspace | KeyCode::Left, Page::Help | Page::Detail) => {
                self.page = Page::List;
            }
            (KeyCode::Esc, Page::List) => return false,
            (KeyCode::Char('?' | 'h'), Page::Help) => self.page = Page::List,
            (KeyCode::Char('?' | 'h'), _) => self.page = Page::Help,
            (KeyCode::Enter | KeyCode::Right, Page::List) if !model.rows().is_empty() => {
                self.page = Page::Detail;
            }
            (KeyCode::Up | KeyCode::Char('k'), _) => self.go(model, -1),
            (KeyCode::Down | KeyCode::Char('j'), _) => self.go(model, 1),
            _ => {}
        }
        true
    }
}

#[cfg(test)]
mod tests;
