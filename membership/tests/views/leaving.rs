//! Who is no member any more, whatever it was about when that came.

use crate::world::{MS, Plan, World};
use sistrum_ordering::{Order, Promise};
use sistrum_transport::time::Instant;

#[test]
fn who_always_has_something_on_its_way_to_one_alone_may_leave_and_it_comes_there() {
    let mut world = super::formed(Plan { expected: 3, longest: 1, ..Plan::quiet(7) }, 3);
    world.processes.iter_mut().for_each(|process| process.casts = false);
    world.until("all is delivered", 1_000 * MS, World::is_settled);
    let view = world.processes[0].group.view().expect("a view");
    let to = view.rank_of(super::endpoint_of(1)).expect("a member");
    let (mut sent, mut turns) = (0, 0);
    while !world.processes[0].group.has_left() {
        if turns == 1_000 {
            world.processes[0].group.leave(Instant::default());
        }
        let app = &mut world.processes[0].app;
        let (me, text) = (app.me.expect("a member"), app.message(Promise::from(Order::Fifo)));
        if world.processes[0].group.send(to, &text).is_ok() {
            *world.processes[0].app.numbers.entry(me).or_default() += 1;
            sent += 1;
        }
        world.pass(MS / 100);
        turns += 1;
        assert!(turns < 100_000, "it never leaves, with {sent} sent");
    }
    world.until("the others go on", 1_000 * MS, World::is_whole);
    assert!(sent > 500, "{sent}");
    assert_eq!(world.processes[1].app.directs.len(), sent);
}

#[test]
fn who_was_handed_the_state_and_no_view_is_told_when_the_others_go_on_without_it() {
    let mut world = World::new(Plan { expected: 3, has_state: true, ..Plan::quiet(3) });
    (0..3).for_each(|place| _ = world.start(place));
    // It hears one who gives it the state, and not enough to know that there is a group.
    world.cut(1, 2);
    world.until("it has the state", 3_000 * MS, |world| world.processes[2].app.state.taken > 0);
    assert!(world.processes[2].app.stays.is_empty(), "{}", world.describe());
    world.split(|place| u16::from(place == 2));
    world.until("the others go on", 1_000 * MS, |world| {
        let views = world.processes[..2].iter().map(|process| process.group.view());
        views.flatten().filter(|view| view.members().len() == 2).count() == 2
    });
    assert!(world.processes[2].app.excluded.is_empty());
    world.heal();
    world.until("all are together", 3_000 * MS, World::is_whole);
    assert_eq!(world.processes[2].app.excluded.len(), 1, "{}", world.describe());
    world.pass(10 * MS);
    world.judge();
}
