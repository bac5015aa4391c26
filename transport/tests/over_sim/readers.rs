//! Those who leave and those who only read: neither holds anybody back, and what a reader gets is a whole part of the stream.

use crate::common::world::fan_out;
use crate::common::{Options, World};
use sistrum_transport::engine::{Cycle, Idle};
use sistrum_transport::id::{GroupId, Rank, Seq};
use sistrum_transport::log::PoolConfig;
use sistrum_transport::medium::{Medium, Sim, SimOptions};
use sistrum_transport::reliable::{Reader, ReaderConfig, ReaderEvent, Refused, Tuning};
use sistrum_transport::time::{Instant, ManualClock};
use std::ops::ControlFlow;

/// A quiet world of `members` with windows of 16 blocks, whose messages the test casts itself.
fn quiet(members: u16, storm: SimOptions) -> Options {
    Options {
        members,
        senders: 0,
        window: 16,
        block: 256,
        run_blocks: 1,
        messages: 0,
        start: Seq(0),
        multicast: true,
        calm: storm.clone(),
        storm,
        cuts: false,
        pauses: 0.0,
        breaks: 0.0,
        replies: 0.0,
        spare_strides: 16,
        slabs: 2,
        pace: None,
        ..Options::draw(1)
    }
}

/// A reader on the network of a world.
struct Onlooker {
    reader: Reader,
    cycle: Cycle<Sim, ManualClock>,
    /// Numbers of the messages that were delivered.
    numbers: Vec<u64>,
    notices: Vec<String>,
}

impl Onlooker {
    fn new(world: &World, index: u16) -> Self {
        Self::with_window(world, index, world.options.window)
    }

    fn with_window(world: &World, index: u16, window: usize) -> Self {
        let options = &world.options;
        let mut medium = world.network.endpoint(index);
        medium.open_channel(fan_out(options, Rank(index))).unwrap();
        let pool = PoolConfig { stride: options.block, strides: 4096, slabs: 2 };
        let tuning = Tuning { window, ..Tuning::loopback() };
        let config =
            ReaderConfig { group: GroupId::of("storm"), index: 0, block: options.block, tuning, seed: 7 };
        let cycle = Cycle::new(medium, world.clock.clone(), pool, Idle::Spin).unwrap();
        Self { reader: Reader::new(config), cycle, numbers: Vec::new(), notices: Vec::new() }
    }

    fn turn(&mut self) {
        let (numbers, notices) = (&mut self.numbers, &mut self.notices);
        let mut handler = |(): &mut (), event: ReaderEvent<'_>| {
            match event {
                ReaderEvent::Deliver(message) => numbers.push(number_of(message.bytes())),
                other => notices.push(format!("{other:?}")),
            }
            ControlFlow::Continue(())
        };
        self.cycle.turn(&mut self.reader, &mut handler).expect("the network is never broken");
    }
}

/// Message `number`: longer ones are fragmented.
fn message(number: u64) -> Vec<u8> {
    let len = 8 + (number as usize * 37) % 700;
    number.to_le_bytes().into_iter().cycle().take(len).collect()
}

fn number_of(bytes: &[u8]) -> u64 {
    let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(bytes, message(number), "altered");
    number
}

/// Casts message after message at rank 0, not at once, the onlooker reading along, until `until` were cast.
fn stream(world: &mut World, mut onlooker: Option<&mut Onlooker>, next: &mut u64, until: u64) {
    while *next < until {
        match world.try_cast(0, &message(*next)) {
            Ok(()) => *next += 1,
            Err(Refused::Full { .. }) => {}
            Err(refused) => panic!("{refused}"),
        }
        for _ in 0..10 {
            world.round();
            if let Some(onlooker) = &mut onlooker {
                onlooker.turn();
            }
        }
    }
}

fn settle(world: &mut World, onlooker: &mut Onlooker) {
    for _ in 0..3_000 {
        world.round();
        onlooker.turn();
    }
}

#[test]
fn who_says_goodbye_holds_nobody_back() {
    let mut world =
        World::new(quiet(3, SimOptions { loss: 0.05, delay_ns: 1_000..5_000, ..SimOptions::default() }));
    let mut next = 0;
    stream(&mut world, None, &mut next, 50);
    let now = world.clock.peek();
    world.nodes[2].session.leave(now);
    assert_eq!(world.nodes[2].session.sender().cast(b"too late"), Err(Refused::Left));
    world.rounds_for(200_000_000);
    assert!(world.nodes[2].session.has_left());
    world.nodes[2].pause(Instant(u64::MAX));
    stream(&mut world, None, &mut next, 400);
    world.rounds_for(200_000_000);
    assert!(world.nodes[0].session.stream().is_settled());
    for rank in [0, 1] {
        assert_eq!(world.nodes[rank].app.notices, ["Left(r2)"], "at {rank}");
        assert_eq!(world.nodes[rank].session.most_silent().unwrap().0, Rank(1 - rank as u16));
    }
}

#[test]
fn a_reader_gets_everything_from_a_whole_message_on() {
    for seed in 0..10 {
        let storm =
            SimOptions { loss: 0.05, duplicate: 0.05, delay_ns: 1_000..20_000, ..SimOptions::default() };
        let mut world = World::new(Options { seed, window: 2048, ..quiet(3, storm) });
        let mut next = 0;
        stream(&mut world, None, &mut next, 30);
        let mut onlooker = Onlooker::new(&world, 9);
        stream(&mut world, Some(&mut onlooker), &mut next, 600);
        settle(&mut world, &mut onlooker);
        let first = *onlooker.numbers.first().expect("something was read");
        assert!(onlooker.numbers.iter().copied().eq(first..600), "seed {seed}: {:?}", onlooker.notices);
        assert!(first < 200, "seed {seed}: entered only at {first}");
        assert!(onlooker.notices[0].starts_with("Reading(r0"), "{:?}", onlooker.notices);
        assert!(
            onlooker.notices.iter().all(|notice| notice.starts_with("Reading")),
            "{:?}",
            onlooker.notices
        );
        assert!(world.nodes.iter().all(|node| node.session.counters().strangers == 0));
    }
}

#[test]
fn a_reader_that_lags_loses_aloud_and_goes_on() {
    let mut world = World::new(quiet(2, SimOptions { delay_ns: 1_000..2_000, ..SimOptions::default() }));
    let mut onlooker = Onlooker::new(&world, 9);
    let mut next = 0;
    stream(&mut world, Some(&mut onlooker), &mut next, 100);
    world.network.cut(0, 9);
    stream(&mut world, Some(&mut onlooker), &mut next, 300);
    world.network.heal_all();
    stream(&mut world, Some(&mut onlooker), &mut next, 400);
    settle(&mut world, &mut onlooker);
    let (numbers, notices) = (&onlooker.numbers, &onlooker.notices);
    assert!(numbers.is_sorted() && numbers.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(numbers.last(), Some(&399));
    assert!(numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1).count() == 1, "one loss: {numbers:?}");
    assert!(notices.iter().any(|notice| notice.starts_with("Gap(r0")), "{notices:?}");
    assert!(world.nodes[0].session.stream().is_settled(), "it gates nobody");
}

#[test]
fn a_reader_is_told_when_a_stream_ends() {
    let storm = SimOptions { loss: 0.05, delay_ns: 1_000..2_000, ..SimOptions::default() };
    let mut world = World::new(Options { window: 512, ..quiet(2, storm) });
    let mut onlooker = Onlooker::new(&world, 9);
    let mut next = 0;
    stream(&mut world, Some(&mut onlooker), &mut next, 100);
    let now = world.clock.peek();
    world.nodes[0].session.leave(now);
    settle(&mut world, &mut onlooker);
    assert_eq!(onlooker.numbers.last(), Some(&99));
    let ends = onlooker.notices.iter().filter(|notice| *notice == "Left(r0)").count();
    assert_eq!(ends, 1, "{:?}", onlooker.notices);
}

/// Casts while the onlooker sleeps: it finds several windows of blocks at once when it wakes.
fn stream_asleep(world: &mut World, next: &mut u64, until: u64) {
    stream(world, None, next, until);
    world.rounds_for(5_000_000);
}

#[test]
fn a_batch_of_several_windows_is_delivered_whole() {
    for seed in 0..20 {
        let storm = SimOptions { delay_ns: 1_000..1_001, ..SimOptions::default() };
        let mut world = World::new(Options { seed, ..quiet(2, storm) });
        let mut onlooker = Onlooker::new(&world, 9);
        let mut next = 0;
        stream(&mut world, Some(&mut onlooker), &mut next, 100);
        settle(&mut world, &mut onlooker);
        stream_asleep(&mut world, &mut next, 200 + seed);
        // One cycle, in which nothing can be repaired.
        onlooker.turn();
        let numbers = &onlooker.numbers;
        assert!(numbers.iter().copied().eq(numbers[0]..next), "seed {seed}: {:?}", onlooker.notices);
        assert!(onlooker.notices.iter().all(|notice| notice.starts_with("Reading")), "seed {seed}");
    }
}

#[test]
fn a_reader_gives_up_the_gap_and_not_what_it_holds_behind_it() {
    let storm = SimOptions { delay_ns: 1_000..1_001, ..SimOptions::default() };
    let mut world = World::new(quiet(2, storm));
    let mut onlooker = Onlooker::new(&world, 9);
    let mut next = 0;
    stream(&mut world, Some(&mut onlooker), &mut next, 100);
    settle(&mut world, &mut onlooker);
    world.network.cut(0, 9);
    stream_asleep(&mut world, &mut next, 105);
    world.network.heal_all();
    stream_asleep(&mut world, &mut next, 200);
    onlooker.turn();
    let (numbers, notices) = (&onlooker.numbers, &onlooker.notices);
    let missing: Vec<u64> = (numbers[0]..next).filter(|number| !numbers.contains(number)).collect();
    // One that was cut in the middle is lost with its beginning.
    assert!((5..=6).contains(&missing.len()) && missing[0] == 100, "{missing:?}, {notices:?}");
    assert_eq!(notices.iter().filter(|notice| notice.starts_with("Gap(r0")).count(), 1, "{notices:?}");
}

#[test]
fn what_nobody_has_any_more_is_lost_at_once() {
    let storm = SimOptions { delay_ns: 1_000..1_001, ..SimOptions::default() };
    let mut world = World::new(quiet(2, storm));
    // A window of its own that is not what it loses by.
    let mut onlooker = Onlooker::with_window(&world, 9, 2048);
    let mut next = 0;
    stream(&mut world, Some(&mut onlooker), &mut next, 50);
    settle(&mut world, &mut onlooker);
    let asked = onlooker.reader.counters().naks_sent;
    world.network.cut(0, 9);
    stream_asleep(&mut world, &mut next, 400);
    world.network.heal_all();
    let begin = world.clock.peek();
    while !onlooker.notices.iter().any(|notice| notice.starts_with("Gap(r0")) {
        stream(&mut world, Some(&mut onlooker), &mut next, 401);
        world.round();
        onlooker.turn();
        assert!(world.clock.peek().since_ns(begin) < 1_000_000_000, "it waits for what does not come");
    }
    // The first answer is enough: otherwise it is asked for five times more.
    let asked = onlooker.reader.counters().naks_sent - asked;
    assert!((1..=2).contains(&asked), "{asked}");
    settle(&mut world, &mut onlooker);
    assert_eq!(onlooker.numbers.last(), Some(&400));
}
