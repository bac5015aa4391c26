//! `cargo ci lab`: members as real processes, killed, stopped and restarted, and in namespaces cut off from each other; what they
//! write down goes through the checkers of the simulator.

pub(crate) mod member;
mod network;

use crate::sim::checker::judge;
use crate::sim::history::lines;
use crate::step::{self, Report};
use anyhow::{Context as _, Result, bail, ensure};
use fastrand::Rng;
use network::Network;
use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Processes that begin together, and the most that there are.
const FIRST: usize = 4;
const MOST: usize = 6;
/// What befalls them in one round, and how long nothing does before each.
const BLOWS: usize = 6;
const PAUSES_MS: std::ops::Range<u64> = 100..700;
/// Bytes that the state of every other pair of rounds has more than it needs.
const STATE_BYTES: usize = 400_000;
/// Silence after which a member is suspected: a stop is shorter or longer than that.
const SUSPECT_AFTER_MS: u64 = 400;
const STOPS_MS: std::ops::Range<u64> = 50..1_500;
/// How long may pass until all are together again, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much of it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Rounds, each with processes of its own.
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: u64,
    /// What befalls the processes of the first round follows from this; when, from the machine too.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Casts go to each member by itself, which is found by seeds.
    #[arg(long)]
    unicast: bool,
    /// In network namespaces on a bridge, where links are cut too; as root.
    #[arg(long)]
    namespaces: bool,
    /// Keeps the histories in this folder.
    #[arg(long, value_name = "PATH")]
    keep: Option<PathBuf>,
}

/// A round each way, and one in a network of its own.
pub(crate) fn short(report: &mut Report) -> Result<()> {
    let options = Options { rounds: 2, seed: 0, unicast: false, namespaces: false, keep: None };
    run(report, &options)?;
    run(report, &Options { rounds: 1, namespaces: true, ..options })
}

/// Builds the members, and lives through all rounds.
pub(crate) fn run(report: &mut Report, options: &Options) -> Result<()> {
    let name = if options.namespaces { "lab in namespaces" } else { "lab" };
    report.step(name, |report| {
        if options.namespaces
            && let Some(why) = network::lacking()
        {
            return report.optional(name, &why);
        }
        let program = step::built_as("sistrum-ci", "sistrum-ci", &["--release"])?;
        (0..options.rounds).try_for_each(|round| {
            let seed = options.seed + round;
            // Both ways in turn, unless one is asked for.
            let unicast = options.unicast || seed % 2 == 1;
            let again = if options.namespaces { " --namespaces" } else { "" };
            round_of(&program, seed, unicast, options)
                .with_context(|| format!("run it again: cargo ci lab --seed {seed} --rounds 1{again}"))
        })
    })
}

fn round_of(program: &Path, seed: u64, unicast: bool, options: &Options) -> Result<()> {
    let keep = options.keep.as_deref();
    let folder = match keep {
        Some(keep) => keep.join(seed.to_string()),
        None => std::env::temp_dir().join(format!("sistrum-lab-{}-{seed}", std::process::id())),
    };
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut lab = Lab::new(program, &folder, seed, unicast);
    if options.namespaces {
        lab.network = Some(Network::new(MOST, seed)?);
    }
    let lived = lab.live();
    lab.end();
    lived.and_then(|()| lab.judge())?;
    if keep.is_none() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

/// The processes of one round. Whatever happens, none outlives it.
struct Lab<'a> {
    program: &'a Path,
    folder: &'a Path,
    seed: u64,
    unicast: bool,
    /// Where links can be cut; on loopback they cannot.
    network: Option<Network>,
    members: Vec<Member>,
    files: Vec<PathBuf>,
    rng: Rng,
    told: Vec<String>,
}

/// One process, and where it writes.
struct Member {
    child: Child,
    file: PathBuf,
    place: usize,
    is_stopped: bool,
    is_leaving: bool,
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Member {
    fn say(&mut self, word: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().context("it has an input")?;
        writeln!(input, "{word}").context("a member does not listen")
    }

    /// Stops it, or lets it go on.
    fn signal(&mut self, signal: &str) -> Result<()> {
        // The shell has it built in, where there is no program of that name.
        let kill = format!("kill {signal} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status().context("there is no shell")?;
        ensure!(status.success(), "a member cannot be sent {signal}");
        Ok(())
    }

    /// How its last line says that it stands: the number of its view and of its members.
    fn view(&self) -> Option<(u32, usize)> {
        let text = fs::read_to_string(self.file.with_extension("view")).ok()?;
        let (number, members) = text.trim().split_once(' ')?;
        Some((number.parse().ok()?, members.parse().ok()?))
    }
}

impl<'a> Lab<'a> {
    fn new(program: &'a Path, folder: &'a Path, seed: u64, unicast: bool) -> Self {
        let (members, files, told) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            program,
            folder,
            seed,
            unicast,
            network: None,
            members,
            files,
            rng: Rng::with_seed(seed),
            told,
        }
    }

    fn start(&mut self, place: usize) -> Result<()> {
        let file = self.folder.join(format!("{}.lines", self.files.len()));
        let mut command = match &self.network {
            Some(network) => network.command(place, self.program),
            None => Command::new(self.program),
        };
        command.arg("lab-member").arg("--group").arg(format!("lab {} {}", std::process::id(), self.seed));
        command.arg("--file").arg(&file).args(["--port", &self.port(place).to_string()]);
        if self.network.is_some() {
            command.args(["--interface", &network::address(place).to_string()]);
        }
        command.args(["--suspect-after-ms", &SUSPECT_AFTER_MS.to_string()]);
        if self.seed % 4 < 2 {
            command.args(["--state", &STATE_BYTES.to_string()]);
        }
        if self.unicast {
            let seeds: Vec<String> =
                (0..3).map(|at| format!("{}:{}", self.host(at), self.port(at))).collect();
            command.args(["--seeds", &seeds.join(",")]);
        }
        let child = command.stdin(Stdio::piped()).spawn().context("a member does not start")?;
        self.files.push(file.clone());
        self.members.push(Member { child, file, place, is_stopped: false, is_leaving: false });
        Ok(())
    }

    /// Ports of this round's members: below those that the system gives out.
    fn port(&self, at: usize) -> u16 {
        let base = u64::from(std::process::id()) % 1_000 * 10;
        20_000 + ((base + self.seed * 16) % 10_000) as u16 + at as u16
    }

    fn host(&self, place: usize) -> Ipv4Addr {
        if self.network.is_some() { network::address(place) } else { Ipv4Addr::LOCALHOST }
    }

    fn free_place(&self) -> Option<usize> {
        (0..MOST).find(|place| self.members.iter().all(|member| member.place != *place))
    }

    fn live(&mut self) -> Result<()> {
        for at in 0..FIRST {
            self.start(at)?;
        }
        self.until_together()?;
        for _ in 0..BLOWS {
            sleep(Duration::from_millis(self.rng.u64(PAUSES_MS)));
            self.strike()?;
        }
        self.calm()
    }

    /// All go on, and come together; what was cast is delivered.
    fn calm(&mut self) -> Result<()> {
        for member in self.members.iter_mut().filter(|member| member.is_stopped) {
            member.signal("-CONT")?;
            member.is_stopped = false;
        }
        self.reap()?;
        self.until_together()?;
        self.members.iter_mut().try_for_each(|member| member.say("quiet"))?;
        sleep(Duration::from_millis(1_000));
        self.until_together()
    }

    fn strike(&mut self) -> Result<()> {
        let at = self.rng.usize(..self.members.len());
        let running = self.members.iter().filter(|member| !member.is_stopped && !member.is_leaving).count();
        // A majority of each view stays: else it is wedged for good.
        let spare = running >= 4;
        let kinds = if self.network.is_some() { 8 } else { 6 };
        match self.rng.u8(..kinds) {
            6.. => self.split()?,
            0 if spare => self.kill(at)?,
            1 if spare => {
                let place = self.members[at].place;
                self.kill(at)?;
                self.start(place)?;
                self.tell("restarted");
            }
            2 if spare && !self.members[at].is_stopped => {
                self.members[at].say("leave")?;
                self.members[at].is_leaving = true;
                self.tell("leaves");
            }
            3 if spare => {
                self.members[at].signal("-STOP")?;
                let stop = self.rng.u64(STOPS_MS);
                sleep(Duration::from_millis(stop));
                self.members[at].signal("-CONT")?;
                self.tell(&format!("stopped for {stop} ms"));
            }
            4 => {
                self.members[at].say("sync")?;
                self.tell("sync cast");
            }
            _ => {
                if let Some(place) = self.free_place() {
                    self.start(place)?;
                    self.tell("started");
                }
            }
        }
        self.reap()?;
        self.until_together()
    }

    /// Cuts the network in two for a while.
    fn split(&mut self) -> Result<()> {
        let (border, cut) = (self.rng.usize(1..MOST), self.rng.u64(STOPS_MS));
        if let Some(network) = &mut self.network {
            network.cut(|from, to| (from < border) != (to < border))?;
            sleep(Duration::from_millis(cut));
            network.heal()?;
        }
        self.tell(&format!("cut before place {border} for {cut} ms"));
        Ok(())
    }

    fn tell(&mut self, what: &str) {
        self.told.push(what.to_owned());
    }

    fn kill(&mut self, at: usize) -> Result<()> {
        let mut member = self.members.swap_remove(at);
        member.child.kill().context("a member cannot be killed")?;
        member.child.wait()?;
        member::note_killed(&member.file)?;
        self.tell("killed");
        Ok(())
    }

    /// Who has left ends by itself.
    fn reap(&mut self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.members.iter().any(|member| member.is_leaving) {
            for at in (0..self.members.len()).rev() {
                if let Some(status) = self.members[at].child.try_wait()? {
                    ensure!(self.members[at].is_leaving && status.success(), "a member ended with {status}");
                    self.members.swap_remove(at);
                }
            }
            ensure!(Instant::now() < end, "who leaves does not come to an end");
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// All are in one view, with nobody else.
    fn until_together(&mut self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            for member in &mut self.members {
                if let Some(status) = member.child.try_wait()? {
                    bail!("a member ended with {status}");
                }
            }
            let views: Vec<_> = self.members.iter().map(Member::view).collect();
            let is_one = views.iter().all(|view| *view == views[0]);
            if is_one && views[0].is_some_and(|(_, members)| members == self.members.len()) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "not together: {views:?} after {:?}", self.told);
            sleep(Duration::from_millis(20));
        }
    }

    /// The processes end where they stand.
    fn end(&mut self) {
        for member in &mut self.members {
            // Whoever does not listen is killed when it is dropped.
            let _ = member.say("end");
        }
        let end = Instant::now() + Duration::from_secs(5);
        let is_over = |member: &mut Member| matches!(member.child.try_wait(), Ok(Some(_)));
        while !self.members.iter_mut().all(is_over) && Instant::now() < end {
            sleep(Duration::from_millis(5));
        }
        self.members.clear();
    }

    /// What all have written down, through the checkers.
    fn judge(&self) -> Result<()> {
        let read = |file: &PathBuf| {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            lines::read(&text).with_context(|| format!("{} is no history", file.display()))
        };
        let history = lines::history(self.files.iter().map(read).collect::<Result<Vec<_>>>()?)?;
        let violations = judge(&history, true);
        let (how, casts) = (if self.unicast { "unicast" } else { "multicast" }, history.casts.len());
        println!(
            "    seed {} by {how}: {} processes, {casts} casts, {} events; {}",
            self.seed,
            history.processes.len(),
            history.events.len(),
            self.told.join(", ")
        );
        violations.iter().for_each(|violation| println!("    {}: {}", violation.property, violation.how));
        ensure!(casts > 100, "{casts} casts are too few to judge by");
        ensure!(violations.is_empty(), "the history in {} breaks what is promised", self.folder.display());
        Ok(())
    }
}
