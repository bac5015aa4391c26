//! Who looks at a group from outside asks who is in it, again and again, and is told by all who are.
//!
//! What is told in the time of one question is taken together: of each life of the group the latest view, which is wedged where all say so
//! who have come to it.
//!
//! Where it is asked at places, and where nobody has answered by multicast, those are asked too who were seen last: a group is out of sight when
//! nobody of it answers, not when the one at a place is gone.

use crate::agreement::{Message, Roster};
use crate::post::Post;
use sistrum_ordering::{Endpoint, GroupId, GroupInstance, Rank, ViewId, ViewMember, ViewNumber};
use sistrum_transport::medium::Channel;
use sistrum_transport::protocol::Target;
use sistrum_transport::time::Instant;
use sistrum_transport::wire::Header;
use std::collections::{BTreeMap, VecDeque};

/// A group that has not answered so many questions is out of sight.
const MAX_UNANSWERED: u32 = 10;
/// Lives of one group that are told apart; there is one, where nothing is wrong.
const MAX_LIVES: usize = 16;
/// Of those who were seen so many are asked at once, in turn: of most groups all, as a multicast asks all.
const MAX_ASKED: usize = 16;

/// Where a group is looked for.
#[derive(Debug, Clone)]
pub struct ObserverConfig {
    /// The group's name.
    pub name: String,
    /// Where I ask from.
    pub local: Endpoint,
    /// Where somebody of the group may be.
    pub seeds: Vec<Endpoint>,
    /// Reaches all of the group, where it is by multicast.
    pub channel: Option<Channel>,
    /// Index of the group among those of its node.
    pub index: u16,
    /// Bytes of a block.
    pub block: usize,
    /// Seed of the random delays.
    pub seed: u64,
}

/// A group as it is seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Its view.
    pub view: ViewId,
    /// Who is in it, by rank.
    pub members: Vec<ViewMember>,
    /// All who were heard say that they cannot go on: they are too few, or what they lack of the next view is held by nobody.
    pub is_wedged: bool,
}

/// What has come to be known.
#[derive(Debug)]
pub(crate) enum News {
    Seen(Sighting),
    Unseen(ViewId),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Looking {
    pub(crate) config: ObserverConfig,
    pub(crate) id: GroupId,
    post: Post,
    asks_at: Instant,
    /// It asks again after this time, or up to half as much more.
    every_ns: u64,
    /// What has come since I asked last.
    answers: BTreeMap<GroupInstance, Sighting>,
    /// What was told, and how many questions were not answered since.
    known: BTreeMap<GroupInstance, (Sighting, u32)>,
    /// Who was in the last one that went out of sight, while none is in it.
    lost: Vec<Endpoint>,
    /// Where to go on among those who were seen.
    turn: usize,
    news: VecDeque<News>,
}

impl Looking {
    /// Begins to look, at this pace: members answer one who looks at a time.
    pub(crate) fn new(config: ObserverConfig, every_ns: u64) -> Self {
        Self {
            id: GroupId::of(&config.name),
            post: Post::new(config.local, config.block),
            config,
            asks_at: Instant::default(),
            every_ns,
            answers: BTreeMap::new(),
            known: BTreeMap::new(),
            lost: Vec::new(),
            turn: 0,
            news: VecDeque::new(),
        }
    }

    /// Looks at another pace; at a faster one from now on.
    pub(crate) fn set_pace(&mut self, now: Instant, every_ns: u64) {
        if every_ns < self.every_ns {
            self.ask_by(now);
        }
        self.every_ns = every_ns;
    }

    /// Forgets all, and asks nobody any more. Returns what is to be closed.
    pub(crate) fn stop(&mut self) -> Option<Channel> {
        let channel = self.config.channel.take();
        let config = ObserverConfig { seeds: Vec::new(), ..self.config.clone() };
        *self = Self::new(config, self.every_ns);
        channel
    }

    /// Asks again, and takes what has come, by this time at the latest.
    pub(crate) fn ask_by(&mut self, due: Instant) {
        self.asks_at = self.asks_at.min(due);
    }

    /// Takes a block of the group, of whomever. Returns the message that it completes.
    pub(crate) fn receive(&mut self, from: Endpoint, header: &Header, block: &[u8]) -> Option<Message> {
        self.post.receive(from, true, header, block)
    }

    /// Takes a message, where it says who is in the group.
    pub(crate) fn handle(&mut self, from: Endpoint, header: &Header, message: &Message) {
        if let Message::Found { instance, roster, wedged } = message
            && *instance == header.instance
            && roster.is_sound()
            // Whoever says who is in it, is in it.
            && roster.rank_of(from).is_some()
        {
            self.take(*instance, roster, *wedged);
        }
    }

    fn take(&mut self, instance: GroupInstance, roster: &Roster, is_wedged: bool) {
        let view = ViewId { group: self.id, instance, number: roster.number };
        let is_old = |known: &Sighting| known.view.number > view.number;
        if let Some(known) = self.answers.get_mut(&instance)
            && known.view.number >= view.number
        {
            known.is_wedged &= is_wedged || is_old(known);
            return;
        }
        if self.answers.len() < MAX_LIVES || self.answers.contains_key(&instance) {
            let members = roster.members.iter().map(|known| known.member).collect();
            self.answers.insert(instance, Sighting { view, members, is_wedged });
        }
    }

    /// Takes together what has come to the last question.
    fn conclude(&mut self) {
        for (instance, (known, unanswered)) in &mut self.known {
            *unanswered += 1;
            match self.answers.remove(instance) {
                // A member of an earlier view answers later than one of a later view has done.
                Some(seen) if seen.view.number >= known.view.number => {
                    *unanswered = 0;
                    if seen != *known {
                        known.clone_from(&seen);
                        self.news.push_back(News::Seen(seen));
                    }
                }
                _ if *unanswered == MAX_UNANSWERED => {
                    self.lost = known.members.iter().map(|member| member.endpoint).collect();
                    self.news.push_back(News::Unseen(known.view));
                }
                _ => {}
            }
        }
        self.known.retain(|_, (_, unanswered)| *unanswered < MAX_UNANSWERED);
        for (instance, seen) in std::mem::take(&mut self.answers) {
            if self.known.len() < MAX_LIVES {
                self.news.push_back(News::Seen(seen.clone()));
                self.known.insert(instance, (seen, 0));
            }
        }
        if !self.known.is_empty() {
            self.lost.clear();
        }
    }

    fn ask(&mut self) {
        let names = (self.id, GroupInstance::default(), ViewNumber(0), Rank(0));
        let seen = self.places_seen();
        let places = self.config.seeds.iter().filter(|seed| **seed != self.config.local).chain(&seen);
        let channel = self.config.channel.map(Target::Channel).into_iter();
        for to in channel.chain(places.map(|place| Target::One(*place))) {
            self.post.send(to, names, &Message::Lookup);
        }
    }

    /// Where else to ask: at those who were seen, next to the seeds.
    fn places_seen(&mut self) -> Vec<Endpoint> {
        let is_by_places = self.config.channel.is_none();
        let known = self.known.values().filter(|(_, unanswered)| is_by_places || *unanswered > 0);
        let members = known.flat_map(|(known, _)| known.members.iter().map(|member| member.endpoint));
        let is_else = |place: &Endpoint| *place != self.config.local && !self.config.seeds.contains(place);
        let mut places: Vec<Endpoint> = members.chain(self.lost.iter().copied()).filter(is_else).collect();
        places.sort_unstable();
        places.dedup();
        if places.len() > MAX_ASKED {
            let first = self.turn % places.len();
            places.rotate_left(first);
            places.truncate(MAX_ASKED);
            self.turn = self.turn.wrapping_add(MAX_ASKED);
        }
        places
    }

    /// Asks, where it is time to.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.asks_at <= now {
            self.conclude();
            self.ask();
            self.config.seed = self.config.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            self.asks_at = now.plus_ns(self.every_ns + (self.config.seed >> 33) % (self.every_ns / 2));
        }
    }

    pub(crate) fn poll_timeout(&self) -> Instant {
        self.asks_at
    }

    /// What is to be told next; it stays until it is [`told`](Self::told).
    pub(crate) fn news(&self) -> Option<&News> {
        self.news.front()
    }

    /// That was told.
    pub(crate) fn told(&mut self) {
        self.news.pop_front();
    }

    /// What is known of each life of the group.
    pub(crate) fn known(&self) -> impl Iterator<Item = &Sighting> {
        self.known.values().map(|(sighting, _)| sighting)
    }

    /// Takes the next block to be sent.
    pub(crate) fn take_block(&mut self) -> Option<Target> {
        self.post.take()
    }

    /// The block that was taken last.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.post.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agreement::Introduction;
    use sistrum_ordering::BootId;

    fn roster(number: u32, ports: &[u16]) -> Roster {
        let one = |port: &u16| {
            Introduction::of(ViewMember {
                endpoint: Endpoint(([127, 0, 0, 1], *port).into()),
                boot: BootId(1),
            })
        };
        let members = ports.iter().map(one).collect();
        Roster { number: ViewNumber(number), members, joining: Vec::new() }
    }

    fn looking() -> Looking {
        let local = Endpoint(([127, 0, 0, 1], 9).into());
        let (name, seeds) = ("ticks".to_owned(), Vec::new());
        let config =
            ObserverConfig { name, local, seeds, channel: Some(Channel(0)), index: 0, block: 700, seed: 1 };
        Looking::new(config, 80_000_000)
    }

    /// What is told after one more question, as life, number, members and whether it is wedged.
    fn told(looking: &mut Looking) -> Vec<(u32, u32, usize, bool)> {
        looking.conclude();
        let news = std::mem::take(&mut looking.news).into_iter();
        news.map(|news| match news {
            News::Seen(Sighting { view, members, is_wedged }) => {
                (view.instance.0, view.number.0, members.len(), is_wedged)
            }
            News::Unseen(view) => (view.instance.0, view.number.0, 0, false),
        })
        .collect()
    }

    #[test]
    fn the_latest_view_is_told_and_only_what_has_changed() {
        let (mut looking, life) = (looking(), GroupInstance(7));
        looking.take(life, &roster(3, &[1, 2]), false);
        looking.take(life, &roster(2, &[1]), true);
        assert_eq!(told(&mut looking), [(7, 3, 2, false)]);
        looking.take(life, &roster(3, &[1, 2]), false);
        assert_eq!(told(&mut looking), []);
        looking.take(life, &roster(2, &[1]), false);
        assert_eq!(told(&mut looking), [], "it is behind");
        looking.take(life, &roster(4, &[1]), false);
        assert_eq!(told(&mut looking), [(7, 4, 1, false)]);
    }

    #[test]
    fn it_is_wedged_where_all_of_the_latest_view_say_so() {
        let (mut looking, life) = (looking(), GroupInstance(7));
        for (first, second, is_wedged) in [(true, false, false), (true, true, true), (false, true, false)] {
            looking.take(life, &roster(3, &[1, 2]), first);
            looking.take(life, &roster(3, &[1, 2]), second);
            // Who is behind does not count.
            looking.take(life, &roster(2, &[1]), false);
            looking.conclude();
            assert_eq!(looking.known[&life].0.is_wedged, is_wedged);
        }
    }

    /// Who is asked alone by the next question.
    fn asked(looking: &mut Looking) -> Vec<u16> {
        looking.conclude();
        looking.ask();
        let targets = std::iter::from_fn(|| looking.take_block());
        targets.filter_map(|to| if let Target::One(to) = to { Some(to.0.port()) } else { None }).collect()
    }

    #[test]
    fn at_places_those_who_were_seen_are_asked_too_until_somebody_answers() {
        let mut looking = looking();
        looking.config.channel = None;
        looking.config.seeds = roster(1, &[1, 9]).members.iter().map(|known| known.member.endpoint).collect();
        assert_eq!(asked(&mut looking), [1], "not myself");
        looking.take(GroupInstance(7), &roster(3, &[3, 1, 2]), false);
        assert_eq!(asked(&mut looking), [1, 2, 3]);
        for _ in 0..2 * MAX_UNANSWERED {
            assert_eq!(asked(&mut looking), [1, 2, 3], "out of sight they are looked for still");
        }
        assert!(looking.known.is_empty());
        looking.take(GroupInstance(8), &roster(1, &[1, 4]), false);
        assert_eq!(asked(&mut looking), [1, 4]);
        let many: Vec<u16> = (100..130).collect();
        looking.take(GroupInstance(8), &roster(2, &many), false);
        let all: Vec<u16> = (0..4).flat_map(|_| asked(&mut looking)).collect();
        assert_eq!(all.len(), 4 * (1 + MAX_ASKED));
        assert!(many.iter().all(|one| all.contains(one)), "each has its turn");
    }

    #[test]
    fn by_multicast_one_alone_is_asked_only_where_nobody_has_answered() {
        let mut looking = looking();
        let life = GroupInstance(7);
        for _ in 0..3 {
            looking.take(life, &roster(3, &[1, 2]), false);
            assert_eq!(asked(&mut looking), []);
        }
        assert_eq!(asked(&mut looking), [1, 2]);
        looking.take(life, &roster(3, &[1, 2]), false);
        assert_eq!(asked(&mut looking), []);
    }

    #[test]
    fn lives_are_told_apart_and_a_group_that_is_silent_is_out_of_sight_once() {
        let mut looking = looking();
        looking.take(GroupInstance(1), &roster(2, &[1, 2]), false);
        looking.take(GroupInstance(2), &roster(5, &[3]), false);
        assert_eq!(told(&mut looking), [(1, 2, 2, false), (2, 5, 1, false)]);
        for _ in 1..MAX_UNANSWERED {
            looking.take(GroupInstance(2), &roster(5, &[3]), false);
            assert_eq!(told(&mut looking), []);
        }
        looking.take(GroupInstance(2), &roster(5, &[3]), false);
        assert_eq!(told(&mut looking), [(1, 2, 0, false)]);
        looking.take(GroupInstance(1), &roster(2, &[1, 2]), false);
        assert_eq!(told(&mut looking), [(1, 2, 2, false)], "it is back");
        (3..99).for_each(|life| looking.take(GroupInstance(life), &roster(1, &[1]), false));
        looking.conclude();
        assert_eq!(looking.known.len(), MAX_LIVES, "a liar takes no memory");
    }
}
