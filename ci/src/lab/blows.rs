//! What befalls the members of a round. Faults never take the majority of a view away for good: it would stand still, as it must.
//!
//! All who were together have a vote each. Whoever is struck from then on may count for nothing, so a kill needs more that are sound than
//! have been struck, it included: whatever views come in between, a majority of each lives. Who is stopped or cut off comes back:
//! that is allowed at any time, and counts against the kills that follow.

use super::process::Process;
use super::round::{FIRST, MOST, Round, SUSPECT_AFTER_MS};
use super::tally::Deed;
use anyhow::Result;
use std::fs;
use std::time::{Duration, Instant};

/// A stop, or a cut, is shorter or longer than silence may last.
const SHORT_MS: std::ops::Range<u64> = 20..250;
const LONG_MS: std::ops::Range<u64> = SUSPECT_AFTER_MS + 100..1_500;
/// Until the place of one that was killed is taken again.
const RETURN_MS: std::ops::Range<u64> = 0..300;
/// For so long a giver is waited for.
const GIVER: Duration = Duration::from_secs(3);

/// What is drawn from, on loopback; in a network of its own cuts come to it.
const KINDS: [Deed; 12] = [
    Deed::Kill,
    Deed::Kill,
    Deed::KillSeveral,
    Deed::KillSeveral,
    Deed::KillCoordinator,
    Deed::KillCoordinator,
    Deed::KillGiver,
    Deed::KillGiver,
    Deed::KillGiver,
    Deed::StopShort,
    Deed::StopLong,
    Deed::StopLong,
];
const CUTS: usize = 4;

impl Round<'_> {
    /// A fault, and sometimes a change before it that somebody wants.
    pub(super) fn strike(&mut self) -> Result<()> {
        let is_hurried = !self.is_together();
        self.change()?;
        let before = self.tally.faults();
        let kinds = if self.network.is_some() { KINDS.len() + CUTS } else { KINDS.len() };
        match KINDS.get(self.rng.usize(..kinds)).copied().unwrap_or(Deed::Cut) {
            Deed::Cut => self.cut()?,
            Deed::KillSeveral => self.kill_several()?,
            Deed::KillCoordinator => self.kill_coordinator()?,
            Deed::KillGiver => self.kill_giver()?,
            Deed::StopShort => self.stop(false)?,
            Deed::StopLong => self.stop(true)?,
            _ => self.kill_any()?,
        }
        if is_hurried {
            self.tally.hurried += self.tally.faults() - before;
        }
        Ok(())
    }

    /// There may be more, or fewer, or a sync cast.
    fn change(&mut self) -> Result<()> {
        let living = self.members.iter().filter(|member| !member.is_leaving).count();
        match self.rng.u8(..8) {
            0 | 1 => {
                if let Some(at) = self.any(|member| !member.is_leaving) {
                    self.members[at].say("sync")?;
                    self.tell(Deed::SyncCast, self.members[at].place);
                }
            }
            2 if living > FIRST => {
                if let Some(at) = self
                    .any(|member| !member.is_leaving && !member.is_stopped())
                    .filter(|at| self.may_lose(&[*at]))
                {
                    self.members[at].say("leave")?;
                    self.members[at].is_leaving = true;
                    self.harm(at);
                    self.tell(Deed::Leave, self.members[at].place);
                }
            }
            3.. if living < FIRST => self.join()?,
            3 => self.join()?,
            _ => {}
        }
        Ok(())
    }

    fn join(&mut self) -> Result<()> {
        if let Some(place) = self.free_place() {
            self.start(place)?;
            self.tell(Deed::Join, place);
        }
        Ok(())
    }

    fn free_place(&self) -> Option<usize> {
        (0..MOST).find(|place| self.members.iter().all(|member| member.place != *place))
    }

    /// One of those of whom this is so.
    fn any(&mut self, is_so: impl Fn(&Process) -> bool) -> Option<usize> {
        let those: Vec<usize> = (0..self.members.len()).filter(|at| is_so(&self.members[*at])).collect();
        self.rng.choice(those)
    }

    /// See the module.
    fn may_lose(&self, those: &[usize]) -> bool {
        let sound = |(at, member): &(usize, &Process)| member.is_sound && !those.contains(at);
        leaves_majority(self.members.iter().enumerate().filter(sound).count(), self.harmed + those.len())
    }

    fn harm(&mut self, at: usize) {
        self.members[at].is_sound = false;
        self.harmed += 1;
    }

    fn kill_any(&mut self) -> Result<()> {
        match self.any(|member| !member.is_leaving) {
            Some(at) if self.may_lose(&[at]) => self.kill(&[at], Deed::Kill),
            _ => self.stop_any(),
        }
    }

    fn kill_several(&mut self) -> Result<()> {
        let mut those: Vec<usize> =
            (0..self.members.len()).filter(|at| !self.members[*at].is_leaving).collect();
        self.rng.shuffle(&mut those);
        while !those.is_empty() && !self.may_lose(&those) {
            those.pop();
        }
        match those.len() {
            0 => self.stop_any(),
            1 => self.kill(&those, Deed::Kill),
            _ => self.kill(&those, Deed::KillSeveral),
        }
    }

    /// The first of the newest view that somebody shows.
    fn kill_coordinator(&mut self) -> Result<()> {
        let standing = |at: &usize| self.members[*at].standing();
        let newest = (0..self.members.len()).map(|at| standing(&at).number).max();
        let first = (0..self.members.len()).find(|at| {
            let standing = standing(at);
            standing.rank == 0 && Some(standing.number) == newest && standing.number > 0
        });
        match first.filter(|at| !self.members[*at].is_leaving && self.may_lose(&[*at])) {
            Some(at) => self.kill(&[at], Deed::KillCoordinator),
            None => self.kill_any(),
        }
    }

    /// Lets somebody join, and kills who gives it the state: of those who write it down the youngest is asked first.
    fn kill_giver(&mut self) -> Result<()> {
        let spare = self.members.iter().position(|member| member.is_sound);
        let (Some(place), true) =
            (self.free_place(), self.has_state() && spare.is_some_and(|at| self.may_lose(&[at])))
        else {
            return self.kill_any();
        };
        let before: Vec<_> =
            self.members.iter().map(|member| (member.place, member.standing().snapshots)).collect();
        self.start(place)?;
        self.tell(Deed::Join, place);
        let taker =
            self.members.iter().find(|member| member.place == place).map(|member| member.file.clone());
        let gives = |round: &Self| {
            let gives = |at: &usize| {
                let Process { place, is_leaving, .. } = &round.members[*at];
                let now = round.members[*at].standing().snapshots;
                !is_leaving && before.iter().any(|(other, then)| other == place && *then < now)
            };
            (0..round.members.len()).filter(gives).max_by_key(|at| round.members[*at].standing().rank)
        };
        let end = Instant::now() + GIVER;
        self.wait("nobody gives", |round| gives(round).is_some() || Instant::now() >= end)?;
        let Some(at) = gives(self).filter(|at| self.may_lose(&[*at])) else { return self.kill_any() };
        self.members[at].end()?;
        let text = taker.and_then(|file| fs::read_to_string(file).ok());
        let has_it = text.is_some_and(|text| text.contains("\"restored\""));
        self.kill(&[at], if has_it { Deed::Kill } else { Deed::KillGiver })
    }

    /// Kills these at once. Mostly others come in their places soon.
    fn kill(&mut self, those: &[usize], deed: Deed) -> Result<()> {
        let mut those = those.to_vec();
        those.sort_unstable_by(|one, other| other.cmp(one));
        those.iter().try_for_each(|at| self.members[*at].end())?;
        let mut places = Vec::new();
        for at in those {
            self.harm(at);
            let member = self.members.remove(at);
            places.push(member.place);
            member.bury()?;
        }
        self.tell(deed, format_args!("{places:?}"));
        if self.rng.u8(..4) == 0 {
            return Ok(());
        }
        let pause = self.rng.u64(RETURN_MS);
        self.pause(Duration::from_millis(pause))?;
        for place in places {
            self.start(place)?;
            self.tell(Deed::Return, place);
        }
        Ok(())
    }

    fn stop_any(&mut self) -> Result<()> {
        let is_long = self.rng.bool();
        self.stop(is_long)
    }

    fn stop(&mut self, is_long: bool) -> Result<()> {
        if let Some(at) = self.any(|member| !member.is_leaving && !member.is_stopped()) {
            let stop = self.rng.u64(if is_long { LONG_MS } else { SHORT_MS });
            self.members[at].stop(Instant::now() + Duration::from_millis(stop))?;
            self.harm(at);
            let deed = if is_long { Deed::StopLong } else { Deed::StopShort };
            let place = self.members[at].place;
            self.tell(deed, format_args!("{place} for {stop} ms"));
        }
        Ok(())
    }

    /// Cuts the network in two for a while.
    fn cut(&mut self) -> Result<()> {
        let (border, cut) = (self.rng.usize(1..MOST), self.rng.u64(SHORT_MS.start..LONG_MS.end));
        let Some(network) = self.network.as_mut().filter(|_| self.heals_at.is_none()) else {
            return self.stop(true);
        };
        network.cut(|from, to| (from < border) != (to < border))?;
        self.heals_at = Some(Instant::now() + Duration::from_millis(cut));
        // Either side may have gone on without the other one.
        self.members.iter_mut().for_each(|member| member.is_sound = false);
        self.tell(Deed::Cut, format_args!("before place {border} for {cut} ms"));
        Ok(())
    }
}

/// Whether a majority of each view lives, when so many are sound and so many were struck since all were together. See the module.
fn leaves_majority(sound: usize, harmed: usize) -> bool {
    sound > harmed
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;

    #[derive(Clone, Copy, PartialEq)]
    enum Is {
        Sound,
        Stopped,
        /// Came later.
        New,
        Dead,
    }

    /// Where a majority goes on, views leave out whoever was struck, or not, and take in who has come, or not; who is sound stays.
    #[test]
    fn whatever_views_come_in_between_a_majority_of_each_lives() {
        let mut rng = Rng::with_seed(7);
        let mut kills = 0;
        for _ in 0..20_000 {
            let mut all = vec![Is::Sound; rng.usize(2..=MOST)];
            let mut view: Vec<usize> = (0..all.len()).collect();
            let mut harmed = 0;
            for _ in 0..8 {
                let at = rng.usize(..all.len());
                let sound =
                    all.iter().enumerate().filter(|(other, is)| *other != at && **is == Is::Sound).count();
                match rng.u8(..4) {
                    0 => all.push(Is::New),
                    1 if all[at] != Is::Dead => (all[at], harmed) = (Is::Stopped, harmed + 1),
                    _ if all[at] != Is::Dead && leaves_majority(sound, harmed + 1) => {
                        (all[at], harmed, kills) = (Is::Dead, harmed + 1, kills + 1);
                    }
                    _ => {}
                }
                let dead = view.iter().filter(|member| all[**member] == Is::Dead).count();
                assert!(2 * dead < view.len(), "{dead} of {view:?}");
                if rng.bool() {
                    let stays = |member: &usize| match all[*member] {
                        Is::Sound => true,
                        Is::Dead => view.contains(member) && rng.bool(),
                        Is::Stopped | Is::New => rng.bool(),
                    };
                    let next: Vec<usize> = (0..all.len()).filter(stays).collect();
                    let goes_on =
                        view.iter().filter(|member| next.contains(member) && all[**member] != Is::Dead);
                    if 2 * goes_on.count() > view.len() {
                        view = next;
                    }
                }
            }
        }
        assert!(kills > 10_000, "{kills} kills show little");
    }
}
