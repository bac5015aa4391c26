//! A few processes that agree on views, and everything that they have ever said: each letter may come to each of its receivers at any
//! time, again or never. So loss, delay, disorder and doubling need no actions of their own.

use crate::laws::{self, Law, ballot_of};
use crate::process::{End, Input, Process, endpoint, index_of, introduction};
use crate::table::{Id, Table};
use sistrum_membership::agreement::{Destination, Message, Op, Roster, Value};
use sistrum_ordering::{Rank, ViewNumber};
#[cfg(feature = "mutants")]
use sistrum_transport::mutation::{Mutation, set};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, RwLock};

/// How much may happen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bounds {
    /// Of each founder: how many blocks it has cast in the first view. They may have come to anybody.
    pub(crate) blocks: Vec<u64>,
    /// Processes that ask to be let in.
    pub(crate) joiners: usize,
    pub(crate) most: Spent,
    /// Who may suspect whom although it lives; anybody when this is empty.
    pub(crate) suspicions: Vec<(usize, usize)>,
    /// Who may crash, and who may leave; anybody when these are empty.
    pub(crate) mortals: Vec<usize>,
    pub(crate) leavers: Vec<usize>,
    /// The highest attempt and the last view that are looked at.
    pub(crate) attempts: u32,
    pub(crate) views: u32,
    /// Whether applications take their time to be told of a view.
    pub(crate) is_slow: bool,
}

/// What has happened, of what is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Spent {
    pub(crate) crashes: u8,
    /// Of those that live and are members.
    pub(crate) suspicions: u8,
    pub(crate) timeouts: u8,
    pub(crate) leaves: u8,
}

/// What was said.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Letter {
    pub(crate) from: usize,
    pub(crate) to: Destination,
    pub(crate) message: Message,
}

impl Letter {
    fn may_reach(&self, at: usize) -> bool {
        self.from != at && (self.to == Destination::All || self.to == Destination::One(endpoint(at)))
    }
}

/// All that there is, by its numbers in the tables of the group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) processes: Vec<Id>,
    /// Ascending.
    pub(crate) letters: Vec<Id>,
    /// What was decided, from the second view on.
    pub(crate) values: Vec<Id>,
    pub(crate) spent: Spent,
    pub(crate) broken: BTreeSet<Law>,
}

/// What may happen next: to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Receive { at: usize, letter: Id },
    Data { at: usize, origin: usize },
    Fetch { at: usize, from: usize },
    Suspect { at: usize, rank: Rank, is_wrong: bool },
    HearAgain { at: usize, rank: Rank },
    Timeout(usize),
    Leave(usize),
    Tell(usize),
    Crash(usize),
}

/// What happens to a process, as the tables know it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Event {
    Letter(Id),
    Other(Box<Input>),
}

/// What a process becomes, and what it does then.
#[derive(Debug)]
struct Step {
    process: Id,
    letters: Vec<Id>,
    decided: Vec<Decision>,
    entered: Vec<(Roster, Option<Id>)>,
    excluded: Option<ViewNumber>,
    broken: Vec<Law>,
}

type Steps = HashMap<(Id, Event), Option<Arc<Step>>>;

/// The view, its value, and whether whoever decided it holds all up to the cut.
pub(crate) type Decision = (ViewNumber, Id, bool);

/// What is explored.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) bounds: Bounds,
    #[cfg(feature = "mutants")]
    mutation: Option<Mutation>,
    pub(crate) first: Roster,
    processes: Table<Process>,
    letters: Table<Letter>,
    pub(crate) values: Table<Value>,
    /// What follows from what, as far as it was computed. None lies beyond the bounds.
    steps: RwLock<Steps>,
}

impl Group {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let members = (0..bounds.blocks.len()).map(introduction).collect();
        Self {
            bounds,
            #[cfg(feature = "mutants")]
            mutation: None,
            first: Roster { number: ViewNumber(1), members, joining: Vec::new() },
            processes: Table::new(),
            letters: Table::new(),
            values: Table::new(),
            steps: RwLock::default(),
        }
    }

    #[cfg(feature = "mutants")]
    pub(crate) fn broken_by(self, mutation: Mutation) -> Self {
        Self { mutation: Some(mutation), ..self }
    }

    /// Distinct processes and letters that were seen.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.processes.count(), self.letters.count())
    }

    pub(crate) fn processes_of<'a>(&'a self, state: &'a State) -> impl Iterator<Item = Arc<Process>> + 'a {
        state.processes.iter().map(|id| self.processes.get(*id))
    }

    pub(crate) fn letters_of<'a>(&'a self, state: &'a State) -> impl Iterator<Item = Arc<Letter>> + 'a {
        state.letters.iter().map(|id| self.letters.get(*id))
    }

    /// What led to the second view.
    pub(crate) fn first_decided(&self, state: &State) -> Option<Arc<Value>> {
        state.values.first().map(|id| self.values.get(*id))
    }

    /// What `event` makes of a process.
    fn step(&self, id: Id, event: Event) -> Option<Arc<Step>> {
        let key = (id, event);
        if let Some(step) = self.steps.read().expect("no thread has failed").get(&key) {
            return step.clone();
        }
        let step = self.compute(id, &key.1).map(Arc::new);
        self.steps.write().expect("no thread has failed").insert(key, step.clone());
        step
    }

    fn compute(&self, id: Id, event: &Event) -> Option<Step> {
        let mut process = Process::clone(&self.processes.get(id));
        let input = match event {
            Event::Letter(letter) => {
                let letter = self.letters.get(*letter);
                Input::Message(letter.from, Box::new(letter.message.clone()))
            }
            Event::Other(input) => Input::clone(input),
        };
        #[cfg(feature = "mutants")]
        set(self.mutation);
        let done = process.handle(input);
        #[cfg(feature = "mutants")]
        set(None);
        let from = process.at;
        let is_beyond = |message: &Message| {
            ballot_of(message).is_some_and(|ballot| ballot.attempt > self.bounds.attempts)
                || message.next().is_some_and(|next| next.0 > self.bounds.views)
        };
        if done.sent.iter().any(|(_, message)| is_beyond(message)) {
            return None;
        }
        let letters =
            done.sent.into_iter().map(|(to, message)| self.letters.id(Letter { from, to, message }));
        Some(Step {
            letters: letters.collect(),
            process: self.processes.id(process),
            decided: done
                .decided
                .into_iter()
                .map(|(next, value, holds)| (next, self.values.id(value), holds))
                .collect(),
            entered: done
                .entered
                .into_iter()
                .map(|(roster, value)| (roster, value.map(|value| self.values.id(value))))
                .collect(),
            excluded: done.excluded,
            broken: done.broken,
        })
    }

    /// Everything that follows from `step` of process `at`; None when nothing does.
    fn apply(&self, last: &State, at: usize, step: &Step) -> Option<State> {
        let is_new = |letter: &Id| last.letters.binary_search(letter).is_err();
        let says_nothing = !step.letters.iter().any(is_new);
        if step.process == last.processes[at] && says_nothing && step.broken.is_empty() {
            return None;
        }
        let mut state = last.clone();
        state.processes[at] = step.process;
        state.letters.extend(&step.letters);
        state.letters.sort_unstable();
        state.letters.dedup();
        state.broken.extend(&step.broken);
        for decision in &step.decided {
            self.judge_decision(&mut state, at, *decision);
        }
        for (roster, value) in &step.entered {
            self.judge_view(&mut state, roster, *value);
        }
        let is_in = |roster: Roster| roster.members.contains(&introduction(at));
        if step.excluded.and_then(|number| self.roster(&state, number)).is_some_and(is_in) {
            state.broken.insert(Law::Excluded);
        }
        let new = state.letters.iter().copied().filter(is_new).collect();
        self.saturate(&mut state, at, new);
        self.forget_past(&mut state);
        Some(state)
    }

    /// What is answered without a change of whoever answers it is answered at once: more may be said then, and nothing less may happen.
    fn saturate(&self, state: &mut State, at: usize, mut new: Vec<Id>) {
        let mut answers = BTreeSet::new();
        for &letter in &state.letters {
            self.answer(state, at, letter, &mut answers);
        }
        loop {
            for &letter in &new {
                for to in 0..state.processes.len() {
                    self.answer(state, to, letter, &mut answers);
                }
            }
            new = answers.iter().copied().filter(|id| state.letters.binary_search(id).is_err()).collect();
            if new.is_empty() {
                return;
            }
            state.letters.extend(&new);
            state.letters.sort_unstable();
            answers.clear();
        }
    }

    fn answer(&self, state: &State, to: usize, letter: Id, answers: &mut BTreeSet<Id>) {
        if !self.letters.get(letter).may_reach(to) {
            return;
        }
        let id = state.processes[to];
        if let Some(step) = self.step(id, Event::Letter(letter))
            && step.process == id
        {
            answers.extend(&step.letters);
        }
    }

    /// What belongs to a change that its sender and all receivers have behind them, as far as they live, says nothing more.
    fn forget_past(&self, state: &mut State) {
        let past: Vec<u32> = self.processes_of(state).map(|process| process.past()).collect();
        state.letters.retain(|id| {
            let letter = self.letters.get(*id);
            let is_of = |at: usize| at == letter.from || letter.may_reach(at);
            let is_over =
                |next: ViewNumber| (0..past.len()).filter(|at| is_of(*at)).all(|at| past[at] >= next.0);
            !letter.message.next().is_some_and(is_over)
        });
    }

    fn actions_of(&self, state: &State, process: &Process, actions: &mut Vec<Action>) {
        let at = process.at;
        for &letter in &state.letters {
            if self.letters.get(letter).may_reach(at) {
                actions.push(Action::Receive { at, letter });
            }
        }
        let Some(agreement) = process.agreement.as_ref().filter(|_| process.end.is_none()) else { return };
        let (roster, most) = (agreement.roster(), &self.bounds.most);
        let is_first = roster.number == self.first.number;
        for rank in roster.ranks().filter(|rank| *rank != agreement.me()) {
            let index = index_of(roster.members[rank.0 as usize].member.endpoint);
            let other = self.processes.get(state.processes[index]);
            let (is_suspected, held) = (agreement.is_suspected(rank), process.streams.held[rank.0 as usize]);
            if is_first && !is_suspected && held < self.bounds.blocks[index] {
                actions.push(Action::Data { at, origin: index });
            }
            let is_wrong = other.end.is_none();
            let may_err = self.bounds.suspicions.is_empty() || self.bounds.suspicions.contains(&(at, index));
            if !is_suspected && (!is_wrong || state.spent.suspicions < most.suspicions && may_err) {
                actions.push(Action::Suspect { at, rank, is_wrong });
            }
            if is_suspected && agreement.is_wedged() && is_wrong {
                actions.push(Action::HearAgain { at, rank });
            }
        }
        for from in (0..state.processes.len()).filter(|from| *from != at) {
            if self.given(state, process, from).is_some() {
                actions.push(Action::Fetch { at, from });
            }
        }
        if state.spent.timeouts < most.timeouts && agreement.poll_timeout().is_some() {
            actions.push(Action::Timeout(at));
        }
        let may = |some: &[usize]| some.is_empty() || some.contains(&at);
        if state.spent.leaves < most.leaves && is_first && may(&self.bounds.leavers) {
            actions.push(Action::Leave(at));
        }
        if !process.is_told() {
            actions.push(Action::Tell(at));
        }
        if state.spent.crashes < most.crashes && may(&self.bounds.mortals) {
            actions.push(Action::Crash(at));
        }
    }

    /// What `process` holds when it has got what it asks for from this other one.
    fn given(&self, state: &State, process: &Process, from: usize) -> Option<Vec<u64>> {
        let mine = process.agreement.as_ref()?.roster().number.0;
        let other = self.processes.get(state.processes[from]);
        let theirs = other.agreement.as_ref()?.roster().number.0;
        let held = match theirs.checked_sub(mine)? {
            0 => &other.streams.held,
            1 => other.kept.as_ref()?,
            _ => return None,
        };
        process.streams.lacks(held)
    }
}

impl Action {
    fn at(self) -> usize {
        match self {
            Self::Receive { at, .. }
            | Self::Data { at, .. }
            | Self::Fetch { at, .. }
            | Self::Suspect { at, .. }
            | Self::HearAgain { at, .. }
            | Self::Timeout(at)
            | Self::Leave(at)
            | Self::Tell(at)
            | Self::Crash(at) => at,
        }
    }
}

impl stateright::Model for Group {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let (bounds, founders) = (&self.bounds, self.bounds.blocks.len());
        let founder = |at: usize| Process::founder(at, &self.first, bounds.blocks[at], bounds.is_slow);
        let joiners = founders..founders + bounds.joiners;
        let outside = joiners.clone().map(|at| Process::outside(at, bounds.is_slow));
        let processes = (0..founders).map(founder).chain(outside).map(|process| self.processes.id(process));
        // Whoever wants in has asked everybody; whether that is heard is another matter.
        let request = |at: usize| Message::Request { number: ViewNumber(0), op: Op::Join(introduction(at)) };
        let letters = joiners
            .map(|at| self.letters.id(Letter { from: at, to: Destination::All, message: request(at) }));
        vec![State {
            processes: processes.collect(),
            letters: letters.collect(),
            values: Vec::new(),
            spent: Spent::default(),
            broken: BTreeSet::new(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for process in self.processes_of(state).filter(|process| process.end != Some(End::Crashed)) {
            self.actions_of(state, &process, actions);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let at = action.at();
        let mut spent = last.spent;
        let input = match action {
            Action::Receive { letter, .. } => {
                let step = self.step(last.processes[at], Event::Letter(letter))?;
                return self.apply(last, at, &step);
            }
            Action::Data { origin, .. } => Input::Data(origin),
            Action::Fetch { from, .. } => {
                Input::Fetched(self.given(last, &self.processes.get(last.processes[at]), from)?)
            }
            Action::Suspect { rank, is_wrong, .. } => {
                spent.suspicions += u8::from(is_wrong);
                Input::Suspect(rank)
            }
            Action::HearAgain { rank, .. } => Input::HeardAgain(rank),
            Action::Timeout(_) => {
                spent.timeouts += 1;
                Input::Timeout
            }
            Action::Leave(_) => {
                spent.leaves += 1;
                Input::Leave
            }
            Action::Tell(_) => Input::Told,
            Action::Crash(_) => {
                spent.crashes += 1;
                Input::Crash
            }
        };
        let step = self.step(last.processes[at], Event::Other(Box::new(input)))?;
        // What a step does is judged by what had happened when it was taken.
        self.apply(&State { spent, ..last.clone() }, at, &step)
    }

    fn properties(&self) -> Vec<stateright::Property<Self>> {
        laws::properties()
    }

    fn format_action(&self, action: &Action) -> String {
        match action {
            Action::Receive { at, letter } => {
                let Letter { from, message, .. } = &*self.letters.get(*letter);
                format!("{at} receives from {from}: {message:?}")
            }
            action => format!("{action:?}"),
        }
    }
}
