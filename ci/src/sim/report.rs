//! How a campaign is told: on the screen, and as JSON.

use super::campaign::{Campaign, Summary};
use super::checker::{Needs, Property};
use super::faults::Fault;
use anyhow::Result;
use serde_json::{Map, Value, json};

impl Summary {
    pub(crate) fn seeds_per_second(&self) -> f64 {
        self.seeds as f64 / self.took.as_secs_f64().max(1e-9)
    }

    /// The whole of it, without the failures.
    pub(crate) fn print(&self) {
        print!("{}", self.histogram);
        let names = |wanted: fn(&Needs) -> bool| {
            let names = Property::ALL.iter().filter(|property| wanted(&property.needs()));
            names.map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        println!(
            "checked: {}",
            names(|needs| matches!(needs, Needs::History(_) | Needs::Healing(_) | Needs::Driver))
        );
        let views = names(|needs| matches!(needs, Needs::Views(_) | Needs::HealedViews(_)));
        println!("checked where views change, which no scenario draws yet: {views}");
        let later = Property::ALL.iter().filter_map(|property| match property.needs() {
            Needs::NotYet(what) => Some(format!("{property} ({what})")),
            _ => None,
        });
        println!("not checked yet: {}", later.collect::<Vec<_>>().join(", "));
        println!(
            "{} seeds in {:.1} s, {:.1} a second: {} casts, {} events, {:.1} s of virtual time, groups of {} to {}; {} failed",
            self.seeds,
            self.took.as_secs_f64(),
            self.seeds_per_second(),
            self.casts,
            self.events,
            self.virtual_ns as f64 / 1e9,
            self.smallest,
            self.largest,
            self.failures.len()
        );
    }

    pub(crate) fn json(&self, campaign: &Campaign) -> Result<String> {
        let faults: Map<String, Value> = Fault::ALL
            .iter()
            .map(|&fault| {
                let (drawn, effective) = (self.histogram.drawn.of(fault), self.histogram.effective.of(fault));
                (format!("{fault:?}"), json!({ "drawn": drawn, "effective": effective }))
            })
            .collect();
        let failures = self.failures.iter().map(|failure| {
            let violations = failure.violations.iter();
            let violations: Vec<_> = violations.map(|v| json!({ "property": v.property.to_string(), "how": v.how })).collect();
            json!({ "seed": failure.seed, "again": campaign.line(failure.seed, &[]), "violations": violations })
        });
        Ok(serde_json::to_string_pretty(&json!({
            "ok": self.failures.is_empty(),
            "seeds": self.seeds,
            "first_seed": campaign.first,
            "seconds": self.took.as_secs_f64(),
            "seeds_per_second": self.seeds_per_second(),
            "casts": self.casts,
            "events": self.events,
            "virtual_seconds": self.virtual_ns as f64 / 1e9,
            "smallest_group": self.smallest,
            "largest_group": self.largest,
            "mutation": campaign.mutation,
            "faults": faults,
            "failures": failures.collect::<Vec<_>>(),
        }))?)
    }
}
