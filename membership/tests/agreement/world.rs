//! A world of processes that agree on views over a network that loses, delays, doubles and reorders what they say. Their streams
//! are counters: of each sender, how many blocks a process holds without a gap.

use fastrand::Rng;
use sistrum_membership::agreement::{
    Agreement, AgreementTuning, Destination, Installed, Introduction, Message, Op, Outcome, Roster, Streams,
    SyncCast,
};
use sistrum_membership::step::{self, Step};
use sistrum_ordering::{BootId, Endpoint, GroupInstance, Rank, Seq, ViewMember, ViewNumber};
use sistrum_transport::time::Instant;
use std::cell::Cell;
use std::collections::{BTreeMap, BinaryHeap};

const MS: u64 = 1_000_000;
/// A process is suspected that cannot be heard for so long.
const PATIENCE_NS: u64 = 30 * MS;

/// A process is suspected too that fetches for so long what it lacks of the view before: that may be lost.
const LAGGARD_NS: u64 = 300 * MS;

/// Who has left is there for so long.
const LINGER_NS: u64 = 100 * MS;

/// What a run is made of.
#[derive(Debug, Clone)]
pub(crate) struct Weather {
    pub(crate) processes: u8,
    pub(crate) loss: f64,
    pub(crate) duplicate: f64,
    pub(crate) delay_ns: u64,
    pub(crate) crashes: f64,
    pub(crate) partitions: f64,
    pub(crate) wrong_suspicions: f64,
    pub(crate) leaves: f64,
    pub(crate) syncs: f64,
    pub(crate) storm_ns: u64,
    /// How often a message comes very late.
    pub(crate) late: f64,
    /// How many others a process hears blocks from in a step, at most.
    pub(crate) pulls: f64,
    /// How often what is cast is followed by something that is sent to one alone.
    pub(crate) sends: f64,
    /// Whoever comes to this step dies there, with this probability.
    pub(crate) deadly: Option<(Step, f64)>,
}

/// The streams of one process, as counters.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters {
    pub(crate) held: Vec<u64>,
    pub(crate) delivered: Vec<u64>,
    limit: Option<Vec<u64>>,
    wanted: Option<Vec<u64>>,
    suspected: Vec<bool>,
    /// By rank: something was sent to it alone, and it may not hold it yet.
    pub(crate) owes: Vec<bool>,
    /// A change waits for that: nothing more is sent.
    stops: Cell<bool>,
    trusted: Vec<Rank>,
}

impl Streams for Counters {
    fn may_change(&self) -> bool {
        let may = self.owes.iter().zip(&self.suspected).all(|(owes, suspected)| !owes || *suspected);
        self.stops.set(self.stops.get() || !may);
        may
    }
    fn freeze(&mut self) -> Vec<Seq> {
        if self.limit.is_none() {
            self.limit = Some(self.held.clone());
        }
        self.held.iter().copied().map(Seq).collect()
    }
    fn fetch(&mut self, cut: &[Seq], _: &[Rank]) {
        self.wanted = Some(cut.iter().map(|seq| seq.0).collect());
    }
    fn holds(&self, cut: &[Seq]) -> bool {
        self.held.iter().zip(cut).all(|(held, cut)| *held >= cut.0)
    }
    fn suspect(&mut self, rank: Rank) {
        self.suspected[rank.0 as usize] = true;
    }
    fn trust(&mut self, rank: Rank) {
        self.suspected[rank.0 as usize] = false;
        self.trusted.push(rank);
    }
}

impl Counters {
    fn lacks_wanted(&self) -> bool {
        let mut wanted = self.wanted.iter().flatten().zip(&self.held);
        wanted.any(|(wanted, held)| held < wanted)
    }
}

/// One incarnation.
pub(crate) struct Process {
    pub(crate) me: Introduction,
    pub(crate) agreement: Option<Agreement>,
    pub(crate) streams: Counters,
    /// What it held of the view before, and its number: kept for those who are behind.
    old: (u32, Vec<u64>),
    /// By number: rosters and cuts.
    pub(crate) installed: Vec<Roster>,
    pub(crate) syncs: Vec<SyncCast>,
    pub(crate) is_out: bool,
    out_at: Option<u64>,
    /// When it came to its view.
    entered_at: u64,
    pub(crate) is_wedged: bool,
    asked_at: u64,
    next_sync: u32,
    /// When each other process was last heard, by index.
    heard_at: Vec<u64>,
}

#[derive(Debug, PartialEq, Eq)]
struct Letter {
    at: u64,
    number: u64,
    from: usize,
    to: usize,
    message: Message,
}

impl Ord for Letter {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}
impl PartialOrd for Letter {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) rng: Rng,
    pub(crate) weather: Weather,
    pub(crate) processes: Vec<Option<Process>>,
    letters: BinaryHeap<Letter>,
    posted: u64,
    boots: u64,
    /// By process: its side of a partition.
    side: Vec<u8>,
    /// Pairs that do not hear each other, whatever their sides.
    pub(crate) apart: Vec<(usize, usize)>,
    /// By view: its members and what led to it.
    pub(crate) views: BTreeMap<u32, Roster>,
    cuts: BTreeMap<u32, Vec<Seq>>,
    sync_orders: BTreeMap<u32, Vec<SyncCast>>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// Steps that were reached, and died at.
    pub(crate) steps: BTreeMap<Step, u64>,
    pub(crate) deaths: BTreeMap<Step, u64>,
    /// Who joins has to get a state first.
    has_state: bool,
    is_calm: bool,
    has_ended: bool,
    traces: bool,
}

pub(crate) fn endpoint(at: usize) -> Endpoint {
    Endpoint(([10, 0, (at / 250) as u8, (at % 250) as u8], 7).into())
}

impl World {
    /// The first `founders` processes begin with a view of all of them.
    pub(crate) fn new(seed: u64, weather: Weather, founders: u8) -> Self {
        let mut world = Self {
            now: 1,
            rng: Rng::with_seed(seed),
            processes: (0..weather.processes).map(|_| None).collect(),
            letters: BinaryHeap::new(),
            posted: 0,
            boots: 0,
            side: vec![0; weather.processes.into()],
            apart: Vec::new(),
            views: BTreeMap::new(),
            cuts: BTreeMap::new(),
            sync_orders: BTreeMap::new(),
            counts: BTreeMap::new(),
            steps: BTreeMap::new(),
            deaths: BTreeMap::new(),
            has_state: seed.is_multiple_of(2),
            is_calm: false,
            has_ended: false,
            traces: std::env::var("SISTRUM_TRACE").is_ok(),
            weather,
        };
        let members: Vec<_> = (0..usize::from(founders)).map(|at| world.introduction(at)).collect();
        let roster = Roster { number: ViewNumber(1), members, joining: Vec::new() };
        for at in 0..usize::from(founders) {
            let mut process = world.process(roster.members[at]);
            world.begin(&mut process, roster.clone(), Rank(at as u16), Vec::new());
            world.processes[at] = Some(process);
        }
        world.views.insert(1, roster);
        world
    }

    fn introduction(&mut self, at: usize) -> Introduction {
        self.boots += 1;
        let member = ViewMember { endpoint: endpoint(at), boot: BootId(self.boots) };
        Introduction {
            member,
            start: Seq(0),
            window: 8,
            receive_buffer: 1 << 20,
            coalesces: false,
            block: 256,
            rotating: false,
            keeps_state: self.has_state,
        }
    }

    fn process(&self, me: Introduction) -> Process {
        Process {
            me,
            agreement: None,
            streams: Counters::default(),
            old: (0, Vec::new()),
            installed: Vec::new(),
            syncs: Vec::new(),
            is_out: false,
            out_at: None,
            entered_at: 0,
            is_wedged: false,
            asked_at: 0,
            next_sync: 0,
            heard_at: vec![self.now; self.processes.len()],
        }
    }

    fn begin(&mut self, process: &mut Process, roster: Roster, me: Rank, gone: Vec<ViewMember>) {
        let tuning = AgreementTuning {
            retry_ns: 2 * MS,
            retry_max_ns: 20 * MS,
            answer_ns: 500 * MS,
            ..AgreementTuning::default()
        };
        let seed = process.me.member.boot.0;
        process.streams = Self::fresh(&roster);
        process.entered_at = self.now;
        process.installed.push(roster.clone());
        process.agreement = Some(Agreement::new(GroupInstance(1), roster, me, tuning, seed).welcomed(gone));
    }

    fn fresh(roster: &Roster) -> Counters {
        let count = roster.members.len();
        Counters {
            held: vec![0; count],
            delivered: vec![0; count],
            suspected: vec![false; count],
            owes: vec![false; count],
            ..Counters::default()
        }
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn index_of(&self, endpoint: Endpoint) -> Option<usize> {
        (0..self.processes.len()).find(|at| self::endpoint(*at) == endpoint)
    }

    /// Whether what one says now may reach the other.
    fn reaches(&self, from: usize, to: usize) -> bool {
        let are_apart = self.apart.contains(&(from, to)) || self.apart.contains(&(to, from));
        self.side[from] == self.side[to] && !are_apart
    }

    /// Runs the storm, then the calm; fails when a promise is broken.
    pub(crate) fn run(&mut self) {
        let end = self.now + self.weather.storm_ns;
        while self.now < end {
            self.disturb();
            self.step();
        }
        self.heal();
        if !self.can_go_on(true) {
            self.count("lost for good");
            // Safety goes on to be judged.
            let end = self.now + 300 * MS;
            while self.now < end {
                self.step();
            }
            return;
        }
        let end = self.now + 5_000 * MS;
        while self.now < end && !self.has_converged() && !self.has_ended {
            self.step();
        }
        // Who has left or died since may be missed.
        assert!(
            self.has_converged() || self.has_ended || !self.can_go_on(false),
            "no agreement in time:\n{}",
            self.describe()
        );
    }

    fn heal(&mut self) {
        self.is_calm = true;
        self.side.fill(0);
        (self.weather.loss, self.weather.duplicate) = (self.weather.loss.min(0.05), 0.0);
        (self.weather.crashes, self.weather.partitions, self.weather.wrong_suspicions) = (0.0, 0.0, 0.0);
        (self.weather.leaves, self.weather.syncs) = (0.0, 0.0);
        for at in 0..self.processes.len() {
            if self.processes[at].is_none() && self.rng.bool() {
                let me = self.introduction(at);
                self.processes[at] = Some(self.process(me));
            }
        }
    }

    /// Whether enough of the last view that anybody has live, and can get at its beginning.
    fn can_go_on(&self, is_in_it: bool) -> bool {
        let (number, roster) = self.views.iter().next_back().expect("there was a first view");
        let is_alive = |rank: Rank| {
            let member = roster.members[rank.0 as usize].member;
            let at = self.index_of(member.endpoint).expect("all endpoints are known");
            self.processes[at].as_ref().is_some_and(|process| {
                let in_it = process
                    .agreement
                    .as_ref()
                    .is_some_and(|agreement| agreement.roster().number.0 == *number);
                let may_come = !is_in_it && self.finds_wanted(at);
                process.me.member == member && !process.is_out && (in_it || may_come)
            })
        };
        roster.is_quorum(is_alive)
    }

    /// Whether what a process still wants of its view is held by anybody: those who held it may have left, and be gone.
    fn finds_wanted(&self, at: usize) -> bool {
        let (Some((number, _)), Some(process)) = (self.place(at), &self.processes[at]) else { return true };
        let of_view = |(other, holder): (usize, &Process)| match self.place(other) {
            Some((theirs, _)) if theirs == number => Some(holder.streams.held.clone()),
            _ => Some(holder.old.1.clone()).filter(|_| holder.old.0 == number),
        };
        let all = self.processes.iter().enumerate();
        let held: Vec<_> =
            all.filter_map(|(at, holder)| Some((at, holder.as_ref()?))).filter_map(of_view).collect();
        let wanted = process.streams.wanted.iter().flatten().enumerate();
        wanted.into_iter().all(|(origin, wanted)| held.iter().any(|held| held[origin] >= *wanted))
    }

    pub(crate) fn has_converged(&self) -> bool {
        let alive = || self.processes.iter().flatten().filter(|process| !process.is_out);
        let Some(one) = alive().next().and_then(|process| process.agreement.as_ref()) else { return false };
        let in_one = alive().all(|process| {
            process.agreement.as_ref().is_some_and(|agreement| {
                agreement.roster() == one.roster() && !agreement.is_changing() && !agreement.is_wedged()
            })
        });
        in_one && alive().count() == one.roster().members.len()
    }

    pub(crate) fn describe(&self) -> String {
        let lines = self.processes.iter().enumerate().map(|(at, process)| match process {
            None => format!("{at}: dead\n"),
            Some(process) => format!(
                "{at}: out {}, {:?}\n   held {:?} wanted {:?}\n",
                process.is_out, process.agreement, process.streams.held, process.streams.wanted
            ),
        });
        format!("{} us\n{}", self.now / 1_000, lines.collect::<String>())
    }

    fn disturb(&mut self) {
        let at = self.rng.usize(..self.processes.len());
        let strikes = |world: &mut Self, rate: f64| world.rng.f64() < rate;
        if strikes(self, self.weather.crashes) && self.processes[at].is_some() {
            self.processes[at] = None;
            self.count("crashes");
        }
        if self.processes[at]
            .as_ref()
            .is_none_or(|process| process.out_at.is_some_and(|at| at + LINGER_NS < self.now))
            && strikes(self, 0.02)
        {
            let me = self.introduction(at);
            self.processes[at] = Some(self.process(me));
            self.count("starts");
        }
        if strikes(self, self.weather.partitions) {
            let sides = self.rng.u8(1..4);
            for at in 0..self.side.len() {
                self.side[at] = self.rng.u8(0..sides);
            }
            self.count("partitions");
        }
        if strikes(self, self.weather.wrong_suspicions) {
            self.with(at, |agreement, streams, now, rng| {
                let rank = Rank(rng.u16(0..agreement.roster().members.len() as u16));
                agreement.suspect(now, rank, streams);
            });
            self.count("suspicions");
        }
        if strikes(self, self.weather.leaves) {
            self.with(at, |agreement, streams, now, _| {
                let me = agreement.roster().members[agreement.me().0 as usize].member;
                agreement.request(now, Op::Leave(me), streams);
            });
            self.count("leaves");
        }
        if strikes(self, self.weather.syncs) {
            self.sync(at);
        }
    }

    pub(crate) fn sync(&mut self, at: usize) {
        let Some(process) = &mut self.processes[at] else { return };
        process.next_sync += 1;
        let cast = SyncCast { by: process.me.member, number: process.next_sync, bytes: vec![at as u8] };
        self.with(at, |agreement, streams, now, _| agreement.request(now, Op::Sync(cast), streams));
        self.count("syncs");
    }

    pub(crate) fn with(
        &mut self,
        at: usize,
        act: impl FnOnce(&mut Agreement, &mut Counters, Instant, &mut Rng),
    ) {
        let now = self.now;
        let Some(process) = self.processes[at].as_mut() else { return };
        let Some(agreement) = &mut process.agreement else { return };
        act(agreement, &mut process.streams, Instant(now), &mut self.rng);
        let steps = step::take();
        steps.iter().for_each(|step| *self.steps.entry(*step).or_default() += 1);
        let is_deadly = |&(step, _): &(Step, f64)| !self.is_calm && steps.contains(&step);
        if let Some((step, share)) = self.weather.deadly.filter(is_deadly)
            && self.rng.f64() < share
        {
            self.die(at);
            *self.deaths.entry(step).or_default() += 1;
            return;
        }
        self.settle(at);
    }

    /// Time moves, blocks travel, letters arrive, timers fire.
    pub(crate) fn step(&mut self) {
        self.now += self.rng.u64(1..MS / 2);
        while self.letters.peek().is_some_and(|letter| letter.at <= self.now) {
            let letter = self.letters.pop().expect("there is one");
            self.deliver(letter);
        }
        for at in 0..self.processes.len() {
            self.travel(at);
            self.detect(at);
            self.ask(at);
            self.ready(at);
            self.with(at, |agreement, streams, now, _| {
                agreement.progress(now, streams);
            });
            self.with(at, |agreement, streams, now, _| {
                if agreement.poll_timeout().is_some_and(|due| due <= now) {
                    agreement.handle_timeout(now, streams);
                }
            });
        }
    }

    fn deliver(&mut self, letter: Letter) {
        let Letter { from, to, message, .. } = letter;
        let Some(process) = &mut self.processes[to] else { return };
        process.heard_at[from] = self.now;
        match (&process.agreement, message) {
            (None, Message::Welcome { roster, gone, .. }) => {
                let Some(me) = roster.rank_of_member(process.me.member) else { return };
                let mut process = self.processes[to].take().expect("it is there");
                self.judge_view(&roster);
                self.begin(&mut process, roster, me, gone);
                self.processes[to] = Some(process);
                self.count("joins");
            }
            // It was in without knowing of it: another life.
            (None, Message::Excluded { .. }) => {
                let me = self.introduction(to);
                self.processes[to] = Some(self.process(me));
                self.count("restarts");
            }
            (None, _) => {}
            (Some(_), message) => self.with(to, |agreement, streams, now, _| {
                agreement.handle_message(now, endpoint(from), message, streams);
            }),
        }
    }

    /// Blocks are cast, received and delivered; members hear each other in their view.
    fn travel(&mut self, at: usize) {
        let Some((number, me)) = self.place(at) else { return };
        let (casts, pulls) = (self.rng.u8(0..4) == 0, (self.rng.f64() * self.weather.pulls).round() as u8);
        let process = self.processes[at].as_mut().expect("it has a place");
        if casts && process.streams.limit.is_none() {
            process.streams.held[me] += 1;
            let to = self.rng.usize(..process.streams.owes.len());
            process.streams.owes[to] |=
                to != me && !process.streams.stops.get() && self.rng.f64() < self.weather.sends;
        }
        for _ in 0..pulls {
            let other = self.rng.usize(..self.processes.len());
            self.pull(at, other, number);
        }
        let process = self.processes[at].as_mut().expect("it has a place");
        let Counters { held, delivered, limit, .. } = &mut process.streams;
        for (origin, delivered) in delivered.iter_mut().enumerate() {
            let limit = limit.as_ref().map_or(held[origin], |limit| limit[origin].min(held[origin]));
            *delivered = (*delivered).max(limit);
        }
    }

    /// What `other` holds of the same view may come to `at`: the sender's own blocks, and what is asked for.
    fn pull(&mut self, at: usize, other: usize, number: u32) {
        if other == at || !self.reaches(other, at) || self.rng.f64() < self.weather.loss {
            return;
        }
        let Some((theirs, rank)) = self.place(other) else { return };
        if theirs == number + 1 {
            let (old, held) = self.processes[other].as_ref().expect("it has a place").old.clone();
            if old == number {
                self.give(at, &held);
            }
        }
        if theirs < number && self.rng.u8(0..8) == 0 {
            self.with(at, |agreement, _, _, _| agreement.heard_behind(endpoint(other), ViewNumber(theirs)));
        }
        if theirs != number {
            return;
        }
        let (_, me) = self.place(at).expect("it has a place");
        let theirs = &mut self.processes[other].as_mut().expect("it has a place").streams;
        theirs.owes[me] &= self.rng.u8(0..16) > 0;
        let held = theirs.held.clone();
        let process = self.processes[at].as_mut().expect("it has a place");
        process.heard_at[other] = self.now;
        if let Some(agreement) = &mut process.agreement {
            agreement.heard_in_view(Rank(rank as u16));
        }
        let streams = &mut process.streams;
        if streams.limit.is_none() || !streams.suspected[rank] {
            streams.held[rank] = streams.held[rank].max(held[rank]);
        }
        self.give(at, &held);
    }

    /// What `at` wants of what is held comes to it.
    fn give(&mut self, at: usize, held: &[u64]) {
        let streams = &mut self.processes[at].as_mut().expect("it has a place").streams;
        let Some(wanted) = &streams.wanted else { return };
        for (mine, (held, wanted)) in streams.held.iter_mut().zip(held.iter().zip(wanted)) {
            *mine = (*mine).max(*held.min(wanted));
        }
    }

    fn place(&self, at: usize) -> Option<(u32, usize)> {
        let process = self.processes[at].as_ref().filter(|process| !process.is_out)?;
        let agreement = process.agreement.as_ref()?;
        Some((agreement.roster().number.0, agreement.me().0.into()))
    }

    /// Each suspects whom it has not heard, and hears again whom it can.
    fn detect(&mut self, at: usize) {
        let Some(process) = &self.processes[at] else { return };
        let Some(agreement) = process.agreement.as_ref().filter(|_| !process.is_out) else { return };
        let roster = agreement.roster().clone();
        for rank in roster.ranks() {
            let member = roster.members[rank.0 as usize].member;
            let other = self.index_of(member.endpoint).expect("all endpoints are known");
            // Heartbeats: whoever lives and is in reach is heard; another incarnation is not.
            let is_heard = self.processes[other]
                .as_ref()
                .is_some_and(|process| process.me.member == member && !process.is_out)
                && self.reaches(other, at);
            let is_behind = self.place(other).is_some_and(|(number, _)| number < roster.number.0)
                && self.processes[other].as_ref().is_some_and(|process| process.streams.lacks_wanted());
            let now = self.now;
            let process = self.processes[at].as_mut().expect("it lives");
            if is_heard && other != at {
                process.heard_at[other] = now;
            }
            let silent_ns = now - process.heard_at[other];
            let is_late = now - process.entered_at > LAGGARD_NS && is_behind;
            let is_trusted =
                !process.agreement.as_ref().is_some_and(|agreement| agreement.is_suspected(rank));
            if other == at {
                continue;
            }
            if (silent_ns > PATIENCE_NS || is_late) && is_trusted {
                self.with(at, |agreement, streams, now, _| agreement.suspect(now, rank, streams));
            } else if is_heard && !is_late && !is_trusted {
                self.with(at, |agreement, streams, now, _| agreement.heard_again(now, rank, streams));
            }
            if self.processes[at]
                .as_ref()
                .and_then(|process| process.agreement.as_ref())
                .map(Agreement::roster)
                != Some(&roster)
            {
                return;
            }
        }
    }

    /// Who has no view asks anybody to be let in; who was excluded begins a new life.
    fn ask(&mut self, at: usize) {
        let excluded = self.processes[at]
            .as_ref()
            .is_some_and(|process| process.out_at.is_some_and(|at| at + LINGER_NS < self.now));
        if excluded && self.is_calm {
            let me = self.introduction(at);
            self.processes[at] = Some(self.process(me));
        }
        let now = self.now;
        let Some(process) = self.processes[at].as_mut() else { return };
        if process.agreement.is_some() || process.asked_at + 20 * MS > now {
            return;
        }
        process.asked_at = now;
        let op = Op::Join(process.me);
        let to = self.rng.usize(..self.processes.len());
        self.post(at, to, Message::Request { number: ViewNumber(0), op });
    }

    /// Who has got the state says so, and again where that was lost.
    fn ready(&mut self, at: usize) {
        self.with(at, |agreement, streams, now, rng| {
            let (roster, me) = (agreement.roster(), agreement.me());
            if roster.is_joining(me) && rng.u8(0..40) == 0 {
                let me = roster.members[me.0 as usize].member;
                agreement.request(now, Op::Ready(me), streams);
            }
        });
    }

    fn post(&mut self, from: usize, to: usize, message: Message) {
        if from == to || !self.reaches(from, to) {
            return;
        }
        let copies = 1 + u8::from(self.rng.f64() < self.weather.duplicate);
        for _ in 0..copies {
            if self.rng.f64() < self.weather.loss {
                continue;
            }
            // Now and then one comes very late.
            let late = if self.rng.f64() < self.weather.late {
                20 * self.weather.delay_ns
            } else {
                self.weather.delay_ns
            };
            let at = self.now + self.rng.u64(0..=late);
            self.posted += 1;
            self.letters.push(Letter { at, number: self.posted, from, to, message: message.clone() });
        }
    }

    /// Dies with some of its last words unsaid.
    fn die(&mut self, at: usize) {
        for _ in 0..self.rng.u8(0..4) {
            let agreement = self.processes[at].as_mut().and_then(|process| process.agreement.as_mut());
            let Some((to, message)) = agreement.and_then(Agreement::poll_send) else { break };
            for to in (0..self.processes.len()).filter(|other| match to {
                Destination::All => true,
                Destination::One(endpoint) => self::endpoint(*other) == endpoint,
            }) {
                // A multicast reaches some.
                if self.rng.bool() {
                    self.post(at, to, message.clone());
                }
            }
        }
        self.processes[at] = None;
        self.count("crashes");
    }

    /// Takes what an agreement wants sent, and what has become of the view.
    fn settle(&mut self, at: usize) {
        loop {
            let process = self.processes[at].as_mut().expect("it acted");
            let Some(agreement) = &mut process.agreement else { return };
            for rank in std::mem::take(&mut process.streams.trusted) {
                // A view that came at once has other ranks; its members were all heard.
                let Some(known) = agreement.roster().members.get(rank.0 as usize) else { continue };
                let endpoint = known.member.endpoint;
                let other = (0..process.heard_at.len()).find(|at| self::endpoint(*at) == endpoint);
                process.heard_at[other.expect("all endpoints are known")] = self.now;
            }
            if let Some((to, message)) = agreement.poll_send() {
                match to {
                    Destination::One(endpoint) => {
                        if let Some(to) = self.index_of(endpoint) {
                            self.post(at, to, message);
                        }
                    }
                    Destination::All => {
                        (0..self.processes.len()).for_each(|to| self.post(at, to, message.clone()));
                    }
                }
                continue;
            }
            let (outcome, number) = (agreement.poll_outcome(), agreement.roster().number);
            if self.traces && outcome.is_some() {
                println!("{:>9} us: {at} in {number}: {outcome:?}", self.now / 1_000);
            }
            match outcome {
                Some(Outcome::Install(installed)) => self.install(at, installed),
                Some(Outcome::Wedged { .. }) => {
                    assert!(!std::mem::replace(&mut process.is_wedged, true), "wedged twice");
                    self.count("wedged");
                }
                Some(Outcome::Resumed) => {
                    assert!(std::mem::take(&mut process.is_wedged), "resumed unwedged");
                    self.count("resumed");
                }
                Some(Outcome::Excluded { number }) => {
                    let is_in =
                        self.views.get(&number.0).is_some_and(|roster| roster.members.contains(&process.me));
                    assert!(!is_in, "{at} is excluded from view {number}, which it is in");
                    process.is_out = true;
                    process.out_at = Some(self.now);
                    self.count("excluded");
                }
                Some(Outcome::Left { is_last }) => {
                    // Nobody may go on in its name.
                    self.has_ended |= is_last;
                    process.is_out = true;
                    process.out_at = Some(self.now);
                    self.count("left");
                }
                None => return,
            }
        }
    }

    fn install(&mut self, at: usize, installed: Installed) {
        let Installed { roster, me, value, .. } = installed;
        let number = roster.number.0;
        self.judge_view(&roster);
        let cut = self.cuts.entry(number).or_insert_with(|| value.cut.clone());
        assert_eq!(*cut, value.cut, "two cuts lead to view {number}");
        let syncs = self.sync_orders.entry(number).or_insert_with(|| value.syncs.clone());
        assert_eq!(*syncs, value.syncs, "two orders of syncs before view {number}");
        let fresh = Self::fresh(&roster);
        let process = self.processes[at].as_mut().expect("it installs");
        let last = process.installed.last().expect("it had a view");
        assert_eq!(last.number.0 + 1, number, "views come one after the other");
        assert_eq!(roster.members.get(me.0 as usize), Some(&process.me), "a process is in its views");
        let streams = &process.streams;
        let limit = streams.limit.as_ref().expect("who installs has stopped");
        for (known, _) in last.members.iter().zip(&streams.owes).filter(|(_, owes)| **owes) {
            assert!(
                !roster.members.contains(known),
                "{at} installs view {number} with {known:?}, to which it has sent what is lost"
            );
        }
        for (origin, cut) in value.cut.iter().enumerate() {
            assert!(
                streams.held[origin] >= cut.0,
                "{at} installs view {number} and lacks blocks of {origin}"
            );
            assert!(
                limit[origin] <= cut.0,
                "{at} may have delivered what lies above the cut of view {number}"
            );
            assert!(streams.delivered[origin] <= cut.0, "{at} has delivered above the cut of view {number}");
        }
        for sync in &value.syncs {
            assert!(!process.syncs.contains(sync), "{sync:?} came twice");
            process.syncs.push(sync.clone());
        }
        process.entered_at = self.now;
        process.old = (number - 1, std::mem::replace(&mut process.streams, fresh).held);
        process.installed.push(roster.clone());
        let (agreement, streams) = (process.agreement.as_ref().expect("it installs"), &mut process.streams);
        for rank in roster.ranks().filter(|rank| agreement.is_suspected(*rank)) {
            streams.suspect(rank);
        }
        self.count("installs");
    }

    /// The same number is the same view, and each grows out of the one before it.
    fn judge_view(&mut self, roster: &Roster) {
        let number = roster.number.0;
        let known = self.views.entry(number).or_insert_with(|| roster.clone());
        assert_eq!(known, roster, "two views {number}");
        if let Some(before) = self.views.get(&(number - 1)) {
            let stayed: Vec<_> =
                before.members.iter().filter(|member| roster.members.contains(member)).collect();
            let first: Vec<_> = roster.members.iter().take(stayed.len()).collect();
            assert_eq!(stayed, first, "age decides the ranks of view {number}");
            for new in roster.members.iter().filter(|new| !before.members.contains(new)) {
                let was_in = |(_, earlier): (&u32, &Roster)| earlier.members.contains(new);
                assert!(!self.views.range(..number).any(was_in), "{new:?} comes again in view {number}");
            }
            let has_state = |rank: &Rank| !roster.is_joining(*rank);
            let hands_on = |rank: Rank| before.members.contains(&roster.members[rank.0 as usize]);
            assert!(
                roster.ranks().filter(has_state).any(hands_on),
                "view {number} shares nobody who has the state with the one before it"
            );
        }
    }
}
