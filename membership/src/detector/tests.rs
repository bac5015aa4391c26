use super::*;
use fastrand::Rng;

const MS: u64 = 1_000_000;
const AFTER: u64 = 500 * MS;
const PHI: Suspicion = Suspicion::PhiAccrual { threshold: 8.0 };

/// A detector of two, in virtual time: the other sends heartbeats, some of which are lost.
struct World {
    detector: Detector,
    now: u64,
    /// The next heartbeat, and when the last one came.
    beats_at: u64,
    heard: u64,
    loss: f64,
    is_dead: bool,
    /// I do not look before then.
    paused_until: u64,
    verdicts: Vec<(u64, Verdict)>,
    rng: Rng,
}

fn at(ns: u64) -> Instant {
    Instant::default().plus_ns(1_000_000_000 + ns)
}

impl World {
    fn new(suspicion: Suspicion, loss: f64, seed: u64) -> Self {
        let tuning = DetectorTuning { suspicion, ..DetectorTuning::default() };
        tuning.check().unwrap();
        Self {
            detector: Detector::new(at(0), 2, Rank(0), tuning),
            now: 0,
            beats_at: 0,
            heard: 0,
            loss,
            is_dead: false,
            paused_until: 0,
            verdicts: Vec::new(),
            rng: Rng::with_seed(seed),
        }
    }

    fn run(&mut self, ns: u64) {
        let end = self.now + ns;
        while self.now < end {
            self.now += MS;
            while self.beats_at <= self.now {
                if !self.is_dead && self.rng.f64() >= self.loss {
                    self.heard = self.beats_at;
                }
                self.beats_at += AFTER / HEARTBEATS * self.rng.u64(90..=100) / 100;
            }
            let due = self.detector.poll_timeout().is_some_and(|due| due <= at(self.now));
            if due && self.now >= self.paused_until {
                // What came during a pause is read at its end.
                self.detector.look(at(self.now), &[Instant::default(), at(self.heard)]);
            }
            while let Some(verdict) = self.detector.poll_verdict() {
                self.verdicts.push((self.now, verdict));
            }
        }
    }

    fn suspicions(&self) -> usize {
        self.verdicts.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Suspect { .. })).count()
    }
}

#[test]
fn lost_heartbeats_do_not_suspect() {
    for suspicion in [Suspicion::Heartbeat, PHI] {
        for (seed, loss) in [(1, 0.0), (2, 0.01), (3, 0.02)] {
            let mut world = World::new(suspicion, loss, seed);
            world.run(600_000 * MS);
            assert_eq!(world.suspicions(), 0, "{suspicion:?}, loss {loss}: {:?}", world.verdicts);
        }
    }
}

#[test]
fn one_lost_heartbeat_never_suspects() {
    for suspicion in [Suspicion::Heartbeat, PHI] {
        let mut world = World::new(suspicion, 0.0, 4);
        for _ in 0..200 {
            world.run(3_000 * MS);
            // The next one does not come.
            world.beats_at += AFTER / HEARTBEATS;
        }
        assert_eq!(world.suspicions(), 0, "{suspicion:?}: {:?}", world.verdicts);
    }
}

#[test]
fn the_dead_are_suspected_in_time() {
    for (suspicion, least, most) in
        [(Suspicion::Heartbeat, AFTER, AFTER + MS), (PHI, 2 * AFTER / HEARTBEATS, AFTER)]
    {
        for seed in 0..100 {
            let mut world = World::new(suspicion, 0.01, seed);
            world.run(20_000 * MS + seed * MS);
            let (died, heard) = (world.now, world.heard);
            world.is_dead = true;
            world.run(5_000 * MS);
            assert_eq!(world.suspicions(), 1, "{suspicion:?}: {:?}", world.verdicts);
            let after = world.verdicts[0].0 - heard;
            assert!(after > least && after <= most + 2 * MS, "{suspicion:?}: {} ms after {died}", after / MS);
        }
    }
}

#[test]
fn my_own_pauses_are_not_the_silence_of_others() {
    for suspicion in [Suspicion::Heartbeat, PHI] {
        for seed in 0..20 {
            let mut world = World::new(suspicion, 0.0, seed);
            world.run(5_000 * MS);
            for _ in 0..10 {
                let pause = world.rng.u64(..5_000 * MS);
                world.paused_until = world.now + pause;
                // Nothing that came meanwhile was kept.
                let heard = world.heard;
                world.is_dead = true;
                world.run(pause);
                (world.heard, world.is_dead) = (heard, false);
                let ns = world.rng.u64(200 * MS..1_000 * MS);
                world.run(ns);
            }
            assert_eq!(world.suspicions(), 0, "{suspicion:?}: {:?}", world.verdicts);
        }
    }
}

#[test]
fn own_pauses_make_me_patient_for_a_while_and_the_dead_are_found_all_the_same() {
    let mut world = World::new(Suspicion::Heartbeat, 0.0, 5);
    for _ in 0..3 {
        world.paused_until = world.now + 300 * MS;
        world.run(1_000 * MS);
    }
    let heard = world.heard;
    world.is_dead = true;
    world.run(20_000 * MS);
    let after = world.verdicts[0].0 - heard;
    assert!(
        after > 4 * AFTER && after < 5 * AFTER,
        "three pauses, four times the patience: {} ms",
        after / MS
    );
    let mut healed = World::new(Suspicion::Heartbeat, 0.0, 6);
    healed.paused_until = 300 * MS;
    healed.run(2 * FORGET_AFTER * AFTER);
    let heard = healed.heard;
    healed.is_dead = true;
    healed.run(5_000 * MS);
    assert!(healed.verdicts[0].0 - heard < 2 * AFTER, "a pause long ago is forgotten");
}

#[test]
fn who_was_suspected_wrongly_is_given_twice_the_time() {
    let mut world = World::new(Suspicion::Heartbeat, 0.0, 7);
    for times in [1, 2, 4, 8, 8] {
        world.run(2_000 * MS);
        let (heard, before) = (world.heard, world.suspicions());
        world.is_dead = true;
        world.run(10 * AFTER);
        assert_eq!(world.suspicions(), before + 1);
        let after = world.verdicts.last().unwrap().0 - heard;
        assert!(after > times * AFTER && after < (times + 1) * AFTER, "{times} times: {} ms", after / MS);
        world.is_dead = false;
        world.run(300 * MS);
        let is_heard = world.verdicts.last().unwrap().1 == Verdict::HeardAgain { rank: Rank(1) };
        assert!(is_heard && world.detector.is_suspected(Rank(1)));
        world.detector.trust(at(world.now), Rank(1));
        assert!(!world.detector.is_suspected(Rank(1)));
    }
}

#[test]
fn a_silence_goes_on_in_the_next_view() {
    let mut world = World::new(Suspicion::Heartbeat, 0.0, 8);
    world.run(2_000 * MS);
    let heard = world.heard;
    world.is_dead = true;
    // Views follow each other faster than the patience.
    for _ in 0..30 {
        world.run(50 * MS);
        let before = world.detector.clone();
        let mut next = Detector::new(at(world.now), 2, Rank(0), before.tuning);
        next.carry(Rank(1), &before, Rank(1));
        if before.is_suspected(Rank(1)) {
            next.suspect(at(world.now), Rank(1));
        }
        world.detector = next;
    }
    assert_eq!(world.suspicions(), 1);
    assert!(world.verdicts[0].0 - heard < 2 * AFTER);
}

#[test]
fn nonsense_is_refused() {
    let tuning = |suspicion, suspect_after_ns| DetectorTuning { suspicion, suspect_after_ns }.check();
    assert!(tuning(Suspicion::Heartbeat, 0).is_err() && tuning(Suspicion::Heartbeat, u64::MAX).is_err());
    assert!(tuning(Suspicion::Heartbeat, 5 * MS).is_ok());
    for threshold in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(tuning(Suspicion::PhiAccrual { threshold }, AFTER).is_err(), "{threshold}");
    }
}

/// Each breaks one of the tests.
#[cfg(feature = "mutants")]
#[test]
fn every_mutation_of_the_detector_is_caught() {
    use sistrum_transport::mutation::{Mutation, set};
    let tests: [fn(); 5] = [
        lost_heartbeats_do_not_suspect,
        one_lost_heartbeat_never_suspects,
        my_own_pauses_are_not_the_silence_of_others,
        who_was_suspected_wrongly_is_given_twice_the_time,
        a_silence_goes_on_in_the_next_view,
    ];
    std::panic::set_hook(Box::new(|_| ()));
    let is_missed = |mutation| {
        set(Some(mutation));
        let caught = tests.iter().any(|test| std::panic::catch_unwind(*test).is_err());
        set(None);
        !caught
    };
    let missed: Vec<&str> = Mutation::DETECTOR
        .iter()
        .filter(|(mutation, ..)| is_missed(*mutation))
        .map(|(_, name, _)| *name)
        .collect();
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
