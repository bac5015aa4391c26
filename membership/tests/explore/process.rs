//! One process: the real [`Agreement`] over streams of a few blocks. What it does next follows from what it is and what happens to
//! it, and from nothing else.

use crate::laws::Law;
use sistrum_membership::agreement::{
    Agreement, AgreementTuning, Destination, Installed, Introduction, Message, Op, Outcome, Roster, Streams,
    Value,
};
use sistrum_ordering::{BootId, Endpoint, GroupInstance, Rank, Seq, ViewMember, ViewNumber};
use sistrum_transport::time::Instant;

/// Time stands still but for the timer: it moves a process's own clock to when it is due. Nothing else of time matters to agreement.
const TUNING: AgreementTuning =
    AgreementTuning { retry_ns: 1, retry_max_ns: 1, answer_ns: u64::MAX, max_members: 1024 };

/// Streams that know how many blocks of each member are held.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Held {
    pub(crate) held: Vec<u64>,
    /// What was held at the first freeze: all that is delivered before the view ends.
    limit: Option<Vec<u64>>,
    pub(crate) wanted: Option<Vec<u64>>,
    pub(crate) suspected: Vec<bool>,
    is_told: bool,
}

impl Streams for Held {
    fn may_change(&self) -> bool {
        self.is_told
    }
    fn freeze(&mut self) -> Vec<Seq> {
        self.limit.get_or_insert_with(|| self.held.clone());
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
    }
}

impl Held {
    fn new(members: usize, is_told: bool) -> Self {
        let (held, suspected) = (vec![0; members], vec![false; members]);
        Self { held, suspected, is_told, ..Self::default() }
    }

    /// How much of each stream still lacks, of what `other` could give.
    pub(crate) fn lacks(&self, other: &[u64]) -> Option<Vec<u64>> {
        let wanted = self.wanted.as_ref()?;
        let given = self.held.iter().zip(wanted).zip(other);
        let given: Vec<u64> = given.map(|((held, wanted), other)| *held.max(wanted.min(other))).collect();
        (given != self.held).then_some(given)
    }

    fn forget_wanted(&mut self) {
        let has_come = |wanted: &Vec<u64>| self.held.iter().zip(wanted).all(|(held, wanted)| held >= wanted);
        if self.wanted.as_ref().is_some_and(has_come) {
            self.wanted = None;
        }
    }
}

/// How a process has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum End {
    Crashed,
    /// From this view.
    Excluded(ViewNumber),
    Left,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) at: usize,
    /// None before it has come in, and when it has crashed.
    pub(crate) agreement: Option<Agreement>,
    pub(crate) streams: Held,
    /// What it held of the view before.
    pub(crate) kept: Option<Vec<u64>>,
    pub(crate) end: Option<End>,
    pub(crate) has_fetched: bool,
    is_wedged: bool,
    now: Instant,
    /// Whether its application takes its time to be told of a view.
    is_slow: bool,
}

/// What may happen to a process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    Message(usize, Box<Message>),
    /// One more block comes from the sender of this stream.
    Data(usize),
    /// What was asked for has come: so much is held now.
    Fetched(Vec<u64>),
    Suspect(Rank),
    HeardAgain(Rank),
    Timeout,
    Leave,
    /// The application is told of the view.
    Told,
    Crash,
}

/// What a process has done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) sent: Vec<(Destination, Message)>,
    /// Views that it has decided, with their values, and whether it holds all up to the cut.
    pub(crate) decided: Vec<(ViewNumber, Value, bool)>,
    /// Views that it has come to, with what led to them where it knows that.
    pub(crate) entered: Vec<(Roster, Option<Value>)>,
    /// From this view it is excluded, as it has learnt.
    pub(crate) excluded: Option<ViewNumber>,
    pub(crate) broken: Vec<Law>,
}

pub(crate) fn endpoint(at: usize) -> Endpoint {
    Endpoint(([10, 0, 0, at as u8], 7).into())
}

pub(crate) fn index_of(endpoint: Endpoint) -> usize {
    (0..8).find(|at| self::endpoint(*at) == endpoint).expect("a process of this world")
}

pub(crate) fn introduction(at: usize) -> Introduction {
    let member = ViewMember { endpoint: endpoint(at), boot: BootId(1) };
    Introduction {
        member,
        start: Seq(0),
        window: 8,
        receive_buffer: 1 << 20,
        coalesces: false,
        block: 256,
        rotating: false,
        keeps_state: false,
    }
}

impl Process {
    /// One that is in no view.
    pub(crate) fn outside(at: usize, is_slow: bool) -> Self {
        let (streams, now) = (Held::default(), Instant(0));
        Self {
            at,
            agreement: None,
            streams,
            kept: None,
            end: None,
            has_fetched: false,
            is_wedged: false,
            now,
            is_slow,
        }
    }

    /// A founder, which has been told of its view and has cast `blocks`.
    pub(crate) fn founder(at: usize, roster: &Roster, blocks: u64, is_slow: bool) -> Self {
        let mut process = Self::outside(at, is_slow);
        process.enter(roster.clone(), Vec::new());
        process.streams.is_told = true;
        process.streams.held[at] = blocks;
        process
    }

    fn enter(&mut self, roster: Roster, gone: Vec<ViewMember>) {
        let me = roster.rank_of_member(introduction(self.at).member).expect("it is in its view");
        self.streams = Held::new(roster.members.len(), !self.is_slow);
        self.agreement = Some(Agreement::new(GroupInstance(1), roster, me, TUNING, 0).welcomed(gone));
    }

    pub(crate) fn is_there(&self) -> bool {
        self.agreement.is_some() && self.end.is_none()
    }

    /// The last change that it has behind it.
    pub(crate) fn past(&self) -> u32 {
        match (&self.agreement, self.end) {
            (_, Some(End::Crashed)) => u32::MAX,
            (Some(agreement), end) => agreement.roster().number.0 + u32::from(end.is_some()),
            // It comes in with the second view at the earliest.
            (None, _) => 2,
        }
    }

    pub(crate) fn is_told(&self) -> bool {
        self.streams.is_told
    }

    pub(crate) fn handle(&mut self, input: Input) -> Done {
        let mut done = Done::default();
        let Some(agreement) = &mut self.agreement else {
            self.come_in(input, &mut done);
            return done;
        };
        let (streams, now) = (&mut self.streams, self.now);
        match input {
            Input::Message(from, message) => agreement.handle_message(now, endpoint(from), *message, streams),
            Input::Data(origin) => streams.held[origin] += 1,
            Input::Fetched(held) => (streams.held, self.has_fetched) = (held, true),
            Input::Suspect(rank) => agreement.suspect(now, rank, streams),
            Input::HeardAgain(rank) => agreement.heard_again(now, rank, streams),
            Input::Timeout => {
                self.now = now.max(agreement.poll_timeout().expect("there is a timer"));
                agreement.handle_timeout(self.now, streams);
            }
            Input::Leave => {
                let me = introduction(self.at).member;
                agreement.request(now, Op::Leave(me), streams);
            }
            Input::Told => streams.is_told = true,
            Input::Crash => {
                *self = Self { end: Some(End::Crashed), ..Self::outside(self.at, self.is_slow) };
                return done;
            }
        }
        self.settle(&mut done);
        done
    }

    fn come_in(&mut self, input: Input, done: &mut Done) {
        let Input::Message(_, message) = input else { return };
        let Message::Welcome { roster, gone, .. } = *message else { return };
        if roster.rank_of_member(introduction(self.at).member).is_some() && self.end.is_none() {
            self.enter(roster.clone(), gone);
            done.entered.push((roster, None));
        }
    }

    /// As a driver does: what is to be sent is sent, what has become of the view is taken, and it goes on where it waited.
    fn settle(&mut self, done: &mut Done) {
        loop {
            self.take(done);
            let agreement = self.agreement.as_mut().expect("it lives");
            self.streams.forget_wanted();
            let before = agreement.clone();
            agreement.progress(self.now, &mut self.streams);
            if *agreement == before {
                return;
            }
        }
    }

    fn take(&mut self, done: &mut Done) {
        let agreement = self.agreement.as_mut().expect("it lives");
        while let Some((to, message)) = agreement.poll_send() {
            match &message {
                Message::Commit { next, value, .. } if to == Destination::All => {
                    done.decided.push((*next, value.clone(), self.streams.holds(&value.cut)));
                }
                Message::Ok { acked: Some(acked), .. } if !self.streams.holds(&acked.value.cut) => {
                    done.broken.push(Law::Word);
                }
                _ => {}
            }
            done.sent.push((to, message));
        }
        while let Some(outcome) = self.agreement.as_mut().and_then(Agreement::poll_outcome) {
            self.judge(&outcome, done);
            match outcome {
                Outcome::Install(installed) => self.install(installed, done),
                Outcome::Wedged { .. } => self.is_wedged = true,
                Outcome::Resumed => self.is_wedged = false,
                Outcome::Excluded { number } => {
                    self.end = Some(End::Excluded(number));
                    done.excluded = Some(number);
                }
                Outcome::Left { .. } => self.end = Some(End::Left),
            }
        }
    }

    fn judge(&self, outcome: &Outcome, done: &mut Done) {
        let mut law = |holds: bool, law: Law| {
            if !holds {
                done.broken.push(law);
            }
        };
        law(self.end.is_none(), Law::Out);
        match outcome {
            Outcome::Install(Installed { roster, me, value, .. }) => {
                law(roster.members.get(me.0 as usize) == Some(&introduction(self.at)), Law::Out);
                law(self.streams.holds(&value.cut), Law::CutHeld);
                let limit = self.streams.limit.as_deref().unwrap_or(&self.streams.held);
                law(limit.iter().zip(&value.cut).all(|(limit, cut)| *limit <= cut.0), Law::Synchrony);
            }
            Outcome::Wedged { .. } => law(!self.is_wedged, Law::Out),
            Outcome::Resumed => law(self.is_wedged, Law::Out),
            Outcome::Excluded { .. } | Outcome::Left { .. } => {}
        }
    }

    fn install(&mut self, installed: Installed, done: &mut Done) {
        let Installed { roster, value, .. } = installed;
        let agreement = self.agreement.as_ref().expect("it lives");
        let suspected = roster.ranks().map(|rank| agreement.is_suspected(rank)).collect();
        let fresh = Held { suspected, ..Held::new(roster.members.len(), !self.is_slow) };
        self.kept = Some(std::mem::replace(&mut self.streams, fresh).held);
        done.entered.push((roster, Some(value)));
    }
}
