//! A sender that was given a rate keeps to it over every interval, whatever the network loses, and uses all of it.

use crate::common::line::{BLOCK, Line, LineOptions, WINDOW};
use sistrum_transport::medium::SimOptions;
use sistrum_transport::reliable::Pace;
use sistrum_transport::time::Instant;

const SATURATED_NS: u64 = 100_000_000;

fn paced(seed: u64, receivers: u16, pace: Pace, network: SimOptions) -> Line {
    // What is lost here has nothing to do with what is under way, and nothing else than the pace is to be seen.
    let congestion = false;
    Line::new(LineOptions {
        seed,
        receivers,
        pace: Some(pace),
        congestion,
        network,
        ..LineOptions::default()
    })
}

/// The checker: by how many bytes some interval had more than `burst + rate * interval`; 0 when none had.
fn excess(record: &[(Instant, usize, usize)], pace: Pace) -> i128 {
    let (mut before, mut least, mut worst) = (0_i128, i128::MAX, 0);
    for &(at, _, bytes) in record {
        // In billionths of a byte: sent before, less what was earned by then.
        let earned = i128::from(pace.rate) * i128::from(at.0);
        least = least.min(before - earned);
        before += bytes as i128 * 1_000_000_000;
        worst = worst.max(before - earned - least - i128::from(pace.burst) * 1_000_000_000);
    }
    // A timer fires at a whole nanosecond: never before what it waits for is earned.
    worst.div_euclid(1_000_000_000)
}

fn rate_of(record: &[(Instant, usize, usize)], pace: Pace, until: Instant) -> f64 {
    let first = record.first().expect("something was sent").0;
    let bytes: usize = record.iter().filter(|(at, ..)| *at < until).map(|(.., bytes)| bytes).sum();
    (bytes as f64 - pace.burst as f64) / (until.since_ns(first) as f64 / 1e9)
}

#[test]
fn a_rate_is_kept_over_every_interval_and_reached() {
    for (seed, loss) in (0..6).map(|seed| (seed, [0.0, 0.01, 0.2][seed as usize % 3])) {
        for (rate, burst) in [(12_500_000, 64_000), (3_000_000, BLOCK as u64), (25_000_000, 300_000)] {
            let pace = Pace { rate, burst };
            let options = SimOptions {
                loss,
                // Without loss nothing is asked for: nothing is late.
                delay_ns: 5_000..5_001 + (loss * 100_000.0) as u64,
                coalesce: seed % 2 == 1,
                ..SimOptions::default()
            };
            let mut world = paced(seed, 2, pace, options);
            let begin = world.clock.peek();
            let tail_ns = world.saturate(SATURATED_NS);
            let record = world.record.borrow();
            let what = format!("seed {seed}, loss {loss}, {pace:?}");
            assert_eq!(excess(&record, pace), 0, "{what}");
            let reached = rate_of(&record, pace, begin.plus_ns(SATURATED_NS)) / rate as f64;
            eprintln!("{what}: reached {reached:.4}, tail {tail_ns} ns");
            assert!((0.98..1.02).contains(&reached), "{what}: {reached}");
            let window_ns = (WINDOW * BLOCK) as u64 * 1_000_000_000 / rate;
            assert!(tail_ns < 2 * window_ns + 100_000_000, "{what}: the tail took {tail_ns} ns");
            assert!(world.refused.0 > 0, "{what}: the pace was never what held casts back");
            // Before the first cycle nobody has asked the bucket.
            assert!(loss > 0.0 || world.refused.1 <= 1, "{what}: a receiver was blamed: {:?}", world.refused);
            assert_eq!(world.nodes[0].0.stream().repairs() > 0, loss > 0.0, "{what}");
        }
    }
}

#[test]
fn the_checker_finds_a_sender_that_is_a_little_too_fast() {
    let pace = Pace { rate: 12_500_000, burst: 64_000 };
    let mut world = paced(3, 1, pace, SimOptions::default());
    world.saturate(100_000_000);
    let record = world.record.borrow().clone();
    assert_eq!(excess(&record, pace), 0);
    let origin = record[0].0;
    let faster = |&(at, blocks, bytes): &(Instant, usize, usize)| {
        (origin.plus_ns(at.since_ns(origin) / 100 * 99), blocks, bytes)
    };
    assert!(excess(&record.iter().map(faster).collect::<Vec<_>>(), pace) > 0, "one per cent too fast");
    let mut twice = record.clone();
    twice.insert(record.len() / 2, record[record.len() / 2]);
    assert!(excess(&twice, pace) > 0, "one run too many");
}

#[test]
fn what_the_pace_holds_back_fills_blocks() {
    let pace = Pace { rate: 1_000_000, burst: 2 * BLOCK as u64 };
    let mut world = paced(1, 1, pace, SimOptions::default());
    for _ in 0..4_000 {
        assert!(world.cast(60));
        world.round(50_000);
    }
    let fill = |record: &[(Instant, usize, usize)]| {
        let (blocks, bytes) =
            record.iter().fold((0, 0), |(b, c), (_, blocks, bytes)| (b + blocks, c + bytes));
        bytes as f64 / (blocks * BLOCK) as f64
    };
    let record = world.record.borrow();
    assert!(fill(&record[record.len() / 2..]) > 0.9, "{}", fill(&record));
    drop(record);
    world.round(u64::MAX);
    let open = world.clock.peek();
    while !world.nodes[0].0.stream().is_settled() {
        world.round(u64::MAX);
        assert!(world.clock.peek().since_ns(open) < 1_000_000_000, "the last messages are stuck");
    }
    assert_eq!(world.delivered, 4_000);
}
