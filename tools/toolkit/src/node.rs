//! A node: one engine, one medium, the groups that it has joined.

mod joins;

use crate::groups::Groups;
use crate::join::Who;
use crate::joined::Joined;
use crate::published::Published;
use crate::seeds::Seeds;
use crate::service::check_tuning;
use crate::{
    AskError, AskId, BootId, Caster, CausalContext, Config, ContextError, CycleCounters, Dest, Endpoint,
    Error, Event, FlushId, Gap, Group, GroupId, Instant, JoinOptions, MediumCounters, MonotonicClock,
    PeerLosses, Pressure, Promise, Rank, Refused, Result, SessionCounters, Standing, View, ViewMember,
    ViewNumber, Want,
};
use sistrum_membership::Entry;
use sistrum_membership::lag::Backlog;
use sistrum_transport::engine::Cycle;
use sistrum_transport::engine::counters::Unpublished;
use sistrum_transport::medium::{Any, FaultOptions, Medium, UdpConfig, auto};
use sistrum_transport::reliable::Suspect;
use sistrum_transport::sys;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// An inline engine: everything happens in [`poll`](Self::poll), on the caller's thread.
#[derive(Debug)]
pub struct Node {
    config: Config,
    boot: BootId,
    seed: u64,
    cycle: Cycle<Any, MonotonicClock>,
    groups: Groups,
    suspect: Suspect,
    /// The seeds of groups that are named, not numbered.
    seeds: Vec<Seeds>,
    /// When the medium was last asked what it has lost.
    looked_at: Instant,
    published: Published,
}

/// What happened so far in a node, all groups together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// The medium's.
    pub medium: MediumCounters,
    /// The engine's.
    pub engine: CycleCounters,
    /// The reliable layer's, summed over the groups.
    pub session: SessionCounters,
    /// Blocks that filled a gap.
    pub repaired: u64,
    /// Datagrams that are no blocks of ours.
    pub malformed: u64,
    /// Blocks of groups that this node is not in.
    pub unclaimed: u64,
}

impl Node {
    /// Opens the medium and takes all memory.
    ///
    /// # Errors
    /// [`Error::Config`] names the key, [`Error::Medium`] the address; nothing is left open.
    pub fn open(config: Config) -> Result<Self> {
        config.check()?;
        let udp = UdpConfig {
            interface: config.interface,
            interface_index: config.interface_index,
            port: config.port,
            ttl: config.ttl,
            receive_buffer: config.receive_buffer,
            block_size: config.block_size,
            offload: config.offload,
            // The handshake sees to it that all members have one block size.
            uniform_runs: true,
            buffer_loss: config.faults.buffer_loss,
        };
        let mut any = auto::open(config.medium, udp)?;
        if config.faults.block_loss > 0.0 {
            let options = FaultOptions { loss: config.faults.block_loss, ..FaultOptions::default() };
            any = any.with_faults(options, config.faults.seed);
        }
        let cycle = Cycle::new(any, MonotonicClock, config.pool(), config.idle).map_err(Error::Memory)?;
        let boot = BootId(boot_time());
        Ok(Self {
            published: Published::open(&config, boot, sys::clock::monotonic()),
            boot,
            seed: sys::random::seed().map_err(Error::Entropy)?,
            cycle,
            groups: Groups::default(),
            suspect: Suspect::default(),
            seeds: Vec::new(),
            looked_at: Instant::default(),
            config,
        })
    }

    /// Where this node sends from and is reached at: what stands in member lists.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.cycle.medium().local()
    }

    /// The incarnation of this node.
    #[must_use]
    pub fn boot(&self) -> BootId {
        self.boot
    }

    /// Which medium carries the blocks at present, and why.
    #[must_use]
    pub fn medium(&self) -> &str {
        self.cycle.medium().description()
    }

    /// Joins the group `name`. Its first event is the view; casts are refused before.
    ///
    /// # Errors
    /// When the list or the address cannot be, or there are [`groups`](Config::groups) already; the message names it.
    pub fn join(&mut self, name: &str, options: JoinOptions) -> Result<Group> {
        options.check_names(name)?;
        let full_name = options.full_name(name);
        if self.groups.contains(GroupId::of(&full_name)) {
            return Err(Error::Config {
                key: "group",
                why: format!("{name} was joined before, or shares its id with one that was"),
            });
        }
        options.check_lag()?;
        let (name, lag) = (&full_name, options.lag);
        let local = self.endpoint();
        let fan_out = options.fan_out_from(name, local)?;
        let is_multicast = options.is_multicast();
        let (joined, seeds) = match options.who {
            Who::Members(members) => {
                let members: Vec<_> = members.into_iter().map(|member| member.seen_from(local)).collect();
                let (me, count) = (sistrum_membership::rank_in(&members, local)?, members.len());
                let entry = Entry::List { members, me };
                (self.join_as_member(name, entry, count, fan_out, options.total)?, Vec::new())
            }
            Who::Peer(peer) => {
                let (most, seeds) = (peer.most, peer.seeds.clone());
                let entry = Entry::Peers(peer.into_peers(is_multicast, local)?);
                (self.join_as_member(name, entry, most, fan_out, options.total)?, seeds)
            }
            Who::Observer(peer) => {
                peer.check_seeds(is_multicast)?;
                (self.join_as_observer(name, &peer.seeds, fan_out)?, peer.seeds)
            }
            Who::Client(peer, tuning) => {
                peer.check_seeds(is_multicast)?;
                check_tuning(&tuning)?;
                (self.join_as_client(name, &peer.seeds, fan_out, tuning)?, peer.seeds)
            }
            Who::Reader(reads) => (self.join_as_reader(name, fan_out, &reads)?, Vec::new()),
        };
        let group = self.groups.add(joined, lag);
        self.published.joined(group.index, name);
        if Seeds::has_names(&seeds) {
            self.seeds.push(Seeds::new(group, seeds, local));
        }
        Ok(group)
    }

    /// Where somebody of a group may be found, from now on.
    pub(crate) fn find_at(&mut self, group: &Group, seeds: &[String]) {
        let local = self.endpoint();
        if let Some(joined) = self.groups.get_mut(group) {
            joined.set_seeds(Seeds::literal(seeds, local));
            self.seeds.retain(|known| known.group != *group);
            if Seeds::has_names(seeds) {
                self.seeds.push(Seeds::new(*group, seeds.to_vec(), local));
            }
        }
    }

    /// Casts one message to all members of the group, to be delivered in an [`Order`](crate::Order), or when it is
    /// [safe](crate::Order::safe). It is copied into the log and sent by the next [`poll`](Self::poll).
    ///
    /// # Errors
    /// [`Refused::Full`] names the member that holds everybody back, [`Refused::Paced`] says that my own pace does: poll, and try again.
    /// [`Refused::TooLarge`] is final.
    #[inline]
    pub fn cast(
        &mut self,
        group: &Group,
        promise: impl Into<Promise>,
        message: &[u8],
    ) -> Result<(), Refused> {
        self.groups.get_mut(group).ok_or(Refused::NoView)?.sender()?.cast_as(promise.into(), message)
    }

    /// Casts a message of `len` bytes that `write` writes in place into the log; `len` is at most what fits in one block.
    ///
    /// # Errors
    /// As [`cast`](Self::cast).
    #[inline]
    pub fn cast_with(
        &mut self,
        group: &Group,
        promise: impl Into<Promise>,
        len: usize,
        write: impl FnOnce(&mut [u8]),
    ) -> Result<(), Refused> {
        write(self.groups.get_mut(group).ok_or(Refused::NoView)?.sender()?.claim(promise.into(), len)?);
        Ok(())
    }

    /// Sends one message to one other member alone, in causal order with the casts of the group: it is handed over, as
    /// [`Event::Direct`], behind everything that I have been handed and have cast, and what I cast or send later comes behind it. That
    /// later part waits here until the member holds the message, about a round trip. The first message to a member takes memory.
    ///
    /// # Errors
    /// As [`cast`](Self::cast), with a window of its own for each member; [`Refused::NoMember`] when it is me, or nobody; and
    /// [`Refused::ViewChanging`] from the beginning of a change until the next view was told, which says anew who a rank is;
    /// [`Refused::Left`] behind a goodbye.
    #[inline]
    pub fn send(&mut self, group: &Group, to: Rank, message: &[u8]) -> Result<(), Refused> {
        self.groups.get_mut(group).ok_or(Refused::NoView)?.send(to, message)
    }

    /// Asks the group, as its [client](JoinOptions::client): all of it, or whichever member answers. [`Event::Client`] tells what has become of it, once,
    /// however many members die meanwhile; it may be asked before the group was seen.
    ///
    /// # Errors
    /// [`AskError`] says why nothing comes of it: it is too long, too much is open, or I am no client of this group, or have left it.
    pub fn ask(
        &mut self,
        group: &Group,
        dest: Dest,
        want: Want,
        request: &[u8],
    ) -> std::result::Result<AskId, AskError> {
        let now = self.cycle.now();
        self.groups.get_mut(group).ok_or(AskError::Left)?.ask(now, dest, want, request)
    }

    /// The request is over for me, without an event; it may be executed all the same, where it was said to a member. Returns whether it was
    /// said; `None` where it was over.
    pub fn give_up(&mut self, group: &Group, ask: AskId) -> Option<bool> {
        self.groups.get_mut(group)?.give_up(ask)
    }

    /// Writes to somebody outside the group, which may be lost.
    pub(crate) fn send_letter(&mut self, group: &Group, to: Endpoint, letter: &[u8]) -> bool {
        self.groups.get_mut(group).is_some_and(|joined| joined.send_letter(to, letter))
    }

    /// Letters of [clients](JoinOptions::client) that came faster than they were [taken](Event::Letter): they are said again.
    #[must_use]
    pub fn dropped_letters(&self, group: &Group) -> u64 {
        self.groups.get(group).map_or(0, Joined::dropped_letters)
    }

    /// Takes long letters from there.
    pub(crate) fn admit(&mut self, group: &Group, from: Endpoint) {
        self.groups.get_mut(group).into_iter().for_each(|joined| joined.admit(from));
    }

    /// Takes no more of those.
    pub(crate) fn dismiss(&mut self, group: &Group, from: Endpoint) {
        self.groups.get_mut(group).into_iter().for_each(|joined| joined.dismiss(from));
    }

    /// A wait ends at this time, for an application that has something to do then.
    pub(crate) fn wake_at(&mut self, group: &Group, at: Option<Instant>) {
        self.groups.wake_at(group, at);
    }

    /// One duty cycle; never waits. Returns the work it did, 0 when there was none.
    ///
    /// When the handler fails, its event is not consumed: it is offered again by the next poll, after what is ready of other
    /// senders and groups. Who has a [lag contract](JoinOptions::lag) may find by then that it was left out.
    ///
    /// # Errors
    /// The handler's, or the medium's when that broke for good.
    #[inline]
    pub fn poll<H>(&mut self, mut handler: H) -> Result<usize>
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> Result<()>,
    {
        let mut failure = None;
        let work =
            self.cycle.turn(
                &mut self.groups,
                &mut |caster: &mut Caster<'_>, event: Event<'_>| match handler(caster, event) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        failure = Some(error);
                        ControlFlow::Break(())
                    }
                },
            )?;
        if self.groups.is_unexplained() {
            self.look_for_causes();
        }
        if !self.seeds.is_empty() {
            self.look_for_seeds();
        }
        if self.published.end_cycle(self.cycle.now(), &self.groups, work) {
            self.publish_known();
        }
        failure.map_or(Ok(work), Err)
    }

    /// Who is in no view wants to know where the seeds are by now.
    #[cold]
    fn look_for_seeds(&mut self) {
        let now = self.cycle.now();
        for seeds in &mut self.seeds {
            let Some(joined) = self.groups.get_mut(&seeds.group).filter(|joined| joined.view().is_none())
            else {
                continue;
            };
            if let Some(found) = seeds.poll(now) {
                joined.set_seeds(found);
            }
        }
    }

    /// Blocks are missing: what of the medium's own losses has grown is suspected. Asking it costs system calls: not too often.
    #[cold]
    fn look_for_causes(&mut self) {
        let now = self.cycle.now();
        if now.since_ns(self.looked_at) >= LOOK_EVERY_NS {
            self.looked_at = now;
            let medium = self.cycle.medium().counters();
            let cause = self.suspect.look(now, &medium);
            self.groups.explain(cause);
            self.published.asked(&medium);
        }
    }

    /// One duty cycle, and when it found nothing to do, a wait as [`Config::idle`] says, for `limit` at most.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub fn poll_for<H>(&mut self, limit: Duration, handler: H) -> Result<usize>
    where
        H: FnMut(&mut Caster<'_>, Event<'_>) -> Result<()>,
    {
        let work = self.poll(handler)?;
        self.cycle.idle(&self.groups, work, limit);
        Ok(work)
    }

    /// Whether every other member has delivered everything that I cast.
    #[must_use]
    pub fn settled(&self, group: &Group) -> bool {
        self.groups.get(group).is_some_and(Joined::is_settled)
    }

    /// Everything that I have been handed and have cast in this group so far. Causal order does not see what members tell each
    /// other outside the group: hand this over with it, and let the other wait until it [has reached](Self::has_reached) it.
    ///
    /// It counts blocks, so it may name some messages more: what comes into an open block later, and what is about to be handed
    /// over. What was cast is sent by the next [`poll`](Self::poll): poll on, or the other waits for ever.
    ///
    /// # Errors
    /// [`ContextError::NoView`] before the first view, and for a reader.
    pub fn causal_context(&self, group: &Group) -> Result<CausalContext, ContextError> {
        self.groups.get(group).ok_or(ContextError::NoView)?.causal_context()
    }

    /// Whether everything that `context` names has been handed to me. While it is false, poll on; once it is true, whatever I cast
    /// in causal or total order is delivered nowhere before it.
    ///
    /// # Errors
    /// When it is of another group, of an earlier life of this one, or of another view: its numbers say nothing here.
    pub fn has_reached(&self, group: &Group, context: &CausalContext) -> Result<bool, ContextError> {
        self.groups.get(group).ok_or(ContextError::NoView)?.has_reached(context)
    }

    /// Asks to be told when every member holds everything that I have cast and been handed in this group so far: call it before an
    /// action outside the group, and act when [`Event::Flushed`] comes with this id, which it does once: no failure undoes the causes
    /// of the action then. What is still in an open block is sent by the next [`poll`](Self::poll).
    ///
    /// Members tell each other by heartbeats what they hold, so that takes about the time between two of them.
    ///
    /// # Errors
    /// [`Refused::NoView`] before the first view, and for a reader.
    pub fn flush(&mut self, group: &Group) -> Result<FlushId, Refused> {
        self.groups.get_mut(group).ok_or(Refused::NoView)?.flush()
    }

    /// Whether every member holds everything that `context` names, as far as is known here: [`flush`](Self::flush) for the context of
    /// another.
    ///
    /// # Errors
    /// As [`has_reached`](Self::has_reached).
    pub fn is_stable(&self, group: &Group, context: &CausalContext) -> Result<bool, ContextError> {
        self.groups.get(group).ok_or(ContextError::NoView)?.is_stable(context)
    }

    /// Casts a message that is ordered against everything else in the group, whatever its order: all who are handed it, as
    /// [`Event::Sync`], have been handed exactly the same before it. It costs a change of view in which no member changes, and comes back
    /// to me too.
    ///
    /// # Errors
    /// [`Refused::NoView`] before the first view and in a static list, [`Refused::TooLarge`], and [`Refused::ViewChanging`] while too many of
    /// mine are on their way.
    pub fn cast_sync(&mut self, group: &Group, message: &[u8]) -> Result<(), Refused> {
        self.groups.get_mut(group).ok_or(Refused::NoView)?.cast_sync(message)
    }

    /// My own verdict: this member of the present view has failed, and the others shall go on without it. Where I err, it is excluded and
    /// comes back as somebody new. Nothing comes of it in a static list.
    pub fn suspect(&mut self, group: &Group, rank: Rank) {
        if let Some(joined) = self.groups.get_mut(group) {
            joined.suspect(rank);
        }
    }

    /// Frames and bytes that were sent to agree on views so far, a multicast once.
    #[must_use]
    pub fn spent_on_views(&self, group: &Group) -> (u64, u64) {
        self.groups.get(group).map_or((0, 0), Joined::spent_on_views)
    }

    /// Leaves the group, once all have delivered what I cast or are sure to: from then on I hold nobody back. In a static list, that is a
    /// goodbye. Nothing more can be cast. Poll on until [`has_left`](Self::has_left). An observer looks no more, at once: what was opened for it is
    /// closed, and the group may be joined again.
    pub fn leave(&mut self, group: &Group) {
        let now = self.cycle.now();
        if let Some(joined) = self.groups.get_mut(group) {
            joined.leave(now);
        }
        self.close(group);
    }

    /// As a reader of peers, reads up to the view that contains a member at `member`: that view is the last event, and
    /// [`has_left`](Self::has_left) tells that it was told. Who reads and joins as that member, by another node, is handed every cast once:
    /// up to that view here, and from there on there. To be said before the member joins. The other way, a member that reads as well hears one of its own
    /// [sync casts](Self::cast_sync) on both sides: what is before it counts as a member, what is behind it as a reader, and then it leaves.
    pub fn read_until(&mut self, group: &Group, member: Endpoint) {
        if let Some(joined) = self.groups.get_mut(group) {
            joined.read_until(member);
        }
    }

    /// Whether the goodbye has been said as often as it is, or a client's was heard. A client that nobody hears
    /// says it a few times more and goes: the group finds out by its silence. A reader has nobody to say it to.
    #[must_use]
    pub fn has_left(&self, group: &Group) -> bool {
        self.groups.get(group).is_none_or(Joined::has_left)
    }

    /// The member that holds me back if any does, because it was heard least recently, and how long ago that was.
    ///
    /// A member that has nothing to say is heard every 100 ms.
    #[must_use]
    pub fn silence(&self, group: &Group) -> Option<(Rank, Duration)> {
        let (rank, at) = self.groups.get(group)?.most_silent()?;
        Some((rank, self.cycle.now().since(at)))
    }

    /// Where my handler stands, as a reader with a [lag contract](JoinOptions::lag): whether it keeps up, how far it is behind, and what
    /// became of what it did not take.
    #[must_use]
    pub fn lag(&self, group: &Group) -> Option<Standing> {
        Some(self.groups.backlog(group)?.standing())
    }

    /// Goes on reading after [`Event::Evicted`] was told: with [`Event::Lost`] for what passed since, then with what comes next. False where
    /// I was not cut off.
    pub fn readmit(&mut self, group: &Group) -> bool {
        self.groups.backlog_mut(group).is_some_and(Backlog::readmit)
    }

    /// What my casts have met with at each other member: how far it is behind, and how often and for how long casts were refused because of
    /// it. Not for the hot path.
    #[must_use]
    pub fn pressure(&self, group: &Group) -> Vec<(Rank, Pressure)> {
        self.groups.get(group).map(Joined::pressure).unwrap_or_default()
    }

    /// The present view, once there is one.
    #[must_use]
    pub fn view(&self, group: &Group) -> Option<&View> {
        self.groups.get(group)?.view()
    }

    /// Who I am in this group: somebody new each time the others have gone on without me. `None` for a reader.
    #[must_use]
    pub fn member(&self, group: &Group) -> Option<ViewMember> {
        self.groups.get(group)?.me()
    }

    /// The number of the view that I was told of: of those before it, everything has been handed over. One in which no member changes has
    /// no [`Event::View`] of its own.
    #[must_use]
    pub fn reached(&self, group: &Group) -> Option<ViewNumber> {
        self.groups.get(group)?.reached()
    }

    /// Blocks of my window in this group, once there is a view: so many may be cast that not all have delivered.
    #[must_use]
    pub fn window(&self, group: &Group) -> Option<usize> {
        self.groups.get(group)?.window()
    }

    /// The most bytes that a message to this group may have, once there is a view. What causal and total order write into each block is
    /// taken off it: the refusal of a longer one names what is left.
    #[must_use]
    pub fn max_message(&self, group: &Group) -> Option<usize> {
        self.groups.get(group)?.max_message()
    }

    /// The clock as the last cycle read it: nanoseconds that all processes of the host share.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.cycle.now()
    }

    /// The open and the recent gaps, on both ends: what others have lost of my stream, and what I have lost of theirs. Not for
    /// the hot path.
    #[must_use]
    pub fn gaps(&self, group: &Group) -> Vec<Gap> {
        self.groups.get(group).map(Joined::gaps).unwrap_or_default()
    }

    /// The losses between me and each other member, as far as I know of them. Not for the hot path.
    #[must_use]
    pub fn losses(&self, group: &Group) -> Vec<(Rank, PeerLosses)> {
        self.groups.get(group).map(Joined::losses).unwrap_or_default()
    }

    /// The most bytes that I keep under way at present, as receive buffers count them, before they are shared with other
    /// senders: less while losses repeat. `None` without a view.
    #[must_use]
    pub fn under_way_limit(&self, group: &Group) -> Option<u64> {
        self.groups.get(group)?.limit()
    }

    /// Where the counters of this node are published for other processes; or why they are not.
    ///
    /// # Errors
    /// [`Unpublished`] says why. The node works without.
    pub fn counters_file(&self) -> Result<&Path, &Unpublished> {
        self.published.path()
    }

    /// Publishes now what happened so far, which [`poll`](Self::poll) does every 20 ms. It asks the system what the sockets have dropped,
    /// and is not for the hot path.
    pub fn publish(&mut self) {
        self.published.asked(&self.cycle.medium().counters());
        self.publish_known();
    }

    #[cold]
    fn publish_known(&mut self) {
        let Self { config, cycle, groups, published, .. } = self;
        published.publish((cycle, groups), (&config.name, cycle.medium().local()));
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let session = self.groups.iter().map(Joined::counters).sum::<SessionCounters>();
        Counters {
            medium: self.cycle.medium().counters(),
            engine: self.cycle.counters(),
            repaired: session.repaired,
            malformed: self.groups.malformed + session.malformed_blocks,
            unclaimed: self.groups.unclaimed,
            session,
        }
    }
}

/// Greater for each later process at one place, as long as the clock is not set back.
fn boot_time() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX / 2)
}

/// Gaps that come within this time are put down to the same cause.
const LOOK_EVERY_NS: u64 = 1_000_000;
