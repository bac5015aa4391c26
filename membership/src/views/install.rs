//! How a view begins: the first one, and each that follows another.

use super::event::Notice;
use super::flow::Closed;
use super::seat::Seat;
use super::seeking::Seeking;
use super::{Ask, Hands, Views};
use crate::agreement::{Agreement, Installed, Introduction, Message, Op, Outcome, Roster};
use crate::config::Peers;
use crate::detector::Detector;
use crate::looking::Sighting;
use crate::running::Running;
use crate::step::{Step, reached};
use sistrum_ordering::{Change, Endpoint, GroupInstance, Rank, View, ViewId, ViewMember, ViewNumber};
use sistrum_transport::mutated;
use sistrum_transport::protocol::Target;
use sistrum_transport::wire::Header;

impl Views {
    /// Asks to be let in, and makes the group where there is none.
    pub(super) fn seek(&mut self, hands: &mut Hands<'_>) {
        let Some(seeking) = &mut self.seeking else { return };
        if !seeking.is_due(hands.now) {
            return;
        }
        if let Some(others) = seeking.makes(hands.now, &self.peers) {
            return self.make(hands, &others);
        }
        reached(Step::JoinAsked);
        let (request, targets) = (seeking.request(), seeking.targets(&self.peers, hands.config.channel));
        for to in targets {
            self.say(hands, to, &request);
        }
    }

    /// Makes the group: alone at first, then with the others who seek it.
    fn make(&mut self, hands: &mut Hands<'_>, others: &[Introduction]) {
        let (number, members) = (ViewNumber(1), vec![self.mine]);
        let instance = self.mine.member.boot.instance();
        let is_formed = self.peers.expected <= 1;
        let roster = Roster { number, members, joining: Vec::new() };
        self.enter(hands, instance, roster, Rank(0), Vec::new(), is_formed);
        let Some(seat) = &mut self.seat else { return };
        // All in one change, not the first before the others.
        for other in others {
            seat.agreement.request(hands.now, Op::Join(*other), &mut Closed);
        }
    }

    pub(super) fn handle_while_seeking(
        &mut self,
        hands: &mut Hands<'_>,
        from: Endpoint,
        header: &Header,
        message: Message,
    ) {
        let Some(seeking) = &mut self.seeking else { return };
        match message {
            Message::Request { number: ViewNumber(0), op: Op::Join(theirs) } => {
                let has_life = header.instance != GroupInstance::default();
                if seeking.on_request(hands.now, theirs, has_life) {
                    let request = seeking.request();
                    self.say(hands, Target::One(theirs.member.endpoint), &request);
                }
            }
            Message::Welcome { instance, roster, gone, formed } => {
                seeking.saw_group(hands.now);
                let mine = seeking.mine.member;
                let fits = roster.members.iter().all(|known| hands.config.conflict_with(known).is_none());
                let is_sound = fits && roster.is_sound();
                if let Some(me) = roster.rank_of_member(mine).filter(|_| is_sound) {
                    reached(Step::WelcomeReceived);
                    self.enter(hands, instance, roster, me, gone, formed);
                }
            }
            Message::Excluded { .. } => {
                seeking.saw_group(hands.now);
                // I was in the group, and it has gone on: somebody new may come.
                let is_answer = from != hands.config.local && seeking.has_asked(hands.now);
                if is_answer && !mutated!(ReuseIncarnation) {
                    // Whoever was here before may have had a clock that was far ahead.
                    let boot = &mut self.mine.member.boot.0;
                    *boot = boot.saturating_add(1 << self.refusals.min(60));
                    self.refusals += 1;
                    let (life, others) = (seeking.life, std::mem::take(&mut seeking.others));
                    self.seeking = Some(Seeking::new(self.mine, life, others));
                }
            }
            _ => seeking.saw_member(hands.now, from),
        }
    }

    /// Whoever would join a group that cannot go on is told so.
    pub(super) fn show_stuck(&mut self, hands: &Hands<'_>, from: Endpoint, message: &Message) {
        if let Message::Request { op: Op::Join(theirs), .. } = message
            && theirs.member.endpoint == from
            && self.seat.as_ref().is_some_and(|seat| seat.agreement.is_wedged())
        {
            self.show(hands, from);
        }
    }

    /// A member says who is in the group that I look for.
    pub(super) fn hear_found(
        &mut self,
        hands: &Hands<'_>,
        (from, header): (Endpoint, &Header),
        (instance, roster): (GroupInstance, Roster),
        is_wedged: bool,
    ) {
        let Some(seeking) = &mut self.seeking else { return };
        if instance != header.instance || !roster.is_sound() || roster.rank_of(from).is_none() {
            return;
        }
        seeking.saw_group(hands.now);
        let view = ViewId { group: hands.id, instance, number: roster.number };
        let members = roster.members.iter().map(|known| known.member).collect();
        if let Some(news) = seeking.saw_stuck(hands.now, Sighting { view, members, is_wedged }) {
            self.notices.push_back(Notice::Stuck(news));
        }
    }

    /// Takes my place in the first view that I am in.
    fn enter(
        &mut self,
        hands: &mut Hands<'_>,
        instance: GroupInstance,
        roster: Roster,
        me: Rank,
        gone: Vec<ViewMember>,
        is_formed: bool,
    ) {
        (self.seeking, self.refusals) = (None, 0);
        let id = ViewId { group: hands.id, instance, number: roster.number };
        let members = roster.members.iter().map(|known| known.member).collect();
        let view = View::new(id, members, me)
            .with_joining(roster.joining.clone())
            .with_stateless(roster.stateless().collect());
        let mut running = Running::new(hands.config, view, &roster.members, self.memory.take());
        running.is_open = is_formed;
        show_what_is_firm(&mut running, &roster, &self.peers);
        running.session.sender().hold_casts(self.peers.held_casts);
        let detector = Detector::new(hands.now, roster.members.len(), me, self.peers.detector);
        let (tuning, seed) = (self.peers.agreement, hands.config.seed);
        let agreement = Agreement::new(instance, roster, me, tuning, seed).welcomed(gone);
        let agreement = if is_formed { agreement } else { agreement.forming() };
        let seat = Seat::new(hands.now, agreement, detector, instance);
        self.transfers.enter(seat.here(hands.config));
        self.seat = Some(seat);
        self.begin(hands, running);
    }

    pub(super) fn take_outcome(&mut self, hands: &mut Hands<'_>, outcome: Outcome) {
        match outcome {
            Outcome::Install(installed) => self.install(hands, installed),
            // Of a view that was not told there is nothing to tell.
            Outcome::Wedged { .. } | Outcome::Resumed
                if !hands.running.as_ref().is_some_and(|running| running.told) => {}
            Outcome::Wedged { heard } => self.notices.push_back(Notice::Wedged(heard)),
            Outcome::Resumed => self.notices.push_back(Notice::Resumed),
            Outcome::Excluded { number } => self.part(hands, Some(number)),
            Outcome::Left { is_last: true } => self.part(hands, None),
            Outcome::Left { is_last: false } => {
                if let Some(seat) = &mut self.seat {
                    (seat.left_at, seat.asked_at, seat.counts_heard) = (Some(hands.now), hands.now, true);
                    seat.look_soon();
                }
            }
        }
    }

    /// Goes on in the next view: its streams are there from now on, and the old view is delivered to its end first.
    fn install(&mut self, hands: &mut Hands<'_>, installed: Installed) {
        let Installed { roster, me, value, gone } = installed;
        if let Some(older) = self.old.take() {
            self.retire(older, hands.pool);
        }
        let (Some(seat), Some(mut old)) = (&mut self.seat, hands.running.take()) else { return };
        old.session.finish(&value.cut, hands.pool);
        let was_joining = |member: ViewMember| {
            old.view.joining().iter().any(|rank| old.view.member(*rank) == Some(&member))
        };
        let readied = roster.readied(was_joining);
        let came: Vec<Rank> = roster.ranks().skip(roster.members.len() - value.joined.len()).collect();
        let id = ViewId { number: roster.number, ..old.view.id() };
        let members = roster.members.iter().map(|known| known.member).collect();
        let has_state = self.transfers.install(seat.here(hands.config), &came, hands.pool);
        let change = Change { came, gone, readied };
        // Of a view that nobody was told of, nobody comes along.
        let (view, untold) = match old.told {
            true => (View::changed(id, members, me, change), None),
            false => (View::new(id, members, me), Some(change)),
        };
        let view = view.with_joining(roster.joining.clone()).with_stateless(roster.stateless().collect());
        (self.untold, self.owes_old) = (untold, old.is_open);
        let mut next = Running::new(hands.config, view, &roster.members, self.memory.take());
        next.is_open = value.formed;
        show_what_is_firm(&mut next, &roster, &self.peers);
        next.is_leaving = old.is_leaving;
        let mut detector = Detector::new(hands.now, roster.members.len(), me, self.peers.detector);
        for (rank, known) in roster.ranks().zip(&roster.members) {
            let was = old.view.members().iter().position(|member| *member == known.member);
            if let Some(was) = was.map(|was| Rank(was as u16)) {
                detector.carry(rank, &seat.detector, was);
            }
            if seat.agreement.is_suspected(rank) {
                next.suspect(rank);
                detector.suspect(hands.now, rank);
            }
        }
        seat.detector = detector;
        (seat.installed_at, seat.stops_sends, seat.is_to_look) = (hands.now, false, true);
        seat.counts_heard = seat.agreement.has_laggards();
        seat.look_soon();
        next.session.sender().hold_casts(self.peers.held_casts);
        next.session.sender().cast_held(old.session.sender());
        if self.is_leaving {
            next.session.close();
        }
        next.flushes = old.flushes.succeed(&next.own_mark());
        let held = self.my_syncs.split_off(self.my_syncs.len() - std::mem::take(&mut self.held_syncs));
        self.my_syncs.retain(|mine| !value.syncs.contains(mine));
        self.asks.extend(held.iter().cloned().map(|cast| Ask::Do(Op::Sync(cast))));
        self.my_syncs.extend(held);
        let number = next.view.id().number;
        self.syncs.extend(value.syncs.into_iter().map(|sync| (number, sync)));
        (self.old, self.is_old_drained) = (Some(old), false);
        self.begin(hands, next);
        if !has_state {
            // Those who would have given it are gone: from the beginning, at the cut of another view.
            self.part(hands, Some(number));
        }
    }

    /// The streams of a view begin.
    fn begin(&mut self, hands: &mut Hands<'_>, running: Running) {
        let others = running.view.members().iter().map(|member| member.endpoint);
        self.others = others.filter(|other| *other != hands.config.local).collect();
        self.has_route = !self.peers.is_multicast;
        let number = running.view.id().number;
        *hands.running = Some(running);
        for (from, header, block) in std::mem::take(&mut self.parked) {
            if header.view == number {
                self.handle_block(hands, from, &header, block);
            } else {
                hands.pool.release(block);
            }
        }
    }
}

/// Where others may read, they are told how much of my stream no cut can leave out.
fn show_what_is_firm(running: &mut Running, roster: &Roster, peers: &Peers) {
    if peers.is_multicast {
        running.session.set_votes(roster.votes());
    }
}
