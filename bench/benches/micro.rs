//! Micro benchmarks of what every message passes: `cargo bench -p sistrum-bench [-- FILTER]`.
//!
//! They say which part became slower; whether it matters, say `sistrum-bench` and the instruction counts.

#![allow(missing_docs, reason = "what criterion's macro defines is public")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sistrum_bench::one_way::{Casting, Receiving};
use sistrum_bench::pair::Pair;
use sistrum_bench::{BLOCK, RUN_BLOCKS, WINDOW, pool};
use sistrum_transport::id::{GroupId, GroupInstance, Rank, Seq, ViewNumber};
use sistrum_transport::log::{ReceiveWindow, RxBlock, RxPool, SendLog};
use sistrum_transport::wire::{
    Control, ControlFrames, ControlWriter, DataFrames, HEADER_LEN, Header, Heartbeat, Kind, Part,
    StatusEntry, frame_len, write_frame,
};
use std::hint::black_box;
use std::time::Duration;

criterion_group! {
    name = micro;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = headers, data_frames, control_frames, log, window, gaps, sessions
}
criterion_main!(micro);

fn headers(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire/header");
    for (name, check_payload) in [("payload unchecked", false), ("payload checked", true)] {
        let (header, mut block) = full_block();
        group.bench_function(format!("encode, {name}"), |b| {
            b.iter(|| black_box(&header).encode(black_box(&mut block), check_payload));
        });
        group.bench_function(format!("decode, {name}"), |b| b.iter(|| Header::decode(black_box(&block))));
    }
}

fn data_frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire/data");
    let (header, block) = full_block();
    group.throughput(Throughput::Elements(frames_in(header.data(&block)) as u64));
    group.bench_function("walk 32 B frames", |b| b.iter(|| frames_in(black_box(header.data(&block)))));
    let mut out = [0; 64];
    group.throughput(Throughput::Elements(1));
    group.bench_function("write the head of a frame", |b| {
        b.iter(|| write_frame(black_box(&mut out), Part::Whole, black_box(32)).len());
    });
}

fn control_frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire/control");
    let mut out = [0; BLOCK - HEADER_LEN];
    let heartbeat = Heartbeat { next: Seq(9), stable: Seq(8), delivered: Seq(7) };
    let entries = [1, 2, 3].map(|rank| StatusEntry { rank: Rank(rank), received: Seq(9), delivered: Seq(8) });
    let ranges: Vec<_> = (0..16).map(|at| (Seq(at * 100), 3)).collect();
    let mut one = |name: &str, write: &dyn Fn(&mut ControlWriter<'_>)| {
        group.bench_function(format!("write {name}"), |b| {
            b.iter(|| write(&mut ControlWriter::new(black_box(&mut out))));
        });
        let mut writer = ControlWriter::new(&mut out);
        write(&mut writer);
        let written = writer.written();
        group.bench_function(format!("read {name}"), |b| {
            b.iter(|| entries_in(black_box(&out[..written])));
        });
    };
    one("heartbeat", &|writer| {
        writer.heartbeat(heartbeat);
    });
    one("status of 3", &|writer| {
        writer.status(entries.iter().copied());
    });
    one("NAK of 16 ranges", &|writer| {
        writer.nak(Rank(1), 0, ranges.iter().copied());
    });
}

fn log(c: &mut Criterion) {
    let mut group = c.benchmark_group("log");
    group.throughput(Throughput::Elements(1));
    for size in [32, 1024] {
        let mut log = new_log();
        group.bench_function(format!("claim {size} B, seal when full"), |b| {
            b.iter(|| {
                if log.room() < frame_len(Part::Whole, size) {
                    seal(&mut log);
                }
                log.claim(Part::Whole, size).fill(1);
            });
        });
    }
    let mut log = new_log();
    for _ in 0..RUN_BLOCKS {
        log.begin(0);
        log.claim(Part::Whole, BLOCK - 100).fill(1);
        log.seal(true, |_| 0);
    }
    group.bench_function("cut a run of 46 blocks", |b| {
        b.iter(|| {
            let count = log.run_len(Seq(0), black_box(log.open()), RUN_BLOCKS, RUN_BLOCKS * BLOCK);
            log.run(Seq(0), count).len()
        });
    });
}

fn window(c: &mut Criterion) {
    let mut group = c.benchmark_group("receive window");
    group.throughput(Throughput::Elements(IN_WINDOW));
    let in_order = |at| at;
    // Every run of eight arrives backwards.
    let backwards = |at: u64| at ^ 7;
    for (name, order) in
        [("in order", &in_order as &dyn Fn(u64) -> u64), ("each eight backwards", &backwards)]
    {
        group.bench_function(format!("insert {name}, then release"), |b| {
            b.iter_batched(
                blocks,
                |(mut pool, blocks)| {
                    let mut window = ReceiveWindow::new(WINDOW, Seq(0));
                    for (at, block) in blocks.into_iter().enumerate() {
                        black_box(window.insert(Seq(order(at as u64)), block));
                    }
                    window.release(window.next(), &mut pool);
                    pool
                },
                BatchSize::LargeInput,
            );
        });
    }
}

fn gaps(c: &mut Criterion) {
    let mut group = c.benchmark_group("gap ranges");
    for percent in [0, 1, 20] {
        let window = lossy_window(percent);
        group.throughput(Throughput::Elements(IN_WINDOW));
        group.bench_function(format!("missing() with {percent} % lost"), |b| {
            b.iter(|| window.missing(black_box(Seq(0)), Seq(IN_WINDOW)).map(|(_, count)| count).sum::<u32>());
        });
    }
}

fn sessions(c: &mut Criterion) {
    let mut group = c.benchmark_group("session");
    for (size, count) in [(32, 40 * 46 * 50), (1024, 46 * 50)] {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("cast {size} B"), |b| {
            let message = vec![1; size];
            b.iter_batched(
                Casting::new,
                |mut end| end.cast(&message, count, |_, _| {}),
                BatchSize::PerIteration,
            );
        });
        group.bench_function(format!("deliver {size} B"), |b| {
            b.iter_batched(
                || Receiving::of(size, count),
                |mut end| end.deliver(count),
                BatchSize::PerIteration,
            );
        });
        let (mut pair, message) = (Pair::new(), vec![1; size]);
        let delivered = pair.stream(&message, 20);
        group.throughput(Throughput::Elements(delivered as u64));
        group.bench_function(format!("cast {size} B -> deliver, over a pipe"), |b| {
            b.iter(|| pair.stream(&message, 20));
        });
    }
    group.throughput(Throughput::Elements(100));
    let mut pair = Pair::new();
    group.bench_function("round trip of 64 B over a pipe", |b| b.iter(|| pair.round_trips(&[1; 64], 100)));
}

/// A block of 32-byte messages.
fn full_block() -> (Header, Vec<u8>) {
    let mut block = vec![0; BLOCK];
    let mut at = HEADER_LEN;
    while at + frame_len(Part::Whole, 32) <= BLOCK {
        write_frame(&mut block[at..], Part::Whole, 32).fill(1);
        at += frame_len(Part::Whole, 32);
    }
    let header = Header { first: HEADER_LEN as u16, trailer: at as u16, used: at as u16, ..template() };
    header.encode(&mut block, false);
    (header, block)
}

fn template() -> Header {
    Header::new(Kind::Data, GroupId(7), GroupInstance(1), ViewNumber(1), Rank(0))
}

fn new_log() -> SendLog {
    SendLog::new(WINDOW, BLOCK, Seq(0), template(), false).expect("there is memory for a log")
}

/// Seals the open block, when there is one, frees the oldest ones and begins the next.
fn seal(log: &mut SendLog) {
    if !log.is_open_empty() {
        log.seal(true, |_| 0);
        log.release(log.open());
    }
    log.begin(0);
}

fn frames_in(data: &[u8]) -> usize {
    let mut frames = DataFrames::new(data);
    let mut count = 0;
    while let Ok(Some(frame)) = frames.next_frame() {
        black_box(frame);
        count += 1;
    }
    count
}

fn entries_in(trailer: &[u8]) -> usize {
    let mut frames = ControlFrames::new(trailer);
    let mut count = 0;
    while let Ok(Some(frame)) = frames.next_frame() {
        count += match frame {
            Control::Status(status) => status.entries.iter().map(black_box).count(),
            Control::Nak(nak) | Control::Fetch(nak) => nak.ranges.iter().map(black_box).count(),
            Control::Heartbeat(_)
            | Control::Setup(_)
            | Control::Goodbye(_)
            | Control::Chunk(_)
            | Control::Unavailable(_)
            | Control::Firm(_)
            | Control::Order { .. } => 1,
        };
    }
    count
}

/// As many blocks as are inserted, and the pool that they lie in.
fn blocks() -> (RxPool, Vec<RxBlock>) {
    let mut pool = pool();
    let blocks =
        (0..IN_WINDOW).map(|_| pool.insert(&[1; 64]).expect("the pool has room for a window")).collect();
    (pool, blocks)
}

/// A window that lacks every so many-th block, in pairs.
fn lossy_window(percent: u64) -> ReceiveWindow {
    let (_, blocks) = blocks();
    let mut window = ReceiveWindow::new(WINDOW, Seq(0));
    // Two of `period` blocks are lost, and the first one, so that all of the window is looked at.
    let period = 200_u64.checked_div(percent).unwrap_or(u64::MAX);
    for (at, block) in blocks.into_iter().enumerate() {
        let at = at as u64;
        if percent == 0 || at % period >= 2 {
            black_box(window.insert(Seq(at), block));
        }
    }
    window
}

/// Blocks that are inserted.
const IN_WINDOW: u64 = 2048;
