//! What was delivered and not taken, and what is told of it.

use super::store::{Body, Record, Store};
use super::{
    Behind, CaughtUp, Eviction, Key, Lag, LagCounters, LagState, Note, PER_MESSAGE, Standing, Told, Tripped,
};
use sistrum_ordering::{Rank, Seq};
use sistrum_transport::mutated;
use sistrum_transport::reliable::Message;
use sistrum_transport::time::Instant;
use std::ops::ControlFlow;

/// See [`lag`](super).
///
/// **In each cycle: [`begin_cycle`](Self::begin_cycle), [`hand_over`](Self::hand_over), then [`take`](Self::take) or [`take_note`](Self::take_note) for all that
/// the protocol delivers, which counts as delivered from then on.** After the handler has refused something it is not called again in that cycle.
#[derive(Debug)]
pub struct Backlog {
    contract: Lag,
    store: Store,
    state: LagState,
    now: Instant,
    /// The handler has refused something in this cycle.
    refused: bool,
    episode: Episode,
    eviction: Option<Eviction>,
    /// By rank: what was dropped before all that is kept, and was not told.
    dropped: Vec<Dropped>,
    is_any_dropped: bool,
    counters: LagCounters,
}

/// From the first refusal until the application has caught up.
#[derive(Debug, Default)]
struct Episode {
    since: Instant,
    /// The counters when it began.
    before: LagCounters,
    lagging_told: bool,
    replaying_told: bool,
    evicted_told: bool,
}

/// What was dropped of one member's stream.
#[derive(Debug, Clone, Copy, Default)]
struct Dropped {
    messages: u64,
    /// Blocks that were lost before they came here.
    blocks: u64,
    /// Its coming or going: the last of them, since the earlier ones say nothing beside it.
    life: Option<Life>,
}

#[derive(Debug, Clone, Copy)]
enum Life {
    Reading(Seq),
    Left,
}

/// What is to be told next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Evicted(Eviction),
    Lagging,
    Replaying,
    Lost(Rank, u64),
    Blocks(Rank, u64),
    Life(Rank, Life),
    Front,
    CaughtUp,
}

impl Backlog {
    /// Nothing is kept yet.
    #[must_use]
    pub fn new(contract: Lag) -> Self {
        Self {
            contract,
            store: Store::default(),
            state: LagState::Live,
            now: Instant::default(),
            refused: false,
            episode: Episode::default(),
            eviction: None,
            dropped: Vec::new(),
            is_any_dropped: false,
            counters: LagCounters::default(),
        }
    }

    /// A cycle begins: the handler may be asked again, and who is too late is cut off.
    pub fn begin_cycle(&mut self, now: Instant) {
        (self.now, self.refused) = (now, false);
        if mutated!(EvictTwice) {
            self.episode.evicted_told = false;
        }
        let Lag::Evict { age: bound, .. } = self.contract else { return };
        let age = self.behind().age;
        if !bound.is_zero() && age > bound {
            self.evict(Tripped::Age { age, bound });
        }
    }

    /// When [`begin_cycle`](Self::begin_cycle) wants to be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let Lag::Evict { age, .. } = self.contract else { return None };
        let front = self.store.front().filter(|_| !age.is_zero())?;
        let ns = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        Some(Instant(front.at.0.saturating_add(ns).saturating_add(1)))
    }

    /// Whether what comes is offered at once: nothing waits before it, and nothing was refused in this cycle.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self.state, LagState::Live | LagState::Evicted) && !self.refused
    }

    /// Where the application stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing { state: self.state, behind: self.behind(), counters: self.counters }
    }

    /// Lets one in again that was cut off, and was told so: it goes on with what comes next. False where there is nothing to be let into.
    pub fn readmit(&mut self) -> bool {
        let is_out = self.state == LagState::Evicted && self.episode.evicted_told;
        if is_out {
            self.eviction = None;
            // What passed meanwhile is told first.
            self.state = LagState::Replaying;
            (self.episode.lagging_told, self.episode.replaying_told) = (true, true);
        }
        is_out
    }

    /// Takes a message that was delivered: it is handed over at once while the application keeps up, and kept otherwise.
    #[inline]
    pub fn take<H>(&mut self, mut message: Message<'_>, handler: &mut H)
    where
        H: FnMut(Told<'_>) -> ControlFlow<()>,
    {
        if self.offers() {
            if handler(Told::Message(message.reborrow())).is_continue() {
                self.counters.live += 1;
                return;
            }
            self.refuse();
        }
        self.keep_message(&message);
    }

    /// Takes something else of this member's stream, likewise.
    pub fn take_note<H>(&mut self, from: Rank, note: Note, handler: &mut H)
    where
        H: FnMut(Told<'_>) -> ControlFlow<()>,
    {
        if self.offers() {
            if handler(Told::Note(from, note)).is_continue() {
                return;
            }
            self.refuse();
        }
        self.keep_note(from, note);
    }

    #[inline]
    fn offers(&self) -> bool {
        (self.state == LagState::Live || mutated!(OvertakeKept)) && !self.refused
    }

    #[cold]
    fn refuse(&mut self) {
        self.refused = true;
        if self.state == LagState::Live {
            self.fall_behind();
        }
    }

    /// Hands over what is kept, until the application refuses something. Returns the events.
    pub fn hand_over<H>(&mut self, handler: &mut H) -> usize
    where
        H: FnMut(Told<'_>) -> ControlFlow<()>,
    {
        let mut events = 0;
        while !self.refused
            && let Some(step) = self.next_step()
        {
            if handler(self.told(step)).is_break() {
                self.refused = true;
                if self.state == LagState::Replaying {
                    self.state = LagState::Lagging;
                }
                break;
            }
            self.done(step);
            events += 1;
            if mutated!(OvertakeKept) {
                break;
            }
        }
        events
    }

    fn behind(&self) -> Behind {
        let oldest = if mutated!(AgeOfNewest) { self.store.back() } else { self.store.front() };
        Behind {
            messages: self.store.messages(),
            bytes: self.store.cost(),
            age: oldest.map(|record| self.now.since(record.at)).unwrap_or_default(),
        }
    }

    fn fall_behind(&mut self) {
        self.state = LagState::Lagging;
        self.counters.lags += 1;
        self.episode = Episode { since: self.now, before: self.counters, ..Episode::default() };
    }

    fn next_step(&self) -> Option<Step> {
        match self.state {
            LagState::Live => return None,
            LagState::Evicted => {
                return self.eviction.filter(|_| !self.episode.evicted_told).map(Step::Evicted);
            }
            LagState::Lagging | LagState::Replaying => {}
        }
        if !self.episode.lagging_told {
            return Some(Step::Lagging);
        }
        if let Some(step) = self.next_dropped() {
            return Some(step);
        }
        let has_begun = self.counters.late > self.episode.before.late;
        Some(match self.store.front() {
            Some(_) if has_begun && !self.episode.replaying_told => Step::Replaying,
            Some(_) => Step::Front,
            None => Step::CaughtUp,
        })
    }

    fn next_dropped(&self) -> Option<Step> {
        if !self.is_any_dropped {
            return None;
        }
        (0..).map(Rank).zip(&self.dropped).find_map(|(rank, dropped)| match *dropped {
            Dropped { messages: 1.., .. } => Some(Step::Lost(rank, dropped.messages)),
            Dropped { blocks: 1.., .. } => Some(Step::Blocks(rank, dropped.blocks)),
            Dropped { life: Some(life), .. } => Some(Step::Life(rank, life)),
            Dropped { .. } => None,
        })
    }

    fn told(&self, step: Step) -> Told<'_> {
        match step {
            Step::Evicted(eviction) => Told::Evicted(eviction),
            Step::Lagging => Told::Lagging(self.behind()),
            Step::Replaying => Told::Replaying(self.behind()),
            Step::Lost(from, messages) => Told::Lost(from, messages),
            Step::Blocks(from, blocks) => Told::Note(from, Note::Gap(blocks)),
            Step::Life(from, Life::Reading(seq)) => Told::Note(from, Note::Reading(seq)),
            Step::Life(from, Life::Left) => Told::Note(from, Note::Left),
            Step::Front => match self.store.front() {
                Some(Record { from, body: Body::Note(note), .. }) => Told::Note(*from, *note),
                Some(Record { from, body, .. }) => {
                    Told::Message(Message::whole(*from, self.store.bytes_of(*body)))
                }
                None => unreachable!("there is a first one"),
            },
            Step::CaughtUp => {
                let (now, before) = (&self.counters, &self.episode.before);
                Told::CaughtUp(CaughtUp {
                    took: self.now.since(self.episode.since),
                    handed: now.late - before.late,
                    conflated: now.conflated - before.conflated,
                    lost: now.lost - before.lost,
                })
            }
        }
    }

    /// The handler was told this.
    fn done(&mut self, step: Step) {
        match step {
            Step::Evicted(_) => self.episode.evicted_told = true,
            Step::Lagging => self.episode.lagging_told = true,
            Step::Replaying => self.episode.replaying_told = true,
            Step::Lost(from, _) => self.dropped[usize::from(from.0)].messages = 0,
            Step::Blocks(from, _) => self.dropped[usize::from(from.0)].blocks = 0,
            Step::Life(from, _) => self.dropped[usize::from(from.0)].life = None,
            Step::Front => {
                let popped = self.store.pop();
                let is_message = popped.is_some_and(|record| matches!(record.body, Body::Message { .. }));
                self.counters.late += u64::from(is_message);
                self.state = LagState::Replaying;
            }
            Step::CaughtUp => self.state = LagState::Live,
        }
        if self.is_any_dropped {
            self.is_any_dropped = self.next_dropped().is_some();
        }
    }

    #[cold]
    fn keep_note(&mut self, from: Rank, note: Note) {
        if self.state != LagState::Evicted && self.make_room(PER_MESSAGE) {
            self.store.keep(self.now, from, Body::Note(note), (None, 0));
            self.count_most();
        } else {
            self.absorb(from, note);
        }
    }

    #[cold]
    fn keep_message(&mut self, message: &Message<'_>) {
        if self.state == LagState::Evicted {
            return self.lose(message.from());
        }
        let from = message.from();
        let body = self.store.write(message);
        let key = match &self.contract {
            Lag::Conflate { key, .. } => {
                let key = key.0(self.store.bytes_of(body));
                if mutated!(ConflateWithoutKey) { key.or(Some(Key::from(0))) } else { key }
            }
            Lag::Evict { .. } | Lag::Replay { .. } => None,
        };
        if mutated!(KeepFirstOfKey) && key.is_some_and(|key| self.store.latest(from, key).is_some()) {
            self.counters.conflated += 1;
            return self.store.unwrite(body);
        }
        let since = key.map_or(0, |key| self.supersede(from, key));
        if self.make_room(message.len() + PER_MESSAGE) {
            self.store.keep(self.now, from, body, (key, since));
            self.count_most();
        } else {
            self.store.unwrite(body);
            self.lose(from);
        }
    }

    fn count_most(&mut self) {
        let (bytes, messages, counters) = (self.store.cost(), self.store.messages(), &mut self.counters);
        counters.most_bytes = counters.most_bytes.max(bytes);
        counters.most_messages = counters.most_messages.max(messages);
    }

    /// Leaves out what a message of this key supersedes. Says how many had been handed over when the key began to wait.
    fn supersede(&mut self, from: Rank, key: Key) -> u64 {
        let handed = self.counters.late;
        let Some((number, before)) = self.store.latest(from, key) else { return handed };
        let since = before.since;
        if handed - since > self.store.messages() && !mutated!(StarveHotKeys) {
            // It has waited longer than if it had kept its first place: it has its turn.
            return handed;
        }
        self.store.strike(number);
        self.counters.conflated += 1;
        since
    }

    /// Makes room for so many bytes more, as the contract says. False where there is none.
    fn make_room(&mut self, cost: usize) -> bool {
        let bound = self.contract.bytes();
        if mutated!(KeepWithoutBound) {
            return true;
        }
        if let Lag::Evict { .. } = self.contract {
            let bytes = self.store.cost() + cost;
            if bytes > bound {
                self.evict(Tripped::Bytes { bytes, bound });
            }
            return bytes <= bound;
        }
        while self.store.cost() + cost > bound {
            let Some(oldest) = self.store.pop() else { return false };
            match oldest.body {
                Body::Note(note) => self.absorb(oldest.from, note),
                Body::Message { .. } => self.lose(oldest.from),
                Body::Nothing => {}
            }
        }
        true
    }

    #[cold]
    fn evict(&mut self, tripped: Tripped) {
        let messages = self.store.messages();
        while let Some(record) = self.store.pop() {
            match record.body {
                Body::Note(note) => self.absorb(record.from, note),
                Body::Message { .. } => self.lose(record.from),
                Body::Nothing => {}
            }
        }
        (self.state, self.episode.evicted_told) = (LagState::Evicted, false);
        self.eviction = Some(Eviction { tripped, messages });
        self.counters.evictions += 1;
    }

    /// A message of this member comes no more.
    fn lose(&mut self, from: Rank) {
        self.counters.lost += 1;
        if !mutated!(LoseUntold) {
            self.dropped_of(from).messages += 1;
        }
    }

    fn absorb(&mut self, from: Rank, note: Note) {
        let dropped = self.dropped_of(from);
        match note {
            Note::Gap(blocks) => dropped.blocks += blocks,
            Note::Reading(seq) => dropped.life = Some(Life::Reading(seq)),
            Note::Left => dropped.life = Some(Life::Left),
        }
    }

    fn dropped_of(&mut self, from: Rank) -> &mut Dropped {
        let at = usize::from(from.0);
        if self.dropped.len() <= at {
            self.dropped.resize(at + 1, Dropped::default());
        }
        self.is_any_dropped = true;
        &mut self.dropped[at]
    }
}
