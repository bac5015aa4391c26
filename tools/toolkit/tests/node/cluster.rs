//! Several nodes of one group in one thread, polled in turn; everything that they are handed is kept.

use sistrum::{
    Config, Conflict, Departure, Endpoint, Error, Event, Faults, FlushId, Group, JoinOptions, Message, Node,
    Order, Rank, Refused, View,
};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// No wait is longer, on however slow a machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The name of every test's group: what keeps tests apart is the address.
pub(crate) const GROUP: &str = "ticks";

/// A multicast group that no other test and no other process of this host has now.
pub(crate) fn multicast() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [low, high, ..] = NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes();
    let process = std::process::id();
    let port = 20_000 + u16::try_from(process % 12_000).expect("below 12000");
    SocketAddrV4::new(Ipv4Addr::new(239, 255, high ^ (process / 12_000) as u8, low), port).into()
}

/// How casts reach the others.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fan {
    Multicast,
    Unicast,
}

impl Fan {
    /// The ways to join with `members`; each call of the result is for the same group.
    pub(crate) fn options(self, members: Vec<Endpoint>) -> JoinOptions {
        match self {
            Self::Multicast => JoinOptions::members(members).multicast(multicast()),
            Self::Unicast => JoinOptions::members(members).unicast(),
        }
    }
}

/// A small, fast node: its window makes a message of 170 KB the largest.
pub(crate) fn config() -> Config {
    let mut config = Config::loopback("test");
    config.receive_buffer = 2 << 20;
    config.pool_blocks = 4096;
    config.tuning.window = 256;
    // On a slow machine anybody may hold back the others for a second.
    config.tuning.held_back_ns = 0;
    config
}

/// The losses of a test, with a seed that every run shares.
pub(crate) fn losses(block_loss: f64, buffer_loss: f64) -> Faults {
    Faults { block_loss, buffer_loss, seed: 7 }
}

/// What a node was handed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    View(View),
    Message(Rank, Vec<u8>),
    Direct(Rank, Vec<u8>),
    Conflict(Endpoint, Conflict),
    Left(Rank, Departure),
    Reading(Rank),
    Gap(Rank, u64),
    Flushed(FlushId),
}

impl Seen {
    pub(crate) fn of(event: &Event<'_>) -> Self {
        match event {
            Event::View(view) => Self::View((*view).clone()),
            Event::Deliver(message) => Self::Message(message.from(), whole(message)),
            Event::Direct(message) => Self::Direct(message.from(), whole(message)),
            Event::Conflict(endpoint, conflict) => Self::Conflict(*endpoint, *conflict),
            Event::Left(rank, why) => Self::Left(*rank, *why),
            Event::Reading(rank, _) => Self::Reading(*rank),
            Event::Gap(rank, blocks) => Self::Gap(*rank, *blocks),
            Event::Flushed(flush) => Self::Flushed(*flush),
            other => panic!("an event that no test knows: {other:?}"),
        }
    }
}

/// The bytes of a message, which must be the same in one piece and in parts.
pub(crate) fn whole(message: &Message<'_>) -> Vec<u8> {
    let parts: Vec<u8> = message.parts().flatten().copied().collect();
    assert_eq!((parts.len(), message.is_empty()), (message.len(), parts.is_empty()));
    assert_eq!(message.bytes(), parts);
    parts
}

/// A node in its group.
pub(crate) struct Member {
    pub(crate) node: Node,
    pub(crate) group: Group,
    pub(crate) seen: Vec<Seen>,
}

impl Member {
    pub(crate) fn new(mut node: Node, options: JoinOptions) -> Self {
        let group = node.join(GROUP, options).expect("a list that is right");
        Self { node, group, seen: Vec::new() }
    }

    pub(crate) fn poll(&mut self) -> usize {
        let seen = &mut self.seen;
        self.node
            .poll(|_, event| {
                seen.push(Seen::of(&event));
                Ok(())
            })
            .expect("loopback does not break")
    }

    pub(crate) fn cast(&mut self, message: &[u8]) -> Result<(), Refused> {
        self.node.cast(&self.group, Order::Fifo, message)
    }

    pub(crate) fn has_view(&self) -> bool {
        self.node.view(&self.group).is_some()
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.node.settled(&self.group)
    }

    /// The messages of one member, in the order of their delivery.
    pub(crate) fn of(&self, from: Rank) -> Vec<&[u8]> {
        let messages = self.seen.iter().filter_map(|seen| match seen {
            Seen::Message(sender, bytes) if *sender == from => Some(&bytes[..]),
            _ => None,
        });
        messages.collect()
    }

    pub(crate) fn conflicts(&self) -> Vec<(Endpoint, Conflict)> {
        let conflicts = self.seen.iter().filter_map(|seen| match seen {
            Seen::Conflict(endpoint, conflict) => Some((*endpoint, *conflict)),
            _ => None,
        });
        conflicts.collect()
    }
}

/// The members of one group, by rank.
pub(crate) struct Cluster {
    pub(crate) members: Vec<Member>,
}

impl Cluster {
    /// Opens `count` nodes as `config` says, joins them, and waits for their views.
    pub(crate) fn open(count: usize, fan: Fan, config: &Config) -> Self {
        let nodes: Vec<_> = (0..count).map(|at| open_nth(config, at)).collect();
        let endpoints = nodes.iter().map(Node::endpoint).collect();
        Self::join(nodes, &fan.options(endpoints))
    }

    /// Joins nodes into one group and waits for their views.
    pub(crate) fn join(nodes: Vec<Node>, options: &JoinOptions) -> Self {
        let mut cluster =
            Self { members: nodes.into_iter().map(|node| Member::new(node, options.clone())).collect() };
        cluster.until("a view", |cluster| cluster.members.iter().all(Member::has_view));
        cluster
    }

    /// Polls every node once.
    pub(crate) fn turn(&mut self) -> usize {
        self.members.iter_mut().map(Member::poll).sum()
    }

    /// Polls all nodes in turn until `done`.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let started = Instant::now();
        while !done(self) {
            assert!(started.elapsed() < PATIENCE, "no {what} within {PATIENCE:?}: {}", self.state());
            if self.turn() == 0 {
                std::thread::yield_now();
            }
        }
    }

    /// Casts, and polls all nodes while there is no room.
    #[track_caller]
    pub(crate) fn cast(&mut self, from: usize, message: &[u8]) {
        let started = Instant::now();
        loop {
            match self.members[from].cast(message) {
                Ok(()) => return,
                Err(Refused::Full { .. }) => self.turn(),
                Err(refused) => panic!("{} bytes: {refused}", message.len()),
            };
            assert!(started.elapsed() < PATIENCE, "no room within {PATIENCE:?}: {}", self.state());
        }
    }

    /// Polls all nodes until everybody has delivered everything.
    #[track_caller]
    pub(crate) fn settle(&mut self) {
        self.until("end", |cluster| cluster.members.iter().all(Member::is_settled));
    }

    fn state(&self) -> String {
        let counters = self.members.iter().map(|member| format!("{:?}", member.node.counters()));
        counters.collect::<Vec<_>>().join("\n")
    }
}

/// A node as `config` says, with losses of its own.
pub(crate) fn open_nth(config: &Config, at: usize) -> Node {
    let mut config = config.clone();
    config.faults.seed += at as u64;
    Node::open(config).expect("loopback opens")
}

/// A node as `config` says.
pub(crate) fn open(config: &Config) -> Node {
    open_nth(config, 0)
}

/// The message of an error that must have been one.
#[track_caller]
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.expect_err("must be refused").to_string()
}
