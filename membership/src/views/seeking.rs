//! Who is in no view looks for the group, or for others to make it with.
//!
//! It asks to be let in where the group may be, again and again. Whoever asks the same is a *candidate*. Where no sign of a running group
//! was seen for a while, and there are as many candidates as are expected, the least of those who may make the group makes it: alone
//! in the first view, which nobody is told of, and then with the others, as with everybody who joins.
//!
//! Who was in a group that went on without it knows a *life* of the group that may be running out of its sight. It says so, and as long as it
//! does, no other life is begun: it would be a second group of one name. Where that life has ended, restart it, or leave and join again.

use crate::agreement::{Introduction, Message, Op};
use crate::config::Peers;
use crate::looking::Sighting;
use sistrum_ordering::{Endpoint, GroupInstance, ViewNumber};
use sistrum_transport::medium::Channel;
use sistrum_transport::protocol::Target;
use sistrum_transport::time::Instant;

/// The first request is repeated after this time, and then at doubled distances.
const FIRST_WAIT_NS: u64 = 2_000_000;
/// The longest distance between two requests.
const MAX_WAIT_NS: u64 = 100_000_000;
/// A group that runs is looked for so long before another is made.
const SETTLE_NS: u64 = 200_000_000;
/// What was seen of a group, or heard of a candidate, counts for this time.
const FRESH_NS: u64 = 1_000_000_000;
/// Answers to what I said before I began to ask come within this time.
const LATE_NS: u64 = 20_000_000;
/// A candidate is answered again after this time.
const ANSWER_EVERY_NS: u64 = 20_000_000;
/// Candidates that are kept.
const MAX_CANDIDATES: usize = crate::agreement::MAX_MEMBERS;

/// See the module.
#[derive(Debug)]
pub(crate) struct Seeking {
    pub(crate) mine: Introduction,
    /// The life of the group that I was in.
    pub(crate) life: Option<GroupInstance>,
    /// Where its others were when I last knew, and who has shown itself to be in one.
    pub(crate) others: Vec<Endpoint>,
    began: Option<Instant>,
    next_at: Instant,
    wait_ns: u64,
    candidates: Vec<Candidate>,
    group_seen_at: Option<Instant>,
    /// What was told of a group that cannot go on, and when.
    stuck: Option<(Sighting, Instant)>,
}

#[derive(Debug)]
struct Candidate {
    introduction: Introduction,
    /// Whether it was in a group.
    has_life: bool,
    heard_at: Instant,
    answered_at: Instant,
}

impl Seeking {
    /// As `mine`, who was in this `life` of the group before, with these `others`.
    pub(crate) fn new(mine: Introduction, life: Option<GroupInstance>, others: Vec<Endpoint>) -> Self {
        Self {
            mine,
            life,
            others,
            began: None,
            next_at: Instant::default(),
            wait_ns: FIRST_WAIT_NS,
            candidates: Vec::new(),
            group_seen_at: None,
            stuck: None,
        }
    }

    /// What it says.
    pub(crate) fn request(&self) -> Message {
        Message::Request { number: ViewNumber(0), op: Op::Join(self.mine) }
    }

    /// Something came of a group that runs.
    pub(crate) fn saw_group(&mut self, now: Instant) {
        self.group_seen_at = Some(now);
    }

    /// The group is seen to be like this. Returns it where it cannot go on and that is to be told: what was told before is not told again, nor
    /// another view while that is fresh, unless it is the later one.
    pub(crate) fn saw_stuck(&mut self, now: Instant, seen: Sighting) -> Option<Sighting> {
        let is_news = match &self.stuck {
            None => seen.is_wedged,
            Some((told, _)) if *told == seen => false,
            Some((told, at)) => {
                let (seen, told) = (seen.view, told.view);
                let is_later = seen.instance == told.instance && seen.number >= told.number;
                is_later || now.since_ns(*at) >= FRESH_NS
            }
        };
        if !is_news {
            return None;
        }
        self.stuck = Some((seen.clone(), now));
        Some(seen)
    }

    /// A member of a group that runs is there: it can be asked.
    pub(crate) fn saw_member(&mut self, now: Instant, from: Endpoint) {
        self.saw_group(now);
        if !self.others.contains(&from) && self.others.len() < MAX_CANDIDATES {
            self.others.push(from);
            self.wait_ns = FIRST_WAIT_NS;
            self.next_at = now;
        }
    }

    /// Somebody else looks for the group; tells whether to answer.
    pub(crate) fn on_request(&mut self, now: Instant, theirs: Introduction, has_life: bool) -> bool {
        let place = theirs.member.endpoint;
        if place == self.mine.member.endpoint {
            return false;
        }
        let known = self.candidates.iter_mut().find(|known| known.introduction.member.endpoint == place);
        if let Some(known) = known {
            // What an earlier incarnation sent, late.
            if known.introduction.member.boot > theirs.member.boot {
                return false;
            }
            (known.introduction, known.has_life, known.heard_at) = (theirs, has_life, now);
            let answers = now.since_ns(known.answered_at) >= ANSWER_EVERY_NS;
            if answers {
                known.answered_at = now;
            }
            return answers;
        }
        if self.candidates.len() < MAX_CANDIDATES {
            let (introduction, heard_at) = (theirs, now);
            self.candidates.push(Candidate { introduction, has_life, heard_at, answered_at: now });
            // Who comes late finds those who have waited long.
            self.wait_ns = FIRST_WAIT_NS;
        }
        true
    }

    /// Whether it is time to ask again.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        self.began.get_or_insert(now);
        if self.next_at > now {
            return false;
        }
        self.next_at = now.plus_ns(self.wait_ns);
        self.wait_ns = (self.wait_ns * 2).min(MAX_WAIT_NS);
        true
    }

    /// Whether I have asked for long enough that what comes is an answer to that, and not to what I said before.
    pub(crate) fn has_asked(&self, now: Instant) -> bool {
        self.began.is_some_and(|began| now.since_ns(began) >= LATE_NS)
    }

    pub(crate) fn poll_timeout(&self) -> Instant {
        self.next_at
    }

    /// Where to ask.
    pub(crate) fn targets(&self, peers: &Peers, channel: Channel) -> Vec<Target> {
        let me = self.mine.member.endpoint;
        let seeds =
            peers.seeds.iter().chain(&self.others).filter(|seed| **seed != me).map(|seed| Target::One(*seed));
        peers.is_multicast.then_some(Target::Channel(channel)).into_iter().chain(seeds).collect()
    }

    /// Those with whom I make the group, if I am the one to make it, now.
    pub(crate) fn makes(&self, now: Instant, peers: &Peers) -> Option<Vec<Introduction>> {
        let began = self.began?;
        let is_fresh = |at: Instant| now.since_ns(at) < FRESH_NS;
        if now.since_ns(began) < SETTLE_NS || self.group_seen_at.is_some_and(is_fresh) {
            return None;
        }
        let fresh = || self.candidates.iter().filter(|known| is_fresh(known.heard_at));
        if self.life.is_some() || fresh().any(|known| known.has_life) {
            return None;
        }
        let others: Vec<Introduction> = fresh().map(|known| known.introduction).collect();
        let is_enough = others.len() + 1 >= peers.expected;
        (is_enough && self.is_maker(&others, peers)).then_some(others)
    }

    fn is_maker(&self, others: &[Introduction], peers: &Peers) -> bool {
        let may = |place: &Endpoint| peers.seeds.is_empty() || peers.seeds.contains(place);
        let me = self.mine.member.endpoint;
        let least = others.iter().map(|known| known.member.endpoint).filter(may).min();
        may(&me) && least.is_none_or(|least| me < least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sistrum_ordering::{BootId, GroupId, ViewId, ViewMember};

    const MS: u64 = 1_000_000;

    fn introduction(port: u16, boot: u64) -> Introduction {
        let member = ViewMember { endpoint: Endpoint(([127, 0, 0, 1], port).into()), boot: BootId(boot) };
        Introduction::of(member)
    }

    fn at(ms: u64) -> Instant {
        Instant::default().plus_ns((10_000 + ms) * MS)
    }

    fn began(port: u16) -> Seeking {
        let mut seeking = Seeking::new(introduction(port, 1), None, Vec::new());
        assert!(seeking.is_due(at(0)));
        seeking
    }

    #[test]
    fn the_least_of_enough_makes_the_group_where_there_is_none() {
        let (mut least, mut other) = (began(1), began(2));
        let peers = Peers { expected: 3, ..Peers::default() };
        for (seeking, place) in [(&mut least, 2), (&mut other, 1)] {
            assert!(seeking.on_request(at(1), introduction(place, 1), false));
            assert_eq!(seeking.makes(at(300), &peers), None, "two of three");
            assert!(seeking.on_request(at(100), introduction(3, 1), false));
        }
        assert_eq!(least.makes(at(150), &peers), None, "too early");
        assert_eq!(least.makes(at(300), &peers).unwrap().len(), 2);
        assert_eq!(other.makes(at(300), &peers), None, "not the least");
        assert_eq!(least.makes(at(1_050), &peers), None, "one was not heard for a second");
        assert!(
            least.on_request(at(1_100), introduction(2, 1), false)
                && least.on_request(at(1_100), introduction(3, 1), false)
        );
        least.on_request(at(1_105), introduction(2, 2), true);
        assert_eq!(least.makes(at(1_106), &peers), None, "one of them knows a life of the group");
        least.on_request(at(1_107), introduction(2, 3), false);
        assert!(least.makes(at(1_108), &peers).is_some());
        least.saw_group(at(1_110));
        assert_eq!(least.makes(at(1_120), &peers), None, "there is one");
    }

    #[test]
    fn of_a_group_that_cannot_go_on_is_told_what_is_new() {
        let mut seeking = began(1);
        let seen = |life, number, is_wedged| {
            let view =
                ViewId { group: GroupId(1), instance: GroupInstance(life), number: ViewNumber(number) };
            Sighting { view, members: vec![introduction(2, 1).member], is_wedged }
        };
        let mut told = |ms, seen: Sighting| seeking.saw_stuck(at(ms), seen.clone()) == Some(seen);
        assert!(!told(1, seen(7, 3, false)), "it goes on");
        assert!(told(2, seen(7, 3, true)) && !told(3, seen(7, 3, true)));
        assert!(told(4, seen(7, 4, true)), "the later view");
        assert!(!told(5, seen(7, 3, true)) && !told(6, seen(8, 1, true)), "one after the other");
        assert!(told(7, seen(7, 4, false)) && told(8, seen(7, 4, true)));
        assert!(!told(1_007, seen(8, 1, true)) && told(1_008, seen(8, 1, true)));
    }

    #[test]
    fn a_seed_makes_the_group_where_seeds_are_named() {
        let (mut one, mut seed) = (began(1), began(2));
        let peers = Peers {
            seeds: vec![introduction(2, 1).member.endpoint, introduction(4, 1).member.endpoint],
            is_multicast: false,
            ..Peers::default()
        };
        one.on_request(at(1), introduction(2, 1), false);
        seed.on_request(at(1), introduction(1, 1), false);
        assert_eq!(one.makes(at(300), &peers), None);
        assert_eq!(seed.makes(at(300), &peers), Some(vec![introduction(1, 1)]));
        assert_eq!(seed.targets(&peers, Channel(0)), [Target::One(peers.seeds[1])], "not myself");
    }

    #[test]
    fn a_newer_incarnation_takes_the_place_of_the_older() {
        let mut seeking = began(1);
        assert!(seeking.on_request(at(1), introduction(2, 5), false));
        assert!(!seeking.on_request(at(2), introduction(2, 6), false), "it was answered just now");
        assert!(!seeking.on_request(at(50), introduction(2, 5), false), "late");
        assert!(seeking.on_request(at(50), introduction(2, 6), false));
        let with = seeking.makes(at(300), &Peers::default()).unwrap();
        assert_eq!(with, [introduction(2, 6)]);
    }
}
