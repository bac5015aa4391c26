//! One round: processes that make a group, are struck again and again, and in the end are together and have delivered everything.

use super::network::{self, Network};
use super::process::Process;
use super::tally::{Deed, Tally};
use crate::sim::checker::judge;
use crate::sim::history::{History, What, lines};
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use fastrand::Rng;
use std::collections::HashSet;
use std::fmt::{Display, Write as _};
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Processes that begin together, and the most that there are.
pub(super) const FIRST: usize = 5;
pub(super) const MOST: usize = 7;
/// Silence after which a member is suspected.
pub(super) const SUSPECT_AFTER_MS: u64 = 400;
/// Who was suspected just before it was let go on, may be excluded after it was.
const UNSURE: Duration = Duration::from_millis(SUSPECT_AFTER_MS + 200);
/// Bytes that the state of every other pair of rounds has more than it needs.
const STATE_BYTES: usize = 400_000;
/// How long nothing befalls them: where all are together, and where they are not.
const CALM_MS: std::ops::Range<u64> = 20..250;
const HURRY_MS: std::ops::Range<u64> = 0..120;
/// In the end they must stand like that for so long.
const SETTLED: Duration = Duration::from_millis(400);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What all rounds have in common.
#[derive(Debug)]
pub(super) struct Terms {
    /// This one, built as what judges must be.
    pub(super) program: PathBuf,
    /// Faults in a round.
    pub(super) blows: u64,
    /// Each way in turn, unless this one is asked for.
    pub(super) unicast: bool,
    pub(super) namespaces: bool,
    /// What of our own code is broken in the members.
    pub(super) mutation: Option<String>,
    /// How long may pass until all are together again, however slow the machine is.
    pub(super) patience: Duration,
    /// A round has failed, or somebody wants an end.
    pub(super) is_over: Arc<AtomicBool>,
}

impl Terms {
    pub(super) fn is_unicast(&self, seed: u64) -> bool {
        self.unicast || seed % 2 == 1
    }
}

/// See the module. Whatever happens, no process outlives it.
pub(super) struct Round<'a> {
    terms: &'a Terms,
    folder: &'a Path,
    seed: u64,
    /// Where links can be cut; on loopback they cannot.
    pub(super) network: Option<Network>,
    pub(super) heals_at: Option<Instant>,
    /// Until then the others may yet go on without one that was let go on, or cut off, and say nothing of it.
    is_sure_at: Instant,
    /// In the order of their places: who is drawn does not depend on when somebody came.
    pub(super) members: Vec<Process>,
    files: Vec<PathBuf>,
    pub(super) rng: Rng,
    /// How many were struck, or went, since all were together.
    pub(super) harmed: usize,
    began: Instant,
    told: String,
    pub(super) tally: Tally,
}

impl<'a> Round<'a> {
    /// With histories in this folder.
    pub(super) fn new(terms: &'a Terms, seed: u64, folder: &'a Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let network = terms.namespaces.then(|| Network::new(MOST, seed)).transpose()?;
        Ok(Self {
            terms,
            folder,
            seed,
            network,
            heals_at: None,
            is_sure_at: Instant::now(),
            members: Vec::new(),
            files: Vec::new(),
            rng: Rng::with_seed(seed),
            harmed: 0,
            began: Instant::now(),
            told: String::new(),
            tally: Tally::default(),
        })
    }

    /// From its begin to its judgement.
    pub(super) fn run(mut self) -> Result<Tally> {
        let lived = self.live();
        self.end();
        // What was done is of use to whoever reads the histories.
        fs::write(self.folder.join("deeds.txt"), &self.told).context("what was done cannot be written")?;
        let outcome = match lived {
            Ok(()) => self.judge(true),
            Err(error) if self.is_broken_off() => Err(error),
            // What else is promised may be broken too.
            Err(error) => match self.judge(false) {
                Ok(()) => Err(error),
                Err(broken) => Err(broken.context(error)),
            },
        };
        outcome.map_err(|error| anyhow!("{error:#}\nbehind\n{}", self.told))?;
        Ok(self.tally)
    }

    fn is_broken_off(&self) -> bool {
        self.terms.is_over.load(Ordering::Relaxed)
    }

    fn live(&mut self) -> Result<()> {
        (0..FIRST).try_for_each(|place| self.start(place))?;
        self.until_together()?;
        while self.tally.faults() < self.terms.blows {
            let is_hurried = self.rng.u8(..5) < 3;
            if !is_hurried {
                self.until_together()?;
            }
            let pause = self.rng.u64(if is_hurried { HURRY_MS } else { CALM_MS });
            self.pause(Duration::from_millis(pause))?;
            self.strike()?;
        }
        self.calm()
    }

    pub(super) fn start(&mut self, place: usize) -> Result<()> {
        let file = self.folder.join(format!("{}.lines", self.files.len()));
        let mut command = match &self.network {
            Some(network) => network.command(place, &self.terms.program),
            None => Command::new(&self.terms.program),
        };
        command.arg("lab-member").arg("--group").arg(format!("lab {} {}", std::process::id(), self.seed));
        command.arg("--file").arg(&file).args(["--port", &self.port(place).to_string()]);
        command.args(["--expected", &FIRST.to_string()]);
        if self.network.is_some() {
            command.args(["--interface", &network::address(place).to_string()]);
        }
        command.args(["--suspect-after-ms", &SUSPECT_AFTER_MS.to_string()]);
        if let Some(name) = &self.terms.mutation {
            command.args(["--mutate", name]);
        }
        if self.has_state() {
            command.args(["--state", &STATE_BYTES.to_string()]);
        }
        if self.terms.is_unicast(self.seed) {
            let host =
                |place| if self.network.is_some() { network::address(place) } else { Ipv4Addr::LOCALHOST };
            let seeds: Vec<String> = (0..MOST).map(|at| format!("{}:{}", host(at), self.port(at))).collect();
            command.args(["--seeds", &seeds.join(",")]);
        }
        self.files.push(file.clone());
        let at = self.members.partition_point(|member| member.place < place);
        self.members.insert(at, Process::start(command, file, place)?);
        Ok(())
    }

    /// Ports of this round's members: below those that the system gives out.
    fn port(&self, at: usize) -> u16 {
        let base = u64::from(std::process::id()) % 1_000 * 10;
        20_000 + ((base + self.seed * 16) % 10_000) as u16 + at as u16
    }

    pub(super) fn has_state(&self) -> bool {
        self.seed % 4 < 2
    }

    pub(super) fn tell(&mut self, deed: Deed, what: impl Display) {
        let at = self.began.elapsed().as_secs_f64();
        writeln!(self.told, "{at:8.3} s {deed}: {what}").expect("a string takes everything");
        self.tally.count(deed);
    }

    pub(super) fn pause(&mut self, pause: Duration) -> Result<()> {
        let end = Instant::now() + pause;
        loop {
            self.look()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            sleep(left.min(LOOK_EVERY));
        }
    }

    /// Does what is due, and sees that nobody has ended who should not.
    fn look(&mut self) -> Result<()> {
        ensure!(!self.is_broken_off(), "it was broken off");
        let now = Instant::now();
        if self.heals_at.take_if(|at| *at <= now).is_some() {
            self.network.iter_mut().try_for_each(Network::heal)?;
            self.is_sure_at = now + UNSURE;
        }
        for member in &mut self.members {
            if member.resume(now)? {
                self.is_sure_at = now + UNSURE;
            }
        }
        for at in (0..self.members.len()).rev() {
            if self.members[at].has_ended()? {
                self.members.remove(at);
            }
        }
        Ok(())
    }

    /// Waits until `is_so`, looking on.
    pub(super) fn wait(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<()> {
        let end = Instant::now() + self.terms.patience;
        loop {
            self.look()?;
            if is_so(self) {
                return Ok(());
            }
            if Instant::now() >= end {
                let stand: Vec<_> =
                    self.members.iter().map(|member| (member.place, member.standing())).collect();
                bail!("{what}: {stand:?}");
            }
            sleep(LOOK_EVERY);
        }
    }

    /// All go on, and are in one view with nobody else.
    pub(super) fn until_together(&mut self) -> Result<()> {
        self.wait("not together", Self::is_together)?;
        self.members.iter_mut().for_each(|member| member.is_sound = true);
        self.harmed = 0;
        Ok(())
    }

    pub(super) fn is_together(&self) -> bool {
        let is_free = |member: &Process| !member.is_stopped() && !member.is_leaving;
        let is_sure = self.heals_at.is_none() && self.is_sure_at <= Instant::now();
        if !is_sure || !self.members.iter().all(is_free) {
            return false;
        }
        let first = self.members[0].standing();
        first.members == self.members.len()
            && first.joining == 0
            && self.members.iter().all(|member| {
                let other = member.standing();
                (other.number, other.members) == (first.number, first.members)
            })
    }

    /// All come together, and what was cast is delivered.
    fn calm(&mut self) -> Result<()> {
        self.until_together()?;
        self.members.iter_mut().try_for_each(|member| member.say("quiet"))?;
        let is_settled = |round: &Self| {
            round.is_together() && round.members.iter().all(|member| member.standing().is_settled)
        };
        loop {
            self.wait("not settled", is_settled)?;
            self.pause(SETTLED)?;
            if is_settled(self) {
                return Ok(());
            }
        }
    }

    /// The processes end where they stand.
    fn end(&mut self) {
        for member in &mut self.members {
            // Whoever does not listen is killed when it is dropped.
            let _ = member.say("end");
        }
        let end = Instant::now() + Duration::from_secs(5);
        while !self.members.iter_mut().all(Process::is_gone) && Instant::now() < end {
            sleep(Duration::from_millis(5));
        }
        self.members.clear();
    }

    /// What all have written down, through the checkers; whether everything came to its end, too, where all were `healed`.
    fn judge(&mut self, healed: bool) -> Result<()> {
        let read = |file: &PathBuf| {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            lines::read(&text).with_context(|| format!("{} is no history", file.display()))
        };
        let history = lines::history(self.files.iter().map(read).collect::<Result<Vec<_>>>()?)?;
        let violations = judge(&history, healed);
        let broken: String =
            violations.iter().map(|broken| format!("\n{}: {}", broken.property, broken.how)).collect();
        ensure!(violations.is_empty(), "the history breaks what is promised{broken}");
        let casts = history.casts.len();
        ensure!(casts > 100, "{casts} casts are too few to judge by");
        self.add(&history);
        Ok(())
    }

    fn add(&mut self, history: &History) {
        let number = |what: &What| match what {
            What::Install(view) => Some(view.id().number),
            What::Renumbered(number) => Some(*number),
            _ => None,
        };
        let views: HashSet<_> = history.events.iter().filter_map(|event| number(&event.what)).collect();
        self.tally.rounds = 1;
        self.tally.incarnations = history.processes.len();
        self.tally.casts = history.casts.len();
        self.tally.events = history.events.len();
        self.tally.views = views.len();
        self.tally.restored = history.events.iter().filter(|event| event.what == What::Restored).count();
    }
}
