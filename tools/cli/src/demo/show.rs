//! What is seen while the demo runs: a bar on a terminal, lines on request, otherwise nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// The display, on standard error.
pub(super) struct Show {
    bar: ProgressBar,
    verbose: bool,
    /// When it was last said how far a member is.
    said: RefCell<BTreeMap<String, Instant>>,
}

/// It is said again after this time.
const SAYS_EVERY: Duration = Duration::from_secs(1);

impl Show {
    /// A display of `total` deliveries; the bar hides itself when standard error is no terminal.
    pub(super) fn new(total: u64, verbose: bool) -> Self {
        let bar = ProgressBar::new(total);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} delivered {msg}") {
            bar.set_style(style);
        }
        Self { bar, verbose, said: RefCell::default() }
    }

    /// Says a line when lines were asked for.
    pub(super) fn note(&self, line: impl FnOnce() -> String) {
        if self.verbose {
            let line = line();
            self.bar.suspend(|| eprintln!("{line}"));
        }
    }

    /// Says a line of how far a member is, if the last one of it was said long enough ago.
    pub(super) fn note_of(&self, member: &str, line: impl FnOnce() -> String) {
        if !self.verbose {
            return;
        }
        let mut all = self.said.borrow_mut();
        if all.get(member).is_none_or(|said| said.elapsed() >= SAYS_EVERY) {
            all.insert(member.to_owned(), Instant::now());
            self.note(line);
        }
    }

    /// A member is at `messages`, all members together at `delivered`; `holder` is whom a publisher waits for.
    pub(super) fn progress(
        &self,
        member: &str,
        is_publisher: bool,
        messages: u64,
        delivered: u64,
        holder: Option<(&str, Duration)>,
    ) {
        self.bar.set_position(delivered);
        let held = match holder {
            Some((name, age)) => format!("held by {name} for {:.1} ms", age.as_secs_f64() * 1e3),
            None => String::new(),
        };
        // That it has begun is said at once.
        if messages > 0 {
            self.note_of(member, || format!("{member} at {messages} {held}").trim_end().to_owned());
        }
        if is_publisher {
            self.bar.set_message(held);
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
