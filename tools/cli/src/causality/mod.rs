//! `sistrum causality`: the classical anomalies, each without causal order and with it; and the hidden channel, which causal order
//! does not see, with its remedy.
//!
//! Everything happens on real groups over the simulated network, in virtual time: the same seeds tell the same stories.

mod story;
mod world;

use std::fmt::Write as _;
use std::process::ExitCode;

use crate::print;
use sistrum_ordering::Order;
use story::{ANOMALIES, HIDDEN, REMEDY, Schedule, Story};

/// What `sistrum causality` was asked to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many schedules to draw at random besides the adverse one.
    #[arg(long, value_name = "N", default_value_t = 100)]
    schedules: u64,
}

/// One way to run a story, and what came of it.
struct Line {
    how: &'static str,
    /// What Eve was handed under the adverse schedule.
    handed: Vec<String>,
    is_absurd: bool,
    /// Of the random schedules, how many ended absurdly.
    absurd: u64,
    /// Whether the anomaly is to appear under the adverse schedule; otherwise it must never.
    wanted: bool,
}

/// Tells all stories; success when every anomaly appeared where it should, and none where it must not.
pub(crate) fn run(options: &Options) -> ExitCode {
    let mut all_ok = true;
    for story in &ANOMALIES {
        let lines = [
            line("causal order off", story, Order::Fifo, true, options.schedules),
            line("causal order on", story, Order::Causal, false, options.schedules),
        ];
        all_ok &= tell(story, &lines, options.schedules);
    }
    let lines = [
        line("causal order on", &HIDDEN, Order::Causal, true, options.schedules),
        line("with the exported context", &REMEDY, Order::Causal, false, options.schedules),
    ];
    all_ok &= tell(&HIDDEN, &lines, options.schedules);
    print(if all_ok {
        "ok: every anomaly appeared where nothing prevents it, and none where causal order, or the exported context, does"
    } else {
        "FAILED: see the lines above that say so"
    });
    if all_ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn line(how: &'static str, story: &Story, order: Order, wanted: bool, schedules: u64) -> Line {
    let handed = story.at_eve(order, Schedule::Adverse);
    let is_absurd = story.is_absurd(&handed);
    let random = (0..schedules).map(|seed| story.at_eve(order, Schedule::Random(seed)));
    let absurd = random.filter(|handed| story.is_absurd(handed)).count() as u64;
    Line { how, handed, is_absurd, absurd, wanted }
}

impl Line {
    fn is_ok(&self) -> bool {
        if self.wanted { self.is_absurd } else { !self.is_absurd && self.absurd == 0 }
    }
}

/// Prints a story and its lines; whether all of them are as they should be.
fn tell(story: &Story, lines: &[Line], schedules: u64) -> bool {
    let mut text = format!("{}\n  {}\n", story.name.to_uppercase(), story.plot);
    for line in lines {
        let conclusion = if line.is_absurd { story.absurd } else { story.sound };
        let verdict = if line.is_ok() { "" } else { "   FAILED" };
        let Line { how, handed, absurd, .. } = line;
        let _ = writeln!(text, "  {how:<26}Eve: 1. {}  2. {}  => {conclusion}", handed[0], handed[1]);
        let _ = writeln!(text, "  {:<26}{absurd} of {schedules} random schedules end so badly{verdict}", "");
    }
    print(&text);
    lines.iter().all(Line::is_ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_story_is_absurd_without_its_remedy_and_sound_with_it() {
        for story in &ANOMALIES {
            let [off, on] = [(Order::Fifo, true), (Order::Causal, false)]
                .map(|(order, wanted)| line("", story, order, wanted, 20));
            assert!(off.is_absurd && off.absurd > 0 && off.is_ok(), "{}", story.name);
            assert!(!on.is_absurd && on.absurd == 0 && on.is_ok(), "{}", story.name);
        }
        let hidden = line("", &HIDDEN, Order::Causal, true, 20);
        let remedy = line("", &REMEDY, Order::Causal, false, 20);
        assert!(hidden.is_absurd && hidden.absurd > 0 && hidden.is_ok());
        assert!(!remedy.is_absurd && remedy.absurd == 0 && remedy.is_ok());
    }

    #[test]
    fn the_verdict_can_fail_either_way() {
        let off = line("", &ANOMALIES[0], Order::Fifo, false, 0);
        let on = line("", &ANOMALIES[0], Order::Causal, true, 0);
        assert!(!off.is_ok(), "an anomaly where none may be");
        assert!(!on.is_ok(), "none where one is to be shown");
        assert!(!tell(&ANOMALIES[0], &[off, on], 0));
    }
}
