//! What comes from outside takes no more room than is meant for it.

use super::*;
use crate::clients::host::Serving;

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
