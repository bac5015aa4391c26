//! Readers that follow the views of a group on a bad network, judged from outside: by what its members were handed.

use crate::app::{Cast, Name};
use crate::reader::{self, Manner, Record, Told};
use crate::world::{MS, Plan, World};
use fastrand::Rng;
use sistrum_ordering::{Order, View, ViewMember, ViewNumber};
use sistrum_transport::medium::SimOptions;
use sistrum_transport::medium::sim::endpoint_of;
use sistrum_transport::time::Instant;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// What was seen in all runs: that the judge had something to judge.
pub(crate) type Counts = BTreeMap<&'static str, u64>;

/// One who reads, and what it was told.
pub(crate) type Reader = (Manner, Rc<RefCell<Record>>);

/// What is known from outside of one view.
struct Truth {
    /// Of each sender, what those were handed who went on from it; from a sender who went on alone, what it cast.
    handed: BTreeMap<ViewMember, Vec<u32>>,
}

/// A network that may be bad, and casts of all kinds or of few.
fn draw(rng: &mut Rng, seed: u64, has_state: bool) -> Plan {
    let is_bad = rng.bool();
    let network = SimOptions {
        loss: if is_bad { [0.0, 0.01, 0.05][rng.usize(..3)] } else { 0.0 },
        duplicate: if is_bad { 0.02 } else { 0.0 },
        delay_ns: 10_000..20_000 + rng.u64(1..100_000),
        ..SimOptions::default()
    };
    Plan {
        network,
        rotating: rng.u8(..4) == 0,
        orders: [
            Order::ALL.to_vec(),
            vec![Order::Causal],
            vec![Order::Fifo],
            vec![Order::Causal, Order::Fifo],
        ][rng.usize(..4)]
        .clone(),
        longest: [60, 400, 1_500][rng.usize(..3)],
        cast_every_ns: [100_000, 500_000, 2 * MS][rng.usize(..3)],
        most: 16,
        has_state,
        ..Plan::quiet(seed)
    }
}

/// A group that members come to and go from, are killed in, and are read in; returns it with its readers when all has calmed down.
fn run(seed: u64, has_state: bool) -> (World, Vec<Reader>) {
    let rng = &mut Rng::with_seed(seed ^ 0xd1ff);
    let plan = draw(rng, seed, has_state);
    let members = rng.u16(2..5);
    let mut world = World::new(plan);
    (0..members).for_each(|place| {
        world.start(place);
    });
    world.until("all find each other", 3_000 * MS, World::is_whole);
    let mut readers = Vec::new();
    for at in 0..rng.u16(1..4) {
        let manner = Manner {
            is_causal: rng.bool(),
            is_eager: rng.u8(..4) == 0 && !has_state,
            has_state,
            refusals: if rng.u8(..4) == 0 { 0.02 } else { 0.0 },
        };
        readers.push((manner, reader::begin(&mut world, 100 + at, manner)));
    }
    let mut places = members..30;
    for _ in 0..rng.u8(1..5) {
        world.pass(rng.u64(1..15) * MS);
        let living = world.living();
        let is_whole = world.is_whole();
        match rng.u8(..8) {
            0..4 if living.len() > 2 && is_whole => kill(&mut world, living[rng.usize(..living.len())], rng),
            4 if living.len() > 2 && is_whole => {
                let leaver = living[rng.usize(..living.len())];
                world.processes[leaver].casts = false;
                world.processes[leaver].group.leave(Instant::default());
                world.until("it leaves", 5_000 * MS, World::is_whole);
            }
            5 if rng.bool() => {
                // Nobody is heard there for some changes.
                let place = 100 + rng.u16(..readers.len() as u16);
                (0..30).for_each(|from| world.network.cut(from, place));
                for _ in 0..rng.u8(..4) {
                    world.start(places.next().expect("a place"));
                    world.until("all that live are together", 5_000 * MS, World::is_whole);
                }
                world.pass(rng.u64(1..60) * MS);
                world.heal();
            }
            5 => {
                let (_, record) = &readers[rng.usize(..readers.len())];
                record.borrow_mut().sleeps_until = world.clock.peek().plus_ns(rng.u64(1..400) * MS);
            }
            _ => {
                world.start(places.next().expect("a place"));
            }
        }
    }
    world.until("all that live are together", 5_000 * MS, World::is_whole);
    world.pass(5 * MS);
    world.processes.iter_mut().for_each(|process| process.casts = false);
    world.until("all is delivered", 3_000 * MS, |world| world.is_settled() && world.is_whole());
    // A decision that a reader has not heard is asked for, and what is stable is told again and again.
    world.pass(1_200 * MS);
    (world, readers)
}

/// Kills this process; perhaps what it said last came to readers, and to some of the members or to none.
fn kill(world: &mut World, victim: usize, rng: &mut Rng) {
    let place = world.processes[victim].place;
    if rng.bool() {
        for other in world.living().into_iter().filter(|other| *other != victim) {
            let to = world.processes[other].place;
            if rng.u8(..3) > 0 {
                world.network.cut(place, to);
            }
        }
        world.pass(rng.u64(100_000..4 * MS));
    }
    world.kill(victim);
}

fn casts(world: &World) -> BTreeMap<Name, &Cast> {
    world.processes.iter().flat_map(|process| &process.app.casts).map(|cast| (cast.name, cast)).collect()
}

/// By view: what those were handed who went on from it, or live in it to the end.
fn truths(world: &World) -> BTreeMap<(u32, ViewNumber), Truth> {
    let mut truths = BTreeMap::new();
    for process in &world.processes {
        let stays = &process.app.stays;
        for (at, stay) in stays.iter().enumerate() {
            let is_last = process.alive && process.app.me.is_some() && at + 1 == stays.len();
            let is_known = stay.is_over || (is_last && !process.group.has_left());
            if !is_known {
                continue;
            }
            let id = stay.view.id();
            let truth = truths.entry((id.instance.0, id.number)).or_insert(Truth { handed: BTreeMap::new() });
            let me = stay.view.members()[stay.view.me().0 as usize];
            for member in stay.view.members() {
                let handed: Vec<u32> = match *member == me {
                    true => {
                        let mine = process.app.casts.iter().filter(|cast| cast.name.0 == me);
                        mine.filter(|cast| cast.view == Some(id.number)).map(|cast| cast.name.1).collect()
                    }
                    false => stay
                        .handed
                        .iter()
                        .filter(|(who, _)| who == member)
                        .map(|(_, number)| *number)
                        .collect(),
                };
                // Where somebody else went on too, it is what that one was handed.
                let known = truth.handed.entry(*member).or_insert_with(|| handed.clone());
                if *member != me {
                    *known = handed;
                }
            }
        }
    }
    truths
}

/// What one reader was told of one view, and how it came out of it.
struct Reading<'a> {
    told: &'a [Told],
    is_from_start: bool,
    is_missed: bool,
    is_last: bool,
}

pub(crate) fn judge(world: &World, (manner, record): &Reader, counts: &mut Counts) {
    let record = record.borrow();
    let (casts, truths) = (casts(world), truths(world));
    let at_views: Vec<usize> =
        (0..record.told.len()).filter(|at| matches!(record.told[*at], Told::View(_))).collect();
    let mut before: Option<(u32, ViewNumber)> = None;
    let mut was_missed = true;
    for (turn, &begin) in at_views.iter().enumerate() {
        let Told::View(view) = &record.told[begin] else { unreachable!() };
        let end = at_views.get(turn + 1).copied().unwrap_or(record.told.len());
        let id = (view.id().instance.0, view.id().number);
        assert!(before.is_none_or(|before| before.0 != id.0 || before.1 < id.1), "views only grow");
        before = Some(id);
        let told = &record.told[begin + 1..end];
        let is_missed = told.iter().any(|told| matches!(told, Told::Missed(_)));
        let reading =
            Reading { told, is_from_start: !was_missed, is_missed, is_last: turn + 1 == at_views.len() };
        was_missed = is_missed;
        *counts.entry("views").or_default() += 1;
        *counts.entry("missed").or_default() += u64::from(is_missed);
        let handed: Vec<Name> = told
            .iter()
            .filter_map(|told| if let Told::Message(name) = told { Some(*name) } else { None })
            .collect();
        *counts.entry("handed").or_default() += handed.len() as u64;
        assert_eq!(handed.iter().collect::<BTreeSet<_>>().len(), handed.len(), "a message twice in {view}");
        for name in &handed {
            assert_eq!(casts[name].view, Some(id.1), "{name:?} was not cast in {view}");
        }
        if let Some(truth) = truths.get(&id) {
            for member in view.members() {
                judge_stream(&reading, *member, &truth.handed[member], manner, counts);
            }
        }
        if manner.is_causal {
            judge_causes(&handed, &casts);
        }
    }
}

/// One stream of one view: what was handed over is what the group was handed, but for what was told to be lost or taken back.
fn judge_stream(
    reading: &Reading<'_>,
    member: ViewMember,
    truth: &[u32],
    manner: &Manner,
    counts: &mut Counts,
) {
    // The next of the truth that is to come; unknown where the stream is entered, or something was lost.
    let mut next = reading.is_from_start.then_some(0);
    let mut beyond = 0;
    let mut retracted = 0;
    for told in reading.told {
        match told {
            Told::Message((sender, number)) if *sender == member => {
                match truth.iter().position(|n| n == number) {
                    Some(at) => {
                        assert_eq!(beyond, 0, "{member:?}: {number} behind what nobody was handed");
                        assert!(
                            next.is_none_or(|next| next == at),
                            "{member:?}: {number} is {at} of {}, and {next:?} is next: {:?}",
                            truth.len(),
                            reading.told
                        );
                        next = Some(at + 1);
                    }
                    None => {
                        assert!(manner.is_eager, "{member:?}: {number} was handed to nobody: {truth:?}");
                        beyond += 1;
                    }
                }
            }
            Told::Reading(of) if *of == member => next = None,
            Told::Gap(of, blocks) if *of == member => {
                assert!(*blocks > 0);
                *counts.entry("gaps").or_default() += 1;
                next = None;
            }
            Told::Retracted(of, blocks) if *of == member => {
                assert!(manner.is_eager && *blocks > 0);
                *counts.entry("retracted").or_default() += 1;
                retracted += blocks;
            }
            _ => {}
        }
    }
    assert!(
        beyond == 0 || retracted > 0 || reading.is_missed || reading.is_last,
        "{beyond} were not taken back"
    );
    if !reading.is_missed && retracted == 0 && next.is_some_and(|next| next < truth.len()) {
        panic!("{member:?}: the end from {next:?} of {} is missing: {:?}", truth.len(), reading.told);
    }
}

/// No effect before its cause.
fn judge_causes(handed: &[Name], casts: &BTreeMap<Name, &Cast>) {
    let places: BTreeMap<Name, usize> = handed.iter().enumerate().map(|(at, name)| (*name, at)).collect();
    for (at, name) in handed.iter().enumerate().filter(|(_, name)| casts[name].order >= Order::Causal) {
        for cause in &casts[name].seen {
            let cause = (*cause.0, *cause.1);
            if let Some(place) = places.get(&cause) {
                assert!(*place < at, "{cause:?} comes behind its effect {name:?}");
            }
        }
    }
}

/// The state that it began with, and what it was handed behind that, is the state of the members.
pub(crate) fn judge_state(world: &World, record: &Record, counts: &mut Counts) {
    let begin = record.told.iter().rposition(|told| *told == Told::State).expect("a state");
    let lost = |told: &Told| matches!(told, Told::Gap(..) | Told::Missed(_));
    let is_whole = !record.told[begin..].iter().any(lost);
    *counts.entry(if is_whole { "states" } else { "states with gaps" }).or_default() += 1;
    // A sender is handed its own totals later than the others are, in other places between what else it casts.
    let sorted = |cast: &BTreeMap<u64, Vec<u32>>| {
        let mut cast = cast.clone();
        cast.values_mut().for_each(|numbers| numbers.sort_unstable());
        cast
    };
    let mine = sorted(&record.state.cast);
    for numbers in mine.values() {
        assert!(numbers.is_sorted_by(|one, two| one < two), "twice: {numbers:?}");
    }
    for at in world.living() {
        let theirs = sorted(&world.processes[at].app.state.cast);
        let counts = |cast: &BTreeMap<u64, Vec<u32>>| -> BTreeMap<u64, usize> {
            cast.iter().map(|(boot, numbers)| (*boot, numbers.len())).collect()
        };
        assert!(!is_whole || mine == theirs, "{:?} and {:?}", counts(&mine), counts(&theirs));
    }
}

fn check(seed: u64, counts: &mut Counts) {
    check_with(seed, false, counts);
}

fn check_with(seed: u64, has_state: bool, counts: &mut Counts) {
    let (mut world, readers) = run(seed, has_state);
    world.judge();
    for reader in &readers {
        let judged = std::panic::AssertUnwindSafe(|| {
            judge(&world, reader, counts);
            if has_state {
                judge_state(&world, &reader.1.borrow(), counts);
            }
        });
        if let Err(panic) = std::panic::catch_unwind(judged) {
            println!("seed {seed}, {:?}, {:?}", reader.0, world.plan);
            std::panic::resume_unwind(panic);
        }
        let told = world.processes.iter().filter(|process| process.alive && process.app.me.is_some());
        let last =
            told.filter_map(|process| process.app.stays.last()).max_by_key(|stay| stay.view.id().number);
        let read = reader.1.borrow().view.as_ref().map(|view| view.members().to_vec());
        assert_eq!(
            read.as_deref(),
            last.map(|stay| stay.view.members()),
            "seed {seed}: it came to another view"
        );
    }
}

fn seeds(few: u64) -> std::ops::Range<u64> {
    let first = std::env::var("SISTRUM_FIRST").map_or(0, |n| n.parse().expect("a number"));
    first..first + std::env::var("SISTRUM_SEEDS").map_or(few, |n| n.parse().expect("a number"))
}

#[test]
fn readers_are_handed_what_the_group_is_view_by_view() {
    let mut counts = Counts::new();
    seeds(16).for_each(|seed| check(seed, &mut counts));
    println!("{counts:?}");
}

#[test]
fn a_state_and_what_is_handed_over_behind_it_is_the_state_of_the_members() {
    let mut counts = Counts::new();
    seeds(10).for_each(|seed| check_with(seed, true, &mut counts));
    println!("{counts:?}");
}

#[test]
fn who_hears_all_loses_nothing_whoever_dies_comes_or_leaves() {
    for seed in 0..6 {
        let is_causal = seed % 2 == 1;
        let orders = if is_causal { vec![Order::Causal] } else { Order::ALL.to_vec() };
        let mut world = World::new(Plan { orders, expected: 4, ..Plan::quiet(seed) });
        (0..4).for_each(|place| {
            world.start(place);
        });
        world.until("all find each other", 3_000 * MS, World::is_whole);
        let manner = Manner { is_causal, is_eager: false, has_state: false, refusals: 0.0 };
        let record = reader::begin(&mut world, 100, manner);
        world.pass(20 * MS);
        world.kill(seed as usize % 4);
        world.until("the others go on", 1_000 * MS, World::is_whole);
        world.start(4);
        world.until("it comes in", 1_000 * MS, World::is_whole);
        world.pass(5 * MS);
        let leaver = (seed as usize + 1) % 4;
        world.processes[leaver].casts = false;
        world.processes[leaver].group.leave(Instant::default());
        world.until("it leaves", 1_000 * MS, World::is_whole);
        world.pass(10 * MS);
        world.processes.iter_mut().for_each(|process| process.casts = false);
        world.until("all is delivered", 1_000 * MS, World::is_settled);
        world.pass(300 * MS);
        judge(&world, &(manner, Rc::clone(&record)), &mut Counts::new());
        let record = record.borrow();
        let second = record.told.iter().skip(1).position(|told| matches!(told, Told::View(_)));
        let (_, later) = record.told.split_at(1 + second.expect("another view"));
        let views = later.iter().filter(|told| matches!(told, Told::View(_))).count();
        assert_eq!(views, 3, "{:?}", record.view);
        let lost =
            later.iter().find(|told| matches!(told, Told::Gap(..) | Told::Missed(_) | Told::Reading(_)));
        assert_eq!(lost, None, "seed {seed}");
    }
}

#[test]
fn a_reader_that_becomes_a_member_and_back_is_handed_every_cast_once() {
    for seed in 0..4 {
        let loss = if seed % 2 == 0 { 0.0 } else { 0.002 };
        let network = SimOptions { loss, delay_ns: 20_000..60_000, ..SimOptions::default() };
        let orders = vec![Order::Fifo, Order::Causal];
        let mut world = World::new(Plan { network, orders, expected: 3, ..Plan::quiet(seed) });
        (0..3).for_each(|place| {
            world.start(place);
        });
        world.until("all find each other", 3_000 * MS, World::is_whole);
        let manner = Manner { is_causal: false, is_eager: false, refusals: 0.0, has_state: false };
        let reading = reader::begin(&mut world, 100, manner);
        // A view from whose beginning on it reads.
        world.start(3);
        world.until("it comes in", 1_000 * MS, World::is_whole);
        world.pass(10 * MS);
        let first = reading.borrow().view.as_ref().expect("it reads").id().number;
        // It joins, and reads up to its first view.
        reading.borrow_mut().until = Some(endpoint_of(4));
        let joined = world.start(4);
        world.until("it has joined", 1_000 * MS, World::is_whole);
        world.pass(10 * MS);
        // It begins to read, and to leave: what lies between is a sync cast.
        let again = reader::begin(&mut world, 101, manner);
        world.pass(150 * MS);
        assert!(again.borrow().view.is_some());
        world.processes[joined].casts = false;
        world.processes[joined].group.cast_sync(b"from here on").expect("room");
        let is_told = |told: &Told| matches!(told, Told::Sync(..));
        let (told, member) = (Rc::clone(&again), joined);
        world.until("all are told of it", 1_000 * MS, |world| {
            told.borrow().told.iter().any(is_told) && world.processes[member].group.is_settled()
        });
        world.processes[joined].group.leave(Instant::default());
        world.until("it has left", 1_000 * MS, World::is_whole);
        world.pass(10 * MS);
        world.processes.iter_mut().for_each(|process| process.casts = false);
        world.until("all is delivered", 1_000 * MS, World::is_settled);
        world.pass(300 * MS);

        let view = world.processes[joined].app.stays[0].view.clone();
        let mine = view.members()[view.me().0 as usize];
        let at_zero = world.processes[0].app.me.expect("a member");
        assert_eq!(
            reading.borrow().view.as_ref().map(View::id),
            Some(view.id()),
            "it ends where the member begins"
        );
        let again = again.borrow();
        let sync = again.told.iter().position(is_told).expect("it was told");
        let as_member = world.processes[joined].app.handed_at_sync[0];
        let one = |told: &[Told]| -> Vec<Name> {
            told.iter()
                .filter_map(|told| if let Told::Message(name) = told { Some(*name) } else { None })
                .collect()
        };
        let is_first = |told: &Told| matches!(told, Told::View(view) if view.id().number == first);
        let begin = reading.borrow().told.iter().position(is_first).expect("a view");
        let mut handed = one(&reading.borrow().told[begin..]);
        let stays = world.processes[joined].app.stays.iter();
        handed.extend(stays.flat_map(|stay| &stay.handed).take(as_member));
        handed.extend(one(&again.told[sync..]));
        let stays = world.processes[0].app.stays.iter().filter(|stay| stay.view.id().number >= first);
        let mut truth: Vec<Name> = stays.flat_map(|stay| stay.handed.iter().copied()).collect();
        for names in [&mut handed, &mut truth] {
            names.retain(|(sender, _)| ![mine, at_zero].contains(sender));
            names.sort_unstable();
        }
        assert!(handed == truth, "seed {seed}: {} and {}", handed.len(), truth.len());
    }
}

/// Each way in which readers can be broken is seen within a few seeds.
#[cfg(feature = "mutants")]
#[test]
fn every_mutation_is_caught() {
    use sistrum_transport::mutation::Mutation;
    crate::mutants::catch_all(Mutation::READERS, 1_000, |mutation, seed| match mutation {
        Mutation::FirmByTheJoining => crate::firm::what_the_joining_hold(seed),
        Mutation::AckBeyondAnswer => crate::firm::what_comes_behind_an_answer(seed),
        Mutation::ReadTwice | Mutation::ReadBeforeState => check_with(seed, true, &mut Counts::new()),
        _ => check_with(seed, false, &mut Counts::new()),
    });
}
