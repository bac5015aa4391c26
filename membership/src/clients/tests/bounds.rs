//! What comes from outside takes no more room than is meant for it.

use super::*;
use crate::clients::host::Serving;

/// What waits to be cast is cast, and handed back.
fn hear(group: &mut (Calls, Clients), part: Part<'_>, is_cast: bool) {
    let letter = Letter { boot: BootId(9), session: 1, turn: 1, part }.encode();
    group.1.handle_letter(Instant(0), &mut group.0, member(7).endpoint, &letter);
    drain(&mut group.0, &mut group.1);
    if is_cast {
        settle(&mut group.0, &mut group.1);
    }
}

fn ask(number: u64, acked: u64) -> Part<'static> {
    ask_of(number, acked, Dest::All, b"who?")
}

#[test]
fn the_greatest_number_is_none_of_a_request() {
    let mut group = alone(ClientTuning::default());
    say(&mut group, 7, (0, 1), Part::Attach);
    assert_eq!(parts(say(&mut group, 7, (1, 1), ask(u64::MAX, u64::MAX))), []);
    assert_eq!(group.1.malformed(), 1);
}

#[test]
fn whatever_number_it_has_it_is_forgotten_with_its_client() {
    let mut group = alone(ClientTuning::default());
    say(&mut group, 7, (0, 1), Part::Attach);
    group.1.host.serving.insert((1, u64::MAX), Serving::Waiting);
    say(&mut group, 7, (1, 1), Part::Bye);
    assert_eq!(group.1.clients().count(), 0);
    assert!(group.1.host.serving.is_empty());
}

#[test]
fn what_waits_to_be_cast_is_bounded() {
    let mut group = alone(ClientTuning::default());
    say(&mut group, 7, (0, 1), Part::Attach);
    // Nothing is cast meanwhile: a view changes, or the group is busy.
    (0..10_000).for_each(|number| hear(&mut group, ask(number, number), false));
    assert_eq!(group.1.host.tasks.len(), 1);
    // Likewise where one stands in front.
    for number in 10_000..20_000 {
        hear(&mut group, ask(number, number), false);
        assert!(group.1.poll_cast(Instant(0), &mut group.0).is_some());
    }
    let host = &group.1.host;
    assert_eq!((host.tasks.len(), host.calls.len(), group.0.open()), (1, 1, 1));
}

#[test]
fn who_attaches_again_and_again_waits_once() {
    let mut group = alone(ClientTuning::default());
    say(&mut group, 7, (0, 1), Part::Attach);
    for turn in 2..10_000 {
        let letter = Letter { boot: BootId(9), session: 1, turn, part: Part::Attach }.encode();
        group.1.handle_letter(Instant(0), &mut group.0, member(7).endpoint, &letter);
        if turn % 3 == 0 {
            // Refused for a while, it is cast as it is then.
            assert!(group.1.poll_cast(Instant(0), &mut group.0).is_some());
        }
    }
    assert_eq!(group.1.host.tasks.len(), 1);
    assert_eq!(parts(say(&mut group, 7, (1, 9_999), Part::Ping)), [Part::Unattached, Part::Attached]);
}

#[test]
fn answers_that_wait_are_bounded_by_their_bytes() {
    let mut group = alone(ClientTuning { bytes: 300_000, ..ClientTuning::default() });
    say(&mut group, 7, (0, 1), Part::Attach);
    hear(&mut group, ask(0, 0), true);
    let request = std::iter::from_fn(|| group.1.poll_event()).find_map(|event| match event {
        ClientsEvent::Request(request) => Some(request),
        _ => None,
    });
    group.1.reply(&mut group.0, request.expect("it was asked"), &[0; 300_000]);
    settle(&mut group.0, &mut group.1);
    (0..1_000).for_each(|_| hear(&mut group, ask(0, 0), false));
    let bytes: usize = std::iter::from_fn(|| group.1.poll_letter()).map(|(_, letter)| letter.len()).sum();
    assert!((300_000..=8 << 20).contains(&bytes), "{bytes}");
    assert_eq!(group.1.host.letter_bytes, 0);
}

#[test]
fn what_is_open_is_bounded() {
    let mut group = alone(ClientTuning::default());
    say(&mut group, 7, (0, 1), Part::Attach);
    // Each is given up when the next is asked; the application is slow.
    (0..10_000).for_each(|number| hear(&mut group, ask(number, number), true));
    let Clients { waiting, host, .. } = &group.1;
    assert_eq!((group.1.pending(), waiting.len(), host.calls.len(), group.0.open()), (65, 1, 0, 0));
    // When it goes on, so does its client.
    while group.1.poll_event().is_some() {}
    hear(&mut group, ask(10_000, 10_000), true);
    assert_eq!(group.1.pending(), 1);
}

#[test]
fn what_is_served_is_bounded_for_who_comes_and_goes() {
    let mut group = one_of(2, 0, ClientTuning::default());
    for cycle in 0..100 {
        let turn = 2 * cycle + 1;
        let session = u64::from(cycle > 0);
        say(&mut group, 7, (session, turn), Part::Attach);
        let base = 64 * (100 - cycle);
        for number in base..base + 64 {
            say(&mut group, 7, (1, turn), ask_of(number, base, Dest::Any, b"?"));
            while let Some(event) = group.1.poll_event() {
                let ClientsEvent::Request(request) = event else { continue };
                group.1.reply(&mut group.0, request, b"I");
                drain(&mut group.0, &mut group.1);
            }
        }
        let away = Cast { client: member(7), session: 1, deed: Deed::Attach { turn: turn + 1 } };
        group.0.handle(Rank(1), &Calls::plain(&away.encode())).unwrap();
        drain(&mut group.0, &mut group.1);
        assert!(group.1.host.serving.is_empty());
    }
}

#[test]
fn nothing_is_left_of_who_is_gone() {
    let mut group = alone(ClientTuning::default());
    say(&mut group, 7, (0, 1), Part::Attach);
    (0..10).for_each(|number| _ = say(&mut group, 7, (1, 1), ask(number, 0)));
    // The application drops them.
    while group.1.poll_event().is_some() {}
    say(&mut group, 7, (1, 1), Part::Bye);
    assert_eq!(group.1.clients().count(), 0);
    assert_eq!((group.1.waiting.len(), group.0.open(), group.1.host.calls.len()), (0, 0, 0));
    assert!(group.1.untold.is_empty());
}
