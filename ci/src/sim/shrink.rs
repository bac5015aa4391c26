//! A smaller scenario that breaks the same property, found by turning off and halving what was drawn, as far as it is cheap.

use super::campaign::{Campaign, Failure};
use super::driver;
use super::options::Scenario;
use std::time::{Duration, Instant};

/// Time for it: a small scenario is a help, not a duty.
const BUDGET: Duration = Duration::from_secs(20);

/// The edits that make the scenario of `failure` smaller.
pub(super) fn shrink(campaign: &Campaign, failure: &Failure) -> Vec<String> {
    campaign.break_own_code();
    let property = failure.violations[0].property;
    let fails = |scenario: &Scenario| driver::run(scenario).violations.iter().any(|v| v.property == property);
    minimise(campaign.scenario(failure.seed), fails, Instant::now() + BUDGET)
}

/// Applies every edit after which the scenario still `fails`, until `deadline`.
fn minimise(scenario: Scenario, fails: impl Fn(&Scenario) -> bool, deadline: Instant) -> Vec<String> {
    let mut shrinking = Shrinking { scenario, edits: Vec::new(), fails, deadline };
    shrinking.halve("members", 2, |scenario| scenario.members.into());
    shrinking.halve("messages", 1, |scenario| scenario.messages);
    shrinking.halve("senders", 1, |scenario| scenario.senders.into());
    for switch in Scenario::SWITCHES {
        if shrinking.scenario.can_turn_off(switch) {
            shrinking.attempt(switch, "off");
        }
    }
    shrinking.edits.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// What has been made smaller so far, and how.
struct Shrinking<F> {
    scenario: Scenario,
    edits: Vec<(&'static str, String)>,
    fails: F,
    deadline: Instant,
}

impl<F: Fn(&Scenario) -> bool> Shrinking<F> {
    fn halve(&mut self, name: &'static str, least: u32, value: impl Fn(&Scenario) -> u32) {
        while value(&self.scenario) > least {
            let half = (value(&self.scenario) / 2).max(least);
            if !self.attempt(name, &half.to_string()) {
                return;
            }
        }
    }

    /// Makes one change, if it still fails with it.
    fn attempt(&mut self, name: &'static str, value: &str) -> bool {
        let mut smaller = self.scenario.clone();
        let can_be = smaller.edit(&format!("{name}={value}")).is_ok() && Instant::now() < self.deadline;
        if !can_be || !(self.fails)(&smaller) {
            return false;
        }
        self.scenario = smaller;
        self.edits.retain(|(known, _)| *known != name);
        self.edits.push((name, value.to_owned()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::options::Bounds;
    use sistrum_ordering::Order;

    #[test]
    fn what_does_not_matter_is_turned_off() {
        let bounds = Bounds::of((8, 8), [Order::Fifo]);
        let seed = (0..).find(|&seed| Scenario::draw(seed, &bounds).storm.loss > 0.0).unwrap();
        let drawn = Scenario::draw(seed, &bounds);
        let fails = |scenario: &Scenario| scenario.storm.loss > 0.0 && scenario.members >= 3;
        let edits = minimise(drawn, fails, Instant::now() + BUDGET);
        assert!(edits.contains(&"members=4".to_owned()), "{edits:?}");
        assert!(!edits.contains(&"loss=off".to_owned()));
        let mut again = Scenario::draw(seed, &bounds);
        edits.iter().for_each(|edit| again.edit(edit).unwrap());
        assert!(fails(&again) && again.messages == 1);
    }
}
