//! What a node publishes of its engine, its groups, their members and streams: named and read in one walk.

use super::metrics as m;
use super::watched::Watched;
use crate::groups::Groups;
use crate::joined::Joined;
use crate::{
    CycleCounters, Endpoint, Instant, MediumCounters, PeerLosses, Rank, SessionCounters, ViewMember,
};
use sistrum_membership as membership;
use sistrum_membership::{PairCounters, Session};
use sistrum_transport::engine::counters::{Histogram, NONE, Sink, Walk};

/// Everything of a node that is published, as it stands in this cycle.
pub(super) struct Everything<'a> {
    pub(super) now: Instant,
    pub(super) name: &'a str,
    pub(super) endpoint: Endpoint,
    pub(super) about: &'a str,
    pub(super) engine: CycleCounters,
    pub(super) medium: MediumCounters,
    pub(super) pool: (usize, usize),
    pub(super) cycles: &'a Histogram,
    pub(super) groups: &'a Groups,
    pub(super) watched: &'a [Watched],
}

impl Walk for Everything<'_> {
    fn walk(&self, sink: &mut impl Sink) {
        self.walk_engine(sink);
        // What there is always room for comes first.
        let all = self.watched.iter().zip(self.groups.iter());
        for (watched, joined) in all.filter(|(_, joined)| !joined.is_closed()) {
            self.walk_group(sink, watched, joined);
        }
        for (watched, joined) in self.watched.iter().zip(self.groups.iter()) {
            if let Joined::Member(group) = joined
                && let Some(session) = group.session()
            {
                self.walk_streams(sink, watched, group, session);
                self.walk_peers(sink, watched, group, session);
            }
        }
    }
}

impl Everything<'_> {
    fn walk_engine(&self, sink: &mut impl Sink) {
        let CycleCounters { cycles, empty_cycles, pauses, busy_sends } = self.engine;
        let medium = &self.medium;
        sink.scope("engine", |labels| {
            let texts = [self.name.to_owned(), self.endpoint.to_string(), self.about.to_owned()];
            labels.extend(["node", "endpoint", "about"].into_iter().zip(texts));
        });
        sink.counter(&m::CYCLES, cycles);
        sink.counter(&m::EMPTY_CYCLES, empty_cycles);
        sink.counter(&m::PAUSES, pauses);
        sink.counter(&m::BUSY_SENDS, busy_sends);
        sink.counter(&m::RECEIVED_DATAGRAMS, medium.received_datagrams);
        sink.counter(&m::RECEIVED_BLOCKS, medium.received_blocks);
        sink.counter(&m::SENDS, medium.sends);
        sink.counter(&m::SENT_BLOCKS, medium.sent_blocks);
        sink.counter(&m::SEND_ERRORS, medium.send_errors);
        sink.counter(&m::UNUSABLE, medium.unusable);
        sink.counter(&m::OVERFLOW, medium.overflow);
        sink.counter(&m::INJECTED, medium.injected);
        sink.counter(&m::POOL_EXHAUSTED, medium.pool_exhausted);
        sink.counter(&m::RECEIVE_SWITCHES, medium.receive_switches);
        sink.gauge(&m::POOL_SLABS, self.pool.0 as u64);
        sink.gauge(&m::POOL_BLOCKS, self.pool.1 as u64);
        sink.counter(&m::MALFORMED, self.groups.malformed);
        sink.counter(&m::UNCLAIMED, self.groups.unclaimed);
        sink.histogram(&m::CYCLE_TIME, self.cycles);
    }

    fn walk_group(&self, sink: &mut impl Sink, watched: &Watched, joined: &Joined) {
        let (role, member) = match joined {
            Joined::Member(group) => ("member", Some(group.as_ref())),
            Joined::Reader(..) | Joined::ViewReader(_) => ("reader", None),
            Joined::Observer(_) => ("observer", None),
            Joined::Client(_) => ("client", None),
        };
        sink.scope("group", |labels| {
            let texts = [watched.name(), role, watched.cause()].map(str::to_owned);
            labels.extend(["group", "role", "about"].into_iter().zip(texts));
        });
        let view = joined.view();
        let agreement = member.and_then(membership::Group::agreement);
        let suspects = agreement.zip(view).map_or(0, |(agreement, view)| {
            let ranks = (0..view.members().len() as u16).map(Rank);
            ranks.filter(|rank| agreement.is_suspected(*rank)).count()
        });
        sink.gauge(&m::MEMBERS, view.map_or(NONE, |view| view.members().len() as u64));
        sink.gauge(&m::RANK, view.map_or(NONE, |view| u64::from(view.me().0)));
        sink.gauge(&m::VIEW, view.map_or(NONE, |view| u64::from(view.id().number.0)));
        sink.gauge(&m::COORDINATOR, agreement.map_or(NONE, |agreement| u64::from(agreement.coordinator().0)));
        sink.gauge(&m::CHANGING, u64::from(view.is_some() && !joined.is_steady()));
        sink.gauge(&m::WEDGED, u64::from(agreement.is_some_and(|agreement| agreement.is_wedged())));
        sink.gauge(&m::SUSPECTS, suspects as u64);
        sink.counter(&m::VIEWS, watched.views());
        sink.gauge(&m::CHANGED_AGE, watched.changed_at().map_or(NONE, |at| self.now.since_ns(at)));
        let (frames, bytes) = joined.spent_on_views();
        sink.counter(&m::AGREEMENT_FRAMES, frames);
        sink.counter(&m::AGREEMENT_BYTES, bytes);
        walk_session(sink, &joined.counters());
        walk_losses(sink, &joined.all_losses());
        sink.histogram(&m::VIEW_PAUSE, watched.pauses());
        sink.histogram(&m::STABLE_TIME, watched.stable());
        sink.histogram(&m::DELIVERED_TIME, watched.delivered());
    }

    fn walk_streams(
        &self,
        sink: &mut impl Sink,
        watched: &Watched,
        group: &membership::Group,
        session: &Session,
    ) {
        let Some(view) = group.view() else { return };
        let me = view.me();
        for (rank, member) in (0..).map(Rank).zip(view.members()) {
            let direction = if rank == me { "out" } else { "in" };
            sink.scope("stream", |labels| {
                labels.extend(labels_of(watched, rank, member));
                labels.push(("direction", direction.to_owned()));
            });
            if rank == me {
                self.walk_own(sink, session);
                continue;
            }
            let held = session.held_of(rank).unwrap_or_default();
            let delivered = session.delivered_of(rank).unwrap_or_default();
            sink.counter(&m::RECEIVED_BLOCKS, held.0);
            sink.counter(&m::DELIVERED_BLOCKS, delivered.0);
            sink.gauge(&m::UNDELIVERED, held.since(delivered));
        }
    }

    fn walk_own(&self, sink: &mut impl Sink, session: &Session) {
        let own = session.stream();
        let held = own.held_back(self.now);
        sink.counter(&m::SEALED, own.open().0);
        sink.counter(&m::SENT_BLOCKS, own.sent().0);
        sink.counter(&m::STABLE, own.stable().0);
        sink.counter(&m::DELIVERED_BLOCKS, own.delivered().0);
        sink.gauge(&m::WINDOW, own.window() as u64);
        sink.gauge(&m::UNDER_WAY, own.congestion().0);
        sink.gauge(&m::HELD_BY, held.map_or(NONE, |held| u64::from(held.by.0)));
        sink.gauge(&m::HELD_AGE, held.map_or(NONE, |held| held.age.as_nanos() as u64));
        sink.gauge(&m::HELD_BLOCKS, held.map_or(NONE, |held| held.behind));
        sink.counter(&m::PACED, own.refusals_of_pace());
    }

    fn walk_peers(
        &self,
        sink: &mut impl Sink,
        watched: &Watched,
        group: &membership::Group,
        session: &Session,
    ) {
        let Some(view) = group.view() else { return };
        let own = session.stream();
        for (rank, losses) in session.losses() {
            let Some(member) = view.member(rank) else { continue };
            sink.scope("peer", |labels| labels.extend(labels_of(watched, rank, member)));
            let heard_at = session.heard_at()[usize::from(rank.0)];
            let silence = if heard_at == Instant::default() { NONE } else { self.now.since_ns(heard_at) };
            let is_suspected = group.agreement().is_some_and(|agreement| agreement.is_suspected(rank));
            sink.gauge(&m::SUSPECTED, u64::from(is_suspected));
            sink.gauge(&m::SILENCE, silence);
            sink.gauge(&m::BEHIND, own.open().since(own.delivered_by(rank)));
            sink.gauge(&m::UNRECEIVED, own.sent().since(own.received_by(rank)));
            sink.counter(&m::REFUSALS, own.refusals(rank));
            walk_losses(sink, &losses);
            sink.counter(&m::REPAIRED, losses.repaired);
            sink.counter(&m::SENT_AGAIN, losses.sent_again);
            sink.counter(&m::NAKS, losses.naks);
            sink.counter(&m::EVICTED_GAPS, losses.evicted);
            walk_pair(sink, &group.pair_counters(rank));
        }
    }
}

fn walk_pair(sink: &mut impl Sink, pair: &PairCounters) {
    // All of them: one that is new does not stay behind.
    let PairCounters { sent, sent_bytes, sent_again, handed, handed_bytes, repaired } = *pair;
    sink.counter(&m::PAIR_SENT, sent);
    sink.counter(&m::PAIR_SENT_BYTES, sent_bytes);
    sink.counter(&m::PAIR_SENT_AGAIN, sent_again);
    sink.counter(&m::PAIR_HANDED, handed);
    sink.counter(&m::PAIR_HANDED_BYTES, handed_bytes);
    sink.counter(&m::PAIR_REPAIRED, repaired);
}

fn walk_losses(sink: &mut impl Sink, losses: &PeerLosses) {
    sink.counter(&m::LOST_NETWORK, losses.lost.network);
    sink.counter(&m::LOST_OVERFLOW, losses.lost.overflow);
    sink.counter(&m::LOST_INJECTED, losses.lost.injected);
    sink.counter(&m::LOST_POOL, losses.lost.pool);
    sink.gauge(&m::UNEXPLAINED, losses.unexplained);
    sink.gauge(&m::MISSING, losses.missing);
}

/// Which group, and whose part of it.
fn labels_of(watched: &Watched, rank: Rank, member: &ViewMember) -> [(&'static str, String); 3] {
    let (rank, member) = (rank.0.to_string(), member.endpoint.to_string());
    [("group", watched.name().to_owned()), ("rank", rank), ("member", member)]
}

fn walk_session(sink: &mut impl Sink, session: &SessionCounters) {
    // All of them: one that is new does not stay behind.
    let SessionCounters {
        delivered,
        repaired,
        repairs_sent,
        repairs_lent,
        duplicates,
        beyond,
        refused_low,
        malformed_blocks,
        wrong_checksums,
        malformed_frames,
        foreign,
        strangers,
        naks_sent,
        naks_received,
        acks_sent,
        reductions,
        reductions_undone,
    } = *session;
    sink.counter(&m::DELIVERED, delivered);
    sink.counter(&m::REPAIRED, repaired);
    sink.counter(&m::REPAIRS_SENT, repairs_sent);
    sink.counter(&m::REPAIRS_LENT, repairs_lent);
    sink.counter(&m::DUPLICATES, duplicates);
    sink.counter(&m::BEYOND, beyond);
    sink.counter(&m::REFUSED_LOW, refused_low);
    sink.counter(&m::MALFORMED_BLOCKS, malformed_blocks);
    sink.counter(&m::WRONG_CHECKSUMS, wrong_checksums);
    sink.counter(&m::MALFORMED_FRAMES, malformed_frames);
    sink.counter(&m::FOREIGN, foreign);
    sink.counter(&m::STRANGERS, strangers);
    sink.counter(&m::NAKS_SENT, naks_sent);
    sink.counter(&m::NAKS_RECEIVED, naks_received);
    sink.counter(&m::ACKS_SENT, acks_sent);
    sink.counter(&m::REDUCTIONS, reductions);
    sink.counter(&m::REDUCTIONS_UNDONE, reductions_undone);
}
