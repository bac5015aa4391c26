//! Random faults against the reliable layer: everything is delivered, once, in order and unaltered, whatever happens.

use crate::common::options::{calm_of, pick};
use crate::common::{Options, Outcome, Plain, World};
use proptest::prelude::*;
use sistrum_transport::id::{Rank, Seq};
use sistrum_transport::medium::SimOptions;
use sistrum_transport::protocol::Protocol;
use sistrum_transport::reliable::{Entry, Fifo, Pace, Refused};
use std::time::{Duration, Instant};

fn run(options: Options) -> Outcome {
    run_over::<Fifo>(options)
}

/// Runs one world; when it fails, its options are printed on the way out.
fn run_over<L: Plain>(options: Options) -> Outcome {
    struct Report(Options);
    impl Drop for Report {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("failed with {:#?}", self.0);
            }
        }
    }
    let _report = Report(options.clone());
    World::<L>::with_entry(options, |_, _| Entry::Start).run()
}

/// `SISTRUM_SEED=n` runs that seed alone.
fn seeds() -> std::ops::Range<u64> {
    match std::env::var("SISTRUM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..MAX_SEEDS,
    }
}

#[test]
fn everything_is_delivered_once_in_order_and_unaltered() {
    let begin = Instant::now();
    let mut all: Vec<Outcome> = Vec::new();
    for seed in seeds().take_while(|seed| *seed < MIN_SEEDS || begin.elapsed() < BUDGET) {
        all.push(run(Options::draw(seed)));
    }
    eprintln!("{} seeds in {:?}", all.len(), begin.elapsed());
    if seeds().start + 1 < seeds().end {
        everything_happened(&all);
    }
}

/// A fault that never took effect, or a defence that was never needed, was not tested.
/// What orders nothing, as a layer: each block of a stream is let through once, in order, and delivered after that.
#[cfg(debug_assertions)]
#[test]
fn what_lets_everything_through_keeps_to_the_streams() {
    use sistrum_transport::reliable::checked::{Checked, watch};
    watch(true);
    seeds().take(40).for_each(|seed| {
        run_over::<Checked<Fifo>>(Options::draw(seed));
    });
}

fn everything_happened(all: &[Outcome]) {
    let sum = |of: &dyn Fn(&Outcome) -> u64| all.iter().map(of).sum::<u64>();
    let histogram = [
        ("lost", sum(&|run| run.faults.lost)),
        ("cut", sum(&|run| run.faults.cut)),
        ("duplicated", sum(&|run| run.faults.duplicated)),
        ("corrupted", sum(&|run| run.faults.corrupted)),
        ("truncated", sum(&|run| run.faults.truncated)),
        ("delayed", sum(&|run| run.faults.delayed)),
        ("overflowed", sum(&|run| run.faults.overflowed)),
        ("unreachable", sum(&|run| run.faults.unreachable)),
        ("busy", sum(&|run| run.faults.busy)),
        ("busy sends", sum(&|run| run.engine.busy_sends)),
        ("pauses", sum(&|run| run.engine.pauses)),
        ("exhausted", sum(&|run| run.exhausted)),
        ("refused low", sum(&|run| run.counters.refused_low)),
        ("repaired", sum(&|run| run.counters.repaired)),
        ("duplicates", sum(&|run| run.counters.duplicates)),
        ("wrong checksums", sum(&|run| run.counters.wrong_checksums)),
        ("malformed blocks", sum(&|run| run.counters.malformed_blocks - run.counters.wrong_checksums)),
        ("full", sum(&|run| run.tally.full)),
        ("paced", sum(&|run| run.tally.paced)),
        ("too large", sum(&|run| run.tally.too_large)),
        ("broke", sum(&|run| run.tally.broke)),
        ("in parts", sum(&|run| run.tally.in_parts)),
        ("empty", sum(&|run| run.tally.empty)),
        ("replies", sum(&|run| run.tally.replies)),
        ("casts", sum(&|run| run.casts as u64)),
    ];
    eprintln!("{histogram:?}");
    for (what, count) in histogram {
        assert!(count > 0, "no {what} in {} runs", all.len());
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 14, 15, 92] {
        let outcome = run(Options::draw(seed));
        assert_eq!(outcome, run(Options::draw(seed)));
        let other = Options { seed: seed + 1_000, ..Options::draw(seed) };
        assert_ne!(outcome.trace, run(other).trace);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// As the seeded runs, but what is drawn can shrink.
    #[test]
    fn nothing_is_lost_whatever_is_drawn(
        seed in any::<u64>(),
        members in 2..=8_u16,
        senders in 1..=8_u16,
        messages in 1..60_usize,
        window in prop::sample::select(vec![8_usize, 32, 128]),
        block in 128..2048_usize,
        loss in 0.0..0.3_f64,
        jitter_ns in 1..300_000_u64,
        coalesce in any::<bool>(),
        check_payload in any::<bool>(),
        paced in any::<bool>(),
        corrupt in 0.0..0.1_f64,
        start in prop_oneof![Just(0), (1_u64 << 32) - 300..1 << 32, (1_u64 << 61) - 300..1 << 61],
    ) {
        let storm = SimOptions {
            loss,
            corrupt: if check_payload { corrupt } else { 0.0 },
            delay_ns: 1_000..1_000 + jitter_ns,
            coalesce,
            ..SimOptions::default()
        };
        run(Options {
            seed, members, senders: senders.min(members), messages, window, block, check_payload,
            start: Seq(start), calm: calm_of(&storm), storm,
            pace: paced.then_some(Pace { rate: 20_000_000, burst: 2 * block as u64 }),
            ..Options::draw(seed)
        });
    }
}

/// A quiet world of `members`, in which every fault is the test's own.
fn quiet(members: u16, storm: SimOptions) -> Options {
    Options {
        members,
        senders: 1,
        window: 64,
        block: 256,
        run_blocks: 1,
        messages: 400,
        multicast: true,
        calm: storm.clone(),
        storm,
        cuts: false,
        pauses: 0.0,
        breaks: 0.0,
        replies: 0.0,
        spare_strides: 64,
        slabs: 1,
        check_payload: true,
        pace: None,
        ..Options::draw(1)
    }
}

#[test]
fn losses_are_repaired_about_once_and_asked_for_about_once() {
    for (members, seed) in (0..12).map(|seed| ([2, 5][seed as usize % 2], seed)) {
        let storm = SimOptions { loss: 0.02, delay_ns: 5_000..5_001, ..SimOptions::default() };
        let outcome = run(Options { seed, ..quiet(members, storm) });
        let (lost, counters) = (outcome.faults.lost, outcome.counters);
        assert!(lost > 5, "{outcome:?}");
        assert!(counters.repairs_sent <= lost + lost / 4 + 4, "{} repairs for {lost}", counters.repairs_sent);
        assert!(counters.naks_sent <= lost + lost / 2 + 4, "{} NAKs for {lost}", counters.naks_sent);
    }
}

#[test]
fn without_faults_nothing_is_asked_for_and_nothing_is_sent_again() {
    for members in [2, 5, 8] {
        let storm = SimOptions { delay_ns: 5_000..5_001, ..SimOptions::default() };
        for coalesce in [false, true] {
            let storm = SimOptions { coalesce, ..storm.clone() };
            let options =
                Options { run_blocks: 128, senders: members, messages: 100, ..quiet(members, storm) };
            let counters = run(options).counters;
            let spurious =
                (counters.naks_sent, counters.repairs_sent, counters.duplicates, counters.refused_low);
            assert_eq!(spurious, (0, 0, 0, 0));
        }
    }
}

#[test]
fn a_busy_send_is_tried_again_and_nothing_of_it_is_lost() {
    let storm = SimOptions { busy: 0.3, delay_ns: 5_000..5_001, ..SimOptions::default() };
    let outcome = run(Options { run_blocks: 16, senders: 3, ..quiet(3, storm) });
    assert!(outcome.engine.busy_sends > 50, "{outcome:?}");
    assert_eq!((outcome.counters.naks_sent, outcome.counters.repairs_sent), (0, 0));
}

#[test]
fn what_all_have_lost_is_sent_again_once() {
    let storm = SimOptions { delay_ns: 5_000..5_001, ..SimOptions::default() };
    let mut world = World::new(Options { messages: 0, ..quiet(8, storm) });
    for _ in 0..LOSSES {
        (1..8).for_each(|to| world.network.cut(0, to));
        world.cast(0, &[1; 150]);
        world.turn(0);
        world.network.heal_all();
        world.cast(0, &[2; 150]);
        world.rounds_for(3_000_000);
    }
    assert_eq!(world.nodes[0].session.stream().repairs(), LOSSES);
    const LOSSES: u64 = 40;
}

#[test]
fn who_hears_another_ask_does_not_ask() {
    let storm = SimOptions { delay_ns: 5_000..5_001, ..SimOptions::default() };
    let mut world = World::new(Options { messages: 0, ..quiet(8, storm) });
    let (mut sent, mut before) = (Vec::new(), 0);
    for _ in 0..LOSSES {
        let cut = |world: &World| (1..8).for_each(|to| world.network.cut(0, to));
        cut(&world);
        world.cast(0, &[1; 150]);
        world.turn(0);
        world.network.heal_all();
        world.cast(0, &[2; 150]);
        world.turn(0);
        // No answer comes before the first repetition: only the others' asking keeps anybody from it.
        cut(&world);
        world.rounds_for(1_500_000);
        world.network.heal_all();
        let naks: u64 = world.nodes.iter().map(|node| node.session.counters().naks_sent).sum();
        sent.push(naks - before);
        world.rounds_for(5_000_000);
        before = world.nodes.iter().map(|node| node.session.counters().naks_sent).sum();
    }
    let naks = sent.iter().sum::<u64>();
    assert!((LOSSES..3 * LOSSES).contains(&naks), "{naks} of {} receivers' NAKs", 7 * LOSSES);
    const LOSSES: u64 = 40;
}

#[test]
fn a_pool_of_just_the_windows_never_shuts_out_control() {
    for seed in 0..30 {
        let storm = SimOptions { delay_ns: 1_000..2_000, ..SimOptions::default() };
        let options =
            Options { seed, senders: 6, window: 8, breaks: 0.25, spare_strides: 0, ..quiet(6, storm) };
        run(Options { messages: 60, cuts: true, ..options });
    }
}

#[test]
fn a_pool_that_is_too_small_is_slow_but_not_deaf() {
    for seed in 0..30 {
        let storm = SimOptions { delay_ns: 1_000..2_000, ..SimOptions::default() };
        let options =
            Options { seed, senders: 6, window: 8, breaks: 0.25, spare_strides: -8, ..quiet(6, storm) };
        let mut world = World::new(Options { messages: 60, ..options });
        world.rounds_for(1_000_000_000);
        let heard = |world: &World| -> Vec<u64> {
            world.nodes.iter().map(|node| node.session.counters().naks_received).collect()
        };
        let before = heard(&world);
        world.rounds_for(500_000_000);
        // Less than all windows need may fill up with what the others lack, but what frees it is still heard.
        let is_deaf = |(before, after): (u64, u64)| before == after;
        assert!(world.is_done() || !before.into_iter().zip(heard(&world)).any(is_deaf), "{}", world.state());
    }
}

#[test]
fn the_last_block_is_found_missing_by_heartbeats_alone() {
    let mut world = World::new(Options { messages: 0, ..quiet(3, SimOptions::default()) });
    world.rounds_for(1_000_000);
    world.network.cut(0, 1);
    world.cast(0, b"the last one");
    world.rounds_for(500_000);
    world.network.heal_all();
    world.rounds_for(10_000_000);
    assert_eq!((world.nodes[1].app.seen[0], world.nodes[2].app.seen[0]), (1, 1));
    assert!(world.nodes[0].session.stream().is_settled());
}

#[test]
fn a_full_window_names_the_member_that_holds_it_and_since_when() {
    for slow in [1, 2] {
        let mut world = World::new(Options { messages: 0, window: 8, ..quiet(3, SimOptions::default()) });
        world.nodes[slow].app.stalled = true;
        let refused = loop {
            match world.try_cast(0, &[7; 150]) {
                Ok(()) => world.rounds_for(2_000_000),
                Err(refused) => break refused,
            }
        };
        let Refused::Full { held_by, age, .. } = refused else { panic!("{refused:?}") };
        assert_eq!(held_by, Rank(slow as u16));
        assert!((Duration::from_millis(10)..Duration::from_millis(40)).contains(&age), "{age:?}");
        world.nodes[slow].app.stalled = false;
        world.rounds_for(5_000_000);
        assert_eq!(world.try_cast(0, &[7; 150]), Ok(()));
    }
}

#[test]
fn received_is_not_delivered() {
    let mut world = World::new(Options { messages: 0, window: 8, ..quiet(2, SimOptions::default()) });
    world.nodes[1].app.stalled = true;
    for _ in 0..4 {
        world.cast(0, &[1; 150]);
        world.rounds_for(2_000_000);
    }
    let sent = world.nodes[0].session.stream();
    assert_eq!(sent.stable(), world.options.start.plus(4), "all is received");
    assert!(!sent.is_settled(), "nothing is delivered");
}

#[test]
fn a_stream_is_entered_at_the_next_whole_message() {
    for seed in 0..60 {
        let mut options = Options::draw(seed);
        options.storm.loss = options.storm.loss.min(0.05);
        let rng = &mut fastrand::Rng::with_seed(seed);
        let late = pick(rng, &[0, 1, 5, 100, 100_000]);
        let mut world =
            World::<Fifo>::with_entry(
                options,
                |me, _| if me == Rank(0) { Entry::Live } else { Entry::Start },
            );
        world.nodes[0].pause(world.clock.peek().plus_ns(late * 1_000));
        world.run();
    }
}

#[test]
fn a_handler_that_takes_little_takes_it_from_all() {
    let mut world = World::new(Options { messages: 0, ..quiet(3, SimOptions::default()) });
    world.nodes[0].app.appetite = Some(2);
    for _ in 0..200 {
        while world.try_cast(1, &[1; 40]).is_ok() {}
        while world.try_cast(2, &[2; 40]).is_ok() {}
        world.round();
    }
    let seen = &world.nodes[0].app.seen;
    assert!(seen[1].abs_diff(seen[2]) <= 20 && seen[1] > 100, "{seen:?}");
}

#[test]
fn altered_payloads_that_nothing_covers_harm_nobody() {
    for seed in 0..40 {
        let storm = SimOptions { corrupt: 0.1, delay_ns: 1_000..50_000, ..SimOptions::default() };
        let options = Options { seed, senders: 3, check_payload: false, messages: 100, ..quiet(3, storm) };
        let mut world = World::new(options);
        world.nodes.iter_mut().for_each(|node| node.app.is_credulous = true);
        world.run_until_settled();
    }
}

#[test]
fn after_a_pause_what_arrived_comes_before_the_timers() {
    let storm = SimOptions { delay_ns: 1_000..1_001, ..SimOptions::default() };
    let mut world = World::new(Options { messages: 0, ..quiet(3, storm) });
    world.rounds_for(1_000_000);
    // Block 1 is late, and behind many others in the socket, when member 1 falls asleep with its NAK armed.
    world.network.set_options(SimOptions { delay_ns: 3_000_000..3_000_001, ..world.options.storm.clone() });
    world.cast(0, &[1; 150]);
    world.turn(0);
    world.network.set_options(world.options.storm.clone());
    world.cast(0, &[2; 150]);
    world.turn(0);
    world.clock.advance_ns(2_000);
    world.turn(1);
    assert!(world.nodes[1].session.awaits_control(), "the gap was noticed");
    for number in 3..23 {
        world.cast(0, &[number; 150]);
        world.turn(0);
    }
    let pauses = world.nodes[1].cycle.counters().pauses;
    world.clock.advance_ns(50_000_000);
    world.turn(1);
    let node = &world.nodes[1];
    assert_eq!(node.cycle.counters().pauses, pauses + 1);
    assert_eq!(node.app.seen[0], 22, "the late block was taken first");
    assert_eq!(node.session.counters().naks_sent, 0, "so that nothing was asked for");
}

/// Seeds of a run, whatever it takes, and at most.
const MIN_SEEDS: u64 = 60;
const MAX_SEEDS: u64 = 10_000;
/// Time for the seeds beyond the first.
const BUDGET: Duration = Duration::from_secs(15);
