//! Calls of three members, brought to each other by hand.

use super::*;
use sistrum_ordering::{BootId, Endpoint, GroupId, GroupInstance, ViewId, ViewNumber};

fn member(port: u16) -> ViewMember {
    ViewMember { endpoint: Endpoint(([127, 0, 0, 1], port).into()), boot: BootId(9) }
}

/// Three members, of whom this is one.
fn calls(me: u16) -> Calls {
    let id = ViewId { group: GroupId(1), instance: GroupInstance(1), number: ViewNumber(1) };
    let mut calls = Calls::new();
    calls.see(&View::new(id, (0..3).map(member).collect(), Rank(me)));
    calls
}

/// Brings what one has to send to those that it is for, until nobody says anything.
fn settle(all: &mut [Calls]) {
    for from in (0..all.len()).cycle().take(20 * all.len()) {
        while let Some((to, bytes)) = all[from].poll_send().map(|(to, bytes)| (to, bytes.to_vec())) {
            all[from].sent();
            all[usize::from(to.0)].handle(Rank(from as u16), &bytes).unwrap();
        }
    }
}

fn asked(calls: &mut Calls) -> Request {
    match calls.poll_event() {
        Some(CallEvent::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_may_be_handed_on_and_what_cannot_be_sent_ends_the_call() {
    let mut all = [calls(0), calls(1), calls(2)];
    let call = all[0].call_one(member(1), Want::All, b"who?");
    settle(&mut all);
    let request = asked(&mut all[1]);
    assert_eq!((request.bytes(), request.caller()), (&b"who?"[..], member(0)));
    all[1].forward(request, member(2));
    settle(&mut all);
    let request = asked(&mut all[2]);
    all[2].reply(request, b"I");
    settle(&mut all);
    let replies =
        vec![(member(1), Status::Forwarded(member(2))), (member(2), Status::Replied(b"I".to_vec()))];
    assert_eq!(all[0].poll_event(), Some(CallEvent::Done { call, is_enough: true, replies }));
    let call = all[0].call_one(member(1), Want::All, b"again?");
    settle(&mut all);
    let request = asked(&mut all[1]);
    all[1].reply(request, b"a reply that is too large");
    all[1].refused("too large");
    settle(&mut all);
    let replies = vec![(member(1), Status::Aborted("too large".to_owned()))];
    assert_eq!(all[0].poll_event(), Some(CallEvent::Done { call, is_enough: false, replies }));
    let call = all[0].call_one(member(1), Want::All, b"a request that is too large");
    all[0].refused("too large");
    let replies = vec![(member(1), Status::Aborted("too large".to_owned()))];
    assert_eq!(all[0].poll_event(), Some(CallEvent::Done { call, is_enough: false, replies }));
    let call = all[0].call_one(member(1), Want::All, b"large when handed on");
    settle(&mut all);
    let request = asked(&mut all[1]);
    all[1].forward(request, member(2));
    all[1].sent();
    all[0].handle(Rank(1), &Message::Call(3, Part::Forwarded(member(2))).encode()).unwrap();
    all[1].refused("too large");
    settle(&mut all);
    let Some(CallEvent::Done { call: done, is_enough, .. }) = all[0].poll_event() else { panic!("no end") };
    assert_eq!((done, is_enough), (call, false));
}

#[test]
fn a_call_to_nobody_is_over_at_once_and_nonsense_does_nothing() {
    let mut calls = calls(0);
    let call = calls.call_one(member(7), Want::N(1), b"");
    let replies = vec![(member(7), Status::Dead)];
    assert_eq!(calls.poll_event(), Some(CallEvent::Done { call, is_enough: false, replies }));
    let forward = Part::Forward { is_awaited: true, caller: member(1), request: b"x" };
    let whole = Message::Call(0, forward).encode();
    for len in 0..whole.len() - 1 {
        let mut bytes = whole[..len].to_vec();
        assert_eq!(calls.handle(Rank(1), &bytes), Err(NotOfCalls), "{len} bytes");
        if let Some(tag) = bytes.first_mut() {
            *tag = 99;
        }
        assert_eq!(calls.handle(Rank(1), &bytes), Err(NotOfCalls));
    }
    assert_eq!(calls.handle(Rank(3), &whole), Err(NotOfCalls), "nobody has that rank");
    // Replies to what nobody has asked.
    calls.handle(Rank(1), &Message::Call(77, Part::Reply(b"yes")).encode()).unwrap();
    assert_eq!((calls.late(), calls.poll_event(), calls.poll_send()), (1, None, None));
    calls.handle(Rank(1), &Calls::plain(b"news")).unwrap();
    assert_eq!(calls.poll_event(), Some(CallEvent::Plain { from: member(1), bytes: b"news".to_vec() }));
}

#[test]
fn who_says_goodbye_will_not_reply_and_whoever_is_no_member_is_not_handed_anything() {
    let mut all = [calls(0), calls(1), calls(2)];
    let call = all[0].call_one(member(1), Want::All, b"who?");
    all[0].left(Rank(1));
    let lost = |call, status| Some(CallEvent::Done { call, is_enough: false, replies: vec![status] });
    assert_eq!(all[0].poll_event(), lost(call, (member(1), Status::Dead)));
    assert_eq!(all[0].poll_send(), None, "it is not sent any more");
    let (call, request) = all[0].call_all(Want::N(1), b"anybody?");
    for one in [0, 2] {
        all[one].handle(Rank(0), &request).unwrap();
        let request = asked(&mut all[one]);
        all[one].null_reply(request);
    }
    settle(&mut all);
    let replies = vec![(member(0), Status::Null), (member(2), Status::Null)];
    assert_eq!(
        all[0].poll_event(),
        Some(CallEvent::Done { call, is_enough: false, replies }),
        "who left is not asked"
    );
    let call = all[0].call_one(member(2), Want::N(0), b"no answer, please");
    assert!(
        matches!(all[0].poll_event(), Some(CallEvent::Done { call: done, is_enough: true, .. }) if done == call)
    );
    all[0].sent();
    let call = all[0].call_one(member(2), Want::All, b"who?");
    settle(&mut all);
    let request = asked(&mut all[2]);
    all[2].forward(request, member(9));
    settle(&mut all);
    let why = "it was handed on to somebody who is no member".to_owned();
    assert_eq!(all[0].poll_event(), lost(call, (member(2), Status::Aborted(why))));
    // To oneself, it is simply asked again.
    let call = all[0].call_one(member(0), Want::All, b"me?");
    let request = asked(&mut all[0]);
    all[0].forward(request, member(0));
    let request = asked(&mut all[0]);
    all[0].reply(request, b"yes");
    let replies = vec![(member(0), Status::Replied(b"yes".to_vec()))];
    assert_eq!(all[0].poll_event(), Some(CallEvent::Done { call, is_enough: true, replies }));
}

#[test]
fn who_is_excluded_hears_nothing_more_of_his_calls() {
    let mut calls = calls(0);
    let (all, _) = calls.call_all(Want::All, b"who?");
    let one = calls.call_one(member(1), Want::All, b"and you?");
    calls.excluded();
    let lost = |call, replies| Some(CallEvent::Done { call, is_enough: false, replies });
    assert_eq!(calls.poll_event(), lost(all, Vec::new()));
    assert_eq!(calls.poll_event(), lost(one, vec![(member(1), Status::Dead)]));
    assert_eq!((calls.poll_event(), calls.poll_send(), calls.open()), (None, None, 0));
}
