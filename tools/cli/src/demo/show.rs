//! What is seen while the demo runs: a bar on a terminal, lines on request, otherwise nothing.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// The display, on standard error.
pub(super) struct Show {
    bar: ProgressBar,
    verbose: bool,
}

impl Show {
    /// A display of `total` deliveries; the bar hides itself when standard error is no terminal.
    pub(super) fn new(total: u64, verbose: bool) -> Self {
        let bar = ProgressBar::new(total);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} delivered {msg}") {
            bar.set_style(style);
        }
        Self { bar, verbose }
    }

    /// Says a line when lines were asked for.
    pub(super) fn note(&self, line: impl FnOnce() -> String) {
        if self.verbose {
            let line = line();
            self.bar.suspend(|| eprintln!("{line}"));
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
        self.note(|| format!("{member} at {messages} {held}").trim_end().to_owned());
        if is_publisher {
            self.bar.set_message(held);
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
