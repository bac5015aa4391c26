//! Casts that are held while the view changes: what comes behind them is behind them in the next view.

use crate::world::{MS, Plan, World};
use sistrum_ordering::Order;
use sistrum_transport::time::Instant;

/// Bytes that are held at most: as much as a window has room for.
const ROOM: usize = 100_000;

/// A group of three that another joins: the one at place 0 has made `casts` casts of these orders, in turn, as soon as its view changes, and
/// all were held.
fn held(seed: u64, orders: &[Order], casts: usize) -> World {
    let mut world = super::formed(Plan { held_casts: ROOM, longest: 1, ..Plan::quiet(seed) }, 3);
    world.processes.iter_mut().for_each(|process| process.casts = false);
    world.until("all is delivered", 1_000 * MS, World::is_settled);
    world.start(3);
    world.until("the view changes", 500 * MS, |world| {
        world.processes[0].group.agreement().is_some_and(|agreement| agreement.is_changing())
    });
    // It takes part in the change; its stream is closed from now on, or was before.
    while world.processes[0].holds() == 0 {
        world.processes[0].cast_now(orders[0]);
        world.pass(MS / 100);
    }
    let before = world.processes[0].holds();
    for at in before..casts {
        assert!(world.processes[0].cast_now(orders[at % orders.len()]), "cast {at} of {casts}");
    }
    world
}

/// What the process at place 0 has cast, in its order, is what the others that were there were handed.
fn judge(world: &mut World) {
    world.judge();
    let (me, cast) = (world.processes[0].app.casts[0].name.0, world.processes[0].app.casts.len());
    for other in &world.processes[1..3] {
        let handed = other.app.stays.iter().flat_map(|stay| &stay.handed);
        let got = handed.filter(|(who, _)| *who == me).map(|(_, number)| *number);
        assert!(got.eq(0..cast as u32), "all {cast} in their order");
    }
}

#[test]
fn casts_of_all_orders_fit_into_the_next_window_or_are_refused() {
    let mut world = held(1, &Order::ALL, 3);
    let mut taken = world.processes[0].holds();
    while world.processes[0].cast_now(Order::ALL[taken % Order::ALL.len()]) {
        taken += 1;
    }
    assert!(taken >= 8, "{taken}");
    world.until("all is delivered", 1_000 * MS, |world| world.is_whole() && world.is_settled());
    judge(&mut world);
}

/// A sync cast that is asked for while casts are held.
fn cast_sync_behind(seed: u64) {
    let mut world = held(seed, &[Order::Causal], 3);
    let (me, cast) = (world.processes[0].app.me, world.processes[0].app.casts.len());
    world.processes[0].group.cast_sync(b"behind").expect("taken");
    world.until("all is delivered", 1_000 * MS, |world| {
        let is_told = world.processes.iter().all(|process| !process.app.handed_at_sync.is_empty());
        is_told && world.is_whole() && world.is_settled()
    });
    judge(&mut world);
    for other in &world.processes[1..3] {
        let handed = other.app.stays.iter().flat_map(|stay| &stay.handed);
        let before = handed.take(other.app.handed_at_sync[0]);
        assert_eq!(before.filter(|(who, _)| Some(*who) == me).count(), cast, "{seed}");
    }
}

/// A flush, likewise.
fn flush_behind(seed: u64) {
    let mut world = held(seed, &[Order::Causal, Order::Fifo], 3);
    let flushed = world.processes[0].app.flushed;
    world.processes[0].group.flush().expect("a view");
    world.until("the flush is over", 1_000 * MS, |world| world.processes[0].app.flushed > flushed);
    let next = world.processes[0].group.session().expect("a view").stream();
    assert!(next.held_ends().last().is_some_and(|end| *end < next.stable()), "{seed}");
}

/// A goodbye, likewise.
fn leave_behind(seed: u64) {
    let mut world = held(seed, &[Order::Causal, Order::Fifo], 3);
    world.processes[0].group.leave(Instant::default());
    world.until("it leaves", 1_000 * MS, |world| world.processes[0].group.has_left() && world.is_whole());
    judge(&mut world);
}

#[test]
fn sync_casts_flushes_and_goodbyes_come_behind_what_is_held() {
    for seed in 0..10 {
        cast_sync_behind(seed);
        flush_behind(seed);
        leave_behind(seed);
    }
}

/// Each way in which that can be broken is seen within a few seeds.
#[cfg(feature = "mutants")]
#[test]
fn every_mutation_is_caught() {
    use sistrum_transport::mutation::Mutation;
    crate::catch_each(5, 100, |mutation| match mutation {
        Mutation::HeldLastFirst | Mutation::HeldForgotten | Mutation::LeaveBeforeHeld => Some(leave_behind),
        Mutation::SyncBeforeHeld => Some(cast_sync_behind),
        Mutation::FlushBeforeHeld => Some(flush_behind),
        _ => None,
    });
}
