//! A reader that starts in mid-stream, on a network that loses and reorders: in causal order it is handed no effect before its cause,
//! and in each stream's own order it would be.

mod feed;

use fastrand::Rng;
use feed::Feed;
use sistrum_membership::{Caster, Event, Group};
use sistrum_ordering::{Order, Reading, Seq};
use sistrum_transport::engine::Cycle;
use sistrum_transport::medium::{Network, Sim, SimOptions};
use sistrum_transport::reliable::{Reader, ReaderEvent};
use sistrum_transport::time::ManualClock;
use std::ops::ControlFlow;

const MEMBERS: usize = 3;
const WINDOW: usize = 32;
const CASTS: u32 = 400;
/// About one message fills a block: each has a stamp of its own.
const LEN: usize = 300;

/// A member that casts, and says in each cast how many of each other's it was handed.
struct Member {
    group: Group,
    cycle: Cycle<Sim, ManualClock>,
    handed: [u32; MEMBERS],
    cast: u32,
    has_view: bool,
}

struct Onlooker {
    reader: Reader<Reading>,
    cycle: Cycle<Sim, ManualClock>,
    /// By sender: the last message, and how many were named as seen by what was handed over.
    last: [Option<u32>; MEMBERS],
    named: [u32; MEMBERS],
    handed: u32,
    inverted: u32,
}

fn member(feed: &Feed<'_>, me: u16, seed: u64) -> Member {
    let (group, cycle) = feed.member(me, Seq(seed % 3 * 0x7fff_fff0), seed);
    Member { group, cycle, handed: [0; MEMBERS], cast: 0, has_view: false }
}

fn onlooker(feed: &Feed<'_>, order: Reading) -> Onlooker {
    let (reader, cycle) = feed.reader(order);
    Onlooker { reader, cycle, last: [None; MEMBERS], named: [0; MEMBERS], handed: 0, inverted: 0 }
}

impl Member {
    fn turn(&mut self, me: usize, rng: &mut Rng) {
        let Self { group, cycle, handed, cast, has_view } = self;
        if *has_view && *cast < CASTS && rng.u8(..4) == 0 {
            let mut text: Vec<u8> = cast.to_le_bytes().to_vec();
            handed.iter().for_each(|handed| text.extend(handed.to_le_bytes()));
            text.resize(LEN, me as u8);
            *cast += u32::from(group.sender().unwrap().cast_as(Order::Causal.into(), &text).is_ok());
        }
        let mut handler = |_: &mut Caster<'_>, event: Event<'_>| {
            match event {
                Event::Deliver(message) => handed[message.from().0 as usize] += 1,
                Event::View(_) => *has_view = true,
                other => panic!("{other:?}"),
            }
            ControlFlow::Continue(())
        };
        cycle.turn(group, &mut handler).unwrap();
    }
}

impl Onlooker {
    fn turn(&mut self) {
        let Self { reader, cycle, last, named, handed, inverted } = self;
        let mut handler = |(): &mut (), event: ReaderEvent<'_>| {
            if let ReaderEvent::Deliver(message) = event {
                let word = |at: usize| u32::from_le_bytes(message.bytes()[4 * at..][..4].try_into().unwrap());
                let (from, number) = (message.from().0 as usize, word(0));
                assert!(last[from].is_none_or(|last| last < number), "a stream is in its own order");
                (last[from], *handed) = (Some(number), *handed + 1);
                // Something that was handed over before has it among its causes.
                *inverted += u32::from(number < named[from]);
                for k in (0..MEMBERS).filter(|k| *k != from) {
                    named[k] = named[k].max(word(1 + k));
                }
            }
            ControlFlow::Continue(())
        };
        cycle.turn(reader, &mut handler).unwrap();
    }
}

/// Runs a feed, with a reader from somewhere in its first half on; returns how much it was handed, and how often in the wrong order.
fn run(seed: u64, order: Reading) -> (u32, u32) {
    let rng = &mut Rng::with_seed(seed);
    let clock = ManualClock::default();
    clock.advance_ns(1);
    let loss = [0.0, 0.02, 0.1][rng.usize(..3)];
    let storm = SimOptions { loss, delay_ns: 1_000..1_000 + rng.u64(1..200_000), ..SimOptions::default() };
    let network = Network::new(seed, clock.clone(), storm);
    let feed = Feed { network: &network, clock: &clock, members: MEMBERS, window: WINDOW };
    let mut members: Vec<_> = (0..MEMBERS as u16).map(|me| member(&feed, me, seed)).collect();
    let begin = rng.u32(0..CASTS / 2);
    let mut reader = None;
    for _ in 0..200_000 {
        for (me, member) in members.iter_mut().enumerate() {
            member.turn(me, rng);
        }
        if reader.is_none() && members[0].cast >= begin && members[0].has_view {
            reader = Some(onlooker(&feed, order.clone()));
        }
        reader.iter_mut().for_each(Onlooker::turn);
        clock.advance_ns(rng.u64(500..20_000));
        if members.iter().all(|member| member.cast == CASTS && member.group.is_settled()) {
            break;
        }
    }
    let mut reader = reader.expect("the feed reached the reader");
    // What is missing is asked for a few times.
    for _ in 0..2_000 {
        members.iter_mut().enumerate().for_each(|(me, member)| member.turn(me, rng));
        reader.turn();
        clock.advance_ns(rng.u64(500..200_000));
    }
    (reader.handed, reader.inverted)
}

#[test]
fn in_causal_order_no_effect_comes_before_its_cause() {
    let seeds = std::env::var("SISTRUM_SEEDS").map_or(40, |n| n.parse().expect("a number"));
    let (mut all, mut own_inverted) = (0, 0);
    for seed in 0..seeds {
        let (handed, inverted) = run(seed, Reading::causal());
        assert_eq!(inverted, 0, "seed {seed}: of {handed}");
        let (own, inverted) = run(seed, Reading::default());
        // All that it misses is what stands before the first full stamps, and what it lost.
        assert!(
            handed > CASTS && 2 * handed > own,
            "seed {seed}: {handed} were handed over, {own} in own order"
        );
        (all, own_inverted) = (all + handed, own_inverted + inverted);
    }
    println!("{all} in causal order, {own_inverted} in the wrong order in that of each stream");
    assert!(own_inverted > 0, "the order of each stream would have done");
}

/// Each way in which reading can be broken is seen within a few seeds.
#[cfg(feature = "mutants")]
#[test]
fn every_mutation_is_caught() {
    use sistrum_transport::mutation::{Mutation, set};
    for (mutation, name, what) in Mutation::READING {
        set(Some(*mutation));
        let caught = (0..1_000).find(|seed| run(*seed, Reading::causal()).1 > 0);
        set(None);
        println!("{name:26} {:>5}  {what}", caught.map_or(0, |seed| seed + 1));
        assert!(caught.is_some(), "{name} is not caught");
    }
}
