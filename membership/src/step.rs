//! The named steps of a change of view. In builds with debug assertions they are recorded where a simulator asks for it, so that
//! it can end a process exactly there; release builds know nothing of it.

/// Where a process is in a change of view, or in joining.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// As coordinator: an invitation is about to go out.
    Invited,
    /// As coordinator of a later attempt: likewise.
    Reconfiguring,
    /// A ballot was promised.
    Promised,
    /// Casts have stopped and delivery is limited.
    Frozen,
    /// The answer is about to go out.
    Answered,
    /// As coordinator: a value is about to be proposed.
    Proposed,
    /// A proposal was accepted, and blocks are missing.
    Fetching,
    /// Everything up to the cut is held.
    CutHeld,
    /// As coordinator: a quorum has acknowledged.
    Decided,
    /// The decision came.
    CommitReceived,
    /// The next view is there; the old one drains.
    Installed,
    /// The old view has been delivered to its end.
    Drained,
    /// The application was told of the view.
    Told,
    /// As coordinator: too few have answered.
    Wedged,
    /// A suspicion was withdrawn.
    Withdrawn,
    /// As one that wants in: the request is about to go out.
    JoinAsked,
    /// A request was passed on to the coordinator.
    JoinRelayed,
    /// As coordinator: a joiner is about to be told its first view.
    Welcomed,
    /// As joiner: the first view came.
    WelcomeReceived,
    /// A member learnt that it is out.
    Excluded,
    /// As one who gives the state: its application has written it down.
    SnapshotTaken,
    /// As one who takes it: a block was handed over.
    BlockTaken,
    /// It was asked of another one.
    TakenOver,
    /// All of it was handed over.
    Loaded,
    /// It asks to be counted.
    ReadyAsked,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::Invited,
        Self::Reconfiguring,
        Self::Promised,
        Self::Frozen,
        Self::Answered,
        Self::Proposed,
        Self::Fetching,
        Self::CutHeld,
        Self::Decided,
        Self::CommitReceived,
        Self::Installed,
        Self::Drained,
        Self::Told,
        Self::Wedged,
        Self::Withdrawn,
        Self::JoinAsked,
        Self::JoinRelayed,
        Self::Welcomed,
        Self::WelcomeReceived,
        Self::Excluded,
        Self::SnapshotTaken,
        Self::BlockTaken,
        Self::TakenOver,
        Self::Loaded,
        Self::ReadyAsked,
    ];
}

#[cfg(debug_assertions)]
mod recorder {
    use super::Step;
    use std::cell::{Cell, RefCell};

    thread_local! {
        static ARMED: Cell<Option<(Step, u32)>> = const { Cell::new(None) };
        static RECORDED: RefCell<Option<Vec<Step>>> = const { RefCell::new(None) };
    }

    /// Steps of this thread are recorded from now on, or no more.
    pub fn record(on: bool) {
        RECORDED.set(on.then(Vec::new));
    }

    /// What was recorded since the last call.
    #[must_use]
    pub fn take() -> Vec<Step> {
        RECORDED.with_borrow_mut(|recorded| recorded.as_mut().map(std::mem::take).unwrap_or_default())
    }

    /// The process that next reaches `step` in this thread for the `nth` time from now on, 0 the first, is to end there.
    pub fn arm(at: Option<(Step, u32)>) {
        ARMED.set(at.map(|(step, nth)| (step, nth + 1)));
    }

    /// Whether a process has reached the step that it is to end at: nothing that it sends from then on counts.
    #[must_use]
    pub fn is_halted() -> bool {
        matches!(ARMED.get(), Some((_, 0)))
    }

    pub(crate) fn reached(step: Step) {
        if let Some((armed, left)) = ARMED.get()
            && armed == step
        {
            ARMED.set(Some((armed, left.saturating_sub(1))));
        }
        RECORDED.with_borrow_mut(|recorded| {
            if let Some(recorded) = recorded {
                recorded.push(step);
            }
        });
    }
}

#[cfg(not(debug_assertions))]
mod recorder {
    use super::Step;

    /// Nothing is recorded in this build.
    pub const fn record(_: bool) {}

    /// Nothing was recorded.
    #[must_use]
    pub const fn take() -> Vec<Step> {
        Vec::new()
    }

    /// Nothing is armed in this build.
    pub const fn arm(_: Option<(Step, u32)>) {}

    /// Nobody is halted in this build.
    #[must_use]
    pub const fn is_halted() -> bool {
        false
    }

    #[inline(always)]
    pub(crate) const fn reached(_: Step) {}
}

pub(crate) use recorder::reached;
pub use recorder::{arm, is_halted, record, take};
