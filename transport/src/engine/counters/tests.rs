use super::super::place::tests::Folder;
use super::super::{Histogram, Kind, Life, Metric, Place, Publisher, Sink, Walk, clean, files, label};
use super::*;
use crate::engine::counters::layout::Size;
use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const SENT: Metric = Metric { name: "sent_blocks", unit: Unit::Plain, help: "" };
const AGE: Metric = Metric { name: "age", unit: Unit::Nanoseconds, help: "" };
const SMALL: Size = Size { label_bytes: 1 << 10, value_words: 256 };

/// So many scopes, whose numbers are all the same.
struct Same {
    scopes: usize,
    number: u64,
    times: Histogram,
}

impl Same {
    fn new(scopes: usize, number: u64) -> Self {
        Self { scopes, number, times: Histogram::default() }
    }
}

impl Walk for Same {
    fn walk(&self, sink: &mut impl Sink) {
        for scope in 0..self.scopes {
            sink.scope("peer", |labels| labels.push(("rank", scope.to_string())));
            sink.counter(&SENT, self.number);
            sink.gauge(&AGE, self.number);
        }
        sink.histogram(&AGE, &self.times);
    }
}

fn publisher(folder: &Folder) -> Publisher {
    Publisher::create(&Place::In(folder.0.clone()), SMALL, BootId(7), Instant(100)).unwrap()
}

#[test]
fn what_is_published_is_read() {
    let folder = Folder::new("read");
    let mut publisher = publisher(&folder);
    let path = publisher.path().to_owned();
    let empty = Snapshot::read(&path).unwrap();
    assert_eq!((empty.scopes.len(), empty.opened, empty.boot), (0, Instant(100), BootId(7)));
    let mut same = Same::new(2, 41);
    same.times.record(1_000);
    assert!(publisher.is_due(Instant(100)));
    publisher.publish(Instant(200), &same, false);
    assert!(!publisher.is_due(Instant(200)));
    same.number = 42;
    publisher.publish(Instant(300), &same, false);
    let seen = Snapshot::read(&path).unwrap();
    assert_eq!((seen.written, seen.generation, seen.left_out), (Instant(300), 1, 0));
    assert_eq!(seen.origin.life(&Origin::here()), Life::Alive);
    let last = seen.scopes("peer").last().unwrap();
    assert_eq!((last.label("rank"), last.number("sent_blocks"), last.label("none")), ("1", Some(42), ""));
    let Reading::Histogram { shape, sum, counts } = &last.values.last().unwrap().reading else { panic!() };
    assert_eq!((*sum, shape.quantile(counts, 0.5)), (1_000, Some(1_024)));
    same.scopes = 1;
    publisher.publish(Instant(400), &same, true);
    let seen = Snapshot::read(&path).unwrap();
    assert_eq!((seen.scopes.len(), seen.generation), (1, 2));
    drop(publisher);
    assert!(!path.exists(), "it goes with its node");
    assert!(fs::read_dir(&folder.0).unwrap().next().is_none(), "and nothing else is left");
}

#[test]
fn what_does_not_fit_is_counted() {
    let folder = Folder::new("full");
    // Wherever the room ends: in the midst of a scope, of its values, of what they are.
    for spare in 0..120 {
        let size = Size { label_bytes: 1_000 + 8 * spare, value_words: 40 - spare % 40 };
        let place = Place::In(folder.0.clone());
        let mut publisher = Publisher::create(&place, size, BootId(7), Instant(100)).unwrap();
        publisher.publish(Instant(1), &Same::new(60, 3), true);
        let seen = Snapshot::read(publisher.path()).unwrap();
        let read: usize = seen.scopes.iter().map(|scope| scope.values.len()).sum();
        assert!(read > 0 && seen.left_out > 0);
        assert_eq!(read as u64 + seen.left_out, 60 * 2 + 1);
        for (scope, rank) in seen.scopes.iter().zip(0..) {
            assert_eq!(scope.label("rank"), rank.to_string());
            assert!(scope.values.len() <= 2, "what is of the next is not of this one: {scope:?}");
            assert!(scope.number("sent_blocks").is_none_or(|number| number == 3));
        }
    }
    let mut publisher = publisher(&folder);
    publisher.publish(Instant(2), &Same::new(2, NONE), true);
    let seen = Snapshot::read(publisher.path()).unwrap();
    assert_eq!((seen.left_out, seen.scopes[0].number("age")), (0, None));
}

#[test]
fn a_reader_sees_one_moment() {
    let folder = Folder::new("moment");
    let mut publisher = publisher(&folder);
    publisher.publish(Instant(1), &Same::new(8, 0), true);
    let path = publisher.path().to_owned();
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            for number in 1..20_000 {
                // Labels change meanwhile too.
                publisher.publish(Instant(number), &Same::new(4 + number as usize % 5, number), true);
            }
            publisher
        });
        let mut looks = 0;
        while !writer.is_finished() {
            // One who is looked at without a pause may never be found at rest.
            let seen = match Snapshot::read(&path) {
                Err(Unreadable::Unfinished) => continue,
                seen => seen.unwrap(),
            };
            let number = seen.scopes[0].number("age").unwrap();
            assert_eq!(seen.scopes.len() as u64, if number == 0 { 8 } else { 4 + number % 5 });
            let all = seen.scopes.iter().flat_map(|scope| [scope.number("sent_blocks"), scope.number("age")]);
            assert!(all.into_iter().all(|one| one == Some(number)), "{seen:?}");
            looks += 1;
        }
        assert!(looks > 0);
        writer.join().unwrap();
    });
}

#[test]
fn nodes_of_one_process_have_a_file_each() {
    let folder = Folder::new("several");
    let nodes = [publisher(&folder), publisher(&folder)];
    assert_eq!(files(&folder.0).len(), 2);
    drop(nodes);
    assert!(files(&folder.0).is_empty());
}

#[test]
fn what_the_dead_left_is_removed_and_nothing_else() {
    let folder = Folder::new("dead");
    let own = publisher(&folder);
    let mut child = Command::new("true").spawn().unwrap();
    let process = child.id();
    child.wait().unwrap();
    let mut bytes = fs::read(own.path()).unwrap();
    let place = layout::AT_PROCESS * WORD;
    bytes[place..place + WORD].copy_from_slice(&u64::from(process).to_le_bytes());
    let dead = folder.0.join("dead.counters");
    fs::write(&dead, &bytes).unwrap();
    fs::write(folder.0.join("other.counters"), b"mine").unwrap();
    fs::write(folder.0.join("young.new"), b"").unwrap();
    assert_eq!(Snapshot::origin(&dead).unwrap().process, process);
    assert_eq!(clean(&folder.0), 1);
    assert!(!dead.exists());
    assert_eq!(files(&folder.0).len(), 2, "the living and the unreadable stay");
    fs::write(&dead, &bytes).unwrap();
    drop(publisher(&folder));
    assert!(!dead.exists(), "the next node cleans up");
}

#[test]
fn another_version_is_refused_by_both_names() {
    let mut bytes = sample();
    bytes[WORD] = 9;
    let refused = Snapshot::decode(&bytes).unwrap_err();
    assert!(matches!(refused, Unreadable::Version { written: 9, read: VERSION }));
    assert!(refused.to_string().starts_with("it has layout version 9, and this reads version 1"));
    assert!(
        matches!(Snapshot::decode(&bytes[..2 * WORD]), Err(Unreadable::Version { .. })),
        "whatever follows"
    );
}

#[test]
fn what_is_no_counters_file_is_refused() {
    let folder = Folder::new("hostile");
    fs::create_dir(&folder.0).unwrap();
    let path: PathBuf = folder.0.join("a.counters");
    for bytes in [&b""[..], b"SISTRUM", &[0; 4_096]] {
        fs::write(&path, bytes).unwrap();
        assert!(matches!(Snapshot::read(&path), Err(Unreadable::NoCounters)), "{bytes:?}");
    }
    let whole = sample();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(Snapshot::read(&path), Err(Unreadable::Length { .. })));
    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert!(matches!(Snapshot::read(&path), Err(Unreadable::NoCounters)), "it does not wait for a pipe");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
    assert!(matches!(Snapshot::read(&path), Err(Unreadable::System(_))), "it follows no link");
    assert!(matches!(Snapshot::read(&folder.0.join("none")), Err(Unreadable::System(_))));
}

#[test]
fn a_writer_that_stopped_in_the_middle_is_told() {
    let folder = Folder::new("stopped");
    fs::create_dir(&folder.0).unwrap();
    let (path, mut bytes) = (folder.0.join("a.counters"), sample());
    bytes[layout::AT_SEQUENCE * WORD] |= 1;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(Snapshot::read(&path), Err(Unreadable::Unfinished)));
}

/// A file's bytes.
fn sample() -> Vec<u8> {
    let mut labels = Vec::new();
    label::put_scope(&mut labels, "engine", &[("node", "a"), ("endpoint", "b")]);
    label::put_value(&mut labels, &SENT, Kind::Counter);
    label::put_value(&mut labels, &AGE, Kind::Gauge);
    label::put_value(&mut labels, &AGE, Kind::Histogram(super::super::histogram::SHAPE));
    let (used, words) = (labels.len(), 2 + 1 + super::super::BUCKETS);
    labels.resize(used.next_multiple_of(WORD), 0);
    let values_at = LABELS + labels.len();
    let mut bytes = vec![0; LABELS];
    bytes.extend(labels);
    bytes.extend((0..words as u64).flat_map(u64::to_le_bytes));
    let header = [
        (layout::AT_MAGIC, MAGIC),
        (layout::AT_VERSION, u64::from(VERSION)),
        (layout::AT_LENGTH, bytes.len() as u64),
        (layout::AT_VALUES, values_at as u64),
        (layout::AT_LABEL_BYTES, used as u64),
        (layout::AT_VALUE_WORDS, words as u64),
    ];
    for (at, value) in header {
        bytes[at * WORD..(at + 1) * WORD].copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

#[test]
fn the_sample_is_sound() {
    let seen = Snapshot::decode(&sample()).unwrap();
    assert_eq!((seen.scopes[0].values.len(), seen.scopes[0].number("age")), (3, Some(1)));
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = Snapshot::decode(&bytes);
    }

    #[test]
    fn no_change_of_a_sound_file_makes_a_reader_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        len in any::<prop::sample::Index>(),
        says in any::<bool>(),
    ) {
        let mut bytes = sample();
        for (at, to) in changes {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        if says {
            // What is cut off says so, or the length alone would be seen.
            bytes.truncate(len.index(bytes.len()) + 1);
            let is = (bytes.len() as u64).to_le_bytes();
            if let Some(word) = bytes.get_mut(layout::AT_LENGTH * WORD..(layout::AT_LENGTH + 1) * WORD) {
                word.copy_from_slice(&is);
            }
        }
        if let Ok(seen) = Snapshot::decode(&bytes) {
            for value in seen.scopes.iter().flat_map(|scope| &scope.values) {
                if let Reading::Histogram { shape, counts, .. } = &value.reading {
                    (0..counts.len()).for_each(|at| _ = shape.bound(at));
                    let _ = shape.quantile(counts, 0.99);
                }
            }
        }
    }
}
