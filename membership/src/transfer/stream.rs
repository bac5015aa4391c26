//! The stream of one transfer: a session of two, that outlives the views that come meanwhile.
//!
//! It is named by the view that its taker has joined in, whatever the view is now; and it is no part of the causal order, so that no
//! cast waits for it.

use super::message::{BLOCK_HEAD, Message};
use crate::agreement::Introduction;
use crate::config::GroupConfig;
use sistrum_ordering::{GroupId, GroupInstance, Rank, Seq, ViewMember, ViewNumber};
use sistrum_transport::log::RxPool;
use sistrum_transport::protocol::{Protocol, Target};
use sistrum_transport::reliable::{Entry, Event, Member, Refused, Session, SessionConfig, Tuning};
use sistrum_transport::wire::HEADER_LEN;
use std::ops::ControlFlow;

/// Transfers of this group.
pub(crate) const fn id_of(group: GroupId) -> GroupId {
    GroupId(group.0 ^ STATE)
}

/// Who gives to whom, in which view the latter has joined, and by which lane its stream goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) instance: GroupInstance,
    pub(super) cut: ViewNumber,
    pub(super) giver: Introduction,
    pub(super) taker: Introduction,
    pub(super) i_give: bool,
    pub(super) lane: u16,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Stream {
    /// The other end.
    pub(super) peer: ViewMember,
    pub(super) cut: ViewNumber,
    pub(super) session: Session,
    scratch: Vec<u8>,
    /// Messages that no member that keeps to the protocol sends.
    pub(super) malformed: u64,
}

impl Stream {
    pub(super) fn new(config: &GroupConfig, ends: &Ends) -> Self {
        let Ends { instance, cut, giver, taker, i_give, lane } = *ends;
        let other = if i_give { taker } else { giver };
        let pace = config.state().and_then(|state| state.pace).or(config.tuning.pace);
        let windows = [config.pair_window, LEAST_WINDOW];
        let of = |known: &Introduction, window| Member {
            endpoint: known.member.endpoint,
            start: Seq(0),
            entry: Entry::Start,
            window,
            receive_buffer: known.receive_buffer as usize,
            coalesces: known.coalesces,
        };
        let session = SessionConfig {
            group: id_of(GroupId::of(&config.name)),
            instance,
            view: cut,
            me: Rank(u16::from(!i_give)),
            members: vec![of(&giver, windows[0]), of(&taker, windows[1])],
            to: Target::One(other.member.endpoint),
            index: config.index,
            lane,
            block: config.block,
            limits: config.limits,
            tuning: Tuning { window: windows[usize::from(!i_give)], pace, ..config.tuning },
            seed: config.seed ^ u64::from(lane).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        };
        let session = Session::new(session).expect("the memory of a small log is there");
        Self { peer: other.member, cut, session, scratch: Vec::new(), malformed: 0 }
    }

    /// Bytes of state that fill a block.
    pub(super) fn room(&self) -> usize {
        let block = self.session.config().block - HEADER_LEN - BLOCK_HEAD;
        let most = self.session.stream().max_message() - BLOCK_HEAD;
        block.saturating_sub(FRAMES).clamp(1, most)
    }

    pub(super) fn send(&mut self, message: &Message<'_>) -> Result<(), Refused> {
        message.encode(&mut self.scratch);
        self.session.sender().cast(&self.scratch)
    }

    pub(super) fn retire(mut self, pool: &mut RxPool) {
        self.session.clear(pool);
    }

    /// Hands over what has come; what is refused comes again.
    pub(super) fn poll(
        &mut self,
        pool: &mut RxPool,
        mut handler: impl FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> usize {
        let malformed = &mut self.malformed;
        self.session.poll_event(pool, &mut |_: &mut _, event: Event<'_>| {
            let Event::Deliver(message) = event else { return ControlFlow::Continue(()) };
            match Message::decode(message.bytes()) {
                Some(message) => handler(message),
                None => {
                    *malformed += 1;
                    ControlFlow::Continue(())
                }
            }
        })
    }
}

/// What makes the id of a group that of its transfers: "STAT".
const STATE: u32 = 0x5354_4154;
/// Blocks of the window of who takes.
const LEAST_WINDOW: usize = 8;
/// Bytes of a block that frames of control, and the head of a message, may take.
const FRAMES: usize = 64;
