//! Requests of one client come in their order, and none that is over blocks those behind it.

use super::*;

fn ask(number: u64, acked: u64) -> Part<'static> {
    ask_of(number, acked, Dest::All, b"who?")
}

/// What waits to be cast.
fn next((calls, clients): &mut (Calls, Clients)) -> Option<Vec<u8>> {
    let bytes = clients.poll_cast(Instant(0), calls)?.to_vec();
    clients.cast();
    Some(bytes)
}

fn deliver((calls, clients): &mut (Calls, Clients), from: u16, bytes: &[u8]) {
    calls.handle(Rank(from), bytes).unwrap();
    drain(calls, clients);
}

fn write((calls, clients): &mut (Calls, Clients), from: u16, (session, turn): (u64, u64), part: Part<'_>) {
    let letter = Letter { boot: BootId(9), session, turn, part }.encode();
    clients.handle_letter(Instant(0), calls, member(from).endpoint, &letter);
    drain(calls, clients);
}

/// The numbers that the application is told, which answers those for it alone.
fn told((calls, clients): &mut (Calls, Clients)) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Some(event) = clients.poll_event() {
        let ClientsEvent::Request(request) = event else { continue };
        numbers.push(request.number());
        if request.dest() == Dest::Any {
            clients.reply(calls, request, b"I");
            drain(calls, clients);
        }
    }
    numbers
}

/// Letters go to and fro between a client and members, and casts among those.
fn talk(now: Instant, end: &mut ClientEnd, groups: &mut [(Calls, Clients)]) {
    for _ in 0..4 {
        while let Some((to, bytes)) = end.poll_letter() {
            for (group, port) in groups.iter_mut().zip(1..) {
                if to == member(port).endpoint {
                    group.1.handle_letter(now, &mut group.0, end.me().endpoint, &bytes);
                    drain(&mut group.0, &mut group.1);
                }
            }
        }
        for at in 0..groups.len() {
            while let Some(bytes) = next(&mut groups[at]) {
                groups.iter_mut().for_each(|group| deliver(group, at as u16, &bytes));
            }
        }
        for (group, port) in groups.iter_mut().zip(1..) {
            while let Some((_, bytes)) = group.1.poll_letter() {
                end.handle(now, member(port).endpoint, &bytes);
            }
        }
    }
}

#[test]
fn one_that_was_given_up_blocks_none_behind_it() {
    let tuning = ClientTuning::default();
    let (mut groups, mut end) = ([alone(tuning)], ClientEnd::new(member(7), tuning, 1));
    let at = Instant(0);
    end.see(at, &[member(1)]);
    talk(at, &mut end, &mut groups);
    end.ask(at, Dest::All, Want::All, b"wait for it").unwrap();
    talk(at, &mut end, &mut groups);
    let second = end.ask(at, Dest::All, Want::All, b"never mind").unwrap();
    let (_, lost) = end.poll_letter().unwrap();
    assert_eq!(end.give_up(second), Some(true));
    end.ask(at, Dest::All, Want::All, b"let it come").unwrap();
    talk(at, &mut end, &mut groups);
    assert_eq!(told(&mut groups[0]), [0, 2]);
    // Its letter comes after all.
    let [(calls, clients)] = &mut groups;
    clients.handle_letter(at, calls, end.me().endpoint, &lost);
    talk(at, &mut end, &mut groups);
    assert_eq!(told(&mut groups[0]), []);
    assert_eq!((end.open(), groups[0].0.open()), (2, 2));
}

#[test]
fn one_for_any_that_another_has_answered_blocks_none_behind_it() {
    let tuning = ClientTuning::default();
    let mut groups = [0, 1].map(|me| one_of(2, me, tuning));
    let (mut end, at) = (ClientEnd::new(member(7), tuning, 1), Instant(0));
    end.see(at, &[member(1)]);
    talk(at, &mut end, &mut groups);
    assert_eq!(end.host(), Some(member(1)));
    end.ask(at, Dest::All, Want::All, b"wait for it").unwrap();
    end.ask(at, Dest::Any, Want::All, b"how is it?").unwrap();
    talk(at, &mut end, &mut groups);
    assert_eq!((told(&mut groups[0]), told(&mut groups[1])), (vec![1, 0], vec![0]));
    talk(at, &mut end, &mut groups);
    assert_eq!(end.open(), 1);
    end.see(at, &[member(2)]);
    talk(at, &mut end, &mut groups);
    assert_eq!(end.host(), Some(member(2)));
    end.ask(at, Dest::All, Want::All, b"let it come").unwrap();
    talk(at, &mut end, &mut groups);
    assert_eq!(told(&mut groups[1]), [2]);
}

#[test]
fn one_that_is_too_long_for_the_members_ends_and_blocks_none_behind_it() {
    let mut group = alone(ClientTuning { bytes: 4, ..ClientTuning::default() });
    say(&mut group, 7, (0, 1), Part::Attach);
    let too_long = ask_of(0, 0, Dest::All, b"whose");
    assert!(matches!(parts(say(&mut group, 7, (1, 1), too_long))[..], [Part::Done { is_enough: false, .. }]));
    assert_eq!(parts(say(&mut group, 7, (1, 1), ask(1, 0))), []);
    assert_eq!(told(&mut group), [1]);
}

#[test]
fn they_do_so_for_who_goes_to_another_and_comes_back() {
    let mut group = one_of(2, 0, ClientTuning::default());
    for port in [7, 8] {
        write(&mut group, port, (0, 1), Part::Attach);
        let cast = next(&mut group).unwrap();
        deliver(&mut group, 0, &cast);
    }
    // Its third attempt, to me again, is on its way, and its second, to the other, before that.
    write(&mut group, 7, (1, 3), Part::Attach);
    let third = next(&mut group).unwrap();
    write(&mut group, 7, (1, 1), ask(0, 0));
    write(&mut group, 8, (2, 1), ask(0, 0));
    write(&mut group, 7, (1, 1), ask(1, 0));
    assert!(group.1.poll_cast(Instant(0), &mut group.0).is_some(), "it stands in front");
    let second = Cast { client: member(7), session: 1, deed: Deed::Attach { turn: 2 } };
    deliver(&mut group, 1, &Calls::plain(&second.encode()));
    let mut casts = vec![next(&mut group).unwrap()];
    deliver(&mut group, 0, &third);
    casts.extend(next(&mut group));
    write(&mut group, 7, (1, 3), ask(0, 0));
    write(&mut group, 7, (1, 3), ask(1, 0));
    casts.extend(std::iter::from_fn(|| next(&mut group)));
    assert_eq!(casts.len(), 3);
    casts.iter().for_each(|cast| deliver(&mut group, 0, cast));
    assert_eq!(told(&mut group), [0, 0, 1]);
    assert_eq!(group.0.open(), 3, "what was dropped is no call");
}
