//! Readers that take too slowly, over real sockets, under each contract: members do not notice, and nothing is unaccounted for.

use crate::cluster::{Cluster, Member, config, multicast, open, refusal};
use sistrum::{
    Error, Event, Group, JoinOptions, Key, Lag, LagState, Node, PER_MESSAGE, Rank, Standing, Tripped,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

const LEN: usize = 500;

/// A reader with an application that takes what it is told to.
struct Slow {
    node: Node,
    group: Group,
    takes: bool,
    /// Streams that it reads.
    entered: usize,
    /// Numbers of the messages that it took, and what else it was told, in words.
    taken: Vec<u32>,
    told: Vec<String>,
    lost: u64,
}

impl Slow {
    fn new(at: SocketAddr, lag: Lag) -> Self {
        let mut node = open(&config());
        let group = node.join("ticks", JoinOptions::reader().multicast(at).lag(lag)).unwrap();
        Self { node, group, takes: true, entered: 0, taken: Vec::new(), told: Vec::new(), lost: 0 }
    }

    fn poll(&mut self) {
        let Self { node, takes, entered, taken, told, lost, .. } = self;
        let polled = node.poll(|_, event| {
            match event {
                _ if !*takes => return Err(Error::Busy),
                Event::Deliver(message) => {
                    let bytes = message.bytes();
                    taken.push(u32::from_le_bytes(bytes[..4].try_into().unwrap()));
                    assert!(bytes[4..].iter().all(|byte| *byte == bytes[0]));
                }
                Event::Reading(..) => *entered += 1,
                Event::Gap(_, blocks) => panic!("{blocks} blocks are lost"),
                Event::Lost(from, messages) => {
                    assert_eq!(from, Rank(0));
                    *lost += messages;
                }
                Event::Lagging(_) => told.push("lagging".into()),
                Event::Replaying(_) => told.push("replaying".into()),
                Event::CaughtUp(_) => told.push("caught up".into()),
                Event::Evicted(eviction) => told.push(eviction.to_string()),
                other => panic!("{other:?}"),
            }
            Ok(())
        });
        assert!(matches!(polled, Ok(_) | Err(Error::Busy)), "{polled:?}");
    }

    fn standing(&self) -> Standing {
        self.node.lag(&self.group).unwrap()
    }
}

/// Two members, and a reader that has entered the streams of both.
fn feed(lag: Lag) -> (Cluster, Slow) {
    let at = multicast();
    let nodes: Vec<_> = (0..2).map(|_| open(&config())).collect();
    let endpoints = nodes.iter().map(Node::endpoint).collect();
    let mut cluster = Cluster::join(nodes, &JoinOptions::members(endpoints).multicast(at));
    let mut slow = Slow::new(at, lag);
    cluster.until("entry", |_| {
        slow.poll();
        slow.entered == 2
    });
    cluster.cast(0, &message(0));
    take_all(&mut cluster, &mut slow, 0);
    (cluster, slow)
}

fn message(number: u32) -> Vec<u8> {
    let mut text = number.to_le_bytes().to_vec();
    text.resize(LEN, number as u8);
    text
}

/// Casts these, and the reader polls; all members have delivered them in the end, whatever becomes of the reader.
fn cast(cluster: &mut Cluster, slow: &mut Slow, numbers: std::ops::Range<u32>) {
    for number in numbers {
        cluster.cast(0, &message(number));
        slow.poll();
    }
    cluster.until("end", |cluster| {
        slow.poll();
        cluster.members.iter().all(Member::is_settled)
    });
}

/// Polls until the reader has taken all up to this message.
fn take_all(cluster: &mut Cluster, slow: &mut Slow, last: u32) {
    slow.takes = true;
    cluster.until("last message", |_| {
        slow.poll();
        slow.taken.last() == Some(&last)
    });
    slow.poll();
}

#[test]
fn a_reader_that_is_busy_holds_nobody_back_and_is_handed_everything_later() {
    let (mut cluster, mut slow) = feed(Lag::replay(4 << 20));
    slow.takes = false;
    // Far more than any window, of which a reader without a contract would lose most.
    cast(&mut cluster, &mut slow, 1..3_000);
    cluster.until("all of it", |_| {
        slow.poll();
        slow.standing().behind.messages == 2_999
    });
    let standing = slow.standing();
    assert_eq!((standing.state, standing.behind.bytes), (LagState::Lagging, 2_999 * (LEN + PER_MESSAGE)));
    take_all(&mut cluster, &mut slow, 2_999);
    assert!(slow.taken.iter().copied().eq(0..3_000));
    assert_eq!(slow.told, ["lagging", "replaying", "caught up"]);
    cast(&mut cluster, &mut slow, 3_000..3_100);
    take_all(&mut cluster, &mut slow, 3_099);
    assert_eq!((slow.standing().state, slow.lost, slow.told.len()), (LagState::Live, 0, 3));
}

#[test]
fn beyond_the_bytes_the_oldest_is_lost_by_number() {
    let (mut cluster, mut slow) = feed(Lag::replay(100 * (LEN + PER_MESSAGE)));
    slow.takes = false;
    cast(&mut cluster, &mut slow, 1..1_000);
    cluster.until("all of it", |_| {
        slow.poll();
        slow.standing().counters.lost == 899
    });
    take_all(&mut cluster, &mut slow, 999);
    assert!(slow.taken[1..].iter().copied().eq(900..1_000));
    assert_eq!((slow.lost, slow.standing().counters.most_messages), (899, 100));
}

/// Seven instruments, and every fifth message has none.
fn instrument(message: &[u8]) -> Option<Key> {
    let number = u32::from_le_bytes(message[..4].try_into().ok()?);
    (number % 5 != 0).then(|| Key::from(u64::from(number % 7)))
}

#[test]
fn of_each_key_only_the_latest_comes_to_who_was_busy() {
    let (mut cluster, mut slow) = feed(Lag::conflate(4 << 20, instrument));
    slow.takes = false;
    cast(&mut cluster, &mut slow, 1..1_000);
    cluster.until("all of it", |_| {
        slow.poll();
        let Standing { behind, counters, .. } = slow.standing();
        behind.messages + counters.conflated == 999
    });
    take_all(&mut cluster, &mut slow, 999);
    let mut last = BTreeMap::new();
    (1..1_000_u32).for_each(|number| _ = last.insert(instrument(&number.to_le_bytes()), number));
    let expected = (1..1_000_u32).filter(|number| {
        let key = instrument(&number.to_le_bytes());
        key.is_none() || last[&key] == *number
    });
    assert!(slow.taken[1..].iter().copied().eq(expected), "{:?}", slow.taken);
    assert_eq!((slow.lost, slow.told.len()), (0, 3));
}

#[test]
fn who_is_cut_off_is_told_by_which_number_and_goes_on_when_it_asks() {
    let bound = 100 * (LEN + PER_MESSAGE);
    let (mut cluster, mut slow) = feed(Lag::evict(bound, Duration::ZERO));
    slow.takes = false;
    cast(&mut cluster, &mut slow, 1..1_000);
    cluster.until("all of it", |_| {
        slow.poll();
        slow.standing().counters.lost == 999
    });
    slow.takes = true;
    (0..100).for_each(|_| slow.poll());
    let tripped = Tripped::Bytes { bytes: bound + LEN + PER_MESSAGE, bound };
    assert_eq!(slow.told, [format!("too slow: {tripped}; 100 messages are dropped")]);
    assert_eq!((slow.standing().state, slow.taken.len()), (LagState::Evicted, 1));
    assert!(slow.node.readmit(&slow.group) && !slow.node.readmit(&slow.group));
    cast(&mut cluster, &mut slow, 1_000..1_010);
    take_all(&mut cluster, &mut slow, 1_009);
    assert!(slow.taken[1..].iter().copied().eq(1_000..1_010));
    assert_eq!((slow.lost, slow.standing().state), (999, LagState::Live));
}

#[test]
fn a_contract_is_a_readers_and_keeps_something() {
    let mut node = open(&config());
    let peer = node.join("ticks", JoinOptions::peer().lag(Lag::replay(1 << 20)));
    assert_eq!(refusal(peer), "lag: only a reader may lag: all wait for a member, by what it has taken");
    let reader = JoinOptions::reader().multicast(multicast()).lag(Lag::replay(10));
    let said = "lag: 10 bytes to be kept at most are not between 1024 and 1099511627776";
    assert_eq!(refusal(node.join("ticks", reader)), said);
    let reader = node.join("ticks", JoinOptions::reader().multicast(multicast())).unwrap();
    assert!(node.lag(&reader).is_none() && !node.readmit(&reader));
}
