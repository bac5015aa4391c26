//! A block must have room for what an order needs beside its messages: where it has not, the cast is refused with the numbers.

use sistrum_ordering::{GroupId, GroupInstance, Order, Rank, Seq, Total, TotalOptions, ViewNumber};
use sistrum_transport::medium::Channel;
use sistrum_transport::medium::sim::endpoint_of;
use sistrum_transport::protocol::Target;
use sistrum_transport::reliable::{Entry, Member, Refused, RunLimits, Session, SessionConfig, Tuning};

fn session(members: u16, block: usize) -> Session<Total> {
    let member = |index| Member {
        endpoint: endpoint_of(index),
        start: Seq(0),
        entry: Entry::Start,
        window: 16,
        receive_buffer: 1 << 20,
        coalesces: true,
    };
    let config = SessionConfig {
        group: GroupId::of("room"),
        instance: GroupInstance(1),
        view: ViewNumber(1),
        me: Rank(0),
        members: (0..members).map(member).collect(),
        to: Target::Channel(Channel(0)),
        index: 0,
        lane: 0,
        block,
        limits: RunLimits { blocks: 8, bytes: 60_000 },
        tuning: Tuning { window: 16, ..Tuning::loopback() },
        seed: 1,
    };
    Session::ordered(config, &TotalOptions::default()).expect("there is memory for a log")
}

#[test]
fn stamps_that_a_block_has_no_room_for_refuse_their_casts_and_no_others() {
    let mut session = session(40, 256);
    for order in [Order::Causal, Order::Total] {
        let refused = session.sender().cast_as(order.into(), b"x").expect_err("39 entries do not fit");
        assert!(matches!(refused, Refused::Unordered { needed, limit } if needed > limit), "{refused}");
        assert_eq!(session.sender().claim(order.into(), 1).map(|_| ()), Err(refused));
        assert_eq!(session.sender().max_claim(order.into()), 0);
    }
    assert_eq!(session.sender().cast_as(Order::Fifo.into(), &[7; 500]), Ok(()));
}

#[test]
fn the_longest_message_with_stamps_is_accepted_and_one_byte_more_is_not() {
    let mut session = session(8, 256);
    let (fifo, total) = (Order::Fifo.into(), Order::Total.into());
    assert!(session.sender().max_claim(total) < session.sender().max_claim(fifo));
    let Err(Refused::TooLarge { limit, .. }) = session.sender().cast_as(total, &[1; 100_000]) else {
        panic!("it is longer than the log")
    };
    assert!(limit < session.sender().max_message());
    let longer = session.sender().cast_as(total, &vec![1; limit + 1]);
    assert_eq!(longer, Err(Refused::TooLarge { len: limit + 1, limit }));
    assert_eq!(session.sender().cast_as(total, &vec![1; limit]), Ok(()));
}
