//! Both sequencers, block by block.

use super::rotating::{Rotating, Rounds};
use super::token::{Duty, Token};
use crate::delay::DelayQueue;
use crate::varint;
use crate::wire::{DIRECT, HAND_OVER, NULL, ORDERS, SET_ORDER, TOTAL};
use sistrum_transport::id::{GroupId, GroupInstance, Rank, Seq, ViewNumber};
use sistrum_transport::reliable::Blocks;
use sistrum_transport::wire::{ControlWriter, HEADER_LEN, Header, Kind};

const UNSTABLE: usize = 32;

/// Streams of blocks without messages, which all members hold.
struct Streams(Vec<Vec<Vec<u8>>>);

impl Streams {
    fn of(members: usize) -> Self {
        Self(vec![Vec::new(); members])
    }

    /// Every stream begins here.
    fn starts(&self) -> Vec<Seq> {
        vec![Seq(100); self.0.len()]
    }

    /// The sender of `rank` seals a block with so much room for control; `seal` returns its order flags.
    fn seal(&mut self, rank: u16, room: usize, seal: impl FnOnce(&mut ControlWriter<'_>) -> u8) -> u8 {
        let mut bytes = vec![0; HEADER_LEN + room];
        let mut writer = ControlWriter::new(&mut bytes[HEADER_LEN..]);
        let order = seal(&mut writer);
        let used = (HEADER_LEN + writer.written()) as u16;
        let header = Header::new(Kind::Data, GroupId(1), GroupInstance(1), ViewNumber(1), Rank(rank));
        Header { used, order, ..header }.encode(&mut bytes, false);
        self.0[rank as usize].push(bytes);
        order
    }

    fn marked(&mut self, rank: u16) {
        self.seal(rank, 0, |_| TOTAL);
    }

    /// A block with one frame of these numbers.
    fn says(&mut self, rank: u16, kind: u8, numbers: &[u64]) {
        self.seal(rank, 100, |writer| {
            writer.order(kind, |out| {
                let fits = "the test leaves room";
                numbers.iter().fold(0, |at, number| at + varint::write(&mut out[at..], *number).expect(fits))
            });
            ORDERS
        });
    }
}

impl Blocks for Streams {
    fn block(&self, rank: Rank, seq: Seq) -> Option<&[u8]> {
        self.0[rank.0 as usize].get(seq.since(Seq(100)) as usize).map(Vec::as_slice)
    }
    fn next(&self, rank: Rank) -> Seq {
        Seq(100 + self.0[rank.0 as usize].len() as u64)
    }
}

/// What one member knows of the token.
struct Member(Token, Duty, DelayQueue);

impl Member {
    fn new(me: u16, streams: &Streams, hand_over_after: u32) -> Self {
        let starts = streams.starts();
        let duty = Duty::new(Rank(me), starts.len(), UNSTABLE, hand_over_after);
        Self(Token::new(Rank(me), &starts, UNSTABLE), duty, DelayQueue::new(&starts))
    }

    fn held(&mut self, rank: u16, streams: &Streams) -> bool {
        self.0.held(Rank(rank), streams, &self.2, &mut self.1)
    }

    fn departed(&mut self, rank: u16, streams: &Streams) {
        self.0.departed(Rank(rank), streams, &self.2, &mut self.1);
    }

    /// Delivers everything that has its place, and says in which order.
    fn order(&mut self) -> Vec<(u16, u64)> {
        let mut order = Vec::new();
        while let Some((rank, seq)) = self.0.head() {
            order.push((rank.0, seq.since(Seq(100))));
            self.0.delivered(rank, seq.plus(1));
        }
        order
    }
}

#[test]
fn the_token_goes_to_whoever_casts_most_and_what_he_says_waits_for_that() {
    let mut streams = Streams::of(3);
    let (mut old, mut new, mut third) =
        (Member::new(0, &streams, 3), Member::new(1, &streams, 3), Member::new(2, &streams, 3));
    (0..3).for_each(|_| streams.marked(1));
    old.held(1, &streams);
    assert!(old.1.wants_block());
    streams.seal(0, 100, |writer| old.1.seal(false, writer));
    assert!(!old.1.is_mine(), "it is in the block already");

    streams.marked(2);
    new.held(2, &streams);
    assert!(!new.1.wants_block());
    assert!(new.held(0, &streams), "others may be read on");
    assert!(new.1.is_mine() && new.1.wants_block(), "what waited is numbered");
    streams.seal(1, 100, |writer| new.1.seal(false, writer));
    assert_eq!(streams.seal(1, 100, |writer| new.1.seal(true, writer) | TOTAL), TOTAL | DIRECT);
    new.held(1, &streams);

    third.held(1, &streams);
    third.held(2, &streams);
    assert!(!third.0.has_read(Rank(1), Seq(103)), "it is not known yet that this one has the token");
    assert!(third.0.has_read(Rank(1), Seq(102)));
    assert!(third.held(0, &streams));
    let order = [(1, 0), (1, 1), (1, 2), (2, 0), (1, 4)];
    assert_eq!(third.order(), order);
    assert_eq!(new.order(), order);
    assert_eq!(third.0.misbehaved() + new.0.misbehaved(), 0);
}

#[test]
fn an_order_that_does_not_fit_takes_several_blocks_and_nothing_overtakes_it() {
    let mut streams = Streams::of(3);
    let (mut holder, mut other) = (Member::new(0, &streams, 64), Member::new(1, &streams, 64));
    for _ in 0..4 {
        for rank in [1, 2] {
            streams.marked(rank);
            holder.held(rank, &streams);
        }
    }
    let own = streams.seal(0, 4, |writer| holder.1.seal(true, writer) | TOTAL);
    assert_eq!(own, TOTAL, "there was no room for those before it: it is marked as well");
    holder.held(0, &streams);
    let mut blocks = 0;
    while holder.1.wants_block() {
        streams.seal(0, 14, |writer| holder.1.seal(false, writer));
        holder.held(0, &streams);
        blocks += 1;
    }
    assert!(blocks > 2, "{blocks}");
    other.held(0, &streams);
    let order: Vec<(u16, u64)> = (0..4).flat_map(|at| [(1, at), (2, at)]).chain([(0, 0)]).collect();
    assert_eq!(other.order(), order);
    assert_eq!(holder.order(), order);
}

#[test]
fn orders_that_cannot_be_are_counted_and_change_nothing() {
    let cases: [&[u64]; 7] = [
        &[1, 0, 1, 100, 1],
        &[0, 1, 1, 100, 1],
        &[0, 0, 3, 100, 1],
        &[0, 0, 1, 99, 1],
        &[0, 0, 1, 100, 0],
        &[0, 0, 1, 100, UNSTABLE as u64 + 1],
        &[0, 0, 1, u64::MAX, 1],
    ];
    for numbers in cases {
        let mut streams = Streams::of(3);
        let mut member = Member::new(2, &streams, 64);
        streams.says(0, SET_ORDER, numbers);
        member.held(0, &streams);
        assert_eq!((member.0.misbehaved(), member.0.head()), (1, None), "{numbers:?}");
    }
}

#[test]
fn a_token_for_nobody_stays_and_one_for_the_holder_himself_comes_back() {
    let mut streams = Streams::of(2);
    let mut member = Member::new(1, &streams, 64);
    streams.says(0, HAND_OVER, &[7]);
    assert!(!member.held(0, &streams));
    streams.says(0, HAND_OVER, &[0]);
    assert!(member.held(0, &streams));
    streams.says(0, SET_ORDER, &[1, 0, 1, 100, 1]);
    member.held(0, &streams);
    assert_eq!(member.0.head(), Some((Rank(1), Seq(100))));
}

#[test]
fn whoever_is_gone_leaves_the_token_to_the_next_rank() {
    let mut streams = Streams::of(3);
    let (mut second, mut third) = (Member::new(1, &streams, 64), Member::new(2, &streams, 64));
    streams.marked(2);
    second.held(2, &streams);
    third.held(2, &streams);
    second.departed(0, &streams);
    assert!(second.1.wants_block(), "what waited for the holder is mine to number");
    streams.seal(1, 100, |writer| second.1.seal(false, writer));
    third.held(1, &streams);
    assert_eq!(third.0.head(), None, "it has not heard of the goodbye");
    third.departed(0, &streams);
    assert_eq!(third.0.head(), Some((Rank(2), Seq(100))));

    third.departed(1, &streams);
    assert!(third.1.is_mine());
    assert_eq!(streams.seal(2, 100, |writer| third.1.seal(true, writer) | TOTAL), TOTAL | DIRECT);
    third.held(2, &streams);
    assert_eq!(third.order(), [(2, 0), (2, 1)]);
}

#[test]
fn a_token_for_one_who_is_gone_goes_on_and_who_said_goodbye_takes_none() {
    let mut streams = Streams::of(3);
    let (mut leaver, mut other) = (Member::new(1, &streams, 64), Member::new(2, &streams, 64));
    other.departed(1, &streams);
    leaver.1.retire();
    streams.says(0, HAND_OVER, &[1]);
    leaver.held(0, &streams);
    other.held(0, &streams);
    assert!(!leaver.1.is_mine());
    assert!(other.1.is_mine());
}

/// What one member knows of the rounds.
fn rotating(streams: &Streams) -> (Rotating, Rounds) {
    (Rotating::new(&streams.starts(), UNSTABLE), Rounds::default())
}

#[test]
fn the_silent_leave_their_rounds_out_and_only_those_that_are_used() {
    let mut streams = Streams::of(2);
    let (mut rotating, mut rounds) = rotating(&streams);
    assert!(!rounds.wants_block());
    (0..3).for_each(|_| streams.marked(1));
    rotating.held(Rank(1), &streams, &mut rounds);
    assert_eq!(rotating.head(), None, "rank 0 has its turn first");
    assert!(rounds.wants_block());
    assert_eq!(streams.seal(0, 100, |writer| rounds.seal(false, writer)), ORDERS);
    assert!(!rounds.wants_block());
    rotating.held(Rank(0), &streams, &mut rounds);
    for at in 0..3 {
        assert_eq!(rotating.head(), Some((Rank(1), Seq(100 + at))));
        rotating.delivered(Rank(1), Seq(101 + at));
    }
    // My next total is in the fourth round; in a block that is too small for it, nothing is said.
    streams.seal(0, 0, |writer| rounds.seal(true, writer) | TOTAL);
    rotating.held(Rank(0), &streams, &mut rounds);
    assert_eq!(rotating.head(), Some((Rank(0), Seq(101))));
}

#[test]
fn whoever_is_gone_has_his_last_turns_and_no_more() {
    let mut streams = Streams::of(3);
    let (mut rotating, mut rounds) = rotating(&streams);
    streams.marked(1);
    (0..2).for_each(|_| streams.marked(2));
    streams.says(0, NULL, &[5]);
    (0..3).for_each(|rank| rotating.held(Rank(rank), &streams, &mut rounds));
    rotating.departed(Rank(1));
    let mut order = Vec::new();
    while let Some((rank, seq)) = rotating.head() {
        order.push((rank.0, seq.since(Seq(100))));
        rotating.delivered(rank, seq.plus(1));
    }
    assert_eq!(order, [(1, 0), (2, 0), (2, 1)]);
}

#[test]
fn many_rounds_are_left_out_at_once_and_too_many_harm_nobody() {
    let mut streams = Streams::of(2);
    let (mut rotating, mut rounds) = rotating(&streams);
    for left_out in [1 << 40, u64::MAX, u64::MAX] {
        streams.says(0, NULL, &[left_out]);
        streams.says(1, NULL, &[left_out]);
        streams.marked(1);
    }
    (0..2).for_each(|rank| rotating.held(Rank(rank), &streams, &mut rounds));
    for _ in 0..2 {
        streams.seal(0, 100, |writer| rounds.seal(true, writer) | TOTAL);
    }
    rotating.held(Rank(0), &streams, &mut rounds);
    assert!(rotating.head().is_some());
}
