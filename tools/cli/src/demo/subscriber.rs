//! A subscriber: hashes only what `poll` hands it, and stays after the end so that others can still be repaired.

use super::lines::{Progress, Say, Tell};
use super::member::{Seat, Stopped, WAIT};
use super::tally::Tally;

/// Takes what is delivered until the parent says that it is over.
pub(super) fn subscribe(seat: &mut Seat<'_>, mut tally: Tally, dies_at: Option<u64>) -> Result<(), Stopped> {
    let mut reported = false;
    loop {
        seat.node.poll_for(WAIT, |_, event| {
            tally.handle(&event);
            Ok(())
        })?;
        tally.check()?;
        if dies_at.is_some_and(|at| tally.delivered() >= at) {
            return wait_to_be_killed(seat);
        }
        if let (Some(received), false) = (tally.received(), reported) {
            seat.say(&Say::Ended(received))?;
            reported = true;
        }
        seat.report(|| Progress { delivered: tally.delivered(), ..Progress::default() })?;
        match seat.told()? {
            None | Some(Tell::Start) => {}
            Some(Tell::Stop) => return seat.say_counted(),
            Some(tell) => return Err(Stopped::unexpected(&tell)),
        }
    }
}

/// Does nothing more, as the dead do, but to go when the parent is gone.
fn wait_to_be_killed(seat: &mut Seat<'_>) -> Result<(), Stopped> {
    seat.say(&Say::Ripe)?;
    loop {
        std::thread::sleep(WAIT);
        seat.told()?;
    }
}
