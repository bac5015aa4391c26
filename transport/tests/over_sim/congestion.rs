//! Losses that a smaller window avoids make it smaller; losses that have nothing to do with it do not.

use crate::common::line::{Line, LineOptions};
use sistrum_transport::medium::SimOptions;

/// Blocks of a transfer before it is looked at, and while it is.
const BEFORE: u64 = 12_000;
const BLOCKS: u64 = 8_000;

/// How the second part of a transfer went.
#[derive(Debug)]
struct Went {
    took_ns: u64,
    repairs: u64,
    /// Of the whole transfer, with those that were taken back.
    reductions: (u64, u64),
}

fn transfer(options: LineOptions) -> Went {
    let mut line = Line::new(options);
    line.transfer(BEFORE);
    let before = line.nodes[0].0.stream().repairs();
    let took_ns = line.transfer(BLOCKS);
    let stream = line.nodes[0].0.stream();
    let (_, reductions, undone) = stream.congestion();
    Went { took_ns, repairs: stream.repairs() - before, reductions: (reductions, undone) }
}

/// With the response and without it.
fn both(options: &LineOptions) -> [Went; 2] {
    [true, false].map(|congestion| transfer(LineOptions { congestion, ..options.clone() }))
}

#[test]
fn independent_loss_costs_no_throughput() {
    for (loss, seeds) in [(0.01, 6), (0.2, 12)] {
        let (mut with_ns, mut without_ns) = (0, 0);
        for seed in 0..seeds {
            let network =
                SimOptions { loss, coalesce: seed % 2 == 1, delay_ns: 5_000..5_001, ..SimOptions::default() };
            let receivers = 1 + seed as u16 % 3;
            let [with, without] =
                both(&LineOptions { seed, receivers, network, run_blocks: 8, ..LineOptions::default() });
            eprintln!("seed {seed}, loss {loss}: {with:?} without {without:?}");
            let (reductions, undone) = with.reductions;
            assert!(reductions <= 2 && reductions == undone, "seed {seed}, loss {loss}: {with:?}");
            with_ns += with.took_ns;
            without_ns += without.took_ns;
        }
        let ratio = without_ns as f64 / with_ns as f64;
        eprintln!("loss {loss}: {ratio:.3} of the throughput without the response");
        assert!(ratio > 0.8, "loss {loss}: {ratio:.3} of the throughput without the response");
    }
}

#[test]
fn a_receiver_that_takes_less_than_it_says_is_not_overrun_for_ever() {
    let (mut with_ns, mut without_ns) = (0, 0);
    for (seed, receive_buffer) in (0..9).map(|seed| (seed, [200_000, 500_000, 1_000_000][seed as usize % 3]))
    {
        let network = SimOptions {
            receive_buffer,
            coalesce: seed % 2 == 1,
            delay_ns: 5_000..5_001,
            ..SimOptions::default()
        };
        let [with, without] = both(&LineOptions { seed, network, run_blocks: 8, ..LineOptions::default() });
        eprintln!("seed {seed}, {receive_buffer} bytes: {with:?} without {without:?}");
        assert!(with.reductions.0 > with.reductions.1 && without.reductions == (0, 0));
        assert!(with.repairs * 4 < without.repairs, "seed {seed}: {with:?} without {without:?}");
        with_ns += with.took_ns;
        without_ns += without.took_ns;
    }
    assert!(with_ns * 10 < without_ns * 11, "{with_ns} ns with the response, {without_ns} ns without");
}
