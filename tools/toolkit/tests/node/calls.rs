//! Calls between members over real sockets, some of whom die.

use crate::cluster::{PATIENCE, config};
use sistrum::{CallEvent, CallId, Calls, Event, Group, JoinOptions, Node, Order, Status, ViewMember, Want};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Whether a call had enough replies, and what has become of it everywhere.
type Ended = (bool, Vec<(ViewMember, Status)>);

/// A member that answers `who?` with its number, `quiet` with nothing, `hand on N` by handing it to the member of rank N, and `never` not.
struct Clerk {
    node: Node,
    group: Group,
    calls: Calls,
    number: u8,
    plain: Vec<Vec<u8>>,
    done: BTreeMap<CallId, Ended>,
}

impl Clerk {
    fn join(name: &str, number: u8) -> Self {
        let options = JoinOptions::peer().expected_members(3).suspect_after(Duration::from_millis(300));
        let mut node = Node::open(config()).expect("a node");
        let group = node.join(name, options).expect("a group");
        Self { node, group, calls: Calls::new(group), number, plain: Vec::new(), done: BTreeMap::new() }
    }

    fn poll(&mut self) {
        let Self { node, calls, .. } = self;
        let polled = node.poll(|cx, event| {
            let is_message = matches!(event, Event::Deliver(_) | Event::Direct(_));
            assert_eq!(calls.handle(cx, &event), is_message, "all messages are of calls");
            Ok(())
        });
        polled.expect("a poll");
        while let Some(event) = self.calls.poll(&mut self.node).expect("it is a member") {
            match event {
                CallEvent::Plain { bytes, .. } => self.plain.push(bytes),
                CallEvent::Done { call, is_enough, replies } => {
                    assert_eq!(self.done.insert(call, (is_enough, replies)), None, "over twice");
                }
                CallEvent::Request(request) => match request.bytes() {
                    b"who?" => self.calls.reply(request, &[self.number]),
                    b"quiet" => self.calls.null_reply(request),
                    b"no" => self.calls.abort_reply(request, "no"),
                    b"long no" => self.calls.abort_reply(request, &"no".repeat(1 << 20)),
                    b"large" => self.calls.reply(request, &vec![0; 1 << 20]),
                    [b'>', rank] => {
                        let view = self.node.view(&self.group).expect("a view");
                        let to = sistrum::Rank(u16::from(*rank));
                        // Whom it was handed to, answers.
                        match view.member(to) {
                            Some(other) if to != view.me() => self.calls.forward(request, *other),
                            _ => self.calls.reply(request, &[self.number]),
                        }
                    }
                    _ => {}
                },
            }
        }
    }

    fn member(&self) -> ViewMember {
        let view = self.node.view(&self.group).expect("a view");
        *view.member(view.me()).expect("it is in it")
    }

    fn call(&mut self, order: Order, want: Want, request: &[u8]) -> CallId {
        self.calls.call(&mut self.node, order, want, request).expect("room")
    }
}

fn until(clerks: &mut [Clerk], what: &str, is_so: impl Fn(&[Clerk]) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so(clerks) {
        clerks.iter_mut().for_each(Clerk::poll);
        assert!(
            Instant::now() < end,
            "never: {what}\n{:#?}",
            clerks.iter().map(|clerk| &clerk.calls).collect::<Vec<_>>()
        );
        std::thread::yield_now();
    }
}

/// What has become of a call of the first.
fn ended(clerks: &mut [Clerk], call: CallId) -> Ended {
    until(clerks, &format!("{call:?} is over"), |clerks| clerks[0].done.contains_key(&call));
    clerks[0].done[&call].clone()
}

fn count(replies: &[(ViewMember, Status)], is_such: impl Fn(&Status) -> bool) -> usize {
    replies.iter().filter(|(_, status)| is_such(status)).count()
}

#[test]
fn a_call_has_its_replies_or_nobody_is_left_who_could_give_one() {
    let name = format!("calls {}", std::process::id());
    let mut clerks: Vec<Clerk> = (0..3).map(|number| Clerk::join(&name, number)).collect();
    until(&mut clerks, "three are together", |clerks| {
        clerks.iter().all(|clerk| clerk.node.reached(&clerk.group).is_some())
    });
    let is_reply = |status: &Status| matches!(status, Status::Replied(_));
    for (want, replies) in
        [(Want::All, 3), (Want::N(9), 3), (Want::Majority, 2), (Want::N(1), 1), (Want::None, 0)]
    {
        for order in [Order::Fifo, Order::Causal, Order::Total] {
            let call = clerks[0].call(order, want, b"who?");
            let (is_enough, all) = ended(&mut clerks, call);
            assert!(is_enough && all.len() == 3 && count(&all, is_reply) >= replies, "{want:?}: {all:?}");
        }
    }
    for order in [Order::Fifo, Order::Causal, Order::Total] {
        let Clerk { node, calls, .. } = &mut clerks[0];
        let call = calls.call_others(node, order, Want::All, b"who?").expect("room");
        assert!(calls.replies(call).is_some_and(|all| all.len() <= 2), "who calls is not asked");
        let (is_enough, all) = ended(&mut clerks, call);
        assert!(is_enough && count(&all, is_reply) == 2 && all.len() == 2, "{all:?}");
    }
    let call = clerks[0].call(Order::Causal, Want::All, b"quiet");
    let (is_enough, all) = ended(&mut clerks, call);
    assert!(!is_enough && count(&all, |status| *status == Status::Null) == 3, "{all:?}");
    for (request, why) in [(&b"no"[..], "no"), (b"large", "exceeds the limit")] {
        let call = clerks[0].call(Order::Causal, Want::All, request);
        let (is_enough, all) = ended(&mut clerks, call);
        let is_aborted = |status: &Status| matches!(status, Status::Aborted(said) if said.contains(why));
        assert!(!is_enough && count(&all, is_aborted) == 1, "{request:?}");
    }
    // One alone, which hands it on.
    let (second, third) = (clerks[1].member(), clerks[2].member());
    let call = clerks[0].calls.call_one(second, Want::All, b"long no");
    let (is_enough, all) = ended(&mut clerks, call);
    assert!(!is_enough && matches!(&all[0].1, Status::Aborted(why) if why.contains("exceeds the limit")));
    let rank = clerks[0].node.view(&clerks[0].group).expect("a view").members();
    let rank = rank.iter().position(|member| *member == third).expect("a member") as u8;
    let call = clerks[0].calls.call_one(second, Want::All, &[b'>', rank]);
    let (is_enough, all) = ended(&mut clerks, call);
    assert_eq!(all, [(second, Status::Forwarded(third)), (third, Status::Replied(vec![2]))]);
    assert!(is_enough);
    let Clerk { node, calls, .. } = &mut clerks[0];
    calls.cast(node, Order::Total, b"news").expect("room");
    until(&mut clerks, "all have the news", |clerks| clerks.iter().all(|clerk| clerk.plain == [b"news"]));
    // One never answers, and one dies: the call goes on as long as the first lives.
    let call = clerks[0].calls.call_one(third, Want::All, b"never");
    let all_called = clerks[0].call(Order::Causal, Want::All, b"never");
    until(&mut clerks, "all were asked", |clerks| clerks.iter().all(|clerk| clerk.calls.open() < 3));
    drop(clerks.pop());
    let (is_enough, all) = ended(&mut clerks, call);
    assert_eq!((is_enough, all), (false, vec![(third, Status::Dead)]));
    assert!(clerks[0].calls.give_up(all_called), "two live, and have said nothing");
    let call = clerks[0].call(Order::Causal, Want::All, b"who?");
    let (is_enough, all) = ended(&mut clerks, call);
    assert!(is_enough && all.len() == 2, "{all:?}");
}
