//! Letters and casts say what they said, and nonsense does nothing.

mod bounds;
mod order;

use super::letter::{Cast, Deed, Letter, Part};
use super::*;
use crate::call::Want;
use sistrum_ordering::{BootId, GroupId, GroupInstance, ViewId, ViewNumber};

fn member(port: u16) -> ViewMember {
    ViewMember { endpoint: Endpoint(([127, 0, 0, 1], port).into()), boot: BootId(9) }
}

fn letters() -> Vec<Letter<'static>> {
    let statuses = [
        Status::Waiting,
        Status::Replied(b"yes".to_vec()),
        Status::Null,
        Status::Aborted("no".to_owned()),
        Status::Forwarded(member(8)),
        Status::Dead,
        Status::Unsent(9),
    ];
    let replies: Vec<_> = (1..).map(member).zip(statuses).collect();
    let wants = [Want::None, Want::N(3), Want::All, Want::Majority];
    let after = [None, Some(1), Some(2), None].into_iter();
    let asks = wants.into_iter().zip(after).map(|(want, after)| {
        let request = b"who?";
        Part::Ask { number: 3, acked: 1, after, dest: Dest::Any, want, request }
    });
    let others = [
        Part::Attach,
        Part::Ping,
        Part::Bye,
        Part::Attached,
        Part::Unattached,
        Part::Pong,
        Part::Full,
        Part::Dropped { above: BootId(4) },
        Part::Done { number: 7, is_enough: true, replies },
    ];
    let all = asks.chain(others);
    all.map(|part| Letter { boot: BootId(1), session: 2, turn: 3, part }).collect()
}

#[test]
fn letters_and_casts_are_read_as_they_were_written_and_nothing_else_is() {
    let local = member(1).endpoint;
    for letter in letters() {
        let bytes = letter.encode();
        assert_eq!(Letter::decode(&bytes, local), Some(letter.clone()));
        for len in 0..bytes.len() {
            let is_open_ended = matches!(letter.part, Part::Ask { .. }) && len >= letter::ASK_LEN;
            assert!(is_open_ended || Letter::decode(&bytes[..len], local).is_none(), "{len} of {letter:?}");
        }
    }
    let deeds = [
        Deed::Attach { turn: 1 },
        Deed::Gone { turn: 2, host: member(3) },
        Deed::Ask { number: 1, acked: 0, dest: Dest::All, request: b"who?" },
    ];
    for deed in deeds {
        let cast = Cast { client: member(5), session: 6, deed };
        assert_eq!(Cast::decode(&cast.encode(), local), Some(cast));
        assert_eq!(Cast::decode(&cast.encode()[1..], local), None);
    }
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..100_000 {
        let len = rng.usize(..80);
        let mut bytes: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(len).collect();
        bytes.first_mut().into_iter().for_each(|tag| *tag %= 32);
        _ = Letter::decode(&bytes, local);
    }
}

#[test]
fn whatever_numbers_stand_in_a_letter_it_harms_nobody() {
    for letter in letters() {
        let bytes = letter.encode();
        for at in 0..bytes.len() {
            for number in [0, 1, u64::MAX - 1, u64::MAX] {
                let mut bytes = bytes.clone();
                let end = bytes.len().min(at + 8);
                bytes[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
                let mut group = alone(ClientTuning::default());
                say(&mut group, 7, (0, 1), Part::Attach);
                let mut end = ClientEnd::new(member(7), ClientTuning::default(), 1);
                end.see(Instant(0), &[member(1)]);
                // Also as one that comes from a client, and to it.
                for session in [None, Some(1)] {
                    if let Some(session) = session {
                        bytes[1..9].copy_from_slice(&9_u64.to_le_bytes());
                        bytes[9..17].copy_from_slice(&u64::to_le_bytes(session));
                        bytes[17..25].copy_from_slice(&1_u64.to_le_bytes());
                    }
                    group.1.handle_letter(Instant(1), &mut group.0, member(7).endpoint, &bytes);
                    settle(&mut group.0, &mut group.1);
                    end.handle(Instant(1), member(1).endpoint, &bytes);
                }
                while group.1.poll_letter().is_some() {}
                let session = say(&mut group, 8, (0, 1), Part::Attach)[0].session;
                say(&mut group, 8, (session, 1), ask_of(0, 0, Dest::All, b"who?"));
                let asks = std::iter::from_fn(|| group.1.poll_event());
                let is_asked = |event: &ClientsEvent| matches!(event, ClientsEvent::Request(request) if request.client() == member(8));
                assert_eq!(asks.filter(is_asked).count(), 1, "{letter:?}: {number} at {at}");
            }
        }
    }
}

/// A group of one.
fn alone(tuning: ClientTuning) -> (Calls, Clients) {
    one_of(1, 0, tuning)
}

/// One of so many.
fn one_of(count: u16, me: u16, tuning: ClientTuning) -> (Calls, Clients) {
    let id = ViewId { group: GroupId(1), instance: GroupInstance(1), number: ViewNumber(1) };
    let view = View::new(id, (1..=count).map(member).collect(), Rank(me));
    let (mut calls, mut clients) = (Calls::for_state(), Clients::new(tuning));
    calls.see(&view);
    clients.see(Instant(0), &mut calls, &view);
    (calls, clients)
}

/// Who was there strikes all clients where somebody comes who knows none, and both name the next session alike.
#[test]
fn who_comes_without_a_state_knows_the_clients_that_come_then() {
    let view = |number: u32, count: u16, me: u16| {
        let id = ViewId { group: GroupId(1), instance: GroupInstance(1), number: ViewNumber(number) };
        View::new(id, (1..=count).map(member).collect(), Rank(me))
    };
    let mut first = alone(ClientTuning::default());
    assert_eq!(parts(say(&mut first, 7, (0, 1), Part::Attach)), [Part::Attached]);
    let mut second = (Calls::for_state(), Clients::new(ClientTuning::default()));
    for (me, group) in [&mut first, &mut second].into_iter().enumerate() {
        let view = view(2, 2, me as u16);
        group.0.see(&view);
        group.1.see(Instant(0), &mut group.0, &view);
        drain(&mut group.0, &mut group.1);
    }
    let client = ViewMember { endpoint: member(7).endpoint, boot: BootId(9) };
    let told: Vec<_> = std::iter::from_fn(|| first.1.poll_event()).collect();
    assert_eq!(told, [ClientsEvent::Joined(client), ClientsEvent::Gone(client)]);
    let cast = Cast { client, session: 0, deed: Deed::Attach { turn: 2 } };
    for group in [&mut first, &mut second] {
        assert_eq!(group.1.clients().count(), 0);
        group.0.handle(Rank(0), &Calls::plain(&cast.encode())).unwrap();
        drain(&mut group.0, &mut group.1);
    }
    let session = |group: &(Calls, Clients)| group.1.table.session(client);
    assert!(session(&first).is_some_and(|session| session > 1 << 32));
    assert_eq!(session(&first), session(&second));
    // Nobody else comes: nobody is struck.
    let same = view(3, 2, 0);
    first.0.see(&same);
    first.1.see(Instant(0), &mut first.0, &same);
    assert_eq!(first.1.clients().count(), 1);
}

/// Who keeps no state where others do strikes nobody by coming, knows of no client, and serves them once nobody else is left.
#[test]
fn who_keeps_no_state_where_others_do_serves_nobody_and_strikes_nobody() {
    let view = |number: u32, members: &[u16], me: u16, stateless: Vec<Rank>| {
        let id = ViewId { group: GroupId(1), instance: GroupInstance(1), number: ViewNumber(number) };
        View::new(id, members.iter().copied().map(member).collect(), Rank(me)).with_stateless(stateless)
    };
    let see = |group: &mut (Calls, Clients), view: View| {
        group.0.see(&view);
        group.1.see(Instant(0), &mut group.0, &view);
        drain(&mut group.0, &mut group.1);
    };
    let (mut keeper, mut other) = (alone(ClientTuning::default()), one_of(1, 0, ClientTuning::default()));
    assert_eq!(parts(say(&mut keeper, 7, (0, 1), Part::Attach)), [Part::Attached]);
    other.1 = Clients::new(ClientTuning::default());
    other.0 = Calls::for_state();
    see(&mut keeper, view(2, &[1, 2], 0, vec![Rank(1)]));
    see(&mut other, view(2, &[1, 2], 1, vec![Rank(1)]));
    assert_eq!(keeper.1.clients().count(), 1, "nobody is struck");
    // One request is cast: one executes it, and nobody waits for the other.
    let letter = Letter { boot: BootId(9), session: 1, turn: 1, part: ask_of(0, 0, Dest::All, b"who?") };
    keeper.1.handle_letter(Instant(0), &mut keeper.0, member(7).endpoint, &letter.encode());
    let cast = keeper.1.poll_cast(Instant(0), &mut keeper.0).unwrap().to_vec();
    keeper.1.cast();
    let requests = |group: &mut (Calls, Clients)| {
        group.0.handle(Rank(0), &cast).unwrap();
        drain(&mut group.0, &mut group.1);
        let is_request = |event: &ClientsEvent| matches!(event, ClientsEvent::Request(_));
        std::iter::from_fn(|| group.1.poll_event()).filter(is_request).count()
    };
    assert_eq!((requests(&mut keeper), requests(&mut other)), (1, 0));
    let attach = Letter { boot: BootId(9), session: 0, turn: 1, part: Part::Attach }.encode();
    other.1.handle_letter(Instant(0), &mut other.0, member(8).endpoint, &attach);
    assert_eq!(other.1.poll_cast(Instant(0), &mut other.0), None, "it takes nobody on");
    // It is alone, and begins.
    see(&mut other, view(3, &[2], 0, Vec::new()));
    assert_eq!(parts(say(&mut other, 8, (0, 1), Part::Attach)), [Part::Unattached, Part::Attached]);
}

/// Has cast what waits, and hands it back.
fn settle(calls: &mut Calls, clients: &mut Clients) {
    settle_at(Instant(0), calls, clients);
}

fn settle_at(now: Instant, calls: &mut Calls, clients: &mut Clients) {
    while let Some(bytes) = clients.poll_cast(now, calls).map(<[u8]>::to_vec) {
        clients.cast();
        calls.handle(Rank(0), &bytes).unwrap();
        drain(calls, clients);
    }
    drain(calls, clients);
}

fn drain(calls: &mut Calls, clients: &mut Clients) {
    while let Some(event) = calls.poll_event() {
        assert_eq!(clients.take(Instant(0), calls, event), None);
    }
}

/// Says something as the client of this endpoint, and returns what it is answered.
fn say(
    (calls, clients): &mut (Calls, Clients),
    from: u16,
    (session, turn): (u64, u64),
    part: Part<'_>,
) -> Vec<Letter<'static>> {
    let letter = Letter { boot: BootId(9), session, turn, part }.encode();
    clients.handle_letter(Instant(0), calls, member(from).endpoint, &letter);
    settle(calls, clients);
    let mut answers = Vec::new();
    while let Some((to, bytes)) = clients.poll_letter() {
        assert_eq!(to, member(from).endpoint);
        let Letter { boot, session, turn, part } = Letter::decode(&bytes, to).unwrap();
        let part = match part {
            Part::Done { number, is_enough, replies } => Part::Done { number, is_enough, replies },
            Part::Attached => Part::Attached,
            Part::Unattached => Part::Unattached,
            Part::Pong => Part::Pong,
            Part::Full => Part::Full,
            Part::Dropped { above } => Part::Dropped { above },
            other => panic!("{other:?}"),
        };
        answers.push(Letter { boot, session, turn, part });
    }
    answers
}

/// A request of one that has all below it open that it has not acked.
fn ask_of(number: u64, acked: u64, dest: Dest, request: &[u8]) -> Part<'_> {
    let after = number.checked_sub(1).filter(|before| *before >= acked);
    Part::Ask { number, acked, after, dest, want: Want::All, request }
}

fn parts(letters: Vec<Letter<'static>>) -> Vec<Part<'static>> {
    letters.into_iter().map(|letter| letter.part).collect()
}

#[test]
fn there_are_no_more_clients_nor_requests_than_may_be_and_strangers_have_to_attach_first() {
    let mut group = alone(ClientTuning { clients: 2, window: 2, bytes: 4, ..ClientTuning::default() });
    let ask = |number, request| ask_of(number, 0, Dest::All, request);
    assert_eq!(parts(say(&mut group, 7, (1, 1), ask(0, b"who?"))), [Part::Unattached]);
    assert_eq!(parts(say(&mut group, 7, (1, 1), Part::Ping)), [Part::Unattached]);
    assert_eq!(parts(say(&mut group, 7, (5, 1), Part::Attach)), [Part::Dropped { above: BootId(9) }]);
    assert_eq!(parts(say(&mut group, 7, (0, 1), Part::Attach)), [Part::Attached]);
    assert_eq!(parts(say(&mut group, 8, (0, 1), Part::Attach)), [Part::Attached]);
    assert_eq!(parts(say(&mut group, 9, (0, 1), Part::Attach)), [Part::Full]);
    assert_eq!(parts(say(&mut group, 7, (0, 1), Part::Attach)), [Part::Attached], "said again");
    assert_eq!(parts(say(&mut group, 7, (1, 1), ask(0, b"who?"))), []);
    assert_eq!(parts(say(&mut group, 7, (1, 1), ask(0, b"who?"))), [Part::Pong], "it is asked once");
    let why = "a request of 5 bytes, of at most 4".to_owned();
    let done = Part::Done { number: 1, is_enough: false, replies: vec![(member(1), Status::Aborted(why))] };
    assert_eq!(parts(say(&mut group, 7, (1, 1), ask(1, b"whose"))), [done], "too long");
    assert_eq!(parts(say(&mut group, 7, (1, 1), ask(2, b"why?"))), [], "beyond the window");
    assert_eq!((group.1.over_full(), group.1.malformed()), (3, 0));
    assert_eq!(parts(say(&mut group, 7, (1, 1), Part::Pong)), []);
    assert_eq!(group.1.malformed(), 1);
    let joined = |port| Some(ClientsEvent::Joined(member(port)));
    assert_eq!((group.1.poll_event(), group.1.poll_event()), (joined(7), joined(8)));
    let Some(ClientsEvent::Request(request)) = group.1.poll_event() else { panic!("nobody asks") };
    assert_eq!((request.client(), request.number(), request.bytes()), (member(7), 0, &b"who?"[..]));
    group.1.reply(&mut group.0, request, b"a lot");
    let why = "a reply of 5 bytes, of at most 4".to_owned();
    let done = Part::Done { number: 0, is_enough: false, replies: vec![(member(1), Status::Aborted(why))] };
    assert_eq!(parts(say(&mut group, 7, (1, 1), Part::Ping)), [Part::Pong, done]);
    assert_eq!(group.1.poll_event(), None);
    assert_eq!(parts(say(&mut group, 7, (1, 1), Part::Bye)), [Part::Dropped { above: BootId(9) }]);
    assert_eq!(group.1.clients().collect::<Vec<_>>(), [Served { client: member(8), host: member(1) }]);
    assert_eq!(
        parts(say(&mut group, 7, (0, 2), Part::Attach)),
        [Part::Dropped { above: BootId(9) }],
        "not as who it was"
    );
}

#[test]
fn a_table_is_read_as_it_was_written_with_what_was_not_told_yet() {
    let mut group = alone(ClientTuning::default());
    let ask = |number| ask_of(number, 0, Dest::All, b"who?");
    say(&mut group, 7, (0, 1), Part::Attach);
    for number in 0..3 {
        say(&mut group, 7, (1, 1), ask(number));
    }
    let (calls, clients) = &mut group;
    assert_eq!(clients.poll_event(), Some(ClientsEvent::Joined(member(7))));
    let Some(ClientsEvent::Request(first)) = clients.poll_event() else { panic!("nobody asks") };
    clients.reply(calls, first, b"I");
    let Some(ClientsEvent::Request(_)) = clients.poll_event() else { panic!("nobody asks") };
    let (mut bytes, mut other) = (Vec::new(), Clients::new(ClientTuning::default()));
    clients.write(&mut bytes);
    for len in 0..bytes.len() {
        assert_eq!(other.read(member(2).endpoint, &bytes[..len]), Err(NotOfClients));
    }
    assert_eq!(other.clients().count(), 0);
    other.read(member(2).endpoint, &bytes).unwrap();
    assert_eq!(other.clients().collect::<Vec<_>>(), clients.clients().collect::<Vec<_>>());
    let Some(ClientsEvent::Request(third)) = other.poll_event() else { panic!("nobody asks") };
    assert_eq!((third.number(), other.poll_event()), (2, None));
    let known = |number| other.table.look(member(7), 1, number, 0);
    let said = [Asked::Said(Status::Replied(b"I".to_vec())), Asked::Said(Status::Null), Asked::Open];
    assert_eq!([0, 1, 2].map(known), said);
}

#[test]
fn a_request_of_a_client_that_was_struck_is_not_executed_however_late_it_comes() {
    let mut table = Table::new(2, 8);
    let attach = |table: &mut Table, port| table.attach(member(port), 0, 1, member(1));
    assert_eq!(attach(&mut table, 7), Attaching::New { session: 1, before: None });
    assert_eq!(table.ask(member(7), 1, 0, 0), Asked::New);
    assert!(table.strike(member(7), 1, 1, member(1)));
    assert_eq!(attach(&mut table, 7), Attaching::Dropped { above: BootId(9) });
    // So many others have come and gone that it is forgotten.
    for port in 1000..6000 {
        let Attaching::New { session, .. } = attach(&mut table, port) else { panic!("{port} is no client") };
        assert!(table.strike(member(port), session, 1, member(1)));
    }
    assert_eq!(attach(&mut table, 7), Attaching::New { session: 5002, before: None });
    assert_eq!(table.ask(member(7), 1, 0, 0), Asked::Stale, "it is of another session");
    assert_eq!(table.ask(member(7), 5002, 0, 0), Asked::New);
}

#[test]
fn who_is_wedged_is_no_contact_and_strikes_nobody() {
    let mut group = alone(ClientTuning::default());
    assert_eq!(parts(say(&mut group, 7, (0, 1), Part::Attach)), [Part::Attached]);
    group.1.wedge(Instant(1), true);
    assert_eq!(parts(say(&mut group, 7, (1, 1), Part::Ping)), [Part::Unattached]);
    assert_eq!(parts(say(&mut group, 8, (0, 1), Part::Attach)), [Part::Unattached]);
    let silence_ns = ClientTuning::default().silence_ns;
    let look = |(calls, clients): &mut (Calls, Clients), at_ns| {
        clients.handle_timeout(Instant(at_ns));
        clients.poll_cast(Instant(at_ns), calls).is_some()
    };
    assert!(!look(&mut group, 2 * silence_ns));
    group.1.wedge(Instant(3 * silence_ns), false);
    assert!(!look(&mut group, 4 * silence_ns - 1));
    assert!(look(&mut group, 5 * silence_ns));
    group.1.wedge(Instant(5 * silence_ns), true);
    assert!(!look(&mut group, 5 * silence_ns), "nor what waits");
}

#[test]
fn who_has_replied_is_told_though_there_is_no_room_for_the_reply() {
    let bytes = MAX_LETTER - 200;
    let mut group = one_of(4, 0, ClientTuning { bytes, ..ClientTuning::default() });
    say(&mut group, 7, (0, 1), Part::Attach);
    say(&mut group, 7, (1, 1), ask_of(0, 0, Dest::All, b"who?"));
    let said = [vec![1; 9], vec![2; bytes], vec![3; bytes / 2], vec![4; bytes / 3]].map(Status::Replied);
    let entry = group.1.table.entry(1).unwrap();
    let replies: Vec<_> = (1..).map(member).zip(said).collect();
    group.1.host.finish(entry, (1, 0), true, replies.clone());
    let (_, letter) = group.1.poll_letter().unwrap();
    assert!(letter.len() <= MAX_LETTER);
    let mut left = replies;
    left[1].1 = Status::Unsent(bytes);
    let done = Part::Done { number: 0, is_enough: true, replies: left };
    assert_eq!(Letter::decode(&letter, member(7).endpoint).unwrap().part, done);
}

#[test]
fn who_is_heard_while_its_strike_waits_is_not_struck() {
    let mut group = alone(ClientTuning::default());
    say(&mut group, 7, (0, 1), Part::Attach);
    let (calls, clients) = &mut group;
    let late = Instant(2 * ClientTuning::default().silence_ns);
    clients.handle_timeout(late);
    assert!(clients.poll_cast(late, calls).is_some(), "it was silent");
    let ping = Letter { boot: BootId(9), session: 1, turn: 1, part: Part::Ping }.encode();
    clients.handle_letter(late, calls, member(7).endpoint, &ping);
    assert_eq!(clients.poll_cast(late, calls), None);
}

/// Views follow each other faster than anybody looks who is silent.
#[test]
fn who_is_silent_or_has_no_host_is_struck_though_the_view_changes_all_the_time() {
    let tuning = ClientTuning::default();
    let mut group = one_of(2, 0, tuning);
    assert_eq!(parts(say(&mut group, 7, (0, 1), Part::Attach)), [Part::Attached]);
    let other = Cast { client: member(8), session: 0, deed: Deed::Attach { turn: 1 } };
    group.0.handle(Rank(1), &Calls::plain(&other.encode())).unwrap();
    drain(&mut group.0, &mut group.1);
    // The other host is gone with the first of them, and somebody comes and goes who knows of no client.
    let every_ns = 500_000_000;
    let left = (1..=14).map(|round| {
        let (now, comes) = (Instant(u64::from(round) * every_ns), round % 2 == 0);
        let id = ViewId { group: GroupId(1), instance: GroupInstance(1), number: ViewNumber(1 + round) };
        let members = [1, 3][..1 + usize::from(comes)].iter().copied().map(member).collect();
        let stateless = comes.then_some(Rank(1)).into_iter().collect();
        let view = View::new(id, members, Rank(0)).with_stateless(stateless);
        group.0.see(&view);
        group.1.see(now, &mut group.0, &view);
        group.1.handle_timeout(now);
        settle_at(now, &mut group.0, &mut group.1);
        group.1.clients().count()
    });
    let left: Vec<usize> = left.collect();
    let in_time = |ns: u64| (ns / every_ns) as usize;
    assert_eq!(left[in_time(tuning.silence_ns) - 2], 2, "{left:?}");
    assert_eq!(left.last(), Some(&0), "{left:?}");
}

#[test]
fn who_may_not_come_back_as_who_it_was_comes_as_somebody_else_and_not_at_once() {
    let tuning = ClientTuning::default();
    let (mut end, host) = (ClientEnd::new(member(7), tuning, 1), member(1));
    end.see(Instant(1), &[host]);
    assert!(end.poll_letter().is_some_and(|(to, _)| to == host.endpoint));
    let part = Part::Dropped { above: BootId(20) };
    let letter = Letter { boot: BootId(9), session: 0, turn: 1, part }.encode();
    end.handle(Instant(2), host.endpoint, &letter);
    end.handle(Instant(2), host.endpoint, &letter);
    assert_eq!((end.me().boot, end.poll_letter(), end.poll_event()), (BootId(21), None, None));
    let Some(again) = end.poll_timeout() else { panic!("it has given up") };
    assert_eq!(again, Instant(2).plus_ns(tuning.retry_ns));
    end.handle_timeout(again);
    let said = end.poll_letter().map(|(_, bytes)| Letter::decode(&bytes, host.endpoint).unwrap().boot);
    assert_eq!(said, Some(BootId(21)));
}

#[test]
fn what_is_handed_on_to_the_host_before_it_is_delivered_there_waits_for_it() {
    let [mut host, mut other] = [0, 1].map(|me| one_of(2, me, ClientTuning::default()));
    let next = |(calls, clients): &mut (Calls, Clients)| {
        let bytes = clients.poll_cast(Instant(0), calls).unwrap().to_vec();
        clients.cast();
        bytes
    };
    let deliver = |(calls, clients): &mut (Calls, Clients), from, bytes: &[u8]| {
        calls.handle(Rank(from), bytes).unwrap();
        drain(calls, clients);
    };
    let letter = |session, part| Letter { boot: BootId(9), session, turn: 1, part }.encode();
    let client = member(7).endpoint;
    host.1.handle_letter(Instant(0), &mut host.0, client, &letter(0, Part::Attach));
    let attach = next(&mut host);
    deliver(&mut host, 0, &attach);
    deliver(&mut other, 0, &attach);
    let ask = ask_of(0, 0, Dest::All, b"who?");
    host.1.handle_letter(Instant(0), &mut host.0, client, &letter(1, ask));
    let ask = next(&mut host);
    deliver(&mut other, 0, &ask);
    let told = |clients: &mut Clients| std::iter::from_fn(|| clients.poll_event()).last();
    let Some(ClientsEvent::Request(request)) = told(&mut other.1) else { panic!("nobody asks") };
    other.1.forward(&mut other.0, request, member(1));
    while let Some((_, bytes)) = other.0.poll_send().map(|(to, bytes)| (to, bytes.to_vec())) {
        other.0.sent();
        deliver(&mut host, 1, &bytes);
    }
    deliver(&mut host, 0, &ask);
    let Some(ClientsEvent::Request(request)) = told(&mut host.1) else { panic!("nobody asks") };
    host.1.reply(&mut host.0, request, b"I");
    drain(&mut host.0, &mut host.1);
    let said = std::iter::from_fn(|| host.1.poll_letter()).last().unwrap().1;
    let replies =
        vec![(member(2), Status::Forwarded(member(1))), (member(1), Status::Replied(b"I".to_vec()))];
    let done = Part::Done { number: 0, is_enough: true, replies };
    assert_eq!(Letter::decode(&said, client).unwrap().part, done);
    assert!(host.1.waiting.is_empty());
}

#[test]
fn an_answer_to_one_of_an_earlier_life_is_nobody_elses() {
    let mut group = alone(ClientTuning::default());
    let ask = || ask_of(0, 0, Dest::All, b"who?");
    say(&mut group, 7, (0, 1), Part::Attach);
    say(&mut group, 7, (1, 1), ask());
    let last = |clients: &mut Clients| std::iter::from_fn(|| clients.poll_event()).last();
    let Some(ClientsEvent::Request(old)) = last(&mut group.1) else { panic!("nobody asks") };
    group.0.excluded();
    group.1.excluded();
    drain(&mut group.0, &mut group.1);
    let id = ViewId { group: GroupId(1), instance: GroupInstance(2), number: ViewNumber(1) };
    let view = View::new(id, vec![member(1)], Rank(0));
    group.0.see(&view);
    group.1.see(Instant(0), &mut group.0, &view);
    say(&mut group, 8, (0, 1), Part::Attach);
    say(&mut group, 8, (1, 1), ask());
    group.1.reply(&mut group.0, old, b"of 7");
    assert_eq!(parts(say(&mut group, 8, (1, 1), Part::Ping)), [Part::Pong]);
    let Some(ClientsEvent::Request(new)) = last(&mut group.1) else { panic!("nobody asks") };
    group.1.reply(&mut group.0, new, b"of 8");
    assert_eq!(parts(say(&mut group, 8, (1, 1), Part::Ping)).len(), 2);
}
