//! Who lost what: a line now and then while something stays missing, and a table at the end.

use std::time::Duration;

use serde::Serialize;

use super::api::{Cause, Gap, Holder, Instant, PeerLosses, Rank};

/// Looks for gaps that stay open, and says so; not too often.
#[derive(Debug, Default)]
pub(super) struct Watch {
    quiet_until: Instant,
}

impl Watch {
    /// What to say at `now` of these gaps, if anything: of the one that has been open longest.
    pub(super) fn look(
        &mut self,
        now: Instant,
        gaps: &[Gap],
        name: impl Fn(Rank) -> String,
    ) -> Option<String> {
        let lasting = |gap: &&Gap| gap.is_open() && now.since(gap.noticed) > LASTING;
        let oldest = gaps.iter().filter(lasting).min_by_key(|gap| gap.noticed)?;
        if now < self.quiet_until {
            return None;
        }
        self.quiet_until = now.plus_ns(SAY_EVERY_NS);
        let others = gaps.iter().filter(lasting).count() - 1;
        Some(line(now, oldest, others, name))
    }
}

fn line(now: Instant, gap: &Gap, others: usize, name: impl Fn(Rank) -> String) -> String {
    let seconds = |at: Instant| now.since(at).as_secs_f64();
    let who = if gap.lost_by == Rank::READER { "a late subscriber".to_owned() } else { name(gap.lost_by) };
    let asked = match gap.asked {
        Some((at, 0)) => format!("asked for {:.3} s ago", seconds(at)),
        Some((at, again)) => {
            format!("asked for {:.3} s ago, for the {}th time", seconds(at), u16::from(again) + 1)
        }
        None => "not asked for yet".to_owned(),
    };
    let answered = match gap.answered {
        Some(at) => format!("last answer {:.3} s ago", seconds(at)),
        None => "no answer".to_owned(),
    };
    let held = match gap.held_by {
        Holder::Sender => "its sender holds it",
        Holder::Unknown => "its sender may hold it",
        Holder::Nobody => "nobody holds it any more",
    };
    let cause = gap.cause.map_or(String::new(), |cause| format!("; suspected: {}", cause_name(cause)));
    let more = if others > 0 { format!("; and {others} more") } else { String::new() };
    format!(
        "missing for {:.1} s: {} of {} blocks from {} on of {}, lost by {who}; {asked}, {answered}, {held}{cause}{more}",
        seconds(gap.noticed),
        gap.missing,
        gap.blocks,
        gap.first.0,
        name(gap.stream),
    )
}

fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::Network => "the network",
        Cause::Overflow => "this process's socket was full: it is too slow",
        Cause::Injected => "injected loss",
        Cause::Pool => "this process's receive buffers were full",
    }
}

/// The losses between this process and another member, in blocks.
#[derive(Debug, Serialize)]
pub(super) struct Losses {
    rank: u16,
    name: String,
    /// Of its stream, lost here, by suspected cause.
    network: u64,
    overflow: u64,
    injected: u64,
    pool: u64,
    /// Of those: come since (or late), and still missing.
    repaired: u64,
    missing: u64,
    /// Of this process's stream: how often it asked, and how many blocks were sent again for it.
    naks: u64,
    sent_again: u64,
}

impl Losses {
    pub(super) fn new(rank: Rank, name: String, of: &PeerLosses) -> Self {
        Self {
            rank: rank.0,
            name,
            network: of.lost.network + of.unexplained,
            overflow: of.lost.overflow,
            injected: of.lost.injected,
            pool: of.lost.pool,
            repaired: of.repaired,
            missing: of.missing,
            naks: of.naks,
            sent_again: of.sent_again,
        }
    }

    fn counts(&self) -> [u64; 8] {
        let Self { network, overflow, injected, pool, repaired, missing, naks, sent_again, .. } = *self;
        [network, overflow, injected, pool, repaired, missing, naks, sent_again]
    }
}

/// A table of those with whom anything was lost; nothing when nothing was.
pub(super) fn table(all: &[Losses]) -> String {
    let rows: Vec<&Losses> = all.iter().filter(|losses| losses.counts() != [0; 8]).collect();
    if rows.is_empty() {
        return String::new();
    }
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(HEAD.len());
    let cells = |cells: [String; 8]| cells.map(|cell| format!("{cell:>11}")).concat();
    let mut text = format!("\n{HEAD:width$}{}", cells(COLUMNS.map(str::to_owned)));
    for row in rows {
        text.push_str(&format!(
            "\n{:width$}{}",
            row.name,
            cells(row.counts().map(|count| count.to_string()))
        ));
    }
    text
}

const HEAD: &str = "blocks of it lost here, by suspected cause";
const COLUMNS: [&str; 8] =
    ["network", "overflow", "injected", "no memory", "repaired", "missing", "its NAKs", "sent again"];
const LASTING: Duration = Duration::from_secs(1);
const SAY_EVERY_NS: u64 = 5_000_000_000;

#[cfg(test)]
mod tests {
    use super::super::api::Seq;
    use super::*;

    fn gap(noticed_ms: u64) -> Gap {
        Gap {
            stream: Rank(0),
            lost_by: Rank(1),
            first: Seq(40),
            blocks: 3,
            missing: 2,
            held_by: Holder::Sender,
            noticed: Instant(noticed_ms * 1_000_000),
            asked: Some((Instant(1_990_000_000), 4)),
            answered: None,
            closed: None,
            cause: Some(Cause::Network),
        }
    }

    #[test]
    fn a_lasting_gap_is_told_of_now_and_then() {
        let mut watch = Watch::default();
        let mut look =
            |ms: u64, gaps: &[Gap]| watch.look(Instant(ms * 1_000_000), gaps, |rank| rank.to_string());
        assert_eq!(look(1_400, &[gap(500)]), None, "not a second yet");
        let closed = Gap { closed: Some(Instant(1)), ..gap(0) };
        assert_eq!(look(2_000, &[closed]), None);
        assert_eq!(
            look(2_000, &[gap(700), gap(500), gap(1_500)]).as_deref(),
            Some(
                "missing for 1.5 s: 2 of 3 blocks from 40 on of r0, lost by r1; asked for 0.010 s ago, for the 5th \
                 time, no answer, its sender holds it; suspected: the network; and 1 more"
            )
        );
        assert_eq!(look(6_900, &[gap(500)]), None, "said lately");
        assert!(look(7_000, &[gap(500)]).is_some());
    }

    #[test]
    fn the_table_has_who_lost_anything() {
        let nothing = Losses::new(Rank(1), "idle".to_owned(), &PeerLosses::default());
        assert_eq!(table(&[nothing]), "");
        let of = PeerLosses { repaired: 7, unexplained: 2, ..PeerLosses::default() };
        let text = table(&[Losses::new(Rank(0), "publisher".to_owned(), &of)]);
        let row: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(row, ["publisher", "2", "0", "0", "0", "7", "0", "0", "0"]);
    }
}
