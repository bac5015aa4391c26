//! Histories that are told by hand, for the tests of the checkers.

use super::*;
use sistrum_ordering::{BootId, Change, Endpoint, GroupId, GroupInstance, Reason, ViewId};

/// A history of `members` processes of one life, told by hand.
pub(crate) struct Told(pub(crate) History);

pub(crate) use super::eras::ONLY;

impl Told {
    pub(crate) fn of(members: u16) -> Self {
        let mut history = History::default();
        (0..members).for_each(|rank| {
            history.start(0, Rank(rank), 0, false);
        });
        Self(history)
    }

    pub(crate) fn cast(&mut self, by: u16, promise: impl Into<Promise>) -> Message {
        self.cast_into(by, promise, 0)
    }

    pub(crate) fn cast_into(&mut self, by: u16, promise: impl Into<Promise>, block: u64) -> Message {
        let view = if self.0.is_dynamic { self.number_of(by) } else { Some(ONLY) };
        self.cast_in(by, promise, view, block)
    }

    /// Casts in another view than the present one, or in one that is not known.
    pub(crate) fn cast_in(
        &mut self,
        by: u16,
        promise: impl Into<Promise>,
        view: Option<ViewNumber>,
        block: u64,
    ) -> Message {
        self.0.cast(self.0.events.len() as u64, Process(by), promise, 10, (view, block))
    }

    /// Casts while the view changes, into the next one.
    pub(crate) fn hold(&mut self, by: u16, promise: impl Into<Promise>) -> Message {
        let next = ViewNumber(self.number_of(by).expect("a view").0 + 1);
        self.0.hold(self.0.events.len() as u64, Process(by), promise, 10, next)
    }

    pub(crate) fn sync(&mut self, by: u16) -> Message {
        self.0.sync(self.0.events.len() as u64, Process(by), 10)
    }

    /// `members` processes whose views change. Each is called by its number.
    pub(crate) fn dynamic(members: u16) -> Self {
        let mut told = Self(History { is_dynamic: true, ..History::default() });
        (0..members).for_each(|at| _ = told.0.start_as(0, Rank(at), member(at, 1)));
        told
    }

    /// These install view `number`, ranked like that, of whom `came` are new. Who else was in the view of the first is gone.
    pub(crate) fn install(&mut self, number: u32, members: &[u16], came: &[u16]) {
        members.iter().for_each(|&at| self.install_at(at, number, members, came));
    }

    pub(crate) fn install_at(&mut self, at: u16, number: u32, members: &[u16], came: &[u16]) {
        self.push(at, self.view(at, number, members, came, Reason::Suspected));
    }

    /// A view as `at` installs it.
    pub(crate) fn view(&self, at: u16, number: u32, members: &[u16], came: &[u16], reason: Reason) -> What {
        let called = |at: &u16| self.0.who(Process(*at)).member.expect("views change");
        let rank = |of: &u16| Rank(members.iter().position(|at| at == of).expect("a member") as u16);
        let before = self.0.of(Process(at)).filter_map(|event| match &event.what {
            What::Install(view) => Some(view.members().to_vec()),
            _ => None,
        });
        let ranked: Vec<ViewMember> = members.iter().map(called).collect();
        let gone = before.last().unwrap_or_default().into_iter();
        let gone = gone.filter(|member| !ranked.contains(member)).map(|member| (member, reason));
        let change =
            Change { came: came.iter().map(rank).collect(), gone: gone.collect(), ..Change::default() };
        let id = ViewId { group: GroupId(1), instance: GroupInstance(2), number: ViewNumber(number) };
        What::Install(Box::new(View::changed(id, ranked, rank(&at), change)))
    }

    /// The number of the view that a process is in.
    fn number_of(&self, at: u16) -> Option<ViewNumber> {
        let numbers = self.0.of(Process(at)).filter_map(|event| match &event.what {
            What::Install(view) => Some(view.id().number),
            What::Renumbered(number) => Some(*number),
            _ => None,
        });
        numbers.last()
    }

    pub(crate) fn send(&mut self, by: u16, to: Rank) -> Sent {
        self.0.send(self.0.events.len() as u64, Process(by), to, 10)
    }

    pub(crate) fn deliver(&mut self, at: u16, message: Message) {
        self.push(at, What::Deliver(message));
    }

    pub(crate) fn push(&mut self, at: u16, what: What) {
        self.0.push(self.0.events.len() as u64, Process(at), what);
    }
}

pub(crate) fn member(at: u16, boot: u64) -> ViewMember {
    ViewMember { endpoint: Endpoint(([10, 0, 0, 1], at + 1).into()), boot: BootId(boot) }
}

#[test]
fn own_messages_count_when_cast_but_for_total_ones() {
    let mut told = Told::of(2);
    let total = told.cast(0, Order::Total);
    let causal = told.cast(0, Order::Causal);
    told.deliver(0, total);
    assert!(told.0.deliveries(Process(0)).eq([causal, total]));
}

#[test]
fn nothing_is_owed_to_the_dead_or_across_lives() {
    let mut told = Told::of(2);
    let old = told.cast(0, Order::Fifo);
    assert!(told.0.is_owed(Process(1), old));
    let newcomer = told.0.start(9, Rank(1), 0, true);
    assert!(!told.0.is_owed(newcomer, old));
    told.0.crash(10, Process(1));
    assert!(!told.0.is_owed(Process(1), old));
    let next = told.0.start(11, Rank(0), 1, false);
    assert!(!told.0.is_owed(next, old));
}
