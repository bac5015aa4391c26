//! What is told of losses, on both ends: who lost how much, by what, who holds it, and what became of it.

use crate::common::line::{Line, LineOptions};
use sistrum_transport::id::Rank;
use sistrum_transport::medium::SimOptions;
use sistrum_transport::reliable::{Gap, Holder, LostBlocks, PeerLosses};

const BLOCKS: u64 = 1_500;
/// Until the receivers have heard that all is stable, and the sender that all is held.
const SETTLED_NS: u64 = 300_000_000;

fn losses_at(line: &Line, at: usize, of: Rank) -> PeerLosses {
    let mut all = line.nodes[at].0.losses();
    all.find(|(rank, _)| *rank == of).expect("a member").1
}

fn gaps_at(line: &Line, at: usize) -> Vec<Gap> {
    line.nodes[at].0.gaps().collect()
}

fn rounds_for(line: &mut Line, ns: u64) {
    let until = line.clock.peek().plus_ns(ns);
    while line.clock.peek() < until {
        line.round(ns);
    }
}

/// After a transfer: what the first receiver has lost, all of it repaired, and by what.
fn lost(options: LineOptions) -> LostBlocks {
    let seed = options.seed;
    let mut line = Line::new(options);
    line.transfer(BLOCKS);
    rounds_for(&mut line, SETTLED_NS);
    let (own, told) = (losses_at(&line, 1, Rank(0)), losses_at(&line, 0, Rank(1)));
    assert_eq!((own.missing, own.unexplained), (0, 0), "seed {seed}");
    assert_eq!(own.lost.total(), own.repaired, "seed {seed}: {own:?}");
    assert!(told.naks > 0 && told.sent_again > 0, "seed {seed}: {told:?}");
    let gaps = [gaps_at(&line, 0), gaps_at(&line, 1)].concat();
    assert!(gaps.iter().all(|gap| !gap.is_open() && gap.stream == Rank(0)), "seed {seed}: {gaps:?}");
    assert!(gaps.iter().any(|gap| gap.lost_by == Rank(1)));
    eprintln!("seed {seed}: {:?}", own.lost);
    own.lost
}

fn calm() -> SimOptions {
    SimOptions { delay_ns: 5_000..5_001, ..SimOptions::default() }
}

#[test]
fn each_cause_is_told_apart() {
    for seed in 0..2 {
        let coalesce = seed % 2 == 1;
        let base = LineOptions { seed, run_blocks: 8, ..LineOptions::default() };
        let network = SimOptions { loss: 0.02, coalesce, ..calm() };
        let of = lost(LineOptions { network, ..base.clone() });
        assert_eq!((of.network > 0, of.total()), (true, of.network), "seed {seed}: {of:?}");

        let network = SimOptions { receive_buffer: 200_000, coalesce, ..calm() };
        let of = lost(LineOptions { network, ..base.clone() });
        assert_eq!((of.overflow > 0, of.total()), (true, of.overflow), "seed {seed}: {of:?}");

        let network = SimOptions { coalesce, ..calm() };
        let of = lost(LineOptions { injected: 0.02, network, ..base.clone() });
        assert_eq!((of.injected > 0, of.total()), (true, of.injected), "seed {seed}: {of:?}");

        let of = lost(LineOptions { strides: 100, network: calm(), ..base });
        assert_eq!((of.pool > 0, of.total()), (true, of.pool), "seed {seed}: {of:?}");
    }
}

#[test]
fn a_gap_that_persists_is_seen_from_both_ends() {
    let mut line = Line::new(LineOptions { receivers: 2, network: calm(), ..LineOptions::default() });
    rounds_for(&mut line, 5_000_000);
    let noticed = line.clock.peek();
    line.network.cut(0, 1);
    assert!(line.cast(1_000));
    rounds_for(&mut line, 20_000);
    line.network.heal_all();
    assert!(line.cast(1_000));
    rounds_for(&mut line, 30_000);
    // The answers do not reach it any more, but what it asks is heard.
    line.network.cut(0, 1);
    rounds_for(&mut line, 50_000_000);
    let (now, open) = (line.clock.peek(), |at: usize, line: &Line| {
        let all: Vec<Gap> = gaps_at(line, at).into_iter().filter(Gap::is_open).collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0]
    });
    let (own, told) = (open(1, &line), open(0, &line));
    for gap in [own, told] {
        assert_eq!((gap.stream, gap.lost_by, gap.blocks, gap.missing), (Rank(0), Rank(1), 1, 1), "{gap:?}");
        assert_eq!((gap.held_by, gap.first), (Holder::Sender, own.first));
        assert!(gap.noticed > noticed && gap.noticed.since_ns(noticed) < 1_000_000);
        let (asked, attempt) = gap.asked.expect("it was asked for");
        assert!(now.since_ns(asked) < 15_000_000 && attempt >= 2, "{gap:?}");
    }
    assert_eq!(own.answered, None, "no answer came");
    assert!(now.since_ns(told.answered.expect("it was answered")) < 15_000_000);
    assert_eq!(losses_at(&line, 1, Rank(0)).missing, 1);
    line.network.heal_all();
    rounds_for(&mut line, SETTLED_NS);
    let gaps = [gaps_at(&line, 0), gaps_at(&line, 1)].concat();
    assert!(gaps.len() == 2 && gaps.iter().all(|gap| gap.missing == 0 && !gap.is_open()), "{gaps:?}");
    assert_eq!(gaps_at(&line, 2), [], "nobody else has lost anything");
}
