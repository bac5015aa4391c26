//! What each contract promises, one promise after the other; and all of them over random runs.

use super::*;
use fastrand::Rng;
use sistrum_transport::time::Instant;
use std::ops::ControlFlow;

/// What an application was told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Message(u16, Vec<u8>),
    Note(u16, Note),
    Lost(u16, u64),
    Lagging(u64),
    Replaying(u64),
    CaughtUp(CaughtUp),
    Evicted(Eviction),
}

fn heard(told: &Told<'_>) -> Heard {
    match told {
        Told::Message(message) => Heard::Message(message.from().0, message.bytes().to_vec()),
        Told::Note(from, note) => Heard::Note(from.0, *note),
        Told::Lost(from, messages) => Heard::Lost(from.0, *messages),
        Told::Lagging(behind) => Heard::Lagging(behind.messages),
        Told::Replaying(behind) => Heard::Replaying(behind.messages),
        Told::CaughtUp(caught_up) => Heard::CaughtUp(*caught_up),
        Told::Evicted(eviction) => Heard::Evicted(*eviction),
    }
}

/// What the protocol delivers.
enum Passing<'a> {
    Message(Message<'a>),
    Note(Rank, Note),
}

/// A backlog, and an application that takes so many messages in each cycle.
struct Bench {
    backlog: Backlog,
    heard: Vec<Heard>,
    now: u64,
}

impl Bench {
    fn new(contract: Lag) -> Self {
        Self { backlog: Backlog::new(contract), heard: Vec::new(), now: 0 }
    }

    /// A cycle of a microsecond in which these come, and the application takes `budget` messages; it refuses nothing else, unless it is [`DEAF`].
    fn cycle(&mut self, budget: usize, passing: Vec<Passing<'_>>) {
        self.now += 1_000;
        self.backlog.begin_cycle(Instant(self.now));
        let (heard_all, mut left, mut broke) = (&mut self.heard, budget, false);
        let mut handler = |told: Told<'_>| {
            assert!(!broke, "it is not asked again in the cycle that it has refused in");
            if budget == DEAF || matches!(told, Told::Message(_)) {
                if budget == DEAF || left == 0 {
                    broke = true;
                    return ControlFlow::Break(());
                }
                left -= 1;
            }
            heard_all.push(heard(&told));
            ControlFlow::Continue(())
        };
        self.backlog.hand_over(&mut handler);
        for passing in passing {
            match passing {
                Passing::Message(message) => self.backlog.take(message, &mut handler),
                Passing::Note(from, note) => self.backlog.take_note(from, note, &mut handler),
            }
        }
    }

    fn cast(&mut self, budget: usize, messages: &[&[u8]]) {
        self.cycle(budget, messages.iter().map(|bytes| message(0, bytes)).collect());
    }

    /// The messages of member 0, as texts, and all else in between, in words.
    fn words(&self) -> Vec<String> {
        let words = self.heard.iter().map(|heard| match heard {
            Heard::Message(_, bytes) => {
                String::from_utf8_lossy(bytes[..bytes.len().min(2)].into()).into_owned()
            }
            Heard::Note(from, note) => format!("r{from} {note:?}"),
            Heard::Lost(from, messages) => format!("r{from} lost {messages}"),
            Heard::Lagging(messages) => format!("lagging {messages}"),
            Heard::Replaying(messages) => format!("replaying {messages}"),
            Heard::CaughtUp(CaughtUp { handed, conflated, lost, .. }) => {
                format!("caught up {handed} {conflated} {lost}")
            }
            Heard::Evicted(Eviction { messages, .. }) => format!("evicted {messages}"),
        });
        words.collect()
    }
}

fn message(from: u16, bytes: &[u8]) -> Passing<'_> {
    Passing::Message(Message::whole(Rank(from), bytes))
}

/// The first letter, when it is a small one.
fn letter(message: &[u8]) -> Option<Key> {
    message.first().filter(|letter| letter.is_ascii_lowercase()).map(|letter| Key::from(u64::from(*letter)))
}

const ALL: usize = usize::MAX;
/// It refuses whatever it is told.
const DEAF: usize = usize::MAX - 1;

#[test]
fn who_keeps_up_is_handed_everything_at_once_and_told_nothing() {
    let contracts =
        [Lag::replay(4096), Lag::conflate(4096, letter), Lag::evict(4096, Duration::from_nanos(1))];
    for contract in contracts {
        let mut bench = Bench::new(contract);
        for _ in 0..1_000 {
            bench.cast(ALL, &[b"a1", b"a2"]);
        }
        assert_eq!((bench.words().len(), bench.words().last()), (2_000, Some(&"a2".to_owned())));
        let Standing { state, behind, counters } = bench.backlog.standing();
        assert_eq!((state, behind), (LagState::Live, Behind::default()));
        assert_eq!(counters, LagCounters { live: 2_000, ..LagCounters::default() });
    }
}

#[test]
fn what_was_refused_comes_later_in_its_order_and_each_state_is_told_once() {
    let mut bench = Bench::new(Lag::replay(4096));
    bench.cast(1, &[b"a1", b"a2", b"a3"]);
    assert_eq!(bench.backlog.standing().state, LagState::Lagging);
    bench.cast(0, &[b"a4"]);
    bench.cast(1, &[b"a5"]);
    bench.cast(1, &[]);
    assert_eq!(bench.backlog.standing().state, LagState::Lagging, "it refuses again");
    bench.cast(ALL, &[b"a6"]);
    bench.cast(ALL, &[b"a7"]);
    let words = ["a1", "lagging 2", "a2", "replaying 2", "a3", "a4", "a5", "caught up 4 0 0", "a6", "a7"];
    assert_eq!(bench.words(), words);
    let standing = bench.backlog.standing();
    assert_eq!((standing.state, standing.counters.lags), (LagState::Live, 1));
    assert_eq!((standing.counters.live, standing.counters.late, standing.counters.most_messages), (3, 4, 3));
    let took = bench.heard.iter().find_map(|heard| match heard {
        Heard::CaughtUp(caught_up) => Some(caught_up.took),
        _ => None,
    });
    assert_eq!(took, Some(Duration::from_micros(4)));
}

#[test]
fn beyond_the_bytes_the_oldest_are_dropped_and_told_by_number_and_sender() {
    let mut bench = Bench::new(Lag::replay(10 * (PER_MESSAGE + 36)));
    let texts: Vec<Vec<u8>> = (0..30).map(|at| format!("{at:02}{}", "x".repeat(34)).into_bytes()).collect();
    for (at, text) in texts.iter().enumerate() {
        bench.cycle(DEAF, vec![message(at as u16 % 2, text)]);
        assert!(bench.backlog.standing().behind.bytes <= 1_000);
    }
    bench.cast(ALL, &[]);
    let words = bench.words();
    assert_eq!(words[..5], ["lagging 10", "r0 lost 10", "r1 lost 10", "20", "replaying 9"]);
    assert_eq!(words[5..], ["21", "22", "23", "24", "25", "26", "27", "28", "29", "caught up 10 0 20"]);
}

#[test]
fn other_events_keep_their_place_and_of_what_is_dropped_the_sum_is_told() {
    let note = |note| Passing::Note(Rank(1), note);
    let mut bench = Bench::new(Lag::replay(1024));
    let events = || vec![note(Note::Reading(Seq(7))), message(1, b"m"), note(Note::Gap(3)), message(1, b"n")];
    bench.cast(0, &[b"a1"]);
    bench.cycle(0, events());
    bench.cast(ALL, &[]);
    let words = ["a1", "replaying 2", "r1 Reading(#7)", "m", "r1 Gap(3)", "n", "caught up 3 0 0"];
    assert_eq!(bench.words()[1..], words);
    bench.heard.clear();
    bench.cast(DEAF, &[b"a1"]);
    bench.cycle(DEAF, events());
    bench.cycle(DEAF, vec![note(Note::Gap(2)), note(Note::Left)]);
    let long = [b'y'; 960];
    bench.cast(DEAF, &[&long]);
    bench.cast(ALL, &[]);
    let words = ["r0 lost 1", "r1 lost 2", "r1 Gap(5)", "r1 Left", "yy", "caught up 1 0 3"];
    assert_eq!(bench.words()[1..], words);
}

#[test]
fn what_is_larger_than_all_that_is_kept_is_lost_with_all_before_it() {
    let mut bench = Bench::new(Lag::replay(1024));
    bench.cast(0, &[b"a1", &[b'x'; 2_000], b"a2"]);
    bench.cast(ALL, &[]);
    assert_eq!(bench.words()[1..], ["r0 lost 2", "a2", "caught up 1 0 2"]);
}

#[test]
fn who_is_too_far_behind_is_cut_off_once_with_the_number_and_let_in_again_with_the_loss() {
    let mut bench = Bench::new(Lag::evict(1024, Duration::ZERO));
    // Each counts 66 bytes: the sixteenth would be too much.
    for _ in 0..16 {
        assert_eq!(bench.backlog.standing().counters.evictions, 0);
        bench.cast(0, &[b"a1"]);
    }
    assert!(!bench.backlog.readmit(), "it was not told yet");
    for _ in 0..3 {
        bench.cast(ALL, &[b"a2"]);
    }
    let tripped = Tripped::Bytes { bytes: 16 * 66, bound: 1024 };
    let eviction = Heard::Evicted(Eviction { tripped, messages: 15 });
    assert_eq!(bench.heard, [Heard::Lagging(1), eviction]);
    assert_eq!(bench.backlog.standing().behind, Behind::default());
    assert!(bench.backlog.readmit() && !bench.backlog.readmit());
    bench.cast(ALL, &[b"a3"]);
    bench.cast(ALL, &[b"a4"]);
    assert_eq!(bench.words()[2..], ["r0 lost 19", "caught up 0 0 19", "a3", "a4"]);
    // And again.
    for _ in 0..17 {
        bench.cast(0, &[b"a1"]);
    }
    bench.cast(ALL, &[]);
    assert_eq!(
        (bench.words()[7..].to_vec(), bench.backlog.standing().counters.evictions),
        (vec!["evicted 15".into()], 2)
    );
}

#[test]
fn who_is_let_in_again_and_refuses_at_once_is_cut_off_anew() {
    let mut bench = Bench::new(Lag::evict(1024, Duration::ZERO));
    let long = [b'x'; 2_000];
    bench.cast(0, &[&long]);
    bench.cast(0, &[]);
    assert!(bench.backlog.readmit());
    bench.backlog.begin_cycle(Instant(bench.now + 1));
    bench.backlog.hand_over(&mut |_| ControlFlow::Break(()));
    bench.cast(0, &[&long]);
    bench.cast(0, &[]);
    let evictions = bench.heard.iter().filter(|heard| matches!(heard, Heard::Evicted(_))).count();
    assert_eq!(evictions, 2, "{:?}", bench.heard);
}

#[test]
fn who_leaves_the_oldest_waiting_too_long_is_cut_off_by_the_clock() {
    let bound = Duration::from_micros(3);
    let mut bench = Bench::new(Lag::evict(4096, bound));
    bench.cast(0, &[b"a1"]);
    assert_eq!(bench.backlog.poll_timeout(), Some(Instant(4_001)));
    bench.cast(0, &[b"a2"]);
    bench.cast(1, &[b"a3"]);
    assert_eq!(bench.backlog.poll_timeout(), Some(Instant(5_001)), "that of the next one");
    bench.cast(0, &[b"a4"]);
    bench.cast(0, &[b"a4"]);
    assert_eq!(bench.backlog.standing().counters.evictions, 0);
    bench.cast(0, &[b"a5"]);
    let tripped = Tripped::Age { age: Duration::from_micros(4), bound };
    assert_eq!(bench.heard.last(), Some(&Heard::Evicted(Eviction { tripped, messages: 4 })));
    let said = "too slow: the oldest message has waited for 4µs, the bound is 3µs; 4 messages are dropped";
    assert_eq!(Eviction { tripped, messages: 4 }.to_string(), said);
    assert_eq!(bench.backlog.poll_timeout(), None);
}

#[test]
fn of_each_key_the_latest_is_kept_where_it_came_and_what_has_none_stays() {
    let mut bench = Bench::new(Lag::conflate(4096, letter));
    bench.cast(0, &[b"a1", b"b1", b"T1", b"a2", b"c1", b"a3", b"T2", b"b2"]);
    bench.cast(ALL, &[]);
    let words = ["lagging 5", "T1", "replaying 4", "c1", "a3", "T2", "b2", "caught up 5 3 0"];
    assert_eq!(bench.words(), words);
}

#[test]
fn two_senders_of_one_key_do_not_supersede_each_other() {
    let mut bench = Bench::new(Lag::conflate(4096, letter));
    bench.cycle(0, vec![message(0, b"a1"), message(1, b"a2"), message(0, b"a3")]);
    bench.cast(ALL, &[]);
    let messages: Vec<_> = bench.heard.iter().filter(|heard| matches!(heard, Heard::Message(..))).collect();
    assert_eq!(messages, [&Heard::Message(1, b"a2".into()), &Heard::Message(0, b"a3".into())]);
}

#[test]
fn a_key_that_changes_all_the_time_has_its_turn_all_the_same() {
    // Nine keys change more often than the application takes messages, and a tenth nine times as often.
    let mut bench = Bench::new(Lag::conflate(4096, letter));
    for round in 0..400_u32 {
        let slow = [b"bcdefghij"[round as usize % 9]];
        let value = |key: u8| [&[key][..], &round.to_le_bytes()].concat();
        let (hot, other) = (value(b'a'), value(slow[0]));
        bench.cast((round % 2) as usize, &[&hot, &other, &hot, &hot]);
    }
    let of = |key| {
        let of_key = |heard: &&Heard| matches!(heard, Heard::Message(_, bytes) if bytes[0] == key);
        bench.heard.iter().filter(of_key).count()
    };
    assert!(of(b'a') >= 8, "the hot one: {}, others: {:?}", of(b'a'), [b'b', b'e', b'j'].map(of));
    assert!(bench.backlog.standing().behind.messages <= 20, "two of each key at most");
}

#[test]
fn keys_of_bytes_are_the_same_only_where_all_is() {
    let texts = [&b""[..], b"\0", b"A", b"A\0", b"BTCUSDT", b"BTCUSDC", b"fifteen bytes! "];
    let keys: Vec<_> = texts.iter().map(|text| Key::of(text).unwrap()).collect();
    for (at, key) in keys.iter().enumerate() {
        assert_eq!(keys.iter().position(|other| other == key), Some(at));
    }
    assert_eq!((Key::of(b"sixteen bytes it"), Key::of(&[0; 40])), (None, None));
}

#[test]
fn contracts_that_keep_nothing_are_refused() {
    assert_eq!(Lag::replay(1024).check(), Ok(()));
    let said = "1023 bytes to be kept at most are not between 1024 and 1099511627776";
    assert_eq!(Lag::evict(1023, Duration::ZERO).check(), Err(said.to_owned()));
    assert!(Lag::conflate(usize::MAX, letter).check().is_err());
}

/// Random traffic to a random application: order, bounds, and that no message is unaccounted for.
#[test]
fn nothing_is_unaccounted_for() {
    for seed in 0..300 {
        let rng = &mut Rng::with_seed(seed);
        let bytes = rng.usize(1024..20_000);
        let contract = match seed % 3 {
            0 => Lag::replay(bytes),
            1 => Lag::conflate(bytes, letter),
            _ => Lag::evict(bytes, Duration::from_micros(rng.u64(0..200))),
        };
        let mut bench = Bench::new(contract);
        let mut sent = [0_u32; 3];
        for _ in 0..rng.usize(1..600) {
            let text: Vec<(u16, Vec<u8>)> = (0..rng.usize(..6))
                .map(|_| {
                    let from = rng.u16(..3);
                    let number = &mut sent[usize::from(from)];
                    *number += 1;
                    let mut bytes = [&[b"abcdXY"[rng.usize(..6)]][..], &number.to_le_bytes()].concat();
                    bytes.resize(5 + rng.usize(..300), 0);
                    (from, bytes)
                })
                .collect();
            let budget = [0, DEAF, rng.usize(..12)][rng.usize(..3)];
            bench.cycle(budget, text.iter().map(|(from, bytes)| message(*from, bytes)).collect());
            assert!(bench.backlog.standing().behind.bytes <= bytes, "seed {seed}");
            if rng.u8(..20) == 0 {
                bench.backlog.readmit();
            }
        }
        bench.backlog.readmit();
        bench.cast(ALL, &[]);
        bench.backlog.readmit();
        bench.cast(ALL, &[]);
        let (mut last, mut handed, mut lost) = ([0; 3], 0, 0);
        for heard in &bench.heard {
            match heard {
                Heard::Message(from, bytes) => {
                    let number = u32::from_le_bytes(bytes[1..5].try_into().unwrap());
                    assert!(number > last[usize::from(*from)], "seed {seed}: order");
                    (last[usize::from(*from)], handed) = (number, handed + 1);
                }
                Heard::Lost(_, messages) => lost += messages,
                _ => {}
            }
        }
        let Standing { state, counters, .. } = bench.backlog.standing();
        assert_eq!(
            (state, lost, handed),
            (LagState::Live, counters.lost, counters.live + counters.late),
            "seed {seed}"
        );
        let all = sent.iter().map(|sent| u64::from(*sent)).sum::<u64>();
        assert_eq!(handed + counters.conflated + lost, all, "seed {seed}: {counters:?}");
    }
}
