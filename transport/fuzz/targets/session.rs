//! A member of three is sent any blocks from anybody at any time, while it casts: whatever comes, its state stays sound
//! (its own debug assertions say what that is), it ends every cycle, and gives every buffer back.
//!
//! The input is a list of records: who sends, what kind of block, how much later, where it begins and ends, then its bytes.
//! The checksum is made right for most of them, since nobody guesses it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sistrum_transport::protocol::Target;
use sistrum_transport::id::{Endpoint, GroupId, GroupInstance, Rank, Seq, ViewNumber};
use sistrum_transport::log::{PoolConfig, RxPool};
use sistrum_transport::medium::Channel;
use sistrum_transport::medium::sim::endpoint_of;
use sistrum_transport::protocol::Protocol as _;
use sistrum_transport::reliable::{Entry, Event, Member, RunLimits, Session, SessionConfig, Tuning};
use sistrum_transport::time::Instant;
use sistrum_transport::wire::{HEADER_LEN, Header, Kind};
use std::ops::ControlFlow;

fuzz_target!(|bytes: &[u8]| {
    let mut session = Session::new(config()).expect("there is memory for a log");
    let mut pool =
        RxPool::new(PoolConfig { stride: BLOCK, strides: 3 * WINDOW, slabs: 1 }).expect("there is memory");
    let (mut now, mut rest) = (Instant(1), bytes);
    while let Some((record, after)) = rest.split_first_chunk::<RECORD>() {
        let (body, after) = after.split_at((record[7] as usize).min(after.len()));
        rest = after;
        now = now.plus_ns(u64::from(record[0]) * 20_000);
        // A pool that is spent refuses what comes, as the engine's does.
        if let Some(block) = pool.insert(&block_of(record, body)) {
            session.handle_datagram(now, sender_of(record), block, &mut pool);
        }
        turn(&mut session, &mut pool, now, record[1]);
    }
    session.clear(&mut pool);
    assert!(pool.is_idle(0), "every block was given back");
});

/// The rest of a duty cycle.
fn turn(session: &mut Session, pool: &mut RxPool, now: Instant, choice: u8) {
    session.handle_timeout(now, pool);
    if choice & 0x40 != 0 {
        let message = [choice; 150];
        let _ = session.sender().cast(&message[..usize::from(choice & 0x3f) * 2 + 8]);
    }
    session.poll_event(pool, &mut |_, event| {
        let Event::Deliver(message) = event else { return ControlFlow::Continue(()) };
        assert_eq!(message.len(), message.bytes().len());
        if choice & 0x80 != 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    session.seal(now);
    let mut sends = 0;
    while let Some(transmit) = session.poll_transmit(now) {
        let (run, segment) = session.transmit_bytes(&transmit, pool);
        assert!(run.is_empty() || (segment > 0 && segment <= BLOCK));
        sends += 1;
        assert!(sends < 10_000, "a cycle ends");
    }
}

fn sender_of(record: &[u8; RECORD]) -> Endpoint {
    endpoint_of(u16::from(record[2] & 3))
}

/// A block as the record says.
fn block_of(record: &[u8; RECORD], body: &[u8]) -> Vec<u8> {
    let mut block = vec![0; HEADER_LEN];
    block.extend_from_slice(&body[..body.len().min(BLOCK - HEADER_LEN)]);
    let kind = if record[2] & 0x10 == 0 { Kind::Data } else { Kind::Control };
    let rank = Rank(u16::from(record[2] >> 5) % 4);
    let used = block.len() as u16;
    let trailer = HEADER_LEN as u16 + u16::from(record[4]).min(used - HEADER_LEN as u16);
    let first = if record[5] == 0 || trailer == HEADER_LEN as u16 { 0 } else { HEADER_LEN as u16 };
    // About the window, and now and then far from it.
    let seq = if record[6] & 1 == 0 { u32::from(record[3]) } else { u32::from(record[3]) << 24 };
    let header = Header { seq, used, trailer, first, ..Header::new(kind, GROUP, INSTANCE, VIEW, rank) };
    header.encode(&mut block, record[6] & 2 != 0);
    if record[6] >= 0xf0 {
        block[usize::from(record[3]) % HEADER_LEN] ^= record[6];
    }
    block
}

fn config() -> SessionConfig {
    let member = |index| Member {
        endpoint: endpoint_of(index),
        start: Seq(0),
        entry: if index == 2 { Entry::Live } else { Entry::Start },
        window: WINDOW,
        receive_buffer: 1 << 20,
        coalesces: index == 1,
    };
    SessionConfig {
        group: GROUP,
        instance: INSTANCE,
        view: VIEW,
        me: Rank(0),
        members: vec![member(0), member(1), member(2)],
        to: Target::Channel(Channel(0)),
        index: 0,
        lane: 0,
        block: BLOCK,
        limits: RunLimits { blocks: 8, bytes: 1 << 14 },
        tuning: Tuning { window: WINDOW, ..Tuning::loopback() },
        seed: 7,
    }
}

const BLOCK: usize = 288;
const WINDOW: usize = 16;
/// Bytes in front of each block.
const RECORD: usize = 8;
const GROUP: GroupId = GroupId(7);
const INSTANCE: GroupInstance = GroupInstance(1);
const VIEW: ViewNumber = ViewNumber(1);
