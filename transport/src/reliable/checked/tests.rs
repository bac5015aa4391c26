//! Every check finds a layer that does not keep what it promises.

use super::*;
use crate::medium::Channel;
use crate::medium::sim::endpoint_of;
use crate::protocol::Target;
use crate::reliable::{Entry, Member, RunLimits, Tuning};
use crate::wire::{HEADER_LEN, Kind};

/// The flag of a block that has a place in the total order.
const PLACED: u8 = 0x20;

/// Lets through what the test says, in order or not.
#[derive(Debug, Default)]
struct Liar {
    gate: Seq,
}

impl Layer for Liar {
    type Outbound = Liar;
    type Options = ();
    const ORDERS: bool = true;
    const COMES_BACK: u8 = PLACED;

    fn new(_config: &SessionConfig, (): &()) -> (Self, Self) {
        (Self::default(), Self::default())
    }
    fn passes(&mut self, _rank: Rank, _seq: Seq, _order: u8) -> bool {
        true
    }
    fn held(&mut self, _rank: Rank, _blocks: &impl Blocks, _out: &mut Self) {}
    fn admit(&mut self, _rank: Rank, _blocks: &impl Blocks) -> Seq {
        self.gate
    }
    fn delivered(&mut self, _rank: Rank, _to: Seq) {}
    fn stable(&mut self, _rank: Rank, _to: Seq) {}
    fn woken(&mut self) -> Option<Rank> {
        None
    }
    fn has_woken(&self) -> bool {
        false
    }
    fn departed(&mut self, _rank: Rank, _blocks: &impl Blocks, _out: &mut Self) {}
    fn cut(&mut self, _end: &mut [Seq], _blocks: &impl Blocks) {}
    fn misbehaved(&self) -> u64 {
        0
    }
}

/// A class that is true promises something across senders.
impl Outbound for Liar {
    type Class = bool;
    const RESERVED_BLOCKS: u64 = 0;

    fn joins(&self, _class: bool) -> bool {
        true
    }
    fn open(&mut self, class: bool) -> usize {
        class.into()
    }
    fn max_reserve(&self, class: bool) -> usize {
        class.into()
    }
    fn fits(&self, _rank: Rank, _to: Seq) -> bool {
        true
    }
    fn depend(&mut self, _rank: Rank, _to: Seq) {}
    fn seal(&mut self, _seq: Seq, _bare: bool, _writer: &mut ControlWriter<'_>) -> u8 {
        0
    }
    fn wants_block(&self) -> bool {
        false
    }
    fn retire(&mut self) {}
}

/// All streams are held up to here, and their blocks are alike.
struct Alike(Seq, Vec<u8>);

impl Blocks for Alike {
    fn block(&self, _rank: Rank, seq: Seq) -> Option<&[u8]> {
        (seq < self.0).then_some(&self.1)
    }
    fn next(&self, _rank: Rank) -> Seq {
        self.0
    }
}

fn alike(until: u64, order: u8) -> Alike {
    let mut bytes = vec![0; HEADER_LEN];
    let header = Header::new(Kind::Data, GroupId(1), GroupInstance(2), ViewNumber(3), Rank(0));
    Header { used: HEADER_LEN as u16, order, ..header }.encode(&mut bytes, false);
    Alike(Seq(until), bytes)
}

/// Member `me` of three, whose streams begin at 10.
fn member(me: u16) -> (Checked<Liar>, CheckedOutbound<Liar>) {
    let member = |rank| Member {
        endpoint: endpoint_of(rank),
        start: Seq(10),
        entry: Entry::Start,
        window: 16,
        receive_buffer: 1 << 20,
        coalesces: false,
    };
    let config = SessionConfig {
        group: GroupId(1),
        instance: GroupInstance(2),
        view: ViewNumber(3),
        me: Rank(me),
        members: (0..3).map(member).collect(),
        to: Target::Channel(Channel(0)),
        lane: 0,
        index: 0,
        block: 256,
        limits: RunLimits { blocks: 1, bytes: 256 },
        tuning: Tuning::loopback(),
        seed: 1,
    };
    Checked::new(&config, &())
}

/// Lets the stream of `rank` through up to `gate`, of blocks with these flags.
fn admit(layer: &mut Checked<Liar>, rank: u16, gate: u64, order: u8) {
    layer.layer.gate = Seq(gate);
    layer.admit(Rank(rank), &alike(gate, order));
}

fn seal(out: &mut CheckedOutbound<Liar>, seq: u64, promises: bool) {
    out.open(promises);
    out.seal(Seq(seq), false, &mut ControlWriter::new(&mut []));
}

#[test]
fn what_is_in_order_is_good() {
    watch(true);
    let ((mut one, mut out), (mut other, _)) = (member(0), member(1));
    assert!(one.passes(Rank(2), Seq(10), PLACED));
    admit(&mut one, 2, 12, PLACED);
    out.depend(Rank(2), Seq(12));
    one.delivered(Rank(2), Seq(12));
    one.delivered(Rank(2), Seq(11));
    seal(&mut out, 10, true);
    admit(&mut other, 2, 12, PLACED);
    other.delivered(Rank(2), Seq(12));
    admit(&mut other, 0, 11, 0);
    other.delivered(Rank(0), Seq(11));
}

#[test]
#[should_panic(expected = "out of turn")]
fn a_block_that_is_let_through_twice_is_found() {
    let (mut layer, _) = member(0);
    layer.passes(Rank(1), Seq(10), 0);
    layer.passes(Rank(1), Seq(10), 0);
}

#[test]
#[should_panic(expected = "out of turn")]
fn a_block_that_is_left_out_is_found() {
    member(0).0.passes(Rank(1), Seq(11), 0);
}

#[test]
#[should_panic(expected = "and now to #11")]
fn a_gate_that_goes_back_is_found() {
    let (mut layer, _) = member(0);
    admit(&mut layer, 1, 12, 0);
    admit(&mut layer, 1, 11, 0);
}

#[test]
#[should_panic(expected = "is not held")]
fn what_is_let_through_and_not_held_is_found() {
    let (mut layer, _) = member(0);
    layer.layer.gate = Seq(12);
    layer.admit(Rank(1), &alike(11, 0));
}

#[test]
#[should_panic(expected = "was let through up to #11")]
fn what_is_delivered_and_was_not_let_through_is_found() {
    let (mut layer, _) = member(0);
    admit(&mut layer, 1, 11, 0);
    layer.delivered(Rank(1), Seq(12));
}

#[test]
#[should_panic(expected = "after its goodbye")]
fn a_block_after_the_goodbye_is_found() {
    let (mut layer, mut out) = member(0);
    layer.departed(Rank(1), &alike(10, 0), &mut out);
    admit(&mut layer, 1, 11, PLACED);
}

#[test]
#[should_panic(expected = "before its cause, r2 up to #12")]
fn an_effect_before_its_cause_is_found() {
    watch(true);
    let (_, mut out) = member(0);
    out.depend(Rank(2), Seq(12));
    seal(&mut out, 10, true);
    let (mut other, _) = member(1);
    admit(&mut other, 2, 12, 0);
    other.delivered(Rank(2), Seq(11));
    admit(&mut other, 0, 11, 0);
}

#[test]
fn what_promises_nothing_across_senders_has_no_causes() {
    watch(true);
    let (_, mut out) = member(0);
    out.depend(Rank(2), Seq(12));
    seal(&mut out, 10, false);
    admit(&mut member(1).0, 0, 11, 0);
}

#[test]
#[should_panic(expected = "place 1 of the total order")]
fn two_orders_of_totals_are_found() {
    watch(true);
    for order in [[1, 0, 2], [1, 2, 0]] {
        let (mut layer, _) = member(0);
        for rank in order {
            admit(&mut layer, rank, 11, PLACED);
            layer.delivered(Rank(rank), Seq(11));
        }
    }
}

#[test]
#[should_panic(expected = "sealed out of turn")]
fn a_block_that_is_sealed_out_of_turn_is_found() {
    seal(&mut member(0).1, 11, true);
}
