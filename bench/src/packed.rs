//! The floor of throughput: packed blocks through plain sockets. No code of ours is in it.
//!
//! A sender fills blocks with messages as ours are packed (2-byte frame header, then the message, its serial number in
//! the first 8 bytes), walking a ring of blocks as large as our log, and sends them one at a time, or in runs of up to
//! 64 KB by UDP_SEGMENT. A receiver walks a pool as large as ours, never one hot buffer, and counts blocks. Through an
//! atomic it tells the sender how far it is, and the sender stays within a window of that: the smallest flow control
//! there is. What it leaves out: block headers, checksums, acks, repair, order, delivery of single messages.

use crate::floor::{End, Topology, open_ends};
use crate::pins::Pins;
use crate::place::Place;
use crate::{Failure, Span, raw};
use std::hint::spin_loop;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes of a block, as the library's default.
pub(crate) const BLOCK_BYTES: usize = 1408;
/// Blocks of the sender's ring, as the library's default log.
pub(crate) const LOG_BLOCKS: usize = 2048;
/// Slabs of 64 KiB in the receiver's pool: the log once more.
pub(crate) const POOL_SLABS: usize = (LOG_BLOCKS * BLOCK_BYTES).div_ceil(SLAB_BYTES);
/// Bytes in front of each message.
pub(crate) const FRAME_HEADER_BYTES: usize = 2;

/// One way to pack and send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packed {
    /// How the ends hear each other.
    pub(crate) topology: Topology,
    /// Runs by UDP_SEGMENT and UDP_GRO, or block by block.
    pub(crate) offload: bool,
    /// Bytes of a message.
    pub(crate) size: usize,
    /// Bytes of a block on the wire.
    pub(crate) block: usize,
    /// How many runs may be under way.
    pub(crate) window_runs: usize,
}

/// What one repetition of a one-way bench counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    /// Messages per second at the receiver.
    pub(crate) rate: f64,
    /// Blocks sent, first transmissions only, warm-up included.
    pub(crate) sent_blocks: u64,
    /// Those of them that did not arrive by themselves.
    pub(crate) lost_blocks: u64,
    /// Processor time of the sending and of the receiving thread, warm-up included.
    pub(crate) cpu: [Duration; 2],
}

impl Packed {
    /// The window, of those worth trying, with the highest rate without loss to speak of.
    pub(crate) fn with_best_window(mut self, place: &Place, pins: &Pins) -> Result<Self, Failure> {
        let windows: &[usize] = if self.offload { &[2, 4, 8, 16, 32] } else { &[16, 64, 256, 1024] };
        let mut best_rate = 0.0;
        let mut best = self;
        for &window_runs in windows {
            self.window_runs = window_runs;
            let flow = self.run(place, TRIAL, pins)?;
            if flow.rate > best_rate && flow.lost_blocks * 1000 <= flow.sent_blocks {
                best_rate = flow.rate;
                best = self;
            }
        }
        Ok(best)
    }

    /// Sends for a repetition.
    pub(crate) fn run(&self, place: &Place, span: Span, pins: &Pins) -> Result<Flow, Failure> {
        let [left, right] = open_ends(self.topology, place)?;
        if self.offload {
            raw::set_udp_segment(&left.sender, u16::try_from(self.block)?)?;
            // Both: where one listener of a group lacks GRO, its copy of every run is segmented, at the sender's cost.
            raw::set_udp_gro(&left.data)?;
            raw::set_udp_gro(&right.data)?;
        }
        let shared = Shared { received: AtomicU64::new(0), sent: AtomicU64::new(u64::MAX) };
        let (sender_cpu, receiver) = pins.pair(
            |stop| send_all(self, &left, &shared, stop),
            |stop| Receiver::new(self, &right, &shared).run(span, stop),
        )?;
        let sent_blocks = shared.sent.load(Ordering::Acquire);
        Ok(Flow {
            rate: receiver.block_rate * self.messages_per_block() as f64,
            sent_blocks,
            lost_blocks: sent_blocks - receiver.blocks,
            cpu: [sender_cpu, receiver.cpu],
        })
    }

    /// Bytes of a block that messages fill.
    pub(crate) fn filled(&self) -> usize {
        self.messages_per_block() * (self.size + FRAME_HEADER_BYTES)
    }

    fn messages_per_block(&self) -> usize {
        self.block / (self.size + FRAME_HEADER_BYTES)
    }

    fn run_blocks(&self) -> usize {
        if self.offload { (MAX_RUN_BYTES / self.block).min(MAX_RUN_SEGMENTS) } else { 1 }
    }
}

/// What the two ends tell each other.
#[derive(Debug)]
struct Shared {
    /// Blocks received so far.
    received: AtomicU64,
    /// Blocks sent, once the sender has stopped; before that `u64::MAX`.
    sent: AtomicU64,
}

fn send_all(packed: &Packed, end: &End, shared: &Shared, stop: &AtomicBool) -> Result<Duration, Failure> {
    let cpu_before = raw::thread_cpu_time();
    let mut ring = vec![1_u8; LOG_BLOCKS * BLOCK_BYTES];
    let ring_blocks = ring.len() / packed.block;
    let mut window = Window {
        blocks: (packed.window_runs * packed.run_blocks()) as u64,
        sent: 0,
        arrived: 0,
        given_up: 0,
    };
    let mut serial = 0;
    let mut at = 0;
    while window.admits(packed.run_blocks() as u64, shared, stop) {
        let count = packed.run_blocks().min(ring_blocks - at);
        let run = &mut ring[at * packed.block..(at + count) * packed.block];
        serial = fill_run(run, packed.block, packed.size, serial);
        end.send(run)?;
        window.sent += count as u64;
        at = (at + count) % ring_blocks;
    }
    // Release: pairs with the receiver's Acquire, which ends its draining.
    shared.sent.store(window.sent, Ordering::Release);
    Ok(raw::thread_cpu_time() - cpu_before)
}

/// The sender's view of what is under way.
#[derive(Debug)]
struct Window {
    blocks: u64,
    sent: u64,
    /// The last count of the receiver that was seen, plus what was given up.
    arrived: u64,
    /// What was taken for lost.
    given_up: u64,
}

impl Window {
    /// Waits until `count` more blocks may leave; false when the bench is over.
    fn admits(&mut self, count: u64, shared: &Shared, stop: &AtomicBool) -> bool {
        let mut waiting_since: Option<Instant> = None;
        // Acquire: pairs with the Release of the ending receiver.
        while !stop.load(Ordering::Acquire) {
            if self.sent + count <= self.arrived + self.blocks {
                return true;
            }
            let arrived = shared.received.load(Ordering::Relaxed) + self.given_up;
            if arrived > self.arrived {
                self.arrived = arrived;
                continue;
            }
            spin_loop();
            let since = *waiting_since.get_or_insert_with(Instant::now);
            if since.elapsed() > LOST_AFTER {
                // Without this a single loss would narrow the window for ever.
                self.given_up += self.sent - self.arrived;
                waiting_since = None;
            }
        }
        false
    }
}

/// Fills a run of blocks; a constant size lets the compiler unroll the copies of the sizes that count.
fn fill_run(run: &mut [u8], block: usize, size: usize, serial: u64) -> u64 {
    match size {
        32 => fill(run, block, 32, serial),
        1024 => fill(run, block, 1024, serial),
        _ => fill(run, block, size, serial),
    }
}

#[inline(always)]
fn fill(run: &mut [u8], block: usize, size: usize, mut serial: u64) -> u64 {
    let header = (size as u16).to_le_bytes();
    for block in run.chunks_exact_mut(block) {
        for frame in block.chunks_exact_mut(size + FRAME_HEADER_BYTES) {
            frame[..2].copy_from_slice(&header);
            frame[2..10].copy_from_slice(&serial.to_le_bytes());
            frame[10..].copy_from_slice(&TEMPLATE[..size - 8]);
            serial += 1;
        }
    }
    serial
}

/// What the receiver found in a repetition.
#[derive(Debug)]
struct Received {
    block_rate: f64,
    blocks: u64,
    cpu: Duration,
}

#[derive(Debug)]
struct Receiver<'a> {
    end: &'a End,
    shared: &'a Shared,
    offload: bool,
    pool: Vec<u8>,
    stride: usize,
    at: usize,
    blocks: u64,
}

impl<'a> Receiver<'a> {
    fn new(packed: &Packed, end: &'a End, shared: &'a Shared) -> Self {
        let stride = if packed.offload { SLAB_BYTES } else { BLOCK_BYTES };
        let pool = vec![1; POOL_SLABS * SLAB_BYTES];
        Self { end, shared, offload: packed.offload, pool, stride, at: 0, blocks: 0 }
    }

    fn run(mut self, span: Span, stop: &AtomicBool) -> Result<Received, Failure> {
        let cpu_before = raw::thread_cpu_time();
        let start = Instant::now();
        let from = self.receive_until(start + span.warm_up, stop)?;
        let until = self.receive_until(from.at + span.measure, stop)?;
        // Release: pairs with the Acquire in Window::admits.
        stop.store(true, Ordering::Release);
        self.drain()?;
        let cpu = raw::thread_cpu_time() - cpu_before;
        let seconds = (until.at - from.at).as_secs_f64();
        Ok(Received { block_rate: (until.blocks - from.blocks) as f64 / seconds, blocks: self.blocks, cpu })
    }

    /// Receives until `deadline`; looks at the clock once in a batch.
    fn receive_until(&mut self, deadline: Instant, stop: &AtomicBool) -> Result<Mark, Failure> {
        loop {
            for _ in 0..BATCH {
                if !self.receive_one()? {
                    break;
                }
            }
            self.publish();
            let at = Instant::now();
            if at >= deadline {
                return Ok(Mark { at, blocks: self.blocks });
            }
            // Acquire: pairs with the Release of a sender that failed.
            if stop.load(Ordering::Acquire) {
                return Err("the floor's sender stopped early".into());
            }
        }
    }

    /// Takes what is still on its way, so that only what never came counts as lost.
    fn drain(&mut self) -> io::Result<()> {
        let mut quiet_since = Instant::now();
        while quiet_since.elapsed() < QUIET {
            if self.receive_one()? {
                quiet_since = Instant::now();
            }
            // Acquire: pairs with the Release of the ending sender.
            if self.blocks == self.shared.sent.load(Ordering::Acquire) {
                break;
            }
        }
        Ok(())
    }

    fn receive_one(&mut self) -> io::Result<bool> {
        let buffer = &mut self.pool[self.at..self.at + self.stride];
        let blocks = if self.offload {
            raw::receive_coalesced(&self.end.data, buffer)?.map(|found| found.len.div_ceil(found.segment))
        } else {
            self.end.receive(buffer)?.map(|_| 1)
        };
        let Some(blocks) = blocks else { return Ok(false) };
        self.blocks += blocks as u64;
        self.at += self.stride;
        if self.at + self.stride > self.pool.len() {
            self.at = 0;
        }
        if self.offload {
            self.publish();
        }
        Ok(true)
    }

    fn publish(&self) {
        // Relaxed: a count alone; the data went through the kernel.
        self.shared.received.store(self.blocks, Ordering::Relaxed);
    }
}

/// A reading of the counter and the clock.
#[derive(Debug, Clone, Copy)]
struct Mark {
    at: Instant,
    blocks: u64,
}

/// What messages are made of, behind their serial number.
static TEMPLATE: [u8; BLOCK_BYTES] = [0x5a; BLOCK_BYTES];

const SLAB_BYTES: usize = 1 << 16;
/// The largest UDP payload over IPv4.
pub(crate) const MAX_RUN_BYTES: usize = 65_507;
/// What every kernel with UDP_SEGMENT takes in one send (128 since 6.9).
const MAX_RUN_SEGMENTS: usize = 64;
/// Receives between two looks at the clock.
const BATCH: usize = 16;
/// A window that stays shut for this long has lost something.
const LOST_AFTER: Duration = Duration::from_millis(50);
/// Nothing more comes after such a silence.
const QUIET: Duration = Duration::from_millis(20);
/// A trial of one window.
const TRIAL: Span = Span { warm_up: Duration::from_millis(20), measure: Duration::from_millis(60) };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_packed_as_ours_are() {
        let mut run = vec![0; 2 * 100];
        assert_eq!(fill_run(&mut run, 100, 32, 7), 11);
        assert_eq!(run[..2], 32_u16.to_le_bytes());
        assert_eq!(run[34 + 2..34 + 10], 8_u64.to_le_bytes());
        assert_eq!(run[68..100], [0; 32], "no message crosses the end of a block");
        assert_eq!(run[102..110], 9_u64.to_le_bytes());
    }
}
