//! The handshake of a static list: everybody introduces himself to everybody until all know all.
//!
//! What is exchanged is what the streams need to know before the first block: incarnation, first sequence, window, block size
//! and receive buffer. The creator (rank 0) also names the instance of the group. A member that has heard all, and of each
//! that it has heard this incarnation of mine, installs the view, and from then on only answers those who have not heard
//! it. An introduction alone proves nothing: it may be what an earlier incarnation sent, late.

use crate::agreement::Introduction;
use crate::config::GroupConfig;
use crate::running::Running;
use sistrum_ordering::{
    BootId, Endpoint, GroupId, GroupInstance, Rank, TotalMode, View, ViewId, ViewMember, ViewNumber,
};
use sistrum_transport::mutated;
use sistrum_transport::protocol::Target;
use sistrum_transport::reliable::ControlQueue;
use sistrum_transport::time::Instant;
use sistrum_transport::wire::{Control, ControlFrames, Header, Kind, Setup, SetupFlags};
use std::collections::VecDeque;

/// The first introduction is repeated after this time, and then at doubled distances.
const FIRST_WAIT_NS: u64 = 2_000_000;
/// The longest distance between two introductions.
const MAX_WAIT_NS: u64 = 50_000_000;
/// A view number is never 0: that is what a handshake has.
const FIRST_VIEW: ViewNumber = ViewNumber(1);

/// Why a member's introduction was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// It was given another list of members.
    #[error(
        "its member list differs from mine ({theirs} members, mine has {mine}): give all the same list, in one order"
    )]
    List {
        /// Members in its list.
        theirs: u16,
        /// Members in mine.
        mine: u16,
    },
    /// Its blocks are of another size.
    #[error("its blocks have {theirs} bytes, mine have {mine}: set the same block_size everywhere")]
    BlockSize {
        /// Bytes of its blocks.
        theirs: u16,
        /// Bytes of mine.
        mine: u16,
    },
    /// I have not the receive buffers for its window, or it is none.
    #[error(
        "its window of {theirs} blocks is not a power of two up to {limit}, what my receive buffers hold of each \
         member: lower its window or raise my pool_blocks"
    )]
    Window {
        /// Blocks of its window.
        theirs: u32,
        /// Blocks that I can hold of it.
        limit: u32,
    },
    /// It finds total order in another way.
    #[error("it finds total order by {}, I by {}: join with the same mode everywhere", named(*theirs), named(!*theirs))]
    TotalMode {
        /// Whether it takes turns.
        theirs: bool,
    },
    /// The group runs with an earlier incarnation of me; with a static list nobody can come back.
    #[error("the group runs with an earlier incarnation of this process: restart all members")]
    Superseded,
}

fn named(rotating: bool) -> &'static str {
    if rotating { "turns" } else { "a token" }
}

/// The same for the same list in the same order.
fn list_digest(members: &[Endpoint]) -> u32 {
    let text: Vec<String> = members.iter().map(|member| member.unscoped().to_string()).collect();
    GroupId::of(&text.join(" ")).0
}

/// One member's introductions.
#[derive(Debug)]
pub(crate) struct Handshake {
    mine: Setup,
    me: Rank,
    members: Vec<Endpoint>,
    heard: Vec<Option<Setup>>,
    /// Who has said that it heard me, as I am now.
    knows_me: Vec<bool>,
    /// The largest window that I can take.
    max_window: usize,
    instance: GroupInstance,
    next_due: Instant,
    wait_ns: u64,
    /// Members that I am to be introduced to, each once: composed one by one, however many there are.
    waiting: VecDeque<Rank>,
    is_waiting: Vec<bool>,
    queue: ControlQueue,
}

impl Handshake {
    /// Of the member `me` of `members`, with what it says of itself; the others' windows have at most `max_window` blocks.
    pub(crate) fn new(
        group: GroupId,
        members: Vec<Endpoint>,
        me: Rank,
        mine: Setup,
        max_window: usize,
    ) -> Self {
        // Only the creator knows the instance from the start; the others learn it from him.
        let instance = if me == Rank(0) { mine.boot.instance() } else { GroupInstance::default() };
        let mut heard = vec![None; members.len()];
        heard[me.0 as usize] = Some(mine);
        let mut knows_me = vec![false; members.len()];
        knows_me[me.0 as usize] = true;
        Self {
            queue: ControlQueue::new(
                Header::new(Kind::Setup, group, instance, ViewNumber(0), me),
                mine.block as usize,
            ),
            waiting: VecDeque::with_capacity(members.len()),
            is_waiting: vec![false; members.len()],
            mine,
            me,
            members,
            heard,
            knows_me,
            max_window,
            instance,
            next_due: Instant::default(),
            wait_ns: FIRST_WAIT_NS,
        }
    }

    /// Of a member with this configuration.
    pub(crate) fn of(config: &GroupConfig, members: Vec<Endpoint>, me: Rank) -> Self {
        let mine = Setup {
            boot: config.boot,
            seen: BootId(0),
            start: config.start,
            receive_buffer: u32::try_from(config.receive_buffer).unwrap_or(u32::MAX),
            window: u32::try_from(config.tuning.window).unwrap_or(u32::MAX),
            block: config.block as u16,
            members: members.len() as u16,
            list: list_digest(&members),
            flags: SetupFlags {
                complete: false,
                coalesces: config.coalesces,
                rotating: config.order.mode == TotalMode::Rotating,
            },
        };
        Self::new(GroupId::of(&config.name), members, me, mine, config.max_window)
    }

    /// Takes a block that carries an introduction. Returns whether it completed the handshake.
    ///
    /// # Errors
    /// What stands against it, where it is an introduction of a member of my list at all.
    pub(crate) fn handle_block(
        &mut self,
        from: Endpoint,
        header: &Header,
        block: &[u8],
    ) -> Result<bool, Option<Conflict>> {
        let rank =
            self.members.iter().position(|member| *member == from).filter(|rank| *rank != self.me.0 as usize);
        let Ok(Some(Control::Setup(setup))) = ControlFrames::new(header.control(block)).next_frame() else {
            return Err(None);
        };
        // In a list of another order it has another rank: then its list is what is wrong, and what is told.
        let is_its = rank == Some(header.rank.0 as usize) || !self.is_same_list(&setup);
        if rank.is_none() || !is_its {
            return Err(None);
        }
        self.on_setup(header, &setup).map_err(Some)
    }

    /// Takes an introduction. Returns whether it completed the handshake.
    ///
    /// # Errors
    /// What stands against it; it is not recorded then.
    pub(crate) fn on_setup(&mut self, header: &Header, setup: &Setup) -> Result<bool, Conflict> {
        if !self.is_same_list(setup) {
            return Err(Conflict::List { theirs: setup.members, mine: self.mine.members });
        }
        if setup.block != self.mine.block {
            return Err(Conflict::BlockSize { theirs: setup.block, mine: self.mine.block });
        }
        if setup.flags.rotating != self.mine.flags.rotating {
            return Err(Conflict::TotalMode { theirs: setup.flags.rotating });
        }
        let window = setup.window as usize;
        if !window.is_power_of_two() || window > self.max_window {
            let limit = u32::try_from(self.max_window).unwrap_or(u32::MAX);
            return Err(Conflict::Window { theirs: setup.window, limit });
        }
        let is_another = setup.seen != BootId(0) && setup.seen != self.mine.boot && !mutated!(IgnoreBoot);
        if setup.flags.complete && is_another {
            return Err(Conflict::Superseded);
        }
        let was_complete = self.is_complete();
        // Once the view is there, a member is who it was when the view was formed.
        if !was_complete {
            self.hear(header, setup);
        }
        let completed = self.is_complete() && !was_complete;
        if completed {
            // Those who wait for nobody but me learn it at once.
            self.introduce_to_all();
        } else if was_complete && !setup.flags.complete {
            self.introduce_to(header.rank);
        }
        Ok(completed)
    }

    /// Records an introduction, and answers it where that tells something new.
    fn hear(&mut self, header: &Header, setup: &Setup) {
        let rank = header.rank.0 as usize;
        let mut knows_me = setup.seen == self.mine.boot || mutated!(TrustAnyIntroduction);
        if mutated!(IgnoreBoot) {
            knows_me = setup.seen != BootId(0);
        }
        // Who has heard me lives now; what has not may be left over from an earlier incarnation.
        let counts = knows_me || !self.knows_me[rank];
        let is_new = counts && self.heard[rank].is_none_or(|known| known.boot != setup.boot);
        if counts {
            self.heard[rank] = Some(*setup);
            self.knows_me[rank] = knows_me;
            if header.rank == Rank(0) {
                self.instance = header.instance;
            }
        }
        if is_new || !knows_me {
            self.introduce_to(header.rank);
        }
    }

    /// Whether a member was given the list that I was given.
    pub(crate) fn is_same_list(&self, setup: &Setup) -> bool {
        setup.list == self.mine.list && setup.members == self.mine.members
    }

    /// Introduces me again where that is due.
    pub(crate) fn on_timeout(&mut self, now: Instant) {
        if self.is_complete() || now < self.next_due {
            return;
        }
        self.introduce_to_all();
        self.next_due = now.plus_ns(self.wait_ns);
        self.wait_ns = (self.wait_ns * 2).min(MAX_WAIT_NS);
    }

    pub(crate) fn timeout(&self) -> Option<Instant> {
        (!self.is_complete()).then_some(self.next_due)
    }

    /// Whether all have been heard, and have heard me.
    pub(crate) fn is_complete(&self) -> bool {
        self.instance != GroupInstance::default() && self.knows_me.iter().all(|knows_me| *knows_me)
    }

    /// What a member has said of itself.
    pub(crate) fn heard(&self, rank: Rank) -> Option<&Setup> {
        self.heard.get(rank.0 as usize)?.as_ref()
    }

    /// Builds the one view, from what all have said, once the handshake is complete.
    pub(crate) fn install(&self, config: &GroupConfig) -> Running {
        let id = ViewId { group: GroupId::of(&config.name), instance: self.instance, number: FIRST_VIEW };
        let members: Vec<Introduction> = self.introductions().collect();
        let view = View::new(id, members.iter().map(|known| known.member).collect(), self.me);
        Running::new(config, view, &members, None)
    }

    /// By rank.
    fn introductions(&self) -> impl Iterator<Item = Introduction> + '_ {
        let heard = self.heard.iter().map(|setup| setup.as_ref().expect("all were heard"));
        self.members.iter().zip(heard).map(|(&endpoint, setup)| Introduction {
            member: ViewMember { endpoint, boot: setup.boot },
            start: setup.start,
            window: setup.window,
            receive_buffer: setup.receive_buffer,
            coalesces: setup.flags.coalesces,
            block: setup.block.into(),
            rotating: setup.flags.rotating,
            keeps_state: false,
        })
    }

    pub(crate) fn take(&mut self) -> Option<(Target, u16)> {
        if let Some(rank) = self.waiting.pop_front() {
            self.is_waiting[rank.0 as usize] = false;
            self.compose(rank);
        }
        self.queue.take()
    }

    pub(crate) fn bytes(&self, slot: u16) -> &[u8] {
        self.queue.bytes(slot)
    }

    fn introduce_to_all(&mut self) {
        let me = self.me;
        for rank in (0..self.members.len() as u16).map(Rank).filter(|&rank| rank != me) {
            self.introduce_to(rank);
        }
    }

    fn introduce_to(&mut self, rank: Rank) {
        if !std::mem::replace(&mut self.is_waiting[rank.0 as usize], true) {
            self.waiting.push_back(rank);
        }
    }

    fn compose(&mut self, rank: Rank) {
        let seen = self.heard(rank).map_or(BootId(0), |setup| setup.boot);
        let mut setup = Setup { seen, ..self.mine };
        setup.flags.complete = self.is_complete();
        let to = Target::One(self.members[rank.0 as usize]);
        self.queue.set_instance(self.instance);
        self.queue.push(to, |writer| {
            writer.setup(&setup);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sistrum_ordering::Seq;
    use sistrum_transport::wire::{Control, ControlFrames, SetupFlags};

    fn endpoints(count: u16) -> Vec<Endpoint> {
        (0..count).map(|at| Endpoint(([127, 0, 0, 1], 1000 + at).into())).collect()
    }

    fn handshake(rank: u16, boot: u64) -> Handshake {
        handshake_of(3, rank, boot)
    }

    fn handshake_of(members: u16, rank: u16, boot: u64) -> Handshake {
        let mine = Setup {
            boot: BootId(boot),
            seen: BootId(0),
            start: Seq(0),
            receive_buffer: 1,
            window: 16,
            block: 1408,
            members,
            list: 7,
            flags: SetupFlags::default(),
        };
        Handshake::new(GroupId(1), endpoints(members), Rank(rank), mine, 64)
    }

    /// Passes everything that waits to those it is for, except to `deaf`; returns the ranks that completed.
    fn exchange(all: &mut [Handshake], deaf: Option<usize>) -> Vec<u16> {
        let members = endpoints(all.len() as u16);
        let mut completed = Vec::new();
        loop {
            let mut passed = Vec::new();
            for handshake in all.iter_mut() {
                while let Some((to, slot)) = handshake.take() {
                    passed.push((to, handshake.bytes(slot).to_vec()));
                }
            }
            if passed.is_empty() {
                return completed;
            }
            for (to, bytes) in passed {
                let header = Header::decode(&bytes).unwrap();
                let Ok(Some(Control::Setup(setup))) = ControlFrames::new(header.control(&bytes)).next_frame()
                else {
                    panic!("only setups are sent");
                };
                let to = members.iter().position(|endpoint| Target::One(*endpoint) == to).unwrap();
                if deaf != Some(to) && all[to].on_setup(&header, &setup).unwrap() {
                    completed.push(to as u16);
                }
            }
        }
    }

    #[test]
    fn all_complete_and_agree_on_the_instance_whoever_is_first() {
        let mut all: Vec<_> = (0..3).map(|rank| handshake(rank, 100 + u64::from(rank))).collect();
        all[2].on_timeout(Instant(0));
        let mut completed = exchange(&mut all, None);
        assert_eq!(completed, [2], "the others have answered it, and not spoken to each other");
        all[1].on_timeout(Instant(0));
        all[0].on_timeout(Instant(0));
        completed.extend(exchange(&mut all, None));
        completed.sort_unstable();
        assert_eq!(completed, [0, 1, 2]);
        assert!(all.iter().all(|handshake| handshake.instance == BootId(100).instance()));
    }

    #[test]
    fn a_large_group_comes_together_as_a_small_one_does() {
        let mut all: Vec<_> = (0..200).map(|rank| handshake_of(200, rank, 100 + u64::from(rank))).collect();
        all.iter_mut().for_each(|handshake| handshake.on_timeout(Instant(0)));
        assert_eq!(exchange(&mut all, None).len(), 200);
    }

    #[test]
    fn who_was_deaf_is_answered_later() {
        let mut all: Vec<_> = (0..3).map(|rank| handshake(rank, 100 + u64::from(rank))).collect();
        all.iter_mut().for_each(|handshake| handshake.on_timeout(Instant(0)));
        assert!(exchange(&mut all, Some(1)).is_empty(), "nobody goes on before all have heard him");
        all[1].on_timeout(Instant(FIRST_WAIT_NS));
        let mut completed = exchange(&mut all, None);
        completed.sort_unstable();
        assert_eq!(completed, [0, 1, 2]);
        assert_eq!(all[0].timeout(), None);
    }

    #[test]
    fn what_an_earlier_life_sent_forms_no_view() {
        let old = Setup { boot: BootId(7), ..handshake(1, 0).mine };
        let header = |rank| Header::new(Kind::Setup, GroupId(1), GroupInstance(9), ViewNumber(0), Rank(rank));
        let mut here = handshake_of(2, 0, 100);
        let old = Setup { members: 2, ..old };
        for seen in [0, 99] {
            assert_eq!(here.on_setup(&header(1), &Setup { seen: BootId(seen), ..old }), Ok(false));
            assert!(!here.is_complete(), "it has not heard me as I am now");
        }
        let new = Setup { boot: BootId(8), seen: BootId(100), ..old };
        assert_eq!(here.on_setup(&header(1), &new), Ok(true));
        assert_eq!(here.heard(Rank(1)).unwrap().boot, BootId(8));
        let mut waits = handshake_of(3, 0, 100);
        let three = |setup: Setup| Setup { members: 3, ..setup };
        assert_eq!(waits.on_setup(&header(1), &three(new)), Ok(false));
        assert_eq!(waits.on_setup(&header(1), &three(old)), Ok(false));
        assert_eq!(
            waits.heard(Rank(1)).unwrap().boot,
            BootId(8),
            "the living are not replaced by what comes late"
        );
    }

    #[test]
    fn a_restarted_member_learns_that_it_is_superseded() {
        let mut all: Vec<_> = (0..3).map(|rank| handshake(rank, 100 + u64::from(rank))).collect();
        all.iter_mut().for_each(|handshake| handshake.on_timeout(Instant(0)));
        exchange(&mut all, None);
        let mut restarted = handshake(1, 999);
        restarted.on_timeout(Instant(0));
        while let Some((to, slot)) = restarted.take() {
            let bytes = restarted.bytes(slot).to_vec();
            let header = Header::decode(&bytes).unwrap();
            let Ok(Some(Control::Setup(setup))) = ControlFrames::new(header.control(&bytes)).next_frame()
            else {
                panic!()
            };
            let to = endpoints(3).iter().position(|endpoint| Target::One(*endpoint) == to).unwrap();
            assert_eq!(all[to].on_setup(&header, &setup), Ok(false));
        }
        assert_eq!(all[0].heard(Rank(1)).unwrap().boot, BootId(101), "the view keeps who it was formed with");
        let (_, slot) = all[0].take().expect("an answer");
        let bytes = all[0].bytes(slot).to_vec();
        let header = Header::decode(&bytes).unwrap();
        let Ok(Some(Control::Setup(setup))) = ControlFrames::new(header.control(&bytes)).next_frame() else {
            panic!()
        };
        assert_eq!(restarted.on_setup(&header, &setup), Err(Conflict::Superseded));
    }

    #[test]
    fn another_list_or_block_size_is_a_conflict() {
        let mut here = handshake(0, 1);
        let header = Header::new(Kind::Setup, GroupId(1), GroupInstance(0), ViewNumber(0), Rank(1));
        let list = Setup { list: 8, ..here.mine };
        assert_eq!(here.on_setup(&header, &list), Err(Conflict::List { theirs: 3, mine: 3 }));
        let block = Setup { block: 512, ..here.mine };
        assert_eq!(here.on_setup(&header, &block), Err(Conflict::BlockSize { theirs: 512, mine: 1408 }));
    }

    #[test]
    fn no_memory_is_taken_for_a_window_that_cannot_be() {
        let mut here = handshake(0, 1);
        let header = Header::new(Kind::Setup, GroupId(1), GroupInstance(0), ViewNumber(0), Rank(1));
        for theirs in [0, 3, 128, 1 << 31, u32::MAX] {
            let setup = Setup { window: theirs, ..here.mine };
            assert_eq!(here.on_setup(&header, &setup), Err(Conflict::Window { theirs, limit: 64 }));
        }
        assert_eq!(here.on_setup(&header, &Setup { window: 64, ..here.mine }), Ok(false));
    }

    #[test]
    fn a_long_list_is_introduced_to_the_end() {
        let mine = Setup { members: 1000, ..handshake(0, 1).mine };
        let mut here = Handshake::new(GroupId(1), endpoints(1000), Rank(0), mine, 64);
        here.on_timeout(Instant(0));
        let reached: Vec<Target> = std::iter::from_fn(|| here.take()).map(|(to, _)| to).collect();
        assert!(reached.into_iter().eq(endpoints(1000)[1..].iter().map(|&endpoint| Target::One(endpoint))));
    }
}
