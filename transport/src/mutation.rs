//! Seeded mutations: faults of our own that the simulator must catch, each by breaking a promise.
//!
//! A judge that catches nothing is no judge. Code that a mutation can break asks [`mutated!`](crate::mutated), which is the
//! constant `false` unless the feature `mutants` is on. At most one mutation is on at a time, and in one thread only, so
//! that runs beside each other have their own.

#[cfg(all(feature = "mutants", not(debug_assertions)))]
compile_error!("mutations are for the simulator: they do not exist without debug assertions");

/// Whether the named mutation is on.
#[cfg(feature = "mutants")]
#[macro_export]
macro_rules! mutated {
    ($name:ident) => {
        $crate::mutation::is_on($crate::mutation::Mutation::$name)
    };
}

/// Whether the named mutation is on: there are none in this build.
#[cfg(not(feature = "mutants"))]
#[macro_export]
macro_rules! mutated {
    ($name:ident) => {
        $crate::mutation::absent()
    };
}

/// No mutation is on: there are none in this build. A function, so that lints see no constant.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
#[must_use]
pub const fn absent() -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use present::{Mutation, is_on, set};

#[cfg(feature = "mutants")]
mod present {
    use std::cell::Cell;

    macro_rules! mutations {
        ($($(#[$of_list:meta])+ $list:ident { $($(#[doc = $what:literal])+ $name:ident,)* })*) => {
            /// What can be broken on purpose.
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub enum Mutation {
                $($($(#[doc = $what])+ $name,)*)*
            }

            impl Mutation {
                $($(#[$of_list])+
                pub const $list: &[(Self, &str, &str)] = &[$((Self::$name, stringify!($name), concat!($($what),+)),)*];)*
            }
        };
    }

    mutations! {
        /// Those that the simulator must catch, each with its name and what it does.
        ALL {
        /// A NAK does not name the first gap, which counts as asked for.
        ForgetNakRange,
        /// A NAK that was not answered is never said again.
        NakOnce,
        /// What was sent again once is never sent again.
        RepairOnce,
        /// A message in parts is delivered when only its first part is there.
        DeliverFragmentEarly,
        /// What is stable is freed, delivered or not.
        FreeOnStableOnly,
        /// What is delivered and stable is freed only when nothing behind it is held, or half of the window is full.
        FreeWhenQuiet,
        /// The sender gives away what all hold and not all have delivered.
        LogFreedOnStable,
        /// An ack says all that is known to exist, held or not.
        AckBeyondHeld,
        /// Acks wait until my own data may go out.
        AckInsideWindow,
        /// A block that came and was freed is taken once more.
        SkipDuplicateCheck,
        /// A sequence gets the high half of the last one, though the low half has wrapped.
        WrongWrap,
        /// Heartbeats tell where the stable part ends, not where the stream ends.
        HeartbeatWithoutTail,
        /// A block counts whatever its checksum says.
        SkipChecksum,
        /// Blocks of an earlier life of the group count.
        IgnoreInstance,
        /// An introduction counts though its sender has not heard me: it may be one of an earlier life.
        TrustAnyIntroduction,
        /// A restarted member is not told that the group runs with its earlier incarnation.
        IgnoreBoot,
        /// A message whose handler broke is not offered again.
        BreakConsumes,
        /// After a handler broke, its block is offered from the beginning.
        BreakReplays,
        /// A sender takes two blocks more than its window has.
        OverfillWindow,
        /// The entry of rank 0 in a stamp is not looked at.
        SkipVectorTest,
        /// A block counts as delivered when it is let through, not when it is delivered.
        AdvanceOnAccept,
        /// What rank 1 sent is no cause of what I cast.
        DropDependency,
        /// What a stamp told is told again, as if it had not been.
        BaseResetLate,
        /// A safe block is let through when its causes are there, held by all or not.
        SafeAtOnce,
        /// A flush is over as soon as it was asked for.
        FlushAtOnce,
        /// A total block that has a place does not wait for those before it.
        IgnoreTurn,
        /// The holder leaves out a place before the blocks that it orders.
        SkipPosition,
        /// Who has handed the token over goes on to order.
        TwoHolders,
        /// In the rotation, a member's turn is passed over one round before it has said anything of it.
        PassTooEarly,
        /// What a block holds behind its first message is not delivered.
        OneMessagePerBlock,
        /// What is sent to one alone does not count what stands in the open block.
        SendWithoutSealing,
        /// What is cast later does not wait until what was sent to one alone is held.
        NeverHold,
        /// What was sent to one alone is handed over whatever it depends on.
        SendAtOnce,
        /// A goodbye does not wait until all have delivered what its sender cast.
        LeaveUnsettled,
        }
        /// Those of readers in causal order, which runs of their own must catch, likewise.
        READING {
        /// A reader enters a stream though what it was handed names more of it.
        EnterTooEarly,
        /// A reader waits for no cause.
        ReadAhead,
        }
        /// Those of readers that follow the views of a group, which runs of their own must catch, likewise.
        READERS {
        /// A reader is handed what a cut may leave out, and is not told so.
        ReadAboveAnnounced,
        /// A reader goes on to the next view before the one before it has been handed over up to its cut.
        ReadNextTooEarly,
        /// Behind a snapshot, a reader is handed some of what is in the state.
        ReadTwice,
        /// What comes while the state does is not kept behind it.
        ReadBeforeState,
        /// What one member holds counts as if no end of the view could leave it out.
        FirmByOne,
        /// Who has not got the state yet counts where it is asked what no end of the view can leave out.
        FirmByTheJoining,
        /// A member acknowledges what came behind its answer to a change of view.
        AckBeyondAnswer,
        }
        /// Those of agreement on views, which its own seeded runs must catch, likewise.
        AGREEMENT {
        /// Who joins is not ranked behind those who stay.
        WrongRanksAfterJoin,
        /// Half of a view may go on, with its oldest member or without.
        HalfIsPrimaryOnBothSides,
        /// A member takes part in a lower ballot than it has promised.
        AcceptLowerBallot,
        /// What a member has acknowledged is not told to a later coordinator.
        ForgetAcked,
        /// What a member has accepted counts as acknowledged, its blocks held or not.
        ReportUnackedAsAcked,
        /// The cut is what the coordinator holds.
        CutOfCoordinatorOnly,
        /// The cut is what all hold, not what any holds.
        CutIsMinimum,
        /// A cut is acknowledged before its blocks are held.
        AckWithoutBlocks,
        /// A view is decided before anybody has acknowledged it.
        InstallBeforeQuorum,
        /// A sync cast that was delivered is asked for again.
        SyncTwice,
        /// A suspicion is never withdrawn.
        NeverWithdraw,
        /// An answer goes on to count though its sender did not wait for somebody who counts again.
        KeepAnswers,
        /// A decision is told once.
        NeverRepeatCommit,
        /// Too few decide all the same.
        WedgedGoesOn,
        /// Who has not got the state yet votes.
        JoiningVotes,
        /// The last one who has the state leaves though nobody has taken it over.
        LastLeavesAtOnce,
        }
        /// Those of groups whose views change, which the simulator must catch, likewise.
        VIEWS {
        /// Who comes back after the others have gone on without it, says that it is who it was.
        ReuseIncarnation,
        /// A suspicion is withdrawn, and what its member sends still does not count.
        TrustWithoutData,
        /// A view is told before the one before it has been handed over to its end.
        DeliverOldAfterInstall,
        /// What is sent to one alone is taken while the view changes.
        SendDuringFlush,
        /// A change does not wait until what was sent to one alone has come there.
        ChangeBeforeSends,
        /// Sync casts are told behind the view that they lead to.
        ViewBeforeSyncs,
        /// Sync casts that were decided are not told.
        ForgetSyncs,
        /// By unicast, casts go on to go to the members of the view before.
        KeepOldRoute,
        /// Who was in a group that went on without it does not come back.
        NeverSeekAgain,
        /// What was held while the view changed goes out with the last first.
        HeldLastFirst,
        /// The last of what was held while the view changed is not cast.
        HeldForgotten,
        /// A sync cast does not wait for what is held.
        SyncBeforeHeld,
        /// Who leaves does not wait for what is held.
        LeaveBeforeHeld,
        /// A flush is over with its view, though something that it covers is held.
        FlushBeforeHeld,
        /// Who leaves waits until nothing that it sends to one alone is on its way.
        LeaveWhenIdle,
        /// Who was handed the state and no view so far, is as if it had been handed nothing.
        ForgetHanded,
        /// A group is there when as many are in its view as are expected, heard or not.
        FormUnheard,
        /// The last one who has the state waits for anybody to take it over, though it keeps none.
        LeaveToAnybody,
        /// Behind the state a joiner keeps as much as before, however little it hands over.
        NeverNarrow,
        /// Who refuses a message in each cycle, is told of nothing else.
        RestBehindAll,
        }
        /// Those of state transfer, which the simulator must catch, likewise.
        TRANSFER {
        /// The state is written down where the view behind that of the joiners begins.
        SnapshotLate,
        /// A giver goes on in the middle of a domain that it has otherwise than the one before it.
        ResumeAnything,
        /// A joiner says that it has the state before it has it.
        ReadyBeforeState,
        /// The spool keeps a few events.
        SpoolForgets,
        /// Who has not got the group's state yet is a destination of calls that go to all.
        WaitForTheJoining,
        }
        /// Those of the failure detector, which its own tests must catch, likewise.
        DETECTOR {
        /// The time in which I did not run counts as the others' silence.
        BlameOwnPause,
        /// One heartbeat that does not come suspects.
        SuspectOnOneLoss,
        /// Who was suspected wrongly is suspected as soon again.
        NoFlapDamping,
        }
        /// Those of calls, which their own seeded runs must catch, likewise.
        CALLS {
        /// Who is gone is waited for.
        WaitForTheDead,
        /// A null reply counts as a reply.
        NullIsReply,
        /// More replies are wanted than there are destinations.
        WantUnclamped,
        /// What was handed on to somebody who has not got it, and by whom, is not asked.
        NeverAskAfter,
        /// Who has handed a request on is waited for as well.
        WaitForTheForwarder,
        /// A call may be over before its request was delivered, and all destinations are known.
        RepliesBeforeDelivery,
        }
        /// Those of clients, which their own seeded runs must catch, likewise.
        CLIENTS {
        /// A request that was executed is executed again when it comes again.
        ExecuteAgain,
        /// Who joins does not take the table of clients over.
        ForgetClients,
        /// A client is told that its request is over before enough have replied.
        DoneTooSoon,
        /// A client is struck whether or not it has moved to another member meanwhile.
        StrikeWhoMoved,
        /// What was said is forgotten though the client has not got it.
        ForgetAnswered,
        /// A client is taken for an earlier incarnation of it.
        ForgetIncarnation,
        /// An attempt to attach counts that comes when its client has gone elsewhere.
        AttachLate,
        /// A client whose host is gone is struck before it could go elsewhere.
        StrikeAtOnce,
        /// Requests that were delivered, and that the application was not told of yet, are not in the state.
        ForgetUntold,
        /// Who is joining does not execute what clients ask.
        JoiningIdle,
        /// What a client has asked overtakes what it has asked before.
        ServeAnyOrder,
        /// What comes behind a later request of its client, which had given it up, is executed.
        ExecuteLate,
        }
        /// Those of the lag contract, which its own seeded runs must catch, likewise.
        LAG {
        /// What is kept of what an application does not take has no bound.
        KeepWithoutBound,
        /// What comes is handed over before what is kept.
        OvertakeKept,
        /// What is dropped is not told as lost.
        LoseUntold,
        /// Who was cut off is told so more than once.
        EvictTwice,
        /// The wait of the newest counts for that of the oldest.
        AgeOfNewest,
        /// Of each key, the first message is kept.
        KeepFirstOfKey,
        /// What has no key is left out as if it had one.
        ConflateWithoutKey,
        /// A key that is replaced again and again never has its turn.
        StarveHotKeys,
        }
        /// Those of the end of a view in the streams, which their own seeded runs must catch, likewise.
        FLUSH {
        /// A member goes on to deliver what it has not reported.
        DeliverAboveReported,
        /// Who has come to the end of a view repairs nothing of it any more.
        DropOldRepairs,
        /// What comes from a member itself counts although it is suspected.
        DeliverSuspectsData,
        /// What is lacking of a view is not asked of those who are suspected, nor taken from them.
        NeverAskSuspects,
        /// A member that has reported what it holds goes on to cast.
        CastDuringFlush,
        /// Total casts that nobody has ordered are left out at the end of a view.
        TotalsLeftUnordered,
        /// At the end of a view, each puts first what came to it first of the total casts that nobody has ordered: its own.
        TotalsByArrivalAtCut,
        }
    }

    thread_local! {
        static ON: Cell<Option<Mutation>> = const { Cell::new(None) };
    }

    /// Whether `mutation` is on in this thread.
    #[must_use]
    pub fn is_on(mutation: Mutation) -> bool {
        ON.get() == Some(mutation)
    }

    /// Breaks this in the present thread from now on, or nothing.
    pub fn set(mutation: Option<Mutation>) {
        ON.set(mutation);
    }
}
